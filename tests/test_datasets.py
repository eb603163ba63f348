"""The table of data sets: what the paper's Table 6 counts, and rows that are whole."""

import string

import pytest

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import DATASETS
from fairseq_musc.data.readers import READERS

#: Typed from Table 6: languages, classes, train, val, test. MLDoc's train is 1,000 to 10,000.
TABLE_6 = {
    "marc": (6, 5, 200_000, 5_000, 5_000),
    "mldoc": (8, 4, None, 1_000, 4_000),
    "pawsx": (7, 2, 49_401, 2_000, 2_000),
    "xnli": (15, 3, 392_702, 2_490, 5_010),
}


@pytest.mark.parametrize("name", TABLE_6)
def test_the_paper_counts_the_same(name):
    row = DATASETS[name]
    counts = [row.rows_of(split) for split in ("train", "valid", "test")]
    assert (len(row.languages), len(row.labels), *counts) == TABLE_6[name]


def test_mldoc_comes_in_four_sizes():
    assert DATASETS["mldoc"].sizes == (1_000, 2_000, 5_000, 10_000)
    assert DATASETS["mldoc"].rows_of("train", 2_000) == 2_000
    assert DATASETS["mldoc"].rows_of("test", 2_000) == 4_000


def test_classes_are_in_the_order_of_the_released_code():
    assert DATASETS["xnli"].labels == ("contradiction", "entailment", "neutral")
    assert DATASETS["mldoc"].labels == ("CCAT", "ECAT", "GCAT", "MCAT")
    assert DATASETS["marc"].labels == ("1", "2", "3", "4", "5")


def test_a_review_is_a_pair_as_in_the_released_code_or_its_body_alone():
    assert DATASETS["marc"].is_pair
    assert not DATASETS["marc_body"].is_pair
    assert [DATASETS[name].is_pair for name in ("pawsx", "xnli", "mldoc", "cls_dvd")] == [True, True, False, False]


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_is_whole(name):
    row = DATASETS[name]
    assert row.name == name
    assert row.languages[0] == "en"
    assert len(set(row.languages)) == len(row.languages)
    assert len({form.name for form in row.forms}) == len(row.forms)
    assert set(row.spellings.values()) <= set(row.labels)
    for form in row.forms:
        assert set(form.files) <= set(CORPORA)
        assert bool(form.translated_by) == bool({"T_trn_MT", "S_tst_MT"} & set(form.files))
        paths = [files.name(files.file, "de") for corpus, files in form.files.items() if not corpus.endswith("MT")]
        assert len(set(paths)) == len(paths)
        for files in form.files.values():
            layout = files.layout
            assert layout.format in READERS
            assert {key for _, key, _, _ in string.Formatter().parse(files.path)} <= {"file", "language", "word", None}
            if layout.header:
                assert set(layout.columns.names) <= set(layout.header)


def test_files_are_called_as_they_are_published():
    names = {
        (row.name, form.name, corpus): files.name(files.file.format(size=1000), "de")
        for row in DATASETS.values()
        for form in row.forms
        for corpus, files in form.files.items()
    }
    assert names["pawsx", "x-final", "T_val"] == "de/dev_2k.tsv"
    assert names["pawsx", "x-final-mt", "T_trn_MT"] == "de/translated_train.tsv"
    assert names["pawsx", "xtreme", "T_tst"] == "test-de.tsv"
    assert names["xnli", "xtreme-mt", "T_trn_MT"] == "en-de-translated.tsv"
    assert names["xnli", "xtreme-mt", "S_tst_MT"] == "test-de-en-translated.tsv"
    assert names["xnli", "xnli-1.0", "T_tst"] == "xnli.test.tsv"
    assert names["xnli", "mnli", "S_trn"] == "multinli_1.0_train.txt"
    assert names["xnli", "mnli-tsv", "S_trn"] == "multinli.train.en.tsv"
    assert names["xnli", "xnli-mt", "T_trn_MT"] == "multinli.train.de.tsv"
    assert names["marc", "json", "S_trn"] == "dataset_de_train.json"
    assert names["mldoc", "label-text", "S_trn"] == "german.train.1000"
    assert names["mldoc", "label-text", "T_val"] == "german.dev"
    assert names["cls_music", "tsv", "T_tst"] == "music.test.de.tsv"
