"""What holds no rows: the memory of a step does not grow with the texts it reads; ``make soak`` takes a million."""

import tracemalloc

import pytest

from fairseq_musc.cli import main

SMALL, LARGE = 500, 4000
#: Characters of a text: whoever holds texts holds as many bytes a row.
LONG = 1000


def peak(*command):
    """The most that a command allocates, in bytes."""
    tracemalloc.start()
    try:
        assert main([*map(str, command)]) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def grown(of_rows):
    """By how many bytes a row a peak grows, of a function from a number of rows."""
    of_rows(SMALL)  # what is loaded and cached once
    small, large = of_rows(SMALL), of_rows(LARGE)
    return (large - small) / (LARGE - SMALL)


def text(row, of=""):
    return f"{row} {of} ".ljust(LONG, "x")


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
    def of_rows(rows):
        options = made(tmp_path / f"{rows}", rows)
        return peak("read", *options, "--output", tmp_path / f"corpora-{rows}")

    each = grown(of_rows)
    assert each < LONG / 5, each
