"""What Linux does to a process when the one that has started it dies; elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import signal
import sys


def end_with_parent() -> None:
    """Has Linux send SIGTERM to this process when the one that has started it is killed outright.

    It is sent as each thread of that one ends, so that it may come several times, some of them late: a process that
    does not end at the first calls :func:`outlive_parent`.
    """
    _at_the_parents_death(signal.SIGTERM)


def outlive_parent() -> None:
    """Lets no more signals come of the death of the process that has started this one."""
    _at_the_parents_death(0)


def _at_the_parents_death(number: int) -> None:
    if _prctl is not None:
        _prctl(1, number)  # PR_SET_PDEATHSIG


#: Looked up before a fork, after which little is safe.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
