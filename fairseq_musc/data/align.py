"""Which rows of raw files belong together, and which of them are taken: functions of numbers and texts alone."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, zip_longest
from typing import NamedTuple

#: The place of a row that is not there.
NOWHERE = -1


class Matched(NamedTuple):
    """How the rows of a second file lie to those of a first."""

    order: array[int]
    """For each row of the first file, the place of its partner in the second, or :data:`NOWHERE`."""
    extra: list[int]
    """The places in the second file of rows without a partner."""


def places_by_key(keys: Iterable[str]) -> dict[str, list[int]]:
    """Key to the places at which it stands, in order."""
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


def match(places: Mapping[str, Sequence[int]], count: int, keys: Iterable[str]) -> Matched:
    """Matches the rows of a second file with those of a first by their keys.

    A key that stands more than once is matched in order of occurrence: its first row with the first, and so on.

    Args:
        places: those of the first file, by key.
        count: the number of rows of the first file.
        keys: those of the second file, in order.
    """
    order = array("q", [NOWHERE]) * count
    extra = []
    taken: dict[str, int] = {}
    for place, key in enumerate(keys):
        partners = places.get(key, ())
        n = taken.get(key, 0)
        if n < len(partners):
            order[partners[n]] = place
            taken[key] = n + 1
        else:
            extra.append(place)
    return Matched(order, extra)


def text_key(texts: Sequence[str], label: str) -> str:
    """What two rows share that hold the same texts and label; how many spaces stand where does not count."""
    return "\0".join([label, *(" ".join(text.split()) for text in texts)])


def balanced(places: Sequence[int], labels: Sequence[str], count: int, from_end: bool = False) -> list[int]:
    """``count`` of the places, from as many classes as there are, in equal parts as far as they reach.

    Files of data sets without alignment may be sorted by class (MARC is), so that their first rows are of one class.
    The classes are therefore gone through in turn, in the order of their names, and each gives its next row until
    there are enough. Nothing is drawn by lot.

    Args:
        places: those to choose from, ascending.
        labels: the label of each of them.
        count: how many to take; all if there are fewer.
        from_end: the next row of a class is its last, not its first.

    Returns:
        The places taken, ascending.
    """
    of_class: dict[str, list[int]] = {}
    for place, label in zip(places, labels, strict=True):
        of_class.setdefault(label, []).append(place)
    in_turn = [rows[::-1] if from_end else rows for _, rows in sorted(of_class.items())]
    rounds = (place for turn in zip_longest(*in_turn) for place in turn if place is not None)
    return sorted(islice(rounds, count))
