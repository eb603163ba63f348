"""Sentences -> batches of like length -> an engine -> their hypotheses, in the order of the sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fairseq_musc.translate.engine import Device, Engine, Hypothesis

#: What a sentence counts at least, in pieces. The translation of a short one can be several times as long, and each
#: step of the search holds a score for every word of the dictionary, whatever the length of the sentence.
LEAST = 16


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Batches of sentences of like length, the longest first, so that memory that does not suffice fails at once.

    Args:
        lengths: the pieces of each sentence.
        batch_tokens: a batch has no more than this, its sentences times the pieces of its longest (and those at least
            :data:`LEAST`), unless it is a single sentence.

    Returns:
        for each batch the numbers of its sentences; every number stands in one batch. Sentences of the same length
        stay in order.
    """
    batches: list[list[int]] = []
    room = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not room:
            batches.append([])
            room = max(1, batch_tokens // max(lengths[i], LEAST))
        batches[-1].append(i)
        room -= 1
    return batches


def translate_sentences(
    sentences: Sequence[str],
    engine: Engine,
    source_lang: str,
    target_lang: str,
    device: Device,
    progress: Callable[[int], object] | None = None,
) -> list[list[Hypothesis]]:
    """The hypotheses of each sentence, best first, in the order of the sentences.

    Args:
        sentences: none blank and none longer than the engine reads.
        progress: is called with the number of sentences that were done since the last call.

    Raises:
        ValueError: the engine did not answer each batch, or each sentence of one; a defect of the engine.
    """
    batches = batches_by_length(engine.lengths(sentences), device.batch_tokens)
    texts: Iterator[list[str]] = ([sentences[i] for i in batch] for batch in batches)
    found: list[list[Hypothesis]] = [[] for _ in sentences]
    for batch, hypotheses in zip(batches, engine.translate(texts, source_lang, target_lang), strict=True):
        for i, of_sentence in zip(batch, hypotheses, strict=True):
            found[i] = of_sentence
        if progress is not None:
            progress(len(batch))
    if not all(found):
        raise ValueError(f"the engine gave no translation of {found.count([])} of {len(found)} sentences")
    return found
