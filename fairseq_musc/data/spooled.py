"""Rows on disk, to be taken in any order."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import SupportsIndex

from fairseq_musc.data.corpus import Row
from fairseq_musc.files import naming


@contextmanager
def spooled(rows: Iterable[Row]) -> Iterator[Callable[[SupportsIndex], Row]]:
    """Rows in a temporary file, which goes with the process or at the end of the block; 8 bytes of memory a row.

    Args:
        rows: are gone through once.

    Yields:
        What gives the row at a place.

    Raises:
        OSError: there is no room for them; it names the folder.
    """
    starts = array("q")
    with tempfile.TemporaryFile() as file:
        with naming(Path(tempfile.gettempdir())):
            for row in rows:
                starts.append(file.tell())
                file.write(json.dumps(row).encode() + b"\n")

        def row_at(place: SupportsIndex) -> Row:
            file.seek(starts[place])
            return Row(*json.loads(file.readline()))

        yield row_at
