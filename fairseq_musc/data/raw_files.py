"""Raw files of a data set, each read once and held against its reader, and laid together where rows are the same rows.

What is kept of a file is everything but its texts, so that the texts of one file at most are in memory.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fairseq_musc.data.align import NOWHERE, match, places_by_key, text_key
from fairseq_musc.data.corpus import CORPORA, Row
from fairseq_musc.data.datasets import SOURCE_LANGUAGE, Dataset
from fairseq_musc.data.forms import TRANSLATIONS, RawFile, Sought
from fairseq_musc.data.readers import READERS, RawLines, RawRow, RawTable, row_number
from fairseq_musc.data.records import checksum, record_table
from fairseq_musc.errors import InputError, raise_all


class Head(NamedTuple):
    """What is kept of a row after its file was checked: all but its texts."""

    line: int
    id: str
    label: str


@dataclass
class Checked:
    """What is kept of a raw file after it was checked."""

    raw: RawFile
    sha256: str
    rows: list[Head]
    gaps: set[int]
    """The places in :attr:`rows` of those without a text."""
    wrong: Sequence[int]
    """The lines of wrongly populated rows; they are not among :attr:`rows`."""
    notes: list[str]
    """What else was found in it."""


@dataclass
class Translation:
    """A file of translations, checked against the file that was translated."""

    checked: Checked
    order: array[int]
    """For each row of the file that was translated, the place of its translation."""
    gaps: set[int]
    """The places in the file that was translated of rows without a translation."""


@dataclass
class RowSet:
    """Files whose rows are the same rows: those of one split in every language, or in one if they are not aligned."""

    split: str
    files: dict[str, Checked]
    """By language; the first is the one that the others are held against."""
    translations: dict[tuple[str, str], Translation] = field(default_factory=dict)
    """By corpus and language."""

    @property
    def first(self) -> Checked:
        """The file that the others are held against."""
        return next(iter(self.files.values()))

    @property
    def dropped(self) -> set[int]:
        """The places of rows that are not whole in all files."""
        return set().union(
            *(file.gaps for file in self.files.values()), *(made.gaps for made in self.translations.values())
        )

    @property
    def every_file(self) -> list[Checked]:
        """The files and those of translations."""
        return [*self.files.values(), *(made.checked for made in self.translations.values())]


def load(raw: RawFile, dataset: Dataset) -> RawTable:
    """What a raw file holds.

    Where the format has no ids, a row's is its number within the file, with the language before it (``de-17``) in data
    sets whose rows are not aligned across languages, so that no two languages share an id.

    Raises:
        InputError: the file cannot be read, or its reader refuses it.
    """
    layout = raw.layout
    try:
        if layout.records:
            table = record_table(raw, dataset.label_of)
        else:
            table = READERS[layout.format](RawLines(raw.path), str(raw.path), layout, dataset.label_of, raw.language)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{raw.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if layout.columns.id is None and not dataset.aligned:
        rows = [
            raw_row._replace(row=raw_row.row._replace(id=f"{raw.language}-{raw_row.row.id}")) for raw_row in table.rows
        ]
        return table._replace(rows=rows)
    return table


def check_files(dataset: Dataset, found: Mapping[str, Sought], progress: Callable[[], object]) -> list[RowSet]:
    """Reads every file once and lays them together in row sets, translations beside what they translate.

    Raises:
        InputError: readers refuse files; all of them at once.
    """
    row_sets = []
    problems: list[str] = []
    for corpus, sought in found.items():
        if corpus in TRANSLATIONS:
            continue
        split = CORPORA[corpus].split
        together = RowSet(split, {})
        row_sets.append(together)
        for language, raw in sought.there.items():
            if not dataset.aligned and together.files:
                together = RowSet(split, {})
                row_sets.append(together)
            translations = {
                (name, target): file
                for name in TRANSLATIONS
                if name in found and CORPORA[name].split == split
                for target, file in found[name].there.items()
                if source_language_of(name, target) == language
            }
            try:
                table = load(raw, dataset)
                together.files[language] = kept = checked(raw, table, dataset)
                share_heads(kept, together.first)
                keys: dict[Callable[..., str], Mapping[str, Sequence[int]]] = {}
                for file in translations.values():
                    of_source, _ = keys_of(file)
                    keys.setdefault(of_source, places_by_key(of_source(raw_row, raw) for raw_row in table.rows))
            except InputError as error:
                problems += str(error).split("\n")
                continue
            finally:
                progress()
            del table
            for key, file in translations.items():
                try:
                    together.translations[key] = matched(
                        file, keys[keys_of(file)[0]], together.files[language], dataset
                    )
                except InputError as error:
                    problems += str(error).split("\n")
                progress()
    raise_all("the raw files cannot be read:", problems)
    return row_sets


def source_language_of(corpus: str, language: str) -> str:
    """The language of the file that a corpus of translations is made from."""
    return SOURCE_LANGUAGE if CORPORA[corpus].made_from == "S_trn" else language


def checked(raw: RawFile, table: RawTable, dataset: Dataset) -> Checked:
    """What is kept of a raw file."""
    gaps = {place for place, raw_row in enumerate(table.rows) if is_untranslated(dataset, raw_row.row)}
    counts = {
        "wrongly populated rows were left out": len(table.wrong),
        "rows without a label were left out": table.unlabelled,
        "cells were in quotation marks as the csv module of Python writes them, which were taken off": table.unquoted,
        "texts were written as b'...' by Python 3 and were decoded": table.unwrapped,
    }
    notes = [f"{raw.name}: {count:,} {what}" for what, count in counts.items() if count]
    heads = [Head(raw_row.line, raw_row.row.id, raw_row.row.label) for raw_row in table.rows]
    return Checked(raw, checksum(raw), heads, gaps, table.wrong, notes)


def share_heads(file: Checked, first: Checked) -> None:
    """Keeps the heads of a file that are those of the first file once, however many languages there are."""
    for place, (head, other) in enumerate(zip(file.rows, first.rows, strict=False)):
        if head == other:
            file.rows[place] = other


def keys_of(file: RawFile) -> tuple[Callable[[RawRow, RawFile], str], Callable[[RawRow, RawFile], str]]:
    """By what translations are matched with the rows that were translated: functions of a row and its file.

    By the texts that were translated if the file holds them, else by id if it holds ids, else by the row's number.

    Returns:
        The key of a row that was translated, and that of a translation.
    """
    if file.layout.columns.source:
        return _key_by_own_text, _key_by_source_text
    if file.layout.columns.id is not None:
        return _key_by_id, _key_by_id
    return _key_by_number, _key_by_number


def _key_by_own_text(raw_row: RawRow, file: RawFile) -> str:
    row = raw_row.row
    return text_key([row.text] if row.text_pair is None else [row.text, row.text_pair], row.label)


def _key_by_source_text(raw_row: RawRow, file: RawFile) -> str:
    return text_key(raw_row.source, raw_row.row.label)


def _key_by_id(raw_row: RawRow, file: RawFile) -> str:
    return raw_row.row.id


def _key_by_number(raw_row: RawRow, file: RawFile) -> str:
    return str(row_number(raw_row.line, file.layout))


def matched(file: RawFile, places: Mapping[str, Sequence[int]], source: Checked, dataset: Dataset) -> Translation:
    """A file of translations, matched with the file that was translated.

    Args:
        file: the translations.
        places: those of the rows of ``source``, by key.
        source: the file that was translated.
        dataset: what both are of.

    Raises:
        InputError: the reader refuses the file, or a translation has another label than what was translated.
    """
    table = load(file, dataset)
    _, key = keys_of(file)
    order, extra = match(places, len(source.rows), (key(raw_row, file) for raw_row in table.rows))
    kept = checked(file, table, dataset)
    gaps = {place for place, partner in enumerate(order) if partner == NOWHERE or partner in kept.gaps}
    different = [
        (source.rows[place], kept.rows[partner])
        for place, partner in enumerate(order)
        if place not in gaps and source.rows[place].label != kept.rows[partner].label
    ]
    if different:
        other, head = different[0]
        raise InputError(
            f"{file.path}:{head.line}: the label is {head.label!r}, in {source.raw.path}:{other.line} it is "
            f"{other.label!r} (the first of {len(different)} such rows)"
        )
    if extra:
        kept.notes.append(
            f"{file.name}: {len(extra):,} rows translate nothing in {source.raw.name} and were left out, the first in "
            f"line {kept.rows[extra[0]].line}"
        )
    kept.rows = []  # ids and labels are those of the source
    return Translation(kept, order, gaps)


def is_untranslated(dataset: Dataset, row: Row) -> bool:
    """Whether one of the texts was never translated, or is not there."""
    return any(text is not None and text.strip() in dataset.untranslated for text in (row.text, row.text_pair))
