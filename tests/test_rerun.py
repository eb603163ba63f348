"""The signature beside a predictions table is enough to make the same table again, bit for bit."""

import os
import shlex
import subprocess
import sys

import pytest
import tiny
import torch

from fairseq_musc.cli import main
from fairseq_musc.evaluate.rerun import _written, overrides
from fairseq_musc.evaluate.table import read_predictions
from fairseq_musc.experiments.cells import TrainingRecipe, parse_overrides

OPTIONS = (
    *("common.seed=11", "optimization.max_epoch=2", "criterion.terms=ce+mu+sc", "criterion.mixup_beta=0.4"),
    *("model.classifier_dropout=0.3", "task.shared_source=true", "dataset.required_batch_size_multiple=8"),
    *("lr_scheduler._name=polynomial_decay", "+lr_scheduler.total_num_update=30", "optimization.sentence_avg=true"),
)


def predict(data, run, folder):
    options = ["--checkpoint", run / "checkpoint_best.pt", "--data", data, "--predictions", folder]
    assert main(["predict", *map(str, options)]) == 0


def from_signature(folder, save_dir, capsys):
    """The words of the printed command."""
    capsys.readouterr()
    assert main(["rerun", "--predictions", str(folder), "--save-dir", str(save_dir)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("# checkpoint_best.pt, update ") and "# T_trn_MT.de: 37 rows, SHA-256 " in printed[2]
    return shlex.split(printed[-1])


def test_a_run_from_its_signature_alone(world, tmp_path, capsys, promise):
    from fairseq_cli.hydra_train import _hydra_main

    run = tiny.train(world.data, world.encoder, tmp_path / "first", *OPTIONS)
    predict(world.data, run, tmp_path / "out")
    words = from_signature(tmp_path / "out", tmp_path / "second", capsys)
    assert words[:3] == ["fairseq-hydra-train", "--config-name", "musc_pawsx"]
    # Composed without anything that tiny says itself, and run as a process begins: with nothing left of another run.
    from fairseq import checkpoint_utils

    del checkpoint_utils.save_checkpoint.best
    cfg = tiny.compose("???", "???", "???", *words[3:])
    assert cfg.task.data == str(world.data) and cfg.optimization.sentence_avg is True
    cfg.common.log_interval = 50
    _hydra_main(cfg)
    predict(world.data, tmp_path / "second", tmp_path / "again")
    promise("reproducible", "a run made again from the signature of its results", 1)
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        one, two = (tiny.load(tmp_path / folder / name)["model"] for folder in ("first", "second"))
        assert all(torch.equal(one[key], two[key]) for key in one)
    tables = sorted((tmp_path / "out").glob("*.tsv"))
    assert tables
    for table in tables:
        assert table.read_bytes() == (tmp_path / "again" / table.name).read_bytes()
    settings = read_predictions(tmp_path / "out", "T_tst", "de").signature.settings
    assert settings == read_predictions(tmp_path / "again", "T_tst", "de").signature.settings
    assert "dataset.required_batch_size_multiple=8" in overrides(settings)


def test_what_the_recipe_says_of_another_component_is_taken_away(world, tmp_path, capsys):
    said = ["lr_scheduler._name=triangular", "~lr_scheduler.warmup_updates", "+lr_scheduler.max_lr=0.01"]
    run = tiny.train(world.data, world.encoder, tmp_path / "run", *said, "optimization.max_epoch=1")
    predict(world.data, run, tmp_path / "out")
    words = from_signature(tmp_path / "out", tmp_path / "again", capsys)
    assert "~lr_scheduler.warmup_updates" in words
    TrainingRecipe("musc_pawsx", None).check(words[3:])


@pytest.mark.parametrize("path", ["a\\b", "it's", "a\\'b", "end\\", "two\\\\", "a, {b}: [c]", "", " "])
def test_a_path_is_read_as_it_was_written(path):
    [read] = parse_overrides([f"task.data={_written(path)}"])
    assert read.value() == path
    [read] = parse_overrides([f"task.data={_written([path])}"])
    assert read.value() == [path]


@pytest.mark.long
def test_two_processes_with_other_hash_seeds_make_the_same_bits(world, tmp_path, promise):
    command = [os.path.join(os.path.dirname(sys.executable), "fairseq-hydra-train"), "--config-name", "musc_pawsx"]
    command += [f"task.data={world.data}", f"model.pretrained={world.encoder}", "common.cpu=true"]
    command += ["optimization.max_epoch=2", "dataset.batch_size=8"]
    states = []
    for seed in ("1", "77"):
        done = subprocess.run(
            [*command, f"checkpoint.save_dir={tmp_path / seed}"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        states.append(tiny.load(tmp_path / seed / "checkpoint_last.pt"))
    promise("reproducible", "a run again in another process, with another PYTHONHASHSEED", 1)
    one, two = states
    assert all(torch.equal(one["model"][key], two["model"][key]) for key in one["model"])
    for key, state in one["last_optimizer_state"]["state"].items():
        assert all(torch.equal(state[name], two["last_optimizer_state"]["state"][key][name]) for name in state)
