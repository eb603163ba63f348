"""Trainings that are stopped by the clock and gone on with by the same command: a translator's, an encoder's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError

#: Exit status of a training that was stopped and can be gone on with.
UNFINISHED = 3


def check_same(there: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """Raises :class:`InputError` with all that differs between what was begun in a folder and what is asked for."""
    differing = [
        f"{key} was {there.get(key)!r}, asked is {asked.get(key)!r}"
        for key in {**there, **asked}
        if there.get(key) != asked.get(key)
    ]
    if differing:
        raise InputError.all_at_once(
            f"a training that was begun with other settings lies in {folder}; give its settings to go on with it, "
            "remove it, or name another --output:",
            differing,
        )
