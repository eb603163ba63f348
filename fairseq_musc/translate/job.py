"""Sentences -> their translations, through the work folder: resumable, and shared by all who work on the same.

Chunks are made of the sentences in the order of the texts. What is in memory are those in hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from fairseq_musc.progress import progress_bar, say
from fairseq_musc.translate.batches import translate_sentences
from fairseq_musc.translate.chunks import PATIENCE, Chunk, WorkFolder
from fairseq_musc.translate.engine import Decoding, Device, Engine, Hypothesis
from fairseq_musc.translate.sentences import Sentences

#: Sentences a chunk: what is lost at most when a process is killed, and what another can take over. A minute or so of
#: a processor's time; GPUs in half precision are faster.
CHUNK, CHUNK_IN_HALF_PRECISION = 2048, 16384

#: Opens the engine, for one decoding after another.
Opener = Callable[[Decoding], Engine]
Translated = Iterator[tuple[Chunk, Sequence[Sequence[Hypothesis]]]]


class Task(NamedTuple):
    """What is to be done with sentences."""

    source_lang: str
    target_lang: str
    decoding: Decoding
    device: Device
    """The size of batches."""


class Workers(Protocol):
    """Who translates chunks: this process, or many."""

    number: int
    """How many chunks are in hand at a time."""

    def engine(self, decoding: Decoding) -> Engine:
        """The engine, for all but its ``translate``."""
        ...

    def translate(self, chunks: Iterable[Chunk], task: Task, progress: Callable[[int], object]) -> Translated:
        """Takes the next chunk when a worker is free for it.

        Args:
            chunks: what is to be translated.
            task: from and into which language, and how.
            progress: called with the number of sentences done since the last call; all of a chunk before it is yielded.

        Yields:
            each chunk with the hypotheses of each of its sentences, in the order in which they are done.
        """
        ...


class Here:
    """One worker: this process.

    Args:
        opener: opens the engine.
    """

    number = 1

    def __init__(self, opener: Opener):
        self._opener = opener
        self._engines: dict[Decoding, Engine] = {}

    def engine(self, decoding: Decoding) -> Engine:
        """The engine, opened once for each decoding."""
        if decoding not in self._engines:
            self._engines[decoding] = self._opener(decoding)
        return self._engines[decoding]

    def translate(self, chunks: Iterable[Chunk], task: Task, progress: Callable[[int], object]) -> Translated:
        """Translates one chunk after another. See :meth:`Workers.translate`."""
        engine = self.engine(task.decoding)
        for chunk in chunks:
            yield chunk, translate_chunk(chunk, engine, task, progress)


def translate_chunk(
    chunk: Chunk, engine: Engine, task: Task, progress: Callable[[int], object] | None = None
) -> list[list[Hypothesis]]:
    """The hypotheses of each sentence of a chunk: what a worker does, wherever it is."""
    return translate_sentences(chunk.sentences, engine, task.source_lang, task.target_lang, task.device, progress)


def translate_all(
    sentences: Sentences,
    folder: WorkFolder,
    workers: Workers,
    task: Task,
    finished: Callable[[], bool],
    size: int,
) -> bool:
    """Translates sentences, but for those whose translation lies in the work folder.

    Chunks that another process has in hand are waited for, and taken over if it dies.

    Args:
        sentences: are given their translations.
        folder: of the direction and of this way of translating.
        workers: who translates.
        task: from and into which language, and how; the folder's way says the same.
        finished: whether another process has written what the sentences are translated for.
        size: sentences a chunk, at most: where there are several workers there are several chunks for each.

    Returns:
        Whether each has one; False if ``finished`` became true before.

    Raises:
        InputError: the work folder cannot be written to. Finished chunks stay there then.
    """
    direction = f"{task.source_lang} -> {task.target_lang}"
    for known in folder.known():
        sentences.put(known.items())
    missing = sentences.untranslated()
    done = len(sentences) - missing
    if done and missing:
        say(f"{direction}: {done} of {len(sentences)} sentences are translated already")
    chunks = sentences.chunks(fitting(size, missing, workers.number))
    if not chunks:
        return True
    waited = False
    try:
        with progress_bar(len(sentences), "sentences", direction, done, delay=0) as bar:
            while chunks:
                claims = map(sentences.chunk, folder.claims(chunks, finished))
                stored = set()
                for chunk, hypotheses in workers.translate(claims, task, bar.update):
                    folder.store(chunk, hypotheses)
                    sentences.put(zip(chunk.sentences, hypotheses, strict=True))
                    stored.add(chunk.name)
                chunks = [name for name in chunks if name not in stored]
                for name in [*chunks]:
                    if (others := folder.read(name)) is not None:
                        sentences.put(others.items())
                        bar.update(len(others))
                        chunks.remove(name)
                if chunks and finished():
                    return False
                if chunks and not stored:
                    if not waited:
                        say("other processes have the remaining sentences in hand; waiting for them")
                    waited = True
                    time.sleep(PATIENCE)
    finally:
        folder.let_go_of_all()
    return True


def fitting(size: int, sentences: int, workers: int) -> int:
    """The size of a chunk: ``size``, or less so that each of several workers gets at least four of them."""
    return min(size, max(1, -(-sentences // (4 * workers)))) if workers > 1 else size
