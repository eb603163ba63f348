"""What holds on GPUs: a training that is killed goes on, ranks over NCCL gather, kernels are right; ``make test-gpu``.

Each is a program of its own (``gpu_runs.py``). The first two are done on the CPU as well, which shows that the programs
themselves are right where there is no GPU.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fairseq_musc.experiments.preloaded import Forked, Preloaded

PROGRAM = Path(__file__).with_name("gpu_runs.py")
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
on_a_gpu = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="there is no GPU with CUDA here")]
)
on_the_cpu = pytest.param("cpu", marks=pytest.mark.long)
#: To which a training that went on must be equal if it is not bit for bit; relative to the largest of a tensor.
ROUNDING = 1e-6


def start(command, folder, **more):
    """A program whose output is in a file, so that none waits for another to be read."""
    paths = os.pathsep.join(dict.fromkeys([str(PROGRAM.parent), *filter(None, sys.path)]))
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**environment, "PYTHONPATH": paths, **more},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Starts a program; on a GPU the first call starts all, side by side, since each waits most of the time."""
    started = {}

    def begin(name, device):
        folder = tmp_path_factory.mktemp(name)
        command = [PROGRAM, name, folder, device]
        if name == "translation":
            command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "attention or adding or best_words"]
            command.append(PROGRAM.with_name("interpreted_kernels.py"))
        more = {"TRITON_INTERPRET": "0"} if name == "translation" else {}
        started[name, device] = start(command, folder, **more), folder / "output"

    def output_of(name, device):
        names = (
            ("killed_and_resumed", "gathered", "unwaited", "kernels", "graphs", "translation")
            if device == "cuda"
            else (name,)
        )
        for each in names:
            if (each, device) not in started:
                begin(each, device)
        process, output = started[name, device]
        status = process.wait(timeout=300)
        text = output.read_text(errors="replace")
        assert status == 0, text[-6000:]
        print(text[-3000:])
        return text

    yield output_of
    for process, _ in started.values():
        if process.poll() is None:
            process.kill()


def result_of(output):
    """What a program found, the last line that it printed."""
    return json.loads(next(line for line in reversed(output.splitlines()) if line.startswith("{")))


@pytest.mark.parametrize("device", [on_a_gpu, on_the_cpu])
def test_a_training_that_is_killed_three_times_ends_as_one_that_was_not(programs, device, promise):
    found = result_of(programs("killed_and_resumed", device))
    assert len(found["kills"]) == 3 and found["updates"] == 30
    # Bit for bit; or, where a kernel has no deterministic form, to rounding.
    same = not found["differences"]
    place = {"cuda": "1 GPU", "cpu": "1 CPU, as on a GPU"}[device]
    how = "bit for bit" if same else f"to {found['furthest']:.0e}"
    promise("kill and resume", f"SIGKILL {', '.join(sorted(found['kills']))}; {place}, {how}", len(found["kills"]))
    assert same or (device == "cuda" and found["warn_only"] and found["furthest"] <= ROUNDING), found


@pytest.mark.parametrize("device", [on_a_gpu, on_the_cpu])
def test_gathered_ranks_equal_one_process_on_the_joined_batch(programs, device, promise):
    """On one GPU, one rank, which shows no more than that NCCL's collective calls are made as they must be."""
    found = result_of(programs("gathered", device))
    for each in found["results"]:
        assert each["backend"] == {"cuda": "nccl", "cpu": "gloo"}[device]
        assert each["losses"] < 1e-5 and each["gradients"] < 1e-4, each
    ranks = found["ranks"]
    harm = f"{ranks} rank{'s' * (ranks > 1)} against one process on the joined batch, {each['backend']}"
    promise("many processes", harm, len(found["results"]))
    if device == "cuda" and ranks == 1:
        pytest.skip("two GPUs are needed for two ranks over NCCL; one rank was right")


@pytest.mark.parametrize("device", [on_a_gpu, on_the_cpu])
def test_no_step_waits_for_the_gpu_and_sums_are_those_of_fairseq(programs, device):
    """On one GPU, or a CPU, where nothing can wait, this shows less."""
    found = result_of(programs("unwaited", device))
    assert found["furthest"] <= 1e-5, found
    # transformers asks the GPU whether rows are padded; rows that lie end to end are not given to it.
    waits = {name: [line for line in of if "/transformers/" not in line] for name, of in found["waits"].items()}
    fairseqs = waits.pop("of_fairseq")
    assert waits == {name: [] for name in waits}, found
    if device == "cuda" and found["ranks"] > 1:
        assert fairseqs, "a wait is not seen where there are some"


@pytest.mark.parametrize("device", [on_a_gpu])
def test_kernels_are_right_on_the_gpu_itself(programs, device, promise):
    pytest.importorskip("triton")
    found = result_of(programs("kernels", device))
    right = found["right"]
    # What torch brings and is found wrong is not used: with torch 2.11 on an H200 the gradient of efficient in float32.
    assert [name for name in found["wrong"] if not name.startswith("efficient")] == [], found
    assert len(right) + len(found["wrong"]) == 1 + 3 + 3 + 3, found
    promise("kernels", "values, gradients and dropout against plain torch on a GPU", len(right))


@pytest.mark.parametrize("device", [on_a_gpu])
def test_layers_replayed_as_graphs_have_the_gradients_of_their_kernels_one_by_one(programs, device, promise):
    pytest.importorskip("triton")
    found = result_of(programs("graphs", device))
    # With dropout, the same in both; also where a step is several passes that add up their gradients. Sums that atomic
    # additions make come in any order.
    assert max(found["furthest"].values()) <= 1e-4, found
    assert found["two at once"] < 0.03, found  # in bfloat16, and laid out otherwise
    promise("kernels", "CUDA graphs against the same kernels one by one: losses and gradients of 12 steps", 12)


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="there is no GPU with CUDA here")
def test_the_kernels_of_translation_are_right_on_the_gpu_itself(programs, promise):
    pytest.importorskip("triton")
    assert "11 passed" in programs("translation", "cuda")
    promise("kernels", "those of translation against plain torch on a GPU", 11)


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="there is no GPU with CUDA here")
def test_a_script_that_is_forked_behind_the_imports_can_use_its_gpu(tmp_path):
    """The last of them, though the process that has imported was told of the first."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, sys.path)))
    (tmp_path / "script.py").write_text(
        "import sys, torch\n"
        "there = {'fairseq_musc.models.triton_attention', 'fairseq_musc.models.triton_norm'} <= set(sys.modules)\n"
        "print(there, torch.cuda.is_initialized(), torch.cuda.device_count())\n"
        "print(torch.ones(3, device='cuda').sum().item())\n"
        "print(torch.cuda.get_device_properties(0).uuid)\n"
    )
    numbers = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(GPUS)))).split(",")
    with Preloaded({**environment, "CUDA_VISIBLE_DEVICES": numbers[0]}) as starter:
        while not starter.ready():
            time.sleep(0.1)
        command = [sys.executable, "-P", str(tmp_path / "script.py")]
        process = starter.start(command, {**environment, "CUDA_VISIBLE_DEVICES": numbers[GPUS - 1]}, tmp_path / "log")
        assert isinstance(process, Forked)
        assert process.wait() == 0, (tmp_path / "log").read_text()
    uuid = torch.cuda.get_device_properties(GPUS - 1).uuid
    assert (tmp_path / "log").read_text().splitlines()[-3:] == ["True False 1", "3.0", str(uuid)]
