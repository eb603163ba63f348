"""Losses and gradients that are not numbers: found in the update they occur in, with the rows that brought them.

On a GPU they are read one update late, like all that is logged (:mod:`fairseq_musc.late`), and before each validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from hydra.errors import CompactHydraException
from torch import Tensor

from fairseq_musc.errors import InputError
from fairseq_musc.late import Late

#: How many rows a message names.
NAMED_ROWS = 64


class TrainingError(InputError, CompactHydraException, RuntimeError):
    """An :class:`InputError` that is found in an update, and that Hydra prints as it stands.

    It is a RuntimeError because fairseq writes all parameters to ``crash.pt`` before it lets another error through.
    """


class NotFiniteError(TrainingError):
    """A loss or a gradient is NaN or infinite."""


class Step(NamedTuple):
    """A batch that was trained on."""

    update: int
    """The number of the update that it belongs to, from 1."""
    keys: tuple[str, ...]
    """What its losses are called."""
    rows: Any
    """(B,) int64, indices into the data set."""


class LossWatch:
    """Looks at the losses of each batch.

    Args:
        name_row: a row's name as a person would look it up.
    """

    def __init__(self, name_row: Callable[[int], str]):
        self.name_row = name_row
        self.late = Late()
        self._unread: Step | None = None
        self._steps: list[Step] = []  # of this update and the one before

    def look(self, losses: Mapping[str, Tensor], rows: Tensor, update: int) -> str | None:
        """What is wrong with the losses of this batch (of a GPU: of the batch before), or None.

        Args:
            losses: scalars, the same in each call.
            rows: (B,) the rows of the batch.
            update: the number of the update, from 1.
        """
        step = Step(update, tuple(losses), rows)
        self._steps = [each for each in self._steps if each.update >= update - 1] + [step]
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        read = self.late.read(values)
        of = step if read is values or self._unread is None else self._unread
        self._unread = step
        return self._wrong(read.tolist(), of)

    def look_at_the_last(self) -> str | None:
        """The same for what a GPU has not been asked for yet."""
        values = self.late.waiting()
        return None if values is None or self._unread is None else self._wrong(values.tolist(), self._unread)

    def _wrong(self, values: list[float], step: Step) -> str | None:
        wrong = [f"{key} is {value}" for key, value in zip(step.keys, values, strict=True) if not math.isfinite(value)]
        if not wrong:
            return None
        return f"in update {step.update} {', '.join(wrong)}, for a batch of {self._named(step.rows)}"

    def rows_of_update(self, before: bool) -> str:
        """The rows of the update under way, or of the one before: whose gradient it is that is not finite."""
        numbers = sorted({step.update for step in self._steps})
        update = numbers[0] if before else numbers[-1]
        rows = [step.rows for step in self._steps if step.update == update]
        return f"update {update}, on {self._named(torch.cat(rows))}"

    def _named(self, rows: Tensor) -> str:
        names = [self.name_row(row) for row in rows[:NAMED_ROWS].tolist()]
        more = f" and {len(rows) - NAMED_ROWS} more" if len(rows) > NAMED_ROWS else ""
        return f"{len(rows)} rows: {', '.join(names)}{more}"


def remedy(what: str) -> str:
    """A message that says what to do."""
    return (
        f"training stops: {what}.\nLook at these rows; a lower optimization.lr or optimization.clip_norm=1 may help. "
        "criterion.not_finite=skip leaves such updates out and counts them in the log."
    )
