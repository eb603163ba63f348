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
--hold-out takes the last rows of each class in equal parts there (half of a rare class at most), and --limit the first.

Data of your own, and any dataset with columns of texts and labels, are read by naming the columns:

    fairseq-musc read --format csv --input reviews.csv --text-column review --label-column stars \\
        --language-column language --hold-out 200 --hold-out-test 400 --output corpora

Nothing is written before every file has been read and checked. Files are then read once more, row by row; one that has
changed in between ends the run. No texts are held in memory, and of every other thing that is known of a row some 30
bytes. Published translations that are read too are put in order in a temporary file (TMPDIR).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fairseq_musc.data.corpus import CORPORA, write_rows
from fairseq_musc.data.datasets import DATASETS, Dataset
from fairseq_musc.data.own import OPTIONS, PUBLISHED_TOO, OwnData, add_own_arguments, option, own_data, read_yaml
from fairseq_musc.data.reading import (
    CORPUS_OF,
    Planned,
    Reading,
    check_found,
    check_nothing_stale,
    check_raw_files,
    read_corpora,
)
from fairseq_musc.data.survey import found_in, survey
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.progress import progress_bar

__all__ = ["add_arguments", "read_corpora", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc read``."""
    parser.add_argument(
        "--dataset", metavar="NAME", help=f"what the raw files are: {', '.join(DATASETS)}, or a YAML file of your own"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="FOLDER",
        help="the folder of the raw files, e.g. x-final, or the folders that they are spread over; with --format, the "
        "files or the dataset",
    )
    parser.add_argument("--output", required=True, type=Path, help="the folder that the corpora are written to")
    parser.add_argument(
        "--languages",
        nargs="+",
        metavar="LANGUAGE",
        help="read these only, the source language among them; all if left out. With --format, XX=SPELLED where the "
        "data spell a language otherwise",
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
            f"--{split}-file",
            nargs="+",
            metavar="FILE",
            help=f"read {corpus} from this file, e.g. dev_2k, not the published one; with --format, from these files, "
            "each [LANGUAGE=]FILE",
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
    own = parser.add_argument_group("your own data (docs/your-data.md), and datasets of the hub")
    add_own_arguments(own, without={action.dest for action in parser._actions})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rows; it needs to be at least 1")
    return number


def run(arguments: argparse.Namespace) -> None:
    """Reads, checks, writes, and prints what was read."""
    with progress_bar(None, "files", "read") as bar:
        reading = reading_of(arguments, bar.update)
        check_nothing_stale(arguments.output, reading.planned)
        for corpus, rows in reading.corpora():
            write_rows(arguments.output, corpus, rows)
            bar.update()
    print("\n".join(summary(reading.planned)))
    if arguments.dataset not in DATASETS:
        print(f"labels: {', '.join(reading.dataset.labels)}")
    for note in reading.notes:
        print(f"note: {note}", file=sys.stderr)
    for warning in unusual_counts(reading.dataset, reading):
        print(f"warning: {warning}", file=sys.stderr)


def reading_of(arguments: argparse.Namespace, progress: Callable[[], object]) -> Reading:
    """What the options ask for: a published data set, one on the hub, or one of the user's own.

    Raises:
        InputError: something about the options or the files is wrong.
    """
    given = vars(arguments)
    own = {name: given[name] for name in OPTIONS if given[name] is not None}
    if arguments.dataset is not None and arguments.dataset.endswith((".yaml", ".yml")):
        return own_reading(read_yaml(Path(arguments.dataset), own), arguments, progress)
    if arguments.dataset is None:
        return own_reading(own_data(own, "these options"), arguments, progress)
    if arguments.dataset not in DATASETS:
        raise InputError(
            f"there is no data set {arguments.dataset!r}; there are {', '.join(DATASETS)}. For data of your own leave "
            "--dataset out and give --format, or give the YAML file that `fairseq-musc init` wrote"
        )
    dataset = DATASETS[arguments.dataset]
    on_hub = arguments.format == "datasets"
    foreign = [option(name) for name in own if name not in PUBLISHED_TOO and not (on_hub and name == "format")]
    problems = [f"{', '.join(foreign)}: for data of your own, not for {dataset.name}"] if foreign else []
    if not on_hub and not arguments.input:
        problems.append("--input is needed: the folder of the raw files")
    files = {split: given[f"{split}_file"] for split in CORPUS_OF}
    if several := [option(f"{split}_file") for split, names in files.items() if names and len(names) > 1]:
        problems.append(f"{', '.join(several)}: one file each, for {dataset.name}")
    raise_all("the options do not go together:", problems)
    return check_raw_files(
        [Path(folder) for folder in arguments.input or ()],
        dataset,
        languages=arguments.languages or dataset.languages,
        files={split: names[0] if names else None for split, names in files.items()},
        hold_out=arguments.hold_out,
        missing=arguments.missing,
        limit=arguments.limit,
        forms=arguments.form,
        size=arguments.size,
        translations=arguments.translations,
        on_hub=on_hub,
        progress=progress,
    )


def own_reading(own: OwnData, arguments: argparse.Namespace, progress: Callable[[], object]) -> Reading:
    """The reading of a user's own data set.

    Raises:
        InputError: an option is for published data sets, or something about the files is wrong.
    """
    foreign = [option(name) for name in ("form", "size", "translations") if getattr(arguments, name)]
    raise_all(
        "the options do not go together:",
        [f"{', '.join(foreign)}: for {', '.join(DATASETS)}, not for data of your own"] if foreign else [],
    )
    dataset, found, notes = found_in(survey(own))
    options = {
        "languages": [*dataset.languages],
        "files": {CORPORA[corpus].split: sought.file for corpus, sought in found.items()},
        "missing": arguments.missing,
        "limit": arguments.limit,
        **own.described(),
    }
    held = {"valid": own.hold_out, "test": own.hold_out_test}
    reading = check_found(dataset, found, options, held, arguments.missing, arguments.limit, progress)
    reading.notes += notes
    return reading


def summary(planned: Sequence[Planned]) -> list[str]:
    """The lines of a table: corpus, language, rows, dropped rows."""
    cells = [("corpus", "language", "rows", "dropped")]
    for plan in planned:
        cells.append((plan.name, plan.language, f"{plan.rows}", f"{plan.provenance['dropped_rows']}"))
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
