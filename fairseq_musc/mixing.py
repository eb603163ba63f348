"""MixUp of embeddings: who meets whom, with which weight (the paper's section 4.1). This file imports only torch.

A batch for the encoder is R rows; a :class:`Mixing` says for each of them which row it is mixed with and how much of
itself it keeps. A plain row is mixed with itself. So one encoder pass takes plain and mixed views together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Mixing(NamedTuple):
    """E~ = alpha E + (1 - alpha) E[partner], row by row."""

    partner: Tensor
    """(R,) int64: the row that each row is mixed with."""
    alpha: Tensor
    """(R,) float32: how much of itself each row keeps; 1 for plain rows."""

    def embeddings(self, E: Tensor) -> Tensor:
        """Mixes embeddings (R, L, d); a row that is its own partner comes back as it is."""
        alpha = self.alpha.to(E.dtype)[:, None, None]
        return alpha * E + (1 - alpha) * E[self.partner]

    def attention_mask(self, mask: Tensor) -> Tensor:
        """The union of both rows' masks (R, L): a token counts where either sentence has one (released code)."""
        return torch.maximum(mask, mask[self.partner])


def draw_alpha(shape: Sequence[int], beta: float) -> Tensor:
    """Draws alpha ~ Beta(beta, beta) from torch's global CPU generator; beta of 1 is the released code's U(0, 1).

    fairseq seeds that generator before every update with its seed and the number of updates, so the draws go on
    exactly after a restart and are the same in every process.

    Returns:
        float32 of the asked shape.
    """
    if beta == 1:
        return torch.rand(*shape)
    concentration = torch.full(tuple(shape), float(beta))
    return torch.distributions.Beta(concentration, concentration).sample()


def reversed_in_groups(sizes: Sequence[int]) -> Tensor:
    """For rows that lie group after group: each group's rows in the reverse order.

    Args:
        sizes: the number of rows of each group.

    Returns:
        (sum of sizes,) int64, e.g. (2, 1, 0, 4, 3) for sizes 3 and 2.
    """
    pieces, start = [], 0
    for size in sizes:
        pieces.append(torch.arange(start + size - 1, start - 1, -1))
        start += size
    return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)


def mix_within_groups(sizes: Sequence[int], alphas: Sequence[Tensor], device: torch.device) -> Mixing:
    """The mixing for an encoder batch of plain views followed by the mixed views of the same rows.

    With V views of B rows each, the encoder gets 2 V B rows: the V plain views, then the V mixed ones. In each mixed
    view, row i of a group of n meets row n-1-i of the same view and group.

    Args:
        sizes: the number of rows of each group (target language); B is their sum.
        alphas: V tensors (G,), one alpha for each view and group.
        device: where the result shall lie.

    Returns:
        a :class:`Mixing` over 2 V B rows.
    """
    B, V = sum(sizes), len(alphas)
    rows = torch.arange(V * B)
    flipped = reversed_in_groups(sizes)
    partner = torch.cat([rows, *(flipped + (V + v) * B for v in range(V))])
    repeats = torch.tensor(list(sizes))
    alpha = torch.cat([torch.ones(V * B), *(a.repeat_interleave(repeats) for a in alphas)])
    return Mixing(partner.to(device, non_blocking=True), alpha.to(device, non_blocking=True))
