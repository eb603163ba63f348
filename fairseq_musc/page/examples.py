"""The test rows that the ensemble won and lost, with their texts where the corpora are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fairseq_musc.data.corpus import Corpus, corpus_exists, read_about, read_corpus
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.figure import COLOURS
from fairseq_musc.evaluate.report import ordered
from fairseq_musc.evaluate.table import Predictions, is_right

#: The two kinds of examples: the colour of Figure 1 that they have.
KINDS = {"won": "green", "lost": "orange"}
#: What an example shows.
INFERENCES = ("T_tst", "S_tst_MT", "Ens")


class Texts(NamedTuple):
    """What a row of a corpus says."""

    language: str
    """The language that it is in."""
    texts: tuple[str, ...]
    """One or two."""


class Said(NamedTuple):
    """What the model says of a row on one corpus."""

    corpus: str
    probabilities: tuple[float, ...]
    """One for each class."""
    top: int
    """The most probable class."""
    texts: Texts | None
    """None for the ensemble, and without corpora."""


class Example(NamedTuple):
    """A row that the ensemble decides otherwise than T_tst alone, and one of the two rightly."""

    language: str
    kind: str
    """A key of :data:`KINDS`."""
    id: str
    label: int
    """The right class."""
    change: float
    """p(right label) of the ensemble, less that on T_tst."""
    said: list[Said]
    """On T_tst, S_tst_MT and of the ensemble."""


class Examples(NamedTuple):
    """The examples of a run, and how many there are of each kind."""

    shown: list[Example]
    counts: dict[tuple[str, str], int]
    """Language and kind to all rows of the kind."""


def examples_of(
    tables: Mapping[str, Mapping[str, Predictions]], most: int, corpora: Mapping[tuple[str, str], Corpus]
) -> Examples:
    """Of each language and kind the rows whose probability of the right label changes most.

    Args:
        tables: corpus to language to predictions that go together, with ``T_tst``, ``S_tst_MT`` and ``Ens``.
        most: how many of a kind in a language.
        corpora: texts by corpus and language, as :func:`texts_of` finds them; none where rows go without.
    """
    shown: list[Example] = []
    counts = {}
    for language in ordered(tables["T_tst"]):
        if language == SOURCE_LANGUAGE or any(language not in tables[name] for name in INFERENCES):
            continue
        members = [tables[name][language] for name in INFERENCES]
        target, ensemble = members[0], members[-1]
        labels, rows = target.labels, np.arange(len(target.labels))
        change = ensemble.probabilities[rows, labels] - target.probabilities[rows, labels]
        texts = [_TextsById(corpora.get((name, language))) for name in INFERENCES]
        for kind, colour in KINDS.items():
            wanted = COLOURS[colour]
            mine = (is_right(target) == wanted.right_on_target) & (is_right(ensemble) == wanted.right_on_ensemble)
            of_kind = np.flatnonzero(mine)
            counts[language, kind] = len(of_kind)
            for row in of_kind[np.argsort(-abs(change[of_kind]), kind="stable")][:most].tolist():
                said = []
                for table, by_id in zip(members, texts, strict=True):
                    p = table.probabilities[row]
                    text = by_id.of(target.ids[row])
                    said.append(Said(table.signature.corpus, tuple(p.tolist()), int(p.argmax()), text))
                shown.append(Example(language, kind, target.ids[row], int(labels[row]), float(change[row]), said))
    return Examples(shown, counts)


class _TextsById:
    """The texts of a corpus by id; of none where there is no corpus."""

    def __init__(self, corpus: Corpus | None):
        self.language = corpus.text_language if corpus else ""
        self.rows = {row.id: row for row in corpus.rows} if corpus else {}

    def of(self, row_id: str) -> Texts | None:
        row = self.rows.get(row_id)
        if row is None:
            return None
        return Texts(self.language, (row.text,) if row.text_pair is None else (row.text, row.text_pair))


def texts_of(folders: Sequence[Path], tables: Mapping[str, Mapping[str, Predictions]]) -> dict[tuple[str, str], Corpus]:
    """The corpora that were predicted, by corpus and language: of the folders the ones with the right checksum.

    Raises:
        InputError: one is in no folder, or another one lies there than was predicted.
    """
    found: dict[tuple[str, str], Corpus] = {}
    problems = []
    for name in ("T_tst", "S_tst_MT"):
        for language, table in tables.get(name, {}).items():
            there = [folder for folder in folders if corpus_exists(folder, name, language)]
            wanted = table.signature.corpus_sha256
            fitting = [f for f in there if wanted in (None, read_about(f, name, language)["sha256"])]
            if not there:
                problems.append(f"{name}.{language} is in none of {', '.join(map(str, folders))}")
            elif not fitting:
                problems.append(
                    f"{name}.{language} of {', '.join(map(str, there))} is not what was predicted: its SHA-256 differs"
                )
            else:
                corpus = read_corpus(fitting[0], name, language)
                if corpus.ids != list(table.ids):
                    problems.append(f"{name}.{language} of {fitting[0]} has other ids than the predictions")
                found[name, language] = corpus
    if problems:
        raise InputError.all_at_once("the texts cannot be shown; name the corpora that were predicted:", problems)
    return found
