"""Tries bytes on the readers of ``tests/test_hostile_text.py`` that take any, led by what they reach in our code.

    pip install atheris==3.0.0
    make fuzz-bytes FUZZERS=2 FUZZ_SECONDS=600

atheris is libFuzzer for Python: it keeps the inputs that reach something new, and changes them further, twenty times as
many a second as hypothesis makes. It is no part of the environment, since it has wheels for some releases of Python
alone. Each process counts the inputs of each reader; an exception that is not :class:`InputError` ends it and is shown.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from fuzzing import SHM

#: Inputs between two times that a process writes down its counts.
OFTEN = 500
#: The bytes of an input, at most; libFuzzer begins with short ones.
LONGEST = 600


def targets(hostile):
    """Name of a reader -> what takes a folder, bytes and a number that chooses how to read; and files to begin with."""
    from fuzzing import READERS

    by = {reader.name: reader.function for reader in READERS}
    raw, records = by["the readers of raw files as they are published"], by["the readers of data of one's own"]
    formats, tables = [*hostile.RAW], ["csv", "tsv", "jsonl"]
    plain = {
        "corpora whose checksum is right": lambda read, folder, data, n: read(folder, data, n % 2 == 1),
        "predictions tables whose checksum is right": lambda read, folder, data, n: read(folder, data, None),
        "files in place of the JSON of a data-bin, a corpus, a table": lambda read, folder, data, n: read(folder, data),
        "training logs": lambda read, folder, data, n: read(folder, data),
        "text files to translate": lambda read, folder, data, n: read(
            folder, data, [None, [1], [2, 1]][n % 3], n > 99, ""
        ),
        "parallel text, and texts to learn a vocabulary from": lambda read, folder, data, n: read(folder, data, ""),
        "YAML files that describe data": lambda read, folder, data, n: read(folder, data),
        "chunks of unfinished translations": lambda read, folder, data, n: read(folder, data, n % 4 > 0),
        "cells, texts written as bytes, literals": lambda read, folder, data, n: read(
            folder, data.decode(errors="replace")
        ),
    }
    made = {
        "the readers of raw files as they are published": (
            lambda folder, data, n: raw(folder, (formats[n % 4], data), n > 99),
            [*hostile.RAW.values()],
        ),
        "the readers of data of one's own": (
            lambda folder, data, n: records(folder, (tables[n % 3], data), ""),
            [hostile.TABLE_OF_ONES_OWN, hostile.SHEET, hostile.LINES],
        ),
    }
    begin = (hostile.WHOLE, [hostile.TABLE], [json.dumps(hostile.DATABIN).encode()], [hostile.LOG], [hostile.PAIRS])
    begin = (*begin, [hostile.PAIRS], [hostile.YAML], [hostile.CHUNK], [b"[(512, 10, 5)] + [(1,)] * 2", b"b'\\xc3'"])
    for (name, call), files in zip(plain.items(), begin, strict=True):
        made[name] = (lambda folder, data, n, call=call, read=by[name]: call(read, folder, data, n), files)
    return made


def child(number, seconds, seed, folder):
    """One process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["fairseq_musc"]):
        import test_hostile_text as hostile
    from fairseq_musc.errors import InputError

    logging.getLogger("fairseq_musc").setLevel(logging.ERROR)
    made = targets(hostile)
    names = [*made]
    counts = {name: [0, 0] for name in names}
    corpus = folder / f"{number}.corpus"
    corpus.mkdir()
    for place, name in enumerate(names):
        for at, data in enumerate(made[name][1]):
            for n in (at, at + 100):
                (corpus / f"{place}-{at}-{n}").write_bytes(bytes([place, n]) + data)
    written = folder / f"{number}.json"

    def one(data):
        if len(data) < 2:
            return
        name = names[data[0] % len(names)]
        counts[name][0] += 1
        if sum(count for count, _ in counts.values()) % OFTEN == 0:
            written.write_text(json.dumps(counts))
        try:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                made[name][0](Path(place), data[2:], data[1])
        except InputError:
            counts[name][1] += 1
        except BaseException:
            print(f"== {name}, {data!r}", flush=True)
            written.write_text(json.dumps(counts))
            raise

    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + number}", f"-max_len={LONGEST}", "-timeout=60"]
    atheris.Setup([sys.argv[0], str(corpus), *options, "-print_final_stats=1", f"-artifact_prefix={folder}/"], one)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many; default: one a core")
    parser.add_argument("--seconds", type=float, default=600, help="how long each works; default: 600")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(int(options.child[0]), options.seconds, options.seed, Path(options.child[1]))
    try:
        import atheris  # noqa: F401
    except ImportError:
        parser.error("it needs atheris: pip install atheris==3.0.0, which has wheels for Python 3.11 to 3.13")
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=SHM) as name:
        folder, started = Path(name), []
        for number in range(options.processes):
            command = [sys.executable, __file__, "--seconds", str(options.seconds), "--seed", str(options.seed)]
            log = (folder / f"{number}.log").open("wb")
            started.append(subprocess.Popen([*command, "--child", str(number), name], stdout=log, stderr=log))
        begun, statuses = time.monotonic(), [None]
        while None in statuses:
            statuses = [process.poll() for process in started]
            time.sleep(0.5)
            if int(time.monotonic() - begun) % 30 == 0:
                print(f"{total(folder)[0]:,} inputs, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
                time.sleep(1)
        return tell(folder, statuses, time.monotonic() - begun, options)


def total(folder):
    """All inputs so far, and the counts of each reader, of all processes."""
    counts = {}
    for path in folder.glob("*.json"):
        for name, each in json.loads(path.read_text()).items():
            counts[name] = [one + two for one, two in zip(counts.get(name, [0, 0]), each, strict=True)]
    return sum(tried for tried, _ in counts.values()), counts


def tell(folder, statuses, seconds, options):
    inputs, counts = total(folder)
    print("| reader, bytes led by coverage | inputs | refused with a clear error |\n|:--|--:|--:|")
    for name, (tried, refused) in counts.items():
        print(f"| {name} | {tried:,} | {refused:,} |")
    failed = [number for number, status in enumerate(statuses) if status]
    print(f"| total | {inputs:,} | {sum(refused for _, refused in counts.values()):,} |")
    print(f"\n{seconds:.0f} s in {options.processes} processes, seed {options.seed}; {len(failed)} ended at a failure")
    for number in failed:
        print((folder / f"{number}.log").read_text(errors="replace")[-4000:], file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
