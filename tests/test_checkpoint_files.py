"""Checkpoints that were cut short or changed are found before anything is read from them, and a run goes on without."""

import random
import shutil

import pytest
import tiny
import torch

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.models.checkpoint import load_classifier
from fairseq_musc.models.checkpoint_files import copy_whole, damage, mend_last

OPTIONS = ("checkpoint.save_interval_updates=2", "checkpoint.keep_interval_updates=-1")


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A run of ten updates, with a checkpoint every two."""
    return tiny.train(
        world.data, world.encoder, tmp_path_factory.mktemp("run") / "run", *OPTIONS, "optimization.max_epoch=2"
    )


def equal(one, two):
    if torch.is_tensor(one):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def test_a_flipped_bit_is_found_or_was_in_no_number(run, tmp_path, promise):
    """torch.load reads changed weights without a word; here the checksums of the file are held against it."""
    data = (run / "checkpoint_last.pt").read_bytes()
    whole = tiny.load(run / "checkpoint_last.pt")
    assert damage(run / "checkpoint_last.pt") is None
    path = tmp_path / "flipped.pt"
    rng = random.Random(1)
    found = unnoticed_by_torch = 0
    for _ in range(400):
        place, bit = rng.randrange(len(data)), rng.randrange(8)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        if damage(path):
            found += 1
            try:
                unnoticed_by_torch += not equal(tiny.load(path), whole)
            except Exception:
                continue
        else:
            assert equal(tiny.load(path), whole), (place, bit)
    promise("whole checkpoints", "one flipped bit in a checkpoint", 400)
    assert found > 200
    assert unnoticed_by_torch > 20, "torch finds them by itself by now"


def test_a_checkpoint_cut_short_is_found_at_any_length(run, tmp_path, promise):
    data = (run / "checkpoint_last.pt").read_bytes()
    path = tmp_path / "cut.pt"
    lengths = sorted({0, 1, len(data) - 1, *random.Random(2).sample(range(len(data)), 200)})
    for length in lengths:
        path.write_bytes(data[:length])
        assert damage(path), length
    promise("whole checkpoints", "a checkpoint cut short", len(lengths))


@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_a_run_goes_on_from_the_one_before(world, run, tmp_path, caplog, harm, promise):
    """And ends as it would have: nothing is drawn that hangs on where it began."""
    shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / "run"
    (folder / "checkpoint_best.pt").unlink()
    for old in folder.glob("checkpoint_*_8.pt"):
        old.write_bytes(old.read_bytes()[:1000])
    last = folder / "checkpoint_last.pt"
    data = bytearray(last.read_bytes())
    if harm == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 16
    last.write_bytes(data)
    tiny.train(world.data, world.encoder, folder, *OPTIONS, "optimization.max_epoch=3")
    said = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    assert len(said) == 1 and "Going on from checkpoint_2_6.pt (update 6)" in said[0]
    assert (folder / "checkpoint_last.pt.damaged").read_bytes() == bytes(data)
    tiny.train(world.data, world.encoder, tmp_path / "whole", *OPTIONS, "optimization.max_epoch=3")
    states = [tiny.load(each / "checkpoint_last.pt") for each in (folder, tmp_path / "whole")]
    promise("whole checkpoints", f"checkpoint_last.pt {harm} before a run goes on", 1)
    assert all(equal(states[0][key], states[1][key]) for key in ("model", "last_optimizer_state"))


def test_where_there_is_no_other_it_is_refused(world, run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoint_last.pt").write_bytes((run / "checkpoint_last.pt").read_bytes()[:5000])
    (folder / "checkpoint_1_2.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"cut short.*no whole checkpoint beside it.*to train from the start"):
        tiny.train(world.data, world.encoder, folder, "optimization.max_epoch=3")
    assert len((folder / "checkpoint_last.pt").read_bytes()) == 5000
    mend_last(tmp_path / "nothing here")  # a run that begins


def test_prediction_and_restore_file_name_the_whole_ones(world, run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    best = folder / "checkpoint_best.pt"
    data = bytearray(best.read_bytes())
    data[len(data) // 2] ^= 1
    best.write_bytes(data)
    with pytest.raises(InputError, match=r"the CRC-32 differs.*\n.*checkpoint_last\.pt \(update 10\), checkpoint_2_8"):
        load_classifier(best)
    options = ["--checkpoint", best, "--data", world.data, "--predictions", tmp_path / "out"]
    assert main(["predict", *map(str, options)]) == 2
    assert "checkpoint_last.pt (update 10)" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"checkpoint_last\.pt \(update 10\)"):
        tiny.train(world.data, world.encoder, tmp_path / "new", f"checkpoint.restore_file={best}")


def test_a_copy_is_whole_or_not_there(tmp_path, monkeypatch):
    """fairseq's own copies, too; what was there before stays."""
    from fairseq.file_io import PathManager

    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    assert PathManager.copy(str(tmp_path / "one"), str(tmp_path / "two"), overwrite=True)
    assert (tmp_path / "two").read_text() == "one"
    assert not copy_whole(tmp_path / "one", tmp_path / "two")

    def full(source, target, length):
        target.write(source.read(1))
        raise OSError(28, "No space left on device")

    (tmp_path / "one").write_text("another")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        PathManager.copy(str(tmp_path / "one"), str(tmp_path / "two"), overwrite=True)
    assert (tmp_path / "two").read_text() == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def updates(folder):
    return tiny.load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


def test_a_run_that_is_over_is_not_trained_on(world, tmp_path):
    """fairseq alone takes another update each time; with a higher limit it goes on."""
    for limit, expected in ((3, 3), (3, 3), (4, 4)):
        tiny.train(world.data, world.encoder, tmp_path / "run", f"optimization.max_update={limit}")
        assert updates(tmp_path / "run") == expected


def test_patience_goes_on(world, tmp_path):
    """With a learning rate of 0 nothing ever improves, so the third validation behind the first ends the run."""
    options = ("optimization.lr=[0.0]", "checkpoint.patience=3", "checkpoint.save_interval_updates=2")
    tiny.train(world.data, world.encoder, tmp_path / "whole", *options)
    tiny.train(world.data, world.encoder, tmp_path / "stopped", *options, "optimization.max_update=4")
    tiny.train(world.data, world.encoder, tmp_path / "stopped", *options)
    assert updates(tmp_path / "whole") == updates(tmp_path / "stopped") < 10
    tiny.train(world.data, world.encoder, tmp_path / "stopped", *options)
    assert updates(tmp_path / "stopped") == updates(tmp_path / "whole")
