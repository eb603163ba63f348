"""Flawed sentences translated once more, with a wider beam, to keep the better translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairseq_musc.translate.engine import Hypothesis
from fairseq_musc.translate.job import Task
from fairseq_musc.translate.quality import flaws

#: By how much the beam is wider the second time.
FACTOR = 2


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
