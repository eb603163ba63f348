"""Holds files whose rows are the same rows against each other: ids, labels, and rows without a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fairseq_musc.data.datasets import Dataset
from fairseq_musc.data.raw_files import RowSet, source_language_of
from fairseq_musc.errors import InputError, raise_all


def check_row_sets(row_sets: Sequence[RowSet], dataset: Dataset, missing: str) -> None:
    """Holds the files of every row set against its first.

    Raises:
        InputError: the ids differ, or the labels of translated rows do, or a row has no text or translation, or is
            wrongly populated, and ``missing`` is ``error``.
    """
    published = "; put the published files in place" if dataset.rows else ""
    heading = "every row needs an id of its own"
    if dataset.aligned:
        heading = "the files of an aligned set need the same ids in the same order"
    elif not published:
        heading += "; where no column of ids is named, rows are numbered"
    raise_all(f"{heading}{published}:", [problem for row_set in row_sets for problem in id_differences(row_set)])
    if missing == "error" and (gaps := [gap for row_set in row_sets for gap in unusable_rows(row_set)]):
        counts = " and ".join(
            f"{row_set.dropped.sum()} of {len(row_set.dropped)}" for row_set in row_sets if row_set.dropped.any()
        )
        where = "in all languages" if dataset.aligned else "where they are"
        stands = " or ".join(sorted(text or "nothing" for text in dataset.untranslated))
        raise InputError.all_at_once(
            f"there are rows without a text, or never translated ({stands} stands in place of a sentence):",
            [*dict.fromkeys(gaps), f"to drop them {where} ({counts or 'no other'} rows): --missing drop"],
        )
    heading = f"translations of one row need one label{published}:"
    raise_all(heading, [problem for row_set in row_sets for problem in label_differences(row_set)])


def unusable_rows(row_set: RowSet) -> Iterator[str]:
    """One line a file with rows that cannot be used, and kind of such rows."""
    for file in row_set.every_file:
        if file.wrong:
            yield f"{file.raw.path}:{file.wrong[0]}: the first wrongly populated row of {len(file.wrong)}"
    for file in row_set.files.values():
        if file.gaps.any():
            line = file.heads.lines[file.gaps.argmax()]
            yield f"{file.raw.path}:{line}: the first such row of {file.gaps.sum()}"
    for (corpus, language), made in row_set.translations.items():
        if made.gaps.any():
            source = row_set.files[source_language_of(corpus, language)]
            yield (
                f"{made.checked.raw.path}: no translation of {made.gaps.sum()} rows, the first "
                f"{source.raw.path}:{source.heads.lines[made.gaps.argmax()]}"
            )


def id_differences(row_set: RowSet) -> Iterator[str]:
    """One problem a file with no rows, an id that stands twice, another number of rows than the first, or other ids."""
    first = row_set.first
    for language, file in row_set.files.items():
        path, heads, others = file.raw.path, file.heads, first.heads
        if not len(heads):
            yield f"{path} has no rows in {language}"
        if repeated := heads.ids.repeated():
            head = heads[repeated[0]]
            earlier = heads.lines[heads.ids.index(head.id)]
            yield f"{path}:{head.line}: the id {head.id!r} stands in line {earlier} already"
        if len(heads) != len(others):
            yield f"{path} has {len(heads)} rows, {first.raw.path} has {len(others)}"
        if heads.ids is others.ids:
            continue
        for place, (id_, other) in enumerate(zip(heads.ids, others.ids, strict=False)):
            if id_ != other:
                yield (
                    f"{path}:{heads.lines[place]}: the id is {id_!r}, in {first.raw.path}:{others.lines[place]} it is "
                    f"{other!r}"
                )
                break


def label_differences(row_set: RowSet) -> Iterator[str]:
    """One problem a file in which a row that is kept has another label than in the first."""
    first = row_set.first
    kept = ~row_set.dropped
    for file in row_set.files.values():
        different = np.flatnonzero((file.heads.classes != first.heads.classes) & kept)
        if len(different):
            head, other = file.heads[different[0]], first.heads[different[0]]
            yield (
                f"{file.raw.path}:{head.line}: the label is {head.label!r}, in {first.raw.path}:{other.line} it is "
                f"{other.label!r} (the first of {len(different)} such rows)"
            )
