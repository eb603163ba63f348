"""Averages the probabilities that one checkpoint gives to a corpus and to its translation (translate-all).

reads   FOLDER/T_tst.<language>, FOLDER/S_tst_MT.<language>: predictions tables, each a .tsv and a .json
writes  FOLDER/Ens.<language>: predictions tables of the same form

p = (1 - weight) * p(T_tst) + weight * p(S_tst_MT), row by row. English is not translated: its Ens is its T_tst. The
ensemble of validation corpora (--corpora T_val S_val_MT) is called Ens_val.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fairseq_musc.data.corpus import CORPORA, check_aligned
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import (
    ENSEMBLES,
    Predictions,
    Signature,
    accuracy,
    list_predictions,
    read_predictions,
    table_sha256,
    write_predictions,
)
from fairseq_musc.version import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc ensemble``."""
    parser.add_argument("--predictions", required=True, type=Path, metavar="FOLDER", help="the predictions tables")
    parser.add_argument(
        "--corpora",
        nargs="+",
        default=["T_tst", "S_tst_MT"],
        metavar="CORPUS",
        help="average these, the untranslated one first (default: T_tst S_tst_MT)",
    )
    parser.add_argument(
        "--weight",
        type=float,
        help="the weight of the second of two corpora, 0 to 1; all weigh the same if left out (0.5, as in the paper)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Reads the tables of every language, averages, and writes Ens."""
    ensembles = ensemble_folder(
        arguments.predictions, arguments.corpora, weights_of(arguments.corpora, arguments.weight)
    )
    for predictions in ensembles:
        write_predictions(arguments.predictions, predictions)
    for predictions in ensembles:
        members = " + ".join(f"{weight:g} {corpus}" for corpus, weight in predictions.signature.members.items())
        print(
            f"{predictions.name}: {len(predictions.ids)} rows, {100 * accuracy(predictions):.2f} % right, = {members}"
        )


def weights_of(corpora: Sequence[str], weight: float | None) -> list[float]:
    """The weight of each corpus: ``1 - weight`` and ``weight`` for two, equal ones if ``weight`` is None.

    Raises:
        InputError: ``weight`` is not between 0 and 1, or there are not two corpora to share it.
    """
    if weight is None:
        return [1 / len(corpora)] * len(corpora)
    if len(corpora) != 2:
        raise InputError(
            f"--weight is the weight of the second of two corpora, but there are {len(corpora)}; leave it out"
        )
    if not 0 <= weight <= 1:
        raise InputError(f"--weight {weight} is not between 0 and 1")
    return [1 - weight, weight]


def ensemble_folder(folder: Path, corpora: Sequence[str], weights: Sequence[float]) -> list[Predictions]:
    """The ensemble of every language that a folder has the first corpus in.

    Args:
        folder: where the predictions tables lie.
        corpora: those to average; the first is there in the source language, which the others leave out.
        weights: one a corpus.

    Raises:
        InputError: a table is missing, or the tables of a language do not go together.
    """
    name = ensemble_name(corpora)
    there = list_predictions(folder)
    languages = sorted({language for corpus, language in there if corpus in corpora})
    translated = {language for corpus, language in there if corpus in corpora[1:]}
    wanted = {
        language: corpora[:1] if language == SOURCE_LANGUAGE and language not in translated else corpora
        for language in languages
    }
    missing = [
        f"{corpus}.{language}"
        for language, members in wanted.items()
        for corpus in members
        if (corpus, language) not in there
    ]
    if missing or not languages:
        raise InputError(
            f"{folder} lacks predictions for {', '.join(missing) or ' and '.join(corpora)}; predict on them first "
            f"(there is {', '.join(map('.'.join, there)) or 'nothing'})"
        )
    ensembles = []
    for language, members in wanted.items():
        tables = [read_predictions(folder, corpus, language) for corpus in members]
        ensembles.append(average(tables, weights if len(members) == len(corpora) else [1.0], name))
    return ensembles


def ensemble_name(corpora: Sequence[str]) -> str:
    """``Ens`` for test corpora, ``Ens_val`` for validation corpora.

    Raises:
        InputError: there are fewer than two corpora, one stands twice, or they are not all test or all validation.
    """
    if unknown := [corpus for corpus in corpora if corpus not in CORPORA]:
        raise InputError(f"no corpus is called {', '.join(unknown)}; the names are {', '.join(CORPORA)}")
    splits = {CORPORA[corpus].split for corpus in corpora}
    if len(set(corpora)) != len(corpora) or len(corpora) < 2 or len(splits) != 1 or not splits <= ENSEMBLES.keys():
        raise InputError(
            f"an ensemble needs two or more different corpora, all test or all validation; got {' '.join(corpora)}"
        )
    return ENSEMBLES[splits.pop()]


def average(members: Sequence[Predictions], weights: Sequence[float], name: str) -> Predictions:
    """The weighted mean of the probabilities of aligned tables.

    Args:
        members: tables of one checkpoint with the same rows.
        weights: one a member; they sum up to 1.
        name: the corpus name of the result, ``Ens`` or ``Ens_val``.

    Returns:
        A table with the ids and labels of the members and ``sum_m weights[m] * probabilities[m]``, shape (n, C).

    Raises:
        InputError: the members differ in ids, labels, language, data set or checkpoint; the message names both.
    """
    first = members[0]
    for other in members[1:]:
        check_same_origin(first, other)
        check_same_rows(first, other)
    translators = sorted({member.signature.translator for member in members if member.signature.translator})
    signature: Signature = replace(
        first.signature,
        corpus=name,
        translator=" + ".join(translators) or None,
        version=__version__,
        members={member.signature.corpus: weight for member, weight in zip(members, weights, strict=True)},
        member_sha256={member.signature.corpus: table_sha256(member) for member in members},
    )
    probabilities = sum(weight * member.probabilities for member, weight in zip(members, weights, strict=True))
    return Predictions(signature, first.ids, first.labels, probabilities)  # type: ignore[arg-type]


def check_same_origin(first: Predictions, second: Predictions) -> None:
    """Raises :class:`InputError` unless both tables are of one checkpoint, data set and label set."""
    one, two = first.signature, second.signature
    problems = []
    if one.checkpoint_sha256 != two.checkpoint_sha256:
        problems.append(
            f"{first.name} is of checkpoint {checkpoint_of(one)}, {second.name} of {checkpoint_of(two)}; predict on "
            "both with one checkpoint"
        )
    for what, a, b in [("data set", one.dataset, two.dataset), ("label set", one.labels, two.labels)]:
        if a != b:
            problems.append(f"{first.name} is of {what} {a}, {second.name} of {b}")
    if problems:
        raise InputError.all_at_once("the predictions do not go together:", problems)


def checkpoint_of(signature: Signature) -> str:
    """A checkpoint as messages and tables call it."""
    return f"{signature.checkpoint} (update {signature.update}, SHA-256 {signature.checkpoint_sha256[:12]})"


def check_same_rows(first: Predictions, second: Predictions) -> None:
    """Raises :class:`InputError` unless both tables have the same ids in the same order, with the same labels."""
    if first.signature.language != second.signature.language:
        raise InputError(f"{first.name} and {second.name} are of two languages; an ensemble is of one")
    check_aligned(first.name, first.ids, second.name, second.ids)
    different = (first.labels != second.labels).nonzero()[0]
    if len(different):
        row = different[0]
        labels = first.signature.labels
        raise InputError(
            f"row {row + 1} (id {first.ids[row]!r}) has label {labels[first.labels[row]]!r} in {first.name} and "
            f"{labels[second.labels[row]]!r} in {second.name} ({len(different)} such rows); make both corpora again "
            "from one reading"
        )
