"""Working ahead in a thread: order, errors, and an end to the thread."""

import threading

import pytest

from fairseq_musc.translate.ahead import ahead


def test_all_items_come_in_order():
    assert list(ahead(range(100), 3)) == list(range(100))
    assert list(ahead([], 1)) == []


def test_items_are_made_before_they_are_asked_for_but_not_too_many():
    made, third = [], threading.Event()

    def items():
        for i in range(10):
            made.append(i)
            if i == 3:
                third.set()
            yield i

    running = ahead(items(), 2)
    assert next(running) == 0
    assert third.wait(10), "one in hand, two that wait, and one that has no room"
    assert made == [0, 1, 2, 3]
    assert list(running) == list(range(1, 10))


def test_an_error_comes_where_it_happened():
    def items():
        yield 1
        raise KeyError("gone")

    running = ahead(items(), 5)
    assert next(running) == 1
    with pytest.raises(KeyError, match="gone"):
        next(running)


def test_leaving_in_the_middle_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    running = ahead(items(), 1)
    next(running)
    running.close()
    assert closed.is_set()
    assert threading.active_count() == before
