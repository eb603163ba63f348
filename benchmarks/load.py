"""Takes made-up rows the whole way, from raw files to the report page, and tells the memory that each step held.

    python benchmarks/load.py --output FOLDER            # 100,000 and 1,000,000 rows; half an hour on 2 cores
    python benchmarks/load.py --output FOLDER --until read   # the first step alone, in two minutes
    python benchmarks/load.py --output FOLDER --tiny     # in seconds: it shows that it runs

A row is a pair of sentences of PAWS-X's form, in English and in German; there are as many to train on as to test on.
Training is opened, and two updates are made. The encoder is of one layer, so that what is measured is what grows with
the rows. Every step is a process of its own; *GiB* is VmHWM, the most memory that it held, with the pages of the
data-bin that it looked at. Prints a table, and writes it to FOLDER/load.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from made_up import TINY, make_encoder

from fairseq_musc.data.corpus import Corpus, read_corpus, write_corpus

#: How a child tells what it held, behind all that it prints.
TELL = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM:')).split()[1])"
VERB = f"import sys\nfrom fairseq_musc.cli import main\ncode = main(sys.argv[1:])\n{TELL}\nsys.exit(code)"
TRAIN = f"from fairseq_cli.hydra_train import cli_main\ncli_main()\n{TELL}"


@dataclass
class Step:
    """What a step took."""

    step: str
    rows: int
    seconds: float
    gib: float
    """The most that its process held."""


def main() -> None:
    """Takes every size the whole way, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of all that is made, and the table")
    parser.add_argument("--rows", type=int, nargs="+", help="sizes to try (default: 100000 1000000)")
    parser.add_argument("--until", metavar="STEP", help="the last step to take (default: the page)")
    parser.add_argument("--tiny", action="store_true", help="few rows")
    arguments = parser.parse_args()
    sizes = arguments.rows or ([1000] if arguments.tiny else [100_000, 1_000_000])
    cores = len(os.sched_getaffinity(0))
    print(f"\n{cores} CPU cores\n{'':10s} {'rows':>9s} {'seconds':>8s} {'GiB':>6s}", flush=True)
    results: list[Step] = []
    for rows in sizes:
        world = arguments.output.resolve() / f"load-world-{rows}"
        shutil.rmtree(world, ignore_errors=True)
        for step in whole_way(world, rows):
            results.append(step)
            print(f"{step.step:10s} {step.rows:9d} {step.seconds:8.1f} {step.gib:6.2f}", flush=True)
            if step.step == arguments.until:
                break
        shutil.rmtree(world)
    figures = {"cores": cores, "python": sys.version.split()[0], "results": [asdict(step) for step in results]}
    (arguments.output / "load.json").write_text(json.dumps(figures, indent=1) + "\n")


def whole_way(world: Path, rows: int) -> Iterator[Step]:
    """Every step with so many rows, in a folder that is not there yet."""
    write_raw_files(world / "x-final", rows)
    make_encoder(world / "encoder", replace(TINY, width=16, layers=1, intermediate=32))

    def step(name: str, code: str, *options: object) -> Step:
        command = [sys.executable, "-c", code, *map(str, options)]
        start = time.perf_counter()
        ended = subprocess.run(command, cwd=world, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if ended.returncode:
            raise SystemExit(f"{name} failed:\n{ended.stderr[-3000:]}")
        return Step(name, rows, seconds, int(ended.stdout.splitlines()[-1]) / 2**20)

    read = ("--dataset", "pawsx", "--input", "x-final", "--output", "corpora", "--languages", "en", "de")
    yield step("read", VERB, "read", *read)
    write_translations(world / "corpora")
    yield step("binarize", VERB, "binarize", "--corpora", "corpora", "--data", "data-bin", "--tokenizer", "encoder")
    overrides = ("task.data=data-bin", "model.pretrained=encoder", "optimization.max_update=2", "common.cpu=true")
    yield step("train", TRAIN, "--config-name", "musc_pawsx", *overrides, "checkpoint.save_dir=run")
    checkpoint = ("--checkpoint", "run/checkpoint_last.pt", "--data", "data-bin")
    yield step(
        "predict",
        VERB,
        "predict",
        *checkpoint,
        "--predictions",
        "run/predictions",
        "--languages",
        "de",
        "--batch-size",
        "4000",
    )
    predictions = ("--predictions", "run/predictions")
    yield step("ensemble", VERB, "ensemble", *predictions)
    yield step("report", VERB, "report", *predictions)
    compared = ("--first", "run/predictions", "--corpora", "Ens", "T_tst")
    yield step("compare", VERB, "compare", *compared)
    yield step("page", VERB, "page", *predictions, "--corpora", "corpora", "--output", "report.html")


def write_raw_files(folder: Path, rows: int) -> None:
    """English rows to train on, and rows to validate and to test on in both languages, in the layout of PAWS-X."""
    rng = np.random.default_rng(0)
    counts = {"en/train": rows, "en/dev_2k": 2000, "de/dev_2k": 2000, "en/test_2k": rows, "de/test_2k": rows}
    for name, count in counts.items():
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as stream:
            stream.write("id\tsentence1\tsentence2\tlabel\n")
            for number in range(1, count + 1):
                words = [f"w{word}" for word in rng.integers(0, 500, 12)]
                stream.write(f"{number}\t{' '.join(words[:6])}\t{' '.join(words[6:])}\t{number % 2}\n")


def write_translations(corpora: Path) -> None:
    """S_trn and T_tst.de stand in for their own translations."""
    translator = {"engine": "made up", "translator": {}}
    for source, language, name in (
        ("S_trn", "en", "T_trn_MT"),
        ("T_tst", "de", "S_tst_MT"),
        ("T_val", "de", "S_val_MT"),
    ):
        rows = read_corpus(corpora, source, language).rows
        text_language = "de" if name == "T_trn_MT" else "en"
        write_corpus(corpora, Corpus(name, "de", text_language, "pawsx", ("0", "1"), rows, translator))


if __name__ == "__main__":
    main()
