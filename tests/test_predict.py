"""From a checkpoint to the table, by the program's own verbs."""

import hashlib

import numpy as np
import pytest
import tiny
import torch

from fairseq_musc.cli import main
from fairseq_musc.evaluate.table import read_predictions
from fairseq_musc.models.checkpoint import load_classifier


@pytest.fixture(scope="module")
def checkpoint(world, tmp_path_factory):
    run = tiny.train(world.data, world.encoder, tmp_path_factory.mktemp("run"), "optimization.max_epoch=2")
    return run / "checkpoint_best.pt"


def predict(checkpoint, data, predictions, *options):
    return main(
        ["predict", *map(str, ("--checkpoint", checkpoint, "--data", data, "--predictions", predictions, *options))]
    )


def test_probabilities_are_the_model_s_row_by_row_in_the_order_of_the_corpus(world, checkpoint, tmp_path):
    assert predict(checkpoint, world.data, tmp_path, "--batch-size", 4) == 0
    trained = load_classifier(checkpoint)
    from transformers import AutoTokenizer

    from fairseq_musc.data.corpus import read_corpus

    tokenizer = AutoTokenizer.from_pretrained(world.encoder)
    for name, language in (("T_tst", "en"), ("T_tst", "de"), ("S_tst_MT", "fr")):
        rows = read_corpus(world.corpora, name, language).rows
        predictions = read_predictions(tmp_path, name, language)
        assert predictions.ids == [row.id for row in rows]
        assert [trained.labels[label] for label in predictions.labels] == [row.label for row in rows]
        for row, probabilities in zip(rows, predictions.probabilities, strict=True):
            encoded = tokenizer(row.text, row.text_pair, return_tensors="pt")
            with torch.no_grad():
                expected = trained.model(**encoded).logits.softmax(-1)[0]
            np.testing.assert_allclose(probabilities, expected.numpy(), rtol=1e-4)
    signature = predictions.signature
    assert signature.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert signature.update == 10
    assert signature.seed == 3
    assert signature.translator == "word list with model.pt (SHA-256 000000000000)"


def test_other_ways_to_compute_give_the_same_probabilities(world, checkpoint):
    """Padded, in small batches and in bfloat16."""
    from fairseq_musc.data.databin import DataBinInfo, open_corpus
    from fairseq_musc.evaluate import predict as module

    info, corpus = DataBinInfo.load(world.data), open_corpus(world.data, "T_tst", "de")
    trained = load_classifier(checkpoint)
    assert trained.model.packed
    counted = []
    expected = module.predict(trained.model, corpus, info, None, "cpu", counted.append)
    assert sum(counted) == len(corpus)
    trained.model.packed = False
    np.testing.assert_allclose(
        module.predict(trained.model, corpus, info, 4, "cpu", lambda count: None), expected, rtol=1e-5
    )
    for packed in (True, False):
        trained.model.packed = packed
        trained.model.compute_in("bfloat16")
        rough = module.predict(trained.model, corpus, info, 8, "cpu", lambda count: None)
        assert 0 < np.abs(rough - expected).max() < 0.02


def test_from_predictions_to_the_table(world, checkpoint, tmp_path, capsys):
    assert predict(checkpoint, world.data, tmp_path) == 0
    assert main(["ensemble", "--predictions", str(tmp_path)]) == 0
    assert main(["report", "--predictions", str(tmp_path)]) == 0
    assert "T_tst" in capsys.readouterr().out
    lines = [line.split("\t") for line in (tmp_path / "results.tsv").read_text().splitlines() if line[0] != "#"]
    table = {line[0]: dict(zip(lines[0][1:], line[1:], strict=True)) for line in lines[1:]}
    for language in ("de", "fr"):
        tables = [read_predictions(tmp_path, name, language) for name in ("T_tst", "S_tst_MT")]
        mean = (tables[0].probabilities + tables[1].probabilities) / 2
        np.testing.assert_allclose(read_predictions(tmp_path, "Ens", language).probabilities, mean)
        assert float(table["Ens"][language]) == pytest.approx((mean.argmax(1) == tables[0].labels).mean())
    assert float(table["T_tst"]["en"]) == float(table["Ens"]["en"])


def test_what_is_there_is_kept_and_what_is_damaged_is_made_again(world, checkpoint, tmp_path):
    assert predict(checkpoint, world.data, tmp_path) == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    damaged = tmp_path / "T_tst.de.tsv"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-5])
    assert predict(checkpoint, world.data, tmp_path) == 0
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert damaged.read_bytes() == whole
    assert {name for name in after if after[name] != before[name]} == {"T_tst.de.tsv", "T_tst.de.json"}


def test_tables_of_another_precision_are_not_taken_for_these(world, checkpoint, tmp_path, capsys):
    assert predict(checkpoint, world.data, tmp_path / "bfloat16", "--precision", "bfloat16") == 0
    assert predict(checkpoint, world.data, tmp_path / "both") == 0
    exact = (tmp_path / "both" / "T_tst.de.tsv").read_bytes()
    assert predict(checkpoint, world.data, tmp_path / "both", "--precision", "bfloat16") == 0
    rough = (tmp_path / "both" / "T_tst.de.tsv").read_bytes()
    assert rough == (tmp_path / "bfloat16" / "T_tst.de.tsv").read_bytes() != exact
    assert read_predictions(tmp_path / "both", "T_tst", "de").signature.precision == "bfloat16"
    assert main(["ensemble", "--predictions", str(tmp_path / "both")]) == 0
    assert main(["report", "--predictions", str(tmp_path / "both")]) == 0
    assert "precision: bfloat16\n" in capsys.readouterr().out
    # that of training, asked for by its name, is no other
    assert predict(checkpoint, world.data, tmp_path / "both") == 0
    assert (tmp_path / "both" / "T_tst.de.tsv").read_bytes() == exact
    before = (tmp_path / "both" / "T_tst.de.tsv").stat().st_mtime_ns
    assert predict(checkpoint, world.data, tmp_path / "both", "--precision", "float32") == 0
    assert (tmp_path / "both" / "T_tst.de.tsv").stat().st_mtime_ns == before


def test_tables_of_rows_that_were_cut_otherwise_are_not_taken_for_these(world, checkpoint, tmp_path):
    options = ["--corpora", world.corpora, "--data", tmp_path / "short", "--tokenizer", world.encoder]
    assert main(["binarize", *map(str, options), "--max-length", "8"]) == 0
    assert predict(checkpoint, tmp_path / "short", tmp_path / "short only") == 0
    for data in (world.data, tmp_path / "short"):
        assert predict(checkpoint, data, tmp_path / "both") == 0
    name = "T_tst.de.tsv"
    assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "short only" / name).read_bytes()


@pytest.mark.parametrize("damaged", [b"", b'{"format": 1, "sig', b"[1]", b"\xff\xfe"])
def test_a_damaged_signature_is_made_again(world, checkpoint, tmp_path, damaged):
    assert predict(checkpoint, world.data, tmp_path, "--corpora", "T_tst") == 0
    whole = (tmp_path / "T_tst.de.json").read_bytes()
    (tmp_path / "T_tst.de.json").write_bytes(damaged)
    assert predict(checkpoint, world.data, tmp_path, "--corpora", "T_tst") == 0
    assert (tmp_path / "T_tst.de.json").read_bytes() == whole


def test_a_corpus_is_not_taken_for_a_damaged_table(world, checkpoint, tmp_path, capsys):
    for name in ("T_tst.de.tsv", "T_tst.de.json"):
        (tmp_path / name).write_bytes((world.corpora / name).read_bytes())
    corpus = (tmp_path / "T_tst.de.tsv").read_bytes()
    for about in ((tmp_path / "T_tst.de.json").read_bytes(), b"{"):
        (tmp_path / "T_tst.de.json").write_bytes(about)
        assert predict(checkpoint, world.data, tmp_path, "--corpora", "T_tst", "--languages", "de") == 2
        assert "T_tst.de.tsv is a corpus, which the predictions would replace" in capsys.readouterr().err
        assert (tmp_path / "T_tst.de.tsv").read_bytes() == corpus


def test_a_checkpoint_for_another_number_of_classes(world, checkpoint, tmp_path, capsys):
    tiny.make_corpora(tmp_path / "corpora", labels=("0", "1", "2"))
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", world.encoder)
    assert predict(checkpoint, tmp_path / "bin", tmp_path / "out") == 2
    assert "the checkpoint has 2 classes (0, 1), the data-bin 3 (0, 1, 2)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_data_bin_of_another_tokenizer(world, checkpoint, tmp_path, capsys):
    tiny.make_encoder(tmp_path / "other", words=["one", "two"])
    tiny.binarize(world.corpora, tmp_path / "bin", tmp_path / "other")
    assert predict(checkpoint, tmp_path / "bin", tmp_path / "out") == 2
    assert "another tokenizer" in capsys.readouterr().err


def test_a_checkpoint_that_a_training_saves_meanwhile(world, checkpoint, tmp_path, monkeypatch, capsys):
    from fairseq_musc.models import checkpoint as module
    from fairseq_musc.models.checkpoint_files import copy_whole

    best = tmp_path / "checkpoint_best.pt"
    copy_whole(checkpoint, best)

    def load(path):
        trained = load_classifier(path)
        copy_whole(checkpoint.with_name("checkpoint_last.pt"), best, overwrite=True)
        return trained

    monkeypatch.setattr(module, "load_classifier", load)
    for verb in (
        ["predict", "--checkpoint", best, "--data", world.data, "--predictions", tmp_path / "out"],
        ["export", best, tmp_path / "out"],
        ["probe", "--checkpoint", best, "--data", world.data, "--cpu"],
    ):
        assert main([*map(str, verb)]) == 2
        assert "checkpoint_best.pt has changed while it was read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_no_checkpoint(world, tmp_path, capsys):
    assert predict(tmp_path / "none.pt", world.data, tmp_path / "out") == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    (tmp_path / "text.pt").write_text("hello")
    assert predict(tmp_path / "text.pt", world.data, tmp_path / "out") == 2
    assert "cannot be loaded as a checkpoint" in capsys.readouterr().err
    torch.save({"model": {}}, tmp_path / "empty.pt")
    assert predict(tmp_path / "empty.pt", world.data, tmp_path / "out") == 2
    assert "cannot be loaded as a checkpoint" in capsys.readouterr().err


def test_a_corpus_that_is_not_there(world, checkpoint, tmp_path, capsys):
    assert predict(checkpoint, world.data, tmp_path, "--corpora", "T_trn_BT", "--languages", "en") == 2
    assert "holds T_trn_BT in en: only in de, fr" in capsys.readouterr().err
    assert predict(checkpoint, world.data, tmp_path, "--languages", "ja") == 2
    assert "only in de, en, fr" in capsys.readouterr().err
    assert predict(checkpoint, world.data, tmp_path, "--languages", "en", "de", "ja") == 2
    assert "holds none of T_tst, S_tst_MT in ja" in capsys.readouterr().err


def test_help_of_every_verb_says_what_it_reads_and_writes(capsys):
    from fairseq_musc.cli import VERBS

    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out.lower()
        assert "read" in text
        assert "write" in text


def test_a_verb_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(["transalte"])
    assert "translate" in capsys.readouterr().err
