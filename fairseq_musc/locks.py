"""Folders in which one process works at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fairseq_musc.errors import InputError
from fairseq_musc.files import make_folder

logger = logging.getLogger(__name__)

#: The folders that threads of this process hold, by whom: such a lock holds off no thread of its own process.
_held: dict[Path, int] = {}


@contextmanager
def held_alone(folder: Path, otherwise: str = "name another --output", patience: float = 0) -> Iterator[None]:
    """Holds the lock of a folder for the block, for which the folder is made.

    The lock is the process's own (``fcntl(2)``, also across machines on NFS): one that is killed leaves none, nor do
    the processes that it has forked. It holds off other processes and other threads, and not another block of the same
    thread. Where the file system has no locks, this is logged and other processes are not held off.

    Args:
        folder: holds ``.lock`` meanwhile, with the number of the process.
        otherwise: what to do if the other process is to go on, for the error.
        patience: seconds that are waited for the other one, which may be ending.

    Raises:
        InputError: another process or thread holds it still.
    """
    make_folder(folder)
    path = folder.resolve() / ".lock"
    end = time.monotonic() + patience
    told = False
    while (lock := _taken(path)) is None:
        found = f"another run works in {folder} ({_holder(path)})"
        if time.monotonic() >= end:
            raise InputError(f"{found}; wait for it, end it, or {otherwise}")
        if not told:
            logger.warning("%s; waiting up to %.0f s for its end", found, patience)
            told = True
        time.sleep(0.1)
    owner = os.getpid()
    with lock:
        lock.truncate(0)
        lock.write(f"process {owner} on {platform.node()}\n")
        lock.flush()
        try:
            yield
        finally:
            if os.getpid() == owner:  # and not a process that was forked within the block
                path.unlink(missing_ok=True)
                _held.pop(path, None)


def _taken(path: Path) -> IO[str] | None:
    """The file, locked; None if another process or thread has it."""
    if _held.setdefault(path, threading.get_ident()) != threading.get_ident():
        return None  # and the file is not opened: whoever closes it loses the lock for the whole process
    lock = None
    try:
        lock = _locked(path)
    finally:
        if lock is None:
            _held.pop(path)
    return lock


def _locked(path: Path) -> IO[str] | None:
    while True:
        lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closed by who asks
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            lock.close()
            return None
        except OSError as error:  # by many numbers: ENOLCK of NFS without its lock service, ENOSYS, EOPNOTSUPP
            logger.warning("%s cannot be locked (%s): see to it that one run at a time works there", path, error)
            return lock
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()  # who held it has ended between the two lines above, and taken it away


def _holder(path: Path) -> str:
    if path in _held:
        return f"another thread of this process, {os.getpid()}"
    try:
        return path.read_text(encoding="utf-8").strip() or "process unknown"
    except FileNotFoundError:
        return "process unknown"
