"""The test rows that the ensemble won and lost, with their texts where the corpora are at hand.

Of the texts only those that are shown are in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fairseq_musc.data.corpus import CorpusFile, corpus_exists, corpus_file
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
    tables: Mapping[str, Mapping[str, Predictions]], most: int, corpora: Mapping[tuple[str, str], CorpusFile]
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
        chosen: list[tuple[str, int]] = []  # kind, row
        for kind, colour in KINDS.items():
            wanted = COLOURS[colour]
            mine = (is_right(target) == wanted.right_on_target) & (is_right(ensemble) == wanted.right_on_ensemble)
            of_kind = np.flatnonzero(mine)
            counts[language, kind] = len(of_kind)
            order = np.argsort(-abs(change[of_kind]), kind="stable")[:most]
            chosen += [(kind, row) for row in of_kind[order].tolist()]
        texts = [texts_at(corpora.get((name, language)), {row for _, row in chosen}) for name in INFERENCES]
        for kind, row in chosen:
            said = []
            for table, of_table in zip(members, texts, strict=True):
                p = table.probabilities[row]
                said.append(Said(table.signature.corpus, tuple(p.tolist()), int(p.argmax()), of_table.get(row)))
            shown.append(Example(language, kind, target.ids[row], int(labels[row]), float(change[row]), said))
    return Examples(shown, counts)


def texts_at(corpus: CorpusFile | None, places: Collection[int]) -> dict[int, Texts]:
    """What the rows at these places say; nothing where there is no corpus."""
    if corpus is None or not places:
        return {}
    return {
        place: Texts(corpus.about["text_language"], (row.text,) if row.text_pair is None else (row.text, row.text_pair))
        for place, row in enumerate(corpus.rows())
        if place in places
    }


def texts_of(
    folders: Sequence[Path], tables: Mapping[str, Mapping[str, Predictions]]
) -> dict[tuple[str, str], CorpusFile]:
    """The corpora that were predicted, by corpus and language: of the folders the ones with the right checksum.

    Raises:
        InputError: one is in no folder, or another one lies there than was predicted.
    """
    found: dict[tuple[str, str], CorpusFile] = {}
    problems = []
    for name in ("T_tst", "S_tst_MT"):
        for language, table in tables.get(name, {}).items():
            there = [corpus_file(folder, name, language) for folder in folders if corpus_exists(folder, name, language)]
            wanted = table.signature.corpus_sha256
            fitting = [corpus for corpus in there if wanted in (None, corpus.about["sha256"])]
            if not there:
                problems.append(f"{name}.{language} is in none of {', '.join(map(str, folders))}")
            elif not fitting:
                lying = ", ".join(str(corpus.folder) for corpus in there)
                problems.append(f"{name}.{language} of {lying} is not what was predicted: its SHA-256 differs")
            else:
                found[name, language] = corpus = fitting[0]
                if any(row_id != (row and row.id) for row_id, row in zip_longest(table.ids, corpus.rows())):
                    problems.append(f"{name}.{language} of {corpus.folder} has other ids than the predictions")
    if problems:
        raise InputError.all_at_once("the texts cannot be shown; name the corpora that were predicted:", problems)
    return found
