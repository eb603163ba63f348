"""The runs on a page, those that differ in their seed alone together, and their accuracies with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.compare import Comparison, TableRow, check_comparable, compare, shared_order
from fairseq_musc.evaluate.ensemble import check_same_rows
from fairseq_musc.evaluate.report import LINES, mixture, ordered, read_tables, results_of
from fairseq_musc.evaluate.runs import Run
from fairseq_musc.evaluate.significance import percentile_interval, resampled_means, wilson_interval
from fairseq_musc.evaluate.table import Predictions, Signature, is_right

#: Of every interval on the page.
CONFIDENCE = 0.95
RESAMPLES = 10_000
#: Of the bootstrap, so that the same predictions give the same page.
SEED = 1
#: What two runs are compared on: the first of these that both have.
COMPARED_ON = ("Ens", "T_tst", "S_tst_MT", "Ens_w")


class LoadedRun(NamedTuple):
    """One checkpoint, with the rows of its predictions."""

    run: Run
    tables: dict[str, dict[str, Predictions]]
    """Line (a key of :data:`fairseq_musc.evaluate.report.LINES`) to language to predictions."""

    @property
    def folder(self) -> Path:
        """Where its predictions lie."""
        return self.run.folder

    @property
    def signature(self) -> Signature:
        """For what is the same in all its tables."""
        return self.run.signature


class Group(NamedTuple):
    """Runs of one setting, one for each seed."""

    name: str
    """What tells its setting from those of other groups, e.g. ``L_ce + L_sc``."""
    runs: list[LoadedRun]
    """By rising seed."""

    @property
    def seeds(self) -> str:
        """The seeds of its runs in words, e.g. ``seeds 1, 2``."""
        told = ", ".join(str(run.signature.seed) for run in self.runs)
        return f"seed{'s' * (len(self.runs) > 1)} {told}"

    @property
    def first(self) -> LoadedRun:
        """The run of the lowest seed: what is shown where one stands for all."""
        return self.runs[0]

    @property
    def lines(self) -> list[str]:
        """The lines of the result table that there are predictions for."""
        return [line for line, cells in self.first.tables.items() if cells]

    @property
    def languages(self) -> list[str]:
        """The languages that there are predictions in, in the order of the paper's tables."""
        return ordered({language: None for cells in self.first.tables.values() for language in cells})

    def row(self, line: str, seeds: Sequence[int] | None = None) -> TableRow:
        """A line with the runs of these seeds (of all if None); English stands there untranslated."""
        runs = [run for run in self.runs if seeds is None or run.signature.seed in seeds]
        there, untranslated = self.first.tables[line], self.first.tables.get("T_tst", {})
        borrowed = [SOURCE_LANGUAGE] if SOURCE_LANGUAGE in untranslated and SOURCE_LANGUAGE not in there else []
        names = {language: "T_tst" if language in borrowed else line for language in self.languages}
        return TableRow(
            line,
            [run.folder for run in runs],
            {
                language: [run.tables[name][language] for run in runs]
                for language, name in names.items()
                if language in self.first.tables.get(name, {})
            },
            borrowed,
        )


def load(run: Run) -> LoadedRun:
    """Reads the tables of a run and holds them against each other.

    Raises:
        InputError: a table is damaged, or they do not go together.
    """
    tables = read_tables(run.folder)
    results_of(tables)
    return LoadedRun(run, {line: cells for line, cells in tables.items() if cells})


def grouped(runs: Sequence[LoadedRun]) -> list[Group]:
    """The groups, in the order of their first runs.

    Two runs of one setting and one seed are in groups of their own.

    Raises:
        InputError: the runs are of several data sets or label sets, or seeds of one setting have other test rows.
    """
    first = runs[0].signature
    problems = [
        f"{run.folder} is of {what} {got}, {runs[0].folder} of {said}"
        for run in runs[1:]
        for what, got, said in (
            ("data set", run.signature.dataset, first.dataset),
            ("label set", run.signature.labels, first.labels),
        )
        if got != said
    ]
    if problems:
        raise InputError.all_at_once("one page is about runs on one data set:", problems)
    found: dict[tuple[object, ...], list[LoadedRun]] = {}
    for place, run in enumerate(runs):
        key = _key(run)
        before = sum(_key(other) == key and other.signature.seed == run.signature.seed for other in runs[:place])
        found.setdefault((*key, before), []).append(run)
    members = [sorted(runs, key=lambda run: run.signature.seed) for runs in found.values()]
    for first_run, *others in members:
        for other in others:
            _check_rows(first_run, other)
    names = names_of([runs[0] for runs in members])
    return [Group(name, runs) for name, runs in zip(names, members, strict=True)]


def _key(run: LoadedRun) -> tuple[object, ...]:
    """What runs of one group have in common; nothing with others if version 0.1 predicted."""
    tables = sorted((line, language) for line, cells in run.tables.items() for language in cells)
    training = run.run.training
    told = tuple((key, repr(value)) for key, value in sorted(run.run.told.items()))
    trained = (repr(training), run.signature.checkpoint, told) if training is not None else run.folder
    return trained, _translators(run), _mixtures(run), tuple(tables)


def _check_rows(first: LoadedRun, second: LoadedRun) -> None:
    for line, cells in first.tables.items():
        for language, table in cells.items():
            other = second.tables[line][language]
            check_same_rows(table, other, (f"{first.folder}/{table.name}", f"{second.folder}/{other.name}"))


def _translators(run: LoadedRun) -> tuple[str, ...]:
    found = {table.signature.translator for cells in run.tables.values() for table in cells.values()}
    return tuple(sorted(filter(None, found)))


def _mixtures(run: LoadedRun) -> tuple[str, ...]:
    """What Ens is the mean of; the weights of Ens_w were chosen for each run."""
    members = (table.signature.members for table in run.tables.get("Ens", {}).values())
    return tuple(sorted({mixture(each) for each in members if len(each) > 1}))


def names_of(runs: Sequence[LoadedRun]) -> list[str]:
    """A name for each group, by one of its runs: the settings that tell it from the others."""
    parts = [_settings(run) for run in runs]
    telling = [key for key in parts[0] if len({each[key] for each in parts}) > 1 or (len(runs) == 1 and key == "terms")]
    told = [run.run.told for run in runs]
    others = [
        key
        for key in sorted({key for each in told for key in each})
        if len({repr(each[key]) for each in told if key in each}) > 1
    ]
    names = [
        [each[key] for key in telling if each[key]] + [f"{key}={which[key]}" for key in others if key in which]
        for each, which in zip(parts, told, strict=True)
    ]
    return [
        ", ".join(name if name and names.count(name) == 1 else [*name, str(run.folder)])
        for name, run in zip(names, runs, strict=True)
    ]


def _settings(run: LoadedRun) -> dict[str, str]:
    """What two settings may differ in, each as a name says it."""
    training = run.run.training
    inference = {
        "checkpoint": run.signature.checkpoint,
        "translator": " + ".join(_translators(run)),
        "mixture": " + ".join(_mixtures(run)),
    }
    if training is None:
        return dict.fromkeys(("terms", "corpora", "lam", "lr", "normalisation", "encoder", "rows"), "") | inference
    return {
        "terms": " + ".join(f"L_{term}" for term in training.terms.split("+")),
        "corpora": " & ".join(CORPORA[name].notation if name in CORPORA else name for name in training.corpora)
        + ("" if training.paired or len(training.corpora) == 1 else ", unpaired"),
        "lam": f"λ {training.lam:g}",
        "lr": f"lr {training.lr:g}",
        "normalisation": training.normalisation,
        "encoder": training.encoder,
        "rows": f"{training.rows.get(f'S_trn.{SOURCE_LANGUAGE}', 0):,} rows of S_trn",
        **inference,
    }


# --- accuracies ------------------------------------------------------------------------------------------------------


class Estimate(NamedTuple):
    """A share in [0, 1] with the ends of its interval; the mean over seeds where there are several."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    """One for each run."""

    @property
    def spread(self) -> float | None:
        """The sample standard deviation (n - 1) over the seeds; None if there is one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


class AccuracyLine(NamedTuple):
    """A line of the result table."""

    line: str
    cells: dict[str, Estimate]
    """By language; one that has no predictions is not there."""
    average: Estimate | None
    """The unweighted mean over the languages of the group; None if one is missing."""
    borrowed: list[str]
    """Languages in which the untranslated text stands for this line."""


def accuracy_line(group: Group, line: str) -> AccuracyLine:
    """The accuracies of a group on a corpus or ensemble.

    In one language, with one seed, the interval is Wilson's. With several seeds it is a percentile bootstrap of test
    rows, whose right answers are averaged over the seeds; so is that of the average, for which ids are drawn where the
    languages share them, and else rows within each language.
    """
    row = group.row(line)
    right = {language: np.array([is_right(table) for table in runs]) for language, runs in row.tables.items()}  # (S, n)
    generator = np.random.default_rng(SEED)
    means = {
        language: resampled_means(hits.mean(axis=0)[:, None], RESAMPLES, generator)[:, 0]
        for language, hits in right.items()
    }
    cells = {}
    for language, hits in right.items():
        if len(hits) == 1:
            ends = wilson_interval(int(hits.sum()), hits.shape[1], CONFIDENCE)
        else:
            ends = _percentiles(means[language])
        cells[language] = Estimate(float(hits.mean()), *ends, tuple(hits.mean(axis=1).tolist()))
    average = None
    if cells.keys() == set(group.languages):
        order = shared_order(row.tables)
        if order is None:
            drawn = np.mean(list(means.values()), axis=0)
        else:
            by_id = np.mean([hits.mean(axis=0)[order[language]] for language, hits in right.items()], axis=0)  # (n,)
            drawn = resampled_means(by_id[:, None], RESAMPLES, generator)[:, 0]
        by_seed = np.mean([cell.by_seed for cell in cells.values()], axis=0)
        average = Estimate(float(by_seed.mean()), *_percentiles(drawn), tuple(by_seed.tolist()))
    return AccuracyLine(line, cells, average, row.borrowed)


def _percentiles(means: np.ndarray) -> tuple[float, float]:
    low, high = percentile_interval(means[:, None], CONFIDENCE)
    return float(low[0]), float(high[0])


# --- comparisons -----------------------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """Two lines on the same test rows."""

    first: str
    """What is compared, e.g. ``Ens. of L_ce + L_sc``."""
    second: str
    rows: dict[str, int]
    """By language."""
    seeds: list[int]
    """Of the pairs of runs; empty where one run of each is compared, whatever their seeds."""
    result: Comparison
    shared: bool
    """Whether the languages have the same ids, which were drawn then."""


class NotCompared(NamedTuple):
    """Two groups that cannot be compared, and why."""

    first: str
    second: str
    reason: str


def ensemble_against_members(group: Group) -> list[Compared]:
    """The ensembles of a group against the corpora that they average."""
    pairs = [
        (ensemble, member)
        for ensemble in ("Ens", "Ens_w")
        for member in ("T_tst", "S_tst_MT", *(["Ens"] if ensemble == "Ens_w" else []))
        if {ensemble, member} <= set(group.lines)
    ]
    return [
        _compared(LINES[first], LINES[second], *_common_languages(group.row(first), group.row(second)))
        for first, second in pairs
    ]


def against_the_first(groups: Sequence[Group]) -> list[Compared | NotCompared]:
    """Every group but the first against it, on the line of :data:`COMPARED_ON` that both have."""
    base = groups[0]
    found: list[Compared | NotCompared] = []
    for group in groups[1:]:
        line = next((line for line in COMPARED_ON if {line} <= set(base.lines) & set(group.lines)), None)
        if line is None:
            reason = f"one has {_told(group.lines)}, the other {_told(base.lines)}"
            found.append(NotCompared(group.name, base.name, reason))
            continue
        seeds = _common_seeds(group, base)
        first, second = _common_languages(group.row(line, seeds), base.row(line, seeds))
        names = f"{LINES[line]} of {group.name}", f"{LINES[line]} of {base.name}"
        try:
            if not first.tables:
                raise InputError(f"one is in {', '.join(group.languages)}, the other in {', '.join(base.languages)}")
            check_comparable(first, second)
        except InputError as error:
            found.append(NotCompared(*names, str(error)))
        else:
            found.append(_compared(*names, first, second))
    return found


def _common_seeds(first: Group, second: Group) -> list[int] | None:
    """The seeds that both have; None, for all, where they have none in common."""
    seeds = {run.signature.seed for run in second.runs}
    return [run.signature.seed for run in first.runs if run.signature.seed in seeds] or None


def _common_languages(first: TableRow, second: TableRow) -> tuple[TableRow, TableRow]:
    both = [language for language in first.tables if language in second.tables]
    one, two = (row._replace(tables={language: row.tables[language] for language in both}) for row in (first, second))
    return one, two


def _compared(first_name: str, second_name: str, first: TableRow, second: TableRow) -> Compared:
    return Compared(
        first_name,
        second_name,
        {language: len(runs[0].ids) for language, runs in first.tables.items()},
        first.seeds if len(first.folders) > 1 else [],
        compare(first, second, RESAMPLES, CONFIDENCE, SEED),
        shared_order(first.tables) is not None,
    )


def _told(lines: Sequence[str]) -> str:
    return ", ".join(LINES[line] for line in lines)


def rows_by_language(groups: Sequence[Group]) -> Mapping[str, list[int]]:
    """Language to the number of its test rows: one, or those that groups have which were predicted on other data."""
    rows: dict[str, set[int]] = {}
    for group in groups:
        for cells in group.first.tables.values():
            for language, table in cells.items():
                rows.setdefault(language, set()).add(len(table.ids))
    return {language: sorted(rows[language]) for language in ordered(rows)}
