"""Packed ids and heads hold what lists of them would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.data import heads
from fairseq_musc.data.heads import Head, Heads, Ids

TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=3))


@given(TEXTS, TEXTS)
def test_ids_are_a_sequence_of_what_was_put_in(first, second):
    ids, others = Ids(first), Ids(second)
    assert [*ids] == first
    assert [ids[place] for place in range(-len(first), len(first))] == first + first
    assert ids[1:] == first[1:]
    assert (ids == others) == (first == second)
    assert (ids == second) == (first == second)
    with pytest.raises(IndexError):
        ids[len(first)]


@pytest.mark.parametrize("one_hash", [False, True])
@given(st.lists(st.text("ab", max_size=2)))
def test_repeated_ids_are_those_that_stand_earlier(one_hash, given_ids):
    with pytest.MonkeyPatch.context() as patch:
        if one_hash:
            patch.setattr(heads, "hash", lambda _: 7, raising=False)
        found = Ids(given_ids).repeated()
    assert found == [place for place, id_ in enumerate(given_ids) if id_ in given_ids[:place]]


@pytest.mark.parametrize("count", [2, 1000])
def test_heads_come_back_and_are_shared_where_they_are_the_same(count):
    labels = [f"l{number}" for number in range(count)]
    rows = [Head(2, "a", labels[1]), Head(4, "é", labels[-1])]
    first, second, third = (Heads(labels) for _ in range(3))
    for place, head in enumerate(rows):
        first.append(head)
        second.append(head)
        third.append(head._replace(id=f"{place}"))
    assert [first[0], first[1]] == rows
    assert first.classes.tolist() == [1, count - 1]
    second.share(first)
    third.share(first)
    assert second.ids is first.ids
    assert third.ids is not first.ids
    assert third.lines is first.lines
    assert [third[0].id, third[1].id] == ["0", "1"]
