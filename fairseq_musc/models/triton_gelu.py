"""GELU as a Triton kernel forward and one back, which sums the gradient of the bias in front by the way.

The product in front adds the bias; its gradient is the sum over tokens of what the backward pass of GELU gives, which
would have to be read once more to be summed. Where memory is as fast as an H100's, what is left to save is arithmetic:
the error function is that of Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26, off by 1.5e-7 at most,
whose exponential is also that of the derivative.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_musc.models.triton_sums import added_up

BLOCK = 2048  # elements that a program of the forward pass takes
ROWS, COLUMNS = 4, 512  # that a program of the backward pass takes at once
PROGRAMS = 1056  # of the backward pass: as many as run at once on the 132 multiprocessors of an H100 or H200


@triton.jit
def normal(x):
    """The distribution function of the standard normal distribution at x, and exp(-x x / 2)."""
    power = tl.exp2(x * x * -0.7213475204444817)  # 0.5 log2(e)
    t = 1.0 / (1.0 + 0.2316418882663604 * tl.abs(x))  # 0.3275911 / sqrt(2)
    tail = t * (0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * (-0.7265760135 + t * 0.5307027145))))
    tail *= power
    return tl.where(x < 0, tail, 1.0 - tail), power


@triton.jit
def forward_kernel(X, Y, count, BLOCK: tl.constexpr):
    """Y = X Phi(X)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(X + at, mask=at < count, other=0.0).to(tl.float32)
    below, _ = normal(x)
    tl.store(Y + at, (x * below).to(Y.dtype.element_ty), mask=at < count)


@triton.jit(do_not_specialize=["tokens"])
def backward_kernel(D_Y, X, D_X, SUMS, tokens, d: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """D_X = D_Y (Phi(X) + X phi(X)) for every so many tokens and N of d columns, and the sums over these tokens."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * N + tl.arange(0, N)
    sums = tl.zeros([M, N], tl.float32)
    for start in range(program * M, tokens, programs * M):
        row = start + tl.arange(0, M)
        real = (row < tokens)[:, None] & (column < d)[None, :]
        at = row[:, None] * d + column[None, :]
        d_y = tl.load(D_Y + at, mask=real, other=0.0).to(tl.float32)
        x = tl.load(X + at, mask=real, other=0.0).to(tl.float32)
        below, power = normal(x)
        d_x = d_y * (below + x * power * 0.3989422804014327)  # 1 / sqrt(2 pi)
        tl.store(D_X + at, d_x.to(D_X.dtype.element_ty), mask=real)
        sums += d_x
    tl.store(SUMS + program * d + column, tl.sum(sums, 0), mask=column < d)


class GeluOfBiased(torch.autograd.Function):
    """``gelu(x)`` of (n, d), not the approximation by tanh, where x has a bias whose gradient comes from here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """The values, (n, d).

        Args:
            ctx: autograd's.
            x: (n, d), to which the bias has been added.
            bias: (d,), for its gradient alone.
        """
        x = x.contiguous()
        y = torch.empty_like(x)
        forward_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, x.numel(), BLOCK=BLOCK, num_warps=4)
        ctx.save_for_backward(x)
        ctx.of_bias = bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of x and of the bias."""
        (x,) = ctx.saved_tensors
        tokens, d = x.shape
        d_x = torch.empty_like(x)
        N = min(COLUMNS, triton.next_power_of_2(d))
        blocks = triton.cdiv(d, N)
        programs = min(max(1, PROGRAMS // blocks), triton.cdiv(tokens, ROWS))
        sums = torch.empty(programs, d, dtype=torch.float32, device=x.device)
        backward_kernel[(programs, blocks)](d_y.contiguous(), x, d_x, sums, tokens, d=d, M=ROWS, N=N, num_warps=4)
        return d_x, added_up(sums, ctx.of_bias)
