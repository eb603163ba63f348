"""A plain file translated line by line, or by columns, between any two languages."""

import gzip
import json

import fake_engine
import pytest

from fairseq_musc.cli import main
from fairseq_musc.files import sha256

pytest_plugins = ["fake_engine"]
pytestmark = pytest.mark.usefixtures("fake")

GERMAN = "Ein Satz. Noch einer.\n\n  \nEin Satz.\nLetzte Zeile"


@pytest.fixture
def translate(tmp_path):
    def run(source, output, *more, languages=("de", "ja")):
        where = ["--file", str(tmp_path / source), "--output", str(tmp_path / output)]
        engine = ["--translator", str(tmp_path / "fake"), "--engine", "fake"]
        return main(["translate", *engine, *where, "--from", languages[0], "--to", languages[1], *more])

    return run


def test_a_line_for_each_line(tmp_path, translate):
    (tmp_path / "in.txt").write_text(GERMAN, encoding="utf-8")
    assert translate("in.txt", "out.txt") == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == (
        "sATZ. eIN [de-ja]EINER. nOCH [de-ja]\n\n  \nsATZ. eIN [de-ja]\nzEILE lETZTE [de-ja]\n"
    )
    assert sorted(fake_engine.translated) == ["Ein Satz.", "Letzte Zeile", "Noch einer."]
    about = json.loads((tmp_path / "out.txt.json").read_text())
    assert about["lines"] == 5
    assert about["sha256"] == sha256(tmp_path / "out.txt")
    made_with = about["provenance"]
    assert (made_with["source_language"], made_with["target_language"], made_with["engine"]) == ("de", "ja", "fake")
    assert (made_with["made_from"], made_with["made_from_sha256"]) == ("in.txt", sha256(tmp_path / "in.txt"))
    assert made_with["translator"] == {"fake.pt": "f" * 64}
    assert {"fairseq-musc", "sentencex", "sentencepiece"} <= set(made_with["versions"])
    assert {path.name for path in tmp_path.iterdir()} == {"fake", "in.txt", "out.txt", "out.txt.json"}


def test_columns_of_a_packed_table_with_a_header(tmp_path, translate):
    rows = "id\ttext\tn\tother\r\n1\tEin Satz.\t3\tzwei drei\r\n\n2\t\t4\tEin Satz.\r\n"
    with gzip.open(tmp_path / "in.tsv.gz", "wt", encoding="utf-8", newline="") as stream:
        stream.write(rows)
    more = ["--columns", "4", "2", "--header", "--nbest", "2"]
    assert translate("in.tsv.gz", "out.tsv.gz", *more, languages=("de", "en")) == 0
    with gzip.open(tmp_path / "out.tsv.gz", "rt", encoding="utf-8", newline="") as stream:
        assert stream.read() == (
            "id\ttext\tn\tother\r\n1\tsATZ. eIN [de-en]\t3\tDREI ZWEI [de-en]\r\n\n2\t\t4\tsATZ. eIN [de-en]\r\n"
        )
    with gzip.open(tmp_path / "out.nbest2.tsv.gz", "rt", encoding="utf-8", newline="") as stream:
        assert "DREI ZWEI [de-en] (2)\r\n" in stream.read()


def test_what_is_there_is_kept_or_not_replaced_unasked(tmp_path, translate, capsys):
    (tmp_path / "in.txt").write_text(GERMAN, encoding="utf-8")
    (tmp_path / "out.txt").write_text("mine")
    assert translate("in.txt", "out.txt") == 2
    assert "there is nothing beside it that says what made it" in capsys.readouterr().err
    assert (tmp_path / "out.txt").read_text() == "mine"
    assert translate("in.txt", "out.txt", "--overwrite") == 0
    before = (tmp_path / "out.txt.json").read_bytes()
    fake_engine.translated.clear()
    assert translate("in.txt", "out.txt") == 0
    assert "it is kept" in capsys.readouterr().err
    assert fake_engine.translated == []
    assert translate("in.txt", "out.txt", languages=("de", "en")) == 2
    assert "target_language was 'ja', asked is 'en'" in capsys.readouterr().err
    assert (tmp_path / "out.txt.json").read_bytes() == before
    with open(tmp_path / "out.txt", "a") as stream:
        stream.write("more\n")
    assert translate("in.txt", "out.txt") == 2
    assert "has changed since it was written" in capsys.readouterr().err


def test_a_run_that_failed_goes_on(tmp_path, translate, monkeypatch):
    (tmp_path / "in.txt").write_text("".join(f"Satz {i}\n" for i in range(30)), encoding="utf-8")
    small = ["--chunk", "4", "--batch-tokens", "16"]
    with monkeypatch.context() as patch:
        patch.setenv("FAIL_AT", "Satz 17")
        with pytest.raises(ZeroDivisionError):
            translate("in.txt", "out.txt", *small)
    assert not (tmp_path / "out.txt").exists()
    fake_engine.translated.clear()
    assert translate("in.txt", "out.txt", *small) == 0
    assert fake_engine.translated == [f"Satz {i}" for i in range(16, 30)]
    assert (tmp_path / "out.txt").read_text() == "".join(f"{i} sATZ [de-ja]\n" for i in range(30))
    assert not (tmp_path / ".translate").exists()


@pytest.mark.parametrize(
    ("data", "more", "problem"),
    [
        (None, [], "in.txt cannot be read: No such file"),
        (b"one\ntw\xffo\n", [], "in.txt, line 2: not UTF-8"),
        (b"a\tb\n\nc\nd\n", ["--columns", "2"], "2 lines have no column 2: line 3 has 1, line 4 has 1"),
        (b"a\tb\n", ["--columns", "0", "1"], "--columns 0 1: each is 1 or more"),
        (b"a\tb\n", ["--columns", "1", "1"], "--columns 1 1: each is 1 or more, and stands there once"),
        (b"a\n", ["--to", "xx"], "the fake does not know xx; it knows de, en, fr, ja"),
        (b"a\n", ["--output", "in.txt"], "is the file itself"),
    ],
)
def test_mistakes_are_said(tmp_path, translate, capsys, monkeypatch, data, more, problem):
    monkeypatch.chdir(tmp_path)
    if data is not None:
        (tmp_path / "in.txt").write_bytes(data)
    assert translate("in.txt", "out.txt", *more) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out.txt").exists()


def test_an_empty_file_is_an_empty_file(tmp_path, translate):
    (tmp_path / "in.txt").write_text("")
    assert translate("in.txt", "out.txt") == 0
    assert (tmp_path / "out.txt").read_text() == ""
    assert fake_engine.translated == []


def test_a_byte_order_mark_is_no_text(tmp_path, translate):
    (tmp_path / "in.txt").write_text("\ufeffEin Satz.\n", encoding="utf-8")
    assert translate("in.txt", "out.txt") == 0
    assert (tmp_path / "out.txt").read_text() == "sATZ. eIN [de-ja]\n"
