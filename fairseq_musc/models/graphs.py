"""The layers of an encoder as CUDA graphs: one launch forward and one back, in place of a thousand small ones.

Launching the kernels of an update takes a CPU 30 to 60 ms, however little each has to do; a GPU computes a small batch
in less. A graph holds them all, for one number of tokens and rows. So rows that lie end to end are filled up to a
number of tokens that comes back (:func:`filled_up`), and a number that was seen before is captured.

Everything that changes from step to step comes in through tensors that stay where they are: the embeddings, where rows
begin, the seeds of dropout; the parameters stay where they are, too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_musc.finite import TrainingError
from fairseq_musc.models.attention import Spans
from fairseq_musc.models.rounding import in_type

logger = logging.getLogger(__name__)

Layers = Callable[[Tensor, Spans, Sequence[Tensor], Tensor], Tensor]
"""(embeddings (tokens, d), where rows lie, parameters, seeds) -> (R, d)."""

BLOCK = 64
"""Rows are said to be as long as the next multiple of it, which is what our kernels count in."""
EAGER = 2
"""How often a number of tokens is computed kernel by kernel before it is captured; that takes several times as long."""
MOST = 12
"""Graphs that are kept; what lies between the layers, and the gradients of parameters, have one place for all."""


def filled_up(x: Tensor, spans: Spans) -> tuple[Tensor, Spans]:
    """Embeddings (tokens, d) and their rows, with rows of zeros behind them up to a number of tokens that comes back.

    Between a power of two and the next there are 32 such numbers, and below 8,192 the multiples of 256; at most a
    sixteenth is computed in vain, of large batches a 64th on average. The rows behind are short, none is empty, and as
    many for the same number of tokens. Nobody asks for what becomes of them, so their gradients are zero.
    """
    tokens = len(x)
    step = max(256, 2 ** (tokens.bit_length() - 1) // 32)
    rows = step // 32
    total = -(-(tokens + rows) // step) * step
    begun = torch.arange(1, rows + 1, dtype=torch.int32, device=x.device)
    ends = tokens + begun * (total - tokens) // rows
    longest = -(-spans.longest // BLOCK) * BLOCK
    return F.pad(x, (0, 0, 0, total - tokens)), Spans(torch.cat([spans.cu_seqlens, ends]), longest, total)


class LayerGraphs:
    """Computes layers by the graph of their kind of batch, or kernel by kernel where there is none."""

    def __init__(self) -> None:
        self.seen: Counter[Hashable] = Counter()
        self.captured: dict[Hashable, Captured] = {}
        self.stream: torch.cuda.Stream | None = None
        self.gradients: list[Tensor] = []

    def __reduce__(self) -> Any:
        """A copy, or what is pickled, begins anew: none of its parameters are those that were captured."""
        return LayerGraphs, ()

    def __call__(
        self,
        layers: Layers,
        how: Hashable,
        x: Tensor,
        spans: Spans,
        parameters: Sequence[Tensor],
        seeds: Tensor,
    ) -> Tensor:
        """What ``layers`` makes of embeddings.

        Args:
            layers: what to compute.
            how: all that it depends on beside the tensors.
            x: (tokens, d), as :func:`filled_up` gives it, like ``spans``.
            spans: where the rows lie.
            parameters: all those of ``layers``.
            seeds: of dropout, any shape.

        Raises:
            TrainingError: the kernels cannot be captured.
        """
        places = tuple(parameter.data_ptr() for parameter in parameters)
        trained = tuple(parameter.requires_grad for parameter in parameters)
        key = (how, x.shape, x.dtype, x.device, len(spans.cu_seqlens), spans.longest, places, trained)
        captured = self.captured.get(key)
        if captured is None:
            self.seen[key] += 1
            if self.seen[key] <= EAGER or len(self.captured) >= MOST or self.under_way():
                return layers(x, spans, parameters, seeds)
            captured = self.captured[key] = self.capture(layers, x, spans, parameters, seeds)
        if self.under_way():  # its results are still wanted
            return layers(x, spans, parameters, seeds)
        return captured(x, spans, parameters, seeds)

    def under_way(self) -> bool:
        """Whether a forward pass waits for its backward pass: what lies between is in the memory of all graphs."""
        return any(captured.under_way for captured in self.captured.values())

    def capture(self, layers: Layers, x: Tensor, spans: Spans, parameters: Sequence[Tensor], seeds: Tensor) -> Captured:
        """A graph for batches of this kind; arguments and errors as of the call."""
        if self.stream is None:
            self.stream = torch.cuda.Stream(x.device)
        # In memory that a larger batch has left a smaller one finds its places; the other way round it takes more. So a
        # batch that is larger than all before lets go of what was captured, and is the first of a new memory.
        if all(spans.tokens > captured.spans.tokens for captured in self.captured.values()):
            self.captured.clear()
        first = next(iter(self.captured.values()), None)
        pool = first.forward_graph.pool() if first else torch.cuda.graph_pool_handle()
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if [gradient.shape for gradient in self.gradients] != [parameter.shape for parameter in trained]:
            self.gradients = [torch.zeros_like(parameter) for parameter in trained]
        try:
            captured = Captured(layers, x, spans, parameters, seeds, self.gradients, self.stream, pool)
        except RuntimeError as error:  # of CUDA or Triton; torch's generator cannot be used any more
            reason = (str(error) or repr(error)).splitlines()[0]
            raise TrainingError(
                f"the kernels of the layers cannot be captured as a CUDA graph: {reason}; model.graphs=false launches "
                "them one by one"
            ) from error
        rows = len(spans.cu_seqlens) - 1
        logger.info("layers: %d tokens in %d rows, filled up, are a CUDA graph from now on", len(x), rows)
        return captured


def leaves(dtype: torch.dtype, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Parameters under names of their own, in a type: a copy, or the same memory if they are of it.

    Autograd knows the parameters themselves from other streams; and the gradients of copies are in their type until
    they go to where those of the parameters belong, so that they are moved once.
    """
    names = [parameter.detach() for parameter in parameters]
    if any(name.dtype != dtype for name in names):
        names = in_type(dtype, names)
    return [name.requires_grad_(parameter.requires_grad) for name, parameter in zip(names, parameters, strict=True)]


class Captured:
    """The two graphs of one kind of batch.

    Arguments are those of :class:`LayerGraphs`, and what all graphs share: where the gradients of the parameters that
    are trained go, a stream, and memory.
    """

    def __init__(
        self,
        layers: Layers,
        x: Tensor,
        spans: Spans,
        parameters: Sequence[Tensor],
        seeds: Tensor,
        gradients: list[Tensor],
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self.gradients = gradients
        self.x = x.detach().clone().requires_grad_()
        self.spans = Spans(spans.cu_seqlens.clone(), spans.longest, spans.tokens)
        self.seeds = seeds.clone()
        self.under_way = False
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # so that what libraries keep for a stream is there
            names = leaves(x.dtype, parameters)
            out = layers(self.x, self.spans, names, self.seeds)
            torch.autograd.grad(out, (self.x, *(name for name in names if name.requires_grad)), torch.zeros_like(out))
            self.d_out = torch.zeros_like(out)
            del out, names
        torch.cuda.current_stream().wait_stream(stream)
        # Only what this thread does must not disturb: another one pins the memory of the next batch meanwhile.
        how: dict[str, Any] = {"pool": pool, "stream": stream, "capture_error_mode": "thread_local"}
        self.forward_graph, self.backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.forward_graph, **how):
            names = leaves(x.dtype, parameters)
            out = layers(self.x, self.spans, names, self.seeds)
        with torch.cuda.graph(self.backward_graph, **how):
            wanted = (self.x, *(name for name in names if name.requires_grad))
            self.d_x, *found = torch.autograd.grad(out, wanted, self.d_out)
            torch._foreach_copy_(gradients, found)
            del found
        self.out = out.detach()

    def __call__(self, x: Tensor, spans: Spans, parameters: Sequence[Tensor], seeds: Tensor) -> Tensor:
        """The layers' output (R, d) for a batch of this kind."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        # A gradient that came from a graph lies where the next one will; one that is still wanted has to move.
        for parameter, place in zip(trained, self.gradients, strict=True):
            if parameter.grad is not None and parameter.grad.data_ptr() == place.data_ptr():
                parameter.grad = parameter.grad.clone()
        return Replayed.apply(self, x, spans.cu_seqlens, seeds, *trained)


class Replayed(torch.autograd.Function):
    """A forward and a backward pass by :class:`Captured`."""

    @staticmethod
    def forward(
        ctx: Any, captured: Captured, x: Tensor, cu_seqlens: Tensor, seeds: Tensor, *parameters: Tensor
    ) -> Tensor:
        """The output; it is overwritten by the next forward pass."""
        ctx.captured = captured
        captured.x.copy_(x)
        captured.spans.cu_seqlens.copy_(cu_seqlens)
        captured.seeds.copy_(seeds)
        captured.forward_graph.replay()
        captured.under_way = True
        return captured.out.detach()

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Any:
        """The gradients of embeddings and parameters; they are overwritten by the next backward pass."""
        captured = ctx.captured
        captured.d_out.copy_(d_out)
        captured.backward_graph.replay()
        captured.under_way = False
        # Under names of their own: autograd then takes them for gradients as they are, and copies nothing.
        return None, captured.d_x.detach(), None, None, *(gradient.detach() for gradient in captured.gradients)
