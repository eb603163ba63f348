"""Compares two rows of any table on the same test rows: a bootstrap interval and McNemar's test.

Reads the predictions tables of two rows: the folders of the first (--first) and of the second (--second; the same if
left out), and which corpus or ensemble of them (--corpora FIRST SECOND; one name is for both). So

    --first A --corpora Ens T_tst                is two rows of one table, by one checkpoint,
    --first A --second B --corpora Ens           is the same row by two checkpoints, and
    --first A1 A2 A3 --second B1 B2 B3           is two algorithms with three seeds each, paired by seed.

Prints, for each language and on average (unweighted over languages, English included; as in all tables English is not
translated and its T_tst stands for its S_tst_MT): both accuracies, their difference with a paired percentile bootstrap
interval, how many rows one alone gets right, and the p-value of McNemar's exact test, as it is and after Holm's
correction over the languages. Writes the same as OUTPUT.tsv (unrounded) and OUTPUT.md, if asked to.

The bootstrap draws test rows, each with its predictions by both rows of the table and by all seeds: accuracies are
averaged over seeds within each resample. Its interval is about the choice of test rows; the differences by seed are
printed below. If all languages have the same ids with the same labels (PAWS-X, XNLI), their rows are taken for
translations of one another: ids are drawn then, and an id counts in every language. Otherwise rows are drawn within
each language.

With several seeds a row counts for the one that is right on it with more seeds: a sign test, which is McNemar's test if
there is one seed. The line "pooled" adds the languages up and takes all rows for independent. Translations of one
another are not; so where ids are shared the line "ids" does the same for ids, each of which counts for the row of the
table that is right on it more often, over all languages.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.ensemble import check_same_rows, checkpoint_of, data_problems
from fairseq_musc.evaluate.layout import NOTHING, Cell, Sheet, as_text, number, text, write
from fairseq_musc.evaluate.report import ordered
from fairseq_musc.evaluate.runs import told_by
from fairseq_musc.evaluate.significance import discordant, holm, mcnemar, percentile_interval, resampled_means
from fairseq_musc.evaluate.table import ENSEMBLES, Predictions, is_right, list_predictions, notation, read_predictions
from fairseq_musc.progress import with_progress
from fairseq_musc.version import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc compare``."""
    parser.add_argument(
        "--first", required=True, nargs="+", type=Path, metavar="FOLDER", help="predictions; a folder for each seed"
    )
    parser.add_argument(
        "--second", nargs="+", type=Path, metavar="FOLDER", help="predictions to hold them against (default: the same)"
    )
    parser.add_argument(
        "--corpora",
        nargs="+",
        default=["Ens"],
        metavar="CORPUS",
        help="which row of the table, or which two: T_tst, S_tst_MT, Ens, Ens_w, ... (default: Ens)",
    )
    parser.add_argument("--languages", nargs="+", metavar="LANG", help="these only (default: all that are there)")
    parser.add_argument(
        "--resamples", type=int, default=10_000, metavar="N", help="of the bootstrap (default: %(default)s)"
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="P", help="of the interval (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="NAME", help="write NAME.tsv and NAME.md as well")


def run(arguments: argparse.Namespace) -> None:
    """Reads both rows, compares, prints, and writes if asked to."""
    second_folders = arguments.second or arguments.first
    corpora = arguments.corpora
    problems = option_problems(arguments)
    if problems:
        raise InputError.all_at_once("the comparison cannot be made:", problems)
    first = read_row(arguments.first, corpora[0], arguments.languages)
    second = read_row(second_folders, corpora[-1], arguments.languages)
    check_comparable(first, second)
    comparison = compare(first, second, arguments.resamples, arguments.confidence, arguments.seed)
    sheet = sheet_of(comparison, first, second, arguments)
    if arguments.output:
        write(sheet, arguments.output)
    print(as_text(sheet), end="")


def option_problems(arguments: argparse.Namespace) -> list[str]:
    """What is wrong with the options, a line each."""
    corpora, problems = arguments.corpora, []
    if unknown := [name for name in corpora if name not in CORPORA and name not in ENSEMBLES]:
        problems.append(
            f"no table is for a corpus {', '.join(unknown)}; the names are {', '.join([*CORPORA, *ENSEMBLES])}"
        )
    if len(corpora) > 2:
        problems.append(f"--corpora takes one name, or one for each of the two rows; got {' '.join(corpora)}")
    if arguments.second in (None, arguments.first) and len(set(corpora)) == 1:
        problems.append(f"both rows are {corpora[0]} of the same folders; give --second, or two --corpora")
    if arguments.resamples < 1:
        problems.append(f"--resamples is {arguments.resamples}; it is at least 1")
    if not 0 < arguments.confidence < 1:
        problems.append(f"--confidence is {arguments.confidence}; it is between 0 and 1")
    return problems


class TableRow(NamedTuple):
    """One row of a table: what one or more runs predict about a corpus in every language."""

    corpus: str
    folders: list[Path]
    """One for each run, in the order of their seeds."""
    tables: dict[str, list[Predictions]]
    """Language to a table for each run, in the same order."""
    borrowed: list[str]
    """Languages whose untranslated corpus stands for this one."""

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [table.signature.seed for table in next(iter(self.tables.values()))]


def read_row(folders: Sequence[Path], corpus: str, languages: Sequence[str] | None) -> TableRow:
    """Reads a row of a table from the folders of its runs.

    Args:
        folders: one for each run.
        corpus: a corpus of Table 1 or an ensemble.
        languages: these only; None takes all that the folders hold.

    Raises:
        InputError: folders lack a language that others have, or runs differ in more than their seed or not in that.
    """
    source = source_table(corpus)
    there = {folder: set(list_predictions(folder)) for folder in folders}
    found = {language for tables in there.values() for name, language in tables if name == corpus}
    if found and any((source, SOURCE_LANGUAGE) in tables for tables in there.values()):
        found.add(SOURCE_LANGUAGE)
    wanted = ordered(dict.fromkeys(languages or found))
    translated = all((corpus, SOURCE_LANGUAGE) in tables for tables in there.values())
    name_of = {language: corpus if translated or language != SOURCE_LANGUAGE else source for language in wanted}
    problems = [
        f"{folder} holds no predictions for {', '.join(missing) or corpus}; it holds "
        f"{', '.join(map('.'.join, sorted(tables))) or 'nothing'}"
        for folder, tables in there.items()
        if (missing := [f"{name}.{language}" for language, name in name_of.items() if (name, language) not in tables])
        or not wanted
    ]
    if problems:
        raise InputError.all_at_once("a row of a table is missing:", problems)
    tables = {
        language: [read_predictions(folder, name_of[language], language) for folder in folders]
        for language in with_progress(wanted, "languages", "read")
    }
    seeds = [table.signature.seed for table in tables[wanted[0]]]
    if len(set(seeds)) < len(seeds):
        told = ", ".join(f"{folder} (seed {seed})" for folder, seed in zip(folders, seeds, strict=True))
        raise InputError(f"several runs of one row differ in their seeds, but these are {told}")
    if others := differing_settings(folders, tables[wanted[0]]):
        raise InputError.all_at_once("several runs of one row differ in their seeds alone, but these do in:", others)
    order = np.argsort(seeds)
    return TableRow(
        corpus,
        [folders[place] for place in order],
        {language: [runs[place] for place in order] for language, runs in tables.items()},
        [language for language, name in name_of.items() if name != corpus],
    )


def differing_settings(folders: Sequence[Path], tables: Sequence[Predictions]) -> list[str]:
    """What runs were trained with otherwise than by the seed, each setting with its value in every folder."""
    settings: list[dict[str, object]] = []
    for table in tables:
        training = table.signature.training
        settings.append({**({} if training is None else asdict(training)), **told_by(table.signature)})
    return [
        f"{key}: " + ", ".join(f"{each.get(key)} in {folder}" for folder, each in zip(folders, settings, strict=True))
        for key in dict.fromkeys(key for each in settings for key in each)
        if len({repr(each.get(key)) for each in settings}) > 1
    ]


def source_table(corpus: str) -> str:
    """The untranslated corpus of the same split, which stands for it in English, e.g. T_tst for S_tst_MT."""
    split = (CORPORA[corpus] if corpus in CORPORA else ENSEMBLES[corpus]).split
    return {"test": "T_tst", "valid": "T_val", "train": "S_trn"}[split]


def check_comparable(first: TableRow, second: TableRow) -> None:
    """Raises :class:`InputError` unless both rows are about the same test rows, by runs with the same seeds.

    One run against one needs no pairing by seed.
    """
    if len(first.folders) != len(second.folders) or (len(first.folders) > 1 and first.seeds != second.seeds):
        raise InputError(
            f"runs are paired by seed, but the first has seeds {', '.join(map(str, first.seeds))} and the second "
            f"{', '.join(map(str, second.seeds))}; give the same seeds of both"
        )
    if first.tables.keys() != second.tables.keys():
        raise InputError(
            f"the first row is in {', '.join(first.tables)} and the second in {', '.join(second.tables)}; name those "
            "to compare with --languages"
        )
    for language in first.tables:
        runs = [
            (f"{folder}/{table.name}", table)
            for row in (first, second)
            for folder, table in zip(row.folders, row.tables[language], strict=True)
        ]
        name, table = runs[0]
        for other_name, other in runs[1:]:
            if problems := data_problems(table, other, (name, other_name)):
                raise InputError.all_at_once("the predictions cannot be compared:", problems)
            check_same_rows(table, other, (name, other_name))


class Line(NamedTuple):
    """The comparison in one language, or on average."""

    first: float
    """The accuracy of the first row, in [0, 1], averaged over seeds."""
    second: float
    low: float
    """The lower end of the interval of first - second."""
    high: float


class McNemar(NamedTuple):
    """McNemar's exact test on some rows."""

    first_only: int
    second_only: int
    p: float


class Comparison(NamedTuple):
    """Two rows of a table, compared."""

    lines: dict[str, Line]
    average: Line
    tests: dict[str, McNemar]
    corrected: dict[str, float]
    """Holm's p-values; languages in which both rows are the same predictions are not tested."""
    pooled: McNemar
    ids: McNemar | None
    """The test on ids, if the languages share them."""
    by_seed: list[float]
    """The average difference of each pair of runs."""


def compare(first: TableRow, second: TableRow, resamples: int, confidence: float, seed: int) -> Comparison:
    """Compares two rows that :func:`check_comparable` has let pass.

    Args:
        first: L languages, S runs.
        second: the same languages and as many runs.
        resamples: of the bootstrap.
        confidence: of the interval, e.g. 0.95.
        seed: of the bootstrap.
    """
    # right[row][language]: (S, n) of 0 and 1.
    right = [
        {language: np.array([is_right(table) for table in runs]).astype(int) for language, runs in row.tables.items()}
        for row in (first, second)
    ]
    languages = list(first.tables)
    by_seed = {language: right[0][language] - right[1][language] for language in languages}  # (S, n)
    advantage = {language: runs.sum(axis=0) for language, runs in by_seed.items()}  # (n,), -S to S
    runs = len(first.folders)
    order = shared_order(first.tables)
    generator = np.random.default_rng(seed)
    columns = [
        resampled_means(advantage[language][:, None] / runs, resamples, generator)
        for language in with_progress(languages, "languages", "bootstrap")
    ]
    means = np.concatenate(columns, axis=1)  # (resamples, L)
    if order is None:
        average = means.mean(axis=1)
    else:  # ids are drawn: what is drawn of an id is its mean over the languages
        aligned = np.stack([advantage[language][order[language]] for language in languages], axis=1)  # (n, L)
        average = resampled_means(aligned.mean(axis=1, keepdims=True) / runs, resamples, generator)[:, 0]
    means = np.column_stack([means, average])  # (resamples, L + 1)
    low, high = percentile_interval(means, confidence)
    accuracies = np.array([[row[language].mean() for language in languages] for row in right])  # (2, L)
    accuracies = np.column_stack([accuracies, accuracies.mean(axis=1)])
    lines = [Line(*map(float, line)) for line in zip(*accuracies, low, high, strict=True)]
    tests = {language: _test(advantage[language]) for language in languages}
    tested = [
        language for language in languages if not same_predictions(first.tables[language], second.tables[language])
    ]
    return Comparison(
        lines=dict(zip(languages, lines, strict=False)),
        average=lines[-1],
        tests=tests,
        corrected=dict(zip(tested, holm([tests[language].p for language in tested]), strict=True)),
        pooled=_test(np.concatenate([advantage[language] for language in languages])),
        ids=None if order is None else _test(aligned.sum(axis=1)),
        by_seed=np.mean([runs.mean(axis=1) for runs in by_seed.values()], axis=0).tolist(),
    )


def _test(advantage: NDArray[np.int64]) -> McNemar:
    first_only, second_only = discordant(advantage)
    return McNemar(first_only, second_only, mcnemar(first_only, second_only))


def same_predictions(first: Sequence[Predictions], second: Sequence[Predictions]) -> bool:
    """Whether both rows hold the same probabilities, as in English, which is not translated."""
    return all(np.array_equal(a.probabilities, b.probabilities) for a, b in zip(first, second, strict=True))


def shared_order(tables: Mapping[str, Sequence[Predictions]]) -> dict[str, NDArray[np.int64]] | None:
    """Language to the order in which its rows have the ids of the first language; None if rows are not shared.

    Languages share their rows if there are several and all have the same ids, with the same labels: sets that were
    numbered each by itself have the same ids too, but other labels.
    """
    first, *others = ((language, runs[0]) for language, runs in tables.items())
    order = {first[0]: np.arange(len(first[1].ids))}
    for language, table in others:
        place = {row_id: row for row, row_id in enumerate(table.ids)}
        if place.keys() != set(first[1].ids):
            return None
        order[language] = np.array([place[row_id] for row_id in first[1].ids])
        if (table.labels[order[language]] != first[1].labels).any():
            return None
    return order if others else None


def sheet_of(comparison: Comparison, first: TableRow, second: TableRow, arguments: argparse.Namespace) -> Sheet:
    """The printed table."""
    percent = f"{100 * arguments.confidence:g}%"
    header = [
        text("Language", "language"),
        text("rows"),
        text("first"),
        text("second"),
        text("difference"),
        text(f"{percent} from", "low"),
        text("to", "high"),
        text("only first", "only_first"),
        text("only second", "only_second"),
        text("p", "p_mcnemar"),
        text("p (Holm)", "p_holm"),
    ]
    rows = [
        [
            text(language.upper(), language),
            text(str(len(first.tables[language][0].ids))),
            *_numbers(line),
            *_tested(comparison.tests[language]),
            _p(comparison.corrected.get(language)),
        ]
        for language, line in comparison.lines.items()
    ]
    rows.append([text("Avg.", "average"), NOTHING, *_numbers(comparison.average), *[NOTHING] * 4])
    counts = [len(runs[0].ids) for runs in first.tables.values()]
    pooled = [("pooled", sum(counts), comparison.pooled)]
    if comparison.ids:
        pooled.append(("ids", counts[0], comparison.ids))
    rows += [[text(name), text(str(count)), *[NOTHING] * 5, *_tested(test), NOTHING] for name, count, test in pooled]
    return Sheet("Accuracy in %", header, rows, notes_of(comparison, first, second, arguments))


def _numbers(line: Line) -> list[Cell]:
    return [
        *(number(accuracy, ".2f", 100) for accuracy in (line.first, line.second)),
        *(number(difference, "+.2f", 100) for difference in (line.first - line.second, line.low, line.high)),
    ]


def _tested(test: McNemar) -> list[Cell]:
    return [text(str(test.first_only)), text(str(test.second_only)), _p(test.p)]


def _p(value: float | None) -> Cell:
    return NOTHING if value is None else number(value, ".2g" if 0 < value < 0.001 else ".3f")


def notes_of(comparison: Comparison, first: TableRow, second: TableRow, arguments: argparse.Namespace) -> list[str]:
    """What the figures are and where they come from, a line each."""
    languages = list(first.tables)
    if comparison.ids:
        drawn = "ids were drawn, each with its rows in all languages: ids and labels are the same in all"
    else:
        drawn = "rows were drawn within each language: the languages do not share ids and labels"
    if len(languages) == 1:
        drawn = "rows were drawn"
    untested = [language.upper() for language in languages if language not in comparison.corrected]
    left_out = f"; {', '.join(untested)} left out, where both rows are the same predictions" if untested else ""
    several = len(first.folders) > 1
    test = "exact sign test on rows" if several else "exact McNemar test"
    one = "is right with more seeds than the other" if several else "alone is right"
    notes = [
        f"{name}: {notation(row.corpus)} of {folder}: {checkpoint_of(table.signature)}, seed {table.signature.seed}"
        for name, row in (("first", first), ("second", second))
        for folder, table in zip(row.folders, row.tables[languages[0]], strict=True)
    ]
    if several:
        told = ", ".join(
            f"{100 * difference:+.2f} (seed {seed})"
            for seed, difference in zip(first.seeds, comparison.by_seed, strict=True)
        )
        notes.append(f"difference on average by seed: {told}")
    borrowed = sorted({(language, row.corpus) for row in (first, second) for language in row.borrowed})
    notes += [f"{notation(corpus)} in {language.upper()}: the untranslated text" for language, corpus in borrowed]
    return [
        *notes,
        f"interval: paired percentile bootstrap, {arguments.resamples} resamples, seed {arguments.seed}; {drawn}",
        f"only first, only second: rows on which that one {one}",
        f"p: {test}, two-sided; Holm's correction is over {len(comparison.corrected)} languages{left_out}",
        *(["pooled takes rows of several languages for independent; ids does not"] if comparison.ids else []),
        f"dataset: {first.tables[languages[0]][0].signature.dataset}",
        f"version: fairseq-musc {__version__}",
    ]
