"""What the tables of the paper need: the plan of each, and one of them trained, predicted and averaged for real."""

import argparse
import json
import shutil

import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import list_predictions, read_predictions
from fairseq_musc.experiments.table_runs import ALGORITHMS, TABLES, add_arguments, overrides_apart, plan
from fairseq_musc.files import write_sealed_json

SMALL = ["dataset.batch_size=8", "dataset.num_workers=0", "common.cpu=true", "optimization.max_epoch=1"]


def planned(world, output, table, *options):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["--table", table, "--config-name", "musc_pawsx", "--data", world.data, "--output", output, *options]
    arguments = parser.parse_args(list(map(str, given)))
    overrides_apart(arguments, "seeds")
    return plan(arguments)


def rows(runs):
    """What tells the runs apart: corpora, encoder, loss, seed, and what is predicted."""
    return {
        run.cell.name: (
            "+".join(run.cell.settings["task.train_corpora"]),
            "+".join(run.cell.settings["task.valid_corpora"]),
            run.cell.settings["criterion.terms"],
            " ".join(run.inference),
        )
        for run in runs
    }


# --- the plans -------------------------------------------------------------------------------------------------------


def test_table_2_is_three_trainings_for_four_algorithms(world, tmp_path):
    english = ["--english-encoder", "bert-base-cased", "--english-data", world.data]
    runs, notes = planned(world, tmp_path, 2, "--seeds", 1, *english)
    assert rows(runs) == {
        "S_trn_ce_seed=1": ("S_trn", "T_val", "ce", "T_tst"),
        "S_trn+T_trn_MT_ce_seed=1": ("S_trn+T_trn_MT", "T_val+S_val_MT", "ce", "T_tst S_tst_MT"),
        "english_S_trn_ce_seed=1": ("S_trn", "S_val_MT", "ce", "S_tst_MT"),
    }
    encoders = {run.cell.name: run.cell.settings["model.pretrained"] for run in runs}
    assert encoders.pop("english_S_trn_ce_seed=1") == "bert-base-cased"
    assert set(encoders.values()) == {"bert-base-multilingual-cased"}
    assert not notes


def test_without_an_english_encoder_translate_test_is_left_out_and_it_is_said(world, tmp_path):
    runs, notes = planned(world, tmp_path, 2, "--seeds", 1)
    assert len(runs) == 2
    assert notes == ["translate_test is left out: it needs --english-encoder and --english-data"]
    with pytest.raises(InputError, match="go together"):
        planned(world, tmp_path, 2, "--english-encoder", "bert-base-cased")


def test_the_four_algorithms_are_those_of_table_2():
    assert {
        name: (algorithm.trained.corpora, algorithm.trained.english, algorithm.inference)
        for name, algorithm in ALGORITHMS.items()
    } == {
        "zsxl": (("S_trn",), False, ("T_tst",)),
        "translate_train": (("S_trn", "T_trn_MT"), False, ("T_tst",)),
        "translate_test": (("S_trn",), True, ("S_tst_MT",)),
        "translate_all": (("S_trn", "T_trn_MT"), False, ("T_tst", "S_tst_MT")),
    }


def test_table_4_is_two_trainings_each_predicted_on_both_corpora(world, tmp_path):
    runs, _ = planned(world, tmp_path, 4, "--seeds", 1)
    assert rows(runs) == {
        "S_trn+T_trn_ce_seed=1": ("S_trn+T_trn", "T_val+S_val_MT", "ce", "T_tst S_tst_MT"),
        "S_trn+T_trn_BT_ce_seed=1": ("S_trn+T_trn_BT", "T_val+S_val_MT", "ce", "T_tst S_tst_MT"),
    }


@pytest.mark.parametrize(("table", "of_xnli"), [(3, 8), (5, 9)])
def test_the_tables_of_xnli_are_trained_like_those_of_the_others(table, of_xnli):
    assert TABLES[table] == TABLES[of_xnli]


def test_what_tables_share_is_one_folder_with_the_same_settings(world, tmp_path):
    cells = [{run.cell.name: run.cell for run in planned(world, tmp_path, table)[0]} for table in (2, 3, 5)]
    shared = set.intersection(*map(set, cells))
    assert shared == {f"S_trn+T_trn_MT_ce_seed={seed}" for seed in (1, 2, 3)}
    for name in shared:
        assert cells[0][name] == cells[1][name] == cells[2][name]


def test_table_5_has_the_five_losses_with_the_recipe_s_own_hyperparameters(world, tmp_path):
    runs, _ = planned(world, tmp_path, 5, "--seeds", 4, "criterion.tau=0.1")
    assert [run.cell.settings["criterion.terms"] for run in runs] == [
        "ce",
        "ce+sc",
        "ce+mu",
        "ce+sc+mu",
        "ce+mu+sc+musc",
    ]
    for run in runs:
        assert (run.cell.settings["optimization.lr"], run.cell.settings["criterion.lam"]) == ([1e-5], 0.9)
        assert (run.cell.settings["common.seed"], run.cell.settings["criterion.tau"]) == (4, 0.1)


@pytest.mark.parametrize("name", ["données", "a (copy)", "x=1,y=2", "it's", "plain"])
def test_a_data_bin_may_be_called_anything(world, tmp_path, name):
    (tmp_path / name).symlink_to(world.data)
    runs, _ = planned(world._replace(data=tmp_path / name), tmp_path / "runs", 3, "--seeds", 1)
    assert [run.cell.settings["task.data"] for run in runs] == [str(tmp_path / name)]
    assert (f"task.data={tmp_path / name}" in runs[0].cell.overrides) == (name == "plain")


def test_table_7_is_taken_for_each_row_when_asked_for(world, tmp_path):
    data = tmp_path / "bin"
    data.mkdir()
    about = json.loads((world.data / "databin.json").read_text())
    write_sealed_json(data / "databin.json", {**about, "dataset": "mldoc"})
    corpus = json.loads((world.data / "S_trn.en.json").read_text())
    write_sealed_json(data / "S_trn.en.json", {**corpus, "rows": 1000})
    runs, notes = planned(world._replace(data=data), tmp_path / "runs", 5, "--seeds", 1, "--hyperparameters", "table7")
    found = {
        run.cell.settings["criterion.terms"]: (
            *run.cell.settings["optimization.lr"],
            run.cell.settings["criterion.lam"],
        )
        for run in runs
    }
    assert found == {
        "ce": (1e-5, 0.9),  # lambda, which decides nothing here, is the recipe's
        "ce+sc": (3e-5, 0.5),
        "ce+mu": (3e-5, 0.5),
        "ce+sc+mu": (3e-5, 0.5),
        "ce+mu+sc+musc": (3e-5, 0.5),
    }
    assert len(notes) == 1 and "is a reading" in notes[0]


def test_what_grids_have_picked_is_taken_for_each_row(world, tmp_path):
    for terms in ("ce", "ce+sc", "ce+mu", "ce+sc+mu"):
        (tmp_path / "grid" / terms).mkdir(parents=True)
        overrides = ["task.data=elsewhere", "criterion.tau=7", "optimization.lr=[0.002]"]
        overrides += ["criterion.lam=0.25"] if "sc" in terms else []
        (tmp_path / "grid" / terms / "best.yaml").write_text(json.dumps({"overrides": overrides}))
    options = ("--seeds", 1, "--hyperparameters", tmp_path / "grid")
    with pytest.raises(InputError, match=r"ce\+mu\+sc\+musc/best.yaml cannot be read"):
        planned(world, tmp_path / "runs", 5, *options)
    for table, count in ((3, 1), (4, 2)):
        runs, _ = planned(world, tmp_path / "runs", table, *options)
        assert [run.cell.settings["optimization.lr"] for run in runs] == [[0.002]] * count
    shutil.copytree(tmp_path / "grid" / "ce+sc", tmp_path / "grid" / "ce+mu+sc+musc")
    runs, _ = planned(world, tmp_path / "runs", 5, *options)
    found = [(run.cell.settings["optimization.lr"], run.cell.settings["criterion.lam"]) for run in runs]
    assert found == [([0.002], 0.9), ([0.002], 0.25), ([0.002], 0.9), ([0.002], 0.25), ([0.002], 0.25)]
    assert {run.cell.settings["criterion.tau"] for run in runs} == {0.3}


def test_a_seed_that_is_named_twice_is_trained_once(world, tmp_path):
    runs, _ = planned(world, tmp_path, 3, "--seeds", 2, 1, 2)
    assert [run.cell.settings["common.seed"] for run in runs] == [2, 1]


def test_an_override_and_hyperparameters_are_not_both_given(world, tmp_path):
    given = ("optimization.lr=[0.5]", "++criterion.lam=0.2", "criterion.tau=0.2")
    with pytest.raises(InputError) as error:
        planned(world, tmp_path, 3, "--hyperparameters", "table7", *given)
    assert str(error.value).splitlines()[1:] == [
        "  - optimization.lr is given by --hyperparameters table7",
        "  - criterion.lam is given by --hyperparameters table7",
    ]
    planned(world, tmp_path, 3, *given)


def test_what_a_grid_has_picked_is_taken_however_it_is_spelled(world, tmp_path):
    (tmp_path / "ce").mkdir()
    picked = {"overrides": ["++optimization.lr=[0.002]", "criterion.tau=7"]}
    (tmp_path / "ce" / "best.yaml").write_text(json.dumps(picked))
    [run], _ = planned(world, tmp_path / "runs", 3, "--seeds", 1, "--hyperparameters", tmp_path)
    assert run.cell.settings["optimization.lr"] == [0.002]


def test_overrides_that_would_undo_the_table_are_refused_all_at_once(world, tmp_path):
    overrides = [
        "criterion.terms=ce",
        "common.seed=1",
        "task.train_corpora=[S_trn]",
        "criterion.tau=1,2",
        "hydra.verbose=1",
    ]
    with pytest.raises(InputError) as error:
        planned(world, tmp_path, 5, *overrides)
    assert str(error.value).count("\n  - ") == 5


def test_no_table_trains_or_chooses_on_test_data(world, tmp_path):
    for table in TABLES:
        for run in planned(world, tmp_path, table)[0]:
            names = [*run.cell.settings["task.train_corpora"], *run.cell.settings["task.valid_corpora"]]
            assert "test" not in {CORPORA[name].split for name in names}


@pytest.mark.parametrize("command", [["run-table", "--table", "4", "--data"], ["grid", "task.data="]])
def test_corpora_that_are_not_there_are_said_before_anything_is_trained(world, tmp_path, capsys, command):
    data, output = tmp_path / "data-bin", tmp_path / "runs"
    shutil.copytree(world.data, data, ignore=shutil.ignore_patterns("T_trn.*", "T_trn_BT.*", "S_tst_MT.*"))
    by_table = command[0] == "run-table"
    given = [*command, str(data)] if by_table else [command[0], f"{command[1]}{data}", "--lr", "1e-5", "--lam", "0.5"]
    given += ["--config-name", "musc_pawsx", "--output", str(output), "--seeds", "1", "2", "common.cpu=true"]
    given += [f"model.pretrained={world.encoder}"]
    given += [] if by_table else ["task.train_corpora=[S_trn,T_trn],[S_trn,T_trn_BT]"]
    assert main(given) == 2
    said = capsys.readouterr().err
    for name, how in (("T_trn", "read"), ("T_trn_BT", "translate")):
        found = [line for line in said.splitlines() if f"holds {name} in no language" in line]
        assert len(found) == 1 and f"`fairseq-musc {how}`" in found[0]
        assert found[0].count(name) == 3 and found[0].count("seed=") == 2  # it, and two cells that would train on it
    assert ("holds S_tst_MT" in said) == by_table  # a grid predicts nothing
    assert not list(output.glob("*/train.log"))


# --- for real --------------------------------------------------------------------------------------------------------


def test_table_3_is_trained_predicted_averaged_and_reported_and_nothing_is_done_twice(world, tmp_path, capsys):
    output = tmp_path / "runs"
    command = ["run-table", "--config-name", "musc_pawsx", "--data", str(world.data), "--output", str(output)]
    command += ["--seeds", "1", *SMALL, f"model.pretrained={world.encoder}", "--table"]
    assert main([*command, "3"]) == 0
    assert "Table 3. By inference" in capsys.readouterr().out
    assert {path.name for path in output.glob("table3.*")} == {"table3.md", "table3.tsv", "table3.tex"}
    cell = output / "S_trn+T_trn_MT_ce_seed=1"
    assert set(list_predictions(cell / "predictions")) == {
        *((corpus, language) for corpus in ("T_tst", "Ens") for language in ("en", "de", "fr")),
        *(("S_tst_MT", language) for language in ("de", "fr")),
    }
    before = {path: path.stat().st_mtime_ns for path in cell.glob("*") if path.is_file()}
    capsys.readouterr()

    assert main([*command, "5", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines[::2]] == [[str(cell), "done"], *[["be", "trained"]] * 4]
    assert "criterion.terms=ce+mu+sc+musc" in lines[-1]
    assert len(list(output.glob("*/"))) == 1

    shutil.rmtree(cell / "predictions")
    assert main([*command, "3"]) == 0
    assert len(list_predictions(cell / "predictions")) == 8
    assert {path: path.stat().st_mtime_ns for path in cell.glob("*") if path.is_file()} == before


@pytest.mark.long
def test_runs_are_predicted_side_by_side_as_one_by_one(world, tmp_path):
    output = tmp_path / "runs"
    command = ["run-table", "--config-name", "musc_pawsx", "--data", str(world.data), "--output", str(output)]
    command += ["--seeds", "1", "2", *SMALL, f"model.pretrained={world.encoder}", "--table", "3"]

    def predictions():
        return {path: path.read_bytes() for path in output.glob("*/predictions/*")}

    assert main([*command, "--jobs", "2"]) == 0
    side_by_side = predictions()
    assert len({path.parent for path in side_by_side}) == 2
    for folder in output.glob("*/predictions"):
        shutil.rmtree(folder)
    assert main([*command, "--jobs", "1"]) == 0
    assert predictions() == side_by_side


@pytest.mark.long
def test_tables_2_and_4_are_trained_on_data_that_is_not_paired(world, tmp_path):
    output = tmp_path / "runs"
    command = ["run-table", "--config-name", "musc_pawsx", "--data", str(world.data), "--output", str(output)]
    command += ["--english-encoder", str(world.encoder), "--english-data", str(world.data), "--jobs", "2"]
    command += ["--seeds", "1", *SMALL, f"model.pretrained={world.encoder}", "--table"]
    assert main([*command, "2"]) == 0
    assert main([*command, "4"]) == 0
    assert "–" not in (output / "table4.tsv").read_text(encoding="utf-8").split("#")[0]
    found = {}
    for folder in output.glob("*/predictions"):
        tables = {(corpus, xx) for corpus, xx in list_predictions(folder) if corpus != "Ens"}
        training = read_predictions(folder, *min(tables)).signature.training
        found[folder.parent.name.removesuffix("_seed=1")] = (training.corpora, training.paired, tables)
    own = {("T_tst", xx) for xx in ("en", "de", "fr")}
    translated = {("S_tst_MT", xx) for xx in ("de", "fr")}
    assert found == {
        "S_trn_ce": (("S_trn",), False, own),
        "S_trn+T_trn_MT_ce": (("S_trn", "T_trn_MT"), True, own | translated),
        "english_S_trn_ce": (("S_trn",), False, translated | {("T_tst", "en")}),
        "S_trn+T_trn_ce": (("S_trn", "T_trn"), False, own | translated),
        "S_trn+T_trn_BT_ce": (("S_trn", "T_trn_BT"), False, own | translated),
    }
