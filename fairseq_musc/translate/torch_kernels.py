"""What a decoding step does between its matrix products, in plain torch: for every device and precision.

:mod:`fairseq_musc.translate.triton_kernels` has the same functions for NVIDIA GPUs, where they read and write each
number once. Shapes: ``n`` sentences, ``beam`` hypotheses of each, ``H`` heads of width ``d``, ``D = H * d``; ``T``
steps and ``S`` source tokens that there is room for.

No key or value of an earlier step is ever moved. What hypothesis ``j`` of a sentence computed at step ``t`` stays in
place ``t * beam + j`` of the sentence's memory, and ``ancestors[b, i, t]`` says which of the places of step ``t``
hypothesis ``i`` descends from. All hypotheses of a sentence attend to the whole memory of the sentence at once, and a
mask leaves each its own ancestors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: The time of a step grows with the memory that is asked for (``times`` and ``reach`` below), not with what is in use.
READS_ALL = True

#: Words of a group in :func:`top_words`.
GROUP = 128


class Norm(NamedTuple):
    """The parameters of a layer normalisation."""

    weight: Tensor
    bias: Tensor
    eps: float


class Masks(NamedTuple):
    """What may be attended to in a step: 0 where it may, -inf elsewhere, to be added to the scores."""

    own: Tensor
    """(n, 1, beam, times * beam)"""
    source: Tensor
    """(n, 1, 1, reach)"""


def masks(ancestors: Tensor, steps: Tensor, lengths: Tensor, times: int, reach: int, dtype: torch.dtype) -> Masks:
    """What the attentions of all layers need, once a step.

    Args:
        ancestors: (n, beam, T), uint8; filled for the steps before ``steps``.
        steps: (n,): the step that each sentence is at.
        lengths: (n,): source tokens of each sentence.
        times: more than any of ``steps``.
        reach: at least any of ``lengths``.
        dtype: of what attends.
    """
    n, beam, _ = ancestors.shape
    place = torch.arange(beam, device=ancestors.device)
    time = torch.arange(times, device=ancestors.device)[:, None]
    step = steps[:, None, None, None]
    past = (ancestors[:, :, :times, None] == place) & (time < step)
    now = (time == step) & (place[:, None, None] == place)
    own = (past | now).view(n, 1, beam, times * beam)
    return Masks(additive(own, dtype), source_mask(lengths, reach, dtype))


def source_mask(lengths: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
    """(n, 1, 1, reach): 0 for the tokens of each sentence, -inf behind them."""
    return additive(torch.arange(reach, device=lengths.device) < lengths[:, None, None, None], dtype)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where True, -inf where False."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, -torch.inf)


def self_attention(qkv: Tensor, memory: Tensor, ancestors: Tensor, steps: Tensor, masks: Masks) -> Tensor:
    """Puts keys and values of this step into the memory, and attends to it.

    Args:
        qkv: (n * beam, 3 * D): queries, keys and values of this step.
        memory: (2, at least n, H, T * beam, d): keys and values of one layer.
        ancestors: (n, beam, T).
        steps: (n,).
        masks: from :func:`masks`.

    Returns:
        (n * beam, D)
    """
    n, beam, _ = ancestors.shape
    _, slots, heads, places, d = memory.shape
    new = qkv.view(n, beam, 3, heads, d)
    rows = torch.arange(n, device=steps.device)
    # indices on both sides of a slice: the indexed dimension comes first, (n, 2, H, beam, d)
    memory.view(2, slots, heads, places // beam, beam, d)[:, rows, :, steps] = new[:, :, 1:].permute(0, 2, 3, 1, 4)
    seen = masks.own.shape[-1]
    attended = F.scaled_dot_product_attention(
        new[:, :, 0].transpose(1, 2), memory[0, :n, :, :seen], memory[1, :n, :, :seen], attn_mask=masks.own
    )
    return attended.transpose(1, 2).reshape(n * beam, heads * d)


def cross_attention(q: Tensor, memory: Tensor, lengths: Tensor, masks: Masks, beam: int) -> Tensor:
    """Attends to the source: all hypotheses of a sentence to one copy of its keys and values.

    Args:
        q: (n * beam, D).
        memory: (2, at least n, H, S, d): keys and values of one layer.
        lengths: (n,).
        masks: from :func:`masks`.
        beam: hypotheses of a sentence.

    Returns:
        (n * beam, D)
    """
    _, _, heads, _, d = memory.shape
    n = len(lengths)
    reach = masks.source.shape[-1]
    attended = F.scaled_dot_product_attention(
        q.view(n, beam, heads, d).transpose(1, 2),
        memory[0, :n, :, :reach],
        memory[1, :n, :, :reach],
        attn_mask=masks.source.expand(-1, -1, beam, -1),
    )
    return attended.transpose(1, 2).reshape(n * beam, heads * d)


def add_norm(residual: Tensor, update: Tensor, norm: Norm) -> Tensor:
    """Adds ``update`` to ``residual``, in place, and returns the sum normalised; (rows, D) each."""
    residual.add_(update)
    return F.layer_norm(residual, residual.shape[-1:], norm.weight, norm.bias, norm.eps)


def top_words(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``k`` largest of each row, in any order, and what their logarithms of probabilities need.

    Args:
        logits: (rows, words).
        k: at most ``words``.

    Returns:
        values (rows, k), words (rows, k), and the float32 logarithm of the sum of exponentials of each row (rows,).
    """
    total = torch.logsumexp(logits.float(), dim=-1)
    rows, words = logits.shape
    if words <= 4 * GROUP * k:
        return *logits.topk(k, dim=-1, sorted=False), total
    whole = words // GROUP * GROUP
    maxima = logits[:, :whole].view(rows, -1, GROUP).amax(dim=-1)
    if whole < words:
        maxima = torch.cat([maxima, logits[:, whole:].amax(dim=-1, keepdim=True)], dim=1)
    return *top_of_groups(logits, maxima, k), total


def top_of_groups(logits: Tensor, maxima: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row are in the ``k`` groups of :data:`GROUP` words that have the largest maxima.

    Args:
        logits: (rows, words).
        maxima: (rows, at least k): the maximum of each group; there may be groups of no word, with -inf.
        k: how many.
    """
    rows, words = logits.shape
    groups = maxima.topk(k, dim=-1, sorted=False).indices
    among = (groups[:, :, None] * GROUP + torch.arange(GROUP, device=logits.device)).view(rows, -1)
    values = logits.gather(1, among.clamp(max=words - 1)).masked_fill_(among >= words, -torch.inf)
    best = values.topk(k, dim=-1, sorted=False)
    return best.values, among.gather(1, best.indices)
