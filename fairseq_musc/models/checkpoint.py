"""A trained classifier from a checkpoint file, without the folder or the hub that its encoder came from."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Training
from fairseq_musc.files import sha256
from fairseq_musc.models.checkpoint_files import check_whole
from fairseq_musc.models.settings import settings_of
from fairseq_musc.safe_loading import check_named


@dataclass(frozen=True)
class TrainedClassifier:
    """What a checkpoint holds for prediction."""

    model: Any
    """:class:`~fairseq_musc.models.classifier.MuscClassifier` in eval mode, on the CPU."""
    labels: tuple[str, ...]
    fingerprint: str
    """Of the tokenizer of its training data."""
    max_positions: int | None
    num_updates: int
    seed: int
    training: Training | None
    """What it was trained with; None if version 0.1 saved it."""
    encoder: str
    """``model.pretrained`` of its training: a hub name, or a folder as seen from where it was trained."""
    data: str
    """The data-bin it was trained on, as seen from where it was trained."""
    settings: dict[str, Any]
    """What trains it again, see :func:`fairseq_musc.models.settings.settings_of`."""


def saved_config(path: str | Path) -> dict[str, Any]:
    """What a checkpoint was trained with, section by section, without reading its weights; nothing if it is no
    checkpoint of ours."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {**state["cfg"], "model": dict(state["cfg"]["model"])}
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError):
        return {}  # fairseq will find it in a moment, and say what it is


def training_of(cfg: Any) -> Training | None:
    """What a signature says of a run, from the configuration that its checkpoint holds."""
    from fairseq_musc.losses import TERMS, Normalisation

    if cfg.model.get("trained_on") is None:
        return None
    trained_on = json.loads(cfg.model.trained_on)
    criterion = cfg.criterion
    set_apart = [
        f"{name} {criterion[name]}" for name in Normalisation.__dataclass_fields__ if criterion[name] is not None
    ]
    files = trained_on["files"]
    return Training(
        corpora=tuple(trained_on["corpora"]),
        paired=trained_on["paired"],
        rows={name: about["rows"] for name, about in files.items()},
        terms="+".join(term for term in TERMS if term in criterion.terms.split("+")),
        lam=criterion.lam,
        lr=cfg.optimization.lr[0],
        normalisation=", ".join([criterion.normalisation, *set_apart]),
        encoder=cfg.model.pretrained,
        translators=tuple(sorted({about["translator"] for about in files.values() if about["translator"]})),
    )


def load_with_checksum(path: Path) -> tuple[TrainedClassifier, str]:
    """:func:`load_classifier`, and the SHA-256 of the same file, which a training may replace meanwhile.

    Raises:
        InputError: as there; or it did, so that what one computes would be called by the checksum of the other.
    """
    before = _which(path)
    trained, digest = load_classifier(path), sha256(path)
    if _which(path) != before:
        raise InputError(
            f"{path} has changed while it was read: a training saves it. Wait for its end, or copy the file first"
        )
    return trained, digest


def _which(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def load_classifier(path: str | Path) -> TrainedClassifier:
    """Rebuilds the model of a checkpoint that ``fairseq-hydra-train`` wrote.

    Raises:
        InputError: the file is not there, is damaged, is no checkpoint, is of another model, or would run code when
            unpickled.
    """
    from fairseq import checkpoint_utils

    import fairseq_musc.registration  # noqa: F401
    from fairseq_musc.models.classifier import MuscClassifier

    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    check_whole(path)
    check_named(path, ("musc_classifier",), ("musc",))
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        models, cfg, _task = checkpoint_utils.load_model_ensemble_and_task([str(path)], state=state)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} cannot be loaded as a checkpoint of this package: {error}\n"
            "Give a file that `fairseq-hydra-train --config-name musc_...` wrote, e.g. checkpoint_best.pt."
        ) from error
    model = models[0]
    if not isinstance(model, MuscClassifier):
        raise InputError(f"{path} holds a {type(model).__name__}, not the musc_classifier that prediction needs")
    return TrainedClassifier(
        model=model.eval(),
        labels=tuple(cfg.model.labels),
        fingerprint=cfg.model.tokenizer_fingerprint,
        max_positions=getattr(model.encoder.config, "max_position_embeddings", None),
        num_updates=state["optimizer_history"][-1]["num_updates"],
        seed=cfg.common.seed,
        training=training_of(cfg),
        encoder=cfg.model.pretrained,
        data=cfg.task.data,
        settings=settings_of(cfg),
    )
