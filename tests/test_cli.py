"""``fairseq-musc`` as a program among others of a shell."""

import os
import subprocess
import sys

import pytest

from fairseq_musc import cli

PROGRAM = "import sys; from fairseq_musc.cli import main; sys.exit(main(['user-dir']))"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nothing_is_said_if_nobody_reads_any_more(tmp_path, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_pipe_that_is_broken_is_an_error(monkeypatch):
    def run(name, options):
        raise BrokenPipeError("a process that translates has gone")

    monkeypatch.setattr(cli, "run_verb", run)
    with pytest.raises(BrokenPipeError, match="has gone"):
        cli.main(["user-dir"])
