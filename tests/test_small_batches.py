"""Batches at the edge: no anchor with a positive, one class, one row, no rows. The values are worked out by hand."""

import math
import shutil

import pytest
import tiny
import torch

from fairseq_musc.batched_losses import terms_of_groups
from fairseq_musc.data.corpus import read_corpus, write_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.losses import PAPER, RELEASED, View, terms_of_pairs, terms_of_single
from fairseq_musc.models.checkpoint import load_classifier

TERMS = ("ce", "mu", "sc", "musc")
NORMALISATIONS = pytest.mark.parametrize("normalisation", [RELEASED, PAPER], ids=["released", "paper"])


def both(y, views, normalisation, alpha=0.3):
    """The terms of one group by the reference and by the batched way, and the largest gradient, which is finite."""
    N = len(y)
    generator = torch.Generator().manual_seed(N)
    logits = torch.randn(2 * views, N, 3, generator=generator, requires_grad=True)
    z = torch.randn(2 * views, N, 5, generator=generator, requires_grad=True)
    unit = torch.nn.functional.normalize(z, dim=-1)
    y, alphas = torch.tensor(y), torch.full((views,), alpha)
    of = [View(logits[i], unit[i]) for i in range(2 * views)]
    common = (TERMS, 0.3, normalisation)
    if views == 2:
        reference = terms_of_pairs(*of, y, *alphas, *common)
    else:
        reference = terms_of_single(*of, y, alphas[0], *common)
    batched = terms_of_groups(logits[:, None], unit[:, None], y[None], torch.tensor([N]), alphas[:, None], *common)
    gradients = []
    for value in (reference, {term: loss.squeeze(0) for term, loss in batched.items()}):
        found = torch.autograd.grad(torch.stack(list(value.values())).sum(), (logits, z), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in found)
        gradients.append(found)
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)
    for term in TERMS:
        torch.testing.assert_close(reference[term], batched[term].squeeze(0))
    return {term: float(loss) for term, loss in reference.items()}


@NORMALISATIONS
def test_no_anchor_with_a_positive(normalisation):
    """Rows without partners, each of a class of its own: L_sc is 0. MUSC sets a row against its own mixed self."""
    value = both([0, 1, 2], 1, normalisation)
    assert value["sc"] == 0
    assert value["ce"] > 0 and value["mu"] > 0 and value["musc"] > 0


@NORMALISATIONS
def test_a_batch_of_one(normalisation):
    """A row is mixed with itself. Without a partner it has nothing to be compared with; with one, only that: log 1."""
    alone = both([1], 1, normalisation)
    assert alone["sc"] == 0 and alone["musc"] == pytest.approx(0, abs=1e-6)
    pair = both([1], 2, normalisation)
    assert pair["sc"] == pytest.approx(0, abs=1e-6) and pair["musc"] == pytest.approx(0, abs=1e-6)
    assert pair["ce"] > 0 and pair["mu"] > 0


@NORMALISATIONS
@pytest.mark.parametrize("views", [1, 2])
def test_one_class(normalisation, views):
    """All others are positives: what is left pushes all of them to be alike, and is least when they are.

    By Jensen's inequality each anchor's mean over M - 1 others of -log s is at least log(M - 1); the log of their mean
    is -log(1 / (M - 1)) exactly.
    """
    N = 4
    M = N * views
    value = both([2] * N, views, normalisation)
    if normalisation is PAPER:
        assert value["sc"] == pytest.approx(M * math.log(M - 1), rel=1e-5)
    else:
        assert value["sc"] > 0.3 * math.log(M - 1) * (M - 1) / (M - 1 + 1e-4)


@pytest.mark.parametrize("way", [(), ("model.packed=false",)], ids=["packed", "plain"])
@pytest.mark.parametrize("corpora", ["[S_trn]", "[S_trn,T_trn_MT]"])
def test_a_run_on_batches_of_one(world, tmp_path, way, corpora, promise):
    promise("numbers", "training on batches of one row", 1)
    run = tiny.train(
        *(world.data, world.encoder, tmp_path / "run", *way),
        *(f"task.train_corpora={corpora}", "dataset.batch_size=1", "optimization.max_update=12"),
    )
    assert all(value.isfinite().all() for value in tiny.load(run / "checkpoint_last.pt")["model"].values())


def remake(folder, name, language, keep):
    """A corpus with some of its rows alone."""
    corpus = read_corpus(folder, name, language)
    for path in folder.glob(f"{name}.{language}.*"):
        path.unlink()
    write_corpus(folder, corpus.__class__(**{**vars(corpus), "rows": [row for row in corpus.rows if keep(row)]}))


def test_a_run_with_a_language_of_one_class(tmp_path, promise):
    tiny.make_corpora(tmp_path / "corpora")
    for name in ("T_trn", "T_val", "S_val_MT"):
        remake(tmp_path / "corpora", name, "fr", lambda row: row.label == "1")
    tiny.make_encoder(tmp_path / "encoder")
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", tmp_path / "encoder")
    promise("numbers", "training on a language of one class", 1)
    run = tiny.train(
        *(tmp_path / "bin", tmp_path / "encoder", tmp_path / "run"),
        *("task.train_corpora=[S_trn,T_trn]", "optimization.max_epoch=1"),
    )
    state = tiny.load(run / "checkpoint_last.pt")
    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_language_without_rows_cannot_be_written_nor_come_from_a_file(tmp_path, promise):
    """So no mean over languages has an empty one in it; a language that is not there is not among them."""
    tiny.make_corpora(tmp_path / "corpora")
    promise("numbers", "a language without rows", 2)
    with pytest.raises(InputError, match=r"T_trn\.fr\.tsv cannot be a corpus:\n  - it has no rows"):
        remake(tmp_path / "corpora", "T_trn", "fr", lambda row: False)
    assert not (tmp_path / "corpora" / "T_trn.fr.tsv").exists()
    path = tmp_path / "corpora" / "T_trn.de.tsv"
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
    with pytest.raises(InputError, match="holds 0 rows"):
        read_corpus(tmp_path / "corpora", "T_trn", "de")
    tiny.make_encoder(tmp_path / "encoder")
    (tmp_path / "corpora" / "T_trn.de.json").unlink()
    path.unlink()
    tiny.make_corpora(tmp_path / "more")
    for one in (tmp_path / "more").glob("T_trn.de.*"):
        shutil.copy(one, tmp_path / "corpora")
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", tmp_path / "encoder")
    options = ("task.train_corpora=[S_trn,T_trn]", "optimization.max_update=2")
    run = tiny.train(tmp_path / "bin", tmp_path / "encoder", tmp_path / "run", *options)
    assert set(load_classifier(run / "checkpoint_last.pt").training.rows) == {"S_trn.en", "T_trn.de"}
