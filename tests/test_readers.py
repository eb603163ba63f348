"""Raw files: sentences come back to the letter, and what is wrong is named with file and line."""

import pytest

from fairseq_musc.data.corpus import Row
from fairseq_musc.data.datasets import DATASETS, Columns
from fairseq_musc.data.readers import RawRow, header_tsv
from fairseq_musc.errors import InputError

PAIR = Columns("id", "label", "sentence1", "sentence2")
HEADER = b"id\tsentence1\tsentence2\tlabel\n"


def read(data, columns=PAIR):
    return header_tsv(data, "de/dev_2k.tsv", columns, ("0", "1"))


def message(data, columns=PAIR):
    with pytest.raises(InputError) as error:
        read(data, columns)
    return str(error.value)


def test_quotes_and_unusual_separators_are_ordinary_characters():
    data = HEADER + '7\t"Ja\tso \u2028 \x85\x0b\x1e \\n ""\t1\n8\t\'\' x ``\t\t0\n'.encode()
    assert read(data) == [
        RawRow(2, Row("7", "1", '"Ja', 'so \u2028 \x85\x0b\x1e \\n ""')),
        RawRow(3, Row("8", "0", "'' x ``", "")),
    ]


@pytest.mark.parametrize(
    "data",
    [
        HEADER + b"1\ta\tb\t0\n2\tc\td\t1\n",
        HEADER + b"1\ta\tb\t0\n2\tc\td\t1",
        (HEADER + b"1\ta\tb\t0\n2\tc\td\t1\n").replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + HEADER + b"1\ta\tb\t0\n2\tc\td\t1\n",
        b"label\tsentence2\tsource\tsentence1\tid\n0\tb\twiki\ta\t1\n1\td\tqqp\tc\t2\n",
    ],
    ids=["plain", "no last line end", "CRLF", "byte order mark", "other columns in another order"],
)
def test_the_same_rows_in_other_clothes(data):
    assert [row for _, row in read(data)] == [Row("1", "0", "a", "b"), Row("2", "1", "c", "d")]


def test_single_sentences_have_no_second_text():
    columns = Columns("id", "label", "text")
    assert read(b"id\ttext\tlabel\n1\ta\t0\n", columns) == [RawRow(2, Row("1", "0", "a", None))]


def test_a_byte_that_is_not_utf8_is_named_with_its_line():
    text = message(HEADER + b"1\ta\tb\t0\n2\tM\xfcnchen\tb\t0\n")
    assert text.startswith("de/dev_2k.tsv:3: byte 0xfc is not UTF-8")


def test_a_missing_column_is_named_with_those_that_are_there():
    text = message(b"id\tsentence1\tsentense2\n1\ta\tb\n")
    assert text.startswith("de/dev_2k.tsv:1: ")
    assert "label, sentence2 are missing" in text
    assert "'sentense2'" in text


def test_a_column_twice_is_refused():
    assert "label is missing or there twice" in message(b"id\tsentence1\tsentence2\tlabel\tlabel\n")


def test_every_kind_of_wrong_row_is_said_with_its_first_line():
    text = message(HEADER + b"1\ta\tb\t0\n2\ta\tb\tc\t0\n3\ta\tb\t2\n4\ta\tb\t0\n\n6\ta\tb\tno\n")
    assert text.split("\n") == [
        "de/dev_2k.tsv:3: 5 cells, expected 4 as in the header (the first of 2 such rows)",
        "de/dev_2k.tsv:4: the label '2' is not one of '0', '1' (the first of 2 such rows)",
    ]


def test_an_empty_file_is_refused():
    assert "de/dev_2k.tsv is empty" in message(b"")


def test_every_data_set_names_a_reader_and_is_whole():
    from fairseq_musc.data.readers import READERS

    for name, dataset in DATASETS.items():
        assert name == dataset.name
        assert dataset.format in READERS
        assert set(dataset.files) == set(dataset.rows) == {"train", "valid", "test"}
        assert len({str(dataset.raw_path("x", file, "en")) for file in dataset.files.values()}) == 3


def test_pawsx_is_as_table_6_has_it():
    pawsx = DATASETS["pawsx"]
    assert (len(pawsx.languages), len(pawsx.labels)) == (7, 2)
    assert pawsx.is_pair
    assert list(pawsx.rows.values()) == [49401, 2000, 2000]
