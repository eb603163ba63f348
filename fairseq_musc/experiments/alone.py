"""Commands as processes of their own, each of which ends with the process that has started it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from fairseq_musc.parents import end_with_parent


class Running(Protocol):
    """A process that was started: the part of :class:`subprocess.Popen` that experiments need."""

    pid: int
    """It leads a session, and so a group, of its own."""

    @property
    def returncode(self) -> Any:
        """Its exit status, or a signal's number less than 0; None until :meth:`poll` or :meth:`wait` saw the end."""

    def poll(self) -> int | None:
        """:attr:`returncode` as it is now."""

    def terminate(self) -> None:
        """Sends SIGTERM to the process itself, if it has not ended."""

    def wait(self) -> int:
        """Waits for its end."""


class Alone:
    """Starts each command as a fresh process; for a block, as what others need to do so ends with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ready(self) -> bool:
        """Whether a command would start at once."""
        return True

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Running:
        """Starts a command.

        Args:
            command: the program and its arguments.
            environment: all of it.
            log: all that it says is written at the end of this file.
        """
        with open(log, "ab") as stream:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends them with all they started
                preexec_fn=end_with_parent,
            )
