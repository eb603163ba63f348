"""How far a long step is: a bar on a terminal, plain lines in a log. Results go to stdout, all of this to stderr."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

#: Seconds between two lines where stderr is no terminal.
LINES_EVERY = 30.0


class ProgressLines(tqdm):
    """tqdm's counting and estimate, a line each time instead of one that is drawn over and over."""

    def __str__(self) -> str:
        """E.g. ``en -> de: 4096 of 20000 sentences, 45.2/s, 01:30 so far, 05:51 left``."""
        about = self.format_dict
        done, total, elapsed = about["n"], about["total"], about["elapsed"]
        rate = about["rate"] or ((done - about["initial"]) / elapsed if elapsed else 0)
        left = f"{self.format_interval((total - done) / rate)} left" if rate else "no estimate yet"
        return (
            f"{self.desc.removesuffix(': ')}: {done} of {total}{self.unit}, {rate:.1f}/s, "
            f"{self.format_interval(elapsed)} so far, {left}"
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Prints a line; ``msg`` is empty when the bar is taken away, which a log needs nothing for."""
        if msg is None:
            print(self, file=self.fp, flush=True)
        return False

    def close(self) -> None:
        """Prints how far it came."""
        if not self.disable and self.n != self.initial:
            self.display()
        super().close()

    def clear(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: what a log holds stays there."""


def progress_bar(total: int, unit: str, title: str, done: int = 0) -> Any:
    """A bar to use in ``with``, and to call ``update(n)`` on.

    Args:
        total: how many there are.
        unit: what is counted, in the plural.
        title: what stands before it.
        done: how many an earlier run did; they count as done, and not for the speed.
    """
    settings = {"total": total, "initial": done, "unit": f" {unit}", "desc": title}
    if sys.stderr.isatty():
        return tqdm(**settings, mininterval=0.5, dynamic_ncols=True)
    return ProgressLines(**settings, mininterval=LINES_EVERY, miniters=1, leave=False)


def say(line: str) -> None:
    """Prints a line, above a bar if there is one."""
    if sys.stderr.isatty():
        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)
