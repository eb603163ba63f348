"""Readers of raw files, one pure function a format: bytes in, rows with their line numbers out.

Every reader has the signature of :class:`Reader`. It decodes UTF-8 strictly, ends lines at ``\\n`` alone, and raises
one :class:`InputError` with a line for each kind of mistake in the file, each with the place of its first example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fairseq_musc.data.corpus import Row
from fairseq_musc.data.datasets import Columns
from fairseq_musc.errors import InputError


class RawRow(NamedTuple):
    """A row, and the line of the raw file that it was read from (the first line is 1)."""

    line: int
    row: Row


class Reader(Protocol):
    """What every reader is called with."""

    def __call__(self, data: bytes, where: str, columns: Columns, labels: Sequence[str]) -> list[RawRow]:
        """The rows in ``data``; ``where`` names the file in messages."""


def decoded_lines(data: bytes, where: str) -> list[str]:
    """The lines of a text file, without their ends (``\\n`` or ``\\r\\n``) and without a byte order mark.

    Raises:
        InputError: the file is empty, or a byte is not UTF-8.
    """
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}:{line}: byte {data[error.start]:#04x} is not UTF-8 ({error.reason}); convert the file to UTF-8"
        ) from None
    if not text:
        raise InputError(f"{where} is empty; fetch it again")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def header_tsv(data: bytes, where: str, columns: Columns, labels: Sequence[str]) -> list[RawRow]:
    """Tab-separated cells below a line of column names; quotes are ordinary characters, other columns are left out.

    Raises:
        InputError: a byte is not UTF-8, a column is missing, a row has another number of cells than the header, or a
            label is not one of ``labels``.
    """
    header, *lines = decoded_lines(data, where)
    names = header.split("\t")
    wanted = [name for name in columns if name is not None]
    if wrong := [name for name in wanted if names.count(name) != 1]:
        raise InputError(
            f"{where}:1: the header needs the columns {', '.join(wanted)}, each once; {', '.join(wrong)} "
            f"{'is' if len(wrong) == 1 else 'are'} missing or there twice; the columns there are "
            f"{', '.join(map(repr, names))}"
        )
    places = [names.index(name) for name in wanted]  # Columns and Row have the same fields in the same order
    ragged: list[tuple[int, int]] = []
    unknown: list[tuple[int, str]] = []
    rows: list[RawRow] = []
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) != len(names):
            ragged.append((number, len(cells)))
            continue
        row = Row(*(cells[place] for place in places))
        if row.label not in labels:
            unknown.append((number, row.label))
        rows.append(RawRow(number, row))
    problems = []
    if ragged:
        number, got = ragged[0]
        problems.append(f"{where}:{number}: {got} cells, expected {len(names)} as in the header{_and_more(ragged)}")
    if unknown:
        number, label = unknown[0]
        problems.append(
            f"{where}:{number}: the label {label!r} is not one of {', '.join(map(repr, labels))}{_and_more(unknown)}"
        )
    if problems:
        raise InputError("\n".join(problems))
    return rows


def _and_more(found: Sequence[object]) -> str:
    return f" (the first of {len(found)} such rows)" if len(found) > 1 else ""


READERS: dict[str, Reader] = {"header_tsv": header_tsv}
