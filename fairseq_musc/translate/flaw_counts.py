"""The flaws of many translations: found side by side, block by block, counted, and said in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from fairseq_musc.translate.quality import DEFAULTS, FLAWS, Thresholds, flaws, tally

#: Texts that a process looks through at a time.
AT_ONCE = 1000


def flaws_of_pairs(
    pairs: Iterable[tuple[str, str]], source_lang: str, target_lang: str, thresholds: Thresholds = DEFAULTS
) -> Iterator[list[list[str]]]:
    """The :func:`~fairseq_musc.translate.quality.flaws` of each text and its translation, in order, in blocks.

    They are found by as many processes as there are processors where there are many texts: one takes a second for some
    thousands of them, and GPUs take no longer to translate them. As many blocks as there are processes are in memory.
    """
    remaining = iter(pairs)
    blocks = iter(lambda: list(islice(remaining, AT_ONCE)), [])
    first, second = next(blocks, []), next(blocks, [])
    if not second:
        if first:
            yield flaws_of_some(first, source_lang, target_lang, thresholds)
        return
    from joblib import Parallel, delayed, effective_n_jobs

    blocks = chain([first, second], blocks)
    with Parallel(n_jobs=-1) as parallel:
        # pairs are read here, between the rounds: joblib would do it in a thread of its own
        while together := list(islice(blocks, effective_n_jobs(-1))):
            yield from parallel(delayed(flaws_of_some)(some, source_lang, target_lang, thresholds) for some in together)


def flaws_of_each(
    sources: Sequence[str],
    translations: Sequence[str],
    source_lang: str,
    target_lang: str,
    thresholds: Thresholds = DEFAULTS,
    progress: Callable[[int], object] | None = None,
) -> list[list[str]]:
    """The flaws of each translation of some texts in memory, see :func:`flaws_of_pairs`.

    Args:
        progress: is called with the number of texts that were looked at since the last call.

    Raises:
        ValueError: the two have not the same length.
    """
    if len(sources) != len(translations):
        raise ValueError(f"there are {len(sources)} texts and {len(translations)} translations")
    found: list[list[str]] = []
    pairs = zip(sources, translations, strict=True)
    for part in flaws_of_pairs(pairs, source_lang, target_lang, thresholds):
        found += part
        if progress is not None:
            progress(len(part))
    return found


def flaws_of_some(
    pairs: Iterable[tuple[str, str]], source_lang: str, target_lang: str, thresholds: Thresholds
) -> list[list[str]]:
    """The flaws of each translation."""
    return [flaws(*pair, source_lang, target_lang, thresholds) for pair in pairs]


def flaws_in(sources: Iterable[str], translations: Iterable[str], source_lang: str, target_lang: str) -> dict[str, int]:
    """How many ``texts`` there are, how many are ``flawed``, and how many have each flaw.

    Raises:
        ValueError: there are more of the one than of the other.
    """
    counts = {"texts": 0, **tally([])}
    for found in flaws_of_pairs(zip(sources, translations, strict=True), source_lang, target_lang):
        for name, count in {"texts": len(found), **tally(found)}.items():
            counts[name] += count
    return counts


def told(counts: Mapping[str, int]) -> str:
    """Counts as a line says them, e.g. ``3 of 400 texts flawed (1 copy, 2 loop)``."""
    kinds = ", ".join(f"{counts[name]} {name}" for name in FLAWS if counts[name])
    return f"{counts['flawed']} of {counts['texts']} texts flawed" + (f" ({kinds})" if kinds else "")
