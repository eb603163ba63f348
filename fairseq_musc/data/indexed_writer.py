"""Writes fairseq's memory-mapped indexed format by blocks of rows.

fairseq's own builder (``fairseq.data.indexed_dataset.MMapIndexedDatasetBuilder``) takes one tensor a row and keeps a
Python number for each until the end. Here a block is an array, nothing is kept, and neither torch nor fairseq is
loaded. The bytes are the same: ``.bin`` is the ids end to end; ``.idx`` is a header, then the lengths of all rows
(int32), then the places in bytes where they begin (int64).
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
#: The types of ids that the format has, by the number that stands for each in the header; it has more.
CODES = {np.dtype(np.uint16): 8, np.dtype(np.uint32): 9}


def dtype_of(vocab_size: int) -> np.dtype:
    """The type in which ids below ``vocab_size`` are written, as fairseq's ``best_fitting_int_dtype`` chooses."""
    return np.dtype(np.uint16 if vocab_size < 65500 else np.uint32)


class IndexedWriter:
    """The ``.bin`` and ``.idx`` of so many rows, to be used in a ``with`` block.

    Args:
        data: the path of the ``.bin``.
        index: the path of the ``.idx``.
        rows: how many rows there will be.
        dtype: of the ids, uint16 or uint32.
    """

    def __init__(self, data: Path, index: Path, rows: int, dtype: np.dtype):
        self.dtype = np.dtype(dtype)
        self.rows = rows
        self.written = 0
        self.place = 0
        header = MAGIC + struct.pack("<QBQ", VERSION, CODES[self.dtype], rows)
        index.write_bytes(header)
        with ExitStack() as opened:
            self._data = opened.enter_context(data.open("wb"))
            self._lengths = opened.enter_context(index.open("r+b"))
            self._places = opened.enter_context(index.open("r+b"))
            self._lengths.seek(len(header))
            self._places.seek(len(header) + 4 * rows)
            self._opened = opened.pop_all()

    def write(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """Adds rows.

        Args:
            ids: (tokens,) the ids of the rows, end to end.
            lengths: (n,) how many of them belong to each row.
        """
        bytes_of = lengths.astype(np.int64) * self.dtype.itemsize  # (n,)
        ends = self.place + np.cumsum(bytes_of)
        self._data.write(ids.astype(self.dtype).tobytes())
        self._lengths.write(lengths.astype(np.int32).tobytes())
        self._places.write((ends - bytes_of).tobytes())
        self.written += len(lengths)
        self.place += int(bytes_of.sum())

    def __enter__(self) -> IndexedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
        if kind is None and self.written != self.rows:
            raise RuntimeError(f"{self.rows} rows were announced and {self.written} written")
