#!/usr/bin/env python
"""How fast the beam search is, against fairseq's own generator, with a random model of m2m_100's shape.

    benchmarks/translation_gpu.py --output measured            # what matters most, in some 100 s, on a GPU
    benchmarks/translation_gpu.py --output measured --seconds 300 --profile  # all, and where the time goes
    benchmarks/translation_gpu.py --output measured --shape tiny --device cpu

prints a table with a row for each thing measured: sentences a second, how many times as fast as fairseq in fp16 with
batches of 512 that is (on a CPU: in fp32), its share of what the machine's matrix product and memory copy would allow,
and its peak of memory. Behind it come the checks: how many hypotheses are those that fairseq finds in fp32. Everything
is also written to OUTPUT/translation_gpu.json, after each row.

Nothing is downloaded. The model has random weights, made where they are used. In the rows named "forced" every
hypothesis has exactly --length words; for the others its end of sentence is set so that sentences end by themselves,
after --length words or so. The rows named "product" go from a file of texts to a file of translations, through the
engine; loading the translator is told beside and not counted.

Each row is on its own: one that fails is shown as failed, with the reason in the JSON file. What breaks the GPU for the
process (an illegal address, say) ends that process only; the rest is measured in another one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib.util
import json
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: How the name of the row begins that the others are held against: fairseq's generator, in half precision on a GPU.
BASELINE = "forced: fairseq"


@dataclass(frozen=True)
class Shape:
    """Of a model; D is the width of embeddings and layers."""

    layers: int
    width: int
    ffn: int
    heads: int
    words: int

    def flops(self, beam: int, source: int, steps: int) -> float:
        """Of the matrix products for one sentence."""
        d, f, n = self.width, self.ffn, self.layers
        encoder = source * n * 2 * (4 * d * d + 2 * d * f + 2 * d * source)
        keys_and_values = source * n * 2 * 2 * d * d
        attended = 2 * d * (source + steps / 2)
        step = n * 2 * (6 * d * d + 2 * d * f + attended) + 2 * d * self.words
        return encoder + keys_and_values + beam * steps * step

    def bytes(self, beam: int, source: int, steps: int, batch: int, size: int) -> float:
        """What decoding must at least read and write for one sentence: weights, keys and values, logits."""
        d, f, n = self.width, self.ffn, self.layers
        weights = n * (6 * d * d + 2 * d * f) + self.words * d
        cached = n * 2 * d * (source + beam * steps / 2)
        logits = 2 * beam * self.words
        return steps * size * (weights / batch + cached + logits)


SHAPES = {
    "m2m_100_418M": Shape(layers=12, width=1024, ffn=4096, heads=16, words=128112),
    "tiny": Shape(layers=2, width=64, ffn=128, heads=4, words=1208),
}


@dataclass
class Middle:
    """A search in the middle of its sentences."""

    search: Any
    slots: int
    times: int
    reach: int
    sentences: list[Any]

    def launch(self) -> Any:
        """One more step."""
        return self.search._launch(self.slots, self.times, self.reach)


class Bench:
    """The model, the sentences, and what was measured so far."""

    def __init__(self, arguments: argparse.Namespace):
        import torch

        self.arguments = arguments
        self.shape = SHAPES[arguments.shape]
        self.device = torch.device(arguments.device)
        self.gpu = self.device.type == "cuda"
        self.half = torch.float16
        self._model: Any = None
        self._ends = False
        self._opened: Any = None
        self.ceilings: dict[str, float] = {}
        draw = random.Random(0)
        words = range(10, self.shape.words - 100)
        number, source = arguments.sentences, arguments.source

        def sentence(length: int) -> list[int]:
            return [*draw.choices(words, k=length - 1), 2]

        self.even = [sentence(source) for _ in range(number)]
        lengths = [min(2 * source, max(4, round(draw.gauss(source, source / 4)))) for _ in range(number)]
        self.ragged = [sentence(length) for length in sorted(lengths, reverse=True)]

    # --- the model ---------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Any:
        """fairseq's TransformerModel in fp32, with random weights, made on the device."""
        if self._model is None:
            import torch

            torch.manual_seed(0)
            dictionary = self.dictionary()
            # Its parameters want gradients, as those of a model that fairseq has read: where they do not, torch's
            # F.linear takes the product with all words row by row, which reads the table of words for each.
            with torch.device(self.device):
                self._model = new_model(self.shape, dictionary).to(self.device).eval()
            with torch.no_grad():
                # logits as spread as a trained model's: with flat ones all hypotheses would be nearly equally good
                self._model.decoder.layer_norm.weight.mul_(4.0)
                # it mostly says again what it said last; not so the tokens of the languages, which are no text
                self._model.decoder.embed_tokens.weight[-2:].mul_(0.1)
        return self._model

    @property
    def ending_model(self) -> Any:
        """The same, when its sentences end by themselves."""
        if not self._ends:
            self.let_sentences_end(self.model)
            self._ends = True
        return self.model

    def dictionary(self) -> Any:
        """As many symbols as the shape has words; the last two name the languages xx and yy."""
        from fairseq.data import Dictionary

        dictionary = Dictionary()
        for i in range(self.shape.words - len(dictionary) - 2):
            dictionary.add_symbol(f"w{i}")
        dictionary.add_symbol("__xx__")
        dictionary.add_symbol("__yy__")
        return dictionary

    def let_sentences_end(self, model: Any) -> None:
        """Gives the end of sentence an embedding that grows likelier with the position, to the length asked for."""
        import torch

        from fairseq_musc.translate.beam_search import BeamSearch, Limits

        length = self.arguments.length
        limits = Limits(max_len_b=2 * length, min_len=2)
        dtype = self.half if self.gpu else torch.float32
        search = BeamSearch(
            model, limits, longest=2 * self.arguments.source, slots=32, dtype=dtype, kernels="torch", graphs=False
        )
        weights = search.weights
        # the slow waves of the positions, which rise all the way to the length asked for
        half = self.shape.width // 2
        period = 2 * torch.pi * 10000 ** (torch.arange(half) / max(half - 1, 1))
        slow = (period > 4 * length) & (period < 60 * length)
        direction = torch.zeros(self.shape.width)
        direction[:half][slow] = 1.0
        direction = (direction / direction.norm()).to(self.device)
        embedding = model.decoder.embed_tokens.weight.detach()
        own = embedding[2].clone()
        low, high = 0.0, 64.0
        for _ in range(8):
            gain = (low + high) / 2
            with torch.inference_mode():
                weights.words[2] = (own + gain * direction).to(dtype)
            found = next(
                search.search_batches([self.ragged[:: max(1, len(self.ragged) // 32)][:32]], self.shape.words - 1)
            )
            mean = sum(len(hypotheses[0][0]) for hypotheses in found) / len(found)
            low, high = (gain, high) if mean > length else (low, gain)
        embedding[2] = own + high * direction

    # --- ways to search ----------------------------------------------------------------------------------------------

    def by_fairseq(
        self, model: Any, sentences: Sequence[list[int]], batch: int, prefix: int | None, **limits: Any
    ) -> list:
        """Hypotheses of fairseq's generator, left-padded batches as its task makes them."""
        import torch
        from fairseq.data.data_utils import collate_tokens
        from fairseq.sequence_generator import SequenceGenerator

        dictionary = model.decoder.dictionary
        generator = SequenceGenerator([model], dictionary, **limits)
        found = []
        for start in range(0, len(sentences), batch):
            rows = [torch.tensor(row) for row in sentences[start : start + batch]]
            tokens = collate_tokens(rows, dictionary.pad(), left_pad=True).to(self.device)
            lengths = torch.tensor([len(row) for row in rows], device=self.device)
            sample = {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}
            prefixes = None if prefix is None else torch.full((len(rows), 1), prefix, device=self.device)
            with torch.no_grad():
                found += generator.generate([model], sample, prefix_tokens=prefixes)
        return found

    def searcher(self, limits: dict[str, Any], sentences: Sequence[list[int]], **options: Any) -> Any:
        """A search with room for sentences of these lengths."""
        from fairseq_musc.translate.beam_search import BeamSearch, Limits

        model = self.ending_model if limits == self.varied else self.model
        return BeamSearch(model, Limits(**limits), longest=max(map(len, sentences)), **options)

    def timed(self, work: Callable[[], Any], sentences: int, repeats: int = 2) -> dict[str, Any]:
        """The best of some runs; the warming up is the caller's."""
        seconds = float("inf")
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            seconds = min(seconds, time.perf_counter() - start)
        return {"sentences": sentences, "seconds": seconds, "rate": sentences / seconds}

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.gpu:
            import torch

            torch.cuda.synchronize()

    def share(self, row: dict[str, Any], batch: int, size: int) -> dict[str, Any]:
        """Adds the share of the bound by operations and bytes, for forced lengths."""
        if not self.ceilings:
            self.machine()
        if "rate" in row:
            steps, source, beam = self.arguments.length + 1, self.arguments.source, 5
            seconds = self.shape.flops(beam, source, steps) / self.ceilings["flops"]
            seconds += self.shape.bytes(beam, source, steps, batch, size) / self.ceilings["bytes"]
            row["bound_rate"] = 1 / seconds
            row["share"] = row["rate"] * seconds
        return row

    @property
    def forced(self) -> dict[str, Any]:
        """Limits with which all hypotheses have the length asked for."""
        return {"beam_size": 5, "max_len_b": self.arguments.length, "min_len": self.arguments.length}

    @property
    def varied(self) -> dict[str, Any]:
        """Limits with which the model ends the sentences."""
        return {"beam_size": 5, "max_len_b": 2 * self.arguments.length, "min_len": 2}

    # --- what is measured --------------------------------------------------------------------------------------------

    def machine(self) -> dict[str, Any]:
        """Names and versions; and what a large matrix product and a large copy reach."""
        import torch

        row = {"python": platform.python_version(), "torch": torch.__version__, "device": platform.processor() or "CPU"}
        with contextlib.suppress(ImportError):
            import triton

            row["triton"] = triton.__version__
        size = 8192 if self.gpu else 512
        dtype = self.half if self.gpu else torch.float32
        a, b = torch.randn(2, size, size, device=self.device).to(dtype)
        source = torch.randn(2**28 if self.gpu else 2**22, device=self.device)
        target = torch.empty_like(source)
        if self.gpu:
            row["device"] = torch.cuda.get_device_name()
        for name, work, amount in (
            ("flops", lambda: a @ b, 2.0 * size**3),
            ("bytes", lambda: target.copy_(source), 8.0 * len(source)),
        ):
            work()
            row[name] = 8 * amount / self.timed(lambda work=work: [work() for _ in range(8)], 1)["seconds"]
        self.ceilings = {name: row[name] for name in ("flops", "bytes")}
        return row

    def fairseq_forced(self, half: bool, batch: int) -> dict[str, Any]:
        """fairseq's generator at forced lengths."""
        model = self.halved(self.model, half)
        sentences = self.even[: min(2 * batch, len(self.even))]
        limits = self.forced
        self.by_fairseq(model, sentences[:batch], batch, None, **limits)
        row = self.timed(lambda: self.by_fairseq(model, sentences, batch, None, **limits), len(sentences), repeats=1)
        return self.share(row, batch, 2 if half else 4)

    def halved(self, model: Any, half: bool) -> Any:
        """The model, in half precision if asked for."""
        import copy

        return copy.deepcopy(model).to(self.half) if half else model

    def fast_forced(self, slots: int, dtype: str, repeats: int = 2, **options: Any) -> dict[str, Any]:
        """The fast search at forced lengths."""
        search = self.searcher(self.forced, self.even, slots=slots, dtype=self.dtype(dtype), **options)
        number = max(search.slots, len(self.even) // search.slots * search.slots)
        sentences = (self.even * (number // len(self.even) + 1))[:number]
        batches = [sentences[i : i + 512] for i in range(0, number, 512)]
        list(search.search_batches([sentences[: search.slots]]))  # compiles, captures
        row = self.timed(lambda: list(search.search_batches(batches)), number, repeats)
        row |= {"slots": search.slots, "kernels": kernels_of(search)}
        return self.share(row, search.slots, 4 if dtype == "fp32" else 2)

    def dtype(self, name: str) -> Any:
        """torch's name of a precision."""
        import torch

        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]

    def fairseq_varied(self, half: bool, batch: int) -> dict[str, Any]:
        """fairseq's generator on batches of like source length, when sentences end by themselves."""
        model, limits = self.halved(self.ending_model, half), self.varied
        sentences = self.ragged[:: max(1, len(self.ragged) // batch)][:batch]
        prefix = self.shape.words - 1
        self.by_fairseq(model, sentences[:32], 32, prefix, **limits)
        found: list[Any] = []
        row = self.timed(
            lambda: found.extend(self.by_fairseq(model, sentences, batch, prefix, **limits)), len(sentences), repeats=1
        )
        return row | lengths_of([len(one[0]["tokens"]) for one in found])

    def fast_varied(self, slots: int, dtype: str, **options: Any) -> dict[str, Any]:
        """The fast search on the same."""
        search = self.searcher(self.varied, self.ragged, slots=slots, dtype=self.dtype(dtype), **options)
        batches = [self.ragged[i : i + 128] for i in range(0, len(self.ragged), 128)]
        prefix = self.shape.words - 1
        for _ in range(2):  # each size of a step is run once as it is before it is captured
            found = [one for batch in search.search_batches(batches, prefix) for one in batch]
        row = self.timed(lambda: list(search.search_batches(batches, prefix)), len(self.ragged))
        row |= {"slots": search.slots, "kernels": kernels_of(search)}
        return row | lengths_of([len(one[0][0]) for one in found])

    def same_as_fairseq(self, dtype: str, kernels: str, search_by: str = "fast") -> dict[str, Any]:
        """Of 64 sentences: how many have the same best hypothesis, and all the same hypotheses, as fairseq in fp32."""
        sentences, limits, prefix = (
            self.ragged[:: max(1, len(self.ragged) // 64)][:64],
            self.varied,
            self.shape.words - 1,
        )
        if not hasattr(self, "_reference"):
            found = self.by_fairseq(self.ending_model, sentences, 64, prefix, **limits)
            self._reference = [[(h["tokens"].tolist(), float(h["score"])) for h in one] for one in found]
        if search_by == "fairseq":
            found = self.by_fairseq(self.halved(self.ending_model, True), sentences, 64, prefix, **limits)
            mine = [[(h["tokens"].tolist(), float(h["score"])) for h in one] for one in found]
        else:
            search = self.searcher(limits, sentences, slots=64, dtype=self.dtype(dtype), kernels=kernels)
            (mine,) = search.search_batches([sentences], prefix)
        best = sum(a[0][0] == b[0][0] for a, b in zip(mine, self._reference, strict=True))
        whole = sum([t for t, _ in a] == [t for t, _ in b] for a, b in zip(mine, self._reference, strict=True))
        apart = (
            max(abs(a[0][1] - b[0][1]) for a, b in zip(mine, self._reference, strict=True) if a[0][0] == b[0][0])
            if best
            else None
        )
        return {"of": len(sentences), "same_best": best, "same_all": whole, "score_apart": apart}

    def in_the_middle(self) -> Middle:
        """A search in the middle of forced sentences, with all slots in use."""
        import torch

        dtype = self.half if self.gpu else torch.float32
        search = self.searcher(self.forced, self.even, slots=self.arguments.slots, dtype=dtype)
        slots, middle = search.slots, self.arguments.length // 2
        sentences = search.sentences_of((self.even * (slots // len(self.even) + 1))[:slots], 0)
        found = Middle(search, slots, min(middle + 16, search._times), search._sources, sentences)
        search._admit(sentences, range(slots))
        for _ in range(middle):
            found.launch()
        self.wait()
        return found

    def milliseconds(self, search: Any, work: Callable[[], Any], number: int = 8, as_graph: bool = True) -> float | str:
        """Of one of several runs one behind the other, on a GPU as a graph; or why there is no such time."""
        try:
            with search._on_device():
                work()
                if self.gpu and as_graph:
                    import torch

                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, stream=search._stream, capture_error_mode="thread_local"):
                        kept = work()
                    work = graph.replay
                    del kept
                work()
                self.wait()
                start = time.perf_counter()
                for _ in range(number):
                    work()
                self.wait()
        except Exception as error:
            return f"failed: {error!r}"[:200]
        return (time.perf_counter() - start) / number * 1000

    def pieces_of_a_step(self) -> dict[str, Any]:
        """Milliseconds of the parts of a step in the middle of the sentences, all layers together."""
        import torch
        from torch.nn import functional as F

        from fairseq_musc.translate.beam_search import advance

        middle = self.in_the_middle()
        search, slots = middle.search, middle.slots
        weights, memory, kernels = search.weights, search._memory, search.kernels
        state, lengths = search._state.of(slots), memory.lengths[:slots]
        layer, every = weights.decoder.layers[0], range(len(weights.decoder.layers))
        row: dict[str, Any] = {"slots": slots, "kernels": kernels_of(search)}
        with search._on_device():
            x = torch.randn(slots * 5, self.shape.width, device=self.device).to(weights.words.dtype)
            nothing = torch.zeros_like(x)
            inner = torch.randn(slots * 5, self.shape.ffn, device=self.device).to(x.dtype)
            masks = kernels.masks(state.ancestors, state.step, lengths, middle.times, middle.reach, x.dtype)
            qkv = F.linear(x, *layer.self_in)
            logits = F.linear(x, weights.words)
            best = kernels.top_words(logits, 12)
        parts: dict[str, Callable[[], Any]] = {
            "self attention": lambda: [
                kernels.self_attention(qkv, memory.own[i], state.ancestors, state.step, masks) for i in every
            ],
            "cross attention": lambda: [kernels.cross_attention(x, memory.source[i], lengths, masks, 5) for i in every],
            "add and normalise": lambda: [
                kernels.add_norm(x, nothing, layer.ffn_norm) for _ in every for _ in range(3)
            ],
            "products, attention in": lambda: [F.linear(x, *layer.self_in) for _ in every],
            "products, attention out, cross in and out": lambda: [
                F.linear(x, *layer.self_out) for _ in every for _ in range(3)
            ],
            "products, feed-forward in": lambda: [
                torch._addmm_activation(layer.ffn_in.bias, x, layer.ffn_in.weight.t()) for _ in every
            ],
            "products, feed-forward out": lambda: [F.linear(inner, *layer.ffn_out) for _ in every],
            "product, words": lambda: F.linear(x, weights.words),
            "top words": lambda: kernels.top_words(logits, 12),
            "advance": lambda: advance(*best, logits, state, search._rules),
            "step, each kernel launched": lambda: search._step(slots, middle.times, middle.reach),
            "step, as the search does it": middle.launch,
            "encoder and its keys, all slots": lambda: search._admit(middle.sentences, range(slots)),
        }
        for name, work in parts.items():
            with search._on_device():
                state.step.clamp_(max=self.arguments.length // 2)  # some parts go on: not beyond the room there is
            whole = name.startswith(("step", "encoder"))
            row[name] = self.milliseconds(search, work, 4 if whole else 8, as_graph=not whole)
        # what a search that sorts its cache would copy in each step at this length
        with search._on_device():
            copied = memory.own[0, :, :slots, :, : self.arguments.length // 2 * 5].reshape(2, slots * 5, -1)
            order = torch.randint(0, slots * 5, (slots * 5,), device=self.device).sort().values
        row["(copying the cache in the order of hypotheses)"] = self.milliseconds(
            search, lambda: [copied.index_select(1, order) for _ in every]
        )
        return row

    def kernel_settings(self) -> dict[str, Any]:
        """Milliseconds of Triton's attentions with other block sizes and numbers of warps, all layers together."""
        import torch

        from fairseq_musc.translate import triton_kernels

        middle = self.in_the_middle()
        search = middle.search
        state, memory = search._state.of(middle.slots), search._memory
        with search._on_device():
            qkv = torch.randn(middle.slots * 5, 3 * self.shape.width, device=self.device).to(search.weights.words.dtype)
            x = qkv[:, : self.shape.width].contiguous()

        def own() -> None:
            for i in range(self.shape.layers):
                triton_kernels.self_attention(qkv, memory.own[i], state.ancestors, state.step)

        def source() -> None:
            for i in range(self.shape.layers):
                triton_kernels.cross_attention(x, memory.source[i], memory.lengths[: middle.slots], None, 5)

        kept, row = (triton_kernels.BLOCK, triton_kernels._warps), {}
        for block, warps in ((32, 2), (32, 1), (64, 4), (16, 2), (32, 4), (64, 2)):
            triton_kernels.BLOCK, triton_kernels._warps = block, lambda x, warps=warps: warps
            for name, work in (("self", own), ("cross", source)):
                row[f"{name} attention, blocks of {block}, {warps} warps"] = self.milliseconds(search, work)
        triton_kernels.BLOCK, triton_kernels._warps = kept
        return row

    def mixed(self, name: str) -> Any:
        """Triton's kernels, but for one function in plain torch."""
        import types

        from fairseq_musc.translate import torch_kernels, triton_kernels

        functions = ("masks", "self_attention", "cross_attention", "add_norm", "top_words")
        made = {function: getattr(triton_kernels, function) for function in functions}
        made[name] = getattr(torch_kernels, name)
        if name.endswith("attention"):
            made["masks"] = torch_kernels.masks
        return types.SimpleNamespace(READS_ALL=name.endswith("attention"), __name__=f"triton, {name} by torch", **made)

    def product(self, search: str, number: int, forced: bool) -> dict[str, Any]:
        """From a file of texts to a file of translations, by ``benchmarks/translation.py``."""
        import translation

        from fairseq_musc.translate.engine import Decoding
        from fairseq_musc.translate.engines import fairseq as engines_fairseq

        row = self.opened()
        engine, texts = row.engine, Path(self.arguments.scratch) / "texts"
        texts.write_text("".join(f"{line}\n" for line in self.texts(number, engine.lengths)), encoding="utf-8")
        arguments = argparse.Namespace(texts=texts, limit=None, source_lang="xx", target_lang="yy", repeats=2)
        length = self.arguments.length
        decoding = Decoding(5, 0, length if forced else 5 * length)
        kept = engines_fairseq.MIN_LEN
        try:
            if forced:
                engines_fairseq.MIN_LEN = length
            device = dataclasses.replace(row.device, search=search)
            engine.decoding = decoding
            engine._fast = engines_fairseq.fast_search(engine.model, engine.longest, decoding, device)
            row.seconds = float("inf")
            sentences = translation.run([row], arguments, decoding)
            pieces = engine.lengths(translation.planned(arguments, engine, decoding).sentences)
        finally:
            engines_fairseq.MIN_LEN, engine._fast = kept, None
        assert row.best is not None
        words = [len(text.split()) for text in row.best.values()]
        return {
            "sentences": sentences, "seconds": row.seconds, "rate": sentences / row.seconds, "loading": row.loading,
            "mean_source": sum(pieces) / len(pieces) + 2, "empty": words.count(0), **lengths_of(words),
        }  # fmt: skip

    def opened(self) -> Any:
        """The engine of the rows named "product", loaded once."""
        if self._opened is None:
            import translation

            from fairseq_musc.translate.engine import Decoding, Device

            arguments = argparse.Namespace(translator=self.translator(), hugging_face=None)
            device = Device(batch_tokens=self.arguments.batch_tokens, cpu=not self.gpu, search="fairseq")
            name = f"fairseq:{'fp16' if self.gpu else 'fp32'}"
            self._opened = translation.open_row(name, arguments, Decoding(), device)
        return self._opened

    def texts(self, number: int, lengths: Callable[[Sequence[str]], list[int]] | None = None) -> list[str]:
        """Lines of one sentence each, which come to --source tokens with the language and the end of sentence."""
        draw = random.Random(1)
        syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
        lexicon = ["".join(draw.choices(syllables, k=draw.choice((1, 2, 2, 3)))) for _ in range(4000)]
        words = self.arguments.source

        def lines(number: int) -> list[str]:
            return [" ".join(draw.choices(lexicon, k=words)).capitalize() + "." for _ in range(number)]

        if lengths is not None:
            of_a_word = sum(lengths([" ".join(lexicon)])) / len(lexicon)
            too_long = sum(lengths(lines(100))) / 100 + 2 - self.arguments.source
            words = max(1, words - round(too_long / of_a_word))
        return lines(number)

    def translator(self) -> Path:
        """The folder of a translator with the random model, its own dictionary and SentencePiece model."""
        folder = Path(self.arguments.scratch) / "m2m_100"
        if (folder / "model.pt").exists():
            return folder
        import io

        import torch
        from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

        from fairseq_musc.translate import release

        folder.mkdir(parents=True, exist_ok=True)
        made = io.BytesIO()
        SentencePieceTrainer.train(
            sentence_iterator=iter(self.texts(4000)), model_writer=made, vocab_size=min(4000, self.shape.words // 2),
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (folder / release.SENTENCEPIECE).write_bytes(made.getvalue())
        spm = SentencePieceProcessor(model_proto=made.getvalue())
        pieces = [
            spm.id_to_piece(i) for i in range(spm.get_piece_size()) if not spm.is_unknown(i) and not spm.is_control(i)
        ]
        filling = [f"\u2581w{i}" for i in range(self.shape.words - 4 - 2 - len(pieces))]
        for name, symbols in (
            (release.DATA_DICT, pieces),
            (release.MODEL_DICT, [*pieces, *filling, "__xx__", "__yy__"]),
        ):
            (folder / name).write_text("".join(f"{symbol} 1\n" for symbol in symbols), encoding="utf-8")
        (folder / release.LANGUAGE_PAIRS).write_text("xx-yy,yy-xx", encoding="utf-8")
        weights = {name: tensor.to("cpu", self.half) for name, tensor in self.ending_model.state_dict().items()}
        history = [{"num_updates": 0, "best_loss": None}]
        state = {"args": settings(self.shape), "model": weights, "extra_state": {}, "optimizer_history": history}
        torch.save(state, folder / "model.pt")
        return folder

    def profile(self) -> dict[str, Any]:
        """Tables of the kernels of five steps in the middle of the sentences, launched one by one and as a graph."""
        from torch.profiler import ProfilerActivity, profile

        middle = self.in_the_middle()
        search = middle.search
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self.gpu
        order = "self_cuda_time_total" if self.gpu else "self_cpu_time_total"
        row = {}
        for name, work in (
            ("profile-steps.txt", lambda: search._step(middle.slots, middle.times, middle.reach)),
            ("profile-graph.txt", middle.launch),
        ):
            with profile(activities=activities) as profiled, search._on_device():
                for _ in range(5):
                    work()
                self.wait()
            table = profiled.key_averages().table(sort_by=order, row_limit=60, max_name_column_width=90)
            (Path(self.arguments.output) / name).write_text(table, encoding="utf-8")
            row[name] = "written"
        return row

    def rows(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """Everything that can be measured, what matters most first."""
        slots, gpu = self.arguments.slots, self.gpu
        half = "fp16" if gpu else "fp32"
        batch = 512 if gpu else slots
        yield "machine", self.machine
        yield f"{BASELINE} {half}, batch {batch}", lambda: self.fairseq_forced(half=gpu, batch=batch)
        yield f"forced: fast {half}, {slots} slots", lambda: self.fast_forced(slots, half)
        yield f"product: fast {half}, forced", lambda: self.product("fast", 6 * slots, forced=True)
        yield f"product: fast {half}", lambda: self.product("fast", 6 * slots, forced=False)
        yield "check: fast fp32", lambda: self.same_as_fairseq("fp32", "auto")
        if gpu:
            yield "check: fast fp16", lambda: self.same_as_fairseq("fp16", "auto")
            yield "check: fast bf16", lambda: self.same_as_fairseq("bf16", "auto")
            yield "check: fairseq fp16", lambda: self.same_as_fairseq("fp16", "", "fairseq")
        yield f"product: fairseq {half}, forced", lambda: self.product("fairseq", slots, forced=True)
        yield "pieces of a step", self.pieces_of_a_step
        if self.arguments.profile:
            yield "profile", self.profile
        if gpu:
            yield f"forced: fast bf16, {slots} slots", lambda: self.fast_forced(slots, "bf16")
        yield f"varied: fast {half}, {slots} slots", lambda: self.fast_varied(slots, half)
        yield f"varied: fairseq {half}, batch {batch}", lambda: self.fairseq_varied(half=gpu, batch=batch)
        if gpu:
            for others in (384, 768, 1024):
                yield f"forced: fast fp16, {others} slots", lambda others=others: self.fast_forced(others, "fp16")
        yield f"forced: fast {half}, plain torch", lambda: self.fast_forced(slots, half, kernels="torch")
        if gpu:
            yield "check: fast fp32, plain torch", lambda: self.same_as_fairseq("fp32", "torch")
            yield "forced: fast fp16, no graphs", lambda: self.fast_forced(slots, "fp16", graphs=False)
            yield "kernel settings", self.kernel_settings
            for name in ("self_attention", "cross_attention", "add_norm", "top_words"):
                yield (
                    f"forced: fast fp16, {name} by torch",
                    lambda name=name: self.fast_forced(slots, "fp16", repeats=1, kernels=self.mixed(name)),
                )
            yield "forced: fast fp32, 256 slots", lambda: self.fast_forced(256, "fp32", repeats=1)
            yield (
                "forced: fast fp16, plain torch, no graphs",
                lambda: self.fast_forced(slots, "fp16", repeats=1, kernels="torch", graphs=False),
            )


def kernels_of(search: Any) -> str:
    """The name of what does the kernels, to see that the GPU did not fall back."""
    return str(search.kernels.__name__).rpartition(".")[2] + (", graphs" if search._graphs is not None else "")


def lengths_of(lengths: list[int]) -> dict[str, Any]:
    """What is told of the lengths of hypotheses."""
    return {"mean_length": sum(lengths) / len(lengths), "lengths": [min(lengths), max(lengths)]}


def settings(shape: Shape) -> argparse.Namespace:
    """Of m2m_100, less what does not matter when it is not trained."""
    from fairseq.models.transformer import base_architecture

    sizes = {
        "embed_dim": shape.width, "ffn_embed_dim": shape.ffn, "layers": shape.layers, "attention_heads": shape.heads,
        "normalize_before": True,
    }  # fmt: skip
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sizes.items()}
    made = argparse.Namespace(
        arch="transformer", task="translation_multi_simple_epoch", share_all_embeddings=True, activation_fn="relu",
        max_source_positions=1024, max_target_positions=1024, **sides,
    )  # fmt: skip
    base_architecture(made)
    return made


def new_model(shape: Shape, dictionary: Any) -> Any:
    """fairseq's TransformerModel with random weights, on torch's default device."""
    import types

    from fairseq.models.transformer import TransformerModel

    task = types.SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return TransformerModel.build_model(settings(shape), task)


# --- one process, or several in turn ---------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace, say: Callable[[dict[str, Any]], None]) -> None:
    """Measures what is not in ``arguments.done``; ``say`` hears of the start and the end of each row."""
    import torch

    bench = Bench(arguments)
    for name, work in bench.rows():
        if name in arguments.done or (
            arguments.only and not any(part in name for part in (*arguments.only, "machine"))
        ):
            continue
        if time.time() > arguments.deadline:
            say({"name": name, "failed": "no time was left"})
            continue
        say({"name": name, "started": True})
        begun = time.perf_counter()
        if bench.gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            with torch.no_grad():
                row = work()
        except Exception as error:
            row = {"failed": f"{type(error).__name__}: {error}"[:500], "traceback": traceback.format_exc()}
        if bench.gpu:
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        say({"name": name, **row, "took": time.perf_counter() - begun})
        gc.collect()
        if bench.gpu:
            torch.cuda.synchronize()  # raises, and ends this process, if the GPU is broken for it
            torch.cuda.empty_cache()


def in_processes(arguments: argparse.Namespace, say: Callable[[dict[str, Any]], None]) -> None:
    """:func:`measure` in a process of its own, and in another for the rest if that one ends before its time."""
    done: list[str] = []
    while time.time() < arguments.deadline:
        current = None
        command = [sys.executable, "-u", __file__, *arguments.argv, "--worker", "--deadline", str(arguments.deadline)]
        command += ["--scratch", arguments.scratch, "--done", *done]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
            assert process.stdout is not None
            # a row that never ends must not keep what was measured from being told
            watchdog = threading.Timer(arguments.deadline + 30 - time.time(), process.kill)
            watchdog.start()
            for line in process.stdout:
                try:
                    row = json.loads(line)
                    name = row["name"]
                except (ValueError, KeyError, TypeError):
                    print(line, end="", flush=True)
                    continue
                current = name if row.get("started") else None
                if not row.get("started"):
                    if name not in done:
                        done.append(name)
                    say(row)
            watchdog.cancel()
        if not process.returncode:
            return
        if current is None:
            say({"name": "the process", "failed": f"ended with status {process.returncode} between two rows"})
            if not done:
                return
            continue
        say({"name": current, "failed": f"its process ended with status {process.returncode}"})
        done.append(current)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON file."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the JSON file is written to")
    parser.add_argument("--shape", choices=SHAPES, default="m2m_100_418M", help="of the model (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="where (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=512, help="sentences at once (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=2048, help="in each run (default: %(default)s)")
    parser.add_argument("--source", type=int, default=40, help="tokens of a source sentence (default: %(default)s)")
    parser.add_argument("--length", type=int, default=40, help="tokens of a hypothesis (default: %(default)s)")
    parser.add_argument(
        "--batch-tokens", type=int, default=8192, help="of the product's batches (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=80, help="no row is begun after these (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="measure only rows with one of these in their name")
    parser.add_argument("--profile", action="store_true", help="write tables of the kernels, too")
    parser.add_argument("--in-process", action="store_true", help="do not start a process for the measuring")
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--done", nargs="*", default=[], help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.argv = argv
    if arguments.worker:
        measure(arguments, lambda row: print(json.dumps(row), flush=True))
        return 0

    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    arguments.deadline = time.time() + arguments.seconds
    rows: list[dict[str, Any]] = []

    def say(row: dict[str, Any]) -> None:
        if row.get("started"):
            return
        rows.append(row)
        (output / "translation_gpu.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(line_of(row), flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        arguments.scratch = scratch
        (measure if arguments.in_process else in_processes)(arguments, say)
    print("\n" + table(rows))
    return 0


def line_of(row: dict[str, Any]) -> str:
    """A row as it comes, in one line."""
    short = {
        name: round(value, 3) if isinstance(value, float) and value < 1e6 else value
        for name, value in row.items()
        if name not in ("name", "traceback")
    }
    return f"{row['name']}: " + ", ".join(f"{name} {value}" for name, value in short.items())


def table(rows: Sequence[dict[str, Any]]) -> str:
    """What was measured, as Markdown."""
    named = {row["name"]: row for row in rows}
    baseline = next((row["rate"] for row in rows if row["name"].startswith(BASELINE) and "rate" in row), None)

    def number(value: Any, form: str) -> str:
        return format(value, form) if isinstance(value, (int, float)) else ""

    lines = []
    if "device" in named.get("machine", {}):
        machine = named["machine"]
        lines += [
            f"{machine['device']}; torch {machine['torch']}, Triton {machine.get('triton', 'none')}; matrix product "
            f"{machine['flops'] / 1e12:.1f} TFLOP/s, copy {machine['bytes'] / 1e12:.2f} TB/s",
            "",
        ]
    lines += ["| | sentences/s | x fairseq | share of bound | peak GiB | |", "|:--|--:|--:|--:|--:|:--|"]
    for row in rows:
        if "rate" in row or (
            "failed" in row and not row["name"].startswith(("check", "pieces", "kernel", "machine", "profile"))
        ):
            notes = row.get("failed") or row.get("kernels", "")
            if "mean_length" in row:
                notes = f"{notes} mean length {row['mean_length']:.1f}, from {row['lengths'][0]} to {row['lengths'][1]}"
            ratio = row["rate"] / baseline if "rate" in row and baseline else None
            if "loading" in row:
                notes = f"{notes}, {row['mean_source']:.0f} tokens in; loaded in {row['loading']:.1f} s"
            if "forced" not in row["name"]:
                ratio = None
            lines.append(
                f"| {row['name']} | {number(row.get('rate'), '.1f')} | {number(ratio, '.2f')} | "
                f"{number(row.get('share'), '.0%')} | {number(row.get('peak_gib'), '.1f')} | {notes.strip()[:150]} |"
            )
    if any(row["name"].startswith("check") for row in rows):
        lines += ["", "| of 64 sentences, as fairseq in fp32 | best | all 5 | scores apart |", "|:--|--:|--:|--:|"]
        lines += [
            f"| {row['name'].removeprefix('check: ')} | {row.get('same_best', row.get('failed', ''))} | "
            f"{row.get('same_all', '')} | {number(row.get('score_apart'), '.1e')} |"
            for row in rows
            if row["name"].startswith("check")
        ]
    for row in rows:
        if row["name"] in ("pieces of a step", "kernel settings"):
            lines += ["", f"| {row['name']} | ms |", "|:--|--:|"]
            left_out = ("name", "slots", "kernels", "took", "peak_gib", "traceback")
            lines += [
                f"| {name} | {number(value, '.3f') or value} |" for name, value in row.items() if name not in left_out
            ]
    return "\n".join(lines)


def run_from_checkout() -> None:
    """Makes a checkout that is not installed importable, with the rooms that setup.py maps into the package."""
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here))  # the rows of translation.py are used
    if importlib.util.find_spec("fairseq_musc") is None:
        sys.path.append(str(here.parent))
    import fairseq_musc

    if importlib.util.find_spec("fairseq_musc.criterions") is None:
        fairseq_musc.__path__.append(str(here.parent))


if __name__ == "__main__":
    run_from_checkout()
    sys.exit(main())
