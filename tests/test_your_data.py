"""docs/your-data.md, followed word by word: every command of it, on made-up reviews and with small models.

Once in this process, and once with the wheel in an environment of its own (``make test-long``).
"""

import contextlib
import csv
import io
import os
import random
import re
import shlex
import shutil
import site
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from translator_fixture import ORDER, WORDS, tiny_arguments, write_parallel

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_corpus

pytest_plugins = ["translator_fixture"]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: An encoder of seconds in the place of mBERT.
SIZES = [
    *("--vocab-size", "300", "--hidden-size", "32", "--layers", "1", "--heads", "2"),
    *("--intermediate-size", "64", "--dropout", "0"),
]


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
    texts = [str(path) for path in (folder / "parallel").iterdir()]
    assert (
        main(["new-encoder", "--output", str(folder / "bert-base-multilingual-cased"), *SIZES, "--text", *texts]) == 0
    )
    return folder


def suit_small_models(recipe):
    """What the page says of small encoders."""
    values = yaml.safe_load(recipe.read_text())
    values["optimization"] |= {"lr": [0.005], "max_epoch": 6}
    recipe.write_text(yaml.safe_dump(values))


def train(command, folder):
    """The one command that is not this program's."""
    suit_small_models(folder / "reviews" / "reviews.yaml")
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


PAGE, _, OTHER_FILES = (DOCS / "your-data.md").read_text(encoding="utf-8").partition("## Other files")


@pytest.fixture(scope="module")
def followed(folder):
    """The commands of the page, given one after the other: the words of each, what the page shows, what it printed."""
    given = []
    with contextlib.chdir(folder):
        for command, shown in blocks(PAGE):
            words = shlex.split(command)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                if words[0] == "fairseq-hydra-train":
                    train(words, folder)
                else:
                    assert main(words[1:]) == 0
            given.append((words, shown, printed.getvalue().splitlines()))
    return given


def test_the_page_word_by_word(folder, followed, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    shown = re.search(r"    (review,.*?)\n\n", PAGE, flags=re.DOTALL)[1].replace("\n    ", "\n").split("\n")
    assert len(shown) == 4
    assert {*shown} <= {*(folder / "reviews.csv").read_text(encoding="utf-8").splitlines()}
    assert [words[1] for words, _, _ in followed] == [
        *("init", "read", "translate", "binarize", "--config-dir", "predict", "ensemble", "report", "export")
    ]
    table = []
    for words, shown, printed in followed:
        if words[1] in ("init", "read"):
            assert printed[: len(shown)] == shown
        if words[1] == "report":
            table = [line.split() for line in printed[:5]]
            assert [line.split()[0] for line in printed if line] == [line.split()[0] for line in shown]
    assert table[0] == ["Inference", "EN", "DE", "JA", "Avg."]
    assert all(float(row[-1]) > 60 for row in table[1:4])  # such reviews are easily told apart
    assert "| Ens. |" in (folder / "reviews-classifier" / "README.md").read_text()

    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(program, {})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["positive", "negative"]

    command = OTHER_FILES.partition("    fairseq-musc ")[2].partition("\n\n")[0].replace("\\\n", " ")
    assert main([*shlex.split(command)[:-1], "again"]) == 0
    assert read_corpus("again", "T_tst", "ja").rows == read_corpus("corpora", "T_tst", "ja").rows


@pytest.fixture
def environment(tmp_path):
    """The folder of commands of a new environment with the wheel, and what a process in it is given.

    What the wheel depends on lies where it lies for this process; nothing of the checkout is on the path, and no
    link to it is followed: Python looks for ``.pth`` files in an environment's own folder alone.
    """
    source = tmp_path / "source"
    for part in ("fairseq_musc", "criterions", "tasks", "configs", "hydra_plugins"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run([*pip, *wheel], check=True)
    shutil.rmtree(source)
    [wheel] = tmp_path.glob("fairseq_musc-*.whl")

    made = tmp_path / "environment"
    venv.create(made, with_pip=False, symlinks=True)
    commands = made / "bin"
    [own] = made.glob("lib/python*/site-packages")
    borrowed = [folder for folder in (*site.getsitepackages(), *sys.path) if folder.endswith("site-packages")]
    (own / "borrowed.pth").write_text("".join(f"{folder}\n" for folder in dict.fromkeys(borrowed)))
    install = ["install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([*pip, "--python", str(commands / "python"), *install], check=True)
    [program] = entry_points(group="console_scripts", name="fairseq-hydra-train")
    script = f"#!{commands}/python\nfrom {program.module} import {program.attr}\n{program.attr}()\n"
    (commands / program.name).write_text(script)
    (commands / program.name).chmod(0o755)
    values = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return commands, {**values, "PATH": f"{commands}:/usr/bin:/bin"}


@pytest.mark.long
def test_the_page_word_by_word_with_the_wheel_alone(environment, tmp_path):
    commands, values = environment
    folder = tmp_path / "folder"
    folder.mkdir()

    def run(*command):
        done = subprocess.run(command, cwd=folder, env=values, capture_output=True, text=True)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr[-3000:]}"
        return done.stdout.splitlines()

    found = run(
        f"{commands}/python", "-c", "import fairseq_musc, sys; print(fairseq_musc.__file__, *sys.path, sep='\\n')"
    )
    assert Path(found[0]).is_relative_to(commands.parent)
    on_path = {Path(place).resolve() for place in found[1:] if place}
    assert not {ROOT, *(path.resolve() for path in (ROOT / "build").glob("*"))} & on_path
    write_reviews(folder / "reviews.csv")
    write_parallel(folder / "parallel")
    run(*("fairseq-musc", *tiny_arguments("parallel", "m2m_100")))
    texts = ["parallel/en-de.tsv", "parallel/en-ja.tsv"]
    run("fairseq-musc", "new-encoder", "--output", "bert-base-multilingual-cased", *SIZES, "--text", *texts)

    page = (DOCS / "your-data.md").read_text(encoding="utf-8").partition("## Other files")[0]
    followed = []
    for command, shown in blocks(page):
        printed = run(*shlex.split(command))
        followed.append(command.split()[1])
        if followed[-1] in ("init", "read"):
            assert printed[: len(shown)] == shown
        if followed[-1] == "init":
            suit_small_models(folder / "reviews" / "reviews.yaml")
        if followed[-1] == "report":
            assert [line.split()[0] for line in printed if line] == [line.split()[0] for line in shown if line]
    assert len(followed) == 9
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (folder / "classify.py").write_text(program, encoding="utf-8")
    said = run("python", "classify.py")
    assert [line.split()[0] for line in said] == ["positive", "negative"]


@pytest.mark.long
@pytest.mark.usefixtures("followed")
def test_the_page_on_python(folder, monkeypatch, capsys):
    """It goes on from what the page on your own data leaves behind."""
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
