"""Whether two rows of a table differ by more than the choice of test rows explains: pure formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How many numbers a block of resamples may hold: what bounds the memory, about 100 MB.
BLOCK = 4_000_000


def resampled_means(values: NDArray[np.float64], resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """The means of bootstrap resamples: n rows drawn with replacement, whole, so that paired numbers stay together.

    Of each resample it is drawn how often it has each distinct row (a multinomial law), which is the same as drawing
    rows one by one and quick where rows are much alike: right and wrong answers are.

    Args:
        values: (n, k), k numbers for each row.
        resamples: how often n rows are drawn.
        generator: draws them.

    Returns:
        (resamples, k)
    """
    n = len(values)
    distinct, times = np.unique(values, axis=0, return_counts=True)
    order = np.argsort(-times, kind="stable")  # the drawing of a resample ends where n rows are drawn
    distinct, shares = distinct[order], times[order] / n
    means = []
    for start in range(0, resamples, block := max(1, BLOCK // len(shares))):
        drawn = generator.multinomial(n, shares, size=min(block, resamples - start))  # (block, distinct rows)
        means.append(drawn @ distinct / n)
    return np.concatenate(means)


def percentile_interval(
    means: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of the percentile bootstrap interval (Efron 1979), e.g. the 2.5% and 97.5% quantiles.

    Args:
        means: (resamples, k)
        confidence: in (0, 1), e.g. 0.95.

    Returns:
        The lower and the upper ends, (k,) each.
    """
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside], axis=0)
    return low, high


def wilson_interval(right: int, rows: int, confidence: float) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): it stays within [0, 1], and holds for few rows, too.

    Args:
        right: successes.
        rows: trials, at least 1.
        confidence: in (0, 1), e.g. 0.95.

    Returns:
        The lower and the upper end.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrink = right / rows, 1 + z**2 / rows
    middle = (share + z**2 / (2 * rows)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def discordant(advantage: NDArray[Any]) -> tuple[int, int]:
    """How many rows the first gets right more often than the second, and how many less often.

    Args:
        advantage: (n,) how often the first is right, less how often the second is; -1, 0 or 1 for one run of each.
    """
    return int((advantage > 0).sum()), int((advantage < 0).sum())


def mcnemar(first_only: int, second_only: int) -> float:
    """The p-value of McNemar's exact test: two-sided binomial with 1/2 on the discordant rows.

    Args:
        first_only: rows that the first alone gets right.
        second_only: rows that the second alone gets right.

    Returns:
        In (0, 1]; 1 if there are no such rows.
    """
    from scipy.stats import binomtest

    rows = first_only + second_only
    return float(binomtest(first_only, rows).pvalue) if rows else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): all below 0.05 together hold with an error of 0.05 at most.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none becomes smaller than one before it, or
    larger than 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.minimum(1, factors * np.asarray(p_values, dtype=float)[order]))
    return corrected.tolist()
