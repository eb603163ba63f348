"""The grid: real trainings that are killed and go on, and the picking on made-up results."""

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from test_preloaded import alive

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.experiments import cells, processes
from fairseq_musc.experiments.cells import Cell, Result, check_settings, collect, mend_checkpoints, quoted
from fairseq_musc.experiments.grid import (
    add_arguments,
    boxes,
    check_launcher,
    launch_command,
    make_plan,
    overrides_apart,
)
from fairseq_musc.experiments.processes import environments, last_figure, train_cells
from fairseq_musc.files import read_sealed_json, write_json, write_sealed_json
from fairseq_musc.locks import held_alone

PROGRAM = Path(sys.executable).with_name("fairseq-musc")
SMALL = ["dataset.batch_size=8", "dataset.num_workers=0", "common.cpu=true", "checkpoint.save_interval_updates=5"]


def arguments(output, *options, overrides=()):
    """What the command line would give ``make_plan``."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parsed = parser.parse_args(["--config-name", "musc_pawsx", "--output", str(output), *options, *overrides])
    overrides_apart(parsed, "lr", "lam", "seeds")
    return parsed


def mark_done(cell, best, update=300):
    """A result that no training made."""
    result = {"metric": "accuracy", "best": best, "update": update, "updates": 600, "seconds": 1.0, "versions": {}}
    write_json(cell.folder / "done.json", {**cell.about(), "result": result})


def ends(pid, seconds=15):
    """Whether a process ends within some seconds."""
    for _ in range(seconds * 10):
        if not alive(pid):
            return True
        time.sleep(0.1)
    return False


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- real trainings --------------------------------------------------------------------------------------------------


def test_a_grid_that_is_killed_leaves_no_process_and_goes_on(world, tmp_path, capsys):
    output = tmp_path / "grid"
    options = ["--config-name", "musc_pawsx", "--output", output, "--lr", "1e-3", "--lam", "0.5", "--seeds", "1"]
    options += [f"task.data={world.data}", f"model.pretrained={world.encoder}", *SMALL, "optimization.max_epoch=20"]
    command = ["grid", *map(str, options)]
    cell = output / "lr=0.001_lam=0.5_seed=1"
    last, best = (cell / "checkpoints" / f"checkpoint_{which}.pt" for which in ("last", "best"))
    running = subprocess.Popen([PROGRAM, *command], cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    while not last.exists():
        assert running.poll() is None
        time.sleep(0.02)
    [training] = children(running.pid)
    with pytest.raises(InputError, match=rf"another run works in .*process {running.pid}"), held_alone(output):
        pass
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert ends(training)
    assert not (cell / "done.json").exists()
    last.write_bytes(last.read_bytes()[:1000])  # as if the kill had come in the middle of a copy

    before = (cell / "train.log").stat().st_size
    running = subprocess.Popen([PROGRAM, *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while b"Start iterating over samples" not in (cell / "train.log").read_bytes()[before:]:
        assert running.poll() is None
        time.sleep(0.02)
    [training] = children(running.pid)
    running.send_signal(signal.SIGINT)  # it ends with the state that it has, and not with its last checkpoint
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "stopping: trainings save their state and end" in said
    assert said.splitlines()[-1].endswith("stopped; the same command goes on from here")
    assert ends(training, seconds=1)
    [update] = re.findall(r"stopped behind update (\d+), saved in", (cell / "train.log").read_text())[-1:]
    assert tiny.load(last)["optimizer_history"][-1]["num_updates"] == int(update)

    assert main(command) == 0
    log = (cell / "train.log").read_text()
    assert "checkpoint_last.pt (epoch" in log  # it went on from it
    assert "done training in" in log
    assert [path.name for path in (cell / "checkpoints").iterdir()] == ["checkpoint_best.pt"]
    result = yaml.safe_load((cell / "done.json").read_text())["result"]
    state = tiny.load(best)
    assert result["updates"] == 100  # 37 rows in batches of 8, twenty times
    assert result["best"] == state["extra_state"]["val_loss"] == state["extra_state"]["best"]
    assert result["update"] == state["optimizer_history"][-1]["num_updates"]
    assert yaml.safe_load((output / "best.yaml").read_text())["mean"] == result["best"]

    assert main(command) == 0
    assert "1 of 1 cells are done" in capsys.readouterr().err
    assert (cell / "train.log").read_text() == log
    assert main([*command, "criterion.tau=0.1"]) == 2
    assert "criterion.tau was 0.3, asked is 0.1" in capsys.readouterr().err


@pytest.mark.long
def test_a_launcher_trains_the_same_cells_in_the_same_folders(world, tmp_path, capfd):
    output = tmp_path / "grid"
    options = ["--config-name", "musc_pawsx", "--output", output, "--lr", "1e-3", "--lam", "0.5", "0.1"]
    options += ["--seeds", "1", f"task.data={world.data}", f"model.pretrained={world.encoder}", *SMALL]
    command = ["grid", *map(str, options), "optimization.max_epoch=2"]
    launched = [*command, "--launcher", "submitit_local", "--keep", "all"]
    assert main(launched) == 0
    cells = {lam: output / f"lr=0.001_lam={lam}_seed=1" for lam in (0.5, 0.1)}
    for lam, cell in cells.items():
        assert yaml.safe_load((cell / "done.json").read_text())["result"]["updates"] == 10
        assert "done training in" in (cell / "train.log").read_text()
        assert tiny.load(cell / "checkpoints" / "checkpoint_best.pt")["cfg"]["criterion"]["lam"] == lam
    table = (output / "grid.tsv").read_text()
    written = {cell: (cell / "train.log").read_bytes() for cell in cells.values()}
    capfd.readouterr()
    assert main(launched) == 0
    assert "--multirun" not in capfd.readouterr().err  # nothing was left to do

    for path in [output / "grid.tsv", *output.glob("*.json"), *output.glob("*/*.json")]:
        path.unlink()  # as if Hydra had been started by hand
    assert main([*command, "--show"]) == 0
    assert (output / "grid.tsv").read_text() == table
    (cells[0.5] / "done.json").unlink()
    assert main([*command, "--show", "criterion.tau=0.1"]) == 0
    assert "criterion.tau was 0.3, asked is 0.1" in capfd.readouterr().out
    assert {cell: (cell / "train.log").read_bytes() for cell in cells.values()} == written


# --- the pool, with processes that only look like trainings ----------------------------------------------------------


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Cells whose process is a line of shell; one that runs ``touch done`` in its folder has a result afterwards."""

    def result(cell):
        return Result("accuracy", 50.0, 5, 10, 1.0) if (cell.folder / "done").exists() else None

    monkeypatch.setattr(Cell, "command", lambda cell: ["sh", "-c", f"cd '{cell.folder}'; {lines[cell.name]}"])
    monkeypatch.setattr(processes, "collect", result)
    lines = {}

    def cells(**given):
        lines.update(given)
        return [Cell(name, tmp_path / name, "musc_pawsx", None, "", (), {}, {}) for name in given]

    return cells


def test_cells_are_trained_outside_of_the_main_thread_too(pool):
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(train_cells, pool(a="touch done", b="touch done"), [{}], "best").result() == {}


def test_a_failed_cell_does_not_stop_the_others_and_is_tried_again(pool, tmp_path, capsys):
    given = {"a": "echo no such encoder >&2; exit 3", "b": "touch done", "c": "true"}
    failed = train_cells(pool(**given), [{}], "best")
    assert failed == {"a": "no such encoder", "c": ""}  # c ended well and trained nothing
    said = capsys.readouterr().err
    assert "a: failed with status 3" in said and "no such encoder" in said
    assert "b: done, accuracy 50.00 at update 5" in said
    failed = train_cells(pool(a="touch done", b="exit 1", c="echo again; exit 1"), [{}], "best")
    assert failed == {"c": "again"}
    assert "1 of 3 cells are done" in capsys.readouterr().err
    assert (tmp_path / "a" / "train.log").read_text() == "no such encoder\n"


def test_so_many_cells_run_side_by_side_each_in_its_place(pool, tmp_path):
    """Four cells for two places: each waits for another to be there, so two have to run at once."""
    wait = (
        "touch here; for i in $(seq 100); do [ -e ../{}/here ] && break; sleep 0.1; done; [ -e ../{}/here ] || exit 1; "
    )
    done = "echo $CUDA_VISIBLE_DEVICES; touch done"
    cells = pool(**{a: wait.replace("{}", b) + done for a, b in ("ab", "ba", "cd", "dc")})
    assert train_cells(cells, [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "6"}], "best") == {}
    seen = [(tmp_path / name / "train.log").read_text().strip() for name in "abcd"]
    assert sorted(seen[:2]) == sorted(seen[2:]) == ["4", "6"]


def test_told_to_end_it_ends_its_trainings_with_what_they_started(pool, tmp_path, capsys):
    cells = pool(a="sleep 60 & echo $! > sleeper; echo $$ > shell; kill -TERM $PPID; wait")
    with pytest.raises(SystemExit) as status:
        train_cells(cells, [{}], "best")
    assert status.value.code == 128 + signal.SIGTERM
    for name in ("sleeper", "shell"):
        assert ends(int((tmp_path / "a" / name).read_text()), seconds=5)
    assert "the same command goes on from here" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(("keep", "left"), [("all", "best last"), ("best", "best"), ("none", "")])
def test_the_checkpoints_that_are_not_kept_are_removed(pool, tmp_path, keep, left):
    names = [f"checkpoint_{which}.pt" for which in ("best", "last")]
    assert (
        train_cells(pool(a=f"mkdir checkpoints; touch checkpoints/{names[0]} checkpoints/{names[1]} done"), [{}], keep)
        == {}
    )
    there = sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert there == [f"checkpoint_{which}.pt" for which in left.split()]


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_default_axes_are_those_of_appendix_b(tmp_path):
    plan = make_plan(arguments(tmp_path))
    assert len(plan.cells) == 27
    names = [cell.name for cell in plan.cells.values()]
    assert names[0] == "lr=1e-05_lam=0.1_seed=1"
    assert names[-1] == "lr=5e-05_lam=0.9_seed=3"
    assert {tuple(cell.settings["optimization.lr"]) for cell in plan.cells.values()} == {(1e-5,), (3e-5,), (5e-5,)}
    assert {cell.settings["criterion.lam"] for cell in plan.cells.values()} == {0.1, 0.5, 0.9}


def test_an_override_with_several_values_is_an_axis_and_one_value_takes_an_axis_away(tmp_path):
    overrides = ["criterion.terms=ce,ce+sc", "criterion.lam=0.9", "common.seed=7,8"]
    plan = make_plan(arguments(tmp_path, "--lr", "3e-5", overrides=overrides))
    assert [cell.name for cell in plan.cells.values()] == [
        "lr=3e-05_terms=ce_seed=7",
        "lr=3e-05_terms=ce_seed=8",
        "lr=3e-05_terms=ce+sc_seed=7",
        "lr=3e-05_terms=ce+sc_seed=8",
    ]
    assert {cell.settings["criterion.lam"] for cell in plan.cells.values()} == {0.9}


def test_a_key_given_twice_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        make_plan(
            arguments(tmp_path, "--lam", "0.1", overrides=["criterion.lam=0.9", "common.seed=1", "common.seed=2"])
        )
    assert "criterion.lam is given by --lam and by an override" in str(error.value)
    assert "common.seed is given by two overrides" in str(error.value)


def test_a_value_given_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"would share a folder: lr=1e-05_lam=0.1_seed=1"):
        make_plan(arguments(tmp_path, "--seeds", "1", "1"))


def test_what_is_wrong_on_the_command_line_is_said_before_anything_is_trained(world, tmp_path, capsys):
    command = ["grid", "--config-name", "musc_pawsx", "--output", str(tmp_path / "grid"), f"task.data={world.data}"]
    assert main([*command, "criterion.terms=ce,ce+xx", "criterion.lan=1"]) == 2
    said = capsys.readouterr().err
    assert "criterion.lan" in said and "xx" in said
    assert not (tmp_path / "grid").exists()
    assert main([*command, "checkpoint.best_checkpoint_metric=loss"]) == 2
    assert "a grid picks by the highest accuracy on validation data" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()


# --- picking ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path):
    """Two learning rates, two lambdas, three seeds; nothing trained."""
    return make_plan(arguments(tmp_path, "--lr", "1e-5", "3e-5", "--lam", "0.1", "0.9"))


def shown(plan, capsys):
    assert main(["grid", "--show", "--output", str(plan.output), *shown.options]) == 0
    return capsys.readouterr().out


shown.options = ["--config-name", "musc_pawsx", "--lr", "1e-5", "3e-5", "--lam", "0.1", "0.9"]


def test_the_highest_mean_over_seeds_is_picked_and_not_the_highest_run(plan, capsys):
    figures = [[90, 60, 60], [70, 72, 74], [71, 71, 71], [50, 50, 50]]
    for i, cell in enumerate(plan.cells.values()):
        mark_done(cell, figures[i // 3][i % 3])
    said = shown(plan, capsys)
    assert "picked: lr 1e-05, lam 0.9, accuracy 72.00 on validation data" in said
    best = yaml.safe_load((plan.output / "best.yaml").read_text())
    assert best["overrides"] == ["optimization.lr=[1e-05]", "criterion.lam=0.9"]
    assert best["mean"] == 72
    assert best["std"] == 2  # 70, 72, 74 with n - 1
    lines = [line.split("\t") for line in (plan.output / "grid.tsv").read_text().splitlines()]
    assert lines[0] == ["lr", "lam", "mean", "std", "seeds", "seed=1", "seed=2", "seed=3"]
    assert lines[2] == ["1e-05", "0.9", "72", "2", "3", "70", "72", "74"]
    assert "| 1e-05 | 0.1 | 70.00 | 17.32 | 3/3 |" in (plan.output / "grid.md").read_text()


def test_of_equal_means_the_first_is_picked_and_it_is_said(plan, capsys):
    for i, cell in enumerate(plan.cells.values()):
        mark_done(cell, [60, 70, 70, 10][i // 3] + [0.1, 0.2, 0.3][(i + i // 3) % 3])  # the same three, another order
    said = shown(plan, capsys)
    assert "picked: lr 1e-05, lam 0.9" in said
    assert "tied with lr 3e-05, lam 0.1: the first in the order of the axes is picked" in said


def test_a_pick_that_is_no_better_than_one_answer_to_every_row_is_said_to_be_so(world, tmp_path, capsys):
    """Of T_val in three languages, by the corpora themselves."""
    columns = [
        [row.split("\t")[1] for row in (world.corpora / f"T_val.{language}.tsv").read_text().splitlines()[1:]]
        for language in ("en", "de", "fr")
    ]
    shares = {
        label: statistics.mean(column.count(label) / len(column) for column in columns) for label in {*columns[0]}
    }
    label = max(shares, key=shares.get)
    alone = 100 * shares[label]
    overrides = (f"task.data={world.data}", f"model.pretrained={world.encoder}")
    options = ("--lr", "1e-5", "3e-5", "--lam", "0.9", "--seeds", "1")
    for best, said in ((round(alone, 2), True), (round(alone, 2) + 0.02, False)):
        plan = make_plan(arguments(tmp_path, *options, overrides=overrides))
        for cell in plan.cells.values():
            mark_done(cell, best)
        assert (
            main(["grid", "--show", "--output", str(tmp_path), "--config-name", "musc_pawsx", *options, *overrides])
            == 0
        )
        note = f"no setting is better than {label!r} for every row, which gives {alone:.2f}"
        assert (note in capsys.readouterr().out) is said
        assert (f"- {note}" in (tmp_path / "grid.md").read_text()) is said


def test_a_setting_that_lacks_a_seed_is_not_picked(plan, capsys):
    cells = list(plan.cells.values())
    for cell in cells[:4]:  # the second setting has one seed of three
        mark_done(cell, 95 if cell is cells[3] else 60)
    said = shown(plan, capsys)
    assert "picked: lr 1e-05, lam 0.1" in said
    assert "3 of 4 settings lack seeds and were not compared" in said
    assert [line.split()[-1] for line in said.splitlines()[1:5]] == ["3/3", "1/3", "0/3", "0/3"]
    shutil.rmtree(cells[0].folder)
    assert "nothing is picked: no setting has all its 3 seeds" in shown(plan, capsys)
    assert not (plan.output / "best.yaml").exists()


def test_a_result_of_other_settings_is_not_shown_and_its_folder_not_trained_in(plan, capsys):
    cells = list(plan.cells.values())
    other = make_plan(arguments(plan.output, overrides=["criterion.tau=0.1"]))
    mark_done(next(cell for cell in other.cells.values() if cell.name == cells[0].name), 99)
    said = shown(plan, capsys)
    assert f"{cells[0].name} is left out" in said and "criterion.tau was 0.1, asked is 0.3" in said
    with pytest.raises(InputError, match=r"criterion.tau was 0.1, asked is 0.3"):
        check_settings(cells)


def test_the_way_to_spell_an_override_and_what_is_logged_are_no_other_settings(tmp_path):
    one = make_plan(arguments(tmp_path, overrides=["criterion.tau=0.50", "common.log_interval=1"]))
    two = make_plan(arguments(tmp_path, overrides=["dataset.num_workers=0", "++criterion.tau=0.5"]))
    for cell in one.cells.values():
        mark_done(cell, 50)
    check_settings(list(two.cells.values()))


def test_results_for_a_data_bin_that_has_changed_are_refused(world, tmp_path):
    shutil.copytree(world.data, tmp_path / "bin")
    overrides = [f"task.data={tmp_path / 'bin'}"]
    for cell in make_plan(arguments(tmp_path / "grid", overrides=overrides)).cells.values():
        mark_done(cell, 50)
    check_settings(list(make_plan(arguments(tmp_path / "grid", overrides=overrides)).cells.values()))
    path = tmp_path / "bin" / "T_trn_MT.de.json"
    about = read_sealed_json(path)
    write_sealed_json(path, {**about, "source_sha256": "0" + about["source_sha256"]})
    with pytest.raises(InputError, match=r"the data-bin has changed in T_trn_MT.de"):
        check_settings(list(make_plan(arguments(tmp_path / "grid", overrides=overrides)).cells.values()))


def test_results_for_an_encoder_whose_weights_have_changed_are_refused(world, tmp_path):
    encoder, data = tmp_path / "encoder", tmp_path / "bin"
    shutil.copytree(world.encoder, encoder)
    shutil.copytree(world.data, data)

    def cells():
        overrides = [f"task.data={data}", f"model.pretrained={encoder}"]
        return list(make_plan(arguments(tmp_path / "grid", overrides=overrides)).cells.values())

    done = cells()
    for cell in done:
        mark_done(cell, 50)
    check_settings(cells())
    weights = encoder / "model.safetensors"
    written = weights.read_bytes()
    weights.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    os.utime(weights, ns=(1, 1))
    with pytest.raises(InputError, match=rf"the weights in {encoder} have changed$"):
        check_settings(cells())
    weights.write_bytes(written)
    shutil.rmtree(data)  # what is done is done, where the encoder alone is there, too
    check_settings(cells())
    shutil.rmtree(encoder)
    check_settings(cells())


def test_results_for_rows_that_were_cut_otherwise_are_refused(world, tmp_path):
    shutil.copytree(world.data, tmp_path / "bin")
    overrides = [f"task.data={tmp_path / 'bin'}"]
    done = make_plan(arguments(tmp_path / "grid", overrides=overrides)).cells.values()
    for cell in done:
        mark_done(cell, 50)
    check_settings(list(done))
    about = read_sealed_json(tmp_path / "bin" / "databin.json")
    write_sealed_json(tmp_path / "bin" / "databin.json", {**about, "max_length": 64})
    now = list(make_plan(arguments(tmp_path / "grid", overrides=overrides)).cells.values())
    with pytest.raises(InputError, match=r"the data-bin has changed in max_length"):
        check_settings(now)
    for cell in done:  # one of a version that did not say it
        path = cell.folder / "done.json"
        said = json.loads(path.read_text())
        del said["data"]["max_length"]
        path.write_text(json.dumps(said))
    check_settings(now)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("checkpoint.save_dir=elsewhere", "checkpoint.save_dir: each training saves in a folder of its own"),
        ("++checkpoint.no_save=true", "checkpoint.no_save is true: the result is read off the checkpoints"),
        (
            "+checkpoint.no_last_checkpoints=false,true",
            "checkpoint.no_last_checkpoints is true: the result is read off",
        ),
    ],
)
def test_what_leaves_no_result_is_said_before_anything_is_trained(world, tmp_path, capsys, override, said):
    options = ["--config-name", "musc_pawsx", "--output", tmp_path, "--seeds", "1", *SMALL]
    options += [f"task.data={world.data}", f"model.pretrained={world.encoder}", override]
    assert main(["grid", *map(str, options)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_showing_a_folder_without_a_grid_says_what_to_give(tmp_path, capsys):
    assert main(["grid", "--show", "--output", str(tmp_path)]) == 2
    assert "give --config-name and the axes" in capsys.readouterr().err


# --- parts -----------------------------------------------------------------------------------------------------------


def test_the_launcher_calls_the_folders_as_the_grid_does(tmp_path):
    overrides = ["criterion.terms=ce,ce+sc", "criterion.tau=1,0.5", "hydra.launcher.partition=gpu"]
    plan = make_plan(arguments(tmp_path / "a grid", "--seeds", "1", "2", overrides=overrides))
    [box] = boxes(set(plan.cells))
    command = launch_command(plan, box, "submitit_slurm")
    assert "hydra/launcher=submitit_slurm" in command and "hydra.launcher.partition=gpu" in command
    given = OverridesParser.create().parse_overrides(command[command.index("--multirun") + 1 :])
    values = {override.key_or_group: override for override in given}
    assert values["hydra.sweep.dir"].value() == str(tmp_path / "a grid")
    for cell in plan.cells.values():
        config = OmegaConf.create({"name": values["hydra.sweep.subdir"].value()})
        for key, value in cell.settings.items():
            OmegaConf.update(config, key, value, force_add=True)
        assert config.name == cell.name
    swept = {
        override.key_or_group: list(override.sweep_iterator()) for override in given if override.is_sweep_override()
    }
    assert len(swept["optimization.lr"]) * len(swept["criterion.lam"]) == 9
    assert swept["common.seed"] == [1, 2]


def test_long_lines_of_a_failed_log_are_cut():
    assert processes.narrow("abcde\n\nabcdef\nab", 5) == "abcde\n\nabcde [...]\nab"


def test_a_launcher_that_is_not_there_is_named_before_anything_is_trained(world, tmp_path, capsys):
    ours = tmp_path / "own" / "hydra" / "launcher"
    ours.mkdir(parents=True)
    (ours / "queue.yaml").write_text("_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n")
    for name in ("submitit_slurm", "basic", "queue"):
        check_launcher(name, tmp_path / "own")
    options = ["--config-name", "musc_pawsx", "--output", str(tmp_path / "grid"), "--launcher", "queue"]
    assert main(["grid", *options, f"task.data={world.data}"]) == 2
    said = capsys.readouterr().err
    assert "--launcher queue is not installed; Hydra knows basic, submitit_local, submitit_slurm here" in said
    assert "pip install 'fairseq-musc[slurm]'" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "grid").exists()


def test_a_launcher_refuses_values_that_hydra_would_name_otherwise(tmp_path):
    plan = make_plan(arguments(tmp_path, overrides=["model.pretrained=a/b,c"]))
    with pytest.raises(InputError, match=r"model\.pretrained=a/b"):
        launch_command(plan, [[0]] * len(plan.axes), "submitit_slurm")


@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))))
def test_boxes_hold_every_cell_once(places):
    found = [place for box in boxes(places) for place in itertools.product(*box)]
    assert len(found) == len(set(found))
    assert set(found) == places


def test_a_whole_grid_is_one_box():
    assert len(list(boxes(set(itertools.product(range(3), range(3), range(2)))))) == 1


@given(st.text(alphabet=st.sampled_from("ab/\\'\"=,[]{} "), min_size=1))
def test_a_quoted_text_is_read_back_by_hydra(text):
    [override] = OverridesParser.create().parse_overrides([f"hydra.run.dir={quoted(text)}"])
    assert override.value() == text


@pytest.mark.parametrize(
    ("line", "figure"),
    [
        (
            "epoch 001 | valid on 'valid' subset | loss 0.7 | accuracy_T_val 10 | accuracy 61.5 | best_accuracy 70",
            "61.5",
        ),
        ('{"epoch": 1, "valid_loss": "0.7", "valid_accuracy": "61.5", "valid_best_accuracy": "70"}', "61.5"),
        ("epoch 001 | L_ce 0.7 | accuracy 3", None),
    ],
)
def test_the_last_figure_is_that_of_validation(tmp_path, line, figure):
    log = tmp_path / "train.log"
    log.write_text(f"[2026-01-01 00:00:00,000][valid][INFO] - {line}\nafter\n")
    assert last_figure(log, "accuracy") == figure
    assert last_figure(log, "accuracy", since=time.time() + 60) is None


def test_a_checkpoint_cut_short_is_replaced_by_the_newest_whole_one(tmp_path):
    def checkpoint(name, content, seconds):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr("archive/data.pkl", content)
        os.utime(tmp_path / name, (seconds, seconds))

    checkpoint("checkpoint_1_300.pt", "old", 1)
    checkpoint("checkpoint_1_600.pt", "new", 3)
    checkpoint("checkpoint_best.pt", "best", 2)
    whole = (tmp_path / "checkpoint_1_600.pt").read_bytes()
    (tmp_path / "checkpoint_last.pt").write_bytes(whole[:-30])
    best = (tmp_path / "checkpoint_best.pt").read_bytes()
    mend_checkpoints(tmp_path)
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == whole
    assert (tmp_path / "checkpoint_best.pt").read_bytes() == best
    for path in tmp_path.iterdir():
        path.write_bytes(b"cut")
    mend_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoint_last.pt").exists() and not (tmp_path / "checkpoint_best.pt").exists()


def test_cells_side_by_side_have_gpus_of_their_own(monkeypatch):
    monkeypatch.setattr(processes, "visible_gpus", lambda: ["0", "3", "5", "7"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in environments(None, False, 1)] == ["0", "3", "5", "7"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in environments(None, False, 2)] == ["0,3", "5,7"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in environments(3, False, 2)] == ["0,3", "5,7", "0,3"]
    assert environments(2, True, 1) == [{"CUDA_VISIBLE_DEVICES": ""}] * 2
    with pytest.raises(InputError, match="8 GPUs"):
        environments(1, False, 8)


def test_cells_on_a_cpu_share_its_threads(monkeypatch):
    monkeypatch.setattr(processes, "visible_gpus", list)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environments(None, False, 1) == [{}]
    assert environments(3, False, 1) == [{"OMP_NUM_THREADS": "2"}] * 3
    with pytest.raises(InputError, match="--jobs is 0"):
        environments(0, False, 1)


def test_a_result_is_what_its_marker_says(plan):
    cell = next(iter(plan.cells.values()))
    mark_done(cell, 61.5, update=900)
    assert collect(cell) == Result("accuracy", 61.5, 900, 600, 1.0, {})


def test_the_command_of_a_cell_is_found_where_packages_lie_in_a_folder_of_their_own(tmp_path, monkeypatch):
    """As after ``pip install --target``: the commands are not beside the interpreter."""
    monkeypatch.setattr(cells.sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
    script = tmp_path / "bin" / "fairseq-hydra-train"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    assert str(script) in cells.train_command("musc_pawsx", None)
    script.unlink()
    with pytest.raises(InputError, match="not on the path"):
        cells.train_command("musc_pawsx", None)
