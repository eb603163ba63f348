"""The probe's classifier: what it cannot know it does not score, and an id is never on both sides."""

import numpy as np
import pytest

from fairseq_musc.evaluate.separability import FOLDS, folds_of, separability, token_counts


def noise(rows=400, width=8, seed=0):
    generator = np.random.default_rng(seed)
    side = np.repeat([0, 1], rows // 2)
    return generator.normal(size=(rows, width)), side, [str(i) for i in range(rows)]


def test_no_id_is_in_the_training_and_in_the_test_part():
    side = np.repeat([0, 1], 50)
    ids = [*(str(i) for i in range(50)), *(str(i) for i in range(20, 70))]  # 30 are in both sets
    folds = folds_of(side, ids, seed=1)
    assert len(folds) == FOLDS
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == list(range(100))
    for train, test in folds:
        assert not {ids[i] for i in train} & {ids[i] for i in test}
        assert abs(side[test].mean() - 0.5) < 0.11
    other = folds_of(side, ids, seed=2)
    assert [test.tolist() for _, test in folds] != [test.tolist() for _, test in other]


def test_sets_apart_in_one_direction_are_told_apart():
    features, side, ids = noise()
    features[:, 3] += 6 * side
    score = separability(features, side, folds_of(side, ids, 1))
    assert score.accuracy > 0.98
    assert score.auc > 0.99


def test_noise_is_not():
    features, side, ids = noise()
    score = separability(features, side, folds_of(side, ids, 1))
    assert abs(score.accuracy - 0.5) < 3 * score.accuracy_deviation
    assert abs(score.auc - 0.5) < 0.08
    assert 0 < score.accuracy_deviation < 0.12


def test_the_same_row_on_both_sides_scores_exactly_half():
    """Of two equal rows one is right and one is wrong, since their id keeps both in one fold."""
    features, _, ids = noise(100)
    side = np.repeat([0, 1], 100)
    both = np.concatenate([features, features])
    score = separability(both, side, folds_of(side, [*ids, *ids], 1))
    assert score.accuracy == 0.5
    assert score.accuracy_deviation == 0
    assert score.auc == 0.5


def test_the_scale_of_a_dimension_does_not_matter():
    features, side, ids = noise()
    features[:, 3] += side
    folds = folds_of(side, ids, 1)
    once, again = separability(features, side, folds), separability(features * 10.0 ** np.arange(-4, 4), side, folds)
    assert again.accuracy == pytest.approx(once.accuracy, abs=0.005)


def test_token_counts_by_hand():
    counts = token_counts([np.array([2, 5, 2]), np.array([], dtype=int), np.array([0])], 6)
    assert counts.toarray().tolist() == [[0, 0, 2, 0, 0, 1], [0] * 6, [1, 0, 0, 0, 0, 0]]


def test_a_token_that_marks_one_side_is_found_among_counts():
    generator = np.random.default_rng(4)
    rows = [generator.integers(1, 50, size=10) for _ in range(200)]
    side = np.repeat([0, 1], 100)
    ids = [str(i) for i in range(200)]
    folds = folds_of(side, ids, 1)
    assert abs(separability(token_counts(rows, 50), side, folds).accuracy - 0.5) < 0.12
    marked = [np.append(row, 0) if translated else row for row, translated in zip(rows, side, strict=True)]
    assert separability(token_counts(marked, 50), side, folds).accuracy > 0.97
