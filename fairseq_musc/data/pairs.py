"""From data-bin to batches: aligned views of the same rows, for every language at once.

The **batch** is the second of the three contracts of this package. :meth:`AlignedPairs.collater` makes it, the
criterion takes it:

``labels``
    (B,) int64 classes.
``groups``
    a list of (language index, rows) in the order in which the rows lie: rows of one language are contiguous, and B is
    the sum. A language whose rows are used up in this epoch is left out.
``rows``
    (B,) int64 indices into the dataset, for messages.
``nsentences``, ``ntokens``
    B, and the number of real tokens in all views: what fairseq's meters ask for.

and, for encoders that take padded rows,

``views``
    a list of V dicts, one for each view in the order of the corpora that were asked for (S_trn, T_trn_MT in training;
    T_val, S_val_MT in validation). Each holds ``input_ids``, ``attention_mask`` and, for encoders that know segments,
    ``token_type_ids``: (B, L) int64, padded on the right to the longest of that view.

or, for encoders that take rows end to end,

``parts``
    a list of dicts, one for each encoder pass; together they hold all G groups of the batch, in order:

    ``layout``
        the rows of all views of these groups, see :func:`fairseq_musc.packing.packed`.
    ``slots``
        (W, G, N) int64: which row of the encoder holds which view of which row of a group; N is the size of the largest
        group, and what is behind the end of a smaller one is any row. W is 2 V in training (V plain views, then the
        same mixed) and V in validation.
    ``sizes``
        (G,) int64: the number of rows of each group.
    ``labels``
        (G, N) int64 classes; 0 behind the end of a group.
    ``first_group``
        the place of the first of these groups in ``groups``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import FairseqDataset
from torch import Tensor

from fairseq_musc.data.databin import BinarizedCorpus, TokenRows
from fairseq_musc.errors import InputError
from fairseq_musc.packing import packed


@dataclass(frozen=True)
class LanguageGroup:
    """The aligned views of one language: corpora with the same ids in the same order."""

    language: str
    views: Sequence[BinarizedCorpus]

    def __len__(self) -> int:
        return len(self.views[0])


class Chosen(NamedTuple):
    """The rows of one group in a batch."""

    group: int
    rows: np.ndarray
    """(n,) numbers of rows in the group."""


class AlignedPairs(FairseqDataset):
    """Rows of several languages, each in several aligned views.

    Row i of group g has index ``offsets[g] + i``. A batch takes up to ``batch_size`` rows of every language, as the
    released code does: one loader a language, stepped together, shorter ones simply end. With ``shuffle`` every
    language is permuted on its own and anew in every epoch, so that MixUp partners and contrastive negatives change.

    An item of the dataset is its index alone: :meth:`collater` reads all rows of a batch at once.

    Args:
        groups: one for each language.
        pad: the id of the padding token.
        token_types: whether batches say which segment a token belongs to.
        shuffle: permute by (seed, epoch, group); otherwise rows come by length, which spares padding.
        seed: of the permutation.
        packed: make batches for encoders that take rows end to end; with mixed rows if rows are shuffled (training).
        shared_source: the first view is one corpus of the same rows for all groups: permute them all alike, so that a
            batch holds its rows once.
        groups_at_once: how many groups one encoder pass takes at most, with ``packed``; None: all.
    """

    def __init__(
        self,
        groups: Sequence[LanguageGroup],
        pad: int,
        token_types: bool,
        shuffle: bool,
        seed: int,
        packed: bool = False,
        shared_source: bool = False,
        groups_at_once: int | None = None,
    ):
        super().__init__()
        self.groups = list(groups)
        self.pad = pad
        self.token_types = token_types
        self.shuffle = shuffle
        self.seed = seed
        self.packed = packed
        self.shared_source = shared_source
        self.groups_at_once = groups_at_once or max(1, len(self.groups))
        self.epoch = 1
        self.offsets = np.cumsum([0, *(len(group) for group in self.groups)])
        self.lengths = [
            np.max([np.asarray(view.sizes) for view in group.views], axis=0) if len(group) else np.zeros(0, dtype=int)
            for group in self.groups
        ]

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """No: fairseq would freeze the batches of the first epoch and shuffle only their order."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Called by fairseq before it asks for the batches of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def group_of(self, index: int) -> int:
        """The group that a row belongs to."""
        return int(np.searchsorted(self.offsets, index, side="right")) - 1

    def row_name(self, index: int) -> str:
        """A row as a person would look it up, e.g. ``de:1042``."""
        g = self.group_of(index)
        return f"{self.groups[g].language}:{self.groups[g].views[0].ids[index - self.offsets[g]]}"

    def __getitem__(self, index: int) -> int:
        return int(index)

    def num_tokens(self, index: int) -> int:
        """The longest view of a row, in tokens."""
        g = self.group_of(index)
        return int(self.lengths[g][index - self.offsets[g]])

    def size(self, index: int) -> int:
        """The same; fairseq asks for it under both names."""
        return self.num_tokens(index)

    def ordered_indices(self) -> np.ndarray:
        """All rows, language after language, each in the order of this epoch."""
        pieces = []
        for g, lengths in enumerate(self.lengths):
            if self.shuffle:
                permutation = 0 if self.shared_source else g
                order = np.random.RandomState([self.seed, self.epoch, permutation]).permutation(len(lengths))
            else:
                order = np.argsort(lengths, kind="stable")
            pieces.append(self.offsets[g] + order)
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=int)

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        """Keeps every row: rows were cut to the encoder's length when they were binarized."""
        return indices, []

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Batches of up to ``max_sentences`` rows of every language; every row is in exactly one.

        ``required_batch_size_multiple`` is not followed: fairseq's own batching drops what does not fill it.

        Raises:
            InputError: ``max_tokens`` is asked for, or no batch size.
        """
        if max_tokens is not None:
            raise InputError(
                f"dataset.max_tokens is {max_tokens}: a batch here is so many pairs of every language; "
                "set dataset.batch_size (32 in the paper) and leave max_tokens null"
            )
        if not max_sentences or max_sentences < 1:
            raise InputError(f"dataset.batch_size is {max_sentences}; it is at least 1 (32 in the paper)")
        per_group = []
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            rows = indices[(indices >= start) & (indices < end)]
            per_group.append([rows[i : i + max_sentences] for i in range(0, len(rows), max_sentences)])
        nothing = np.zeros(0, dtype=int)
        batches = [np.concatenate(parts) for parts in zip_longest(*per_group, fillvalue=nothing)]
        counted = sum(map(len, batches))
        if counted != len(indices) or counted != len(self):
            raise RuntimeError(f"{len(self)} rows went into batches and {counted} came out")
        return batches

    def collater(self, samples: Sequence[int]) -> dict[str, Any]:
        """The batch described at the head of this file; nothing for no rows (fairseq's dummy batch).

        Args:
            samples: indices of rows, language by language.
        """
        if not len(samples):
            return {}
        rows = np.asarray(samples, dtype=np.int64)
        group_of = np.searchsorted(self.offsets, rows, side="right") - 1  # (B,)
        begins = [0, *(np.flatnonzero(np.diff(group_of)) + 1)]
        chosen = [
            Chosen(g := int(group_of[begin]), chunk - self.offsets[g])
            for begin, chunk in zip(begins, np.split(rows, begins[1:]), strict=True)
        ]
        groups = [(chunk.group, len(chunk.rows)) for chunk in chosen]
        if len({g for g, _ in groups}) != len(groups):
            raise RuntimeError(f"the rows of a batch do not lie language by language: {groups}")
        batch = {
            "labels": torch.from_numpy(np.concatenate([self._labels(chunk) for chunk in chosen])),
            "groups": groups,
            "rows": torch.from_numpy(rows),
            "nsentences": len(rows),
        }
        if self.packed:
            pieces = range(0, len(chosen), self.groups_at_once)
            parts = [self._part(k, chosen[k : k + self.groups_at_once]) for k in pieces]
            return {"parts": parts, "ntokens": sum(part["layout"]["plain_tokens"] for part in parts), **batch}
        views = []
        for v in range(len(self.groups[groups[0][0]].views)):
            taken = [self._take(chunk, v) for chunk in chosen]
            views.append(padded(TokenRows(*map(np.concatenate, zip(*taken, strict=True))), self.pad))
        ntokens = int(sum(view["attention_mask"].sum() for view in views))
        if not self.token_types:
            for view in views:
                del view["token_type_ids"]
        return {"views": views, "ntokens": ntokens, **batch}

    def _take(self, chunk: Chosen, v: int) -> TokenRows:
        return self.groups[chunk.group].views[v].take(chunk.rows)

    def _labels(self, chunk: Chosen) -> np.ndarray:
        return self.groups[chunk.group].views[0].labels[chunk.rows].astype(np.int64)

    def _part(self, first_group: int, chosen: Sequence[Chosen]) -> dict[str, Any]:
        """What one encoder pass takes: the rows of some groups."""
        V, G = len(self.groups[chosen[0].group].views), len(chosen)
        sizes = [len(chunk.rows) for chunk in chosen]
        blocks: list[TokenRows] = []
        alphas: list[int] = []
        slots = np.zeros((V, G, max(sizes)), dtype=np.int64)
        start = 0
        for v in range(V):
            for k, chunk in enumerate(chosen):
                if self.shared_source and v == 0 and k > 0:
                    if not np.array_equal(chunk.rows, chosen[0].rows):
                        raise RuntimeError("the languages of a batch do not share the rows of their source")
                    slots[0, k] = slots[0, 0]
                    continue
                blocks.append(self._take(chunk, v))
                alphas.append(v * G + k)
                slots[v, k] = start
                slots[v, k, : sizes[k]] += np.arange(sizes[k])
                start += sizes[k]
        layout = packed(blocks, self.pad, alphas if self.shuffle else None)
        if not self.token_types:
            layout["token_type_ids"].zero_()
        if self.shuffle:
            slots = np.concatenate([slots, slots + layout["plain_rows"]])
        labels = np.zeros((G, max(sizes)), dtype=np.int64)
        for k, chunk in enumerate(chosen):
            labels[k, : sizes[k]] = self._labels(chunk)
        return {
            "layout": layout,
            "slots": torch.from_numpy(slots),
            "sizes": torch.tensor(sizes),
            "labels": torch.from_numpy(labels),
            "first_group": first_group,
        }


def padded(rows: TokenRows, pad: int) -> dict[str, Tensor]:
    """Rows side by side.

    Args:
        rows: B rows.
        pad: the id that fills up.

    Returns:
        ``input_ids``, ``attention_mask``, ``token_type_ids``: (B, L) int64, L the longest row.
    """
    position = np.arange(rows.lengths.max())  # (L,)
    real = position < rows.lengths[:, None]  # (B, L)
    input_ids = np.full(real.shape, pad, dtype=np.int64)
    input_ids[real] = rows.ids
    segments = real & (position >= rows.first_lengths[:, None])
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(real.astype(np.int64)),
        "token_type_ids": torch.from_numpy(segments.astype(np.int64)),
    }


def joined_views(views: Sequence[dict[str, Tensor]], pad: int) -> dict[str, Tensor]:
    """V views of B rows one below the other, for one encoder pass: (V B, L) with the longest L of all."""
    L = max(view["input_ids"].shape[1] for view in views)
    fill = {"input_ids": pad, "attention_mask": 0, "token_type_ids": 0}
    return {
        key: torch.cat(
            [torch.nn.functional.pad(view[key], (0, L - view[key].shape[1]), value=fill[key]) for view in views]
        )
        for key in views[0]
    }
