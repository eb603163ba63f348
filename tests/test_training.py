"""Whole training runs through fairseq's own entry point, tiny but real."""

import subprocess

import numpy as np
import pytest
import tiny
import torch

from fairseq_musc.criterions.musc import MuscCriterion
from fairseq_musc.data.databin import DataBinInfo, open_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.predict import predict
from fairseq_musc.models.checkpoint import load_classifier


def parameters(checkpoint):
    return tiny.load(checkpoint)["model"]


@pytest.mark.parametrize("terms", ["ce", "ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc"])
def test_every_row_of_table_5_is_an_override(world, tmp_path, terms, caplog):
    caplog.set_level("INFO")
    tiny.train(world.data, world.encoder, tmp_path / "run", f"criterion.terms={terms}", "optimization.max_epoch=1")
    line = next(record.getMessage() for record in caplog.records if record.name == "train_inner")
    shown = {part.split("=")[0] for part in line.replace(",", "").split() if part.startswith("L_")}
    assert shown == {f"L_{term}" for term in terms.split("+")}


def test_a_run_that_goes_on_says_what_it_was_begun_with_otherwise(world, tmp_path, caplog):
    """fairseq ends at once if the run is done, and else trains on with the new values; both without a word."""
    caplog.set_level("WARNING", logger="fairseq_musc.tasks.musc")

    def warnings(*overrides):
        caplog.clear()
        tiny.train(world.data, world.encoder, tmp_path / "run", *overrides)
        return [record.getMessage() for record in caplog.records if "other settings" in record.getMessage()]

    assert not warnings("optimization.max_epoch=1")
    assert not warnings("optimization.max_epoch=2", "criterion.not_finite=skip", "common.log_interval=5")
    (said,) = warnings("optimization.max_epoch=2", "optimization.lr=[0.01]", "criterion.tau=0.1", "common.seed=7")
    for changed in ("lr was [0.001], is [0.01]", "criterion.tau was 0.3, is 0.1", "common.seed was 3, is 7"):
        assert changed in said
    last = f"checkpoint.restore_file={tmp_path / 'run' / 'checkpoint_last.pt'}"
    assert not warnings("optimization.max_epoch=2", "criterion.tau=0.1", last), "it was named on purpose"


def test_a_run_that_goes_on_says_that_its_rows_or_its_encoder_were_others(world, tmp_path, caplog):
    caplog.set_level("WARNING", logger="fairseq_musc.tasks.musc")
    tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=1")
    tiny.make_corpora(tmp_path / "corpora", train=30)
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", world.encoder)
    tiny.make_encoder(tmp_path / "encoder", seed=1)
    tiny.train(tmp_path / "bin", tmp_path / "encoder", tmp_path / "run", "model.classifier_dropout=0.2")
    (said,) = [record.getMessage() for record in caplog.records if "other settings" in record.getMessage()]
    for changed in (
        "model.classifier_dropout was 0.1, is 0.2",
        f"model.pretrained was {world.encoder}, is {tmp_path / 'encoder'}",
        "it saw other rows of S_trn.en, T_trn_MT.de, T_trn_MT.fr",
    ):
        assert changed in said


def test_a_run_of_a_sweep_is_the_same_behind_a_better_one(world, tmp_path):
    """Hydra trains them in one process, where fairseq would hold them against the best score of the ones before."""
    # one class of the validation rows is more frequent than the other
    sweep = ["--multirun", "optimization.lr=[0.01],[0.0],[0.01]", "hydra.sweep.dir=runs", "checkpoint.save_dir=saved"]
    given = [f"task.data={world.data}", f"model.pretrained={world.encoder}", "optimization.max_epoch=3"]
    small = ["checkpoint.patience=1", "dataset.batch_size=8", "dataset.num_workers=0", "common.cpu=true"]
    command = ["fairseq-hydra-train", "--config-name", "musc_pawsx", *sweep, *given, *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    first, better, again = (tmp_path / "runs" / number / "saved" for number in "012")
    scores = [tiny.load(run / "checkpoint_last.pt")["extra_state"]["val_loss"] for run in (first, better, again)]
    assert scores[1] > scores[0] == scores[2]
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        one, other = parameters(first / name), parameters(again / name)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("train_corpora", "valid_corpora", "rows"),
    [
        ("[S_trn]", "[T_val]", {"S_trn.en": 37}),  # zsxl
        ("[S_trn]", "[S_val_MT]", {"S_trn.en": 37}),  # translate-test
        ("[S_trn,T_trn]", "[T_val,S_val_MT]", {"S_trn.en": 37, "T_trn.de": 29, "T_trn.fr": 28}),  # Table 4
        ("[S_trn,T_trn_BT]", "[T_val]", {"S_trn.en": 37, "T_trn_BT.de": 29, "T_trn_BT.fr": 28}),
        (
            "[T_trn,T_trn_BT]",
            "[T_val]",
            {f"{name}.{xx}": n for xx, n in (("de", 29), ("fr", 28)) for name in ("T_trn", "T_trn_BT")},
        ),
        (
            "[S_trn,T_trn_MT,T_trn]",
            "[T_val]",
            {"S_trn.en": 37, "T_trn_MT.de": 37, "T_trn_MT.fr": 37, "T_trn.de": 29, "T_trn.fr": 28},
        ),
    ],
)
def test_a_run_trains_on_any_corpora_of_table_1(world, tmp_path, monkeypatch, train_corpora, valid_corpora, rows):
    """Every row once an epoch, in as many groups as there are corpora and languages, or pairs of them."""
    seen = []
    real = MuscCriterion.training_loss

    def watched(self, model, sample):
        seen.extend(self.task.datasets["train"].row_name(row) for row in sample["rows"].tolist())
        return real(self, model, sample)

    monkeypatch.setattr(MuscCriterion, "training_loss", watched)
    options = (f"task.train_corpora={train_corpora}", f"task.valid_corpora={valid_corpora}", "optimization.max_epoch=1")
    run = tiny.train(world.data, world.encoder, tmp_path / "run", *options)
    training = load_classifier(run / "checkpoint_best.pt").training
    assert training.rows == rows
    assert training.paired == (train_corpora == "[T_trn,T_trn_BT]")
    assert training.translators == (
        () if "_" not in train_corpora.replace("_trn", "") else ("word list with model.pt (SHA-256 000000000000)",)
    )
    pairs = 2 if training.paired else 1
    assert len(seen) == sum(rows.values()) / pairs
    expected = [f"{name.split('.')[1]}:{i}" for name in rows for i in open_corpus(world.data, *name.split(".")).ids]
    assert sorted(seen * pairs) == sorted(expected)


@pytest.mark.parametrize("count", [37, 40])
def test_every_row_is_trained_on_once_an_epoch_in_new_company(tmp_path, monkeypatch, count):
    """What reaches the criterion through fairseq's own iterators, with its default multiple of 8."""
    tiny.make_corpora(tmp_path / "corpora", train=count)
    tiny.make_encoder(tmp_path / "encoder")
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", tmp_path / "encoder")
    steps = []
    real = MuscCriterion.training_loss

    def seen(self, model, sample):
        steps.append(frozenset(sample["rows"].tolist()))
        return real(self, model, sample)

    monkeypatch.setattr(MuscCriterion, "training_loss", seen)
    options = ("optimization.max_epoch=2", "dataset.required_batch_size_multiple=8", "dataset.batch_size=16")
    tiny.train(tmp_path / "bin", tmp_path / "encoder", tmp_path / "run", *options)
    assert len(steps) == 6
    epochs = steps[:3], steps[3:]
    for epoch in epochs:
        assert sum(map(len, epoch)) == 2 * count
        assert frozenset.union(*epoch) == frozenset(range(2 * count))
    assert not set(epochs[0]) & set(epochs[1])


@pytest.mark.parametrize(
    "options",
    [
        ("model.precision=bfloat16", "task.shared_source=true", "task.languages_at_once=1"),
        ("model.packed=false", "optimizer._name=adam", "optimization.update_freq=[2]", "optimization.clip_norm=0.5"),
        ("common.bf16=true", "optimization.clip_norm=0.5"),
    ],
    ids=lambda options: options[0],
)
def test_ways_to_compute_go_together_in_a_run(world, tmp_path, caplog, options):
    """As many updates as there are, on figures that are numbers; parameters and moments are saved in float32."""
    caplog.set_level("INFO")
    run = tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=1", *options)
    state = tiny.load(run / "checkpoint_last.pt")
    assert {value.dtype for value in state["model"].values()} == {torch.float32}
    assert state["optimizer_history"][-1]["num_updates"] == (3 if "optimization.update_freq=[2]" in options else 5)
    moments = [value["exp_avg"] for value in state["last_optimizer_state"]["state"].values()]
    assert moments and all(moment.dtype == torch.float32 and moment.any() for moment in moments)
    line = next(record.getMessage() for record in caplog.records if record.name == "train")
    assert "loss" in line and "nan" not in line


def test_a_shared_source_is_drawn_alike_for_all_languages_and_anew_in_every_epoch(world, tmp_path, monkeypatch):
    steps = []
    real = MuscCriterion.training_loss

    def seen(self, model, sample):
        steps.append(sample["rows"].tolist())
        return real(self, model, sample)

    monkeypatch.setattr(MuscCriterion, "training_loss", seen)
    tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=2", "task.shared_source=true")
    assert len(steps) == 10
    for epoch in (steps[:5], steps[5:]):
        assert sorted(row for step in epoch for row in step) == list(range(74))
        assert all([row + 37 for row in step[: len(step) // 2]] == step[len(step) // 2 :] for step in epoch)
    assert not {frozenset(step) for step in steps[:5]} & {frozenset(step) for step in steps[5:]}


def test_a_run_stopped_and_resumed_equals_one_that_was_not(world, tmp_path):
    one_epoch = ("optimization.max_epoch=1",)
    three_epochs = ("optimization.max_epoch=3",)
    tiny.train(world.data, world.encoder, tmp_path / "whole", *three_epochs)
    tiny.train(world.data, world.encoder, tmp_path / "stopped", *one_epoch)
    halfway = parameters(tmp_path / "stopped" / "checkpoint_last.pt")
    tiny.train(world.data, world.encoder, tmp_path / "stopped", *three_epochs)
    # in the middle of an epoch, too
    tiny.train(world.data, world.encoder, tmp_path / "amid", "optimization.max_update=7")
    tiny.train(world.data, world.encoder, tmp_path / "amid", *three_epochs)
    whole = tiny.load(tmp_path / "whole" / "checkpoint_last.pt")
    for name in ("stopped", "amid"):
        resumed = tiny.load(tmp_path / name / "checkpoint_last.pt")
        assert resumed["optimizer_history"][-1]["num_updates"] == 15  # 37 rows in batches of 8, three times
        for key, value in whole["model"].items():
            assert torch.equal(value, resumed["model"][key]), (name, key)
        for key, state in whole["last_optimizer_state"]["state"].items():
            assert torch.equal(state["exp_avg_sq"], resumed["last_optimizer_state"]["state"][key]["exp_avg_sq"])
    assert any(not torch.equal(halfway[key], whole["model"][key]) for key in halfway)


def test_a_run_does_not_go_on_from_a_checkpoint_for_other_data(world, tmp_path):
    one_epoch = "optimization.max_epoch=1"
    tiny.train(world.data, world.encoder, tmp_path / "run", one_epoch)
    before = (tmp_path / "run" / "checkpoint_last.pt").read_bytes()
    tiny.make_corpora(tmp_path / "corpora", labels=("0", "1", "2"))
    tiny.make_encoder(tmp_path / "other", words=["w1", "w2", "not"])
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", tmp_path / "other")
    with pytest.raises(InputError) as error:
        tiny.train(tmp_path / "bin", tmp_path / "other", tmp_path / "run", "optimization.max_epoch=2")
    for part in (
        "it has 2 classes (0, 1), the data-bin 3 (0, 1, 2)",
        "another tokenizer",
        "another checkpoint.save_dir",
    ):
        assert part in str(error.value)
    assert (tmp_path / "run" / "checkpoint_last.pt").read_bytes() == before


def test_seed_and_only_the_seed_decides(world, tmp_path):
    runs = []
    for i, seed in enumerate((1, 1, 2)):
        options = (f"common.seed={seed}", "optimization.max_epoch=1")
        run = tiny.train(world.data, world.encoder, tmp_path / str(i), *options)
        runs.append(parameters(run / "checkpoint_last.pt"))
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
    assert any(not torch.equal(runs[0][key], runs[2][key]) for key in runs[0])


def test_a_checkpoint_is_rebuilt_without_its_folder_and_predicts_the_same(tmp_path):
    tiny.make_corpora(tmp_path / "corpora")
    tiny.make_encoder(tmp_path / "encoder")
    tiny.binarize(tmp_path / "corpora", tmp_path / "data-bin", tmp_path / "encoder")
    tiny.train(tmp_path / "data-bin", tmp_path / "encoder", tmp_path / "run", "optimization.max_epoch=1")
    (tmp_path / "encoder").rename(tmp_path / "gone")
    (tmp_path / "data-bin").rename(tmp_path / "moved")
    trained = load_classifier(tmp_path / "run" / "checkpoint_best.pt")
    assert trained.labels == ("0", "1")
    state = parameters(tmp_path / "run" / "checkpoint_best.pt")
    assert set(state) == set(trained.model.state_dict())
    assert all(torch.equal(state[key], value) for key, value in trained.model.state_dict().items())
    assert np.isfinite(state["classifier.weight"].numpy()).all()


def test_it_learns(world, tmp_path):
    """The made-up task is easy: a few hundred steps must lift the training accuracy far above chance."""
    tiny.train(
        world.data,
        world.encoder,
        tmp_path / "run",
        "optimization.max_epoch=20",
        "optimization.lr=[0.01]",
        "criterion.lam=0.1",
        "dataset.validate_interval=20",
    )
    trained = load_classifier(tmp_path / "run" / "checkpoint_last.pt")
    corpus = open_corpus(world.data, "T_trn_MT", "de")
    probabilities = predict(trained.model, corpus, DataBinInfo.load(world.data), 8, "cpu", lambda n: None)
    assert (probabilities.argmax(1) == corpus.labels).mean() > 0.9
