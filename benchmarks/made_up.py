"""A made-up world of a given size for the benchmarks: corpora, an untrained encoder and a data-bin.

A row is a pair of texts of made-up words, each of them one piece of the vocabulary. Its length in tokens is drawn from
a normal law and cut at both ends; the law of the full size is close to PAWS-X under mBERT's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import CORPORA, Corpus, Row, write_corpus
from fairseq_musc.models.new_encoder import SPECIAL_TOKENS

LANGUAGES = ("de", "es", "fr", "ja", "ko", "zh")
"""The target languages of PAWS-X."""
XNLI_LANGUAGES = ("ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
"""The target languages of XNLI."""


@dataclass(frozen=True)
class Size:
    """An encoder, and the lengths of rows in tokens."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    intermediate: int
    mean: float
    deviation: float
    shortest: int
    longest: int

    @property
    def layer_parameters(self) -> int:
        """The weights of all layers, which every token meets."""
        return self.layers * (4 * self.width**2 + 2 * self.width * self.intermediate)


MBERT = Size(119547, 768, 12, 12, 3072, mean=55, deviation=15, shortest=16, longest=128)
TINY = Size(600, 32, 2, 2, 64, mean=20, deviation=6, shortest=8, longest=40)


def make_rows(size: Size, count: int, rng: np.random.Generator, prefix: str) -> list[Row]:
    """Rows with the ids ``prefix0``, ``prefix1``, ...; labels and words mean nothing."""
    lengths = rng.normal(size.mean, size.deviation, count).round().clip(size.shortest, size.longest).astype(int)
    words = rng.integers(0, size.vocabulary - len(SPECIAL_TOKENS), lengths.sum())
    rows, start = [], 0
    for i, length in enumerate(lengths):
        taken = [f"w{word}" for word in words[start : start + length - 3]]  # [CLS] and two [SEP] make it full
        half = len(taken) // 2
        rows.append(Row(f"{prefix}{i}", str(i % 2), " ".join(taken[:half]), " ".join(taken[half:])))
        start += length
    return rows


def make_corpora(
    folder: Path, sizes: Size | Sequence[Size], counts: dict[str, int], languages: Sequence[str] = LANGUAGES
) -> None:
    """Writes corpora in the source language, where there is such a corpus, and in all target languages.

    Args:
        folder: where they go.
        sizes: of their rows; of several, first come the rows of the first.
        counts: corpus -> rows in each language, of each size.
        languages: the target languages.
    """
    sizes = [sizes] if isinstance(sizes, Size) else sizes
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        translated = CORPORA[name].made_from is not None
        provenance = {"engine": "made up", "translator": {}} if translated else {}
        of_source = [] if translated else ["en"]
        for language in [*of_source, *(() if name == "S_trn" else languages)]:
            text_language = "en" if CORPORA[name].side == "S" else language
            split = CORPORA[name].split
            rows = [row for k, size in enumerate(sizes) for row in make_rows(size, count, rng, f"{split}-{k}-")]
            write_corpus(folder, Corpus(name, language, text_language, "pawsx", ("0", "1"), rows, provenance))


def make_encoder(folder: Path, size: Size) -> None:
    """Writes an untrained BERT whose vocabulary is the made-up words, by ``fairseq-musc new-encoder``."""
    words = [f"w{i}" for i in range(size.vocabulary - len(SPECIAL_TOKENS))]
    vocabulary = folder.with_suffix(".txt")
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("".join(f"{piece}\n" for piece in [*SPECIAL_TOKENS, *words]))
    sizes = {
        "--hidden-size": size.width,
        "--layers": size.layers,
        "--heads": size.heads,
        "--intermediate-size": size.intermediate,
        "--max-positions": 4 * size.longest,
    }
    command = ["new-encoder", "--output", str(folder), "--vocab", str(vocabulary)]
    succeed([*command, *(str(part) for option in sizes.items() for part in option)])


def make_data_bin(folder: Path, corpora: Path, encoder: Path, max_length: int = 128) -> None:
    """Binarizes corpora by ``fairseq-musc binarize``."""
    command = ["binarize", "--corpora", str(corpora), "--data", str(folder), "--tokenizer", str(encoder)]
    succeed([*command, "--max-length", str(max_length)])


def succeed(command: list[str]) -> None:
    """Runs a verb of ``fairseq-musc``, and ends the benchmark if it fails."""
    if main(command) != 0:
        raise SystemExit(f"fairseq-musc {' '.join(command)} failed")
