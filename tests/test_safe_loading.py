"""A checkpoint with settings in a Namespace loads with torch's safe loader; one that would run code does not."""

import argparse
import os
import pickle

import pytest
import torch

from fairseq_musc.errors import InputError
from fairseq_musc.safe_loading import PICKLED_CLASSES, allow_fairseq_checkpoints, check_pickled_classes


class RunsCode:
    """Pickles as a call of os.system."""

    def __init__(self, path):
        self.command = f"touch {path}"

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(autouse=True)
def _strict(monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def save_checkpoint(path, zip_format):
    """The keys that fairseq's own upgrade of old checkpoints asks for."""
    state = {
        "args": argparse.Namespace(arch="transformer", task="translation", data="bin", max_source_positions=1024),
        "model": {"weight": torch.ones(2)},
        "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "optimizer_history": [
            {"criterion_name": "x", "optimizer_name": "y", "lr_scheduler_state": {}, "num_updates": 3}
        ],
    }
    torch.save(state, path, _use_new_zipfile_serialization=zip_format)


def test_the_list_is_one_class():
    assert list(PICKLED_CLASSES) == [argparse.Namespace]


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_pickled_namespace_loads_through_fairseq(tmp_path, zip_format):
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu

    path = tmp_path / "model.pt"
    save_checkpoint(path, zip_format)
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        load_checkpoint_to_cpu(str(path))
    allow_fairseq_checkpoints()
    check_pickled_classes(path)
    state = load_checkpoint_to_cpu(str(path))
    assert state["cfg"]["model"].max_source_positions == 1024
    assert torch.equal(state["model"]["weight"], torch.ones(2))


@pytest.mark.parametrize("where", ["beside", "inside the Namespace"])
@pytest.mark.parametrize("zip_format", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path, where, zip_format):
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu

    trap = tmp_path / "the_code_ran"
    evil = RunsCode(trap)
    path = tmp_path / "model.pt"
    more = {"more": evil} if where == "beside" else {"args": argparse.Namespace(arch="transformer", evil=evil)}
    torch.save({"model": {}, "args": argparse.Namespace(), **more}, path, _use_new_zipfile_serialization=zip_format)
    allow_fairseq_checkpoints()
    with pytest.raises(pickle.UnpicklingError, match="system"):
        load_checkpoint_to_cpu(str(path))
    if zip_format:
        with pytest.raises(InputError, match=r"posix\.system.*argparse\.Namespace"):
            check_pickled_classes(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "the trap itself must work, or this test shows nothing"
