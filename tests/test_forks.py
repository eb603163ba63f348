"""A forked process leaves alone what it inherits, and a training's loaders with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader

from fairseq_musc.forks import Loaders

#: An object in a reference cycle, a fork, and which process hears of the object's end.
CYCLE = """
import gc, os, sys
from fairseq_musc.forks import spare_the_parent

class Heard:
    def __del__(self):
        print("ended in", "the parent" if os.getpid() == parent else "a child", flush=True)

def cycle():
    heard = Heard()
    heard.itself = heard

parent = os.getpid()
gc.disable()
if "spared" in sys.argv:
    spare_the_parent()
    spare_the_parent()  # once more changes nothing
cycle()
child = os.fork()
if not child:
    gc.collect()
    if "own" in sys.argv:
        parent = -1
        cycle()
        gc.collect()
    os._exit(0)
os.waitpid(child, 0)
gc.collect()
"""


def ends(*arguments: str) -> list[str]:
    """What a process of its own prints: the hooks that a fork runs cannot be taken away again."""
    command = [sys.executable, "-c", CYCLE, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_a_forked_process_collects_what_it_inherits_if_nothing_is_done():
    assert ends() == ["ended in a child", "ended in the parent"]


def test_a_forked_process_leaves_what_it_inherits_to_its_parent():
    assert ends("spared") == ["ended in the parent"]


def test_a_forked_process_collects_what_it_made_itself():
    assert ends("spared", "own") == ["ended in a child", "ended in the parent"]


#: Loaders as fairseq makes them, one an epoch, each in a cycle, with the collector at work in the workers.
LOADERS = """
import gc, sys
from torch.utils.data import DataLoader
from fairseq_musc.forks import spare_the_parent

if "spared" in sys.argv:
    spare_the_parent()

class Epoch:
    def __init__(self):
        self.itself = self
        self.batches = iter(DataLoader(range(40), 2, num_workers=2, persistent_workers=True, collate_fn=collate))

def collate(rows):
    gc.collect()
    return rows

gc.disable()
for epoch in range(3):
    assert sum(map(len, Epoch().batches)) == 40
print("done", flush=True)
"""


def loaders(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The epochs in a process of their own."""
    return subprocess.run(
        [sys.executable, "-c", LOADERS, *arguments], capture_output=True, text=True, timeout=30, start_new_session=True
    )


def test_loaders_of_an_epoch_do_not_take_down_those_of_the_one_before():
    spared = loaders("spared")
    assert spared.stdout == "done\n", spared.stderr
    assert "only test a child process" not in spared.stderr and "Bad file descriptor" not in spared.stderr


def test_the_trouble_is_there_without_it():
    try:
        ended = loaders()
    except subprocess.TimeoutExpired:  # a batch was lost: what all this is about
        return
    assert "only test a child process" in ended.stderr


#: Loaders whose processes do not end when torch asks them to: a thread in each that nothing ends.
STUBBORN = """
import sys, threading, time
import torch
from torch.utils.data import DataLoader
from fairseq_musc.forks import end_at_once

if "at once" in sys.argv:
    end_at_once()
    end_at_once()  # once more changes nothing

def stubborn(number):
    threading.Thread(target=time.sleep, args=(60,)).start()

batches = iter(DataLoader(torch.arange(8), 2, num_workers=2, worker_init_fn=stubborn))
workers = batches._workers
begun = time.monotonic()
assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4, 5], [6, 7]]
assert [worker.exitcode for worker in workers] == [0, 0]
print(time.monotonic() - begun)
"""


@pytest.mark.parametrize(
    ("way", "least", "most"), [("at once", 0, 5), pytest.param("by torch", 5, 60, marks=pytest.mark.long)]
)
def test_the_processes_of_a_loader_end_with_it_though_they_do_not_obey(way, least, most):
    command = [sys.executable, "-c", STUBBORN, way]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert least <= float(printed) < most


#: Loaders that send tensors by sockets in temporary folders: one read to its end, one that is let go, and one that is
#: in use when the process ends, or is killed.
SENDING = """
import os, signal, sys
import torch
from torch.utils.data import DataLoader
from fairseq_musc.forks import end_at_once

if sys.argv[1] != "by torch":
    end_at_once()

def begun():
    batches = iter(DataLoader(torch.arange(80), 2, num_workers=2))
    next(batches)
    return batches

assert len(list(begun())) == 39
begun()
batches = begun()
if sys.argv[1] == "SIGKILL":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("way", "tidy"), [("ours", True), ("SIGKILL", True), ("by torch", False)])
def test_the_processes_of_loaders_leave_nothing_in_the_temporary_folder(tmp_path_factory, way, tidy):
    folder = tmp_path_factory.mktemp("t")  # short: the path of a socket has to be
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-c", SENDING, way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == (-signal.SIGKILL if way == "SIGKILL" else 0), done.stderr
    assert "Exception ignored" not in done.stderr
    # Those whose parent is killed look for it every five seconds, also if it was killed before they had begun to.
    begun = time.monotonic()
    while way == "SIGKILL" and list(folder.iterdir()) and time.monotonic() < begun + 60:
        time.sleep(0.1)
    assert (list(folder.iterdir()) == []) == tidy


def test_a_forked_process_that_is_killed_leaves_the_folder_to_the_one_that_made_it():
    """Or the loaders of the parent would have none."""
    made = subprocess.run([sys.executable, "-c", FORKED_AND_KILLED], check=True, capture_output=True, text=True).stdout
    assert made == "True\n"


FORKED_AND_KILLED = """
import os, signal, time
from multiprocessing import util
import torch
from torch.utils.data import DataLoader
from fairseq_musc.forks import end_at_once

end_at_once()
child = os.fork()
if not child:
    end_at_once()
    batches = iter(DataLoader(torch.arange(80), 2, num_workers=1))
    next(batches)
    print(batches._workers[0].pid, file=open(f"{util.get_temp_dir()}/worker", "w"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
worker = int(open(f"{util.get_temp_dir()}/worker").read())
try:
    while open(f"/proc/{worker}/stat").read().split()[2] != "Z":
        time.sleep(0.1)
except OSError:
    pass
print(os.path.isdir(util.get_temp_dir()))
"""


class Iterator:
    """As fairseq's, in a cycle and with a loader whose processes stay."""

    def __init__(self):
        self.itself = self
        self.dataloader = DataLoader(torch.arange(4), 2, num_workers=1, persistent_workers=True)
        assert len(list(self.dataloader)) == 2
        self.workers = self.dataloader._iterator._workers


def test_the_processes_of_one_purpose_end_when_the_next_takes_their_place():
    training, validation = Loaders(), Loaders()
    epoch, first, second = Iterator(), Iterator(), Iterator()
    later = type("Later", (), {})()
    training.begin(epoch)
    validation.begin(first)
    validation.begin(second)
    assert [each.workers[0].is_alive() for each in (epoch, first, second)] == [True, False, True]
    training.begin(later)  # one that has not loaded anything yet
    assert [each.workers[0].is_alive() for each in (epoch, second)] == [False, True]
    validation.begin(later)
    assert not second.workers[0].is_alive()
