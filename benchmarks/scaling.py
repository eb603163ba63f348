"""Times one update against batch size, length of rows, number of languages and number of rows, and explains the slope.

    python benchmarks/scaling.py --output FOLDER            # on a GPU: mBERT's shape, bf16
    python benchmarks/scaling.py --output FOLDER --tiny     # on a CPU, in seconds: it shows that it runs
    python benchmarks/scaling.py --output FOLDER --again    # table and figure of what has been measured there

Makes made-up data and an untrained encoder in FOLDER/scaling-world (once), builds the recipe's model, optimizer and
fairseq's trainer once, and takes a few updates at every point. Writes FOLDER/scaling.json from the first point on, and
at the end FOLDER/scaling.md (the table, and what it says) and FOLDER/scaling.png. After --limit seconds no further
point is begun, and those left out are named.

*ms* is the median from one update to the next, with the optimizer and fairseq's bookkeeping, without loading; *load* is
what one process takes to read and lay out a batch, which in training other processes do meanwhile; *GiB* is the most
memory that was taken at once, on a GPU; *tokens* are those of all rows that the encoder sees, plain and mixed, without
padding. To all points at once

    ms = fixed + linear * tokens + quadratic * (the sum of the squared lengths of the rows)

is fitted (least squares of the relative errors, no part below 0). The products of the layers are linear in the tokens,
attention is quadratic in the length of a row, and what every update costs whatever its batch is fixed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

STARTED = time.time()

# ruff: noqa: E402
import numpy as np
import torch
from made_up import MBERT, TINY, XNLI_LANGUAGES, Size, make_corpora, make_data_bin, make_encoder
from training import Variant, Watch, composed_recipe, matrix_rate, reset_peak, say

from fairseq_musc.files import write_json, written_whole
from fairseq_musc.models.graphs import LayerGraphs

BATCHES, PASSES = 6, 4
"""What is taken at a point: batches, and how often; the last pass is timed. A number of tokens that comes back the
third time is captured as a CUDA graph."""
WARM, TIMED = BATCHES * (PASSES - 1), BATCHES


@dataclass(frozen=True)
class Plan:
    """What is tried."""

    shape: Size
    batch: int
    """Pairs of every language, where it is not the batch that grows."""
    languages: int
    batches: tuple[int, ...]
    language_counts: tuple[int, ...]
    lengths: tuple[int, ...]
    batch_of_lengths: int
    """Pairs of every language where the rows grow longer."""
    rows: tuple[int, ...]
    """Of the corpora from which one language draws."""


FULL = Plan(
    shape=MBERT,
    batch=32,
    languages=6,
    batches=(4, 8, 16, 32, 64, 96),
    language_counts=(1, 2, 4, 6, 10, 14),
    lengths=(16, 32, 64, 128, 256, 512),
    batch_of_lengths=8,
    rows=(1_000, 4_000, 16_000, 64_000),
)
SMALL = Plan(
    shape=TINY,
    batch=4,
    languages=2,
    batches=(2, 16),
    language_counts=(1, 3),
    lengths=(8, 64),
    batch_of_lengths=2,
    rows=(100, 400),
)
AXES = {
    "batch": "pairs of every language",
    "languages": "target languages",
    "length": "tokens a row",
    "rows": "rows of the corpora",
}


class Point(NamedTuple):
    """One place at which updates are taken."""

    axis: str
    """A key of :data:`AXES`: what is varied."""
    value: int
    batch: int
    """Pairs of every language."""
    languages: int


@dataclass
class Measured:
    """What was measured at a point; nothing but the error if it failed."""

    axis: str
    value: int
    batch: int
    languages: int
    milliseconds: float = 0.0
    gib: float = 0.0
    tokens: float = 0.0
    """Of all rows of an update, plain and mixed."""
    squares: float = 0.0
    """The sum of the squared lengths of these rows."""
    load_milliseconds: float = 0.0
    epoch_milliseconds: float = 0.0
    """To permute the rows of an epoch and to cut them into batches."""
    error: str = ""


def main() -> None:
    """Makes the world, measures the points, and writes table and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the world, the table and the figure")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES), help="what is varied")
    parser.add_argument("--tiny", action="store_true", help="a small encoder and few points, for a CPU")
    parser.add_argument("--limit", type=float, default=150.0, help="begin no point after so many seconds")
    parser.add_argument("--again", action="store_true", help="measure nothing: table and figure of a scaling.json")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    if arguments.again:
        tell(output, *read(output / "scaling.json"))
        return
    output.mkdir(parents=True, exist_ok=True)
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    plan = SMALL if arguments.tiny else FULL
    say("the world")
    world = output / "scaling-world"
    make_world(world, plan, arguments.axes)
    rate = matrix_rate(arguments.tiny)
    signature = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "precision": PRECISION[torch.cuda.is_available()],
        "bf16_product_teraflops": rate / 1e12,
        "plan": asdict(plan),
    }
    say(f"{signature['device']}, bf16 product {rate / 1e12:.1f} TFLOP/s; the model")
    bench = Bench(world, DATA_OF[arguments.axes[0]])
    results: list[Measured] = []
    points = [point for axis in arguments.axes for point in points_of(plan, axis)]
    for place, point in enumerate(points):
        if place and time.time() - STARTED > arguments.limit:
            results += [Measured(*left, error="left out for want of time") for left in points[place:]]
            break
        results.append(bench.measured(point, rows_of(plan, point)))
        say(f"{point.axis} {point.value}: {results[-1].error or f'{results[-1].milliseconds:.1f} ms'}")
        write_json(output / "scaling.json", {**signature, "results": [asdict(result) for result in results]})
    tell(output, signature, results)


def read(path: Path) -> tuple[dict[str, Any], list[Measured]]:
    """The signature and the measurements in a scaling.json."""
    signature = json.loads(path.read_text(encoding="utf-8"))
    results = [Measured(**result) for result in signature.pop("results")]
    signature.pop("laws", None)
    return signature, results


def tell(output: Path, signature: dict[str, Any], results: Sequence[Measured]) -> None:
    """Finds the laws, and writes and prints the table, and draws the figure."""
    laws = laws_of(results)
    found = {name: law._asdict() for name, law in laws.items()}
    write_json(output / "scaling.json", {**signature, "laws": found, "results": [asdict(result) for result in results]})
    shape, rate = Size(**signature["plan"]["shape"]), 1e12 * signature["bf16_product_teraflops"]
    report = "\n".join([*table(signature, results, laws), "", *explained(shape, rate, results, laws)])
    with written_whole(output / "scaling.md") as stream:
        stream.write(f"{report}\n")
    print(f"\n{report}\n")
    draw(output / "scaling.png", signature, results, laws)


PRECISION = {True: "bfloat16", False: "float32"}
"""On a GPU, and on a CPU."""


# --- points and data ------------------------------------------------------------------------------------------------


def points_of(plan: Plan, axis: str) -> list[Point]:
    """The points at which one thing is varied."""
    if axis == "batch":
        return [Point(axis, batch, batch, plan.languages) for batch in plan.batches]
    if axis == "languages":
        return [Point(axis, languages, plan.batch, languages) for languages in plan.language_counts]
    if axis == "length":
        return [Point(axis, length, plan.batch_of_lengths, plan.languages) for length in plan.lengths]
    return [Point(axis, rows, plan.batch, 1) for rows in plan.rows]


def rows_of(plan: Plan, point: Point) -> slice:
    """The rows of every corpus that are drawn from at a point."""
    if point.axis == "length":
        count = plan.batch_of_lengths * BATCHES
        start = plan.lengths.index(point.value) * count
        return slice(start, start + count)
    return slice(point.value if point.axis == "rows" else None)


DATA_OF = {"batch": "natural", "languages": "natural", "length": "lengths", "rows": "many"}
"""Axis -> the data-bin that its points draw from."""


def make_world(world: Path, plan: Plan, axes: Sequence[str]) -> None:
    """The encoder, and the data-bins that are wanted, unless they are there."""
    shape = plan.shape
    of_lengths = [replace(shape, mean=n, deviation=0, shortest=n, longest=n) for n in plan.lengths]
    longest = max(shape.longest, *plan.lengths)
    most = max(plan.languages, *plan.language_counts)
    wanted = {
        "natural": ([shape], max(plan.batch, *plan.batches) * BATCHES, most),
        "lengths": (of_lengths, plan.batch_of_lengths * BATCHES, plan.languages),
        "many": ([shape], max(plan.rows), 1),
    }
    if not (world / "encoder").exists():
        make_encoder(world / "encoder", shape)
    for name in dict.fromkeys(DATA_OF[axis] for axis in axes):
        if not (world / name / "databin.json").exists():
            sizes, count, languages = wanted[name]
            corpora = world / f"corpora-{name}"
            counts = {"S_trn": count, "T_trn_MT": count, "T_val": 1, "S_val_MT": 1}
            make_corpora(corpora, sizes, counts, XNLI_LANGUAGES[:languages])
            make_data_bin(world / name, corpora, world / "encoder", longest)


class Bench:
    """The recipe's model, optimizer and fairseq's trainer, which take updates on any data."""

    def __init__(self, world: Path, data: str):
        from fairseq import tasks
        from fairseq.trainer import Trainer

        self.world = world
        on_gpu = torch.cuda.is_available()
        cfg = composed_recipe(
            world / data,
            world / "encoder",
            f"model.precision={PRECISION[on_gpu]}",
            f"common.cpu={str(not on_gpu).lower()}",
            "distributed_training.distributed_world_size=1",
            f"checkpoint.save_dir={world / 'run'}",
        )
        logging.getLogger().setLevel(logging.WARNING)  # Hydra has turned on every message there is
        self.seed = cfg.common.seed
        self.task = tasks.setup_task(cfg.task)
        self.model = self.task.build_model(cfg.model)
        self.trainer = Trainer(cfg, self.task, self.model, self.task.build_criterion(cfg.criterion))
        self.trainer.begin_epoch(1)

    def measured(self, point: Point, rows: slice) -> Measured:
        """Takes the updates of a point."""
        result = Measured(*point)
        pairs = self.pairs(point, rows)
        start = time.perf_counter()
        batches = pairs.batch_by_size(pairs.ordered_indices(), max_sentences=point.batch)[:BATCHES]
        result.epoch_milliseconds = 1000 * (time.perf_counter() - start)
        samples, seconds = [], []
        for batch in batches:
            start = time.perf_counter()
            samples.append(pairs.collater(batch))
            seconds.append(time.perf_counter() - start)
        result.load_milliseconds = 1000 * statistics.median(seconds)
        lengths = [
            np.concatenate([np.diff(part["layout"]["cu_seqlens"].numpy()) for part in sample["parts"]]).astype(np.int64)
            for sample in samples
        ]
        result.tokens = float(np.mean([of.sum() for of in lengths]))
        result.squares = float(np.mean([(of**2).sum() for of in lengths]))
        watch = Watch(Variant(point.axis, None, WARM, TIMED), None)
        before = self.trainer.get_num_updates()
        self.forget_graphs()
        reset_peak()
        try:
            with watch.watching():
                for sample in samples * PASSES:
                    self.trainer.train_step([sample])
                    if self.trainer.get_num_updates() - before < len(watch.begins):
                        raise RuntimeError("out of memory")  # fairseq goes on to the next update
        except RuntimeError as error:
            result.error = str(error).splitlines()[0][:100]
            return result
        begins = watch.begins[WARM:]
        result.milliseconds = 1000 * statistics.median(b - a for a, b in itertools.pairwise(begins))
        result.gib = watch.gib
        return result

    def forget_graphs(self) -> None:
        """Lets go of the graphs of the point before, and of their memory."""
        for packed in self.model._packed_encoder:
            packed.captured = LayerGraphs()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def pairs(self, point: Point, rows: slice) -> Any:
        """The data set of a point."""
        from fairseq_musc.data.databin import DataBinInfo, open_corpus
        from fairseq_musc.data.pairs import AlignedPairs, LanguageGroup

        data = self.world / DATA_OF[point.axis]
        info = DataBinInfo.load(data)

        def opened(name: str, language: str) -> Any:
            corpus = open_corpus(data, name, language)
            parts = {
                name: getattr(corpus, name)[rows] for name in ("sizes", "labels", "first_lengths", "ids", "starts")
            }
            return replace(corpus, **parts)

        source = opened("S_trn", "en")
        groups = [LanguageGroup(xx, [source, opened("T_trn_MT", xx)]) for xx in XNLI_LANGUAGES[: point.languages]]
        return AlignedPairs(groups, info.pad, info.token_types, shuffle=True, seed=self.seed, packed=True)


# --- the law --------------------------------------------------------------------------------------------------------


class Law(NamedTuple):
    """``fixed + linear * tokens + quadratic * squares``, or ``floor`` where that is more."""

    fixed: float
    linear: float
    """For each 1,000 tokens."""
    quadratic: float
    """For each 1,000,000 of squared lengths."""
    worst: float
    """The largest relative difference from what was measured."""
    floor: float = 0.0
    """What an update takes whose kernels are done before the next ones are launched: on a GPU, the time of the CPU."""

    def at(self, tokens: Any, squares: Any) -> Any:
        """What the law says, of a measurement or of an array of them."""
        return np.maximum(self.floor, self.fixed + self.linear * tokens / 1e3 + self.quadratic * squares / 1e6)

    def errors(self, tokens: np.ndarray, squares: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """By how much the law is off, relative to what was measured, (n,)."""
        return self.at(tokens, squares) / measured - 1

    def share_of_squares(self, length: float) -> float:
        """The part of what grows that is quadratic, for rows of this length."""
        linear, quadratic = self.linear / 1e3, self.quadratic * length / 1e6  # of a token
        return quadratic / (linear + quadratic) if quadratic else 0.0


def law_of(tokens: Sequence[float], squares: Sequence[float], values: Sequence[float]) -> Law:
    """The law that is nearest to some values: least squares of the relative errors, no part below 0.

    A floor is looked for among the smallest values, and taken if that makes the errors smaller by more than two more
    numbers would by chance (the Bayesian information criterion).

    Args:
        tokens: (n,) of each measurement.
        squares: (n,) sums of squared lengths.
        values: (n,) what was measured, above 0.
    """
    points = tuple(np.asarray(each, dtype=float) for each in (tokens, squares, values))
    measured = points[2]
    plain = _law(points, np.zeros(len(measured), dtype=bool))
    lows = [measured <= value for value in np.unique(measured)]
    floored = [_law(points, low) for low in lows if low.sum() > 1 and (~low).sum() > 3]

    def squared(law: Law) -> float:
        return float((law.errors(*points) ** 2).sum())

    best = min(floored, key=squared, default=plain)
    n = len(measured)
    return best if squared(best) * n ** (2 / n) < squared(plain) else plain


def _law(points: tuple[np.ndarray, np.ndarray, np.ndarray], low: np.ndarray) -> Law:
    """The law whose floor is the mean of those that are ``low`` (n,), found from the others."""
    from scipy.optimize import nnls

    tokens, squares, measured = (each[~low] for each in points)
    relative = np.stack([np.ones(len(measured)), tokens / 1e3, squares / 1e6], axis=1) / measured[:, None]  # (m, 3)
    size = relative.max(axis=0)  # the three parts differ by orders of magnitude
    found = nnls(relative / size, np.ones(len(measured)))[0] / size
    law = Law(*map(float, found), 0.0, float(points[2][low].mean()) if low.any() else 0.0)
    return law._replace(worst=float(np.abs(law.errors(*points)).max()))


def laws_of(results: Sequence[Measured]) -> dict[str, Law]:
    """The laws of time and memory, where there is enough to find them from."""
    done = [result for result in results if not result.error]
    laws = {}
    for name in ("milliseconds", "gib"):
        values = [getattr(result, name) for result in done]
        if len(values) > 3 and min(values) > 0:
            laws[name] = law_of([result.tokens for result in done], [result.squares for result in done], values)
    return laws


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the line that is nearest to some points."""
    return float(np.polyfit(x, y, 1)[0])


# --- what is told ---------------------------------------------------------------------------------------------------


def table(signature: dict[str, Any], results: Sequence[Measured], laws: dict[str, Law]) -> list[str]:
    """The lines of the table in Markdown."""
    law = laws.get("milliseconds")
    lines = [
        f"{signature['device']}, torch {signature['torch']}, {signature['precision']}",
        "",
        "| varied | | pairs of each | languages | tokens | ms | law | pairs/s | GiB | load ms | epoch ms |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        begin = f"| {AXES[r.axis]} | {r.value} | {r.batch} | {r.languages} |"
        if r.error:
            lines.append(f"{begin} {r.error} | | | | | | |")
            continue
        lines.append(
            f"{begin} {r.tokens:.0f} | {r.milliseconds:.1f} | {f'{law.at(r.tokens, r.squares):.1f}' if law else ''} | "
            f"{1000 * r.batch * r.languages / r.milliseconds:.0f} | {f'{r.gib:.2f}' if r.gib else ''} | "
            f"{r.load_milliseconds:.1f} | {r.epoch_milliseconds:.1f} |"
        )
    return lines


def explained(shape: Size, rate: float, results: Sequence[Measured], laws: dict[str, Law]) -> list[str]:
    """What the figures say, a point a line."""
    of_axis = {axis: [r for r in results if r.axis == axis and not r.error] for axis in AXES}
    lines = []
    if "milliseconds" in laws:
        law = laws["milliseconds"]
        products = 1000 * 6 * shape.layer_parameters * 1e3 / rate
        lines += [
            f"- One law for all points: {law.fixed:.2f} ms an update, {law.linear:.3f} ms for each 1,000 tokens, "
            f"{law.quadratic:.3f} ms for each 1,000,000 of squared lengths"
            + (f", and no update under {law.floor:.1f} ms" if law.floor else "")
            + f"; {100 * law.worst:.0f} % off at most.",
            f"- Linear: the products of all layers, 6 operations for each weight and token, would take "
            f"{products:.3f} ms for 1,000 tokens at the rate of a large bf16 product.",
            "- Quadratic: attention is "
            + ", ".join(f"{100 * law.share_of_squares(n):.1f} % at {n}" for n in (32, 128, 512))
            + " tokens a row, of what grows.",
        ]
    if "gib" in laws:
        law = laws["gib"]
        lines.append(
            f"- Memory: {law.fixed:.2f} GiB, {law.linear:.4f} GiB for each 1,000 tokens, {law.quadratic:.4f} GiB for "
            f"each 1,000,000 of squared lengths; {100 * law.worst:.0f} % off at most."
        )
    slopes = {
        axis: slope([r.batch * r.languages for r in done], [r.milliseconds for r in done])
        for axis, done in of_axis.items()
        if axis in ("batch", "languages") and len(done) > 1
    }
    if slopes:
        lines.append(
            "- A pair more costs "
            + " and ".join(f"{1000 * value:.1f} µs along the axis of {axis}" for axis, value in slopes.items())
            + "; the same would say that a language costs what its pairs cost, and nothing else."
        )
    if len(rows := of_axis["rows"]) > 1:
        times = [r.milliseconds for r in rows]
        per_row = slope([r.value for r in rows], [r.epoch_milliseconds for r in rows])
        lines.append(
            f"- Rows: an update takes {min(times):.1f} to {max(times):.1f} ms whatever their number; beginning an "
            f"epoch takes {1000 * per_row:.2f} ms for each 1,000 rows."
        )
    return lines


def draw(path: Path, signature: dict[str, Any], results: Sequence[Measured], laws: dict[str, Law]) -> None:
    """The figure: a column for each thing that is varied, time above memory; the line is the law."""
    from matplotlib import style
    from matplotlib.figure import Figure

    done = [result for result in results if not result.error]
    axes_drawn = [axis for axis in AXES if any(result.axis == axis for result in done)]
    quantities = {"milliseconds": "ms an update", "gib": "GiB at most"}
    quantities = {name: text for name, text in quantities.items() if any(getattr(result, name) for result in done)}
    if not quantities:
        return
    with style.context(["default", {"font.family": "DejaVu Sans"}]):
        figure = Figure(figsize=(3.1 * len(axes_drawn) + 0.3, 2.6 * len(quantities) + 0.4), layout="constrained")
        grid = figure.subplots(len(quantities), len(axes_drawn), squeeze=False)
        for column, axis in enumerate(axes_drawn):
            here = [result for result in done if result.axis == axis]
            x = [result.value for result in here]
            for panel, (name, text) in zip(grid[:, column], quantities.items(), strict=True):
                if name in laws:
                    law = [laws[name].at(result.tokens, result.squares) for result in here]
                    panel.plot(x, law, color="#E69F00", label="law")
                panel.plot(x, [getattr(result, name) for result in here], "o", color="#0072B2", label="measured")
                panel.set_xlim(0, 1.05 * max(x))
                panel.set_ylim(0, 1.1 * max(getattr(result, name) for result in here))
                panel.set_xlabel(AXES[axis])
                if column == 0:
                    panel.set_ylabel(text)
        grid[0, 0].legend(frameon=False)
        figure.suptitle(f"{signature['device']}, torch {signature['torch']}, {signature['precision']}", fontsize=9)
        with written_whole(path, "wb") as stream:
            figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
