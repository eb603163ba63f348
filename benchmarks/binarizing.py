"""Times ``fairseq-musc binarize`` on made-up corpora of several sizes, beside the same row by row, with its memory.

    python benchmarks/binarizing.py --output FOLDER            # 50,000 to 400,000 rows of PAWS-X's length
    python benchmarks/binarizing.py --output FOLDER --tiny     # in seconds: it shows that it runs

A row is a pair of sentences. Every size is binarized in a process of its own. *seconds* are of the whole command, with
the start of Python and the loading of the tokenizer; *rows/s* is over them, and *rows/CPU s* over the time that it had
a core, whoever else uses the machine; *GiB* is the most memory that the process held. Row by row is the plain way: the
corpus is read whole, the (fast) tokenizer is called for each row, and the ids of each go as a tensor to fairseq's
builder; it is timed at the smallest size, and *ratio* is to its rows/s. Prints a table, and writes it to
FOLDER/binarizing.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from made_up import MBERT, TINY, make_corpora, make_data_bin, make_encoder


@dataclass
class Timed:
    """What a way of binarizing took."""

    way: str
    rows: int
    seconds: float
    cpu_seconds: float
    gib: float
    """The most that the process held."""
    ratio: float = 0.0
    """Rows a second, to those of row by row."""

    @property
    def rows_per_second(self) -> float:
        """Over the whole command."""
        return self.rows / self.seconds


def main() -> None:
    """Binarizes every size, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the corpora and the table")
    parser.add_argument("--rows", type=int, nargs="+", help="sizes to try (default: 50000 100000 200000 400000)")
    parser.add_argument("--tiny", action="store_true", help="a small vocabulary and few rows")
    arguments = parser.parse_args()
    world = arguments.output.resolve() / "binarizing-world"
    size = TINY if arguments.tiny else MBERT
    sizes = arguments.rows or ([200, 400] if arguments.tiny else [50_000, 100_000, 200_000, 400_000])
    encoder = world / "encoder"
    if not encoder.exists():  # of which only the tokenizer is wanted
        make_encoder(encoder, replace(size, width=16, layers=1, heads=2, intermediate=32))
    cores = len(os.sched_getaffinity(0))
    print(f"\n{cores} CPU cores\n{'':12s} {'rows':>9s} {'seconds':>8s} {'rows/s':>8s} {'ratio':>6s}", end="")
    print(f" {'rows/CPU s':>10s} {'GiB':>6s}", flush=True)
    results: list[Timed] = []
    for way, rows in [(ROW_BY_ROW, min(sizes)), *((BLOCKS, rows) for rows in sizes)]:
        corpora, data = world / f"corpora-{rows}", world / "data-bin"
        if not corpora.exists():
            make_corpora(corpora, size, {"S_trn": rows})
        result = timed(way, rows, corpora, data, encoder)
        shutil.rmtree(data)
        results.append(result)
        result.ratio = result.rows_per_second / results[0].rows_per_second
        print(
            f"{way:12s} {rows:9d} {result.seconds:8.1f} {result.rows_per_second:8.0f} {result.ratio:6.2f} "
            f"{rows / result.cpu_seconds:10.0f} {result.gib:6.2f}",
            flush=True,
        )
    figures = [{**asdict(result), "rows_per_second": result.rows_per_second} for result in results]
    signature = {"cores": cores, "python": sys.version.split()[0], "results": figures}
    (arguments.output / "binarizing.json").write_text(json.dumps(signature, indent=1) + "\n")


ROW_BY_ROW, BLOCKS = "row by row", "binarize"


def timed(way: str, rows: int, corpora: Path, data: Path, encoder: Path) -> Timed:
    """Binarizes corpora in a process of its own."""
    shutil.rmtree(data, ignore_errors=True)
    start = time.perf_counter()
    command = [sys.executable, __file__, CHILD, way, *map(str, (corpora, data, encoder))]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    seconds = time.perf_counter() - start
    return Timed(way, rows, seconds, **json.loads(ended.stdout.splitlines()[-1]))


CHILD = "--child"


def child(way: str, corpora: Path, data: Path, encoder: Path) -> None:
    """What is done in a process of its own; prints what it took."""
    if way == BLOCKS:
        make_data_bin(data, corpora, encoder)
    else:
        row_by_row(data, corpora, encoder)
    used = os.times()
    print(json.dumps({"cpu_seconds": used.user + used.system, "gib": memory("VmHWM")}))


def memory(field: str) -> float:
    """What Linux says of the memory of this process, in GiB.

    The peak that ``getrusage`` gives would not do: it begins with that of the process which started this one.

    Args:
        field: of ``/proc/self/status``, such as ``VmRSS``, or ``VmHWM`` for the most so far.
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 2**20


def row_by_row(data: Path, corpora: Path, encoder: Path) -> None:
    """Binarizes S_trn with a call of the tokenizer and a tensor for each row."""
    import torch
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder, best_fitting_int_dtype

    from fairseq_musc.data.corpus import read_corpus
    from fairseq_musc.data.tokenizer import load_tokenizer

    data.mkdir()
    tokenizer = load_tokenizer(str(encoder))
    corpus = read_corpus(corpora, "S_trn", "en")
    builder = MMapIndexedDatasetBuilder(str(data / "S_trn.en.bin"), dtype=best_fitting_int_dtype(len(tokenizer)))
    for row in corpus.rows:
        ids = tokenizer(row.text, row.text_pair, truncation="longest_first", max_length=128)["input_ids"]
        builder.add_item(torch.tensor(ids))
    builder.finalize(str(data / "S_trn.en.idx"))


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(sys.argv[2], *map(Path, sys.argv[3:]))
    else:
        main()
