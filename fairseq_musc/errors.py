"""The one exception for mistakes that a user can mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
