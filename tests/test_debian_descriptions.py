"""scripts/debian_descriptions.py on made-up stanzas, and what ``init`` and ``read`` make of what it writes."""

import bz2
import csv
import gzip
import hashlib
import importlib.util
import itertools
import lzma
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_corpus

pytest_plugins = ["translator_fixture"]

SCRIPT = Path(__file__).parents[1] / "scripts" / "debian_descriptions.py"
spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
assert spec is not None and spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

#: What nothing else says, long enough to tell a package by.
LONG = "The same words stand in two packages, which nobody could tell apart by what is written of them here."


class Lists:
    """Lists of apt that are being made up."""

    def __init__(self, *languages):
        self.languages = languages
        self.stanzas = {name: [] for name in ("Packages", *(f"Translation-{xx}" for xx in ("en", *languages)))}

    def add(self, name, section, english=None, source=None, **translations):
        english = english or f"what {name} is\n It does {name}."
        md5 = hashlib.md5(english.encode()).hexdigest()
        source = f"Source: {source}\n" if source else ""
        self.stanzas["Packages"].append(
            f"Package: {name}\n{source}Description: x\nDescription-md5: {md5}\nSection: {section}\nSize: 1\n"
        )
        for language, text in {"en": english, **translations}.items():
            self.stanzas[f"Translation-{language}"].append(
                f"Package: {name}\nDescription-md5: {md5}\nDescription-{language}: {text}\n"
            )

    def add_everywhere(self, name, section, **how):
        translations = {xx: f"{name} in {xx}\n The {xx} of {name}." for xx in self.languages}
        self.add(name, section, **{**translations, **how})

    def write(self, folder):
        """In the forms that lists come in, each under one of them."""
        folder.mkdir()
        forms = {"Packages": ("", open)} | dict(zip(list(self.stanzas)[1:], itertools.cycle(FORMS), strict=False))
        for name, (ending, opener) in forms.items():
            with opener(folder / f"deb_{name}{ending}", "wt", encoding="utf-8") as stream:
                stream.write("\n".join(self.stanzas[name]))


FORMS = ((".gz", gzip.open), (".xz", lzma.open), ("", open), (".bz2", bz2.open))


def made_up(lists):
    """Eight packages of each of two sections in all languages, ten in English alone."""
    for section in ("games", "mail"):
        for i in range(8):
            lists.add_everywhere(f"{section}{i}", section if i else f"contrib/{section}")
        for i in range(10):
            lists.add(f"en-{section}{i}", section)
    return lists


def made(lists, tmp_path, *options):
    """The rows that the script writes, and its exit status."""
    lists.write(tmp_path / "lists")
    arguments = [tmp_path / "lists", tmp_path / "new" / "debian.csv", "--languages", "de", "ja", *options]
    assert script.main([*map(str, arguments)]) == 0
    with open(tmp_path / "new" / "debian.csv", encoding="utf-8", newline="") as stream:
        return [*csv.DictReader(stream)]


def ids(rows, split, language="en"):
    return [row["id"] for row in rows if (row["split"], row["language"]) == (split, language)]


@pytest.fixture
def lists():
    return made_up(Lists("de", "ja"))


def test_lines_become_paragraphs_and_lists():
    assert script.plain(
        "a game\n It is a\n game.\n .\n Its parts:\n  * one, which\n    goes on\n  * two\n and more"
    ) == ("a game\n\nIt is a game.\n\nIts parts:\n* one, which goes on\n* two\nand more")
    assert script.plain("short") == "short"
    assert script.plain("碁\n 囲碁の\n 対局を Go\n という。") == "碁\n\n囲碁の対局を Go という。"


def test_rows_of_three_splits(lists, tmp_path, capsys):
    lists.add("doom", "libs")
    rows = made(lists, tmp_path, "--sections", "games", "mail", "--most", "7")
    counts = Counter((row["split"], row["language"], row["section"]) for row in rows)
    of_all = {(split, language): n for split, n in (("valid", 2), ("test", 6)) for language in ("en", "de", "ja")}
    assert counts == {
        (*where, section): n for where, n in {("train", "en"): 7, **of_all}.items() for section in ("games", "mail")
    }
    for split in ("valid", "test"):
        assert ids(rows, split) == ids(rows, split, "de") == ids(rows, split, "ja")
    [text] = [row["text"] for row in rows if (row["id"], row["language"]) == ("games3", "de")]
    assert text == "games3 in de\n\nThe de of games3."
    printed = capsys.readouterr().out
    assert "36 packages of 2 sections" in printed
    assert "6 of train beyond 7 of a section" in printed
    assert "always games: 50.0% of test" in printed


def test_the_order_of_the_lists_does_not_matter(lists, tmp_path):
    (tmp_path / "again").mkdir()
    first = made(lists, tmp_path)
    for stanzas in lists.stanzas.values():
        stanzas.reverse()
    assert made(lists, tmp_path / "again") == first


def test_a_source_stands_once_and_in_one_split(lists, tmp_path):
    lists.add("games1-data", "games", source="games1 (1.0)")
    lists.add_everywhere("games2-data", "games", source="games2")
    lists.add("en-games3-data", "games", source="en-games3")
    lists.add("a", "games", source="several")
    lists.add("b", "games", source="several")
    found = {row["id"] for row in made(lists, tmp_path)}
    assert {"games1", "games2", "en-games3", "a"} <= found
    assert not {"games1-data", "games2-data", "en-games3-data", "b"} & found


def test_a_translation_that_is_english_or_of_an_older_text_is_none(lists, tmp_path, capsys):
    lists.add_everywhere("equal", "games", english="the same", de="the same")
    lists.add_everywhere("partly", "games", english=f"it\n {LONG}", de=f"es\n {LONG}")
    lists.add_everywhere("older", "games")
    lists.stanzas["Translation-de"][-1] = "Package: older\nDescription-md5: 0\nDescription-de: alt\n"
    rows = made(lists, tmp_path)
    assert {"equal", "partly", "older"} <= {*ids(rows, "train")}
    assert not {"equal", "partly", "older"} & {row["id"] for row in rows if row["split"] != "train"}
    [line] = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("de ")]
    assert line == ["de", "18", "1", "1"]


def test_packages_that_share_a_paragraph_are_in_one_split(lists, tmp_path, capsys):
    for i in range(4):
        lists.add_everywhere(f"like{i}", "games", english=f"number {i}\n {LONG}")
    lists.add("unlike", "mail", english=f"another\n {LONG.upper()}")
    rows = made(lists, tmp_path)
    assert len({split for split in ("valid", "test") if any("like" in each for each in ids(rows, split))}) == 1
    assert "unlike" not in ids(rows, "train")
    assert "1 of train with a paragraph of a split before it" in capsys.readouterr().out


def test_what_is_wrong_with_the_lists_is_said(lists, tmp_path, capsys):
    lists.write(tmp_path / "lists")
    there = [str(tmp_path / "lists"), str(tmp_path / "debian.csv")]
    assert script.main([*there, "--languages", "fr"]) == 2
    assert "is to hold one list Translation-fr" in capsys.readouterr().err
    assert script.main([*there, "--languages", "de", "--sections", "sport"]) == 2
    assert "no rows for test, valid, train" in capsys.readouterr().err
    (tmp_path / "lists" / "deb_security_Packages.lz4").write_bytes(b"not LZ4")
    assert script.main([*there, "--languages", "de"]) == 2
    assert "got deb_Packages, deb_security_Packages.lz4" in capsys.readouterr().err
    (tmp_path / "lists" / "deb_Packages").unlink()
    assert script.main([*there, "--languages", "de"]) == 2
    assert "deb_security_Packages.lz4" in capsys.readouterr().err
    assert not (tmp_path / "debian.csv").exists()


def test_init_and_read_take_it_as_it_is(lists, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = made(lists, tmp_path)
    assert main(["init", "--input", "new/debian.csv", "--output", "debian", "--aligned"]) == 0
    printed = capsys.readouterr().out
    assert "columns: section (label), text (text), id (id), language (language), split (split)" in printed
    assert main(["read", "--dataset", "debian/debian.data.yaml", "--output", "corpora"]) == 0
    corpus = read_corpus("corpora", "T_tst", "ja")
    labels = {row["id"]: row["section"] for row in rows}
    assert [(row.id, row.label) for row in corpus.rows] == [(each, labels[each]) for each in ids(rows, "test")]
    assert not [*Path("corpora").glob("T_trn.*")]


@pytest.mark.long
def test_a_set_that_init_has_described_goes_the_whole_way_to_table_3(lists, tmp_path, translator_folder):
    """Some minutes: translations, 5 trainings of a grid and one of the table."""
    made(lists, tmp_path)
    assert main(["init", "--input", f"{tmp_path}/new/debian.csv", "--aligned", "--output", f"{tmp_path}/debian"]) == 0
    sizes = "--vocab-size 200 --hidden-size 32 --layers 1 --heads 2 --intermediate-size 64"
    made_of = ["--output", str(tmp_path / "encoder"), "--text", str(tmp_path / "new" / "debian.csv")]
    assert main(["new-encoder", *made_of, *sizes.split()]) == 0
    done = subprocess.run(
        [SCRIPT.parent / "results.sh", "3", "debian", tmp_path / "debian", tmp_path / "results", "tiny"],
        env={
            **os.environ,
            "ENCODER": str(tmp_path / "encoder"),
            "TRANSLATOR": str(translator_folder),
            "SEEDS": "1",
            "OMP_NUM_THREADS": "2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results" / "debian" / "results" / "all"
    assert "- test rows: 12\n" in (results / "table3.md").read_text(encoding="utf-8")
    assert "ids were drawn" in (results / "ens-t_tst.md").read_text(encoding="utf-8")
    assert not [*(tmp_path / "results" / "debian" / "corpora").glob("T_trn_BT.*")]
