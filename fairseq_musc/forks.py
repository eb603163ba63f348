"""The processes that load data: what they must leave alone, and how they end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import weakref
from collections.abc import Callable
from multiprocessing import process, util
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data import dataloader as torch_dataloader
from torch.utils.data._utils import worker as torch_worker

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


def end_at_once() -> None:
    """Lets the processes of every loader of torch end when it is let go, and not five seconds later.

    torch asks them to end and waits five seconds for each of them, one after the other, before it ends them. Beside
    CUDA (torch 2.11, Python 3.12, H200) none of them obeyed: a training of 13 s with six validations, whose 13 loaders
    were all let go at its end, took 65 s more to end. Here they are told by SIGTERM, for which torch gives them a
    handler that ends them with status 0, once nothing reads any more what they send.
    """
    keep_sockets_together()
    torch_worker.ManagerWatchdog = Watchdog  # type: ignore[misc]
    loading = torch_dataloader._MultiProcessingDataLoaderIter
    if not hasattr(loading._shutdown_workers, "__wrapped__"):
        loading._shutdown_workers = _ending_workers_first(loading._shutdown_workers)  # type: ignore[assignment, method-assign]


def keep_sockets_together() -> None:
    """Makes one temporary folder for the sockets of all processes that load data, and sees to it that it goes.

    A process that sends tensors makes a socket in a temporary folder of multiprocessing's, ``pymp-...``, which it takes
    away when it ends by itself. Ended by a signal, by us or by multiprocessing when Python ends, it leaves the folder
    behind. A folder that its parent made it takes for its own, and the parent takes that one away at its end, behind
    its children. Where the parent is killed, the first of them that notices does it.
    """
    if "tempdir" in process.current_process()._config:  # type: ignore[attr-defined]
        return  # is there, or is a parent's, who takes it away
    folder, owner = util.get_temp_dir(), os.getpid()

    def at_the_end(_: object) -> None:
        if _parent() == owner:  # and not in a process further down, whose parent has it in hand
            util.Finalize(None, _remove_orphaned, args=(folder, owner), exitpriority=-100)

    # multiprocessing keeps a weak reference to the first argument, and calls the second with it in a forked process
    # once that has forgotten what its parent wanted done at the end.
    util.register_after_fork(_remove_orphaned, at_the_end)


class Watchdog(torch_worker.ManagerWatchdog):
    """torch's, by which a process that loads data ends when its parent does, but of a parent known from the fork on.

    torch takes for the parent who is it when the process is ready to load. Where the real one was killed before, that
    is the system's first process, which does not end, and so the one that loads would not either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.manager_pid = _parent()


def _parent() -> int:
    """The process that this one was forked from by multiprocessing, whether it still lives or not."""
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    return parent.pid


def _remove_orphaned(folder: str, parent: int) -> None:
    if os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)


def _ending_workers_first(shutdown: Callable[[Any], None]) -> Callable[[Any], None]:
    """torch's own ``_shutdown_workers``, with what it does at last done first."""

    def _shutdown_workers(self: Any) -> None:
        # While Python itself ends torch does nothing, and multiprocessing ends what is left.
        utils = torch_dataloader._utils  # None when torch itself is being taken down
        if not self._shutdown and utils is not None and utils.python_exit_status is False:
            thread = getattr(self, "_pin_memory_thread", None)
            if thread is not None:  # reads what the processes send: a message that is cut off would hold it for ever
                self._pin_memory_thread_done_event.set()
                self._worker_result_queue.put((None, None))
                thread.join()
            for worker in self._workers:
                if worker.is_alive():
                    worker.terminate()
        shutdown(self)

    _shutdown_workers.__wrapped__ = shutdown  # type: ignore[attr-defined]
    return _shutdown_workers


class Loaders:
    """The loaders of one purpose, of which one is in use at a time.

    fairseq makes a new loader at every epoch and every validation. The old one lies in a reference cycle, so its
    processes stay until the garbage collector comes across it, which in a long run is rarely.
    """

    def __init__(self) -> None:
        self._iterator: Callable[[], Any] = lambda: None
        """A weak reference to the one in use, if it still is."""

    def begin(self, iterator: Any) -> None:
        """Ends the processes of the one before ``iterator``, an iterator of fairseq that is to take its place."""
        loader: DataLoader[Any] | None = getattr(self._iterator(), "dataloader", None)
        batches = getattr(loader, "_iterator", None)
        if isinstance(batches, torch_dataloader._MultiProcessingDataLoaderIter):
            batches._shutdown_workers()
        self._iterator = weakref.ref(iterator)
