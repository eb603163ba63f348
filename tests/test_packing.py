"""How rows are laid end to end, and attention over them."""

import numpy as np
import pytest
import torch

from fairseq_musc.data.databin import TokenRows
from fairseq_musc.errors import InputError
from fairseq_musc.models import attention
from fairseq_musc.models import packed as packed_models
from fairseq_musc.models.attention import Spans
from fairseq_musc.packing import packed, rows_for_encoder


def rows(*texts, first=1):
    ids = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts])
    lengths = np.array([len(text) for text in texts])
    return TokenRows(ids, lengths, np.full(len(texts), first))


def test_the_layout_of_two_blocks_written_out():
    blocks = [rows([11, 12], [21, 22, 23], first=2), rows([31])]
    layout = packed(blocks, pad=9, alphas=[4, 7])
    assert (layout["plain_tokens"], layout["plain_rows"], layout["longest"]) == (6, 3, 3)
    assert layout["input_ids"].tolist() == [11, 12, 21, 22, 23, 31, 9, 9, 9]
    assert layout["positions"].tolist() == [0, 1, 0, 1, 2, 0, 0, 1, 2]
    assert layout["token_type_ids"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert layout["cu_seqlens"].tolist() == [0, 2, 5, 6, 9, 12, 13]
    # The first two rows meet, both with three tokens: the first ends with the padding token of position 2. The third
    # row is alone in its block, and meets itself.
    assert layout["mixed_source"].tolist() == [0, 1, 8, 2, 3, 4, 5]
    assert layout["mixed_partner"].tolist() == [3, 4, 5, 0, 1, 2, 6]
    assert layout["mixed_alpha"].tolist() == [4, 4, 4, 4, 4, 4, 7]
    plain = rows_for_encoder(layout, None)
    assert plain.input_ids.tolist() == [11, 12, 21, 22, 23, 31]
    assert plain.cu_seqlens.tolist() == [0, 2, 5, 6]
    assert plain.mixed is None
    mixed = rows_for_encoder(layout, torch.arange(8.0)).mixed
    assert mixed.alpha.tolist() == [4, 4, 4, 4, 4, 4, 7]
    one_hot = torch.eye(7)
    assert torch.equal(mixed.mix(one_hot)[0], 4 * one_hot[0] - 3 * one_hot[3])


@pytest.fixture
def ragged():
    """q, k and v of rows of 3, 1 and 6 tokens, with 2 heads of width 4."""
    torch.manual_seed(0)
    cu_seqlens = torch.tensor([0, 3, 4, 10], dtype=torch.int32)
    return (*torch.randn(3, 10, 2, 4, dtype=torch.float64).unbind(0), Spans(cu_seqlens, 6, 10))


def by_hand(q, k, v):
    """One row, one head."""
    return torch.stack([((k @ one) / len(one) ** 0.5).softmax(0) @ v for one in q])


def test_every_row_attends_to_itself_alone(ragged):
    q, k, v, of_all = ragged
    got = attention.padded(q, k, v, of_all, of_all, 0.0)
    first = Spans.of_ones(3, torch.device("cpu"))
    of_first = attention.padded(q[[0, 3, 4]], k, v, first, of_all, 0.0)
    for r, (start, end) in enumerate([(0, 3), (3, 4), (4, 10)]):
        for head in range(2):
            expected = by_hand(q[start:end, head], k[start:end, head], v[start:end, head])
            torch.testing.assert_close(got[start:end, head], expected)
            torch.testing.assert_close(of_first[r, head], expected[0])


def test_the_kernels_of_torch_take_these_arguments_and_have_gradients():
    """Without a GPU the kernels cannot run, but torch checks their arguments and the shapes of gradients."""
    cu_seqlens = torch.zeros(4, dtype=torch.int32, device="meta")
    for kernel, dtype in ((attention.flash, torch.bfloat16), (attention.efficient, torch.float32)):
        q, k, v = (torch.empty(10, 2, 64, dtype=dtype, device="meta", requires_grad=True) for _ in range(3))
        value = kernel(q, k, v, Spans(cu_seqlens, 6, 10), Spans(cu_seqlens, 6, 10), 0.1)
        assert value.shape == q.shape
        value.sum().backward()
        assert q.grad.shape == k.grad.shape == v.grad.shape == q.shape


def with_another_mask_back(q, k, v, of_q, of_k, dropout):
    """Forward as it should be; the gradient is that of another draw."""
    one = attention.padded(q, k, v, of_q, of_k, dropout)
    return one.detach() + (other := attention.padded(q, k, v, of_q, of_k, dropout)) - other.detach()


def without_last_key(q, k, v, of_q, of_k, dropout):
    return attention.padded(q, k, torch.cat([v[:-1], 0 * v[-1:]]), of_q, of_k, dropout)


def without_dropout(q, k, v, of_q, of_k, dropout):
    return attention.padded(q, k, v, of_q, of_k, 0.0)


def with_dropout_that_shrinks(q, k, v, of_q, of_k, dropout):
    return attention.padded(q, k, v, of_q, of_k, dropout) * (1 - dropout)


def test_a_kernel_is_held_to_the_reference_before_it_is_used():
    where = (torch.device("cpu"), torch.float32, 2, 8)
    torch.manual_seed(0)
    attention.check(attention.PADDED, *where)
    for wrong in (without_last_key, without_dropout, with_dropout_that_shrinks, with_another_mask_back):
        with pytest.raises(ArithmeticError):
            attention.check(attention.of_three(wrong), *where)


def test_a_cpu_takes_the_padded_way():
    where = (torch.device("cpu"), torch.bfloat16, 2, 8)
    assert attention.attention_for(*where) is attention.PADDED
    assert attention.attention_for(*where, "padded") is attention.PADDED
    with pytest.raises(InputError, match=r"model\.attention=flash cannot be used for torch\.bfloat16 on cpu"):
        attention.attention_for(*where, "flash")


def behind_with(**changes):
    """What lies behind attention, with one thing wrong."""

    def behind(x, attended, w, activation, dropout, eps):
        values = {
            "w": w,
            "dropout": dropout,
            "eps": eps,
            **{key: change(w, dropout) for key, change in changes.items()},
        }
        return packed_models.behind_attention(x, attended, values["w"], activation, values["dropout"], values["eps"])

    return behind


def test_the_fused_way_behind_attention_is_held_to_the_plain_one():
    where = (torch.device("cpu"), torch.float32, 16)
    torch.manual_seed(0)
    packed_models.check_fused(packed_models.behind_attention, *where)
    for wrong in (
        behind_with(w=lambda w, p: w._replace(norm1=w.norm2)),
        behind_with(w=lambda w, p: w._replace(up_bias=w.up_bias.detach())),
        behind_with(dropout=lambda w, p: 0.0),
        behind_with(dropout=lambda w, p: 2 * p),
    ):
        with pytest.raises((ArithmeticError, RuntimeError)):
            packed_models.check_fused(wrong, *where)
    assert not packed_models.fused_is_right(*where)
