"""Times ``fairseq-musc binarize`` on made-up corpora of several sizes, and looks at its memory.

    python benchmarks/binarizing.py --output FOLDER            # 50,000 to 400,000 rows of PAWS-X's length
    python benchmarks/binarizing.py --output FOLDER --tiny     # in seconds: it shows that it runs

A row is a pair of sentences. Every size is binarized in a process of its own; seconds are of the whole command, with
the start of Python and the loading of the tokenizer, and memory is the most that the process held. Prints a table, and
writes it to FOLDER/binarizing.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from made_up import MBERT, TINY, make_corpora, make_encoder

CHILD = """
import json, resource, sys
from fairseq_musc.cli import main
code = main(sys.argv[1:])
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), file=sys.__stdout__)
sys.exit(code)
"""


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
        from dataclasses import replace

        make_encoder(encoder, replace(size, width=16, layers=1, heads=2, intermediate=32))
    cores = len(os.sched_getaffinity(0))
    print(f"\n{cores} CPU cores\n{'rows':>9s} {'seconds':>8s} {'rows/s':>8s} {'GiB':>6s}")
    results = []
    for rows in sizes:
        corpora, data = world / f"corpora-{rows}", world / f"data-bin-{rows}"
        if not corpora.exists():
            make_corpora(corpora, size, {"S_trn": rows})
        shutil.rmtree(data, ignore_errors=True)
        command = ["binarize", "--corpora", str(corpora), "--data", str(data), "--tokenizer", str(encoder)]
        start = time.perf_counter()
        ended = subprocess.run([sys.executable, "-c", CHILD, *command], stdout=subprocess.PIPE, check=True, text=True)
        seconds = time.perf_counter() - start
        kibibytes = json.loads(ended.stdout.splitlines()[-1])
        results.append({"rows": rows, "seconds": seconds, "rows_per_second": rows / seconds, "gib": kibibytes / 2**20})
        print(f"{rows:9d} {seconds:8.1f} {rows / seconds:8.0f} {kibibytes / 2**20:6.2f}", flush=True)
        shutil.rmtree(data)
    signature = {"cores": cores, "python": sys.version.split()[0], "results": results}
    (arguments.output / "binarizing.json").write_text(json.dumps(signature, indent=1) + "\n")


if __name__ == "__main__":
    main()
