"""Flawed translations: counted, and translated once more with a wider beam to keep the better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairseq_musc.translate.engine import Hypothesis
from fairseq_musc.translate.job import Task
from fairseq_musc.translate.quality import FLAWS, flaws, tally

#: By how much the beam is wider the second time.
FACTOR = 2
#: Texts that are looked through at a time.
AT_ONCE = 5000


def wider(task: Task) -> Task:
    """The same with a wider beam, all of whose hypotheses are looked at; batches are smaller by as much."""
    beam = FACTOR * task.decoding.beam
    return task._replace(
        decoding=replace(task.decoding, beam=beam, nbest=beam),
        device=replace(task.device, batch_tokens=max(1, task.device.batch_tokens // FACTOR)),
    )


def mend(
    first: Mapping[str, Sequence[Hypothesis]],
    second: Mapping[str, Sequence[Hypothesis]],
    source_lang: str,
    target_lang: str,
) -> dict[str, list[Hypothesis]]:
    """The sentences whose second translation is better than the first.

    Better is what has fewer flaws; of several hypotheses of the second the best one with the fewest is taken.

    Args:
        first: the hypotheses of flawed sentences, best first.
        second: those of the wider beam, best first.

    Returns:
        sentence -> as many hypotheses as before, the better one in front.
    """
    mended = {}
    for sentence, hypotheses in first.items():
        best = min(
            [hypotheses[0], *second[sentence]],  # of equals the first in the list is the least
            key=lambda hypothesis: len(flaws(sentence, hypothesis.text, source_lang, target_lang)),
        )
        if best is not hypotheses[0]:
            mended[sentence] = [best, *hypotheses][: len(hypotheses)]
    return mended


def flaws_of_each(
    sources: Sequence[str], translations: Sequence[str], source_lang: str, target_lang: str
) -> list[list[str]]:
    """The flaws of each translation, found by as many processes as there are processors where there are many texts.

    A processor takes a second for some thousands of texts, which is no longer than GPUs take to translate them.
    """
    slices = [slice(start, start + AT_ONCE) for start in range(0, len(sources), AT_ONCE)]
    if len(slices) < 2:
        return flaws_of_some(sources, translations, source_lang, target_lang)
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=-1)(
        delayed(flaws_of_some)(sources[part], translations[part], source_lang, target_lang) for part in slices
    )
    return [names for part in found for names in part]


def flaws_of_some(
    sources: Sequence[str], translations: Sequence[str], source_lang: str, target_lang: str
) -> list[list[str]]:
    """The flaws of each translation."""
    return [flaws(*pair, source_lang, target_lang) for pair in zip(sources, translations, strict=True)]


def flaws_in(sources: Sequence[str], translations: Sequence[str], source_lang: str, target_lang: str) -> dict[str, int]:
    """How many texts there are, how many are ``flawed``, and how many have each of the :data:`FLAWS`."""
    found = flaws_of_each(sources, translations, source_lang, target_lang)
    return {"texts": len(found), **tally(found)}


def told(counts: Mapping[str, int]) -> str:
    """Counts as a line says them, e.g. ``3 of 400 texts flawed (1 copy, 2 loop)``."""
    kinds = ", ".join(f"{counts[name]} {name}" for name in FLAWS if counts[name])
    return f"{counts['flawed']} of {counts['texts']} texts flawed" + (f" ({kinds})" if kinds else "")
