"""Texts -> translated texts, one for one and in order: splitting, the job, joining.

Texts are split in blocks. What is known of all of them, their sentences and how a text is made of these, lies on disk.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from fairseq_musc.progress import progress_bar
from fairseq_musc.translate import documents
from fairseq_musc.translate.at_once import plan_for
from fairseq_musc.translate.chunks import WorkFolder
from fairseq_musc.translate.engine import Decoding, Device
from fairseq_musc.translate.flaw_counts import flaws_of_pairs
from fairseq_musc.translate.job import Task, Workers, translate_all
from fairseq_musc.translate.provenance import way_of
from fairseq_musc.translate.retranslation import mend, wider
from fairseq_musc.translate.sentences import Sentences, temporary_database

#: Texts that are split at a time.
BLOCK = 4096


@dataclass(frozen=True)
class Setup:
    """Who translates in a run, and how."""

    engine: str
    workers: Workers
    decoding: Decoding
    device: Device
    chunk: int
    """Sentences a chunk, at most."""
    retranslate: bool
    """Whether flawed sentences are translated once more."""
    overwrite: bool
    """Whether what is there and was made otherwise is replaced."""

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """That of the engine, asked for once: it takes the checksums of large files."""
        return self.workers.engine(self.decoding).provenance()

    @property
    def ranks(self) -> range:
        """1 for the best translation of each text, and so on."""
        return range(1, self.decoding.nbest + 1)

    def split(self, texts: Iterable[str], source_lang: str, target_lang: str) -> SplitTexts:
        """The sentences of texts, as the engine is given them."""
        found = SplitTexts(documents.between_sentences(target_lang))
        engine = self.workers.engine(self.decoding)
        remaining = iter(texts)
        with progress_bar(None, "texts", f"{source_lang} -> {target_lang}: split") as bar:
            while block := list(islice(remaining, BLOCK)):
                found.add(plan_for(block, source_lang, target_lang, engine, self.decoding))
                bar.update(len(block))
        return found

    def work_folder(self, beside: Path, source_lang: str, target_lang: str, again: bool = False) -> WorkFolder:
        """Where sentences lie that were translated in this way, or ``again`` with the wider beam."""
        decoding = self.task(source_lang, target_lang, again).decoding
        return WorkFolder(beside, way_of(source_lang, target_lang, self.provenance, decoding))

    def task(self, source_lang: str, target_lang: str, again: bool = False) -> Task:
        """What is to be done with sentences: translate them, or translate them ``again`` with a wider beam."""
        task = Task(source_lang, target_lang, self.decoding, self.device)
        return wider(task) if again else task

    def clean_up(self, beside: Path, source_lang: str, target_lang: str, texts: Iterable[str]) -> None:
        """Takes away what a run has left that was killed behind its last file, if there is anything.

        Args:
            texts: those that are all translated and written; they are gone through only if there is.
        """
        folders = [self.work_folder(beside, source_lang, target_lang, again) for again in (False, True)]
        left = [folder for folder in folders if folder.path.exists()]
        if not left:
            return
        done = self.split(texts, source_lang, target_lang).sentences
        for folder in left:
            for _ in folder.known():
                pass
            folder.clear(done)

    def asked(self, source_lang: str, target_lang: str, rank: int) -> dict[str, Any]:
        """What the provenance of the translations of a rank is held against: all that decides them but their source.

        The number of hypotheses that are kept decides nothing about one of them, and is left out.
        """
        way = way_of(source_lang, target_lang, self.provenance, self.decoding)
        del way["nbest"]
        return {**way, "retranslate": self.retranslate} | ({"hypothesis": rank} if rank > 1 else {})


class SplitTexts:
    """The sentences of texts, distinct in the order of their first place, and how each text is made of them: on disk.

    Args:
        between: what joins the sentences of a paragraph.
    """

    def __init__(self, between: str) -> None:
        self.sentences = Sentences()
        self._between = between
        self._cut = Sentences()
        self._counts: Counter[str] = Counter()
        self._layouts = temporary_database()
        self._layouts.execute("CREATE TABLE layouts (number INTEGER PRIMARY KEY, layout TEXT NOT NULL)")

    def add(self, plan: documents.Plan) -> None:
        """Puts some texts behind those that are there."""
        number = self.sentences.add(plan.sentences)
        self._cut.add(plan.cut)
        rows = [
            (
                len(self) + i,
                json.dumps([piece if isinstance(piece, str) else [number[j] for j in piece] for piece in text]),
            )
            for i, text in enumerate(plan.layout)
        ]
        self._layouts.executemany("INSERT INTO layouts VALUES (?, ?)", rows)
        self._counts.update({name: plan.counts[name] for name in ("texts", "blank", "sentences")})

    def __len__(self) -> int:
        return self._counts["texts"]

    @property
    def counts(self) -> dict[str, int]:
        """As :attr:`fairseq_musc.translate.documents.Plan.counts`."""
        there = {name: self._counts[name] for name in ("texts", "blank", "sentences")}
        return {**there, "distinct": len(self.sentences), "cut": len(self._cut)}

    def joined(self, rank: int, first: int, last: int) -> Iterator[str]:
        """The translations of the texts from the one numbered ``first`` to the one before ``last``.

        Args:
            rank: which of a sentence's hypotheses is taken, 1 for the best; where it has fewer, its last.
        """
        found = self._layouts.execute(
            "SELECT layout FROM layouts WHERE number >= ? AND number < ? ORDER BY number", (first, last)
        )
        for (layout,) in found:
            yield documents.joined(
                json.loads(layout), self._between, lambda i: self.sentences.hypotheses(i)[:rank][-1].text
            )


@dataclass(frozen=True)
class TranslatedTexts:
    """What became of some texts. Made by :func:`translate_texts`."""

    split: SplitTexts
    counts: dict[str, int]
    """Those of the split, and ``flawed`` sentences and ``mended`` ones where they were translated once more."""
    folder: WorkFolder
    again: WorkFolder
    """Where the second translations of flawed sentences lie, if there are any."""

    def told(self) -> str:
        """The counts that are worth a line."""
        counts = self.counts
        parts = [
            f"{counts['blank']} of {counts['texts']} texts blank and left alone",
            f"{counts['cut']} of {counts['distinct']} sentences too long and cut",
        ]
        if "flawed" in counts:
            parts.append(f"{counts['flawed']} flawed and translated once more, {counts['mended']} of these mended")
        return ", ".join(parts)

    def texts(self, rank: int = 1, first: int = 0, last: int | None = None) -> Iterator[str]:
        """The translated texts, in order, each of the hypotheses of this rank of its sentences; all, or a stretch.

        Args:
            rank: 1 for the best. Where a sentence has fewer hypotheses, its last is taken.
            first: the number of the first text, from 0.
            last: that of the text behind the last.
        """
        return self.split.joined(rank, first, len(self.split) if last is None else last)

    def ending(self, finished: Callable[[], bool]) -> AbstractContextManager[bool]:
        """For the one process that writes the texts: see :meth:`WorkFolder.ending`."""
        return self.folder.ending(finished)

    def clear(self, *also: Container[str]) -> int:
        """Takes away the chunks that hold no other sentences than those of the texts and those of ``also``.

        Returns:
            How many stay.
        """
        return sum(folder.clear(self.split.sentences, *also) for folder in (self.folder, self.again))


def translate_texts(
    texts: Iterable[str],
    source_lang: str,
    target_lang: str,
    beside: Path,
    setup: Setup,
    finished: Callable[[], bool],
) -> TranslatedTexts | None:
    """Translates texts, each to one text in the same place.

    Args:
        texts: what is to be translated; gone through once.
        source_lang: their language.
        target_lang: the language to translate them into.
        beside: where the work folder lies until the texts are written.
        setup: who translates, and how.
        finished: whether another process has written what the texts are translated for.

    Returns:
        None if another process has.

    Raises:
        InputError: the work folder cannot be written to.
    """
    split = setup.split(texts, source_lang, target_lang)
    sentences = split.sentences
    folder, again = (setup.work_folder(beside, source_lang, target_lang, again) for again in (False, True))
    counts = split.counts
    whole = translate_all(sentences, folder, setup.workers, setup.task(source_lang, target_lang), finished, setup.chunk)
    if setup.retranslate and whole:
        flawed = flawed_of(sentences, source_lang, target_lang)
        task = setup.task(source_lang, target_lang, again=True)
        whole = translate_all(flawed, again, setup.workers, task, finished, setup.chunk)
        if whole:
            mended = 0
            for sentence, others in flawed.items():
                better = mend({sentence: sentences.of(sentence)}, {sentence: others}, source_lang, target_lang)
                sentences.put(better.items())
                mended += len(better)
            counts |= {"flawed": len(flawed), "mended": mended}
    if not whole:
        for unneeded in (folder, again):
            unneeded.clear(sentences)
        return None
    return TranslatedTexts(split, counts, folder, again)


def flawed_of(sentences: Sentences, source_lang: str, target_lang: str) -> Sentences:
    """Those whose best translation has a flaw."""
    best = ((sentence, hypotheses[0].text) for sentence, hypotheses in sentences.items())
    flaws = chain.from_iterable(flaws_of_pairs(best, source_lang, target_lang))
    flawed = Sentences()
    flawed.add(sentence for (sentence, _), found in zip(sentences.items(), flaws, strict=True) if found)
    return flawed
