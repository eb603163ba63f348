"""Raw files of a data set, each read once and held against its reader, and laid together where rows are the same rows.

A file is gone through row by row. What is kept of it is what files are held against each other by: packed lines, ids
and labels (:mod:`fairseq_musc.data.heads`), and a byte that says whether there is a text.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.data.align import NOWHERE, Keys, match, text_key
from fairseq_musc.data.corpus import CORPORA, Row
from fairseq_musc.data.datasets import SOURCE_LANGUAGE, Dataset
from fairseq_musc.data.forms import TRANSLATIONS, RawFile, Sought
from fairseq_musc.data.heads import Head, Heads
from fairseq_musc.data.readers import READERS, RawLines, RawRow, Tally, row_number
from fairseq_musc.data.records import checksum, record_rows
from fairseq_musc.errors import InputError, raise_all

#: For each row of a file, whether something holds of it.
Mask = NDArray[np.bool_]
#: The key of a row of a file, see :func:`keys_of`.
KeyOf = Callable[[RawRow, RawFile], str]


@dataclass
class Checked:
    """What is kept of a raw file after it was checked."""

    raw: RawFile
    sha256: str
    heads: Heads
    gaps: Mask
    """Which rows are without a text."""
    wrong: Sequence[int]
    """The lines of wrongly populated rows; they are not among :attr:`heads`."""
    notes: list[str]
    """What else was found in it."""


@dataclass
class Translation:
    """A file of translations, checked against the file that was translated."""

    checked: Checked
    order: NDArray[np.int64]
    """For each row of the file that was translated, the place of its translation."""
    gaps: Mask
    """Which rows of the file that was translated are without a translation."""


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
    def dropped(self) -> Mask:
        """Which rows are not whole in all files, which have as many."""
        gaps = [file.gaps for file in self.files.values()] + [made.gaps for made in self.translations.values()]
        return reduce(np.logical_or, gaps)

    @property
    def every_file(self) -> list[Checked]:
        """The files and those of translations."""
        return [*self.files.values(), *(made.checked for made in self.translations.values())]


def load(raw: RawFile, dataset: Dataset, tally: Tally) -> Iterator[RawRow]:
    """The rows of a raw file, one by one.

    Where the format has no ids, a row's is its number within the file, with the language before it (``de-17``) in data
    sets whose rows are not aligned across languages, so that no two languages share an id. Of aligned rows that lie in
    one file it is that among the rows of the split and language.

    Raises:
        InputError: the file cannot be read, or its reader refuses it; that may be seen behind its last row.
    """
    layout = raw.layout
    rows = (
        record_rows(raw, dataset.label_of, tally, dataset.aligned)
        if layout.records
        else READERS[layout.format](RawLines(raw.path), str(raw.path), layout, dataset.label_of, tally, raw.language)
    )
    numbered = layout.columns.id is None and not dataset.aligned
    try:
        for raw_row in rows:
            if numbered:
                raw_row = raw_row._replace(row=raw_row.row._replace(id=f"{raw.language}-{raw_row.row.id}"))
            yield raw_row
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{raw.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


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
            keys = {keys_of(file)[0]: Keys() for file in translations.values()}
            try:
                together.files[language] = kept = checked(raw, dataset, keys)
                kept.heads.share(together.first.heads)
            except InputError as error:
                problems += str(error).split("\n")
                continue
            finally:
                progress()
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


def checked(raw: RawFile, dataset: Dataset, keys: Mapping[KeyOf, Keys]) -> Checked:
    """What is kept of a raw file.

    Args:
        raw: the file.
        dataset: what it is of.
        keys: what gives the key of a row, and where those of the rows are put.

    Raises:
        InputError: the reader refuses the file.
    """
    tally, heads, gaps = Tally(), Heads(dataset.labels), bytearray()
    for raw_row in load(raw, dataset, tally):
        heads.append(Head(raw_row.line, raw_row.row.id, raw_row.row.label))
        gaps.append(is_untranslated(dataset, raw_row.row))
        for key_of, of_rows in keys.items():
            of_rows.append(key_of(raw_row, raw))
    counts = {
        "wrongly populated rows were left out": len(tally.wrong),
        "rows without a label were left out": tally.unlabelled,
        "cells were in quotation marks as the csv module of Python writes them, which were taken off": tally.unquoted,
        "texts were written as b'...' by Python 3 and were decoded": tally.unwrapped,
    }
    notes = [f"{raw.name}: {count:,} {what}" for what, count in counts.items() if count]
    return Checked(raw, checksum(raw), heads, np.frombuffer(gaps, bool), tally.wrong, notes)


def keys_of(file: RawFile) -> tuple[KeyOf, KeyOf]:
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


def matched(file: RawFile, source_keys: Keys, source: Checked, dataset: Dataset) -> Translation:
    """A file of translations, matched with the file that was translated.

    Args:
        file: the translations.
        source_keys: those of the rows of ``source``.
        source: the file that was translated.
        dataset: what both are of.

    Raises:
        InputError: the reader refuses the file, or a translation has another label than what was translated.
    """
    keys = Keys()
    kept = checked(file, dataset, {keys_of(file)[1]: keys})
    order, extra = match(source_keys, keys)
    whole = order != NOWHERE
    whole[whole] = ~kept.gaps[order[whole]]
    translated = np.flatnonzero(whole)
    different = translated[source.heads.classes[translated] != kept.heads.classes[order[translated]]]
    if len(different):
        other, head = source.heads[different[0]], kept.heads[order[different[0]]]
        raise InputError(
            f"{file.path}:{head.line}: the label is {head.label!r}, in {source.raw.path}:{other.line} it is "
            f"{other.label!r} (the first of {len(different)} such rows)"
        )
    if len(extra):
        kept.notes.append(
            f"{file.name}: {len(extra):,} rows translate nothing in {source.raw.name} and were left out, the first in "
            f"line {kept.heads.lines[extra[0]]}"
        )
    kept.heads = Heads(dataset.labels)  # ids and labels are those of the source
    return Translation(kept, order, ~whole)


def is_untranslated(dataset: Dataset, row: Row) -> bool:
    """Whether one of the texts was never translated, or is not there."""
    return any(text is not None and text.strip() in dataset.untranslated for text in (row.text, row.text_pair))
