"""Tries inputs on every reader of ``tests/test_hostile_text.py``, in several processes, and prints how many there were.

    make fuzz                                                  # a million inputs, on all cores
    python3 tests/fuzz.py --processes 16 --seconds 500 --output fuzz.json

Each process takes seeds of hypothesis of its own, and goes on with the reader that has had the fewest inputs, so long
as it has not had more than twice its share of the time: slow readers do not hold up the others. An input that takes
longer than a minute, and one that ends the process, are failures like any other. Exit status: 1 if there was one.
"""

import argparse
import ctypes
import faulthandler
import json
import logging
import mmap
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no threads in what forks
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from fuzzing import READERS, SHM, Tally

from fairseq_musc.progress import progress_bar
from fairseq_musc.version import __version__

#: Inputs of a reader, one after the other, with one seed; hypothesis slows down if there are many.
ROUND = 200
#: The fewest of a slow reader.
FEWEST = 5
#: Failures of a reader in a process, behind which the process leaves it alone; and processes that it ended, behind
#: which all do.
ENOUGH = 2
#: Seconds that one input may take.
HANG = 60.0
#: Of a text of an input that is kept for a process that does not live to show it.
KEPT = 4000


class Slot(ctypes.Structure):
    """What a process tells its parent while it works."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("since", ctypes.c_double),  # when the present input was begun, by time.monotonic(); 0 between two
        ("reader", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("text", ctypes.c_char * KEPT),
    )

    def notice(self, text):
        if text is None:
            self.since = 0.0
            self.inputs += 1
        else:
            data = text.encode("utf-8", "backslashreplace")[:KEPT]
            self.length = len(data)
            ctypes.memmove(ctypes.addressof(self) + Slot.text.offset, data, len(data))
            self.since = time.monotonic()

    def input(self):
        start = Slot.text.offset
        return bytes(memoryview(self).cast("B")[start : start + self.length]).decode("utf-8", "replace")


class Process:
    """One of the processes, by its number; a number is used once, a slot again."""

    def __init__(self, number, slots, ended, place, seed, until, inputs, folder):
        self.number, self.slots, self.slot, self.ended = number, slots, slots[place], ended
        self.place, self.seed, self.until, self.inputs = place, seed, until, inputs
        self.folder = folder
        self.log = folder / f"{number}.log"
        self.hung = False
        self.pid = os.fork()
        if self.pid == 0:
            self.live()

    def live(self):
        """In the child; never returns."""
        status = 1
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            faulthandler.enable(file=log)
            faulthandler.register(signal.SIGUSR1, file=log)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            logging.getLogger("fairseq_musc").setLevel(logging.ERROR)
            self.work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def work(self):
        scratch = self.folder / f"{self.number}.scratch"
        scratch.mkdir()
        counts = [
            {"inputs": 0, "refused": 0, "seconds": 0.0, "rounds": 0, "failures": []} for _ in READERS
        ]  # a count for each reader
        begun = time.monotonic()
        while time.monotonic() < self.until and sum(slot.inputs for slot in self.slots) < self.inputs:
            share = 2 * (time.monotonic() - begun) / len(READERS)
            open_ = [at for at, count in enumerate(counts) if max(len(count["failures"]), self.ended[at]) < ENOUGH]
            if not open_:
                break
            within = [at for at in open_ if counts[at]["seconds"] <= share] or open_
            at = min(within, key=lambda at: counts[at]["inputs"] * READERS[at].slower)
            self.one_round(at, counts[at], scratch)
            written = self.folder / f"{self.number}.json.part"
            written.write_text(json.dumps({"seed": self.seed, "number": self.number, "readers": counts}))
            written.rename(written.with_suffix(""))

    def one_round(self, at, count, scratch):
        reader, tally = READERS[at], Tally()
        self.slot.reader = at
        # Numbers and no hash of a tuple, so that a failure is found again from what is printed of it.
        seed = (self.seed * 10_000 + self.number) * 1_000_000 + count["rounds"]
        start = time.monotonic()
        try:
            reader.attempt(max(FEWEST, ROUND // reader.slower), tally, seed, scratch, self.slot.notice)
        except Exception as error:
            said = "".join(traceback.format_exception(error))
            count["failures"].append({"seed": seed, "said": said[-6000:]})
        count["rounds"] += 1
        count["seconds"] += time.monotonic() - start
        count["inputs"] += tally.inputs
        count["refused"] += tally.refused
        with open(self.folder / f"{self.number}.{at}.hashes", "ab") as stream:
            tally.hashes.tofile(stream)

    def end_if_it_hangs(self):
        since = self.slot.since
        if since and time.monotonic() - since > HANG and not self.hung:
            self.hung = True
            os.kill(self.pid, signal.SIGUSR1)  # prints where it is
            time.sleep(1)
            os.kill(self.pid, signal.SIGKILL)

    def over(self):
        """Its exit status when it is over, else None."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def failure(self, status):
        """What is to be said of a process that did not come to its end."""
        how = f"an input took longer than {HANG:.0f} s" if self.hung else f"the process ended with status {status}"
        log = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        said = f"{how}; the input:\n{self.slot.input()}\n{log}"
        return self.slot.reader, {"seed": self.seed, "said": said}


def run(processes, inputs, seconds, seed, folder):
    """Lets the processes work; returns the failures of those that did not come to their end, by reader."""
    slots = (Slot * processes).from_buffer(mmap.mmap(-1, processes * ctypes.sizeof(Slot)))
    ended = (ctypes.c_int64 * len(READERS)).from_buffer(mmap.mmap(-1, 8 * len(READERS)))  # processes, by a reader
    until = time.monotonic() + seconds
    number, lost, working = 0, [], []
    for place in range(processes):
        working.append(Process(number, slots, ended, place, seed, until, inputs, folder))
        number += 1
    with progress_bar(inputs if inputs < sys.maxsize else None, "inputs", "fuzzing", delay=0) as bar:
        while working:
            time.sleep(0.2)
            bar.update(sum(slot.inputs for slot in slots) - bar.n)
            for process in list(working):
                process.end_if_it_hangs()
                status = process.over()
                if status is None:
                    continue
                working.remove(process)
                if status:
                    lost.append(process.failure(status))
                    ended[process.slot.reader] += 1
                    process.slot.since = 0.0
                    if len(lost) <= ENOUGH * len(READERS) * processes:
                        working.append(Process(number, slots, ended, process.place, seed, until, inputs, folder))
                        number += 1
    return lost


def gathered(folder, lost):
    """The counts of all processes, by the name of a reader."""
    made = {}
    reports = [json.loads(path.read_text())["readers"] for path in sorted(folder.glob("*.json"))]
    for at, reader in enumerate(READERS):
        counts = [report[at] for report in reports]
        hashes = [np.fromfile(path, np.uint64) for path in folder.glob(f"*.{at}.hashes")]
        failures = [failure for count in counts for failure in count["failures"]]
        failures += [failure for which, failure in lost if which == at]
        made[reader.name] = {
            "inputs": sum(count["inputs"] for count in counts),
            "distinct": len(np.unique(np.concatenate(hashes))) if hashes else 0,
            "refused": sum(count["refused"] for count in counts),
            "seconds": round(sum(count["seconds"] for count in counts), 1),
            "failures": failures,
        }
    return made


def print_table(readers):
    print("| reader | inputs | distinct | refused with a clear error | failures |\n|:--|--:|--:|--:|--:|")
    columns = ("inputs", "distinct", "refused")
    for name, counts in readers.items():
        print(f"| {name} | {' | '.join(f'{counts[key]:,}' for key in columns)} | {len(counts['failures'])} |")
    total = [f"{sum(counts[key] for counts in readers.values()):,}" for key in columns]
    print(f"| total | {' | '.join(total)} | {sum(len(counts['failures']) for counts in readers.values())} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many; default: one a core")
    parser.add_argument(
        "--inputs", type=int, help="the end: so many inputs in all; default: 1,000,000 without --seconds"
    )
    parser.add_argument("--seconds", type=float, help="the end: so long")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="another one tries other inputs; default: the time"
    )
    parser.add_argument("--output", type=Path, default=Path(".cache/fuzz.json"), help="the counts as JSON")
    parser.add_argument("--only", help="readers in whose names this stands")
    options = parser.parse_args()
    if not READERS:
        import test_hostile_text

        test_hostile_text.search_path()  # once, instead of in each process
    if options.only:
        READERS[:] = [reader for reader in READERS if options.only in reader.name]
    inputs = options.inputs or (1_000_000 if options.seconds is None else sys.maxsize)
    if not READERS or options.processes < 1 or inputs < 1:
        parser.error("no readers, no processes or no inputs")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=SHM))
    start = time.monotonic()
    print(f"{options.processes} processes, seed {options.seed}", file=sys.stderr, flush=True)
    try:
        lost = run(options.processes, inputs, options.seconds or 1e9, options.seed, folder)
        readers = gathered(folder, lost)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - start
    total = sum(counts["inputs"] for counts in readers.values())
    about = {
        **{"version": __version__, "python": platform.python_version(), "seed": options.seed},
        **{"processes": options.processes, "seconds": round(seconds, 1), "inputs": total},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({**about, "readers": readers}, indent=1))
    for name, counts in readers.items():
        for failure in counts["failures"]:
            print(f"== {name}, seed {failure['seed']}\n{failure['said']}\n", file=sys.stderr)
    print_table(readers)
    print(f"\n{seconds:.0f} s in {options.processes} processes, seed {options.seed}: {options.output}")
    return int(any(counts["failures"] for counts in readers.values()))


if __name__ == "__main__":
    sys.exit(main())
