"""The targets of the Makefile that the documentation names, as far as they go without a package index."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTS = ("requirements", "requirements-fairseq", "requirements-easynmt", "requirements-release", "requirements-kernels")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(folder, *words, **environment):
    command = ["make", "--no-print-directory", "-C", folder, *words]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_said_to_be_given_first_is_what_ci_gives():
    """``make venv`` and ``make test`` are run by ``.ci/run``; ``make demo`` is the script that is run below."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make venv", "make test"} <= set(lines)
    assert lines.index("make venv") < lines.index("make test")
    recipes = {target: make(ROOT, "--dry-run", target).splitlines()[-1] for target in ("demo", "test")}
    assert recipes["demo"].endswith(':$PATH" scripts/demo.sh')
    assert 'pytest -m "not long"' in recipes["test"]


@pytest.mark.long
def test_the_demo_ends_with_its_table(tmp_path):
    done = subprocess.run([ROOT / "scripts" / "demo.sh"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (tmp_path / "demo" / "checkpoints" / "checkpoint_best.predictions" / "results.md").read_text()
    names = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    assert names == ["Inference", ":--", "T_tst", "S_tst^MT", "Ens.", "rows"]
    averages = [float(line.split("|")[-2]) for line in table.splitlines() if re.match(r"\| (?:T_tst|S_tst|Ens)", line)]
    assert all(55 < average < 95 for average in averages)  # it has learned, and made-up data is no more than that
    assert re.search(r"^\| rows \|(?: 400 \|){5}", table, re.MULTILINE)


@pytest.fixture
def project(tmp_path):
    """The Makefile and its lists, in a folder whose environment is there, with stand-ins for uv and pip-audit."""
    for path in (ROOT / "Makefile", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "hashes", tmp_path / "hashes")
    tools = tmp_path / ".venv" / "release" / "bin"
    tools.mkdir(parents=True)
    for name in ("uv", "pip-audit"):
        (tools / name).write_text(f"#!{sys.executable} -I\n{STAND_IN}")
        (tools / name).chmod(0o755)
    (tmp_path / ".venv" / ".done").mkdir()
    for step in ("python", "release"):
        (tmp_path / ".venv" / ".done" / step).touch()
    return tmp_path


#: Keeps what it was told, and writes what it was given where uv would write the hashes.
STAND_IN = """
import json, os, sys

name = os.path.basename(sys.argv[0])
given = sys.stdin.read() if name == "uv" else ""
with open(f"{name}.jsonl", "a") as stream:
    print(json.dumps(sys.argv[1:]), file=stream)
if "--output-file" in sys.argv:
    with open(sys.argv[sys.argv.index("--output-file") + 1], "w") as stream:
        stream.write(given)
"""


def told(project, name):
    return [json.loads(line) for line in (project / f"{name}.jsonl").read_text().splitlines()]


def options_of(tool, *words):
    """What the real program says that it takes, if `make dist` has installed it here."""
    program = Path(sys.prefix) / "release" / "bin" / tool
    if not program.exists():
        return None
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"--[a-z][a-z-]+", done.stdout))


def test_hashes_are_asked_for_every_pinned_file_but_torch(project):
    make(project, "hashes")
    runs = told(project, "uv")
    assert [words[:2] for words in runs] == [["pip", "compile"]] * len(LISTS)
    written = [words[words.index("--output-file") + 1] for words in runs]
    assert written == [f"hashes/{name}.txt" for name in LISTS]
    assert all({"--generate-hashes", "--no-deps", "--universal"} <= set(words) for words in runs)
    for name in LISTS:
        pins = (ROOT / f"{name}.txt").read_text().splitlines()
        assert (project / "hashes" / f"{name}.txt").read_text().splitlines() == [
            line for line in pins if not line.startswith("torch==")
        ]
    options = options_of("uv", "pip", "compile")
    given = {word for words in runs for word in words if word.startswith("--")}
    given -= {"--no-config"}  # uv takes it and does not list it
    assert options is None or given <= options


def test_every_list_is_audited(project):
    make(project, "audit")
    (words,) = told(project, "pip-audit")
    lists = [word for before, word in itertools.pairwise(words) if before == "--requirement"]
    assert lists == [f"{name}.txt" for name in LISTS]
    assert all((project / name).exists() for name in lists)
    assert "--strict" in words, shlex.join(words)
    options = options_of("pip-audit")
    assert options is None or {word for word in words if word.startswith("--")} <= options
