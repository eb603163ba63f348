"""From checked raw files to corpora: which rows of which file go into which of S_trn, T_trn, T_val and T_tst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fairseq_musc.data.align import balanced
from fairseq_musc.data.corpus import CORPORA, Corpus, Row, corpus_exists, read_about
from fairseq_musc.data.datasets import SOURCE_LANGUAGE, Dataset
from fairseq_musc.data.forms import TRANSLATIONS, Sought, find_files
from fairseq_musc.data.hub import find_published
from fairseq_musc.data.raw_files import Mask, RowSet, check_files, load, source_language_of
from fairseq_musc.data.readers import Tally
from fairseq_musc.data.records import checksum
from fairseq_musc.data.row_sets import check_row_sets
from fairseq_musc.data.spooled import spooled
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.version import __version__

#: Split to the corpus that is read from it.
CORPUS_OF = {"train": "S_trn", "valid": "T_val", "test": "T_tst"}
MADE_BY = "fairseq-musc read"


class Planned(NamedTuple):
    """A corpus that can be written."""

    name: str
    language: str
    row_set: RowSet
    taken: Mask
    """Which rows of the row set are its own."""
    rows: int
    """How many those are."""
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

    def corpora(self) -> Iterator[tuple[Corpus, Iterator[Row]]]:
        """The corpora, one after the other, without rows, and beside each its rows, which are read as they are taken.

        Raises:
            InputError: a file has changed since it was checked.
        """
        for plan in self.planned:
            corpus = Corpus(
                name=plan.name,
                language=plan.language,
                text_language=SOURCE_LANGUAGE if CORPORA[plan.name].side == "S" else plan.language,
                dataset=self.dataset.name,
                labels=self.dataset.labels,
                rows=(),
                provenance=plan.provenance,
            )
            yield corpus, self._rows(plan)

    def _rows(self, plan: Planned) -> Iterator[Row]:
        """The rows of a corpus, once their file is known to be the one that was checked."""
        made = plan.row_set.translations.get((plan.name, plan.language))
        checked = made.checked if made else plan.row_set.files[plan.language]
        if checksum(checked.raw) != checked.sha256:
            raise InputError(f"{checked.raw.path} has changed while it was read; read again")
        rows = (raw_row.row for raw_row in load(checked.raw, self.dataset, Tally()))
        if made is None:
            yield from compress(rows, plan.taken)
            return
        heads = plan.row_set.files[source_language_of(plan.name, plan.language)].heads
        with spooled(rows) as row_at:  # translations may lie in any order
            for place in np.flatnonzero(plan.taken):
                head = heads[place]
                yield row_at(made.order[place])._replace(id=head.id, label=head.label)


def read_corpora(folder: str | Path | Sequence[str | Path], dataset: Dataset, **options: Any) -> Iterator[Corpus]:
    """The corpora of a data set, made of raw files; the arguments are those of :func:`check_raw_files`.

    One corpus at a time is read into memory.
    """
    folders = [folder] if isinstance(folder, str | Path) else folder
    reading = check_raw_files([Path(path) for path in folders], dataset, **options)
    return (replace(corpus, rows=list(rows)) for corpus, rows in reading.corpora())


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
    on_hub: bool = False,
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
        on_hub: read it as a Hugging Face dataset: the one that ``folders`` holds or names, else the published one.
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
    targets = [language for language in languages if language != SOURCE_LANGUAGE] if translations else None
    if on_hub:
        if given or forms or size or len(folders) > 1:
            raise InputError("with --format datasets give one --input at most, and no --form, --size or --*-file")
        found = find_published(dataset, str(folders[0]) if folders else None, wanted, targets)
    else:
        given = {CORPUS_OF[split]: file for split, file in given.items()}
        found = find_files(folders, dataset, wanted, forms=forms, given=given, size=size, translations=targets)
    options = {
        "languages": [*languages],
        "files": {CORPORA[corpus].split: found[corpus].file for corpus in wanted},
        "forms": {corpus: sought.form.name for corpus, sought in found.items()},
        "size": size,
        "hold_out": hold_out,
        "missing": missing,
        "limit": limit,
    }
    reading = check_found(dataset, found, options, {"valid": hold_out}, missing, limit, progress)
    absent = [corpus for corpus in TRANSLATIONS if translations and corpus not in found]
    reading.notes += [f"{corpus} is published in none of the forms that are there" for corpus in absent]
    reading.size = size
    return reading


def check_found(
    dataset: Dataset,
    found: Mapping[str, Sought],
    options: Mapping[str, Any],
    hold_out: Mapping[str, int | None],
    missing: str = "error",
    limit: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Reading:
    """Reads and checks files that were found, and plans the corpora that are made of them.

    Args:
        dataset: what they are.
        found: corpus to its files.
        options: what was asked for, for the provenance.
        hold_out: split (``valid``, ``test``) to the rows it takes of the train file in every language, None for none.
        missing, limit, progress: as for :func:`check_raw_files`.

    Raises:
        InputError: something about the files is wrong. Problems of one kind are said all at once.
    """
    row_sets = check_files(dataset, found, progress)
    check_row_sets(row_sets, dataset, missing)
    planned: list[Planned] = []
    for row_set in row_sets:
        held = hold_out if row_set.split == "train" else {}
        for split, stretch in held_out(row_set, held, dataset.aligned).items():
            planned += plan_split(dataset, row_set, split, stretch, limit, options)
    if empty := [f"{plan.name}.{plan.language}" for plan in planned if not plan.rows]:
        raise InputError(f"no row is left in {', '.join(empty)}; give whole files")
    order = [*CORPORA]
    planned.sort(key=lambda plan: order.index(plan.name))  # a stable sort: languages stay as they are
    notes = [*dict.fromkeys(note for row_set in row_sets for file in row_set.every_file for note in file.notes)]
    return Reading(dataset, planned, notes, None, hold_out.get("valid"))


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


def held_out(row_set: RowSet, hold_out: Mapping[str, int | None], aligned: bool) -> dict[str, Mask]:
    """Split to the rows of a file that it takes: each split that is held out so many usable ones, its own the rest.

    Where rows are aligned, those are the last rows; where not, the last of each class in equal parts, half of a class
    at most. The test rows are taken first. A language other than the source language may be held out to its last row.

    Raises:
        InputError: no row is left to train on.
    """
    usable = ~row_set.dropped
    rest = np.ones(len(usable), bool)
    taken: dict[str, Mask] = {}
    for split, option in (("test", "--hold-out-test"), ("valid", "--hold-out")):
        count = hold_out.get(split)
        if count is None:
            continue
        kept = np.flatnonzero(rest & usable)
        all_may_go = not aligned and SOURCE_LANGUAGE not in row_set.files and split == "valid"
        if count > len(kept) or (count == len(kept) and not all_may_go):
            raise InputError(
                f"{option} {count} leaves nothing to train on of the {len(kept)} usable rows in "
                f"{', '.join(row_set.files)} of {row_set.first.raw.path}; hold out fewer, or leave the language out"
            )
        if aligned:
            taken[split] = rest.copy()
            taken[split][: kept[-count]] = False
        else:
            taken[split] = balanced_mask(row_set, rest & usable, count, from_end=True)
        rest &= ~taken[split]
    if not taken or (rest & usable).any():
        taken[row_set.split] = rest
    return taken


def balanced_mask(row_set: RowSet, among: Mask, count: int, from_end: bool = False) -> Mask:
    """``count`` of some rows of a file, of all classes in equal parts: see :func:`fairseq_musc.data.align.balanced`."""
    places = np.flatnonzero(among)
    chosen = np.zeros(len(among), bool)
    chosen[balanced(places, map(row_set.first.heads.label, places), count, from_end)] = True
    return chosen


def plan_split(
    dataset: Dataset,
    row_set: RowSet,
    split: str,
    stretch: Mask,
    limit: int | None,
    options: Mapping[str, Any],
) -> Iterator[Planned]:
    """The corpora that are made of a stretch of a row set."""
    kept = stretch & ~row_set.dropped
    available = int(kept.sum())
    taken = kept
    if limit is not None and limit < available:
        if dataset.aligned:
            taken = kept & (kept.cumsum() <= limit)
        else:
            taken = balanced_mask(row_set, kept, limit)
    files = row_set.every_file
    untranslated = Counter({file.raw.name: 0 for file in files})
    untranslated.update({file.raw.name: int(file.gaps.sum()) for file in row_set.files.values()})
    untranslated.update({made.checked.raw.name: int(made.gaps.sum()) for made in row_set.translations.values()})
    provenance = {
        "made_by": MADE_BY,
        "version": __version__,
        "options": options,
        "raw_files": {file.raw.name: file.sha256 for file in files},
        "untranslated_rows": untranslated,
        "dropped_rows": int(stretch.sum()) - available,
        "notes": [*dict.fromkeys(note for file in files for note in file.notes)],
    }
    for language in row_set.files:
        name = CORPUS_OF[split]
        if split == "train" and language != SOURCE_LANGUAGE:
            if dataset.aligned:  # read for the rows that are held out
                continue
            name = "T_trn"
        yield Planned(name, language, row_set, taken, int(taken.sum()), available, provenance)
    for (name, language), made in row_set.translations.items():
        if CORPORA[name].split == split:
            by = {"translated_by": made.checked.raw.translated_by}
            yield Planned(name, language, row_set, taken, int(taken.sum()), available, provenance | by)


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
