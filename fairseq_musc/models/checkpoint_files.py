"""Checkpoint files on disk: whole or damaged, and which one a run goes on from.

fairseq writes a checkpoint under one name, and copies it to the others that it shall have. A process killed amid such
a copy would leave ``checkpoint_last.pt`` cut short, from which nothing goes on; so copies appear whole or not at all.
A file that was damaged in another way (a full disk, a bad block) is found by the checksums that ``torch.save`` writes
for every part of it, which ``torch.load`` does not look at.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.files import written_whole

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"
FOLDER = 0x10
"""The bit among the attributes of an archive's part that makes it a folder (MS-DOS's, in the ZIP format)."""
#: What is put behind the name of a damaged checkpoint that a whole one takes the place of.
ASIDE = ".damaged"


def copy_whole(source: str | os.PathLike[str], target: str | os.PathLike[str], overwrite: bool = False) -> bool:
    """Copies a file, whole or not at all: what stood at ``target`` stays there until the copy is on the disk.

    Returns:
        Whether it was copied: False if ``target`` exists and is not to be overwritten.
    """
    if not overwrite and Path(target).exists():
        return False
    with open(source, "rb") as stream, written_whole(target, "wb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
    return True


def let_fairseq_copy_whole() -> None:
    """Lets fairseq copy local files by :func:`copy_whole`, in this process; calling it again changes nothing.

    Its own copy writes into the file that is there (``shutil.copyfile``).
    """
    from fairseq.file_io import PathManager

    if getattr(PathManager.copy, "__wrapped__", None) is not None:
        return
    own = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if any(PathManager.path_requires_pathmanager(path) for path in (src_path, dst_path)):
            return own(src_path, dst_path, overwrite)
        return copy_whole(src_path, dst_path, overwrite)

    copy.__wrapped__ = own  # type: ignore[attr-defined]
    PathManager.copy = staticmethod(copy)


def damage(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with a checkpoint file, or None: every byte that is read from it is as it was written.

    It reads the whole file (about a second for each GB) and builds nothing from it.
    """
    import torch

    try:
        if not zipfile.is_zipfile(path):
            return "it is cut short, or no checkpoint"
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            folders = [part.filename for part in archive.infolist() if part.external_attr & FOLDER]
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError) as error:
        return f"it cannot be read: {error}"
    if broken is not None:
        return f"its part {broken} is not as it was written (the CRC-32 differs)"
    if folders:
        return f"its part {folders[0]} is called a folder, which torch would read as nothing"
    try:  # torch's own reader looks at other fields of the archive than Python's
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        return None  # it is what was written; whether it may be loaded is for others to say
    except (RuntimeError, ValueError, LookupError, EOFError) as error:
        return f"it cannot be read: {str(error).splitlines()[0]}"
    return None


def updates_of(path: Path) -> int | None:
    """After how many updates a checkpoint was saved; None if no run can go on from it."""
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(state["optimizer_history"][-1]["num_updates"]) if state.get("last_optimizer_state") else None
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError):
        return None


def whole_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """The undamaged checkpoints of a folder that a run can go on from, the newest first, with their updates."""
    found = []
    for path in sorted(folder.glob("checkpoint*.pt")):
        updates = None if damage(path) else updates_of(path)
        if updates is not None:
            found.append((updates, path))
    return sorted(found, key=lambda each: -each[0])


def check_whole(path: Path) -> None:
    """Raises :class:`InputError` if a checkpoint is damaged, naming the whole ones beside it."""
    wrong = damage(path)
    if wrong is None:
        return
    others = ", ".join(f"{other.name} (update {updates})" for updates, other in whole_checkpoints(path.parent))
    raise InputError(
        f"{path} cannot be loaded as a checkpoint of this package: {wrong}.\n"
        + (f"Whole ones beside it: {others}." if others else "There is no whole one beside it; train again.")
    )


def mend_last(folder: Path) -> None:
    """Puts the newest whole checkpoint in the place of ``checkpoint_last.pt`` if that is damaged, and says so.

    A run draws by its seed and its number of updates alone, so it ends the same from whichever checkpoint it goes on.
    The damaged file is kept under the name ``checkpoint_last.pt.damaged``.

    Raises:
        InputError: there is no whole one.
    """
    last = folder / LAST
    wrong = damage(last) if last.exists() else None
    if wrong is None:
        return
    others = [other for other in whole_checkpoints(folder) if other[1] != last]
    if not others:
        raise InputError(
            f"{last} is damaged: {wrong}. There is no whole checkpoint beside it to go on from; take {last.name} away "
            "to train from the start, or name another checkpoint.save_dir"
        )
    updates, newest = others[0]
    copy_whole(last, folder / (LAST + ASIDE), overwrite=True)
    copy_whole(newest, last, overwrite=True)
    logger.warning(
        "%s is damaged: %s. Going on from %s (update %d); the damaged file is kept as %s",
        *(last, wrong, newest.name, updates, LAST + ASIDE),
    )
