"""Triton's kernels against the same functions in plain torch, in Triton's interpreter: no GPU is needed.

``tests/test_triton_kernels.py`` runs this file in a process of its own, since Triton decides whether it interprets when
it is first imported. ``tests/test_gpu.py`` does so with ``TRITON_INTERPRET=0``: then the kernels run on the GPU.
"""

import os

import pytest
import torch
from test_beam_search import PREFIX, assert_same, by_fairseq, random_model, random_sentences

from fairseq_musc.translate import torch_kernels, triton_kernels
from fairseq_musc.translate.beam_search import BeamSearch, Limits
from fairseq_musc.translate.torch_kernels import Norm

ON_A_GPU = os.environ.get("TRITON_INTERPRET") == "0"
#: No bfloat16: the interpreter cuts what a GPU rounds. A GPU takes exponentials to a few units less than a CPU.
TOLERANCE = {torch.float32: 2e-5 if ON_A_GPU else 2e-6, torch.float16: 4e-3 if ON_A_GPU else 2e-3}


@pytest.fixture(autouse=ON_A_GPU)
def everything_on_the_gpu():
    with torch.device("cuda"):
        yield


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("beam", [1, 5])
def test_attention_over_ancestors_and_source(dtype, beam):
    torch.manual_seed(0)
    n, slots, heads, d, times, sources = 3, 4, 2, 16, 21, 37
    steps, lengths = torch.tensor([0, 13, 20]), torch.tensor([37, 1, 20])
    ancestors = torch.randint(0, beam, (n, beam, times), dtype=torch.uint8)
    memory, source = torch.randn(2, slots, heads, times * beam, d), torch.randn(2, slots, heads, sources, d)
    memory, source = memory.to(dtype), source.to(dtype)
    qkv = torch.randn(n * beam, 3 * heads * d).to(dtype)
    masks = torch_kernels.masks(ancestors, steps, lengths, times, sources, dtype)
    expected_memory = memory.clone()
    expected = torch_kernels.self_attention(qkv, expected_memory, ancestors, steps, masks)
    found = triton_kernels.self_attention(qkv, memory, ancestors, steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype])
    assert torch.equal(memory, expected_memory)

    q = qkv[:, : heads * d].contiguous()
    expected = torch_kernels.cross_attention(q, source, lengths, masks, beam)
    found = triton_kernels.cross_attention(q, source, lengths, None, beam)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_adding_and_normalising(dtype):
    torch.manual_seed(0)
    residual, update = torch.randn(5, 48).to(dtype), torch.randn(5, 48).to(dtype)
    norm = Norm(torch.randn(48).to(dtype), torch.randn(48).to(dtype), 1e-5)
    expected_residual = residual.clone()
    expected = torch_kernels.add_norm(expected_residual, update, norm)
    torch.testing.assert_close(
        triton_kernels.add_norm(residual, update, norm), expected, rtol=0, atol=2 * TOLERANCE[dtype]
    )
    assert torch.equal(residual, expected_residual)


@pytest.mark.parametrize("words", [12, 40, 129, 4096, 5003])
def test_the_best_words_and_the_sum(words):
    torch.manual_seed(words)
    logits = 3 * torch.randn(3, words)
    logits[0, 5] = -torch.inf
    values, best, total = triton_kernels.top_words(logits, 12)
    expected, where = logits.topk(12)
    torch.testing.assert_close(values.sort(descending=True).values, expected)
    finite = values > -torch.inf
    assert torch.equal(logits.gather(1, best)[finite], values[finite])
    if words > 12:
        assert torch.equal(best.sort().values, where.sort().values)
    torch.testing.assert_close(total, logits.logsumexp(-1))


def test_the_whole_search():
    model, sentences = random_model(4, dim=32, eos_bias=4.0), random_sentences(4, [6, 5])
    options = {"beam_size": 3, "max_len_b": 7}
    searcher = BeamSearch(model, Limits(**options), longest=6, slots=3, kernels=triton_kernels)
    (found,) = searcher.search_batches([sentences], PREFIX)
    assert_same(found, by_fairseq(model, sentences, **options))


def test_models_that_the_kernels_do_not_fit():
    problems = triton_kernels.problems(2, 24, 20, torch.device("cpu"))
    assert "heads of width 12" in problems[1] and "a beam of 20" in problems[0]
