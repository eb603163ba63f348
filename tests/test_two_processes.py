"""Training on two ranks equals training on one that accumulates the same batches."""

import os
import subprocess
import sys
from pathlib import Path

import tiny
import torch


def test_two_ranks_equal_one_that_accumulates(world, tmp_path):
    """37 rows in batches of 8 are 5 steps: the last is one batch and one that is not there."""
    tiny.make_encoder(tmp_path / "encoder", dropout=0.0)
    options = (
        "model.classifier_dropout=0",
        "criterion.terms=ce+sc",  # nothing drawn at random, so that both runs see the same
        "optimization.max_epoch=2",
    )
    one = tiny.train(world.data, tmp_path / "encoder", tmp_path / "one", *options, "optimization.update_freq=[2]")
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
    two = subprocess.run(
        [
            sys.executable,
            str(here / "two_processes.py"),
            *map(str, (world.data, tmp_path / "encoder", tmp_path / "two")),
            *options,
        ],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert two.returncode == 0, two.stderr[-3000:]
    first = tiny.load(one / "checkpoint_last.pt")
    second = tiny.load(tmp_path / "two" / "checkpoint_last.pt")
    assert first["optimizer_history"][-1]["num_updates"] == second["optimizer_history"][-1]["num_updates"] == 6
    for name, value in first["model"].items():
        # Adam moves every weight by up to 1e-3 a step whatever the size of its gradient, so rounding in gradients near
        # zero shows; a wrong average would show a hundred times more.
        torch.testing.assert_close(second["model"][name], value, rtol=1e-3, atol=1e-5)
    assert first["extra_state"]["val_loss"] == second["extra_state"]["val_loss"]  # every row counted once, by both
