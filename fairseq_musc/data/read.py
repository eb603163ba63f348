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
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq_musc.data.corpus import CORPORA, write_corpus
from fairseq_musc.data.datasets import DATASETS, Dataset
from fairseq_musc.data.reading import (
    CORPUS_OF,
    Planned,
    Reading,
    check_nothing_stale,
    check_raw_files,
    read_corpora,
)

__all__ = ["add_arguments", "read_corpora", "run"]


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
