"""Texts -> distinct sentences -> texts again: what a translator sees, and how its answers are put together.

    text -line ends-> paragraphs -sentencex-> sentences -cut, if too long-> parts

**Paragraphs** end at line ends, which stay exactly where and what they are. What is blank stays exactly as it is.

**Sentences** are found by `sentencex` (Wikimedia, 300 languages; for every language of m2m_100 its own rules or
those of a relative that it falls back to). It was taken over `pysbd`, which was last released in 2021: on the CLS
reviews both find the same number of sentences to within 2 % (en, de, fr, ja), but pysbd tears "！！", "。。" and "..."
apart, knows 23 languages, neither Korean nor Thai, and takes 35 to 300 times as long. Both are wrong after rare
abbreviations, and both keep a quotation with its sentence only most of the time.

**Normalising.** The page of m2m_100 encodes text as it was written: its own SentencePiece model makes NFKC and drops
control characters, and its training text was not normalised beyond that. The Moses scripts that the page names
(``tok.sh``) prepare hypotheses and references for BLEU. So ``none`` is right for that release, and the default.
``moses`` does to the text what those scripts do before they cut it into words, in the languages that they do it for:
for translators that were trained on such text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sentencex

#: What may be done to the sentences before they are translated.
NORMALISATIONS = ("none", "moses")

#: Languages that put nothing between sentences. (Thai, Lao, Khmer and Burmese put a space there.)
UNSPACED = frozenset({"ja", "zh"})

#: The line ends of ``str.splitlines``.
LINE_ENDS = re.compile(r"(\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029])")

#: An initial with a space of several bytes before its full stop, as in "vitamin B\u00a0.": in every language sentencex
#: 1.0.32 cuts that space in two, and panics.
INITIAL = re.compile(r"\b([A-Z])\s*[^\S\x00-\x7f](?=\.)")

#: Where a sentence that is too long may be cut, best first: behind a sentence, behind a clause, between words. A run of
#: full stops is read from its first alone: read on from each of them, 60,000 took a minute.
CUTS = (
    re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+[」』”）]*\s*|[।؟]\s*"),
    re.compile(r"[,;:–—]\s+|[、，；：،]\s*"),
    re.compile(r"\s+"),
)

#: Languages whose text ``tok.sh`` leaves as it is, and the one that it takes nothing but control characters from.
NOT_BY_MOSES = frozenset({"ar", "hi", "my", "ne", "si", "th"})
CONTROLS_ONLY = frozenset({"ko"})


#: The pieces of a text in order: what is kept as it is, or the numbers of a paragraph's sentences.
Layout = Sequence[str | Sequence[int]]


@dataclass(frozen=True)
class Plan:
    """The sentences of some texts, and where they belong. Made by :func:`plan`."""

    sentences: list[str]
    """What is to be translated: distinct, in the order of their first place, none blank."""
    counts: dict[str, int]
    """``texts``; ``blank`` ones among them; ``sentences`` in all and ``distinct`` ones, parts of cut ones counted each;
    distinct sentences that were ``cut``."""
    cut: list[str]
    """Those sentences, whole."""
    layout: list[Layout]
    """That of each text."""
    between: str
    """What joins the sentences of a paragraph."""

    def join(self, translated: Mapping[str, str]) -> list[str]:
        """The translated texts, one for each text that went in, in order.

        Args:
            translated: the translation of each of :attr:`sentences`; an empty one is left out.

        Raises:
            KeyError: a sentence has no translation.
        """
        results = [translated[sentence] for sentence in self.sentences]
        return [joined(text, self.between, results.__getitem__) for text in self.layout]


def joined(layout: Layout, between: str, translation: Callable[[int], str]) -> str:
    """A text of its pieces.

    Args:
        layout: the pieces.
        between: what joins the sentences of a paragraph.
        translation: gives that of a sentence by its number; an empty one is left out.
    """
    return "".join(
        piece if isinstance(piece, str) else between.join(filter(None, map(translation, piece))) for piece in layout
    )


def between_sentences(language: str) -> str:
    """What joins the sentences of a paragraph."""
    return "" if language in UNSPACED else " "


def plan(
    texts: Sequence[str],
    source_lang: str,
    target_lang: str,
    lengths: Callable[[Sequence[str]], list[int]],
    longest: int,
    normalise: str = "none",
) -> Plan:
    """Splits texts into sentences.

    White space at the ends of a paragraph goes, and runs of it within become one space.

    Args:
        lengths: the number of a model's pieces of each sentence; what has none is blank to the model.
        longest: sentences of more pieces are cut at the best place there is; not above what the model can read.
        normalise: one of :data:`NORMALISATIONS`.
    """
    normalised = normaliser(normalise, source_lang)
    split = [LINE_ENDS.split(text) for text in texts]  # paragraph, line end, paragraph, ..., paragraph
    sentences_of = {
        paragraph: [
            sentence
            for segment in sentencex.segment(source_lang, INITIAL.sub(r"\1 ", paragraph))
            if (sentence := " ".join(normalised(segment).split()))
        ]
        for paragraph in dict.fromkeys(paragraph for pieces in split for paragraph in pieces[::2])
    }
    whole = list(dict.fromkeys(sentence for sentences in sentences_of.values() for sentence in sentences))
    parts_of = {
        sentence: parts_within(sentence, length, longest, lengths)
        for sentence, length in zip(whole, lengths(whole), strict=True)
    }
    number: dict[str, int] = {}
    numbers_of = {
        paragraph: tuple(number.setdefault(part, len(number)) for sentence in sentences for part in parts_of[sentence])
        for paragraph, sentences in sentences_of.items()
    }
    layout: list[Layout] = [
        [piece if i % 2 else numbers_of[piece] or piece for i, piece in enumerate(pieces) if piece] for pieces in split
    ]
    were_cut = [sentence for sentence, parts in parts_of.items() if len(parts) > 1]
    used = [sum(len(piece) for piece in text if isinstance(piece, tuple)) for text in layout]
    counts = {
        "texts": len(texts),
        "blank": used.count(0),
        "sentences": sum(used),
        "distinct": len(number),
        "cut": len(were_cut),
    }
    return Plan(list(number), counts, were_cut, layout, between_sentences(target_lang))


def parts_within(sentence: str, length: int, longest: int, lengths: Callable[[Sequence[str]], list[int]]) -> list[str]:
    """A sentence as it is, or cut if it is longer than ``longest``; nothing if its ``length`` is 0."""
    if length <= longest:
        return [sentence] if length else []
    return [part for part in cut(sentence, longest, lambda part: lengths([part])[0]) if lengths([part])[0]]


def cut(line: str, longest: int, length: Callable[[str], int]) -> Iterator[str]:
    """The parts of a line, each of at most ``longest`` in ``length``, cut in halves at the best place there is.

    A part is longer only if it is a single character.
    """
    if length(line) <= longest or len(line) < 2:
        yield line
        return
    middle = len(line) / 2
    place = len(line) // 2
    for pattern in CUTS:
        ends = [match.end() for match in pattern.finditer(line)]
        inner = [end for end in ends if len(line) / 4 <= end <= 3 * len(line) / 4]
        if inner:
            place = min(inner, key=lambda end: abs(end - middle))
            break
    for half in (line[:place].strip(), line[place:].strip()):
        if half:
            yield from cut(half, longest, length)


def normaliser(name: str, language: str) -> Callable[[str], str]:
    """The function of one of :data:`NORMALISATIONS` for a language.

    ``moses`` is ``tok.sh`` of fairseq's examples/m2m_100 as far as its tokenizers: the Unicode punctuation of Chinese
    and Japanese replaced, punctuation normalised by the rules of the language, what cannot be printed taken out.
    """
    if name == "none" or language in NOT_BY_MOSES:
        return str
    from sacremoses import MosesPunctNormalizer

    moses = MosesPunctNormalizer(language, pre_replace_unicode_punct=True, post_remove_control_chars=True)
    if language in CONTROLS_ONLY:
        return moses.remove_control_chars
    normalised: Callable[[str], str] = moses.normalize
    return normalised
