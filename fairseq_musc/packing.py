"""Rows end to end, without padding: how a batch is laid out for one encoder pass over all of its views.

The encoder gets R rows, the plain ones first and the mixed ones (MixUp of a row with its partner) behind them. Their
tokens lie one after the other, and ``cu_seqlens`` says where each row begins. What a mixed row is made of is found in
a table of tokens: the tokens of the plain rows, and behind them one padding token for every position. Where one of two
partners is shorter, its padding counts: both have the length of the longer one (released code, ``nets.py``: the
attention mask of a mixed row is the union of both).

Everything here is made by numpy in the workers that load data, so that training waits for no index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from fairseq_musc.data.databin import TokenRows


class MixedTokens(NamedTuple):
    """What each of the M tokens of the mixed rows is made of."""

    source: Tensor
    """(M,) int64: its own token in the table; behind the end of its row a padding token."""
    partner: Tensor
    """(M,) int64: the mixed token at the same position of the partner's row."""
    alpha: Tensor
    """(M,) float32: how much of itself it keeps."""

    def mix(self, E: Tensor) -> Tensor:
        """E~ = alpha E + (1 - alpha) E[partner] for embeddings (M, d) of the tokens in ``source``."""
        alpha = self.alpha.to(E.dtype)[:, None]
        return alpha * E + (1 - alpha) * E.index_select(0, self.partner)


class PackedRows(NamedTuple):
    """R rows for the encoder, P tokens in the plain ones."""

    input_ids: Tensor
    """(P + L,) int64, the table: the tokens of the plain rows, then L padding tokens if there are mixed rows."""
    positions: Tensor
    """(P + L,) int64: the place of each in its row, from 0; of the padding tokens 0 to L - 1."""
    token_type_ids: Tensor
    """(P + L,) int64: the segment of each; 0 for padding."""
    cu_seqlens: Tensor
    """(R + 1,) int32: where each row begins, and the end of the last."""
    plain_tokens: int
    """P."""
    longest: int
    """L, the tokens of the longest row."""
    mixed: MixedTokens | None
    """None if all rows are plain."""


def packed(blocks: Sequence[TokenRows], pad: int, alphas: Sequence[int] | None) -> dict[str, Any]:
    """Lays out blocks of rows; within a block row i of n meets row n-1-i.

    Args:
        blocks: the rows of one view and one language each.
        pad: the id of the padding token.
        alphas: for each block the number of the alpha that mixes it; None if there shall be no mixed rows.

    Returns:
        The fields of :class:`PackedRows` by name, without ``mixed``; with ``alphas`` also ``plain_rows`` and
        the tensors ``mixed_source``, ``mixed_partner`` and ``mixed_alpha`` (the number of the alpha), (M,) int64.
    """
    lengths = np.concatenate([block.lengths for block in blocks]).astype(np.int64)  # (plain rows,)
    first = np.concatenate([block.first_lengths for block in blocks])
    ids = np.concatenate([block.ids for block in blocks])
    starts = _starts(lengths)
    row_of = np.repeat(np.arange(len(lengths)), lengths)  # (P,)
    positions = np.arange(len(ids)) - starts[row_of]
    segments = (positions >= first[row_of]).astype(np.int64)
    longest = int(lengths.max())
    layout: dict[str, Any] = {"plain_tokens": len(ids), "plain_rows": len(lengths), "longest": longest}
    cu_seqlens = starts
    if alphas is not None:
        sizes = np.array([len(block.lengths) for block in blocks])
        partner_row = _reversed_in_blocks(sizes)  # (plain rows,)
        union = np.maximum(lengths, lengths[partner_row])
        mixed_starts = _starts(union)
        mixed_row = np.repeat(np.arange(len(union)), union)  # (M,)
        place = np.arange(len(mixed_row)) - mixed_starts[mixed_row]
        real = place < lengths[mixed_row]
        layout["mixed_source"] = np.where(real, starts[mixed_row] + place, len(ids) + place)
        layout["mixed_partner"] = mixed_starts[partner_row[mixed_row]] + place
        layout["mixed_alpha"] = np.repeat(np.asarray(alphas), sizes)[mixed_row]
        cu_seqlens = np.concatenate([starts, starts[-1] + mixed_starts[1:]])
        ids = np.concatenate([ids, np.full(longest, pad)])
        positions = np.concatenate([positions, np.arange(longest)])
        segments = np.concatenate([segments, np.zeros(longest, dtype=np.int64)])
    layout.update(input_ids=ids, positions=positions, token_type_ids=segments, cu_seqlens=cu_seqlens.astype(np.int32))
    return {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in layout.items()}


def rows_for_encoder(layout: dict[str, Any], alpha: Tensor | None) -> PackedRows:
    """What :func:`packed` laid out, with the alphas of this step.

    Args:
        layout: as :func:`packed` returns it, on the device.
        alpha: one for each number in ``mixed_alpha``; None leaves the mixed rows out.
    """
    fields = {key: layout[key] for key in ("input_ids", "positions", "token_type_ids", "cu_seqlens")}
    P, longest = layout["plain_tokens"], layout["longest"]
    if alpha is None:
        fields["cu_seqlens"] = fields["cu_seqlens"][: layout["plain_rows"] + 1]
        fields = {key: tensor if key == "cu_seqlens" else tensor[:P] for key, tensor in fields.items()}
        return PackedRows(**fields, plain_tokens=P, longest=longest, mixed=None)
    mixed = MixedTokens(layout["mixed_source"], layout["mixed_partner"], alpha[layout["mixed_alpha"]])
    return PackedRows(**fields, plain_tokens=P, longest=longest, mixed=mixed)


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and the end of the last: (rows + 1,) int64."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _reversed_in_blocks(sizes: np.ndarray) -> np.ndarray:
    """For rows that lie block after block: each block's rows in the reverse order."""
    starts = _starts(sizes)
    block = np.repeat(np.arange(len(sizes)), sizes)
    return starts[block] + starts[block + 1] - 1 - np.arange(starts[-1])
