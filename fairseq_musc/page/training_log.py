"""Reads learning curves off what a training wrote: fairseq's log, or TensorBoard's files.

fairseq logs in two formats, ``simple`` and ``json``, below the line heads of Hydra (``fairseq-hydra-train``) or its own
(``fairseq-train``). One file may hold several trainings, and several attempts at one: each begins with a line that
shows the whole configuration.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Signature

#: The names under which ``fairseq-hydra-train`` leaves its log, beside or above a predictions folder.
LOG_NAMES = ("train.log", "hydra_train.log")
#: How many folders above a predictions folder a log is looked for: 3 are above what the recipes' checkpoints predict,
#: checkpoints/musc_pawsx/checkpoint_best.predictions, in the folder where training was started.
LEVELS = 3

#: Settings that say when a training ends, and nothing of what it learns until then: it may go on with others.
ENDS = frozenset({"max_epoch", "max_update", "patience", "stop_time_hours", "stop_min_lr"})

_HYDRA = re.compile(r"\[[^\]]*\]\[(?P<name>[^\]]*)\]\[[A-Z]+\] - (?P<message>.*)")
_FAIRSEQ = re.compile(r"[\d-]+ [\d:,]+ \| [A-Z]+ \| (?P<name>[^|]*) \| (?P<message>.*)")
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|inf|nan)"
_INNER = re.compile(rf"(?P<key>\w+)=(?P<value>{_NUMBER})(?=,|\s|$)")
_PIPES = re.compile(rf"\| (?P<key>\w+) (?P<value>{_NUMBER})(?= \||\s*$)")

Curve = list[tuple[int, float]]
"""Optimiser steps, rising, and values."""


@dataclass
class Curves:
    """What one training logged."""

    training: dict[str, Curve] = field(default_factory=dict)
    """``loss`` and every ``L_...``: means over the updates since the last value, in nats."""
    validation: dict[str, Curve] = field(default_factory=dict)
    """``loss`` in nats, ``accuracy`` and every ``accuracy_...`` in %, over the whole validation set."""
    epochs: dict[str, Curve] = field(default_factory=dict)
    """As :attr:`training`, means over whole epochs: what is left of a training shorter than ``common.log_interval``."""
    config: Mapping[str, Any] | None = None
    """What fairseq was told, if the log shows it."""

    def add(self, kind: str, update: int, values: Mapping[str, float]) -> None:
        """Takes up the values of an update; what a later attempt logs of an update stands for what was there.

        Args:
            kind: ``training``, ``validation`` or ``epochs``.
            update: the number of optimiser steps.
            values: all that was logged; what belongs to no curve is passed over.
        """
        curves: dict[str, Curve] = getattr(self, kind)
        for key, value in values.items():
            if not (key == "loss" or key.startswith("accuracy" if kind == "validation" else "L_")):
                continue
            curve = curves.setdefault(key, [])
            while curve and curve[-1][0] >= update:
                curve.pop()
            curve.append((update, value))

    def start_again(self) -> None:
        """Forgets the values: the training begins at its first update once more."""
        for curves in (self.training, self.validation, self.epochs):
            curves.clear()

    def __bool__(self) -> bool:
        return bool(self.training or self.validation or self.epochs)


class Log(NamedTuple):
    """Curves, and where they were read."""

    path: Path
    curves: Curves


def log_of(folder: Path, signature: Signature) -> Log | None:
    """The log that lies beside or above a predictions folder and is of its training; None if there is none.

    A log that shows another configuration than the signature of the predictions says is passed over.
    """
    places = [folder.resolve(), *folder.resolve().parents][: LEVELS + 1]
    for path in (place / name for place in places for name in LOG_NAMES):
        if path.is_file():
            fitting = [curves for curves in read_log(path) if not differences(curves, signature)]
            if fitting and fitting[-1].config is not None:
                here = Path.cwd()
                return Log(path.relative_to(here) if path.is_relative_to(here) else path, fitting[-1])
    return None


def read_named(path: Path, signature: Signature) -> Log:
    """The log that a user named: a file, or a folder of TensorBoard's.

    Raises:
        InputError: there is no such log, nothing was logged in it, or it is of another training.
    """
    if path.is_dir():
        return Log(path, read_tensorboard(path))
    if not path.is_file():
        raise InputError(f"there is no log {path}; name a file, or a folder of TensorBoard files")
    trainings = read_log(path)
    if not trainings:
        raise InputError(f"{path} holds no line of a training's progress; name what fairseq-hydra-train wrote")
    fitting = [curves for curves in trainings if not differences(curves, signature)]
    if not fitting:
        raise InputError(
            f"{path} is of another training than the predictions: {'; '.join(differences(trainings[-1], signature))}"
        )
    return Log(path, fitting[-1])


def differences(curves: Curves, signature: Signature) -> list[str]:
    """In what the configuration of a log is not that of a checkpoint; nothing where either says nothing."""
    if curves.config is None:
        return []

    def of(section: str, key: str) -> Any:
        return _setting(curves.config or {}, section, key)

    lr = of("optimization", "lr")
    pairs: list[tuple[str, Any, Any]] = [("seed", of("common", "seed"), signature.seed)]
    if (training := signature.training) is not None:
        pairs += [
            ("criterion.terms", _sorted_terms(of("criterion", "terms")), _sorted_terms(training.terms)),
            ("criterion.lam", of("criterion", "lam"), training.lam),
            ("optimization.lr", lr[0] if isinstance(lr, list) and lr else lr, training.lr),
            ("task.train_corpora", _listed(of("task", "train_corpora")), list(training.corpora)),
            ("model.pretrained", of("model", "pretrained"), training.encoder),
        ]
    return [f"{key} is {got!r} in the log and {said!r} there" for key, got, said in pairs if got not in (None, said)]


def _setting(config: Mapping[str, Any], section: str, key: str) -> Any:
    """A value of a configuration, None if it is not there; what a log shows need not be a configuration of fairseq."""
    values = config.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def _sorted_terms(terms: Any) -> Any:
    return "+".join(sorted(terms.split("+"))) if isinstance(terms, str) else terms


def _listed(values: Any) -> Any:
    return list(values) if isinstance(values, (list, tuple)) else values


def read_log(path: Path) -> list[Curves]:
    """The trainings in a log of fairseq, in their order; those that logged nothing are left out.

    Whatever is no line of progress is passed over.
    """
    trainings: list[Curves] = []
    for name, message in _messages(path):
        if message.startswith("{'_name': None"):
            config = _literal(message)
            if not trainings or trainings[-1].config is None or not _same(trainings[-1].config, config):
                trainings.append(Curves(config=config))
        elif message.startswith("No existing checkpoint found"):
            if trainings:
                trainings[-1].start_again()
        elif (progress := _progress(name, message)) is not None:
            if not trainings:
                trainings.append(Curves())
            trainings[-1].add(*progress)
    for curves in trainings:
        curves.training = curves.training or curves.epochs
    return [curves for curves in trainings if curves]


def _messages(path: Path) -> Iterator[tuple[str, str]]:
    """The name of the logger and the message of each line that has the head of one."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if not line.endswith("\n"):
                return  # half a line: the training is writing it, or was killed
            if found := _HYDRA.search(line) or _FAIRSEQ.search(line):
                yield found["name"].strip(), found["message"].rstrip("\n")


def _literal(message: str) -> dict[str, Any] | None:
    try:
        value = ast.literal_eval(message)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # TypeError: a key that cannot be one
        return None
    return value if isinstance(value, dict) else None


def _same(one: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether two attempts are of one training: they save to one folder and differ in nothing that is learned.

    One may go on where the other was told to end.
    """
    if other is None:
        return False

    def learned(section: Any) -> Any:
        return (
            {key: value for key, value in section.items() if key not in ENDS} if isinstance(section, dict) else section
        )

    sections = ("task", "model", "criterion", "optimization", "optimizer", "lr_scheduler")
    seeds = [_setting(config, "common", "seed") for config in (one, other)]
    folders = [_setting(config, "checkpoint", "save_dir") for config in (one, other)]
    same = all(learned(one.get(section)) == learned(other.get(section)) for section in sections)
    return same and seeds[0] == seeds[1] and folders[0] == folders[1]


def _progress(name: str, message: str) -> tuple[str, int, dict[str, float]] | None:
    """Kind, update and values of a line of progress; None if it is none."""
    kind = {"train_inner": "training", "train": "epochs"}.get(name, "validation")
    if message.startswith("{"):
        values = _from_json(message, "" if kind == "training" else f"{name}_")
    elif kind == "training":
        values = _numbers(_INNER, message)
    elif kind == "epochs" or " subset " in message:
        values = _numbers(_PIPES, message)
    else:
        return None
    update = values.pop("num_updates", None)
    return None if update is None or not math.isfinite(update) or not values else (kind, int(update), values)


def _numbers(pattern: re.Pattern[str], message: str) -> dict[str, float]:
    return {found["key"]: float(found["value"]) for found in pattern.finditer(message)}


def _from_json(message: str, prefix: str) -> dict[str, float]:
    """Numbers by their keys; fairseq writes those of its meters as texts, and a subset's name before each."""
    try:
        stats = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    values = {}
    for key, value in stats.items():
        try:
            values[key.removeprefix(prefix)] = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
    return values


def read_tensorboard(folder: Path) -> Curves:
    """The curves in the folder that ``common.tensorboard_logdir`` named: a folder within for each kind.

    Raises:
        InputError: TensorBoard is not installed, or there is nothing of the kind.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise InputError("TensorBoard files need tensorboard; pip install tensorboard, or name fairseq's log") from None
    curves = Curves()
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if below.name == "train" or not list(below.glob("*tfevents*")):
            continue
        kind = "training" if below.name == "train_inner" else "validation"
        events = EventAccumulator(str(below), size_guidance={"scalars": 0})
        events.Reload()
        for key in events.Tags()["scalars"]:
            for event in events.Scalars(key):
                curves.add(kind, event.step, {key: event.value})
    if not curves:
        raise InputError(f"{folder} holds no TensorBoard files of a training; name what tensorboard_logdir named")
    return curves
