"""The benchmarks run in their small form; the figures of a CPU under load are not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name, output, *options):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--output", str(output), "--tiny", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log = output / "training.log"
    assert done.returncode == 0, done.stderr + (log.read_text()[-3000:] if log.exists() else "")
    return json.loads((output / f"{name}.json").read_text())["results"], done.stdout


def test_training(tmp_path):
    variants = ("released", "check", "bf16", "shared", "one-language")
    results, table = run("training", tmp_path, "--variants", *variants, "--profile", "bf16")
    assert [result["variant"] for result in results] == list(variants)
    assert not any(result["error"] for result in results)
    timed = [result for result in results if result["variant"] != "check"]
    assert all(result["pairs_per_second"] > 0 and result["share"] > 0 for result in timed)
    # Two languages of four pairs: four views of each, and three in place of four where S is shared.
    tokens = {result["variant"]: result["tokens_per_step"] for result in results}
    assert tokens["shared"] < 0.9 * tokens["bf16"]
    assert len([line for line in table.splitlines() if "differ by" in line]) == 4
    assert "aten::" in (tmp_path / "profile-bf16.txt").read_text()


@pytest.mark.long
def test_predicting(tmp_path):
    results, _ = run("predicting", tmp_path)
    assert [result["rows"] for result in results] == [60] * 4
    bounds = (1e-9, 1e-5, 1e-5, 0.02)
    assert all(result["difference"] < bound for result, bound in zip(results, bounds, strict=True))
    assert all(result["same"] >= 0.9 for result in results)


@pytest.mark.long
def test_binarizing(tmp_path):
    results, _ = run("binarizing", tmp_path, "--rows", "30")
    assert [result["rows"] for result in results] == [30]
    assert results[0]["gib"] > 0
