"""Reads the raw files of a data set and writes corpora.

reads   INPUT/<language>/<file>.tsv (the layout of the data set, as published)
writes  OUTPUT/S_trn.en, OUTPUT/T_val.<language>, OUTPUT/T_tst.<language>, each a .tsv and a .json

The raw files of one split are one aligned set: the same ids in the same order, with the same labels, in every language.
A row that was never translated into one of the languages stops the reading, or is dropped in all of them
(--missing drop). Without train files, S_trn can be taken from another file, with its last rows held out as T_val:

    fairseq-musc read --dataset pawsx --input x-final --output corpora --train-file dev_2k --hold-out 400 --missing drop

Nothing is written before every file has been read and checked.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.corpus import Corpus, Row, check_rows, write_corpus
from fairseq_musc.data.datasets import DATASETS, SOURCE_LANGUAGE, Dataset
from fairseq_musc.data.readers import READERS, RawRow
from fairseq_musc.errors import InputError
from fairseq_musc.version import __version__

#: Split to the corpus that is read from it.
CORPUS_OF = {"train": "S_trn", "valid": "T_val", "test": "T_tst"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc read``."""
    parser.add_argument("--dataset", required=True, choices=DATASETS, help="what the raw files are")
    parser.add_argument("--input", required=True, type=Path, help="the folder of the raw files, e.g. x-final")
    parser.add_argument("--output", required=True, type=Path, help="the folder that the corpora are written to")
    parser.add_argument(
        "--languages",
        nargs="+",
        metavar="LANGUAGE",
        help="read these only, the source language among them; all if left out",
    )
    for split, corpus in CORPUS_OF.items():
        parser.add_argument(
            f"--{split}-file", metavar="FILE", help=f"read {corpus} from this file, e.g. dev_2k, not the published one"
        )
    parser.add_argument(
        "--hold-out",
        type=_positive,
        metavar="N",
        help="take T_val from the last N rows of the train file in every language; S_trn is what lies before them",
    )
    parser.add_argument(
        "--missing",
        choices=["error", "drop"],
        default="error",
        help="rows that were never translated into a language: stop (default), or drop them in all languages",
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="keep only the first N rows of each corpus")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rows; it needs to be at least 1")
    return number


def run(arguments: argparse.Namespace) -> None:
    """Reads, checks, writes, and prints what was read."""
    dataset = DATASETS[arguments.dataset]
    corpora = read_corpora(
        arguments.input,
        dataset,
        languages=arguments.languages or dataset.languages,
        files={split: getattr(arguments, f"{split}_file") for split in CORPUS_OF},
        hold_out=arguments.hold_out,
        missing=arguments.missing,
        limit=arguments.limit,
    )
    check_nothing_stale(arguments.output, corpora)
    for corpus in corpora:
        write_corpus(arguments.output, corpus)
    print("\n".join(summary(corpora)))
    for warning in unusual_counts(dataset, corpora):
        print(f"warning: {warning}", file=sys.stderr)


class RawFile(NamedTuple):
    """A raw file, read."""

    path: Path
    name: str
    """The path below the folder of the data set: what provenance calls it."""
    sha256: str
    rows: list[RawRow]
    gaps: set[int]
    """The places in :attr:`rows` of those without a translation."""


#: The raw files of one split, by language, the source language among them.
AlignedFiles = Mapping[str, RawFile]


def read_corpora(
    folder: str | Path,
    dataset: Dataset,
    *,
    languages: Sequence[str],
    files: Mapping[str, str | None] | None = None,
    hold_out: int | None = None,
    missing: str = "error",
    limit: int | None = None,
) -> list[Corpus]:
    """S_trn in the source language, then T_val and T_tst in every language, from raw files.

    Args:
        folder: where the raw files lie.
        dataset: what they are.
        languages: those to read, the source language among them.
        files: split (``train``, ``valid``, ``test``) to the file to read it from; None for the published name.
        hold_out: T_val is the last ``hold_out`` rows of the train file, counted without the dropped ones; S_trn is
            what lies before them.
        missing: ``error`` or ``drop``: what happens to rows without a translation.
        limit: keep the first ``limit`` rows of each corpus.

    Raises:
        InputError: something about the options or the files is wrong. Problems of one kind are said all at once.
    """
    given = {split: file for split, file in (files or {}).items() if file is not None}
    check_options(dataset, languages, given, hold_out)
    file_of = {**dataset.files, **given}
    if hold_out is not None:
        del file_of["valid"]
    # S_trn is in the source language alone; the other languages of its file are needed for the held-out rows only.
    wanted = {
        file: [SOURCE_LANGUAGE] if split == "train" and hold_out is None else languages
        for split, file in file_of.items()
    }
    raw = read_raw_files(folder, dataset, wanted)
    check_aligned_files(raw.values(), missing)

    stretches: dict[str, tuple[AlignedFiles, range]] = {}
    for split, file in file_of.items():
        rows = len(raw[file][SOURCE_LANGUAGE].rows)
        boundary = rows
        if split == "train" and hold_out is not None:
            boundary = held_out_from(raw[file], hold_out)
            stretches["valid"] = (raw[file], range(boundary, rows))
        stretches[split] = (raw[file], range(boundary))

    options = {"languages": [*languages], "files": file_of, "hold_out": hold_out, "missing": missing, "limit": limit}
    corpora = []
    for split, corpus_name in CORPUS_OF.items():
        aligned, stretch = stretches[split]
        dropped = gaps_in_any(aligned)
        kept = [place for place in stretch if place not in dropped]
        provenance = {
            "made_by": "fairseq-musc read",
            "version": __version__,
            "options": options,
            "raw_files": {file.name: file.sha256 for file in aligned.values()},
            "untranslated_rows": {file.name: len(file.gaps) for file in aligned.values()},
            "dropped_rows": len(stretch) - len(kept),
        }
        for language in [SOURCE_LANGUAGE] if split == "train" else languages:
            corpora.append(
                Corpus(
                    name=corpus_name,
                    language=language,
                    text_language=language,
                    dataset=dataset.name,
                    labels=dataset.labels,
                    rows=[aligned[language].rows[place].row for place in kept[:limit]],
                    provenance=provenance,
                )
            )
            check_rows(corpora[-1], where=f"{corpus_name}.{language} from {aligned[language].path}")
    return corpora


def check_options(dataset: Dataset, languages: Sequence[str], files: Mapping[str, str], hold_out: int | None) -> None:
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
    used: dict[str, str] = {}
    for split, file in {**dataset.files, **files}.items():
        if split == "valid" and hold_out is not None:
            continue
        if file in used:
            cure = "give --hold-out N to split it" if split == "valid" else "give another"
            problems.append(f"the {used[file]} and the {split} set would both be {file}; {cure}")
        used[file] = split
    raise_all("the options do not go together:", problems)


def read_raw_files(
    folder: str | Path, dataset: Dataset, wanted: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, RawFile]]:
    """File name to language to what the raw file holds.

    Args:
        folder: where the raw files lie.
        dataset: what they are.
        wanted: file name to the languages to read it in.

    Raises:
        InputError: a file is not there, or its reader refuses it.
    """
    paths = {
        (file, language): dataset.raw_path(folder, file, language)
        for file, languages in wanted.items()
        for language in languages
    }
    if absent := [path for path in paths.values() if not path.is_file()]:
        raise InputError.all_at_once(
            f"{len(absent)} of the {len(paths)} files of {dataset.name} looked for are not in {folder}:",
            [*map(str, absent), *_cures_for_absent_files(folder, dataset)],
        )
    raw: dict[str, dict[str, RawFile]] = {file: {} for file in wanted}
    problems: list[str] = []
    for (file, language), path in paths.items():
        try:
            data = path.read_bytes()
            rows = READERS[dataset.format](data, str(path), dataset.columns, dataset.labels)
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        except InputError as error:
            problems += str(error).split("\n")
        else:
            name = path.relative_to(folder).as_posix()
            gaps = {place for place, raw_row in enumerate(rows) if is_untranslated(dataset, raw_row.row)}
            raw[file][language] = RawFile(path, name, hashlib.sha256(data).hexdigest(), rows, gaps)
    raise_all("the raw files cannot be read:", problems)
    return raw


def _cures_for_absent_files(folder: str | Path, dataset: Dataset) -> Iterator[str]:
    there = {
        file: [language for language in dataset.languages if dataset.raw_path(folder, file, language).is_file()]
        for file in dataset.files.values()
    }
    if not any(there.values()):
        yield f"give the folder that holds files such as {dataset.raw_path('', dataset.files['test'], SOURCE_LANGUAGE)}"
        return
    for file, languages in there.items():
        yield f"{file} is there in {' '.join(languages) or 'no language'}"
    if not there[dataset.files["train"]]:
        yield f"without train files: --train-file {dataset.files['valid']} --hold-out 400"
    yield "to read some of the languages: --languages"


def is_untranslated(dataset: Dataset, row: Row) -> bool:
    """Whether one of the texts was never translated."""
    return any(text is not None and text.strip() in dataset.untranslated for text in (row.text, row.text_pair))


def gaps_in_any(aligned: AlignedFiles) -> set[int]:
    """The places without a translation in at least one of the languages."""
    return set().union(*(file.gaps for file in aligned.values()))


def held_out_from(aligned: AlignedFiles, hold_out: int) -> int:
    """The place at which the held-out rows begin: so many usable rows stand there and behind.

    Raises:
        InputError: no row is left to train on.
    """
    source = aligned[SOURCE_LANGUAGE]
    dropped = gaps_in_any(aligned)
    kept = [place for place in range(len(source.rows)) if place not in dropped]
    if hold_out >= len(kept):
        raise InputError(
            f"--hold-out {hold_out} leaves nothing to train on of the {len(kept)} usable rows of {source.path}; hold "
            "out fewer"
        )
    return kept[-hold_out]


def check_aligned_files(sets: Iterable[AlignedFiles], missing: str) -> None:
    """Holds the files of every aligned set against the one in the source language.

    Raises:
        InputError: the ids differ, or the labels of translated rows do, or a row has no translation and ``missing`` is
            ``error``.
    """
    sets = list(sets)
    heading = "the files of an aligned set need the same ids in the same order; put the published files in place:"
    raise_all(heading, [problem for aligned in sets for problem in id_differences(aligned)])
    gaps = [
        f"{file.path}:{file.rows[min(file.gaps)].line}: the first untranslated row of {len(file.gaps)}"
        for aligned in sets
        for file in aligned.values()
        if file.gaps
    ]
    if missing == "error" and gaps:
        dropped = " and ".join(
            f"{len(gaps_in_any(aligned))} of {len(aligned[SOURCE_LANGUAGE].rows)}" for aligned in sets
        )
        raise InputError.all_at_once(
            "there are rows that were never translated (NS or nothing stands in place of a sentence):",
            [*gaps, f"to drop them in all languages ({dropped} rows): --missing drop"],
        )
    heading = "translations of one row need one label; put the published files in place:"
    raise_all(heading, [problem for aligned in sets for problem in label_differences(aligned)])


def raise_all(heading: str, problems: Sequence[str]) -> None:
    """Raises one :class:`InputError` if there are problems."""
    if problems:
        raise InputError.all_at_once(heading, problems)


def id_differences(aligned: AlignedFiles) -> Iterator[str]:
    """One problem a file with an id that stands twice, another number of rows than the source file, or other ids."""
    source = aligned[SOURCE_LANGUAGE]
    for file in aligned.values():
        seen: dict[str, int] = {}
        for line, row in file.rows:
            if seen.setdefault(row.id, line) != line:
                yield f"{file.path}:{line}: the id {row.id!r} stands in line {seen[row.id]} already"
                break
        if len(file.rows) != len(source.rows):
            yield f"{file.path} has {len(file.rows)} rows, {source.path} has {len(source.rows)}"
        for (line, row), (source_line, source_row) in zip(file.rows, source.rows, strict=False):
            if row.id != source_row.id:
                other = f"{source.path}:{source_line} it is {source_row.id!r}"
                yield f"{file.path}:{line}: the id is {row.id!r}, in {other}"
                break


def label_differences(aligned: AlignedFiles) -> Iterator[str]:
    """One problem a file in which a row that is kept has another label than in the source file."""
    source = aligned[SOURCE_LANGUAGE]
    dropped = gaps_in_any(aligned)
    for file in aligned.values():
        different = [
            (raw, other)
            for place, (raw, other) in enumerate(zip(file.rows, source.rows, strict=True))
            if raw.row.label != other.row.label and place not in dropped
        ]
        if different:
            raw, other = different[0]
            yield (
                f"{file.path}:{raw.line}: the label is {raw.row.label!r}, in {source.path}:{other.line} it is "
                f"{other.row.label!r} (the first of {len(different)} such rows)"
            )


def check_nothing_stale(folder: str | Path, corpora: Sequence[Corpus]) -> None:
    """Raises :class:`InputError` if the folder holds corpora of an earlier reading that this one would not replace.

    Their rows may stand in the new S_trn.
    """
    new = {f"{corpus.name}.{corpus.language}" for corpus in corpora}
    stale = sorted(
        path.stem
        for path in Path(folder).glob("*.json")
        if path.stem.split(".")[0] in CORPUS_OF.values() and path.stem not in new
    )
    if stale:
        raise InputError(
            f"{folder} holds {', '.join(stale)} of an earlier reading, which this one would leave as they are; delete "
            "them or give another --output"
        )


def summary(corpora: Sequence[Corpus]) -> list[str]:
    """The lines of a table: corpus, language, rows, dropped rows."""
    cells = [("corpus", "language", "rows", "dropped")]
    for corpus in corpora:
        cells.append((corpus.name, corpus.language, f"{len(corpus.rows)}", f"{corpus.provenance['dropped_rows']}"))
    return [f"{name:6}  {language:8}  {rows:>6}  {dropped:>7}" for name, language, rows, dropped in cells]


def unusual_counts(dataset: Dataset, corpora: Sequence[Corpus]) -> Iterator[str]:
    """One line for each corpus whose row count is not that of Table 6 of the paper."""
    counts = {corpus.name: len(corpus.rows) for corpus in corpora}
    for split, name in CORPUS_OF.items():
        if counts[name] != dataset.rows[split]:
            yield f"{name} has {counts[name]:,} rows; Table 6 of the paper counts {dataset.rows[split]:,}"
