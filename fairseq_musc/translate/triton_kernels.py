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

from fairseq_musc.translate.torch_kernels import GROUP, Norm

#: What is not in use is not read, so no kernel asks how far memory is filled.
READS_ALL = False

#: The least number of rows of a matrix product on tensor cores; hypotheses beyond the beam are zeros.
ROWS = 16

#: Places of the memory that are looked at together.
BLOCK = 32

#: Groups of words that one program looks at.
GROUPS = 32


def problems(heads: int, width: int, beam: int, device: torch.device) -> list[str]:
    """Why these kernels cannot do a model's decoding on a device; empty if they can."""
    d = width // heads
    found = []
    if beam > ROWS:
        found.append(f"a beam of {beam} is above {ROWS}")
    if d < 16 or d > 256 or d & (d - 1):
        found.append(f"heads of width {d} are no power of two between 16 and 256")
    if device.type != "cuda" or torch.version.cuda is None:
        return [*found, f"{device} is no NVIDIA GPU"]
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return [*found, f"the GPU has compute capability {major}.{minor}, and 8.0 is needed"]
    try:
        with torch.cuda.device(device):
            one = torch.ones(1, 16, device=device)
            add_norm(one, one.clone(), Norm(one[0], one[0], 1e-5))
    except Exception as error:  # whatever it is: no compiler, no Python.h, a driver that is too old
        found.append(f"Triton cannot compile here: {str(error).strip().splitlines()[0]}")
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
        BEAM=beam, ROWS=ROWS, DIM=d, BLOCK=BLOCK, EXACT=qkv.dtype == torch.float32, num_warps=_warps(qkv),
    )  # fmt: skip
    return out


def cross_attention(q: Tensor, memory: Tensor, lengths: Tensor, masks: Any, beam: int) -> Tensor:
    """See :func:`fairseq_musc.translate.torch_kernels.cross_attention`."""
    _, _, heads, longest, d = memory.shape
    out = torch.empty_like(q)
    _cross_attention[(heads, len(lengths))](
        q, memory, lengths, out, d**-0.5, memory.stride(0), heads, longest,
        BEAM=beam, ROWS=ROWS, DIM=d, BLOCK=BLOCK, EXACT=q.dtype == torch.float32, num_warps=_warps(q),
    )  # fmt: skip
    return out


def _warps(x: Tensor) -> int:
    # as the compiler's report has it, with so many nothing is spilled and most programs find room at once
    return 4 if x.dtype == torch.float32 else 2


def add_norm(residual: Tensor, update: Tensor, norm: Norm) -> Tensor:
    """See :func:`fairseq_musc.translate.torch_kernels.add_norm`; both tensors contiguous."""
    rows, width = residual.shape
    out = torch.empty_like(residual)
    block = triton.next_power_of_2(width)
    warps = max(1, min(8, block // 256))
    _add_norm[(rows,)](residual, update, norm.weight, norm.bias, out, width, norm.eps, BLOCK=block, num_warps=warps)
    return out


def top_words(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`fairseq_musc.translate.torch_kernels.top_words`; the values come in float32."""
    rows, words = logits.shape
    chunks = triton.cdiv(words, GROUPS * GROUP)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=logits.device)

    maxima, largest, sums = empty(rows, chunks * GROUPS), empty(rows, chunks), empty(rows, chunks)
    _reduce_words[(rows * chunks,)](
        logits, maxima, largest, sums, words, logits.stride(0), chunks, GROUPS=GROUPS, GROUP=GROUP, num_warps=8
    )
    values, best, total = empty(rows, k), empty(rows, k, dtype=torch.int64), empty(rows)
    _select_words[(rows,)](
        logits, maxima, largest, sums, values, best, total, words, logits.stride(0), chunks,
        K=k, ROWS=triton.next_power_of_2(k), GROUPS=GROUPS, GROUP=GROUP, CHUNKS=triton.next_power_of_2(chunks),
        num_warps=4,
    )  # fmt: skip
    return values, best, total


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
def _reduce_words(logits, maxima, largest, sums, words, to_row, chunks, GROUPS: tl.constexpr, GROUP: tl.constexpr):
    """One program for one chunk of one row: the maxima of its groups, its own, and the sum of its exponentials."""
    program = tl.program_id(0)
    row = (program // chunks).to(tl.int64)
    group = (program % chunks) * GROUPS + tl.arange(0, GROUPS)
    word = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    x = tl.load(logits + row * to_row + word, mask=word < words, other=float("-inf")).to(tl.float32)
    of_groups = tl.max(x, 1)
    tl.store(maxima + program.to(tl.int64) * GROUPS + tl.arange(0, GROUPS), of_groups)
    of_all = tl.max(of_groups, 0)
    tl.store(largest + program, of_all)
    tl.store(sums + program, tl.sum(tl.sum(tl.exp(x - of_all), 1), 0))


@triton.jit
def _select_words(
    logits, maxima, largest, sums, values, best, total, words, to_row, chunks,
    K: tl.constexpr, ROWS: tl.constexpr, GROUPS: tl.constexpr, GROUP: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """One program for one row: the K groups with the largest maxima, and of their words the K largest."""
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.arange(0, CHUNKS)
    of_chunks = tl.load(largest + row * chunks + chunk, mask=chunk < chunks, other=float("-inf"))
    of_all = tl.max(of_chunks, 0)
    of_sums = tl.load(sums + row * chunks + chunk, mask=chunk < chunks, other=0.0)
    tl.store(total + row, of_all + tl.log(tl.sum(of_sums * tl.exp(of_chunks - of_all), 0)))

    group = tl.arange(0, CHUNKS * GROUPS)
    left = tl.load(maxima + row * chunks * GROUPS + group, mask=group < chunks * GROUPS, other=float("-inf"))
    place = tl.arange(0, ROWS)
    chosen = tl.full([ROWS], CHUNKS * GROUPS, tl.int32)
    for i in tl.static_range(K):
        value, where = tl.max(left, 0, return_indices=True)
        # fewer groups than K: the others are beyond the last word
        where = tl.where(value > float("-inf"), where, CHUNKS * GROUPS)
        chosen = tl.where(place == i, where, chosen)
        left = tl.where(group == where, float("-inf"), left)

    word = chosen[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    x = tl.load(logits + row * to_row + word, mask=word < words, other=float("-inf")).to(tl.float32)
    x = tl.reshape(x, [ROWS * GROUP])
    word = tl.reshape(word, [ROWS * GROUP])
    index = tl.arange(0, ROWS * GROUP)
    for i in tl.static_range(K):
        value, where = tl.max(x, 0, return_indices=True)
        tl.store(values + row * K + i, value)
        tl.store(best + row * K + i, tl.max(tl.where(index == where, word, -1), 0))
        x = tl.where(index == where, float("-inf"), x)
