"""The flaws of many translations: found side by side, counted, and said in a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairseq_musc.translate.quality import DEFAULTS, FLAWS, Thresholds, flaws, tally

#: Texts that a process looks through at a time.
AT_ONCE = 5000


def flaws_of_each(
    sources: Sequence[str],
    translations: Sequence[str],
    source_lang: str,
    target_lang: str,
    thresholds: Thresholds = DEFAULTS,
    progress: Callable[[int], object] | None = None,
) -> list[list[str]]:
    """The :func:`~fairseq_musc.translate.quality.flaws` of each translation.

    They are found by as many processes as there are processors where there are many texts: one takes a second for some
    thousands of them, and GPUs take no longer to translate them.

    Args:
        progress: is called with the number of texts that were looked at since the last call.

    Raises:
        ValueError: the two have not the same length.
    """
    if len(sources) != len(translations):
        raise ValueError(f"there are {len(sources)} texts and {len(translations)} translations")
    slices = [slice(start, start + AT_ONCE) for start in range(0, len(sources), AT_ONCE)]
    looking = [(sources[part], translations[part], source_lang, target_lang, thresholds) for part in slices]
    if len(slices) < 2:
        parts = (flaws_of_some(*some) for some in looking)
    else:
        from joblib import Parallel, delayed

        parts = Parallel(n_jobs=-1, return_as="generator")(delayed(flaws_of_some)(*some) for some in looking)
    found: list[list[str]] = []
    for part in parts:
        found += part
        if progress is not None:
            progress(len(part))
    return found


def flaws_of_some(
    sources: Sequence[str], translations: Sequence[str], source_lang: str, target_lang: str, thresholds: Thresholds
) -> list[list[str]]:
    """The flaws of each translation."""
    return [flaws(*pair, source_lang, target_lang, thresholds) for pair in zip(sources, translations, strict=True)]


def flaws_in(sources: Sequence[str], translations: Sequence[str], source_lang: str, target_lang: str) -> dict[str, int]:
    """How many ``texts`` there are, how many are ``flawed``, and how many have each flaw."""
    found = flaws_of_each(sources, translations, source_lang, target_lang)
    return {"texts": len(found), **tally(found)}


def told(counts: Mapping[str, int]) -> str:
    """Counts as a line says them, e.g. ``3 of 400 texts flawed (1 copy, 2 loop)``."""
    kinds = ", ".join(f"{counts[name]} {name}" for name in FLAWS if counts[name])
    return f"{counts['flawed']} of {counts['texts']} texts flawed" + (f" ({kinds})" if kinds else "")
