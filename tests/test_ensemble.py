"""The ensemble of translate-all: the mean of probabilities, of tables that go together."""

from dataclasses import replace

import numpy as np
import pytest

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.ensemble import average, member_names
from fairseq_musc.evaluate.table import (
    Predictions,
    Signature,
    accuracy,
    list_predictions,
    read_predictions,
    table_sha256,
    write_predictions,
)
from fairseq_musc.evaluate.weights import best_step, right_by_step, shared_out


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
        (["--corpora", "T_tst", "S_tst_MT", "T_val", "--weight", "0.5"], "all test or all validation"),
        (["--corpora", "T_val", "S_val_MT", "--weight", "validation"], "is for test corpora"),
        (["--weight", "validation"], "lacks predictions for T_val.de"),
    ],
)
def test_wrong_options_are_refused(folder, capsys, options, said):
    assert ensemble(folder, *options) == 2
    assert said in capsys.readouterr().err
    assert not list(folder.glob("Ens*"))


def test_a_weight_that_is_no_number_ends_with_usage(folder, capsys):
    with pytest.raises(SystemExit):
        ensemble(folder, "--weight", "best")
    assert "'best' is neither a number from 0 to 1 nor validation" in capsys.readouterr().err


# --- weights chosen on validation data -------------------------------------------------------------------------------


def test_the_rows_that_are_right_at_every_weight_by_hand():
    """Row 1 is right while 0.9 - 0.8 w > 0.5, w < 0.5; row 2 while 0.2 + 0.7 w > 0.5, w > 3/7; row 3 never."""
    target, source = (np.array([[1 - p, p] for p in second]) for second in ([0.9, 0.2, 0.3], [0.1, 0.9, 0.4]))
    right = right_by_step([target, source], np.array([1, 1, 1]))
    assert right == [1] * 9 + [2] + [1] * 11  # 0.45 alone lies between 3/7 and 1/2
    assert best_step(right) == 9


@pytest.mark.parametrize(
    ("best", "chosen"),
    [(range(21), 10), ([0, 20], 0), ([9, 11], 9), ([11, 12, 20], 11), ([8, 9, 13], 9), ([20], 20)],
)
def test_of_equal_weights_the_nearest_to_half_then_the_smaller(best, chosen):
    assert best_step([7 if step in best else 6 for step in range(21)]) == chosen


def test_several_translations_share_their_weight():
    assert shared_out(0.5, 2) == [0.5, 0.25, 0.25]
    members = [np.array([[1 - p, p]]) for p in (0.2, 0.9, 0.7)]  # right while 0.2 + 0.6 w > 0.5
    assert right_by_step(members, np.array([1])) == [0] * 11 + [1] * 10


@pytest.fixture
def with_validation(folder):
    """Validation tables of 40 rows: in German T_val is right, in Japanese S_val_MT; English has T_val alone."""
    generator = np.random.default_rng(2)
    labels = generator.integers(2, size=40)
    right, wrong = np.where(labels == 1, 0.7, 0.3), np.where(labels == 1, 0.2, 0.8)
    for language, corpora in {
        "en": {"T_val": right},
        "de": {"T_val": right, "S_val_MT": wrong},
        "ja": {"T_val": wrong, "S_val_MT": right},
    }.items():
        for corpus, second in corpora.items():
            write_predictions(folder, table(corpus, second, labels, language))
    return folder


def weights(folder):
    return {language: read_predictions(folder, "Ens_w", language).signature.members for language in ("en", "de", "ja")}


def test_each_language_has_the_weight_that_is_best_on_validation_data(with_validation, capsys):
    """German is right while 0.7 - 0.5 w > 0.5, w < 0.4; Japanese while 0.2 + 0.5 w > 0.5, w > 0.6."""
    assert ensemble(with_validation) == 0
    assert ensemble(with_validation, "--weight", "validation") == 0
    assert weights(with_validation) == {
        "en": {"T_tst": 1.0},
        "de": {"T_tst": pytest.approx(0.65), "S_tst_MT": pytest.approx(0.35)},
        "ja": {"T_tst": pytest.approx(0.35), "S_tst_MT": pytest.approx(0.65)},
    }
    target, source, mixed, fixed = (
        read_predictions(with_validation, name, "de") for name in ("T_tst", "S_tst_MT", "Ens_w", "Ens")
    )
    np.testing.assert_allclose(mixed.probabilities, 0.65 * target.probabilities + 0.35 * source.probabilities)
    assert fixed.signature.members == {"T_tst": 0.5, "S_tst_MT": 0.5}
    out = capsys.readouterr().out
    assert "Ens_w.de: 37 rows" in out
    assert "= 0.65 T_tst + 0.35 S_tst_MT; on 40 rows of validation data 0.00 % right with w = 0.5, 100.00 %" in out


def test_the_labels_of_the_test_rows_do_not_move_the_weights(with_validation):
    assert ensemble(with_validation, "--weight", "validation") == 0
    before = weights(with_validation)
    permutation = np.random.default_rng(3).permutation(37)
    for corpus, language in list_predictions(with_validation):
        if corpus in ("T_tst", "S_tst_MT"):
            old = read_predictions(with_validation, corpus, language)
            assert (old.labels != old.labels[permutation]).any()
            write_predictions(with_validation, replace(old, labels=old.labels[permutation]))
    assert ensemble(with_validation, "--weight", "validation") == 0
    assert weights(with_validation) == before


def test_validation_tables_of_another_checkpoint_are_refused(with_validation, capsys):
    for corpus in ("T_val", "S_val_MT"):
        old = read_predictions(with_validation, corpus, "ja")
        write_predictions(with_validation, replace(old, signature=replace(old.signature, checkpoint_sha256="cd" * 32)))
    assert ensemble(with_validation, "--weight", "validation") == 2
    assert "T_val.ja is of checkpoint" in capsys.readouterr().err
    assert not list(with_validation.glob("Ens*"))


# --- several translators ---------------------------------------------------------------------------------------------

TRANSLATORS = {"a": "fairseq-generate with model.pt (SHA-256 203eda5efa85)", "b": "m2m_100 1.2B"}
NAMES = {"a": "S_tst_MT[203eda5efa85]", "b": "S_tst_MT[m2m_100 1.2B]"}


@pytest.fixture
def two_translators(folder, tmp_path):
    """Two folders with the same T_tst and other translations of it; the second lacks English."""
    generator = np.random.default_rng(4)
    for name, translator in TRANSLATORS.items():
        for language in ("de", "ja"):
            original = read_predictions(folder, "T_tst", language)
            write_predictions(tmp_path / name, original)
            source = table(
                "S_tst_MT", generator.uniform(size=37), original.labels, language, original.ids, translator=translator
            )
            write_predictions(tmp_path / name, source)
    write_predictions(tmp_path / "a", read_predictions(folder, "T_tst", "en"))
    return tmp_path / "a", tmp_path / "b"


def over_both(folders, output, *options):
    return main(["ensemble", "--predictions", *map(str, folders), "--output", str(output), *options])


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], [1 / 3] * 3), (["--weight", "0.5"], [0.5, 0.25, 0.25]), (["--weight", "0"], [1, 0, 0])],
)
def test_an_ensemble_over_two_translators(two_translators, tmp_path, options, expected):
    assert over_both(two_translators, tmp_path / "both", *options) == 0
    a, b = two_translators
    assert list_predictions(tmp_path / "both") == [("Ens", "de"), ("Ens", "en"), ("Ens", "ja")]
    members = [read_predictions(a, "T_tst", "ja"), *(read_predictions(f, "S_tst_MT", "ja") for f in (a, b))]
    mean = read_predictions(tmp_path / "both", "Ens", "ja")
    np.testing.assert_allclose(
        mean.probabilities, sum(w * member.probabilities for w, member in zip(expected, members, strict=True))
    )
    names = ["T_tst", *NAMES.values()]
    assert mean.signature.members == pytest.approx(dict(zip(names, expected, strict=True)))
    assert mean.signature.member_sha256 == {
        name: table_sha256(member) for name, member in zip(names, members, strict=True)
    }
    assert mean.signature.translator == " + ".join(TRANSLATORS.values())
    english = read_predictions(tmp_path / "both", "Ens", "en")
    assert english.signature.members == {"T_tst": 1.0}
    assert main(["report", "--predictions", str(tmp_path / "both")]) == 0
    assert not list(a.glob("Ens*")) + list(b.glob("Ens*"))


def test_the_total_weight_of_two_translations_is_chosen_on_validation_data(two_translators, tmp_path):
    """Right while 0.2 + 0.6 w > 0.5: w = 0.55 is the nearest to 0.5."""
    for folder, second in zip(two_translators, (0.9, 0.7), strict=True):
        for language in ("de", "ja"):
            write_predictions(folder, table("T_val", [0.2] * 5, [1] * 5, language))
            translator = read_predictions(folder, "S_tst_MT", language).signature.translator
            write_predictions(folder, table("S_val_MT", [second] * 5, [1] * 5, language, translator=translator))
    write_predictions(two_translators[1], table("T_val", [0.2] * 5, [1] * 5, "en"))
    assert over_both(two_translators, tmp_path / "both", "--weight", "validation") == 0
    members = read_predictions(tmp_path / "both", "Ens_w", "de").signature.members
    assert members == pytest.approx({"T_tst": 0.45, NAMES["a"]: 0.275, NAMES["b"]: 0.275})


def test_two_tables_by_one_translator_are_refused():
    with pytest.raises(InputError, match=r"S_tst_MT\[m2m_100 418M\] stands there twice"):
        average([table("S_tst_MT", [0.5], [0]), table("S_tst_MT", [0.4], [0])], [0.5, 0.5], "Ens")
    assert member_names([table("T_tst", [0.5], [0]), table("S_tst_MT", [0.4], [0])]) == ["T_tst", "S_tst_MT"]


def test_folders_that_do_not_hold_the_same_t_tst_are_refused(two_translators, tmp_path, capsys):
    a, b = two_translators
    old = read_predictions(b, "T_tst", "ja")
    off = old.probabilities + np.array([2e-4, -2e-4])
    write_predictions(b, replace(old, probabilities=np.clip(off, 0, 1)))
    assert over_both(two_translators, tmp_path / "both") == 2
    assert f"{a}/T_tst.ja and {b}/T_tst.ja are up to 0.0002 apart" in capsys.readouterr().err
    write_predictions(b, replace(old, labels=1 - old.labels))
    assert over_both(two_translators, tmp_path / "both") == 2
    assert f"in {a}/T_tst.ja and" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_what_the_folders_of_two_translators_lack_is_said_of_each(two_translators, tmp_path, capsys):
    a, b = two_translators
    (b / "S_tst_MT.de.json").unlink()
    for folder in (a, b):
        (folder / "T_tst.ja.json").unlink()
    assert over_both(two_translators, tmp_path / "both") == 2
    said = capsys.readouterr().err
    assert f"{a} lacks predictions for T_tst.ja;" in said
    assert f"{b} lacks predictions for T_tst.ja, S_tst_MT.de;" in said


def test_an_ensemble_of_several_folders_has_a_folder_of_its_own(two_translators, capsys):
    assert over_both(two_translators, two_translators[0]) == 2
    assert main(["ensemble", "--predictions", *map(str, two_translators)]) == 2
    assert capsys.readouterr().err.count("needs a folder of its own; name one with --output") == 2
