"""Further hypotheses as corpora of their own, and an ensemble over them."""

import json

import fake_engine
import pytest
import tiny

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, read_corpus, write_corpus
from fairseq_musc.evaluate.table import read_predictions

pytest_plugins = ["fake_engine"]
pytestmark = pytest.mark.usefixtures("fake")


def command(tmp_path, *more):
    where = ["--corpora", str(tmp_path / "corpora"), "--translator", str(tmp_path / "fake"), "--engine", "fake"]
    return ["translate", *where, *more]


def test_each_rank_is_a_corpus(tmp_path):
    rows = [Row("a", "0", "Ein Satz. Noch einer."), Row("b", "0", ""), Row("c", "0", "Ein Satz.")]
    write_corpus(tmp_path / "corpora", Corpus("T_tst", "de", "de", "toy", ("0",), rows))
    make = ["--make", "S_tst_MT"]
    assert main(command(tmp_path, *make)) == 0
    best = (tmp_path / "corpora" / "S_tst_MT.de.json").read_bytes()
    assert not (tmp_path / "corpora" / "nbest2").exists()

    assert main(command(tmp_path, *make, "--nbest", "3")) == 0
    assert (tmp_path / "corpora" / "S_tst_MT.de.json").read_bytes() == best, "the best is there already"
    for rank, mark in ((2, " (2)"), (3, " (3)")):
        folder = tmp_path / "corpora" / f"nbest{rank}"
        made = read_corpus(folder, "S_tst_MT", "de")
        assert made.ids == ["a", "b", "c"]
        assert [row.text for row in made.rows] == [
            f"sATZ. eIN [de-en]{mark} EINER. nOCH [de-en]{mark}", "", f"sATZ. eIN [de-en]{mark}",
        ]  # fmt: skip
        assert made.provenance["hypothesis"] == rank
        assert made.provenance["nbest"] == 3

    fake_engine.translated.clear()
    assert main(command(tmp_path, *make, "--nbest", "2")) == 0
    assert fake_engine.translated == []
    (tmp_path / "corpora" / "nbest2" / "S_tst_MT.de.json").unlink()
    assert main(command(tmp_path, *make, "--nbest", "2")) == 0
    assert len(fake_engine.translated) == 2
    assert not (tmp_path / "corpora" / ".translate").exists()


def test_more_than_the_beam_holds_is_refused(tmp_path, capsys):
    assert main(command(tmp_path, "--make", "S_tst_MT", "--beam", "2", "--nbest", "3")) == 2
    assert "--nbest is 3; a beam of 2 holds no more than 2" in capsys.readouterr().err


def test_an_ensemble_takes_a_folder_of_predictions_for_each_rank(tmp_path, capsys):
    """The commands of docs/translation.md."""
    tiny.make_corpora(tmp_path / "corpora")
    for path in (tmp_path / "corpora").glob("S_tst_MT.*"):
        path.unlink()
    assert main(command(tmp_path, "--make", "S_tst_MT", "--nbest", "2")) == 0
    tiny.make_encoder(tmp_path / "encoder")
    tiny.binarize(tmp_path / "corpora", tmp_path / "data-bin", tmp_path / "encoder")
    tiny.binarize(tmp_path / "corpora" / "nbest2", tmp_path / "data-bin-2", tmp_path / "encoder")
    run = tiny.train(tmp_path / "data-bin", tmp_path / "encoder", tmp_path / "run", "optimization.max_epoch=1")
    checkpoint = ["--checkpoint", str(run / "checkpoint_best.pt")]
    one, two, both = (str(tmp_path / name) for name in ("one", "two", "both"))
    assert main(["predict", *checkpoint, "--data", str(tmp_path / "data-bin"), "--predictions", one]) == 0
    data = ["--data", str(tmp_path / "data-bin-2"), "--corpora", "S_tst_MT"]
    assert main(["predict", *checkpoint, *data, "--predictions", two]) == 0
    assert main(["ensemble", "--predictions", one, two, "--output", both]) == 0
    signature = read_predictions(both, "Ens", "de").signature
    assert list(signature.members) == ["T_tst", "S_tst_MT[ffffffffffff]", "S_tst_MT[ffffffffffff/2]"]
    name = "fake with fake.pt (SHA-256 ffffffffffff)"
    assert signature.translator == f"{name} + {name}, hypothesis 2"
    assert json.loads((tmp_path / "one" / "S_tst_MT.de.json").read_text())["signature"]["translator"] == name
    assert main(["report", "--predictions", both]) == 0
