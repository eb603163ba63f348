"""What a machine translation looks like that went wrong, told from the two texts alone.

Pure functions over a source text and its translation: no model, no reference, no network. They find what neural
translators do when they fail: copies of the source (Ott et al. 2018), loops (oscillations, Raunak et al. 2021), text in
another language's script (off-target translation, Zhang et al. 2020), far too little or too much text, and nothing.
They leave alone what sound translations do: names, numbers and addresses that stay as they are, brand names in Latin
letters, laughter that was laughter before. Whether a translation is good they do not tell, and fluent text in a wrong
language of the right script they do not see.

Every threshold is a field of :class:`Thresholds`, with the reason for its default; ``scripts/translation_quality.py``
prints how often sound human translations and spoilt ones reach it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import regex

#: In the order in which they are reported.
FLAWS = ("copy", "loop", "script", "length", "empty")


def _threshold(default: float, unit: str) -> Any:
    return field(default=default, metadata={"help": unit})


@dataclass(frozen=True)
class Thresholds:
    """Where a flaw begins. Sizes are those of :func:`size`: about one for a letter of an alphabet.

    The figures are of FLORES-200 devtest, 1,012 sentences in 72 directions, and of 2,000 book reviews in each of four
    languages.
    """

    copy_words: int = _threshold(4, "words that a translator would have changed make a copy")
    """Titles of up to three such words ("The Lord of the Rings") rightly stay as they are."""
    copied: float = _threshold(0.8, "share of the words of both texts that a copy has in common")
    """Below 1, because a copy may have a word changed; Spanish and French share 0.45 at most, sister languages more."""
    loop_size: float = _threshold(24.0, "size of four or more repeats in a row that make a loop")
    """Longer than "ha ha ha ha" and a row of exclamation marks."""
    repeated: float = _threshold(0.4, "share of four-word sequences that came before")
    """One review in a thousand that people wrote reaches a quarter."""
    foreign: float = _threshold(0.4, "share of letters in a script that the language is not written in")
    """Terms in Latin letters make up 0.3 of some Chinese and Korean sentences."""
    foreign_size: float = _threshold(12.0, "size of the letters in a foreign script from which they count")
    """Below it they are a name or a formula."""
    kana: float = _threshold(0.1, "share of kana that parts Japanese from Chinese")
    """Japanese sentences have 0.27 at least, Chinese ones none."""
    kana_after: int = _threshold(16, "kana and Chinese characters from which their share counts")
    """Names and headlines in Japanese may have no kana."""
    ratio: float = _threshold(2.5, "factor by which one of the two texts is longer than the other")
    """One sound translation in ten thousand reaches it."""
    slack: float = _threshold(10.0, "size added to both texts before they are compared")
    """Short texts vary more: of "OK" there are right translations that are five times as long."""


DEFAULTS = Thresholds()


def flaws(
    source: str, translated: str, source_lang: str, target_lang: str, thresholds: Thresholds = DEFAULTS
) -> list[str]:
    """What is wrong with a translation, as far as the two texts tell it.

    Args:
        source: a sentence or a document.
        translated: its translation.
        source_lang: language code of ``source``, e.g. ``en``; the codes of m2m_100 and any other BCP 47 code.
        target_lang: language code that ``translated`` should be in.
        thresholds: where a flaw begins.

    Returns:
        The names out of :data:`FLAWS`, in their order; empty for a sound translation.
    """
    if is_empty(source, translated):
        return ["empty"]
    found = {
        "copy": source_lang != target_lang and is_copy(source, translated, thresholds),
        "loop": is_loop(source, translated, thresholds),
        "script": is_foreign(translated, target_lang, thresholds),
        "length": is_out_of_proportion(source, translated, thresholds),
    }
    return [name for name, seen in found.items() if seen]


def tally(found: Iterable[Collection[str]]) -> dict[str, int]:
    """How many texts have any flaw (``flawed``) and each of :data:`FLAWS`, from the flaws of each text."""
    counts = {"flawed": 0, **dict.fromkeys(FLAWS, 0)}
    for seen in found:
        counts["flawed"] += bool(seen)
        for name in seen:
            counts[name] += 1
    return counts


# --- words and sizes -------------------------------------------------------------------------------------------------

#: Scripts without a space between words: each character stands for a third of a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]+")
_CHARACTER = regex.compile(rf"[{_UNSPACED}]")
#: Addresses and tags, which nobody translates. No pattern here reads on from every place to the end of a run: texts
#: without spaces are long.
_ADDRESS = regex.compile(r"(?:https?://|www\.)[!-~]+|[\w.+-]{1,64}@[!-~]+|[@#]\w+", regex.ASCII)
#: Where a sentence may end.
_END = regex.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s|[。！？｡।؟\n]")
_SAYS_SOMETHING = regex.compile(r"[\p{L}\p{N}]")
_IS_SEEN = regex.compile(r"[^\p{Z}\p{C}]")
#: Script -> what a character of it is worth, where it is worth more than one letter of an alphabet: with these weights
#: the FLORES-200 devtest has 0.88 (Korean) to 1.20 (French) of its English size in each of its languages.
_WEIGHTS = {
    regex.compile(r"\p{Han}"): 3,
    regex.compile(r"[\p{Hiragana}\p{Katakana}ー]"): 1.5,
    regex.compile(r"\p{Hangul}"): 2,
}


def size(text: str) -> float:
    """How much a text holds, by its characters: comparable between scripts, as their mere number is not.

    One for each character that is no white space; three for a Chinese character, two for a Korean syllable, one and a
    half for a kana.
    """
    characters = len("".join(text.split()))
    if text.isascii():
        return characters
    return characters + sum((weight - 1) * len(script.findall(text)) for script, weight in _WEIGHTS.items())


def words(text: str) -> list[str]:
    """The words of a text, addresses left out; each character by itself in scripts without spaces.

    A text in capitals is taken as one in small letters, so that its words are not taken for names.
    """
    return _WORD.findall(_ADDRESS.sub(" ", text.lower() if text.isupper() else text))


def telling(word: str) -> float:
    """What a word counts for when two texts share it.

    Nothing if it is a name, a number or a single letter; a third if it is a character of a script without spaces.
    """
    if _CHARACTER.match(word):
        return 1 / 3
    return float(len(word) > 1 and word == word.lower() and not any(character.isnumeric() for character in word))


# --- the five flaws --------------------------------------------------------------------------------------------------


def is_empty(source: str, translated: str) -> bool:
    """Whether a text of words or numbers was translated into nothing but marks, or one of marks into nothing."""
    needed = _SAYS_SOMETHING if _SAYS_SOMETHING.search(source) else _IS_SEEN
    return bool(needed.search(source)) and not needed.search(translated)


def is_copy(source: str, translated: str, thresholds: Thresholds = DEFAULTS) -> bool:
    """Whether a translation, or a sentence of it, is the source untranslated.

    The texts have nearly all words in common, or a sentence of the translation stands in the source as it is, with
    enough words that are neither names nor numbers in both cases.
    """
    before, after = Counter(words(source)), Counter(words(translated))
    common = before & after
    if weight(common) < thresholds.copy_words:
        return False
    longer = max(before.total(), after.total())
    if common.total() >= thresholds.copied * longer:
        return True
    standing = f" {' '.join(words(source))} "
    sentences = (words(sentence) for sentence in _END.split(translated))
    return any(
        weight(Counter(sentence)) >= thresholds.copy_words and f" {' '.join(sentence)} " in standing
        for sentence in sentences
    )


def weight(counted: Counter[str]) -> float:
    """The sum of :func:`telling` over words."""
    return sum(telling(word) * number for word, number in counted.items())


def is_loop(source: str, translated: str, thresholds: Thresholds = DEFAULTS) -> bool:
    """Whether a translation says the same over and over, and its source does not: without pause, or again and again."""
    loop = longest_loop(translated)
    if loop >= thresholds.loop_size and loop > 2 * longest_loop(source):
        return True
    share = repeated_share(translated)
    return share >= thresholds.repeated and share > 1.5 * repeated_share(source)


_LOOP = re.compile(r"(.{1,40}?)\1{3,}", re.DOTALL)


def longest_loop(text: str) -> float:
    """The size of the longest run of at least four repeats of up to 40 characters; 0 if there is none."""
    spaced = f"{' '.join(text.split())} "
    return max((size(match.group()) for match in _LOOP.finditer(spaced)), default=0)


def repeated_share(text: str, n: int = 4, least: int = 12) -> float:
    """The share of sequences of ``n`` words that stand further ahead in the text; 0 for less than ``least`` of them."""
    counted = words(text)
    sequences = [tuple(counted[i : i + n]) for i in range(len(counted) - n + 1)]
    return 1 - len(set(sequences)) / len(sequences) if len(sequences) >= least else 0.0


def is_foreign(translated: str, target_lang: str, thresholds: Thresholds = DEFAULTS) -> bool:
    """Whether much of a translation is in a script that its language is not written in; never for unknown languages.

    Words in Latin letters with a capital are names, and not counted. Chinese characters are those of Japanese if kana
    are among them, and of Chinese if not.
    """
    scripts = scripts_of(target_lang)
    if not scripts:
        return False
    own, foreign = map("".join, letters(translated, scripts))
    outside = size(foreign)
    if outside >= thresholds.foreign_size and outside >= thresholds.foreign * (outside + size(own)):
        return True
    if "Han" not in scripts:
        return False
    kana, han = len(_KANA.findall(translated)), len(_HAN.findall(translated))
    japanese = kana >= thresholds.kana * (kana + han)
    return kana + han >= thresholds.kana_after and japanese != ("Hira" in scripts)


_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HAN = regex.compile(r"\p{Han}")
_LATIN_NAME = regex.compile(
    r"(?V1)(?<![\p{Latin}\p{N}_])[[\p{Latin}\p{N}_]--\p{Lu}]*+[\p{Latin}&&\p{Lu}][\p{Latin}\p{N}_]*+"
)

#: Names of CLDR for mixed scripts -> the scripts of Unicode that a text in them is mostly in: Korean is still called a
#: mixture, but Chinese characters have become rare in it.
_MIXED = {
    "Jpan": ("Han", "Hira", "Kana"),
    "Kore": ("Hang",),
    "Hans": ("Han", "Bopo"),
    "Hant": ("Han", "Bopo"),
}

#: Languages that are written in a second script, too, and one that m2m_100 has a code of its own for.
_ALSO = {
    "az": "Cyrl",
    "bs": "Cyrl",
    "kk": "Latn",
    "mn": "Mong",
    "ns": "Latn",
    "pa": "Arab",
    "sd": "Deva",
    "sr": "Latn",
    "uz": "Cyrl",
}


@functools.cache
def scripts_of(language: str) -> tuple[str, ...]:
    """The scripts that a language is written in, by their ISO 15924 codes: CLDR's likely one, and a second in use.

    Empty for a code that is no language's.
    """
    from langcodes import Language, LanguageTagError

    try:
        tag = Language.get(language)
    except LanguageTagError:
        return ()
    also = (_ALSO[language],) if language in _ALSO else ()
    script = tag.maximize().script
    if script is None or not tag.is_valid() or tag.language in (None, "mul", "mis", "zxx"):
        return also
    return tuple(dict.fromkeys((*_MIXED.get(script, (script,)), *also)))


@functools.cache
def _patterns(scripts: tuple[str, ...]) -> tuple[regex.Pattern[str], regex.Pattern[str]]:
    own = "".join(rf"\p{{Script={script}}}" for script in scripts)
    return (
        regex.compile(rf"(?V1)[\p{{L}}&&[{own}]]+"),
        regex.compile(rf"(?V1)[\p{{L}}--[{own}\p{{Script=Common}}\p{{Script=Inherited}}]]+"),
    )


def letters(text: str, scripts: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The pieces of a text in the given scripts, and those in any other.

    Addresses are in neither, nor are names in Latin letters, unless Latin is one of the scripts.
    """
    text = _ADDRESS.sub(" ", text)
    if "Latn" not in scripts:
        text = _LATIN_NAME.sub(" ", text)
    elif text.isascii():
        return [text], []
    own, foreign = _patterns(scripts)
    return own.findall(text), foreign.findall(text)


def is_out_of_proportion(source: str, translated: str, thresholds: Thresholds = DEFAULTS) -> bool:
    """Whether one of the two texts is longer than the other by more than the ratio."""
    before, after = size(source) + thresholds.slack, size(translated) + thresholds.slack
    return max(before, after) >= thresholds.ratio * min(before, after)
