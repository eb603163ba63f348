"""Sums over what the programs of a Triton kernel have left, a row each.

A sum over tokens, as the gradient of a bias is one, comes in two steps: each program sums its own tokens, and what they
leave is summed here, always in the same order. torch's sum of so few rows takes several times as long.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 64, 16  # that one program takes at once


@triton.jit(do_not_specialize=["count"])
def sum_kernel(PARTS, OUT, count, width, M: tl.constexpr, N: tl.constexpr):
    """OUT (width,) is the sum of ``count`` rows of PARTS, for N columns."""
    column = tl.program_id(0) * N + tl.arange(0, N)
    sums = tl.zeros([M, N], tl.float32)
    for start in range(0, count, M):
        row = start + tl.arange(0, M)
        real = (row < count)[:, None] & (column < width)[None, :]
        sums += tl.load(PARTS + row[:, None] * width + column[None, :], mask=real, other=0.0)
    tl.store(OUT + column, tl.sum(sums, 0).to(OUT.dtype.element_ty), mask=column < width)


def added_up(parts: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum over the first axis of (count, ...) float32, in another type."""
    out = torch.empty(parts.shape[1:], dtype=dtype, device=parts.device)
    width = out.numel()
    sum_kernel[(triton.cdiv(width, COLUMNS),)](parts, out, len(parts), width, M=ROWS, N=COLUMNS, num_warps=4)
    return out
