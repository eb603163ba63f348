"""What the layers' CUDA graphs need beside a GPU: rows filled up, and when what is captured. On a GPU: test_gpu.py."""

import copy
import itertools
import pickle
from typing import ClassVar

import pytest
import torch
from transformers import BertConfig, BertModel

from fairseq_musc.finite import TrainingError
from fairseq_musc.models import graphs
from fairseq_musc.models.attention import Spans
from fairseq_musc.models.packed import PackedEncoder


def spans_of(lengths):
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return Spans(ends, max(lengths), sum(lengths))


@pytest.mark.parametrize("tokens", [1, 247, 248, 249, 5000, 8191, 8192, 45265, 65535, 65536, 135620])
def test_rows_are_filled_up_with_short_rows_to_a_number_that_comes_back(tokens):
    lengths = [tokens] if tokens < 60 else [tokens % 60 + 60, *[60] * (tokens // 60 - 1)]
    x = torch.ones(tokens, 1)
    filled, spans = graphs.filled_up(x, spans_of(lengths))
    total = len(filled)
    assert spans.tokens == total == int(spans.cu_seqlens[-1]) and spans.cu_seqlens.dtype == torch.int32
    assert torch.equal(filled[:tokens], x) and not filled[tokens:].any()
    assert spans.longest % 64 == 0 and spans.longest >= max(lengths)
    assert torch.equal(spans.cu_seqlens[: len(lengths) + 1], spans_of(lengths).cu_seqlens)
    behind = spans.cu_seqlens[len(lengths) :].diff()
    assert int(behind.min()) >= 1 and int(behind.max()) <= 64
    if tokens >= 8192:
        assert total <= tokens * 17 / 16
        assert total % (2 ** (tokens.bit_length() - 1) // 32) == 0
    else:
        assert total % 256 == 0 and total <= tokens + 256 + 8


def test_numbers_of_tokens_come_back():
    kinds = {tuple(map(len, map(torch.as_tensor, filled(n)))) for n in range(44000, 46500, 7)}
    assert len(kinds) <= 4  # 2,500 tokens, in steps of 1,024


def filled(tokens):
    x, spans = graphs.filled_up(torch.zeros(tokens, 1), spans_of([50, tokens - 50]))
    return x, spans.cu_seqlens


def test_rows_behind_change_neither_values_nor_gradients():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    encoder = BertModel(config).double().train()
    packed = PackedEncoder(encoder, "embedding_output")
    lengths = [5, 1, 17, 9]
    x, upstream = torch.randn(32, 8, dtype=torch.double, requires_grad=True), torch.randn(4, 8, dtype=torch.double)
    results = []
    for fill in (False, True):
        rows = (x, spans_of(lengths))
        of = packed.layers(*(graphs.filled_up(*rows) if fill else rows), packed.parameters)[:4]
        gradients = torch.autograd.grad(of, [x, *packed.parameters], upstream)
        results.append([of.detach(), *gradients])
    assert len(results[0]) == 2 + 16 * 3
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


class Graph:
    """Stands in for what only a GPU can capture: it notes what it was captured for, and what it was given."""

    made: ClassVar = []

    def __init__(self, layers, x, spans, parameters, seeds, gradients, stream, pool):
        self.under_way, self.replays, self.gradients = False, 0, gradients
        self.spans, self.memory = spans, pool
        self.forward_graph = self
        self.made.append(self)

    def pool(self):
        return self.memory

    def __call__(self, x, spans, parameters, seeds):
        self.replays += 1
        return x + 1000


@pytest.fixture
def run(monkeypatch):
    """Runs layers, and says whether they were ``eager`` or ``replayed``."""
    monkeypatch.setattr(graphs, "Captured", Graph)
    monkeypatch.setattr(graphs.torch.cuda, "Stream", lambda device: "a stream")
    pools = itertools.count()
    monkeypatch.setattr(graphs.torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(Graph, "made", [])
    parameters = [torch.ones(3, requires_grad=True), torch.ones(2)]

    def ran(captured, lengths=(2, 3), how="training", of=parameters):
        x = torch.zeros(sum(lengths), 1)
        out = captured(lambda x, *_: x + 1, how, x, spans_of(lengths), of, torch.zeros(2))
        return "replayed" if float(out[0]) == 1000 else "eager"

    return ran


def test_a_kind_of_batch_is_captured_when_it_comes_back(run):
    captured = graphs.LayerGraphs()
    assert [run(captured) for _ in range(4)] == ["eager", "eager", "replayed", "replayed"]
    (graph,) = Graph.made
    assert [gradient.shape for gradient in graph.gradients] == [(3,)]  # of the parameters that are trained


@pytest.mark.parametrize(
    "other",
    [{"lengths": (2, 4)}, {"lengths": (1, 1, 3)}, {"how": "validation"}, {"of": [torch.ones(3, requires_grad=True)]}],
    ids=["tokens", "rows", "dropout", "parameters elsewhere"],
)
def test_another_kind_of_batch_is_no_replay(run, other):
    captured = graphs.LayerGraphs()
    for _ in range(3):
        run(captured)
    assert run(captured, **other) == "eager"
    assert run(captured) == "replayed"


def test_a_pass_whose_results_are_still_wanted_is_not_overwritten(run):
    captured = graphs.LayerGraphs()
    for _ in range(3):
        run(captured)
    Graph.made[0].under_way = True
    assert [run(captured), run(captured, (9, 9)), run(captured, (9, 9)), run(captured, (9, 9))] == ["eager"] * 4
    Graph.made[0].under_way = False
    assert run(captured) == "replayed"


def test_no_more_graphs_than_memory_is_meant_for(run, monkeypatch):
    monkeypatch.setattr(graphs, "MOST", 2)
    captured = graphs.LayerGraphs()
    ways = [[run(captured, (2, n)) for _ in range(3)][-1] for n in (9, 8, 7, 6)]
    assert ways == ["replayed", "replayed", "eager", "eager"]


def test_memory_is_that_of_the_largest_batch(run):
    captured = graphs.LayerGraphs()
    for n in (5, 4, 9, 8):
        assert [run(captured, (2, n)) for _ in range(3)][-1] == "replayed"
    assert [(graph.spans.tokens, graph.memory) for graph in Graph.made] == [(7, 0), (6, 0), (11, 1), (10, 1)]
    assert [run(captured, (2, n)) for n in (9, 8, 5, 4)] == ["replayed"] * 4  # the small ones, captured again
    assert [graph.memory for graph in Graph.made] == [0, 0, 1, 1, 1, 1]


def test_a_copy_of_the_model_has_no_graphs_of_the_original(run):
    captured = graphs.LayerGraphs()
    for _ in range(3):
        run(captured)
    assert run(copy.deepcopy(captured)) == run(pickle.loads(pickle.dumps(captured))) == "eager"


def test_kernels_that_cannot_be_captured_end_the_run_with_what_to_do(run, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("CUDA error: operation not permitted\nmore of it")

    monkeypatch.setattr(graphs, "Captured", fails)
    monkeypatch.setattr(graphs, "EAGER", 0)
    with pytest.raises(TrainingError, match=r"CUDA error: operation not permitted; model[.]graphs=false"):
        run(graphs.LayerGraphs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_leaves_are_the_parameters_in_the_type_that_is_computed_in(dtype):
    """Copies of them, or, of the same type, their own memory; the parameters are left alone."""
    parameters = [torch.randn(4, 3, requires_grad=True), torch.randn(5), torch.randn(2, requires_grad=True)]
    names = graphs.leaves(dtype, parameters)
    for name, parameter in zip(names, parameters, strict=True):
        torch.testing.assert_close(name.detach(), parameter.detach().to(dtype), rtol=0, atol=0)
        assert name.is_leaf and name.requires_grad == parameter.requires_grad
        assert (name.data_ptr() == parameter.data_ptr()) == (dtype == torch.float32)
    (names[0].sum() * 2).backward()
    assert names[0].grad.dtype == dtype and parameters[0].grad is None
