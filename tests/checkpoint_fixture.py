"""A checkpoint that was really trained on the tiny world, for every test file that needs one.

Use it with ``pytest_plugins = ["checkpoint_fixture"]`` and a test argument ``checkpoint``.
"""

import pytest
import tiny
import torch
from transformers import AutoTokenizer

from fairseq_musc.data.corpus import read_corpus
from fairseq_musc.models.checkpoint import load_classifier


@pytest.fixture(scope="session")
def checkpoint(world, tmp_path_factory):
    """The file. Its folder is not to be written to.

    Ten updates leave weights so small that all texts get nearly the same answer; so they are enlarged, and the classes
    made about equally frequent.
    """
    run = tiny.train(world.data, world.encoder, tmp_path_factory.mktemp("trained"), "optimization.max_epoch=2")
    state = tiny.load(run / "checkpoint_best.pt")
    for weights in state["model"].values():
        if weights.dim() == 2:
            weights *= 10
    torch.save(state, run / "checkpoint_best.pt")
    rows = read_corpus(world.corpora, "T_tst", "de").rows
    tokenizer = AutoTokenizer.from_pretrained(world.encoder)
    view = tokenizer([row.text for row in rows], [row.text_pair for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = load_classifier(run / "checkpoint_best.pt").model(**view).logits
    state["model"]["classifier.bias"][0] -= (logits[:, 0] - logits[:, 1]).median()
    torch.save(state, run / "checkpoint_best.pt")
    return run / "checkpoint_best.pt"
