"""The work folder of an unfinished translation: finished chunks of sentences, and who has which chunk in hand.

    .translate/de-en-1f3a5c7e9b2d/      one way of translating, from German into English
        way.json                        what the name stands for: translator, engine, decoding
        8c1d6a0b52e47f93.jsonl          a finished chunk: its sentences with their translations
        8c1d6a0b52e47f93.lock           locked while a process has this chunk in hand

The name of the folder is made of everything that decides how a sentence is translated, the name of a chunk of its
sentences. So whatever lies there is right for any job that wants one of these sentences translated in this way: a job
that is started again, with fewer corpora or more, or in chunks of another size, takes what is there. A chunk file
appears whole, and holds the checksum of the rest in its first line.

A process that dies gives its locks back; its chunks are then free. Locks are those of ``flock(2)``, by the library
`filelock`. Between machines they need a file system that passes them on: NFSv4 and NFSv3 with its lock service do, also
Lustre when mounted with ``flock``. Where locks are not passed on, two machines may translate the same chunk; they still
cannot damage a file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import BaseFileLock, FileLock, Timeout

from fairseq_musc.errors import InputError
from fairseq_musc.files import write_json, written_whole
from fairseq_musc.progress import say
from fairseq_musc.translate.engine import Hypothesis

#: The hidden folder, beside what is being made.
HIDDEN = ".translate"
#: The claim of the one process that writes what the chunks were translated for.
ENDING = "ending"
#: Seconds between two looks at what other processes have in hand.
PATIENCE = 1.0
FORMAT = 1

Translations = dict[str, list[Hypothesis]]


class Chunk(NamedTuple):
    """Sentences that one worker translates at a time."""

    name: str
    sentences: tuple[str, ...]


def chunks_of(sentences: Sequence[str], size: int) -> list[Chunk]:
    """Sentences in chunks of ``size``, the last of what is left. The same sentences always make the same chunks."""
    slices = [tuple(sentences[start : start + size]) for start in range(0, len(sentences), size)]
    return [Chunk(digest(*part)[:16], part) for part in slices]


def digest(*texts: str) -> str:
    """The SHA-256 of some texts, in hexadecimal."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


class WorkFolder:
    """The work folder of one way of translating in one direction.

    Args:
        beside: the folder in which the hidden one lies.
        way: everything that decides how a sentence is translated, ``source_language`` and ``target_language`` of it.
    """

    def __init__(self, beside: Path, way: Mapping[str, Any]):
        self.way = dict(way)
        key = digest(json.dumps(self.way, sort_keys=True))[:12]
        self.path = beside / HIDDEN / f"{way['source_language']}-{way['target_language']}-{key}"
        self._read: dict[str, Collection[str]] = {}  # chunk -> its sentences, of those that this process knows
        self._damaged: set[str] = set()
        self._claims: dict[str, BaseFileLock] = {}

    def known(self) -> Translations:
        """The translations that lie there. A chunk file that is damaged is said and counts as not there."""
        found: Translations = {}
        for path in sorted(self.path.glob("*.jsonl")):
            found |= self.read(path.stem) or {}
        return found

    def read(self, name: str) -> Translations | None:
        """The translations of a chunk; None if it is not there, or damaged, which is said."""
        path = self.path / f"{name}.jsonl"
        try:
            first, _, rest = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        try:
            about = json.loads(first)
            if about["format"] != FORMAT or about["sha256"] != hashlib.sha256(rest).hexdigest():
                raise ValueError
            rows = map(json.loads, rest.split(b"\n")[:-1])
            found = {sentence: [Hypothesis(*hypothesis) for hypothesis in hypotheses] for sentence, hypotheses in rows}
        except (ValueError, KeyError, TypeError, RecursionError):
            if name not in self._damaged:
                say(f"{path} is cut short or was changed; its sentences are translated again")
            self._damaged.add(name)
            return None
        self._read[name] = found.keys()
        return found

    def store(self, chunk: Chunk, hypotheses: Sequence[Sequence[Hypothesis]]) -> None:
        """Writes a finished chunk, and lets go of it.

        Args:
            chunk: one that :meth:`claims` gave out.
            hypotheses: those of each of its sentences, best first.

        Raises:
            InputError: the folder cannot be written to.
        """
        rows = zip(chunk.sentences, hypotheses, strict=True)
        rest = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        about = {"format": FORMAT, "sentences": len(chunk.sentences), "sha256": hashlib.sha256(rest).hexdigest()}
        with self.failing_plainly(), written_whole(self.path / f"{chunk.name}.jsonl", "wb") as stream:
            stream.write(json.dumps(about).encode() + b"\n" + rest)
        self._read[chunk.name] = chunk.sentences
        self.let_go(chunk.name)

    def claims(self, chunks: Iterable[Chunk], finished: Callable[[], bool]) -> Iterator[Chunk]:
        """Those of the chunks that are neither done nor in the hands of another process, each claimed for this one.

        The next is claimed when it is asked for; until :meth:`store` it stays claimed.

        Args:
            chunks: the candidates.
            finished: whether another process has written what the chunks are for, and taken them away.
        """
        for chunk in chunks:
            if not self.claim(chunk.name):
                continue
            # what was done between the last look and the claim
            if (self.path / f"{chunk.name}.jsonl").exists() and self.read(chunk.name) is not None:
                self.let_go(chunk.name)
            elif finished():
                self.let_go(chunk.name)
                return
            else:
                yield chunk

    def claim(self, name: str) -> bool:
        """Whether this process has a chunk, or :data:`ENDING`, for itself now.

        Raises:
            InputError: the folder cannot be written to, or nothing in it can be locked.
        """
        lock = FileLock(self.path / f"{name}.lock")
        with self.failing_plainly():
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                if not (self.path / "way.json").exists():
                    write_json(self.path / "way.json", self.way)
                lock.acquire(blocking=False)
            except Timeout:
                return False
            except FileNotFoundError:  # another process has just ended, and taken the folder away
                return False
        self._claims[name] = lock
        return True

    def let_go(self, name: str) -> None:
        """Gives up a claim; without one, does nothing."""
        if name in self._claims:
            self._claims.pop(name).release()

    def let_go_of_all(self) -> None:
        """Gives up every claim that is left."""
        for name in [*self._claims]:
            self.let_go(name)

    @contextmanager
    def ending(self, finished: Callable[[], bool]) -> Iterator[bool]:
        """For the one process that writes what the chunks were translated for; others wait here until it has.

        Args:
            finished: whether it is written.

        Yields:
            Whether this process is to write it.
        """
        while not (claimed := self.claim(ENDING)) and not finished():
            time.sleep(PATIENCE)
        try:
            yield claimed and not finished()
        finally:
            self.let_go(ENDING)

    @contextmanager
    def failing_plainly(self) -> Iterator[None]:
        """Turns errors of the file system into an :class:`InputError` that says what is kept and what to do."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{error.filename or self.path} cannot be written: {error.strerror}. What was translated before is "
                f"kept in {self.path}; mend the cause (space, permissions, locks on a network file system), and start "
                "the same command again"
            ) from error

    def clear(self, done: Collection[str]) -> int:
        """Takes away the chunks that hold no other sentences than those in ``done``, and the folder if none are left.

        Returns:
            How many chunks stay, for other jobs.
        """
        while self.path.exists() and not self.claim(ENDING):
            time.sleep(PATIENCE)
        try:
            for name, sentences in self._read.items():
                if all(sentence in done for sentence in sentences):
                    (self.path / f"{name}.jsonl").unlink(missing_ok=True)
            left = sum(1 for _ in self.path.glob("*.jsonl"))
            others = [path.stem for path in self.path.glob("*.lock") if path.stem not in self._claims]
            if not left and all(map(self.claim, others)):
                shutil.rmtree(self.path, ignore_errors=True)  # with what a killed process has left half written
                with suppress(OSError):  # there are other directions
                    self.path.parent.rmdir()
            return left
        finally:
            self.let_go_of_all()
