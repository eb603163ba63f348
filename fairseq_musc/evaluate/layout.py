"""Tables on the terminal, in Markdown and as TSV: the same cells, laid out three ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.files import written_whole


class Cell(NamedTuple):
    """What a person reads and what a program reads."""

    shown: str
    exact: str
    """Unrounded; empty if there is no number."""


NOTHING = Cell("–", "")


def number(value: float, form: str, scale: float = 1) -> Cell:
    """A number as a cell: shown in a format (e.g. ``.2f``) and a unit (``scale`` of 100: in %)."""
    return Cell(f"{scale * value:{form}}", repr(float(value)))


def text(shown: str, exact: str | None = None) -> Cell:
    """A text as a cell."""
    return Cell(shown, shown if exact is None else exact)


class Sheet(NamedTuple):
    """A table before it is laid out."""

    title: str
    """What the numbers are, e.g. ``Accuracy in %``."""
    header: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str]
    """One line each: how it was computed, and what it can be traced back to."""
    names: int = 1
    """The first columns that hold names; they are aligned on the left."""


def aligned(cells: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    """A table for a terminal: the first ``names`` columns to the left, the numbers behind them to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line[:names], widths, strict=False)]
        padded += [cell.rjust(width) for cell, width in zip(line[names:], widths[names:], strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def markdown_rows(cells: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    """A table in Markdown, the first of ``cells`` being its head; columns as in :func:`aligned`."""
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in cells)
    head, *lines = (f"| {' | '.join(line)} |" for line in escaped)
    return [head, "|" + ":--|" * names + "--:|" * (len(cells[0]) - names), *lines]


def shown(sheet: Sheet) -> list[list[str]]:
    """What a person reads in each cell, the header first."""
    return [[cell.shown for cell in line] for line in (sheet.header, *sheet.rows)]


def as_text(sheet: Sheet) -> str:
    """For a terminal: aligned columns, then the notes."""
    return "\n".join([sheet.title, "", *aligned(shown(sheet), sheet.names), "", *sheet.notes, ""])


def as_markdown(sheet: Sheet) -> str:
    """In Markdown, the notes as a list below."""
    notes = [f"- {note}" for note in sheet.notes]
    return "\n".join([f"{sheet.title}.", "", *markdown_rows(shown(sheet), sheet.names), "", *notes, ""])


def as_tsv(sheet: Sheet) -> str:
    """For programs: unrounded, missing numbers empty; the notes follow in lines that begin with ``#``."""
    lines = ["\t".join(cell.exact for cell in line) for line in (sheet.header, *sheet.rows)]
    return "".join(f"{line}\n" for line in [*lines, *(f"# {note}" for note in sheet.notes)])


def write(sheet: Sheet, stem: Path) -> None:
    """Writes ``<stem>.tsv`` and ``<stem>.md``, each whole or not at all."""
    for ending, laid_out in (("tsv", as_tsv(sheet)), ("md", as_markdown(sheet))):
        with written_whole(stem.with_name(f"{stem.name}.{ending}")) as stream:
            stream.write(laid_out)
