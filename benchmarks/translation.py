#!/usr/bin/env python
"""How many sentences a second the translation engines do: from a file of texts to a file of translations.

    benchmarks/translation.py --translator m2m_100 --texts reviews.de --source-lang de --target-lang en --cpu

prints a table with a row for each engine and precision: seconds to load it (and, the first time, to convert its model),
sentences a second, how many times as fast as the first row that is, seconds of all CPU cores together (which depend
less on what else a machine does), and how many sentences it translates differently.

Reading, splitting into sentences, making batches, translating, joining and writing are timed; loading is not, nor the
first few sentences. The engines take turns, as often as --repeats says, and the best of each counts: what else runs on
a machine makes nothing faster. Set OMP_NUM_THREADS as you would for a real run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairseq_musc.errors import InputError
from fairseq_musc.files import written_whole
from fairseq_musc.translate import documents
from fairseq_musc.translate.at_once import plan_for
from fairseq_musc.translate.batches import translate_sentences
from fairseq_musc.translate.engine import (
    ENGINES,
    PRECISIONS,
    Decoding,
    Device,
    Engine,
    add_generation_arguments,
    generation_from,
    open_engine,
)

#: Sentences that every engine translates before it is timed.
WARM_UP = 16


@dataclass
class Row:
    """What is measured of one engine."""

    name: str
    engine: Engine
    device: Device
    loading: float
    """Seconds."""
    seconds: float = float("inf")
    """The best time for the whole file."""
    cpu: float = float("inf")
    """The least seconds of all cores together."""
    best: dict[str, str] | None = None
    """The translation of each sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--translator", type=Path, required=True, metavar="FOLDER", help="the files of m2m_100")
    parser.add_argument("--hugging-face", type=Path, metavar="FOLDER", help="the same model for the engine easynmt")
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE", help="a text a line")
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N lines")
    parser.add_argument("--source-lang", required=True, metavar="XX", help="the language of the texts")
    parser.add_argument("--target-lang", required=True, metavar="XX", help="the language to translate into")
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="ENGINE:PRECISION",
        default=["fairseq:fp32", "ctranslate2:fp32", "ctranslate2:int8"],
        help="what to compare; the first is what the others are held against (default: %(default)s)",
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each row (default: %(default)s)")
    add_generation_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        decoding, device = generation_from(arguments)
        rows = [open_row(name, arguments, decoding, device) for name in arguments.rows]
        sentences = run(rows, arguments, decoding)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(machine(device))
    direction = f"{arguments.source_lang} -> {arguments.target_lang}"
    print(f"{sentences} sentences of {arguments.texts.name}, {direction}; {decoding}; batches of {device.batch_tokens}")
    print(table(rows, sentences))
    return 0


def open_row(name: str, arguments: argparse.Namespace, decoding: Decoding, device: Device) -> Row:
    """Loads the engine of a row.

    Raises:
        InputError: the row is not an engine and a precision, or the engine cannot be opened.
    """
    engine, _, precision = name.partition(":")
    if engine not in ENGINES or precision not in PRECISIONS:
        raise InputError(f"{name!r} is no ENGINE:PRECISION of {', '.join(ENGINES)} and {', '.join(PRECISIONS)}")
    folder = arguments.hugging_face if engine == "easynmt" else arguments.translator
    if folder is None:
        raise InputError("the engine easynmt takes its model from --hugging-face")
    start = time.perf_counter()
    own = replace(device, precision=precision)
    opened = open_engine(engine, folder, decoding, own)
    return Row(name, opened, own, time.perf_counter() - start)


def run(rows: Sequence[Row], arguments: argparse.Namespace, decoding: Decoding) -> int:
    """Times every row; returns the number of distinct sentences."""
    direction = arguments.source_lang, arguments.target_lang
    sentences = 0
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            for row in rows:
                if repeat == 0:
                    warm = planned(arguments, row.engine, decoding).sentences[:WARM_UP]
                    translate_sentences(warm, row.engine, *direction, row.device)
                start, cpu = time.perf_counter(), time.process_time()
                plan = planned(arguments, row.engine, decoding)
                found = translate_sentences(plan.sentences, row.engine, *direction, row.device)
                row.best = {sentence: best.text for sentence, (best, *_) in zip(plan.sentences, found, strict=True)}
                with written_whole(Path(folder) / row.name) as stream:
                    stream.writelines(f"{text}\n" for text in plan.join(row.best))
                row.seconds = min(row.seconds, time.perf_counter() - start)
                row.cpu = min(row.cpu, time.process_time() - cpu)
                sentences = len(plan.sentences)
                print(f"{row.name}: {sentences / row.seconds:.1f} sentences/s", file=sys.stderr, flush=True)
    return sentences


def planned(arguments: argparse.Namespace, engine: Engine, decoding: Decoding) -> documents.Plan:
    """The file's texts, read and split."""
    with open(arguments.texts, encoding="utf-8", newline="\n") as stream:
        texts = [line.removesuffix("\n") for line in stream][: arguments.limit]
    return plan_for(texts, arguments.source_lang, arguments.target_lang, engine, decoding)


def machine(device: Device) -> str:
    """What this ran on."""
    import torch

    where = f"{len(os.sched_getaffinity(0))} CPU cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}"
    if torch.cuda.is_available() and not device.cpu:
        where = torch.cuda.get_device_name()
    return f"{where}; Python {platform.python_version()}, torch {torch.__version__}"


def table(rows: Sequence[Row], sentences: int) -> str:
    """The rows as Markdown."""
    first = rows[0]
    assert first.best is not None
    lines = ["| engine | loading (s) | sentences/s | ratio | CPU s | translated otherwise |"]
    lines.append("|:--|--:|--:|--:|--:|--:|")
    for row in rows:
        assert row.best is not None
        differing = sum(row.best.get(sentence) != text for sentence, text in first.best.items())
        lines.append(
            f"| {row.name.replace(':', ', ')} | {row.loading:.1f} | {sentences / row.seconds:.1f} | "
            f"{first.seconds / row.seconds:.2f} | {row.cpu:.1f} | {differing} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
