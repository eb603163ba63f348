"""Files and folders that appear whole or not at all, and the checksums that say so later."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from fairseq_musc.errors import InputError

SEAL = "crc32"
"""The key under which a sealed JSON file has the CRC-32 of the rest of it."""
BLOCK = 2**20
"""Bytes that are read at once where a file is gone through."""


@contextmanager
def written_whole(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write to that takes the place of ``path`` only when the block ends without an exception.

    The text lies in the same folder under a hidden name until then, so that the last step is one atomic rename; a
    block that fails leaves what was at ``path`` before, and nothing beside it.
    """
    path = Path(path)
    make_folder(path.parent)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with naming(path), open(descriptor, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(partial, _permitted(0o666))  # mkstemp makes files that only their owner can read
        with naming(path, partial):
            os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def check_new(folder: Path) -> None:
    """Raises :class:`InputError` if a folder is there that is to be made."""
    if folder.exists():
        raise InputError(f"{folder} exists; name a new folder, or remove this one first")


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; one that is there is left as it is.

    Raises:
        NotADirectoryError: there is a file of one of these names. Python's own word is that it exists, as if that were
            not allowed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from None


def remove_partials(path: Path) -> None:
    """Takes away what a process that was killed in :func:`written_whole` has left beside ``path``.

    Only for a path that no other process is writing now.
    """
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """A folder to fill that takes its name only when the block ends without an exception.

    Raises:
        InputError: ``path`` exists.
    """
    check_new(path)
    make_folder(path.parent)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
    try:
        with naming(path):
            yield partial
        partial.chmod(_permitted(0o777))  # mkdtemp makes folders that only their owner can enter
        for file in partial.iterdir():  # and safetensors such files
            file.chmod(_permitted(0o666))
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def naming(path: Path, hidden: str | None = None) -> Iterator[None]:
    """Lets what fails while ``path`` is written by others (a full disk), or under a hidden name, name it.

    The packages tokenizers and safetensors, written in Rust, raise exceptions of their own with the error's number.
    """
    try:
        yield
    except OSError as error:
        if error.filename == hidden:
            error.filename = str(path)
        raise
    except Exception as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
        raise


def _permitted(mode: int) -> int:
    """What the umask leaves of a mode; it can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return mode & ~umask


def rows_as_written(path: Path, about: Mapping[str, Any], remedy: str) -> Iterator[bytes]:
    """The lines of a table behind its header, once the table is held against the JSON file beside it.

    The file is gone through twice, first for its row count and checksum and then for the lines, so that one line is in
    memory at a time and no line is given out of a table that is not as it was written.

    Args:
        path: the table; every line ends in a line feed.
        about: what the JSON file says; ``rows`` and ``sha256`` of it.
        remedy: what a message tells to do, e.g. "predict again".

    Raises:
        InputError: the table is not there, cut short, or changed since it was written.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {remedy}") from None
    with stream:
        digest, ends = hashlib.sha256(), 0
        while block := stream.read(BLOCK):
            digest.update(block)
            ends += block.count(b"\n")
        rows = max(0, ends - 1)  # behind the header
        if rows != about["rows"]:
            raise InputError(
                f"{path} holds {rows} rows, {path.with_suffix('.json').name} counted {about['rows']} when they were "
                f"written; {remedy}"
            )
        if digest.hexdigest() != about["sha256"]:
            raise InputError(f"{path} has changed since it was written (its SHA-256 differs); {remedy}")
        stream.seek(0)
        for line in islice(stream, 1, ends):
            yield line[:-1]


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes ``value`` as indented JSON, whole or not at all."""
    with written_whole(path) as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1)
        stream.write("\n")


def write_sealed_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Writes ``value`` as :func:`write_json`, with a checksum of itself under the key :data:`SEAL`."""
    write_json(path, {**value, SEAL: _seal(value)})


def read_sealed_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What :func:`write_sealed_json` wrote, without the checksum; files of earlier versions have none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object, or has changed since it was written.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds {str(value)[:40]!r} instead of keys with values")
    if value.pop(SEAL, None) not in (None, _seal(value)):
        raise ValueError("it has changed since it was written (its CRC-32 differs)")
    return value


def _seal(value: Mapping[str, Any]) -> str:
    written = json.dumps({key: each for key, each in value.items() if key != SEAL}, sort_keys=True)
    return f"{zlib.crc32(written.encode()):08x}"


def crc32(path: str | os.PathLike[str]) -> str:
    """The CRC-32 of a file's bytes, in hexadecimal: it finds every flipped bit, faster than :func:`sha256`."""
    value = 0
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
