"""The seeds of what our own kernels drop; they lie on the device, where a CUDA graph finds others at each replay."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 2**31  # of a seed


def threshold_of(dropout: float) -> int:
    """What the hash of an element, any int32 as likely as any other, has to reach for it to be kept."""
    return min(int(dropout * 2**32), 2**32 - 1) - 2**31


def draw_seeds(device: torch.device, calls: tuple[int, ...] = ()) -> Tensor:
    """Two seeds for each of so many calls of a kernel, int32 with 2 as the last dimension, by torch's CPU generator."""
    return torch.randint(BITS, (*calls, 2), dtype=torch.int32).to(device, non_blocking=True)


def seeds_for(dropout: float, device: torch.device) -> Tensor:
    """Those of one call, (2,); drawn only if anything is dropped."""
    return draw_seeds(device) if dropout else torch.empty(2, dtype=torch.int32, device=device)
