"""What ``tests/test_gpu.py`` does on GPUs, in an interpreter of its own: ``python gpu_runs.py NAME FOLDER [DEVICE]``.

Its children are forked, which is possible as long as the parent has not touched a GPU; so all of this is no part of the
tests' own process. The last line printed is the result, as JSON. With DEVICE ``cpu`` the same is done without a GPU.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

# All before torch is imported. The last asks the driver's library for GPUs, and leaves CUDA untouched.
os.environ.pop("TRITON_INTERPRET", None)
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

import killed
import test_kill_and_resume
import test_ranks
import tiny
import torch

DEVICE = "cuda"
KILLS = 3
#: How long the way to the first step is on a GPU is not known, so no kill is aimed by the clock.
MOMENTS = ("step", "validation", "save", "copy")
#: Of the log and the meters of checkpoints: what hangs on the memory that is free, and the norm of the gradient, which
#: is logged one update late, so that the first line behind a restart shows its own (docs/promises.md).
NOT_COMPARED = {"gnorm", "gb_free"}


def make_world(folder, dropout=0.1):
    tiny.make_corpora(folder / "corpora")
    tiny.make_encoder(folder / "encoder", width=64, layers=2, dropout=dropout)
    tiny.binarize(folder / "corpora", folder / "data-bin", folder / "encoder")
    return SimpleNamespace(encoder=folder / "encoder", data=folder / "data-bin")


# --- a training that is killed ---------------------------------------------------------------------------------------


def deterministic(warn_only):
    def changes(rank):
        torch.use_deterministic_algorithms(True, warn_only=warn_only)

    return changes


def furthest(one, two):
    """By how much the parameters, the optimizer and the losses of two checkpoints differ, and where most."""
    worst, where = 0.0, ""

    def look(one, two, place):
        nonlocal worst, where
        if torch.is_tensor(one):
            if one.is_floating_point():
                far = float((one - two).abs().max() / one.abs().max().clamp_min(1e-30)) if one.numel() else 0.0
                if not far <= worst:
                    worst, where = far, place
        elif isinstance(one, dict):
            for key, value in one.items():
                look(value, two[key], f"{place}.{key}")
        elif isinstance(one, list | tuple):
            for number, (a, b) in enumerate(zip(one, two, strict=True)):
                look(a, b, f"{place}.{number}")

    for key in ("model", "last_optimizer_state"):
        look(one[key], two[key], key)
    return worst, where


def killed_and_resumed(folder):
    """A training that is never killed, and one that is killed again and again."""
    world = make_world(folder)
    test_kill_and_resume.OF_THE_CLOCK |= {f"{tag}{key}" for tag in ("", "train_", "valid_") for key in NOT_COMPARED}
    options = (*test_kill_and_resume.OPTIONS, "optimization.max_epoch=6", f"common.cpu={str(DEVICE == 'cpu').lower()}")
    options = (*options, "distributed_training.distributed_world_size=1", "model.precision=bfloat16")
    whole_log, log = folder / "whole.log", folder / "killed.log"
    begun = time.monotonic()
    for warn_only in (False, True):  # without a warning everything is deterministic; an operation may have no such form
        started = killed.start(world, folder / "whole", whole_log, *options, changes=deterministic(warn_only))
        (status,) = killed.statuses(started)
        text = whole_log.with_name("whole.log.0").read_text()
        if status == 0 or warn_only or "deterministic" not in text:
            break
        print("no deterministic form:", *re.findall(r".*does not have a deterministic.*", text)[:1], file=sys.stderr)
        for path in (folder / "whole").glob("*"):
            path.unlink()
        whole_log.with_name("whole.log.0").unlink()
    assert status == 0, text[-3000:]
    assert "TRITON_INTERPRET" not in os.environ
    if DEVICE == "cuda":
        assert "NVIDIA" in text or "CUDA enviroments" in text, "it was not trained on a GPU"
    whole = time.monotonic() - begun
    changes = deterministic(warn_only)
    run = (world, folder / "killed", log, *options)
    hits = killed.until_done(*run, kills=KILLS, seed=4, moments=MOMENTS, changes=changes)
    found = test_kill_and_resume.differences(folder / "whole", whole_log, folder / "killed", log)
    states = [tiny.load(folder / name / "checkpoint_last.pt") for name in ("whole", "killed")]
    far, where = furthest(*states)
    losses = [loss_far(test_kill_and_resume.lines(whole_log), test_kill_and_resume.lines(log))]
    return {
        "kills": [aim.moment for aim in hits],
        "updates": states[0]["optimizer_history"][-1]["num_updates"],
        "differences": found[:20],
        "furthest": max(far, *losses),
        "where": where,
        "warn_only": warn_only,
        "seconds": [round(whole, 1), round(time.monotonic() - begun, 1)],
    }


def loss_far(expected, shown):
    """The largest relative difference of two logs' losses."""
    worst = 0.0
    for place, (values,) in expected.items():
        for once in shown[place]:
            for key, value in values.items():
                if key.endswith("loss") or "L_" in key:
                    worst = max(worst, abs(float(once[key]) - float(value)) / max(abs(float(value)), 1e-30))
    return worst


# --- ranks that gather -----------------------------------------------------------------------------------------------


def on_device(parts, rank):
    task, model, criterion = parts
    if DEVICE == "cuda":
        torch.cuda.set_device(rank)
    device = torch.device(DEVICE, rank) if DEVICE == "cuda" else torch.device("cpu")
    return task, model.to(device), criterion.to(device)


def step(parts, rows):
    from fairseq import utils

    sample = test_ranks.batch(parts[0], rows)
    return test_ranks.step(*parts, utils.move_to_cuda(sample) if DEVICE == "cuda" else sample)


def gathered(folder):
    """The losses and gradients of ranks, a GPU each, over NCCL, against one process on the joined batch."""
    world = make_world(folder, dropout=0.0)
    ranks = min(2, torch.cuda.device_count()) if DEVICE == "cuda" else 2
    batches = test_ranks.EVEN[:ranks]
    results = []
    for number, packed in enumerate(("true", "false")):
        options = (f"model.packed={packed}", f"common.cpu={str(DEVICE == 'cpu').lower()}")
        parts = test_ranks.build(world, world.encoder, *options, "criterion.gather=true")
        alone = test_ranks.build(world, world.encoder, *options)
        output = folder / f"{number}.json"
        started = []
        for rank in range(ranks):
            store = folder / f"{number}.store"
            started.append(killed.forked(gather_as, rank, parts, alone, batches, store, output))
        assert killed.statuses(started, timeout=200) == [0] * ranks
        results.append({"packed": packed == "true", **json.loads(output.read_text())})
    return {"ranks": ranks, "results": results}


def gather_as(rank, parts, alone, batches, store, output):
    """One of the ranks."""
    backend = "nccl" if DEVICE == "cuda" else "gloo"
    parts, alone = on_device(parts, rank), on_device(alone, rank)
    torch.distributed.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=len(batches))
    gradients, losses, size = step(parts, batches[rank])
    summed = torch.cat([gradients, losses, torch.tensor([float(size)], device=gradients.device)])
    torch.distributed.all_reduce(summed)
    summed = summed[:-1] / summed[-1]
    assert summed.device.type == DEVICE
    if rank == 0:
        expected, expected_losses, _ = step(alone, test_ranks.in_order(batches))
        pairs = {
            "gradients": (summed[: len(gradients)], expected),
            "losses": (summed[len(gradients) :], expected_losses),
        }
        far = {key: float((one - two).abs().max() / two.abs().max()) for key, (one, two) in pairs.items()}
        output.write_text(json.dumps({**far, "backend": backend}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# --- steps that do not wait -----------------------------------------------------------------------------------------


def unwaited(folder):
    """Trainings of one rank and of two, a GPU each: where their steps wait for the GPU, and what comes out.

    Two ranks are trained once more with fairseq's own exchange between them.
    """
    world = make_world(folder, dropout=0.0)
    ranks = min(2, torch.cuda.device_count()) if DEVICE == "cuda" else 2
    padded = "model.packed=false"
    runs = {
        "end_to_end": (1, True, "model.precision=bfloat16"),
        "gathered": (ranks, True, "model.precision=bfloat16 criterion.gather=true"),
        "padded": (ranks, True, padded),
        "of_fairseq": (ranks, False, padded),
    }
    waits = {}
    for name, (count, *how) in runs.items():
        store = folder / f"{name}.store"
        started = [
            killed.forked(train_unwaited, rank, count, *how, world, folder / name, store) for rank in range(count)
        ]
        assert killed.statuses(started, timeout=200) == [0] * count
        waits[name] = json.loads((folder / f"{name}.waits").read_text())
    two, fairseqs = (tiny.load(folder / name / "checkpoint_last.pt") for name in ("padded", "of_fairseq"))
    return {"ranks": ranks, "waits": waits, "furthest": furthest(two, fairseqs)[0]}


def train_unwaited(rank, count, ours, rows, world, run, store):
    """One rank of a training; notes which lines of a step wait for the GPU."""
    import warnings

    from fairseq.trainer import Trainer

    from fairseq_musc.tasks import musc

    torch.use_deterministic_algorithms(True, warn_only=True)
    if not ours:
        musc.make_unwaited = lambda: None
    options = [
        *(f"common.cpu={str(DEVICE == 'cpu').lower()}", "model.graphs=false", *rows.split()),
        *("optimization.max_epoch=6", "dataset.batch_size=4", "checkpoint.no_epoch_checkpoints=true"),
        f"distributed_training.distributed_world_size={count}",
    ]
    if count > 1:
        options.append(f"distributed_training.distributed_init_method=file://{store}")
        if DEVICE == "cpu":
            options += ["distributed_training.distributed_backend=gloo", "distributed_training.ddp_backend=legacy_ddp"]
        killed.be_rank(rank)
    step, waits = Trainer.train_step, []

    def watched(self, samples, raise_oom=False):
        if self.get_num_updates() < 4 or DEVICE == "cpu":  # the first ones choose and build
            return step(self, samples, raise_oom)
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            done = step(self, samples, raise_oom)
        torch.cuda.set_sync_debug_mode("default")
        waits.extend(f"{each.filename}:{each.lineno}" for each in said if "synchronizing CUDA" in str(each.message))
        return done

    Trainer.train_step = watched
    tiny.train(world.data, world.encoder, run, *options)
    if rank == 0:
        run.with_name(f"{run.name}.waits").write_text(json.dumps(sorted(set(waits))))


# --- kernels ---------------------------------------------------------------------------------------------------------


def kernels(folder):
    """Every kernel of training on the GPU itself, held to plain torch there as before a training."""
    from fairseq_musc.models import attention, packed

    device, right, wrong = torch.device(DEVICE), [], {}

    def look(name, check, *arguments):
        torch.manual_seed(0)
        try:
            check(*arguments)
        except Exception as error:
            wrong[name] = repr(error)[:500]
        else:
            right.append(name)

    for dtype in (torch.float32, torch.float16, torch.bfloat16) if DEVICE == "cuda" else ():
        for name, kernel in attention.KERNELS.items():
            if dtype != torch.float32 or name in attention.FOR_SINGLE_PRECISION:
                look(f"{name} {dtype}", lambda *rest, of=kernel: attention.check(of(), *rest), device, dtype, 12, 64)
        look(f"fused {dtype}", packed.check_fused, packed.fused_behind_attention, device, dtype, 768)
    return {"right": right, "wrong": wrong}


# --- layers as graphs ------------------------------------------------------------------------------------------------


def graphs(folder):
    """Gradients and losses of steps that are replayed as CUDA graphs, against the same kernels launched one by one."""
    from fairseq_musc.models import graphs as module

    torch.use_deterministic_algorithms(True, warn_only=True)
    world = make_world(folder)
    batches = [{0: [0, 1, 2, 3], 1: [4, 5, 6, 7]}, {0: [8, 9, 10, 11], 1: [0, 1, 2, 3]}, {0: [1, 2], 1: [3]}] * 2

    def steps(eager, passes):
        module.EAGER = eager
        options = ("model.precision=bfloat16", "model.graphs=true", f"task.languages_at_once={passes}")
        parts = on_device(test_ranks.build(world, world.encoder, *options), 0)
        found = [step(parts, rows)[:2] for rows in batches]
        return found, len(parts[1]._packed_encoder[0].captured.captured)

    def furthest(one, two):
        return max(
            float((a - b).abs().max() / b.abs().max())
            for pair in zip(one, two, strict=True)
            for a, b in zip(*pair, strict=True)
        )

    results = {}
    for passes in ("null", "1"):
        one_by_one, none = steps(1000, passes)
        replayed, some = steps(0, passes)
        assert none == 0 < some
        results[passes] = furthest(replayed, one_by_one)
    two_at_once = two_forwards(world, module)
    return {"furthest": results, "captured": some, "two at once": two_at_once}


def two_forwards(world, module):
    """Gradients of two passes whose backward passes come behind both: the second is not replayed."""
    from fairseq import utils

    module.EAGER = 0
    found = []
    for graphs in ("true", "false"):
        options = ("model.precision=bfloat16", f"model.graphs={graphs}")
        task, model, criterion = on_device(test_ranks.build(world, world.encoder, *options), 0)
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        losses = []
        for rows in ({0: [0, 1, 2], 1: [4, 5]}, {0: [5, 6, 2], 1: [4, 7]}):
            sample = utils.move_to_cuda(test_ranks.batch(task, rows))
            torch.manual_seed(1)  # of alpha; what is drawn behind it is not the same
            losses.append(criterion(model, sample)[0])
        (losses[0] + 2 * losses[1]).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return float((found[0] - found[1]).norm() / found[1].norm())


if __name__ == "__main__":
    name, folder, *more = sys.argv[1:]
    DEVICE = more[0] if more else DEVICE
    programs = {program.__name__: program for program in (killed_and_resumed, gathered, unwaited, kernels, graphs)}
    print(json.dumps(programs[name](Path(folder))))
