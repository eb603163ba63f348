"""The functions of :mod:`fairseq_musc.translate.torch_kernels` in Triton: what a step reads, it reads once.

For NVIDIA GPUs of compute capability 8.0 and above; needs ``triton``, which comes with torch for CUDA, and the C
compiler that Triton calls. :func:`problems` says what is missing.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_musc.translate.torch_kernels import GROUP, Norm, top_of_groups

#: What is not in use is not read, so no kernel asks how far memory is filled.
READS_ALL = False

#: The least number of rows of a matrix product on tensor cores; hypotheses beyond the beam are zeros.
ROWS = 16

#: Places of the memory that are looked at together, and warps that do it.
OWN_BLOCK, OWN_WARPS = 64, 2
SOURCE_BLOCK, SOURCE_WARPS = 32, 2

#: Groups of words that one program looks at.
GROUPS, GROUP_WARPS = 32, 8


def problems(heads: int, width: int, beam: int) -> list[str]:
    """Why these kernels cannot do a model's decoding; empty if they can."""
    d = width // heads
    found = []
    if beam > ROWS:
        found.append(f"a beam of {beam} is above {ROWS}")
    if d < 16 or d > 256 or d & (d - 1):
        found.append(f"heads of width {d} are no power of two between 16 and 256")
    return found


def masks(ancestors: Tensor, steps: Tensor, lengths: Tensor, times: int, reach: int, dtype: torch.dtype) -> None:
    """Nothing: the kernels look ancestors and lengths up."""


def self_attention(qkv: Tensor, memory: Tensor, ancestors: Tensor, steps: Tensor, masks: Any = None) -> Tensor:
    """See :func:`fairseq_musc.translate.torch_kernels.self_attention`."""
    n, beam, times = ancestors.shape
    _, _, heads, places, d = memory.shape
    out = qkv.new_empty(n * beam, heads * d)
    _self_attention[(heads, n)](
        qkv, memory, ancestors, steps, out, d**-0.5, memory.stride(0), ancestors.stride(0), heads, places, times,
        BEAM=beam, ROWS=ROWS, DIM=d, BLOCK=OWN_BLOCK, EXACT=qkv.dtype == torch.float32, num_warps=OWN_WARPS,
    )  # fmt: skip
    return out


def cross_attention(q: Tensor, memory: Tensor, lengths: Tensor, masks: Any, beam: int) -> Tensor:
    """See :func:`fairseq_musc.translate.torch_kernels.cross_attention`."""
    _, _, heads, longest, d = memory.shape
    out = torch.empty_like(q)
    _cross_attention[(heads, len(lengths))](
        q, memory, lengths, out, d**-0.5, memory.stride(0), heads, longest,
        BEAM=beam, ROWS=ROWS, DIM=d, BLOCK=SOURCE_BLOCK, EXACT=q.dtype == torch.float32, num_warps=SOURCE_WARPS,
    )  # fmt: skip
    return out


def add_norm(residual: Tensor, update: Tensor, norm: Norm) -> Tensor:
    """See :func:`fairseq_musc.translate.torch_kernels.add_norm`; both tensors contiguous."""
    rows, width = residual.shape
    out = torch.empty_like(residual)
    block = triton.next_power_of_2(width)
    warps = max(1, min(8, block // 256))
    _add_norm[(rows,)](
        residual, update, norm.weight, norm.bias, out, width, norm.eps, BLOCK=block, num_warps=warps
    )
    return out


def top_words(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`fairseq_musc.translate.torch_kernels.top_words`."""
    rows, words = logits.shape
    chunks = triton.cdiv(words, GROUPS * GROUP)
    maxima = torch.empty(rows, max(chunks * GROUPS, k), dtype=torch.float32, device=logits.device)
    if chunks * GROUPS < k:
        maxima.fill_(-torch.inf)
    largest = torch.empty(rows, chunks, dtype=torch.float32, device=logits.device)
    total = torch.empty_like(largest)
    _reduce_words[(rows * chunks,)](
        logits, maxima, largest, total, words, logits.stride(0), maxima.stride(0), chunks,
        GROUPS=GROUPS, GROUP=GROUP, num_warps=GROUP_WARPS,
    )  # fmt: skip
    return *top_of_groups(logits, maxima, k), torch.logsumexp(largest + total.log(), dim=-1)


@triton.jit
def _self_attention(
    qkv, memory, ancestors, steps, out, scale, to_values, to_sentence, heads, places, times,
    BEAM: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """One program for one head of one sentence: all of its hypotheses."""
    precision: tl.constexpr = "ieee" if EXACT else "tf32"
    head = tl.program_id(0)
    sentence = tl.program_id(1)
    row = tl.arange(0, ROWS)
    dim = tl.arange(0, DIM)
    live = row < BEAM
    step = tl.load(steps + sentence).to(tl.int32)
    width = heads * DIM

    at = qkv + (sentence * BEAM + row[:, None]) * (3 * width) + head * DIM + dim[None, :]
    q = tl.load(at, mask=live[:, None], other=0.0)
    k = tl.load(at + width, mask=live[:, None], other=0.0)
    v = tl.load(at + 2 * width, mask=live[:, None], other=0.0)
    base = memory + (sentence * heads + head).to(tl.int64) * places * DIM
    new = base + (step * BEAM + row[:, None]) * DIM + dim[None, :]
    tl.store(new, k, mask=live[:, None])
    tl.store(new + to_values, v, mask=live[:, None])

    # a hypothesis attends to itself from registers, to its ancestors from memory; sums as in flash attention
    largest = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1) * scale
    total = tl.full([ROWS], 1.0, tl.float32)
    mean = v.to(tl.float32)
    filled = step * BEAM
    for start in range(0, filled, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < filled
        ancestor = tl.load(
            ancestors + sentence * to_sentence + row[:, None] * times + (place // BEAM)[None, :],
            mask=live[:, None] & inside[None, :],
            other=255,
        )
        mine = ancestor.to(tl.int32) == (place % BEAM)[None, :]
        # most places are nobody's ancestor after a few steps: they are not read
        used = tl.max(mine.to(tl.int32), 0) > 0
        where = base + place[:, None] * DIM + dim[None, :]
        keys = tl.load(where, mask=used[:, None], other=0.0)
        values = tl.load(where + to_values, mask=used[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(keys), input_precision=precision) * scale
        scores = tl.where(mine, scores, float("-inf"))
        raised = tl.maximum(largest, tl.max(scores, 1))
        weight = tl.exp(scores - raised[:, None])
        fade = tl.exp(largest - raised)
        mean = mean * fade[:, None] + tl.dot(weight.to(values.dtype), values, input_precision=precision)
        total = total * fade + tl.sum(weight, 1)
        largest = raised
    result = mean / total[:, None]
    to = out + (sentence * BEAM + row[:, None]) * width + head * DIM + dim[None, :]
    tl.store(to, result.to(q.dtype), mask=live[:, None])


@triton.jit
def _cross_attention(
    q, memory, lengths, out, scale, to_values, heads, longest,
    BEAM: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """One program for one head of one sentence: all of its hypotheses."""
    precision: tl.constexpr = "ieee" if EXACT else "tf32"
    head = tl.program_id(0)
    sentence = tl.program_id(1)
    row = tl.arange(0, ROWS)
    dim = tl.arange(0, DIM)
    live = row < BEAM
    length = tl.load(lengths + sentence).to(tl.int32)
    width = heads * DIM

    at = (sentence * BEAM + row[:, None]) * width + head * DIM + dim[None, :]
    query = tl.load(q + at, mask=live[:, None], other=0.0)
    base = memory + (sentence * heads + head).to(tl.int64) * longest * DIM
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mean = tl.zeros([ROWS, DIM], tl.float32)
    for start in range(0, length, BLOCK):
        position = start + tl.arange(0, BLOCK)
        inside = position < length
        where = base + position[:, None] * DIM + dim[None, :]
        keys = tl.load(where, mask=inside[:, None], other=0.0)
        values = tl.load(where + to_values, mask=inside[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(keys), input_precision=precision) * scale
        scores = tl.where(inside[None, :], scores, float("-inf"))
        raised = tl.maximum(largest, tl.max(scores, 1))
        weight = tl.exp(scores - raised[:, None])
        fade = tl.exp(largest - raised)
        mean = mean * fade[:, None] + tl.dot(weight.to(values.dtype), values, input_precision=precision)
        total = total * fade + tl.sum(weight, 1)
        largest = raised
    result = mean / total[:, None]
    tl.store(out + at, result.to(query.dtype), mask=live[:, None])


@triton.jit
def _add_norm(residual, update, weight, bias, out, width, eps, BLOCK: tl.constexpr):
    """One program for one row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    at = row * width + column
    x = tl.load(residual + at, mask=inside, other=0.0)
    # rounded to the precision of the residual before it is normalised, as fairseq does
    x = (x.to(tl.float32) + tl.load(update + at, mask=inside, other=0.0).to(tl.float32)).to(x.dtype)
    tl.store(residual + at, x, mask=inside)
    x = x.to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, 0) / width, 0.0)
    spread = tl.rsqrt(tl.sum(centred * centred, 0) / width + eps)
    w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, (centred * spread * w + b).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _reduce_words(
    logits, maxima, largest, total, words, to_row, to_maxima, chunks, GROUPS: tl.constexpr, GROUP: tl.constexpr
):
    """One program for some groups of words of one row: their maxima, and the sum of exponentials of all."""
    program = tl.program_id(0)
    row = (program // chunks).to(tl.int64)
    chunk = program % chunks
    group = chunk * GROUPS + tl.arange(0, GROUPS)
    word = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    x = tl.load(logits + row * to_row + word, mask=word < words, other=float("-inf")).to(tl.float32)
    of_groups = tl.max(x, 1)
    tl.store(maxima + row * to_maxima + group, of_groups)
    of_all = tl.max(of_groups, 0)
    tl.store(largest + program, of_all)
    tl.store(total + program, tl.sum(tl.sum(tl.exp(x - of_all), 1), 0))
