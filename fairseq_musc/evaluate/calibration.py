"""How well probabilities say how often they are right: pure formulas."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: M, the number of bins of Guo et al. (2017).
BINS = 15


class Bins(NamedTuple):
    """The rows by their confidence, in M bins of equal width: bin m holds confidences in ((m - 1) / M, m / M].

    A confidence on an edge belongs to the bin below it, and 0 to the first. All are (M,); means of empty bins are 0.
    """

    rows: NDArray[np.int64]
    confidence: NDArray[np.float64]
    """The mean probability of the most probable class."""
    accuracy: NDArray[np.float64]
    """The share of rows whose most probable class is the right one."""


def binned(probabilities: NDArray[np.float64], labels: NDArray[np.integer[Any]], bins: int = BINS) -> Bins:
    """Sorts rows into bins by the probability of their most probable class.

    Args:
        probabilities: (n, C)
        labels: (n,) the right classes; of equally probable classes the lowest counts as predicted.
        bins: M
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.arange(1, bins) / bins  # the inner ones
    place = np.searchsorted(edges, confidence, side="left")
    rows = np.bincount(place, minlength=bins)
    divisor = np.maximum(rows, 1)
    return Bins(
        rows,
        np.bincount(place, weights=confidence, minlength=bins) / divisor,
        np.bincount(place, weights=right, minlength=bins) / divisor,
    )


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.integer[Any]], bins: int = BINS
) -> float:
    """The mean distance of accuracy and confidence, bin by bin (Guo et al. 2017, equation 3).

    ECE = sum_m |B_m| / n * |acc(B_m) - conf(B_m)|, in [0, 1], with the bins B_m of :func:`binned`.
    """
    rows, confidence, accuracy = binned(probabilities, labels, bins)
    return float((rows * abs(accuracy - confidence)).sum() / rows.sum())


def brier_score(probabilities: NDArray[np.float64], labels: NDArray[np.integer[Any]]) -> float:
    """The mean squared distance of the probabilities from the right class (Brier 1950), summed over classes: 0 to 2."""
    right = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - right) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: NDArray[np.float64], labels: NDArray[np.integer[Any]]) -> float:
    """The mean of -ln p of the right class, in nats; infinite if one has the probability 0."""
    with np.errstate(divide="ignore"):
        return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())
