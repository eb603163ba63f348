"""Who is mixed with whom, and with which weight."""

import pytest
import torch

from fairseq_musc.mixing import Mixing, draw_alpha, mix_within_groups, reversed_in_groups


def test_each_group_is_reversed_on_its_own():
    assert reversed_in_groups([3, 2, 1]).tolist() == [2, 1, 0, 4, 3, 5]
    assert reversed_in_groups([]).tolist() == []


def test_plain_rows_come_back_as_they_are_and_mixed_rows_meet_their_partners():
    """Two views of groups of 2 and 1 rows: 6 plain rows, then 6 mixed ones."""
    alphas = [torch.tensor([0.25, 0.5]), torch.tensor([1.0, 0.0])]
    mixing = mix_within_groups([2, 1], alphas, torch.device("cpu"))
    assert mixing.partner.tolist() == [0, 1, 2, 3, 4, 5, 7, 6, 8, 10, 9, 11]
    assert mixing.alpha.tolist() == [1, 1, 1, 1, 1, 1, 0.25, 0.25, 0.5, 1, 1, 0]
    E = torch.arange(12.0).repeat(2).view(2, 12).T[:, None, :].expand(12, 3, 2)
    mixed = mixing.embeddings(E)[:, 0, 0]
    assert mixed.tolist() == [0, 1, 2, 3, 4, 5, 0.25 * 6 + 0.75 * 7, 0.25 * 7 + 0.75 * 6, 8, 9, 10, 11]


def test_masks_are_united():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    mixing = Mixing(torch.tensor([1, 0, 2]), torch.tensor([0.5, 0.5, 1.0]))
    assert mixing.attention_mask(mask).tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def test_alpha_is_uniform_by_default_and_beta_otherwise():
    torch.manual_seed(0)
    uniform = draw_alpha((4000, 2), beta=1.0)
    assert uniform.shape == (4000, 2)
    assert uniform.min() >= 0 and uniform.max() <= 1
    # moments of Beta(b, b): mean 1/2, variance 1 / (4 (2 b + 1))
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.02)
    assert uniform.var().item() == pytest.approx(1 / 12, abs=0.004)
    assert draw_alpha((8000,), beta=0.2).var().item() == pytest.approx(1 / 5.6, abs=0.005)
    torch.manual_seed(0)
    assert torch.equal(draw_alpha((4000, 2), beta=1.0), uniform)


def test_each_side_and_language_has_an_alpha_of_its_own():
    """Released code: one scalar a batch and side. 2 sides x 6 languages are 12 different draws."""
    torch.manual_seed(1)
    assert len(set(draw_alpha((2, 6), beta=1.0).flatten().tolist())) == 12
