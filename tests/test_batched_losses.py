"""Losses of all languages at once are those of one language after the other."""

import pytest
import torch
import torch.nn.functional as F

from fairseq_musc.batched_losses import terms_of_groups
from fairseq_musc.losses import NORMALISATIONS, View, terms_of_pairs, terms_of_single

ROWS = ("ce", "ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc", "ce+musc")  # Table 5, and L_musc alone


def made_up(views, sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (views, len(sizes), max(sizes))
    logits = torch.randn(*shape, 3, generator=generator, requires_grad=True)
    z = torch.randn(*shape, 8, generator=generator, requires_grad=True)
    y = torch.randint(0, 3, shape[1:], generator=generator)
    alpha = torch.rand(views // 2, len(sizes), generator=generator)
    return logits, z, y, alpha


def one_by_one(logits, z, y, sizes, alpha, terms, normalisation):
    """The reference for each group, on rows cut to its size."""
    z = F.normalize(z, dim=-1)
    values = []
    for g, n in enumerate(sizes):
        views = [View(logits[w, g, :n], z[w, g, :n]) for w in range(len(logits))]
        common = (terms, 0.3, normalisation)
        if len(views) == 4:
            values.append(terms_of_pairs(*views, y[g, :n], alpha[0, g], alpha[1, g], *common))
        else:
            values.append(terms_of_single(*views, y[g, :n], alpha[0, g], *common))
    return {term: torch.stack([value[term] for value in values]) for term in values[0]}


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("sizes", [(5, 5, 5), (7, 1, 4), (8,)], ids=str)
@pytest.mark.parametrize("views", [4, 2])
def test_every_row_of_table_5_and_its_gradients(views, sizes, normalisation):
    for terms in (row.split("+") for row in ROWS):
        logits, z, y, alpha = made_up(views, sizes)
        expected = one_by_one(logits, z, y, sizes, alpha, terms, NORMALISATIONS[normalisation])
        weights = torch.rand(len(sizes), generator=torch.Generator().manual_seed(1))
        wanted = (logits, z)
        total = sum((loss * weights).sum() for loss in expected.values())
        gradients = torch.autograd.grad(total, wanted, allow_unused=True)
        got = terms_of_groups(
            logits, F.normalize(z, dim=-1), y, torch.tensor(sizes), alpha, terms, 0.3, NORMALISATIONS[normalisation]
        )
        assert list(got) == list(expected)
        for term, loss in got.items():
            torch.testing.assert_close(loss, expected[term], rtol=1e-5, atol=1e-6)
        again = torch.autograd.grad(sum((loss * weights).sum() for loss in got.values()), wanted, allow_unused=True)
        for one, other in zip(gradients, again, strict=True):
            if one is None:
                assert other is None or not other.any()
            else:
                torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


def test_what_is_behind_the_end_of_a_group_counts_nowhere():
    sizes = (3, 6)
    logits, z, y, alpha = made_up(4, sizes)
    real = torch.arange(6) < torch.tensor(sizes)[:, None]
    others = [torch.where(real[..., None], tensor, 17 * torch.rand_like(tensor)) for tensor in (logits, z)]
    for row in ROWS:
        common = (torch.tensor(sizes), alpha, row.split("+"), 0.3)
        one = terms_of_groups(logits, z, y, *common)
        other = terms_of_groups(*others, torch.where(real, y, 2 - y), *common)
        for term, loss in one.items():
            torch.testing.assert_close(other[term], loss)


def test_half_precision_is_computed_in_single():
    logits, z, y, alpha = made_up(4, (6, 6))
    common = (y, torch.tensor([6, 6]), alpha, ["ce", "mu", "sc", "musc"], 0.3)
    half = terms_of_groups(logits.bfloat16(), z.bfloat16(), *common)
    single = terms_of_groups(logits.bfloat16().float(), z.bfloat16().float(), *common)
    assert all(torch.equal(half[term], single[term]) for term in single)
