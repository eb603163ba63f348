"""Texts in memory -> translated texts, one for one and in order, by an engine that is open.

For what is translated in one go. :mod:`fairseq_musc.translate.texts` does the same for what takes hours: in chunks on
disk, by several processes, to be gone on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairseq_musc.progress import progress_bar
from fairseq_musc.translate import documents
from fairseq_musc.translate.batches import translate_sentences
from fairseq_musc.translate.engine import Decoding, Device, Engine


class Translation(NamedTuple):
    """Translated texts, and what was done to get them."""

    texts: list[str]
    counts: dict[str, int]
    """:attr:`fairseq_musc.translate.documents.Plan.counts`, and ``empty`` hypotheses."""


def plan_for(
    texts: Sequence[str], source_lang: str, target_lang: str, engine: Engine, decoding: Decoding
) -> documents.Plan:
    """The sentences of texts, as the engine is given them."""
    longest = min(decoding.longest, engine.longest)
    return documents.plan(texts, source_lang, target_lang, engine.lengths, longest, decoding.normalise)


def translate(
    texts: Sequence[str],
    source_lang: str,
    target_lang: str,
    engine: Engine,
    decoding: Decoding,
    device: Device,
    show_progress: bool = True,
) -> Translation:
    """Translates texts, each to one text in the same place, behind a bar if it takes long.

    Raises:
        InputError: the engine does not know a language.
    """
    engine.require([source_lang, target_lang])
    plan = plan_for(texts, source_lang, target_lang, engine, decoding)
    title = f"{source_lang} -> {target_lang}"
    with progress_bar(len(plan.sentences), "sentences", title, disable=not show_progress) as bar:
        hypotheses = translate_sentences(plan.sentences, engine, source_lang, target_lang, device, bar.update)
    translated = {sentence: best.text for sentence, (best, *_) in zip(plan.sentences, hypotheses, strict=True)}
    empty = sum(not text for text in translated.values())
    return Translation(plan.join(translated), {**plan.counts, "empty": empty})
