"""The forward passes of fairseq's transformer over its weights alone: an encoder, and one step of a decoder.

fairseq's own modules are written to be trained and combined. Here is the one combination that m2m_100 and
``fairseq-musc train-translator`` have (pre-norm, sinusoidal positions, no layer left out), in few operations, none of
which makes the processor wait for the device. :func:`unsupported` says what else a model has.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_musc.translate.torch_kernels import Norm, source_mask


class Linear(NamedTuple):
    """y = x weight^T + bias; weight (out, in)."""

    weight: Tensor
    bias: Tensor


class EncoderLayer(NamedTuple):
    """The weights of one layer of the encoder."""

    self_norm: Norm
    self_in: Linear
    self_out: Linear
    ffn_norm: Norm
    ffn_in: Linear
    ffn_out: Linear


class DecoderLayer(NamedTuple):
    """The weights of one layer of the decoder; queries, keys and values of one input are one matrix."""

    self_norm: Norm
    self_in: Linear
    self_out: Linear
    cross_norm: Norm
    cross_query: Linear
    cross_source: Linear
    cross_out: Linear
    ffn_norm: Norm
    ffn_in: Linear
    ffn_out: Linear


class Side(NamedTuple):
    """Embedding, layers and last normalisation of the encoder or the decoder."""

    embedding: Tensor
    scale: float
    positions: Tensor
    """(positions, D): row 0 is for the first token."""
    layers: tuple[Any, ...]
    norm: Norm
    heads: int
    activation: Any


class Transformer(NamedTuple):
    """All weights of a model, in one precision and on one device."""

    encoder: Side
    decoder: Side
    words: Tensor
    """(vocabulary, D): the output projection."""

    @property
    def width(self) -> int:
        """D of the decoder."""
        return self.words.shape[1]


class Memory(NamedTuple):
    """Keys and values of every layer of the decoder, for as many sentences as there are slots."""

    own: Tensor
    """(layers, 2, slots, H, T * beam, d)"""
    source: Tensor
    """(layers, 2, slots, H, S, d)"""
    lengths: Tensor
    """(slots,): source tokens of the sentence in each slot."""


class Kernels(Protocol):
    """The functions of :mod:`fairseq_musc.translate.torch_kernels`, whoever does them."""

    READS_ALL: bool

    def masks(  # noqa: D102
        self, ancestors: Tensor, steps: Tensor, lengths: Tensor, times: int, reach: int, dtype: torch.dtype
    ) -> Any: ...

    def self_attention(  # noqa: D102
        self, qkv: Tensor, memory: Tensor, ancestors: Tensor, steps: Tensor, masks: Any
    ) -> Tensor: ...

    def cross_attention(self, q: Tensor, memory: Tensor, lengths: Tensor, masks: Any, beam: int) -> Tensor: ...  # noqa: D102

    def add_norm(self, residual: Tensor, update: Tensor, norm: Norm) -> Tensor: ...  # noqa: D102

    def top_words(self, logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]: ...  # noqa: D102


def unsupported(model: nn.Module) -> list[str]:
    """What a fairseq model has that these forward passes do not know; empty for m2m_100."""
    encoder: Any = getattr(model, "encoder", None)
    decoder: Any = getattr(model, "decoder", None)
    if type(encoder).__name__ not in ("TransformerEncoder", "TransformerEncoderBase") or type(decoder).__name__ not in (
        "TransformerDecoder",
        "TransformerDecoderBase",
    ):
        return [f"it is a {type(model).__name__} of {type(encoder).__name__} and {type(decoder).__name__}"]
    found = ["it is in training mode"] if model.training else []
    for name, side in (("encoder", encoder), ("decoder", decoder)):
        if not all(layer.normalize_before for layer in side.layers) or side.layer_norm is None:
            found.append(f"the {name} does not normalise before its layers and behind the last")
        if type(side.embed_positions).__name__ != "SinusoidalPositionalEmbedding":
            found.append(f"the positions of the {name} are not sinusoidal")
        if side.layernorm_embedding is not None or side.quant_noise is not None:
            found.append(f"the embeddings of the {name} are normalised or quantised")
        expected = {"TransformerEncoderLayer", "TransformerEncoderLayerBase"}
        expected |= {"TransformerDecoderLayer", "TransformerDecoderLayerBase"}
        others = {type(layer).__name__ for layer in side.layers} - expected
        if others:
            found.append(f"the {name} has layers of {', '.join(sorted(others))}")
    extras = ("adaptive_softmax", "project_in_dim", "project_out_dim")
    found += [f"the decoder has {extra}" for extra in extras if getattr(decoder, extra, None) is not None]
    if type(decoder.output_projection) is not nn.Linear or decoder.output_projection.bias is not None:
        found.append("the output projection is not a matrix")
    if getattr(decoder, "cross_self_attention", False):
        found.append("the decoder attends to source and target at once")
    if not found:
        for layer in decoder.layers:
            parts = ("attn_ln", "c_attn", "ffn_layernorm", "w_resid")
            found += [f"the decoder's layers have {part}" for part in parts if getattr(layer, part, None) is not None]
            if layer.encoder_attn is None:
                found.append("the decoder does not attend to the source")
        attentions = [layer.self_attn for layer in (*encoder.layers, *decoder.layers)]
        attentions += [layer.encoder_attn for layer in decoder.layers if layer.encoder_attn is not None]
        if any(attention.bias_k is not None or attention.add_zero_attn for attention in attentions):
            found.append("attentions have keys of their own")
        if any(attention.k_proj.bias is None for attention in attentions):
            found.append("attentions have no bias")
    return list(dict.fromkeys(found))


def load(model: nn.Module, dtype: torch.dtype, device: torch.device, longest: int) -> Transformer:
    """The weights of a fairseq TransformerModel.

    Args:
        model: a model of which :func:`unsupported` says nothing. It shares its memory with the result where precision
            and device are its own.
        dtype: of the weights and of all arithmetic but sums.
        device: where to.
        longest: positions that are needed on either side.
    """
    from fairseq.modules import SinusoidalPositionalEmbedding

    moved: dict[int, Tensor] = {}

    def tensor(parameter: Tensor) -> Tensor:
        # shared embeddings stay one
        if id(parameter) not in moved:
            moved[id(parameter)] = parameter.detach().to(device=device, dtype=dtype).contiguous()
        return moved[id(parameter)]

    def linear(*modules: Any) -> Linear:
        if len(modules) == 1:
            return Linear(tensor(modules[0].weight), tensor(modules[0].bias))
        weights = [module.weight.detach().to(device=device, dtype=dtype) for module in modules]
        biases = [module.bias.detach().to(device=device, dtype=dtype) for module in modules]
        return Linear(torch.cat(weights), torch.cat(biases))

    def norm(module: Any) -> Norm:
        return Norm(tensor(module.weight), tensor(module.bias), module.eps)

    def side(module: Any, layers: list[Any]) -> Side:
        padding = module.padding_idx
        table = SinusoidalPositionalEmbedding.get_embedding(
            padding + 1 + longest, module.embed_tokens.embedding_dim, padding
        )
        return Side(
            tensor(module.embed_tokens.weight),
            float(module.embed_scale),
            table[padding + 1 :].to(device=device, dtype=dtype).contiguous(),
            tuple(layers),
            norm(module.layer_norm),
            module.layers[0].self_attn.num_heads,
            module.layers[0].activation_fn,
        )

    encoder: Any = model.encoder
    decoder: Any = model.decoder
    encoder_layers = [
        EncoderLayer(
            norm(layer.self_attn_layer_norm),
            linear(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            linear(layer.self_attn.out_proj),
            norm(layer.final_layer_norm),
            linear(layer.fc1),
            linear(layer.fc2),
        )
        for layer in encoder.layers
    ]
    decoder_layers = [
        DecoderLayer(
            norm(layer.self_attn_layer_norm),
            linear(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            linear(layer.self_attn.out_proj),
            norm(layer.encoder_attn_layer_norm),
            linear(layer.encoder_attn.q_proj),
            linear(layer.encoder_attn.k_proj, layer.encoder_attn.v_proj),
            linear(layer.encoder_attn.out_proj),
            norm(layer.final_layer_norm),
            linear(layer.fc1),
            linear(layer.fc2),
        )
        for layer in decoder.layers
    ]
    return Transformer(
        side(encoder, encoder_layers), side(decoder, decoder_layers), tensor(decoder.output_projection.weight)
    )


def new_memory(weights: Transformer, slots: int, beam: int, times: int, sources: int) -> Memory:
    """Room for ``slots`` sentences of at most ``sources`` tokens, and for ``times`` steps of decoding."""
    decoder = weights.decoder
    shape = (len(decoder.layers), 2, slots, decoder.heads)
    d = weights.width // decoder.heads
    # zeros: what was never written is masked, but 0 times NaN would be NaN
    return Memory(
        weights.words.new_zeros(*shape, times * beam, d),
        weights.words.new_zeros(*shape, sources, d),
        torch.ones(slots, dtype=torch.int64, device=weights.words.device),
    )


def _feed_forward(x: Tensor, first: Linear, second: Linear, activation: Any) -> Tensor:
    if activation is F.relu:
        inner = torch._addmm_activation(first.bias, x, first.weight.t())  # one pass where F.linear and relu take two
    else:
        inner = activation(F.linear(x, *first))
    return F.linear(inner, *second)


def encode(weights: Transformer, kernels: Kernels, tokens: Tensor, lengths: Tensor, ragged: bool) -> Tensor:
    """The encoder.

    Args:
        weights: of the model.
        kernels: what does the rest.
        tokens: (n, S), padded on the right with any token.
        lengths: (n,).
        ragged: whether any length is below S; if none is, nothing is masked.

    Returns:
        (n, S, D); what stands behind the length of a sentence means nothing.
    """
    side = weights.encoder
    n, longest = tokens.shape
    x = F.embedding(tokens, side.embedding) * side.scale
    x = (x + side.positions[:longest]).view(n * longest, -1)
    mask = source_mask(lengths, longest, x.dtype).expand(n, 1, longest, longest) if ragged else None
    h = F.layer_norm(x, x.shape[-1:], *side.layers[0].self_norm)
    for index, layer in enumerate(side.layers):
        q, k, v = F.linear(h, *layer.self_in).view(n, longest, 3, side.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        h = kernels.add_norm(x, F.linear(attended.transpose(1, 2).reshape(x.shape), *layer.self_out), layer.ffn_norm)
        update = _feed_forward(h, layer.ffn_in, layer.ffn_out, side.activation)
        last = index + 1 == len(side.layers)
        h = kernels.add_norm(x, update, side.norm if last else side.layers[index + 1].self_norm)
    return h.view(n, longest, -1)


def remember(weights: Transformer, memory: Memory, encoded: Tensor, lengths: Tensor, slots: Tensor) -> None:
    """Puts keys and values of encoded sentences into slots.

    Args:
        weights: of the model.
        memory: where to.
        encoded: (n, S, D), from :func:`encode`.
        lengths: (n,).
        slots: (n,), distinct.
    """
    n, longest, _ = encoded.shape
    heads = weights.decoder.heads
    for layer, place in zip(weights.decoder.layers, memory.source, strict=True):
        both = F.linear(encoded, *layer.cross_source).view(n, longest, 2, heads, -1)
        place[:, slots, :, :longest] = both.permute(2, 0, 3, 1, 4)
    memory.lengths[slots] = lengths


def decode(
    weights: Transformer,
    kernels: Kernels,
    memory: Memory,
    tokens: Tensor,
    steps: Tensor,
    ancestors: Tensor,
    times: int,
    reach: int,
) -> Tensor:
    """One step of the decoder for the first ``n`` slots.

    Args:
        weights: of the model.
        kernels: what does the rest.
        memory: of all slots; keys and values of this step are put into it.
        tokens: (n, beam): the last token of each hypothesis.
        steps: (n,): how many tokens each hypothesis has, less one.
        ancestors: (n, beam, T).
        times: more than any of ``steps``; only for kernels with ``READS_ALL``.
        reach: at least any source length; only for kernels with ``READS_ALL``.

    Returns:
        the logits, (n * beam, vocabulary).
    """
    side = weights.decoder
    n, beam = tokens.shape
    lengths = memory.lengths[:n]
    x = F.embedding(tokens, side.embedding) * side.scale
    x = (x + side.positions[steps][:, None]).view(n * beam, -1)
    masks = kernels.masks(ancestors, steps, lengths, times, reach, x.dtype)
    h = F.layer_norm(x, x.shape[-1:], *side.layers[0].self_norm)
    for index, layer in enumerate(side.layers):
        attended = kernels.self_attention(F.linear(h, *layer.self_in), memory.own[index], ancestors, steps, masks)
        h = kernels.add_norm(x, F.linear(attended, *layer.self_out), layer.cross_norm)
        attended = kernels.cross_attention(F.linear(h, *layer.cross_query), memory.source[index], lengths, masks, beam)
        h = kernels.add_norm(x, F.linear(attended, *layer.cross_out), layer.ffn_norm)
        update = _feed_forward(h, layer.ffn_in, layer.ffn_out, side.activation)
        last = index + 1 == len(side.layers)
        h = kernels.add_norm(x, update, side.norm if last else side.layers[index + 1].self_norm)
    return F.linear(h, weights.words)
