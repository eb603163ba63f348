"""Trains cells side by side, each in a process of its own, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.experiments.alone import Alone, Running
from fairseq_musc.experiments.cells import (
    Cell,
    collect,
    last_lines,
    mend_checkpoints,
    remove_checkpoints,
    train_command,
)
from fairseq_musc.experiments.preloaded import Preloaded
from fairseq_musc.files import write_json

#: Seconds that trainings have to save and end when they are told to, before they are killed.
GRACE = 60
#: Lines of a failed training's log that are shown.
SHOWN_LINES = 12
#: Characters of such a line that are shown: fairseq logs all its settings in one of thousands, above the error.
SHOWN_WIDTH = 400


class Training(NamedTuple):
    """A cell that is being trained."""

    cell: Cell
    process: Running
    place: int
    """Its place among those that run side by side."""
    started: float


def environments(jobs: int | None, cpu: bool, gpus_per_cell: int) -> list[dict[str, str]]:
    """What is set for each of the cells that run side by side: its GPUs, and its share of the processor.

    Args:
        jobs: how many; None for as many as there are GPUs for, one on a CPU.
        cpu: whether trainings are told to leave GPUs alone.
        gpus_per_cell: the GPUs of one training.

    Raises:
        InputError: ``jobs`` is not positive, or a cell wants more GPUs than are visible.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs is {jobs}; it is at least 1")
    gpus = [] if cpu else visible_gpus()
    if gpus and len(gpus) < gpus_per_cell:
        raise InputError(
            f"a cell is to be trained on {gpus_per_cell} GPUs (distributed_training.distributed_world_size), and "
            f"{len(gpus)} are visible"
        )
    groups = [gpus[i : i + gpus_per_cell] for i in range(0, len(gpus) - gpus_per_cell + 1, gpus_per_cell)]
    jobs = jobs or len(groups) or 1
    threads = {}
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    # With common.cpu fairseq still clips gradients by a factor on a GPU that it sees, and fails.
    devices = [groups[i % len(groups)] if groups else [] for i in range(jobs)]
    return [{**threads, **({"CUDA_VISIBLE_DEVICES": ",".join(group)} if group or cpu else {})} for group in devices]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def train_cells(cells: Sequence[Cell], places: Sequence[dict[str, str]], keep: str) -> dict[str, str]:
    """Trains every cell that is not done, ``len(places)`` of them side by side.

    Args:
        cells: those to see to; settings are checked already.
        places: the environment of each of those that run side by side.
        keep: which checkpoints of a done cell stay: ``all``, ``best`` or ``none``.

    Returns:
        What failed: name of the cell -> the last lines of its log.

    Raises:
        SystemExit: this process was told to end; the trainings have ended then.
    """
    from tqdm import tqdm

    done = [cell for cell in cells if collect(cell) is not None]
    waiting = deque(cell for cell in cells if cell not in done)
    running: list[Training] = []
    failed: dict[str, str] = {}
    for cell in done:
        remove_checkpoints(cell, keep)
    with (
        _signals_to_end() as told,
        _starter(waiting, places[0]) as starter,
        tqdm(total=len(cells), initial=len(done), unit=" cells", disable=None, mininterval=0) as bar,
    ):

        def say(line: str) -> None:
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()

        if done:
            say(f"{len(done)} of {len(cells)} cells are done")
        try:
            while waiting or running:
                if told:
                    if running:
                        say("stopping: trainings save their state and end (Ctrl-C once more: they are killed)")
                    _end(running, told)
                    running.clear()
                    say("stopped; the same command goes on from here")
                    raise SystemExit(128 + told[0])
                free = [i for i in range(len(places)) if i not in {training.place for training in running}]
                while waiting and free and starter.ready():
                    cell, place = waiting.popleft(), free.pop(0)
                    running.append(_start(cell, place, places[place], starter))
                    say(f"{cell.name}: training, see {cell.log}")
                for training in [training for training in running if training.process.poll() is not None]:
                    running.remove(training)
                    cell, status = training.cell, training.process.returncode
                    result = None if status else collect(cell)
                    if result is not None:
                        figure = f"{result.metric} {result.best:.2f} at update {result.update}"
                        say(f"{cell.name}: done, {figure}, {result.seconds:.0f} s")
                        remove_checkpoints(cell, keep)
                    else:
                        failed[cell.name] = narrow(last_lines(cell.log, SHOWN_LINES), SHOWN_WIDTH)
                        say(f"{cell.name}: failed with status {status}; the end of {cell.log}:\n{failed[cell.name]}")
                    bar.update()
                _show_running(bar, running)
                time.sleep(0.1)
        finally:
            _end(running, told)
    return failed


def narrow(text: str, width: int) -> str:
    """A text with its longer lines cut to ``width`` characters."""
    return "\n".join(line if len(line) <= width else f"{line[:width]} [...]" for line in text.split("\n"))


def _starter(cells: Sequence[Cell], environment: dict[str, str]) -> Alone:
    """What starts these cells: where several are trained, a process that has imported for all of them what they need.

    A training on several GPUs starts processes afresh itself; and Linux alone is known to stand such a fork.
    """
    forked = sys.platform == "linux" and len(cells) > 1
    for cell in cells:
        gpus = cell.settings.get("distributed_training.distributed_world_size")
        ours = cell.command()[:3] == train_command(cell.config_name, cell.config_dir)[:3]
        forked = forked and ours and gpus in (None, 1)
    return Preloaded({**os.environ, **environment}) if forked else Alone()


def _start(cell: Cell, place: int, environment: dict[str, str], starter: Alone) -> Training:
    """Starts the process of a cell; what an earlier attempt left is gone on from by fairseq itself."""
    mend_checkpoints(cell.checkpoints)
    write_json(cell.folder / "cell.json", cell.about())
    process = starter.start(cell.command(), {**os.environ, **environment}, cell.log)
    return Training(cell, process, place, time.time())


def _end(running: Sequence[Training], told: Sequence[int]) -> None:
    """Ends trainings with all the processes that they started; each saves its state first (see ``stopping.py``).

    A signal goes to the training itself, which still needs those that make its batches, and then to what is left of
    its group. Who is told to end once more does not wait.
    """
    end = time.monotonic() + GRACE
    groups = [training.process.pid for training in running]
    for training in running:
        training.process.terminate()
    for number, left in ((signal.SIGTERM, _alive), (signal.SIGKILL, _group_alive)):
        while any(left(training.process) for training in running) and time.monotonic() < end and len(told) < 2:
            time.sleep(0.05)
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, number)
    for training in running:
        training.process.wait()


def _alive(process: Running) -> bool:
    """Whether a process has not ended."""
    return process.poll() is None


def _group_alive(process: Running) -> bool:
    """Whether a process that leads a group, or another of it, has not ended."""
    if _alive(process):
        return True
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _signals_to_end() -> Iterator[list[int]]:
    """The signals to end that came during the block: Ctrl-C, SIGTERM, and SIGHUP unless it is ignored (nohup).

    They are noted and not raised, so that none comes between the start of a process and its being listed. Outside of
    the main thread, where Python hears none, they are left to who is there.
    """
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, lambda number, frame: told.append(number))
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_running(bar: Any, running: Sequence[Training]) -> None:
    """The running cells on the bar, each with its last figure on validation data."""
    if bar.disable or time.time() - getattr(bar, "shown_at", 0) < 1:
        return
    bar.shown_at = time.time()
    shown = []
    for training in running:
        metric = training.cell.settings.get("checkpoint.best_checkpoint_metric", "accuracy")
        figure = last_figure(training.cell.log, metric, training.started)
        shown.append(f"{training.cell.name} {figure or '...'}")
    bar.set_postfix_str(", ".join(shown))


def last_figure(log: Path, metric: str, since: float = 0) -> str | None:
    """The last figure that a training logged for its validation data; None if there is none yet.

    Args:
        log: fairseq's, in its simple or its JSON form.
        metric: e.g. ``accuracy``.
        since: a log that was not written to since then has none.
    """
    if not log.is_file() or log.stat().st_mtime < since:
        return None
    simple, in_json = rf"valid on .* \| {re.escape(metric)} (\S+)", rf'"valid_{re.escape(metric)}": "([^"]+)"'
    found = re.findall(f"{simple}|{in_json}", last_lines(log, 200))
    return next(filter(None, found[-1])) if found else None
