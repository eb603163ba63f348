"""The probe on made-up translations: with an artefact, without one, and word for word the same."""

import random

import numpy as np
import pytest
import tiny
import torch

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.evaluate.probe import chosen_rows

ROWS = 150


def written(rng, artefact):
    """Words drawn at random; a translation with an artefact has "not" in each of its texts."""
    words = [rng.choice(tiny.WORDS) for _ in range(rng.randint(4, 8))]
    if artefact:
        words.insert(rng.randint(0, len(words)), "not")
    return " ".join(words)


def corpus(folder, name, language, text_language, seed, artefact=False, count=ROWS, first=0):
    rng, labels = random.Random(seed), random.Random(9)
    rows = [
        Row(f"s{first + i}", labels.choice(tiny.LABELS), written(rng, artefact), written(rng, artefact))
        for i in range(count)
    ]
    write_corpus(folder, Corpus(name, language, text_language, "pawsx", tiny.LABELS, rows))


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """S_tst_MT: de with an artefact, fr drawn as the original is, ko the very same rows; T_trn_MT.de has other ids."""
    root = tmp_path_factory.mktemp("probe")
    corpora = root / "corpora"
    corpus(corpora, "T_tst", "en", "en", 1)
    corpus(corpora, "S_tst_MT", "de", "en", 2, artefact=True)
    corpus(corpora, "S_tst_MT", "fr", "en", 3)
    corpus(corpora, "S_tst_MT", "ko", "en", 1)
    corpus(corpora, "T_tst", "de", "de", 4, count=60)
    corpus(corpora, "T_trn_MT", "de", "de", 5, count=80, first=1000)
    tiny.make_encoder(root / "encoder", width=32)
    tiny.binarize(corpora, root / "bin", root / "encoder")
    return root


def probe(*arguments):
    return main(["probe", *map(str, arguments)])


def lines_of(stem):
    """(translated corpus, representation) to the cells of a line, by column."""
    header, *lines = [
        line.split("\t") for line in stem.with_name(stem.name + ".tsv").read_text().splitlines() if line[0] != "#"
    ]
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return {(row["translated"], row["representation"]): row for row in rows}


@pytest.fixture(scope="module")
def lines(probed):
    assert probe("--encoder", probed / "encoder", "--data", probed / "bin", "--output", probed / "probe") == 0
    return lines_of(probed / "probe")


@pytest.mark.parametrize("representation", ["tokens", "encoder"])
def test_an_artefact_is_found(lines, representation):
    line = lines["S_tst_MT.de", representation]
    assert float(line["accuracy"]) > 0.95
    assert float(line["auc"]) > 0.98


@pytest.mark.parametrize("representation", ["tokens", "encoder"])
def test_text_of_the_same_law_is_not_told_apart(lines, representation):
    line = lines["S_tst_MT.fr", representation]
    assert abs(float(line["accuracy"]) - 0.5) < 2.5 * float(line["accuracy_deviation"])
    assert abs(float(line["auc"]) - 0.5) < 0.1


@pytest.mark.parametrize("representation", ["tokens", "encoder"])
def test_the_very_same_text_scores_half(lines, representation):
    assert float(lines["S_tst_MT.ko", representation]["accuracy"]) == pytest.approx(0.5, abs=0.01)


def test_every_pair_in_one_language_is_measured_and_no_other(lines):
    assert {translated for translated, _ in lines} == {"S_tst_MT.de", "S_tst_MT.fr", "S_tst_MT.ko", "T_trn_MT.de"}
    german = lines["T_trn_MT.de", "tokens"]
    assert (german["language"], german["original"], german["rows"], german["same_ids"]) == (
        "de",
        "T_tst.de",
        "120",
        "0",
    )
    english = lines["S_tst_MT.de", "encoder"]
    assert (english["language"], english["original"]) == ("en", "T_tst.en")
    assert (english["rows"], english["same_ids"]) == ("300", "150")


def test_the_representation_is_the_cls_of_the_last_layer(probed):
    from argparse import Namespace

    from transformers import AutoModel

    from fairseq_musc.data.databin import DataBinInfo, open_corpus
    from fairseq_musc.evaluate.probe import Representations

    encoder = AutoModel.from_pretrained(probed / "encoder").eval()
    opened = open_corpus(probed / "bin", "S_tst_MT", "fr")
    info = DataBinInfo.load(probed / "bin")
    rows = np.array([7, 0, 31, 140])
    for layer, pooling in ((None, "cls"), (None, "mean"), (0, "cls")):
        arguments = Namespace(layer=layer, pooling=pooling, batch_size=3, cpu=True)
        found = Representations(encoder, info, arguments).of_rows(opened, rows)
        for row, vector in zip(rows, found, strict=True):
            ids = opened.tokens[row][None]
            types = (torch.arange(ids.shape[1]) >= int(opened.first_lengths[row])).long()[None]
            with torch.no_grad():
                output = encoder(input_ids=ids, token_type_ids=types, output_hidden_states=True)
            hidden = (output.last_hidden_state if layer is None else output.hidden_states[layer])[0]
            expected = hidden[0] if pooling == "cls" else hidden.mean(dim=0)
            np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


def test_rows_are_as_many_of_both_and_those_in_both_come_first():
    first, second = [f"a{i}" for i in range(30)], [f"a{i}" for i in range(20, 60)]
    same = set(first) & set(second)
    a, b = chosen_rows(first, second, same, limit=25, seed=1)
    assert len(a) == len(b) == len(set(a)) == len(set(b)) == 25
    assert [first[i] for i in a[:10]] == [second[i] for i in b[:10]]
    assert {first[i] for i in a[:10]} == same
    a, b = chosen_rows(first, second, same, limit=4, seed=1)
    assert [first[i] for i in a] == [second[i] for i in b]
    a, b = chosen_rows(first, first, set(), limit=100, seed=1)
    assert sorted(a) == sorted(b) == list(range(30))


def test_a_fine_tuned_encoder_and_the_one_it_came_from(world, tmp_path, capsys):
    """The tiny world's S_tst_MT is its English T_tst word for word: no encoder can tell."""
    checkpoint = tiny.train(world.data, world.encoder, tmp_path, "optimization.max_epoch=1") / "checkpoint_best.pt"
    pair = ["--original", "T_tst", "--translated", "S_tst_MT"]
    models = ["--checkpoint", checkpoint, "--encoder", world.encoder]
    assert probe(*models, "--data", world.data, *pair, "--layer", "0", "--output", tmp_path / "out") == 0
    lines = lines_of(tmp_path / "out")
    assert {name for translated, name in lines if translated == "S_tst_MT.de"} >= {"tokens", "encoder"}
    assert len(lines) == 2 * 3
    assert all(float(line["accuracy"]) == pytest.approx(0.5, abs=0.05) for line in lines.values())
    printed = capsys.readouterr().out
    assert f"{checkpoint}: fine-tuned, update " in printed
    assert f"{world.encoder}: not fine-tuned" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", 9, "--batch-size", 0, "--layer", -1], "--limit is 9; it is at least 10"),
        (["--layer", 2], "--layer is 2, but"),
        (["--original", "T_trn"], "holds no original and translated text in the same language among T_trn and"),
        (["--languages", "en", "ja"], "S_tst_MT in ja; it holds"),
        (["--languages", "ja"], "in ja; it holds T_tst.de in de, T_tst.en in en"),
    ],
)
def test_what_cannot_be_measured_is_said(probed, capsys, options, said):
    assert probe("--encoder", probed / "encoder", "--data", probed / "bin", *options) == 2
    assert said in capsys.readouterr().err


def test_nothing_to_measure_and_an_encoder_of_another_tokenizer(probed, tmp_path, capsys):
    assert probe("--data", probed / "bin") == 2
    assert "give --checkpoint, --encoder or both" in capsys.readouterr().err
    tiny.make_encoder(tmp_path / "other", words=["one", "two"])
    assert probe("--encoder", tmp_path / "other", "--data", probed / "bin", "--languages", "de") == 2
    assert "another tokenizer" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_said_before_encoders_are_measured(probed, monkeypatch, capsys):
    def find_pairs(arguments):
        pytest.fail("it began to measure")

    monkeypatch.setattr("fairseq_musc.evaluate.probe.find_pairs", find_pairs)
    given = ["--encoder", probed / "encoder", "--checkpoint", probed / "none.pt", probed / "encoder"]
    assert probe("--data", probed / "bin", "--limit", 0, *given) == 2
    said = capsys.readouterr().err
    assert f"there is no checkpoint {probed / 'none.pt'}" in said
    assert f"there is no checkpoint {probed / 'encoder'}" in said and "--limit is 0" in said
