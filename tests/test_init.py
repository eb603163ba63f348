"""``fairseq-musc init``: what is in people's files, what is asked for, and files that the other commands take."""

import csv
import io
import json
from pathlib import Path

import datasets
import pytest
import yaml

import fairseq_musc.configs
from fairseq_musc.cli import main
from fairseq_musc.data.corpus import languages_of, read_corpus
from fairseq_musc.data.guess import guess_columns, guess_delimiter, guess_format, guess_held_out, guess_language
from fairseq_musc.experiments.cells import TrainingRecipe


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*options, output="recipe"):
    return main(["init", *map(str, options), "--output", output])


def refused(capsys, *options):
    assert init(*options) == 2
    assert not Path("recipe").exists()
    return capsys.readouterr().err


def description(name, folder="recipe"):
    return yaml.safe_load(Path(folder, f"{name}.data.yaml").read_text())


def write_csv(path, header, rows, **how):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, **how).writerows([header, *rows])


def reviews(language, count):
    return [[i, f"a long review in {language}, number {i}", i % 5 + 1, language] for i in range(count)]


def test_from_one_csv_to_files_that_read_and_train_take(folder, capsys, monkeypatch):
    (folder / "data").mkdir()
    header = ["number", "review body", "stars", "lang"]
    rows = [*reviews("en_US", 200), *reviews("German", 40), *reviews("fr", 40)]
    write_csv(folder / "data" / "shop.2024.csv", header, rows, delimiter=";")
    assert init("--input", "data/shop.2024.csv", "--encoder", "an encoder") == 0
    found = description("shop")
    assert found == {
        "format": "csv",
        "label_column": "stars",
        "text_column": "review body",
        "language_column": "lang",
        "name": "shop",
        "input": ["../data/shop.2024.csv"],
        "languages": {"en": "en_US", "de": "German", "fr": "fr"},
        "labels": ["1", "2", "3", "4", "5"],
        "delimiter": ";",
        "hold_out": 10,
        "hold_out_test": 20,
    }
    printed = capsys.readouterr().out
    assert "columns: stars (label), review body (text), lang (language)" in printed
    assert "     40 train de\n" in printed
    assert "     20 of each language are held out for test" in printed
    for command in (
        "read --dataset recipe/shop.data.yaml",
        "fairseq-hydra-train --config-dir recipe --config-name shop",
    ):
        assert command in printed

    assert main(["read", "--dataset", "recipe/shop.data.yaml", "--output", "corpora"]) == 0
    assert languages_of("corpora", "T_tst") == ["de", "en", "fr"]
    assert len(read_corpus("corpora", "S_trn", "en").rows) == 170
    assert read_corpus("corpora", "T_tst", "de").labels == ("1", "2", "3", "4", "5")

    recipe = yaml.safe_load(Path("recipe/shop.yaml").read_text())
    installed = yaml.safe_load(Path(fairseq_musc.configs.__path__[0], "musc_marc.yaml").read_text())
    places = {"task": "data", "model": "pretrained", "checkpoint": "save_dir"}
    assert [recipe[section].pop(key) for section, key in places.items()] == [
        "data-bin",
        "an encoder",
        "checkpoints/shop",
    ]
    for section, key in places.items():
        installed[section].pop(key)
    assert recipe == installed
    TrainingRecipe("shop", folder / "recipe").check([])  # as fairseq-hydra-train looks at it


def test_splits_and_languages_that_files_tell_are_taken_from_them(folder):
    for language in ("en", "ja"):
        for split in ("train", "dev", "test"):
            rows = [[f"{language} {split} sentence {i}", "with a partner", "yn"[i % 2]] for i in range(8)]
            write_csv(folder / f"{split}.{language}.tsv", ["sentence1", "sentence2", "label"], rows, delimiter="\t")
    assert init("--input", "{split}.{language}.tsv", "--name", "pairs") == 0
    found = description("pairs")
    assert found["input"] == ["../{split}.{language}.tsv"]
    assert (found["text_column"], found["text_pair_column"], found["label_column"]) == (
        "sentence1",
        "sentence2",
        "label",
    )
    assert found["languages"] == {"en": "en", "ja": "ja"}
    assert not {"hold_out", "hold_out_test"} & set(found)
    assert main(["read", "--dataset", "recipe/pairs.data.yaml", "--output", "corpora"]) == 0
    assert len(read_corpus("corpora", "T_val", "ja").rows) == 8


@pytest.mark.parametrize(("labels", "noted"), [("abba", True), ("abab", False)])
def test_rows_that_may_be_translations_of_each_other_are_pointed_at(folder, capsys, labels, noted):
    for language, of_test in (("en", "abba"), ("de", labels)):
        rows = [[split, i, f"a longer text {i}", of_test[i % 4]] for split in ("dev", "test") for i in range(12)]
        rows += [["train", i, f"another text {i}", "ab"[i % 2]] for i in range(12) if language == "en"]
        write_csv(f"{language}.csv", ["split", "id", "text", "label"], rows)
    assert init("--input", "{language}.csv", "--name", "texts") == 0
    note = "note: the valid and test rows have the same ids and labels in every language."
    assert (note in capsys.readouterr().out) == noted
    assert init("--input", "{language}.csv", "--name", "texts", "--aligned", output="again") == 0
    assert note not in capsys.readouterr().out


def test_what_are_no_labels_is_refused_before_it_is_written_down(folder, capsys):
    texts = [[f"a long review, number {i}", "good", "en"] for i in range(300)]
    write_csv("a.csv", ["text", "label", "language"], texts)
    assert "have the label 'good' alone in label; two or more" in refused(capsys, "--input", "a.csv")
    swapped = ["--text-column", "label", "--label-column", "text"]
    assert "have 300 labels in text" in refused(capsys, "--input", "a.csv", *swapped)
    labels = ["--labels", *(text for text, _, _ in texts)]
    assert init("--input", "a.csv", *swapped, *labels) == 0


def test_labels_that_may_be_one_are_pointed_at(folder, capsys):
    write_csv("a.csv", ["text", "label"], [[f"a review, {i}", ("Good", "good ", "bad", " ")[i % 4]] for i in range(40)])
    assert init("--input", "a.csv") == 0
    assert "note: the labels 'Good', 'good ' differ in case or spaces alone" in capsys.readouterr().out
    assert description("a")["labels"] == ["Good", "bad", "good "]


def test_a_language_that_keeps_few_rows_for_all_is_pointed_at(folder, capsys):
    write_csv("a.csv", ["text", "stars", "lang"], [row[1:] for row in reviews("en", 300) + reviews("German", 40)])
    rows = [row[1:] for row in reviews("en", 300) + reviews("German", 40) + reviews("fr", 60) + reviews("he", 3)]
    write_csv("b.csv", ["text", "stars", "lang"], rows)
    assert init("--input", "a.csv", output="a") == init("--input", "b.csv", output="b") == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert note.startswith("note: he has 3 rows")
    assert note.endswith("10 for validation and 20 for test: --languages en de='German' fr")
    held = ["--hold-out", "1", "--hold-out-test", "2"]
    assert init("--input", "b.csv", *held, output="c") == 0
    assert "note:" not in capsys.readouterr().out


def test_validation_is_held_out_where_only_test_files_are_named(folder):
    for name, language in (("train", "en"), ("prüfung", "de")):
        write_csv(f"{name}.csv", ["text", "label"], [[f"{language} a longer text {i}", i % 2] for i in range(40)])
    assert init("--train-file", "train.csv", "--test-file", "de=prüfung.csv") == 0
    found = description("train")
    assert found["test_file"] == ["de=../prüfung.csv"]
    assert found["hold_out"] == 4
    assert "hold_out_test" not in found
    assert main(["read", "--dataset", "recipe/train.data.yaml", "--output", "corpora"]) == 0


def test_json_lines_and_saved_datasets(folder, capsys):
    rows = [
        {"premise": f"a longer premise {i}", "hypothesis": "so", "gold_label": "abc"[i % 3], "pairID": f"p{i}"}
        for i in range(30)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert init("--input", "a.jsonl", output="one") == 0
    found = description("a", "one")
    assert (found["format"], found["id_column"], found["text_pair_column"]) == ("jsonl", "pairID", "hypothesis")
    assert "there are rows in en alone" in capsys.readouterr().out
    classes = datasets.ClassLabel(names=["neg", "pos"])
    split = datasets.Dataset.from_dict(
        {"text": [f"a longer text {i}" for i in range(8)], "label": [i % 2 for i in range(8)]},
        datasets.Features({"text": datasets.Value("string"), "label": classes}),
    )
    datasets.DatasetDict(train=split, validation=split, test=split).save_to_disk("saved")
    assert init("--input", "saved", output="two") == 0
    found = description("saved", "two")
    assert (found["format"], found["labels"], found["input"]) == ("datasets", ["neg", "pos"], ["../saved"])
    assert main(["read", "--dataset", "two/saved.data.yaml", "--output", "corpora"]) == 0


def test_paths_of_any_kind_are_seen_from_the_folder_of_the_description(folder, capsys):
    """Folders called NAME=VALUE, as Hive and Spark write them, and saved datasets with the language in their names."""
    columns = ["id", "text", "label", "lang"]
    for split, count in (("train", 40), ("test", 20)):
        (folder / "year=2020" / f"part={split}").mkdir(parents=True)
        write_csv(folder / "year=2020" / f"part={split}" / "a.csv", columns, reviews("en", count))
    files = [f"--{split}-file=en=year=2020/part={split}/a.csv" for split in ("train", "test")]
    assert init(*files, "--hold-out", 5, "--name", "hive", output="one/hive") == 0
    assert main(["read", "--dataset", "one/hive/hive.data.yaml", "--output", "corpora/hive"]) == 0
    assert len(read_corpus("corpora/hive", "T_tst", "en").rows) == 20
    for language in ("en", "de"):
        rows = [dict(zip(columns, row, strict=True)) for row in reviews(language, 40)]
        datasets.Dataset.from_list(rows).save_to_disk(folder / f"saved_{language}")
    options = ["--format", "datasets", "--input", "saved_{language}", "--id-column", "id", "--name", "saved"]
    assert init(*options, output="one/saved") == 0
    assert description("saved", "one/saved")["input"] == ["../../saved_{language}"]
    assert main(["read", "--dataset", "one/saved/saved.data.yaml", "--output", "corpora/saved"]) == 0
    assert languages_of("corpora/saved", "T_tst") == ["de", "en"]


def test_splits_that_are_not_there_are_held_out(folder, capsys):
    values = {"text": [f"a longer text {i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
    split = datasets.Dataset.from_dict(values)
    datasets.DatasetDict(train=split, test=split).save_to_disk("saved")
    assert init("--input", "saved", output="one") == 0
    found = description("saved", "one")
    assert found["hold_out"] == 4
    assert "hold_out_test" not in found
    rows = [[f"a longer text {i}", i % 2, ("training", "dev", "other")[i % 3]] for i in range(120)]
    write_csv("a.csv", ["text", "label", "split"], rows)
    assert init("--input", "a.csv", output="two") == 0
    found = description("a", "two")
    assert (found["split_column"], found["hold_out_test"], found.get("hold_out")) == ("split", 4, None)
    assert main(["read", "--dataset", "two/a.data.yaml", "--output", "corpora"]) == 0
    assert len(read_corpus("corpora", "T_val", "en").rows) == 40
    assert "40 rows of the split 'other' were left out" in capsys.readouterr().err
    write_csv("b.csv", ["text", "label", "split"], [[*row[:2], "A"] for row in rows])
    assert "the column split says 'A'; say how it spells the splits: --splits" in refused(capsys, "--input", "b.csv")
    assert init("--input", "b.csv", "--splits", "train=A", output="three") == 0


def test_what_is_unclear_is_asked_for_in_the_error(folder, capsys):
    rows = [[f"a longer text {i}", f"and another text {i}", i % 2, "ab"[i % 2]] for i in range(20)]
    write_csv("a.csv", ["one", "two", "x", "y"], rows)
    error = refused(capsys, "--input", "a.csv")
    assert "the column of the texts: --text-column ..., one of 'one', 'two'" in error
    assert "the column of the labels: --label-column ..., one of 'x', 'y'" in error
    assert "how a.dat are written: --format ..., one of 'csv'" in refused(capsys, "--input", "a.dat")
    write_csv("b.csv", ["text", "label", "language"], [[f"a longer text {i}", i % 2, "Elvish"] for i in range(20)])
    assert "which languages these are: --languages XX='Elvish'" in refused(capsys, "--input", "b.csv")
    for languages in (["--languages", "de=Elvish", "en"], ["--languages", "de=Elvish", "en=English"]):
        assert "the rows are in de; training rows in en are needed" in refused(capsys, "--input", "b.csv", *languages)
    assert "name the files: --input" in refused(capsys)
    assert "none.csv: there is nothing to read" in refused(capsys, "--input", "none.csv")
    write_csv("musc_marc.csv", ["text", "label"], [[f"a longer text {i}", i % 2] for i in range(20)])
    assert "there is an installed recipe musc_marc; give yours another --name" in refused(
        capsys, "--input", "musc_marc.csv"
    )


def test_what_is_unclear_is_asked_for_on_a_terminal(folder, capsys, monkeypatch):
    rows = [[f"a longer text {i}", f"and another text {i}", i % 2, ("Elvish", "EN")[i % 4 > 0]] for i in range(40)]
    write_csv("a.csv", ["one", "two", "x", "language"], rows)
    monkeypatch.setattr("sys.stdin", io.StringIO("3\n2\ntlh\n"))
    assert init("--input", "a.csv", "--ask") == 0
    found = description("a")
    assert (found["text_column"], found["languages"]) == ("two", {"en": "EN", "tlh": "Elvish"})
    printed = capsys.readouterr().out
    assert "  1. one\n  2. two\n" in printed
    assert "one of one, two" in printed  # 3 is no answer
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n"))
    assert init("--input", "a.csv", "--ask", output="other") == 2
    assert "nothing more was answered" in capsys.readouterr().err


def test_a_folder_that_is_there_is_left_alone(folder, capsys):
    (folder / "recipe").mkdir()
    assert init("--input", "a.csv") == 2
    assert "recipe exists" in capsys.readouterr().err


# --- guesses ---

TEXTS = [f"a sentence of some length {i}" for i in range(30)]
CLASSES = ["good", "bad"] * 15


@pytest.mark.parametrize(
    ("values", "found", "unclear"),
    [
        ({"text": TEXTS, "label": CLASSES}, {"text_column": "text", "label_column": "label"}, {}),
        ({"a": TEXTS, "b": CLASSES}, {"text_column": "a", "label_column": "b"}, {}),
        ({"Review Body": TEXTS, "Stars": CLASSES}, {"text_column": "Review Body", "label_column": "Stars"}, {}),
        ({"review": TEXTS, "text": TEXTS, "label": CLASSES}, {"text_column": "text", "label_column": "label"}, {}),
        ({"a": TEXTS, "b": TEXTS, "label": CLASSES}, {"label_column": "label"}, {"text_column": ["a", "b"]}),
        ({"text": TEXTS, "a": CLASSES, "b": CLASSES}, {"text_column": "text"}, {"label_column": ["a", "b"]}),
        ({"text": TEXTS, "label": TEXTS}, {"text_column": "text", "label_column": "label"}, {}),
        ({"text": TEXTS, "label": CLASSES, "id": ["1"] * 30}, {"text_column": "text", "label_column": "label"}, {}),
        ({"text": TEXTS, "hypothesis": TEXTS, "label": CLASSES}, {"text_column": "text", "label_column": "label"}, {}),
    ],
)  # fmt: skip
def test_columns_are_told_by_their_names_and_values(values, found, unclear):
    assert guess_columns(values, {}) == (found, unclear)


def test_what_was_said_of_columns_is_not_guessed():
    values = {"text": TEXTS, "label": CLASSES, "mine": TEXTS, "id": [str(i) for i in range(30)]}
    said = {"text_column": "mine", "label_column": None}
    assert guess_columns(values, said).said == {"text_column": "mine", "label_column": "label", "id_column": "id"}


@pytest.mark.parametrize(("languages", "found"), [(["en", "de"], "id"), (["en", "en"], None)])
def test_an_id_may_stand_once_in_each_language_and_split(languages, found):
    values = {"text": TEXTS, "label": CLASSES, "id": [str(i // 2 % 10) for i in range(30)], "lang": languages * 15}
    values["split"] = ["valid"] * 20 + ["test"] * 10
    assert guess_columns(values, {}).said.get("id_column") == found


def test_formats_delimiters_languages_and_rows_to_hold_out(tmp_path):
    assert [guess_format(name) for name in ("a.csv.gz", "A.TSV", "x.jsonl", "b.parquet", "c.xml", str(tmp_path))] == [
        "csv", "tsv", "jsonl", "parquet", None, None,
    ]  # fmt: skip
    assert [guess_delimiter(line) for line in ("a,b;c,d", "a;b;c", "a\tb", "a")] == [",", ";", "\t", ","]
    assert [guess_language(text) for text in ("de", "de-AT", "EN_us", " German ", "Klingon", "")] == [
        "de", "de", "en", "de", None, None,
    ]  # fmt: skip
    assert guess_held_out({"en": 1000}) == (100, 100)
    assert guess_held_out({"en": 1000, "de": 80, "fr": 300}) == (20, 40)
    assert guess_held_out({"en": 100_000}) == (2000, 2000)
    assert guess_held_out({"en": 3}) == (1, 1)
