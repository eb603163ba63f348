"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxtuple = 3, 20, 20, 20
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 300, 300, 300


class InputError(ValueError):
    """Something given to the program is wrong; the message says what was got, what is allowed and what to do.

    The command line prints the message alone and ends with status 2; every other exception is a defect of ours and
    keeps its traceback.
    """

    @classmethod
    def all_at_once(cls, heading: str, problems: Iterable[str]) -> InputError:
        """One error that lists every problem found, so that a user mends them in one go."""
        problems = list(problems)
        return cls("\n".join([heading, *(f"  - {problem}" for problem in problems)]))


def raise_all(heading: str, problems: Sequence[str]) -> None:
    """Raises one :class:`InputError` if there are problems."""
    if problems:
        raise InputError.all_at_once(heading, problems)


def shown(value: Any) -> str:
    """A value from a stranger's file for a message, not longer than one reads."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
