"""BERT over rows that lie end to end: no padding is computed, and of the last layer only what [CLS] needs.

These are functions over the parameters of Hugging Face's own BertModel (and its like), which keeps them: state dict,
checkpoints and export do not change. What they compute is what the model itself computes of padded rows, with
:class:`fairseq_musc.mixing.Mixing` at the same place; dropout is drawn from the same distribution.

The parameters can be kept in float32 and rounded to half precision once a step, layer by layer
(:mod:`fairseq_musc.models.rounding`); their gradients come back in float32.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_musc.errors import InputError
from fairseq_musc.models.attention import LARGEST, TOLERANCES, Attention, Spans, attention_for
from fairseq_musc.models.graphs import LayerGraphs, filled_up
from fairseq_musc.models.rounding import RoundedTogether
from fairseq_musc.models.seeds import draw_seeds
from fairseq_musc.packing import PackedRows

logger = logging.getLogger(__name__)

FUSED = ("triton", "compile", "none")
"""How what follows the products of a layer is fused: in kernels of our own, by torch.compile, or not at all."""

BERT_LIKE = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")
"""The encoders of transformers that this file knows: the same layers under the same names."""


def why_not_packed(encoder: nn.Module) -> str | None:
    """Why rows cannot be given to an encoder end to end; None if they can."""
    config: Any = encoder.config
    if type(encoder).__name__ not in BERT_LIKE:
        return f"a {type(encoder).__name__} is none of {', '.join(BERT_LIKE)}"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "it is a decoder"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"its positions are {config.position_embedding_type}"
    return None


class Weights(NamedTuple):
    """The parameters of one layer, in the type in which it is computed; d is the width of the encoder."""

    qkv: Tensor
    """(3 d, d), those of queries, keys and values one below the other."""
    qkv_bias: Tensor
    out: Tensor
    """(d, d), behind attention."""
    out_bias: Tensor
    norm1: Tensor
    norm1_bias: Tensor
    up: Tensor
    """(intermediate size, d)."""
    up_bias: Tensor
    down: Tensor
    """(d, intermediate size)."""
    down_bias: Tensor
    norm2: Tensor
    norm2_bias: Tensor


def parameters_of(layer: Any) -> list[Tensor]:
    """The parameters of a Hugging Face layer, those of queries, keys and values first and all weights before biases."""
    attention, out, up, down = layer.attention.self, layer.attention.output, layer.intermediate.dense, layer.output
    thirds = (attention.query, attention.key, attention.value)
    return [
        *(third.weight for third in thirds),
        *(third.bias for third in thirds),
        *(out.dense.weight, out.dense.bias, out.LayerNorm.weight, out.LayerNorm.bias),
        *(up.weight, up.bias),
        *(down.dense.weight, down.dense.bias, down.LayerNorm.weight, down.LayerNorm.bias),
    ]


def weights_of(parameters: Sequence[Tensor], dtype: torch.dtype) -> Weights:
    """What :func:`parameters_of` gives, rounded if they are of another type."""
    if any(parameter.dtype != dtype for parameter in parameters):
        parameters = RoundedTogether.apply(dtype, *parameters)
    return Weights(torch.cat(list(parameters[:3])), torch.cat(list(parameters[3:6])), *parameters[6:])


class ProductBeside(torch.autograd.Function):
    """``F.linear(x, weight, bias)``, and x itself for what else becomes of it: the product adds up their gradients.

    Autograd would add them in a pass of its own over the tokens. The gradient of the bias is left to what makes the
    gradient that it is the sum of.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The product (n, k), and ``x``.

        Args:
            ctx: autograd's.
            x: (n, d).
            weight: (k, d).
            bias: (k,), which gets no gradient here.
        """
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)
        return F.linear(x, weight, bias), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d_product: Tensor, d_x: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """The gradients of ``x`` and ``weight``; that of what else became of ``x`` is overwritten."""
        x, weight = ctx.saved_tensors
        d_weight = d_product.t() @ x if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, d_weight, None
        return d_product @ weight if d_x is None else d_x.addmm_(d_product, weight), d_weight, None


def behind_attention(
    x: Tensor,
    attended: Tensor,
    w: Weights,
    activation: Callable[[Tensor], Tensor],
    dropout: float,
    eps: float,
    seeds: Tensor | None = None,
) -> Tensor:
    """The layer from the output projection of attention on: x and ``attended`` (n, d), and (n, d) back.

    Dropout is torch's; ``seeds`` are for :func:`fused_behind_attention`.
    """
    d = (x.shape[-1],)
    projected = F.dropout(F.linear(attended, w.out, w.out_bias), dropout)
    x = F.layer_norm(x + projected, d, w.norm1, w.norm1_bias, eps)
    hidden = activation(F.linear(x, w.up, w.up_bias))
    projected = F.dropout(F.linear(hidden, w.down, w.down_bias), dropout)
    return F.layer_norm(x + projected, d, w.norm2, w.norm2_bias, eps)


@functools.cache
def compiled_behind_attention() -> Callable[..., Tensor]:
    """The same, compiled for any number of tokens; every layer uses the one that is compiled for the first."""
    return torch.compile(behind_attention, dynamic=True)


def fused_behind_attention(
    x: Tensor,
    attended: Tensor,
    w: Weights,
    activation: Callable[[Tensor], Tensor],
    dropout: float,
    eps: float,
    seeds: Tensor | None = None,
) -> Tensor:
    """The same, with dropout, residual and norm in one kernel of Triton, GELU in another; ``seeds`` are (2, 2) int32.

    The products add the biases; the gradient of each is summed by the kernel that makes what it is the sum of.

    Raises:
        ImportError: Triton is not installed.
    """
    from fairseq_musc.models.triton_gelu import GeluOfBiased
    from fairseq_musc.models.triton_norm import DropAddNorm

    first, second = (None, None) if seeds is None else seeds.unbind()
    projected = F.linear(attended, w.out, w.out_bias.detach())
    x = DropAddNorm.apply(x, projected, w.out_bias, w.norm1, w.norm1_bias, dropout, eps, first)
    if is_gelu(activation) and len(x) * len(w.up) < LARGEST:
        product, x = ProductBeside.apply(x, w.up, w.up_bias)
        hidden = GeluOfBiased.apply(product, w.up_bias)
    else:
        hidden = activation(F.linear(x, w.up, w.up_bias))
    projected = F.linear(hidden, w.down, w.down_bias.detach())
    return DropAddNorm.apply(x, projected, w.down_bias, w.norm2, w.norm2_bias, dropout, eps, second)


def is_gelu(activation: Callable[[Tensor], Tensor]) -> bool:
    """Whether an activation of transformers is torch's exact GELU."""
    return getattr(activation, "act", activation) is F.gelu


@functools.cache
def fused_is_right(device: torch.device, dtype: torch.dtype, d: int) -> bool:
    """Whether :func:`fused_behind_attention` can be used on a device, held to :func:`behind_attention` there once."""
    if device.type != "cuda":
        return False
    try:
        with torch.random.fork_rng([device]), torch.inference_mode(False):
            check_fused(fused_behind_attention, device, dtype, d)
    except Exception as error:  # whatever it is, there is another way
        logger.warning("layers: triton cannot be used for %s: %s", dtype, (str(error) or repr(error)).splitlines()[0])
        return False
    logger.info("layers: dropout, residual and norm in one kernel, %s on %s", dtype, device)
    return True


@torch.enable_grad()
def check_fused(fused: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, d: int) -> None:
    """Holds a way behind attention to :func:`behind_attention`: values and gradients, then dropout.

    Raises:
        ArithmeticError: they differ by more than rounding.
        Exception: whatever the way raises that is not there.
    """

    def random(*shape: int) -> Tensor:
        return (torch.randn(*shape, device=device) / shape[-1] ** 0.5).to(dtype).requires_grad_()

    shapes = ((3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (2 * d, d), (2 * d,), (d, 2 * d), (d,), (d,), (d,))
    w = Weights(*(random(*shape) for shape in shapes))
    x, attended, upstream = random(101, d), random(101, d), random(101, d)
    of = [x, attended, *w[2:]]
    results = []
    for way in (fused, behind_attention):
        value = way(x, attended, w, F.gelu, 0.0, 1e-5)
        results.append([value.detach(), *torch.autograd.grad(value, of, upstream)])
    for got, expected in zip(*results, strict=True):
        error = float((got.float() - expected.float()).norm() / expected.float().norm())
        if not error <= 2 * TOLERANCES[dtype]:  # of two norms
            raise ArithmeticError(f"it is off by {error:.1e}")
    # Nothing but the dropped projection can be seen where x is 0, the bias of the projection 1 and all else gone.
    zero, one = torch.zeros_like(x), torch.ones_like(w.out_bias)
    alone = w._replace(
        out_bias=one, norm1=one, norm1_bias=0 * one, down=0 * w.down, down_bias=0 * one, norm2=one, norm2_bias=0 * one
    )
    share = float((fused(zero, zero, alone, F.gelu, 0.25, 1e-5).detach() > 0).float().mean())
    if not abs(share - 0.75) < 0.03:
        raise ArithmeticError(f"dropout of 0.25 keeps {share:.2f}")


def segment_embeddings(table: nn.Embedding, ids: Tensor) -> Tensor:
    """``table(ids)``, (tokens, d), with a gradient that is a plain sum.

    That of a lookup sorts the ids and adds up piece by piece, which takes long where thousands share one of two rows.
    """
    if table.num_embeddings != 2 or table.padding_idx is not None:
        return table(ids)
    return torch.where(ids[:, None] == 0, table.weight[0], table.weight[1])


class PackedEncoder:
    """Encodes rows that lie end to end, with the parameters of a Hugging Face encoder.

    Args:
        encoder: one for which :func:`why_not_packed` knows no reason.
        mix_at: what mixed rows mix, ``embedding_output`` or ``word_embeddings``.
        dtype: the type to compute the layers in; None takes that of the parameters.
        attention: how to attend, one of :data:`fairseq_musc.models.attention.ATTENTIONS`; None chooses.
        fuse: how the rest of a layer is fused, one of :data:`FUSED`; None chooses.
        graphs: whether the layers are captured as CUDA graphs in training (:mod:`fairseq_musc.models.graphs`); None
            does where it can be done.
    """

    def __init__(
        self,
        encoder: Any,
        mix_at: str,
        dtype: torch.dtype | None = None,
        attention: str | None = None,
        fuse: str | None = None,
        graphs: bool | None = None,
    ):
        self.encoder = encoder
        self.mix_at = mix_at
        self.dtype = dtype
        self.attention = attention
        self.fuse = fuse
        self.graphs = graphs
        self.captured = LayerGraphs()

    def cls(self, rows: PackedRows) -> Tensor:
        """The last layer's output at the first token of each row, [CLS].

        Returns:
            (R, d) in the type of computation: the plain rows, then the mixed ones.
        """
        x = self.embed(rows)
        spans = Spans(rows.cu_seqlens, rows.longest, len(x))
        if not self.can_be_captured(x):
            return self.layers(x, spans, self.parameters)
        # Also where no graph is replayed: what is computed is then the same, and a run that goes on from a checkpoint
        # is the run that was not stopped, bit for bit.
        x, filled = filled_up(x, spans)
        seeds = draw_seeds(x.device, (len(self.encoder.encoder.layer), 3))
        layers = self.encoder.encoder.layer
        of_dropout = tuple((layer.attention.self.dropout.p, layer.output.dropout.p) for layer in layers)
        how = (self.encoder.training, of_dropout)
        return self.captured(self.layers, how, x, filled, self.parameters, seeds)[: len(rows.cu_seqlens) - 1]

    @property
    def parameters(self) -> list[Tensor]:
        """Those of all layers, layer after layer."""
        return [parameter for layer in self.encoder.encoder.layer for parameter in parameters_of(layer)]

    def layers(self, x: Tensor, spans: Spans, parameters: Sequence[Tensor], seeds: Tensor | None = None) -> Tensor:
        """All layers, from the embeddings (tokens, d) to the last one's output at the first token of each row, (R, d).

        Args:
            x: what :meth:`embed` gives.
            spans: where the rows lie.
            parameters: of all layers, see :attr:`parameters`.
            seeds: (layers, 3, 2) int32 on the device, of all that our own kernels drop; None lets each draw its own.
        """
        of_cls = Spans.of_ones(len(spans.cu_seqlens) - 1, x.device)
        first = spans.cu_seqlens[:-1].long()
        layers = self.encoder.encoder.layer
        each = len(parameters) // len(layers)
        weights = [weights_of(parameters[i * each :][:each], x.dtype) for i in range(len(layers))]
        seeds_of = [None] * len(layers) if seeds is None else seeds.unbind()
        for layer, w, of_layer in zip(layers[:-1], weights[:-1], seeds_of[:-1], strict=True):
            x = self.layer(layer, w, x, x, spans, spans, of_layer)
        return self.layer(layers[-1], weights[-1], x.index_select(0, first), x, of_cls, spans, seeds_of[-1])

    def can_be_captured(self, x: Tensor) -> bool:
        """Whether the layers can be captured as a CUDA graph for embeddings (tokens, d), and are to be.

        Raises:
            InputError: they are to be, in training on a GPU, and cannot.
        """
        if self.graphs is False or not x.is_cuda or not torch.is_grad_enabled():
            return False
        heads = self.encoder.config.num_attention_heads
        seeded = attention_for(x.device, x.dtype, heads, x.shape[-1] // heads, self.attention).seeded
        fused = self.way_behind_attention(x) is fused_behind_attention
        # What fills up adds a sixteenth at most.
        if seeded and fused and 3 * x.numel() * 17 // 16 < LARGEST:
            return True
        if self.graphs:
            raise InputError(
                "model.graphs=true needs the kernels that model.attention=triton and model.fuse=triton name, which "
                f"cannot be used for {x.dtype} on {x.device} or were not asked for; null takes graphs where it can"
            )
        return False

    def embed(self, rows: PackedRows) -> Tensor:
        """The embeddings of all tokens of the plain and the mixed rows, (tokens, d).

        A word is looked up once for its plain and its mixed row; each has a dropout of its own. Partners in a mixed
        pair share theirs, as in the released code, where a mixed row is mixed of two rows behind their dropout.
        """
        parts = self.encoder.embeddings
        P, mixed = rows.plain_tokens, rows.mixed
        words = parts.word_embeddings(rows.input_ids)  # (P + L, d)
        segments = segment_embeddings(parts.token_type_embeddings, rows.token_type_ids)
        places = parts.position_embeddings(self.position_ids(rows)) + segments
        table = parts.LayerNorm(words + places)
        dtype = self.dtype or table.dtype
        plain = parts.dropout(table[:P].to(dtype))
        if mixed is None:
            return plain
        if self.mix_at == "embedding_output":
            return torch.cat([plain, mixed.mix(parts.dropout(table.to(dtype).index_select(0, mixed.source)))])
        mixed_words = mixed.mix(words.index_select(0, mixed.source))
        normed = parts.LayerNorm(mixed_words + places.index_select(0, mixed.source))
        return torch.cat([plain, parts.dropout(normed.to(dtype))])

    def position_ids(self, rows: PackedRows) -> Tensor:
        """The rows of the position table; RoBERTa counts from behind its padding id, and does not count padding."""
        if type(self.encoder).__name__ == "BertModel":
            return rows.positions
        padding = self.encoder.embeddings.padding_idx
        P = rows.plain_tokens
        return torch.cat([rows.positions[:P] + padding + 1, torch.full_like(rows.positions[P:], padding)])

    def layer(
        self,
        layer: Any,
        w: Weights,
        x: Tensor,
        all_x: Tensor,
        of_x: Spans,
        of_all: Spans,
        seeds: Tensor | None = None,
    ) -> Tensor:
        """One layer, for those tokens of rows that are asked for.

        Args:
            layer: Hugging Face's, for what it is beside its parameters.
            w: its parameters.
            x: (n, d), the tokens that are asked for.
            all_x: (tokens, d), all of them; the same tensor as ``x`` if all are asked for.
            of_x: where the rows lie in ``x``.
            of_all: where the rows lie in ``all_x``.
            seeds: (3, 2), of what our own kernels drop: weights, and behind the two projections.
        """
        d = x.shape[-1]
        heads = self.encoder.config.num_attention_heads
        training = self.encoder.training
        of_weights = layer.attention.self.dropout.p if training else 0.0
        for_weights, for_projections = (None, None) if seeds is None else (seeds[0], seeds[1:])
        behind = self.way_behind_attention(x)
        # Products add the biases; their gradients are left to what makes the gradients that they are the sums of.
        if x is all_x:
            if behind is fused_behind_attention:
                product, x = ProductBeside.apply(x, w.qkv, w.qkv_bias)
            else:
                product = F.linear(x, w.qkv, w.qkv_bias.detach())
            qkv = product.view(-1, 3, heads, d // heads)
            attended = self.way_to_attend(qkv).of_whole(qkv, of_all, of_weights, for_weights, w.qkv_bias)
        else:
            q = F.linear(x, w.qkv[:d], w.qkv_bias[:d]).view(-1, heads, d // heads)
            kv = F.linear(all_x, w.qkv[d:], w.qkv_bias[d:].detach()).view(-1, 2, heads, d // heads)
            way = self.way_to_attend(kv)
            attended = way.of_parts(q, kv, of_x, of_all, of_weights, for_weights, w.qkv_bias[d:])
        dropout = layer.output.dropout.p if training else 0.0
        # The first layer's for all: each has one of its own, for which the rest would be compiled again.
        activation = self.encoder.encoder.layer[0].intermediate.intermediate_act_fn
        eps = layer.output.LayerNorm.eps
        return behind(x, attended.reshape(-1, d), w, activation, dropout, eps, for_projections)

    def way_to_attend(self, projected: Tensor) -> Attention:
        """The way for queries, keys and values of this kind, (..., heads, width)."""
        return attention_for(projected.device, projected.dtype, *projected.shape[-2:], self.attention)

    def way_behind_attention(self, x: Tensor) -> Callable[..., Tensor]:
        """The way for tokens of this kind, (n, d)."""
        if self.fuse == "compile":
            # Without gradients, in validation, another compilation would take longer than it spares.
            return compiled_behind_attention() if torch.is_grad_enabled() else behind_attention
        if self.fuse == "none" or torch.is_autocast_enabled(x.device.type):
            return behind_attention
        if x.numel() < LARGEST and fused_is_right(x.device, x.dtype, x.shape[-1]):
            return fused_behind_attention
        if self.fuse == "triton":
            raise InputError(f"model.fuse=triton cannot be used for {x.dtype} on {x.device}; null takes what can")
        return behind_attention
