"""What a forked process must leave alone: the objects of the process that it was forked from."""

from __future__ import annotations

import gc
import os

_installed = False


def spare_the_parent() -> None:
    """Keeps the garbage collector of every process that is forked from now on off the objects that it inherits.

    A loader of torch that lies in a reference cycle waits for the garbage collector. If that runs first in a process
    which was forked meanwhile, to load the next epoch or for a validation, the copy of the old loader is taken down
    there: it joins processes that are not its children ("can only test a child process") and closes pipes by their
    numbers, which by then can be others: the pipe by which that process sends its batches, for one. The batch is lost,
    no one fails, and the training waits for it for ever. fairseq makes such loaders at every validation.

    Python's documentation advises ``gc.freeze`` before a fork for a like reason. The parent's own collector goes on as
    before; what a forked process makes itself is collected there.
    """
    global _installed
    if not _installed:
        os.register_at_fork(before=gc.freeze, after_in_parent=gc.unfreeze)
        _installed = True
