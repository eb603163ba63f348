"""Self-attention over rows that lie end to end, each row on its own; with dropout of the probabilities.

There are four ways to compute the same. ``triton`` is our own for short rows. ``flash`` (both in half precision) and
``efficient`` (float32, too) are kernels of torch for CUDA that take rows of any length; they are called by the names
under which torch's own nested tensors call them, because ``torch.nn.attention.varlen`` knows no dropout. ``padded``
lays the rows side by side, and works everywhere. Before one of the others is used on a device it is held to ``padded``
there, once.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_musc.errors import InputError

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


class Attention(NamedTuple):
    """One way to attend; dropout is the probability with which a weight is set to zero while the others grow."""

    of_whole: Callable[..., Tensor]
    """(qkv, spans, dropout, seeds, bias) -> the mixed values (tokens, heads, width), for queries, keys and values
    (tokens, 3, heads, width) of the same rows."""
    of_parts: Callable[..., Tensor]
    """(q, kv, spans of the queries, spans of the keys, dropout, seeds, bias) -> (queries, heads, width), for some
    queries (queries, heads, width) of rows whose keys and values are (tokens, 2, heads, width).

    A ``bias`` of ``qkv`` or ``kv``, as many numbers as a token has, is one that has been added already: it is given for
    its gradient alone, which a kernel can sum where it makes what it is the sum of."""
    seeded: bool = False
    """Whether dropout follows from ``seeds``, (2,) int32 on the device, or None to draw them; the others leave them
    alone, and draw from torch's generator."""


class Biased(torch.autograd.Function):
    """Takes x (tokens, ...) as it is, with a bias that has been added to it, which gets the gradient of one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None) -> Tensor:
        """``x``.

        Args:
            ctx: autograd's.
            x: (tokens, ...).
            bias: as many numbers as a token of ``x`` has, or None.
        """
        ctx.shape = None if bias is None else bias.shape
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d_x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The gradients of x and of the bias."""
        return d_x, None if ctx.shape is None else d_x.sum(0).view(ctx.shape)


def of_three(attend: Callable[[Tensor, Tensor, Tensor, Spans, Spans, float], Tensor]) -> Attention:
    """The way of a function that takes q, k and v, (tokens, heads, width) each."""

    def of_whole(
        qkv: Tensor, spans: Spans, dropout: float, seeds: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        q, k, v = Biased.apply(qkv, bias).unbind(1)
        return attend(q, k, v, spans, spans, dropout)

    def of_parts(
        q: Tensor,
        kv: Tensor,
        of_q: Spans,
        of_k: Spans,
        dropout: float,
        seeds: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        k, v = Biased.apply(kv, bias).unbind(1)
        return attend(q, k, v, of_q, of_k, dropout)

    return Attention(of_whole, of_parts)


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


LARGEST = 2**31
"""Our kernels count elements in 32 bits: a tensor of so many is for others."""


def triton() -> Attention:
    """Our kernels for short rows; half precision on CUDA. More tokens than they can count go to flash attention.

    Raises:
        ImportError: Triton is not installed.
    """
    from fairseq_musc.models.triton_attention import ShortRows

    otherwise = of_three(flash)

    def of_whole(
        qkv: Tensor, spans: Spans, dropout: float, seeds: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        if qkv.numel() >= LARGEST:
            return otherwise.of_whole(qkv, spans, dropout, None, bias)
        return ShortRows.apply(None, qkv, spans, spans, dropout, seeds, bias)

    def of_parts(
        q: Tensor,
        kv: Tensor,
        of_q: Spans,
        of_k: Spans,
        dropout: float,
        seeds: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        if kv.numel() >= LARGEST:
            return otherwise.of_parts(q, kv, of_q, of_k, dropout, None, bias)
        return ShortRows.apply(q, kv, of_q, of_k, dropout, seeds, bias)

    return Attention(of_whole, of_parts, seeded=True)


PADDED = of_three(padded)

#: In the order in which they are tried.
KERNELS: dict[str, Callable[[], Attention]] = {
    "triton": triton,
    "flash": lambda: of_three(flash),
    "efficient": lambda: of_three(efficient),
}
FOR_SINGLE_PRECISION = ("efficient",)
ATTENTIONS = (*KERNELS, "padded")

#: By how much a kernel may differ from ``padded``, relative to the norm of the result: a few roundings of the type.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}


@functools.cache
def attention_for(
    device: torch.device, dtype: torch.dtype, heads: int, width: int, wanted: str | None = None
) -> Attention:
    """The first way that gives right values, gradients and dropout on a device.

    Args:
        device: where to compute.
        dtype: of q, k and v.
        heads: the number of attention heads.
        width: of one head.
        wanted: one of :data:`ATTENTIONS`, and no other; None chooses.

    Raises:
        InputError: the way that is wanted cannot be used there.
    """
    if wanted == "padded" or (wanted is None and device.type != "cuda"):
        return PADDED
    for name in KERNELS if wanted is None else [wanted]:
        if dtype == torch.float32 and name not in FOR_SINGLE_PRECISION and wanted is None:
            continue
        try:
            attention = KERNELS[name]()
            with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode(False):
                check(attention, device, dtype, heads, width)
        except Exception as error:  # whatever it is, there are other ways
            reason = f"{name} cannot be used for {dtype} on {device}: {(str(error) or repr(error)).splitlines()[0]}"
            if wanted is not None:
                raise InputError(f"model.attention={reason}; null takes one that can") from error
            logger.warning("attention: %s", reason)
        else:
            logger.info("attention: %s, over rows of any length, %s on %s", name, dtype, device)
            return attention
    logger.warning("attention: padded, for want of a kernel for rows of any length, %s on %s", dtype, device)
    return PADDED


ROWS_OF_A_CHECK = ((7, 128, 1, 64, 33, 100), (150, 9))
"""Tokens of rows: those that our kernels take whole, and with one that is longer."""


@torch.enable_grad()
def check(attention: Attention, device: torch.device, dtype: torch.dtype, heads: int, width: int) -> None:
    """Holds a way to attend to :func:`padded`: values and gradients without dropout, then dropout itself.

    Raises:
        ArithmeticError: they differ by more than rounding.
        Exception: whatever a kernel raises that is not there, or takes other arguments.
    """
    for lengths in ROWS_OF_A_CHECK:
        check_rows(attention, torch.tensor(lengths), device, dtype, heads, width)


def check_rows(
    attention: Attention, lengths: Tensor, device: torch.device, dtype: torch.dtype, heads: int, width: int
) -> None:
    """The same with rows of these lengths, (R,) int64."""
    tokens, longest = int(lengths.sum()), int(lengths.max())
    of_k = Spans(F.pad(lengths.cumsum(0), (1, 0)).int().to(device), longest, tokens)
    of_one = Spans.of_ones(len(lengths), device)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, heads, width, device=device, dtype=dtype, requires_grad=True)

    qkv, q, kv = random(tokens, 3), random(len(lengths)), random(tokens, 2)
    bias_of_whole, bias_of_few = random(3), random(2)
    whole, few = random(tokens).detach(), random(len(lengths)).detach()
    results = []
    for way in (attention, PADDED):
        value = way.of_whole(qkv, of_k, 0.0, None, bias_of_whole)
        of_few = way.of_parts(q, kv, of_one, of_k, 0.0, None, bias_of_few)
        gradients = (
            *torch.autograd.grad(value, (qkv, bias_of_whole), whole),
            *torch.autograd.grad(of_few, (q, kv, bias_of_few), few),
        )
        results.append([value.detach(), of_few.detach(), *gradients])
    for got, expected in zip(*results, strict=True):
        error = float((got.float() - expected.float()).norm() / expected.float().norm())
        if not error <= TOLERANCES[dtype]:
            raise ArithmeticError(f"it is off by {error:.1e}")

    def dropped(v: Tensor) -> tuple[Tensor, Tensor]:  # with the same draws each time
        torch.manual_seed(1)
        alike = torch.stack([torch.zeros_like(v), torch.zeros_like(v), v], 1).requires_grad_()
        return attention.of_whole(alike, of_k, 0.5), alike

    ones = dropped(torch.ones_like(whole))[0].detach().float()
    if not 0.9 < float(ones.mean()) < 1.1 or float(ones.std()) < 1e-2:
        raise ArithmeticError(f"dropout takes the mean from 1 to {float(ones.mean()):.2f}")
    # What is dropped forward is dropped back: the values enter linearly.
    v = random(tokens).detach()
    value, alike = dropped(v)
    (gradient,) = torch.autograd.grad(value, alike, whole)
    forward, back = value.detach().float() * whole.float(), gradient[:, 2].float() * v.float()
    if not float((forward.sum() - back.sum()).abs() / forward.norm()) <= 5 * TOLERANCES[dtype]:
        raise ArithmeticError("its gradient drops other weights than its values")
