"""Which rows of raw files belong together, and which of them are taken: functions of numbers and texts alone."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import islice, zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The place of a row that is not there.
NOWHERE = -1
#: Bytes of a digest: two of a billion texts share one with a probability of 1e-21.
DIGEST = 16


def digest_of(text: str) -> bytes:
    """What stands for a text where too many are compared to be held, :data:`DIGEST` bytes."""
    return blake2b(text.encode(), digest_size=DIGEST).digest()


class Keys:
    """By what rows are matched, in order: a digest of each key, 16 bytes a row."""

    def __init__(self, keys: Iterable[str] = ()):
        self._digests = bytearray()
        for key in keys:
            self.append(key)

    def append(self, key: str) -> None:
        """Puts one behind the others."""
        self._digests += digest_of(key)

    @property
    def array(self) -> NDArray[np.bytes_]:
        """The digests; all are of the same length, so that numpy, which does not see zeros at an end, compares them."""
        return np.frombuffer(self._digests, f"S{DIGEST}")


class Matched(NamedTuple):
    """How the rows of a second file lie to those of a first."""

    order: NDArray[np.int64]
    """For each row of the first file, the place of its partner in the second, or :data:`NOWHERE`."""
    extra: NDArray[np.int64]
    """The places in the second file of rows without a partner."""


def match(first: Keys, second: Keys) -> Matched:
    """Matches the rows of a second file with those of a first by their keys.

    A key that stands more than once is matched in order of occurrence: its first row with the first, and so on. Takes
    some 100 bytes a row while it works.
    """
    ours, theirs = first.array, second.array
    our_places, their_places = np.argsort(ours, kind="stable"), np.argsort(theirs, kind="stable")
    ours, theirs = ours[our_places], theirs[their_places]
    occurrence = np.arange(len(theirs)) - np.searchsorted(theirs, theirs)  # 0 for the first of its key
    partner = np.searchsorted(ours, theirs) + occurrence
    there = partner < np.searchsorted(ours, theirs, "right")
    order = np.full(len(ours), NOWHERE)
    order[our_places[partner[there]]] = their_places[there]
    return Matched(order, np.sort(their_places[~there]))


def text_key(texts: Sequence[str], label: str) -> str:
    """What two rows share that hold the same texts and label; how many spaces stand where does not count."""
    return "\0".join([label, *(" ".join(text.split()) for text in texts)])


def balanced(places: Iterable[int], labels: Iterable[str], count: int, from_end: bool = False) -> list[int]:
    """``count`` of the places, from as many classes as there are, in equal parts as far as they reach.

    Files of data sets without alignment may be sorted by class (MARC is), so that their first rows are of one class.
    The classes are therefore gone through in turn, in the order of their names, and each gives its next row until
    there are enough. Nothing is drawn by lot.

    Rows from the end are held out of those that are trained on: a class that is rare would be held out whole, and never
    be learnt. So it gives half of its rows at most, more of them only where all classes have given as much, and its
    last one behind all others.

    Args:
        places: those to choose from, ascending.
        labels: the label of each of them.
        count: how many to take; all if there are fewer.
        from_end: the next row of a class is its last, not its first, and what is left is to hold rows of all classes.

    Returns:
        The places taken, ascending.
    """
    of_class: dict[str, array[int]] = {}  # 8 bytes a place
    for place, label in zip(places, labels, strict=True):
        of_class.setdefault(label, array("q")).append(place)
    classes = [rows[::-1] if from_end else rows for _, rows in sorted(of_class.items())]
    helpings = [[rows] for rows in classes]
    if from_end:
        helpings = [
            [rows[: (half := len(rows) // 2)], rows[half:-1], rows[max(half, len(rows) - 1) :]] for rows in classes
        ]
    in_turn = (zip_longest(*helping) for helping in zip(*helpings, strict=True))
    rounds = (place for turns in in_turn for turn in turns for place in turn if place is not None)
    return sorted(islice(rounds, count))
