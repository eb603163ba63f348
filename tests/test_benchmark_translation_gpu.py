"""The benchmark of the beam search, in the small form that a CPU can do."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = ["--shape", "tiny", "--device", "cpu", "--slots", "8", "--sentences", "16", "--source", "8", "--length", "8"]


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # it uses translation.py, which lies beside it
    spec = importlib.util.spec_from_file_location("translation_gpu", BENCHMARKS / "translation_gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "translation_gpu", module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_everything_is_measured_checked_told_and_written(measuring, tmp_path, capsys):
    assert measuring.main([*TINY, "--output", str(tmp_path / "out"), "--in-process"]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "translation_gpu.json").read_text())}
    assert not [row for row in rows.values() if "failed" in row]
    assert rows["check: fast fp32"]["same_all"] == rows["check: fast fp32"]["of"] == 16
    for name in (
        "forced: fairseq fp32, batch 8",
        "forced: fast fp32, 8 slots",
        "product: fast fp32, forced",
        "product: fast fp32",
    ):
        assert rows[name]["rate"] > 0
    assert rows["forced: fast fp32, 8 slots"]["share"] > 0
    assert rows["product: fast fp32"]["empty"] == rows["product: fast fp32, forced"]["empty"] == 0
    assert rows["product: fast fp32, forced"]["lengths"][1] == 7  # 8 with the language, which is no text
    assert rows["product: fast fp32, forced"]["mean_source"] == pytest.approx(8, abs=2)
    shortest, longest = rows["varied: fast fp32, 8 slots"]["lengths"]
    assert shortest < longest, "the random model must end its sentences at different lengths"
    printed = capsys.readouterr().out
    assert "| forced: fairseq fp32, batch 8 |" in printed and "| 1.00 |" in printed
    assert "| fast fp32 | 16 | 16 |" in printed
    assert "| self attention | " in printed


def test_a_row_that_fails_does_not_end_the_rest(measuring, tmp_path, monkeypatch, capsys):
    def broken(self, half, batch):
        raise ValueError("out of order")

    monkeypatch.setattr(measuring.Bench, "fairseq_forced", broken)
    measuring.main([*TINY, "--output", str(tmp_path), "--in-process", "--only", "forced"])
    rows = {row["name"]: row for row in json.loads((tmp_path / "translation_gpu.json").read_text())}
    assert rows["forced: fairseq fp32, batch 8"]["failed"] == "ValueError: out of order"
    assert rows["forced: fast fp32, 8 slots"]["rate"] > 0
    assert "ValueError: out of order" in capsys.readouterr().out


class Products(TorchDispatchMode):
    """Notes the kind and the shape of every product."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, of, types, args=(), kwargs=None):
        out = of(*args, **(kwargs or {}))
        if of in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default):
            self.seen.append((of.overloadpacket.__name__, tuple(out.shape)))
        return out


def test_fairseq_is_measured_with_one_product_for_the_words_of_all_hypotheses(measuring, tmp_path):
    """As with a model that fairseq has read. It is a product for each hypothesis where parameters want no gradients."""
    namespace = argparse.Namespace(
        shape="tiny", device="cpu", slots=8, sentences=8, source=8, length=4, scratch=tmp_path, output=tmp_path
    )
    bench = measuring.Bench(namespace)
    with Products() as products:
        bench.by_fairseq(bench.model, bench.even, 8, None, **bench.forced)
    words = bench.shape.words
    assert [seen for seen in products.seen if seen[1][-1] == words] == 5 * [("mm", (8 * 5, words))]


def test_operations_and_bytes_of_the_published_shape(measuring):
    """Counted by hand for one layer and one step; the rest is multiplication."""
    one = measuring.Shape(layers=1, width=4, ffn=8, heads=2, words=10)
    # encoder, 3 tokens: 2 * (4 * 16 + 2 * 32) for the products and 2 * 2 * 4 * 3 for attention; keys, values: 2 * 32
    encoder = 3 * (256 + 48) + 3 * 64
    # a step: 2 * (6 * 16 + 2 * 32) for the products, 4 * 4 * (3 + 0.5) for attention, 2 * 40 for the words
    step = 320 + 56 + 80
    assert one.flops(beam=2, source=3, steps=1) == encoder + 2 * step
    published = measuring.SHAPES["m2m_100_418M"]
    assert published.flops(5, 40, 41) == pytest.approx(140e9, rel=0.03)
    # half precision, batches of 512: the cache of 20 steps and 5 hypotheses, 40 source tokens, logits, weights
    bytes_of_a_step = published.bytes(5, 40, 41, 512, 2) / 41
    assert bytes_of_a_step == pytest.approx(
        2 * (12 * 2 * 1024 * (40 + 5 * 20.5) + 2 * 5 * 128112 + 307e6 / 512), rel=0.01
    )
