"""The gradient of GELU and, by the way, that of the bias in front of it, as one Triton kernel.

The product in front of a GELU adds the bias; the gradient of the bias is the sum over tokens of what the backward pass
of GELU gives, which would have to be read once more to be summed. Forward, torch's own kernel already takes as long as
memory does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 4, 512  # that one program takes at once
PROGRAMS = 1056  # as many as run at once on the 132 multiprocessors of an H100 or H200


@triton.jit(do_not_specialize=["tokens"])
def backward_kernel(D_Y, X, D_X, SUMS, tokens, d: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """D_X = D_Y GELU'(X) for every so many tokens and N of d columns, and the sums over these tokens."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * N + tl.arange(0, N)
    sums = tl.zeros([M, N], tl.float32)
    for start in range(program * M, tokens, programs * M):
        row = start + tl.arange(0, M)
        real = (row < tokens)[:, None] & (column < d)[None, :]
        at = row[:, None] * d + column[None, :]
        d_y = tl.load(D_Y + at, mask=real, other=0.0).to(tl.float32)
        x = tl.load(X + at, mask=real, other=0.0).to(tl.float32)
        below = 0.5 + 0.5 * tl.erf(x * 0.7071067811865476)  # the normal distribution function, and its density
        density = 0.3989422804014327 * tl.exp(-0.5 * x * x)
        d_x = d_y * (below + x * density)
        tl.store(D_X + at, d_x.to(D_X.dtype.element_ty), mask=real)
        sums += d_x
    tl.store(SUMS + program * d + column, tl.sum(sums, 0), mask=column < d)


class GeluOfBiased(torch.autograd.Function):
    """``gelu(x)`` of (n, d), exact, where x has a bias whose gradient comes from here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """The values, (n, d).

        Args:
            ctx: autograd's.
            x: (n, d), to which the bias has been added.
            bias: (d,), for its gradient alone.
        """
        ctx.save_for_backward(x)
        ctx.of_bias = bias.dtype
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of x and of the bias."""
        (x,) = ctx.saved_tensors
        tokens, d = x.shape
        x, d_y = x.contiguous(), d_y.contiguous()
        d_x = torch.empty_like(x)
        N = min(COLUMNS, triton.next_power_of_2(d))
        blocks = triton.cdiv(d, N)
        programs = min(max(1, PROGRAMS // blocks), triton.cdiv(tokens, ROWS))
        sums = torch.empty(programs, d, dtype=torch.float32, device=x.device)
        backward_kernel[(programs, blocks)](d_y, x, d_x, sums, tokens, d=d, M=ROWS, N=N, num_warps=4)
        return d_x, sums.sum(0).to(ctx.of_bias)
