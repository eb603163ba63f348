"""Trainings that are forked from a process which has imported for them: they are what a fresh process is."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tiny
import torch

from fairseq_musc.experiments import processes
from fairseq_musc.experiments.alone import Alone
from fairseq_musc.experiments.cells import Cell, train_command
from fairseq_musc.experiments.preloaded import MODULES, Preloaded

PROGRAM = Path(sys.executable).with_name("fairseq-musc")
#: A thread of pyarrow's memory allocator, which starts it again in a forked process.
OF_JEMALLOC = "jemalloc_bg_thd"


def until(true, seconds=60, instead=lambda: ""):
    for _ in range(seconds * 20):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"not so within {seconds} s {instead()}")


@pytest.fixture(scope="module")
def preloaded():
    with Preloaded(os.environ) as starter:
        until(starter.ready)
        yield starter


def told(starter, script, folder, *arguments, environment=os.environ, name="script"):
    """Runs a script; returns its exit status and its log."""
    path, log = folder / f"{name}.py", folder / f"{name}-{len(list(folder.iterdir()))}.log"
    path.write_text(script)
    process = starter.start([sys.executable, "-P", str(path), *map(str, arguments)], environment, log)
    return process.wait(), log.read_text()


def without_import_messages(text):
    """What a log says behind what is said while fairseq is imported."""
    return text.rpartition('config_name="config")\n')[2]


#: What a process sees of itself.
SEEN = """
import json, multiprocessing, os, random, signal, sys, threading
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
seen = {
    "name": __name__, "file": __file__, "main": sys.modules["__main__"].__file__,
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": list(sys.flags),
    "environment": dict(os.environ), "folder": os.getcwd(),
    "leads a session": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "files": {name: os.readlink(f"/proc/self/fd/{name}") for name in sorted(os.listdir("/proc/self/fd"))[:-1]},
    "signals": [int(status[key], 16) & 0x7FFFFFFF for key in ("SigBlk", "SigIgn", "SigCgt")],  # and not the C library's
    "python's": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    "threads": [thread.name for thread in threading.enumerate()], "of the system": len(os.listdir("/proc/self/task")),
    "process": multiprocessing.current_process().name, "parent": str(multiprocessing.parent_process()),
    "streams": [(s.fileno(), s.encoding, s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)],
}
json.dump(seen, open(sys.argv[1], "w"))
print("said"); print("complained", file=sys.stderr)
"""


def test_a_forked_script_sees_what_a_fresh_one_sees(preloaded, tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "5", "OF_A_CELL": "yes"}
    del environment["HF_HUB_OFFLINE"]
    environment.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)  # which test_gpu.py sets
    seen = {}
    for starter in (Alone(), preloaded):
        status, log = told(starter, SEEN, tmp_path, tmp_path / "seen.json", "a b", environment=environment)
        assert status == 0
        assert without_import_messages(log) in ("said\ncomplained\n", "complained\nsaid\n")
        seen[type(starter)] = json.loads((tmp_path / "seen.json").read_text())
        files = seen[type(starter)]["files"]
        assert files.pop("0") == os.devnull
        assert Path(files.pop("1")) == Path(files.pop("2"))
    assert seen[Preloaded] == seen[Alone]
    assert seen[Preloaded]["environment"]["OF_A_CELL"] == "yes"
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in seen[Preloaded]["environment"]


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no such thing')", 1, "no such thing\n"),
        ("raise RuntimeError('broken')", 1, "RuntimeError: broken\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM, ""),
        ("import os, time; os.kill(os.getpid(), 2); time.sleep(9)", -signal.SIGINT, "KeyboardInterrupt\n"),
        ("import atexit; atexit.register(print, 'the last words')", 0, "the last words\n"),
    ],
)
def test_it_ends_as_a_fresh_one_ends(preloaded, tmp_path, script, status, said):
    for starter in (Alone(), preloaded):
        ended, log = told(starter, script, tmp_path)
        assert ended == status
        assert without_import_messages(log).endswith(said)


def test_the_server_has_only_imported(preloaded, tmp_path):
    """CUDA, and threads that are waited for, would not outlive the fork."""
    task = Path(f"/proc/{preloaded._process.pid}/task")
    assert [name for path in task.glob("*/comm") if (name := path.read_text().strip()) != OF_JEMALLOC] == ["python"]
    script = """
import sys, threading
assert set(sys.argv[1:]) <= set(sys.modules)
import torch
print(torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork(), threading.active_count())
"""
    status, log = told(preloaded, script, tmp_path, *MODULES)
    assert status == 0, log
    assert log.splitlines()[-1] == "False False 1"


def test_the_threads_of_libraries_end_at_a_fork_and_come_again(tmp_path):
    """Those of OpenBLAS, where it may have several; a product needs them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "4"}
    script = """
import os
print(len(os.listdir("/proc/self/task")))
import numpy, torch
there, here = numpy.ones((700, 700)), torch.ones(700, 700)
print(there.dot(there)[0, 0], here.mm(here)[0, 0].item())
print(torch.get_num_threads())
"""
    with Preloaded(environment) as starter:
        until(starter.ready)
        status, log = told(starter, script, tmp_path, environment=environment)
        assert status == 0
        assert log.splitlines()[-3:-1] == ["1", "700.0 700.0"]
        assert log.splitlines()[-1] == told(Alone(), script, tmp_path, environment=environment)[1].splitlines()[-1]


# --- trainings -------------------------------------------------------------------------------------------------------


def training(world, folder, *overrides):
    """The command of a training of a few seconds."""
    places = ["hydra.run.dir=" + str(folder), f"checkpoint.save_dir={folder / 'checkpoints'}"]
    small = ["optimization.lr=[0.001]", "dataset.batch_size=8", "common.cpu=true", "common.log_interval=1"]
    data = [f"task.data={world.data}", f"model.pretrained={world.encoder}", "optimization.max_epoch=2"]
    logging = ["hydra.job_logging.root.handlers=[file]", "hydra.job.name=train", "hydra.job.chdir=false"]
    return [*train_command("musc_pawsx", None), *places, *logging, *data, *small, *overrides]


def test_a_forked_training_gives_the_bits_of_a_fresh_one(world, tmp_path, preloaded):
    states, losses, said = [], [], []
    for starter, name in ((Alone(), "alone"), (preloaded, "preloaded")):
        folder = tmp_path / name
        folder.mkdir()
        command = training(world, folder, "dataset.num_workers=1", "criterion.terms=ce+mu+sc+musc")
        assert starter.start(command, os.environ, folder / "train.log").wait() == 0
        log = (folder / "train.log").read_text()
        losses.append(re.findall(r"(?:loss|L_\w+|accuracy\w*) [\d.]+", log))
        # Less numbers, as of seconds, the folder, and who called what warns.
        said.append(
            {re.sub(r"[\d.]+|^(sys|<frozen runpy>):", "", line.replace(str(folder), "")) for line in log.splitlines()}
        )
        states.append(tiny.load(folder / "checkpoints" / "checkpoint_last.pt"))
    assert len(losses[0]) > 20
    assert losses[0] == losses[1]
    assert states[0]["model"].keys() == states[1]["model"].keys()
    for key, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][key]), key
    assert states[0]["extra_state"]["val_loss"] == states[1]["extra_state"]["val_loss"]
    assert said[0] == said[1]


def test_little_is_left_to_import_after_the_fork(world, tmp_path, preloaded):
    """Modules of Hydra's that look for plugins, and a few small ones of transformers."""
    script = """
import atexit, json, runpy, sys
there, into = set(sys.modules), sys.argv.pop(1)
atexit.register(lambda: json.dump(sorted(set(sys.modules) - there), open(into, "w")))
sys.argv[:1] = []
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = training(world, tmp_path, "dataset.num_workers=0")[2:]
    imported = {}
    for starter in (Alone(), preloaded):
        to = f"checkpoint.save_dir={tmp_path / type(starter).__name__}"
        status, log = told(starter, script, tmp_path, tmp_path / "new.json", *command, to)
        assert status == 0, log
        imported[type(starter)] = json.loads((tmp_path / "new.json").read_text())
    assert len(imported[Alone]) > 1000
    assert len(imported[Preloaded]) < 40, imported[Preloaded]
    heavy = re.compile(
        r"torch\._(dynamo|inductor)|torch\.distributed|sympy|sklearn|scipy|accelerate|fairseq_musc\.models"
    )
    assert not list(filter(heavy.match, imported[Preloaded]))


# --- which trainings are forked, and how all of it ends --------------------------------------------------------------


def cell(folder, name, **settings):
    return Cell(name, folder / name, "musc_pawsx", None, "", (), settings, {})


def test_several_trainings_on_one_gpu_each_are_forked_and_others_are_not(tmp_path, monkeypatch):
    class Noted:
        def __init__(self, environment):
            self.environment = environment

    monkeypatch.setattr(processes, "Preloaded", Noted)
    one, two = cell(tmp_path, "one"), cell(tmp_path, "two", **{"distributed_training.distributed_world_size": 1})
    both = cell(tmp_path, "both", **{"distributed_training.distributed_world_size": 2})
    starter = processes._starter([one, two], {"CUDA_VISIBLE_DEVICES": "3"})
    assert isinstance(starter, Noted)
    assert starter.environment == {**os.environ, "CUDA_VISIBLE_DEVICES": "3"}
    assert isinstance(processes._starter([one], {}), Alone)
    assert isinstance(processes._starter([one, both], {}), Alone)
    monkeypatch.setattr(Cell, "command", lambda cell: ["sh", "-c", "true"])
    assert isinstance(processes._starter([one, two], {}), Alone)
    monkeypatch.undo()
    monkeypatch.setattr(processes, "Preloaded", Noted)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(processes._starter([one, two], {}), Alone)


@pytest.mark.parametrize("when", ["while it imports", "when it is ready"])
def test_without_its_server_a_training_is_started_afresh(tmp_path, when):
    with Preloaded(os.environ) as starter:
        if when == "when it is ready":
            until(starter.ready)
        os.kill(starter._process.pid, signal.SIGKILL)
        starter._process.wait()
        until(starter.ready)
        assert told(starter, "print('here')", tmp_path) == (0, "here\n")


def test_where_cuda_would_not_stand_the_fork_a_training_is_started_afresh(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "class Poisoned:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fairseq_cli.hydra_train':\n"
        "            import torch\n"
        "            torch.cuda._is_in_bad_fork = lambda: True\n"
        "sys.meta_path.insert(0, Poisoned())\n"
    )
    with Preloaded({**os.environ, "PYTHONPATH": str(site)}) as starter:
        until(starter.ready)
        status, log = told(starter, "import sys; print('torch' in sys.modules)", tmp_path)
        assert (status, log) == (0, "False\n")


def descendants(pid):
    """All processes below one."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *descendants(child)]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def temporary():
    """A folder for temporary files whose name is short, as those of sockets have to be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def grid(world, tmp_path, temporary):
    """Starts a grid of four cells, two side by side; returns it, and all its processes once both train."""
    started = []

    def start(until_they_train=True):
        command = [PROGRAM, "grid", "--config-name", "musc_pawsx", "--output", tmp_path / "grid", "--lr", "1e-3"]
        command += ["--lam", "0.5", "0.9", "--seeds", "1", "2", "--jobs", "2", f"task.data={world.data}"]
        command += [f"model.pretrained={world.encoder}", "common.cpu=true", "dataset.batch_size=8"]
        command += ["dataset.num_workers=1", "optimization.max_epoch=400"]
        into = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        into["env"] = {**os.environ, "TMPDIR": str(temporary)}
        # Below nohup it would be right to ignore the end of a terminal.
        into["preexec_fn"] = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
        running = subprocess.Popen(list(map(str, command)), cwd=tmp_path, start_new_session=True, **into)
        started.append(running)

        def training():
            assert running.poll() is None
            texts = [path.read_text() for path in (tmp_path / "grid").glob("*/train.log")]
            return sum("begin training epoch 2" in text for text in texts) == 2

        until(training if until_they_train else lambda: descendants(running.pid))
        # A reading of /proc misses processes when others end meanwhile.
        return running, set().union(*(descendants(running.pid) for _ in range(5)))

    yield start
    for running in started:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.stderr.close()


@pytest.mark.parametrize("how", ["killed outright", "Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGHUP"])
def test_a_grid_that_ends_takes_its_server_and_its_trainings_along(grid, how, tmp_path, temporary):
    running, below = grid()
    assert len(below) >= 5  # the server, two trainings, and what loads their batches
    if how == "killed outright":
        running.kill()
    elif how.startswith("Ctrl-C"):
        os.killpg(running.pid, signal.SIGINT)
        if how == "Ctrl-C twice":
            time.sleep(0.01)
            os.killpg(running.pid, signal.SIGINT)
    else:
        running.send_signal({"SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}[how])
    said = running.communicate(timeout=60)[1]
    number = {"killed outright": -9, "SIGTERM": 143, "SIGHUP": 129}.get(how, 130)
    assert running.returncode == number, said
    until(lambda: not any(map(alive, below)), seconds=20 if how == "killed outright" else 10)
    if how != "Ctrl-C twice":  # which kills trainings
        logs = [*(tmp_path / "grid").glob("*/train.log")]
        assert len(logs) == 2
        until(lambda: all("stopped behind update" in log.read_text() for log in logs), seconds=20)
        until(lambda: not list(temporary.iterdir()), 20, lambda: list(temporary.rglob("*")))


def test_a_grid_that_is_stopped_while_its_server_imports_ends_at_once(grid, tmp_path):
    running, below = grid(until_they_train=False)
    [server] = below
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=20)[1]
    assert running.returncode == 130 and "the same command goes on from here" in said
    assert not alive(server)
    assert not list((tmp_path / "grid").glob("*/train.log"))
