"""What has to be known of all rows of a file at once, packed: their ids, lines and labels.

A text can be read again; that an id stands twice, or that two files have the same ids in the same order, is only seen
with all of them in hand. Python's own lists of strings and numbers take some 200 bytes a row, these some 25.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray


class Ids(Sequence[str]):
    """Ids of rows, in order: 8 bytes a row and those of the id itself.

    Args:
        ids: the first of them.
    """

    def __init__(self, ids: Iterable[str] = ()):
        self._utf8 = bytearray()
        self._ends = array("q", [0])
        for id_ in ids:
            self.append(id_)

    def append(self, id_: str) -> None:
        """Puts one behind the others."""
        self._utf8 += id_.encode()
        self._ends.append(len(self._utf8))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        i = range(len(self))[place]
        return self._utf8[self._ends[i] : self._ends[i + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        return (self._utf8[start:end].decode() for start, end in pairwise(self._ends))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return self._ends == other._ends and self._utf8 == other._utf8
        return isinstance(other, list) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def repeated(self) -> list[int]:
        """The places of ids that stand at an earlier place already.

        Only ids of one hash can be the same, and these few are compared; 17 bytes a row while it looks.
        """
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        ordered = np.sort(hashes)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        seen: set[str] = set()
        places = np.flatnonzero(np.isin(hashes, twice)).tolist() if len(twice) else []
        return [place for place in places if self[place] in seen or seen.add(self[place])]  # type: ignore[func-returns-value]


class Head(NamedTuple):
    """All of a row but its texts."""

    line: int
    id: str
    label: str


class Heads:
    """The heads of the rows of a file, in order: 17 bytes a row and those of its id (24 with more than 256 labels).

    Args:
        labels: those that there are.
    """

    def __init__(self, labels: Sequence[str]):
        self._number = {label: number for number, label in enumerate(labels)}
        self._labels = [*self._number]
        self._classes = array("B" if len(labels) <= 2**8 else "q")
        self.ids = Ids()
        self.lines = array("q")

    def append(self, head: Head) -> None:
        """Puts one behind the others.

        Raises:
            KeyError: its label is none of those that there are.
        """
        self.lines.append(head.line)
        self.ids.append(head.id)
        self._classes.append(self._number[head.label])

    def share(self, other: Heads) -> None:
        """Keeps ids and lines that are those of another file once, however many files there are."""
        if self.ids == other.ids:
            self.ids = other.ids
        if self.lines == other.lines:
            self.lines = other.lines

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, place: SupportsIndex) -> Head:
        return Head(self.lines[place], self.ids[place], self.label(place))

    def label(self, place: SupportsIndex) -> str:
        """The label of the row at a place."""
        return self._labels[self._classes[place]]

    @property
    def classes(self) -> NDArray[np.integer]:
        """The number of each row's label."""
        return np.asarray(self._classes)
