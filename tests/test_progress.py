"""A bar on a terminal, lines in a log."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from fairseq_musc import progress

COUNT = """
import time
from fairseq_musc.progress import progress_bar, say
with progress_bar(40, "sentences", "en -> de", done=10) as bar:
    for i in range(3):
        time.sleep(0.6)
        bar.update(10)
    say("one thing")
"""


@pytest.mark.parametrize(("every", "lines"), [(0, 5), (1000, 1)])
def test_in_a_log_there_is_a_line_now_and_then(monkeypatch, capsys, every, lines):
    monkeypatch.setattr(progress, "LINES_EVERY", every)
    with progress.progress_bar(500, "sentences", "en -> de", done=100) as bar:
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
    with progress.progress_bar(1000, "sentences", "x", done=900) as bar:
        bar.update(50)
        bar.start_t = bar._time() - 100
        assert str(bar) == "x: 950 of 1000 sentences, 0.5/s, 01:40 so far, 01:40 left"


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
