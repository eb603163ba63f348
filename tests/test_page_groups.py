"""Runs are put together by setting, named by what tells them apart, and counted as the tables count them."""

from fractions import Fraction

import numpy as np
import pytest
from made_up_runs import ALONE, write_run
from scipy.stats import binomtest

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.report import LINES
from fairseq_musc.evaluate.runs import find_runs
from fairseq_musc.page.groups import (
    Compared,
    NotCompared,
    accuracy_line,
    against_the_first,
    ensemble_against_members,
    grouped,
    load,
)

LANGUAGES = ("en", "de", "fr")


def groups_of(*folders):
    return grouped([load(run) for folder in folders for run in find_runs([folder], LINES)])


def right_in(path):
    """Whether each row of a table is right, by a loop over the file."""
    header, *lines = (line.split("\t") for line in path.read_text().splitlines())
    names = [name.removeprefix("p_") for name in header[4:]]
    return [names[np.argmax([float(p) for p in cells[4:]])] == cells[3] for cells in lines]


def test_runs_of_one_setting_are_together_by_seed(tmp_path):
    for seed in (2, 1):
        for terms in ("ce+sc", "ce"):
            write_run(tmp_path / f"{terms}{seed}", terms=terms, seed=seed, languages=LANGUAGES)
    assert [(group.name, group.seeds) for group in groups_of(tmp_path)] == [
        ("L_ce + L_sc", "seeds 1, 2"),
        ("L_ce", "seeds 1, 2"),
    ]


def test_the_order_is_that_in_which_folders_are_named(tmp_path):
    a = write_run(tmp_path / "a", terms="ce", languages=LANGUAGES)
    b = write_run(tmp_path / "b", terms="ce+mu", languages=LANGUAGES)
    assert [group.name for group in groups_of(b, a)] == ["L_ce + L_mu", "L_ce"]


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"lam": 0.9}, ["λ 0.5", "λ 0.9"]),
        ({"lr": 1e-5}, ["lr 3e-05", "lr 1e-05"]),
        ({"size": 2000}, ["1,000 rows of S_trn", "2,000 rows of S_trn"]),
        ({"encoder": "xlm-roberta-base"}, ["bert-base-multilingual-cased", "xlm-roberta-base"]),
        ({"normalisation": "paper"}, ["released", "paper"]),
        ({"weight": 0.25}, ["0.5 T_tst + 0.5 S_tst^MT", "0.75 T_tst + 0.25 S_tst^MT"]),
        ({"terms": "ce+mu", "lam": 0.1}, ["L_ce, λ 0.5", "L_ce + L_mu, λ 0.1"]),
    ],
)
def test_a_name_says_what_is_different_and_nothing_else(tmp_path, other, names):
    write_run(tmp_path / "a", languages=LANGUAGES)
    write_run(tmp_path / "b", languages=LANGUAGES, **other)
    assert [group.name for group in groups_of(tmp_path)] == names


def test_seeds_of_another_setting_than_tables_name_are_another_group(tmp_path):
    """A mean over them would be one over settings."""
    alike = {"criterion.terms": "ce+sc", "criterion.mixup_beta": 1.0, "optimization.max_epoch": 4}
    for seed, tau, data in ((1, 0.1, "a"), (2, 0.1, "b"), (3, 0.3, "a"), (4, 0.3, "a")):
        settings = {**alike, "criterion.tau": tau, "task.data": data, "common.seed": seed, "common.cpu": seed > 2}
        write_run(tmp_path / str(seed), terms="ce+sc", languages=LANGUAGES, seed=seed, settings=settings)
    assert [(group.name, group.seeds) for group in groups_of(tmp_path)] == [
        ("criterion.tau=0.1", "seeds 1, 2"),
        ("criterion.tau=0.3", "seeds 3, 4"),
    ]


def test_two_runs_of_one_seed_are_apart_and_named_by_their_folders(tmp_path):
    for name in "ab":
        write_run(tmp_path / name, languages=LANGUAGES)
    assert [group.name for group in groups_of(tmp_path)] == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_runs_on_other_data_are_refused(tmp_path):
    write_run(tmp_path / "a", "pawsx", languages=LANGUAGES)
    write_run(tmp_path / "b", "xnli", languages=LANGUAGES)
    with pytest.raises(InputError) as error:
        groups_of(tmp_path)
    assert "is of data set xnli" in str(error.value) and "is of label set" in str(error.value)


def test_seeds_with_other_rows_are_refused(tmp_path):
    write_run(tmp_path / "a", languages=LANGUAGES, seed=1, rows=40)
    write_run(tmp_path / "b", languages=LANGUAGES, seed=2, rows=41)
    with pytest.raises(InputError, match="has 40 rows"):
        groups_of(tmp_path)


def test_accuracies_of_one_run_have_wilson_s_intervals_and_a_bootstrapped_average(tmp_path):
    write_run(tmp_path, languages=LANGUAGES, rows=200, skill=1.0)
    (group,) = groups_of(tmp_path)
    assert group.lines == ["T_tst", "S_tst_MT", "Ens"]
    for name in group.lines:
        line = accuracy_line(group, name)
        right = {
            language: right_in(tmp_path / f"{'T_tst' if language == 'en' and name != 'Ens' else name}.{language}.tsv")
            for language in LANGUAGES
        }
        for language, hits in right.items():
            interval = binomtest(sum(hits), 200).proportion_ci(0.95, method="wilson")
            cell = line.cells[language]
            assert cell[:3] == pytest.approx((sum(hits) / 200, interval.low, interval.high))
            assert cell.spread is None
        share = float(sum(Fraction(sum(hits), 200) for hits in right.values()) / 3)
        assert line.average.value == pytest.approx(share)
        # Rows are drawn within each language: the variance of the average is the sum of their variances over 3^2.
        error = np.sqrt(sum(np.var(hits) / 200 for hits in right.values())) / 3
        assert line.average.low == pytest.approx(share - 1.96 * error, abs=0.004)
        assert line.average.high == pytest.approx(share + 1.96 * error, abs=0.004)
        assert line.borrowed == (["en"] if name == "S_tst_MT" else [])


def test_seeds_are_averaged_and_their_spread_is_told(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path / str(seed), languages=LANGUAGES, rows=200, seed=seed, skill=0.5 + 0.3 * seed)
    (group,) = groups_of(tmp_path)
    line = accuracy_line(group, "Ens")
    right = np.array([right_in(tmp_path / str(seed) / "Ens.de.tsv") for seed in (1, 2, 3)])
    cell = line.cells["de"]
    assert cell.value == pytest.approx(right.mean())
    assert cell.by_seed == pytest.approx(right.mean(axis=1))
    assert cell.spread == pytest.approx(right.mean(axis=1).std(ddof=1))
    error = right.mean(axis=0).std() / np.sqrt(200)
    assert (cell.low, cell.high) == pytest.approx((right.mean() - 1.96 * error, right.mean() + 1.96 * error), abs=0.008)


def test_comparisons_are_those_of_the_verb_compare(tmp_path, capsys):
    first = write_run(tmp_path / "a", languages=LANGUAGES, rows=150, skill=1.5)
    second = write_run(tmp_path / "b", languages=LANGUAGES, rows=150, skill=1.0, terms="ce+sc")
    groups = groups_of(first, second)
    (found,) = against_the_first(groups)
    assert isinstance(found, Compared)
    assert main(["compare", "--first", str(second), "--second", str(first)]) == 0
    printed = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    for language, line in found.result.lines.items():
        told = printed[language.upper()]
        assert told[2:7] == [
            f"{100 * line.first:.2f}",
            f"{100 * line.second:.2f}",
            f"{100 * (line.first - line.second):+.2f}",
            f"{100 * line.low:+.2f}",
            f"{100 * line.high:+.2f}",
        ]
        test = found.result.tests[language]
        assert told[7:9] == [str(test.first_only), str(test.second_only)]
    within = ensemble_against_members(groups[0])
    assert [(each.first, each.second) for each in within] == [("Ens.", "T_tst"), ("Ens.", "S_tst^MT")]


def test_what_cannot_be_compared_is_said(tmp_path):
    write_run(tmp_path / "a", languages=LANGUAGES, rows=40)
    write_run(tmp_path / "b", languages=LANGUAGES, rows=41, terms="ce+sc")
    write_run(tmp_path / "c", languages=LANGUAGES, corpora=ALONE, predicted=("T_tst",), ensemble=False)
    rows, single = against_the_first(groups_of(tmp_path))
    assert isinstance(rows, NotCompared) and "41 rows" in rows.reason
    assert isinstance(single, Compared) and single.first.startswith("T_tst of ")


def test_seeds_in_common_are_compared(tmp_path):
    for terms, seeds in (("ce", (1, 2)), ("ce+sc", (2, 3))):
        for seed in seeds:
            write_run(tmp_path / f"{terms}{seed}", terms=terms, seed=seed, languages=LANGUAGES)
    groups = groups_of(*sorted(tmp_path.iterdir()))
    (found,) = against_the_first(groups)
    assert isinstance(found, Compared) and len(found.result.by_seed) == 1
