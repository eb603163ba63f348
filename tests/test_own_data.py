"""``fairseq-musc read --format``: data that people have, in files of every format, become corpora."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Row, read_corpus
from fairseq_musc.data.datasets import Columns, Layout
from fairseq_musc.data.forms import RawFile
from fairseq_musc.data.own import own_data
from fairseq_musc.data.readers import Tally
from fairseq_musc.data.records import RECORDS, record_rows
from fairseq_musc.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, in which commands are given; datasets keep their cache in another."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


def read(*options):
    return main(["read", *map(str, options), "--output", "corpora"])


def corpus(name, language):
    return read_corpus("corpora", name, language)


def written():
    return {path.stem for path in Path("corpora").glob("*.json")}


def refused(capsys, *options):
    """The message of a reading that is refused and leaves nothing behind."""
    assert read(*options) == 2
    assert not Path("corpora").exists()
    return capsys.readouterr().err


def write_csv(path, rows, **how):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, **how).writerows(rows)


def reviews(language, count):
    """Text, stars, language; the label of row n is 1, 2 or 3."""
    return [[f'{language} "text", {i}\nof two lines', i % 3 + 1, language] for i in range(count)]


def test_one_csv_with_a_column_of_languages_is_held_out_of(folder, capsys):
    write_csv("shop.csv", [["review", "stars", "lang"], *reviews("en", 20), *reviews("de", 9)])
    columns = ["--text-column", "review", "--label-column", "stars", "--language-column", "lang"]
    held = ["--hold-out", 3, "--hold-out-test", 6]
    assert read("--format", "csv", "--input", "shop.csv", *columns, *held) == 0
    assert written() == {
        "S_trn.en",
        "T_val.en",
        "T_val.de",
        "T_tst.en",
        "T_tst.de",
    }  # no German is left to train on
    train, valid, test = (corpus(name, "en") for name in ("S_trn", "T_val", "T_tst"))
    # rows are numbered in the file, and taken from the ends of the three classes in turn, the test rows first
    assert test.ids == [f"en-{n}" for n in range(15, 21)]
    assert valid.ids == ["en-12", "en-13", "en-14"]
    assert train.ids == [f"en-{n}" for n in range(1, 12)]
    assert train.rows[4] == Row("en-5", "2", 'en "text", 4\nof two lines')
    assert [row.text for row in corpus("T_val", "de").rows] == [f'de "text", {i}\nof two lines' for i in range(3)]
    assert corpus("T_tst", "de").ids == [f"de-{n}" for n in range(24, 30)]
    assert train.labels == ("1", "2", "3")
    assert (train.dataset, train.text_language) == ("shop", "en")
    provenance = json.dumps(train.provenance)
    assert '"shop.csv": "' in provenance
    assert str(folder) not in provenance
    assert train.provenance["options"]["hold_out_test"] == 6
    assert "labels: 1, 2, 3" in capsys.readouterr().out


def test_files_of_each_split_and_language_by_a_pattern(folder):
    for language in ("en", "de"):
        for split in ("train", "dev", "test"):
            rows = [
                ["id", "a", "b", "label"],
                *([f"{split}{i}", f"{language} {i}", "b", "ny"[i % 2]] for i in range(4)),
            ]
            write_csv(f"{split}.{language}.tsv", rows, delimiter="\t")
    options = ["--format", "tsv", "--input", "{split}.{language}.tsv", "--text-column", "a", "--text-pair-column", "b"]
    assert read(*options, "--id-column", "id", "--aligned", "--name", "mine") == 0
    assert written() == {"S_trn.en", "T_val.en", "T_val.de", "T_tst.en", "T_tst.de"}
    german = corpus("T_tst", "de")
    assert german.rows[1] == Row("test1", "y", "de 1", "b")
    assert (german.labels, german.dataset) == (("n", "y"), "mine")
    assert set(german.provenance["raw_files"]) == {"test.en.tsv", "test.de.tsv"}


def test_aligned_rows_of_one_file_are_numbered_in_each_split_and_language(folder, capsys):
    """Language by language, and with the languages of a row one below the other."""
    splits = {"train": 9, "valid": 3, "test": 4}
    rows = [
        [f"{xx} {split} {i}", "ab"[i % 2], xx, split]
        for xx in ("en", "de")
        for split in splits
        for i in range(splits[split])
    ]
    columns = ["--language-column", "language", "--split-column", "split"]
    for name, order in (("below", rows), ("between", sorted(rows, key=lambda row: (row[3], int(row[0].split()[-1]))))):
        write_csv(f"{name}.csv", [["text", "label", "language", "split"], *order])
        assert read("--format", "csv", "--input", f"{name}.csv", *columns, "--aligned") == 0
        english, german = (corpus("T_tst", language).rows for language in ("en", "de"))
        assert [row.id for row in english] == [row.id for row in german] == ["1", "2", "3", "4"]
        assert [row.text for row in german] == [f"de test {i}" for i in range(4)]
    assert written() == {f"{name}.{xx}" for name in ("T_val", "T_tst") for xx in ("en", "de")} | {"S_trn.en"}
    capsys.readouterr()
    write_csv("between.csv", [["text", "label", "language", "split"], *order[:-2], order[-1]])
    assert read("--format", "csv", "--input", "between.csv", *columns, "--aligned") == 2
    assert "the files of an aligned set need the same ids in the same order" in capsys.readouterr().err


def test_original_training_text_of_other_languages_is_read_where_rows_are_not_aligned(folder):
    for language in ("en", "de"):
        write_csv(f"train.{language}.csv", [["text", "label"], *([f"{language} {i}", i % 2] for i in range(6))])
    assert read("--format", "csv", "--train-file", "train.{language}.csv", "--hold-out", 2, "--hold-out-test", 2) == 0
    assert corpus("T_trn", "de").ids == ["de-1", "de-2"]


def test_files_whose_language_is_said_with_them(folder):
    write_csv("one.csv", [["text", "label"], ["a", "x"], ["b", "y"], ["c", "x"], ["d", "y"]])
    write_csv("zwei.csv", [["text", "label"], ["A", "x"], ["B", "y"]])
    assert read("--format", "csv", "--train-file", "one.csv", "--hold-out", 2, "--test-file", "de=zwei.csv") == 0
    assert written() == {"S_trn.en", "T_val.en", "T_tst.de"}
    assert [row.text for row in corpus("T_tst", "de").rows] == ["A", "B"]


def test_json_lines_with_columns_put_together_and_spelled_otherwise(folder):
    rows = [
        {"title": f"t{i}", "body": f"{language} body", "good": bool(i % 2), "n": i, "lang": language, "part": part}
        for language in ("English", "German", "Klingon")
        for part in ("train", "validation", "test", "unused")
        for i in range(3)
    ]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    options = [
        "--format",
        "jsonl",
        "--input",
        "all.jsonl",
        "--text-column",
        "{title}: {body}",
        "--label-column",
        "good",
    ]
    options += ["--language-column", "lang", "--split-column", "part", "--languages", "en=English", "de=German"]
    assert read(*options) == 0
    assert corpus("S_trn", "en").rows == [
        Row("en-1", "false", "t0: English body"),
        Row("en-2", "true", "t1: English body"),
        Row("en-3", "false", "t2: English body"),
    ]
    assert corpus("T_val", "de").rows[0] == Row("de-16", "false", "t0: German body")
    assert corpus("S_trn", "en").provenance["options"]["spelled"] == {"en": "English", "de": "German"}


def test_objects_of_json_lines_may_lack_what_others_have(folder, capsys):
    """As dumps of shops have it, which leave out what is empty: the title of the first row, the language of another."""
    rows = [
        {"title": f"t{i}", "body": f"{language} {i}", "label": "ab"[i % 2], "language": language}
        for language in ("en", "de")
        for i in range(20)
    ]
    del rows[0]["title"], rows[5]["language"]
    Path("a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = ["--format", "jsonl", "--input", "a.jsonl", "--text-column", "{title}. {body}"]
    options += ["--language-column", "language", "--hold-out", 2, "--hold-out-test", 2]
    assert "languages are spelled ''" in refused(capsys, *options)
    assert read(*options, "--languages", "en", "de") == 0
    assert "1 rows in the language '' were left out" in capsys.readouterr().err
    assert [row.text for row in corpus("S_trn", "en").rows][:2] == [". en 0", "t1. en 1"]
    assert len(corpus("S_trn", "en").rows) == 15
    columns = ["--text-column", "body", "--label-column", "label"]
    assert main(["init", "--input", "a.jsonl", *columns, "--no-ask", "--output", "recipe"]) == 0


def test_what_is_left_out_is_said(folder, capsys):
    write_csv(
        "a.csv",
        [
            ["text", "label", "s", "l"],
            *([f"{s}{i}", i % 2, s, xx] for s in ("train", "dev", "x") for xx in ("en", "fr") for i in range(4)),
        ],
    )
    options = ["--format", "csv", "--input", "a.csv", "--split-column", "s", "--language-column", "l"]
    assert read(*options, "--languages", "en", "--hold-out-test", 2) == 0
    error = capsys.readouterr().err
    assert "note: 12 rows in the language 'fr' were left out" in error
    assert "note: 4 rows of the split 'x' were left out" in error


def test_a_split_that_is_spelled_in_two_ways_is_read_by_the_first_and_the_rest_is_said(folder, capsys):
    """In each language on its own; no row goes without a word."""
    rows = [(f"{language} {split} {i}", "ab"[i % 2], language, split)
            for language, splits in (("en", ("train", "dev", "valid", "test")), ("de", ("dev", "test")))
            for split in splits for i in range({"train": 9, "dev": 6}.get(split, 4))]  # fmt: skip
    write_csv("shop.csv", [["text", "label", "language", "split"], *rows])
    columns = ["--language-column", "language", "--split-column", "split"]
    assert main(["init", "--input", "shop.csv", "--output", "described", "--no-ask"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in told if line.startswith("rows:")] == [
        *(["9", "train", "en"], ["4", "valid", "en"], ["4", "test", "en"]),
        *(["6", "valid", "de"], ["4", "test", "de"]),
    ]
    assert read("--format", "csv", "--input", "shop.csv", *columns) == 0
    assert "note: 6 rows of the split 'dev' were left out" in capsys.readouterr().err
    assert [row.text for row in corpus("T_val", "en").rows] == [f"en valid {i}" for i in range(4)]
    assert [row.text for row in corpus("T_val", "de").rows] == [f"de dev {i}" for i in range(6)]
    assert read("--format", "csv", "--input", "shop.csv", *columns, "--splits", "valid=dev") == 0
    assert "note: 4 rows of the split 'valid' were left out" in capsys.readouterr().err
    assert len(corpus("T_val", "en").rows) == 6


def test_a_language_that_is_spelled_in_two_ways_is_said(folder, capsys):
    rows = [(f"{spelled} {i}", "ab"[i % 2], spelled) for spelled in ("English", "German", "de") for i in range(20)]
    write_csv("shop.csv", [["text", "label", "language"], *rows])
    options = ["--language-column", "language", "--languages", "en=English", "de=German"]
    said = "shop.csv spells the language of the train rows in de 'German' and 'de'; write it alike"
    assert said in refused(
        capsys, "--format", "csv", "--input", "shop.csv", *options, "--hold-out", 2, "--hold-out-test", 2
    )
    assert main(["init", "--input", "shop.csv", *options, "--output", "described", "--no-ask"]) == 2
    assert said in capsys.readouterr().err


def test_parquet(folder):
    for language in ("en", "de"):
        texts = [f"{language} {i}" for i in range(2500)]
        table = pyarrow.table({"text": texts, "label": [float(i % 2) for i in range(2500)], "id": list(range(2500))})
        pyarrow.parquet.write_table(table, f"{language}.parquet")
    options = ["--format", "parquet", "--input", "{language}.parquet", "--id-column", "id", "--aligned"]
    assert read(*options, "--hold-out", 10, "--hold-out-test", 20) == 0
    assert corpus("S_trn", "en").ids == [str(i) for i in range(2470)]
    assert corpus("T_val", "de").rows[3] == Row("2473", "1", "de 2473")
    assert corpus("T_tst", "de").ids == [str(i) for i in range(2480, 2500)]


# --- Hugging Face datasets ---

CLASSES = datasets.ClassLabel(names=["neg", "pos", "meh"])


def dataset_of(language, labels, **more):
    values = {"text": [f"{language} {i}" for i in range(len(labels))], "label": labels, **more}
    return datasets.Dataset.from_dict(
        values,
        datasets.Features(
            {"text": datasets.Value("string"), "label": CLASSES, **{name: datasets.Value("string") for name in more}}
        ),
    )


def test_a_dataset_saved_to_disk(folder, capsys):
    both = ["en", "en", "en", "de", "de", "de"]
    saved = datasets.DatasetDict(
        train=dataset_of("x", [0, 1, 2, 0, 1, 2], lang=both),
        validation=dataset_of("v", [0, 1, 2, 0, 1, 2], lang=both),
        test=dataset_of("t", [2, -1, 0, 1, 0, -1], lang=both),
    )
    saved.save_to_disk("saved")
    assert read("--format", "datasets", "--input", "saved", "--language-column", "lang") == 0
    train = corpus("S_trn", "en")
    assert train.labels == ("neg", "pos", "meh")  # as the classes are, not by the alphabet
    assert [row.label for row in train.rows] == ["neg", "pos", "meh"]
    assert corpus("T_trn", "de").ids == ["de-4", "de-5", "de-6"]
    assert corpus("T_tst", "de").rows == [Row("de-4", "pos", "t 3"), Row("de-5", "neg", "t 4")]
    assert "1 rows without a label were left out" in capsys.readouterr().err
    assert set(train.provenance["raw_files"]) == {"saved/train"}
    digest = train.provenance["raw_files"]["saved/train"]
    saved["train"] = dataset_of("y", [0, 1, 2, 0, 1, 2], lang=both)
    saved.save_to_disk("other")
    assert read("--format", "datasets", "--input", "other", "--language-column", "lang") == 0
    assert corpus("S_trn", "en").provenance["raw_files"]["other/train"] != digest


def write_hub_folder(folder, columns, languages, rows):
    """A folder as datasets lie on the hub: a configuration a language, a Parquet file a split, and a README."""
    for language in languages:
        (folder / language).mkdir(parents=True)
        for split, values in rows(language).items():
            made = datasets.Dataset.from_dict(dict(zip(columns, zip(*values, strict=True), strict=True)))
            made = made.cast(datasets.Features({**made.features, **columns}))
            made.to_parquet(folder / language / f"{split}-00000-of-00001.parquet")
    configurations = "".join(
        f"- config_name: {language}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {language}/{split}-*\n" for split in ("train", "validation", "test"))
        for language in languages
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configurations}---\n")


PAWSX = {
    "id": datasets.Value("int32"),
    "sentence1": datasets.Value("string"),
    "sentence2": datasets.Value("string"),
    "label": datasets.ClassLabel(names=["0", "1"]),
}


def pawsx_rows(language):
    made = {
        split: [(i, f"{language} {split} {i}", "b", i % 2) for i in range(1, 6)] for split in ("validation", "test")
    }
    order = [4, 2, 1, 3] if language == "de" else [1, 2, 3, 4]
    return {"train": [(i, f"{language} train {i}", "b", i % 2) for i in order], **made}


def test_pawsx_as_it_lies_on_the_hub(folder, capsys):
    write_hub_folder(folder / "paws-x", PAWSX, ("en", "de"), pawsx_rows)
    options = ["--dataset", "pawsx", "--format", "datasets", "--input", "paws-x", "--languages", "en", "de"]
    assert read(*options, "--translations") == 0
    assert written() == {"S_trn.en", "T_trn_MT.de", "T_val.en", "T_val.de", "T_tst.en", "T_tst.de"}
    made = corpus("T_trn_MT", "de")
    assert [row.text for row in made.rows] == [f"de train {i}" for i in (1, 2, 3, 4)]  # aligned by id
    assert made.ids == corpus("S_trn", "en").ids == ["1", "2", "3", "4"]
    assert made.provenance["translated_by"] == "PAWS-X"
    assert corpus("T_tst", "de").rows[0] == Row("1", "1", "de test 1", "b")
    assert "S_trn has 4 rows; Table 6 of the paper counts 49,401" in capsys.readouterr().err


def test_xnli_as_it_lies_on_the_hub(folder):
    columns = {
        "premise": datasets.Value("string"),
        "hypothesis": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["entailment", "neutral", "contradiction"]),
    }
    write_hub_folder(
        folder / "xnli",
        columns,
        ("en", "sw"),
        lambda language: {
            s: [(f"{language} {s} {i}", "h", i % 3) for i in range(4)] for s in ("train", "validation", "test")
        },
    )
    options = ["--dataset", "xnli", "--format", "datasets", "--input", "xnli", "--languages", "en", "sw"]
    assert read(*options, "--translations") == 0
    test = corpus("T_tst", "sw")
    assert test.labels == ("contradiction", "entailment", "neutral")  # those of the released code
    assert [row.label for row in test.rows] == ["entailment", "neutral", "contradiction", "entailment"]
    assert corpus("T_trn_MT", "sw").rows[2] == Row("3", "contradiction", "sw train 2", "h")


def test_any_dataset_of_the_hub_with_a_configuration_a_language(folder):
    write_hub_folder(folder / "any", PAWSX, ("en", "de", "all_of_them"), pawsx_rows)
    options = ["--format", "datasets", "--input", "any", "--configuration", "{language}", "--text-column", "sentence1"]
    assert read(*options, "--id-column", "id", "--languages", "en", "de") == 0
    assert corpus("T_tst", "de").rows[1] == Row("2", "0", "de test 2")
    assert corpus("S_trn", "en").labels == ("0", "1")


def test_a_dataset_that_is_not_there(folder, capsys):
    assert "the dataset nobody/nothing cannot be loaded" in refused(
        capsys, "--format", "datasets", "--input", "nobody/nothing"
    )
    error = refused(capsys, "--dataset", "pawsx", "--format", "datasets", "--languages", "en")
    assert "the split test of google-research-datasets/paws-x (en) cannot be loaded" in error
    assert "marc is not known to lie on the hub; pawsx, xnli are" in refused(
        capsys, "--dataset", "marc", "--format", "datasets"
    )


# --- a YAML file in place of the options ---


def test_the_same_from_a_yaml_file_elsewhere(folder, tmp_path):
    write_csv("shop.csv", [["review", "stars", "lang"], *reviews("en", 9), *reviews("Deutsch", 6)], delimiter=";")
    (folder / "shop.yaml").write_text(
        "format: csv\ninput: shop.csv\ntext_column: review\nlabel_column: stars\nlanguage_column: lang\n"
        "languages: {en: en, de: Deutsch}\nlabels: [3, 2, 1]\ndelimiter: ;\nhold_out: 3\nhold_out_test: 3\n"
    )
    (tmp_path / "elsewhere").mkdir()
    command = ["read", "--dataset", str(folder / "shop.yaml"), "--output", "corpora"]
    assert main([*command, "--hold-out", "2"]) == 0  # an option takes the place of a key
    assert corpus("T_val", "de").labels == ("3", "2", "1")
    assert len(corpus("T_val", "de").rows) == 2


def test_mistakes_in_a_yaml_file_are_said_at_once(folder, capsys):
    (folder / "x.yaml").write_text("format: cvs\ntext_colum: a\naligned: 3\nhold_out: many\nlabels: {a: b}\n")
    error = refused(capsys, "--dataset", "x.yaml")
    assert "there is no key 'text_colum'; did you mean text_column?" in error
    assert "aligned: true or false is needed, got 3" in error
    assert "hold_out: a whole number is needed, got 'many'" in error
    assert "labels: a text or a list of texts is needed" in error
    (folder / "x.yaml").write_text(
        "format: cvs\ninput: a.csv\nhold_out: 0\nlanguages: [de]\nlabels: [a]\nsplits: {dev: x}\n"
    )
    error = refused(capsys, "--dataset", "x.yaml")
    for said in (
        "there is no format 'cvs'; there are csv, tsv, jsonl, parquet, datasets",
        "--hold-out is 0; it needs to be at least 1",
        "the languages need en among them",
        "the labels are a; two or more are needed",
        "there is no split dev; there are train, valid, test",
        "nothing says which rows are for test: give --hold-out-test N, --test-file, --split-column, or {split} in a",
    ):
        assert said in error
    (folder / "x.yaml").write_text("[")
    assert "x.yaml is no YAML" in refused(capsys, "--dataset", "x.yaml")
    assert "none.yaml cannot be read" in refused(capsys, "--dataset", "none.yaml")


# --- mistakes ---

HELD = ["--hold-out", "1", "--hold-out-test", "1"]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("text;label\na;0\n", [], r"the columns there are 'text;label'; is it separated by ';' \(--delimiter\)\?"),
        ("text,label\na,0\nb\n", [], r"a.csv:3: 1 cells, expected 2 as in the header \(text, label\)"),
        ('text,label\n"a,0\n', [], r"a.csv:2: .*; is it separated by ',' and quoted as in CSV\?"),
        ("text,label\na\xff,0\n", [], r"a.csv:2: byte 0xff is not UTF-8"),
        ("text,text\na,0\n", [], "needs the columns label, text, each once; label, text are missing or there twice"),
        ("", [], "the columns there are none"),
        ("text,label\na,0\nb,0\n", [], "the training rows have the label '0' alone in label"),
        ("text,label\na,\nb,\n", [], "the training rows have no label in label"),
        ("text,label\na,0\nb, \n", [], "the training rows have the label '0' alone in label"),
        ("text,label,l\na,0,German\nb,1,\n", ["--language-column", "l"], "are spelled '', 'German'; say which"),
        ("text,label,l\na,0,de\nb,1,de\n", ["--language-column", "l"], "there are train rows in de alone; rows in"),
        ("text,label\na,0\nb,1\n", ["--languages", "en", "fr=Fr"], "there are no rows in fr, spelled 'Fr'"),
        ("text,label\na,0\nb,1\n", ["--labels", "0", "2"], r"a.csv:3: the label '1' is not one of '0', '2'"),
        ("text,label\na,0\nb,1\n", [], r"--hold-out 1 leaves nothing to train on of the 1 usable rows in en of"),
        ("text,label\na,0\n,1\nc,1\nd,0\n", [], r"a.csv:3: the first such row of 1"),
        ("text,label\na,0\n ,1\nc,1\nd,0\n", [], r"there are rows without a text, .* \(nothing stands in place of a"),
        ("text,label,i\na,0,x\nb,1,\n", ["--id-column", "i"], "a.csv:3: no id in i"),
        (
            "text,label,i\na,0,x\nb,1,x\n",
            ["--id-column", "i"],
            r"needs an id of its own; where no column of ids is named, rows are numbered:\n.*:3: the id 'x' stands",
        ),
        ("text,label\n" + "".join(f"a,{i}\n" for i in range(300)), [], "have 300 labels in label .*; is it the column"),
    ],
)  # fmt: skip
def test_mistakes_in_files_are_said(folder, capsys, text, options, said):
    (folder / "a.csv").write_bytes(text.encode("latin-1"))
    assert re.search(said, refused(capsys, "--format", "csv", "--input", "a.csv", *HELD, *options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "format is missing; there are csv, tsv, jsonl, parquet, datasets"),
        (["--dataset", "paws"], "there is no data set 'paws'; there are pawsx, xnli, .*give --format"),
        (["--dataset", "pawsx"], "--input is needed: the folder of the raw files"),
        (["--dataset", "pawsx", "--input", "x", "--text-column", "a"], "--text-column: for data of your own, not for"),
        (["--dataset", "pawsx", "--input", "x", "--train-file", "a", "b"], "--train-file: one file each, for pawsx"),
        (["--dataset", "pawsx", "--format", "datasets", "--form", "xtreme"], "give one --input at most, and no --form"),
        (
            ["--format", "csv", "--input", "a.csv", "--size", "3", *HELD],
            "--size: for pawsx, .*not for data of your own",
        ),
        (["--format", "csv", "--input", "a.csv"], "nothing says which rows are for valid: give --hold-out N"),
        (
            ["--format", "csv", "--train-file", "a.csv", *HELD[:2]],
            "no files to read the test rows from: give --test-file",
        ),
        (["--format", "csv", "--train-file", "a", "--valid-file", "b", *HELD], "--hold-out takes the valid rows from"),
        (
            ["--format", "csv", "--input", "{split}.{lang}.csv"],
            r"\{split\}.\{lang\}.csv has \{lang\} in it; \{language\} and",
        ),
        (["--format", "csv", "--input", "b.csv", *HELD], "b.csv: there is nothing to read the train rows from"),
        (["--format", "csv", "--input", "a.csv", "a.csv", *HELD, "--delimiter", "::"], "'::' is not one character"),
        (["--format", "jsonl", "--input", "a.csv", *HELD, "--delimiter", ";"], "a delimiter is for csv, not for jsonl"),
        (["--format", "jsonl", "--input", "a.csv", *HELD], "a.csv:1: not JSON"),
        (["--format", "parquet", "--input", "a.csv", *HELD], "a.csv cannot be read as Parquet"),
        (["--format", "csv", "--train-file", "a.csv", "copy.csv", *HELD], "train rows in en lie in a.csv and copy.csv"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, capsys, options, said):
    for name in ("a.csv", "copy.csv"):
        write_csv(name, [["text", "label"], ["a", "0"], ["b", "1"], ["c", "0"]])
    assert re.search(said, refused(capsys, *options))


# --- the readers ---


def test_a_damaged_page_of_a_parquet_file_is_said_when_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"row {i}" for i in range(1000)], "label": ["0"] * 1000})
    pyarrow.parquet.write_table(table, path, use_dictionary=False, compression="snappy")
    bytes_of_it = bytearray(path.read_bytes())
    bytes_of_it[40:400] = bytes(360)  # in the first page; what says where the pages are stands at the end
    path.write_bytes(bytes_of_it)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read as Parquet behind row 0"):
        records(path, "parquet", {"0": "0"})


def records(path, kind, label_of, **columns):
    layout = Layout(kind, Columns(columns.pop("id", None), "label", "text", **columns), records=True)
    return [*record_rows(RawFile(path, path.name, "en", layout), label_of, Tally())]


def test_quotes_in_tab_separated_cells_are_undone_only_where_the_csv_module_wrote_the_file(tmp_path):
    path = tmp_path / "a.tsv"
    write_csv(path, [["text", "label"], ['say "a"', "0"], ["b", "0"]], delimiter="\t")
    assert [raw.row.text for raw in records(path, "tsv", {"0": "0"})] == ['say "a"', "b"]
    path.write_text('text\tlabel\n"say"\t0\n"b\t0\n')
    assert [raw.row.text for raw in records(path, "tsv", {"0": "0"})] == ['"say"', '"b']


def test_long_cells_byte_order_marks_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\n" + b"x" * 200_000 + b',0\r\n\r\n"y\r\nz",0\r\n')
    rows = records(path, "csv", {"0": "0"})
    assert [len(raw.row.text) for raw in rows] == [200_000, 4]
    assert [raw.line for raw in rows] == [2, 4]  # where they begin
    assert [raw.row.id for raw in rows] == ["1", "2"]  # their numbers among the rows


def test_values_that_are_no_texts_are_refused_with_their_place(tmp_path):
    path = tmp_path / "a.jsonl"
    values = ["a", 3, True, None, 2.0, 2.5, ["a"], "\ud800"]
    path.write_text("".join(json.dumps({"text": value, "label": "0"}) + "\n" for value in values))
    with pytest.raises(InputError, match=r"a.jsonl:6: text 2.5 instead of a text .*\(the first of 3 such rows\)"):
        records(path, "jsonl", {"0": "0"})
    path.write_text("".join(json.dumps({"text": value, "label": "0"}) + "\n" for value in values[:5]))
    assert [raw.row.text for raw in records(path, "jsonl", {"0": "0"})] == ["a", "3", "true", "", "2"]


def test_every_format_has_a_reader_and_every_option_a_help_text():
    assert set(RECORDS) == {"csv", "tsv", "jsonl", "parquet", "datasets"}
    with pytest.raises(InputError, match="there is no format 'xml'"):
        own_data({"format": "xml", "input": "a"}, "this")


def test_reading_csv_needs_neither_torch_nor_datasets_and_says_what_parquet_needs(folder):
    write_csv("a.csv", [["text", "label"], *([f"a{i}", i % 2] for i in range(4))])
    program = (
        "import sys; sys.modules['pyarrow'] = None; from fairseq_musc.cli import main; status = main(sys.argv[1:]); "
        "print(status, [name for name in ('torch', 'datasets') if name in sys.modules])"
    )
    for kind, expected in (("csv", "0 []"), ("parquet", "2 []")):
        options = ["read", "--format", kind, "--input", "a.csv", *HELD, "--output", f"of_{kind}"]
        done = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == expected
    assert "this format needs the package pyarrow, which is not installed: pip install 'fairseq-musc[" in done.stderr
