"""Reads the raw files of a data set and writes corpora.

reads   the published files of the data set, below the folders --input; *.gz too
writes  OUTPUT/S_trn.en, OUTPUT/T_trn.<language> where a language has training data of its own,
        OUTPUT/T_val.<language>, OUTPUT/T_tst.<language>; with --translations OUTPUT/T_trn_MT.<language> and
        OUTPUT/S_tst_MT.<language>; each a .tsv and a .json

Which files these are, in which published forms, is in docs/datasets.md and fairseq_musc/data/datasets.py.

In data sets that are aligned across languages (PAWS-X, XNLI) the raw files of one split are one set: the same ids in
the same order, with the same labels, in every language. A row that was never translated into one of the languages stops
the reading, or is dropped in all of them (--missing drop). Without train files, S_trn can be taken from another file,
with its last rows held out as T_val:

    fairseq-musc read --dataset pawsx --input x-final --output corpora --train-file dev_2k --hold-out 400 --missing drop

In the others (MARC, MLDoc, CLS) each language has rows and ids of its own. As their files may be sorted by class,
--hold-out takes the last rows of each class in equal parts there, and --limit the first.

Nothing is written before every file has been read and checked. Files are then read once more, one at a time, so that
the texts of one file at most are in memory; one that has changed in between ends the run.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.data.align import NOWHERE, balanced, match, places_by_key, text_key
from fairseq_musc.data.corpus import CORPORA, Corpus, Row, corpus_exists, read_about, write_corpus
from fairseq_musc.data.datasets import DATASETS, SOURCE_LANGUAGE, Dataset
from fairseq_musc.data.forms import TRANSLATIONS, RawFile, Sought, find_files
from fairseq_musc.data.readers import READERS, RawLines, RawRow, RawTable, row_number
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.files import sha256
from fairseq_musc.version import __version__

#: Split to the corpus that is read from it.
CORPUS_OF = {"train": "S_trn", "valid": "T_val", "test": "T_tst"}
MADE_BY = "fairseq-musc read"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc read``."""
    parser.add_argument("--dataset", required=True, choices=DATASETS, help="what the raw files are")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="the folder of the raw files, e.g. x-final, or the folders that they are spread over",
    )
    parser.add_argument("--output", required=True, type=Path, help="the folder that the corpora are written to")
    parser.add_argument(
        "--languages",
        nargs="+",
        metavar="LANGUAGE",
        help="read these only, the source language among them; all if left out",
    )
    forms = "; ".join(
        f"{name}: {', '.join(f.name for f in row.forms)}" for name, row in DATASETS.items() if row.forms[1:]
    )
    parser.add_argument(
        "--form", nargs="+", metavar="FORM", help=f"read these published forms only ({forms}); any if left out"
    )
    sizes = "; ".join(f"{name}: {', '.join(map(str, row.sizes))}" for name, row in DATASETS.items() if row.sizes)
    parser.add_argument("--size", type=int, metavar="N", help=f"which of the train sets to read ({sizes})")
    for split, corpus in CORPUS_OF.items():
        parser.add_argument(
            f"--{split}-file", metavar="FILE", help=f"read {corpus} from this file, e.g. dev_2k, not the published one"
        )
    parser.add_argument(
        "--translations",
        action="store_true",
        help="read the translations that are published with the data too: T_trn_MT, S_tst_MT",
    )
    parser.add_argument(
        "--hold-out",
        type=_positive,
        metavar="N",
        help="take T_val from the last N rows of the train file in every language, where rows are not aligned from the "
        "last of each class; S_trn and T_trn are the other rows",
    )
    parser.add_argument(
        "--missing",
        choices=["error", "drop"],
        default="error",
        help="rows without a text or a translation, and wrongly populated ones: stop (default), or drop them, in all "
        "languages where rows are aligned",
    )
    parser.add_argument(
        "--limit",
        type=_positive,
        metavar="N",
        help="keep only the first N rows of each corpus, where rows are not aligned the first of each class",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rows; it needs to be at least 1")
    return number


def run(arguments: argparse.Namespace) -> None:
    """Reads, checks, writes, and prints what was read."""
    from tqdm import tqdm

    dataset = DATASETS[arguments.dataset]
    with tqdm(unit=" files", desc="read", delay=2, disable=None) as bar:
        reading = check_raw_files(
            arguments.input,
            dataset,
            languages=arguments.languages or dataset.languages,
            files={split: getattr(arguments, f"{split}_file") for split in CORPUS_OF},
            hold_out=arguments.hold_out,
            missing=arguments.missing,
            limit=arguments.limit,
            forms=arguments.form,
            size=arguments.size,
            translations=arguments.translations,
            progress=bar.update,
        )
        check_nothing_stale(arguments.output, reading.planned)
        for corpus in reading.corpora():
            write_corpus(arguments.output, corpus)
            bar.update()
    print("\n".join(summary(reading.planned)))
    for note in reading.notes:
        print(f"note: {note}", file=sys.stderr)
    for warning in unusual_counts(dataset, reading):
        print(f"warning: {warning}", file=sys.stderr)


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


class Planned(NamedTuple):
    """A corpus that can be written."""

    name: str
    language: str
    row_set: RowSet
    places: Sequence[int]
    """Of its rows in the row set."""
    available: int
    """How many rows there were before ``limit``."""
    provenance: dict[str, Any]


@dataclass
class Reading:
    """Raw files that were checked, and the corpora that can be made of them."""

    dataset: Dataset
    planned: list[Planned]
    notes: list[str]
    size: int | None
    hold_out: int | None

    def corpora(self) -> Iterator[Corpus]:
        """The corpora, one after the other; the files are read again, so that one at a time is in memory.

        Raises:
            InputError: a file has changed since it was checked.
        """
        for plan in self.planned:
            made = plan.row_set.translations.get((plan.name, plan.language))
            checked = made.checked if made else plan.row_set.files[plan.language]
            if sha256(checked.raw.path) != checked.sha256:
                raise InputError(f"{checked.raw.path} has changed while it was read; read again")
            rows = load(checked.raw, self.dataset).rows
            if made:
                heads = plan.row_set.files[source_language_of(plan.name, plan.language)].rows
                taken = [
                    rows[made.order[place]].row._replace(id=heads[place].id, label=heads[place].label)
                    for place in plan.places
                ]
            else:
                taken = [rows[place].row for place in plan.places]
            yield Corpus(
                name=plan.name,
                language=plan.language,
                text_language=SOURCE_LANGUAGE if CORPORA[plan.name].side == "S" else plan.language,
                dataset=self.dataset.name,
                labels=self.dataset.labels,
                rows=taken,
                provenance=plan.provenance,
            )


def read_corpora(folder: str | Path | Sequence[str | Path], dataset: Dataset, **options: Any) -> Iterator[Corpus]:
    """The corpora of a data set, made of raw files; the arguments are those of :func:`check_raw_files`."""
    folders = [folder] if isinstance(folder, str | Path) else folder
    return check_raw_files([Path(path) for path in folders], dataset, **options).corpora()


def check_raw_files(
    folders: Sequence[Path],
    dataset: Dataset,
    *,
    languages: Sequence[str],
    files: Mapping[str, str | None] | None = None,
    hold_out: int | None = None,
    missing: str = "error",
    limit: int | None = None,
    forms: Sequence[str] | None = None,
    size: int | None = None,
    translations: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> Reading:
    """Reads and checks raw files, and plans S_trn, T_trn, T_val and T_tst from them, and translations.

    Args:
        folders: where the raw files lie.
        dataset: what they are.
        languages: those to read, the source language among them.
        files: split (``train``, ``valid``, ``test``) to the file to read it from; None for the published name.
        hold_out: T_val is the last ``hold_out`` rows of the train file, counted without the dropped ones; S_trn (and
            T_trn) is what lies before them. Where rows are not aligned, see :func:`fairseq_musc.data.align.balanced`.
        missing: ``error`` or ``drop``: what happens to rows without a text or a translation.
        limit: keep the first ``limit`` rows of each corpus; where rows are not aligned, of each class in equal parts.
        forms: the published forms to look for; None for all.
        size: which train set to read, if it is published in several sizes.
        translations: read T_trn_MT and S_tst_MT too.
        progress: called after each file.

    Raises:
        InputError: something about the options or the files is wrong. Problems of one kind are said all at once.
    """
    given = {split: file for split, file in (files or {}).items() if file is not None}
    check_options(dataset, languages, given, hold_out, forms, size, translations)
    in_train = languages if hold_out is not None or not dataset.aligned else [SOURCE_LANGUAGE]
    wanted = {"S_trn": in_train, "T_val": languages, "T_tst": languages}
    if hold_out is not None:
        del wanted["T_val"]
    found = find_files(
        folders,
        dataset,
        wanted,
        forms=forms,
        given={CORPUS_OF[split]: file for split, file in given.items()},
        size=size,
        translations=[language for language in languages if language != SOURCE_LANGUAGE] if translations else None,
    )
    row_sets = check_files(dataset, found, progress)
    check_row_sets(row_sets, dataset, missing)

    options = {
        "languages": [*languages],
        "files": {CORPORA[corpus].split: found[corpus].file for corpus in wanted},
        "forms": {corpus: sought.form.name for corpus, sought in found.items()},
        "size": size,
        "hold_out": hold_out,
        "missing": missing,
        "limit": limit,
    }
    planned: list[Planned] = []
    for row_set in row_sets:
        stretches = {row_set.split: [*range(len(row_set.first.rows))]}
        if row_set.split == "train" and hold_out is not None:
            stretches["train"], stretches["valid"] = held_out(row_set, hold_out, dataset.aligned)
        for split, stretch in stretches.items():
            planned += plan_split(dataset, row_set, split, stretch, limit, options)
    if empty := [f"{plan.name}.{plan.language}" for plan in planned if not plan.places]:
        raise InputError(f"no row is left in {', '.join(empty)}; give whole files")
    order = [*CORPORA]
    planned.sort(key=lambda plan: order.index(plan.name))  # a stable sort: languages stay as they are
    notes = [*dict.fromkeys(note for row_set in row_sets for file in row_set.every_file for note in file.notes)]
    absent = [corpus for corpus in TRANSLATIONS if translations and corpus not in found]
    notes += [f"{corpus} is published in none of the forms that are there" for corpus in absent]
    return Reading(dataset, planned, notes, size, hold_out)


def check_options(
    dataset: Dataset,
    languages: Sequence[str],
    files: Mapping[str, str],
    hold_out: int | None,
    forms: Sequence[str] | None = None,
    size: int | None = None,
    translations: bool = False,
) -> None:
    """Raises :class:`InputError` for options that contradict each other or the data set."""
    problems = []
    if unknown := [language for language in languages if language not in dataset.languages]:
        problems.append(f"{dataset.name} has no language {', '.join(unknown)}; it has {', '.join(dataset.languages)}")
    if len(set(languages)) != len(languages):
        problems.append(f"a language stands twice in {' '.join(languages)}")
    if SOURCE_LANGUAGE not in languages:
        problems.append(f"the languages need {SOURCE_LANGUAGE} among them, the language of S_trn")
    if hold_out is not None and "valid" in files:
        problems.append("--hold-out takes T_val from the train file, --valid-file from another: give one of them")
    names = [form.name for form in dataset.forms]
    if unknown := [form for form in forms or () if form not in names]:
        problems.append(f"{dataset.name} has no form {', '.join(unknown)}; it has {', '.join(names)}")
    sizes = ", ".join(map(str, dataset.sizes))
    if dataset.sizes and size not in dataset.sizes and "train" not in files:
        got = "no --size was given" if size is None else f"--size is {size}"
        problems.append(f"{dataset.name} is published with train sets of {sizes} rows, and {got}: give one of them")
    if not dataset.sizes and size is not None:
        problems.append(f"{dataset.name} is published in one size; leave --size out")
    if "valid" not in dataset.rows and hold_out is None and "valid" not in files:
        problems.append(
            f"{dataset.name} is published without a validation set: give --hold-out N to take T_val from the train file"
        )
    if translations and not any(corpus in form.files for form in dataset.forms for corpus in TRANSLATIONS):
        problems.append(f"{dataset.name} is published without translations: leave --translations out")
    elif translations and [*languages] == [SOURCE_LANGUAGE]:
        problems.append(f"--translations needs a language other than {SOURCE_LANGUAGE}")
    raise_all("the options do not go together:", problems)


def load(raw: RawFile, dataset: Dataset) -> RawTable:
    """What a raw file holds.

    Where the format has no ids, a row's is its number within the file, with the language before it (``de-17``) in data
    sets whose rows are not aligned across languages, so that no two languages share an id.

    Raises:
        InputError: the file cannot be read, or its reader refuses it.
    """
    layout = raw.layout
    try:
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
                together.files[language] = checked(raw, table, dataset)
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
    return Checked(raw, sha256(raw.path), heads, gaps, table.wrong, notes)


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


def check_row_sets(row_sets: Sequence[RowSet], dataset: Dataset, missing: str) -> None:
    """Holds the files of every row set against its first.

    Raises:
        InputError: the ids differ, or the labels of translated rows do, or a row has no text or translation, or is
            wrongly populated, and ``missing`` is ``error``.
    """
    heading = "every row needs an id of its own; put the published files in place:"
    if dataset.aligned:
        heading = "the files of an aligned set need the same ids in the same order; put the published files in place:"
    raise_all(heading, [problem for row_set in row_sets for problem in id_differences(row_set)])
    if missing == "error" and (gaps := [gap for row_set in row_sets for gap in unusable_rows(row_set)]):
        counts = " and ".join(
            f"{len(row_set.dropped)} of {len(row_set.first.rows)}" for row_set in row_sets if row_set.dropped
        )
        where = "in all languages" if dataset.aligned else "where they are"
        raise InputError.all_at_once(
            "there are rows that were never translated (NS or nothing stands in place of a sentence):",
            [*dict.fromkeys(gaps), f"to drop them {where} ({counts or 'no other'} rows): --missing drop"],
        )
    heading = "translations of one row need one label; put the published files in place:"
    raise_all(heading, [problem for row_set in row_sets for problem in label_differences(row_set)])


def unusable_rows(row_set: RowSet) -> Iterator[str]:
    """One line a file with rows that cannot be used, and kind of such rows."""
    for file in row_set.every_file:
        if file.wrong:
            yield f"{file.raw.path}:{file.wrong[0]}: the first wrongly populated row of {len(file.wrong)}"
    for file in row_set.files.values():
        if file.gaps:
            line = file.rows[min(file.gaps)].line
            yield f"{file.raw.path}:{line}: the first untranslated row of {len(file.gaps)}"
    for (corpus, language), made in row_set.translations.items():
        if made.gaps:
            source = row_set.files[source_language_of(corpus, language)]
            yield (
                f"{made.checked.raw.path}: no translation of {len(made.gaps)} rows, the first "
                f"{source.raw.path}:{source.rows[min(made.gaps)].line}"
            )


def id_differences(row_set: RowSet) -> Iterator[str]:
    """One problem a file with no rows, an id that stands twice, another number of rows than the first, or other ids."""
    first = row_set.first
    for language, file in row_set.files.items():
        path = file.raw.path
        if not file.rows:
            yield f"{path} has no rows in {language}"
        seen: dict[str, int] = {}
        for line, id_, _ in file.rows:
            if seen.setdefault(id_, line) != line:
                yield f"{path}:{line}: the id {id_!r} stands in line {seen[id_]} already"
                break
        if len(file.rows) != len(first.rows):
            yield f"{path} has {len(file.rows)} rows, {first.raw.path} has {len(first.rows)}"
        for head, other in zip(file.rows, first.rows, strict=False):
            if head.id != other.id:
                yield f"{path}:{head.line}: the id is {head.id!r}, in {first.raw.path}:{other.line} it is {other.id!r}"
                break


def label_differences(row_set: RowSet) -> Iterator[str]:
    """One problem a file in which a row that is kept has another label than in the first."""
    first = row_set.first
    dropped = row_set.dropped
    for file in row_set.files.values():
        different = [
            (head, other)
            for place, (head, other) in enumerate(zip(file.rows, first.rows, strict=True))
            if head.label != other.label and place not in dropped
        ]
        if different:
            head, other = different[0]
            yield (
                f"{file.raw.path}:{head.line}: the label is {head.label!r}, in {first.raw.path}:{other.line} it is "
                f"{other.label!r} (the first of {len(different)} such rows)"
            )


def held_out(row_set: RowSet, hold_out: int, aligned: bool) -> tuple[list[int], list[int]]:
    """The places of a train file that stay, and those that are held out, so many usable ones.

    Where rows are aligned, those are the last rows; where not, the last of each class in equal parts.

    Raises:
        InputError: no row is left to train on.
    """
    heads = row_set.first.rows
    dropped = row_set.dropped
    kept = [place for place in range(len(heads)) if place not in dropped]
    if hold_out >= len(kept):
        raise InputError(
            f"--hold-out {hold_out} leaves nothing to train on of the {len(kept)} usable rows of "
            f"{row_set.first.raw.path}; hold out fewer"
        )
    if aligned:
        return [*range(kept[-hold_out])], [*range(kept[-hold_out], len(heads))]
    valid = balanced(kept, [heads[place].label for place in kept], hold_out, from_end=True)
    return sorted({*range(len(heads))} - {*valid}), valid


def plan_split(
    dataset: Dataset,
    row_set: RowSet,
    split: str,
    stretch: Sequence[int],
    limit: int | None,
    options: Mapping[str, Any],
) -> Iterator[Planned]:
    """The corpora that are made of a stretch of a row set."""
    dropped = row_set.dropped
    kept = [place for place in stretch if place not in dropped]
    places = kept
    if limit is not None:
        heads = row_set.first.rows
        labels = [heads[place].label for place in kept]
        places = kept[:limit] if dataset.aligned else balanced(kept, labels, limit)
    files = row_set.every_file
    untranslated = Counter({file.raw.name: 0 for file in files})
    untranslated.update({file.raw.name: len(file.gaps) for file in row_set.files.values()})
    untranslated.update({made.checked.raw.name: len(made.gaps) for made in row_set.translations.values()})
    provenance = {
        "made_by": MADE_BY,
        "version": __version__,
        "options": options,
        "raw_files": {file.raw.name: file.sha256 for file in files},
        "untranslated_rows": untranslated,
        "dropped_rows": len(stretch) - len(kept),
        "notes": [*dict.fromkeys(note for file in files for note in file.notes)],
    }
    for language in row_set.files:
        name = CORPUS_OF[split]
        if split == "train" and language != SOURCE_LANGUAGE:
            if dataset.aligned:  # read for the rows that are held out
                continue
            name = "T_trn"
        yield Planned(name, language, row_set, places, len(kept), provenance)
    for (name, language), made in row_set.translations.items():
        if CORPORA[name].split == split:
            by = {"translated_by": made.checked.raw.translated_by}
            yield Planned(name, language, row_set, places, len(kept), provenance | by)


def check_nothing_stale(folder: str | Path, planned: Sequence[Planned]) -> None:
    """Raises :class:`InputError` if the folder holds corpora that do not go with the new ones.

    Those are corpora of an earlier reading that this one would not replace, as their rows may stand in the new S_trn,
    and translations that this program made, which this reading would replace.
    """
    new = {(plan.name, plan.language) for plan in planned}
    stale, made = [], []
    for path in sorted(Path(folder).glob("*.json")):
        name, _, language = path.stem.partition(".")
        if name not in CORPORA or not corpus_exists(folder, name, language):
            continue
        if CORPORA[name].made_from is None:
            read = True
        else:
            read = read_about(folder, name, language)["provenance"].get("made_by") == MADE_BY
        if read and (name, language) not in new:
            stale.append(path.stem)
        if not read and (name, language) in new:
            made.append(path.stem)
    if stale:
        raise InputError(
            f"{folder} holds {', '.join(stale)} of an earlier reading, which this one would leave as they are; delete "
            "them or give another --output"
        )
    if made:
        raise InputError(
            f"{folder} holds {', '.join(made)} made by fairseq-musc translate, which the published translations would "
            "replace; delete them or give another --output"
        )


def summary(planned: Sequence[Planned]) -> list[str]:
    """The lines of a table: corpus, language, rows, dropped rows."""
    cells = [("corpus", "language", "rows", "dropped")]
    for plan in planned:
        cells.append((plan.name, plan.language, f"{len(plan.places)}", f"{plan.provenance['dropped_rows']}"))
    width = max(len(name) for name, *_ in cells)
    return [f"{name:{width}}  {language:8}  {rows:>6}  {dropped:>7}" for name, language, rows, dropped in cells]


def unusual_counts(dataset: Dataset, reading: Reading) -> Iterator[str]:
    """One line for each corpus whose row count is not the published one, without the rows that were held out.

    Corpora of one name are said together where all languages have the same count.
    """
    by_count: dict[tuple[str, int, str], list[str]] = {}
    for plan in reading.planned:
        split = CORPORA[plan.name].split
        published = dataset.rows_of(split, reading.size)
        if published is None or (split == "valid" and reading.hold_out is not None):
            continue
        counted = f"{dataset.counted_by} counts {published:,}"
        file = plan.row_set.first.raw.path.name.removesuffix(".gz")
        if split == "train" and file in dataset.short_files:
            published = dataset.short_files[file]
            counted += f", but {file} is published with {published:,}"
        held = reading.hold_out or 0 if split == "train" else 0
        if plan.available != published - held or "but" in counted:
            by_count.setdefault((plan.name, plan.available, counted), []).append(plan.language)
    for (name, count, counted), languages in by_count.items():
        all_languages = [plan.language for plan in reading.planned if plan.name == name]
        names = [name] if languages == all_languages else [f"{name}.{language}" for language in languages]
        yield f"{', '.join(names)} has {count:,} rows; {counted}"
