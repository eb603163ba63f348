"""What ``make fuzz`` runs: it counts what it tries, and finds what readers can do wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
BYTES = FUZZ.with_name("fuzz_bytes.py")
#: In place of the readers that we have: each does something else that it must not.
BAD = """
import os, runpy, signal, sys, time
sys.path.insert(0, {tests!r})
import fuzzing
from hypothesis import strategies as st

@fuzzing.fuzz(st.integers(0, 1000))
def good(folder, number):
    '''good.'''
    if number % 2:
        raise fuzzing.InputError("it is odd")

@fuzzing.fuzz(st.integers(0, 1000))
def raises(folder, number):
    '''raises.'''
    if number >= 7:
        raise KeyError(number)

@fuzzing.fuzz(st.integers(0, 1000), slower=10)
def dies(folder, number):
    '''dies.'''
    if number > 900:
        os.kill(os.getpid(), signal.SIGSEGV)

@fuzzing.fuzz(st.integers(0, 1000), slower=10)
def hangs(folder, number):
    '''hangs.'''
    if number > 900:
        time.sleep(1000)

import fuzz
fuzz.HANG = 1
sys.argv[1:] = ["--processes", "2", "--seconds", "8", "--output", {output!r}, "--seed", "1"]
sys.exit(fuzz.main())
"""


def test_it_counts_what_it_tries(tmp_path, promise):
    command = [sys.executable, FUZZ, "--processes", "2", "--inputs", "900", "--only", "cells", "--seed", "3"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "a" / "fuzz.json"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "a" / "fuzz.json").read_text())
    (name,) = said["readers"]
    counts = said["readers"][name]
    assert 900 <= counts["inputs"] < 900 + 2 * 250 and counts["inputs"] == said["inputs"]
    assert 700 < counts["distinct"] <= counts["inputs"], "two processes try other inputs"
    assert f"| total | {counts['inputs']:,} | {counts['distinct']:,} | 0 | 0 |" in done.stdout
    assert "2 processes, seed 3" in done.stderr and "inputs" in done.stderr.splitlines()[-1]


@pytest.mark.timeout(120)
def test_it_finds_what_raises_what_hangs_and_what_ends_the_process(tmp_path):
    output = tmp_path / "fuzz.json"
    program = BAD.format(tests=str(FUZZ.parent), output=str(output))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    readers = json.loads(output.read_text())["readers"]
    said = {name: [failure["said"] for failure in counts["failures"]] for name, counts in readers.items()}
    assert said["good"] == [] and 0 < readers["good"]["refused"] < readers["good"]["inputs"]
    assert said["raises"] and all("KeyError: 7" in each and "given_values=(7,)" in each for each in said["raises"])
    assert said["dies"] and all("ended with status -11" in each for each in said["dies"])
    assert said["hangs"] and all(
        "took longer than 1 s" in each and "time.sleep(1000)" not in each for each in said["hangs"]
    )
    for each in (*said["dies"], *said["hangs"]):
        number = int(each.split("the input:\n(")[1].split(",")[0])
        assert number > 900
    assert all("in hangs" in each for each in said["hangs"]), "it says where"
    assert "KeyError: 7" in done.stderr


def test_bytes_are_counted_too(tmp_path):
    pytest.importorskip("atheris", reason="pip install atheris==3.0.0")
    command = [sys.executable, BYTES, "--processes", "1", "--seconds", "5", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tried = {
        line.split("|")[1].strip(): int(line.split("|")[2].replace(",", "")) for line in done.stdout.splitlines()[2:14]
    }
    assert len(tried) == 12 and all(tried.values()) and tried["total"] > 500
