"""The classifier in Python says what the verbs say, from a checkpoint and from an exported folder."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fairseq_musc import TranslateAllClassifier
from fairseq_musc.api import Predicted
from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_about, read_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import read_predictions

pytest_plugins = ["checkpoint_fixture", "translator_fixture"]


def word_list(texts, source, target):
    """The translator of the tiny world, whose words begin with their language."""
    marks = {"en": ""}
    before, after = marks.get(source, source), marks.get(target, target)
    return [" ".join(after + word.removeprefix(before) for word in text.split()) for text in texts]


@pytest.fixture(scope="module")
def predictions(checkpoint, world, tmp_path_factory):
    """What the verbs say of the checkpoint."""
    folder = str(tmp_path_factory.mktemp("predictions"))
    model = ["--checkpoint", str(checkpoint), "--data", str(world.data)]
    for verb in (["predict", *model, "--predictions", folder], ["ensemble", "--predictions", folder]):
        assert main(verb) == 0
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "folder"
    assert main(["export", str(checkpoint), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module", params=["checkpoint", "exported"])
def classifier(request):
    path = request.getfixturevalue(request.param)
    return TranslateAllClassifier.from_pretrained(
        path, translator=word_list, batch_size=4, progress=False, device="cpu"
    )


def test_set(world, name, language):
    rows = read_corpus(world.corpora, name, language).rows
    return [row.text for row in rows], [row.text_pair for row in rows], [row.label for row in rows]


test_set.__test__ = False


def test_both_views_and_their_mean_are_those_of_the_verbs(classifier, world, predictions):
    texts, pairs, _ = test_set(world, "T_tst", "de")
    got = classifier.predict(texts, "de", text_pairs=pairs)
    tables = {name: read_predictions(predictions, name, "de") for name in ("T_tst", "S_tst_MT", "Ens")}
    np.testing.assert_allclose(got.of_text, tables["T_tst"].probabilities, atol=1e-6)
    np.testing.assert_allclose(got.of_translation, tables["S_tst_MT"].probabilities, atol=1e-6)
    np.testing.assert_allclose(got.probabilities, tables["Ens"].probabilities, atol=1e-6)
    assert np.abs(got.of_text - got.of_translation).max() > 0.01
    assert list(got.translations) == test_set(world, "S_tst_MT", "de")[0]
    assert got.labels == list(got) == [got.classes[k] for k in tables["Ens"].probabilities.argmax(1)]
    np.testing.assert_array_equal(classifier.predict_proba(texts, "de", text_pairs=pairs), got.probabilities)
    weighted = classifier.predict(texts, "de", text_pairs=pairs, weight=0.25).probabilities
    np.testing.assert_allclose(weighted, 0.75 * got.of_text + 0.25 * got.of_translation)


def ties(table):
    """The rows of a predictions table to which a model gives two classes as good as equal probabilities."""
    rows = [line.split("\t")[-2:] for line in table.read_text().splitlines() if line[:1] not in ("", "#")][1:]
    return sum(abs(float(first) - float(second)) < 1e-5 for first, second in rows)


def test_an_evaluation_counts_what_the_report_counts(classifier, world, predictions):
    assert main(["report", "--predictions", predictions]) == 0
    lines = [line.split("\t") for line in Path(predictions, "results.tsv").read_text().splitlines() if line[0] != "#"]
    report = {line[0]: dict(zip(lines[0][1:], line[1:], strict=True)) for line in lines[1:]}
    texts, pairs, labels, languages = [], [], [], []
    for xx in ("fr", "en", "de"):
        of = test_set(world, "T_tst", xx)
        texts, pairs, labels, languages = texts + of[0], pairs + of[1], labels + of[2], languages + [xx] * len(of[0])
    found = classifier.evaluate(texts, labels, languages, text_pairs=pairs)
    assert found.rows == {"de": 21, "en": 21, "fr": 21}
    for line, cells in found.accuracies.items():
        tied = {xx: ties(Path(predictions, f"{'T_tst' if xx == 'en' else line}.{xx}.tsv")) for xx in cells}
        assert sum(tied.values()) <= 2  # which of two equal probabilities is the larger one is a matter of rounding
        assert cells == {
            xx: pytest.approx(float(report[line][xx]), abs=tied[xx] / 21 + 1e-6) for xx in ("de", "en", "fr")
        }
        off = sum(tied.values()) / 63 + 1e-6
        assert found.average(line) == pytest.approx(float(report[line]["average"]), abs=off)
    assert len({*found.accuracies["T_tst"].values(), *found.accuracies["S_tst_MT"].values()}) > 1
    printed = str(found).splitlines()
    assert printed[0].split() == ["Inference", "EN", "FR", "DE", "Avg."]
    assert printed[3].split()[0] == "Ens."


def test_an_evaluation_without_translations_has_no_line_for_them(classifier, world):
    texts, pairs, labels = test_set(world, "T_tst", "de")
    languages = ["en", "de"] * (len(texts) // 2) + ["de"]
    evaluation = classifier.evaluate(texts, labels, languages, text_pairs=pairs, ensemble=False)
    assert [*evaluation.right] == ["T_tst"]
    assert "S_tst^MT" not in str(evaluation) and "Ens" not in str(evaluation)
    assert evaluation.average("T_tst") == pytest.approx(sum(evaluation.accuracies["T_tst"].values()) / 2)
    with pytest.raises(InputError, match="there is no Ens, only T_tst"):
        evaluation.average()
    english = classifier.evaluate(texts, labels, "en", text_pairs=pairs, ensemble=False)
    assert english.right["T_tst"] == english.right["S_tst_MT"] == english.right["Ens"]
    # what can be gone through once is enough
    once = classifier.evaluate(texts, labels, iter(languages), text_pairs=pairs, ensemble=False)
    assert once.right == evaluation.right


def test_languages_may_be_mixed_and_translations_given(classifier, world):
    of_german, of_english = test_set(world, "T_tst", "de"), test_set(world, "T_tst", "en")
    german = classifier.predict(of_german[0], "de", text_pairs=of_german[1])
    texts = [text for each in zip(of_english[0], of_german[0], strict=True) for text in each]
    pairs = [text for each in zip(of_english[1], of_german[1], strict=True) for text in each]
    mixed = classifier.predict(texts, ["en", "de"] * 21, text_pairs=pairs)
    np.testing.assert_allclose(mixed.probabilities[1::2], german.probabilities, atol=1e-6)
    assert list(mixed.translated) == [False, True] * 21
    assert set(mixed.decided_by[::2]) == {"text"}
    assert mixed.translations[::2] == (None,) * 21
    np.testing.assert_array_equal(mixed.probabilities[::2], mixed.of_text[::2])
    given = classifier.predict(
        texts, ["en", "de"] * 21, text_pairs=pairs,
        translations=[text for text in of_english[0] for _ in range(2)],
        translation_pairs=[text for text in of_english[1] for _ in range(2)],
    )  # fmt: skip
    np.testing.assert_allclose(given.of_translation, mixed.of_translation, atol=1e-6)
    alone = classifier.predict(of_german[0], "de", text_pairs=of_german[1], ensemble=False)
    np.testing.assert_allclose(alone.probabilities, german.of_text, atol=1e-6)


def test_nothing_to_predict(classifier):
    empty = classifier.predict([], "de", text_pairs=[])
    assert (len(empty), empty.probabilities.shape, empty.decided_by) == (0, (0, 2), [])


def test_what_decided_by_hand():
    nan = [np.nan] * 3
    of_text = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.45, 0.05, 0.5], [0.5, 0.1, 0.4], [0.2, 0.3, 0.5]])
    of_translation = np.array([[0.6, 0.2, 0.2], [0.3, 0.7, 0.0], [0.9, 0.1, 0.0], [0.0, 0.55, 0.45], nan])
    got = Predicted(("a", "b", "c"), of_text, of_translation, ("1", "2", "3", "4", None), 0.5)
    assert got.decided_by == ["both", "text", "translation", "neither", "text"]
    assert got.labels == ["a", "a", "a", "c", "c"]
    rows = list(got.rows())
    assert rows[1] == {
        "label": "a", "probability": pytest.approx(0.55), "decided_by": "text", "translation": "2",
        "p_a": pytest.approx(0.55), "p_b": pytest.approx(0.4), "p_c": pytest.approx(0.05),
    }  # fmt: skip
    assert got[1:3] == ["a", "a"]


def test_arguments_that_do_not_go_together_are_said_at_once(classifier):
    with pytest.raises(InputError) as error:
        classifier.predict(["a", 3], ["de"], text_pairs=["b"], translations=["a"], weight=2)
    for said in (
        "2 texts, 1 languages, 1 text_pairs; as many of each are needed",
        r"texts[1] is 3, which is no text (1 such)",
        "1 translations for 2 texts",
        "text_pairs and translation_pairs go together",
        "weight is 2; it is from 0 to 1",
    ):
        assert said in str(error.value)
    with pytest.raises(InputError, match=r"texts is one text \('a text'\); give a list"):
        classifier.predict("a text", "de")
    with pytest.raises(InputError, match=r"translations\[0\] is None"):
        classifier.predict(["a"], "de", translations=[None])
    with pytest.raises(InputError, match="the labels '7' are not among '0', '1'"):
        classifier.evaluate(["a", "b"], [7, np.int64(1)], "de")
    with pytest.raises(InputError, match=r"labels\[1\] is 1.5; a label is a text or a whole number"):
        classifier.evaluate(["a", "b"], [1, 1.5], "de")
    with pytest.raises(InputError, match=r"given 1 texts in de and gave 2 back"):
        TranslateAllClassifier.predict(_with(classifier, lambda texts, source, target: ["a", "b"]), ["x"], "de")
    with pytest.raises(InputError, match=r"texts in de are to be translated.*translations=\.\.\."):
        TranslateAllClassifier.predict(_with(classifier, None), ["x"], "de")


def _with(classifier, translator):
    other = TranslateAllClassifier(translator=translator, progress=False)
    other._scorer = classifier._scorer
    return other


def test_what_is_no_classifier(world, tmp_path):
    with pytest.raises(InputError, match="is not trained; call fit"):
        TranslateAllClassifier().predict(["a"], "en")
    with pytest.raises(InputError, match=r"is an encoder without a trained classifier: it lacks classifier\.bias"):
        TranslateAllClassifier.from_pretrained(world.encoder)
    with pytest.raises(InputError, match="cannot be loaded as a classifier"):
        TranslateAllClassifier.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"translator is .*elsewhere; it is a folder"):  # before all else
        TranslateAllClassifier.from_pretrained(tmp_path / "nowhere", translator=tmp_path / "elsewhere")
    with pytest.raises(InputError, match="engine is 'gpt'; it can be"):
        TranslateAllClassifier(translator=tmp_path, engine="gpt")._opened_translator()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_labels": 1}, "has one output, as a regression has"),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            "is for multi_label_classification: it says of each label",
        ),
    ],
)
def test_what_chooses_no_one_label_of_several(world, tmp_path, config, said):
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(world.encoder, **config))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(world.encoder).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=said):
        TranslateAllClassifier.from_pretrained(tmp_path)


def test_importing_is_light_and_an_exported_folder_needs_no_fairseq(exported):
    program = (
        "import sys, fairseq_musc; from fairseq_musc import TranslateAllClassifier; "
        "print(sorted({'torch', 'fairseq', 'transformers', 'hydra'} & set(sys.modules))); "
        "sys.argv = ['x', '--no-such-option']; sys.modules['fairseq'] = None; "
        "classifier = TranslateAllClassifier.from_pretrained(sys.stdin.read()); "
        "print(classifier.predict(['w1 w2'], 'en', text_pairs=['w1 not w2']))"
    )
    done = subprocess.run([sys.executable, "-c", program], input=str(exported), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"
    assert done.stdout.splitlines()[1].startswith("Predicted(['")


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_a_folder_of_a_real_translator(exported, translator_folder, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_MUSC_CACHE", str(tmp_path))  # the translator's folder serves other tests, too
    settings = {"translator": translator_folder, "decoding": {"beam": 1, "max_len_b": 20}, "device": "cpu"}
    settings["engine"] = engine
    classifier = TranslateAllClassifier.from_pretrained(exported, progress=False, **settings)
    pairs = {"text_pairs": ["Der Mond liebt den Mann.", "Die"]}
    got = classifier.predict(["Der Hund sieht den Baum.", "Der Mond."], "de", **pairs)
    assert got.translated.all()
    assert got.translations[0].split()[0].lower() == "the"  # English, whatever the small model makes of the rest
    with pytest.raises(InputError, match="does not know xx"):
        classifier.predict(["a"], "xx", text_pairs=["b"])
    with pytest.raises(InputError, match="decoding has no beems; it has beam"):
        TranslateAllClassifier(translator=translator_folder, decoding={"beems": 1})._opened_translator()


# --- training ---

FAST = {"optimization.max_epoch": 1, "dataset.batch_size": 8, "dataset.num_workers": 0, "optimization.lr": [0.001]}


def not_again(texts, source, target):
    raise AssertionError(f"{len(texts)} texts are translated again")


not_again.__qualname__ = "word_list"  # what it is known by


def untrained(world, folder, **settings):
    return TranslateAllClassifier(
        str(world.encoder), folder=folder, overrides=FAST, device="cpu", progress=False, **settings
    )


def test_trained_on_texts_in_memory_with_a_function_that_translates(world, tmp_path):
    texts, pairs, labels = test_set(world, "S_trn", "en")
    german = test_set(world, "T_val", "de")
    classifier = untrained(world, tmp_path / "run", translator=word_list, target_languages=["de", "fr"])
    train = {"text_pairs": pairs, "validation": {"de": (german[0], german[2], german[1])}, "hold_out": 6}
    assert classifier.fit(texts, [int(label) for label in labels], **train) is classifier
    assert classifier.classes_ == ("0", "1")
    corpora = tmp_path / "run" / "corpora"
    made = {name: {xx: read_corpus(corpora, name, xx) for xx in of} for name, of in {
        "S_trn": ["en"], "T_trn_MT": ["de", "fr"], "T_val": ["en", "de", "fr"], "S_val_MT": ["de", "fr"]
    }.items()}  # fmt: skip
    assert len(made["S_trn"]["en"].rows) == 31
    assert len(made["T_val"]["en"].rows) == 6
    assert [row.text for row in made["T_trn_MT"]["fr"].rows] == word_list(
        [row.text for row in made["S_trn"]["en"].rows], "en", "fr"
    )
    assert [row.text for row in made["T_val"]["de"].rows] == german[0]  # as given
    assert "engine" not in made["T_val"]["de"].provenance
    assert made["T_val"]["fr"].provenance["engine"] == "word_list"  # translated for want of French
    assert made["S_val_MT"]["fr"].text_language == "en"
    assert [row.text for row in made["S_val_MT"]["fr"].rows] == [row.text for row in made["T_val"]["en"].rows]
    before = classifier.checkpoint_.stat().st_mtime_ns
    again = untrained(world, tmp_path / "run", translator=not_again, target_languages=["de", "fr"])
    both = classifier, again.fit(texts, labels, **train)
    assert again.checkpoint_.stat().st_mtime_ns == before  # what is done is not done again
    of = test_set(world, "T_tst", "fr")
    np.testing.assert_array_equal(*(c.predict(of[0], "fr", text_pairs=of[1], ensemble=False).of_text for c in both))
    for changed, said in (
        ({"max_length": 64}, r"data-bin cannot take these corpora \(name another folder\)"),
        (
            {"overrides": {**FAST, "criterion.tau": 0.2}},
            "these folders were made with other settings; name another folder, or remove them",
        ),
    ):
        other = untrained(world, tmp_path / "run", translator=word_list, target_languages=["de", "fr"])
        vars(other).update(changed)
        with pytest.raises(InputError, match=said):
            other.fit(texts, labels, **train)
    other = untrained(world, tmp_path / "run", translator=lambda *_: [], target_languages=["de", "fr"])
    with pytest.raises(InputError, match=r"translations by another translator(.|\n)*T_trn_MT.de was made by word_list"):
        other.fit(texts, labels, **train)
    again = untrained(world, tmp_path / "run", translator=word_list, target_languages=["de", "fr"])
    with pytest.raises(InputError, match=r"holds another S_trn.en, of 31 rows; name another folder"):
        again.fit(texts[1:], labels[1:], text_pairs=pairs[1:])
    assert "BertForSequenceClassification" in classifier.save_pretrained(tmp_path / "exported")
    loaded = TranslateAllClassifier.from_pretrained(tmp_path / "exported", translator=word_list, progress=False)
    np.testing.assert_allclose(
        loaded.predict_proba(of[0], "fr", text_pairs=of[1]),
        classifier.predict_proba(of[0], "fr", text_pairs=of[1]),
        atol=1e-6,
    )
    with pytest.raises(InputError, match="copy that folder"):
        loaded.save_pretrained(tmp_path / "again")


def test_a_rare_class_is_trained_on(world, tmp_path):
    from fairseq_musc.api.fitting import write_corpora
    from fairseq_musc.api.given import Labelled

    labels = ["good"] * 50 + ["bad"] * 46 + ["rare"] * 4
    classifier = untrained(world, tmp_path, translator=lambda texts, *_: texts)
    settings = classifier._settings(["de"], {})
    write_corpora(settings, Labelled([f"text {i}" for i in range(100)], labels), {}, 0.2)
    for name, counts in {
        "S_trn": {"good": 41, "bad": 37, "rare": 2},
        "T_val": {"good": 9, "bad": 9, "rare": 2},
    }.items():
        assert Counter(row.label for row in read_corpus(settings.corpora, name, "en").rows) == counts


def test_trained_on_translations_that_are_there_already(world, tmp_path, monkeypatch):
    texts, pairs, labels = test_set(world, "S_trn", "en")
    german = test_set(world, "T_trn_MT", "de")
    trained = []
    monkeypatch.setattr(
        "fairseq_musc.api.fitting.train", lambda settings, corpora: trained.append((settings, corpora)) or 1 / 0
    )
    classifier = untrained(world, tmp_path / "run")
    with pytest.raises(ZeroDivisionError):
        classifier.fit(texts, labels, text_pairs=pairs, translations={"de": german[:2]}, hold_out=0.2)
    monkeypatch.undo()
    from fairseq_musc.api.fitting import valid_corpora

    settings, corpora = trained[0]
    assert settings.targets == ("de",)
    held = read_corpus(corpora, "T_val", "en")
    assert len(held.rows) == 7
    assert [row.text for row in read_corpus(corpora, "T_val", "de").rows] == word_list(
        [r.text for r in held.rows], "en", "de"
    )
    assert read_corpus(corpora, "T_trn_MT", "de").ids == read_corpus(corpora, "S_trn", "en").ids
    assert read_about(corpora, "T_trn_MT", "de")["provenance"]["engine"] == "translations that were given"
    assert valid_corpora(settings, corpora) == ["T_val"]  # nothing translates back


def test_trained_on_a_folder_of_corpora(world, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fairseq_musc.experiments.processes.train_cells", lambda cells, places, keep: seen.extend(cells) or {}
    )
    monkeypatch.setattr("fairseq_musc.api.scorer.open_scorer", lambda path, device: path)
    untrained(world, tmp_path / "run").fit_corpora(world.corpora)
    settings = seen[0].settings
    assert settings["task.target_langs"] == ["de", "fr"]
    assert settings["task.valid_corpora"] == ["T_val", "S_val_MT"]
    assert settings["optimization.max_epoch"] == 1
    assert settings["model.pretrained"] == str(world.encoder)
    assert settings["common.cpu"] is True


def test_what_cannot_be_trained_on_is_said_at_once(world, tmp_path):
    classifier = untrained(world, tmp_path / "run")
    with pytest.raises(InputError) as error:
        classifier.fit(["a", "b"], [1, 1, 1], validation={"de": (["c"], [2])})
    for said in ("2 texts, 3 labels", "validation in de: the labels '2' are not among '1'", "two or more are needed"):
        assert said in str(error.value)
    with pytest.raises(InputError, match="no target languages; name them"):
        classifier.fit(["a", "b"], ["x", "y"])
    with pytest.raises(InputError, match="hold_out=5 takes 5 of 2 rows"):
        classifier.fit(["a", "b"], ["x", "y"], validation={"de": (["c"], ["x"])}, hold_out=5)
    with pytest.raises(
        InputError, match=r"lacks what is trained and validated on; give a translator(.|\n)*T_trn_MT.de"
    ):
        classifier.fit(["a", "b", "c"], ["x", "y", "x"], validation={"de": (["c"], ["x"])}, hold_out=1)


def test_what_goes_with_no_target_language_or_is_of_another_kind_is_said(world, tmp_path):
    with pytest.raises(InputError, match=r"target_languages is one text \('de'\)"):
        untrained(world, tmp_path, target_languages="de")
    classifier = untrained(world, tmp_path, target_languages=["de"], translator=word_list)
    texts, labels = ["a", "b", "c"], ["x", "y", "x"]
    for given, said in (
        ({"translations": {"fr": texts}}, "translations into fr: the target languages are de"),
        ({"translations": {"en": texts}}, "translations into en: the target languages are de"),
        ({"validation": {"fr": (["d"], ["x"])}}, "validation in fr: the target languages are de"),
        (
            {"validation": {"de": (["d"], ["x"], ["e"])}},
            "validation in de: text pairs, and the training texts are single",
        ),
        ({"validation": {"de": (["d"],)}}, r"validation in de: 1 lists; give \(texts, labels\) or"),
        ({"validation": {"de": (["d"], ["x"], ["e"], ["f"])}}, "validation in de: 4 lists; give"),
        (
            {"text_pairs": texts, "validation": {"de": (["d"], ["x"])}},
            "validation in de: single texts, and the training t",
        ),
        (
            {"text_pairs": texts, "translations": {"de": texts}},
            "into de: 3 lists or texts; of text pairs give two lists",
        ),
    ):
        with pytest.raises(InputError, match=said):
            classifier.fit(texts, labels, hold_out=1, **given)
        assert not (tmp_path / "corpora").exists()


@pytest.mark.parametrize("back", [None, "one text"])
def test_a_translator_that_gives_no_list_back(world, tmp_path, back):
    classifier = untrained(world, tmp_path, target_languages=["de"], translator=lambda *_: back)
    with pytest.raises(InputError, match=f"gave {back!r} back; it needs to give a list"):
        classifier.fit(["a", "b", "c"], ["x", "y", "x"], hold_out=1)


def test_a_mistyped_override_is_said_before_anything_is_translated(world, tmp_path):
    classifier = untrained(world, tmp_path / "run", translator=not_again, target_languages=["de"])
    classifier.overrides = {"optimisation.lr": [0.01]}
    with pytest.raises(InputError, match=r"optimisation.lr .* did you mean optimization.lr\?"):
        classifier.fit(["a", "b", "c"], ["x", "y", "x"], hold_out=1)
    classifier.overrides = {"checkpoint.save_dir": "elsewhere"}
    with pytest.raises(InputError, match=r"checkpoint.save_dir: each training saves in a folder of its own"):
        classifier.fit(["a", "b", "c"], ["x", "y", "x"], hold_out=1)


@pytest.mark.long
def test_trained_with_the_folder_of_a_translator(world, tmp_path, translator_folder):
    """The verb translate makes the corpora; German validation text is translated for want of any."""
    texts, pairs, labels = test_set(world, "S_trn", "en")
    settings = {"translator": translator_folder, "decoding": {"beam": 1, "max_len_b": 20}, "target_languages": ["de"]}
    classifier = untrained(world, tmp_path / "run", **settings).fit(texts, labels, text_pairs=pairs, hold_out=6)
    for name in ("T_trn_MT", "T_val", "S_val_MT"):
        assert "model.pt" in read_about(tmp_path / "run" / "corpora", name, "de")["provenance"]["translator"]
    assert len(classifier.predict(["Der Hund sieht den Baum."], "de", text_pairs=["Der Mond."])) == 1


def test_what_another_call_was_given_is_not_taken_for_what_this_one_makes(world, tmp_path):
    from fairseq_musc.api.fitting import write_corpora
    from fairseq_musc.api.given import Labelled

    train = Labelled([f"text {i}" for i in range(20)], ["x", "y"] * 10)
    german = Labelled(["ein Text", "noch einer"], ["x", "y"])
    made = Labelled([f"Text {i}" for i in range(20)], train.labels)
    classifier = untrained(world, tmp_path, translator=word_list)
    cases = {"T_val": ({"de": german}, {}), "T_trn_MT": ({}, {"de": made})}
    for name, (validation, translations) in cases.items():
        classifier.folder = tmp_path / name
        given, nothing = (classifier._settings(["de"], each) for each in (translations, {}))
        for _ in "again":
            write_corpora(given, train, validation, 2)
        with pytest.raises(InputError, match=rf"(?s)holds what another call was given.*name another folder.*{name}.de"):
            write_corpora(nothing, train, {}, 2)
