"""Training by ``fairseq-train``: its process, the checkpoints that it leaves, and their average."""

from __future__ import annotations

import hashlib
import json
import os
import re
import selectors
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
from fairseq_musc.safe_loading import check_pickled_classes
from fairseq_musc.translate.training_child import SIGN, STACK_SIGNAL

#: Seconds without a sign of life after which a training counts as stalled, see :func:`patience`. An update takes
#: seconds where it takes long, the first one on a GPU and the step from one epoch to the next some tens of seconds.
STALLED_AFTER = 90.0

#: The same for what gives no sign: the start, and the writing of a checkpoint.
STARTING = 600.0

#: So often in a row, without a new checkpoint, a training may stall before it is given up.
STALLS = 3


class Diverged(InputError):
    """The gradients of a training are not finite."""


class Stalled(Exception):
    """A training showed no sign of life; the message says where its processes stood."""


def say(line: str) -> None:
    """Progress, to the stream that no result goes to."""
    print(line, file=sys.stderr, flush=True)


def fairseq_train(arguments: Sequence[str], end: float | None = None, stalled_after: float = STALLED_AFTER) -> None:
    """Runs ``fairseq-train`` in a process of its own, its progress in a line each.

    One that shows no sign of life is killed, with the processes that make its batches, and another goes on from the
    last checkpoint.

    Args:
        arguments: of the command; ``--max-update`` and ``--save-dir`` among them.
        end: on the clock of ``time.monotonic``: the training is told to stop shortly before, and killed then. None: no
            limit.
        stalled_after: seconds without a sign of life, see :func:`patience`.

    Raises:
        Diverged: the gradients were not finite.
        RuntimeError: it failed otherwise, with the last lines that it printed; or it stalled :data:`STALLS` times
            without a new checkpoint in between.
    """
    from fairseq_musc.experiments.cells import mend_checkpoints

    folder = Path(arguments[arguments.index("--save-dir") + 1])
    updates = int(arguments[arguments.index("--max-update") + 1])
    stalls, saved = 0, _last_update(folder)
    while True:
        try:
            with _sigterm_as_ctrl_c():
                return _train_once(arguments, end, stalled_after)
        except Stalled as stalled:
            mend_checkpoints(folder)
            before, saved = saved, _last_update(folder)
            if saved >= updates or (end is not None and time.monotonic() >= end):  # it stalled on its way out
                return
            stalls = 1 if saved > before else stalls + 1
            say(str(stalled))
            if stalls == STALLS:
                raise RuntimeError(
                    f"the training stalled {STALLS} times behind its checkpoint of update {saved}; try --num-workers "
                    "0, or a longer --stalled-after if an update takes so long"
                ) from stalled
            say(f"it was killed; another process goes on from {f'update {saved}' if saved else 'the start'}")


def _last_update(folder: Path) -> int:
    """The update of the last checkpoint; 0 where there is none."""
    found = checkpoints_in(folder)
    return updates_of(found[-1]) if found else 0


def _train_once(arguments: Sequence[str], end: float | None, stalled_after: float) -> None:
    """One process of :func:`fairseq_train`; :class:`Stalled`, when it is killed, if it shows no sign of life."""
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
        output = Output(process, limit=max(STARTING, stalled_after))
        try:
            for line in output:
                output.limit = patience(line, output.limit, stalled_after)
                if line.rstrip() == SIGN:
                    continue
                last.append(line)
                if " | train_inner | " in line:
                    numbers = json.loads(line.rsplit(" | ", 1)[1])
                    reached = f"update {numbers['num_updates']}, where the loss was {numbers['loss']}"
                    say(
                        f"update {numbers['num_updates']}/{updates}  loss {numbers['loss']}  "
                        f"perplexity {numbers['ppl']}  {numbers['wps']} pieces/s"
                    )
                elif " | valid | " in line:
                    numbers = json.loads(line.rsplit(" | ", 1)[1])
                    update = f"{numbers['valid_num_updates']}/{updates}"
                    say(f"update {update}  perplexity of held-out {numbers['valid_ppl']}")
        except Silent:
            raise Stalled(
                f"the training has shown no sign of life for {output.limit:g} s behind {reached}. Its last lines:\n"
                f"{''.join([*last][-3:])}Where its processes stand:\n{stacks(process, output)}"
            ) from None
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


def patience(line: str, before: float, stalled_after: float) -> float:
    """For how many seconds a training may show no sign of life behind a line.

    It gives a sign at every update and at every batch of held-out lines, and fairseq prints some lines between epochs.
    Two things take as long as they take, however fast an update is, and without a sign: all before the first batch
    (imports, the text, the GPU), and the writing of a checkpoint, three times over, on a disk that others use as well.

    Args:
        line: that it printed.
        before: what it was before that line.
        stalled_after: what is allowed where each batch gives a sign.
    """
    if "Preparing to save checkpoint" in line:
        return max(STARTING, stalled_after)
    if "Start iterating over samples" in line or "Saved checkpoint" in line:
        return stalled_after
    return before


class Silent(Exception):
    """A process has printed nothing for longer than it may."""


class Output:
    """The lines that a process prints, as they come.

    Args:
        process: its standard output is a pipe that nothing else reads from.
        limit: for how many seconds it may print nothing; can be set anew between lines.
    """

    def __init__(self, process: subprocess.Popen[bytes], limit: float):
        assert process.stdout is not None
        self.descriptor = process.stdout.fileno()
        self.limit = limit
        self.rest = b""

    def __iter__(self) -> Iterator[str]:
        """The lines with their ends, until the end of the output; :class:`Silent` if none comes in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.descriptor, selectors.EVENT_READ)
            while True:
                if not selector.select(min(self.limit, 1e6)):  # what it takes ends at some weeks
                    raise Silent
                if not (read := os.read(self.descriptor, 1 << 16)):
                    break
                *lines, self.rest = (self.rest + read).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace") + "\n"
        if self.rest:
            yield self.rest.decode(errors="replace")


def stacks(process: subprocess.Popen[bytes], output: Output) -> str:
    """Where a training and the processes that make its batches stand, each asked in its turn (see training_child)."""
    said = []
    makers = [
        int(child)
        for children in sorted(Path(f"/proc/{process.pid}/task").glob("*/children"))  # it may fork in any thread
        for child in children.read_text().split()
    ]
    for pid in (process.pid, *makers):
        said.append(f"process {pid}{'' if pid == process.pid else ', which makes batches'}:\n")
        with suppress(ProcessLookupError):
            os.kill(pid, STACK_SIGNAL)
        output.limit = 0.3
        deadline = time.monotonic() + 3
        with suppress(Silent):
            for line in output:
                said.append(f"  {line}")
                if time.monotonic() > deadline:
                    break
    return "".join(said).rstrip()


def time_to_stop(left: float) -> float:
    """How many of the seconds left are for the update in hand and a checkpoint."""
    return min(15.0, left / 4)


@contextmanager
def _ended_in_time(process: subprocess.Popen[bytes], end: float | None) -> Iterator[threading.Event]:
    """Stops the training shortly before ``end`` and kills it then, which the event tells.

    Ctrl-C and SIGTERM stop it too; another exception, or one of them once more, kills it.
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
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                stop("stopping behind this update, with a checkpoint (Ctrl-C once more: at once)")
                assert process.stdout is not None
                deque(process.stdout, maxlen=0)  # until it has ended
        finally:
            kill_all(process)
        raise
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM, which Slurm, Docker and ``kill`` send, ends the block by SystemExit, unless others see to it."""

    def told(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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


def average(checkpoints: Sequence[Path], half: bool = False) -> dict[str, Any]:
    """The last checkpoint with the mean of the parameters of all, without the state of its optimiser.

    Averaging the end of a training does what a falling learning rate would; fairseq has a script for it,
    ``scripts/average_checkpoints.py``, which its package leaves out. The mean is taken in fp32. Parameters that are the
    same one under several names, as the embeddings are, share their memory, and so are written once: of a training in
    fp16 fairseq writes each of them, and in fp32.

    Args:
        checkpoints: of one training, in their order.
        half: give the parameters in fp16, not in the precision of the checkpoints.
    """
    import torch

    states = [_load(path) for path in checkpoints]
    last = states[-1]
    written: dict[Any, torch.Tensor] = {}  # by what is in it
    for name, parameter in last["model"].items():
        mean = parameter
        if parameter.is_floating_point():
            total = sum(state["model"][name].float() for state in states)
            mean = (total / len(states)).to(torch.float16 if half else parameter.dtype)
        content = hashlib.sha256(mean.contiguous().view(-1).view(torch.uint8).numpy()).digest()
        last["model"][name] = written.setdefault((mean.shape, mean.dtype, content), mean.clone())
    last.pop("last_optimizer_state", None)
    return last


#: The options of ``train-translator`` that make up a model -> what fairseq calls them.
ARCHITECTURE = {
    "dim": "encoder_embed_dim",
    "ffn_dim": "encoder_ffn_embed_dim",
    "heads": "encoder_attention_heads",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "max_positions": "max_source_positions",
}


def architecture_of(checkpoint: Path) -> dict[str, int]:
    """The sizes of a translator's model, by the names of the options of ``train-translator``."""
    state = _load(checkpoint)
    settings = state["cfg"]["model"] if state.get("cfg") else state["args"]
    return {option: int(getattr(settings, name)) for option, name in ARCHITECTURE.items()}


def _load(checkpoint: Path) -> dict[str, Any]:
    """The state in a checkpoint, its tensors left on disk."""
    import torch

    check_pickled_classes(checkpoint)
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return state
