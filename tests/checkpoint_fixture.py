"""A checkpoint that was really trained on the tiny world, for every test file that needs one.

Use it with ``pytest_plugins = ["checkpoint_fixture"]`` and a test argument ``checkpoint``.
"""

import pytest
import tiny
import torch


@pytest.fixture(scope="session")
def checkpoint(world, tmp_path_factory):
    """The file. Its folder is not to be written to.

    Ten updates leave weights so small that all texts get nearly the same answer; so they are enlarged.
    """
    run = tiny.train(world.data, world.encoder, tmp_path_factory.mktemp("trained"), "optimization.max_epoch=2")
    state = tiny.load(run / "checkpoint_best.pt")
    for weights in state["model"].values():
        if weights.dim() == 2:
            weights *= 10
    torch.save(state, run / "checkpoint_best.pt")
    return run / "checkpoint_best.pt"
