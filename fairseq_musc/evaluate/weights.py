"""The weights of an ensemble: how they are shared out, and which is best on validation data.

An ensemble of translate-all mixes the probabilities on the untranslated text with those on one or more translations of
it. Its weight w is the total weight of the translations, which share it equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The steps of the grid of weights: w is 0, 1/20, ..., 1.
STEPS = 20


def shared_out(weight: float, translations: int) -> list[float]:
    """The weights of the untranslated text and of each translation: 1 - w, and w over their number."""
    return [1 - weight, *[weight / translations] * translations]


def mixed(members: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    """``sum_m weights[m] * members[m]``, probabilities of shape (n, C)."""
    return np.sum([weight * member for weight, member in zip(weights, members, strict=True)], axis=0)


def right_by_step(members: Sequence[NDArray[np.float64]], labels: NDArray[np.integer[Any]]) -> list[int]:
    """How many rows are right at each weight of the grid.

    Args:
        members: the probabilities on the untranslated text, then on each translation; each (n, C).
        labels: (n,) the right classes.

    Returns:
        :data:`STEPS` + 1 numbers, for w = 0, 1/20, ..., 1; of equally probable classes the lowest counts.
    """
    mixtures = (mixed(members, shared_out(step / STEPS, len(members) - 1)) for step in range(STEPS + 1))
    return [int((mixture.argmax(axis=1) == labels).sum()) for mixture in mixtures]


def best_step(right: Sequence[int]) -> int:
    """The step at which most rows are right; of equal ones the nearest to w = 0.5, and of two as near the smaller.

    A small validation set leaves many steps equal; they are no reason to leave the paper's 0.5.
    """
    return min(range(len(right)), key=lambda step: (-right[step], abs(2 * step - STEPS), step))
