"""Masked language modelling of a small BERT: what it reads, what it learns, and going on where it was stopped."""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertForMaskedLM

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.models import pretrain_encoder

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SMALL = ["--hidden-size", "16", "--layers", "1", "--heads", "2", "--intermediate-size", "24", "--max-positions", "40"]
COUNTED = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
VOCAB = SHARED / "mbert" / "vocab.txt"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COUNTED, "eins", "zwei"]


@pytest.fixture
def encoder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    folder = tmp_path / "untrained"
    assert main(["new-encoder", "--output", str(folder), "--vocab", str(tmp_path / "vocab.txt"), *SMALL]) == 0
    return folder


@pytest.fixture
def counting(tmp_path):
    """60 different texts, of which nearly all words are the same one."""
    path = tmp_path / "counting.txt"
    texts = [f"{COUNTED[n % 8]} {'one ' * (5 + n)}{COUNTED[n // 8]}\n" for n in range(60)]
    path.write_text("".join(texts), encoding="utf-8")
    return path


def pretrain(encoder, output, *options):
    given = ["--encoder", encoder, "--output", output, "--cpu", "--max-length", 16, "--batch-size", 8, *options]
    return main(["pretrain-encoder", *map(str, given)])


def test_rows_have_no_padding_but_in_the_last():
    from fairseq_musc.models.masked_language_model import rows_of

    # 2 is [CLS], 3 [SEP], 0 [PAD]: 7 pieces and 2 between the three texts that hold some
    rows = rows_of([[5, 6, 7], [], [8], [9, 10, 11]], 6, 2, 3, 0)
    assert rows.tolist() == [[2, 5, 6, 7, 3, 3], [2, 8, 3, 9, 10, 3], [2, 11, 3, 0, 0, 0]]


def test_the_learning_rate_rises_and_falls():
    from fairseq_musc.models.masked_language_model import rate

    assert [rate(update, 3, 0.0) for update in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate(3, 3, 0.25) == 0.75
    assert rate(1, 3, 0.5) == 0.25
    assert rate(100, 3, 1.0) == 0.0


def test_the_loss_is_that_of_transformers(encoder):
    """Scores at masked pieces alone, held against BertForMaskedLM, which makes them everywhere."""
    from fairseq_musc.models.masked_language_model import OfMaskedPieces

    torch.manual_seed(1)
    ours = OfMaskedPieces.from_pretrained(encoder).eval()
    theirs = BertForMaskedLM(ours.config).eval()
    theirs.load_state_dict(ours.state_dict())
    ids = torch.randint(5, 15, (3, 9))
    labels = torch.where(torch.rand(3, 9) < 0.4, ids, -100)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    expected = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert torch.allclose(ours(ids, mask, labels)["loss"], expected)
    assert ours(ids, mask, torch.full_like(labels, -100))["loss"] == 0


def test_an_encoder_that_another_run_has_made_meanwhile_is_not_pretrained_once_more(
    tmp_path, encoder, counting, capsys, monkeypatch
):
    """The one that was begun beside it has read the text, and finds its hidden folder gone."""

    def read_slowly(*arguments):
        (tmp_path / "made").mkdir()
        return read(*arguments)

    read = pretrain_encoder.read_sources
    monkeypatch.setattr(pretrain_encoder, "read_sources", read_slowly)
    before = {path.name for path in tmp_path.iterdir()}
    assert pretrain(encoder, tmp_path / "made", "--text", counting, "--held-out", 6, "--updates", 2) == 2
    assert "made exists; name a new folder" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {*before, "made"}


def test_it_learns_and_goes_on_where_it_was_stopped(tmp_path, encoder, counting, capsys):
    options = ["--text", counting, "--held-out", 6, "--lr", 0.02, "--warmup", 5, "--save-every", 30, "--updates", 60]
    output = tmp_path / "pretrained"
    with pytest.raises(SystemExit) as stopped:
        pretrain(encoder, output, *options, "--stop-after", 0)
    assert stopped.value.code == 3
    assert not output.exists()
    assert pretrain(encoder, output, *options, "--seed", 2) == 2
    assert "seed was 1, asked is 2" in capsys.readouterr().err
    assert pretrain(encoder, output, *options) == 0
    said = capsys.readouterr()
    assert "there is a checkpoint of update 1\n" in said.err
    about = json.loads((output / "pretraining.json").read_text())
    assert about["texts"] == {str(counting): 54}
    assert about["updates"] == 60
    assert [*about["held_out_loss"]] == ["30", "60"]
    # of 15 pieces at the start
    assert math.exp(about["held_out_loss"]["60"]) < 3
    assert f"{output}: 60 updates" in said.out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    before, after = AutoModel.from_pretrained(encoder).state_dict(), AutoModel.from_pretrained(output).state_dict()
    assert before.keys() == after.keys()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same - {"embeddings.position_ids"} == {"pooler.dense.weight", "pooler.dense.bias"}
    assert AutoTokenizer.from_pretrained(output).get_vocab() == AutoTokenizer.from_pretrained(encoder).get_vocab()
    assert (output / "vocab.txt").read_text() == (encoder / "vocab.txt").read_text()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_a_checkpoint(tmp_path, encoder, counting, sent, status):
    """Sent to a process of its own at the first line on the loss, as a terminal and Slurm send it."""
    program = Path(sys.executable).with_name("fairseq-musc")
    output = tmp_path / "e"
    options = ["--encoder", encoder, "--output", output, "--text", counting, "--cpu", "--max-length", "16"]
    options += ["--batch-size", "8", "--held-out", "6", "--num-workers", "1", "--updates", "100000"]
    said = []
    with subprocess.Popen(
        [program, "pretrain-encoder", *map(str, options)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for line in process.stderr:
            said.append(line)
            if "  loss " in line:
                os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
                break
        said += process.stderr.readlines()
    text = "".join(said)
    assert process.returncode == status, text[-3000:]
    assert "Traceback" not in text
    assert text.count("stopping behind this update, with a checkpoint") == 1
    (checkpoint,) = (tmp_path / ".e.pretraining").glob("checkpoint-*")
    update = int(checkpoint.name.rpartition("-")[2])
    assert update >= 50
    assert f"stopped at update {update}; the same command goes on from there\n" in text
    assert not output.exists()
    assert pretrain(encoder, output, "--text", counting, "--held-out", 6, "--updates", update + 1) == 0
    assert json.loads((output / "pretraining.json").read_text())["updates"] == update + 1


def test_minutes_that_are_over_make_the_encoder_of_what_there_is(tmp_path, encoder, counting):
    options = ["--text", counting, "--held-out", 0, "--save-every", 5]
    with pytest.raises(SystemExit):
        pretrain(encoder, tmp_path / "e", *options, "--minutes", 60, "--stop-after", 0)
    assert pretrain(encoder, tmp_path / "e", *options, "--minutes", 0) == 0
    about = json.loads((tmp_path / "e" / "pretraining.json").read_text())
    assert (about["updates"], about["held_out_loss"]) == (1, {})


def test_only_originals_for_training_are_read(tmp_path, encoder):
    from fairseq_musc.models.pretrain_encoder import add_arguments, read_sources

    for name, language, text_language in (
        *(("S_trn", "en", "en"), ("T_trn", "de", "de"), ("T_trn_MT", "de", "de"), ("T_val", "en", "en")),
        *(("T_tst", "de", "de"), ("S_tst_MT", "de", "en")),
    ):
        rows = [Row(str(n), "0", f"{name} {n}", f"second {name}") for n in range(3)]
        provenance = {"made_from": "x"} if name.endswith("MT") else {}
        write_corpus(tmp_path / "c", Corpus(name, language, text_language, "pawsx", ("0", "1"), rows, provenance))
    (tmp_path / "en-de.tsv").write_text("one\teins\ntwo\tzwei\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = ["--encoder", str(encoder), "--output", "o", "--corpora", str(tmp_path / "c")]
    found = read_sources(parser.parse_args([*options, "--parallel", str(tmp_path), "--limit", "3"]))
    assert found == {
        f"{tmp_path}/c/S_trn.en": ["S_trn 0", "second S_trn", "S_trn 1"],
        f"{tmp_path}/c/T_trn.de": ["T_trn 0", "second T_trn", "T_trn 1"],
        "en-de.en": ["one", "two"],
        "en-de.de": ["eins", "zwei"],
    }


def test_a_held_out_text_is_left_in_no_source():
    from fairseq_musc.models.pretrain_encoder import hold_out

    texts = {"a": ["x", "y", "z", "x"], "b": ["x", "v", "w", "z", "y"]}
    training, held_out = hold_out(texts, 1, seed=1)
    gone = {text for rows in held_out.values() for text in rows}
    assert {name: len(rows) for name, rows in held_out.items()} == {"a": 1, "b": 1}
    assert training == {name: [text for text in rows if text not in gone] for name, rows in texts.items()}


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ([], ["there is no text", "nothing says how long"]),
        (["--text", "COUNTING", "--updates", 0, "--mask", 1], ["--updates is 0", "--mask is 1.0"]),
        (["--text", "COUNTING", "--updates", 1, "--max-length", 41], ["--max-length is 41", "reads 40 pieces"]),
        (["--text", "COUNTING", "--updates", 1, "--held-out", 60], ["no text is left to train on"]),
        (["--corpora", "nowhere", "--updates", 1], ["holds neither S_trn nor T_trn"]),
    ],
)
def test_mistakes_are_named_and_leave_nothing(tmp_path, encoder, counting, capsys, options, messages):
    there = {*tmp_path.iterdir()}
    given = [counting if option == "COUNTING" else option for option in options]
    assert pretrain(encoder, tmp_path / "e", *given) == 2
    said = capsys.readouterr().err
    assert [message for message in messages if message not in said] == []
    assert {path for path in tmp_path.iterdir() if path.name != ".e.pretraining"} == there


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.skipif(not VOCAB.exists(), reason="needs the vocabulary and the text of ../shared/data")
def test_an_encoder_of_real_text_by_the_script(tmp_path):
    """With the first pieces of mBERT's vocabulary, which all take long to load."""
    pieces = VOCAB.read_text(encoding="utf-8").split("\n")[:3000]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    done = subprocess.run(
        [ROOT / "scripts" / "encoder_small.sh", tmp_path / "vocab.txt", SHARED / "parallel", tmp_path, "tiny"],
        env={**os.environ, "LANGUAGES": "en ja", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    about = json.loads((tmp_path / "encoder" / "pretraining.json").read_text())
    assert about["texts"].keys() == {"en-ja.en", "en-ja.ja"}
    assert about["held_out_loss"]["30"] < math.log(3000), "no better than any piece as likely as another"
    assert AutoTokenizer.from_pretrained(tmp_path / "encoder").get_vocab() == {p: n for n, p in enumerate(pieces)}
