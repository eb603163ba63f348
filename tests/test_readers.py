"""Raw files: sentences come back to the letter, and what is wrong is named with file and line."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.data.corpus import Row
from fairseq_musc.data.datasets import Columns, Layout
from fairseq_musc.data.readers import READERS, RawLines, RawRow, Tally
from fairseq_musc.errors import InputError

PAIR = Layout("header_tsv", Columns("id", "label", "sentence1", "sentence2"))
HEADER = b"id\tsentence1\tsentence2\tlabel\n"
BARE = Layout("tsv", Columns(None, "label", "s1", "s2"), header=("s1", "s2", "label"))
BOTH_SIDES = Layout(
    "tsv",
    Columns(None, "label", "t1", "t2", source=("s1", "s2")),
    header=("s1", "s2", "t1", "t2", "label"),
    may_be_wrong=True,
)
LABEL_TEXT = Layout("label_text", Columns(None, "label", "text"))
JSON = Layout("json_lines", Columns("review_id", "stars", "{body}", "{title} . {category}"))
ZERO_ONE = {"0": "0", "1": "1"}


def table(data, layout=PAIR, label_of=ZERO_ONE, language=None):
    """The rows of a file, and what its reader counted besides."""
    lines = [*io.BytesIO(data)]  # a binary stream ends lines at \n alone
    tally = Tally()
    return [*READERS[layout.format](lines, "de/dev_2k.tsv", layout, label_of, tally, language)], tally


def read(data, layout=PAIR, **options):
    return table(data, layout, **options)[0]


def message(data, layout=PAIR, **options):
    with pytest.raises(InputError) as error:
        read(data, layout, **options)
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
    assert [raw.row for raw in read(data)] == [Row("1", "0", "a", "b"), Row("2", "1", "c", "d")]


def test_single_sentences_have_no_second_text():
    layout = Layout("header_tsv", Columns("id", "label", "text"))
    assert read(b"id\ttext\tlabel\n1\ta\t0\n", layout) == [RawRow(2, Row("1", "0", "a", None))]


def test_rows_without_an_id_are_numbered_within_their_file():
    layout = Layout("header_tsv", Columns(None, "label", "premise", "hypo"))
    assert [raw.row.id for raw in read(b"premise\thypo\tlabel\na\tb\t0\nc\td\t1\n", layout)] == ["1", "2"]
    assert [raw.row.id for raw in read(b"a\tb\t0\nc\td\t1\n", BARE)] == ["1", "2"]
    assert [raw.row.id for raw in read(b"0\ta\n1\tb\n", LABEL_TEXT)] == ["1", "2"]


def test_in_a_file_of_several_languages_those_of_one_are_read():
    layout = Layout("header_tsv", Columns("pairID", "gold", "s1", "s2", language="language"))
    data = b"language\tgold\ts1\ts2\tpairID\nar\t0\ta\tb\t1\nde\t1\tc\td\t1\nar\t7\te\tf\t2\n"
    assert read(data, layout, language="de") == [RawRow(3, Row("1", "1", "c", "d"))]
    assert "4: the label '7'" in message(data, layout, language="ar")


def test_labels_have_other_spellings_and_rows_without_one_are_counted():
    label_of = {"contradiction": "contradiction", "contradictory": "contradiction", "-": None}
    data = HEADER + b"1\ta\tb\tcontradictory\n2\tc\td\t-\n3\te\tf\tcontradiction\n"
    rows, tally = table(data, label_of=label_of)
    assert [raw.row.label for raw in rows] == ["contradiction", "contradiction"]
    assert [raw.line for raw in rows] == [2, 4]
    assert tally.unlabelled == 1


def test_rows_may_be_short_where_the_format_says_so():
    data = b"label\ts1\ts2\tpairID\tlabel1\tlabel2\n0\ta\tb\t31193n\t0\n1\tc\td\t2n\t1\t\n"
    layout = Layout("header_tsv", Columns("pairID", "label", "s1", "s2"), short_rows=True)
    assert [raw.row.id for raw in read(data, layout)] == ["31193n", "2n"]
    assert "2: 5 cells, expected 6" in message(data, layout._replace(short_rows=False))
    assert "2: 3 cells" in message(b"label\ts1\ts2\tpairID\tlabel1\n0\ta\tb\n", layout)


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


@pytest.mark.parametrize("layout", [PAIR, BARE, LABEL_TEXT, JSON], ids=lambda layout: layout.format)
def test_an_empty_file_is_refused(layout):
    assert "de/dev_2k.tsv is empty" in message(b"", layout)


def test_cells_without_a_header_are_counted():
    assert message(b"a\tb\n", BARE) == "de/dev_2k.tsv:1: 2 cells, expected 3 (s1, s2, label)"


def test_translations_stand_beside_what_was_translated():
    data = b"a\tb\tA\tB\t1\n"
    assert read(data, BOTH_SIDES) == [RawRow(1, Row("1", "1", "A", "B"), ("a", "b"))]


def test_wrongly_populated_rows_are_set_aside_where_they_are_known_to_occur():
    rows, tally = table(b"a\tb\tA\tB\t1\na\tb\tA\tB\tC\n\na\tb\tc\tA\tB\t0\ne\tf\tE\tF\t0\n", BOTH_SIDES)
    assert [raw.line for raw in rows] == [1, 5]
    assert tally.wrong == [2, 3, 4]


def test_label_text_needs_a_tab_and_a_known_label():
    text = message(b"0\ta\nwithout\n2\tb\n", LABEL_TEXT)
    assert text.split("\n") == [
        "de/dev_2k.tsv:2: no tab between label and text",
        "de/dev_2k.tsv:3: the label '2' is not one of '0', '1'",
    ]


def test_json_values_are_put_together_as_the_columns_say():
    row = {"review_id": "de_1", "stars": 1, "body": "gut {title}", "title": "Na", "category": "book", "other": None}
    assert read(json.dumps(row).encode() + b"\n", JSON) == [
        RawRow(1, Row("de_1", "1", "gut {title}", "Na . book")),
    ]


def test_every_kind_of_wrong_json_is_said():
    good = {"review_id": "1", "stars": "1", "body": "b", "title": "t", "category": "c"}
    lines = [
        good,
        {**good, "body": None},
        [1],
        {**good, "stars": 6},
        {**good, "stars": True},
        {**good, "title": "\ud83d"},
    ]
    without = {key: value for key, value in good.items() if key != "category"}
    data = "".join(json.dumps(line) + "\n" for line in [*lines, without]) + "{\n"
    assert [line.split(":", 1)[1] for line in message(data.encode(), JSON).split("\n")] == [
        "2: body None instead of a text or a whole number",
        "3: '[1]' is not a JSON object",
        "4: the label '6' is not one of '0', '1'",
        "5: stars True instead of a text or a whole number",
        "6: title '\\ud83d' instead of a text or a whole number",
        "7: no category instead of a text or a whole number",
        "8: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ]


def test_compressed_files_are_read_as_others(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"0\ta\x85\r\n1\tb\n")
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"0\ta\x85\r\n1\tb\n"))
    plain, packed = RawLines(tmp_path / "a.tsv"), RawLines(tmp_path / "a.tsv.gz")
    assert [*plain] == [*packed] == [*packed] == [b"0\ta\x85\r\n", b"1\tb\n"]


# Whatever a sentence holds, it comes back. A last row with a lone quotation mark and no \r settles what no reader could
# know of one sentence alone: whether quotes and line ends are those of the file or of the sentence.
IN_A_CELL = st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]))
IN_A_LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = ('so"', "it ends")


@given(st.lists(st.tuples(IN_A_CELL, IN_A_CELL), min_size=1))
def test_any_pair_comes_back_from_a_file_with_a_header(pairs):
    lines = ["id\tsentence1\tsentence2\tlabel", *(f"{i}\t{a}\t{b}\t1" for i, (a, b) in enumerate(pairs))]
    rows = read("".join(f"{line}\n" for line in lines).encode())
    assert [(raw.row.text, raw.row.text_pair) for raw in rows] == pairs


@given(st.lists(st.tuples(IN_A_CELL, IN_A_CELL), min_size=1))
def test_any_pair_comes_back_from_a_file_without_a_header(pairs):
    pairs = [*pairs, PLAIN]
    rows, tally = table("".join(f"{a}\t{b}\t1\n" for a, b in pairs).removeprefix("\ufeff").encode(), BARE)
    first = pairs[0][0].removeprefix("\ufeff")  # that is a byte order mark
    assert [(raw.row.text, raw.row.text_pair) for raw in rows] == [(first, pairs[0][1]), *pairs[1:]]
    assert tally.unquoted == 0


@given(st.lists(st.tuples(IN_A_CELL, IN_A_CELL), min_size=1))
def test_any_pair_comes_back_from_what_the_csv_module_wrote(pairs):
    pairs = [PLAIN, *pairs]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter="\t").writerows([*pair, "1"] for pair in pairs)
    rows, tally = table(stream.getvalue().encode(), BARE)
    assert [(raw.row.text, raw.row.text_pair) for raw in rows] == pairs
    assert tally.unquoted == sum('"' in text or "\r" in text for pair in pairs for text in pair)


def test_one_cell_that_the_csv_module_would_write_otherwise_leaves_all_quotes_alone():
    data = b'"He said ""ha"""\tb\t1\n"whole"\tb\t0\n'
    assert [raw.row.text for raw in read(data, BARE)] == ['"He said ""ha"""', '"whole"']


@given(st.lists(IN_A_LINE, min_size=1))
def test_any_text_comes_back_from_behind_its_label(texts):
    texts = [*texts, PLAIN[0]]
    rows, tally = table("".join(f"1\t{text}\n" for text in texts).encode(), LABEL_TEXT)
    assert [raw.row.text for raw in rows] == texts
    assert tally.unwrapped == 0


@given(st.lists(ANYTHING, min_size=1))
def test_any_text_comes_back_from_the_bytes_that_python_3_printed(texts):
    rows, tally = table("".join(f"1\t{text.encode()}\n" for text in texts).encode(), LABEL_TEXT)
    assert [raw.row.text for raw in rows] == texts
    assert tally.unwrapped == len(texts)


def test_bytes_that_are_not_all_of_a_file_are_text():
    texts = [raw.row.text for raw in read(b"1\tb'a'\n1\tb'a' and c\n", LABEL_TEXT)]
    assert texts == ["b'a'", "b'a' and c"]
    otherwise = [raw.row.text for raw in read(b"1\tb\"a\"\n1\tb'\\x61'\n", LABEL_TEXT)]
    assert otherwise == ['b"a"', "b'\\x61'"]  # Python prints neither so


@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1), st.booleans())
def test_any_text_comes_back_from_json(pairs, ascii_only):
    objects = [{"review_id": "1", "stars": "1", "body": a, "title": b, "category": "c"} for a, b in pairs]
    data = "".join(json.dumps(value, ensure_ascii=ascii_only) + "\n" for value in objects)
    rows = read(data.encode(), JSON)
    assert [(raw.row.text, raw.row.text_pair) for raw in rows] == [(a, f"{b} . c") for a, b in pairs]
