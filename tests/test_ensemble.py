"""The ensemble of translate-all: the mean of probabilities, of tables that go together."""

from dataclasses import replace

import numpy as np
import pytest

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.ensemble import average
from fairseq_musc.evaluate.table import (
    Predictions,
    Signature,
    accuracy,
    list_predictions,
    read_predictions,
    table_sha256,
    write_predictions,
)


def table(corpus, probabilities, classes, language="de", ids=None, **other):
    """A table of two classes: the probabilities of the second class, and the right classes."""
    signature = Signature(
        dataset="pawsx",
        corpus=corpus,
        language=language,
        labels=("0", "1"),
        checkpoint="checkpoint_best.pt",
        checkpoint_sha256="ab" * 32,
        update=300,
        seed=1,
        version="0.1.0",
        translator="m2m_100 418M" if corpus.endswith("_MT") else None,
    )
    second = np.array(probabilities, dtype=np.float64)
    ids = ids or [str(i) for i in range(len(classes))]
    return Predictions(replace(signature, **other), ids, np.array(classes), np.stack([1 - second, second], axis=1))


def ensemble(folder, *options):
    return main(["ensemble", "--predictions", str(folder), *options])


def test_the_mean_by_hand():
    # T is right on rows 1 and 2, S on rows 2 and 3. Together: 0.7 and 0.4 (row 1), 0.9 (row 2), 0.45 and 0.8 (row 3).
    target = table("T_tst", [0.7, 0.9, 0.45], [1, 1, 1])
    source = table("S_tst_MT", [0.4, 0.9, 0.8], [1, 1, 1])
    mean = average([target, source], [0.5, 0.5], "Ens")
    np.testing.assert_allclose(mean.probabilities, [[0.45, 0.55], [0.1, 0.9], [0.375, 0.625]], atol=1e-15)
    assert [accuracy(t) for t in (target, source, mean)] == [2 / 3, 2 / 3, 1.0]
    assert mean.ids == target.ids
    assert mean.labels.tolist() == [1, 1, 1]
    signature = mean.signature
    assert (signature.corpus, signature.language, signature.translator) == ("Ens", "de", "m2m_100 418M")
    assert signature.members == {"T_tst": 0.5, "S_tst_MT": 0.5}
    assert signature.member_sha256 == {"T_tst": table_sha256(target), "S_tst_MT": table_sha256(source)}


def test_probabilities_are_averaged_not_logits():
    """Logits of 0.8, 0.8 and 0.001 are 1.39, 1.39 and -6.91, whose mean would decide for class 0."""
    members = [table("T_tst", [0.8], [1]), table("S_tst_MT", [0.8], [1]), table("T_val", [0.001], [1])]
    mean = average(members, [1 / 3] * 3, "Ens")
    assert mean.probabilities[0, 1] == pytest.approx(1.601 / 3)
    assert accuracy(mean) == 1


def test_weights_are_those_of_their_members():
    target, source = table("T_tst", [0.9], [1]), table("S_tst_MT", [0.1], [1])
    assert average([target, source], [0.75, 0.25], "Ens").probabilities[0, 1] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            table("S_tst_MT", [0.5] * 3, [0, 1, 0], ids=["1", "2", "3"]),
            r"row 1 has id '0' in T_tst\.de and '1' in S_tst",
        ),
        (table("S_tst_MT", [0.5] * 2, [0, 1]), r"T_tst\.de has 3 rows and S_tst_MT\.de has 2"),
        (table("S_tst_MT", [0.5] * 3, [0, 0, 0]), r"row 2 \(id '1'\) has label '1' in T_tst\.de and '0' in S_tst_MT"),
        (table("S_tst_MT", [0.5] * 3, [0, 1, 0], language="fr"), "two languages"),
        (table("S_tst_MT", [0.5] * 3, [0, 1, 0], dataset="xnli"), "is of data set pawsx, S_tst_MT.de of xnli"),
        (table("S_tst_MT", [0.5] * 3, [0, 1, 0], labels=("1", "0")), "label set"),
        (
            table("S_tst_MT", [0.5] * 3, [0, 1, 0], checkpoint="checkpoint_last.pt", checkpoint_sha256="cd" * 32),
            r"checkpoint_best\.pt \(update 300, SHA-256 abababababab\), .* checkpoint_last\.pt",
        ),
    ],
    ids=["shifted ids", "fewer rows", "labels", "language", "data set", "label set", "checkpoint"],
)
def test_tables_that_do_not_go_together_are_refused(other, said):
    with pytest.raises(InputError, match=said):
        average([table("T_tst", [0.5] * 3, [0, 1, 0]), other], [0.5, 0.5], "Ens")


@pytest.fixture
def folder(tmp_path):
    """37 rows in English, German and Japanese; English is not translated."""
    generator = np.random.default_rng(1)
    labels = generator.integers(2, size=37)
    for language in ("en", "de", "ja"):
        for corpus in ("T_tst", "S_tst_MT") if language != "en" else ("T_tst",):
            write_predictions(tmp_path, table(corpus, generator.uniform(size=37), labels, language))
    return tmp_path


def test_the_verb_writes_a_table_a_language(folder, capsys):
    assert ensemble(folder) == 0
    assert [table for table in list_predictions(folder) if table[0] == "Ens"] == [
        ("Ens", "de"),
        ("Ens", "en"),
        ("Ens", "ja"),
    ]
    target, source, mean = (read_predictions(folder, corpus, "ja") for corpus in ("T_tst", "S_tst_MT", "Ens"))
    np.testing.assert_allclose(mean.probabilities, (target.probabilities + source.probabilities) / 2, rtol=1e-15)
    english, english_mean = (read_predictions(folder, corpus, "en") for corpus in ("T_tst", "Ens"))
    assert english_mean.probabilities.tobytes() == english.probabilities.tobytes()
    assert english_mean.signature.members == {"T_tst": 1.0}
    assert "Ens.ja: 37 rows" in capsys.readouterr().out


@pytest.mark.parametrize(("weight", "same_as"), [("0", "T_tst"), ("1", "S_tst_MT")])
def test_the_weight_is_that_of_the_translation(folder, weight, same_as):
    assert ensemble(folder, "--weight", weight) == 0
    mean, member = (read_predictions(folder, corpus, "de") for corpus in ("Ens", same_as))
    assert mean.probabilities.tolist() == member.probabilities.tolist()


def test_validation_corpora_make_ens_val(tmp_path):
    for corpus, second in [("T_val", 0.2), ("S_val_MT", 0.6)]:
        write_predictions(tmp_path, table(corpus, [second] * 2, [0, 1]))
    assert ensemble(tmp_path, "--corpora", "T_val", "S_val_MT") == 0
    assert read_predictions(tmp_path, "Ens_val", "de").probabilities[:, 1].tolist() == [0.4, 0.4]


def test_what_is_missing_is_said_and_nothing_is_written(folder, capsys):
    (folder / "S_tst_MT.ja.json").unlink()
    (folder / "T_tst.de.json").unlink()
    assert ensemble(folder) == 2
    assert "lacks predictions for T_tst.de, S_tst_MT.ja; predict" in capsys.readouterr().err
    assert not list(folder.glob("Ens*"))


def test_one_wrong_language_stops_all(folder, capsys):
    write_predictions(folder, table("S_tst_MT", [0.5] * 36, [0] * 36, "ja"))
    assert ensemble(folder) == 2
    assert "T_tst.ja has 37 rows and S_tst_MT.ja has 36" in capsys.readouterr().err
    assert not list(folder.glob("Ens*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weight", "1.5"], "--weight 1.5 is not between 0 and 1"),
        (["--weight", "nan"], "--weight nan is not between"),
        (["--corpora", "T_tst"], "two or more different corpora"),
        (["--corpora", "T_tst", "S_val_MT"], "all test or all validation"),
        (["--corpora", "T_tst", "S_test"], "no corpus is called S_test"),
        (["--corpora", "T_trn", "S_trn_MT"], "all test or all validation"),
        (["--corpora", "T_tst", "S_tst_MT", "T_val", "--weight", "0.5"], "there are 3"),
    ],
)
def test_wrong_options_are_refused(folder, capsys, options, said):
    assert ensemble(folder, *options) == 2
    assert said in capsys.readouterr().err
    assert not list(folder.glob("Ens*"))
