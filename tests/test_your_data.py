"""docs/your-data.md, followed word by word: every command of it, on made-up reviews and with small models."""

import csv
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from translator_fixture import ORDER, WORDS, write_parallel

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_corpus

pytest_plugins = ["translator_fixture"]

DOCS = Path(__file__).parents[1] / "docs"


def write_reviews(path):
    """Who loves or finds is positive, who sees or takes is negative; languages in stretches, as files often are."""
    choose = random.Random(7)
    rows = []
    for language, count in (("en", 240), ("de", 60), ("ja", 60)):
        for i in range(count):
            verb = (11, 10, 12, 13)[i % 4]
            words = [*choose.sample(range(10), 2), verb]
            text = ORDER[language].format(*(WORDS[language][word] for word in words))
            rows.append([text, "positive" if verb in (11, 12) else "negative", language])
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["review", "sentiment", "language"], *rows])


def blocks(text):
    """The commands of a page, and what it shows of their output, in order: pairs of command and lines."""
    found = []
    for line in text.splitlines():
        if line.startswith("    fairseq-"):
            found.append((line.strip(), []))
        elif line.startswith("    ") and found:
            found[-1][1].append(line.removeprefix("    "))
        elif line.startswith("#") and found:
            found.append(("", []))
    return [(command, shown) for command, shown in found if command]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, translator_folder):
    """A folder with what the pages take for granted: reviews.csv, m2m_100, and the encoder by its hub name."""
    folder = tmp_path_factory.mktemp("reviews")
    write_reviews(folder / "reviews.csv")
    (folder / "m2m_100").symlink_to(translator_folder)
    write_parallel(folder / "parallel")
    sizes = {"--vocab-size": 300, "--hidden-size": 32, "--layers": 1, "--heads": 2, "--intermediate-size": 64}
    options = [str(part) for option in sizes.items() for part in option]
    texts = [str(path) for path in (folder / "parallel").iterdir()]
    encoder = ["--output", str(folder / "bert-base-multilingual-cased"), "--dropout", "0"]
    assert main(["new-encoder", *encoder, *options, "--text", *texts]) == 0
    return folder


def train(command, folder):
    """The one command that is not this program's, with what the page says of small encoders."""
    recipe = folder / "reviews" / "reviews.yaml"
    values = yaml.safe_load(recipe.read_text())
    values["optimization"] |= {"lr": [0.005], "max_epoch": 6}
    recipe.write_text(yaml.safe_dump(values))
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_page_word_by_word(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    text = (DOCS / "your-data.md").read_text(encoding="utf-8")
    page, _, other = text.partition("## Other files")
    shown = re.search(r"    (review,.*?)\n\n", page, flags=re.DOTALL)[1].replace("\n    ", "\n").split("\n")
    assert len(shown) == 4
    assert {*shown} <= {*(folder / "reviews.csv").read_text(encoding="utf-8").splitlines()}
    commands = blocks(page)
    assert [command.split()[1] for command, _ in commands] == [
        *("init", "read", "translate", "binarize", "--config-dir", "predict", "ensemble", "report", "export")
    ]
    table = []
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        if program == "fairseq-hydra-train":
            train([program, *arguments], folder)
            continue
        assert main(arguments) == 0
        printed = capsys.readouterr().out.splitlines()
        if arguments[0] in ("init", "read"):
            assert printed[: len(shown)] == shown
        if arguments[0] == "report":
            table = [line.split() for line in printed[:5]]
            assert [line.split()[0] for line in printed if line] == [line.split()[0] for line in shown]
    assert table[0] == ["Inference", "EN", "DE", "JA", "Avg."]
    assert all(float(row[-1]) > 60 for row in table[1:4])  # such reviews are easily told apart
    assert "| Ens. |" in (folder / "reviews-classifier" / "README.md").read_text()

    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(program, {})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["positive", "negative"]

    command = other.partition("    fairseq-musc ")[2].partition("\n\n")[0].replace("\\\n", " ")
    assert main([*shlex.split(command)[:-1], "again"]) == 0
    assert read_corpus("again", "T_tst", "ja").rows == read_corpus("corpora", "T_tst", "ja").rows


@pytest.mark.long
def test_the_page_on_python(folder, monkeypatch, capsys):
    """Needs what the page on your own data leaves behind: run the whole file."""
    monkeypatch.chdir(folder)
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    with open("reviews.csv", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["language"] == "en"]
    names = {
        "texts": [row["review"] for row in rows],
        "labels": [row["sentiment"] for row in rows],
        "german_texts": ["Der Mann liebt den Fluss.", "Der Hund sieht den Baum."],
        "german_labels": ["positive", "negative"],
        "my_service": lambda texts, source, target: ["the man loves the river."] * len(texts),
    }
    for program in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(program, names)
    printed = capsys.readouterr().out
    assert "Inference" in printed
    assert (folder / "german-reviews" / "model.safetensors").is_file()
