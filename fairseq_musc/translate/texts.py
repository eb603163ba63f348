"""Texts -> translated texts, one for one and in order: splitting, the job, joining."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_musc.translate import documents
from fairseq_musc.translate.chunks import Translations, WorkFolder
from fairseq_musc.translate.engine import Decoding, Device
from fairseq_musc.translate.job import Workers, translate_all
from fairseq_musc.translate.provenance import way_of


@dataclass(frozen=True)
class Setup:
    """Who translates in a run, and how."""

    engine: str
    workers: Workers
    decoding: Decoding
    device: Device
    chunk: int
    """Sentences a chunk, at most."""
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
        engine = self.workers.engine(self.decoding)
        longest = min(self.decoding.longest, engine.longest)
        return documents.plan(texts, source_lang, target_lang, engine.lengths, longest, self.decoding.normalise)

    def work_folder(self, beside: Path, source_lang: str, target_lang: str) -> WorkFolder:
        """Where sentences lie that were translated in this way."""
        return WorkFolder(beside, way_of(source_lang, target_lang, self.provenance, self.decoding))

    def asked(self, source_lang: str, target_lang: str, rank: int) -> dict[str, Any]:
        """What the provenance of the translations of a rank is held against: all that decides them but their source.

        The number of hypotheses that are kept decides nothing about one of them, and is left out.
        """
        way = way_of(source_lang, target_lang, self.provenance, self.decoding)
        del way["nbest"]
        return way | ({"hypothesis": rank} if rank > 1 else {})


@dataclass(frozen=True)
class TranslatedTexts:
    """What became of some texts. Made by :func:`translate_texts`."""

    plan: documents.Plan
    hypotheses: Translations
    folder: WorkFolder

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
        return self.folder.clear({*self.plan.sentences, *also})


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
    folder = setup.work_folder(beside, source_lang, target_lang)
    hypotheses = translate_all(plan.sentences, folder, setup.workers, setup.decoding, finished, setup.chunk)
    if hypotheses is None:
        folder.clear(plan.sentences)
        return None
    return TranslatedTexts(plan, hypotheses, folder)
