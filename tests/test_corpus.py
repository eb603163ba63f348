"""The corpus file: what is written comes back, and what is damaged is found."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.data.corpus import (
    Corpus,
    Row,
    check_aligned,
    escape,
    read_corpus,
    unescape,
    write_corpus,
)
from fairseq_musc.errors import InputError


def corpus(*rows, labels=("0", "1")):
    return Corpus("T_trn_MT", "de", "de", "pawsx", labels, rows, {"engine": "by hand"})


@given(st.text())
def test_any_text_comes_back_from_a_cell(text):
    cell = escape(text)
    assert not set(cell) & set("\t\n\r")
    assert unescape(cell) == text


def test_a_corpus_comes_back_unchanged(tmp_path):
    rows = [
        Row("1", "0", 'Er sagte "ja".\n\nDann\tging er.', "a\\tb"),
        Row("2", "1", "\u2028 \x85", ""),
        Row("drei", "1", "日本語。", "\r\n"),
    ]
    given_corpus = corpus(*rows)
    path = write_corpus(tmp_path, given_corpus)
    assert path.name == "T_trn_MT.de.tsv"
    assert read_corpus(tmp_path, "T_trn_MT", "de") == Corpus(
        "T_trn_MT", "de", "de", "pawsx", ("0", "1"), rows, {"engine": "by hand"}
    )
    assert path.read_bytes().count(b"\n") == 4


def test_single_texts_have_no_pair_column(tmp_path):
    path = write_corpus(tmp_path, corpus(Row("1", "0", "a")))
    assert path.read_text() == "id\tlabel\ttext\n1\t0\ta\n"
    assert not read_corpus(tmp_path, "T_trn_MT", "de").is_pair


def test_all_mistakes_are_said_at_once_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError) as error:
        write_corpus(tmp_path, corpus(Row("1", "0", "a"), Row("1", "5", "b"), Row("3", "1", "c", "d")))
    message = str(error.value)
    assert "'5'" in message
    assert "'1'" in message
    assert "id 3" in message
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found(tmp_path):
    path = write_corpus(tmp_path, corpus(Row("1", "0", "alpha"), Row("2", "1", "beta")))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"alpha", b"alpho"))
    with pytest.raises(InputError, match="changed since"):
        read_corpus(tmp_path, "T_trn_MT", "de")
    path.write_bytes(whole[:-8])
    with pytest.raises(InputError, match=r"holds 1 rows.*counted 2"):
        read_corpus(tmp_path, "T_trn_MT", "de")
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_corpus(tmp_path, "T_trn_MT", "de")
    about = path.with_suffix(".json")
    about.write_text(json.dumps({"format": 99}))
    with pytest.raises(InputError, match="99"):
        read_corpus(tmp_path, "T_trn_MT", "de")
    about.unlink()
    with pytest.raises(InputError, match="holds no corpus"):
        read_corpus(tmp_path, "T_trn_MT", "de")


def test_a_name_that_the_paper_does_not_have(tmp_path):
    with pytest.raises(InputError, match="T_trn_MT"):
        read_corpus(tmp_path, "T_train_MT", "de")


def test_alignment_says_both_numbers_or_the_row():
    check_aligned("a", ["1", "2"], "b", ["1", "2"])
    with pytest.raises(InputError, match=r"a has 2 rows and b has 1"):
        check_aligned("a", ["1", "2"], "b", ["1"])
    with pytest.raises(InputError, match=r"row 2 has id '2' in a and '3' in b"):
        check_aligned("a", ["1", "2"], "b", ["1", "3"])
