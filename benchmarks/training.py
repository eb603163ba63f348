"""Times training: the released code's way of a step, and ``fairseq-hydra-train`` with several options, in one go.

    python benchmarks/training.py --output FOLDER            # on a GPU: mBERT's shape, six target languages
    python benchmarks/training.py --output FOLDER --tiny     # on a CPU, in seconds: it shows that it runs

Makes corpora of made-up words, an untrained encoder and a data-bin in FOLDER/world (once), holds the fast way to the
reference on this device, then runs every variant. The real command is run, with its data loading, optimizer, logging
and one validation, which stands for PAWS-X's 2,000 rows a language every 300 updates; no checkpoint is written. Prints
a table, and writes it to FOLDER/training.json with the log of the runs beside it. A variant that fails is named as
such, and the others are run.

What is counted: *pairs/s* is aligned (source, target) training examples a second over all timed updates, with
validation; *ms/step* is the median from one update to the next; *GiB* is the most memory that was taken at once;
*share* is the floating-point operations of the real tokens of all views, 6 for each weight of the layers and token,
over the rate of a large bf16 matrix product on the same device (mixed views are counted with the tokens of their own
row); *first* is the time from the start of the process, or of the run if it was not the first in its process, to the
end of the first update.
"""

from __future__ import annotations

import argparse
import contextlib
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STARTED = time.time()

# ruff: noqa: E402
import numpy as np
import torch
from made_up import LANGUAGES, MBERT, TINY, Size, make_corpora, make_data_bin, make_encoder

BATCH = 32


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    options: tuple[str, ...] | None
    """Overrides of the recipe; None: the released code's way."""
    warm: int = 20
    """Updates before the clock starts."""
    timed: int = 60
    """Updates that are timed."""
    validates: bool = True


PACKED_BF16 = ("model.precision=bfloat16",)
COMPILED = (*PACKED_BF16, "model.compile=true")
VARIANTS = {
    "check": Variant("the fast way against the reference, without dropout", ()),
    "released": Variant("released step: fp32, eager, padded to 128, 4 T passes", None, 2, 5, False),
    "bf16": Variant("packed, bf16", PACKED_BF16),
    "compiled": Variant("packed, bf16, compiled", COMPILED),
    "shared": Variant("packed, bf16, shared source", (*PACKED_BF16, "task.shared_source=true")),
    "compiled-shared": Variant("packed, bf16, compiled, shared source", (*COMPILED, "task.shared_source=true")),
    "one-language": Variant(
        "packed, bf16, one language at once", (*PACKED_BF16, "task.languages_at_once=1"), 10, 30, False
    ),
    "fp32": Variant("packed, fp32", (), 5, 15, False),
    "padded": Variant("padded, fp32: the reference", ("model.packed=false",), 3, 8, False),
    "fairseq-adam": Variant("packed, bf16, fairseq's adam", (*PACKED_BF16, "optimizer._name=adam"), 10, 30, False),
}
DEFAULT = [name for name in VARIANTS if name not in ("padded", "fairseq-adam")]
DEFAULT_TINY = [name for name in DEFAULT if "compiled" not in name]  # which takes a minute


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
    parser.add_argument("--workers", type=int, default=2, help="processes that load data")
    parser.add_argument(
        "--profile", nargs="*", choices=list(VARIANTS), default=[], help="write where the time goes, too"
    )
    parser.add_argument("--stop-after", type=float, default=1e9, help="begin no variant after so many seconds")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output = arguments.output.resolve()
    arguments.world = (arguments.world or arguments.output / "world").resolve()
    arguments.variants = arguments.variants or (DEFAULT_TINY if arguments.tiny else DEFAULT)
    os.environ.setdefault("BENCHMARK_STARTED", str(STARTED))
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", HYDRA_FULL_ERROR="1")
    if arguments.child:
        run_variants(arguments, arguments.child)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    make_world(arguments.world, TINY if arguments.tiny else MBERT, arguments.tiny)
    results_path(arguments).write_text("")
    rate = matrix_rate(arguments.tiny)
    if arguments.tiny:
        with into_file(arguments.output / "training.log"):
            run_variants(arguments, arguments.variants)
    else:
        run_in_children(arguments)
    results = read_results(arguments)
    for result in results:
        size = TINY if arguments.tiny else MBERT
        if result.pairs_per_second:
            seconds = BATCH_OF[arguments.tiny] * languages(arguments.tiny) / result.pairs_per_second
            operations = 6 * size.layer_parameters * 2 * result.tokens_per_step
            result.share = operations / seconds / rate
    report(arguments, results, rate)


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
    valid = 4 if tiny else 2000 * 60 // 300
    counts = {"S_trn": BATCH_OF[tiny] * (most + 2), "T_val": valid}
    counts = {**counts, "T_trn_MT": counts["S_trn"], "S_val_MT": valid}
    make_corpora(world / "corpora", size, counts, LANGUAGES[: languages(tiny)])
    make_encoder(world / "encoder", size)
    make_data_bin(world / "data-bin", world / "corpora", world / "encoder")


def scaled(variant: Variant, tiny: bool) -> Variant:
    """The variant, shorter for the small form."""
    if not tiny:
        return variant
    return Variant(variant.name, variant.options, 1, 3, variant.validates)


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
    """What the variants wrote."""
    return [Result(**json.loads(line)) for line in results_path(arguments).read_text().splitlines()]


def run_in_children(arguments: argparse.Namespace) -> None:
    """Runs the variants in one process, and in a new one where it ended before its time."""
    remaining = list(arguments.variants)
    with open(arguments.output / "training.log", "w") as log:
        while remaining:
            command = [sys.executable, *sys.argv, "--child", *remaining]
            print("running:", *remaining, flush=True)
            seen = len(read_results(arguments))
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
            done = len(read_results(arguments)) - seen
            remaining = remaining[done:]
            if remaining and (code != 0 or done == 0):
                failed = remaining.pop(0)
                write(arguments, Result(failed, VARIANTS[failed].name, error=f"the process ended with {code}"))


def write(arguments: argparse.Namespace, result: Result) -> None:
    """Adds a result to the file."""
    with open(results_path(arguments), "a") as stream:
        stream.write(json.dumps(asdict(result)) + "\n")


def run_variants(arguments: argparse.Namespace, names: list[str]) -> None:
    """Runs variants one after the other in this process."""
    for name in names:
        variant = scaled(VARIANTS[name], arguments.tiny)
        result = Result(name, variant.name, options=list(variant.options or ()))
        if time.time() - float(os.environ["BENCHMARK_STARTED"]) > arguments.stop_after:
            result.error = "left out for want of time"
        else:
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


@contextlib.contextmanager
def noting(result: Result) -> Iterator[None]:
    """Keeps what is said of attention with a result."""
    handler = logging.Handler()
    handler.emit = lambda record: result.notes.append(record.getMessage())
    logger = logging.getLogger("fairseq_musc.models.attention")
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
    reference = one_step(arguments, "model.packed=false")
    for name, bound, options in (
        ("fp32", 1e-3, ()),
        ("bf16", 0.1, ("model.precision=bfloat16",)),
        ("fp32 shared source", 1e-3, ("task.shared_source=true",)),
        ("fp32 one language at once", 1e-3, ("task.languages_at_once=1",)),
    ):
        expected = one_step(arguments, "model.packed=false", *options) if "shared" in name else reference
        got = one_step(arguments, *options)
        terms = max(abs(got[0][term] / value - 1) for term, value in expected[0].items())
        gradient = float((got[1] - expected[1]).norm() / expected[1].norm())
        result.notes.append(f"{name}: loss terms differ by {terms:.1e}, the gradient by {gradient:.1e} of its norm")
        if not (terms < bound and gradient < bound):
            raise ArithmeticError(result.notes[-1])


def one_step(arguments: argparse.Namespace, *options: str) -> tuple[dict[str, float], torch.Tensor]:
    """The loss terms and the gradient of one training step without dropout."""
    from types import SimpleNamespace

    from fairseq import tasks, utils
    from fairseq.dataclass.initialize import hydra_init
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    import fairseq_musc.configs
    import fairseq_musc.registration

    GlobalHydra.instance().clear()
    hydra_init("musc_pawsx")
    world = [f"task.data={arguments.world / 'data-bin'}", f"model.pretrained={arguments.world / 'encoder'}"]
    with initialize_config_dir(str(Path(fairseq_musc.configs.__path__[0]).resolve()), version_base="1.1"):
        cfg = compose("musc_pawsx", [*world, *options])
    GlobalHydra.instance().clear()
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    torch.manual_seed(0)  # of the heads
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model).to(device_of()).train()
    criterion = task.build_criterion(cfg.criterion).train()
    task.load_dataset("train")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    pairs = task.datasets["train"]
    rows = np.concatenate([pairs.offsets[g] + np.arange(8 - g % 2) for g in range(len(pairs.groups))])
    if "task.shared_source=true" in options:
        rows = np.concatenate([pairs.offsets[g] + np.arange(7) for g in range(len(pairs.groups))])
    sample = pairs.collater(rows)
    sample = utils.move_to_cuda(sample) if torch.cuda.is_available() else sample
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
            self.gib = max(self.gib, peak_gib())
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


def report(arguments: argparse.Namespace, results: list[Result], rate: float) -> None:
    """Prints the table and writes the JSON file."""
    import transformers

    from fairseq_musc.version import __version__

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    signature = {
        "device": device,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "fairseq_musc": __version__,
        "shape": asdict(TINY if arguments.tiny else MBERT),
        "languages": languages(arguments.tiny),
        "pairs_of_each": BATCH_OF[arguments.tiny],
        "bf16_product_teraflops": rate / 1e12,
        "command": " ".join(["python", "benchmarks/training.py", *sys.argv[1:]]) if not arguments.tiny else "--tiny",
    }
    baseline = next((r.pairs_per_second for r in results if r.variant == "released" and not r.error), None)
    print(f"\n{device}, torch {torch.__version__}, bf16 product {rate / 1e12:.1f} TFLOP/s")
    print(f"{'':54s} {'pairs/s':>9s} {'ratio':>6s} {'ms/step':>8s} {'GiB':>6s} {'share':>6s} {'first':>6s}")
    for r in results:
        if r.error:
            print(f"{r.name:54s} {r.error}")
            continue
        if not r.pairs_per_second:
            print(r.name, *r.notes, sep="\n  ")
            continue
        ratio = f"{r.pairs_per_second / baseline:6.2f}" if baseline else f"{'':6s}"
        print(
            f"{r.name:54s} {r.pairs_per_second:9.1f} {ratio} {r.milliseconds:8.1f} {r.gib:6.2f} {r.share:6.3f} "
            f"{r.first_update_seconds:5.1f}s"
        )
    text = json.dumps({**signature, "results": [asdict(r) for r in results]}, indent=1)
    (arguments.output / "training.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
