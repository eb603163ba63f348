"""Distinct sentences and their translations, on disk, so that memory does not grow with what is translated.

That a sentence was there before, and what became of it, has to be known of every sentence of a direction at any time. A
temporary database of SQLite tells it, which lies in the folder that ``SQLITE_TMPDIR`` or ``TMPDIR`` names, else in
``/var/tmp``, and is gone when the process is, however that ends. Of it :data:`CACHE` is in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from fairseq_musc.data.align import digest_of
from fairseq_musc.errors import InputError
from fairseq_musc.translate.chunks import Chunk, chunk_of
from fairseq_musc.translate.engine import Hypothesis

#: KiB of a database that are kept in memory.
CACHE = 16 * 1024


def temporary_database() -> sqlite3.Connection:
    """A database of this process alone, with nothing in it. There is nothing to be rolled back after a crash."""
    database = sqlite3.connect("", isolation_level=None)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute(f"PRAGMA cache_size = -{CACHE}")
    return database


@contextmanager
def room_is_needed() -> Iterator[None]:
    """Turns errors of a temporary database, a full disk, into an :class:`InputError` that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(
            f"the temporary database of the sentences cannot be kept: {error}. It lies in the folder that TMPDIR "
            "names, else in /var/tmp: make room there, or name another folder, and start the same command again"
        ) from error


class Sentences:
    """Distinct sentences, numbered in the order in which they were added, and the translations of some of them."""

    def __init__(self) -> None:
        self._database = temporary_database()
        # by digest, as an index of whole sentences would hold all of them a second time
        self._database.execute(
            "CREATE TABLE sentences (number INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, sentence TEXT NOT NULL)"
        )
        self._database.execute("CREATE TABLE translations (number INTEGER PRIMARY KEY, hypotheses TEXT NOT NULL)")
        self._count = 0
        self._chunks: dict[str, tuple[int, int]] = {}  # name -> the numbers of its first and its last sentence

    def add(self, sentences: Iterable[str]) -> list[int]:
        """The number of each sentence, a new one if it was not there."""
        numbers = []
        with self._written_together():
            for sentence in sentences:
                number = self._number(sentence)
                if number is None:
                    number = self._count
                    row = (number, digest_of(sentence), sentence)
                    self._database.execute("INSERT INTO sentences VALUES (?, ?, ?)", row)
                    self._count += 1
                numbers.append(number)
        return numbers

    def __len__(self) -> int:
        return self._count

    def __contains__(self, sentence: object) -> bool:
        return self._number(str(sentence)) is not None

    def put(self, translations: Iterable[tuple[str, Sequence[Hypothesis]]]) -> None:
        """Keeps the hypotheses of sentences, in place of those that were there; of others than these sentences none."""
        with self._written_together():
            for sentence, hypotheses in translations:
                number = self._number(sentence)
                if number is not None:
                    row = (number, json.dumps(hypotheses, ensure_ascii=False))
                    self._database.execute("INSERT OR REPLACE INTO translations VALUES (?, ?)", row)

    def hypotheses(self, number: int) -> list[Hypothesis]:
        """Those of a sentence, best first.

        Raises:
            KeyError: it has none.
        """
        found = self._database.execute("SELECT hypotheses FROM translations WHERE number = ?", (number,)).fetchone()
        if found is None:
            raise KeyError(number)
        return _hypotheses(found[0])

    def of(self, sentence: str) -> list[Hypothesis]:
        """The hypotheses of a sentence, as :meth:`hypotheses`."""
        number = self._number(sentence)
        if number is None:
            raise KeyError(sentence)
        return self.hypotheses(number)

    def items(self) -> Iterator[tuple[str, list[Hypothesis]]]:
        """The sentences that have translations, in order, with their hypotheses."""
        found = self._database.execute(
            "SELECT sentence, hypotheses FROM sentences JOIN translations USING (number) ORDER BY number"
        )
        return ((sentence, _hypotheses(hypotheses)) for sentence, hypotheses in found)

    def untranslated(self) -> int:
        """How many have no translation."""
        ((count,),) = self._database.execute("SELECT count(*) FROM translations")
        return self._count - count

    def chunks(self, size: int) -> list[str]:
        """The names of the chunks of ``size`` in which those without a translation are to be translated, in order."""
        rows = self._without_translation(0, self._count)
        self._chunks = {}
        while part := list(islice(rows, size)):
            name = chunk_of([sentence for _, sentence in part]).name
            self._chunks[name] = part[0][0], part[-1][0]
        return [*self._chunks]

    def chunk(self, name: str) -> Chunk:
        """One of :meth:`chunks`, as long as none of its sentences has a translation."""
        return chunk_of([sentence for _, sentence in self._without_translation(*self._chunks[name])])

    def _without_translation(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        return self._database.execute(
            "SELECT number, sentence FROM sentences LEFT JOIN translations USING (number) "
            "WHERE hypotheses IS NULL AND number BETWEEN ? AND ? ORDER BY number",
            (first, last),
        )

    def _number(self, sentence: str) -> int | None:
        digest = digest_of(sentence)
        found = self._database.execute("SELECT number FROM sentences WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else found[0]

    @contextmanager
    def _written_together(self) -> Iterator[None]:
        """Many rows at once: SQLite looks after its files at the end of each statement otherwise."""
        self._database.execute("BEGIN")
        try:
            yield
        finally:
            if self._database.in_transaction:  # a full disk has ended it
                self._database.execute("COMMIT")


def _hypotheses(text: str) -> list[Hypothesis]:
    return [Hypothesis(*each) for each in json.loads(text)]
