"""What a classifier says of texts, on both views and their ensemble, and how often it is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError

#: What can decide a label: both views agree, or it is that of one of them, or that of neither.
DECIDED_BY = ("both", "text", "translation", "neither")


@dataclass(frozen=True, eq=False)
class Predicted(Sequence[str]):
    """Predictions for n texts and C classes. As a sequence it is the n labels."""

    classes: tuple[str, ...]
    """The labels in class order."""
    of_text: NDArray[np.float64]
    """(n, C): the probabilities on the texts as they are (T_tst)."""
    of_translation: NDArray[np.float64]
    """(n, C): those on their translations into English (S_tst^MT); NaN in rows that were not translated."""
    translations: tuple[str | None, ...]
    """n translations, the first texts of pairs; None for texts that were not translated, as English is not."""
    weight: float
    """Of the translation in the ensemble; 0.5 is the paper's."""

    @cached_property
    def translated(self) -> NDArray[np.bool_]:
        """(n,): which texts have two views."""
        return ~np.isnan(self.of_translation[:, 0])

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(n, C): the ensemble (Ens.): the weighted mean of both views, or the text's where there is one view."""
        both = (1 - self.weight) * self.of_text + self.weight * self.of_translation
        return np.where(self.translated[:, None], both, self.of_text)

    @cached_property
    def labels(self) -> list[str]:
        """The n most probable labels of the ensemble; of equally probable ones the first."""
        return [self.classes[k] for k in self.probabilities.argmax(axis=1)]

    @cached_property
    def decided_by(self) -> list[str]:
        """For each of the n texts, one of :data:`DECIDED_BY`.

        ``both`` if the two views say the same; where they do not, ``text`` or ``translation`` for the one whose label
        the ensemble took, and ``neither`` if it took a third. A text with one view is decided by ``text``.
        """
        ensemble, text = self.probabilities.argmax(axis=1), self.of_text.argmax(axis=1)
        translation = np.where(self.translated, np.nan_to_num(self.of_translation, nan=-1).argmax(axis=1), -1)
        cases = [~self.translated, text == translation, ensemble == text, ensemble == translation]
        return [str(case) for case in np.select(cases, ["text", "both", "text", "translation"], "neither")]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One dict a text, e.g. for ``pandas.DataFrame``: label, probability, decided_by, translation, and for each
        class the probability of the ensemble (``p_<label>``)."""
        each = zip(self.labels, self.probabilities, self.decided_by, self.translations, strict=True)
        for label, row, decided_by, translation in each:
            named = {f"p_{name}": float(p) for name, p in zip(self.classes, row, strict=True)}
            yield {
                "label": label,
                "probability": float(row.max()),
                "decided_by": decided_by,
                "translation": translation,
                **named,
            }

    def __len__(self) -> int:
        return len(self.of_text)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self.labels[index]

    def __repr__(self) -> str:
        return f"Predicted({self.labels!r})"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How often predictions are right. Printed, it is the result table in the form of the paper's Table 3."""

    right: Mapping[str, Mapping[str, int]]
    """Line (``T_tst``, ``S_tst_MT``, ``Ens``) to language to the rows whose label is right; ``T_tst`` alone if texts in
    other languages than English were not translated."""
    rows: Mapping[str, int]
    """Language to the number of rows."""
    predicted: Predicted

    @property
    def accuracies(self) -> dict[str, dict[str, float]]:
        """Line to language to accuracy in [0, 1]."""
        return {
            line: {language: count / self.rows[language] for language, count in cells.items()}
            for line, cells in self.right.items()
        }

    def average(self, line: str = "Ens") -> float:
        """The unweighted mean of a line over its languages.

        Raises:
            InputError: the texts were not translated, and so it is not known.
        """
        if line not in self.right:
            raise InputError(f"there is no {line}, only {', '.join(self.right)}; evaluate with translations for it")
        cells = self.accuracies[line]
        return sum(cells.values()) / len(cells)

    def __str__(self) -> str:
        from fairseq_musc.evaluate.report import Results, as_text, ordered

        accuracies = {
            line: {language: Fraction(count, self.rows[language]) for language, count in cells.items()}
            for line, cells in self.right.items()
        }
        return as_text(Results(ordered(self.rows), accuracies, dict(self.rows), [], {}))


def evaluation(predicted: Predicted, labels: Sequence[str], languages: Sequence[str]) -> Evaluation:
    """Counts what is right, for each view and the ensemble.

    Args:
        predicted: of n texts.
        labels: the n right labels, each one of the classes.
        languages: those of the n texts. English is not translated: its number on T_tst stands in every line. If others
            are not either (``ensemble=False``), T_tst is the only line.
    """
    wanted = np.array([predicted.classes.index(label) for label in labels])
    views = {
        "T_tst": predicted.of_text,
        "S_tst_MT": np.where(predicted.translated[:, None], predicted.of_translation, predicted.of_text),
        "Ens": predicted.probabilities,
    }
    of = np.array(languages)
    if ((of != SOURCE_LANGUAGE) & ~predicted.translated).any():
        views = {"T_tst": predicted.of_text}
    each = sorted(set(languages))
    right = {
        line: {language: int((view.argmax(axis=1) == wanted)[of == language].sum()) for language in each}
        for line, view in views.items()
    }
    return Evaluation(right, {language: int((of == language).sum()) for language in each}, predicted)
