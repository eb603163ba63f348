"""One process at a time works in a folder."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairseq_musc.errors import InputError
from fairseq_musc.locks import held_alone

HOLDING = """
import os, sys, time
from pathlib import Path
from fairseq_musc.locks import held_alone

with held_alone(Path(sys.argv[1])):
    child = os.fork()
    if not child:  # as one that loads batches, which outlives a parent that is killed
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder until its input ends, and the number of one that it has forked."""
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        yield process
        os.kill(child, signal.SIGKILL)
        process.kill()


def test_another_process_is_refused_and_told_by_whom(holder, tmp_path):
    refused = rf"another run works in .*run \(process {holder.pid} on \S+\); wait for it, end it, or go elsewhere"
    with pytest.raises(InputError, match=refused), held_alone(tmp_path / "run", "go elsewhere"):
        pass


def test_one_that_is_killed_holds_nothing_though_its_children_live(holder, tmp_path):
    holder.kill()
    holder.wait()
    with held_alone(tmp_path / "run"):
        assert f"process {os.getpid()} on" in (tmp_path / "run" / ".lock").read_text()


def test_one_that_ends_in_time_is_waited_for(holder, tmp_path, caplog):
    begun = time.monotonic()
    with pytest.raises(InputError), held_alone(tmp_path / "run", patience=0.5):
        pass
    assert 0.5 <= time.monotonic() - begun < 20
    assert caplog.text.count("waiting up to") == 1
    holder.stdin.close()
    with held_alone(tmp_path / "run", patience=60):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_another_thread_is_refused_and_takes_nothing_away(holder, tmp_path):
    def tries():
        try:
            with held_alone(folder):
                return "held"
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(1) as threads:
        with held_alone(tmp_path / "threads"):
            folder = tmp_path / "threads" / ".." / "threads"
            assert f"another thread of this process, {os.getpid()}" in threads.submit(tries).result()
            command = [sys.executable, "-c", HOLDING, str(folder)]
            other = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            assert f"(process {os.getpid()} on" in other.stderr  # the lock is held still
        assert threads.submit(tries).result() == "held"
        folder = tmp_path / "run"
        assert f"(process {holder.pid} on" in threads.submit(tries).result()
    with pytest.raises(InputError, match=f"process {holder.pid} on"), held_alone(folder):  # not: another thread
        pass


def test_a_forked_process_that_leaves_the_block_takes_nothing_away(tmp_path):
    with held_alone(tmp_path / "run"):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert (tmp_path / "run" / ".lock").exists()
    if not child:
        os._exit(0)


def test_without_locks_it_is_logged_and_work_goes_on(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))  # as on NFS without its lock service

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with held_alone(tmp_path / "run"):
        assert "No locks available" in caplog.text and "one run at a time" in caplog.text
