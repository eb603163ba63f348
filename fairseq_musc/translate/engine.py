"""What a translation engine is: the one interface behind which fairseq, CTranslate2 and EasyNMT stand.

    texts -documents-> distinct sentences -chunks-> -batches-> engine -> hypotheses -documents-> texts

An engine sees batches of sentences and nothing else. Splitting texts into sentences and joining them, order, batches by
length, progress, resuming and provenance are the same for all engines and live outside of them, so another engine is
one module with the two functions below and its row in :data:`ENGINES`.
"""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fairseq_musc.errors import InputError
from fairseq_musc.translate.documents import NORMALISATIONS

#: The module of each engine: it has a function ``open_engine(folder, decoding, device) -> Engine``.
ENGINES = {
    "fairseq": "fairseq_musc.translate.engines.fairseq",
    "ctranslate2": "fairseq_musc.translate.engines.ctranslate2",
    "easynmt": "fairseq_musc.translate.engines.easynmt",
}

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

#: Who searches with fairseq's model: fairseq's own generator, or :mod:`fairseq_musc.translate.beam_search`, which finds
#: the same. ``auto`` is the latter on a GPU.
SEARCHES = ("auto", "fast", "fairseq")


@dataclass(frozen=True)
class Decoding:
    """What decides which translation is found; the defaults are those of the m2m_100 page and of fairseq."""

    beam: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    """A translation has at most ``max_len_a * n + max_len_b`` pieces for ``n`` of the source."""
    longest: int = 128
    """Sentences of more SentencePiece pieces than this are cut and translated in parts."""
    nbest: int = 1
    """How many hypotheses of each sentence are kept, at most ``beam``."""
    normalise: str = "none"
    """What is done to the sentences first: one of :data:`fairseq_musc.translate.documents.NORMALISATIONS`."""


@dataclass(frozen=True)
class Device:
    """What decides how fast: a GPU is used if there is one and ``cpu`` is not set."""

    batch_tokens: int = 4096
    """The size of a batch: its sentences times the pieces of its longest, before the beam."""
    precision: str = "fp32"
    """One of :data:`PRECISIONS`; int8 is CTranslate2's alone."""
    cpu: bool = False
    search: str = "auto"
    """One of :data:`SEARCHES`; the engine ``fairseq`` alone has a choice."""


class Hypothesis(NamedTuple):
    """One translation of one sentence."""

    text: str
    score: float
    """The sum of log-probabilities (natural) over the number of pieces, end of sentence included: fairseq's score with
    its default ``--lenpen 1``."""


class Engine(Protocol):
    """A loaded translator. Made by :func:`open_engine`; its decoding and device are fixed then."""

    @property
    def longest(self) -> int:
        """How many pieces of a sentence the model can read at once."""
        ...

    def require(self, languages: Iterable[str]) -> None:
        """Raises :class:`InputError` with the languages that the translator does not know, and those it knows."""
        ...

    def lengths(self, sentences: Sequence[str]) -> list[int]:
        """The number of pieces of each sentence, language token and end of sentence not counted."""
        ...

    def translate(
        self, batches: Iterable[Sequence[str]], source_lang: str, target_lang: str
    ) -> Iterator[list[list[Hypothesis]]]:
        """Translates batches of sentences, none blank and none longer than :attr:`longest`.

        An engine may work ahead: take further batches before it has handed out the last.

        Yields:
            for each batch, in order: for each of its sentences, in order, ``decoding.nbest`` hypotheses, best first.
        """
        ...

    def provenance(self) -> dict[str, Any]:
        """What decides the result besides sentences and decoding.

        Returns:
            ``engine``, ``translator`` (file name -> SHA-256) and ``precision``.
        """
        ...


def open_engine(name: str, folder: Path, decoding: Decoding, device: Device) -> Engine:
    """Loads a translator into an engine.

    Raises:
        InputError: there is no such engine, its package is not installed (with the command that installs it), or the
            folder is not what it takes.
    """
    if name not in ENGINES:
        raise InputError(f"there is no translation engine {name!r}; there are {', '.join(ENGINES)}")
    engine: Engine = importlib.import_module(ENGINES[name]).open_engine(folder, decoding, device)
    return engine


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`Decoding` and :class:`Device`, and ``--engine``."""
    decoding, device = Decoding(), Device()
    group = parser.add_argument_group("translation")
    group.add_argument("--engine", choices=ENGINES, default="fairseq", help="what translates (default: %(default)s)")
    group.add_argument("--beam", type=int, default=decoding.beam, help="beam width (default: %(default)s)")
    group.add_argument(
        "--max-len-a",
        type=float,
        default=decoding.max_len_a,
        metavar="A",
        help="a translation of n pieces has at most A * n + B (default: %(default)s)",
    )
    group.add_argument(
        "--max-len-b", type=int, default=decoding.max_len_b, metavar="B", help="see A (default: %(default)s)"
    )
    group.add_argument(
        "--longest",
        type=int,
        default=decoding.longest,
        metavar="PIECES",
        help="cut sentences of more pieces than this at the best point there is (default: %(default)s)",
    )
    group.add_argument(
        "--normalise",
        choices=NORMALISATIONS,
        default=decoding.normalise,
        help="moses: normalise punctuation and take out what cannot be printed, for translators that were trained on "
        "such text; m2m_100 was not (default: %(default)s)",
    )
    group.add_argument(
        "--batch-tokens",
        type=int,
        default=device.batch_tokens,
        metavar="PIECES",
        help="size of a batch: sentences times the pieces of the longest (default: %(default)s)",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=device.precision,
        help="of the arithmetic: fp16 and bf16 on a GPU are faster and rarely give another word; int8 is for "
        "ctranslate2 (default: %(default)s)",
    )
    group.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    group.add_argument(
        "--search",
        choices=SEARCHES,
        default=device.search,
        help="of the engine fairseq: its own generator, or a faster one that finds the same; auto is the fast one on a "
        "GPU (default: %(default)s)",
    )


def generation_from(arguments: argparse.Namespace) -> tuple[Decoding, Device]:
    """The settings from parsed options.

    Raises:
        InputError: a precision that the device or the engine lacks, or a number below its least; all at once.
    """
    nbest = getattr(arguments, "nbest", 1)
    decoding = Decoding(
        arguments.beam, arguments.max_len_a, arguments.max_len_b, arguments.longest, nbest, arguments.normalise
    )
    device = Device(arguments.batch_tokens, arguments.precision, arguments.cpu, arguments.search)
    numbers = {
        "--beam": decoding.beam,
        "--longest": decoding.longest,
        "--batch-tokens": device.batch_tokens,
        "--nbest": decoding.nbest,
    }
    problems = [f"{option} is {value}; it must be at least 1" for option, value in numbers.items() if value < 1]
    if decoding.nbest > max(decoding.beam, 1):
        problems.append(f"--nbest is {decoding.nbest}; a beam of {decoding.beam} holds no more than {decoding.beam}")
    if not 0 <= decoding.max_len_a < math.inf:
        problems.append(f"--max-len-a is {decoding.max_len_a}; it must be a number of at least 0")
    elif decoding.max_len_a + decoding.max_len_b < 1:
        problems.append(f"--max-len-a {decoding.max_len_a} --max-len-b {decoding.max_len_b} leave no room for a word")
    if device.precision == "int8" and arguments.engine != "ctranslate2":
        problems.append(f"--precision int8 is for --engine ctranslate2, not for {arguments.engine}")
    if device.precision in ("fp16", "bf16"):
        import torch

        if device.cpu or not torch.cuda.is_available():
            problems.append(f"--precision {device.precision} needs a GPU; leave it out")
    if problems:
        raise InputError.all_at_once("these options cannot be used:", problems)
    return decoding, device
