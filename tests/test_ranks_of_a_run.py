"""Whole runs of several ranks: one that dies ends the others, each row is validated on once, whatever the sizes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed
import pytest
import tiny


def test_a_rank_that_dies_ends_the_other_with_its_reason(world, tmp_path, promise):
    log = tmp_path / "log"
    aim = killed.Aim("step", 3, 0.0, rank=1)
    begun = time.monotonic()
    started = killed.start(world, tmp_path / "run", log, "optimization.max_epoch=50", ranks=2, aim=aim)
    ended = killed.statuses(started, kill_all=False, timeout=60)
    promise("many processes", "SIGKILL of one of 2 ranks", 1)
    assert ended == [1, -signal.SIGKILL]
    assert time.monotonic() - begun < 60
    assert "Check the logs of the remote worker" in log.with_name("log.0").read_text()


@pytest.mark.long
def test_a_rank_that_fairseq_started_ends_the_run_with_its_reason(world, tmp_path, promise):
    """By torch.multiprocessing.spawn, as on a machine with several GPUs."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = [world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=2000"]
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, str(here / "two_processes.py"), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
        until = time.monotonic() + 240
        while not (tmp_path / "run" / "checkpoint_last.pt").exists():  # the end of the first epoch
            assert run.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.1)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        ranks = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(ranks) == 2
        os.kill(int(ranks[1]), signal.SIGKILL)
        promise("many processes", "SIGKILL of one of 2 ranks that fairseq started", 1)
        assert run.wait(timeout=60) != 0
    assert "SIGKILL" in (tmp_path / "log").read_text() or "remote worker" in (tmp_path / "log").read_text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def validated(world, folder, size, ranks):
    """What the checkpoint of a run says of its validation: the figure, and the counts of all languages."""
    options = ("optimization.lr=[0.0]", "optimization.max_update=1", f"dataset.batch_size_valid={size}")
    log = folder / "log"
    ended = killed.statuses(killed.start(world, folder / "run", log, *options, ranks=ranks))
    assert ended == [0] * ranks, log.with_name("log.0").read_text()[-3000:]
    state = tiny.load(folder / "run" / "checkpoint_last.pt")["extra_state"]
    meters = [(key, meter) for _, key, _, meter in state["metrics"]["valid"]]
    return state["val_loss"], {key: meter["sum"] for key, meter in meters if key.startswith(("_n:", "_right:"))}


@pytest.fixture(scope="module")
def validated_by_one(world, tmp_path_factory):
    return validated(world, tmp_path_factory.mktemp("one"), 16, ranks=1)


@pytest.mark.parametrize("size", [128, 7, 1], ids=["fewer batches than ranks", "odd", "one row"])
def test_each_row_is_validated_on_once(world, validated_by_one, tmp_path, size, promise):
    """39 rows in batches of up to three times this size: the task counts them behind each validation."""
    found = validated(world, tmp_path, size, ranks=4)
    promise("many processes", f"validation by 4 ranks, batches of {size}", 1)
    assert found == validated_by_one
    assert {key: found[1][key] for key in ("_n:en", "_n:de", "_n:fr")} == {"_n:en": 13, "_n:de": 13, "_n:fr": 13}
