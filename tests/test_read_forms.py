"""``fairseq-musc read`` on every published form of every data set."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, languages_of, read_corpus, write_corpus

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
XNLI = ("contradiction", "entailment", "neutral")


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def write(folder, name, lines):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def write_cells(folder, name, rows):
    write(folder, name, ("\t".join(row) for row in rows))


def read(raw, dataset, *options):
    return main(["read", "--dataset", dataset, "--input", str(raw), "--output", str(raw.parent / "corpora"), *options])


def corpus(raw, name, language):
    return read_corpus(raw.parent / "corpora", name, language)


def refused(raw, capsys, dataset, *options):
    """The message of a reading that is refused and leaves nothing behind."""
    assert read(raw, dataset, *options) == 2
    assert not (raw.parent / "corpora").exists()
    return capsys.readouterr().err


EN_DE = ["--languages", "en", "de"]


# --- XTREME's forms, which PAWS-X and XNLI share ---

#: English training pairs; the first and the fourth are the same.
ENGLISH = [("a", "b", "1"), ('c "so"', "d", "0"), ("e\u2028", "f", "1"), ("a", "b", "1"), ("g", "h", "0")]
#: Their German, and the order in which the translations lie.
GERMAN = [("A1", "B1"), ('"C"', "D"), ("E\x85", "F"), ("A2", "B2"), ("G", "H")]
ORDER = [4, 0, 2, 3, 1]


def write_xtreme(raw, train=True):
    if train:
        write_cells(raw, "train-en.tsv", ENGLISH)
    for language in ("en", "de"):
        write_cells(raw, f"dev-{language}.tsv", [(f"{language} v{i}", "x", str(i % 2)) for i in range(3)])
        write_cells(raw, f"test-{language}.tsv", [(f"{language} t{i}", "x", str(i % 2)) for i in range(4)])
    write_cells(raw, "en-de-translated.tsv", [(*ENGLISH[i][:2], *GERMAN[i], ENGLISH[i][2]) for i in ORDER])
    write_cells(
        raw, "test-de-en-translated.tsv", [(f"de t{i}", "x", f"back t{i}", "X", str(i % 2)) for i in (2, 0, 3, 1)]
    )


def test_the_three_column_form_is_read(raw):
    write_xtreme(raw)
    assert read(raw, "pawsx", *EN_DE) == 0
    assert [(row.text, row.text_pair, row.label) for row in corpus(raw, "S_trn", "en").rows] == ENGLISH
    assert corpus(raw, "T_val", "de").rows[2] == Row("3", "0", "de v2", "x")
    assert corpus(raw, "T_tst", "en").ids == ["1", "2", "3", "4"]
    assert {path.name.split(".")[0] for path in (raw.parent / "corpora").iterdir()} == {"S_trn", "T_val", "T_tst"}


def test_translations_are_aligned_by_what_was_translated(raw, capsys):
    write_xtreme(raw)
    assert read(raw, "pawsx", *EN_DE, "--translations") == 0
    source, made = corpus(raw, "S_trn", "en"), corpus(raw, "T_trn_MT", "de")
    assert made.ids == source.ids == ["1", "2", "3", "4", "5"]
    assert [(row.text, row.text_pair) for row in made.rows] == GERMAN  # equal English pairs in order of occurrence
    assert [row.label for row in made.rows] == [label for *_, label in ENGLISH]
    assert (made.language, made.text_language) == ("de", "de")
    back, test = corpus(raw, "S_tst_MT", "de"), corpus(raw, "T_tst", "de")
    assert back.ids == test.ids
    assert [row.text for row in back.rows] == ["back t0", "back t1", "back t2", "back t3"]
    assert (back.language, back.text_language) == ("de", "en")
    assert back.provenance["translated_by"] == "XTREME"
    assert "test-de-en-translated.tsv" in back.provenance["raw_files"]
    assert "translated_by" not in test.provenance
    assert "T_trn_MT  de             5        0\n" in capsys.readouterr().out


def test_without_an_english_train_file_it_is_taken_from_the_translations(raw, capsys):
    write_xtreme(raw, train=False)
    assert "S_trn is not there, but can be taken from xtreme-mt: give --translations" in refused(
        raw, capsys, "pawsx", *EN_DE
    )
    assert read(raw, "pawsx", *EN_DE, "--translations") == 0
    source, made = corpus(raw, "S_trn", "en"), corpus(raw, "T_trn_MT", "de")
    assert [(row.text, row.text_pair, row.label) for row in source.rows] == [ENGLISH[i] for i in ORDER]
    assert [(row.text, row.text_pair) for row in made.rows] == [GERMAN[i] for i in ORDER]
    assert source.ids == made.ids


def test_the_second_language_is_aligned_with_the_english_of_the_first(raw):
    write_xtreme(raw, train=False)
    for name in ("dev", "test"):
        write_cells(raw, f"{name}-fr.tsv", [(f"fr {i}", "x", str(i % 2)) for i in range(3 if name == "dev" else 4)])
    write_cells(raw, "en-fr-translated.tsv", [(*ENGLISH[i][:2], f"f{i}", "F", ENGLISH[i][2]) for i in range(5)])
    write_cells(raw, "test-fr-en-translated.tsv", [(f"fr {i}", "x", f"b{i}", "X", str(i % 2)) for i in range(4)])
    assert read(raw, "pawsx", "--languages", "en", "de", "fr", "--translations") == 0
    assert [row.text for row in corpus(raw, "T_trn_MT", "fr").rows] == ["f4", "f0", "f2", "f3", "f1"]


def test_wrongly_populated_and_missing_translations_stop_or_are_dropped(raw, capsys):
    write_xtreme(raw)
    rows = [(*ENGLISH[i][:2], *GERMAN[i], ENGLISH[i][2]) for i in range(5)]
    rows[1] = (*rows[1][:4], "D")  # its English row is left without a translation
    rows[2] = (*rows[2][:2], "NS", "F", "1")
    rows.append(("not", "there", "x", "y", "1"))
    write_cells(raw, "en-de-translated.tsv", rows)
    error = refused(raw, capsys, "pawsx", *EN_DE, "--translations")
    path = raw / "en-de-translated.tsv"
    assert f"{path}:2: the first wrongly populated row of 1" in error
    assert f"{path}: no translation of 2 rows, the first {raw / 'train-en.tsv'}:2" in error
    assert "2 of 5 rows): --missing drop" in error
    assert read(raw, "pawsx", *EN_DE, "--translations", "--missing", "drop") == 0
    out, err = capsys.readouterr()
    assert "S_trn     en             3        2\n" in out
    assert "note: en-de-translated.tsv: 1 wrongly populated rows were left out" in err
    assert "1 rows translate nothing in train-en.tsv and were left out, the first in line 6" in err
    source, made = corpus(raw, "S_trn", "en"), corpus(raw, "T_trn_MT", "de")
    assert source.ids == made.ids == ["1", "4", "5"]
    assert [row.text for row in made.rows] == ["A1", "A2", "G"]


def test_a_missing_test_translation_is_dropped_from_all_languages(raw):
    write_xtreme(raw)
    write_cells(raw, "test-de-en-translated.tsv", [(f"de t{i}", "x", f"b{i}", "X", str(i % 2)) for i in (0, 2, 3)])
    assert read(raw, "pawsx", *EN_DE, "--translations", "--missing", "drop") == 0
    for name, language in [("T_tst", "en"), ("T_tst", "de"), ("S_tst_MT", "de")]:
        assert corpus(raw, name, language).ids == ["1", "3", "4"]


def test_quotes_of_the_csv_module_are_undone_and_counted(raw, capsys):
    write_xtreme(raw)
    with open(raw / "train-en.tsv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t").writerows(ENGLISH)
    assert '"c ""so"""\td\t0\r\n' in (raw / "train-en.tsv").read_bytes().decode()
    assert read(raw, "pawsx", *EN_DE, "--translations") == 0
    assert corpus(raw, "S_trn", "en").rows[1].text == 'c "so"'
    assert "note: train-en.tsv: 1 cells were in quotation marks" in capsys.readouterr().err


def test_xtreme_test_files_without_labels_are_refused(raw, capsys):
    write_xtreme(raw)
    write_cells(raw, "test-en.tsv", [("a", "b")])
    assert "test-en.tsv:1: 2 cells, expected 3 (sentence1, sentence2, label)" in refused(raw, capsys, "pawsx", *EN_DE)


def test_parts_may_come_in_several_forms_and_folders(raw):
    write_xtreme(raw)
    x_final = raw.parent / "x-final"
    head = ("id", "sentence1", "sentence2", "label")
    write_cells(x_final, "en/train.tsv", [head, *((f"i{n}", *row) for n, row in enumerate(ENGLISH))])
    write_cells(x_final, "de/translated_train.tsv", [head, ("i0", "other", "other", "1")])  # --form leaves it out
    for language in ("en", "de"):
        write_cells(x_final, f"{language}/dev_2k.tsv", [head, ("1", f"{language} v", "x", "0")])
        rows = [(f"k{i}", f"{language}  t{i} ", "x", str(i % 2)) for i in range(4)]
        write_cells(x_final, f"{language}/test_2k.tsv", [head, *rows])
    options = ["--input", str(x_final), str(raw), *EN_DE, "--translations", "--form", "x-final", "xtreme-mt"]
    assert read(raw, "pawsx", *options) == 0
    assert corpus(raw, "T_trn_MT", "de").ids == [f"i{n}" for n in range(5)]
    assert [*corpus(raw, "S_tst_MT", "de").rows[3]] == ["k3", "1", "back t3", "X"]
    forms = corpus(raw, "T_tst", "de").provenance["options"]["forms"]
    assert forms == {
        "S_trn": "x-final",
        "T_val": "x-final",
        "T_tst": "x-final",
        "T_trn_MT": "xtreme-mt",
        "S_tst_MT": "xtreme-mt",
    }


def test_translations_with_ids_are_aligned_by_them(raw, capsys):
    head = ("id", "sentence1", "sentence2", "label")
    write_cells(raw, "en/train.tsv", [head, ("1", "a", "b", "1"), ("2", "a", "b", "0"), ("3", "c", "d", "1")])
    write_cells(
        raw, "de/translated_train.tsv", [head, ("3", "C", "D", "1"), ("1", "A", "B", "1"), ("2", "NS", "B", "0")]
    )
    for language in ("en", "de"):
        for file in ("dev_2k", "test_2k"):
            write_cells(raw, f"{language}/{file}.tsv", [head, ("1", f"{language} {file}", "x", "0")])
    assert read(raw, "pawsx", *EN_DE, "--translations", "--missing", "drop") == 0
    assert corpus(raw, "T_trn_MT", "de").rows == [Row("1", "1", "A", "B"), Row("3", "1", "C", "D")]
    assert "note: S_tst_MT is published in none of the forms that are there" in capsys.readouterr().err
    write_cells(
        raw, "de/translated_train.tsv", [head, ("1", "A", "B", "0"), ("2", "x", "B", "0"), ("3", "C", "D", "1")]
    )
    assert read(raw, "pawsx", *EN_DE, "--translations") == 2
    assert "translated_train.tsv:2: the label is '0', in " in capsys.readouterr().err


def test_two_forms_of_one_corpus_are_not_chosen_from_in_silence(raw, capsys):
    write_xtreme(raw)
    head = ("id", "sentence1", "sentence2", "label")
    for language in ("en", "de"):
        write_cells(raw, f"{language}/test_2k.tsv", [head, ("1", f"{language}", "x", "0")])
    error = refused(raw, capsys, "pawsx", *EN_DE)
    assert "T_tst is there in several forms, x-final (en/test_2k.tsv), xtreme (test-en.tsv): say with --form" in error
    assert read(raw, "pawsx", *EN_DE, "--form", "xtreme") == 0


def test_a_file_in_two_folders_is_refused(raw, capsys):
    write_xtreme(raw)
    write_xtreme(raw.parent / "again")
    error = refused(raw, capsys, "pawsx", *EN_DE, "--input", str(raw), str(raw.parent / "again"))
    assert f"dev-de.tsv lies in {raw} and {raw.parent / 'again'}; give one of them" in error


def test_an_empty_folder_is_refused_with_a_file_of_each_form(raw, capsys):
    error = refused(raw, capsys, "xnli")
    for form, name in [("xnli-1.0", "xnli.test.tsv"), ("mnli", "multinli_1.0_train.txt"), ("xtreme", "test-en.tsv")]:
        assert f"form {form}: give the folder that holds files such as {name}\n" in error


def test_what_is_asked_for_and_nowhere_is_refused(raw, capsys):
    write_xtreme(raw)
    (raw / "test-de-en-translated.tsv").unlink()
    (raw / "en-de-translated.tsv").unlink()
    error = refused(raw, capsys, "pawsx", *EN_DE, "--translations")
    assert "no published translations are there: looked for were x-final-mt: de/translated_train.tsv" in error
    assert "it has x-final, x-final-mt, xtreme, xtreme-mt" in refused(raw, capsys, "pawsx", "--form", "xtreem")


@pytest.mark.parametrize(
    ("dataset", "options", "said"),
    [
        ("marc", ["--translations"], "marc is published without translations"),
        ("pawsx", ["--languages", "en", "--translations"], "--translations needs a language other than en"),
        ("pawsx", ["--size", "1000"], "pawsx is published in one size"),
        ("cls_dvd", ["--form", "xtreme"], "cls_dvd has no form xtreme; it has tsv"),
    ],
)
def test_options_that_do_not_suit_the_data_set_are_refused(raw, capsys, dataset, options, said):
    assert said in refused(raw, capsys, dataset, *options)


def test_translations_of_this_program_are_not_replaced(raw, capsys):
    write_xtreme(raw)
    corpora = raw.parent / "corpora"
    write_corpus(
        corpora, Corpus("T_trn_MT", "de", "de", "pawsx", ("0", "1"), [Row("1", "1", "a", "b")], {"engine": "x"})
    )
    assert read(raw, "pawsx", *EN_DE, "--translations") == 2
    assert "holds T_trn_MT.de made by fairseq-musc translate" in capsys.readouterr().err
    assert read(raw, "pawsx", *EN_DE) == 0
    assert corpus(raw, "T_trn_MT", "de").provenance == {"engine": "x"}


def test_a_file_that_changes_between_check_and_writing_ends_the_run(raw):
    from fairseq_musc.data.datasets import DATASETS
    from fairseq_musc.data.read import read_corpora
    from fairseq_musc.errors import InputError

    write_xtreme(raw)
    corpora = read_corpora(raw, DATASETS["pawsx"], languages=["en", "de"])
    assert next(corpora).name == "S_trn"
    write_cells(raw, "dev-en.tsv", [("x", "y", "1")])
    with pytest.raises(InputError, match=r"dev-en.tsv has changed while it was read"):
        next(corpora)


# --- XNLI ---


def write_xnli(raw):
    head = ("language", "gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "promptID", "pairID", "genre")
    for split, count in (("dev", 3), ("test", 4)):
        rows = [
            (language, XNLI[i % 3], "( x )", f'{language} "p{i}', f"h{i}", "1", str(100 + i), "fiction")
            for language in ("de", "en", "ar")
            for i in range(count)
        ]
        write_cells(raw, f"xnli.{split}.tsv", [head, *rows])


def write_xnli_mt(raw):
    labels = ("neutral", "contradictory", "entailment")
    for language in ("en", "de"):
        rows = [(f"{language} {i}", f'"{i}', labels[i]) for i in range(3)]
        write_cells(raw, f"multinli.train.{language}.tsv", [("premise", "hypo", "label"), *rows])


def test_xnli_lies_in_one_file_for_all_languages(raw):
    write_xnli(raw)
    write_xnli_mt(raw)
    assert read(raw, "xnli", *EN_DE) == 0
    test = corpus(raw, "T_tst", "de")
    assert test.rows[1] == Row("101", "entailment", 'de "p1', "h1")
    assert test.ids == corpus(raw, "T_tst", "en").ids == ["100", "101", "102", "103"]
    assert languages_of(raw.parent / "corpora", "T_val") == ["de", "en"]


def test_the_translations_of_xnli_mt_are_aligned_by_their_order(raw, capsys):
    write_xnli(raw)
    write_xnli_mt(raw)
    assert read(raw, "xnli", *EN_DE, "--translations") == 0
    source, made = corpus(raw, "S_trn", "en"), corpus(raw, "T_trn_MT", "de")
    assert source.rows[1] == Row("2", "contradiction", "en 1", '"1')
    assert made.rows[1] == Row("2", "contradiction", "de 1", '"1')
    assert made.provenance["translated_by"] == "XNLI-MT 1.0"
    lines = (raw / "multinli.train.de.tsv").read_text().split("\n")
    write(raw, "multinli.train.de.tsv", [lines[0], lines[2], lines[1], lines[3]])
    assert read(raw, "xnli", *EN_DE, "--translations") == 2
    assert "multinli.train.de.tsv:2: the label is 'contradiction'" in capsys.readouterr().err


def test_mnli_is_read_as_it_is_published(raw, capsys):
    write_xnli(raw)
    head = ("gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "promptID", "pairID", "label1", "label2")
    rows = [("neutral", "(", "a", "b", "1", "1n", "neutral"), ("-", "(", "c", "d", "1", "1c", "neutral", "entailment")]
    write_cells(
        raw, "multinli_1.0_train.txt", [head, *rows, ("entailment", "(", "e", "f", "2", "2e", "entailment", "")]
    )
    assert read(raw, "xnli", *EN_DE) == 0
    assert corpus(raw, "S_trn", "en").rows == [Row("1n", "neutral", "a", "b"), Row("2e", "entailment", "e", "f")]
    err = capsys.readouterr().err
    assert "note: multinli_1.0_train.txt: 1 rows without a label were left out" in err
    assert "warning: S_trn has 2 rows; Table 6 of the paper counts 392,702" in err


def test_xtreme_translations_of_mnli_are_aligned_with_it(raw):
    write_xnli(raw)
    write_xnli_mt(raw)
    (raw / "multinli.train.de.tsv").unlink()
    labels = ("neutral", "contradictory", "entailment")
    rows = [(f"en {i}", f'"{i}', f"DE {i}", f"H {i}", labels[i]) for i in (2, 0, 1)]
    write_cells(raw, "en-de-translated.tsv", rows)
    rows = [(f'de "p{i}', f"h{i}", f"EN {i}", f"H {i}", XNLI[i % 3]) for i in (3, 2, 1, 0)]
    write_cells(raw, "test-de-en-translated.tsv", rows)
    assert read(raw, "xnli", *EN_DE, "--translations") == 0
    assert [row.text for row in corpus(raw, "T_trn_MT", "de").rows] == ["DE 0", "DE 1", "DE 2"]
    assert corpus(raw, "S_tst_MT", "de").rows[3] == Row("103", "contradiction", "EN 3", "H 3")


def test_english_is_not_held_out_as_other_languages(raw, capsys):
    write_xnli(raw)
    write_xnli_mt(raw)
    error = refused(raw, capsys, "xnli", *EN_DE, "--hold-out", "1")
    assert "S_trn would be multinli.train.en.tsv in every language, which is in en alone" in error
    assert read(raw, "xnli", *EN_DE, "--train-file", "xnli.dev", "--hold-out", "1") == 0
    assert corpus(raw, "T_val", "de").rows == [Row("102", "neutral", 'de "p2', "h2")]


# --- MARC, MLDoc and CLS: every language has rows of its own ---


def review(language, number, stars):
    return {
        "review_id": f"{language}_{number:07}",
        "product_id": "p",
        "stars": str(stars),
        "review_body": f'{language} "Körper"\n{number}\t\u2028',
        "review_title": "Titel, ja",
        "language": language,
        "product_category": "book",
    }


def write_marc(raw, languages=("en", "de"), each=4):
    """Sorted by stars, as the published train files are."""
    for n, language in enumerate(languages):
        for split, first in (("train", 0), ("dev", 100), ("test", 200)):
            rows = [review(language, 1000 * n + first + i, 1 + i // each) for i in range(5 * each)]
            write(raw, f"dataset_{language}_{split}.json", [json.dumps(row, ensure_ascii=False) for row in rows])


def test_reviews_are_pairs_of_their_body_and_of_title_and_category(raw, capsys):
    write_marc(raw)
    assert read(raw, "marc", *EN_DE) == 0
    german = corpus(raw, "T_trn", "de")
    assert german.rows[19] == Row("de_0001019", "5", 'de "Körper"\n1019\t\u2028', "Titel, ja . book")
    assert german.labels == ("1", "2", "3", "4", "5")
    there = {path.name.removesuffix(".tsv") for path in (raw.parent / "corpora").glob("*.tsv")}
    assert there == {"S_trn.en", "T_trn.de", "T_val.en", "T_val.de", "T_tst.en", "T_tst.de"}
    assert not set(german.ids) & set(corpus(raw, "S_trn", "en").ids)
    assert "warning: T_tst has 20 rows; Table 6 of the paper counts 5,000" in capsys.readouterr().err


def test_reviews_can_be_read_as_single_sentences(raw):
    write_marc(raw)
    assert read(raw, "marc_body", *EN_DE) == 0
    assert corpus(raw, "T_val", "de").rows[0] == Row("de_0001100", "1", 'de "Körper"\n1100\t\u2028')


def test_rows_that_are_held_out_or_kept_are_of_all_classes(raw):
    write_marc(raw)
    assert read(raw, "marc", *EN_DE, "--hold-out", "5", "--limit", "10") == 0
    for name, language, start in [("S_trn", "en", 0), ("T_trn", "de", 1000)]:
        train = [int(row.id[3:]) - start for row in corpus(raw, name, language).rows]
        assert train == [0, 1, 4, 5, 8, 9, 12, 13, 16, 17]  # the first two of each class of four
        valid = [int(row.id[3:]) - start for row in corpus(raw, "T_val", language).rows]
        assert valid == [3, 7, 11, 15, 19]  # the last of each


def test_languages_without_alignment_may_have_other_counts(raw, capsys):
    write_marc(raw)
    write_marc(raw, ("de",), each=3)
    assert read(raw, "marc", *EN_DE) == 0
    assert "warning: T_trn has 15 rows" in capsys.readouterr().err


def test_rows_without_a_text_are_dropped_where_they_are(raw, capsys):
    write_marc(raw)
    rows = [review("de", i, 1 + i % 5) for i in range(10)]
    rows[3]["review_body"] = " "
    write(raw, "dataset_de_dev.json", map(json.dumps, rows))
    error = refused(raw, capsys, "marc", *EN_DE)
    assert "dataset_de_dev.json:4: the first such row of 1" in error
    assert read(raw, "marc", *EN_DE, "--missing", "drop") == 0
    assert len(corpus(raw, "T_val", "de").rows) == 9
    assert len(corpus(raw, "T_val", "en").rows) == 20


def write_mldoc(raw, size=1000, wrap=str):
    for word in ("english", "german"):
        for name in (f"train.{size}", "dev", "test"):
            rows = [f"{label}\t{wrap(f'{word} {name} “{i}')}" for i in range(2) for label in ("CCAT", "MCAT")]
            write(raw, f"{word}.{name}", rows)


def test_mldoc_comes_in_sizes(raw, capsys):
    write_mldoc(raw)
    assert "1000, 2000, 5000, 10000 rows, and no --size was given" in refused(raw, capsys, "mldoc", *EN_DE)
    assert "and --size is 3000" in refused(raw, capsys, "mldoc", *EN_DE, "--size", "3000")
    assert "german.train.2000" in refused(raw, capsys, "mldoc", *EN_DE, "--size", "2000")
    assert read(raw, "mldoc", *EN_DE, "--size", "1000") == 0
    german = corpus(raw, "T_trn", "de")
    assert german.rows[1] == Row("de-2", "MCAT", "german train.1000 “0")
    assert german.labels == ("CCAT", "ECAT", "GCAT", "MCAT")
    assert "T_trn has 4 rows; Table 6 of the paper counts 1,000" in capsys.readouterr().err


def test_bytes_that_python_3_printed_are_decoded_and_counted(raw, capsys):
    write_mldoc(raw, wrap=lambda text: str(text.encode()))
    assert "CCAT\tb'german dev \\xe2\\x80\\x9c0'" in (raw / "german.dev").read_text()
    assert read(raw, "mldoc", *EN_DE, "--size", "1000") == 0
    assert corpus(raw, "T_val", "de").rows[0].text == "german dev “0"
    assert "note: german.dev: 4 texts were written as b'...' by Python 3 and were decoded" in capsys.readouterr().err


def test_train_files_that_are_published_short_are_said_to_be(raw, capsys):
    write_mldoc(raw, size=10000)
    for path in raw.glob("german.*"):
        path.rename(raw / path.name.replace("german", "spanish"))
    write(raw, "spanish.train.10000", ["CCAT\ttexto"] * 9458)
    assert read(raw, "mldoc", "--languages", "en", "es", "--size", "10000") == 0
    said = "T_trn has 9,458 rows; Table 6 of the paper counts 10,000, but spanish.train.10000 is published with 9,458"
    assert said in capsys.readouterr().err


def write_cls(raw):
    for language in ("en", "de", "fr", "ja"):
        for split in ("train", "test"):
            data = "".join(f"{i // 10}\t{language} {split} {i}\n" for i in range(20)).encode()
            (raw / f"dvd.{split}.{language}.tsv.gz").write_bytes(gzip.compress(data))


def test_a_fifth_data_set_is_one_row_in_the_table(raw, capsys):
    write_cls(raw)
    assert read(raw, "cls_dvd", "--hold-out", "4") == 0
    assert [row.text for row in corpus(raw, "T_val", "ja").rows] == [f"ja train {i}" for i in (8, 9, 18, 19)]
    assert languages_of(raw.parent / "corpora", "T_trn") == ["de", "fr", "ja"]
    assert "dvd.train.de.tsv.gz" in corpus(raw, "T_trn", "de").provenance["raw_files"]
    assert "S_trn has 16 rows; Prettenhofer and Stein (2010) counts 2,000" in capsys.readouterr().err


def test_a_data_set_without_a_validation_set_says_what_to_do(raw, capsys):
    write_cls(raw)
    assert "cls_dvd is published without a validation set: give --hold-out N" in refused(raw, capsys, "cls_dvd")


def test_a_damaged_archive_is_named(raw, capsys):
    write_cls(raw)
    path = raw / "dvd.test.fr.tsv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} cannot be read: Compressed file ended" in refused(raw, capsys, "cls_dvd", "--hold-out", "4")


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data" / "cls").exists(), reason="the real data are not there")
@pytest.mark.parametrize("domain", ["books", "dvd", "music"])
def test_the_real_reviews(tmp_path, capsys, domain):
    output = tmp_path / "corpora"
    options = ["--input", str(SHARED / "data/cls"), "--output", str(output), "--hold-out", "200"]
    assert main(["read", "--dataset", f"cls_{domain}", *options]) == 0
    said = capsys.readouterr().err.splitlines()
    assert not [line for line in said if not line.startswith("read: ")]  # every count is the published one
    for language in ("en", "de", "fr", "ja"):
        trained = "S_trn" if language == "en" else "T_trn"
        for name, count in [(trained, 1800), ("T_val", 200), ("T_tst", 2000)]:
            labels = [row.label for row in read_corpus(output, name, language).rows]
            assert [labels.count("0"), labels.count("1")] == [count // 2, count // 2]
    raw = gzip.decompress((SHARED / f"data/cls/{domain}.test.fr.tsv.gz").read_bytes()).decode()
    texts = [row.text for row in read_corpus(output, "T_tst", "fr").rows]
    assert texts == [line.split("\t", 1)[1] for line in raw.removesuffix("\n").split("\n")]


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data" / "pawsx").exists(), reason="the real data are not there")
def test_the_real_sentences_in_xtremes_forms(raw):
    """The real files, laid out by XTREME's rules with its csv module and without it."""
    rows = {}
    for language in ("en", "es"):
        for file in ("dev_2k", "test_2k"):
            lines = (SHARED / f"data/pawsx/x-final/{language}/{file}.tsv").read_text("utf-8").split("\n")[1:-1]
            rows[language, file] = [line.split("\t")[1:] for line in lines]
    for name, language, file in [
        ("train-en", "en", "dev_2k"),
        ("dev-en", "en", "dev_2k"),
        ("dev-es", "es", "dev_2k"),
        ("test-en", "en", "test_2k"),
        ("test-es", "es", "test_2k"),
    ]:
        with open(raw / f"{name}.tsv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, delimiter="\t").writerows(rows[language, file])
    pairs = zip(rows["en", "dev_2k"], rows["es", "dev_2k"], strict=True)
    made = [(*en[:2], *es[:2], en[2]) for en, es in pairs]
    write_cells(raw, "en-es-translated.tsv", sorted(made, key=lambda row: row[0]))
    pairs = zip(rows["en", "test_2k"], rows["es", "test_2k"], strict=True)
    write_cells(raw, "test-es-en-translated.tsv", [(*es[:2], *en[:2], es[2]) for en, es in pairs])
    assert read(raw, "pawsx", "--languages", "en", "es", "--translations", "--missing", "drop") == 0
    source, made = corpus(raw, "S_trn", "en"), corpus(raw, "T_trn_MT", "es")
    untranslated = {i for i, row in enumerate(rows["es", "dev_2k"]) if {"", "NS"} & {text.strip() for text in row[:2]}}
    assert len(untranslated) == 38
    kept = [i for i in range(2000) if i not in untranslated]
    assert [[row.text, row.text_pair] for row in source.rows] == [rows["en", "dev_2k"][i][:2] for i in kept]
    assert [[row.text, row.text_pair] for row in made.rows] == [rows["es", "dev_2k"][i][:2] for i in kept]
    assert sum('"' in row.text for row in made.rows) > 50
