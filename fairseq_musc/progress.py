"""How far a long step is: a bar on a terminal, plain lines in a log. Results go to stdout, all of this to stderr.

What is done within two seconds shows nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

#: Seconds between two lines where stderr is no terminal.
LINES_EVERY = 30.0
#: Seconds in which a step is done without a bar.
SHORT = 2.0

Item = TypeVar("Item")


class ProgressLines(tqdm):
    """tqdm's counting and estimate, a line each time instead of one that is drawn over and over."""

    def __str__(self) -> str:
        """E.g. ``en -> de: 4096 of 20000 sentences, 45.2/s, 01:30 so far, 05:51 left``."""
        about = self.format_dict
        done, total, elapsed = about["n"], about["total"], about["elapsed"]
        rate = about["rate"] or ((done - about["initial"]) / elapsed if elapsed else 0)
        speed = f"{1 / rate:.0f} s each" if 0 < rate < 0.1 else f"{rate:.1f}/s"
        said = (
            f"{self.desc.removesuffix(': ')}: {done}{'' if total is None else f' of {total}'}{self.unit}, "
            f"{speed}, {self.format_interval(elapsed)} so far"
        )
        if total is None:
            return said
        return f"{said}, {self.format_interval((total - done) / rate)} left" if rate else f"{said}, no estimate yet"

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Prints a line; ``msg`` is empty when the bar is taken away, which a log needs nothing for."""
        if msg is None:
            print(self, file=self.fp, flush=True)
        return False

    def close(self) -> None:
        """Prints how far it came, if that was not quick."""
        if not self.disable and self.n != self.initial and self._time() - self.start_t >= self.delay:
            self.display()
        super().close()

    def clear(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: what a log holds stays there."""


def progress_bar(
    total: int | None, unit: str, title: str, done: int = 0, delay: float | None = None, disable: bool = False
) -> Any:
    """A bar to use in ``with``, and to call ``update(n)`` on.

    Args:
        total: how many there are; None if that is not known.
        unit: what is counted, in the plural.
        title: what stands before it.
        done: how many an earlier run did; they count as done, and not for the speed.
        delay: seconds before it is shown; None for :data:`SHORT`, 0 for what is known to take long.
        disable: whether nothing is to be shown.
    """
    delay = SHORT if delay is None else delay
    settings = {"total": total, "initial": done, "unit": f" {unit}", "desc": title, "delay": delay, "disable": disable}
    if drawn():
        return tqdm(**settings, mininterval=0.5, dynamic_ncols=True)
    return ProgressLines(**settings, mininterval=LINES_EVERY, miniters=1, leave=False)


def with_progress(items: Sequence[Item], unit: str, title: str) -> Iterator[Item]:
    """Goes through ``items`` behind a bar (see :func:`progress_bar`)."""
    with progress_bar(len(items), unit, title) as bar:
        for item in items:
            yield item
            bar.update()


def drawn() -> bool:
    """Whether stderr can draw a line over: a terminal, or the output of a notebook's cell, which is none."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel.")


def say(line: str) -> None:
    """Prints a line, above a bar if there is one."""
    if drawn():
        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)
