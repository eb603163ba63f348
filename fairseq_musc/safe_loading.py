"""What a checkpoint may pickle beyond torch's own classes.

Since torch 2.6 ``torch.load`` builds nothing but tensors, plain containers and the classes it was told of. fairseq's
older checkpoints, m2m_100's among them, hold their settings as an ``argparse.Namespace``; telling torch of that one
class opens them with the safe loader on. Nothing in this package passes ``weights_only=False``, and torch's environment
variable that turns the safe loader off is taken away: a checkpoint is a file from elsewhere, and loading it must not
run its code.

A checkpoint can do harm without a pickled call as well: fairseq builds whatever model and task it names, and some of
those evaluate texts of their settings as Python (see :mod:`fairseq_musc.literals`). So what a checkpoint names is held
against what is expected before fairseq is given it.

The folder of an encoder can name code of its own (``auto_map``), or a repository whose compiled kernels transformers
would fetch (``attn_implementation``); :data:`NO_CODE` and :func:`check_config` are for those.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError

logger = logging.getLogger(__name__)

#: The whole list. A class belongs here only if building one from any state can do no harm.
PICKLED_CLASSES: tuple[type, ...] = (argparse.Namespace,)
#: What ``from_pretrained`` of transformers is told everywhere: code that lies in a folder is not run, nor asked for.
NO_CODE: dict[str, Any] = {"trust_remote_code": False}
#: Turns torch's safe loader off wherever ``weights_only`` is not given, as in fairseq.
UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def allow_fairseq_checkpoints() -> None:
    """Tells torch's safe loader of :data:`PICKLED_CLASSES`, for this process; calling it again changes nothing."""
    import torch

    torch.serialization.add_safe_globals(list(PICKLED_CLASSES))


def keep_loading_safe() -> None:
    """Takes away the environment variable that turns torch's safe loader off, in this process and those it starts."""
    if os.environ.pop(UNSAFE, None) is not None:
        logger.warning("%s is set aside: checkpoints are loaded by torch's safe loader alone", UNSAFE)


def check_pickled_classes(checkpoint: str | os.PathLike[str]) -> None:
    """Raises :class:`InputError` naming every class that the safe loader will refuse in a checkpoint.

    It reads the names alone and builds nothing. A file from before torch 1.6 (not a zip archive) cannot be read in
    this way; the safe loader itself is asked.
    """
    import torch

    allow_fairseq_checkpoints()
    keep_loading_safe()
    try:
        if not zipfile.is_zipfile(checkpoint):
            torch.load(checkpoint, map_location="cpu", weights_only=True)
            return
        refused = torch.serialization.get_unsafe_globals_in_checkpoint(os.fspath(checkpoint))
    except pickle.UnpicklingError as error:
        told = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"{checkpoint} pickles {told[1] if told else 'something'}, which could run code when it is loaded. Take "
            "the checkpoint from where it was published"
        ) from None
    except Exception as error:  # a file from elsewhere may break the readers in any way
        raise InputError(f"{checkpoint} cannot be read as a checkpoint: {str(error).split(chr(10))[0]}") from None
    if refused:
        allowed = ", ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in PICKLED_CLASSES)
        raise InputError(
            f"{checkpoint} pickles {', '.join(sorted(refused))}, which could run code when it is loaded; allowed "
            f"beyond torch's own are {allowed}. Take the checkpoint from where it was published, or save it again "
            "without these objects"
        )


def check_named(checkpoint: Path, models: Collection[str], tasks: Collection[str]) -> None:
    """Raises :class:`InputError` unless a checkpoint names one of these models and tasks of fairseq.

    Its classes are checked first. Tensors stay on the disk.

    Args:
        checkpoint: the file.
        models: names under which models are registered, e.g. ``transformer``; an architecture of one counts.
        tasks: names under which tasks are registered.
    """
    import torch
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY

    check_pickled_classes(checkpoint)
    whole = zipfile.is_zipfile(checkpoint)
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=whole)
        if (args := state.get("args")) is not None:  # which fairseq takes before "cfg"
            names = {"model": getattr(args, "arch", None), "task": getattr(args, "task", "translation")}
        else:
            parts = {section: state["cfg"][section] for section in ("model", "task")}
            # those of fairseq's older components are a Namespace
            names = {name: (part if isinstance(part, dict) else vars(part))["_name"] for name, part in parts.items()}
    except Exception as error:
        raise InputError(
            f"{checkpoint} cannot be loaded as a checkpoint of fairseq: {type(error).__name__}: {error}"
        ) from None
    names["model"] = ARCH_MODEL_NAME_REGISTRY.get(str(names["model"]), names["model"])
    for section, allowed in (("model", models), ("task", tasks)):
        if names[section] not in allowed:
            raise InputError(
                f"{checkpoint} cannot be loaded as a checkpoint here: its {section} is {names[section]!r}, allowed is "
                f"{' or '.join(allowed)}"
            )


def check_config(pretrained: str, values: Mapping[str, Any] | None = None, *, own_code: bool = True) -> None:
    """Raises :class:`InputError` if the configuration of an encoder names a repository of compiled kernels.

    Args:
        pretrained: a folder with ``config.json``, or a name for messages.
        values: the configuration, if it does not lie in the folder.
        own_code: whether it may name code of its own, which is not run with :data:`NO_CODE`.
    """
    path = Path(pretrained, "config.json")
    if values is None:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # on the hub, or transformers will say what is wrong
    if not own_code and isinstance(values, dict) and "auto_map" in values:
        raise InputError(f"the configuration of {pretrained} names code of its own (auto_map), which is not run")
    named = [value for key, value in _items(values) if "attn_implementation" in str(key) and "/" in str(value)]
    if named:
        raise InputError(
            f"the configuration of {pretrained} names {named[0]!r} as its attention, whose compiled code would be "
            "fetched and run; take the line out of its config.json"
        )


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, Mapping):
        return [*value.items(), *(item for inner in value.values() for item in _items(inner))]
    return [item for inner in value for item in _items(inner)] if isinstance(value, list) else []
