"""Numbers of a GPU, read one step late: so no step waits for its own numbers.

fairseq looks at the norm of the gradient and at every logged loss behind each update. To read a number the program
waits until the GPU has done all that was asked of it; then the GPU waits for the program, which prepares the next step.
Here, the copy of a step's numbers is only begun, and those of the step before are returned, which are long there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def begin_copy(values: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """Begins to copy from a GPU; returns where the values will be, and what waits for them."""
    copied = values.detach().to("cpu", non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    return copied, done.synchronize


class Late:
    """Returns the values that were given the time before; those of the first time are returned twice.

    Values that are on the CPU are returned as they are.
    """

    def __init__(self) -> None:
        self._under_way: tuple[Tensor, Callable[[], None]] | None = None

    def read(self, values: Tensor) -> Tensor:
        """The values of the time before, on the CPU.

        Args:
            values: of this time; the same shape each time.
        """
        if values.device.type != "cuda":
            return values
        return self.exchange(begin_copy(values))

    def exchange(self, begun: tuple[Tensor, Callable[[], None]]) -> Tensor:
        """Keeps a copy that is under way, and returns the one before it."""
        copied, wait = self._under_way or begun
        self._under_way = begun
        wait()
        return copied

    def waiting(self) -> Tensor | None:
        """What the next call of :meth:`read` would return, for a checkpoint; None if that would be its own values."""
        if self._under_way is None:
            return None
        copied, wait = self._under_way
        wait()
        return copied.clone()

    def wait_for(self, values: Tensor | None) -> None:
        """Goes on from what :meth:`waiting` returned."""
        self._under_way = None if values is None else (values, lambda: None)
