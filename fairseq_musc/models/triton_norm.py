"""Dropout, residual and LayerNorm behind a projection as one Triton kernel forward and one back.

One by one, they read and write the tokens several times over; they are bound by memory. The way back sums the
gradient of the projection's bias, too, which is the sum over tokens of that of the projection. Dropout is that of
:mod:`fairseq_musc.models.triton_dropout`; the place of an element is its number.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_musc.models.seeds import seeds_for, threshold_of
from fairseq_musc.models.triton_dropout import kept
from fairseq_musc.models.triton_sums import added_up

ROWS = 2  # tokens that one program takes at once
PROGRAMS = 528  # of the backward pass: as many as run at once on the 132 multiprocessors of an H100 or H200
STAGES = 3  # of the backward pass: how many times ROWS tokens a program has under way


@triton.jit(do_not_specialize=["tokens", "threshold"])
def forward_kernel(
    X, A, WEIGHT, BIAS, SEEDS, Y, S, MEAN, SCALE, tokens, eps, grow, threshold,
    d: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Y = LayerNorm(S), S = X + dropout(A), for M tokens of d elements."""
    row, column = tl.program_id(0) * M + tl.arange(0, M), tl.arange(0, WIDTH)
    inside = (column < d)[None, :]
    real = (row < tokens)[:, None] & inside
    at = row[:, None] * d + column[None, :]
    a = tl.load(A + at, mask=real, other=0.0).to(tl.float32)
    if DROPOUT:
        a = tl.where(kept(at, tl.load(SEEDS), tl.load(SEEDS + 1), threshold), a * grow, 0.0)
    s = tl.load(X + at, mask=real, other=0.0).to(tl.float32) + a
    s = s.to(S.dtype.element_ty)  # what the backward pass will find
    tl.store(S + at, s, mask=real)
    s = s.to(tl.float32)
    mean = tl.sum(s, 1) / d
    centred = tl.where(inside, s - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / d + eps)
    weight = tl.load(WEIGHT + column, mask=column < d, other=0.0).to(tl.float32)
    bias = tl.load(BIAS + column, mask=column < d, other=0.0).to(tl.float32)
    y = centred * scale[:, None] * weight[None, :] + bias[None, :]
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=real)
    tl.store(MEAN + row, mean, mask=row < tokens)
    tl.store(SCALE + row, scale, mask=row < tokens)


@triton.jit(do_not_specialize=["tokens", "threshold"])
def backward_kernel(
    D_Y, S, MEAN, SCALE, WEIGHT, SEEDS, D_X, D_A, SUMS, tokens, grow, threshold,
    d: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, DROPOUT: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The gradients of X and A for every so many tokens, and the sums over these tokens for weight and biases."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.arange(0, WIDTH)
    inside = (column < d)[None, :]
    weight = tl.load(WEIGHT + column, mask=column < d, other=0.0).to(tl.float32)
    d_weight = tl.zeros([WIDTH], tl.float32)
    d_bias = tl.zeros([WIDTH], tl.float32)
    d_a_bias = tl.zeros([WIDTH], tl.float32)
    for start in tl.range(program * M, tokens, programs * M, num_stages=STAGES):
        row = start + tl.arange(0, M)
        real = (row < tokens)[:, None] & inside
        at = row[:, None] * d + column[None, :]
        d_y = tl.load(D_Y + at, mask=real, other=0.0).to(tl.float32)
        s = tl.load(S + at, mask=real, other=0.0).to(tl.float32)
        mean = tl.load(MEAN + row, mask=row < tokens, other=0.0)
        scale = tl.load(SCALE + row, mask=row < tokens, other=0.0)
        normed = tl.where(real, (s - mean[:, None]) * scale[:, None], 0.0)
        d_weight += tl.sum(d_y * normed, 0)
        d_bias += tl.sum(d_y, 0)
        weighed = d_y * weight[None, :]
        along = tl.sum(weighed * normed, 1) / d
        level = tl.sum(weighed, 1) / d
        d_x = (weighed - level[:, None] - normed * along[:, None]) * scale[:, None]
        tl.store(D_X + at, d_x.to(D_X.dtype.element_ty), mask=real)
        if DROPOUT:
            d_x = tl.where(kept(at, tl.load(SEEDS), tl.load(SEEDS + 1), threshold), d_x * grow, 0.0)
            tl.store(D_A + at, d_x.to(D_A.dtype.element_ty), mask=real)
        d_a_bias += tl.sum(d_x, 0)
    at = SUMS + program * 3 * d + column
    tl.store(at, d_weight, mask=column < d)
    tl.store(at + d, d_bias, mask=column < d)
    tl.store(at + 2 * d, d_a_bias, mask=column < d)


class DropAddNorm(torch.autograd.Function):
    """``layer_norm(x + dropout(a), weight, bias)`` of (n, d), where a has a bias whose gradient comes from here."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        a: Tensor,
        a_bias: Tensor,
        weight: Tensor,
        bias: Tensor,
        dropout: float,
        eps: float,
        seeds: Tensor | None = None,
    ) -> Tensor:
        """The normed sum, (n, d).

        Args: as of the torch functions; ``a_bias`` (d,), which has been added to ``a``, for its gradient alone; and two
            seeds (2,) int32 of what is dropped, None draws them.
        """
        tokens, d = x.shape
        x, a = x.contiguous(), a.contiguous()
        y, s = torch.empty_like(x), torch.empty_like(x)
        mean, scale = torch.empty(2, tokens, dtype=torch.float32, device=x.device)
        seeds = seeds_for(dropout, x.device) if seeds is None else seeds
        ctx.dropout = dropout
        forward_kernel[(triton.cdiv(tokens, ROWS),)](
            x, a, weight, bias, seeds, y, s, mean, scale, tokens, eps, 1 / (1 - dropout), threshold_of(dropout),
            **_sizes(d, dropout),
        )  # fmt: skip
        ctx.save_for_backward(s, mean, scale, weight, seeds)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> Any:
        """The gradients of the five tensors."""
        s, mean, scale, weight, seeds = ctx.saved_tensors
        dropout = ctx.dropout
        tokens, d = s.shape
        d_x = torch.empty_like(s)
        d_a = torch.empty_like(s) if dropout else d_x
        programs = min(PROGRAMS, triton.cdiv(tokens, ROWS))
        sums = torch.empty(programs, 3, d, dtype=torch.float32, device=s.device)
        backward_kernel[(programs,)](
            d_y.contiguous(), s, mean, scale, weight, seeds, d_x, d_a, sums, tokens, 1 / (1 - dropout),
            threshold_of(dropout), STAGES=STAGES, **_sizes(d, dropout),
        )  # fmt: skip
        d_weight, d_bias, d_a_bias = added_up(sums, weight.dtype)
        return d_x, d_a, d_a_bias, d_weight, d_bias, None, None, None


def _sizes(d: int, dropout: float) -> dict[str, Any]:
    """What the kernels are compiled for."""
    return {"d": d, "WIDTH": triton.next_power_of_2(d), "M": ROWS, "DROPOUT": dropout > 0, "num_warps": 4}
