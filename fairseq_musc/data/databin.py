"""The data-bin: corpora as token ids, in fairseq's own indexed format.

A data-bin is a folder. ``databin.json`` says which dataset, labels and tokenizer it is for; the tokenizer itself lies
under ``tokenizer/``. Each corpus, e.g. ``T_trn_MT.de``, is

``T_trn_MT.de.bin``, ``T_trn_MT.de.idx``
    fairseq's memory-mapped dataset: a row is ``[CLS] text [SEP]`` or ``[CLS] text [SEP] text_pair [SEP]`` with exactly
    the ids of the Hugging Face tokenizer.
``T_trn_MT.de.rows.npy``
    (n, 2) int32: the class of each row, and how many of its tokens belong to the first segment.
``T_trn_MT.de.ids``
    the row ids, one a line, escaped as in the corpus file.
``T_trn_MT.de.json``
    how many rows there are, what they were made from, checksums of the other files and of itself; written last, so a
    corpus without it is not there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from fairseq_musc.data.corpus import check_aligned, check_language, unescape
from fairseq_musc.errors import InputError
from fairseq_musc.files import crc32, read_sealed_json, write_sealed_json

FORMAT = 1
LINE_FEED = ord("\n")


@dataclass(frozen=True)
class DataBinInfo:
    """What holds for every corpus of a data-bin."""

    dataset: str
    labels: tuple[str, ...]
    pair: bool
    max_length: int
    """Rows were cut to this many tokens, the longer text first."""
    tokenizer: str
    """The name or folder that it was loaded from, for messages."""
    fingerprint: str
    vocab_size: int
    """One more than the highest id."""
    pad: int
    token_types: bool
    """Whether the encoder wants to be told the segments."""

    def save(self, folder: Path) -> None:
        """Writes ``databin.json``."""
        write_sealed_json(folder / "databin.json", {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: str | Path) -> DataBinInfo:
        """Reads ``databin.json``.

        Raises:
            InputError: there is none, or it is of another version.
        """
        path = Path(folder) / "databin.json"
        remedy = f"remove {folder} and binarize again"  # which adds to a data-bin, and what is there cannot be told
        try:
            values = read_sealed_json(path)
        except FileNotFoundError:
            raise InputError(
                f"{folder} is no data-bin: it has no databin.json; make it with `fairseq-musc binarize`"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}; {remedy}") from None
        if values.pop("format", None) != FORMAT:
            raise InputError(f"{path} was written by another version of this package; {remedy}")
        try:
            return cls(**{**values, "labels": tuple(values["labels"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"{path} is not what this version writes: {error}; {remedy}") from None


class TokenRows(NamedTuple):
    """Rows of one corpus, end to end."""

    ids: np.ndarray
    """(tokens,) int64."""
    lengths: np.ndarray
    """(rows,) int64: the number of tokens of each."""
    first_lengths: np.ndarray
    """(rows,) int64: how many of them belong to the first segment."""


class RowIds(Sequence[str]):
    """The row ids of one corpus, which stay on disk until asked for.

    Args:
        path: the ``.ids``.
    """

    def __init__(self, path: Path):
        self.lines: np.ndarray = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        self.rows = int(np.count_nonzero(self.lines == LINE_FEED))

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """(n,) int64: where the line of each ends."""
        return np.flatnonzero(self.lines == LINE_FEED)

    def __len__(self) -> int:
        return self.rows

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self.rows))]
        i = range(self.rows)[place]
        return unescape(self.lines[self.ends[i - 1] + 1 if i else 0 : self.ends[i]].tobytes().decode())

    def __iter__(self) -> Iterator[str]:
        return map(unescape, self.lines.tobytes().decode().split("\n")[:-1])

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same ids in the same order."""
        if isinstance(other, RowIds):
            return np.array_equal(self.lines, other.lines)
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class BinarizedCorpus:
    """One corpus of a data-bin, opened; rows stay on disk until asked for."""

    name: str
    language: str
    about: dict[str, Any]
    tokens: Any
    """fairseq's indexed dataset: ``tokens[i]`` is an int64 tensor."""
    sizes: np.ndarray
    """(n,) the number of tokens of each row."""
    labels: np.ndarray
    """(n,) int32 classes."""
    first_lengths: np.ndarray
    """(n,) int32 lengths of the first segments."""
    ids: Sequence[str]
    all_tokens: np.ndarray
    """The token ids of all rows, end to end, as they lie on disk."""
    starts: np.ndarray
    """(n,) int64: where each row begins in ``all_tokens``."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> TokenRows:
        """Some rows, end to end, by one indexing of what lies on disk.

        Args:
            rows: (B,) numbers of rows.
        """
        lengths = self.sizes[rows].astype(np.int64)  # (B,)
        ends = np.cumsum(lengths)
        places = np.repeat(self.starts[rows] - (ends - lengths), lengths) + np.arange(lengths.sum())
        return TokenRows(self.all_tokens[places].astype(np.int64), lengths, self.first_lengths[rows].astype(np.int64))


def stem(folder: str | Path, name: str, language: str) -> Path:
    """The path of a corpus in a data-bin, without an ending."""
    check_language(language)
    return Path(folder) / f"{name}.{language}"


def suffixed(path: Path, suffix: str) -> Path:
    """``path`` with an ending more (``Path.with_suffix`` would take the language for one)."""
    return path.with_name(path.name + suffix)


def read_about(folder: str | Path, name: str, language: str) -> dict[str, Any]:
    """What stands in the JSON file of a corpus: its rows, what they were made from.

    Raises:
        InputError: the corpus is not there.
    """
    path = stem(folder, name, language)
    try:
        about = read_sealed_json(suffixed(path, ".json"))
        if lacking := {"rows", "bytes", "source_sha256", "provenance"} - about.keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        return about
    except FileNotFoundError:
        there = ", ".join(p.stem for p in sorted(Path(folder).glob("*.*.json"))) or "nothing"
        raise InputError(
            f"{folder} holds no {name}.{language}; it holds {there}. Add it with `fairseq-musc binarize`"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{suffixed(path, '.json')} cannot be read: {error}; binarize again") from None


def open_corpus(folder: str | Path, name: str, language: str) -> BinarizedCorpus:
    """Opens one corpus and holds it against what was written: bytes, tokens, labels and ids.

    All files are read once for that, at about 1 GB a second; a flipped bit would change a class or a word unseen.

    Raises:
        InputError: it is not there, or its files do not belong together.
    """
    from fairseq.data import data_utils

    path = stem(folder, name, language)
    about = read_about(folder, name, language)
    try:
        for suffix, size in about["bytes"].items():
            got = suffixed(path, suffix).stat().st_size
            if got != size:
                raise InputError(
                    f"{suffixed(path, suffix)} has {got} bytes, {size} were written; binarize {name}.{language} again"
                )
        for suffix, written in about.get("crc32s", {}).items():  # earlier versions wrote none
            if crc32(suffixed(path, suffix)) != written:
                raise InputError(
                    f"{suffixed(path, suffix)} has changed since it was written (its CRC-32 differs); binarize "
                    f"{name}.{language} again"
                )
        tokens = data_utils.load_indexed_dataset(str(path), dictionary=None, dataset_impl="mmap")
        rows = np.load(suffixed(path, ".rows.npy"), mmap_mode="r", allow_pickle=False)
        ids = RowIds(suffixed(path, ".ids"))
        all_tokens = end_to_end(suffixed(path, ".bin"), tokens)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}.* cannot be read: {error}; binarize {name}.{language} again") from None
    counts = {".idx": 0 if tokens is None else len(tokens), ".rows.npy": len(rows), ".ids": len(ids)}
    if set(counts.values()) != {about["rows"]}:
        found = ", ".join(f"{count} in {suffix}" for suffix, count in counts.items())
        raise InputError(f"{path}.json counts {about['rows']} rows, there are {found}; binarize again")
    starts = np.cumsum(tokens.sizes, dtype=np.int64) - tokens.sizes
    return BinarizedCorpus(name, language, about, tokens, tokens.sizes, rows[:, 0], rows[:, 1], ids, all_tokens, starts)


def classes_of(folder: str | Path, name: str, language: str) -> np.ndarray:
    """The classes of a corpus's rows, (n,) int32, without all else that :func:`open_corpus` opens and checks.

    Raises:
        InputError: they cannot be read.
    """
    path = suffixed(stem(folder, name, language), ".rows.npy")
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return rows[:, 0]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path} cannot be read: {error}; binarize {name}.{language} again") from None


def end_to_end(path: Path, tokens: Any) -> np.ndarray:
    """The token ids of all rows of an indexed dataset, which its builder writes one after the other.

    Args:
        path: its ``.bin``.
        tokens: the dataset, or None if it could not be opened.

    Raises:
        ValueError: the file does not hold as many ids as the rows have.
    """
    count = 0 if tokens is None else int(np.sum(tokens.sizes, dtype=np.int64))
    if not count:
        return np.zeros(0, dtype=np.int64)
    dtype = np.dtype(tokens._index.dtype)  # fairseq has no other name for it
    size = path.stat().st_size
    if size != count * dtype.itemsize:
        raise ValueError(f"it has {size} bytes for {count} ids of {dtype.itemsize} bytes")
    return np.memmap(path, dtype=dtype, mode="r")


def check_views_aligned(views: list[BinarizedCorpus]) -> None:
    """Raises :class:`InputError` unless all views have the same ids and the same classes, row by row."""
    first = views[0]
    for other in views[1:]:
        names = f"{first.name}.{first.language}", f"{other.name}.{other.language}"
        if first.ids != other.ids:
            check_aligned(names[0], first.ids, names[1], other.ids)
        differing = np.flatnonzero(first.labels != other.labels)
        if len(differing):
            row = int(differing[0])
            raise InputError(
                f"{len(differing)} rows have another label in {names[1]} than in {names[0]}; the first is "
                f"{first.ids[row]!r}: {other.labels[row]} and {first.labels[row]}. Make {names[1]} again"
            )
