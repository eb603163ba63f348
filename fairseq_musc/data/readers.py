"""Readers of raw files, one generator a format: the lines of a file in, its rows with their line numbers out.

Every reader has the signature of :class:`Reader`. It decodes UTF-8 strictly, ends lines at ``\\n`` alone (at ``\\r\\n``
if all of them end so), and raises one :class:`InputError` with a line for each kind of mistake in the file, each with
the place of its first example, behind the last row. It holds one row at a time.

Two scripts of other people write cells in a way of their own. That is undone where a whole file is written so, to the
letter, and counted:

- Python's csv module, which XTREME's utils_preprocess.py uses, puts a cell with a quotation mark in quotation marks and
  doubles those within;
- MLDoc's generate_documents.py under Python 3 writes a text as ``b'...'``.
"""

from __future__ import annotations

import ast
import gzip
import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fairseq_musc.data.corpus import Row
from fairseq_musc.data.datasets import Layout
from fairseq_musc.errors import InputError


class RawRow(NamedTuple):
    """A row, and the line of the raw file that it was read from (the first line is 1)."""

    line: int
    row: Row
    source: tuple[str, ...] = ()
    """In a file of translations, the texts that were translated."""


@dataclass
class Tally:
    """What a reader counts besides the rows that it gives out; complete when the last of them is."""

    wrong: list[int] = field(default_factory=list)
    """The lines of wrongly populated rows, where the layout says that there may be such."""
    unlabelled: int = 0
    """How many rows have no label and were left out."""
    unquoted: int = 0
    """How many cells were in quotation marks as the csv module writes them."""
    unwrapped: int = 0
    """How many texts were written as b'...'."""


class Reader(Protocol):
    """What every reader is called with."""

    def __call__(
        self,
        lines: Iterable[bytes],
        where: str,
        layout: Layout,
        label_of: Mapping[str, str | None],
        tally: Tally,
        language: str | None = None,
    ) -> Iterator[RawRow]:
        """The rows in a file.

        Args:
            lines: with their ends; gone through more than once.
            where: names the file in messages.
            layout: how it is written.
            label_of: as :attr:`Dataset.label_of <fairseq_musc.data.datasets.Dataset.label_of>`.
            tally: is counted up.
            language: the rows that are asked for, if the layout has a column that says the language.
        """


class RawLines:
    """The lines of a file, with their ends, as often as they are asked for; a name in ``.gz`` is decompressed."""

    def __init__(self, path: Path):
        self.path = path

    def __iter__(self) -> Iterator[bytes]:
        with gzip.open(self.path) if self.path.suffix == ".gz" else open(self.path, "rb") as stream:
            yield from stream  # a binary stream ends lines at \n alone


def decoded_lines(lines: Iterable[bytes], where: str) -> Iterator[str]:
    """The lines of a text file, without their ends and without a byte order mark.

    Raises:
        InputError: the file is empty, or a byte is not UTF-8.
    """
    ended = {line[-2:] == b"\r\n" for line in lines if line.endswith(b"\n")}
    ends = b"\r\n" if ended == {True} else b"\n"
    number = 0
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix(ends)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}:{number}: byte {line[error.start]:#04x} is not UTF-8 ({error.reason}); convert the file to "
                "UTF-8"
            ) from None
    if not number:
        raise InputError(f"{where} is empty; fetch it again")


class Mistakes:
    """The mistakes in a file, by kind: how many there are, and the first."""

    def __init__(self, where: str):
        self.where = where
        self.kinds: dict[str, tuple[int, str, int]] = {}

    def add(self, kind: str, line: int, message: str) -> None:
        """Counts one, and keeps the message of the first of its kind."""
        first_line, first, count = self.kinds.get(kind, (line, message, 0))
        self.kinds[kind] = (first_line, first, count + 1)

    def raise_any(self) -> None:
        """Raises one :class:`InputError` if there are any."""
        if self.kinds:
            raise InputError(
                "\n".join(
                    f"{self.where}:{line}: {message}" + (f" (the first of {count} such rows)" if count > 1 else "")
                    for line, message, count in self.kinds.values()
                )
            )


def unknown_label(label: str, label_of: Mapping[str, str | None]) -> str:
    """The message about a label that is not one of the data set's."""
    return f"the label {label!r} is not one of {', '.join(map(repr, label_of))}"


def header_tsv(
    lines: Iterable[bytes],
    where: str,
    layout: Layout,
    label_of: Mapping[str, str | None],
    tally: Tally,
    language: str | None = None,
) -> Iterator[RawRow]:
    """Tab-separated cells below a line of column names; quotes are ordinary characters, other columns are left out.

    Raises:
        InputError: a byte is not UTF-8, a column is missing, a row has another number of cells than the header, or a
            label is not one of the data set's.
    """
    texts = decoded_lines(lines, where)
    names = next(texts).split("\t")
    wanted = layout.columns.names
    if wrong := [name for name in wanted if names.count(name) != 1]:
        raise InputError(
            f"{where}:1: the header needs the columns {', '.join(wanted)}, each once; {', '.join(wrong)} "
            f"{'is' if len(wrong) == 1 else 'are'} missing or there twice; the columns there are "
            f"{', '.join(map(repr, names))}"
        )
    cells = (text.split("\t") for text in texts)
    yield from _rows(enumerate(cells, start=2), where, layout, names, label_of, tally, language)


def tsv(
    lines: Iterable[bytes],
    where: str,
    layout: Layout,
    label_of: Mapping[str, str | None],
    tally: Tally,
    language: str | None = None,
) -> Iterator[RawRow]:
    """Tab-separated cells in the order of ``layout.header``; quotes are ordinary characters.

    But if every cell with a quotation mark in it is just as Python's csv module would have written it, and there is
    one, that module wrote the file: the quotes are undone.

    Raises:
        InputError: a byte is not UTF-8, a row has another number of cells, or a label is not one of the data set's.
    """
    quoted = written_by_csv(lines)

    def cells() -> Iterator[list[str]]:
        for text in decoded_lines(lines, where):
            row = text.split("\t")
            if quoted and '"' in text:
                tally.unquoted += sum('"' in cell for cell in row)
                row = [cell[1:-1].replace('""', '"') if '"' in cell else cell for cell in row]
            yield row

    yield from _rows(enumerate(cells(), start=1), where, layout, layout.header, label_of, tally, language)


def written_by_csv(lines: Iterable[bytes]) -> bool:
    """Whether all cells with a quotation mark in them are as Python's csv module writes them, and there is one."""
    there = False
    for line in lines:
        if b'"' not in line:
            continue
        for cell in line.rstrip(b"\r\n").split(b"\t"):
            if b'"' not in cell:
                continue
            inner = cell[1:-1]
            reason = b'"' in inner or b"\r" in inner  # the module quotes no other cell
            if cell[:1] + cell[-1:] != b'""' or not reason or b'"' in inner.replace(b'""', b""):
                return False
            there = True
    return there


def _rows(
    rows: Iterable[tuple[int, list[str]]],
    where: str,
    layout: Layout,
    names: Sequence[str],
    label_of: Mapping[str, str | None],
    tally: Tally,
    language: str | None,
) -> Iterator[RawRow]:
    """The rows of a file of cells, each with its line number, whose columns are ``names``."""
    columns = layout.columns
    place = {name: names.index(name) for name in columns.names}
    label_at, text_at = place[columns.label], place[columns.text]
    pair_at = None if columns.text_pair is None else place[columns.text_pair]
    id_at = None if columns.id is None else place[columns.id]
    language_at = None if columns.language is None else place[columns.language]
    source_at = [place[name] for name in columns.source]
    least = 1 + max(place.values()) if layout.short_rows else len(names)
    expected = f"{len(names)} ({', '.join(names)})" if layout.header else f"{len(names)} as in the header"
    mistakes = Mistakes(where)
    for line, cells in rows:
        if not least <= len(cells) <= len(names):
            if layout.may_be_wrong:
                tally.wrong.append(line)
            else:
                mistakes.add("cells", line, f"{len(cells)} cells, expected {expected}")
            continue
        if language_at is not None and cells[language_at] != language:
            continue
        label = label_of.get(cells[label_at], "")
        if label is None:
            tally.unlabelled += 1
        elif label == "":
            if layout.may_be_wrong:
                tally.wrong.append(line)
            else:
                mistakes.add("label", line, unknown_label(cells[label_at], label_of))
        else:
            row = Row(
                str(row_number(line, layout)) if id_at is None else cells[id_at],
                label,
                cells[text_at],
                None if pair_at is None else cells[pair_at],
            )
            yield RawRow(line, row, tuple([cells[at] for at in source_at]))
    mistakes.raise_any()


def row_number(line: int, layout: Layout) -> int:
    """The number of a row within its file, counted from 1, from that of its line."""
    return line - (layout.format == "header_tsv")


def label_text(
    lines: Iterable[bytes],
    where: str,
    layout: Layout,
    label_of: Mapping[str, str | None],
    tally: Tally,
    language: str | None = None,
) -> Iterator[RawRow]:
    """A label, a tab, and the text up to the end of the line, further tabs and quotes included.

    But if every text is just what Python prints for bytes, ``b'...'``, the bytes are decoded.

    Raises:
        InputError: a byte is not UTF-8, a line has no tab, or a label is not one of the data set's.
    """
    wrapped = all(undone_bytes(text.partition("\t")[2]) is not None for text in decoded_lines(lines, where))
    mistakes = Mistakes(where)
    for number, line in enumerate(decoded_lines(lines, where), start=1):
        cell, tab, text = line.partition("\t")
        label = label_of.get(cell)
        if not tab:
            mistakes.add("tab", number, "no tab between label and text")
        elif label is None:
            mistakes.add("label", number, unknown_label(cell, label_of))
        else:
            tally.unwrapped += wrapped
            yield RawRow(number, Row(str(number), label, undone_bytes(text) or "" if wrapped else text))
    mistakes.raise_any()


def undone_bytes(text: str) -> str | None:
    """The text whose UTF-8 bytes Python prints as ``text``; None if there is none."""
    if text[:2] not in ("b'", 'b"'):
        return None
    try:
        data = ast.literal_eval(text)
        return data.decode() if isinstance(data, bytes) and repr(data) == text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # a UnicodeDecodeError is a ValueError
        return None


def json_lines(
    lines: Iterable[bytes],
    where: str,
    layout: Layout,
    label_of: Mapping[str, str | None],
    tally: Tally,
    language: str | None = None,
) -> Iterator[RawRow]:
    """One JSON object a line; texts are put together as the columns say, ``{key}`` standing for a value.

    Raises:
        InputError: a byte is not UTF-8, a line is not a JSON object, a value is missing or is neither text nor a whole
            number, or a label is not one of the data set's.
    """
    columns = layout.columns
    parts = [_parts(column) for column in columns[:4] if column is not None]
    keys = sorted({key for part in parts for _, key in part if key})
    mistakes = Mistakes(where)
    for number, line in enumerate(decoded_lines(lines, where), start=1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            mistakes.add("json", number, f"not JSON: {error}")
            continue
        if not isinstance(values, dict):
            mistakes.add("object", number, f"{line[:40]!r} is not a JSON object")
            continue
        if wrong := [key for key in keys if not _is_text(values.get(key))]:
            got = ", ".join(f"{key} {repr(values[key])[:40]}" if key in values else f"no {key}" for key in wrong)
            mistakes.add(f"value of {wrong}", number, f"{got} instead of a text or a whole number")
            continue
        id_, label, text, *pair = (
            "".join(before + (str(values[key]) if key else "") for before, key in part) for part in parts
        )
        known = label_of.get(label)
        if known is None:
            mistakes.add("label", number, unknown_label(label, label_of))
        else:
            yield RawRow(number, Row(id_, known, text, *pair))
    mistakes.raise_any()


def _parts(column: str) -> list[tuple[str, str]]:
    """A column of JSON lines as pairs of plain text and the key whose value follows it ('' at the end)."""
    if "{" not in column:
        return [("", column)]
    return [(before, key or "") for before, key, _, _ in string.Formatter().parse(column)]


def _is_text(value: Any) -> bool:
    """Whether a JSON value is a text that can be written as UTF-8, or a whole number."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            return False
        return True
    return isinstance(value, int) and not isinstance(value, bool)


READERS: dict[str, Reader] = {
    "header_tsv": header_tsv,
    "tsv": tsv,
    "label_text": label_text,
    "json_lines": json_lines,
}
