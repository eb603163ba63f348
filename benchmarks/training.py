"""Times training: the released code's way of a step, and ``fairseq-hydra-train`` with several options, in one go.

    python benchmarks/training.py --output FOLDER            # on a GPU: mBERT's shape, six target languages
    python benchmarks/training.py --output FOLDER --tiny     # on a CPU, in seconds: it shows that it runs

Makes corpora of made-up words, an untrained encoder and a data-bin in FOLDER/world (once), then runs every variant: the
real command, with its data loading, optimizer and logging; the two ways that are meant to be used with the validation
that PAWS-X has in 300 updates as well, of 2,000 rows a language. No checkpoint is written. `check` holds the fast way
to the reference on this device. What a variant gave is shown when it ends, and at the end all of it as a table; it is
kept in FOLDER/training.json from the first variant on, with the log of the runs in FOLDER/training.log. A variant that
fails, or takes longer than its limit, is named as such with the end of its log, and the others are run. After --limit
seconds the whole ends with what it has.

What is counted: *pairs/s* is aligned (source, target) training examples a second over all timed updates, with the
validation if there is one; *ms/step* is the median from one update to the next; *GiB* is the most memory taken at once;
*share* is the floating-point operations of the real tokens of all views, 6 for each weight of the layers and token,
over the rate of a large bf16 matrix product on the same device (mixed views are counted with the tokens of their own
row); *first* is the time from the start of the process, or of the run if it was not the first in its process, to the
end of the first update.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

STARTED = time.time()

# ruff: noqa: E402
import numpy as np
import torch
from made_up import LANGUAGES, MBERT, TINY, Size, make_corpora, make_data_bin, make_encoder

from fairseq_musc.files import written_whole

BATCH = 32
TIMED = 45
LONG = 300
"""Updates from one validation to the next, in the recipes."""
START = 45.0
"""Seconds more for the first variant of a process, which loads everything."""


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    options: tuple[str, ...] | None
    """Overrides of the recipe; None: the released code's way."""
    warm: int = 12
    """Updates before the clock starts."""
    timed: int = TIMED
    """Updates that are timed."""
    validates: bool = False
    """Whether there is one validation among them."""
    limit: float = 30.0
    """Seconds that it may take."""


BF16 = ("model.precision=bfloat16",)
SHARED = ("task.shared_source=true",)
PLAIN = ("model.attention=flash", "model.fuse=none")
LAUNCHED = ("model.graphs=false",)
COMPILED = ("model.attention=flash", "model.fuse=compile")
FEW = {"warm": 5, "timed": 12}
VARIANTS = {
    "released": Variant("released step: fp32, eager, padded to 128, 4 T passes", None, 2, 4),
    "bf16": Variant("packed, bf16", BF16, timed=LONG, validates=True, limit=60),
    "shared": Variant("packed, bf16, shared source", (*BF16, *SHARED), timed=LONG, validates=True, limit=60),
    "check": Variant("the fast way against the reference, without dropout", (), limit=40),
    "plain": Variant("packed, bf16, torch's flash attention, nothing fused", (*BF16, *PLAIN)),
    "compiled": Variant("packed, bf16, torch's flash attention, compiled", (*BF16, *COMPILED), limit=100),
    "compiled-shared": Variant(
        "packed, bf16, torch's flash attention, compiled, shared source", (*BF16, *COMPILED, *SHARED), limit=100
    ),
    "compiled-triton": Variant("packed, bf16, compiled", (*BF16, "model.fuse=compile"), limit=100),
    "launched": Variant("packed, bf16, kernels launched one by one", (*BF16, *LAUNCHED)),
    "launched-shared": Variant("packed, bf16, shared source, kernels launched one by one", (*BF16, *SHARED, *LAUNCHED)),
    "one-language": Variant("packed, bf16, one language at once", (*BF16, "task.languages_at_once=1"), **FEW),
    "fp32": Variant("packed, fp32", (), **FEW),
    "padded": Variant("padded, fp32: the reference", ("model.packed=false",), **FEW),
    "fairseq-adam": Variant("packed, bf16, fairseq's adam", (*BF16, "optimizer._name=adam"), **FEW),
}
DEFAULT = ["released", "bf16", "shared", "check", "plain", "compiled", "compiled-shared", "one-language", "fp32"]
DEFAULT_TINY = ["released", "check", "fp32", "bf16", "shared", "one-language"]  # what needs no GPU and no minute


@dataclass
class Result:
    """What was measured of a variant."""

    variant: str
    name: str
    pairs_per_second: float = 0.0
    milliseconds: float = 0.0
    gib: float = 0.0
    tokens_per_step: float = 0.0
    """Real tokens of the plain views."""
    share: float = 0.0
    first_update_seconds: float = 0.0
    validation_seconds: float = 0.0
    error: str = ""
    notes: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)


def main() -> None:
    """Makes the world, runs the variants and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the world, the log and the table")
    parser.add_argument("--world", type=Path, help="folder of the world, if elsewhere")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="which, in this order")
    parser.add_argument("--tiny", action="store_true", help="a small encoder and few updates, for a CPU")
    parser.add_argument("--apart", action="store_true", help="with --tiny: in a process of their own, as without")
    parser.add_argument("--workers", type=int, default=2, help="processes that load data")
    parser.add_argument(
        "--profile", nargs="*", choices=list(VARIANTS), default=[], help="write where the time goes, too"
    )
    parser.add_argument("--limit", type=float, default=150.0, help="end after so many seconds, with what there is")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output = arguments.output.resolve()
    arguments.world = (arguments.world or arguments.output / "world").resolve()
    arguments.variants = arguments.variants or (DEFAULT_TINY if arguments.tiny else DEFAULT)
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", HYDRA_FULL_ERROR="1")
    if arguments.child:
        run_variants(arguments, arguments.child)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    say("the world")
    make_world(arguments.world, TINY if arguments.tiny else MBERT, arguments.tiny)
    results_path(arguments).write_text("")
    rate = matrix_rate(arguments.tiny)
    say(f"bf16 product {rate / 1e12:.1f} TFLOP/s")
    if arguments.tiny and not arguments.apart:
        with into_file(arguments.output / "training.log"):
            run_variants(arguments, arguments.variants)
    else:
        run_in_children(arguments, rate)
    print_table(report(arguments, rate))


def say(what: str) -> None:
    """Prints what goes on, with the seconds since the start."""
    print(f"[{time.time() - STARTED:6.1f}s] {what}", flush=True)


@contextlib.contextmanager
def into_file(path: Path) -> Iterator[None]:
    """Sends what this process prints into a file."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(path, "w") as log:
        sys.stdout.flush()
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)


def make_world(world: Path, size: Size, tiny: bool) -> None:
    """Corpora, encoder and data-bin, unless they are there."""
    if (world / "data-bin" / "databin.json").exists():
        return
    most = max(scaled(variant, tiny).warm + scaled(variant, tiny).timed for variant in VARIANTS.values())
    valid = 4 if tiny else 2000
    counts = {"S_trn": BATCH_OF[tiny] * (most + 2), "T_val": valid}
    counts = {**counts, "T_trn_MT": counts["S_trn"], "S_val_MT": valid}
    make_corpora(world / "corpora", size, counts, LANGUAGES[: languages(tiny)])
    make_encoder(world / "encoder", size)
    make_data_bin(world / "data-bin", world / "corpora", world / "encoder")


def scaled(variant: Variant, tiny: bool) -> Variant:
    """The variant, shorter for the small form."""
    if not tiny:
        return variant
    return replace(variant, warm=1, timed=3)


BATCH_OF = {True: 4, False: BATCH}


def languages(tiny: bool) -> int:
    """How many target languages there are."""
    return 2 if tiny else len(LANGUAGES)


def matrix_rate(tiny: bool) -> float:
    """Floating-point operations a second of a large square bf16 matrix product on random data."""
    device = device_of()
    n = 256 if tiny else 8192
    x = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(13):
        synchronize()
        start = time.perf_counter()
        _ = x @ x
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(times[3:])


def device_of() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Waits for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- children: a variant that breaks the GPU's context takes only itself along --------------------------------------


def results_path(arguments: argparse.Namespace) -> Path:
    """Where the results of variants are gathered, one a line."""
    return arguments.output / "variants.jsonl"


def read_results(arguments: argparse.Namespace) -> list[Result]:
    """What the variants wrote; a line that is being written is not there yet."""
    lines = results_path(arguments).read_text().split("\n")[:-1]
    return [Result(**json.loads(line)) for line in lines]


def run_in_children(arguments: argparse.Namespace, rate: float) -> None:
    """Runs the variants in one process, and in a new one where it ended before its time or had to be ended."""
    remaining = list(arguments.variants)
    log_path = arguments.output / "training.log"
    with open(log_path, "w") as log:
        while remaining and left(arguments) > START:
            command = [sys.executable, *sys.argv, "--child", *remaining]
            child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            failure = watch(arguments, rate, child, remaining)
            if remaining and failure:
                failed = remaining.pop(0)
                write(arguments, Result(failed, VARIANTS[failed].name, error=failure))
                say(f"{failed}: {failure}; the end of the log:")
                print(*log_path.read_text(errors="replace").splitlines()[-40:], sep="\n", flush=True)
                report(arguments, rate)
    for name in remaining:
        write(arguments, Result(name, VARIANTS[name].name, error="left out for want of time"))


def left(arguments: argparse.Namespace) -> float:
    """Seconds until the whole has to end."""
    return arguments.limit - (time.time() - STARTED)


def watch(arguments: argparse.Namespace, rate: float, child: subprocess.Popen, remaining: list[str]) -> str:
    """Waits for a child, shows its results and takes what is done from the list; returns why it ended too soon."""
    begun, extra = time.time(), START
    seen = len(read_results(arguments))
    while True:
        code = child.poll()
        for result in read_results(arguments)[seen:]:
            seen, begun, extra = seen + 1, time.time(), 0.0
            remaining.remove(result.variant)
            shown = next(r for r in report(arguments, rate) if r.variant == result.variant)
            say(f"{result.variant}: {line(shown, None) if not shown.error else shown.error}")
        if code is not None:
            return f"the process ended with {code}" if remaining else ""
        limit = VARIANTS[remaining[0]].limit + extra if remaining else 10.0
        if time.time() - begun > limit or left(arguments) < 3:
            child.kill()
            child.wait()
            return f"ended after {time.time() - begun:.0f} s"
        time.sleep(0.2)


def write(arguments: argparse.Namespace, result: Result) -> None:
    """Adds a result to the file."""
    with open(results_path(arguments), "a") as stream:
        stream.write(json.dumps(asdict(result)) + "\n")


def run_variants(arguments: argparse.Namespace, names: list[str]) -> None:
    """Runs variants one after the other in this process."""
    for name in names:
        variant = scaled(VARIANTS[name], arguments.tiny)
        result = Result(name, variant.name, options=list(variant.options or ()))
        say(f"=== {name}")
        # Where it hangs is in the log when it is ended.
        faulthandler.dump_traceback_later(max(5.0, variant.limit - 4), repeat=True)
        try:
            with noting(result):
                HOW.get(name, time_training)(arguments, variant, result)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            result.error = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            if "CUDA error" in result.error or "illegal" in result.error:
                write(arguments, result)
                raise
        write(arguments, result)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        faulthandler.cancel_dump_traceback_later()  # clearing up can hang as well


@contextlib.contextmanager
def noting(result: Result) -> Iterator[None]:
    """Keeps what is said of attention with a result."""
    handler = logging.Handler()
    handler.emit = lambda record: result.notes.append(record.getMessage())
    logger = logging.getLogger("fairseq_musc.models")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def time_released(arguments: argparse.Namespace, variant: Variant, result: Result) -> None:
    """Times the released code's way of a step."""
    from released import language_batches, released_model, released_step

    torch.manual_seed(0)
    device, length = device_of(), (TINY if arguments.tiny else MBERT).longest
    model = released_model(arguments.world / "encoder", device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    names = LANGUAGES[: languages(arguments.tiny)]
    size = BATCH_OF[arguments.tiny]
    batches = [
        language_batches(arguments.world / "data-bin", names, size, step, length, device)
        for step in range(variant.timed)
    ]
    reset_peak()
    times = []
    for step in range(variant.warm + variant.timed):
        synchronize()
        start = time.perf_counter()
        released_step(model, optimizer, batches[step % len(batches)])
        synchronize()
        times.append(time.perf_counter() - start)
        if step == 0:
            result.first_update_seconds = time.time() - STARTED
    timed = times[variant.warm :]
    result.pairs_per_second = len(timed) * size * len(names) / sum(timed)
    result.milliseconds = 1000 * statistics.median(timed)
    result.gib = peak_gib()
    result.tokens_per_step = statistics.mean(sum(batch.tokens for batch in step) for step in batches)


def check_against_reference(arguments: argparse.Namespace, variant: Variant, result: Result) -> None:
    """Loss terms and gradients of one step of the fast ways, beside those of the reference, on this device.

    Raises:
        ArithmeticError: they differ by more than float32's or bfloat16's rounding can explain.
    """
    from fairseq import tasks

    def composed(*options: str) -> Any:
        return composed_recipe(arguments.world / "data-bin", arguments.world / "encoder", *options)

    cfg = composed()
    model = tasks.setup_task(cfg.task).build_model(cfg.model).to(device_of()).train()
    say("check: the model is there")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0

    def step(packed: bool, precision: str | None, *options: str) -> tuple[dict[str, float], torch.Tensor]:
        taken = one_step(composed(*options), model, packed, precision)
        say(f"check: {'packed' if packed else 'padded'}, {precision or 'fp32'} {' '.join(options)}")
        return taken

    for name, bound, precision, options in (
        ("fp32", 1e-3, None, ()),
        ("bf16", 0.1, "bfloat16", ()),
        ("fp32, shared source", 1e-3, None, SHARED),
        ("fp32, one language at once", 1e-3, None, ("task.languages_at_once=1",)),
    ):
        if name in ("fp32", "fp32, shared source"):
            expected = step(False, None, *options)
        if name.endswith("at once"):
            expected = step(False, None)
        got = step(True, precision, *options)
        terms = max(abs(got[0][term] / value - 1) for term, value in expected[0].items())
        gradient = float((got[1] - expected[1]).norm() / expected[1].norm())
        result.notes.append(f"{name}: loss terms differ by {terms:.1e}, the gradient by {gradient:.1e} of its norm")
        if not (terms < bound and gradient < bound):
            raise ArithmeticError(result.notes[-1])


def composed_recipe(data: Path, encoder: Path, *options: str) -> Any:
    """The configuration that ``fairseq-hydra-train --config-name musc_pawsx`` would make of these overrides."""
    from fairseq.dataclass.initialize import hydra_init
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    import fairseq_musc.configs
    import fairseq_musc.registration

    GlobalHydra.instance().clear()
    hydra_init("musc_pawsx")
    world = [f"task.data={data}", f"model.pretrained={encoder}"]
    with initialize_config_dir(str(Path(fairseq_musc.configs.__path__[0]).resolve()), version_base="1.1"):
        cfg = compose("musc_pawsx", [*world, *options])
    GlobalHydra.instance().clear()
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))


def one_step(cfg: Any, model: Any, packed: bool, precision: str | None) -> tuple[dict[str, float], torch.Tensor]:
    """The loss terms and the gradient of one training step, on a few pairs of every language."""
    from types import SimpleNamespace

    from fairseq import tasks, utils

    task = tasks.setup_task(cfg.task)
    task.packed = packed
    model.compute_in(precision)
    criterion = task.build_criterion(cfg.criterion).train()
    task.load_dataset("train")
    pairs = task.datasets["train"]
    sizes = [7 if cfg.task.shared_source else 8 - g % 2 for g in range(len(pairs.groups))]
    sample = pairs.collater(np.concatenate([pairs.offsets[g] + np.arange(size) for g, size in enumerate(sizes)]))
    sample = utils.move_to_cuda(sample) if torch.cuda.is_available() else sample
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)  # of alpha
    backward = SimpleNamespace(backward=lambda loss: loss.backward())
    _, _, logged = task.train_step(sample, model, criterion, backward, 0)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {key: float(value) for key, value in logged.items() if key.startswith("L_")}, gradient


def reset_peak() -> None:
    """Begins to watch the memory of the GPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    """The most memory that was taken since, in GiB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def gib_with_graphs() -> float:
    """What is taken now, and what CUDA graphs hold for the time of a replay, in GiB; 0 on a CPU."""
    if not torch.cuda.is_available():
        return 0.0
    pieces = torch.cuda.memory_snapshot()
    of_graphs = [piece for piece in pieces if tuple(piece.get("segment_pool_id", (0, 0))) != (0, 0)]
    held = sum(piece["total_size"] - piece["allocated_size"] for piece in of_graphs)
    return (torch.cuda.memory_allocated() + held) / 2**30


# --- the real command -----------------------------------------------------------------------------------------------


class Watch:
    """Looks at a run of ``fairseq-hydra-train`` from outside: when updates begin and end, and what they take."""

    def __init__(self, variant: Variant, profile: Path | None):
        self.variant = variant
        self.profile = profile
        self.profiler: Any = None
        self.begins: list[float] = []
        self.tokens: list[int] = []
        self.pairs: list[int] = []
        self.gib = 0.0
        self.seconds = 0.0
        self.first_update = 0.0
        self.validation = 0.0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Puts itself around fairseq's update and validation."""
        import fairseq_cli.train
        from fairseq.trainer import Trainer

        step, validate, reset = Trainer.train_step, fairseq_cli.train.validate, torch.cuda.reset_peak_memory_stats

        def watched_step(trainer: Any, samples: Any, *args: Any, **kwargs: Any) -> Any:
            return self.step(lambda: step(trainer, samples, *args, **kwargs), samples)

        def watched_validate(*args: Any, **kwargs: Any) -> Any:
            synchronize()
            start = time.perf_counter()
            try:
                return validate(*args, **kwargs)
            finally:
                synchronize()
                if len(self.begins) < self.last:
                    self.validation += time.perf_counter() - start

        def watched_reset(*args: Any, **kwargs: Any) -> None:  # fairseq looks at the peak of every update by itself
            self.gib = max(self.gib, peak_gib())
            reset(*args, **kwargs)

        Trainer.train_step, fairseq_cli.train.validate = watched_step, watched_validate
        torch.cuda.reset_peak_memory_stats = watched_reset
        try:
            yield
        finally:
            Trainer.train_step, fairseq_cli.train.validate = step, validate
            torch.cuda.reset_peak_memory_stats = reset

    @property
    def last(self) -> int:
        """How many updates there are."""
        return self.variant.warm + self.variant.timed

    def step(self, take: Callable[[], Any], samples: Any) -> Any:
        """One update."""
        number = len(self.begins)
        if number == self.variant.warm:
            synchronize()
            self.seconds = -time.perf_counter()
        self.begins.append(time.perf_counter())
        self.tokens.append(sum(sample["ntokens"] for sample in samples))
        self.pairs.append(sum(sample["nsentences"] for sample in samples))
        if self.profile and number == max(0, self.variant.warm - 4):
            self.start_profiler()
        taken = take()
        if self.profiler is not None and number >= self.variant.warm - 2:
            self.stop_profiler()
        if number == 0:
            synchronize()
            self.first_update = time.time()
        if number == self.last - 1:
            synchronize()
            self.seconds += time.perf_counter()
            self.gib = max(self.gib, peak_gib(), gib_with_graphs())
        return taken

    def start_profiler(self) -> None:
        """Begins to profile up to three updates, which are not timed."""
        from torch.profiler import ProfilerActivity, profile

        on_gpu = torch.cuda.is_available()
        synchronize()
        self.profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])
        self.profiler.start()

    def stop_profiler(self) -> None:
        """Writes where the time of these updates went."""
        synchronize()
        self.profiler.stop()
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        averages = self.profiler.key_averages()
        tables = [
            averages.table(sort_by=key, row_limit=60, max_name_column_width=90) for key in (by, "self_cpu_time_total")
        ]
        self.profile.write_text("\n\n".join([f"up to three updates of {self.variant.name}", *tables]) + "\n")
        self.profiler = None


def time_training(arguments: argparse.Namespace, variant: Variant, result: Result) -> None:
    """Times the real command."""
    world = arguments.world
    total = variant.warm + variant.timed
    options = [
        f"task.data={world / 'data-bin'}",
        f"model.pretrained={world / 'encoder'}",
        f"checkpoint.save_dir={arguments.output / 'checkpoints'}",
        "checkpoint.no_save=true",
        "checkpoint.save_interval_updates=0",
        f"dataset.batch_size={BATCH_OF[arguments.tiny]}",
        f"dataset.num_workers={arguments.workers}",
        f"dataset.disable_validation={str(not variant.validates).lower()}",
        f"dataset.validate_interval_updates={variant.warm + variant.timed // 2}",
        f"optimization.max_update={total}",
        *(["common.cpu=true"] if not torch.cuda.is_available() else []),
        *(variant.options or ()),
    ]
    if arguments.tiny:
        options = [o for o in options if "num_workers" not in o] + ["dataset.num_workers=0"]
    profile = arguments.output / f"profile-{result.variant}.txt" if result.variant in arguments.profile else None
    watch = Watch(variant, profile)
    started = time.time() if "fairseq" in sys.modules else STARTED
    reset_peak()
    with watch.watching():
        fairseq_hydra_train("musc_pawsx", *options)
    if len(watch.begins) != total:
        raise RuntimeError(f"{total} updates were asked for, {len(watch.begins)} were made")
    begins = watch.begins[variant.warm :]
    result.pairs_per_second = sum(watch.pairs[variant.warm :]) / watch.seconds
    result.milliseconds = 1000 * statistics.median(b - a for a, b in itertools.pairwise(begins))
    result.gib = watch.gib
    result.tokens_per_step = statistics.mean(watch.tokens[variant.warm :])
    result.first_update_seconds = watch.first_update - started
    result.validation_seconds = watch.validation


def fairseq_hydra_train(recipe: str, *overrides: str) -> None:
    """The command, in this process: in the folder of the world, because Hydra writes a log where it is."""
    from fairseq_cli.hydra_train import cli_main

    sys.argv = ["fairseq-hydra-train", "--config-name", recipe, *overrides]
    cli_main()


HOW = {"check": check_against_reference, "released": time_released}
"""What is done for a variant, where it is not a training."""

# --- the table ------------------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace, rate: float) -> list[Result]:
    """The results so far, with their share of the matrix rate; writes them to the JSON file."""
    import transformers

    from fairseq_musc.version import __version__

    size = TINY if arguments.tiny else MBERT
    results = read_results(arguments)
    for result in results:
        if result.pairs_per_second:
            seconds = BATCH_OF[arguments.tiny] * languages(arguments.tiny) / result.pairs_per_second
            result.share = 6 * size.layer_parameters * 2 * result.tokens_per_step / seconds / rate
    signature = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "fairseq_musc": __version__,
        "shape": asdict(size),
        "languages": languages(arguments.tiny),
        "pairs_of_each": BATCH_OF[arguments.tiny],
        "bf16_product_teraflops": rate / 1e12,
        "options": [option for option in sys.argv[1:] if not option.startswith("/")],
    }
    with written_whole(arguments.output / "training.json") as stream:
        json.dump({**signature, "results": [asdict(r) for r in results]}, stream, indent=1)
    return results


def line(result: Result, baseline: float | None) -> str:
    """The figures of a variant."""
    if not result.pairs_per_second:
        return "; ".join(result.notes)
    ratio = f"{result.pairs_per_second / baseline:6.2f}" if baseline else f"{'':6s}"
    return (
        f"{result.pairs_per_second:9.1f} {ratio} {result.milliseconds:8.1f} {result.gib:6.2f} {result.share:6.3f} "
        f"{result.first_update_seconds:5.1f}s"
    )


def print_table(results: list[Result]) -> None:
    """Prints the figures of all variants, and what was noted."""
    baseline = next((r.pairs_per_second for r in results if r.variant == "released" and not r.error), None)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"\n{device}, torch {torch.__version__}")
    print(f"{'':64s} {'pairs/s':>9s} {'ratio':>6s} {'ms/step':>8s} {'GiB':>6s} {'share':>6s} {'first':>6s}")
    for result in results:
        if result.error or result.pairs_per_second:
            print(f"{result.name:64s} {result.error or line(result, baseline)}")
    for note in dict.fromkeys(note for result in results for note in result.notes):
        print(f"  {note}")


if __name__ == "__main__":
    main()
