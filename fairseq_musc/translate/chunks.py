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
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
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


def chunk_of(sentences: Sequence[str]) -> Chunk:
    """A chunk of some sentences. The same sentences always make the same chunk."""
    return Chunk(digest(*sentences)[:16], tuple(sentences))


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
        self._known: set[str] = set()  # the names of the chunks that this process has read or written
        self._damaged: set[str] = set()
        self._claims: dict[str, BaseFileLock] = {}

    def known(self) -> Iterator[Translations]:
        """The translations that lie there, chunk by chunk. A file that is damaged is said and counts as not there."""
        for path in sorted(self.path.glob("*.jsonl")):
            if found := self.read(path.stem):
                yield found

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
        self._known.add(name)
        return found

    def store(self, chunk: Chunk, hypotheses: Sequence[Sequence[Hypothesis]]) -> None:
        """Writes a finished chunk, and lets go of it.

        Args:
            chunk: one whose name :meth:`claims` gave out.
            hypotheses: those of each of its sentences, best first.

        Raises:
            InputError: the folder cannot be written to.
        """
        rows = zip(chunk.sentences, hypotheses, strict=True)
        rest = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        about = {"format": FORMAT, "sentences": len(chunk.sentences), "sha256": hashlib.sha256(rest).hexdigest()}
        with self.failing_plainly(), written_whole(self.path / f"{chunk.name}.jsonl", "wb") as stream:
            stream.write(json.dumps(about).encode() + b"\n" + rest)
        self._known.add(chunk.name)
        self.let_go(chunk.name)

    def claims(self, names: Iterable[str], finished: Callable[[], bool]) -> Iterator[str]:
        """Those of the chunks that are neither done nor in the hands of another process, each claimed for this one.

        The next is claimed when it is asked for; until :meth:`store` it stays claimed.

        Args:
            names: of the candidates.
            finished: whether another process has written what the chunks are for, and taken them away.
        """
        for name in names:
            if not self.claim(name):
                continue
            # what was done between the last look and the claim
            if (self.path / f"{name}.jsonl").exists() and self.read(name) is not None:
                self.let_go(name)
            elif finished():
                self.let_go(name)
                return
            else:
                yield name

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

    def clear(self, *done: Container[str]) -> int:
        """Takes away the chunks that hold no other sentences than those in ``done``, and the folder if none are left.

        Only chunks that this process has read or written before. They are read again for it, one at a time.

        Args:
            done: hold sentences of which no chunk is needed any more.

        Returns:
            How many chunks stay, for other jobs.
        """
        while self.path.exists() and not self.claim(ENDING):
            time.sleep(PATIENCE)
        try:
            for name in self._known:
                sentences = self.read(name)
                if sentences and all(any(sentence in each for each in done) for sentence in sentences):
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
