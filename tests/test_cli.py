"""``fairseq-musc`` as a program among others of a shell."""

import os
import shlex
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


@pytest.mark.parametrize(("closed", "status"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("--seed x 2>&-", 2)])
def test_a_verb_works_without_the_streams_that_it_was_started_without(tmp_path, closed, status):
    sizes = "--train 4 --valid 4 --test 4 --parallel 5"
    command = f"exec fairseq-musc demo-data --output {shlex.quote(str(tmp_path / 'raw'))} {sizes} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, "")
    assert (tmp_path / "raw" / "x-final" / "en" / "train.tsv").exists() == (status == 0)


@pytest.mark.parametrize(
    ("options", "named", "said"),
    [
        ("demo-data --train 4 --parallel 5 --output notes.txt", "notes.txt/x-final/en", "Not a directory"),
        ("demo-data --train 4 --parallel 5 --output folder", "folder/x-final/en/train.tsv", "Is a directory"),
        ("binarize --corpora corpora --tokenizer encoder --data notes.txt", "notes.txt", "Not a directory"),
    ],
)
def test_a_file_in_the_way_of_a_folder_and_a_folder_in_the_way_of_a_file_are_named(
    world, tmp_path, monkeypatch, capsys, options, named, said
):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder" / "x-final" / "en" / "train.tsv").mkdir(parents=True)
    (tmp_path / "corpora").symlink_to(world.corpora)
    (tmp_path / "encoder").symlink_to(world.encoder)
    monkeypatch.chdir(tmp_path)
    assert cli.main(options.split()) == 2
    assert f": error: {named}: {said}" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_the_hub_is_asked_for_is_not_said(tmp_path):
    """fairseq turns on every message there is, of all packages, while it is imported."""
    program = (
        "import logging, sys; from fairseq_musc.cli import main\n"
        f"status = main(['predict', '--checkpoint', 'none.pt', '--data', 'none', '--predictions', {str(tmp_path)!r}])\n"
        "import fairseq_musc.registration\n"
        "assert logging.root.isEnabledFor(logging.DEBUG), 'it turns on nothing any more'\n"
        "logging.getLogger('urllib3.connectionpool').debug('Starting new HTTPS connection')\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "Starting new" not in done.stderr
