"""Prints accuracies: of one checkpoint, or of many as a table of the paper.

Without --table, the accuracies of one checkpoint on T_tst, S_tst^MT and Ens, in the form of Table 3:

reads   FOLDER/T_tst.<language>, FOLDER/S_tst_MT.<language>, FOLDER/Ens.<language>: predictions tables
writes  FOLDER/results.tsv (accuracies in [0, 1], unrounded) and FOLDER/results.md (in %, with one decimal)

With --table N, Table N of the paper (XNLI: Tables 8 and 9) from every predictions folder at or below the FOLDERs:

reads   the same, in many folders, each of one checkpoint; runs that differ in the seed only are one line
writes  with --output: tableN.md, tableN.tsv (unrounded, with the whole signature) and tableN.tex

Avg. is the unweighted mean over the languages, English included. English is not translated: its number on T_tst stands
in every line. Below the table stands its signature: what the figures can be traced back to.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.ensemble import check_same_origin, check_same_rows, checkpoint_of, translators_warning
from fairseq_musc.evaluate.layout import aligned, markdown_rows
from fairseq_musc.evaluate.table import (
    Predictions,
    list_predictions,
    notation,
    only_answer,
    read_predictions,
    right,
    table_sha256,
)
from fairseq_musc.files import written_whole
from fairseq_musc.progress import with_progress

#: The lines of the table, and how they are printed.
LINES = {name: notation(name) for name in ("T_tst", "S_tst_MT", "Ens", "Ens_w")}
#: An order of the languages that is that of each of the paper's tables; others follow by the alphabet.
PAPER_ORDER = (
    *("en", "ar", "bg", "zh", "fr", "de", "el", "hi", "ru"),
    *("es", "it", "ko", "ja", "sw", "th", "tr", "ur", "vi"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc report``."""
    parser.add_argument(
        "--predictions",
        required=True,
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="the predictions tables; with --table, folders that are searched for them",
    )
    parser.add_argument("--table", type=int, choices=[2, 3, 4, 5, 8, 9], help="print this table of the paper")
    tables = parser.add_argument_group("options of --table")
    tables.add_argument("--output", type=Path, metavar="FOLDER", help="write the table there as .md, .tsv and .tex")
    tables.add_argument("--paper", action="store_true", help="put the paper's own figure beside each cell")
    tables.add_argument("--terms", help="the terms of the loss in Tables 2, 3, 4 and 8 (default: ce, as in the paper)")
    tables.add_argument("--verbose", action="store_true", help="name the folders that belong to no line")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table that was asked for, and writes its files."""
    if arguments.table is not None:
        # They build on this module, and most reports do not need them.
        from fairseq_musc.evaluate import paper_layouts, paper_tables
        from fairseq_musc.evaluate.runs import find_runs

        filled = paper_tables.fill(
            arguments.table, find_runs(arguments.predictions, LINES), arguments.terms, arguments.paper
        )
        if arguments.output is not None:
            paper_layouts.write_table(arguments.output, filled)
        print(paper_layouts.as_text(filled, arguments.verbose), end="")
        return
    asked = [name for name in ("output", "paper", "terms", "verbose") if getattr(arguments, name)]
    if asked:
        raise InputError(f"--{', --'.join(asked)}: only with --table")
    if len(arguments.predictions) != 1:
        raise InputError(
            f"without --table a report is of one predictions folder; got {len(arguments.predictions)}: "
            f"{', '.join(map(str, arguments.predictions))}"
        )
    folder = arguments.predictions[0]
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
    only_answers: dict[str, dict[str, str]]
    """Line to language to the label that every row is given (:func:`fairseq_musc.evaluate.table.only_answer`)."""

    def average(self, line: str) -> Fraction | None:
        """The unweighted mean over all columns; None if one is missing."""
        cells = self.accuracies[line]
        return mean([*cells.values()]) if len(cells) == len(self.languages) else None

    def notes(self) -> list[str]:
        """Why averages are missing, and where the model says the same of every row."""
        said = [only_answer_note(LINES[line], found) for line, found in self.only_answers.items() if found]
        return said + [
            f"No average for {LINES[line]}: there are no predictions in "
            f"{', '.join(language.upper() for language in self.languages if language not in cells)}."
            for line, cells in self.accuracies.items()
            if self.average(line) is None
        ]


def only_answer_note(where: str, found: Mapping[str, str]) -> str:
    """What is said of a line, some of whose languages have one answer to all rows.

    Args:
        where: the line as the table calls it.
        found: language to that answer.
    """
    by_answer: dict[str, list[str]] = {}
    for language in ordered(found):
        by_answer.setdefault(found[language], []).append(language.upper())
    each = "; ".join(f"{answer!r} in {', '.join(languages)}" for answer, languages in by_answer.items())
    return f"{where}: every row is given the same answer, {each}. The model has not learnt to tell rows apart."


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
    for corpus, language in with_progress(list_predictions(folder), "tables", "read"):
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
        only_answers={
            line: {language: answer for language, cell in cells.items() if (answer := only_answer(cell)) is not None}
            for line, cells in tables.items()
        },
    )


def check_members(tables: Mapping[str, Mapping[str, Predictions]]) -> None:
    """Raises :class:`InputError` if an ensemble was made from other predictions than those in the table."""
    for ensemble in [predictions for cells in tables.values() for predictions in cells.values()]:
        for corpus, digest in ensemble.signature.member_sha256.items():
            member = tables.get(corpus, {}).get(ensemble.signature.language)
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
    mixtures = {
        line: sorted({mixture(each.members) for each in signatures if each.corpus == line and len(each.members) > 1})
        for line in LINES
    }
    lines = {
        "dataset": first.dataset,
        "checkpoint": checkpoint_of(first),
        "seed": str(first.seed),
        "translator": ", ".join(translators),
        "precision": ", ".join(sorted({signature.precision for signature in signatures if signature.precision})),
        "warning": translators_warning(tables) or "",
        **{LINES[line]: ", ".join(found) for line, found in mixtures.items()},
        "version": "fairseq-musc " + ", ".join(sorted({signature.version for signature in signatures})),
    }
    return [f"{what}: {value}" for what, value in lines.items() if value]


def mixture(members: Mapping[str, float]) -> str:
    """The members of an ensemble as tables print them, e.g. ``0.5 T_tst + 0.5 S_tst^MT``.

    What stands in brackets behind the name of a corpus is kept.
    """
    parts = []
    for name, weight in members.items():
        corpus, bracket, rest = name.partition("[")
        parts.append(f"{weight:g} {LINES.get(corpus, corpus)}{bracket}{rest}")
    return " + ".join(parts)


def as_cells(results: Results) -> list[list[str]]:
    """The printed table: a header, a line a corpus, and the line of row counts."""
    cells = [["Inference", *(language.upper() for language in results.languages), "Avg."]]
    for line, accuracies in results.accuracies.items():
        numbers = [*(accuracies.get(language) for language in results.languages), results.average(line)]
        cells.append([LINES[line], *("–" if number is None else percent(number) for number in numbers)])
    return [*cells, ["rows", *(str(results.rows[language]) for language in results.languages), ""]]


def as_text(results: Results) -> str:
    """The table for a terminal: aligned columns, then notes and signature."""
    return "\n".join([*aligned(as_cells(results)), "", *results.notes(), *results.signature, ""])


def as_markdown(results: Results) -> str:
    """The table in Markdown, notes and signature below."""
    below = [f"- {line}" for line in [*results.notes(), *results.signature]]
    return "\n".join(["Accuracy in %.", "", *markdown_rows(as_cells(results)), "", *below, ""])


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
