"""What fairseq's checkpoints leave out of a run's state, so that a run that was killed goes on as if it had not been.

fairseq saves parameters, optimizer, schedule, the place in the epoch and the best score; everything random is drawn by
the seed, the epoch and the number of updates. It does not save

- the figures that wait for the next line of the log, when it saves at the end of an epoch;
- how often validation has not improved (``checkpoint.patience``), which begins anew;
- that a run is over: one that has reached ``optimization.max_update`` or its patience takes one more update each time
  it is started again;
- what a GPU was asked for and nobody has read (:mod:`fairseq_musc.late`).

The other way round, fairseq keeps the best score and the patience of a run in its functions, where the next run of the
process finds them: a sweep (``--multirun``) trains one after the other.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from fairseq import checkpoint_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.logging import metrics
from fairseq_cli import train as fairseq_train

from fairseq_musc.late import Late

#: Meters of fairseq that go on across epochs: what a line of the log shows, and what a sweep is told of a run at its
#: end. fairseq saves them, and reads them back only from checkpoints that were saved within an epoch.
METERS = ("train_inner", "valid")


def forget_the_run_before() -> None:
    """Takes away what an earlier run in this process has left of itself.

    With it a run that is worse than the one before would save no best checkpoint, and stop too early.
    """
    for function, keys in (
        (checkpoint_utils.save_checkpoint, ("best",)),
        (fairseq_train.should_stop_early, ("best", "num_runs")),
    ):
        for key in keys:
            with suppress(AttributeError):
                delattr(function, key)


class TrainingBatches(EpochBatchIterator):
    """fairseq's own iterator, which can be told that there is nothing left to train."""

    finished = False

    @classmethod
    def of(cls, iterator: EpochBatchIterator) -> TrainingBatches:
        """The same iterator, as one of this kind."""
        made = cls.__new__(cls)
        made.__dict__.update(iterator.__dict__)
        return made

    @property
    def next_epoch_idx(self) -> Any:
        """The number of the next epoch; fairseq trains while it is at most ``max_epoch``, which NaN never is."""
        return math.nan if self.finished else super().next_epoch_idx


def state_of_run(updates: int, late: Late) -> dict[str, Any]:
    """What goes into a checkpoint: plain values and tensors of the CPU.

    Args:
        updates: how many there were.
        late: of the logged losses.
    """
    meters = {name: metrics.get_meters(name) for name in METERS}
    early_stop = fairseq_train.should_stop_early  # under this name, which stopping.py gives to a function of ours
    return {
        "updates": updates,
        "meters": {name: each.state_dict() for name, each in meters.items() if each is not None},
        "early_stop": {key: getattr(early_stop, key, None) for key in ("best", "num_runs")},
        "late": late.waiting(),
    }


def resume(state: dict[str, Any], late: Late) -> None:
    """Puts back what :func:`state_of_run` has saved."""
    metrics.load_state_dict(state["meters"])
    early_stop = fairseq_train.should_stop_early
    for key, value in state["early_stop"].items():
        if value is not None:
            setattr(early_stop, key, value)
        elif hasattr(early_stop, key):
            delattr(early_stop, key)
    late.wait_for(state["late"])


def is_over(state: dict[str, Any], max_update: int, patience: int) -> str | None:
    """Why a run that saved this state has nothing left to do under these limits (0: none), or None."""
    if 0 < max_update <= state["updates"]:
        return f"it has made {state['updates']} updates, optimization.max_update is {max_update}"
    runs = state["early_stop"]["num_runs"]
    if runs is not None and 0 < patience <= runs:
        return f"validation has not improved {runs} times, checkpoint.patience is {patience}"
    return None
