"""Bias and GELU behind a projection as one Triton kernel forward and one back, which sums the gradient of the bias.

torch reads the gradient of the widest tensor of a layer once more to sum it up.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 4  # tokens that one program takes at once
WIDTH = 1024  # columns that one program takes
PROGRAMS = 264  # of the backward pass, for each block of columns: two on every multiprocessor of an H100 or H200


@triton.jit(do_not_specialize=["tokens"])
def forward_kernel(H, BIAS, Y, tokens, d: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr):
    """Y = GELU(H + BIAS), exactly, for M tokens and WIDTH columns of d."""
    row, column = tl.program_id(0) * M + tl.arange(0, M), tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    real = (row < tokens)[:, None] & (column < d)[None, :]
    at = row[:, None] * d + column[None, :]
    bias = tl.load(BIAS + column, mask=column < d, other=0.0).to(tl.float32)
    h = tl.load(H + at, mask=real, other=0.0).to(tl.float32) + bias[None, :]
    y = 0.5 * h * (1 + tl.erf(h * 0.7071067811865476))
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=["tokens"])
def backward_kernel(D_Y, H, BIAS, D_H, D_BIAS, tokens, d: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr):
    """The gradient of H for every so many tokens, and its sum over these tokens; WIDTH columns of d."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    bias = tl.load(BIAS + column, mask=column < d, other=0.0).to(tl.float32)
    d_bias = tl.zeros([WIDTH], tl.float32)
    for start in range(program * M, tokens, programs * M):
        row = start + tl.arange(0, M)
        real = (row < tokens)[:, None] & (column < d)[None, :]
        at = row[:, None] * d + column[None, :]
        h = tl.load(H + at, mask=real, other=0.0).to(tl.float32) + bias[None, :]
        d_y = tl.load(D_Y + at, mask=real, other=0.0).to(tl.float32)
        below = 0.5 * (1 + tl.erf(h * 0.7071067811865476))  # the normal law, its density at h behind it
        d_h = d_y * (below + h * 0.3989422804014327 * tl.exp(-0.5 * h * h))
        d_bias += tl.sum(d_h, 0)
        tl.store(D_H + at, d_h.to(D_H.dtype.element_ty), mask=real)
    tl.store(D_BIAS + program * d + column, d_bias, mask=column < d)


class BiasGelu(torch.autograd.Function):
    """``gelu(h + bias)`` of (n, d)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, bias: Tensor) -> Tensor:
        """(n, d); ``bias`` is (d,)."""
        h = h.contiguous()
        tokens, d = h.shape
        y = torch.empty_like(h)
        forward_kernel[(triton.cdiv(tokens, ROWS), triton.cdiv(d, WIDTH))](h, bias, y, tokens, d, WIDTH, ROWS)
        ctx.save_for_backward(h, bias)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> Any:
        """The gradients of both."""
        h, bias = ctx.saved_tensors
        tokens, d = h.shape
        d_h = torch.empty_like(h)
        programs = min(PROGRAMS, triton.cdiv(tokens, ROWS))
        d_bias = torch.empty(programs, d, dtype=torch.float32, device=h.device)
        grid = (programs, triton.cdiv(d, WIDTH))
        backward_kernel[grid](d_y.contiguous(), h, bias, d_h, d_bias, tokens, d, WIDTH, ROWS)
        return d_h, d_bias.sum(0).to(bias.dtype)
