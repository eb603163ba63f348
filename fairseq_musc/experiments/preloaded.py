"""Trainings that are started from a process which has imported already what they need.

A small training on a machine with many at work can take less time than its imports. Here one process, the server,
imports once and then forks: each training is a process of its own, which runs the same script with the same arguments
as a fresh Python does, and gives the same bits.

What a fork would take along must not be there yet, so the server does nothing but import:

- CUDA cannot be used in a process that was forked from one that has initialised it. fairseq counts GPUs while it is
  imported; torch does that without CUDA where it can. Where it could not, trainings are started afresh.
- Of all threads a fork takes along only the one that forks. OpenMP's, which torch computes with, would be waited for
  for ever: nothing is computed. Those of OpenBLAS and jemalloc are there once numpy and pyarrow are imported, and both
  libraries end or renew them at a fork.
- What was read from the environment while importing stays: the server has that of a training.

Not by :mod:`multiprocessing`'s forkserver: its trainings would keep it alive when the grid is killed, end by
``os._exit`` without what Python does at its end, import the main module of the grid, and leave a folder behind.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.experiments.alone import Alone, Running
from fairseq_musc.parents import end_with_parent

#: What trainings import, by the modules that import the rest.
MODULES = (
    "fairseq_cli.hydra_train",
    "fairseq_musc.recipes",
    "fairseq_musc.registration",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
)
#: The same of what is not in every environment: transformers 5 has not the first, and a CPU alone not the others.
MORE_MODULES = (
    "transformers.models.bert.tokenization_bert_fast",
    "fairseq_musc.models.triton_attention",
    "fairseq_musc.models.triton_gelu",
    "fairseq_musc.models.triton_norm",
)


class Script(NamedTuple):
    """What a forked process is to run."""

    command: list[str]
    """Python, ``-P``, a script and its arguments."""
    environment: dict[str, str]
    log: str


class Preloaded(Alone):
    """The server, as the process sees it that has trainings to start; it ends with the block, or with that process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Starts it.

        Args:
            environment: that of a training; those of the others may differ in which GPUs they name.
        """
        self._fit: bool | None = None
        """Whether it can start trainings; None while it imports."""
        self._channel, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                # Whether there are GPUs is then found out without CUDA, as how many there are.
                env={**environment, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.terminate()  # it may be importing still
        self._process.wait()

    def ready(self) -> bool:
        """Whether all is imported, so that a training starts at once."""
        if self._fit is None and self._channel.poll():
            try:
                self._fit = self._channel.recv()
            except (EOFError, OSError):  # an import failed: the log of a training started afresh says why
                self._fit = False
        return self._fit is not None

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Running:
        """Starts a Python script (Python, ``-P``, the script, its arguments); afresh where it cannot be forked."""
        pid = None
        if self._fit:
            with suppress(EOFError, OSError):
                self._channel.send(Script(list(command), dict(environment), str(log)))
                pid = self._channel.recv()
        return super().start(command, environment, log) if pid is None else Forked(pid, self._channel)


class Forked:
    """A process that the server has forked; the server alone can ask the system what became of it."""

    def __init__(self, pid: int, channel: Connection[Any, Any]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._channel = channel

    def poll(self) -> int | None:
        """The exit status, or a signal's number less than 0; None if it has not ended."""
        if self.returncode is None:
            try:
                self._channel.send(self.pid)
                self.returncode = self._channel.recv()
            except (EOFError, OSError):
                self.returncode = -signal.SIGTERM  # which the server's end has sent to it
        return self.returncode

    def terminate(self) -> None:
        """Sends SIGTERM, if it has not ended."""
        if self.poll() is None:  # and so its number is no other's: that is free when the server has said how it ended
            os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Waits for the end."""
        while (status := self.poll()) is None:
            time.sleep(0.02)
        return status


# --- the server ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Imports and forks; a forked process leaves :func:`serve` with a script, and is from then on that script's."""
    server = os.getpid()
    with Connection(int(sys.argv[1])) as channel:
        said = preload()
        channel.send(fit())
        script = serve(channel)
    if script is not None:
        become(script, said, server)
        runpy.run_path(sys.argv[0], run_name="__main__")


def preload() -> bytes:
    """Imports; returns what was said meanwhile, which belongs into the log of each training."""
    with tempfile.TemporaryFile() as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        for name in MODULES:
            importlib.import_module(name)
        for name in MORE_MODULES:
            with suppress(ImportError):
                importlib.import_module(name)
        sys.stdout.flush()
        stream.seek(0)
        said = stream.read()
    # What is there stays: a collector that goes through it in each training would only copy the pages it lies in.
    gc.collect()
    gc.freeze()
    return said


def fit() -> bool:
    """Whether a forked process could use CUDA, by torch's own note of it."""
    import torch

    pid = os.fork()
    if not pid:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return os.waitpid(pid, 0)[1] == 0


def serve(channel: Connection[Any, Any]) -> Script | None:
    """Does what is asked until nobody is there to ask.

    Asked is a script to run, answered its process id (None if there can be no more processes), or a process id,
    answered its exit status (None if it has none yet).

    Returns:
        In each forked process its script; None in the server, at its end.
    """
    while True:
        try:
            asked = channel.recv()
        except (EOFError, OSError):
            return None
        if isinstance(asked, int):
            ended, status = os.waitpid(asked, os.WNOHANG)
            channel.send(os.waitstatus_to_exitcode(status) if ended else None)
            continue
        try:
            pid = os.fork()
        except OSError:
            pid = None
        if pid == 0:
            return Script(*asked)
        channel.send(pid)


def become(script: Script, said: bytes, server: int) -> None:
    """Makes a forked process what a fresh one would be before its first import."""
    os.setsid()
    end_with_parent()
    if os.getppid() != server:  # killed before it was asked to take this one with it
        os.kill(os.getpid(), signal.SIGTERM)
    os.environ.clear()
    os.environ.update(script.environment)
    with open(script.log, "ab", buffering=0) as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        log.write(said)
    sys.orig_argv, sys.argv = script.command, script.command[2:]


if __name__ == "__main__":
    main()
