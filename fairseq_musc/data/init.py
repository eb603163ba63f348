"""Writes what describes a data set of your own, and a recipe to train on it.

reads   the files or the dataset of --input (or --train-file, --valid-file, --test-file)
writes  OUTPUT/NAME.data.yaml   what is what in them, for `fairseq-musc read --dataset OUTPUT/NAME.data.yaml`
        OUTPUT/NAME.yaml        the recipe, for `fairseq-hydra-train --config-dir OUTPUT --config-name NAME`

Format, columns, languages and labels are found in the files: by the usual names of columns (text, label, language,
...), and by what stands in them. What cannot be told is asked for, on a terminal one by one, elsewhere all at once in
the error, with the options that say it. Where nothing says which rows are for validation and test, some are held out of
the training rows.

Both files are made to be looked at and changed. They appear in a new folder, whole or not at all.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.data.guess import guess_held_out
from fairseq_musc.data.init_files import check_name, described, recipe
from fairseq_musc.data.look import UnclearError, look
from fairseq_musc.data.own import OPTIONS, OwnData, add_own_arguments
from fairseq_musc.data.survey import Survey, codes_of, same_rows, split_of
from fairseq_musc.errors import InputError
from fairseq_musc.files import check_new, folder_written_whole, written_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc init``."""
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="a new folder for the two files")
    parser.add_argument(
        "--encoder",
        default="bert-base-multilingual-cased",
        metavar="NAME_OR_FOLDER",
        help="the encoder of the recipe (default: %(default)s)",
    )
    parser.add_argument(
        "--ask", action=argparse.BooleanOptionalAction, help="ask for what is unclear (default: on a terminal)"
    )
    add_own_arguments(parser.add_argument_group("what is said of the data; what is left out is found in them"))


def run(arguments: argparse.Namespace) -> None:
    """Looks, asks, writes, and says how to go on.

    Raises:
        InputError: the files cannot be read, or something is unclear; all that is unclear at once.
    """
    check_new(arguments.output)
    said = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    ask = sys.stdin.isatty() if arguments.ask is None else arguments.ask
    while True:
        try:
            found = look(said)
            break
        except UnclearError as error:
            if not ask:
                raise InputError.all_at_once(
                    "not everything can be told from the files; say it:", [each.as_option() for each in error.unclear]
                ) from None
            try:
                said |= {each.name: each.asked() for each in error.unclear}
            except EOFError:
                raise InputError("nothing more was answered; say the rest as options") from None
    name = re.sub(r"\W+", "_", found.own.called)
    check_name(name)
    with folder_written_whole(arguments.output) as folder:
        with written_whole(folder / f"{name}.data.yaml") as stream:
            stream.write(described(found, name, arguments.output))
        with written_whole(folder / f"{name}.yaml") as stream:
            stream.write(recipe(name, arguments.encoder, arguments.output))
    print("\n".join(summary(found, name, arguments.output, arguments.encoder)))


def summary(found: Survey, name: str, folder: Path, encoder: str) -> list[str]:
    """What was found, and the commands that come next."""
    own = found.own
    codes = codes_of(found)
    rows: Counter[tuple[str, str]] = Counter()
    for kind, count in found.rows.items():
        if (split := split_of(found, kind)) and kind.language in codes:
            rows[split, codes[kind.language]] += count
    said = {
        each.name.removesuffix("_column"): getattr(own, each.name) for each in fields(OwnData) if "column" in each.name
    }
    columns = ", ".join(f"{column} ({what})" for what, column in said.items() if column)
    lines = [
        f"{folder / f'{name}.data.yaml'}, {folder / f'{name}.yaml'}: written; look at them",
        f"columns: {columns}",
        f"labels:  {', '.join(own.labels)}",
        *(f"rows:    {count:>7,} {split} {language}" for (split, language), count in rows.items()),
    ]
    held = {"validation": own.hold_out, "test": own.hold_out_test}
    lines += [f"         {count:>7,} of each language are held out for {what}" for what, count in held.items() if count]
    lines += [f"note: {note}" for note in [*labels_alike(own.labels), *held_back(own, rows)]]
    if {*codes.values()} == {SOURCE_LANGUAGE}:
        lines.append(
            f"note: there are rows in {SOURCE_LANGUAGE} alone. Validation and test need some in each target language; "
            "TranslateAllClassifier.fit in Python (docs/python.md) does without"
        )
    if not own.aligned and (splits := same_rows(found, codes)):
        lines.append(
            f"note: the {' and '.join(splits)} rows have the same ids and labels in every language. If they are "
            f"translations of each other, add `aligned: true` to {name}.data.yaml: what is dropped or cut off in one "
            "language then is in all"
        )
    checkpoint = f"checkpoints/{name}/checkpoint_best.pt"
    return [
        *lines,
        "next:",
        f"  fairseq-musc read --dataset {folder / f'{name}.data.yaml'} --output corpora",
        "  fairseq-musc translate --corpora corpora --translator m2m_100 --make T_trn_MT S_val_MT S_tst_MT",
        f"  fairseq-musc binarize --corpora corpora --data data-bin --tokenizer {encoder}",
        f"  fairseq-hydra-train --config-dir {folder} --config-name {name}",
        f"  fairseq-musc predict --checkpoint {checkpoint} --data data-bin --predictions predictions",
        "  fairseq-musc ensemble --predictions predictions",
        "  fairseq-musc report --predictions predictions",
        f"  fairseq-musc export {checkpoint} {name}-classifier --predictions predictions",
    ]


def labels_alike(labels: Sequence[str]) -> Iterator[str]:
    """A note for labels that may be one, written in two ways."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(" ".join(label.casefold().split()), []).append(label)
    for written in alike.values():
        if len(written) > 1:
            yield (
                f"the labels {', '.join(map(repr, written))} differ in case or spaces alone, and are classes of their "
                "own; if they are one, write them alike in the data"
            )


#: Where fewer test rows than this are held out of each language, it is said what keeps them so few.
FEW = 100


def held_back(own: OwnData, rows: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """A note if one language has so few rows that much less is held out of all than without it."""
    train = {language: count for (split, language), count in rows.items() if split == "train"}
    train = {SOURCE_LANGUAGE: train.pop(SOURCE_LANGUAGE, 0), **train}
    others = [language for language in train if language != SOURCE_LANGUAGE]
    held = guess_held_out(train)
    if len(others) < 2 or held != (own.hold_out, own.hold_out_test) or held[1] >= FEW:
        return
    fewest = min(others, key=train.__getitem__)
    valid, test = guess_held_out({language: count for language, count in train.items() if language != fewest})
    if test >= 2 * held[1]:
        languages = " ".join(
            code if code == spelled else f"{code}={spelled!r}"
            for code, spelled in own.languages.items()
            if code != fewest
        )
        yield (
            f"{fewest} has {train[fewest]:,} rows, and as many are held out of each language as it can spare; without "
            f"it that is {valid:,} for validation and {test:,} for test: --languages {languages}"
        )
