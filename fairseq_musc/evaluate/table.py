"""The predictions table: the third of the three contracts of this package.

It holds what one checkpoint says about one corpus in one language: a probability a class for every row. On disk it is
two files in one folder:

``T_tst.de.tsv``
    UTF-8, one line a row, rows in the order of the corpus. The header is ``id language corpus label`` and one ``p_``
    column a class, ``p_<label>``, in class order, with tabs between. Ids and labels are escaped as in a corpus file.
    A probability is the shortest decimal number that reads back as the same 64-bit float.

``T_tst.de.json``
    The signature (:class:`Signature`), the number of rows and the checksum of the other file. It is written last: a
    table without it is not there.

The corpus is a name of Table 1 or one of :data:`ENSEMBLES`.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.data.corpus import CORPORA, check_language, escape, unescape
from fairseq_musc.data.heads import Ids
from fairseq_musc.errors import InputError
from fairseq_musc.files import read_sealed_json, rows_as_written, write_sealed_json, written_whole


class Mixture(NamedTuple):
    """What the name of an ensemble means."""

    split: str
    """``valid`` or ``test``: of the corpora whose probabilities it averages."""
    notation: str
    """How tables print it."""


#: The names under which averages of corpora stand in tables. Ens has the fixed weights of the paper; Ens_w has, in
#: every language, those that were best on validation data.
ENSEMBLES: dict[str, Mixture] = {
    "Ens_val": Mixture("valid", "Ens._val"),
    "Ens": Mixture("test", "Ens."),
    "Ens_w": Mixture("test", "Ens. (w)"),
}

FORMAT = 1
#: The columns before those of the probabilities.
COLUMNS = ("id", "language", "corpus", "label")
#: How far from 1 the probabilities of a row may sum up: softmax in 32-bit floats stays well below.
SUM_TOLERANCE = 1e-4
#: Of so many rows with one answer it is said that they have.
FEW = 50


@dataclass(frozen=True)
class Training:
    """What a checkpoint was trained with: what tells the rows of the paper's tables apart."""

    corpora: tuple[str, ...]
    """The training corpora by their names of Table 1, e.g. ``("S_trn", "T_trn_MT")``."""
    paired: bool
    """Whether they were two aligned views of the same rows."""
    rows: dict[str, int]
    """``<corpus>.<language>`` of every training corpus, and its rows."""
    terms: str
    """The terms of the loss, e.g. ``ce+sc``, in the order of :data:`fairseq_musc.losses.TERMS`."""
    lam: float
    lr: float
    normalisation: str
    """``released`` or ``paper``, with the factors that were set apart from it, if any."""
    encoder: str
    """``model.pretrained`` of the run."""
    translators: tuple[str, ...] = ()
    """What translated the training corpora, as in :attr:`Signature.translator`."""


@dataclass(frozen=True)
class Signature:
    """What a figure from a table can be traced back to."""

    dataset: str
    corpus: str
    language: str
    """The language that the corpus stands for: ``de`` for T_tst.de and for S_tst_MT.de."""
    labels: tuple[str, ...]
    """The label set in class order."""
    checkpoint: str
    """The file name of the checkpoint, without its folder."""
    checkpoint_sha256: str
    update: int
    """The number of optimiser steps the checkpoint was saved after."""
    seed: int
    """The seed of its training."""
    version: str
    """The version of this package that predicted."""
    corpus_sha256: str | None = None
    """The checksum of the corpus file that was predicted; None for an ensemble."""
    translator: str | None = None
    """What translated the corpus, e.g. a name and a hash; None for text that people wrote."""
    members: dict[str, float] = field(default_factory=dict)
    """For an ensemble: the corpora whose probabilities were averaged, and their weights. Where one corpus was made by
    several translators its name has the translator behind it, e.g. ``S_tst_MT[203eda5efa85]``."""
    member_sha256: dict[str, str] = field(default_factory=dict)
    """For an ensemble: the checksum of each member's table, by the same names."""
    training: Training | None = None
    """What the checkpoint was trained with; None in tables that version 0.1 wrote."""
    settings: dict[str, Any] = field(default_factory=dict)
    """``section.key`` -> value of the run, enough to train the checkpoint again (`fairseq-musc rerun`); empty in tables
    that an earlier version wrote."""
    precision: str | None = None
    """The type in which the encoder computed, where it was told another than that of training; None for that."""
    max_length: int | None = None
    """To how many tokens rows were cut; None in tables that an earlier version wrote."""

    def check_is_of(self, corpus: str, language: str) -> None:
        """Raises :class:`ValueError` unless this belongs to a table of that name: files are named by what it says."""
        if (self.corpus, self.language) != (corpus, language):
            raise ValueError(f"it is of {self.corpus}.{self.language}")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Signature:
        """The signature that ``dataclasses.asdict`` took apart.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is none.
        """
        kinds: dict[str, type] = {
            **dict.fromkeys(("dataset", "corpus", "language", "checkpoint", "checkpoint_sha256", "version"), str),
            **{"update": int, "seed": int, "labels": list},
            **{key: dict for key in ("members", "member_sha256", "settings") if key in values},
        }
        if wrong := [key for key, kind in kinds.items() if not isinstance(values[key], kind)]:
            raise ValueError(f"its {wrong[0]} is {values[wrong[0]]!r}")
        if not all(isinstance(label, str) for label in values["labels"]):
            raise ValueError("its labels are not all texts")
        training = values.get("training")
        if training is not None:
            listed = {key: tuple(training[key]) for key in ("corpora", "translators")}
            training = Training(**{**training, **listed})
        return cls(**{**values, "labels": tuple(values["labels"]), "training": training})


@dataclass(frozen=True, eq=False)
class Predictions:
    """A predictions table in memory: n rows, C classes."""

    signature: Signature
    ids: Sequence[str]
    labels: NDArray[np.integer[Any]]
    """The right classes, as places in ``signature.labels``; shape (n,)."""
    probabilities: NDArray[np.float64]
    """Shape (n, C)."""

    @property
    def name(self) -> str:
        """What messages call it, e.g. ``T_tst.de``."""
        return f"{self.signature.corpus}.{self.signature.language}"


def notation(name: str) -> str:
    """How tables print a corpus or an ensemble, e.g. ``S_tst^MT`` for ``S_tst_MT``."""
    return CORPORA[name].notation if name in CORPORA else ENSEMBLES[name].notation


def accuracy(predictions: Predictions) -> float:
    """The share of rows, in [0, 1], whose most probable class is the right one."""
    return right(predictions) / len(predictions.ids)


def right(predictions: Predictions) -> int:
    """The number of rows whose most probable class is the right one; of equally probable classes the lowest counts."""
    return int(is_right(predictions).sum())


def is_right(predictions: Predictions) -> NDArray[np.bool_]:
    """Whether the most probable class of each row is the right one, shape (n,)."""
    return predictions.probabilities.argmax(axis=1) == predictions.labels


def only_answer(predictions: Predictions) -> str | None:
    """The label that is the most probable one of every row, though not the right one of all; None if there is none.

    Of fewer rows than :data:`FEW` it is not asked: they can come out alike by chance.
    """
    answers, labels = predictions.probabilities.argmax(axis=1), predictions.labels
    if len(labels) < FEW or (answers != answers[0]).any() or (labels == labels[0]).all():
        return None
    return predictions.signature.labels[int(answers[0])]


def predictions_path(folder: str | Path, corpus: str, language: str) -> Path:
    """Where the rows of a table lie."""
    names = [*CORPORA, *ENSEMBLES]
    if corpus not in names:
        raise InputError(f"no table is for a corpus {corpus!r}; the names are {', '.join(names)}")
    check_language(language)
    return Path(folder) / f"{corpus}.{language}.tsv"


def table_lines(predictions: Predictions) -> Iterator[bytes]:
    """The lines of the rows file of a table, its header first."""
    signature = predictions.signature
    header = [*COLUMNS, *(f"p_{escape(label)}" for label in signature.labels)]
    yield ("\t".join(header) + "\n").encode()
    language, corpus, *labels = map(escape, (signature.language, signature.corpus, *signature.labels))
    for row_id, label, row in zip(predictions.ids, predictions.labels, predictions.probabilities, strict=True):
        cells = [escape(row_id), language, corpus, labels[label], *map(repr, row.tolist())]
        yield ("\t".join(cells) + "\n").encode()


def table_sha256(predictions: Predictions) -> str:
    """The SHA-256 of the lines of :func:`table_lines`: what the signature of an ensemble calls its member."""
    digest = hashlib.sha256()
    for line in table_lines(predictions):
        digest.update(line)
    return digest.hexdigest()


def write_predictions(folder: str | Path, predictions: Predictions) -> Path:
    """Writes both files of a table, each whole or not at all, and returns the path of the rows.

    Raises:
        InputError: :func:`check_predictions` finds something, or the corpus itself lies in ``folder``, under the same
            name as the table; nothing is written then.
    """
    signature = predictions.signature
    path = predictions_path(folder, signature.corpus, signature.language)
    check_predictions(predictions, where=path.name)
    if _is_corpus(path):
        raise InputError(f"{path} is a corpus, which the predictions would replace; give another folder for them")
    digest = hashlib.sha256()
    with written_whole(path, "wb") as stream:
        for line in table_lines(predictions):
            digest.update(line)
            stream.write(line)
    about = {
        "format": FORMAT,
        "signature": asdict(signature),
        "rows": len(predictions.ids),
        "sha256": digest.hexdigest(),
    }
    write_sealed_json(path.with_suffix(".json"), about)
    return path


def _is_corpus(path: Path) -> bool:
    """Whether what lies at ``path`` is a corpus; a table whose JSON file is damaged is none."""
    try:
        about = json.loads(path.with_suffix(".json").read_bytes())
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError):
        about = None
    if isinstance(about, dict):
        return "signature" not in about
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return not stream.readline().startswith("\t".join(COLUMNS).encode())


def check_predictions(predictions: Predictions, where: str) -> None:
    """Raises :class:`InputError` with every kind of mistake in the rows, each with its first example.

    A row is wrong if its id stands twice, its class is not in the label set, or its numbers are not probabilities.
    """
    ids, labels, probabilities = predictions.ids, predictions.labels, predictions.probabilities
    classes = len(predictions.signature.labels)
    if labels.shape != (len(ids),) or probabilities.shape != (len(ids), classes):
        raise InputError(
            f"{where} cannot be a predictions table: {len(ids)} ids and {classes} classes need labels of shape "
            f"{(len(ids),)} and probabilities of shape {(len(ids), classes)}, got {labels.shape} and "
            f"{probabilities.shape}"
        )
    if not len(ids):
        raise InputError(f"{where} cannot be a predictions table: it has no rows")
    finite = np.isfinite(probabilities).all(axis=1)
    off = np.zeros(len(ids), dtype=bool)
    off[finite] = (abs(probabilities[finite].sum(axis=1) - 1) > SUM_TOLERANCE) | (probabilities[finite] < 0).any(axis=1)
    again = np.zeros(len(ids), dtype=bool)
    again[(ids if isinstance(ids, Ids) else Ids(ids)).repeated()] = True
    outside = (labels < 0) | (labels >= classes)

    def probabilities_of(row: int) -> str:
        return ", ".join(repr(float(probability)) for probability in probabilities[row])

    kinds: list[tuple[Any, str, Callable[[int], str]]] = [
        (~finite, "are not finite; the checkpoint is broken or its training diverged", probabilities_of),
        (off, "are not probabilities: they need to be 0 or more and sum up to 1", probabilities_of),
        (outside, f"is not a class; there are {classes}, from 0", lambda row: str(labels[row])),
        (again, "is an id that stands twice", lambda row: repr(ids[row])),
    ]
    problems = [
        f"row {rows[0] + 1} (id {ids[rows[0]]!r}): {got(int(rows[0]))} {what} ({len(rows)} such rows)"
        for wrong, what, got in kinds
        if len(rows := np.flatnonzero(wrong))
    ]
    if problems:
        raise InputError.all_at_once(f"{where} cannot be a predictions table:", problems)


def list_predictions(folder: str | Path) -> list[tuple[str, str]]:
    """Corpus and language of every table in a folder, sorted."""
    found = []
    for path in Path(folder).glob("*.json"):
        corpus, _, language = path.stem.partition(".")
        if language and (corpus in CORPORA or corpus in ENSEMBLES):
            found.append((corpus, language))
    return sorted(found)


def read_predictions(folder: str | Path, corpus: str, language: str) -> Predictions:
    """Reads a table and holds it against its own row count and checksum.

    Raises:
        InputError: the table is missing, cut short, changed since it was written, or of a later version.
    """
    path = predictions_path(folder, corpus, language)
    about = _read_about(path)
    lines = rows_as_written(path, about, "predict again")
    try:
        signature = Signature.from_json(about["signature"])
        signature.check_is_of(corpus, language)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path.with_suffix('.json')} cannot be read as a signature: {error!r}; predict again"
        ) from None
    class_of = {label: place for place, label in enumerate(signature.labels)}
    ids = Ids()
    labels, probabilities = array("q"), array("d")  # a number of Python takes four times their room
    try:
        for line in lines:
            cells = line.decode().split("\t")
            if len(cells) != len(COLUMNS) + len(signature.labels):
                raise ValueError(
                    f"row {len(ids) + 1} has {len(cells)} cells, and {len(COLUMNS) + len(signature.labels)} are needed"
                )
            ids.append(unescape(cells[0]))
            labels.append(class_of[unescape(cells[3])])
            probabilities.extend(map(float, cells[4:]))
    except InputError:
        raise
    except (LookupError, ValueError) as error:
        raise InputError(f"{path} does not go with {path.with_suffix('.json').name}: {error}; predict again") from None
    predictions = Predictions(
        signature=signature,
        ids=ids,
        labels=np.asarray(labels),
        probabilities=np.asarray(probabilities).reshape(len(ids), len(signature.labels)),
    )
    check_predictions(predictions, where=str(path))
    return predictions


def _read_about(path: Path) -> dict[str, Any]:
    about_path = path.with_suffix(".json")
    try:
        about = read_sealed_json(about_path)
    except FileNotFoundError:
        there = ", ".join(f"{corpus}.{language}" for corpus, language in list_predictions(path.parent)) or "nothing"
        raise InputError(f"{path.parent} holds no predictions {path.stem}; there is {there}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{about_path} cannot be read: {error}; predict again") from None
    if about.get("format") == FORMAT and (lacking := {"signature", "rows", "sha256"} - about.keys()):
        raise InputError(
            f"{about_path} is about something else than predictions: it has no {', '.join(sorted(lacking))}; name a "
            "folder that `fairseq-musc predict` has written"
        )
    if about.get("format") != FORMAT:
        raise InputError(
            f"{about_path} is not about a predictions table of format {FORMAT} (its format is "
            f"{about.get('format')!r}); predict again"
        )
    return about
