"""Scripts hand on the folders that they are given, whatever these are called: seen by commands that do nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
STAND_IN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + chr(10))
if "--output" in sys.argv:
    os.makedirs(os.path.dirname(sys.argv[sys.argv.index("--output") + 1]), exist_ok=True)
"""


@pytest.fixture
def commands(tmp_path):
    """Runs a script; returns the commands that it has given."""
    (tmp_path / "bin").mkdir()
    for name in ("fairseq-musc", "fairseq-hydra-train"):
        (tmp_path / "bin" / name).write_text(STAND_IN)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(script, *words, **environment):
        log = tmp_path / "log"
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "LOG": str(log), **environment}
        done = subprocess.run([SCRIPTS / script, *map(str, words)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def overrides_of(command):
    """What Hydra reads of the overrides in a command."""
    parsed = OverridesParser.create().parse_overrides([word for word in command if "=" in word and word[0] != "-"])
    return {override.key_or_group: override.value() for override in parsed}


@pytest.mark.parametrize(("script", "inputs"), [("demo.sh", 0), ("pawsx_small.sh", 3)])
def test_a_training_is_given_its_folders(tmp_path, commands, script, inputs):
    out = tmp_path / "données de José (1)"
    given = commands(script, *["input"] * inputs, out)
    (training,) = [command for command in given if command[0] == "fairseq-hydra-train"]
    found = overrides_of(training)
    assert {key: found[key] for key in ("task.data", "model.pretrained", "checkpoint.save_dir")} == {
        "task.data": str(out / "data-bin"),
        "model.pretrained": str(out / "encoder"),
        "checkpoint.save_dir": str(out / "checkpoints"),
    }


def test_table_2_is_given_its_english_encoder(tmp_path, commands):
    out = tmp_path / "données de José (1)"
    given = commands("cls.sh", "cls", "parallel", out, "tiny", TABLES="3 2")
    third, second = ([*command] for command in given if command[1] == "run-table")
    english = ["--english-encoder", str(out / "encoder-en"), "--english-data", str(out / "data-bin-en")]
    place = second.index("--english-encoder")
    assert second[place : place + 4] == english
    assert "--english-encoder" not in third
    assert overrides_of(second)["model.pretrained"] == str(out / "encoder")
