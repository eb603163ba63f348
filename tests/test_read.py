"""``fairseq-musc read``: raw files to corpora, all or nothing."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_corpus
from fairseq_musc.data.datasets import DATASETS
from fairseq_musc.data.read import read_corpora
from fairseq_musc.data.reading import check_raw_files
from fairseq_musc.errors import InputError

PAWSX = DATASETS["pawsx"]
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def write_raw(folder, language, file, rows):
    """Rows as id, sentence1, sentence2, label."""
    path = folder / language / f"{file}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["id\tsentence1\tsentence2\tlabel", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows(language, file, count):
    return [[str(i), f"{language} {file} {i}", f"{language} {file} {i}b", str(i % 2)] for i in range(1, count + 1)]


@pytest.fixture
def raw(tmp_path):
    """10 rows to train on in English, 4 to validate and 5 to test in English and German."""
    folder = tmp_path / "x-final"
    write_raw(folder, "en", "train", rows("en", "train", 10))
    for language in ("en", "de"):
        write_raw(folder, language, "dev_2k", rows(language, "dev", 4))
        write_raw(folder, language, "test_2k", rows(language, "test", 5))
    return folder


def read(raw, *options):
    return main(["read", "--dataset", "pawsx", "--input", str(raw), "--output", str(raw.parent / "corpora"), *options])


def edit(raw, language, file, line, *cells):
    """Puts other cells in a line of a raw file; without cells, takes the line out."""
    path = raw / language / f"{file}.tsv"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[line - 1 : line] = ["\t".join(cells)] if cells else []
    path.write_text("\n".join(lines), encoding="utf-8")


def refused(raw, capsys, *options):
    """The message of a reading that is refused and leaves nothing behind."""
    assert read(raw, *options) == 2
    assert not (raw.parent / "corpora").exists()
    return capsys.readouterr().err


def test_published_files_become_corpora(raw, capsys):
    assert read(raw, "--languages", "en", "de") == 0
    out, err = capsys.readouterr()
    assert out.split("\n") == [
        "corpus  language    rows  dropped",
        "S_trn   en            10        0",
        "T_val   en             4        0",
        "T_val   de             4        0",
        "T_tst   en             5        0",
        "T_tst   de             5        0",
        "",
    ]
    assert "warning: S_trn has 10 rows; Table 6 of the paper counts 49,401" in err
    corpora = raw.parent / "corpora"
    assert len(list(corpora.iterdir())) == 10
    german = read_corpus(corpora, "T_tst", "de")
    assert german.rows[2] == ("3", "1", "de test 3", "de test 3b")
    assert (german.text_language, german.labels, german.is_pair) == ("de", ("0", "1"), True)
    provenance = german.provenance
    assert provenance["raw_files"]["de/test_2k.tsv"] == sha256((raw / "de/test_2k.tsv").read_bytes()).hexdigest()
    assert provenance["version"]
    assert str(raw.parent) not in json.dumps(provenance)


def test_quotes_come_back_to_the_letter(raw):
    edit(raw, "de", "dev_2k", 2, "1", '"Er sagte "ja\u2028""', "''x", "1")
    read(raw, "--languages", "de", "en")
    row = read_corpus(raw.parent / "corpora", "T_val", "de").rows[0]
    assert (row.text, row.text_pair) == ('"Er sagte "ja\u2028""', "''x")


def test_english_alone_works(raw):
    assert read(raw, "--languages", "en") == 0
    assert {path.stem for path in (raw.parent / "corpora").iterdir()} == {"S_trn.en", "T_val.en", "T_tst.en"}


def test_held_out_rows_are_the_last_usable_ones_in_every_language(raw):
    write_raw(raw, "en", "dev_2k", rows("en", "dev", 37))
    write_raw(raw, "de", "dev_2k", rows("de", "dev", 37))
    edit(raw, "de", "dev_2k", 6, "5", "NS", "de dev 5b", "0")  # in the part to train on
    edit(raw, "de", "dev_2k", 36, "35", "de dev 35", " ", "0")  # in the part that is held out
    edit(raw, "de", "test_2k", 4, "3", "NS", "NS", "0")
    options = ["--languages", "en", "de", "--train-file", "dev_2k", "--hold-out", "6", "--missing", "drop"]
    assert read(raw, *options) == 0
    corpora = raw.parent / "corpora"
    train = read_corpus(corpora, "S_trn", "en")
    assert train.ids == [str(i) for i in range(1, 31) if i != 5]
    assert train.provenance["dropped_rows"] == 1
    for language in ("en", "de"):
        valid = read_corpus(corpora, "T_val", language)
        assert valid.ids == ["31", "32", "33", "34", "36", "37"]
        assert [row.text for row in valid.rows] == [f"{language} dev {i}" for i in valid.ids]
        assert valid.provenance["dropped_rows"] == 1
        assert valid.provenance["untranslated_rows"] == {"en/dev_2k.tsv": 0, "de/dev_2k.tsv": 2}
        assert read_corpus(corpora, "T_tst", language).ids == ["1", "2", "4", "5"]


def test_a_limit_keeps_the_first_rows_of_each_corpus(raw):
    assert read(raw, "--languages", "en", "de", "--limit", "3") == 0
    corpora = raw.parent / "corpora"
    assert [read_corpus(corpora, *name).ids for name in [("S_trn", "en"), ("T_val", "de"), ("T_tst", "de")]] == [
        ["1", "2", "3"]
    ] * 3


def test_untranslated_rows_stop_by_default(raw, capsys):
    edit(raw, "de", "dev_2k", 3, "2", "NS", "b", "0")
    edit(raw, "de", "dev_2k", 5, "4", "a", "", "0")
    edit(raw, "en", "test_2k", 2, "1", "\u3000", "b", "1")
    error = refused(raw, capsys, "--languages", "en", "de")
    assert f"{raw / 'de/dev_2k.tsv'}:3: the first such row of 2" in error
    assert f"{raw / 'en/test_2k.tsv'}:2: the first such row of 1" in error
    assert "2 of 4 and 1 of 5 rows" in error
    assert "--missing drop" in error


def test_a_sentence_with_ns_in_it_is_a_sentence(raw):
    edit(raw, "de", "dev_2k", 3, "2", "NS-Zeit", "die NS", "0")
    assert read(raw, "--languages", "en", "de") == 0


def test_another_length_is_said_with_both_numbers(raw, capsys):
    edit(raw, "de", "test_2k", 4)
    error = refused(raw, capsys, "--languages", "en", "de")
    assert f"{raw / 'de/test_2k.tsv'} has 4 rows, {raw / 'en/test_2k.tsv'} has 5" in error
    assert f"{raw / 'de/test_2k.tsv'}:4: the id is '4', in {raw / 'en/test_2k.tsv'}:4 it is '3'" in error


def test_an_id_that_stands_twice_is_refused(raw, capsys):
    edit(raw, "en", "train", 8, "3", "a", "b", "0")
    error = refused(raw, capsys, "--languages", "en", "de")
    assert f"{raw / 'en/train.tsv'}:8: the id '3' stands in line 4 already" in error


def test_labels_that_differ_are_refused_unless_the_row_is_dropped(raw, capsys):
    edit(raw, "de", "test_2k", 4, "3", "a", "b", "0")
    error = refused(raw, capsys, "--languages", "en", "de", "--missing", "drop")
    assert f"{raw / 'de/test_2k.tsv'}:4: the label is '0', in {raw / 'en/test_2k.tsv'}:4 it is '1'" in error
    edit(raw, "de", "test_2k", 4, "3", "NS", "b", "0")
    assert read(raw, "--languages", "en", "de", "--missing", "drop") == 0


def test_mistakes_in_several_files_are_said_at_once(raw, capsys):
    edit(raw, "de", "test_2k", 3, "2", "a", "b", "2")
    (raw / "en" / "dev_2k.tsv").write_bytes(b"id\tsentence1\tsentence2\tlabel\n1\t\xff\tb\t0\n")
    error = refused(raw, capsys, "--languages", "en", "de")
    assert f"{raw / 'de/test_2k.tsv'}:3: the label '2' is not one of '0', '1'" in error
    assert f"{raw / 'en/dev_2k.tsv'}:2: byte 0xff is not UTF-8" in error


def test_files_that_are_not_there_are_listed_with_what_is(raw, capsys):
    error = refused(raw, capsys, "--languages", "en", "de", "fr")
    assert "2 of the 7 files of pawsx looked for are not in" in error
    assert str(raw / "fr/dev_2k.tsv") in error
    assert str(raw / "fr/test_2k.tsv") in error
    assert "dev_2k is there in en de" in error


def test_without_train_files_the_way_out_is_named(raw, capsys):
    (raw / "en" / "train.tsv").unlink()
    assert "--train-file dev_2k --hold-out 400" in refused(raw, capsys, "--languages", "en", "de")


def test_a_wrong_folder_is_said(tmp_path):
    with pytest.raises(InputError, match=r"15 of the 15 files.*\n[^@]*such as en.test_2k.tsv"):
        read_corpora(tmp_path, PAWSX, languages=PAWSX.languages)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--languages", "de"], "need en among them"),
        (["--languages", "en", "xx"], "pawsx has no language xx; it has en, de, es"),
        (["--languages", "en", "de", "en"], "stands twice"),
        (["--train-file", "dev_2k"], "the train and the valid set would both be dev_2k; give --hold-out N"),
        (["--train-file", "test_2k", "--hold-out", "2"], "the train and the test set would both be test_2k"),
        (["--valid-file", "dev_2k", "--hold-out", "2"], "give one of them"),
        (["--languages", "en", "--train-file", "dev_2k", "--hold-out", "4"], "nothing to train on of the 4 usable"),
    ],
)
def test_options_that_do_not_go_together_are_refused(raw, capsys, options, said):
    assert said in refused(raw, capsys, *options)


def test_corpora_of_an_earlier_reading_do_not_stay_among_the_new(raw, capsys):
    assert read(raw, "--languages", "en", "de") == 0
    before = (raw.parent / "corpora" / "S_trn.en.json").read_bytes()
    assert read(raw, "--languages", "en", "--limit", "1") == 2
    assert "T_tst.de, T_val.de of an earlier reading" in capsys.readouterr().err
    assert (raw.parent / "corpora" / "S_trn.en.json").read_bytes() == before


def test_reading_twice_writes_the_same_bytes(raw):
    read(raw, "--languages", "en", "de")
    corpora = raw.parent / "corpora"
    first = {path.name: path.read_bytes() for path in corpora.iterdir()}
    read(raw, "--languages", "en", "de")
    assert {path.name: path.read_bytes() for path in corpora.iterdir()} == first


def test_reading_needs_neither_torch_nor_fairseq(raw):
    program = (
        "import sys; from fairseq_musc.cli import main; status = main(sys.argv[1:]); "
        "print(status, [name for name in ('torch', 'fairseq', 'transformers') if name in sys.modules])"
    )
    options = ["read", "--dataset", "pawsx", "--input", raw, "--output", raw.parent / "corpora"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, options), "--languages", "en", "de"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("0 []\n")


UNTRANSLATED = {
    "dev_2k": {"en": 0, "de": 68, "es": 38, "fr": 8, "ja": 20, "ko": 35, "zh": 16},
    "test_2k": {"en": 0, "de": 32, "es": 1, "fr": 14, "ja": 54, "ko": 28, "zh": 25},
}


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data" / "pawsx").exists(), reason="the real data are not there")
def test_the_real_files():
    corpora = {
        (corpus.name, corpus.language): corpus
        for corpus in read_corpora(
            SHARED / "data/pawsx/x-final",
            PAWSX,
            languages=PAWSX.languages,
            files={"train": "dev_2k"},
            hold_out=400,
            missing="drop",
        )
    }
    assert len(corpora) == 15
    for name, file in [("S_trn", "dev_2k"), ("T_val", "dev_2k"), ("T_tst", "test_2k")]:
        provenance = corpora[name, "en"].provenance
        expected = {f"{language}/{file}.tsv": count for language, count in UNTRANSLATED[file].items()}
        assert provenance["untranslated_rows"] == expected
    train, valid, test = (corpora[name, "en"] for name in ("S_trn", "T_val", "T_tst"))
    assert [corpus.provenance["dropped_rows"] for corpus in (train, valid, test)] == [123, 28, 121]
    assert [len(corpus.rows) for corpus in (train, valid, test)] == [1449, 400, 1879]
    assert not set(train.ids) & set(valid.ids)
    # The rows whose label nobody knows are among the untranslated ones.
    assert not {"104", "530", "694", "748", "1837", "1921"} & set(test.ids)
    for corpus in corpora.values():
        texts = {text.strip() for row in corpus.rows for text in (row.text, row.text_pair)}
        assert not texts & {"NS", ""}


def test_ids_of_aligned_files_are_kept_once(raw):
    reading = check_raw_files([raw], PAWSX, languages=["en", "de"])
    english, german = next(plan for plan in reading.planned if plan.name == "T_tst").row_set.files.values()
    assert [*german.heads.ids] == ["1", "2", "3", "4", "5"]
    assert german.heads.ids is english.heads.ids
