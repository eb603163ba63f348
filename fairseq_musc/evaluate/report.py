"""Prints the accuracies on T_tst, S_tst^MT and Ens, in the form of Table 3 of the paper.

reads   FOLDER/T_tst.<language>, FOLDER/S_tst_MT.<language>, FOLDER/Ens.<language>: predictions tables
writes  FOLDER/results.tsv (accuracies in [0, 1], unrounded) and FOLDER/results.md (in %, with one decimal)

Avg. is the unweighted mean over the languages, English included. English is not translated: its number on T_tst stands
in every line. Below the table stands its signature: what the figures can be traced back to.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.ensemble import check_same_origin, check_same_rows, checkpoint_of
from fairseq_musc.evaluate.table import (
    Predictions,
    list_predictions,
    read_predictions,
    right,
    table_sha256,
)
from fairseq_musc.files import written_whole

#: The lines of the table, and how they are printed.
LINES = {"T_tst": CORPORA["T_tst"].notation, "S_tst_MT": CORPORA["S_tst_MT"].notation, "Ens": "Ens."}
#: The order of the languages in the paper's tables; others follow by the alphabet.
PAPER_ORDER = ("en", "zh", "fr", "de", "ru", "es", "it", "ko", "ja")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc report``."""
    parser.add_argument("--predictions", required=True, type=Path, metavar="FOLDER", help="the predictions tables")


def run(arguments: argparse.Namespace) -> None:
    """Reads the tables, writes both results files, and prints the table."""
    folder = arguments.predictions
    results = results_of(read_tables(folder))
    with written_whole(folder / "results.tsv") as stream:
        stream.write(as_tsv(results))
    with written_whole(folder / "results.md") as stream:
        stream.write(as_markdown(results))
    print(as_text(results), end="")


class Results(NamedTuple):
    """A result table before it is printed."""

    languages: list[str]
    """The columns, in order."""
    accuracies: dict[str, dict[str, Fraction]]
    """Line (a key of :data:`LINES`) to language to accuracy in [0, 1]; a language may be missing."""
    rows: dict[str, int]
    """Language to the number of rows its accuracies are over."""
    signature: list[str]
    """What the figures can be traced back to, one line each."""

    def average(self, line: str) -> Fraction | None:
        """The unweighted mean over all columns; None if one is missing."""
        cells = self.accuracies[line]
        return mean([*cells.values()]) if len(cells) == len(self.languages) else None

    def notes(self) -> list[str]:
        """Why averages are missing."""
        return [
            f"No average for {LINES[line]}: there are no predictions in "
            f"{', '.join(language.upper() for language in self.languages if language not in cells)}."
            for line, cells in self.accuracies.items()
            if self.average(line) is None
        ]


def mean(accuracies: Sequence[Fraction]) -> Fraction:
    """The unweighted mean."""
    return sum(accuracies, Fraction(0)) / len(accuracies)


def percent(accuracy: Fraction) -> str:
    """In % with one decimal, halves rounded up: 2,000 rows have many accuracies that end in 5 hundredths."""
    tenths = int(accuracy * 1000 + Fraction(1, 2))
    return f"{tenths // 10}.{tenths % 10}"


def read_tables(folder: Path) -> dict[str, dict[str, Predictions]]:
    """Line of the result table to language to predictions.

    Raises:
        InputError: there are none, or one is damaged.
    """
    tables: dict[str, dict[str, Predictions]] = {line: {} for line in LINES}
    for corpus, language in list_predictions(folder):
        if corpus in LINES:
            tables[corpus][language] = read_predictions(folder, corpus, language)
    if not any(tables.values()):
        raise InputError(f"{folder} holds no predictions for {', '.join(LINES)}; predict first")
    return tables


def results_of(tables: Mapping[str, Mapping[str, Predictions]]) -> Results:
    """The result table of predictions; lines without any predictions are left out.

    Args:
        tables: line (a key of :data:`LINES`) to language to predictions.

    Raises:
        InputError: the predictions are of several checkpoints or data sets, have other rows in one line than in
            another, or are an ensemble of other predictions than those given.
    """
    everything = [predictions for cells in tables.values() for predictions in cells.values()]
    for other in everything[1:]:
        check_same_origin(everything[0], other)
    first_of: dict[str, Predictions] = {}
    for predictions in everything:
        check_same_rows(first_of.setdefault(predictions.signature.language, predictions), predictions)
    check_members(tables)

    accuracies = {
        line: {language: Fraction(right(cell), len(cell.ids)) for language, cell in cells.items()}
        for line, cells in tables.items()
        if cells
    }
    untranslated = accuracies.get("T_tst", {}).get(SOURCE_LANGUAGE)
    if untranslated is not None:
        for cells in accuracies.values():
            cells.setdefault(SOURCE_LANGUAGE, untranslated)
    return Results(
        languages=ordered(first_of),
        accuracies=accuracies,
        rows={language: len(predictions.ids) for language, predictions in first_of.items()},
        signature=signature_of(everything),
    )


def check_members(tables: Mapping[str, Mapping[str, Predictions]]) -> None:
    """Raises :class:`InputError` if an ensemble was made from other predictions than those in the table."""
    for language, ensemble in tables.get("Ens", {}).items():
        for corpus, digest in ensemble.signature.member_sha256.items():
            member = tables.get(corpus, {}).get(language)
            if member is not None and table_sha256(member) != digest:
                raise InputError(
                    f"{ensemble.name} was made from another {member.name} than the one that is there; run "
                    "`fairseq-musc ensemble` again"
                )


def ordered(languages: Mapping[str, object]) -> list[str]:
    """Languages in the order of the paper's tables, then by the alphabet."""
    return [language for language in PAPER_ORDER if language in languages] + sorted(set(languages) - set(PAPER_ORDER))


def signature_of(tables: Sequence[Predictions]) -> list[str]:
    """The signature of a result table: one line for each thing that its figures depend on."""
    first = tables[0].signature
    signatures = [predictions.signature for predictions in tables]
    translators = sorted({signature.translator for signature in signatures if signature.translator})
    mixtures = sorted(
        {
            " + ".join(f"{weight:g} {LINES.get(corpus, corpus)}" for corpus, weight in signature.members.items())
            for signature in signatures
            if len(signature.members) > 1
        }
    )
    lines = {
        "dataset": first.dataset,
        "checkpoint": checkpoint_of(first),
        "seed": str(first.seed),
        "translator": ", ".join(translators),
        "Ens.": ", ".join(mixtures),
        "version": "fairseq-musc " + ", ".join(sorted({signature.version for signature in signatures})),
    }
    return [f"{what}: {value}" for what, value in lines.items() if value]


def as_cells(results: Results) -> list[list[str]]:
    """The printed table: a header, a line a corpus, and the line of row counts."""
    cells = [["Inference", *(language.upper() for language in results.languages), "Avg."]]
    for line, accuracies in results.accuracies.items():
        numbers = [*(accuracies.get(language) for language in results.languages), results.average(line)]
        cells.append([LINES[line], *("–" if number is None else percent(number) for number in numbers)])
    return [*cells, ["rows", *(str(results.rows[language]) for language in results.languages), ""]]


def as_text(results: Results) -> str:
    """The table for a terminal: aligned columns, then notes and signature."""
    cells = as_cells(results)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, *numbers in cells:
        aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]).rstrip())
    return "\n".join([*lines, "", *results.notes(), *results.signature, ""])


def as_markdown(results: Results) -> str:
    """The table in Markdown, notes and signature below."""
    header, *lines = (f"| {' | '.join(cells)} |" for cells in as_cells(results))
    rule = "|:--|" + "--:|" * (len(results.languages) + 1)
    below = [f"- {line}" for line in [*results.notes(), *results.signature]]
    return "\n".join(["Accuracy in %.", "", header, rule, *lines, "", *below, ""])


def as_tsv(results: Results) -> str:
    """The table for programs.

    The columns are ``inference``, the languages and ``average``. Accuracies are in [0, 1] and unrounded; what is
    missing is an empty cell; the line ``rows`` holds the row counts. The signature follows in lines that begin with
    ``#``.
    """
    lines = [["inference", *results.languages, "average"]]
    for line, accuracies in results.accuracies.items():
        numbers = [*(accuracies.get(language) for language in results.languages), results.average(line)]
        lines.append([line, *("" if number is None else repr(float(number)) for number in numbers)])
    lines.append(["rows", *(str(results.rows[language]) for language in results.languages), ""])
    return "".join("\t".join(cells) + "\n" for cells in lines) + "".join(f"# {line}\n" for line in results.signature)
