"""The engines behind one interface: the same sentences in the same order, and what fairseq-generate finds."""

import argparse
import shutil

import pytest
import torch
from fairseq_generate_command import by_command
from translator_fixture import sentences

from fairseq_musc.errors import InputError
from fairseq_musc.translate.batches import translate_sentences
from fairseq_musc.translate.engine import (
    Decoding,
    Device,
    Hypothesis,
    add_generation_arguments,
    generation_from,
    open_engine,
)

pytest_plugins = ["translator_fixture"]

CPU = Device(batch_tokens=128, cpu=True)
#: Sentences of the training's own kind, others of its words, and some that it cannot name.
SET = [
    *dict.fromkeys(row["en"] for row in sentences(9, seed=9)),
    *(
        "dog",
        "the",
        "the moon",
        "moon moon moon moon sees sees",
        "the dog sees the cat finds the tree takes the river.",
    ),
    *("the Ω dog Ж", "Ω"),
]


def hypotheses_by(name, folder, decoding, device=CPU, direction=("en", "de"), texts=SET):
    return translate_sentences(texts, open_engine(name, folder, decoding, device), *direction, device)


def same(found, expected, tolerance=1e-5):
    assert [[text for text, _ in hypotheses] for hypotheses in found] == [
        [text for text, _ in hypotheses] for hypotheses in expected
    ]
    scores = [score for hypotheses in found for _, score in hypotheses]
    assert scores == pytest.approx([score for hypotheses in expected for _, score in hypotheses], abs=tolerance)


@pytest.mark.parametrize(("direction", "beam"), [(("en", "de"), 5), (("de", "ja"), 1)])
def test_fairseq_finds_what_fairseq_generate_finds(translator_folder, tmp_path, direction, beam):
    texts = SET if direction[0] == "en" else [row["de"] for row in sentences(7, seed=3)]
    flags = ["--beam", str(beam), "--nbest", str(beam), "--max-len-b", "18", "--batch-size", "5"]
    expected = by_command(translator_folder, tmp_path / "work", texts, *direction, *flags)
    found = hypotheses_by("fairseq", translator_folder, Decoding(beam, 0, 18, nbest=beam), CPU, direction, texts)
    same(found, expected)
    assert all(len(hypotheses) == beam for hypotheses in found)
    assert len({hypotheses[0].text for hypotheses in found}) > 2, "sentences must differ, or their order is not tested"


def test_the_defaults_are_those_of_fairseq_generate_and_a_limit_may_depend_on_the_length(translator_folder, tmp_path):
    flags = ["--max-len-a", "0.5", "--max-len-b", "1", "--batch-size", "1"]
    expected = by_command(translator_folder, tmp_path / "work", SET[:3], "en", "de", *flags)
    decoding = Decoding(max_len_a=0.5, max_len_b=1)
    same(hypotheses_by("fairseq", translator_folder, decoding, Device(1, cpu=True), texts=SET[:3]), expected)


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
    decoding = Decoding(2, max_len_b=12)
    old = hypotheses_by("fairseq", folder, decoding, texts=SET[:3])
    assert old == hypotheses_by("fairseq", translator_folder, decoding, texts=SET[:3])


def test_what_an_engine_says_of_itself(translator_folder):
    engine = open_engine("fairseq", translator_folder, Decoding(), CPU)
    assert engine.longest == 62  # positions less the language token and the end of sentence
    assert engine.lengths(["", "\u200b", "the dog", "the dog the dog"])[:2] == [0, 0]
    about = engine.provenance()
    assert (about["engine"], about["precision"]) == ("fairseq", "fp32")
    assert set(about["translator"]) == {path.name for path in translator_folder.iterdir()} - {"training.json"}
    with pytest.raises(InputError, match="does not know fr; it knows de, en, ja"):
        next(engine.translate([["x"]], "en", "fr"))


def test_an_engine_that_is_not_there(translator_folder):
    with pytest.raises(InputError, match="no translation engine 'moses'; there are fairseq, ctranslate2, easynmt"):
        open_engine("moses", translator_folder, Decoding(), CPU)


def test_options_become_settings_or_are_all_refused_at_once():
    parser = argparse.ArgumentParser()
    add_generation_arguments(parser)
    assert generation_from(parser.parse_args([])) == (Decoding(), Device())
    given = "--normalise moses --batch-tokens 9 --cpu --precision int8 --engine ctranslate2"
    assert generation_from(parser.parse_args(given.split())) == (Decoding(normalise="moses"), Device(9, "int8", True))
    for wrong, problems in (
        ("--beam 0 --longest 0 --batch-tokens -1 --max-len-b 0 --cpu --precision fp16", 5),
        ("--precision int8 --max-len-a -1", 2),
    ):
        with pytest.raises(InputError) as error:
            generation_from(parser.parse_args(wrong.split()))
        assert str(error.value).count("\n") == problems
    with pytest.raises(InputError, match="a beam of 5 holds no more than 5"):
        generation_from(argparse.Namespace(**{**vars(parser.parse_args([])), "nbest": 6}))


def test_a_hypothesis_is_a_pair():
    assert Hypothesis("a", -1.0) == ("a", -1.0)
