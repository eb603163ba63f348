"""Appendix B as data, against its figures typed again in the order of the printed table."""

import pytest

from fairseq_musc.errors import InputError
from fairseq_musc.experiments.hyperparameters import GRID_LAM, GRID_LR, origin, tuned

DATASETS = [("marc", 200_000), ("mldoc", 1000), ("mldoc", 10_000), ("pawsx", 49_401), ("xnli", 392_702)]
PRINTED = {
    "ce+sc": ([3e-5, 3e-5, 3e-5, 1e-5, 3e-5], [0.5, 0.5, 0.9, 0.9, 0.1]),
    "ce+mu": ([3e-5, 3e-5, 3e-5, 1e-5, 1e-5], [0.9, 0.5, 0.9, 0.9, 0.9]),
}


@pytest.mark.parametrize(
    ("terms", "line"),
    [("ce+sc", "ce+sc"), ("ce+mu", "ce+mu"), ("ce+sc+mu", "ce+mu"), ("ce+mu+sc+musc", "ce+mu")],
)
def test_each_loss_has_its_line_of_table_7(terms, line):
    found = [tuned(dataset, rows, terms) for dataset, rows in DATASETS]
    assert ([values.lr for values in found], [values.lam for values in found]) == PRINTED[line]


def test_the_baseline_has_the_learning_rates_of_the_released_script_and_no_lambda():
    assert [tuned(dataset, rows, "ce") for dataset, rows in DATASETS] == [
        (1e-5, None),
        (1e-5, None),
        (1e-5, None),
        (1e-5, None),
        (3e-5, None),
    ]


def test_what_was_found_lies_in_the_grid_that_was_searched():
    found = [tuned(dataset, rows, terms) for dataset, rows in DATASETS for terms in PRINTED]
    assert {values.lr for values in found} <= set(GRID_LR)
    assert {values.lam for values in found} == set(GRID_LAM)


def test_what_the_table_does_not_say_is_not_made_up():
    with pytest.raises(InputError, match="with 2000 training rows, only of 1000 and 10000"):
        tuned("mldoc", 2000, "ce+sc")
    assert tuned("mldoc", 2000, "ce").lr == 1e-5
    with pytest.raises(InputError, match="nothing of cls; it has marc, mldoc, pawsx, xnli"):
        tuned("cls", 2000, "ce+sc")


def test_the_reading_of_mldoc_is_said():
    assert "is a reading" in origin("mldoc")
    assert "reading" not in origin("marc")
