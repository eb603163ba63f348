"""From data-bin to batches: every row once, new company in every epoch, language by language."""

from collections import Counter

import numpy as np
import pytest
import tiny

from fairseq_musc.data.databin import DataBinInfo, TokenRows, open_corpus
from fairseq_musc.data.pairs import AlignedPairs, LanguageGroup, joined_views, padded
from fairseq_musc.errors import InputError


def dataset(world, shuffle=True, seed=1, languages=("de", "fr")):
    info = DataBinInfo.load(world.data)
    source = open_corpus(world.data, "S_trn", "en")
    groups = [LanguageGroup(xx, [source, open_corpus(world.data, "T_trn_MT", xx)]) for xx in languages]
    return AlignedPairs(groups, info.pad, info.token_types, shuffle, seed)


def batches(pairs, epoch=1, size=8):
    pairs.set_epoch(epoch)
    return pairs.batch_by_size(pairs.ordered_indices(), max_sentences=size, required_batch_size_multiple=8)


@pytest.mark.parametrize("size", [1, 8, 32, 37, 40, 1000])
def test_every_row_is_in_exactly_one_batch(world, size):
    pairs = dataset(world)
    made = batches(pairs, size=size)
    assert Counter(np.concatenate(made).tolist()) == Counter(range(74))
    assert len(made) == -(-37 // size)
    for batch in made[:-1]:
        assert [pairs.group_of(i) for i in batch] == [0] * size + [1] * size


def test_batches_are_composed_anew_in_every_epoch_and_from_the_seed_alone(world):
    companies = [
        {frozenset(batch.tolist()) for batch in batches(dataset(world, seed=seed), epoch)}
        for seed, epoch in [(1, 1), (1, 2), (2, 1), (1, 1)]
    ]
    assert companies[0] == companies[3]
    assert not companies[0] & companies[1]
    assert not companies[0] & companies[2]


def test_the_english_side_is_drawn_for_each_language_on_its_own(world):
    batch = batches(dataset(world))[0]
    assert set(batch[:8].tolist()) != {i - 37 for i in batch[8:].tolist()}


def test_shorter_languages_end_sooner(tmp_path):
    tiny.make_corpora(tmp_path / "short", train=5)
    tiny.make_corpora(tmp_path / "long", train=20)
    tiny.make_encoder(tmp_path / "encoder")
    groups = []
    for name, language in (("long", "de"), ("short", "fr")):
        data = tmp_path / f"{name}-bin"
        tiny.binarize(tmp_path / name, data, tmp_path / "encoder")
        groups.append(LanguageGroup(language, [open_corpus(data, "T_trn_MT", language)]))
    pairs = AlignedPairs(groups, 0, True, shuffle=True, seed=1)
    made = batches(pairs, size=4)
    assert [len(batch) for batch in made] == [8, 5, 4, 4, 4]
    collated = [pairs.collater([pairs[i] for i in batch]) for batch in made]
    assert [batch["groups"] for batch in collated] == [[(0, 4), (1, 4)], [(0, 4), (1, 1)], *[[(0, 4)]] * 3]


def test_the_batch_holds_what_its_contract_says(world):
    pairs = dataset(world)
    batch = pairs.collater([pairs[i] for i in batches(pairs)[0]])
    assert batch["groups"] == [(0, 8), (1, 8)]
    assert batch["nsentences"] == 16
    source, target = batch["views"]
    for position, row in enumerate(batch["rows"].tolist()):
        language = "de" if row < 37 else "fr"
        corpus = open_corpus(world.data, "T_trn_MT", language)
        expected = corpus.tokens[row % 37].tolist()
        length = len(expected)
        assert target["input_ids"][position, :length].tolist() == expected
        assert target["input_ids"][position, length:].tolist() == [0] * (target["input_ids"].shape[1] - length)
        assert target["attention_mask"][position].tolist() == [1] * length + [0] * (
            len(target["input_ids"][0]) - length
        )
        assert target["token_type_ids"][position].sum() == length - corpus.first_lengths[row % 37]
        assert batch["labels"][position] == corpus.labels[row % 37]
        assert pairs.row_name(row) == f"{language}:t{row % 37}"
    english = open_corpus(world.data, "S_trn", "en")
    longest = max(len(english.tokens[row % 37]) for row in batch["rows"].tolist())
    assert source["input_ids"].shape == (16, longest)
    assert batch["ntokens"] == int(source["attention_mask"].sum() + target["attention_mask"].sum())


def test_no_rows_are_no_batch(world):
    assert dataset(world).collater([]) == {}


def test_joined_views_are_padded_to_the_longest():
    rows = [TokenRows(*map(np.array, row)) for row in (([5, 6], [2], [1]), ([7, 8, 7], [3], [3]))]
    views = [padded(row, pad=9) for row in rows]
    joined = joined_views(views, pad=9)
    assert joined["input_ids"].tolist() == [[5, 6, 9], [7, 8, 7]]
    assert joined["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert joined["token_type_ids"].tolist() == [[0, 1, 0], [0, 0, 0]]


def test_max_tokens_and_a_missing_batch_size_are_refused(world):
    pairs = dataset(world)
    with pytest.raises(InputError, match="max_tokens is 4096"):
        pairs.batch_by_size(pairs.ordered_indices(), max_tokens=4096, max_sentences=8)
    with pytest.raises(InputError, match="batch_size is None"):
        pairs.batch_by_size(pairs.ordered_indices())


def test_validation_comes_by_length(world):
    pairs = dataset(world, shuffle=False)
    lengths = [pairs.num_tokens(i) for i in pairs.ordered_indices()[:37]]
    assert lengths == sorted(lengths)
