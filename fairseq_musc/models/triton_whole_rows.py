"""Attention of rows whose keys a program takes at once, as Triton kernels: see :mod:`.triton_attention`.

With all keys of a query at hand its softmax needs no second pass, and the backward pass computes the weights again from
the scores alone, and the sum that the gradient of a softmax needs from the weights and their gradients: neither the
forward pass's output nor a logarithm of its sums is read.

Keys come in two blocks, each a power of two as Triton's products are, so that a row of 65 to 96 is not computed as one
of 128; the second block can be none.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from fairseq_musc.models.triton_dropout import kept


class Tiles(NamedTuple):
    """What one program takes at once, and how it is run (benchmarks/kernels.py --sweep tries others)."""

    M: int
    """Queries; of few there are 16."""
    N: int
    """Keys of the first block."""
    REST: int
    """Keys of the second; 0 where there is none."""
    warps: int
    registers: int
    """Of a thread, at most; 0 leaves it to the compiler."""

    @property
    def keys(self) -> int:
        """How many keys a row may have."""
        return self.N + self.REST

    def launched(self, few: bool) -> dict[str, int]:
        """How a kernel is launched, beside REST; ``few`` if no row has more than 16 queries."""
        sizes = {"M": 16 if few else self.M, "N": self.N, "num_warps": self.warps, "num_stages": 1}
        return {**sizes, "maxnreg": self.registers} if self.registers else sizes


WHOLE_FORTH: tuple[Tiles, ...] = (
    Tiles(64, 64, 0, 4, 0),
    Tiles(64, 64, 32, 4, 0),
    Tiles(64, 64, 64, 4, 0),
)
"""Of the forward kernel, for short rows first: each is for those that are too long for the ones before."""
WHOLE_BACK: tuple[Tiles, ...] = (
    Tiles(64, 64, 0, 4, 128),
    Tiles(32, 64, 32, 4, 0),
    Tiles(32, 64, 64, 4, 0),
)
"""The same of the backward kernel, up to the same number of keys."""


@triton.jit
def weights_kept(token, head, key, heads, longest, SEEDS, threshold):
    """Which of the weights of ``token`` (M, 1) for ``key`` (1, N) are kept."""
    return kept((token * heads + head) * longest + key, tl.load(SEEDS), tl.load(SEEDS + 1), threshold)


@triton.jit
def scores(q, k, n, k_count, scale):
    """Those of queries (M, D) for keys (N, D), base 2; of places n behind the row, minus infinity."""
    return tl.where((n < k_count)[None, :], tl.dot(q, tl.trans(k)) * scale, float("-inf"))


@triton.jit(do_not_specialize=["longest", "threshold", "queries"])
def whole_forward_kernel(
    Q, K, V, OUT, cu_q, cu_k, stride_q, stride_k, stride_out, queries, longest, scale, grow, SEEDS, threshold,
    heads: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr, REST: tl.constexpr, ABOVE: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    """M queries of one row and head whose keys, more than ABOVE, are at most N + REST."""
    row, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    k_start = tl.load(cu_k + row)
    k_count = tl.load(cu_k + row + 1) - k_start
    q_start = tl.load(cu_q + row)
    q_count = tl.load(cu_q + row + 1) - q_start
    if (k_count > N + REST) | (k_count <= ABOVE) | (block * M >= q_count):
        return
    m, n = block * M + tl.arange(0, M), tl.arange(0, N)
    column = head * D + tl.arange(0, D)[None, :]
    token = q_start + m
    q_real = (m < q_count)[:, None]
    q = tl.load(Q + token[:, None] * stride_q + column, mask=q_real, other=0.0)
    at = (k_start + n)[:, None] * stride_k + column
    real = (n < k_count)[:, None]
    k, v = tl.load(K + at, mask=real, other=0.0), tl.load(V + at, mask=real, other=0.0)
    p = scores(q, k, n, k_count, scale)
    highest = tl.max(p, 1)
    if REST > 0:
        n_rest = N + tl.arange(0, REST)
        at = (k_start + n_rest)[:, None] * stride_k + column
        real = (n_rest < k_count)[:, None]
        k_rest, v_rest = tl.load(K + at, mask=real, other=0.0), tl.load(V + at, mask=real, other=0.0)
        p_rest = scores(q, k_rest, n_rest, k_count, scale)
        highest = tl.maximum(highest, tl.max(p_rest, 1))
    p = tl.exp2(p - highest[:, None])
    total = tl.sum(p, 1)
    if DROPOUT:
        p = tl.where(weights_kept(token[:, None], head, n[None, :], heads, longest, SEEDS, threshold), p, 0.0)
    out = tl.dot(p.to(v.dtype), v)
    if REST > 0:
        p_rest = tl.exp2(p_rest - highest[:, None])
        total += tl.sum(p_rest, 1)
        if DROPOUT:
            keep = weights_kept(token[:, None], head, n_rest[None, :], heads, longest, SEEDS, threshold)
            p_rest = tl.where(keep, p_rest, 0.0)
        out += tl.dot(p_rest.to(v.dtype), v_rest)
    out *= (grow / total)[:, None]
    tl.store(OUT + token[:, None] * stride_out + column, out.to(OUT.dtype.element_ty), mask=q_real)


@triton.jit(do_not_specialize=["longest", "threshold", "queries"])
def whole_backward_kernel(
    Q, K, V, D_OUT, D_Q, D_K, D_V, SUMS, cu_q, cu_k, stride_q, stride_k, stride_out, queries, longest, scale,
    back_scale, grow, SEEDS, threshold, heads: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    REST: tl.constexpr, ABOVE: tl.constexpr, OF_Q: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """All gradients of one row and head whose keys, more than ABOVE, are at most N + REST; M queries at a time.

    SUMS are those over the tokens of the row: of keys and values, and in front of them of queries if OF_Q.
    """
    row, head = tl.program_id(0), tl.program_id(1)
    k_start = tl.load(cu_k + row)
    k_count = tl.load(cu_k + row + 1) - k_start
    if (k_count > N + REST) | (k_count <= ABOVE):
        return
    q_start = tl.load(cu_q + row)
    q_count = tl.load(cu_q + row + 1) - q_start
    column = head * D + tl.arange(0, D)[None, :]
    n = tl.arange(0, N)
    at = (k_start + n)[:, None] * stride_k + column
    real = (n < k_count)[:, None]
    k, v = tl.load(K + at, mask=real, other=0.0), tl.load(V + at, mask=real, other=0.0)
    at_sum = SUMS + (row * (3 if OF_Q else 2) * heads + head) * D + tl.arange(0, D)
    if (REST == 0) & (M >= N):  # one block of queries, too: no sum has to be kept while another is made
        q, d_out, token, q_real = queries_of(Q, D_OUT, 0, M, q_start, q_count, column, stride_q, stride_out)
        p = scores(q, k, n, k_count, scale)
        p = tl.exp2(p - tl.max(p, 1)[:, None])
        p = tl.where(q_real, p / tl.sum(p, 1)[:, None], 0.0)
        dropped, d_p = dropped_alike(
            p, tl.dot(d_out, tl.trans(v)), token, head, n, heads, longest, grow, SEEDS, threshold, DROPOUT
        )
        d_v = tl.dot(tl.trans(dropped.to(d_out.dtype)), d_out)
        d_p = p * d_p
        d_score = (d_p - p * tl.sum(d_p, 1)[:, None]).to(q.dtype)
        d_k = tl.dot(tl.trans(d_score), q)
        d_q = tl.dot(d_score, k)
        tl.store(D_Q + token[:, None] * stride_q + column, (d_q * back_scale).to(D_Q.dtype.element_ty), mask=q_real)
        of_queries = tl.sum(d_q, 0)
    else:
        d_k, d_v = tl.zeros([N, D], tl.float32), tl.zeros([N, D], tl.float32)
        of_queries = tl.zeros([D], tl.float32)
        if REST > 0:
            n_rest = N + tl.arange(0, REST)
            at_rest = (k_start + n_rest)[:, None] * stride_k + column
            real_rest = (n_rest < k_count)[:, None]
            k_rest = tl.load(K + at_rest, mask=real_rest, other=0.0)
            v_rest = tl.load(V + at_rest, mask=real_rest, other=0.0)
            d_k_rest, d_v_rest = tl.zeros([REST, D], tl.float32), tl.zeros([REST, D], tl.float32)
        for start in range(0, q_count, M):
            q, d_out, token, q_real = queries_of(Q, D_OUT, start, M, q_start, q_count, column, stride_q, stride_out)
            p = scores(q, k, n, k_count, scale)
            highest = tl.max(p, 1)
            if REST > 0:
                p_rest = scores(q, k_rest, n_rest, k_count, scale)
                highest = tl.maximum(highest, tl.max(p_rest, 1))
                p_rest = tl.exp2(p_rest - highest[:, None])
            p = tl.exp2(p - highest[:, None])
            total = tl.sum(p, 1)
            if REST > 0:
                total += tl.sum(p_rest, 1)
            p = tl.where(q_real, p / total[:, None], 0.0)
            dropped, d_p = dropped_alike(
                p, tl.dot(d_out, tl.trans(v)), token, head, n, heads, longest, grow, SEEDS, threshold, DROPOUT
            )
            d_v += tl.dot(tl.trans(dropped.to(d_out.dtype)), d_out)
            d_p = p * d_p
            level = tl.sum(d_p, 1)
            if REST > 0:
                p_rest = tl.where(q_real, p_rest / total[:, None], 0.0)
                dropped, d_p_rest = dropped_alike(
                    p_rest, tl.dot(d_out, tl.trans(v_rest)), token, head, n_rest, heads, longest, grow, SEEDS,
                    threshold, DROPOUT,
                )  # fmt: skip
                d_v_rest += tl.dot(tl.trans(dropped.to(d_out.dtype)), d_out)
                d_p_rest = p_rest * d_p_rest
                level += tl.sum(d_p_rest, 1)
                d_score_rest = (d_p_rest - p_rest * level[:, None]).to(q.dtype)
                d_k_rest += tl.dot(tl.trans(d_score_rest), q)
            d_score = (d_p - p * level[:, None]).to(q.dtype)
            d_k += tl.dot(tl.trans(d_score), q)
            d_q = tl.dot(d_score, k)
            if REST > 0:
                d_q += tl.dot(d_score_rest, k_rest)
            tl.store(D_Q + token[:, None] * stride_q + column, (d_q * back_scale).to(D_Q.dtype.element_ty), mask=q_real)
            of_queries += tl.sum(d_q, 0)
    tl.store(D_K + at, (d_k * back_scale).to(D_K.dtype.element_ty), mask=real)
    tl.store(D_V + at, d_v.to(D_V.dtype.element_ty), mask=real)
    of_keys, of_values = tl.sum(d_k, 0), tl.sum(d_v, 0)
    if REST > 0:
        tl.store(D_K + at_rest, (d_k_rest * back_scale).to(D_K.dtype.element_ty), mask=real_rest)
        tl.store(D_V + at_rest, d_v_rest.to(D_V.dtype.element_ty), mask=real_rest)
        of_keys += tl.sum(d_k_rest, 0)
        of_values += tl.sum(d_v_rest, 0)
    if OF_Q:
        tl.store(at_sum, of_queries * back_scale)
        at_sum += heads * D
    tl.store(at_sum, of_keys * back_scale)
    tl.store(at_sum + heads * D, of_values)


@triton.jit
def queries_of(Q, D_OUT, start, M: tl.constexpr, q_start, q_count, column, stride_q, stride_out):
    """M queries of a row (M, D), the gradients of what they got, their tokens (M,), and which there are (M, 1)."""
    m = start + tl.arange(0, M)
    token = q_start + m
    q_real = (m < q_count)[:, None]
    q = tl.load(Q + token[:, None] * stride_q + column, mask=q_real, other=0.0)
    d_out = tl.load(D_OUT + token[:, None] * stride_out + column, mask=q_real, other=0.0)
    return q, d_out, token, q_real


@triton.jit
def dropped_alike(
    p, d_p, token, head, n, heads, longest, grow, SEEDS, threshold, DROPOUT: tl.constexpr
):  # fmt: skip
    """Weights (M, N) after dropout, and the gradient of weights before it from that of weights after it."""
    if DROPOUT:
        keep = weights_kept(token[:, None], head, n[None, :], heads, longest, SEEDS, threshold)
        d_p = tl.where(keep, d_p * grow, 0.0)
        dropped = tl.where(keep, p * grow, 0.0)
    else:
        dropped = p
    return dropped, d_p
