"""Finds predictions folders, each of one checkpoint, and says what was trained and what is predicted in each."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Signature, Training, list_predictions, predictions_path
from fairseq_musc.files import read_sealed_json

#: Settings that do not tell one training from another here: the seed, where its files lie and what is in them, how fast
#: it is computed, how often it is saved; and what :class:`Training` tells.
NOT_TOLD = frozenset(
    {
        *("common.seed", "task.data", "task.languages_at_once", "model.trained_on", "model.pretrained"),
        *("common.cpu", "common.fp16", "common.bf16", "dataset.batch_size_valid", "criterion.not_finite"),
        *("model.attention", "model.attn_implementation", "model.fuse", "model.graphs", "model.packed"),
        *("optimization.stop_time_hours", "optimization.lr", "task.train_corpora", "task.paired"),
        *("criterion.terms", "criterion.lam", "criterion.normalisation", "criterion.gather"),
        *(f"criterion.supcon_{part}" for part in ("epsilon", "log", "reduction", "scale")),
    }
)
#: Sections whose settings decide what is learned.
TOLD = ("criterion", "dataset", "ema", "lr_scheduler", "model", "optimization", "optimizer", "task")


@dataclass(frozen=True, eq=False)
class Run:
    """One checkpoint, by what its predictions folder says of it; no rows are read for that."""

    folder: Path
    signatures: Mapping[str, Mapping[str, Signature]]
    """Corpus to language to the signature of the table."""
    sha256: Mapping[str, Mapping[str, str]]
    """Corpus to language to the checksum of the table."""

    @property
    def signature(self) -> Signature:
        """A signature for what is the same in all: data set, checkpoint, seed; one with a training if there is one."""
        signatures = [signature for cells in self.signatures.values() for signature in cells.values()]
        return next((signature for signature in signatures if signature.training is not None), signatures[0])

    @property
    def training(self) -> Training | None:
        """What the checkpoint was trained with; None if version 0.1 predicted."""
        return self.signature.training

    @property
    def told(self) -> dict[str, object]:
        """:func:`told_by` its :attr:`signature`."""
        return told_by(self.signature)

    @property
    def size(self) -> int | None:
        """The number of rows of S_trn, or None if it was not trained on it."""
        return self.training.rows.get(f"S_trn.{SOURCE_LANGUAGE}") if self.training else None

    def targets(self, corpus: str) -> set[str]:
        """The languages other than English that there are predictions in."""
        return set(self.signatures.get(corpus, ())) - {SOURCE_LANGUAGE}


def told_by(signature: Signature) -> dict[str, object]:
    """``section.key`` -> value of the settings that tell trainings apart, beyond those of :class:`Training`.

    Nothing in predictions of a version that did not keep them.
    """
    settings = signature.settings
    return {key: settings[key] for key in settings if key.partition(".")[0] in TOLD and key not in NOT_TOLD}


def find_runs(roots: Sequence[Path], corpora: Collection[str]) -> list[Run]:
    """Every folder at or below ``roots`` that holds predictions tables, sorted by path; each once.

    Folders of corpora and hidden folders (written by halves) are passed over; links to folders are followed.

    Args:
        roots: where to search.
        corpora: the corpora whose tables count, e.g. ``T_tst`` and ``Ens``.

    Raises:
        InputError: a root is not a folder, or a signature cannot be read.
    """
    if absent := [str(root) for root in roots if not root.is_dir()]:
        raise InputError(f"there is no folder {', '.join(absent)}")
    runs = []
    for folder in _folders(roots):
        signatures: dict[str, dict[str, Signature]] = {}
        sha256: dict[str, dict[str, str]] = {}
        for corpus, language in list_predictions(folder):
            if corpus not in corpora:
                continue
            path = predictions_path(folder, corpus, language).with_suffix(".json")
            try:
                about = read_sealed_json(path)
                if "signature" not in about:
                    continue  # a corpus, or a data-bin
                signature = Signature.from_json(about["signature"])
                signature.check_is_of(corpus, language)
                signatures.setdefault(corpus, {})[language] = signature
                sha256.setdefault(corpus, {})[language] = about["sha256"]
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(f"{path} cannot be read as a signature: {error!r}; predict again") from None
        if signatures:
            runs.append(Run(folder, signatures, sha256))
    return runs


def _folders(roots: Sequence[Path]) -> Iterator[Path]:
    """All folders at or below the roots, sorted, each once however it can be reached."""
    seen: set[str] = set()
    for root in roots:
        for parent, below, _ in os.walk(root, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield Path(parent)
