"""Bootstrap, McNemar and Holm: held against scipy's bootstrap, sums written out, and worked examples."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from fairseq_musc.evaluate import significance
from fairseq_musc.evaluate.significance import (
    discordant,
    holm,
    mcnemar,
    percentile_interval,
    resampled_means,
    wilson_interval,
)


def paired(rows, seed=0):
    """Rows that two classifiers get right (1) or wrong (0), together more often than by chance."""
    generator = np.random.default_rng(seed)
    first = generator.random(rows) < 0.8
    second = np.where(generator.random(rows) < 0.7, first, generator.random(rows) < 0.7)
    return first.astype(float), second.astype(float)


def test_the_interval_is_that_of_scipy_s_paired_bootstrap():
    first, second = paired(300)
    means = resampled_means((first - second)[:, None], 10_000, np.random.default_rng(1))
    low, high = percentile_interval(means, 0.95)
    expected = bootstrap(
        (first, second),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        batch=1000,
        rng=np.random.default_rng(2),
    )
    interval = expected.confidence_interval
    # One row is 1/300; quantiles of two sets of 10,000 resamples differ by less than that.
    assert [low[0], high[0]] == pytest.approx([interval.low, interval.high], abs=1 / 300)
    assert means.std() == pytest.approx(expected.standard_error, rel=0.05)
    # A bootstrap that breaks the pairs would be wider by far.
    unpaired = math.sqrt((first.var() + second.var()) / 300)
    assert means.std() < 0.75 * unpaired


def test_numbers_of_a_row_are_drawn_together():
    """The second column is the first times two, so it is so in every resample."""
    values = np.random.default_rng(3).random((50, 1)) * [1, 2]
    means = resampled_means(values, 200, np.random.default_rng(4))
    assert means.shape == (200, 2)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])
    assert len(np.unique(means[:, 0])) > 150


def test_every_row_is_drawn_as_often_as_any_other():
    """Means of the unit vectors are the shares of the rows: 1/5 on average, with variance (1/5)(4/5)/5."""
    shares = resampled_means(np.eye(5), 20_000, np.random.default_rng(5))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.mean(axis=0), 0.2, atol=0.006)
    np.testing.assert_allclose(shares.var(axis=0), 0.2 * 0.8 / 5, rtol=0.05)


def test_blocks_change_the_memory_and_not_the_law(monkeypatch):
    values = paired(40)[0][:, None]
    whole = resampled_means(values, 4001, np.random.default_rng(6))
    monkeypatch.setattr(significance, "BLOCK", 400)
    pieces = resampled_means(values, 4001, np.random.default_rng(6))
    assert whole.shape == pieces.shape == (4001, 1)
    assert pieces.mean() == pytest.approx(whole.mean(), abs=0.01)
    assert pieces.std() == pytest.approx(whole.std(), rel=0.1)


def test_the_ends_of_the_interval_are_quantiles():
    low, high = percentile_interval(np.arange(101.0)[:, None], 0.9)
    assert (low[0], high[0]) == pytest.approx((5, 95))


def test_rows_that_are_all_different_are_drawn_as_well():
    """The variance of a resample's mean is that of the rows over n, whatever the rows are."""
    values = np.random.default_rng(7).normal(size=(60, 1))
    means = resampled_means(values, 20_000, np.random.default_rng(8))
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)
    assert means.std() == pytest.approx(values.std() / math.sqrt(60), rel=0.03)


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 40), (7, 40), (40, 40), (4321, 5000)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_wilson_s_interval_is_scipy_s(right, rows, confidence):
    expected = binomtest(right, rows).proportion_ci(confidence, method="wilson")
    assert wilson_interval(right, rows, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("first_only", "second_only"), [(0, 0), (5, 0), (1, 8), (12, 25), (7, 7), (40, 61)])
def test_mcnemar_is_the_sum_of_the_binomial_tails(first_only, second_only):
    """Twice the share of the 2^n outcomes that are as uneven or more so."""
    n, few = first_only + second_only, min(first_only, second_only)
    expected = min(1, 2 * sum(math.comb(n, k) for k in range(few + 1)) / 2**n)
    assert mcnemar(first_only, second_only) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand_from_a_two_by_two_table():
    # Both right 50, only the first 1, only the second 6, both wrong 43: 2 (1 + 7) / 128.
    first = np.repeat([1, 1, 0, 0], [50, 1, 6, 43])
    second = np.repeat([1, 0, 1, 0], [50, 1, 6, 43])
    assert discordant(first - second) == (1, 6)
    assert mcnemar(*discordant(first - second)) == pytest.approx(0.125)


def test_holm_by_hand():
    # In order: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 and not below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
