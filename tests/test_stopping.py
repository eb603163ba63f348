"""Trainings that are told to stop: real signals to real processes, and what lies on disk afterwards."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch

from fairseq_musc.stopping import Stop, finished, last_words

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("fairseq-hydra-train")
EPOCHS, UPDATES_AN_EPOCH = 6, 5  # 37 rows in batches of 8


def command(world, save_dir, *overrides):
    return [
        *(PROGRAM, "--config-name", "musc_pawsx", f"task.data={world.data}", f"model.pretrained={world.encoder}"),
        *(f"checkpoint.save_dir={save_dir}", "optimization.lr=[0.001]", "dataset.batch_size=8", "common.cpu=true"),
        *("common.log_interval=1", f"optimization.max_epoch={EPOCHS}", "dataset.num_workers=1", *overrides),
    ]


def start(command, folder):
    """A training in a session of its own, whose log is read line by line.

    The pipe is small: the training waits for its reader, so that the signals of a test come when it means them to.
    """
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    return process


def stopped(process, update, send):
    """Calls ``send`` when the log is at an update; returns the status and all that was printed."""
    said = []
    for line in process.stdout:
        said.append(line)
        if f"num_updates={update}," in line or f"num_updates={update} " in line:
            send()
            break
    rest, _ = process.communicate(timeout=120)
    return process.returncode, "".join(said) + rest


def update_of(folder):
    return tiny.load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


def ends(group, seconds=10):
    """Whether no process of a group is left."""
    for _ in range(seconds * 20):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_training_that_is_stopped_twice_ends_as_one_that_was_not(world, tmp_path):
    """Ctrl-C reaches all processes of a terminal, also those that make batches; SIGTERM the training alone."""
    run = tmp_path / "run"
    process = start(command(world, run), tmp_path)
    status, said = stopped(process, 7, lambda: os.killpg(process.pid, signal.SIGINT))
    assert status == 130, said[-3000:]
    first = update_of(run)
    assert 7 <= first < EPOCHS * UPDATES_AN_EPOCH
    assert said.count("stopping behind this update") == 1
    assert f"stopped behind update {first}, saved in {run}; the same command goes on from there" in said
    assert "Traceback" not in said and "done training" not in said
    assert ends(process.pid)

    process = start(command(world, run), tmp_path)
    status, said = stopped(process, first + 2, process.terminate)
    assert status == 143, said[-3000:]
    second = update_of(run)
    assert first + 2 <= second < EPOCHS * UPDATES_AN_EPOCH
    assert f"@ {first} updates)" in said  # where it went on
    assert "Traceback" not in said
    assert ends(process.pid)

    for folder in (run, tmp_path / "whole"):
        tiny.train(world.data, world.encoder, folder, f"optimization.max_epoch={EPOCHS}")
    whole = tmp_path / "whole"
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        one, other = tiny.load(whole / name), tiny.load(run / name)
        assert one["optimizer_history"][-1]["num_updates"] == other["optimizer_history"][-1]["num_updates"]
        assert one["extra_state"]["val_loss"] == other["extra_state"]["val_loss"]
        assert one["extra_state"]["best"] == other["extra_state"]["best"]
        for key, value in one["model"].items():
            assert torch.equal(value, other["model"][key]), (name, key)


@pytest.mark.long
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM to who started them", "SIGINT to one"])
def test_two_ranks_stop_behind_the_same_update(world, tmp_path, how):
    """One can't end without the other, and the signals reach them at different moments."""
    arguments = (world.data, world.encoder, tmp_path / "run", f"optimization.max_epoch={20 * EPOCHS}")
    process = start([sys.executable, HERE / "two_processes.py", *arguments], tmp_path)

    def send():
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ranks = [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(ranks) == 2
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        elif how == "SIGINT to one":
            os.kill(ranks[1], signal.SIGINT)
        else:
            process.terminate()

    status, said = stopped(process, 7, send)
    assert status == {"Ctrl-C": -signal.SIGINT, "SIGINT to one": 1}.get(how, -signal.SIGTERM), said[-3000:]
    assert f"stopped behind update {update_of(tmp_path / 'run')}, saved in" in said
    assert ends(process.pid)


def test_once_more_ends_at_once():
    with Stop().listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_follows_sigterm_ends_nothing():
    """torch sends SIGINT to the ranks when the process that started them has gone."""
    stop = Stop()
    with stop.listening():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert stop.asked == signal.SIGTERM


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.listening():
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_one_process_was_asked_all_hear():
    asked, other = Stop(), Stop()
    asked.asked = signal.SIGINT
    logs = [stop.told({"loss": 1.0}) for stop in (asked, other)]
    assert [sorted(log) for log in logs] == [["loss", "stop"]] * 2
    other.hear([{"loss": 2.0}])
    assert not other.agreed
    other.hear([{"stop": torch.tensor(float(sum(log["stop"] for log in logs)))}])
    assert other.agreed


@pytest.mark.parametrize(
    ("max_epoch", "max_update", "updates", "next_epoch", "end"),
    [(4, 0, 20, 4, False), (4, 0, 20, 5, True), (4, 100, 100, 2, True), (0, 0, 100, 9, False)],
)
def test_a_training_that_has_ended_is_not_one_to_go_on_with(max_epoch, max_update, updates, next_epoch, end):
    cfg = SimpleNamespace(optimization=SimpleNamespace(max_epoch=max_epoch, max_update=max_update))
    assert finished(cfg, updates, next_epoch) == end


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({}, "saved in run; the same command goes on from there"),
        ({"restore_file": "other.pt"}, "go on with checkpoint.restore_file=run/checkpoint_last.pt"),
        ({"no_save": True}, "checkpoint.no_save=true: its state was not kept"),
        ({"no_last_checkpoints": True}, "checkpoint.no_last_checkpoints=true: its state was not kept"),
    ],
)
def test_last_words_are_true(saved, words):
    checkpoint = {
        "save_dir": "run",
        "restore_file": "checkpoint_last.pt",
        "no_save": False,
        "no_last_checkpoints": False,
    }
    said = last_words(SimpleNamespace(checkpoint=SimpleNamespace(**{**checkpoint, **saved})), 9)
    assert said == f"stopped behind update 9{',' if not saved else ';'} {words}"
