"""What is in a user's own data set: its rows by split, language and label, and what reading makes of them.

From an :class:`~fairseq_musc.data.own.OwnData` it makes what reading works on: a
:class:`~fairseq_musc.data.datasets.Dataset`, and for each corpus its raw files.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fairseq_musc.data.datasets import SOURCE_LANGUAGE, Dataset, Files, Form
from fairseq_musc.data.forms import RawFile, Sought
from fairseq_musc.data.own import LANGUAGE, OwnData
from fairseq_musc.data.own_files import Place, places, spellings_of
from fairseq_musc.data.reading import CORPUS_OF
from fairseq_musc.data.records import as_text, cell, opened
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.progress import with_progress


class Kind(NamedTuple):
    """What rows are counted by."""

    place: Place
    split: str
    """One of the three, or what the column of the splits says."""
    language: str
    """As the data spell it."""
    label: str
    """Empty for none; a blank one is none."""


@dataclass(frozen=True)
class Survey:
    """What was found in the files."""

    own: OwnData
    rows: Counter[Kind]
    classes: Sequence[str]
    """The labels in class order, where the data say them."""
    orders: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """For each split and language, as the data spell them: the checksum of the ids with their labels, in order. Empty
    without a column of ids."""

    @functools.cached_property
    def spelled(self) -> Mapping[tuple[Place, str], set[str]]:
        """What the column of the splits says of the rows of a place in a language."""
        found: dict[tuple[Place, str], set[str]] = defaultdict(set)
        for kind in self.rows:
            found[kind.place, kind.language].add(kind.split)
        return found


def survey(own: OwnData) -> Survey:
    """Reads every file once and counts its rows by split, language and label.

    Raises:
        InputError: files are not there or cannot be read; all at once.
    """
    rows: Counter[Kind] = Counter()
    classes: list[str] = []
    orders: dict[tuple[str, str], Any] = defaultdict(hashlib.sha256)
    problems: list[str] = []
    for place in with_progress([*places(own)], "files", "look"):
        try:
            raw = RawFile(place.path, "", SOURCE_LANGUAGE, own.layout, split=place.part)
            told = [name for name in (own.split_column, own.language_column) if name]
            records = opened(raw, [*raw.layout.columns.names, *told])
            classes = classes or list(records.classes.get(own.label_column, ()))
            for _, values in records.rows:
                label = cell(own.label_column, values)
                split = _told(values, own.split_column) if place.split is None else place.split
                language = _told(values, own.language_column) if place.language is None else place.language
                rows[Kind(place, split, language, label if isinstance(label, str) and label.strip() else "")] += 1
                if own.id_column:
                    orders[split, language].update(repr((cell(own.id_column, values), label)).encode())
        except OSError as error:
            problems.append(f"{place.path} cannot be read: {error.strerror or error}")
        except InputError as error:
            problems += str(error).split("\n")
    raise_all("the files cannot be read:", [*dict.fromkeys(problems)])
    return Survey(own, rows, classes, {where: digest.hexdigest() for where, digest in orders.items()})


def _told(values: Mapping[str, Any], column: str | None) -> str:
    """What a column says of a row; empty for nothing, or what is no text."""
    assert column is not None
    text = as_text(values.get(column))  # an object of JSON lines may lack it
    return text if isinstance(text, str) else ""


# --- what is made of it ----------------------------------------------------------------------------------------------

#: Split to language to the places where such rows lie, and by which values of which columns they are told there.
Lying = dict[str, dict[str, dict[Place, tuple[tuple[str, str], ...]]]]


def found_in(surveyed: Survey) -> tuple[Dataset, dict[str, Sought], list[str]]:
    """The data set, its files by corpus, and notes on what is left out.

    Raises:
        InputError: languages or labels are unclear, or there are no rows of a split; all at once.
    """
    own = surveyed.own
    codes = codes_of(surveyed)
    lying = rows_lie(surveyed, codes)
    labels = own.labels or labels_of(surveyed, codes)
    problems = [*unclear_languages(codes)]
    if not problems:  # without languages no rows are found
        problems = [*spelled_twice(surveyed, codes), *unclear_labels(own, labels), *no_rows(own, lying)]
    raise_all(f"{own.called} cannot be read as it is:", problems)

    languages = sorted(
        {xx for of_split in lying.values() for xx in of_split}, key=lambda xx: (xx != SOURCE_LANGUAGE, xx)
    )
    common = common_folder(own, surveyed)
    form = Form("own", {CORPUS_OF[split]: Files("{file}", split, own.layout) for split in own.read_splits})
    found = {}
    for split, of_split in lying.items():
        there = {
            xx: RawFile(place.path, os.path.relpath(place.path, common), xx, own.layout, where=where, split=place.part)
            for xx in languages
            if xx in of_split and (xx == SOURCE_LANGUAGE or split != "train" or reads_train_of_others(own))
            for place, where in of_split[xx].items()
        }
        names = {xx: raw.name for xx, raw in there.items()}
        files = form.files[CORPUS_OF[split]]
        found[CORPUS_OF[split]] = Sought(form, files, ", ".join(dict.fromkeys(names.values())), names, there, [])
    dataset = Dataset(own.called, tuple(labels), tuple(languages), (form,), rows={}, aligned=own.aligned)
    return dataset, found, [*left_out(surveyed, codes)]


def split_of(surveyed: Survey, kind: Kind) -> str | None:
    """Which of the three splits rows are of; None for another.

    Of several ways in which a split may be spelled the first that is there counts, and rows of the others are left out:
    ``dev`` is another set than ``valid`` where there are both.
    """
    if kind.place.split is not None:
        return kind.place.split
    there = surveyed.spelled[kind.place, kind.language]
    for split in surveyed.own.read_splits:
        if kind.split == next((spelled for spelled in spellings_of(surveyed.own, split) if spelled in there), None):
            return split
    return None


def codes_of(surveyed: Survey) -> dict[str, str]:
    """How the data spell the languages that are read, to their codes."""
    said = surveyed.own.languages
    if not said:
        return {kind.language: kind.language for kind in surveyed.rows}
    # a file whose language was said with it (de=FILE), or that is English as nothing is said, has its code
    return {**{code: code for code in said}, **{spelled: code for code, spelled in said.items()}}


def rows_lie(surveyed: Survey, codes: Mapping[str, str]) -> Lying:
    """Where the rows that are read lie."""
    own = surveyed.own
    lying: Lying = {split: {} for split in own.read_splits}
    for kind in surveyed.rows:
        split = split_of(surveyed, kind)
        if split in lying and kind.language in codes:
            where = [(own.split_column or "", kind.split)] if kind.place.split is None else []
            where += [(own.language_column or "", kind.language)] if kind.place.language is None else []
            lying[split].setdefault(codes[kind.language], {})[kind.place] = tuple(where)
    return lying


def same_rows(surveyed: Survey, codes: Mapping[str, str]) -> list[str]:
    """The splits whose rows have the same ids and labels in all of several languages; none if those of one have not."""
    own = surveyed.own
    orders: dict[str, list[str]] = defaultdict(list)
    for split, spelled, language in {(split_of(surveyed, kind), kind.split, kind.language) for kind in surveyed.rows}:
        if split and language in codes and (spelled, language) in surveyed.orders:
            orders[split].append(surveyed.orders[spelled, language])
    several = {split: of_split for split, of_split in orders.items() if len(of_split) > 1}
    same = all(len({*of_split}) == 1 for of_split in several.values())
    return [split for split in own.read_splits if split in several] if same else []


def unclear_languages(codes: Mapping[str, str]) -> Iterator[str]:
    """A problem if languages are spelled in a way that does not tell their codes."""
    unclear = sorted(code for code in codes.values() if not LANGUAGE.fullmatch(code))
    if unclear:
        known = [code for code in codes.values() if LANGUAGE.fullmatch(code)]
        example = " ".join([*known, *(f"XX={each or 'SPELLED'!r}" for each in unclear)])
        yield (
            f"languages are spelled {', '.join(map(repr, unclear))}; say which codes these are, with {SOURCE_LANGUAGE} "
            f"among them: --languages {example}"
        )


def spelled_twice(surveyed: Survey, codes: Mapping[str, str]) -> Iterator[str]:
    """A problem for each file in which rows of one split and language lie under two names of the language."""
    found: dict[tuple[str, str, Place], dict[str, None]] = {}
    for kind in surveyed.rows:
        if kind.language in codes and (split := split_of(surveyed, kind)):
            found.setdefault((split, codes[kind.language], kind.place), {})[kind.language] = None
    for (split, code, place), spelled in found.items():
        if len(spelled) > 1:
            yield (
                f"{place.path} spells the language of the {split} rows in {code} {' and '.join(map(repr, spelled))}; "
                "write it alike"
            )


def labels_of(surveyed: Survey, codes: Mapping[str, str]) -> list[str]:
    """The labels of the training rows in class order: as the data say it, else numbers by value, texts by alphabet."""
    kinds = [kind for kind in surveyed.rows if split_of(surveyed, kind) == "train" and kind.language in codes]
    each = {kind.label for kind in kinds if kind.label}
    return [*surveyed.classes] if each <= {*surveyed.classes} else in_class_order(each)


def in_class_order(labels: Collection[str]) -> list[str]:
    """Labels in the order of classes where nothing else is said: numbers by value, other texts by the alphabet."""
    numbers = all(re.fullmatch("-?[0-9]+", label) for label in labels)
    return sorted(set(labels), key=int) if numbers else sorted(set(labels))


def unclear_labels(own: OwnData, labels: Sequence[str]) -> Iterator[str]:
    """A problem if there are too few labels to tell apart, or so many that they are none."""
    if len(labels) < 2:
        there = f"the label {labels[0]!r} alone" if labels else "no label"
        yield f"the training rows have {there} in {own.label_column}; two or more are needed"
    if len(labels) > MOST_LABELS and not own.labels:
        examples = ", ".join(map(repr, labels[:3]))
        yield (
            f"the training rows have {len(labels)} labels in {own.label_column} ({examples}, ...); is it the column of "
            "the labels? If so, name them all with --labels"
        )


#: More labels than this are taken for a mistake, unless they were said.
MOST_LABELS = 200


def no_rows(own: OwnData, lying: Lying) -> Iterator[str]:
    """Splits and languages without the rows that they need, and rows of one split and language in several files."""
    for code, spelled in own.languages.items():
        if not any(code in of_split for of_split in lying.values()):
            yield f"there are no rows in {code}" + (f", spelled {spelled!r}" if spelled != code else "")
    for split, of_split in lying.items():
        if SOURCE_LANGUAGE not in of_split and split != "test":
            there = f"in {', '.join(of_split)} alone" if of_split else "in no language"
            yield f"there are {split} rows {there}; rows in {SOURCE_LANGUAGE} are needed"
        elif not of_split:
            yield f"there are no {split} rows"
        for language, lie in of_split.items():
            if len(lie) > 1:
                paths = " and ".join(str(place.path) for place in lie)
                yield (
                    f"the {split} rows in {language} lie in {paths}; put them into one file, or read their folder with "
                    "--format datasets"
                )


def reads_train_of_others(own: OwnData) -> bool:
    """Whether training rows of other languages count: as T_trn, or to hold rows out in every language."""
    return not own.aligned or own.hold_out is not None or own.hold_out_test is not None


def left_out(surveyed: Survey, codes: Mapping[str, str]) -> Iterator[str]:
    """A note for each split and language whose rows are not read."""
    counts: dict[str, int] = defaultdict(int)
    for kind, count in surveyed.rows.items():
        if kind.language not in codes:
            counts[f"in the language {kind.language!r}"] += count
        elif split_of(surveyed, kind) is None:
            counts[f"of the split {kind.split!r}"] += count
    return (f"{count:,} rows {what} were left out" for what, count in counts.items())


def common_folder(own: OwnData, surveyed: Survey) -> str:
    """From where provenance names files, so that no path of a machine stands there."""
    paths = {kind.place.path for kind in surveyed.rows}
    if own.format == "datasets" and not any(path.is_absolute() for path in paths):
        return "."
    return os.path.commonpath([path.absolute().parent for path in paths])
