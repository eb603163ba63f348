"""A training that stands still: fairseq-train itself, made to hang in a process that makes batches."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from translator_fixture import tiny_arguments, write_parallel

from fairseq_musc.cli import main
from fairseq_musc.translate import train, training
from fairseq_musc.translate.training import STARTING, Output, Silent, Stalled, fairseq_train, patience

#: A ``--user-dir`` by which a process that makes batches hangs for ever once there is a checkpoint of update 5, and
#: that only once.
HANGS = """
import pathlib, threading
import torch
from fairseq.data import LanguagePairDataset

here = pathlib.Path(__file__).parent
collated = LanguagePairDataset.collater

def hang_for_ever():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def collater(self, samples, *args, **kwargs):
    in_a_maker_of_batches = torch.utils.data.get_worker_info() is not None
    if in_a_maker_of_batches and not (here / "hung").exists() and list(here.glob(".*/**/checkpoint_*_5.pt")):
        (here / "hung").touch()
        hang_for_ever()
    return collated(self, samples, *args, **kwargs)

LanguagePairDataset.collater = collater
"""


def test_it_is_killed_and_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    write_parallel(tmp_path / "parallel", 60)
    (tmp_path / "__init__.py").write_text(HANGS)
    whole = train.train_arguments
    monkeypatch.setattr(train, "train_arguments", lambda *given: [*whole(*given), "--user-dir", str(tmp_path)])
    options = {"--updates": "10", "--save-every": "5", "--average": "2", "--num-workers": "1", "--stalled-after": "5"}
    more = [word for option in options.items() for word in option]  # the last of an option counts
    assert main(tiny_arguments(tmp_path / "parallel", tmp_path / "out", "--held-out", "0", *more)) == 0
    assert (tmp_path / "hung").exists()
    said = capsys.readouterr().err
    assert said.count("no sign of life for 5 s") == 1
    assert "another process goes on from update 5\n" in said
    stood = re.split(r"process (\d+)(, which makes batches)?:\n", said)
    assert re.search(r"File .*iterators\.py.* in __next__\n(.*\n)*?.* in train\n", stood[3])  # it waits for a batch
    (maker,) = [int(pid) for pid, stack in zip(stood[4::3], stood[6::3], strict=True) if "in hang_for_ever" in stack]
    with pytest.raises(ProcessLookupError):
        os.kill(maker, 0)
    about = json.loads((tmp_path / "out" / "training.json").read_text())
    assert about["updates"] == 10
    assert about["averaged"] == [5, 10]
    assert "stalled_after" not in about["settings"]


@pytest.mark.parametrize(
    ("saved", "runs", "ends"),
    [
        ([0, 0, 0, 0], 3, "stalled 3 times behind its checkpoint of update 0; try --num-workers 0"),
        ([0, 10, 20, 20, 20], 4, "stalled 3 times behind its checkpoint of update 20"),
        ([0, 10, 20, 30, 40, 100], 5, None),  # on its way out, with all updates
    ],
)
def test_it_is_given_up_where_it_gets_no_further(tmp_path, monkeypatch, saved, runs, ends):
    """``saved``: the update of the last checkpoint before the first process and behind each."""
    begun = []

    def stall(*given):
        begun.append(given)
        raise Stalled("no sign of life")

    monkeypatch.setattr(training, "_train_once", stall)
    monkeypatch.setattr(training, "_last_update", lambda folder: saved[len(begun)])
    arguments = ["--save-dir", str(tmp_path), "--max-update", "100"]
    if ends:
        with pytest.raises(RuntimeError, match=ends):
            fairseq_train(arguments)
    else:
        fairseq_train(arguments)
    assert len(begun) == runs


def test_no_process_is_begun_when_the_time_is_over(tmp_path, monkeypatch):
    begun = []

    def stall(*given):
        begun.append(given)
        raise Stalled("no sign of life")

    monkeypatch.setattr(training, "_train_once", stall)
    fairseq_train(["--save-dir", str(tmp_path), "--max-update", "100"], end=time.monotonic())
    assert len(begun) == 1


def test_what_takes_as_long_as_it_takes():
    limits, limit = [], STARTING
    for line in (
        "INFO | fairseq_cli.train | Start iterating over samples",
        "at work",
        "INFO | fairseq.checkpoint_utils | Preparing to save checkpoint for epoch 1 @ 5 updates",
        "INFO | fairseq.trainer | Saving checkpoint to /out/checkpoint_1_5.pt",
        "INFO | fairseq.checkpoint_utils | Saved checkpoint /out/checkpoint_1_5.pt (epoch 1 @ 5 updates)",
        "at work",
    ):
        limit = patience(line, limit, 90.0)
        limits.append(limit)
    assert limits == [90, 90, 600, 600, 90, 90]
    assert patience("Preparing to save checkpoint", 90, 5000) == 5000


def test_lines_come_whole_and_silence_is_seen():
    says = "import os, time; os.write(1, b'one\\ntw'); time.sleep(0.2); os.write(1, b'o\\nthree'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", says], stdout=subprocess.PIPE) as process:
        try:
            output = Output(process, limit=20.0)
            lines = iter(output)
            assert [next(lines), next(lines)] == ["one\n", "two\n"]
            output.limit = 0.5
            with pytest.raises(Silent):
                next(lines)
        finally:
            process.kill()
        assert list(output) == ["three"]


def test_a_limit_that_is_none(tmp_path, capsys):
    assert main(tiny_arguments(tmp_path, tmp_path / "out", "--stalled-after", "nan")) == 2
    assert "--stalled-after is nan; it must be at least 1" in capsys.readouterr().err
