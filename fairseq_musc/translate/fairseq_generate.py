"""Texts -> translated texts, one for one and in order: documents, batches and an engine in one call."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.progress import progress_bar
from fairseq_musc.translate import documents
from fairseq_musc.translate.batches import translate_sentences
from fairseq_musc.translate.engine import Decoding, Device, Engine, open_engine
from fairseq_musc.translate.release import Translator


class Translation(NamedTuple):
    """Translated texts, and what was done to get them."""

    texts: list[str]
    counts: dict[str, int]
    """:attr:`fairseq_musc.translate.documents.Plan.counts`, and ``empty`` hypotheses."""


def translate(
    texts: Sequence[str],
    source_lang: str,
    target_lang: str,
    translator: Translator,
    decoding: Decoding,
    device: Device,
) -> Translation:
    """Translates texts, each to one text in the same place, by the engine ``fairseq``, behind a bar.

    Raises:
        InputError: a language that the translator does not know, or a checkpoint that holds other classes than a safe
            loader may build.
    """
    translator.require([source_lang, target_lang])
    engine = opened(translator.checkpoint.parent, decoding, device)
    longest = min(decoding.longest, engine.longest)
    plan = documents.plan(texts, source_lang, target_lang, engine.lengths, longest, decoding.normalise)
    with progress_bar(len(plan.sentences), "sentences", f"{source_lang} -> {target_lang}") as bar:
        hypotheses = translate_sentences(plan.sentences, engine, source_lang, target_lang, device, bar.update)
    translated = {sentence: best.text for sentence, (best, *_) in zip(plan.sentences, hypotheses, strict=True)}
    empty = sum(not text for text in translated.values())
    return Translation(plan.join(translated), {**plan.counts, "empty": empty})


@functools.lru_cache(maxsize=1)
def opened(folder: Path, decoding: Decoding, device: Device) -> Engine:
    """The engine, kept until another one is asked for."""
    return open_engine("fairseq", folder, decoding, device)


def provenance(source_lang: str, target_lang: str, translator: Translator, decoding: Decoding) -> dict[str, Any]:
    """What a translation was made with, as far as it decides the result."""
    return {
        "engine": "fairseq",
        "translator": translator.sha256,
        "source_language": source_lang,
        "target_language": target_lang,
        **asdict(decoding),
    }
