"""An iterator that works ahead in a thread, so that what makes items and what uses them overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], room: int) -> Iterator[T]:
    """The items, in order; a thread makes the next ones while one is used.

    If the iterator is closed or forgotten, the thread ends with the item that it is at, and closes ``items``.

    Args:
        items: is iterated, from its first item to its last, in the thread.
        room: how many items may wait to be used.

    Raises:
        Exception: whatever ``items`` raised, in the place where it did.
    """
    waiting: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(room)
    stopped = threading.Event()

    def put(kind: str, value: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put("item", item):
                    break
            else:
                put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "item":
                yield value  # type: ignore[misc]
            elif kind == "error":
                assert isinstance(value, BaseException)
                raise value
            else:
                return
    finally:
        stopped.set()
        thread.join()
