"""Texts and labels as they are given to a classifier, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fairseq_musc.data.corpus import Row
from fairseq_musc.data.records import NO_TEXT, as_text
from fairseq_musc.errors import InputError, raise_all


class Labelled(NamedTuple):
    """Texts with their labels."""

    texts: Sequence[str]
    labels: Sequence[str]
    pairs: Sequence[str] | None = None

    def rows(self) -> list[Row]:
        """Rows of a corpus, numbered from 1."""
        pairs = self.pairs if self.pairs is not None else [None] * len(self.texts)
        each = enumerate(zip(self.texts, self.labels, pairs, strict=True), start=1)
        return [Row(str(number), label, text, pair) for number, (text, label, pair) in each]

    def problems(self, name: str, labels: Sequence[str] | None) -> Iterator[str]:
        """What is wrong with them.

        Args:
            name: what messages call them.
            labels: those that are known; None if any will do.
        """
        yield from counts_and_texts({"texts": self.texts, "text_pairs": self.pairs, "labels": self.labels}, name)
        if not len(self.texts):
            yield f"{name}: there are no texts"
        if labels is not None and (unknown := sorted({*self.labels} - {*labels})):
            yield f"{name}: the labels {', '.join(map(repr, unknown))} are not among {', '.join(map(repr, labels))}"

    def unlike(self, name: str, train: Labelled) -> Iterator[str]:
        """A problem if these are pairs and the training texts are not, or the other way round."""
        if (self.pairs is None) != (train.pairs is None):
            yield f"{name}: {self.kind}, and the training texts are {train.kind}"

    @property
    def kind(self) -> str:
        """What messages call them."""
        return "single texts" if self.pairs is None else "text pairs"


def counts_and_texts(lists: Mapping[str, Sequence[Any] | None], name: str) -> Iterator[str]:
    """A problem if lists are of different lengths, and one a list that holds something else than texts."""
    there = {what: values for what, values in lists.items() if values is not None}
    if len({len(values) for values in there.values()}) > 1:
        counts = ", ".join(f"{len(values)} {what}" for what, values in there.items())
        yield f"{name}: {counts}; as many of each are needed"
    for what, values in there.items():
        wrong = [i for i, value in enumerate(values) if not isinstance(value, str)]
        if wrong:
            yield f"{name}: {what}[{wrong[0]}] is {values[wrong[0]]!r}, which is no text ({len(wrong)} such)"


def as_list(values: Any, name: str) -> list[Any]:
    """What was given as a list: a list, an array, a column of a table, ...

    Raises:
        InputError: it is one text, where many are expected.
    """
    if isinstance(values, str):
        raise InputError(f"{name} is one text ({values[:40]!r}); give a list of texts, if only of one")
    return list(values)


def as_labels(labels: Any, name: str = "labels") -> list[str]:
    """Labels as texts, as corpora have them: whole numbers and truth values become texts.

    Raises:
        InputError: a label is something else.
    """
    given = as_list(labels, name)
    found = [as_text(label.item() if isinstance(label, np.generic) else label) for label in given]
    wrong = [i for i, label in enumerate(found) if label is NO_TEXT or not label]
    raise_all(
        "these labels cannot be used:",
        [f"{name}[{i}] is {given[i]!r}; a label is a text or a whole number" for i in wrong[:5]],
    )
    return found


def as_languages(language: Any, count: int) -> list[str]:
    """One language for each of ``count`` texts."""
    return [language] * count if isinstance(language, str) else as_list(language, "language")
