"""Training runs that are killed with SIGKILL, in the middle of what they do.

A run is a forked child, or one for each rank, so that fairseq is imported once: it composes the recipe, trains, and is
killed by itself at a place that was aimed at, or by the parent after a time. Nothing is imitated: the process is gone.
"""

import contextlib
import io
import os
import random
import signal
import socket
import sys
import time
import traceback
from typing import NamedTuple

import tiny

#: What a run can be killed in the middle of.
MOMENTS = ("step", "validation", "save", "copy", "anywhere")


class Aim(NamedTuple):
    """Where a run is killed."""

    moment: str
    count: int
    """At the how-maniest time that it does this; of ``anywhere`` the hundredths of a second."""
    share: float
    """Of a file: how much of it has been written by then."""
    rank: int
    """Which rank of several."""


def draw(rng, ranks, moments=MOMENTS):
    moment = rng.choice(moments)
    count = rng.randint(
        *{"step": (1, 6), "validation": (1, 3), "save": (1, 3), "copy": (1, 3), "anywhere": (5, 90)}[moment]
    )
    rank = 0 if moment in ("save", "copy") else rng.randrange(ranks)  # the first alone writes
    return Aim(moment, count, rng.random(), rank)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def take_aim(aim):
    """In the child: puts the end where it was aimed at."""
    import torch

    from fairseq_musc.criterions.musc import MuscCriterion
    from fairseq_musc.models import checkpoint_files

    left = [aim.count]

    def now():
        left[0] -= 1
        return left[0] == 0

    def half_written(data, target):
        target.write(data[: int(len(data) * aim.share)])
        target.flush()
        die()

    if aim.moment in ("step", "validation"):
        name = {"step": "training_loss", "validation": "validation_counts"}[aim.moment]
        real = getattr(MuscCriterion, name)

        def watched(self, model, sample):
            made = real(self, model, sample)
            if now():
                die()
            return made

        setattr(MuscCriterion, name, watched)
    elif aim.moment == "save":
        save = torch.save

        def cut_save(state, stream):
            if not now():
                return save(state, stream)
            whole = io.BytesIO()
            save(state, whole)
            half_written(whole.getvalue(), stream)

        torch.save = cut_save
    elif aim.moment == "copy":
        copy = checkpoint_files.shutil.copyfileobj

        def cut_copy(source, target, *rest):
            if not now():
                return copy(source, target, *rest)
            half_written(source.read(), target)

        checkpoint_files.shutil.copyfileobj = cut_copy


def forked(work, *arguments):
    """Does some work in a forked process that ends with it, with status 1 if it raised; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def be_rank(rank):
    """Lets fairseq train in this process as one rank of those that are to be, and not start them itself."""
    from fairseq.distributed import utils as distributed

    def as_rank(cfg, main, **kwargs):
        cfg.distributed_training.distributed_rank = None
        distributed.distributed_main(rank, main, cfg, {"start_rank": 0})

    distributed.call_main = as_rank


def child(log, world, run, overrides, rank, ranks, port, aim, changes):
    """A run, or one rank of it, in this process, whose output is from now on the log."""
    stream = open(log, "ab", buffering=0)  # noqa: SIM115
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    import logging

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s | %(message)s", force=True)
    if ranks > 1:
        be_rank(rank)
        overrides = (
            *overrides,
            f"distributed_training.distributed_world_size={ranks}",
            "distributed_training.distributed_backend=gloo",
            f"distributed_training.distributed_init_method=tcp://localhost:{port}",
            "distributed_training.ddp_backend=legacy_ddp",
        )
    if aim is not None and aim.rank == rank:
        take_aim(aim)
    if changes is not None:
        changes(rank)
    tiny.train(world.data, world.encoder, run, *overrides)


def start(world, run, log, *overrides, ranks=1, aim=None, changes=None):
    """Starts a run; returns the process ids, in the order of the ranks."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(ranks):
        to = log.with_name(f"{log.name}.{rank}")
        started.append(forked(child, to, world, run, overrides, rank, ranks, port, aim, changes))
    return started


def statuses(started, kill_all=True, timeout=120):
    """Waits for all ranks; as soon as one has failed the others are killed, if asked for (a machine that dies)."""
    ended = {}
    until = time.monotonic() + timeout
    while len(ended) < len(started):
        for pid in set(started) - set(ended):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status)
        if (any(ended.values()) and kill_all) or time.monotonic() > until:
            for pid in set(started) - set(ended):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [ended[pid] for pid in started]


def until_done(
    world, run, log, *overrides, kills, seed, ranks=1, moments=MOMENTS, changes=None, check=lambda hits: None
):
    """Starts a run again and again, kills it so many times, and lets it end; returns the aims that hit.

    How far a run gets that is killed by the clock is a matter of the machine. One that is over too early, as an aim
    came too late, is taken back to before the last kill, and goes on from there to others.

    Args:
        check: is called with the aims that have hit whenever the run is over, too early or not.
    """
    rng = random.Random(seed)
    hits, before_hits = [], []
    logs = [log.with_name(f"{log.name}.{rank}") for rank in range(ranks)]
    for _ in range(20 * kills):
        aim = draw(rng, ranks, moments) if len(hits) < kills else None
        before = contents(run, logs)
        started = start(world, run, log, *overrides, ranks=ranks, aim=aim, changes=changes)
        if aim is not None and aim.moment == "anywhere":
            time.sleep(aim.count / 100)
            with contextlib.suppress(ProcessLookupError):
                os.kill(started[aim.rank], signal.SIGKILL)
        ended = statuses(started)
        if -signal.SIGKILL in ended:
            hits.append(aim)
            before_hits.append(before)
            continue
        if any(ended):
            raise AssertionError(f"{ended}: {logs[0].read_text()[-3000:]}")
        check(hits)
        if len(hits) == kills:
            return hits
        if hits:
            hits.pop()
            before = before_hits.pop()
        for path in contents(run, logs):
            path.unlink()
        for path, data in before.items():
            path.write_bytes(data)
    raise AssertionError(f"only {len(hits)} of {kills} kills in {20 * kills} starts; is the run long enough?")


def contents(run, logs):
    """All files of a run, by their paths."""
    return {path: path.read_bytes() for path in (*run.rglob("*"), *logs) if path.is_file()}
