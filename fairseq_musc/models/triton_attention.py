"""Self-attention over short rows that lie end to end, with dropout, as Triton kernels for half precision.

torch's flash attention is made for long rows: of a row of 60 tokens it computes a block of 128 by 128, and its backward
pass gathers the gradient of queries in float32 beside. Here a block is 64 by 64, nothing is gathered beside, and the
three gradients are written where the projection of queries, keys and values takes them from. Rows of up to 128 keys are
taken whole (:mod:`fairseq_musc.models.triton_whole_rows`); the kernels of this file are for longer ones.

Dropout is that of :mod:`fairseq_musc.models.triton_dropout`; the place of a weight is (query token, head, key).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_musc.models.seeds import seeds_for, threshold_of
from fairseq_musc.models.triton_sums import added_up
from fairseq_musc.models.triton_whole_rows import (
    WHOLE_BACK,
    WHOLE_FORTH,
    Tiles,
    queries_from,
    scores,
    weights_kept,
    whole_backward_kernel,
    whole_forward_kernel,
)

if TYPE_CHECKING:
    from fairseq_musc.models.attention import Spans

LOG2_E = 1.4426950408889634

FORTH, BACK = Tiles(64, 64, 4, 0), Tiles(64, 64, 4, 168)
"""Of the kernels for rows that are longer than those which are taken whole."""


@triton.jit(do_not_specialize=["longest", "threshold", "queries"])
def forward_kernel(
    Q,
    K,
    V,
    OUT,
    LSE,
    cu_q,
    cu_k,
    stride_q,
    stride_k,
    stride_out,
    queries,
    longest,
    scale,
    grow,
    SEEDS,
    threshold,
    heads: tl.constexpr,
    D: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    ABOVE: tl.constexpr,
    DROPOUT: tl.constexpr,
):
    """M queries of one row and head of more than ABOVE keys; LSE is the log of the sum of exponentials, base 2."""
    row, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    q_start, k_start = tl.load(cu_q + row), tl.load(cu_k + row)
    q_count, k_count = tl.load(cu_q + row + 1) - q_start, tl.load(cu_k + row + 1) - k_start
    if (block * M >= q_count) | (k_count <= ABOVE):
        return
    m, d = block * M + tl.arange(0, M), tl.arange(0, D)
    token = q_start + m
    q_real = (m < q_count)[:, None]
    q = tl.load(Q + token[:, None] * stride_q + head * D + d[None, :], mask=q_real, other=0.0)
    highest = tl.full([M], float("-inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    mixed = tl.zeros([M, D], tl.float32)
    for start in range(0, k_count, N):
        n = start + tl.arange(0, N)
        k_real = (n < k_count)[:, None]
        at = (k_start + n)[:, None] * stride_k + head * D + d[None, :]
        k = tl.load(K + at, mask=k_real, other=0.0)
        v = tl.load(V + at, mask=k_real, other=0.0)
        score = scores(q, k, n, k_count, scale)
        higher = tl.maximum(highest, tl.max(score, 1))
        p = tl.exp2(score - higher[:, None])
        shrink = tl.exp2(highest - higher)
        total = total * shrink + tl.sum(p, 1)
        if DROPOUT:
            keep = weights_kept(token[:, None], head, n[None, :], heads, longest, SEEDS, threshold)
            p = tl.where(keep, p, 0.0)
        mixed = mixed * shrink[:, None] + tl.dot(p.to(v.dtype), v)
        highest = higher
    out = mixed * (grow / total)[:, None]
    tl.store(
        OUT + token[:, None] * stride_out + head * D + d[None, :],
        out.to(OUT.dtype.element_ty),
        mask=q_real,
    )
    tl.store(LSE + head * queries + token, highest + tl.log2(total), mask=m < q_count)


@triton.jit(do_not_specialize=["queries"])
def delta_kernel(OUT, D_OUT, DELTA, queries, heads: tl.constexpr, D: tl.constexpr, M: tl.constexpr):
    """The sum of output times its gradient, for M queries of one head."""
    token, head, d = tl.program_id(0) * M + tl.arange(0, M), tl.program_id(1), tl.arange(0, D)
    real = token < queries
    at = token[:, None] * (heads * D) + head * D + d[None, :]
    out = tl.load(OUT + at, mask=real[:, None], other=0.0).to(tl.float32)
    d_out = tl.load(D_OUT + at, mask=real[:, None], other=0.0).to(tl.float32)
    tl.store(DELTA + head * queries + token, tl.sum(out * d_out, 1), mask=real)


@triton.jit
def score_gradient(
    q, k, v, d_out, lse, delta, token, head, n, real, longest, scale, grow, SEEDS, threshold,
    heads: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """For a block of queries and keys: the dropped weights, and the gradient of scores before their scaling."""
    p = tl.where(real, tl.exp2(tl.dot(q, tl.trans(k)) * scale - lse[:, None]), 0.0)
    d_p = tl.dot(d_out, tl.trans(v))
    if DROPOUT:
        keep = weights_kept(token[:, None], head, n[None, :], heads, longest, SEEDS, threshold)
        d_score = p * (tl.where(keep, d_p * grow, 0.0) - delta[:, None])
        p = tl.where(keep, p * grow, 0.0)
    else:
        d_score = p * (d_p - delta[:, None])
    return p, d_score


@triton.jit(do_not_specialize=["longest", "threshold", "queries"])
def backward_kernel(
    Q,
    K,
    V,
    D_OUT,
    LSE,
    DELTA,
    D_Q,
    D_K,
    D_V,
    cu_q,
    cu_k,
    stride_q,
    stride_k,
    stride_out,
    queries,
    longest,
    scale,
    back_scale,
    grow,
    SEEDS,
    threshold,
    heads: tl.constexpr,
    D: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    ABOVE: tl.constexpr,
    DROPOUT: tl.constexpr,
):
    """The gradients of N keys and values, and those of M queries, of one row and head, of more than ABOVE keys."""
    row, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    q_start, k_start = tl.load(cu_q + row), tl.load(cu_k + row)
    q_count, k_count = tl.load(cu_q + row + 1) - q_start, tl.load(cu_k + row + 1) - k_start
    if k_count <= ABOVE:
        return
    column = head * D + tl.arange(0, D)[None, :]
    if block * N < k_count:
        n = block * N + tl.arange(0, N)
        k_real = (n < k_count)[:, None]
        at_k = (k_start + n)[:, None] * stride_k + column
        k = tl.load(K + at_k, mask=k_real, other=0.0)
        v = tl.load(V + at_k, mask=k_real, other=0.0)
        d_k = tl.zeros([N, D], tl.float32)
        d_v = tl.zeros([N, D], tl.float32)
        for start in range(0, q_count, M):
            q, d_out, m, _, q_real = queries_from(start, Q, D_OUT, q_start, q_count, column, stride_q, stride_out, M)
            token = q_start + m
            lse = tl.load(LSE + head * queries + token, mask=m < q_count, other=0.0)
            delta = tl.load(DELTA + head * queries + token, mask=m < q_count, other=0.0)
            p, d_score = score_gradient(
                q, k, v, d_out, lse, delta, token, head, n, q_real & (n < k_count)[None, :],
                longest, scale, grow, SEEDS, threshold, heads, DROPOUT,
            )  # fmt: skip
            d_v += tl.dot(tl.trans(p.to(d_out.dtype)), d_out)
            d_score = d_score.to(q.dtype)
            d_k += tl.dot(tl.trans(d_score), q)
        tl.store(D_K + at_k, (d_k * back_scale).to(D_K.dtype.element_ty), mask=k_real)
        tl.store(D_V + at_k, d_v.to(D_V.dtype.element_ty), mask=k_real)
    if block * M < q_count:
        q, d_out, m, at_q, q_real = queries_from(block * M, Q, D_OUT, q_start, q_count, column, stride_q, stride_out, M)
        token = q_start + m
        lse = tl.load(LSE + head * queries + token, mask=m < q_count, other=0.0)
        delta = tl.load(DELTA + head * queries + token, mask=m < q_count, other=0.0)
        d_q = tl.zeros([M, D], tl.float32)
        for start in range(0, k_count, N):
            n = start + tl.arange(0, N)
            k_real = (n < k_count)[:, None]
            at_k = (k_start + n)[:, None] * stride_k + column
            k = tl.load(K + at_k, mask=k_real, other=0.0)
            v = tl.load(V + at_k, mask=k_real, other=0.0)
            _, d_score = score_gradient(
                q, k, v, d_out, lse, delta, token, head, n, q_real & (n < k_count)[None, :],
                longest, scale, grow, SEEDS, threshold, heads, DROPOUT,
            )  # fmt: skip
            d_q += tl.dot(d_score.to(k.dtype), k)
        tl.store(D_Q + at_q, (d_q * back_scale).to(D_Q.dtype.element_ty), mask=q_real)


class ShortRows(torch.autograd.Function):
    """Attention of queries (tokens, heads, D) to keys and values that lie in one tensor (tokens, 2 or 3, heads, D).

    With three, the queries lie there, too, and ``q`` is None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor | None,
        kv: Tensor,
        of_q: Spans,
        of_k: Spans,
        dropout: float,
        seeds: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """The mixed values, as the queries.

        Args: as of the class, where their rows lie, the share of weights that are dropped, two seeds (2,) int32 of
            which, None draws them; and a bias that has been added to ``kv``, for its gradient alone.
        """
        q_, k, v = kv.unbind(1) if q is None else (q, *kv.unbind(1))
        tokens, heads, D = q_.shape
        out = torch.empty(tokens, heads, D, dtype=q_.dtype, device=q_.device)
        seeds = seeds_for(dropout, kv.device) if seeds is None else seeds
        ctx.constants = (of_q, of_k, dropout, None if bias is None else bias.shape)
        arguments = _arguments(q_, k, of_k, dropout, seeds)
        tensors, spans = (q_, k, v, out), (of_q.cu_seqlens, of_k.cu_seqlens)
        rows, above, lse = len(of_k.cu_seqlens) - 1, 0, None
        few = of_q.longest <= 16
        for tiles in WHOLE_FORTH:
            if of_k.longest > above:
                how = tiles.launched(few)
                whole_forward_kernel[(rows, heads, triton.cdiv(min(of_q.longest, tiles.N), how["M"]))](
                    *tensors, *spans, *arguments[:5], D**-0.5 * LOG2_E, *arguments[5:],
                    heads=heads, D=D, ABOVE=above, DROPOUT=dropout > 0, **how,
                )  # fmt: skip
            above = tiles.N
        if of_k.longest > above:
            lse = torch.empty(heads, tokens, dtype=torch.float32, device=q_.device)
            how = FORTH.launched(few)
            forward_kernel[(rows, heads, triton.cdiv(of_q.longest, how["M"]))](
                *tensors, lse, *spans, *arguments[:5], D**-0.5 * LOG2_E, *arguments[5:],
                heads=heads, D=D, ABOVE=above, DROPOUT=dropout > 0, **how,
            )  # fmt: skip
        ctx.save_for_backward(q, kv, out, lse, seeds)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Any:
        """The gradients of the two tensors, written in place of their parts, and of the bias."""
        q, kv, out, lse, seeds = ctx.saved_tensors
        of_q, of_k, dropout, shape_of_bias = ctx.constants
        d_kv = torch.empty_like(kv)
        d_q = None if q is None else torch.empty_like(q)
        parts, d_parts = ((a.unbind(1) if b is None else (b, *a.unbind(1))) for a, b in ((kv, q), (d_kv, d_q)))
        tokens, heads, D = out.shape
        d_out = d_out.contiguous()
        tensors = (*parts, d_out)
        spans = (of_q.cu_seqlens, of_k.cu_seqlens)
        arguments = _arguments(parts[0], parts[1], of_k, dropout, seeds)
        scales = (D**-0.5 * LOG2_E, D**-0.5)
        rows, above = len(of_k.cu_seqlens) - 1, 0
        sums = torch.zeros(rows, *kv.shape[1:], dtype=torch.float32, device=kv.device)
        few = of_q.longest <= 16
        for tiles in WHOLE_BACK:
            if of_k.longest > above:
                whole_backward_kernel[(rows, heads)](
                    *tensors, *d_parts, sums, *spans, *arguments[:5], *scales, *arguments[5:],
                    heads=heads, D=D, ABOVE=above, OF_Q=q is None, DROPOUT=dropout > 0, **tiles.launched(few),
                )  # fmt: skip
            above = tiles.N
        if of_k.longest > above:
            delta = torch.empty_like(lse)
            delta_kernel[(triton.cdiv(tokens, 64), heads)](out, d_out, delta, tokens, heads=heads, D=D, M=64)
            how = BACK.launched(few)
            blocks = max(triton.cdiv(of_q.longest, how["M"]), triton.cdiv(of_k.longest, BACK.N))
            backward_kernel[(rows, heads, blocks)](
                *tensors, lse, delta, *d_parts, *spans, *arguments[:5], *scales, *arguments[5:],
                heads=heads, D=D, ABOVE=above, DROPOUT=dropout > 0, **how,
            )  # fmt: skip
        d_bias = None
        if shape_of_bias is not None:  # the kernels for longer rows do not sum
            d_bias = added_up(sums, kv.dtype) if of_k.longest <= above else d_kv.sum(0)
            d_bias = d_bias.view(shape_of_bias)
        return d_q, d_kv, None, None, None, None, d_bias


def _arguments(q: Tensor, k: Tensor, of_k: Spans, dropout: float, seeds: Tensor) -> list[Any]:
    """The arguments that all kernels share, around the scale.

    Args:
        q: (queries, heads, D).
        k: (tokens, heads, D).
        of_k: where rows lie in ``k``.
        dropout: of the weights.
        seeds: two, (2,) int32.
    """
    tokens, heads, D = q.shape
    strides = [q.stride(0), k.stride(0), heads * D]
    return [*strides, tokens, of_k.longest, 1 / (1 - dropout), seeds, threshold_of(dropout)]
