"""What is large: 200 languages, 1,000 labels, texts of 100,000 characters, a million rows; ``make soak``."""

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, languages_of, read_corpus, write_corpus
from fairseq_musc.data.databin import open_corpus
from fairseq_musc.evaluate.table import list_predictions, read_predictions

LANGUAGES = ["en", *(f"{a}{b}" for a in "bcdfghklmnpqrstvwxyz" for b in "aeioujwxyz")][:200]
LABELS = [f"topic-{number}" for number in range(1000)]
LONG = 100_000
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "load.py"


def write_csv(path, languages, rows):
    """Rows of the labels in turn; the first text of the first language is long."""
    rng = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["review", "topic", "language"])
        for language in languages:
            for row in range(rows):
                words = LONG // 3 if (language, row) == (languages[0], 0) else 5
                text = " ".join(rng.choice(tiny.WORDS[:10]) for _ in range(words))
                writer.writerow([text, LABELS[row % len(LABELS)], language])


def test_many_languages_many_labels_and_long_texts(tmp_path, monkeypatch, capsys, promise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: None
    )  # hundreds of small files: a disk would take longer than we
    assert len({*LANGUAGES}) == 200
    write_csv(Path("train.csv"), ["en"], len(LABELS))
    write_csv(Path("valid.csv"), LANGUAGES, 1)
    write_csv(Path("test.csv"), LANGUAGES, 2)
    columns = "--format csv --text-column review --label-column topic --language-column language"
    files = "--train-file train.csv --valid-file valid.csv --test-file test.csv"
    assert main(["read", *columns.split(), *files.split(), "--output", "corpora", "--labels", *LABELS]) == 0
    assert len(languages_of("corpora", "T_tst")) == 200
    text = read_corpus("corpora", "T_tst", "en").rows[0].text
    assert len(text) > LONG - 10

    tiny.make_encoder(Path("encoder"))
    tiny.binarize("corpora", "data-bin", "encoder")
    assert len(open_corpus("data-bin", "T_tst", "en").take([0])[0]) > 100  # cut to what the encoder takes
    run = tiny.train(
        *("data-bin", "encoder", "run", "optimization.max_update=2", "task.train_corpora=[S_trn]"),
        *("task.valid_corpora=[T_val]", "criterion.terms=ce", "dataset.batch_size=16"),
    )
    predictions = ["--predictions", "predictions"]
    checkpoint = ["--checkpoint", str(run / "checkpoint_last.pt"), "--data", "data-bin"]
    assert main(["predict", *checkpoint, *predictions, "--corpora", "T_tst"]) == 0
    assert list_predictions("predictions") == [("T_tst", language) for language in sorted(LANGUAGES)]
    assert read_predictions("predictions", "T_tst", LANGUAGES[-1]).probabilities.shape == (2, 1000)
    capsys.readouterr()
    assert main(["report", *predictions]) == 0
    assert {language.upper() for language in LANGUAGES} <= {*capsys.readouterr().out.split()}
    assert main(["page", *predictions, "--corpora", "corpora", "--output", "report.html"]) == 0
    for harm, times in (("languages", 200), ("labels", 1000), ("texts of 100,000 characters", 3)):
        promise("load", f"the whole way with so many {harm}", times)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_memory_with_a_million_rows(tmp_path, promise):
    """A step that holds no rows takes the same with ten times the rows, one that does no more than is promised."""
    done = subprocess.run([sys.executable, BENCHMARK, "--output", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    held = {(r["step"], r["rows"]): r["gib"] for r in json.loads((tmp_path / "load.json").read_text())["results"]}
    steps = {step for step, _ in held}
    assert steps == {"read", "binarize", "train", "predict", "ensemble", "report", "compare", "page"}
    for step in sorted(steps):
        grown = held[step, 1_000_000] - held[step, 100_000]
        assert grown < GIB_FOR_A_MILLION_ROWS[step], (step, held)
        by_the_row = max(0, grown) * 2**30 / 900_000
        promise("load", f"{step}: {held[step, 1_000_000]:.2f} GiB, {by_the_row:,.0f} bytes a row", 1_000_000)


#: What a step may hold more of with 1,000,000 rows than with 100,000.
GIB_FOR_A_MILLION_ROWS = {
    **{"read": 0.1, "binarize": 0.5, "train": 0.3, "predict": 0.8},
    **{"ensemble": 0.3, "report": 0.3, "compare": 0.3, "page": 0.3},
}


#: What a child that translates tells of its memory, in KiB, behind all that it prints. The engine keeps no sentences.
TRANSLATE = """
import collections, sys
import fake_engine
from with_fake_engine import main
fake_engine.translated = collections.deque(maxlen=0)
code = main(sys.argv[1:])
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM:')).split()[1])
sys.exit(code)
"""


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_memory_of_translate_by_the_row(tmp_path, promise):
    """It holds ids, and a bounded part of the sentences: with ``small`` rows as much of them as with ``large``."""
    small, large, held = 200_000, 600_000, {}
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "fake.pt").write_text("1")
    for rows in (small, large):
        content = [Row(f"r{i}", "0", f"{i} is the number of this row, which has some ten words") for i in range(rows)]
        folder = tmp_path / f"corpora-{rows}"
        write_corpus(folder, Corpus("T_tst", "de", "de", "toy", ("0",), content))
        options = ("--translator", tmp_path / "fake", "--engine", "fake", "--corpora", folder, "--make", "S_tst_MT")
        done = subprocess.run(
            [sys.executable, "-c", TRANSLATE, "translate", *map(str, options)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        held[rows] = int(done.stdout.splitlines()[-1]) * 1024
        assert len(read_corpus(folder, "S_tst_MT", "de").rows) == rows
    by_the_row = (held[large] - held[small]) / (large - small)
    assert by_the_row < 80, held
    promise("load", f"translate: {by_the_row:,.0f} bytes for a row of ten words", large)
