"""What several test files share: one tiny data-bin, one tiny encoder, and the settings of every child process."""

import os
import signal
import sys
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
# As in an activated environment: scripts start `fairseq-musc`, and a test may be started without one.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Models of a few thousand parameters: a second thread would only spin while the first works, in each of the processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # which Triton reads when it is imported: kernels run on the CPU
# Forked runs that are killed, or end without clearing up, take this folder for theirs, and leave none of their own.
get_temp_dir()
# A deadline for one example would measure who else uses the processor.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

#: The files with the longest tests, longest first: begun early, none of them is what one process waits for at the end.
LONGEST = ("cls_real", "whole_way", "stopping", "translate_train", "grid", "two_processes", "translate_stalled")


def pytest_collection_modifyitems(items):
    names = [f"test_{name}" for name in LONGEST]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


class TinyWorld(NamedTuple):
    corpora: object
    encoder: object
    data: object


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Corpora of 37, 13 and 21 rows in en, de, fr; a BERT folder; a data-bin. Not to be written to."""
    root = tmp_path_factory.mktemp("world")
    tiny.make_corpora(root / "corpora")
    tiny.make_encoder(root / "encoder")
    tiny.binarize(root / "corpora", root / "data-bin", root / "encoder")
    return TinyWorld(root / "corpora", root / "encoder", root / "data-bin")


@pytest.fixture
def promise(record_property):
    """Counts what a test did to break a promise of docs/promises.md: ``promise(name, harm, times)``."""

    def count(name, harm, times):
        record_property("promise", [name, harm, times])

    return count


def pytest_terminal_summary(terminalreporter):
    """Prints what was counted as the rows of the table in docs/promises.md, for the tests that passed and those that
    did not: a promise that was broken once is not kept."""
    table = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for key, value in getattr(report, "user_properties", ()):
                if key == "promise" and report.when == "call":
                    name, harm, times = value
                    row = table.setdefault((name, harm), [0, 0])
                    row[0] += times
                    row[1] += outcome == "failed"
    if table:
        terminalreporter.section("promises")
        terminalreporter.write_line("| promise | what was done to break it | times | lost |\n|:--|:--|--:|--:|")
        for (name, harm), (times, lost) in table.items():
            terminalreporter.write_line(f"| {name} | {harm} | {times} | {lost or 'nothing'} |")
