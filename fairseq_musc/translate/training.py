"""Training by ``fairseq-train``: its process, the checkpoints that it leaves, and their average."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.safe_loading import allow_fairseq_checkpoints


class Diverged(InputError):
    """The gradients of a training are not finite."""


def say(line: str) -> None:
    """Progress, to the stream that no result goes to."""
    print(line, file=sys.stderr, flush=True)


def fairseq_train(arguments: Sequence[str], end: float | None = None) -> None:
    """Runs ``fairseq-train`` in a process of its own, its progress in a line each.

    Args:
        arguments: of the command; ``--max-update`` among them.
        end: on the clock of ``time.monotonic``: the training is told to stop shortly before, and killed then. None: no
            limit.

    Raises:
        Diverged: the gradients were not finite.
        RuntimeError: it failed otherwise; with the last lines that it printed.
    """
    # -P keeps the current folder off the path: in a checkout fairseq_musc lies there, less what setup.py maps into it.
    command = [sys.executable, "-u", "-P", "-m", "fairseq_musc.translate.training_child", *arguments]
    # With --cpu fairseq still clips gradients by a factor on the GPU that it sees, and fails.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""} if "--cpu" in arguments else None
    updates = arguments[arguments.index("--max-update") + 1]
    last: deque[str] = deque(maxlen=200)
    reached = "the start"
    with (
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,  # see training_child: a byte there stops it, and so does the end of this process
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that the processes that make batches can be killed with it
        ) as process,
        _ended_in_time(process, end) as killed,
    ):
        assert process.stdout is not None
        for read in process.stdout:
            line = read.decode(errors="replace")
            last.append(line)
            if " | train_inner | " in line:
                numbers = json.loads(line.rsplit(" | ", 1)[1])
                reached = f"update {numbers['num_updates']}, where the loss was {numbers['loss']}"
                say(
                    f"update {numbers['num_updates']}/{updates}  loss {numbers['loss']}  perplexity {numbers['ppl']}  "
                    f"{numbers['wps']} pieces/s"
                )
            elif " | valid | " in line:
                numbers = json.loads(line.rsplit(" | ", 1)[1])
                say(f"update {numbers['valid_num_updates']}/{updates}  perplexity of held-out {numbers['valid_ppl']}")
    if process.returncode == 0 or killed.is_set():
        return
    if any(line.startswith("FloatingPointError") for line in last):
        # fairseq then looks for the module to blame, which fails with newer releases of torch and hides the reason.
        raise Diverged(
            f"the training diverged behind {reached}: its gradients are not finite. Give a smaller --lr or a longer "
            "--warmup"
        )
    said = "".join([*last][-40:])
    raise RuntimeError(f"fairseq-train ended with status {process.returncode}; its last lines:\n{said}")


def time_to_stop(left: float) -> float:
    """How many of the seconds left are for the update in hand and a checkpoint."""
    return min(15.0, left / 4)


@contextmanager
def _ended_in_time(process: subprocess.Popen[bytes], end: float | None) -> Iterator[threading.Event]:
    """Stops the training shortly before ``end`` and kills it then, which the event tells.

    Ctrl-C stops it too; another exception, or Ctrl-C once more, kills it.
    """
    killed = threading.Event()

    def stop(why: str = "its time is over: the training stops") -> None:
        say(why)
        assert process.stdin is not None
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended by itself

    def kill() -> None:
        killed.set()
        kill_all(process)

    timers = []
    if end is not None:
        left = max(0.0, end - time.monotonic())
        timers = [threading.Timer(left - time_to_stop(left), stop), threading.Timer(left, kill)]
    for timer in timers:
        timer.start()
    try:
        yield killed
    except BaseException as error:
        try:
            if isinstance(error, KeyboardInterrupt):
                stop("stopping behind this update, with a checkpoint (Ctrl-C once more: at once)")
                assert process.stdout is not None
                deque(process.stdout, maxlen=0)  # until it has ended
        finally:
            kill_all(process)
        raise
    finally:
        for timer in timers:
            timer.cancel()


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kills a process that leads a session, and all that it started: they would hold its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a training, whole ones alone and each state once, by the number of updates."""
    found = {updates_of(path): path for path in sorted(folder.glob("checkpoint_*.pt")) if zipfile.is_zipfile(path)}
    return [found[updates] for updates in sorted(found)]


def updates_of(checkpoint: Path) -> int:
    """After how many updates a checkpoint was written."""
    if numbered := re.fullmatch(r"checkpoint_\d+_(\d+)\.pt", checkpoint.name):
        return int(numbered[1])
    updates: int = _load(checkpoint)["optimizer_history"][-1]["num_updates"]
    return updates


def average(checkpoints: Sequence[Path]) -> dict[str, Any]:
    """The last checkpoint with the mean of the parameters of all, without the state of its optimiser.

    Averaging the end of a training does what a falling learning rate would; fairseq has a script for it,
    ``scripts/average_checkpoints.py``, which its package leaves out. The mean is taken in fp32 and given back in the
    precision of the checkpoints.
    """
    states = [_load(path) for path in checkpoints]
    last = states[-1]
    means: dict[Any, Any] = {}  # by where a parameter lies: the embeddings are one under several names
    for name, parameter in last["model"].items():
        place = parameter.data_ptr(), parameter.shape
        if place not in means:
            means[place] = parameter.clone()
            if parameter.is_floating_point():
                total = sum(state["model"][name].float() for state in states)
                means[place] = (total / len(states)).to(parameter.dtype)
        last["model"][name] = means[place]
    last.pop("last_optimizer_state", None)
    return last


def _load(checkpoint: Path) -> dict[str, Any]:
    """The state in a checkpoint, its tensors left on disk."""
    import torch

    allow_fairseq_checkpoints()
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return state
