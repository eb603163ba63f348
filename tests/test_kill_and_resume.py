"""A run that is killed again and again ends as one that never was: parameters, optimizer, best checkpoint and log."""

import json
import re

import killed
import pytest
import tiny
import torch

#: Eight epochs of five updates; a line of the log shows three, so that intervals go across epochs and kills.
OPTIONS = (
    "optimization.max_epoch=8",
    "checkpoint.save_interval_updates=2",
    "dataset.validate_interval_updates=2",
    "common.log_format=json",
    "common.log_interval=3",
    "lr_scheduler._name=polynomial_decay",
    "+lr_scheduler.total_num_update=40",
    "lr_scheduler.warmup_updates=6",
)
PLAIN = ("model.packed=false", "optimizer._name=adam")
#: What a clock says, and who read it.
OF_THE_CLOCK = {"wps", "ups", "wpb", "bsz", "train_wall", "wall"}
OF_THE_CLOCK |= {f"{tag}_{key}" for tag in ("train", "valid") for key in OF_THE_CLOCK}


def lines(log):
    """(tag, update) -> all that the log of a rank has shown for it; from all starts of a run."""
    shown = {}
    for line in log.with_name(f"{log.name}.0").read_text().splitlines():
        found = re.match(r"(train_inner|train|valid) \| (\{.*\})$", line)
        if found:
            values = {key: value for key, value in json.loads(found[2]).items() if key not in OF_THE_CLOCK}
            place = found[1], values.get("num_updates") or values[f"{found[1].removesuffix('_inner')}_num_updates"]
            shown.setdefault(place, []).append(values)
    return shown


def same(one, two, where=""):
    """Every difference of two checkpoints, but for clocks and folders."""
    if torch.is_tensor(one):
        return [] if one.dtype == two.dtype and torch.equal(one, two) else [where]
    if isinstance(one, dict):
        keys = set(one) | set(two)
        return [found for key in keys for found in same(one.get(key), two.get(key), f"{where}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) == 4 and (one[2] in ("TimeMeter", "StopwatchMeter") or one[1] in OF_THE_CLOCK):
            return []
        if len(one) != len(two):
            return [where]
        return [found for i, pair in enumerate(zip(one, two, strict=True)) for found in same(*pair, f"{where}.{i}")]
    return [] if one == two else [f"{where}: {one} is {two}"]


def differences(folder, log, other_folder, other_log):
    """Between a run that was never killed and one that was."""
    found = []
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        one, two = tiny.load(folder / name), tiny.load(other_folder / name)
        for state in (one, two):
            del state["cfg"], state["extra_state"]["previous_training_time"]
            del state["extra_state"]["metrics"]["default"]  # which counts starts, and is shown nowhere
            state["optimizer_history"] = state["optimizer_history"][-1]  # it has an entry for each start
            state["optimizer_history"]["lr_scheduler_state"].pop("best")  # see docs/promises.md, reduce_lr_on_plateau
        found += [f"{name}{where}" for where in same(one, two)]
    expected, shown = lines(log), lines(other_log)
    # The means of an epoch are shown behind its checkpoint: they are lost if it is killed between the two.
    text = other_log.with_name(f"{other_log.name}.0").read_text()
    gone_on = re.findall(r"Loaded checkpoint .* @ (\d+) updates", text)
    found += [f"never shown: {place}" for place in set(expected) - set(shown) - {("train", each) for each in gone_on}]
    found += [
        f"{place}: {value} is {once}"
        for place, (value,) in expected.items()
        for once in shown.get(place, [])
        if once != value
    ]
    return found


def count(promise, hits, ranks):
    """For docs/promises.md: what was done to break the promise."""
    places = {
        "step": "in a step",
        "validation": "in validation",
        "save": "while a checkpoint is written",
        "copy": "while a checkpoint is copied",
        "anywhere": "after a random time",
    }
    for moment, place in places.items():
        times = sum(aim.moment == moment for aim in hits)
        if times:
            promise("kill and resume", f"SIGKILL {place}, {ranks} process{'es' if ranks > 1 else ''}", times)


def kill_and_compare(world, folder, options, kills, seed, promise, ranks=1):
    logs = folder / "whole.log", folder / "killed.log"
    started = killed.start(world, folder / "whole", logs[0], *options, ranks=ranks)
    assert killed.statuses(started) == [0] * ranks, logs[0].with_name(f"{logs[0].name}.0").read_text()[-2000:]
    assert len(lines(logs[0])) >= 13 + 20 + 8

    def check(hits):
        found = differences(folder / "whole", logs[0], folder / "killed", logs[1])
        assert not found, (hits, "\n".join(found[:20]))
        assert not list((folder / "killed").glob("*.damaged"))

    hits = killed.until_done(
        world, folder / "killed", logs[1], *options, kills=kills, seed=seed, ranks=ranks, check=check
    )
    count(promise, hits, ranks)
    assert len(hits) == kills


def test_killed_three_times_in_a_row(world, tmp_path, promise):
    kill_and_compare(world, tmp_path, OPTIONS, 3, 1, promise)


def test_a_run_that_is_over_before_it_was_killed_so_often_is_taken_back(world, tmp_path, monkeypatch):
    """An aim that comes too late costs a kill, and what is compared in the end is still a run of as many."""
    aims = [killed.Aim("step", count, 0.0, 0) for count in (10, 1000, 20, 3, 4)]
    left = list(aims)
    monkeypatch.setattr(killed, "draw", lambda *_: left.pop(0))
    real, found = killed.until_done, []
    monkeypatch.setattr(killed, "until_done", lambda *args, **options: found.append(real(*args, **options)) or found[0])
    kill_and_compare(world, tmp_path, OPTIONS, 3, 0, lambda *_: None)
    assert (found, left) == ([aims[2:]], [])


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("more", [(), PLAIN], ids=["packed", "plain"])
@pytest.mark.parametrize("size", ["tiny", "larger"])
def test_killed_ten_times_in_a_row(world, tmp_path, promise, ranks, more, size):
    """Two ranks share five batches of an epoch, so one of them has a stand-in for the last."""
    options = (*OPTIONS, *more, f"optimization.max_epoch={8 if ranks == 1 else 14}")
    if size == "larger":
        tiny.make_encoder(tmp_path / "encoder", width=64, layers=3)
        world = world._replace(encoder=tmp_path / "encoder")
    seed = 10 * ranks + 5 * bool(more) + (size == "larger")
    kill_and_compare(world, tmp_path, options, 10, seed, promise, ranks)
