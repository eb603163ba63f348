"""Calibration: formulas against a loop, closed forms and scikit-learn; the verb against the formulas."""

import math
import sys

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss
from test_ensemble import table

from fairseq_musc.cli import main
from fairseq_musc.evaluate.calibration import (
    binned,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from fairseq_musc.evaluate.table import write_predictions


def two_classes(confidence, right):
    """Rows whose most probable class is class 1, with these probabilities, and is the right one or not."""
    confidence = np.array(confidence, dtype=float)
    return np.stack([1 - confidence, confidence], axis=1), np.array(right).astype(int)


def drawn(rows=500, classes=5, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.4] * classes, size=rows)
    return probabilities, generator.integers(classes, size=rows)


def ece_loop(probabilities, labels, bins):
    """Guo et al. (2017), from the text: bin m is ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, bins + 1):
        rows = [i for i in range(len(labels)) if (m - 1) / bins < max(probabilities[i]) <= m / bins]
        if rows:
            accuracy = sum(int(list(probabilities[i]).index(max(probabilities[i])) == labels[i]) for i in rows)
            confidence = sum(max(probabilities[i]) for i in rows)
            total += len(rows) / len(labels) * abs(accuracy / len(rows) - confidence / len(rows))
    return total


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 40])
def test_the_ece_is_that_of_a_loop_typed_from_the_paper(bins):
    probabilities, labels = drawn()
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(
        ece_loop(probabilities, labels, bins)
    )


def test_the_ece_by_hand():
    # Bin (0.5, 0.6]: 0.6 and 0.6, one right: |0.5 - 0.6|; bin (0.8, 0.9]: 0.9, right: 0.1. (2 * 0.1 + 0.1) / 3.
    assert expected_calibration_error(*two_classes([0.6, 0.6, 0.9], [1, 0, 1]), 10) == pytest.approx(0.1)


def test_perfectly_calibrated_gives_0_and_always_wrong_with_confidence_1_gives_1():
    four_of_five = two_classes([0.8] * 10, [1] * 8 + [0] * 2)
    assert expected_calibration_error(*four_of_five) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(*two_classes([1.0] * 7, [0] * 7)) == 1
    assert expected_calibration_error(*two_classes([1.0] * 7, [1] * 7)) == 0


def test_with_one_bin_the_ece_is_the_distance_of_the_means():
    probabilities, labels = drawn()
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    expected = abs(accuracy - probabilities.max(axis=1).mean())
    assert expected_calibration_error(probabilities, labels, 1) == pytest.approx(expected)


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    probabilities, labels = two_classes([0.5, 0.6, 0.75, 0.750001, 1.0], [0, 1, 1, 1, 1])
    bins = binned(probabilities, labels, 4)
    # 0.5 is in (1/4, 1/2], 0.6 and 0.75 in (1/2, 3/4], the others in (3/4, 1].
    assert bins.rows.tolist() == [0, 1, 2, 2]
    assert bins.confidence == pytest.approx([0, 0.5, 0.675, 0.8750005])
    # Of two classes with 0.5 the lower is the predicted one, which is right.
    assert bins.accuracy.tolist() == [0, 1, 1, 1]
    for m in range(1, 16):  # every edge of 15 bins, as a 64-bit float
        assert binned(np.array([[m / 15]]), np.array([0]), 15).rows.argmax() == m - 1


def test_brier_and_likelihood_are_those_of_scikit_learn():
    probabilities, labels = drawn(classes=2)
    # Its score of two classes is of one of them: half of the sum over both.
    assert brier_score(probabilities, labels) == pytest.approx(2 * brier_score_loss(labels, probabilities[:, 1]))
    probabilities, labels = drawn()
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(
        log_loss(labels, probabilities, labels=range(5))
    )


def test_brier_and_likelihood_in_closed_form():
    uniform = np.full((6, 4), 0.25)
    labels = np.array([0, 1, 2, 3, 0, 1])
    assert brier_score(uniform, labels) == pytest.approx(0.75**2 + 3 * 0.25**2)
    assert negative_log_likelihood(uniform, labels) == pytest.approx(math.log(4))
    wrong = two_classes([1.0], [0])
    assert brier_score(*wrong) == 2
    assert negative_log_likelihood(*wrong) == math.inf
    right = two_classes([1.0], [1])
    assert (brier_score(*right), negative_log_likelihood(*right)) == (0, 0)


# --- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(1)
    labels = generator.integers(2, size=80)
    for language in ("en", "de"):
        for corpus in ("T_tst", "S_tst_MT", "Ens") if language == "de" else ("T_tst",):
            write_predictions(tmp_path, table(corpus, generator.uniform(size=80), labels, language))
    return tmp_path


def calibrate(folder, *options):
    return main(["calibrate", "--predictions", str(folder), *options])


def test_the_verb_prints_and_writes_each_measure_of_each_line(folder, capsys):
    assert calibrate(folder) == 0
    lines = [line.split("\t") for line in (folder / "calibration.tsv").read_text().splitlines() if line[0] != "#"]
    assert lines[0] == ["measure", "inference", "en", "de", "average"]
    assert [line[:2] for line in lines[1:]] == [
        [measure, corpus] for measure in ("ECE", "Brier", "NLL") for corpus in ("T_tst", "S_tst_MT", "Ens")
    ]
    from fairseq_musc.evaluate.table import read_predictions

    ens = read_predictions(folder, "Ens", "de")
    english = read_predictions(folder, "T_tst", "en")
    values = [expected_calibration_error(t.probabilities, t.labels) for t in (english, ens)]
    assert [float(cell) for cell in lines[3][2:]] == pytest.approx([*values, np.mean(values)])
    values = [negative_log_likelihood(t.probabilities, t.labels) for t in (english, ens)]
    assert [float(cell) for cell in lines[9][2:]] == pytest.approx([*values, np.mean(values)])
    printed = capsys.readouterr().out
    assert f"{100 * float(lines[3][4]):.2f}" in printed
    assert "| ECE | S_tst^MT |" in (folder / "calibration.md").read_text()
    assert not list(folder.glob("calibration.*g"))


def test_the_figure_is_drawn_in_both_formats_and_the_same_again(folder):
    assert calibrate(folder, "--plot", "--bins", "10") == 0
    figures = {ending: (folder / f"calibration.{ending}").read_bytes() for ending in ("png", "svg")}
    assert figures["png"].startswith(b"\x89PNG")
    assert figures["svg"].count(b'<g id="axes_') == 2 * 3  # T_tst, S_tst_MT, Ens
    assert calibrate(folder, "--plot", "--bins", "10") == 0
    assert {ending: (folder / f"calibration.{ending}").read_bytes() for ending in figures} == figures


def test_what_cannot_be_measured_is_said(folder, tmp_path, capsys):
    assert calibrate(tmp_path / "none") == 2
    assert "holds no predictions for T_tst, S_tst_MT, Ens, Ens_w; predict first" in capsys.readouterr().err
    assert calibrate(folder, "--bins", "0") == 2
    assert "--bins is 0" in capsys.readouterr().err
    write_predictions(folder, table("Ens", [0.5], [1], "de", checkpoint_sha256="cd" * 32))
    assert calibrate(folder) == 2
    assert "is of checkpoint" in capsys.readouterr().err


def test_without_matplotlib_the_figure_is_refused_and_the_table_is_there(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert calibrate(folder, "--plot") == 2
    assert "--plot needs matplotlib" in capsys.readouterr().err
    assert (folder / "calibration.tsv").exists()
