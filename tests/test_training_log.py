"""Learning curves come off the logs that fairseq really writes, whatever else stands in them."""

import json
import logging
import sys
from collections import OrderedDict
from dataclasses import replace

import pytest
from test_table import SIGNATURE

from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Training
from fairseq_musc.page.training_log import log_of, read_log, read_named, read_tensorboard

HYDRA = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
FAIRSEQ = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"
TRAINING = Training(
    corpora=("S_trn", "T_trn_MT"),
    paired=True,
    rows={"S_trn.en": 37},
    terms="ce+mu",
    lam=0.5,
    lr=0.001,
    normalisation="released",
    encoder="encoder",
)
#: What fairseq shows of its configuration when a training of SIGNATURE starts.
CONFIG = {
    "_name": None,
    "common": {"_name": None, "seed": 1},
    "criterion": {"terms": "mu+ce", "lam": 0.5},
    "optimization": {"lr": [0.001]},
    "task": {"train_corpora": ["S_trn", "T_trn_MT"]},
    "model": {"pretrained": "encoder"},
    "checkpoint": {"save_dir": "checkpoints"},
}
OURS = replace(SIGNATURE, training=TRAINING)


def line(name, message):
    return f"[2026-01-02 03:04:05,678][{name}][INFO] - {message}\n"


def started(config=CONFIG):
    return line("fairseq_cli.train", repr(config)) + line(
        "fairseq.trainer", "No existing checkpoint found checkpoints/checkpoint_last.pt"
    )


def inner(update, loss=1.0):
    return line("train_inner", f"epoch 001:  {update:5d} / 9 L_ce={loss}, loss={loss}, num_updates={update}, lr=0.001")


def valid(update, accuracy):
    return line(
        "valid",
        f"epoch 001 | valid on 'valid' subset | loss 0.7 | accuracy_T_val {accuracy} | accuracy {accuracy} "
        f"| wps 0 | num_updates {update} | best_accuracy 99",
    )


def written(folder, text, name="train.log"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("form", [HYDRA, FAIRSEQ])
@pytest.mark.parametrize("log_format", ["simple", "json"])
def test_what_fairseq_logs_comes_back(tmp_path, form, log_format):
    """fairseq's own progress bars and meters write the log."""
    from fairseq.logging import progress_bar
    from fairseq.logging.meters import AverageMeter

    def meter(value, digits):
        made = AverageMeter(round=digits)
        made.update(value)
        return made.smoothed_value

    handler = logging.FileHandler(tmp_path / "train.log")
    handler.setFormatter(logging.Formatter(form))
    progress_bar.logger.addHandler(handler)
    level = progress_bar.logger.level
    progress_bar.logger.setLevel(logging.INFO)
    progress_bar.logger.info("something else, with loss=7")
    try:
        for epoch in (1, 2):
            bar = progress_bar.progress_bar(
                range(4), log_format, log_interval=2, epoch=epoch, default_log_format="simple"
            )
            for step, _ in enumerate(bar, start=4 * epoch - 3):
                values = OrderedDict(L_ce=meter(1 / step, 4), loss=meter(1e-7 * step, 9), num_updates=step, lr=0.001)
                bar.log(values, tag="train_inner", step=step)
            update = 4 * epoch
            shown = progress_bar.progress_bar(
                [], log_format, epoch=epoch, prefix="valid on 'valid' subset", default_log_format="simple"
            )
            shown.print(
                OrderedDict(loss=meter(0.5, 3), accuracy_T_val=50.25 + epoch, accuracy=60.0, num_updates=update),
                tag="valid",
                step=update,
            )
            bar.print(OrderedDict(loss=meter(9.0, 3), num_updates=update), tag="train", step=update)
    finally:
        progress_bar.logger.removeHandler(handler)
        progress_bar.logger.setLevel(level)
        handler.close()
    (curves,) = read_log(tmp_path / "train.log")
    assert curves.training == {
        "L_ce": [(2, 0.5), (4, 0.25), (6, 0.1667), (8, 0.125)],
        "loss": [(2, 2e-7), (4, 4e-7), (6, 6e-7), (8, 8e-7)],
    }
    assert curves.validation == {
        "loss": [(4, 0.5), (8, 0.5)],
        "accuracy_T_val": [(4, 51.25), (8, 52.25)],
        "accuracy": [(4, 60.0), (8, 60.0)],
    }


def test_what_tensorboard_wrote_comes_back(tmp_path):
    """fairseq's own wrapper writes the files."""
    pytest.importorskip("tensorboard")
    from fairseq.logging import progress_bar

    bar = progress_bar.progress_bar([], "none", tensorboard_logdir=str(tmp_path / "tb"))
    for update in (3, 6):
        bar.log({"loss": 0.5 * update, "L_ce": 0.25, "num_updates": update}, tag="train_inner", step=update)
    bar.print({"accuracy": 75.0, "loss": 0.5, "num_updates": 6}, tag="valid", step=6)
    bar.print({"loss": 9.0, "num_updates": 6}, tag="train", step=6)
    curves = read_tensorboard(tmp_path / "tb")
    assert curves.training == {"loss": [(3, 1.5), (6, 3.0)], "L_ce": [(3, 0.25), (6, 0.25)]}
    assert curves.validation == {"accuracy": [(6, 75.0)], "loss": [(6, 0.5)]}
    assert read_named(tmp_path / "tb", OURS).curves.training == curves.training
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no TensorBoard files"):
        read_named(tmp_path / "empty", OURS)


def test_without_tensorboard_its_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        read_named(tmp_path, OURS)


def test_a_resumed_training_is_one_and_its_repeated_updates_are_the_later_ones(tmp_path):
    resumed = line("fairseq_cli.train", repr(CONFIG)) + line(
        "fairseq.trainer", "Loaded checkpoint checkpoints/checkpoint_last.pt (epoch 1 @ 2 updates)"
    )
    text = started() + inner(1, 5.0) + inner(2, 4.0) + valid(2, 60) + inner(3, 3.0) + inner(4, 2.0)
    (curves,) = read_log(written(tmp_path, text + resumed + inner(3, 3.5) + valid(4, 61)))
    assert curves.training["loss"] == [(1, 5.0), (2, 4.0), (3, 3.5)]
    assert curves.validation["accuracy"] == [(2, 60.0), (4, 61.0)]


def test_a_training_that_goes_on_for_more_epochs_is_one(tmp_path):
    longer = CONFIG | {
        "optimization": CONFIG["optimization"] | {"max_epoch": 9},
        "task": CONFIG["task"] | {"patience": 3},
    }
    resumed = line("fairseq_cli.train", repr(longer)) + line(
        "fairseq.trainer", "Loaded checkpoint checkpoints/checkpoint_last.pt (epoch 1 @ 2 updates)"
    )
    text = started() + inner(1, 5.0) + inner(2, 4.0) + valid(2, 60) + resumed + inner(3, 3.5) + valid(4, 61)
    log = read_named(written(tmp_path, text), OURS)
    assert log.curves.training["loss"] == [(1, 5.0), (2, 4.0), (3, 3.5)]
    assert log.curves.validation["accuracy"] == [(2, 60.0), (4, 61.0)]
    anew = written(tmp_path, started() + inner(1, 5.0) + valid(2, 60) + started(longer) + inner(1, 3.5))
    assert read_named(anew, OURS).curves.training == {"L_ce": [(1, 3.5)], "loss": [(1, 3.5)]}
    assert not read_named(anew, OURS).curves.validation


def test_a_training_that_began_again_forgets_the_first(tmp_path):
    (curves,) = read_log(written(tmp_path, started() + inner(1) + inner(2) + started() + inner(5, 0.5)))
    assert curves.training["loss"] == [(5, 0.5)]


def test_trainings_in_one_file_are_kept_apart_and_the_right_one_is_found(tmp_path):
    other = CONFIG | {"common": {"seed": 2}}
    text = started() + inner(1, 5.0) + started(other) + inner(1, 7.0)
    path = written(tmp_path, text)
    assert [curves.training["loss"] for curves in read_log(path)] == [[(1, 5.0)], [(1, 7.0)]]
    assert read_named(path, OURS).curves.training["loss"] == [(1, 5.0)]
    assert read_named(path, replace(OURS, seed=2)).curves.training["loss"] == [(1, 7.0)]


def test_a_training_shorter_than_the_log_interval_has_the_means_of_its_epochs(tmp_path):
    epochs = [
        line("train", f"epoch 00{k} | L_ce {k}.5 | loss {k}.25 | wps 7.5 | num_updates {4 * k} | lr 0.001 | wall 9")
        for k in (1, 2)
    ]
    (curves,) = read_log(written(tmp_path, started() + epochs[0] + valid(4, 60) + epochs[1]))
    assert curves.training == {"L_ce": [(4, 1.5), (8, 2.5)], "loss": [(4, 1.25), (8, 2.25)]}
    (curves,) = read_log(written(tmp_path, started() + inner(2) + "".join(epochs)))
    assert curves.training["loss"] == [(2, 1.0)]


def test_half_a_line_at_the_end_and_noise_do_no_harm(tmp_path):
    text = "Traceback (most recent call last):\n\x00\xff\n" + started() + inner(10) + line("train_inner", "{broken")
    (curves,) = read_log(written(tmp_path, text + inner(20)[:-20]))
    assert curves.training["loss"] == [(10, 1.0)]


def test_a_configuration_that_is_no_literal_of_python_is_none(tmp_path):
    text = line("fairseq_cli.train", "{'_name': None, {'seed': 1}: 2}")  # a key that cannot be one
    (curves,) = read_log(written(tmp_path, text + inner(10)))
    assert curves.config is None


def test_a_diverged_training_is_read(tmp_path):
    (curves,) = read_log(written(tmp_path, started() + inner(1) + inner(2, "nan") + inner(3, "inf")))
    assert [update for update, _ in curves.training["loss"]] == [1, 2, 3]
    assert str(curves.training["loss"][1:]) == "[(2, nan), (3, inf)]"


@pytest.mark.parametrize("name", ["train.log", "hydra_train.log"])
@pytest.mark.parametrize("place", [".", "..", "../../.."])
def test_the_log_is_found_above_the_predictions(tmp_path, name, place):
    predictions = tmp_path / "run" / "checkpoints" / "musc" / "best.predictions"
    predictions.mkdir(parents=True)
    written(predictions / place, started() + inner(1), name)
    assert log_of(predictions, OURS).curves.training["loss"] == [(1, 1.0)]


def test_a_log_of_another_training_is_passed_over_and_refused_if_named(tmp_path):
    predictions = tmp_path / "run" / "predictions"
    predictions.mkdir(parents=True)
    other = CONFIG | {"common": {"seed": 2}, "criterion": {"terms": "ce", "lam": 0.5}}
    path = written(tmp_path / "run", started(other) + inner(1))
    assert log_of(predictions, OURS) is None
    with pytest.raises(InputError) as error:
        read_named(path, OURS)
    assert "seed is 2 in the log and 1 there" in str(error.value)
    assert "criterion.terms is 'ce' in the log and 'ce+mu' there" in str(error.value)


def test_a_log_without_a_configuration_is_taken_only_where_it_is_named(tmp_path):
    path = written(tmp_path, inner(1))
    assert log_of(tmp_path, OURS) is None
    assert read_named(path, OURS).curves.training["loss"] == [(1, 1.0)]


def test_what_is_no_log_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no log"):
        read_named(tmp_path / "none.log", OURS)
    with pytest.raises(InputError, match="holds no line of a training's progress"):
        read_named(written(tmp_path, json.dumps({"loss": 1}) + "\n"), OURS)
