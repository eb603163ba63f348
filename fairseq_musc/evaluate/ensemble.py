"""Averages the probabilities that one checkpoint gives to a corpus and to its translations (translate-all).

reads   FOLDER/T_tst.<language>, FOLDER/S_tst_MT.<language>: predictions tables, each a .tsv and a .json
writes  OUTPUT/Ens.<language>: predictions tables of the same form; OUTPUT is FOLDER if left out

p = (1 - w) * p(T_tst) + w * p(S_tst_MT), row by row, with w = 0.5. English is not translated: its Ens is its T_tst. The
ensemble of validation corpora (--corpora T_val S_val_MT) is called Ens_val.

With --weight validation w is chosen for each language, out of 0, 0.05, ..., 1: the one with which most rows of
FOLDER/T_val and FOLDER/S_val_MT are right; of equal ones the nearest to 0.5, then the smaller. The tables are then
called Ens_w. Test labels play no part in it.

With several folders (--predictions F1 F2 ... --output OUTPUT) the translations are of several translators, one a
folder: T_tst is taken once and must be the same in all that hold it, S_tst_MT is taken from each. All members then
weigh the same (1/3 each with two translators), as the paper averages predictions; --weight is the total weight of the
translations, so that --weight 0.5 leaves T_tst the half that it has beside one translation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fairseq_musc.data.corpus import CORPORA, check_aligned
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.data.translators import mismatch, short_name
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
from fairseq_musc.evaluate.weights import STEPS, best_step, mixed, right_by_step, shared_out
from fairseq_musc.progress import say, with_progress
from fairseq_musc.version import __version__

#: The value of ``--weight`` that has it chosen.
ON_VALIDATION = "validation"
#: Test corpora to the validation corpora that stand for them when a weight is chosen.
VALIDATION = {"T_tst": "T_val", "S_tst_MT": "S_val_MT"}
#: How far the probabilities of one table in two folders may be apart: two machines round differently.
SAME_TOLERANCE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc ensemble``."""
    parser.add_argument(
        "--predictions",
        required=True,
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="the predictions tables; several folders for several translators",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where Ens goes (default: to the predictions, if in one folder)"
    )
    parser.add_argument(
        "--corpora",
        nargs="+",
        default=["T_tst", "S_tst_MT"],
        metavar="CORPUS",
        help="average these, the untranslated one first (default: T_tst S_tst_MT)",
    )
    parser.add_argument(
        "--weight",
        type=_weight,
        metavar="W",
        help=f"the total weight of the translations, 0 to 1, or {ON_VALIDATION}: chosen for each language on "
        "validation data; all members weigh the same if left out (0.5 with one translation, as in the paper)",
    )


def _weight(text: str) -> float | str:
    try:
        return text if text == ON_VALIDATION else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0 to 1 nor {ON_VALIDATION}") from None


def run(arguments: argparse.Namespace) -> None:
    """Reads the tables of every language, averages, and writes Ens or Ens_w."""
    folders, corpora, weight = arguments.predictions, arguments.corpora, arguments.weight
    output = output_of(folders, arguments.output)
    name = ensemble_name(corpora, chosen=weight == ON_VALIDATION)
    members = members_of(folders, corpora)
    notes: dict[str, str] = {}
    if weight == ON_VALIDATION:
        weights, notes = chosen_weights(folders, corpora, members)
    else:
        weights = {language: weights_of(len(tables), weight) for language, tables in members.items()}
    ensembles = [average(tables, weights[language], name) for language, tables in members.items()]
    if warning := translators_warning([table for tables in members.values() for table in tables]):
        say(f"warning: {warning}")
    for predictions in ensembles:
        write_predictions(output, predictions)
    for predictions in ensembles:
        members_told = " + ".join(f"{weight:g} {member}" for member, weight in predictions.signature.members.items())
        print(
            f"{predictions.name}: {len(predictions.ids)} rows, {100 * accuracy(predictions):.2f} % right, = "
            f"{members_told}{notes.get(predictions.signature.language, '')}"
        )


def output_of(folders: Sequence[Path], output: Path | None) -> Path:
    """Where the ensemble goes.

    Raises:
        InputError: of several folders none was named for it, or one that holds predictions of a single translator.
    """
    if len(folders) == 1:
        return output or folders[0]
    if output is None or output.resolve() in [folder.resolve() for folder in folders]:
        raise InputError(
            f"an ensemble of the predictions in {', '.join(map(str, folders))} needs a folder of its own; name one "
            "with --output"
        )
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError(f"--predictions names a folder twice: {', '.join(map(str, folders))}")
    return output


def weights_of(members: int, weight: float | None) -> list[float]:
    """The weight of each member, the untranslated text first.

    Args:
        members: how many there are; a single one weighs 1.
        weight: the total weight of all but the first; None gives all the same.

    Raises:
        InputError: ``weight`` is not between 0 and 1.
    """
    if weight is not None and not 0 <= weight <= 1:
        raise InputError(f"--weight {weight} is not between 0 and 1")
    if members == 1:
        return [1.0]
    return [1 / members] * members if weight is None else shared_out(weight, members - 1)


def chosen_weights(
    folders: Sequence[Path], corpora: Sequence[str], members: Mapping[str, Sequence[Predictions]]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The weights that are best on the validation tables of the same folders, for each language.

    Args:
        folders: where the validation tables lie.
        corpora: the test corpora; those of :data:`VALIDATION` stand for them.
        members: language to the test tables. Their checkpoint is looked at, nothing else.

    Returns:
        Language to weights, and language to what to print about the choice.

    Raises:
        InputError: validation tables are missing, or of another checkpoint.
    """
    validation = members_of(folders, [VALIDATION[corpus] for corpus in corpora], languages=list(members))
    weights, notes = {}, {}
    for language, tables in validation.items():
        check_together(tables)
        check_same_origin(tables[0], members[language][0])
        if len(tables) == 1:
            weights[language] = [1.0]
            continue
        right = right_by_step([table.probabilities for table in tables], tables[0].labels)
        step = best_step(right)
        weights[language] = shared_out(step / STEPS, len(tables) - 1)
        rows = len(tables[0].ids)
        notes[language] = (
            f"; on {rows} rows of validation data {100 * right[STEPS // 2] / rows:.2f} % right with w = 0.5, "
            f"{100 * right[step] / rows:.2f} % with w = {step / STEPS:g}"
        )
    return weights, notes


def translators_warning(tables: Iterable[Predictions]) -> str | None:
    """What is to be said if a checkpoint predicted translations by another translator than it was trained on."""
    trained, used = set[str](), set[str | None]()
    for table in tables:
        if table.signature.training is not None:
            trained.update(table.signature.training.translators)
            used.add(table.signature.translator)
    return mismatch(trained, used, "predicting")


def members_of(
    folders: Sequence[Path], corpora: Sequence[str], languages: Sequence[str] | None = None
) -> dict[str, list[Predictions]]:
    """The tables to average, of every language: the first corpus once, the others from every folder.

    Args:
        folders: where the predictions tables lie.
        corpora: those to average; the first is there in the source language, which the others leave out.
        languages: in these only; those of all tables if None.

    Raises:
        InputError: a table is missing, or the first corpus differs between two folders.
    """
    there = {folder: list_predictions(folder) for folder in folders}
    every = {table for tables in there.values() for table in tables}
    if languages is None:
        languages = sorted({language for corpus, language in every if corpus in corpora})
    translated = {language for corpus, language in every if corpus in corpora[1:]}
    wanted = {
        language: corpora[1:] if language != SOURCE_LANGUAGE or language in translated else [] for language in languages
    }
    missing = {
        folder: [
            *(f"{corpora[0]}.{language}" for language in wanted if (corpora[0], language) not in every),
            *(f"{c}.{language}" for language, others in wanted.items() for c in others if (c, language) not in tables),
        ]
        for folder, tables in there.items()
    }
    if not languages or any(missing.values()):
        problems = [
            f"{folder} lacks predictions for {', '.join(missing[folder]) or ' and '.join(corpora)}; predict on them "
            f"first (there is {', '.join(map('.'.join, tables)) or 'nothing'})"
            for folder, tables in there.items()
            if missing[folder] or not languages
        ]
        raise InputError("\n".join(problems))
    return {
        language: [
            _the_one_table(
                [folder for folder in folders if (corpora[0], language) in there[folder]], corpora[0], language
            ),
            *(read_predictions(folder, corpus, language) for corpus in others for folder in folders),
        ]
        for language, others in with_progress([*wanted.items()], "languages", "read")
    }


def _the_one_table(folders: Sequence[Path], corpus: str, language: str) -> Predictions:
    """A table that lies in one or more folders; :class:`InputError` if it is not the same in all."""
    first, *others = (read_predictions(folder, corpus, language) for folder in folders)
    for folder, other in zip(folders[1:], others, strict=True):
        names = f"{folders[0]}/{first.name}", f"{folder}/{other.name}"
        check_same_origin(first, other, names)
        check_same_rows(first, other, names)
        apart = np.abs(first.probabilities - other.probabilities).max()
        if apart > SAME_TOLERANCE:
            raise InputError(f"{names[0]} and {names[1]} are up to {apart:.2g} apart; predict both again")
    return first


def ensemble_name(corpora: Sequence[str], chosen: bool = False) -> str:
    """``Ens`` for test corpora, ``Ens_val`` for validation corpora, ``Ens_w`` if the weights are ``chosen``.

    Raises:
        InputError: there are fewer than two corpora, one stands twice, they are not all test or all validation, or
            weights are to be chosen for other than test corpora.
    """
    if unknown := [corpus for corpus in corpora if corpus not in CORPORA]:
        raise InputError(f"no corpus is called {', '.join(unknown)}; the names are {', '.join(CORPORA)}")
    splits = {CORPORA[corpus].split for corpus in corpora}
    if len(set(corpora)) != len(corpora) or len(corpora) < 2 or splits not in ({"test"}, {"valid"}):
        raise InputError(
            f"an ensemble needs two or more different corpora, all test or all validation; got {' '.join(corpora)}"
        )
    if chosen and not set(corpora) <= VALIDATION.keys():
        raise InputError(f"--weight {ON_VALIDATION} is for test corpora ({', '.join(VALIDATION)}), not {corpora[0]}")
    return "Ens_w" if chosen else next(name for name in ("Ens", "Ens_val") if {ENSEMBLES[name].split} == splits)


def average(members: Sequence[Predictions], weights: Sequence[float], name: str) -> Predictions:
    """The weighted mean of the probabilities of aligned tables.

    Args:
        members: tables of one checkpoint with the same rows.
        weights: one a member; they sum up to 1.
        name: the corpus name of the result, one of :data:`ENSEMBLES`.

    Returns:
        A table with the ids and labels of the members and ``sum_m weights[m] * probabilities[m]``, shape (n, C).

    Raises:
        InputError: the members differ in ids, labels, language, data set or checkpoint, or two are translations by one
            translator; the message names both.
    """
    check_together(members)
    first, names = members[0], member_names(members)
    translators = sorted({member.signature.translator for member in members if member.signature.translator})
    precisions = sorted({member.signature.precision for member in members if member.signature.precision})
    signature: Signature = replace(
        first.signature,
        corpus=name,
        corpus_sha256=None,
        translator=" + ".join(translators) or None,
        precision=" + ".join(precisions) or None,
        version=__version__,
        members=dict(zip(names, weights, strict=True)),
        member_sha256={member: table_sha256(table) for member, table in zip(names, members, strict=True)},
    )
    return Predictions(signature, first.ids, first.labels, mixed([member.probabilities for member in members], weights))


def member_names(members: Sequence[Predictions]) -> list[str]:
    """What a signature calls the members: their corpora, each with its translator if a corpus stands there twice.

    A translator is told by the SHA-256 in its name, e.g. ``S_tst_MT[203eda5efa85]``, without one by its whole name, and
    its second-best translations as ``S_tst_MT[203eda5efa85/2]``.

    Raises:
        InputError: two tables are of the same corpus by the same translator.
    """
    corpora = [member.signature.corpus for member in members]
    names = []
    for corpus, member in zip(corpora, members, strict=True):
        told = short_name(member.signature.translator or "")
        names.append(corpus if corpora.count(corpus) == 1 else f"{corpus}[{told}]")
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"{', '.join(sorted(twice))} stands there twice; an ensemble over translators needs translations by "
            "different ones"
        )
    return names


def check_together(members: Sequence[Predictions]) -> None:
    """Raises :class:`InputError` unless all tables are of one checkpoint and have the same rows."""
    names = [f"{name}.{member.signature.language}" for name, member in zip(member_names(members), members, strict=True)]
    for other, name in zip(members[1:], names[1:], strict=True):
        check_same_origin(members[0], other, (names[0], name))
        check_same_rows(members[0], other, (names[0], name))


def check_same_origin(first: Predictions, second: Predictions, names: tuple[str, str] | None = None) -> None:
    """Raises :class:`InputError` unless both tables are of one checkpoint, data set and label set.

    Args:
        first: one table.
        second: another.
        names: what the message calls them; their own names if None.
    """
    one, two = first.signature, second.signature
    name, other = names or (first.name, second.name)
    problems = []
    if one.checkpoint_sha256 != two.checkpoint_sha256:
        problems.append(
            f"{name} is of checkpoint {checkpoint_of(one)}, {other} of {checkpoint_of(two)}; predict on both with one "
            "checkpoint, and make the ensemble again where there is one"
        )
    problems += data_problems(first, second, (name, other))
    if problems:
        raise InputError.all_at_once("the predictions do not go together:", problems)


def data_problems(first: Predictions, second: Predictions, names: tuple[str, str]) -> list[str]:
    """How the data set and the label set of two tables differ, a line each."""
    one, two = first.signature, second.signature
    return [
        f"{names[0]} is of {what} {a}, {names[1]} of {b}"
        for what, a, b in [("data set", one.dataset, two.dataset), ("label set", one.labels, two.labels)]
        if a != b
    ]


def checkpoint_of(signature: Signature) -> str:
    """A checkpoint as messages and tables call it."""
    return f"{signature.checkpoint} (update {signature.update}, SHA-256 {signature.checkpoint_sha256[:12]})"


def check_same_rows(first: Predictions, second: Predictions, names: tuple[str, str] | None = None) -> None:
    """Raises :class:`InputError` unless both tables have the same ids in the same order, with the same labels.

    Args:
        first: one table.
        second: another.
        names: what the message calls them; their own names if None.
    """
    name, other = names or (first.name, second.name)
    if first.signature.language != second.signature.language:
        raise InputError(f"{name} and {other} are of two languages; an ensemble is of one")
    check_aligned(name, first.ids, other, second.ids)
    different = (first.labels != second.labels).nonzero()[0]
    if len(different):
        row = different[0]
        labels = first.signature.labels
        raise InputError(
            f"row {row + 1} (id {first.ids[row]!r}) has label {labels[first.labels[row]]!r} in {name} and "
            f"{labels[second.labels[row]]!r} in {other} ({len(different)} such rows); make both corpora again from one "
            "reading"
        )
