"""The benchmarks run in their small form; the figures of a CPU under load are not looked at."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    results, table = run("binarizing", tmp_path, "--rows", "30", "60")
    assert [(result["way"], result["rows"]) for result in results] == [
        ("row by row", 30),
        ("binarize", 30),
        ("binarize", 60),
    ]
    assert results[0]["ratio"] == 1
    assert results[2]["ratio"] == pytest.approx(results[2]["rows_per_second"] / results[0]["rows_per_second"])
    assert all(result["gib"] > 0 and result["cpu_seconds"] > 0 for result in results)
    assert "ratio" in table


@pytest.mark.long
def test_the_way_of_xnli(tmp_path):
    results, told = run("xnli_size", tmp_path)
    assert (results["languages"], results["rows"], results["binarize"]["rows"]) == (3, 300, 900)
    assert results["batches"] == 10  # 300 rows of two languages, 32 of each at once
    assert list(results["steps"]) == ["start", "open", "epoch", "first batch", "next batches"]
    assert all(step["resident_gib"] > step["own_gib"] > 0 for step in results["steps"].values())
    assert "pairs/s" in told
    assert not (tmp_path / "xnli_size-world-3x300" / "data-bin").exists()


@pytest.mark.long
def test_scaling(tmp_path):
    results, told = run("scaling", tmp_path)
    assert [(r["axis"], r["value"]) for r in results] == [
        *(("batch", n) for n in (2, 16)),
        *(("languages", n) for n in (1, 3)),
        *(("length", n) for n in (8, 64)),
        *(("rows", n) for n in (100, 400)),
    ]
    assert not any(r["error"] for r in results)
    assert all(r["milliseconds"] > 0 and r["load_milliseconds"] > 0 for r in results)
    # Two pairs of two languages are four views each, and as many mixed ones: 16 rows, all of one length.
    of_length = {r["value"]: r for r in results if r["axis"] == "length"}
    assert {n: (r["tokens"], r["squares"]) for n, r in of_length.items()} == {n: (16 * n, 16 * n * n) for n in (8, 64)}
    tokens = {(r["axis"], r["value"]): r["tokens"] for r in results}
    assert tokens["batch", 16] == pytest.approx(8 * tokens["batch", 2], rel=0.15)
    assert tokens["languages", 3] == pytest.approx(3 * tokens["languages", 1], rel=0.15)
    assert "One law for all points" in told
    report = (tmp_path / "scaling.md").read_text()
    assert report.strip() in told
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "scaling.png").unlink()
    assert run("scaling", tmp_path, "--again") == (results, f"\n{report}\n")
    assert (tmp_path / "scaling.png").exists()


@pytest.mark.long
def test_processes(tmp_path):
    results, told = run("processes", tmp_path, "--processes", "1", "2")
    assert [(r["processes"], r["view"]) for r in results] == [(1, "local"), (2, "local"), (2, "gathered")]
    assert [r["all_reduce"] > 0 for r in results] == [False, True, True]
    assert not any(r["error"] for r in results)
    pairs = [r["pairs_per_second"] for r in results]
    assert [r["efficiency"] for r in results] == pytest.approx([1, pairs[1] / pairs[0] / 2, pairs[2] / pairs[0] / 2])
    # Two languages of four pairs each, in every process: 8 pairs an update in one, 16 in two.
    of_an_update = [r["pairs_per_second"] * r["milliseconds"] / 1000 for r in results]
    assert of_an_update == pytest.approx([8, 16, 16])
    assert (tmp_path / "processes.md").read_text().strip() in told


@pytest.mark.long
def test_scaling_names_what_it_had_no_time_for(tmp_path):
    results, told = run("scaling", tmp_path, "--axes", "batch", "--limit", "0")
    assert [r["error"] for r in results] == ["", "left out for want of time"]
    assert told.count("left out for want of time") == 1


def test_the_law_of_scaling_is_found_in_exact_figures(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("scaling", BENCHMARKS / "scaling.py")
    scaling = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scaling", scaling)
    spec.loader.exec_module(scaling)
    rows, lengths = np.meshgrid([10, 100, 1000], [16, 64, 512])
    tokens, squares = (rows * lengths).ravel(), (rows * lengths**2).ravel()
    law = scaling.law_of(tokens, squares, 4 + 0.7 * tokens / 1e3 + 0.2 * squares / 1e6)
    assert law == pytest.approx((4, 0.7, 0.2, 0, 0), abs=1e-6)
    assert law.share_of_squares(500) == pytest.approx(0.1 / 0.8)  # 0.2 * 500 / 1000 beside 0.7 for 1,000 tokens
    assert law.at(1000, 1e6) == pytest.approx(4.9)
    no_part_below_0 = scaling.law_of(tokens, squares, 4 + 0.7 * tokens / 1e3 - 1e-4 * squares / 1e6)
    assert no_part_below_0.quadratic == 0
    assert no_part_below_0.share_of_squares(500) == 0
    waiting = np.maximum(6, 4 + 0.7 * tokens / 1e3 + 0.2 * squares / 1e6)  # for the CPU, where the GPU has little to do
    assert scaling.law_of(tokens, squares, waiting) == pytest.approx((4, 0.7, 0.2, 0, 6), abs=1e-4)


def test_kernels(tmp_path):
    results, table = run("kernels", tmp_path)
    names = [result["name"] for result in results]
    assert "attention: padded, back" in names and "product: down, back" in names
    assert all(result["microseconds"] > 0 and result["share"] > 0 for result in results) and not any(
        result["error"] for result in results
    )
    assert all(name in table for name in names)


def test_other_tiles_are_for_a_gpu(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "kernels.py"), "--output", str(tmp_path), "--sweep"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 2 and "--sweep needs a GPU" in done.stderr
