"""Ctrl-C and SIGTERM to a training: the update in hand is finished and saved, and the same command goes on from there.

fairseq ends a training by an exception wherever it is, and all since the last checkpoint is lost. Here the signal is
noted; behind the update fairseq asks itself whether to stop early, the answer is yes, and it saves as it always does.
Nothing is validated for it, so a run that was stopped and went on is, bit for bit, one that was not stopped.

A signal between two epochs waits for the first update of the next. Not all that fairseq saves at the end of an epoch is
what it goes on from (``checkpoint.save_interval``, a schedule that follows validation); behind an update all is.

Processes that train side by side have to stop behind the same update, though signals reach them at any time. What was
asked of one travels in its log of the update, which fairseq adds up over all processes anyway.
"""

from __future__ import annotations

import functools
import logging
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fairseq_musc.parents import outlive_parent

logger = logging.getLogger(__name__)

#: The key of a log under which it says that its process was asked to stop.
ASKED = "stop"
#: What asks: Ctrl-C, and what Slurm, Docker, `kill` and `fairseq-musc grid` send before they kill.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether a training was asked to stop, and whether all its processes know."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The first signal that came to this process."""
        self.agreed = False
        """Whether all processes stop behind this update."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notes the signals to stop that come during the block; does nothing outside of the main thread.

        A second Ctrl-C ends the block at once by ``KeyboardInterrupt``. A signal that is ignored stays so (nohup).
        """
        before: dict[signal.Signals, Any] = {}
        process = os.getpid()

        def note(number: int, frame: Any) -> None:
            if os.getpid() != process:
                return  # a process that makes batches: it is needed until the update is done, and then told to end
            if self.asked is None:
                self.asked = number
                # Where the death of a parent asks, Linux does so several times: behind the block that would end what
                # is about to end by itself, and to leave nothing behind.
                outlive_parent()
                # Not by print or logging: the signal may have come while these were at work.
                os.write(2, b"\nstopping behind this update, with a checkpoint (Ctrl-C once more: at once)\n")
            elif self.asked == number == signal.SIGINT and not orphaned():
                raise KeyboardInterrupt

        try:
            if threading.current_thread() is threading.main_thread():
                for number in SIGNALS:
                    if signal.getsignal(number) is not signal.SIG_IGN:
                        before[number] = signal.signal(number, note)
            yield
        finally:
            # A rank that fairseq has started ends now, and torch sends it SIGTERM once another one has ended before.
            left_alone = self.agreed and multiprocessing.parent_process() is not None
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if left_alone else handler)

    def told(self, logged: dict[str, Any]) -> dict[str, Any]:
        """The log of an update, with whether this process was asked."""
        return {**logged, ASKED: int(self.asked is not None)}

    def hear(self, logging_outputs: list[dict[str, Any]]) -> None:
        """Takes note of the logs of an update, those of all processes or their sum."""
        self.agreed = self.agreed or any(bool(logged.get(ASKED)) for logged in logging_outputs)


def orphaned() -> bool:
    """Whether this is a rank that fairseq has started by a process which has gone.

    torch has Linux send SIGINT to it then, which is sent for each thread of that process, and some come so much later
    that they look like a second Ctrl-C.
    """
    parent = multiprocessing.parent_process()
    return parent is not None and parent.pid != os.getppid()


def make_stoppable() -> None:
    """Has fairseq's training loop ask a task with a ``stop`` (:class:`Stop`) whether to go on; done twice, it is once.

    Two functions of ``fairseq_cli.train`` are taken into ours. ``train``, an epoch, becomes all of them, as signals are
    listened to between two as well, and what the task holds while it saves is let go behind the last.
    ``should_stop_early`` is what fairseq calls behind each update, between validation and saving.
    """
    from fairseq_cli import train as fairseq

    if getattr(fairseq.train, "stoppable", False):
        return
    epoch: Callable[..., Any] = fairseq.train
    early: Callable[..., bool] = fairseq.should_stop_early
    current: list[tuple[Stop, bool]] = []

    @functools.wraps(epoch)
    def train(cfg: Any, trainer: Any, task: Any, epoch_itr: Any) -> Any:
        stop = getattr(task, "stop", None)
        if not isinstance(stop, Stop):
            return epoch(cfg, trainer, task, epoch_itr)
        current.append((stop, trainer.data_parallel_world_size == 1))
        try:
            with task.saving, stop.listening():
                return all_epochs(functools.partial(stoppable_epoch, stop), cfg, trainer, task, epoch_itr)
        finally:
            current.pop()

    def stoppable_epoch(stop: Stop, cfg: Any, trainer: Any, task: Any, epoch_itr: Any) -> Any:
        done = epoch(cfg, trainer, task, epoch_itr)
        if stop.agreed and not finished(cfg, trainer.get_num_updates(), epoch_itr.next_epoch_idx):
            saves = trainer.data_parallel_rank == 0
            if saves:
                logger.warning(last_words(cfg, trainer.get_num_updates()))
            # The other processes have nothing to complain of; who started them takes the first status that is not 0.
            raise SystemExit(128 + (stop.asked or signal.SIGINT) if saves else 0)
        return done

    @functools.wraps(early)
    def should_stop_early(cfg: Any, valid_loss: float | None) -> bool:
        over = early(cfg, valid_loss)
        for stop, alone in current:
            stop.agreed = stop.agreed or (alone and stop.asked is not None)
            over = over or stop.agreed
        return over

    train.stoppable = True  # type: ignore[attr-defined]
    fairseq.train, fairseq.should_stop_early = train, should_stop_early


def all_epochs(
    epoch: Callable[..., tuple[list[float | None], bool]], cfg: Any, trainer: Any, task: Any, epoch_itr: Any
) -> tuple[list[float | None], bool]:
    """The loop of fairseq's ``main`` from the first epoch on, whose arguments these are, in one call.

    Returns:
        What the last epoch did, and True: nothing is left to train.
    """
    while True:
        valid_losses, should_stop = epoch(cfg, trainer, task, epoch_itr)
        if should_stop:
            return valid_losses, True
        lr = trainer.lr_step(epoch_itr.epoch, valid_losses[0])
        epoch_itr = trainer.get_train_iterator(
            epoch_itr.next_epoch_idx,
            load_dataset=task.has_sharded_data("train"),
            disable_iterator_cache=task.has_sharded_data("train"),
        )
        if not epoch_itr.next_epoch_idx <= (cfg.optimization.max_epoch or math.inf):
            return valid_losses, True
        if lr <= cfg.optimization.stop_min_lr:
            logger.info(
                "the learning rate is %g, optimization.stop_min_lr %g: the training ends",
                lr,
                cfg.optimization.stop_min_lr,
            )
            return valid_losses, True


def finished(cfg: Any, updates: int, next_epoch: int) -> bool:
    """Whether a training has come to its end, so that its last state is not one to go on from."""
    limits = cfg.optimization
    return bool(0 < limits.max_update <= updates or 0 < limits.max_epoch < next_epoch)


def last_words(cfg: Any, updates: int) -> str:
    """What a run says that was stopped, by what it was told to save."""
    if cfg.checkpoint.no_save or cfg.checkpoint.no_last_checkpoints:
        which = "no_save" if cfg.checkpoint.no_save else "no_last_checkpoints"
        return f"stopped behind update {updates}; checkpoint.{which}=true: its state was not kept"
    folder = cfg.checkpoint.save_dir
    if cfg.checkpoint.restore_file != "checkpoint_last.pt":
        return f"stopped behind update {updates}; go on with checkpoint.restore_file={folder}/checkpoint_last.pt"
    return f"stopped behind update {updates}, saved in {folder}; the same command goes on from there"
