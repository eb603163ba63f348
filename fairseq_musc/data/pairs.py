"""From data-bin to batches: aligned views of the same rows, for every language at once.

The **batch** is the second of the three contracts of this package. :meth:`AlignedPairs.collater` makes it, the
criterion takes it:

``views``
    a list of V dicts, one for each view in the order of the corpora that were asked for (S_trn, T_trn_MT in training;
    T_val, S_val_MT in validation). Each holds ``input_ids``, ``attention_mask`` and, for encoders that know segments,
    ``token_type_ids``: (B, L) int64, padded on the right to the longest of that view.
``labels``
    (B,) int64 classes.
``groups``
    a list of (language index, rows) in the order in which the rows lie: rows of one language are contiguous, and B is
    the sum. A language whose rows are used up in this epoch is left out.
``rows``
    (B,) int64 indices into the dataset, for messages.
``nsentences``, ``ntokens``
    B, and the number of real tokens in all views: what fairseq's meters ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset
from torch import Tensor

from fairseq_musc.data.databin import BinarizedCorpus
from fairseq_musc.errors import InputError


@dataclass(frozen=True)
class LanguageGroup:
    """The aligned views of one language: corpora with the same ids in the same order."""

    language: str
    views: Sequence[BinarizedCorpus]

    def __len__(self) -> int:
        return len(self.views[0])


class AlignedPairs(FairseqDataset):
    """Rows of several languages, each in several aligned views.

    Row i of group g has index ``offsets[g] + i``. A batch takes up to ``batch_size`` rows of every language, as the
    released code does: one loader a language, stepped together, shorter ones simply end. With ``shuffle`` every
    language is permuted on its own and anew in every epoch, so that MixUp partners and contrastive negatives change.

    Args:
        groups: one for each language.
        pad: the id of the padding token.
        token_types: whether batches say which segment a token belongs to.
        shuffle: permute by (seed, epoch, group); otherwise rows come by length, which spares padding.
        seed: of the permutation.
    """

    def __init__(self, groups: Sequence[LanguageGroup], pad: int, token_types: bool, shuffle: bool, seed: int):
        super().__init__()
        self.groups = list(groups)
        self.pad = pad
        self.token_types = token_types
        self.shuffle = shuffle
        self.seed = seed
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

    def __getitem__(self, index: int) -> dict[str, Any]:
        g = self.group_of(index)
        i = int(index - self.offsets[g])
        views = self.groups[g].views
        return {
            "row": int(index),
            "group": g,
            "label": int(views[0].labels[i]),
            "tokens": [view.tokens[i] for view in views],
            "first_lengths": [int(view.first_lengths[i]) for view in views],
        }

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
                order = np.random.RandomState([self.seed, self.epoch, g]).permutation(len(lengths))
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

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch described at the head of this file; nothing for no rows (fairseq's dummy batch)."""
        if not samples:
            return {}
        groups: list[tuple[int, int]] = []
        for sample in samples:
            if groups and groups[-1][0] == sample["group"]:
                groups[-1] = (sample["group"], groups[-1][1] + 1)
            else:
                groups.append((sample["group"], 1))
        if len({g for g, _ in groups}) != len(groups):
            raise RuntimeError(f"the rows of a batch do not lie language by language: {groups}")
        count = len(samples[0]["tokens"])
        views = [
            pad_view([s["tokens"][v] for s in samples], [s["first_lengths"][v] for s in samples], self.pad)
            for v in range(count)
        ]
        ntokens = int(sum(view["attention_mask"].sum() for view in views))
        if not self.token_types:
            for view in views:
                del view["token_type_ids"]
        return {
            "views": views,
            "labels": torch.tensor([sample["label"] for sample in samples]),
            "groups": groups,
            "rows": torch.tensor([sample["row"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": ntokens,
        }


def pad_view(tokens: Sequence[Tensor], first_lengths: Sequence[int], pad: int) -> dict[str, Tensor]:
    """Rows of one view side by side.

    Args:
        tokens: B tensors of token ids.
        first_lengths: how many tokens of each belong to the first segment.
        pad: the id that fills up.

    Returns:
        ``input_ids``, ``attention_mask``, ``token_type_ids``: (B, L) int64, L the longest row.
    """
    lengths = torch.tensor([len(row) for row in tokens])  # (B,)
    first = torch.tensor(list(first_lengths))  # (B,)
    input_ids = torch.nn.utils.rnn.pad_sequence(list(tokens), batch_first=True, padding_value=pad)  # (B, L)
    position = torch.arange(input_ids.shape[1])  # (L,)
    attention_mask = position < lengths[:, None]  # (B, L)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask.long(),
        "token_type_ids": (attention_mask & (position >= first[:, None])).long(),
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
