"""How well a linear classifier tells two sets of rows apart: cross-validated, never the same id on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
Split = tuple[NDArray[np.int64], NDArray[np.int64]]


class Separability(NamedTuple):
    """What a probe scores on the folds it was not trained on."""

    accuracy: float
    """The mean over folds, in [0, 1]; chance is 0.5, as both sets have the same number of rows."""
    accuracy_deviation: float
    """The standard deviation over folds (n - 1 in the divisor)."""
    auc: float
    """The area under the ROC curve, mean over folds; 0.5 by chance."""


def folds_of(side: NDArray[np.int64], ids: Sequence[str], seed: int) -> list[Split]:
    """Splits rows into :data:`FOLDS` parts for training and testing.

    Rows with the same id say the same thing, so they are all in the training part or all in the test part; a probe
    could tell them apart by their topic otherwise. Within that the sets have the same share of every part.

    Args:
        side: (n,) 0 for the first set and 1 for the second.
        ids: n ids.
        seed: of the shuffling.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _, groups = np.unique(np.asarray(ids, dtype=str), return_inverse=True)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(side)), side, groups))


def separability(features: Any, side: NDArray[np.int64], folds: Sequence[Split]) -> Separability:
    """Trains logistic regression on each training part and scores it on the test part.

    Args:
        features: (n, d): dense ones are standardised on the training part; sparse counts are weighted by tf-idf with
            1 + ln(count), fitted there too.
        side: (n,) 0 or 1.
        folds: of :func:`folds_of`.
    """
    from scipy.sparse import issparse
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # In 32 bits, and with the default tolerance, the rounding of another batch size would move a few rows.
    features = features.astype(np.float64)
    # Unpenalised weights would fit noise: there are often about as many dimensions as rows. Rows of tf-idf have unit
    # length, standardised ones sqrt(d): the same penalty would keep a word that gives a side away from being used.
    C = 10.0 if issparse(features) else 1.0
    accuracies, areas = [], []
    for train, test in folds:
        scaled = TfidfTransformer(sublinear_tf=True) if issparse(features) else StandardScaler()
        probe = make_pipeline(scaled, LogisticRegression(C=C, tol=1e-6, max_iter=2000))
        probe.fit(features[train], side[train])
        score = probe.decision_function(features[test])
        accuracies.append(np.mean((score > 0) == side[test]))
        areas.append(roc_auc_score(side[test], score))
    return Separability(float(np.mean(accuracies)), float(np.std(accuracies, ddof=1)), float(np.mean(areas)))


def token_counts(rows: Sequence[NDArray[np.integer[Any]]], vocabulary: int) -> Any:
    """How often each token stands in each row: (n, vocabulary), sparse.

    Args:
        rows: n arrays of token ids.
        vocabulary: one more than the highest id.
    """
    from scipy.sparse import csr_array

    lengths = [len(row) for row in rows]
    tokens = np.concatenate(rows) if lengths else np.zeros(0, dtype=int)
    which = np.repeat(np.arange(len(rows)), lengths)
    counts = csr_array((np.ones(len(tokens)), (which, tokens)), shape=(len(rows), vocabulary))
    counts.sum_duplicates()
    return counts
