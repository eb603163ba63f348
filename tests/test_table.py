"""The predictions table: what is written comes back bit by bit, and what is wrong or damaged is found."""

from dataclasses import replace

import numpy as np
import pytest

from fairseq_musc.data.corpus import Corpus, Row, read_corpus, write_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import (
    Predictions,
    Signature,
    accuracy,
    list_predictions,
    read_predictions,
    write_predictions,
)

SIGNATURE = Signature(
    dataset="pawsx",
    corpus="S_tst_MT",
    language="de",
    labels=("0", "1"),
    checkpoint="checkpoint_best.pt",
    checkpoint_sha256="ab" * 32,
    update=300,
    seed=1,
    version="0.1.0",
    translator="m2m_100 418M",
)


def predictions(probabilities, labels, ids=None, signature=SIGNATURE):
    ids = ids or [str(i) for i in range(1, len(labels) + 1)]
    return Predictions(signature, ids, np.array(labels), np.array(probabilities, dtype=np.float64))


def random_predictions(rows, classes, labels):
    """Softmax in 32-bit floats, as a model gives it."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=5, size=(rows, classes)).astype(np.float32)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    signature = replace(SIGNATURE, labels=labels)
    return predictions(e / e.sum(axis=1, keepdims=True), generator.integers(classes, size=rows), signature=signature)


def refused(tmp_path, wrong):
    """The message of a table that is refused and leaves nothing behind."""
    with pytest.raises(InputError) as error:
        write_predictions(tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []
    return str(error.value)


def test_a_tiny_table_to_the_letter(tmp_path):
    given = predictions([[0.25, 0.75], [1.0, 0.0], [1e-09, 1 - 1e-09]], [1, 0, 0], ids=["7", "a\tb", "9"])
    path = write_predictions(tmp_path, given)
    assert path.read_text(encoding="utf-8") == (
        "id\tlanguage\tcorpus\tlabel\tp_0\tp_1\n"
        "7\tde\tS_tst_MT\t1\t0.25\t0.75\n"
        "a\\tb\tde\tS_tst_MT\t0\t1.0\t0.0\n"
        "9\tde\tS_tst_MT\t0\t1e-09\t0.999999999\n"
    )
    assert read_predictions(tmp_path, "S_tst_MT", "de").ids == ["7", "a\tb", "9"]


@pytest.mark.parametrize(("rows", "labels"), [(37, ("0", "1")), (40, ("neutral", "entailment", "p\ta"))])
def test_a_table_comes_back_bit_by_bit(tmp_path, rows, labels):
    given = random_predictions(rows, len(labels), labels)
    write_predictions(tmp_path, given)
    back = read_predictions(tmp_path, "S_tst_MT", "de")
    assert back.signature == given.signature
    assert back.ids == given.ids
    assert back.labels.tolist() == given.labels.tolist()
    assert back.probabilities.dtype == np.float64
    assert back.probabilities.tobytes() == given.probabilities.tobytes()
    assert list_predictions(tmp_path) == [("S_tst_MT", "de")]


def test_accuracy_by_hand():
    # right, wrong, wrong, right
    assert accuracy(predictions([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.0, 1.0]], [0, 1, 0, 1])) == 0.5
    assert accuracy(predictions([[0.3, 0.7]] * 3, [1, 1, 0])) == 2 / 3


def test_of_equally_probable_classes_the_lower_counts():
    assert accuracy(predictions([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], [0, 0, 1])) == 2 / 3


def test_any_flipped_bit_in_the_rows_is_found(tmp_path):
    path = write_predictions(tmp_path, predictions([[0.25, 0.75], [0.5, 0.5]], [1, 0]))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"changed since|holds . rows"):
            read_predictions(tmp_path, "S_tst_MT", "de")
    path.write_bytes(whole)
    assert accuracy(read_predictions(tmp_path, "S_tst_MT", "de")) == 1


def test_a_table_cut_short_is_said_with_both_numbers(tmp_path):
    path = write_predictions(tmp_path, random_predictions(37, 2, ("0", "1")))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-5]))
    with pytest.raises(InputError, match=r"holds 32 rows, S_tst_MT\.de\.json counted 37"):
        read_predictions(tmp_path, "S_tst_MT", "de")


def test_rows_without_a_signature_are_not_there(tmp_path):
    path = write_predictions(tmp_path, predictions([[0.5, 0.5]], [0]))
    write_predictions(tmp_path, predictions([[0.5, 0.5]], [0], signature=replace(SIGNATURE, corpus="Ens")))
    path.with_suffix(".json").unlink()
    assert list_predictions(tmp_path) == [("Ens", "de")]
    with pytest.raises(InputError, match=r"no predictions S_tst_MT\.de; there is Ens\.de"):
        read_predictions(tmp_path, "S_tst_MT", "de")


def test_every_kind_of_wrong_row_is_named(tmp_path):
    probabilities = [[0.5, 0.5], [float("nan"), 0.5], [0.5, 0.4], [0.5, 0.5], [1.5, -0.5], [float("inf"), 0.0]]
    message = refused(tmp_path, predictions(probabilities, [0, 1, 1, 2, 0, 1], ids=["a", "b", "c", "d", "e", "a"]))
    assert "row 2 (id 'b'): nan, 0.5 are not finite" in message
    assert "row 3 (id 'c'): 0.5, 0.4 are not probabilities" in message
    assert "sum up to 1 (2 such rows)" in message
    assert "row 4 (id 'd'): 2 is not a class; there are 2" in message
    assert "row 6 (id 'a'): 'a' is an id that stands twice (1 such rows)" in message


@pytest.mark.parametrize(("off", "is_refused"), [(0.9e-4, False), (1.1e-4, True)])
def test_how_far_a_sum_may_be_from_one(tmp_path, off, is_refused):
    given = predictions([[0.5, 0.5], [0.5, 0.5 - off]], [0, 1])
    if is_refused:
        assert "row 2 (id '2')" in refused(tmp_path, given)
    else:
        write_predictions(tmp_path, given)


def test_shapes_that_do_not_go_together_are_refused(tmp_path):
    assert "(2, 2), got (2,) and (2, 3)" in refused(tmp_path, predictions([[0.5, 0.25, 0.25]] * 2, [0, 1]))
    assert "no rows" in refused(tmp_path, predictions(np.zeros((0, 2)), np.zeros(0, dtype=int)))


def test_predictions_do_not_replace_the_corpus_they_are_on(tmp_path):
    corpus = Corpus("S_tst_MT", "de", "en", "pawsx", ("0", "1"), [Row("1", "0", "a", "b")])
    write_corpus(tmp_path, corpus)
    with pytest.raises(InputError, match="is a corpus, which the predictions would replace"):
        write_predictions(tmp_path, predictions([[0.5, 0.5]], [0]))
    assert read_corpus(tmp_path, "S_tst_MT", "de") == corpus
    with pytest.raises(InputError, match="about something else than predictions: it has no signature; name a folder"):
        read_predictions(tmp_path, "S_tst_MT", "de")


def test_an_unknown_corpus_is_refused_with_the_names(tmp_path):
    with pytest.raises(InputError, match=r"'T_test'.*T_tst, S_tst_MT, Ens_val, Ens, Ens_w"):
        read_predictions(tmp_path, "T_test", "de")
