"""Self-attention over rows that lie end to end, each row on its own; with dropout of the probabilities.

There are three ways to compute the same. ``flash`` (half precision) and ``efficient`` (float32, too) are kernels of
torch for CUDA that take rows of any length; they are called by the names under which torch's own nested tensors call
them, because ``torch.nn.attention.varlen`` knows no dropout. ``padded`` lays the rows side by side, and works
everywhere. Before a kernel is used on a device it is held to ``padded`` there, once.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Spans:
    """Where rows begin and end among tokens that lie end to end."""

    cu_seqlens: Tensor
    """(R + 1,) int32: where each of R rows begins, and the end of the last."""
    longest: int
    """The tokens of the longest row."""
    tokens: int
    """The tokens of all rows."""

    @classmethod
    def of_ones(cls, R: int, device: torch.device) -> Spans:
        """Those of R rows of one token each."""
        return cls(torch.arange(R + 1, dtype=torch.int32, device=device), 1, R)

    @functools.cached_property
    def places(self) -> Tensor:
        """Where each token comes to lie when rows are laid side by side: (tokens,) int64 into R times the longest."""
        starts = self.cu_seqlens[:-1].long()
        rows = torch.arange(len(starts), device=starts.device)
        row_of = rows.repeat_interleave(self.cu_seqlens.diff(), output_size=self.tokens)
        return row_of * self.longest + torch.arange(self.tokens, device=starts.device) - starts[row_of]


Attention = Callable[[Tensor, Tensor, Tensor, Spans, Spans, float], Tensor]
"""(q, k, v, spans of the queries, spans of the keys, dropout) -> the mixed values, as q.

q is (queries, heads, width) and k and v are (tokens, heads, width), of R rows each; dropout is the probability with
which an attention weight is set to zero while the others grow to make up for it.
"""


def padded(q: Tensor, k: Tensor, v: Tensor, of_q: Spans, of_k: Spans, dropout: float) -> Tensor:
    """Attention over rows laid side by side: the reference, for every device and type."""
    R, heads, width = len(of_k.cu_seqlens) - 1, *q.shape[1:]

    def side_by_side(x: Tensor, spans: Spans) -> Tensor:
        rows = x.new_zeros(R * spans.longest, heads, width).index_copy(0, spans.places, x)
        return rows.view(R, spans.longest, heads, width).transpose(1, 2)

    real = torch.zeros(R * of_k.longest, dtype=torch.bool, device=q.device).index_fill_(0, of_k.places, True)
    mixed = F.scaled_dot_product_attention(
        side_by_side(q, of_q),
        side_by_side(k, of_k),
        side_by_side(v, of_k),
        attn_mask=real.view(R, 1, 1, of_k.longest),
        dropout_p=dropout,
    )  # (R, heads, longest, width)
    return mixed.transpose(1, 2).reshape(R * of_q.longest, heads, width).index_select(0, of_q.places)


def flash(q: Tensor, k: Tensor, v: Tensor, of_q: Spans, of_k: Spans, dropout: float) -> Tensor:
    """Flash attention for rows of any length; half precision on CUDA."""
    spans = (of_q.cu_seqlens, of_k.cu_seqlens, of_q.longest, of_k.longest)
    return torch.ops.aten._flash_attention_forward(q, k, v, *spans, dropout, False, False)[0]


def efficient(q: Tensor, k: Tensor, v: Tensor, of_q: Spans, of_k: Spans, dropout: float) -> Tensor:
    """Memory-efficient attention for rows of any length; half and single precision on CUDA."""
    spans = (of_q.cu_seqlens, of_k.cu_seqlens, of_q.longest, of_k.longest)
    return torch.ops.aten._efficient_attention_forward(
        q[None], k[None], v[None], None, *spans, dropout, 0, compute_log_sumexp=True
    )[0][0]


KERNELS: dict[str, Attention] = {"flash": flash, "efficient": efficient}

#: By how much a kernel may differ from ``padded``, relative to the norm of the result: a few roundings of the type.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}


@functools.cache
def attention_for(device: torch.device, dtype: torch.dtype, heads: int, width: int) -> Attention:
    """The first way that gives right values, gradients and dropout on a device.

    Args:
        device: where to compute.
        dtype: of q, k and v.
        heads: the number of attention heads.
        width: of one head.
    """
    if device.type != "cuda":
        return padded
    for name, kernel in KERNELS.items():
        if name == "flash" and dtype == torch.float32:
            continue
        try:
            with torch.random.fork_rng(devices=[device]), torch.inference_mode(False), torch.enable_grad():
                check(kernel, device, dtype, heads, width)
        except (RuntimeError, TypeError, NotImplementedError, ArithmeticError) as error:
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            logger.warning("attention: %s cannot be used for %s on %s: %s", name, dtype, device, reason)
        else:
            logger.info("attention: %s, over rows of any length, %s on %s", name, dtype, device)
            return kernel
    logger.warning("attention: padded, for want of a kernel for rows of any length, %s on %s", dtype, device)
    return padded


def check(kernel: Attention, device: torch.device, dtype: torch.dtype, heads: int, width: int) -> None:
    """Holds a kernel to :func:`padded`: values and gradients without dropout, and the mean under dropout.

    Raises:
        ArithmeticError: they differ by more than rounding.
        RuntimeError, TypeError, NotImplementedError: the kernel is not there, or takes other arguments.
    """
    lengths = torch.tensor([7, 128, 1, 64, 33, 100])
    tokens, longest = int(lengths.sum()), int(lengths.max())
    cu_seqlens = F.pad(lengths.cumsum(0), (1, 0)).int().to(device)
    of_k = Spans(cu_seqlens, longest, tokens)
    for of_q in (of_k, Spans.of_ones(len(lengths), device)):
        q, k, v = (
            torch.randn(count, heads, width, device=device, dtype=dtype, requires_grad=True)
            for count in (of_q.tokens, tokens, tokens)
        )
        upstream = torch.randn_like(q)
        results = []
        for attention in (kernel, padded):
            value = attention(q, k, v, of_q, of_k, 0.0)
            results.append([value, *torch.autograd.grad(value, (q, k, v), upstream)])
        for got, expected in zip(*results, strict=True):
            error = float((got.float() - expected.float()).norm() / expected.float().norm())
            if not error <= TOLERANCES[dtype]:
                raise ArithmeticError(f"it is off by {error:.1e}")
        if of_q is of_k:  # enough queries for a mean
            dropped = kernel(torch.zeros_like(q), k, torch.ones_like(v), of_q, of_k, 0.5).float()
            if not 0.9 < float(dropped.mean()) < 1.1 or float(dropped.std()) < 1e-2:
                raise ArithmeticError(f"dropout takes the mean from 1 to {float(dropped.mean()):.2f}")
