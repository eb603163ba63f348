"""Goes the way from corpora to the first batch with a made-up corpus of XNLI's size: 15 languages of 392,702 rows.

    python benchmarks/xnli_size.py --output FOLDER                  # 5.9 million rows; 4 GB of disk
    python benchmarks/xnli_size.py --output FOLDER --rows 50000     # as many rows in each language
    python benchmarks/xnli_size.py --output FOLDER --tiny           # in seconds: it shows that it runs

Makes S_trn and, in 14 languages, T_trn_MT (once), binarizes them by ``fairseq-musc binarize``, and opens the data-bin
with the recipe's task as training does. Prints, and writes to FOLDER/xnli_size.json: the seconds and pairs a second of
binarizing and the most memory that it held; the seconds to open the training set, to permute and cut an epoch into
batches of 32 pairs of each language, and to have its first batch from the recipe's loader, with those of the next ones;
and the memory at each step. *own* is memory of the process alone; the files of the data-bin are mapped, and their pages
come on top as the machine has room (*resident*).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from binarizing import BLOCKS, memory, timed
from made_up import MBERT, TINY, XNLI_LANGUAGES, make_corpora, make_encoder

from fairseq_musc.files import write_json

ROWS = 392_702
"""Of XNLI's training set."""
BATCH = 32
NEXT = 200
"""Batches that are timed behind the first."""


def main() -> None:
    """Makes the corpora, goes the way and prints what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the corpora, the data-bin and the figures"
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="rows in each language")
    parser.add_argument("--languages", type=int, default=1 + len(XNLI_LANGUAGES), help="languages, with the source")
    parser.add_argument("--tiny", action="store_true", help="a small vocabulary, 3 languages and 300 rows")
    arguments = parser.parse_args()
    rows, languages = (300, 3) if arguments.tiny else (arguments.rows, arguments.languages)
    size = TINY if arguments.tiny else MBERT
    output = arguments.output.resolve()
    world = output / f"xnli_size-world-{languages}x{rows}"
    corpora, encoder, data = world / "corpora", world / "encoder", world / "data-bin"
    if not encoder.exists():
        make_encoder(encoder, replace(size, width=16, layers=1, heads=2, intermediate=32))
    start = time.perf_counter()
    if not corpora.exists():
        make_corpora(world / "begun", size, {"S_trn": rows, "T_trn_MT": rows}, XNLI_LANGUAGES[: languages - 1])
        (world / "begun").rename(corpora)
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} CPU cores; {languages} languages of {rows:,} rows ({time.perf_counter() - start:.0f} s to make)")
    binarized = timed(BLOCKS, languages * rows, corpora, data, encoder)
    print(
        f"binarize: {binarized.seconds:.1f} s, {binarized.rows_per_second:.0f} pairs/s, "
        f"{binarized.rows / binarized.cpu_seconds:.0f} pairs/CPU s, {binarized.gib:.2f} GiB",
        flush=True,
    )
    ended = subprocess.run(
        [sys.executable, __file__, CHILD, str(data), str(encoder)], stdout=subprocess.PIPE, check=True, text=True
    )
    opened = json.loads(ended.stdout.splitlines()[-1])
    for name, step in opened["steps"].items():
        print(f"{name}: {step['seconds']:.2f} s; {step['own_gib']:.2f} GiB own, {step['resident_gib']:.2f} resident")
    print(f"{opened['batches']:,} batches an epoch; {opened['next_milliseconds']:.1f} ms for each of the next ones")
    binarizing = {**asdict(binarized), "rows_per_second": binarized.rows_per_second}
    results = {"languages": languages, "rows": rows, "binarize": binarizing, **opened}
    write_json(output / "xnli_size.json", {"cores": cores, "python": sys.version.split()[0], "results": results})
    shutil.rmtree(data)


CHILD = "--child"


def child(data: Path, encoder: Path) -> None:
    """Opens the data-bin as training does, takes batches, and prints what it took."""
    steps = {}
    start = time.perf_counter()

    def done(name: str) -> None:
        nonlocal start
        steps[name] = {
            "seconds": time.perf_counter() - start,
            "own_gib": memory("RssAnon"),
            "resident_gib": memory("VmRSS"),
        }
        start = time.perf_counter()

    from fairseq import tasks
    from training import composed_recipe

    cfg = composed_recipe(data, encoder)
    task = tasks.setup_task(cfg.task)
    task.packed = True  # which else the model says
    done("start")
    task.load_dataset("train")
    done("open")
    iterator = task.get_batch_iterator(
        task.datasets["train"],
        max_sentences=BATCH,
        required_batch_size_multiple=1,
        seed=cfg.common.seed,
        num_workers=cfg.dataset.num_workers,
        data_buffer_size=cfg.dataset.data_buffer_size,
        epoch=1,
    ).next_epoch_itr()
    done("epoch")
    next(iterator)
    done("first batch")
    taken = sum(1 for _ in zip(range(NEXT), iterator, strict=False))
    milliseconds = 1000 * (time.perf_counter() - start) / max(1, taken)
    done("next batches")
    print(json.dumps({"steps": steps, "batches": len(iterator), "next_milliseconds": milliseconds}), flush=True)
    os._exit(0)  # without waiting for the loader, which is ahead


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(*map(Path, sys.argv[2:]))
    else:
        main()
