"""What holds no rows: the memory of a step does not grow with the texts it reads; ``make soak`` takes a million."""

import tracemalloc
from collections import deque

import fake_engine
import joblib
import page_world
import pytest

from fairseq_musc import files
from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.page import groups
from fairseq_musc.translate import flaw_counts, texts

pytest_plugins = ["fake_engine"]

SMALL, LARGE = 500, 2500
#: Characters of a text: whoever holds texts holds as many bytes a row.
LONG = 1000


def run(command):
    assert main([*map(str, command)]) == 0


def peak(command):
    """The most that a command allocates, in bytes."""
    tracemalloc.start()
    try:
        run(command)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def grown(command, small=SMALL, large=LARGE):
    """By how many bytes a row the peak of a command grows, of a function from a number of rows to its arguments."""
    run(command(small - 1))  # what is loaded and kept once
    return (peak(command(large)) - peak(command(small))) / (large - small)


def text(row, of=""):
    return f"{row} {of} {' '.join(['x' * 29] * (LONG // 30))}"


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def x_final(folder, rows):
    """Three files with ids, one of each split, the test rows in two languages."""
    for name, count in {
        "en/train": rows,
        "en/dev_2k": 9,
        "de/dev_2k": 9,
        "en/test_2k": rows,
        "de/test_2k": rows,
    }.items():
        cells = (f"{row}\t{text(row)}\tb\t{row % 2}" for row in range(count))
        write(folder / f"{name}.tsv", ["id\tsentence1\tsentence2\tlabel", *cells])
    return ("--dataset", "pawsx", "--input", folder, "--languages", "en", "de")


def translated(folder, rows):
    """Translations in another order, which are found by the texts that were translated."""
    for language in ("en", "de"):
        for split in ("dev", "test"):
            write(folder / f"{split}-{language}.tsv", (f"{language} {row}\tb\t{row % 2}" for row in range(9)))
    write(folder / "train-en.tsv", (f"{text(row)}\tb\t{row % 2}" for row in range(rows)))
    turned = (f"{text(row)}\tb\t{text(row, 'de')}\tB\t{row % 2}" for row in reversed(range(rows)))
    write(folder / "en-de-translated.tsv", turned)
    return ("--dataset", "pawsx", "--input", folder, "--languages", "en", "de", "--translations")


def own(folder, rows):
    """A file in which every row is numbered, and some of every class are held out."""
    write(folder / "a.csv", ["text,label", *(f"{text(row)},{row % 3}" for row in range(rows))])
    return ("--format", "csv", "--input", folder / "a.csv", "--hold-out", "9", "--hold-out-test", "9")


@pytest.mark.parametrize("made", [x_final, translated, own])
def test_reading_holds_no_texts(made, tmp_path):
    def command(rows):
        return ("read", *made(tmp_path / f"{rows}", rows), "--output", tmp_path / f"corpora-{rows}")

    each = grown(command)
    assert each < LONG / 5, each


def corpus_of(folder, rows):
    write_corpus(
        folder, Corpus("T_tst", "de", "de", "toy", ("0",), [Row(f"{row}", "0", text(row)) for row in range(rows)])
    )
    return ("--corpora", folder, "--make", "S_tst_MT")


def file_of(folder, rows):
    write(folder / "in.txt", map(text, range(rows)))
    return ("--file", folder / "in.txt", "--output", folder / "out.txt", "--from", "de", "--to", "en")


@pytest.mark.parametrize("made", [corpus_of, file_of])
def test_translating_holds_no_texts(made, tmp_path, fake, monkeypatch):
    """Here in small blocks; SQLite keeps to its own bound, which is not seen here."""
    monkeypatch.setattr(fake_engine, "translated", deque(maxlen=0))
    monkeypatch.setattr(files, "BLOCK", 2**14)
    for module, name in ((texts, "BLOCK"), (flaw_counts, "AT_ONCE")):
        monkeypatch.setattr(module, name, 50)

    def command(rows):
        options = made(tmp_path / f"{rows}", rows)
        return ("translate", "--engine", "fake", "--translator", tmp_path / "fake", "--chunk", "50", *options)

    with joblib.parallel_config("sequential"):  # what its processes take is by the clock
        each = grown(command, 200, 700)
    assert each < LONG / 2, each  # some 100,000 bytes are by chance


def test_the_report_page_holds_the_texts_that_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "RESAMPLES", 10)
    monkeypatch.setattr(page_world, "LANGUAGES", ("de",))
    monkeypatch.setattr(page_world, "TEXTS", [text(0)])
    monkeypatch.setattr(files, "BLOCK", 2**14)

    def command(rows):
        monkeypatch.setattr(page_world, "ROWS", rows)
        predictions = page_world.write_world(tmp_path / f"{rows}")
        corpora = ("--corpora", tmp_path / f"{rows}" / "corpora", "--examples", "3")
        return ("page", "--predictions", predictions, *corpora, "--output", tmp_path / f"{rows}.html")

    each = grown(command, 300, 1200)
    assert each < LONG, each  # a row has four texts
