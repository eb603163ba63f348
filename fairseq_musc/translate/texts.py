"""Texts -> translated texts, one for one and in order: splitting, the job, joining."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_musc.translate import documents
from fairseq_musc.translate.at_once import plan_for
from fairseq_musc.translate.chunks import Translations, WorkFolder
from fairseq_musc.translate.engine import Decoding, Device
from fairseq_musc.translate.flaw_counts import flaws_of_each
from fairseq_musc.translate.job import Task, Workers, translate_all
from fairseq_musc.translate.provenance import way_of
from fairseq_musc.translate.retranslation import mend, wider


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

    def plan(self, texts: Sequence[str], source_lang: str, target_lang: str) -> documents.Plan:
        """The sentences of texts, as the engine is given them."""
        return plan_for(texts, source_lang, target_lang, self.workers.engine(self.decoding), self.decoding)

    def work_folder(self, beside: Path, source_lang: str, target_lang: str, again: bool = False) -> WorkFolder:
        """Where sentences lie that were translated in this way, or ``again`` with the wider beam."""
        decoding = self.task(source_lang, target_lang, again).decoding
        return WorkFolder(beside, way_of(source_lang, target_lang, self.provenance, decoding))

    def task(self, source_lang: str, target_lang: str, again: bool = False) -> Task:
        """What is to be done with sentences: translate them, or translate them ``again`` with a wider beam."""
        task = Task(source_lang, target_lang, self.decoding, self.device)
        return wider(task) if again else task

    def clean_up(self, beside: Path, source_lang: str, target_lang: str, texts: Callable[[], Sequence[str]]) -> None:
        """Takes away what a run has left that was killed behind its last file, if there is anything.

        Args:
            texts: gives those that are all translated and written.
        """
        folders = [self.work_folder(beside, source_lang, target_lang, again) for again in (False, True)]
        left = [folder for folder in folders if folder.path.exists()]
        done = set(self.plan(texts(), source_lang, target_lang).sentences) if left else ()
        for folder in left:
            folder.known()
            folder.clear(done)

    def asked(self, source_lang: str, target_lang: str, rank: int) -> dict[str, Any]:
        """What the provenance of the translations of a rank is held against: all that decides them but their source.

        The number of hypotheses that are kept decides nothing about one of them, and is left out.
        """
        way = way_of(source_lang, target_lang, self.provenance, self.decoding)
        del way["nbest"]
        return {**way, "retranslate": self.retranslate} | ({"hypothesis": rank} if rank > 1 else {})


@dataclass(frozen=True)
class TranslatedTexts:
    """What became of some texts. Made by :func:`translate_texts`."""

    plan: documents.Plan
    hypotheses: Translations
    counts: dict[str, int]
    """Those of the plan, and ``flawed`` sentences and ``mended`` ones where they were translated once more."""
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

    def texts(self, rank: int = 1) -> list[str]:
        """The translated texts, in order, each of the hypotheses of this rank of its sentences.

        Args:
            rank: 1 for the best. Where a sentence has fewer hypotheses, its last is taken.
        """
        best = {sentence: self.hypotheses[sentence][:rank][-1].text for sentence in self.plan.sentences}
        results = self.plan.join(best)
        if len(results) != len(self.plan.layout):
            raise RuntimeError(f"{len(self.plan.layout)} texts were translated into {len(results)}")
        return results

    def ending(self, finished: Callable[[], bool]) -> AbstractContextManager[bool]:
        """For the one process that writes the texts: see :meth:`WorkFolder.ending`."""
        return self.folder.ending(finished)

    def clear(self, also: Iterable[str] = ()) -> int:
        """Takes away the chunks that hold no other sentences than those of the texts and those of ``also``.

        Returns:
            How many stay.
        """
        done = {*self.plan.sentences, *also}
        return self.folder.clear(done) + self.again.clear(done)


def translate_texts(
    texts: Sequence[str],
    source_lang: str,
    target_lang: str,
    beside: Path,
    setup: Setup,
    finished: Callable[[], bool],
) -> TranslatedTexts | None:
    """Translates texts, each to one text in the same place.

    Args:
        texts: what is to be translated.
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
    plan = setup.plan(texts, source_lang, target_lang)
    folder, again = (setup.work_folder(beside, source_lang, target_lang, again) for again in (False, True))
    counts = dict(plan.counts)
    hypotheses = translate_all(
        plan.sentences, folder, setup.workers, setup.task(source_lang, target_lang), finished, setup.chunk
    )
    if setup.retranslate and hypotheses is not None:
        best = [hypotheses[sentence][0].text for sentence in plan.sentences]
        found = flaws_of_each(plan.sentences, best, source_lang, target_lang)
        flawed = [sentence for sentence, flaws in zip(plan.sentences, found, strict=True) if flaws]
        task = setup.task(source_lang, target_lang, again=True)
        others = translate_all(flawed, again, setup.workers, task, finished, setup.chunk)
        if others is None:
            hypotheses = None
        else:
            first = {sentence: hypotheses[sentence] for sentence in flawed}
            mended = mend(first, others, source_lang, target_lang)
            hypotheses |= mended
            counts |= {"flawed": len(flawed), "mended": len(mended)}
    if hypotheses is None:
        for unneeded in (folder, again):
            unneeded.clear(plan.sentences)
        return None
    return TranslatedTexts(plan, hypotheses, counts, folder, again)
