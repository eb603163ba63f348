"""Times the kernels of a layer apart, forward and back: our own, torch's, and what the matrix products take.

    python benchmarks/kernels.py --output FOLDER             # on a GPU: the tokens of an update of the recipe
    python benchmarks/kernels.py --output FOLDER --sweep     # our attention with other tiles; minutes
    python benchmarks/kernels.py --output FOLDER --tiny      # on a CPU, in seconds: it shows that it runs

The rows are those of one update: six languages of 32 pairs each, two plain views and two mixed ones, long as PAWS-X's.
A kernel that moves data is bound by memory, so *GB/s* counts what it has to read and write, once, and *share* is of the
rate of a large copy on the same device; of a product, *share* is of the rate of a large one. *us* is the median. The
way back of what has a bias in front sums the gradient of that bias, too. With --sweep every choice of tiles is held to
plain attention first, and the ones that are wrong, or do not fit the device, are named. Writes FOLDER/kernels.json.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from made_up import MBERT, TINY, Size
from torch import Tensor
from training import BATCH_OF, device_of, languages, matrix_rate, say, synchronize

from fairseq_musc.files import write_json
from fairseq_musc.models import attention
from fairseq_musc.models.attention import Spans
from fairseq_musc.models.seeds import draw_seeds

DROPOUT = 0.1
AT_ONCE = 10
"""How often what is timed on a GPU is done in one go."""
BUSY = 40_000_000
"""Cycles for which the GPU is kept busy meanwhile: some 20 ms, in which a CPU launches hundreds of kernels."""


@dataclass
class Measured:
    """What was measured of one kernel, or of a pass through several."""

    name: str
    microseconds: float = 0.0
    gigabytes_per_second: float = 0.0
    share: float = 0.0
    error: str = ""


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--sweep", action="store_true", help="our attention with other tiles; needs a GPU")
    parser.add_argument("--limit", type=float, default=300.0, help="begin no kernel after so many seconds")
    parser.add_argument("--tiny", action="store_true", help="few narrow rows and two repetitions, for a CPU")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if arguments.sweep and not torch.cuda.is_available():
        parser.error("--sweep needs a GPU: our kernels are not run elsewhere")
    torch.manual_seed(0)
    size, times = (TINY, 2) if arguments.tiny else (MBERT, 20)
    spans = rows_of_an_update(size, arguments.tiny)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    say(f"{device}: {spans.tokens} tokens in {len(spans.cu_seqlens) - 1} rows")
    rate = copy_rate(times, arguments.tiny)
    if arguments.sweep:
        measured = swept(size, spans, times, rate)
    else:
        measured = itertools.chain(
            kernels(size, spans, times, rate),
            [norm_of_gradient(size, times, rate)],
            products(size, spans, times, matrix_rate(arguments.tiny)),
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    about = {"device": device, "torch": torch.__version__, "tokens": spans.tokens, "copy_gigabytes_per_second": rate}
    results: list[Measured] = []
    for result in measured:
        results.append(result)
        say(f"{result.name}: {result.error or f'{result.microseconds:.1f} us'}")
        write_json(arguments.output / "kernels.json", {**about, "results": [asdict(each) for each in results]})
        if time.monotonic() - begun > arguments.limit:
            say(f"the rest is left out after {arguments.limit:.0f} s")
            break
    if arguments.sweep:
        results.sort(key=lambda result: (result.error != "", result.microseconds))
    print(f"\n{device}, torch {torch.__version__}; a copy moves {rate:.0f} GB/s\n")
    print(f"{'':46s} {'us':>8s} {'GB/s':>7s} {'share':>6s}")
    for r in results:
        print(
            f"{r.name:46s} {r.error}"
            if r.error
            else f"{r.name:46s} {r.microseconds:8.1f} {r.gigabytes_per_second:7.0f} {r.share:6.2f}"
        )


def rows_of_an_update(size: Size, tiny: bool) -> Spans:
    """Where the rows of one update lie: two plain views of every language, and two mixed ones."""
    rng = np.random.default_rng(0)
    lengths = rng.normal(size.mean, size.deviation, (2, languages(tiny), BATCH_OF[tiny]))
    plain = lengths.round().clip(size.shortest, size.longest).astype(np.int64)
    mixed = np.maximum(plain, plain[:, :, ::-1])  # a row is mixed with the one at the same place from the end
    every = np.concatenate([plain.ravel(), mixed.ravel()])
    ends = torch.from_numpy(np.concatenate([[0], every.cumsum()]).astype(np.int32)).to(device_of())
    return Spans(ends, int(every.max()), int(every.sum()))


def timed(work: Callable[[], Any], times: int) -> float:
    """The median time of some work, in microseconds.

    A GPU is kept busy until it has been asked for all that is timed: what is not timed is the CPU that asks.
    """
    for _ in range(3):
        work()
    synchronize()
    seen = []
    for _ in range(times):
        if torch.cuda.is_available():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(BUSY)
            begin.record()
            for _ in range(AT_ONCE):
                work()
            end.record()
            end.synchronize()
            seen.append(1000 * begin.elapsed_time(end) / AT_ONCE)
        else:
            start = time.perf_counter()
            work()
            seen.append(1e6 * (time.perf_counter() - start))
    return statistics.median(seen)


def copy_rate(times: int, tiny: bool) -> float:
    """Gigabytes a second that a large copy reads and writes."""
    one = torch.zeros(2**16 if tiny else 2**29, dtype=torch.uint8, device=device_of())
    other = torch.empty_like(one)
    return 2 * len(one) / timed(lambda: other.copy_(one), times) / 1e3


def forth_and_back(
    name: str, way: Callable[[], Tensor], of: list[Tensor], moved: tuple[int, int], times: int, rate: float
) -> Iterator[Measured]:
    """A function and its gradient.

    Args:
        name: what it is called.
        way: the function.
        of: what it is differentiated by.
        moved: the bytes that each of the two has to read and write.
        times: repetitions.
        rate: of a copy, GB/s.
    """
    value = way()
    upstream = torch.randn_like(value)

    def back() -> None:
        torch.autograd.grad(value, of, upstream, retain_graph=True)

    for suffix, work, many in (("", way, moved[0]), (", back", back, moved[1])):
        microseconds = timed(work, times)
        gigabytes = many / microseconds / 1e3
        yield Measured(name + suffix, microseconds, gigabytes, gigabytes / rate)


def kernels(size: Size, spans: Spans, times: int, rate: float) -> Iterator[Measured]:
    """Those that move data: attention, what follows it, GELU."""
    n, d, wide = spans.tokens, size.width, size.intermediate
    dtype = torch.bfloat16

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device_of(), dtype=dtype).requires_grad_()

    seeds = draw_seeds(device_of())  # drawn within, they would be waited for
    qkv, of_qkv = random(n, 3, size.heads, d // size.heads), random(3 * d)
    for name in attention.ATTENTIONS:
        if name != "padded" and not torch.cuda.is_available():
            continue
        way = attention.PADDED if name == "padded" else attention.KERNELS[name]()
        moved = (4 * n * d * 2, 8 * n * d * 2)
        try:
            yield from forth_and_back(
                f"attention: {name}",
                lambda way=way: way.of_whole(qkv, spans, DROPOUT, seeds, of_qkv),
                [qkv, of_qkv],
                moved,
                times,
                rate,
            )
        except (RuntimeError, ImportError) as error:
            yield Measured(f"attention: {name}", error=str(error).splitlines()[0])
    x, a, weight, bias, of_a = random(n, d), random(n, d), random(d), random(d), random(d)
    h, of_h = random(n, wide), random(wide)
    plain = attention.Biased.apply
    for name in ("triton", "torch") if torch.cuda.is_available() else ("torch",):
        if name == "triton":
            from fairseq_musc.models.triton_gelu import GeluOfBiased
            from fairseq_musc.models.triton_norm import DropAddNorm

            norm = lambda: DropAddNorm.apply(x, a, of_a, weight, bias, DROPOUT, 1e-12, seeds)  # noqa: E731
            gelu = lambda: GeluOfBiased.apply(h, of_h)  # noqa: E731
        else:
            norm = lambda: F.layer_norm(x + F.dropout(plain(a, of_a), DROPOUT), (d,), weight, bias, 1e-12)  # noqa: E731
            gelu = lambda: F.gelu(plain(h, of_h))  # noqa: E731
        moved = (4 * n * d * 2, 4 * n * d * 2)
        yield from forth_and_back(
            f"dropout, residual, norm: {name}", norm, [x, a, of_a, weight, bias], moved, times, rate
        )
        moved = (2 * n * wide * 2, 3 * n * wide * 2)
        yield from forth_and_back(f"gelu: {name}", gelu, [h, of_h], moved, times, rate)


def norm_of_gradient(size: Size, times: int, rate: float) -> Measured:
    """The norm of the gradient of a model of this size, of which the word embeddings are half."""
    layer = [(size.width, size.width)] * 4 + [(size.intermediate, size.width), (size.width, size.intermediate)]
    shapes = [(size.vocabulary, size.width), *(layer * size.layers)]
    gradients = [torch.randn(shape, device=device_of()) for shape in shapes]
    microseconds = timed(lambda: torch.nn.utils.get_total_norm(gradients), times)
    speed = 4e-3 * sum(gradient.numel() for gradient in gradients) / microseconds
    return Measured("norm of the gradient", microseconds, speed, speed / rate)


def products(size: Size, spans: Spans, times: int, rate: float) -> Iterator[Measured]:
    """The four products of a layer; back is one by the weights and one by the tokens."""
    n, d, wide = spans.tokens, size.width, size.intermediate
    for name, inside, outside in (
        ("queries, keys, values", d, 3 * d),
        ("behind attention", d, d),
        ("up", d, wide),
        ("down", wide, d),
    ):
        x, w = (
            torch.randn(*shape, device=device_of(), dtype=torch.bfloat16).requires_grad_()
            for shape in ((n, inside), (outside, inside))
        )
        for result in forth_and_back(f"product: {name}", lambda x=x, w=w: F.linear(x, w), [x, w], (0, 0), times, 1.0):
            operations = 2 * n * inside * outside * (2 if result.name.endswith("back") else 1)
            result.share = operations / (result.microseconds * 1e-6) / rate
            yield result


def swept(size: Size, spans: Spans, times: int, rate: float) -> Iterator[Measured]:
    """Our attention with other tiles."""
    from fairseq_musc.models import triton_attention as ours
    from fairseq_musc.models import triton_whole_rows as rows

    qkv = torch.randn(spans.tokens, 3, size.heads, size.width // size.heads, device=device_of(), dtype=torch.bfloat16)
    qkv.requires_grad_()
    bias = torch.randn(3 * size.width, device=device_of(), dtype=torch.bfloat16).requires_grad_()
    seeds = draw_seeds(device_of())
    moved = (8 * qkv[:, 0].numel(), 16 * qkv[:, 0].numel())
    tried = [
        [rows.Tiles(M, N, warps, most) for M, warps, most in itertools.product((16, 32, 64), (4, 8), (0, 128))]
        for N in (64, 128)
    ]
    forth, back = rows.WHOLE_FORTH, rows.WHOLE_BACK
    for ours.WHOLE_FORTH, ours.WHOLE_BACK in (
        (forth, back),
        ((), ()),
        *(
            ((*forth[:place], tiles, *forth[place + 1 :]), (*back[:place], tiles, *back[place + 1 :]))
            for place, those in enumerate(tried)
            for tiles in those
        ),
    ):
        name = ", ".join(str(tuple(tiles)) for tiles in ours.WHOLE_FORTH + ours.WHOLE_BACK) or "none whole"
        try:
            attention.check(attention.triton(), device_of(), torch.bfloat16, size.heads, size.width // size.heads)
            yield from forth_and_back(
                name,
                lambda: attention.triton().of_whole(qkv, spans, DROPOUT, seeds, bias),
                [qkv, bias],
                moved,
                times,
                rate,
            )
        except Exception as error:  # too large for the device, or wrong
            yield Measured(name, error=(str(error) or repr(error)).splitlines()[0][:90])


if __name__ == "__main__":
    main()
