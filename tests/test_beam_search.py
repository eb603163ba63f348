"""The fast beam search against fairseq's own SequenceGenerator, on small models with random weights."""

import argparse
import functools
import types

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.sequence_generator import SequenceGenerator

from fairseq_musc.errors import InputError
from fairseq_musc.translate import torch_kernels
from fairseq_musc.translate.beam_search import BeamSearch, Limits, search, step_sizes
from fairseq_musc.translate.transformer_steps import unsupported

PREFIX = 7


@functools.cache
def random_model(seed, words=40, dim=16, heads=2, layers=2, eos_bias=0.0, spread=2.0, **changes):
    """A transformer whose output is not flat (``spread``) and that ends sentences more or less soon (``eos_bias``)."""
    torch.manual_seed(seed)
    dictionary = Dictionary()
    for i in range(words - len(dictionary)):
        dictionary.add_symbol(f"w{i}")
    sizes = {"embed_dim": dim, "ffn_embed_dim": 2 * dim, "layers": layers, "attention_heads": heads}
    sizes["normalize_before"] = True
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sizes.items()}
    arguments = argparse.Namespace(
        **{**sides, "share_all_embeddings": True, "max_source_positions": 64, "max_target_positions": 64, **changes}
    )
    base_architecture(arguments)
    task = types.SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model = TransformerModel.build_model(arguments, task).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # biases and gains that are neither 0 nor 1
            parameter.data += 0.1 * torch.randn_like(parameter)
    if model.decoder.layer_norm is not None:
        model.decoder.layer_norm.weight.data *= spread
    if eos_bias:
        # along one direction that every state has through the bias of the last normalisation
        direction = torch.nn.functional.normalize(torch.randn(dim), dim=0)
        model.decoder.layer_norm.bias.data = direction * 3
        model.decoder.embed_tokens.weight.data[dictionary.eos()] += direction * eos_bias / 3
    return model


def random_sentences(seed, lengths, words=40):
    generator = torch.Generator().manual_seed(seed)
    return [[*torch.randint(4, words, (n - 1,), generator=generator).tolist(), 2] for n in lengths]


def by_fairseq(model, sentences, prefix=PREFIX, left_pad=True, **options):
    dictionary = model.decoder.dictionary
    generator = SequenceGenerator([model], dictionary, **options)
    longest = max(map(len, sentences))
    pads = [[dictionary.pad()] * (longest - len(tokens)) for tokens in sentences]
    rows = [pad + list(row) if left_pad else list(row) + pad for pad, row in zip(pads, sentences, strict=True)]
    sample = {
        "net_input": {"src_tokens": torch.tensor(rows), "src_lengths": torch.tensor([len(row) for row in sentences])}
    }
    prefixes = None if prefix is None else torch.full((len(sentences), 1), prefix)
    found = generator.generate([model], sample, prefix_tokens=prefixes)
    return [[(hypothesis["tokens"].tolist(), float(hypothesis["score"])) for hypothesis in one] for one in found]


def assert_same(found, expected):
    assert [[tokens for tokens, _ in one] for one in found] == [[tokens for tokens, _ in one] for one in expected]
    scores = [[torch.tensor([score for _, score in one]) for one in each] for each in (found, expected)]
    for one, other in zip(*scores, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def fast(model, batches, prefix=PREFIX, slots=64, kernels="torch", **options):
    names = {"beam_size", "max_len_a", "max_len_b", "min_len", "normalize_scores", "len_penalty"}
    limits = Limits(**{name: value for name, value in options.items() if name in names})
    longest = max(len(tokens) for batch in batches for tokens in batch)
    searcher = BeamSearch(model, limits, longest=longest, slots=slots, kernels=kernels)
    return list(searcher.search_batches(batches, prefix))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("eos_bias", [0.0, 4.0, 5.0])
def test_same_hypotheses_and_scores_as_fairseq(seed, beam, eos_bias):
    model = random_model(seed, eos_bias=eos_bias)
    sentences = random_sentences(seed, [9, 9, 7, 5, 3, 1])
    options = {"beam_size": beam, "max_len_b": 20, "min_len": 2}
    expected = by_fairseq(model, sentences, **options)
    assert_same(fast(model, [sentences], **options)[0], expected)


def test_the_models_of_this_test_end_at_different_lengths():
    """Otherwise the tests here would show little."""
    models = [(random_model(seed, eos_bias=4.0), random_sentences(seed, [9, 7, 5, 3])) for seed in range(3)]
    found = [one for model, sentences in models for one in by_fairseq(model, sentences, beam_size=5, max_len_b=20)]
    lengths = [len(tokens) for one in found for tokens, _ in one]
    assert min(lengths) < 6 and max(lengths) == 21 and len(set(lengths)) > 10


@pytest.mark.parametrize(
    "options",
    [
        {"max_len_b": 1},
        {"max_len_b": 2, "min_len": 2},
        {"max_len_b": 12, "min_len": 12},
        {"max_len_a": 1.3, "max_len_b": 2},
        {"max_len_b": 200},  # cut to the model's 64 positions
        {"max_len_b": 15, "len_penalty": 0.3},
        {"max_len_b": 15, "len_penalty": 2.0, "min_len": 6},
        {"max_len_b": 15, "normalize_scores": False},
        {"max_len_b": 15, "prefix": None},
        {"max_len_b": 1, "prefix": None, "min_len": 0},
        {"max_len_b": 0, "prefix": PREFIX, "min_len": 0},
        {"max_len_b": 15, "beam_size": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("eos_bias", [0.0, 4.0])
def test_every_limit_means_what_it_means_in_fairseq(options, eos_bias):
    options = {"beam_size": 4, **options}
    prefix = options.pop("prefix", PREFIX)
    model, sentences = random_model(5, eos_bias=eos_bias), random_sentences(5, [8, 6, 2, 8])
    expected = by_fairseq(model, sentences, prefix, **options)
    assert_same(fast(model, [sentences], prefix, **options)[0], expected)


def test_a_large_vocabulary_is_searched_in_groups(monkeypatch):
    model = random_model(3, words=1511, eos_bias=3.0)
    sentences = random_sentences(3, [8, 8, 6], words=1511)
    expected = by_fairseq(model, sentences, beam_size=5, max_len_b=15)
    monkeypatch.setattr(torch_kernels, "GROUP", 16)
    assert 1511 % 16 and 1511 > 4 * 16 * 12
    assert_same(fast(model, [sentences], beam_size=5, max_len_b=15)[0], expected)


@pytest.mark.parametrize("slots", [1, 3, 16])
@pytest.mark.parametrize("seed", range(2))
def test_batches_come_back_in_order_however_few_slots_there_are(slots, seed):
    model = random_model(seed, eos_bias=4.0)
    batches = [
        random_sentences(10 * seed + i, lengths)
        for i, lengths in enumerate([[9, 8, 8], [], [7], [6, 6, 3, 2, 2], [11, 1]])
    ]
    options = {"beam_size": 3, "max_len_a": 1.5, "max_len_b": 4}
    expected = [by_fairseq(model, batch, **options) if batch else [] for batch in batches]
    for found, wanted in zip(fast(model, batches, slots=slots, **options), expected, strict=True):
        assert_same(found, wanted)


def test_a_search_can_be_used_again_even_if_it_was_left_in_the_middle():
    model = random_model(1, eos_bias=4.0)
    searcher = BeamSearch(model, Limits(beam_size=3, max_len_b=12), longest=9, slots=2, kernels="torch")
    batches = [random_sentences(1, [9, 8]), random_sentences(2, [9, 8])]
    run = searcher.search_batches(batches, PREFIX)
    first = next(run)
    with pytest.raises(RuntimeError, match="another caller"):
        next(searcher.search_batches(batches, PREFIX))
    run.close()
    again = list(searcher.search_batches(batches, PREFIX + 1))
    assert_same(first, by_fairseq(model, batches[0], beam_size=3, max_len_b=12))
    for found, batch in zip(again, batches, strict=True):
        assert_same(found, by_fairseq(model, batch, PREFIX + 1, beam_size=3, max_len_b=12))


def test_only_the_best_hypotheses_that_are_wanted():
    model, sentences = random_model(1, eos_bias=4.0), random_sentences(1, [9, 8, 3])
    searcher = BeamSearch(model, Limits(beam_size=5, max_len_b=12), longest=9, slots=3, nbest=2, kernels="torch")
    (found,) = searcher.search_batches([sentences], PREFIX)
    assert_same(found, [one[:2] for one in by_fairseq(model, sentences, beam_size=5, max_len_b=12)])


def test_no_batch_is_taken_before_there_is_room_for_it():
    model = random_model(1, eos_bias=4.0)
    taken = []

    def batches():
        for i in range(6):
            taken.append(i)
            yield random_sentences(i, [5, 5])

    searcher = BeamSearch(model, Limits(beam_size=2, max_len_b=10), longest=5, slots=2, kernels="torch")
    next(searcher.search_batches(batches(), PREFIX))
    assert len(taken) <= 3


@pytest.mark.parametrize("left_pad", [True, False])
def test_one_batch_padded_on_either_side(left_pad):
    model, sentences = random_model(2, eos_bias=4.0), random_sentences(2, [7, 4, 5])
    rows = [[1] * (7 - len(row)) * left_pad + row + [1] * (7 - len(row)) * (not left_pad) for row in sentences]
    lengths = torch.tensor([7, 4, 5])
    found = search(model, torch.tensor(rows), lengths, PREFIX, Limits(beam_size=3, max_len_b=10))
    assert_same(found, by_fairseq(model, sentences, left_pad=left_pad, beam_size=3, max_len_b=10))
    with pytest.raises(InputError, match="src_lengths"):
        search(model, torch.tensor(rows), lengths + 1, PREFIX)


def test_half_precision_finds_nearly_the_same():
    model, sentences = random_model(2, eos_bias=4.0), random_sentences(2, [7] * 20)
    options = {"beam_size": 3, "max_len_b": 10}
    expected = by_fairseq(model, sentences, **options)
    for dtype in (torch.bfloat16, torch.float16):
        searcher = BeamSearch(model, Limits(**options), longest=7, slots=20, dtype=dtype, kernels="torch")
        (found,) = searcher.search_batches([sentences], PREFIX)
        same = sum(one[0][0] == other[0][0] for one, other in zip(found, expected, strict=True))
        assert same >= 10
        for one, other in zip(found, expected, strict=True):
            assert one[0][1] == pytest.approx(other[0][1], abs=0.15)


def test_a_model_of_another_kind_is_refused_with_what_it_has():
    model = random_model(0, decoder_normalize_before=False, encoder_learned_pos=True)
    with pytest.raises(InputError) as error:
        BeamSearch(model, Limits(), longest=5)
    assert "the decoder does not normalise before" in str(error.value) and "not sinusoidal" in str(error.value)
    assert unsupported(random_model(0)) == []
    model = random_model(0).train()
    assert unsupported(model) == ["it is in training mode"]
    model.eval()
    with pytest.raises(InputError, match="too small for a beam of 20"):
        BeamSearch(random_model(0), Limits(beam_size=20), longest=5)
    with pytest.raises(InputError, match="a beam of 257 is wider than 256"):
        BeamSearch(random_model(0), Limits(beam_size=257), longest=5)


def test_wrong_sentences_and_limits_are_refused():
    model = random_model(0)
    with pytest.raises(InputError, match="from 1 to 5 tokens; this batch has 2 to 6"):
        next(BeamSearch(model, Limits(), longest=5).search_batches([[[4, 2], [4, 4, 4, 4, 4, 2]]]))
    with pytest.raises(InputError, match="min_len 9"):
        BeamSearch(model, Limits(min_len=9, max_len_b=8), longest=5)


def test_numbers_that_overflow_are_said():
    model = random_model(9)
    model.decoder.layer_norm.weight.data *= float("inf")
    with pytest.raises(InputError, match="overflowed"):
        fast(model, [random_sentences(9, [4])], max_len_b=5)


def test_sizes_of_steps_are_few_and_end_with_all_slots():
    assert step_sizes(512)[-3:] == [256, 384, 512] and len(step_sizes(512)) < 15
    assert step_sizes(1) == [1] and step_sizes(100)[-1] == 100
