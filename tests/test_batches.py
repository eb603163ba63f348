"""Batches of like length, and every sentence answered in its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.translate.batches import LEAST, batches_by_length, translate_sentences
from fairseq_musc.translate.engine import Device, Hypothesis


class Reversing:
    """An engine that turns sentences round; ``spoil`` may change what it says of a batch."""

    def __init__(self, spoil=lambda hypotheses: hypotheses, leave_out=0):
        self.seen, self.spoil, self.leave_out = [], spoil, leave_out

    def lengths(self, sentences):
        return [len(sentence) for sentence in sentences]

    def translate(self, batches, source_lang, target_lang):
        batches = list(batches)  # as far ahead as an engine may work
        for batch in batches[: len(batches) - self.leave_out]:
            self.seen.append(list(batch))
            direction = f"{source_lang}-{target_lang}:"
            yield self.spoil([[Hypothesis(direction + text[::-1], -1.0), Hypothesis("", -2.0)] for text in batch])


def test_batches_are_full_and_sorted():
    lengths = [20, 1, 50, 20, 40, 3]
    assert batches_by_length(lengths, 100) == [[2, 4], [0, 3, 5, 1]]
    assert batches_by_length(lengths, 5 * LEAST) == [[2], [4, 0], [3, 5, 1]]
    assert batches_by_length([1] * 9, 4 * LEAST) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert batches_by_length([], 100) == []


@given(st.lists(st.integers(1, 300)), st.integers(1, 2000))
def test_every_sentence_is_in_one_batch_and_no_batch_is_too_large(lengths, batch_tokens):
    batches = batches_by_length(lengths, batch_tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= batch_tokens
    order = [lengths[i] for batch in batches for i in batch]
    assert order == sorted(lengths, reverse=True)


@given(st.lists(st.text(min_size=1)), st.integers(1, 100))
def test_every_sentence_gets_its_own_hypotheses(sentences, batch_tokens):
    done = []
    engine = Reversing()
    made = translate_sentences(sentences, engine, "en", "de", Device(batch_tokens), done.append)
    assert [[h.text for h in of_sentence] for of_sentence in made] == [[f"en-de:{s[::-1]}", ""] for s in sentences]
    assert sum(done) == len(sentences)
    assert len(done) == len(engine.seen)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Reversing(lambda hypotheses: hypotheses[:-1]), "shorter"),
        (Reversing(lambda hypotheses: hypotheses * 2), "longer"),
        (Reversing(lambda hypotheses: [[] for _ in hypotheses]), "no translation of 4 of 4"),
        (Reversing(leave_out=1), "shorter"),
    ],
)
def test_an_engine_that_does_not_answer_every_sentence_is_stopped(engine, message):
    with pytest.raises(ValueError, match=message):
        translate_sentences(["aaa", "bb", "cc", "d"], engine, "en", "de", Device(2 * LEAST))
