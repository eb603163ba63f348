"""Which rows belong together, and which are taken: worked by hand, and held against plainer ways."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.data.align import NOWHERE, Keys, balanced, match, text_key


def test_rows_in_another_order_find_their_partners():
    found = match(Keys(["a", "b", "c"]), Keys(["c", "x", "a"]))
    assert [*found.order] == [2, NOWHERE, 0]
    assert [*found.extra] == [1]


def test_equal_rows_are_matched_in_order_of_occurrence():
    found = match(Keys(["a", "b", "a", "a"]), Keys(["a", "a", "b", "a", "a"]))
    assert [*found.order] == [0, 2, 1, 3]
    assert [*found.extra] == [4]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abcd")))
def test_as_many_partners_as_both_files_have(first, second):
    found = match(Keys(first), Keys(second))
    pairs = [(first[place], second[partner]) for place, partner in enumerate(found.order) if partner != NOWHERE]
    assert all(a == b for a, b in pairs)
    assert Counter(a for a, _ in pairs) == Counter(first) & Counter(second)
    partners = [partner for partner in found.order if partner != NOWHERE]
    assert sorted([*partners, *found.extra]) == [*range(len(second))]


def test_spaces_do_not_make_another_text_but_labels_and_borders_do():
    assert text_key([" a  b", "c"], "1") == text_key(["a b", "c\r"], "1")
    assert len({text_key(*key) for key in [(["a b", "c"], "1"), (["a", "b c"], "1"), (["a b", "c"], "0")]}) == 3


def test_a_file_that_is_sorted_by_class_gives_of_each_class():
    labels = ["0"] * 6 + ["1"] * 4
    assert balanced(range(10), labels, 4) == [0, 1, 6, 7]
    assert balanced(range(10), labels, 4, from_end=True) == [4, 5, 8, 9]
    assert balanced(range(10), labels, 5) == [0, 1, 2, 6, 7]  # the odd one is of the first class
    assert balanced(range(10), labels, 9) == [0, 1, 2, 3, 4, 6, 7, 8, 9]  # one class is used up
    assert balanced(range(10), labels, 99) == [*range(10)]


def test_places_that_are_not_there_are_not_taken():
    assert balanced([1, 4, 5, 8], ["0", "0", "1", "1"], 2, from_end=True) == [4, 8]


def test_a_rare_class_is_not_held_out_whole():
    labels = ["0"] * 20 + ["1"] * 4 + ["2"]
    assert balanced(range(25), labels, 8, from_end=True) == [*range(14, 20), 22, 23]
    assert balanced(range(25), labels, 13, from_end=True) == [
        *range(9, 20),
        22,
        23,
    ]  # of the common one beyond its half
    assert balanced(range(25), labels, 22, from_end=True) == [*range(1, 20), 21, 22, 23]  # and one of each is left
    assert balanced(range(25), labels, 23, from_end=True) == [*range(20), 21, 22, 23]


LABELS = st.lists(st.sampled_from("012"), min_size=1)


@given(LABELS, st.integers(1, 30))
def test_no_class_gives_two_more_than_another_that_has_rows_left(labels, count):
    taken = balanced(range(len(labels)), labels, count)
    assert taken == sorted(set(taken))
    assert len(taken) == min(count, len(labels))
    there, given = Counter(labels), Counter(labels[place] for place in taken)
    for label in there:
        own = [place for place in range(len(labels)) if labels[place] == label]
        ours = [place for place in taken if labels[place] == label]
        assert ours == own[: len(ours)]
        assert given[label] == there[label] or given[label] >= max(given.values()) - 1


@given(LABELS, st.integers(1, 30))
def test_what_is_held_out_leaves_rows_of_each_class_as_long_as_it_can(labels, count):
    taken = balanced(range(len(labels)), labels, count, from_end=True)
    assert taken == sorted(set(taken))
    assert len(taken) == min(count, len(labels))
    there, given = Counter(labels), Counter(labels[place] for place in taken)
    halves = {label: rows // 2 for label, rows in there.items()}
    for label, rows in there.items():
        own = [place for place in range(len(labels)) if labels[place] == label]
        ours = [place for place in taken if labels[place] == label]
        assert ours == own[rows - len(ours) :]
        if count <= len(labels) - len(there):
            assert given[label] < rows  # one is left to train on
        if count <= sum(halves.values()):
            assert given[label] == halves[label] or max(given.values()) - 1 <= given[label] < halves[label]
