"""Readers of files whose rows are named values: CSV, TSV, JSON lines, Parquet, and splits of Hugging Face datasets.

They are for data that people have, where :mod:`fairseq_musc.data.readers` is for files as they were published. A
:class:`Records` gives the columns and the rows of a file; :func:`record_rows` takes the parts of a row from them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import string
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.data.corpus import Row
from fairseq_musc.data.forms import RawFile
from fairseq_musc.data.hub import class_names, load_split, package, rows_of
from fairseq_musc.data.readers import Mistakes, RawLines, RawRow, Tally, unknown_label, written_by_csv
from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256

#: Rows that are taken from Parquet or a dataset at once, and of which the keys of JSON lines are looked at.
BATCH = 1024


class Records(NamedTuple):
    """A file that is open."""

    columns: list[str]
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    """The line or the row in the file, counted from 1, and the values. It can be gone through once."""
    classes: Mapping[str, Sequence[str]] = {}
    """Column to the names of its classes, in order, where the file says them."""


def csv_records(raw: RawFile) -> Records:
    """Comma-separated cells below a line of column names, quoted where needed (RFC 4180); another separator if told.

    Raises:
        InputError: a byte is not UTF-8, or the quoting is broken.
    """
    return _cells(raw, raw.layout.delimiter or ",", csv.QUOTE_MINIMAL)


def tsv_records(raw: RawFile) -> Records:
    """Tab-separated cells below a line of column names; quotes are ordinary characters.

    But if every cell with a quotation mark in it is just as Python's csv module would have written it, that module
    wrote the file: the quotes are undone.

    Raises:
        InputError: a byte is not UTF-8.
    """
    quoted = written_by_csv(RawLines(raw.path))
    return _cells(raw, raw.layout.delimiter or "\t", csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _cells(raw: RawFile, delimiter: str, quoting: Any) -> Records:
    csv.field_size_limit(sys.maxsize)  # reviews may be longer than the module's own limit of 131,072
    reader = csv.reader(_text(raw.path), delimiter=delimiter, quoting=quoting, strict=True)

    def rows_of_cells() -> Iterator[tuple[int, list[str]]]:
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(
                    f"{raw.path}:{line}: {error}; is it separated by {delimiter!r} and quoted as in CSV?"
                ) from None
            if cells:  # a blank line has none
                yield line, cells

    rows = rows_of_cells()
    _, columns = next(rows, (1, []))

    def records() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for line, cells in rows:
            if len(cells) != len(columns):
                raise InputError(
                    f"{raw.path}:{line}: {len(cells)} cells, expected {len(columns)} as in the header "
                    f"({', '.join(columns)})"
                )
            yield line, dict(zip(columns, cells, strict=True))

    return Records(columns, records())


def _text(path: Path) -> Iterator[str]:
    """The lines of a text file with their ends, without a byte order mark."""
    for number, line in enumerate(RawLines(path), start=1):
        try:
            yield line.removeprefix(b"\xef\xbb\xbf").decode() if number == 1 else line.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}:{number}: byte {line[error.start]:#04x} is not UTF-8 ({error.reason}); convert the file to "
                "UTF-8"
            ) from None


def jsonl_records(raw: RawFile) -> Records:
    """One JSON object a line; the columns are the keys of the first :data:`BATCH`, which may lack some of them.

    Raises:
        InputError: a byte is not UTF-8, or a line is not a JSON object.
    """

    def objects() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(_text(raw.path), start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{raw.path}:{number}: not JSON: {error}") from None
            if not isinstance(values, dict):
                raise InputError(f"{raw.path}:{number}: {line[:40]!r} is not a JSON object")
            yield number, values

    keys = dict.fromkeys(key for _, values in islice(objects(), BATCH) for key in values)
    return Records([*keys], objects())


def parquet_records(raw: RawFile) -> Records:
    """The rows of a Parquet file.

    Raises:
        InputError: the file is no Parquet, or pyarrow is not installed.
    """
    parquet = package("pyarrow.parquet")
    wrong = (package("pyarrow").ArrowException, ValueError, OSError, OverflowError)
    try:
        file = parquet.ParquetFile(raw.path)
        names = file.schema_arrow.names
    except wrong as error:
        raise InputError(f"{raw.path} cannot be read as Parquet: {error}") from None

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        done = 0
        try:  # a file that is damaged behind its end, where the columns stand, is found out here
            for batch in file.iter_batches(BATCH):
                yield from enumerate(batch.to_pylist(), start=done + 1)
                done += batch.num_rows
        except wrong as error:
            raise InputError(f"{raw.path} cannot be read as Parquet behind row {done:,}: {error}") from None

    return Records(names, rows())


def datasets_records(raw: RawFile) -> Records:
    """The rows of a split of a Hugging Face dataset.

    Raises:
        InputError: it is not there, or the package ``datasets`` is not installed.
    """
    assert raw.split is not None
    split = load_split(*raw.split)
    return Records(list(split.column_names), enumerate(rows_of(split, BATCH), start=1), class_names(split))


#: The formats, as ``--format`` names them.
RECORDS: dict[str, Callable[[RawFile], Records]] = {
    "csv": csv_records,
    "tsv": tsv_records,
    "jsonl": jsonl_records,
    "parquet": parquet_records,
    "datasets": datasets_records,
}


def record_rows(
    raw: RawFile, label_of: Mapping[str, str | None], tally: Tally, aligned: bool = False
) -> Iterator[RawRow]:
    """The rows of a file that are asked for, as corpora have them, one by one.

    A column is the name of one, or a text in which ``{name}`` stands for the value of one. Whole numbers and truth
    values count as texts. A text that is not there is empty, a label that is not there, empty or blank is none.

    Args:
        raw: the file, how it is written, and which of its rows count.
        label_of: as :attr:`Dataset.label_of <fairseq_musc.data.datasets.Dataset.label_of>`.
        tally: is counted up.
        aligned: whether row n is the same row in every language, so that rows without ids are numbered among those that
            are asked for: a file may hold several languages. Else their number is that in the file.

    Raises:
        InputError: the file cannot be read, a column is missing, a value is neither text nor a whole number, an id is
            not there, or a label is not one of the data set's.
    """
    columns = raw.layout.columns
    records = opened(raw, [*columns.names, *(name for name, _ in raw.where)])
    mistakes = Mistakes(str(raw.path))
    asked = 0
    for in_file, (line, values) in enumerate(records.rows, start=1):
        if any(as_text(values.get(name)) != wanted for name, wanted in raw.where):
            continue
        asked += 1
        number = asked if aligned else in_file
        cells = {name: cell(name, values) for name in columns.names}
        if wrong := [name for name, text in cells.items() if text is NO_TEXT]:
            got = ", ".join(f"{name} {str([values.get(key) for key in keys(name)])[1:-1][:40]}" for name in wrong)
            mistakes.add(f"value of {wrong}", line, f"{got} instead of a text or a whole number")
            continue
        label = cells[columns.label]
        known = label_of.get(label, NO_TEXT) if label and label.strip() else None
        id_ = str(number) if columns.id is None else cells[columns.id]
        if known is None:
            tally.unlabelled += 1
        elif known is NO_TEXT:
            mistakes.add("label", line, unknown_label(label or "", label_of))
        elif not id_:
            mistakes.add("id", line, f"no id in {columns.id}")
        else:
            pair = None if columns.text_pair is None else cells[columns.text_pair] or ""
            yield RawRow(line, Row(id_, known, cells[columns.text] or "", pair))
    mistakes.raise_any()


def opened(raw: RawFile, names: Sequence[str]) -> Records:
    """A file, once it is known to hold the columns that are asked for.

    Raises:
        InputError: the file cannot be read, or lacks columns.
    """
    records = RECORDS[raw.layout.format](raw)
    wanted = [*dict.fromkeys(key for name in names for key in keys(name))]
    if wrong := [key for key in wanted if records.columns.count(key) != 1]:
        hint = ""
        if len(records.columns) == 1 and (others := [mark for mark in ";,\t|" if mark in records.columns[0]]):
            hint = f"; is it separated by {others[0]!r} (--delimiter)?"
        raise InputError(
            f"{raw.path} needs the columns {', '.join(wanted)}, each once; {', '.join(wrong)} "
            f"{'is' if len(wrong) == 1 else 'are'} missing or there twice; the columns there are "
            f"{', '.join(map(repr, records.columns)) or 'none'}{hint}"
        )
    return records


#: What stands for a value that is no text.
NO_TEXT: Any = object()


def keys(column: str) -> list[str]:
    """The columns of a file that a column is made of: itself, or those named in its braces."""
    if "{" not in column:
        return [column]
    return [key for _, key, _, _ in string.Formatter().parse(column) if key]


def cell(column: str, values: Mapping[str, Any]) -> Any:
    """The text of a column in a row; None if nothing is there, :data:`NO_TEXT` if it is no text."""
    if "{" not in column:
        return as_text(values.get(column))
    parts = {key: as_text(values.get(key)) for key in keys(column)}
    if any(text is NO_TEXT for text in parts.values()):
        return NO_TEXT
    if not any(parts.values()):
        return None
    return "".join(
        before + ((parts[key] or "") if key else "") for before, key, _, _ in string.Formatter().parse(column)
    )


def as_text(value: Any) -> Any:
    """A value as text: None for none, :data:`NO_TEXT` for what is no text, no whole number and no truth value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else NO_TEXT
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            return NO_TEXT
        return value
    return None if value is None else NO_TEXT


def checksum(raw: RawFile) -> str:
    """The SHA-256 of a file's bytes; of a dataset's split that of the values that are read, row by row.

    Raises:
        InputError: it cannot be read.
    """
    if raw.split is None:
        return sha256(raw.path)
    digest = hashlib.sha256()
    names = [key for name in raw.layout.columns.names for key in keys(name)]
    for _, values in opened(raw, names).rows:
        digest.update(json.dumps([values[name] for name in names], ensure_ascii=True, default=str).encode() + b"\n")
    return digest.hexdigest()
