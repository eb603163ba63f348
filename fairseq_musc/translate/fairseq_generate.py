"""Texts -> translated texts, one for one and in order, by ``fairseq-generate`` as the m2m_100 page shows it.

What fairseq sees is one distinct sentence a line. Around it: texts are split at their line ends; blank lines never
reach the model, which would invent a sentence for them; lines longer than the model was trained on are cut at the
ends of their sentences; every distinct piece is translated once; and all of it is put together again and counted.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.safe_loading import allow_fairseq_checkpoints, check_pickled_classes
from fairseq_musc.translate.fairseq_commands import binarize, run_here
from fairseq_musc.translate.generate_log import best_hypotheses
from fairseq_musc.translate.release import Translator

#: Languages that put no space between sentences.
UNSPACED = frozenset({"ja", "km", "lo", "my", "th", "zh"})

#: Where a line that is too long may be cut, best first: behind a sentence, behind a clause, between words.
CUTS = (
    re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+[」』”）]*\s*|[।؟]\s*"),
    re.compile(r"[,;:–—]\s+|[、，；：،]\s*"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True)
class Decoding:
    """What decides which translation is found; the defaults are those of the m2m_100 page and of fairseq."""

    beam: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    """A translation has at most ``max_len_a * n + max_len_b`` pieces for ``n`` of the source."""
    longest: int = 128
    """Lines of more SentencePiece pieces than this are cut and translated in parts."""


@dataclass(frozen=True)
class Device:
    """What decides how fast: a GPU is used if there is one and ``cpu`` is not set."""

    batch_size: int = 32
    cpu: bool = False
    fp16: bool = False


class Translation(NamedTuple):
    """Translated texts, and what was done to get them."""

    texts: list[str]
    counts: dict[str, int]
    """``distinct`` sentences translated, ``blank`` lines, distinct lines that were ``cut``, SentencePiece pieces
    ``unknown`` to the dictionary, and ``empty`` hypotheses."""


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`Decoding` and :class:`Device`."""
    decoding, device = Decoding(), Device()
    group = parser.add_argument_group("fairseq-generate")
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
        help="cut lines of more pieces than this at the ends of sentences (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size", type=int, default=device.batch_size, help="sentences a batch (default: %(default)s)"
    )
    group.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    group.add_argument("--fp16", action="store_true", help="half precision on a GPU: faster, rarely another word")


def generation_from(arguments: argparse.Namespace) -> tuple[Decoding, Device]:
    """The settings from parsed options.

    Raises:
        InputError: half precision without a GPU, or a number below its least; all at once.
    """
    decoding = Decoding(arguments.beam, arguments.max_len_a, arguments.max_len_b, arguments.longest)
    device = Device(arguments.batch_size, arguments.cpu, arguments.fp16)
    numbers = {"--beam": decoding.beam, "--longest": decoding.longest, "--batch-size": device.batch_size}
    problems = [f"{option} is {value}; it must be at least 1" for option, value in numbers.items() if value < 1]
    if decoding.max_len_a < 0 or decoding.max_len_a + decoding.max_len_b < 1:
        problems.append(f"--max-len-a {decoding.max_len_a} --max-len-b {decoding.max_len_b} leave no room for a word")
    if device.fp16:
        import torch

        if device.cpu or not torch.cuda.is_available():
            problems.append("--fp16 needs a GPU; leave it out")
    if problems:
        raise InputError.all_at_once("these options cannot be used:", problems)
    return decoding, device


def translate(
    texts: Sequence[str],
    source_lang: str,
    target_lang: str,
    translator: Translator,
    decoding: Decoding = Decoding(),
    device: Device = Device(),
) -> Translation:
    """Translates texts, each to one text in the same place.

    Runs of white space within a line come back as one space; line ends stay where they are. Texts without a word stay
    unchanged. SentencePiece normalises the rest: the m2m_100 page asks for raw, detokenised text and nothing else.

    Raises:
        InputError: a language that the translator does not know, or a checkpoint that holds other classes than a safe
            loader may build.
    """
    from sentencepiece import SentencePieceProcessor

    translator.require([source_lang, target_lang])
    spm = SentencePieceProcessor(model_file=str(translator.sentencepiece))

    def encode(lines: list[str]) -> list[list[str]]:
        return spm.encode(lines, out_type=str)

    lines = list(dict.fromkeys(" ".join(line.split()) for text in texts for line in text.split("\n")))
    pieces_of = dict(zip(lines, encode(lines), strict=True))
    longest = min(decoding.longest, longest_source(translator))
    parts_of = {
        line: [line] if len(pieces) <= longest else list(cut(line, longest, lambda part: len(encode([part])[0])))
        for line, pieces in pieces_of.items()
        if pieces
    }
    parts = list(dict.fromkeys(part for parts in parts_of.values() for part in parts))
    encoded = encode(parts)
    hypotheses = dict(
        zip(parts, generate(encoded, source_lang, target_lang, translator, decoding, device), strict=True)
    )
    between = "" if target_lang in UNSPACED else " "
    translated = {
        line: between.join(filter(None, (hypotheses[part] for part in parts))) for line, parts in parts_of.items()
    }

    results = [[translated.get(" ".join(line.split()), line) for line in text.split("\n")] for text in texts]
    known = symbols(translator.data_dict)
    counts = {
        "distinct": len(parts),
        "blank": sum(" ".join(line.split()) not in parts_of for text in texts for line in text.split("\n")),
        "cut": sum(len(parts) > 1 for parts in parts_of.values()),
        "unknown": sum(piece not in known for pieces in encoded for piece in pieces),
        "empty": sum(not hypothesis for hypothesis in hypotheses.values()),
    }
    return Translation(["\n".join(lines) for lines in results], counts)


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


@functools.cache
def longest_source(translator: Translator) -> int:
    """How many pieces the model can read at once: its positions less the language token and the end of sentence."""
    import torch

    allow_fairseq_checkpoints()
    path = translator.checkpoint
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    settings = state.get("args") or state["cfg"]["model"]
    if isinstance(settings, argparse.Namespace):
        settings = vars(settings)
    # fairseq-generate's own --max-source-positions is 1024
    return min(int(settings.get("max_source_positions", 1024)), 1024) - 2


def generate(
    sentences: list[list[str]],
    source_lang: str,
    target_lang: str,
    translator: Translator,
    decoding: Decoding,
    device: Device,
) -> list[str]:
    """The hypotheses for encoded sentences, in order: ``fairseq-preprocess``, then ``fairseq-generate``."""
    if not sentences:
        return []
    check_pickled_classes(translator.checkpoint)
    print(f"{source_lang} -> {target_lang}: {len(sentences)} sentences", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="fairseq-musc-") as folder:
        work = Path(folder)
        with open(work / f"spm.{source_lang}", "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(" ".join(pieces) + "\n" for pieces in sentences)
        binarize(work / "spm", source_lang, target_lang, "test", translator.data_dict, work / "bin", "--only-source")
        run_here(
            "fairseq_cli.generate", generate_arguments(work, source_lang, target_lang, translator, decoding, device)
        )
        with open(work / "out" / "generate-test.txt", encoding="utf-8", newline="\n") as stream:
            # Hugging Face and EasyNMT leave out what the model could not name, too
            return [text.replace("<unk>", " ").strip() for text in best_hypotheses(stream, len(sentences))]


def generate_arguments(
    work: Path, source_lang: str, target_lang: str, translator: Translator, decoding: Decoding, device: Device
) -> list[str]:
    """The arguments of ``fairseq-generate``; each is needed, and why stands beside it."""
    arguments = [
        str(work / "bin"),
        *("--path", str(translator.checkpoint)),
        *("--fixed-dictionary", str(translator.model_dict)),  # the rows of the checkpoint's embeddings
        *("--source-lang", source_lang, "--target-lang", target_lang),
        *("--task", "translation_multi_simple_epoch"),
        *("--lang-pairs", str(translator.language_pairs)),
        *("--encoder-langtok", "src", "--decoder-langtok"),  # __xx__ before the source and the target
        *("--remove-bpe", "sentencepiece"),
        *("--gen-subset", "test"),
        *("--required-batch-size-multiple", "1"),  # 8, the default, loses the rest of the last batch
        *("--results-path", str(work / "out")),
        *("--beam", str(decoding.beam)),
        *("--min-len", "2"),  # the language token and a piece: no sentence is translated into nothing
        *("--max-len-a", str(decoding.max_len_a), "--max-len-b", str(decoding.max_len_b)),
        *("--batch-size", str(device.batch_size)),
        *("--num-workers", "0"),  # a worker's shutdown takes 5 s, and the batches are ready in memory
    ]
    return arguments + ["--cpu"] * device.cpu + ["--fp16"] * device.fp16


def symbols(dictionary: Path) -> set[str]:
    """The symbols of one of fairseq's dictionary files."""
    with open(dictionary, encoding="utf-8", newline="\n") as stream:
        return {line.rsplit(" ", 1)[0] for line in stream}


def provenance(source_lang: str, target_lang: str, translator: Translator, decoding: Decoding) -> dict[str, Any]:
    """What a translation was made with, as far as it decides the result."""
    return {
        "engine": "fairseq-generate",
        "translator": translator.sha256,
        "source_language": source_lang,
        "target_language": target_lang,
        **asdict(decoding),
    }
