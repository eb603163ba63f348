"""Texts in, as many texts out, in order, through a real fairseq-generate."""

import argparse
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from translator_fixture import sentences

from fairseq_musc.errors import InputError
from fairseq_musc.translate.fairseq_generate import (
    Decoding,
    Device,
    add_generation_arguments,
    cut,
    generation_from,
    longest_source,
    translate,
)
from fairseq_musc.translate.release import open_translator

pytest_plugins = ["translator_fixture"]

SHORT = Decoding(beam=2, max_len_b=12)
CPU = Device(cpu=True, batch_size=8)


@pytest.fixture
def translator(translator_folder):
    return open_translator(translator_folder)


def test_thirteen_rows_come_back_in_order_with_blanks_and_repeats(translator):
    """Each row's translation is the one that it gets alone, whatever the rows around it are."""
    rows = [row["en"] for row in sentences(6, seed=9)]
    a, b, c, d, e, f = rows
    texts = [a, "", b, a, " \u3000", c, d, e, "", f, b, "\u200b", c]
    made, counts = translate(texts, "en", "de", translator, SHORT, CPU)
    alone = {row: translate([row], "en", "de", translator, SHORT, CPU).texts[0] for row in rows}
    assert len(made) == 13
    assert made == [alone.get(text, text) for text in texts]
    assert len(set(alone.values())) > 1, "rows must differ, or their order is not tested"
    assert counts == {"distinct": 6, "blank": 4, "cut": 0, "unknown": 0, "empty": 0}


def test_more_rows_than_a_batch_multiple(translator):
    texts = [row["ja"] for row in sentences(21, seed=4)]
    made, counts = translate(texts, "ja", "en", translator, SHORT, CPU)
    assert len(made) == 21
    assert counts["distinct"] == len(set(texts))
    assert all(made)


def test_nothing_but_blank_lines_needs_no_model(translator):
    assert translate(["", "\n", "\t"], "en", "de", translator).texts == ["", "\n", "\t"]
    assert translate([], "en", "de", translator).texts == []


def test_line_ends_within_a_text_stay_where_they_are(translator):
    one, two = (row["en"] for row in sentences(2, seed=1))
    made = translate([f"{one}\n\n{two}\n", one, two], "en", "ja", translator, SHORT, CPU).texts
    assert made[0] == f"{made[1]}\n\n{made[2]}\n"


def test_a_line_longer_than_the_model_is_translated_in_parts(translator):
    """64 positions less the language token and the end of sentence; the line has about ten times as many pieces."""
    assert longest_source(translator) == 62
    rows = [row["en"] for row in sentences(40, seed=2)]
    made, counts = translate([" ".join(rows), "the dog"], "en", "de", translator, SHORT, CPU)
    assert counts["cut"] == 1
    assert counts["distinct"] > 9
    assert len(made) == 2
    assert len(made[0].split()) > len(made[1].split())


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_checkpoint_in_the_form_of_the_published_one(translator_folder, tmp_path, zip_format):
    """fairseq in 2020 kept its settings as ``args``, a Namespace, and had no ``cfg``; torch before 1.6 wrote no zip."""
    folder = shutil.copytree(translator_folder, tmp_path / "m2m_100")
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(folder / "model.pt", weights_only=True)
    state["args"], state["cfg"] = state["cfg"]["model"], None
    assert isinstance(state["args"], argparse.Namespace)
    torch.save(state, folder / "418M_last_checkpoint.pt", _use_new_zipfile_serialization=zip_format)
    (folder / "model.pt").unlink()
    texts = [row["en"] for row in sentences(3, seed=7)]
    old = translate(texts, "en", "de", open_translator(folder), SHORT, CPU)
    assert old == translate(texts, "en", "de", open_translator(translator_folder), SHORT, CPU)


def test_what_the_dictionary_does_not_know_is_counted(translator):
    made, counts = translate(["the Ω dog Ж", "Ω"], "en", "de", translator, SHORT, CPU)
    assert counts["unknown"] == 3
    assert not any("<unk>" in text for text in made)


def test_an_unknown_language_lists_those_that_are_known(translator):
    with pytest.raises(InputError, match="does not know fr; it knows de, en, ja"):
        translate(["x"], "en", "fr", translator)


def test_options_become_settings_or_are_all_refused_at_once():
    parser = argparse.ArgumentParser()
    add_generation_arguments(parser)
    assert generation_from(parser.parse_args([])) == (Decoding(), Device())
    with pytest.raises(InputError) as error:
        generation_from(parser.parse_args(["--beam", "0", "--batch-size", "-1", "--max-len-b", "0", "--cpu", "--fp16"]))
    assert str(error.value).count("\n") == 4


def test_cuts_prefer_sentences_then_clauses_then_words():
    assert list(cut("One two three. Four, five six.", 20, len)) == ["One two three.", "Four, five six."]
    assert list(cut("一二三。四五六。", 5, len)) == ["一二三。", "四五六。"]
    assert list(cut("aaa bbb, ccc ddd", 9, len)) == ["aaa bbb,", "ccc ddd"]
    assert list(cut("aaaa bbbb cccc dddd", 10, len)) == ["aaaa bbbb", "cccc dddd"]
    assert list(cut("abcdefgh", 4, len)) == ["abcd", "efgh"]
    assert list(cut("3.14159 is 2.71828 no", 99, len)) == ["3.14159 is 2.71828 no"]


@given(st.text(), st.integers(1, 30))
def test_cutting_loses_no_word(line, longest):
    parts = list(cut(" ".join(line.split()), longest, len))
    assert "".join("".join(parts).split()) == "".join(line.split())
    assert all(len(part) <= longest for part in parts)
