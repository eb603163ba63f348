"""A bar on a terminal, lines in a log: of the bar itself, and of every verb that can take long."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from fairseq_musc import progress
from fairseq_musc.cli import main

pytest_plugins = ["checkpoint_fixture"]

COUNT = """
import time
from fairseq_musc.progress import progress_bar, say
with progress_bar(40, "sentences", "en -> de", done=10, delay=0) as bar:
    for i in range(3):
        time.sleep(0.6)
        bar.update(10)
    say("one thing")
"""


@pytest.mark.parametrize(("every", "lines"), [(0, 5), (1000, 1)])
def test_in_a_log_there_is_a_line_now_and_then(monkeypatch, capsys, every, lines):
    monkeypatch.setattr(progress, "LINES_EVERY", every)
    with progress.progress_bar(500, "sentences", "en -> de", done=100, delay=0) as bar:
        for _ in range(4):
            bar.update(20)
        progress.say("between")
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    shown = err.splitlines()
    assert len(shown) == lines + 2
    assert shown[0].startswith("en -> de: 100 of 500 sentences, ")
    assert shown[-2] == "between"
    assert shown[-1].startswith("en -> de: 180 of 500 sentences, ")
    if lines > 1:
        assert shown[4].startswith("en -> de: 180 of 500 sentences, ")
        assert shown[4].endswith(" left")


def test_what_an_earlier_run_did_is_no_part_of_the_speed(capsys):
    with progress.progress_bar(1000, "sentences", "x", done=900, delay=0) as bar:
        bar.update(50)
        bar.start_t = bar._time() - 100
        assert str(bar) == "x: 950 of 1000 sentences, 0.5/s, 01:40 so far, 01:40 left"


def test_what_is_quick_shows_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINES_EVERY", 0)
    assert list(progress.with_progress("abc", "letters", "spell")) == [*"abc"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SHORT", 0)
    assert list(progress.with_progress("abc", "letters", "spell")) == [*"abc"]
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in shown] == [f"spell: {n} of 3 letters" for n in (0, 1, 2, 3, 3)]


def test_how_many_there_are_need_not_be_known(monkeypatch, capsys):
    with progress.progress_bar(None, "files", "read", delay=0) as bar:
        bar.update(3)
        bar.start_t = bar._time() - 60
        assert str(bar) == "read: 3 files, 20 s each, 01:00 so far"


def test_there_is_one_way_to_show_progress():
    """``processes.py`` shows what its trainings log on the bar itself; the third turns that of transformers off."""
    root = Path(progress.__file__).parent
    own = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if "tqdm" in path.read_text()}
    assert own == {"progress.py", "experiments/processes.py", "models/masked_language_model.py"}


@pytest.fixture(scope="module")
def predictions(world, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    options = ["--checkpoint", str(checkpoint), "--data", str(world.data), "--predictions", str(folder)]
    assert main(["predict", "--cpu", *options]) == main(["ensemble", "--predictions", str(folder)]) == 0
    return folder


VERBS = {
    "read --dataset pawsx --input RAW/x-final --languages en de fr es ja --output NEW": "read: 22 files",
    "init --input RAW/x-final/en/train.tsv --text-column sentence1 --label-column label --output NEW": "look: 1 of 1",
    "check-translations --corpora CORPORA": "check: 512 of 512 texts",
    "binarize --corpora CORPORA --data NEW --tokenizer ENCODER": "binarize: 452 of 452 rows",
    "predict --checkpoint CHECKPOINT --data DATA --predictions NEW --cpu": "predict S_tst_MT.fr: 105 of 105 rows",
    "ensemble --predictions PREDICTIONS --output NEW": "read: 3 of 3 languages",
    "report --predictions PREDICTIONS": "read: 8 of 8 tables",
    "compare --first PREDICTIONS --corpora T_tst Ens": "bootstrap: 3 of 3 languages",
    "figure --predictions PREDICTIONS --output NEW": "draw: 2 of 2 files",
    "calibrate --predictions PREDICTIONS": "read: 8 of 8 tables",
    "rerun --predictions PREDICTIONS --save-dir NEW": "read: 8 of 8 tables",
    "demo-data --output NEW --train 20 --valid 5 --test 5 --parallel 30": "make up parallel text: 30 of 30 sentences",
    "page --predictions PREDICTIONS --output NEW": "read: 1 of 1 runs",
    "probe --checkpoint CHECKPOINT --data DATA --cpu": "probes",
    "export CHECKPOINT NEW": "export: 4 of 4 steps",
    "new-encoder --text RAW/x-final/en/train.tsv --output NEW --vocab-size 200": "learn word pieces: ",
}


@pytest.mark.parametrize("command", VERBS, ids=lambda command: command.split()[0])
def test_every_verb_that_can_take_long_shows_how_far_it_is(
    command, world, checkpoint, predictions, tmp_path, monkeypatch, capsys
):
    """Shown from the start here; and nothing of it where results go, nor where the verb is quick."""
    if "RAW" in command:
        sizes = [f"--{split}={rows}" for split, rows in (("train", 20), ("valid", 5), ("test", 5))]
        assert main(["demo-data", "--output", str(tmp_path / "raw"), *sizes]) == 0
        capsys.readouterr()
    places = {"CORPORA": world.corpora, "DATA": world.data, "ENCODER": world.encoder, "RAW": tmp_path / "raw"}
    places |= {"CHECKPOINT": checkpoint, "PREDICTIONS": predictions}
    printed = []
    for place, short in (("quick", 600), ("slow", 0)):
        monkeypatch.setattr(progress, "SHORT", short)
        words = command.replace("NEW", str(tmp_path / place / "new")).split()
        (tmp_path / place).mkdir()
        for name, path in places.items():
            words = [re.sub(rf"^{name}\b", str(path), word) for word in words]
        assert main(words) == 0
        printed.append(capsys.readouterr())
    quick, slow = printed
    assert " so far" not in quick.err
    assert VERBS[command] in slow.err
    assert " so far" in slow.err
    assert " so far" not in slow.out


def test_on_a_terminal_one_line_is_drawn_over():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    drawn = b""
    with subprocess.Popen([sys.executable, "-P", "-c", COUNT], stderr=theirs) as process:
        os.close(theirs)
        try:
            while part := os.read(ours, 4096):
                drawn += part
        except OSError:  # the other side was closed
            pass
    os.close(ours)
    assert process.returncode == 0
    text = drawn.decode()
    assert text.count("\r") > 3
    assert "40/40" in text
    assert "sentences/s" in text
    assert "one thing" in text
