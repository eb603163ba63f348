"""A loss or gradient that is no number ends the run at once and names the rows, or is left out and counted."""

import re
from dataclasses import replace

import pytest
import tiny
import torch
from fairseq_cli.train import Trainer
from transformers import BertModel

from fairseq_musc.criterions.musc import MuscCriterion
from fairseq_musc.data.corpus import read_corpus, write_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.finite import NAMED_ROWS, LossWatch, NotFiniteError, TrainingError
from fairseq_musc.late import Late

UNKNOWN = 1  # the id of [UNK]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One German training row has an unknown word, whose embedding is NaN."""
    root = tmp_path_factory.mktemp("broken")
    tiny.make_corpora(root / "corpora")
    corpus = read_corpus(root / "corpora", "T_trn_MT", "de")
    rows = list(corpus.rows)
    rows[20] = rows[20]._replace(text=f"{rows[20].text} zebra")
    for path in (root / "corpora").glob("T_trn_MT.de.*"):
        path.unlink()
    write_corpus(root / "corpora", replace(corpus, rows=rows))
    tiny.make_encoder(root / "encoder")
    encoder = BertModel.from_pretrained(root / "encoder")
    with torch.no_grad():
        encoder.embeddings.word_embeddings.weight[UNKNOWN] = float("nan")
    encoder.save_pretrained(root / "encoder")
    tiny.binarize(root / "corpora", root / "bin", root / "encoder")
    return root, f"de:{rows[20].id}"


WAYS = [(), ("model.packed=false", "optimizer._name=adam"), ("task.languages_at_once=1",), ("common.bf16=true",)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: (*way, "default")[0])
def test_a_loss_that_is_nan_stops_in_its_own_update_and_names_its_rows(broken, tmp_path, monkeypatch, way, promise):
    root, row = broken
    whole_batches = []
    real = Trainer.train_step

    def seen(self, samples, *rest):
        whole_batches.append([self.task.datasets["train"].row_name(i) for i in samples[0]["rows"].tolist()])
        return real(self, samples, *rest)

    monkeypatch.setattr(Trainer, "train_step", seen)
    promise("numbers", "a NaN in the embedding of one word, stop", 1)
    with pytest.raises(NotFiniteError) as error:
        tiny.train(root / "bin", root / "encoder", tmp_path / "run", *way, "common.log_interval=100")
    assert row in whole_batches[-1] and not any(row in batch for batch in whole_batches[:-1])
    said = str(error.value)
    assert re.search(rf"in update {len(whole_batches)} loss is nan, L_ce is nan, ", said)
    assert f"{len(whole_batches[-1])} rows: {', '.join(whole_batches[-1])}.\n" in said
    assert "criterion.not_finite=skip" in said
    assert not (tmp_path / "run" / "crash.pt").exists()


@pytest.mark.parametrize("way", [(), ("model.packed=false",), ("task.languages_at_once=1",)])
def test_skipped_it_is_counted_and_changes_nothing(broken, tmp_path, monkeypatch, caplog, way, promise):
    root, row = broken
    caplog.set_level("INFO")
    before, changed = [], []
    real = Trainer.train_step

    def seen(self, samples, *rest):
        names = [self.task.datasets["train"].row_name(i) for i in samples[0]["rows"].tolist()]
        old = [p.detach().clone() for p in self.model.parameters()]
        made = real(self, samples, *rest)
        same = all(
            torch.equal(p.nan_to_num(7), q.nan_to_num(7)) for p, q in zip(old, self.model.parameters(), strict=True)
        )
        before.append(row in names)
        changed.append(not same)
        return made

    monkeypatch.setattr(Trainer, "train_step", seen)
    promise("numbers", "a NaN in the embedding of one word, skip", 2)
    run = tiny.train(
        *(root / "bin", root / "encoder", tmp_path / "run", *way),
        *("optimization.max_epoch=2", "criterion.not_finite=skip", "common.log_interval=100"),
    )
    assert sum(before) == 2 and changed == [not bad for bad in before]
    state = tiny.load(run / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 10
    words = state["model"].pop("encoder.embeddings.word_embeddings.weight")
    assert all(value.isfinite().all() for value in state["model"].values())
    assert words.isfinite().all(1).sum() == len(words) - 1
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith("left out: in update") and row in line]) == 2
    epochs = [record.getMessage() for record in caplog.records if record.name == "train"]
    assert len(epochs) == 2
    for line in epochs:
        assert "skipped 1" in line.replace("=", " ") and "nan" not in line


def test_a_run_that_diverges_is_stopped(world, tmp_path, promise):
    promise("numbers", "a learning rate of 1e30", 1)
    with pytest.raises(NotFiniteError, match=r"training stops: in update \d+ loss is (nan|inf)"):
        tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.lr=[1e30]")


@pytest.mark.parametrize("not_finite", ["stop", "skip"])
def test_a_gradient_alone_that_is_not_finite(world, tmp_path, monkeypatch, not_finite, promise):
    real = MuscCriterion.training_loss
    steps = []

    def infinite(self, model, sample):
        loss, size, logged = real(self, model, sample)
        steps.append([self.task.datasets["train"].row_name(row) for row in sample["rows"].tolist()])
        if len(steps) == 3:
            loss = loss + (model.classifier.bias * 0).sqrt().sum()  # 0, with a gradient of 0 times infinity
        return loss, size, logged

    monkeypatch.setattr(MuscCriterion, "training_loss", infinite)
    options = (world.data, world.encoder, tmp_path / "run", f"criterion.not_finite={not_finite}")
    promise("numbers", f"a gradient of NaN behind a finite loss, {not_finite}", 1)
    if not_finite == "skip":
        run = tiny.train(*options, "optimization.max_epoch=1")
        assert all(value.isfinite().all() for value in tiny.load(run / "checkpoint_last.pt")["model"].values())
        return
    with pytest.raises(NotFiniteError) as error:
        tiny.train(*options)
    assert f"the norm of the gradient is nan in update 3, on {len(steps[2])} rows: {steps[2][0]}" in str(error.value)


def test_a_validation_loss_that_is_nan_ends_the_run(broken, tmp_path):
    root, _ = broken
    encoder = BertModel.from_pretrained(root / "encoder")
    with torch.no_grad():
        encoder.pooler.dense.bias.fill_(float("nan"))
    tiny.make_encoder(tmp_path / "encoder")
    encoder.save_pretrained(tmp_path / "encoder")
    with pytest.raises(NotFiniteError, match=r"loss on validation data is nan.*model\.pretrained"):
        tiny.train(root / "bin", tmp_path / "encoder", tmp_path / "run", "criterion.not_finite=skip")


def test_what_a_gpu_says_late_is_said_of_the_right_batch():
    """With the copy from a GPU replaced: the number read is that of the batch before."""
    watch, late = LossWatch(lambda row: f"row{row}"), Late()
    watch.late.read = lambda values: late.exchange((values.clone(), lambda: None))
    watch.late.waiting = late.waiting
    for update, value in ((1, 0.5), (2, float("inf"))):
        assert watch.look({"loss": torch.tensor(value)}, torch.arange(3) + 10 * update, update) is None
    assert watch.look_at_the_last() == "in update 2 loss is inf, for a batch of 3 rows: row20, row21, row22"
    said = watch.look({"loss": torch.tensor(1.0)}, torch.tensor([30]), 3)
    assert said == "in update 2 loss is inf, for a batch of 3 rows: row20, row21, row22"
    assert watch.look({"loss": torch.tensor(1.0)}, torch.arange(NAMED_ROWS + 2), 4) is None
    assert watch.rows_of_update(before=True) == "update 3, on 1 rows: row30"
    assert watch.rows_of_update(before=False).endswith(f"row{NAMED_ROWS - 1} and 2 more")


@pytest.mark.parametrize("other", ["optimizer._name=adam", "common.bf16=true"])
def test_skipping_takes_an_optimizer_that_can(world, tmp_path, other):
    with pytest.raises(TrainingError, match=r"needs optimizer\._name=musc_adam without common\.fp16, bf16 or amp"):
        tiny.train(world.data, world.encoder, tmp_path / "run", "criterion.not_finite=skip", other)
    assert not (tmp_path / "run" / "crash.pt").exists()
    with pytest.raises(InputError, match="it can be stop or skip"):
        tiny.train(world.data, world.encoder, tmp_path / "run", "criterion.not_finite=never")
