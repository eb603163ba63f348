"""Attention of rows whose keys a program takes at once, as Triton kernels: see :mod:`.triton_attention`.

With all keys of a query at hand its softmax needs no second pass, and the backward pass computes the weights again from
the scores alone, and the sum that the gradient of a softmax needs from the weights and their gradients: neither the
forward pass's output nor a logarithm of its sums is read.

A kernel is for rows of up to so many keys, and a program whose row is for another one ends at once. Between 64 and 128,
which are powers of two as Triton's products want them, one more kernel for 96 keys would compute less, and take as long
to end the programs that it is not for.
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
    """Keys."""
    warps: int
    registers: int
    """Of a thread, at most; 0 leaves it to the compiler."""

    def launched(self, few: bool) -> dict[str, int]:
        """How a kernel is launched; ``few`` if no row has more than 16 queries."""
        sizes = {"M": 16 if few else self.M, "N": self.N, "num_warps": self.warps, "num_stages": 1}
        return {**sizes, "maxnreg": self.registers} if self.registers else sizes


WHOLE_FORTH: tuple[Tiles, ...] = (Tiles(64, 64, 4, 0), Tiles(64, 128, 4, 0))
"""Of the forward kernel, for short rows first: each is for those that are too long for the ones before."""
WHOLE_BACK: tuple[Tiles, ...] = (Tiles(64, 64, 4, 128), Tiles(32, 128, 4, 0))
"""The same of the backward kernel, up to the same number of keys."""


@triton.jit
def weights_kept(token, head, key, heads, longest, SEEDS, threshold):
    """Which of the weights of ``token`` (M, 1) for ``key`` (1, N) are kept."""
    return kept((token * heads + head) * longest + key, tl.load(SEEDS), tl.load(SEEDS + 1), threshold)


@triton.jit
def scores(q, k, n, k_count, scale):
    """Those of queries (M, D) for keys (N, D), base 2; of places n behind the row, minus infinity."""
    return tl.where((n < k_count)[None, :], tl.dot(q, tl.trans(k)) * scale, float("-inf"))


@triton.jit
def queries_from(start, Q, D_OUT, q_start, q_count, column, stride_q, stride_out, M: tl.constexpr):
    """M queries and gradients of what they got, (M, D); their numbers in the row (M,), places, and which there are."""
    m = start + tl.arange(0, M)
    token = q_start + m
    real = (m < q_count)[:, None]
    at = token[:, None] * stride_q + column
    q = tl.load(Q + at, mask=real, other=0.0)
    d_out = tl.load(D_OUT + token[:, None] * stride_out + column, mask=real, other=0.0)
    return q, d_out, m, at, real


@triton.jit(do_not_specialize=["longest", "threshold", "queries"])
def whole_forward_kernel(
    Q, K, V, OUT, cu_q, cu_k, stride_q, stride_k, stride_out, queries, longest, scale, grow, SEEDS, threshold,
    heads: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr, ABOVE: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """M queries of one row and head whose keys, more than ABOVE, are at most N."""
    row, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    k_start = tl.load(cu_k + row)
    k_count = tl.load(cu_k + row + 1) - k_start
    q_start = tl.load(cu_q + row)
    q_count = tl.load(cu_q + row + 1) - q_start
    if (k_count > N) | (k_count <= ABOVE) | (block * M >= q_count):
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
    p = tl.exp2(p - tl.max(p, 1)[:, None])
    total = tl.sum(p, 1)
    if DROPOUT:
        p = tl.where(weights_kept(token[:, None], head, n[None, :], heads, longest, SEEDS, threshold), p, 0.0)
    out = tl.dot(p.to(v.dtype), v) * (grow / total)[:, None]
    tl.store(OUT + token[:, None] * stride_out + column, out.to(OUT.dtype.element_ty), mask=q_real)


@triton.jit(do_not_specialize=["longest", "threshold", "queries"])
def whole_backward_kernel(
    Q, K, V, D_OUT, D_Q, D_K, D_V, SUMS, cu_q, cu_k, stride_q, stride_k, stride_out, queries, longest, scale,
    back_scale, grow, SEEDS, threshold, heads: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    ABOVE: tl.constexpr, OF_Q: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """All gradients of one row and head whose keys, more than ABOVE, are at most N; M queries at a time.

    SUMS are those over the tokens of the row: of keys and values, and in front of them of queries if OF_Q.
    """
    row, head = tl.program_id(0), tl.program_id(1)
    k_start = tl.load(cu_k + row)
    k_count = tl.load(cu_k + row + 1) - k_start
    if (k_count > N) | (k_count <= ABOVE):
        return
    q_start = tl.load(cu_q + row)
    q_count = tl.load(cu_q + row + 1) - q_start
    column = head * D + tl.arange(0, D)[None, :]
    n = tl.arange(0, N)
    at = (k_start + n)[:, None] * stride_k + column
    real = (n < k_count)[:, None]
    k, v = tl.load(K + at, mask=real, other=0.0), tl.load(V + at, mask=real, other=0.0)
    at_sum = SUMS + (row * (3 if OF_Q else 2) * heads + head) * D + tl.arange(0, D)
    if M >= N:  # one block of queries, too: no sum has to be kept while another is made
        d_q, d_k, d_v, at_q, q_real = gradients_of_block(
            Q, D_OUT, k, v, 0, q_start, q_count, n, k_count, head, column, stride_q, stride_out,
            longest, scale, grow, SEEDS, threshold, heads, M, DROPOUT,
        )  # fmt: skip
        tl.store(D_Q + at_q, (d_q * back_scale).to(D_Q.dtype.element_ty), mask=q_real)
        of_queries = tl.sum(d_q, 0)
    else:
        d_k, d_v = tl.zeros([N, D], tl.float32), tl.zeros([N, D], tl.float32)
        of_queries = tl.zeros([D], tl.float32)
        for start in range(0, q_count, M):
            d_q, more_k, more_v, at_q, q_real = gradients_of_block(
                Q, D_OUT, k, v, start, q_start, q_count, n, k_count, head, column, stride_q, stride_out,
                longest, scale, grow, SEEDS, threshold, heads, M, DROPOUT,
            )  # fmt: skip
            tl.store(D_Q + at_q, (d_q * back_scale).to(D_Q.dtype.element_ty), mask=q_real)
            d_k += more_k
            d_v += more_v
            of_queries += tl.sum(d_q, 0)
    tl.store(D_K + at, (d_k * back_scale).to(D_K.dtype.element_ty), mask=real)
    tl.store(D_V + at, d_v.to(D_V.dtype.element_ty), mask=real)
    if OF_Q:
        tl.store(at_sum, of_queries * back_scale)
        at_sum += heads * D
    tl.store(at_sum, tl.sum(d_k, 0) * back_scale)
    tl.store(at_sum + heads * D, tl.sum(d_v, 0))


@triton.jit
def gradients_of_block(
    Q, D_OUT, k, v, start, q_start, q_count, n, k_count, head, column, stride_q, stride_out,
    longest, scale, grow, SEEDS, threshold, heads: tl.constexpr, M: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Of M queries and all keys of their row: the gradients of queries, keys and values, and where the queries are."""
    q, d_out, m, at_q, q_real = queries_from(start, Q, D_OUT, q_start, q_count, column, stride_q, stride_out, M)
    token = q_start + m
    p = scores(q, k, n, k_count, scale)
    p = tl.exp2(p - tl.max(p, 1)[:, None])
    p = tl.where(q_real, p / tl.sum(p, 1)[:, None], 0.0)
    d_p = tl.dot(d_out, tl.trans(v))
    if DROPOUT:
        keep = weights_kept(token[:, None], head, n[None, :], heads, longest, SEEDS, threshold)
        d_p = tl.where(keep, d_p * grow, 0.0)
        dropped = tl.where(keep, p * grow, 0.0)
    else:
        dropped = p
    d_v = tl.dot(tl.trans(dropped.to(d_out.dtype)), d_out)
    d_p = p * d_p
    d_score = (d_p - p * tl.sum(d_p, 1)[:, None]).to(q.dtype)
    d_k = tl.dot(tl.trans(d_score), q)
    d_q = tl.dot(d_score, k)
    return d_q, d_k, d_v, at_q, q_real
