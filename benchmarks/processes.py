"""Times ``fairseq-hydra-train`` on one process and on several of one host, by fairseq's own distributed training.

    python benchmarks/processes.py --output FOLDER --processes 1 2     # one GPU a process: mBERT's shape, bf16
    python benchmarks/processes.py --output FOLDER --tiny              # on a CPU, by gloo: it shows that it runs

Every process takes the recipe's whole batch (6 languages, 32 pairs each), so k processes take k batches in an update.
*local* and *gathered* are the two views that L_sc and L_musc can have of them: the rows of the own process
(``criterion.gather=false``), or those of all, with gradients. The time is that between the log's lines of the first and
of the last update that is counted, with loading, optimizer, all-reduce and logging, without validation. *efficiency* is
the pairs/s of k processes over k times those of one. *all-reduce* is that of as many bytes as the gradients have, with
nothing beside it: what an update of k processes takes longer at least, unless it goes on during the backward pass.
Makes its data in FOLDER/world (once), and writes FOLDER/processes.json and FOLDER/processes.md; the log of each run
lies beside them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from made_up import MBERT, TINY
from training import BATCH_OF, languages, make_world, say

from fairseq_musc.files import write_json, written_whole

LINE = re.compile(r"^\[([-0-9]+ [0-9:,]+)\]\[train_inner\]\[INFO\] - (\{.*\})$", re.MULTILINE)

VIEWS = ("local", "gathered")


@dataclass
class Result:
    """What was measured of a number of processes."""

    processes: int
    view: str
    """Of the losses: local, or gathered."""
    pairs_per_second: float = 0.0
    milliseconds: float = 0.0
    """An update."""
    efficiency: float = 0.0
    all_reduce: float = 0.0
    """Milliseconds."""
    error: str = ""


def main() -> None:
    """Makes the world, runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the world, the logs and the table")
    parser.add_argument("--world", type=Path, help="folder of the world of training.py, if elsewhere")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument(
        "--views",
        nargs="+",
        choices=VIEWS,
        default=list(VIEWS),
        help="of the losses, where there are several processes",
    )
    parser.add_argument("--updates", type=int, default=240, help="of each training; the first third is not counted")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that one training may take")
    parser.add_argument("--options", nargs="*", default=[], help="overrides of the recipe, e.g. model.graphs=true")
    parser.add_argument("--tiny", action="store_true", help="a small encoder and few updates, for a CPU")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    world = (arguments.world or output / "world").resolve()
    say("the world")
    make_world(world, TINY if arguments.tiny else MBERT, arguments.tiny)
    updates = 6 if arguments.tiny else arguments.updates
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    signature = {"device": device, "torch": torch.__version__, "pairs_of_each": BATCH_OF[arguments.tiny]}
    gradients = numbers_of(world / "encoder")
    results: list[Result] = []
    for count in arguments.processes:
        alone_in_network = time_all_reduce(count, gradients, arguments.tiny) if count > 1 else 0.0
        for view in ("local",) if count == 1 else arguments.views:
            result = Result(count, view, all_reduce=alone_in_network)
            time_processes(result, world, output, updates, arguments)
            alone = next((r.pairs_per_second for r in results if r.processes == 1), result.pairs_per_second)
            result.efficiency = result.pairs_per_second / (count * alone) if alone else 0.0
            results.append(result)
            say(f"{count} processes, {view}: {result.error or f'{result.pairs_per_second:.0f} pairs/s'}")
            write_json(output / "processes.json", {**signature, "results": [asdict(r) for r in results]})
    lines = [
        f"{device}, torch {torch.__version__}",
        "",
        "| processes | losses | pairs/s | ms/update | efficiency | all-reduce, ms |",
        "|--:|:--|--:|--:|--:|--:|",
    ]
    for r in results:
        measured = f"{r.pairs_per_second:.0f} | {r.milliseconds:.1f} | {r.efficiency:.2f}"
        all_reduce = f"{r.all_reduce:.1f}" if r.processes > 1 else "–"
        lines.append(f"| {r.processes} | {r.view} | {f'{r.error} | |' if r.error else measured} | {all_reduce} |")
    with written_whole(output / "processes.md") as stream:
        stream.write("\n".join(lines) + "\n")
    print("\n" + "\n".join(lines) + "\n")


def time_processes(result: Result, world: Path, output: Path, updates: int, arguments: argparse.Namespace) -> None:
    """One training; what it gave is put into the result."""
    on_gpu = torch.cuda.is_available() and not arguments.tiny
    log = output / f"{result.processes}-{result.view}.log"
    interval = max(1, updates // 12)
    overrides = [
        f"task.data={world / 'data-bin'}",
        f"model.pretrained={world / 'encoder'}",
        f"criterion.gather={str(result.view == 'gathered').lower()}",
        f"model.precision={'bfloat16' if on_gpu else 'float32'}",
        f"common.cpu={str(not on_gpu).lower()}",
        "common.log_format=json",
        f"common.log_interval={interval}",
        f"checkpoint.save_dir={output / 'checkpoints'}",
        "checkpoint.no_save=true",
        "checkpoint.save_interval_updates=0",
        "dataset.disable_validation=true",
        f"dataset.batch_size={BATCH_OF[arguments.tiny]}",
        f"optimization.max_update={updates}",
        *arguments.options,
        f"distributed_training.distributed_world_size={result.processes}",
    ]
    command = ["fairseq-hydra-train", "--config-name", "musc_pawsx", *overrides]
    if not on_gpu and result.processes > 1:  # fairseq starts as many processes as there are GPUs: here by hand
        command = [
            *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={result.processes}", "--no-python"),
            *(*command[:3], *overrides[:-1], "distributed_training.distributed_backend=gloo"),
        ]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    try:
        with log.open("w") as stream:
            done = subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, cwd=output, env=environment, check=False,
                timeout=arguments.limit,
            )  # fmt: skip
        if done.returncode:
            result.error = f"ended with status {done.returncode}: see {log.name}"
    except subprocess.TimeoutExpired:
        result.error = f"took longer than {arguments.limit:.0f} s: see {log.name}"
    at = {}
    for moment, line in LINE.findall(log.read_text()):
        at[int(json.loads(line)["num_updates"])] = datetime.datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f")
    counted = [update for update in at if update >= updates // 3]
    if result.error or len(counted) < 2:
        result.error = result.error or f"has no updates to count: see {log.name}"
        return
    first, last = min(counted), max(counted)
    seconds = (at[last] - at[first]).total_seconds()
    result.milliseconds = 1000 * seconds / (last - first)
    pairs = BATCH_OF[arguments.tiny] * languages(arguments.tiny) * result.processes
    result.pairs_per_second = pairs * (last - first) / seconds


def numbers_of(encoder: Path) -> int:
    """How many numbers the parameters of an encoder's folder are."""
    from safetensors import safe_open

    count = 0
    for path in encoder.glob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                count += torch.Size(tensors.get_slice(name).get_shape()).numel()
    return count


def time_all_reduce(processes: int, numbers: int, tiny: bool) -> float:
    """Milliseconds of an all-reduce of so many float32 over so many processes, by NCCL where there are GPUs."""
    on_gpu = torch.cuda.is_available() and not tiny
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = f"file://{folder}/rendezvous"
        answer = Path(folder, "milliseconds")
        torch.multiprocessing.spawn(_all_reduce, (processes, numbers, on_gpu, rendezvous, answer), nprocs=processes)
        return float(answer.read_text(encoding="utf-8"))


def _all_reduce(rank: int, processes: int, numbers: int, on_gpu: bool, rendezvous: str, answer: Path) -> None:
    if on_gpu:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", rendezvous, rank=rank, world_size=processes)
    gradients = torch.zeros(numbers, device="cuda" if on_gpu else "cpu")
    taken = []
    for _ in range(8):
        dist.barrier()
        begun = time.perf_counter()
        dist.all_reduce(gradients)
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(1000 * (time.perf_counter() - begun))
    if rank == 0:
        answer.write_text(str(statistics.median(taken[3:])), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
