"""The engines behind one interface: the same sentences in the same order, and what fairseq-generate finds."""

import argparse
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from fairseq_generate_command import by_command
from hugging_face_folder import write_hugging_face_folder
from translator_fixture import sentences

from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256
from fairseq_musc.translate.at_once import translate
from fairseq_musc.translate.batches import translate_sentences
from fairseq_musc.translate.engine import (
    ENGINES,
    Decoding,
    Device,
    add_generation_arguments,
    generation_from,
    open_engine,
)
from fairseq_musc.translate.engines.ctranslate2 import allow_avx512
from fairseq_musc.translate.engines.pieces import FEW, Pieces
from fairseq_musc.translate.release import open_translator

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


@pytest.fixture(scope="module")
def folders(translator_folder, tmp_path_factory):
    """What each engine opens; converted models are kept out of the translator's folder."""
    folder = tmp_path_factory.mktemp("hugging_face") / "m2m100"
    write_hugging_face_folder(translator_folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRSEQ_MUSC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield {"fairseq": translator_folder, "ctranslate2": translator_folder, "easynmt": folder}


def test_pieces_are_the_same_of_a_few_sentences_and_of_many(translator_folder):
    pieces = Pieces(open_translator(translator_folder))
    many = [*SET, ""] * (FEW // len(SET) + 2)
    assert len(many) > FEW
    assert pieces.encode(many) == [pieces.encode([sentence])[0] for sentence in many]
    assert pieces.encode(many)[:FEW] == pieces.encode(many[:FEW])
    assert pieces.lengths([]) == []


def hypotheses_by(name, folder, decoding, device=CPU, direction=("en", "de"), texts=SET):
    return translate_sentences(texts, open_engine(name, folder, decoding, device), *direction, device)


def same(found, expected):
    assert [[text for text, _ in hypotheses] for hypotheses in found] == [
        [text for text, _ in hypotheses] for hypotheses in expected
    ]
    scores = [score for hypotheses in found for _, score in hypotheses]
    assert scores == pytest.approx([score for hypotheses in expected for _, score in hypotheses], abs=1e-5)


@pytest.mark.parametrize(("direction", "beam"), [(("en", "de"), 5), (("de", "ja"), 1)])
def test_fairseq_finds_what_fairseq_generate_finds(translator_folder, tmp_path, direction, beam):
    texts = SET if direction[0] == "en" else [row["de"] for row in sentences(7, seed=3)]
    flags = ["--beam", str(beam), "--nbest", str(beam), "--max-len-b", "18", "--batch-size", "5"]
    expected = by_command(translator_folder, tmp_path / "work", texts, *direction, *flags)
    found = hypotheses_by("fairseq", translator_folder, Decoding(beam, 0, 18, nbest=beam), CPU, direction, texts)
    same(found, expected)
    assert all(len(hypotheses) == beam for hypotheses in found)
    assert len({hypotheses[0].text for hypotheses in found}) > 2, "sentences must differ, or their order is not tested"


@pytest.mark.parametrize("decoding", [Decoding(5, 0, 18, nbest=5), Decoding(2, 1.2, 3), Decoding(1)], ids=str)
def test_the_fast_search_finds_what_fairseqs_generator_does(translator_folder, decoding):
    fast, plain = (Device(128, cpu=True, search=search) for search in ("fast", "fairseq"))
    expected = hypotheses_by("fairseq", translator_folder, decoding, plain)
    same(hypotheses_by("fairseq", translator_folder, decoding, fast), expected)
    assert len({text for (text, _), *_ in expected}) > 2


def test_the_defaults_are_those_of_fairseq_generate_and_a_limit_may_depend_on_the_length(translator_folder, tmp_path):
    flags = ["--max-len-a", "0.5", "--max-len-b", "1", "--batch-size", "1"]
    expected = by_command(translator_folder, tmp_path / "work", SET[:3], "en", "de", *flags)
    decoding = Decoding(max_len_a=0.5, max_len_b=1)
    same(hypotheses_by("fairseq", translator_folder, decoding, Device(1, cpu=True), texts=SET[:3]), expected)


def without_other_languages(hypotheses):
    """Hugging Face leaves out tokens of other languages amid a text, fairseq does not; the rest in fairseq's order."""
    texts = [(re.sub("__[a-z]+__", "", text).strip(), score) for text, score in hypotheses]
    return sorted(texts, key=lambda pair: -pair[1])


@pytest.mark.parametrize(("beam", "max_len_b"), [(5, 18), (2, 6)])
def test_the_other_engines_find_what_fairseq_finds(folders, beam, max_len_b):
    """All of the beam with its scores, where the limit of the length cuts off, too."""
    decoding = Decoding(beam, 0, max_len_b, nbest=beam)
    expected = hypotheses_by("fairseq", folders["fairseq"], decoding)
    same(hypotheses_by("ctranslate2", folders["ctranslate2"], decoding), expected)
    found = hypotheses_by("easynmt", folders["easynmt"], decoding)
    same(map(without_other_languages, found), map(without_other_languages, expected))


def test_easynmt_is_asked_what_it_asks_itself(folders):
    from easynmt import EasyNMT
    from easynmt.models import AutoModel

    model = EasyNMT(translator=AutoModel(str(folders["easynmt"])), device="cpu")
    theirs = model.translate(SET, "de", "en", perform_sentence_splitting=False, batch_size=16, max_length=19)
    ours = hypotheses_by("easynmt", folders["easynmt"], Decoding(max_len_b=18), Device(300, cpu=True))
    assert [hypotheses[0].text for hypotheses in ours] == [" ".join(text.split()) for text in theirs]


def test_int8_is_smaller_and_means_the_same(folders):
    decoding = Decoding(2, max_len_b=18)
    texts = [row["en"] for row in sentences(30, seed=6)]
    exact = hypotheses_by("ctranslate2", folders["ctranslate2"], decoding, CPU, texts=texts)
    rounded = hypotheses_by("ctranslate2", folders["ctranslate2"], decoding, Device(128, "int8", True), texts=texts)
    assert sum(a[0].text == b[0].text for a, b in zip(exact, rounded, strict=True)) > 20
    assert exact != rounded
    models = Path(os.environ["FAIRSEQ_MUSC_CACHE"]).glob("ctranslate2-*/model.bin")
    size = {path.parent.name.split("-")[1]: path.stat().st_size for path in models}
    assert size["int8"] < 0.5 * size["float32"]


def test_a_model_is_converted_once_and_beside_the_translator_or_where_one_may_write(folders, tmp_path, monkeypatch):
    from ctranslate2.converters import FairseqConverter

    monkeypatch.delenv("FAIRSEQ_MUSC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = shutil.copytree(folders["ctranslate2"], tmp_path / "made")
    before = sorted(path.name for path in folder.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may write everywhere
        open_engine("ctranslate2", folder, Decoding(), CPU)
    assert sorted(path.name for path in folder.iterdir()) == before
    (kept,) = (tmp_path / "home" / "fairseq-musc").iterdir()
    shutil.rmtree(kept)
    first = hypotheses_by("ctranslate2", folder, Decoding(), CPU)
    assert [path.name for path in folder.glob("ctranslate2-*")] == [kept.name]
    monkeypatch.setattr(FairseqConverter, "convert", None)
    assert hypotheses_by("ctranslate2", folder, Decoding(), CPU) == first


def test_avx512_is_used_where_it_costs_no_clock_and_nobody_chose(tmp_path, monkeypatch):
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "AVX2")  # so that it is put back, whatever the function does
    cpuinfo = tmp_path / "cpuinfo"
    for flags, given, expected in (
        ("avx2 avx512f avx512_bf16 amx_int8", None, "AVX512"),
        ("avx2 avx512f", None, None),
        ("avx2 avx512_bf16", "AVX2", "AVX2"),
    ):
        cpuinfo.write_text(f"flags : {flags}\n")
        os.environ.pop("CT2_FORCE_CPU_ISA", None)
        if given:
            os.environ["CT2_FORCE_CPU_ISA"] = given
        allow_avx512(cpuinfo)
        assert os.environ.get("CT2_FORCE_CPU_ISA") == expected
    os.environ.pop("CT2_FORCE_CPU_ISA", None)
    allow_avx512(tmp_path / "not there")
    assert "CT2_FORCE_CPU_ISA" not in os.environ


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["fairseq", "ctranslate2"])
def test_a_checkpoint_that_would_run_code_is_refused(folders, tmp_path, name):
    folder = shutil.copytree(folders[name], tmp_path / "made")
    torch.save({"args": None, "model": Hostile(tmp_path / "ran")}, folder / "model.pt")
    with pytest.raises(InputError, match="could run code when it is loaded"):
        open_engine(name, folder, Decoding(), CPU)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["ctranslate2", "easynmt"])
def test_a_package_that_is_not_there_is_named_with_the_command(folders, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=re.escape(f"pip install 'fairseq-musc[{name}]'")):
        open_engine(name, folders[name], Decoding(), CPU)


def test_easynmt_says_which_files_it_takes(translator_folder):
    with pytest.raises(InputError, match=r"lacks config.json, vocab.json, sentencepiece.bpe.model, model.safetensors"):
        open_engine("easynmt", translator_folder, Decoding(), CPU)


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


@pytest.mark.parametrize("name", ENGINES)
def test_what_an_engine_says_of_itself(folders, name):
    engine = open_engine(name, folders[name], Decoding(2, max_len_b=9), CPU)
    assert engine.longest == 62  # positions less the language token and the end of sentence
    assert engine.lengths([]) == []
    assert engine.lengths(["", "\u200b", "Ω", "the dog"]) == [0, 0, 2, 4]
    about = engine.provenance()
    assert (about["engine"], about["precision"]) == (name, "fp32")
    files = {path.name: sha256(path) for path in folders[name].iterdir() if path.name != "training.json"}
    assert about["translator"] == files
    assert next(iter(about["translator"])) == ("model.safetensors" if name == "easynmt" else "model.pt")
    unknown = "tlh" if name == "easynmt" else "fr"
    with pytest.raises(InputError, match=f"does not know {unknown}; it knows .*de, .*en, .*ja"):
        engine.require(["en", unknown])
    with pytest.raises(InputError, match=f"does not know {unknown}"):
        next(engine.translate([["x"]], "en", unknown))
    assert list(engine.translate([], "en", "de")) == []
    batches = [SET[:2], SET[2:3], SET[3:7]]
    answers = list(engine.translate(iter(batches), "en", "de"))
    assert [len(hypotheses) for hypotheses in answers] == [2, 1, 4]
    alone = [next(engine.translate([[text]], "en", "de"))[0][0].text for text in SET[:7]]
    assert [best.text for hypotheses in answers for (best,) in hypotheses] == alone


def test_texts_come_back_in_their_places(translator_folder):
    """Blank ones and repeats among them, and one longer than the model can read."""
    rows = [row["en"] for row in sentences(40, seed=2)]
    long = " ".join(rows[10:]).replace(".", "")
    texts = [rows[0], "", f"{rows[1]}\n\n{rows[2]} {rows[0]}\n", rows[0], " \u3000", long]
    decoding = Decoding(2, max_len_b=12)
    engine = open_engine("fairseq", translator_folder, decoding, CPU)
    made, counts = translate(texts, "en", "de", engine, decoding, CPU)
    alone = [translate([row], "en", "de", engine, decoding, CPU).texts[0] for row in rows[:3]]
    assert made[:5] == [alone[0], "", f"{alone[1]}\n\n{alone[2]} {alone[0]}\n", alone[0], " \u3000"]
    assert (counts["texts"], counts["blank"], counts["cut"], counts["empty"]) == (6, 2, 1, 0)
    assert len(made[5].split()) > 5 * len(made[0].split())


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
        ("--max-len-a nan", 1),
        ("--max-len-a inf", 1),
    ):
        with pytest.raises(InputError) as error:
            generation_from(parser.parse_args(wrong.split()))
        assert str(error.value).count("\n") == problems
    with pytest.raises(InputError, match="a beam of 5 holds no more than 5"):
        generation_from(argparse.Namespace(**{**vars(parser.parse_args([])), "nbest": 6}))


def test_the_benchmark_prints_a_row_for_each_engine(folders, tmp_path, capsys):
    path = Path(__file__).parents[1] / "benchmarks" / "translation.py"
    spec = importlib.util.spec_from_file_location("translation_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark  # where dataclasses look for the types of their fields
    spec.loader.exec_module(benchmark)
    (tmp_path / "texts").write_text("\n".join([*SET, "", SET[0]]) + "\n", encoding="utf-8")
    options = f"--translator {folders['fairseq']} --hugging-face {folders['easynmt']} --texts {tmp_path / 'texts'}"
    options += " --source-lang en --target-lang de --cpu --beam 2 --max-len-b 18 --repeats 1 --limit 5"
    assert benchmark.main([*options.split(), "--rows", "fairseq:fp32", "ctranslate2:fp32", "easynmt:fp32"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("5 sentences of texts, en -> de")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed[4:]]
    assert [row[0] for row in cells] == ["fairseq, fp32", "ctranslate2, fp32", "easynmt, fp32"]
    assert (cells[0][3], cells[0][5]) == ("1.00", "0")
    assert cells[1][5] == "0"
    assert all(float(row[2]) > 0 for row in cells)
    assert benchmark.main([*options.split(), "--rows", "fairseq:int4"]) == 2
    assert "'fairseq:int4' is no ENGINE:PRECISION" in capsys.readouterr().err
