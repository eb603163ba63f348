"""A translation that is killed, shared, cut short or out of space: nothing is lost, doubled, or done twice.

The engine is a fake of tests/fake_engine.py; what is around it runs for real, in processes of its own where it is
killed. What came out is held against an undisturbed run, byte for byte.
"""

import collections
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_engine
import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.translate import chunks
from fairseq_musc.translate.chunks import WorkFolder, chunk_of
from fairseq_musc.translate.engine import Hypothesis
from fairseq_musc.translate.job import fitting

pytest_plugins = ["fake_engine"]

TESTS = Path(__file__).parent
ROWS = 60
CHUNK = 10


@pytest.fixture(autouse=True)
def impatient(fake, monkeypatch):
    monkeypatch.setattr(chunks, "PATIENCE", 0.05)


def write_sources(folder, rows=ROWS):
    """T_tst.de and T_val.de: two sentences a row, some in several rows, and a blank row."""
    for name, count in (("T_tst", rows), ("T_val", rows // 4)):
        texts = [f"Satz {i} von {name}. Das steht {i % 7} mal da." for i in range(count)]
        texts[3] = ""
        content = [Row(f"r{i}", "0", text) for i, text in enumerate(texts)]
        write_corpus(folder, Corpus(name, "de", "de", "toy", ("0",), content))
    return folder


def command(tmp_path, folder, *more):
    make = ["--make", "S_tst_MT", "S_val_MT", "--batch-tokens", "48", "--chunk", str(CHUNK)]
    return [
        "translate", "--translator", str(tmp_path / "fake"), "--engine", "fake", "--corpora", str(folder), *make, *more,
    ]  # fmt: skip


def start(arguments, **environment):
    environment = {**os.environ, **{key: str(value) for key, value in environment.items()}}
    return subprocess.Popen(
        [sys.executable, TESTS / "with_fake_engine.py", *arguments],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def result(folder):
    """The files that were made; of what stands beside them all but the date and what was made in the same run.

    A run that is killed between two files goes on with the second alone.
    """
    found = {path.name: path.read_bytes() for path in folder.glob("*_MT*.tsv")}
    for path in folder.glob("*_MT*.json"):
        about = json.loads(path.read_text())
        del about["provenance"]["date"], about["provenance"]["generated_together"], about["crc32"]
        found[path.name] = about
    assert len(found) == 4
    return found


def logged(path):
    """How often each sentence was translated."""
    return collections.Counter(line.split("\t")[1] for line in path.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def undisturbed(tmp_path, monkeypatch):
    """What a run makes that nothing happens to, and its sentences."""
    with monkeypatch.context() as patch:
        patch.setenv("LOG", str(tmp_path / "undisturbed.log"))
        folder = write_sources(tmp_path / "undisturbed")
        assert main(command(tmp_path, folder)) == 0
    assert not (folder / ".translate").exists()
    counts = logged(tmp_path / "undisturbed.log")
    assert set(counts.values()) == {1}
    assert len(counts) == ROWS - 1 + ROWS // 4 - 1 + 7
    return result(folder), set(counts)


def test_the_fake_is_in_the_result(undisturbed):
    made, _ = undisturbed
    assert b"\tt_TST. VON 5 sATZ [de-en] DA. MAL 5 STEHT dAS [de-en]\n" in made["S_tst_MT.de.tsv"]
    assert b"\nr3\t0\t\n" in made["S_tst_MT.de.tsv"]


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path, undisturbed):
    made, sentences = undisturbed
    folder, log = write_sources(tmp_path / "corpora"), tmp_path / "log"
    choose = random.Random(os.environ.get("PYTEST_SEED", time.time_ns()))
    kills = 0
    while True:
        process = start(command(tmp_path, folder), LOG=log, SECONDS=0.1)
        try:
            _, errors = process.communicate(timeout=choose.uniform(0.5, 1.3) if kills < 6 else None)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    assert process.returncode == 0, errors
    assert kills >= 2
    assert result(folder) == made
    assert not (folder / ".translate").exists()
    counts = logged(log)
    assert set(counts) == sentences
    assert counts.total() - len(counts) <= kills * CHUNK, "more was translated again than the chunks in hand"


def test_a_run_that_is_told_to_stop_says_that_it_can_go_on(tmp_path):
    folder = write_sources(tmp_path / "corpora")
    process = start(command(tmp_path, folder), SECONDS=0.2)
    while len(list(folder.glob(".translate/*/*.jsonl"))) < 1:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("stopped; the chunks that are done are kept")
    assert "Traceback" not in errors


def test_two_processes_share_a_job(tmp_path, undisturbed):
    made, sentences = undisturbed
    folder, log = write_sources(tmp_path / "corpora"), tmp_path / "log"
    processes = [start(command(tmp_path, folder), LOG=log, SECONDS=0.05) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert result(folder) == made
    assert not (folder / ".translate").exists()
    assert logged(log) == dict.fromkeys(sentences, 1)
    assert {line.split("\t")[0] for line in log.read_text().splitlines()} == {str(process.pid) for process in processes}
    assert sum("rows" in error for error in errors) == 1, "both wrote the corpora"
    assert sum("written by another process" in error for error in errors) == 1


def test_the_chunk_of_a_killed_process_goes_to_the_one_that_lives(tmp_path, undisturbed):
    made, _ = undisturbed
    folder, log = write_sources(tmp_path / "corpora"), tmp_path / "log"
    hanging = start(command(tmp_path, folder), LOG=tmp_path / "other", SECONDS=600)
    while not list(folder.glob(".translate/*/*.lock")):
        time.sleep(0.02)
    living = start(command(tmp_path, folder), LOG=log)
    while "waiting" not in (line := living.stderr.readline()):
        assert line, "it ended without the chunk that the other one has"
    assert not list(folder.glob("*_MT*"))
    hanging.kill()
    hanging.communicate()
    errors = living.communicate(timeout=60)[1]
    assert living.returncode == 0, errors
    assert result(folder) == made
    assert set(logged(log).values()) == {1}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A folder whose translation failed at a sentence in the middle, and the files of the chunks before it."""
    folder = write_sources(tmp_path / "corpora")
    with monkeypatch.context() as patch:
        patch.setenv("FAIL_AT", "Satz 40 von T_tst.")
        with pytest.raises(ZeroDivisionError):
            main(command(tmp_path, folder))
    files = sorted(folder.glob(".translate/de-en-*/*.jsonl"))
    assert len(files) > 2
    fake_engine.translated.clear()
    return folder, files


def sentences_in(files):
    return {json.loads(line)[0] for path in files for line in path.read_bytes().splitlines()[1:]}


def rows_of(made):
    return {name: data for name, data in made.items() if name.endswith(".tsv")}


@pytest.mark.parametrize("damage", ["cut", "changed", "no chunk at all", "empty"])
def test_a_damaged_chunk_is_found_and_done_again(tmp_path, undisturbed, begun, capsys, damage):
    made, sentences = undisturbed
    folder, files = begun
    there, inside = sentences_in(files), sentences_in(files[:1])
    data = files[0].read_bytes()
    broken = {"cut": data[: len(data) * 2 // 3], "changed": data.replace(b"[de-en]", b"[de-fr]", 1)}
    files[0].write_bytes(broken.get(damage, b"" if damage == "empty" else b'["a", []]\n'))
    assert main(command(tmp_path, folder)) == 0
    said = capsys.readouterr().err
    assert said.count(f"{files[0]} is cut short or was changed; its sentences are translated again") == 1
    assert sorted(fake_engine.translated) == sorted(sentences - there | inside)
    assert result(folder) == made


def test_what_is_there_is_taken_by_a_run_with_other_corpora_and_other_chunks(tmp_path, undisturbed, begun):
    made, _ = undisturbed
    folder, files = begun
    one = ["S_val_MT" if name == "S_tst_MT" else name for name in command(tmp_path, folder)]
    assert main([*one, "--chunk", "3"]) == 0
    assert fake_engine.translated == []
    left = [path for path in files if path.exists()]
    assert left, "what the other corpus needs is still there"
    there = sentences_in(left)
    assert main([*command(tmp_path, folder), "--chunk", "1000"]) == 0
    assert not set(fake_engine.translated) & there
    assert rows_of(result(folder)) == rows_of(made)
    assert not (folder / ".translate").exists()


@pytest.mark.parametrize("more", [[], ["--retranslate"]])
def test_what_a_run_left_that_was_killed_behind_its_last_file_goes(tmp_path, begun, monkeypatch, more):
    folder, _ = begun
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "clear", lambda *_: 0)  # it does not come to this
        assert main([*command(tmp_path, folder), *more]) == 0
    before = rows_of(result(folder))
    assert list(folder.glob(".translate/*/*.jsonl"))
    fake_engine.translated.clear()
    assert main([*command(tmp_path, folder), *more]) == 0
    assert fake_engine.translated == []
    assert not (folder / ".translate").exists()
    assert rows_of(result(folder)) == before


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("S_tst_MT.de.tsv", lambda path: path.write_bytes(path.read_bytes()[:-2] + b".\n"), "has changed since it was"),
        ("S_val_MT.de.tsv", Path.unlink, "is not there any more"),
        ("S_tst_MT.de.json", lambda path: path.write_text("{"), "cannot be read"),
    ],
)
def test_a_corpus_that_has_changed_since_is_said_and_made_again(tmp_path, capsys, name, spoil, said):
    """As whoever reads it says: make it again. What is there otherwise is not translated once more."""
    folder = write_sources(tmp_path / "corpora")
    assert main(command(tmp_path, folder)) == 0
    made = result(folder)
    spoil(folder / name)
    fake_engine.translated.clear()
    capsys.readouterr()
    assert main(command(tmp_path, folder)) == 2
    message = capsys.readouterr().err
    assert f"  - {folder / name} {said}" in message
    assert "--overwrite" in message
    assert main([*command(tmp_path, folder), "--overwrite"]) == 0
    assert result(folder) == made
    assert 0 < len(fake_engine.translated) <= 2 * ROWS
    assert not (folder / ".translate").exists()


def test_other_settings_take_nothing_from_an_unfinished_run(tmp_path, begun):
    folder, files = begun
    there = sentences_in(files)
    for more in (["--beam", "2"], ["--longest", "7"], ["--normalise", "moses"]):
        fake_engine.translated.clear()
        assert main([*command(tmp_path, folder), *more, "--overwrite"]) == 0
        assert there <= set(fake_engine.translated)
    fake_engine.make_folder(tmp_path / "fake", digest="e" * 64)
    fake_engine.translated.clear()
    assert main([*command(tmp_path, folder), "--overwrite"]) == 0
    assert there <= set(fake_engine.translated)


@pytest.fixture
def space():
    """Sets how large a file can become: the system's own refusal, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [700, 2500])
def test_a_full_disk_is_said_and_loses_nothing(tmp_path, undisturbed, capsys, space, size):
    """No room for a chunk; room for the chunks and one of the two corpora."""
    made, sentences = undisturbed
    folder = write_sources(tmp_path / "corpora")
    seen = fake_engine.translated
    seen.clear()
    space(size)
    assert main(command(tmp_path, folder)) == 2
    space(resource.RLIM_INFINITY)
    message = capsys.readouterr().err
    assert "File too large" in message
    assert "start the same command again" in message
    assert len(list(folder.glob("*_MT*.json"))) == (1 if size > 700 else 0)
    assert (set(seen) == sentences) == (size > 700)
    seen.clear()
    assert main(command(tmp_path, folder)) == 0
    assert set(seen) == (sentences if size == 700 else set())
    assert rows_of(result(folder)) == rows_of(made)
    assert not (folder / ".translate").exists()
    assert not list(folder.glob(".*")), "what was written in part has gone"


def test_a_folder_that_takes_no_work_is_said_before_anything_is_translated(tmp_path, monkeypatch, capsys):
    folder = write_sources(tmp_path / "corpora")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    (folder / ".translate").write_text("a file where the folder should be")
    assert main(command(tmp_path, folder)) == 2
    message = capsys.readouterr().err
    assert ".translate" in message
    assert "cannot be written: " in message
    assert not (tmp_path / "log").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path, capsys):
    folder = write_sources(tmp_path / "corpora")
    folder.chmod(0o500)
    assert main(command(tmp_path, folder)) == 2
    assert "Permission denied" in capsys.readouterr().err
    folder.chmod(0o700)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(37, os.strerror(37))  # ENOLCK, as on NFS without its lock service

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert main(command(tmp_path, write_sources(tmp_path / "corpora"))) == 2
    assert "No locks available" in capsys.readouterr().err


WAY = {"source_language": "de", "target_language": "en", "beam": 5}


def test_a_chunk_comes_back_as_it_was_stored(tmp_path):
    folder = WorkFolder(tmp_path, WAY)
    chunk = chunk_of(["a\u2028b", 'quote " \\ tab\t', "猫"])
    assert [*folder.claims([chunk.name], lambda: False)] == [chunk.name]
    hypotheses = [[Hypothesis("x\ny", -0.1), Hypothesis("", float("-inf"))], [Hypothesis("é", -1 / 3)], []]
    folder.store(chunk, hypotheses)
    assert [*WorkFolder(tmp_path, WAY).known()] == [dict(zip(chunk.sentences, hypotheses, strict=True))]
    assert [*WorkFolder(tmp_path, {**WAY, "beam": 4}).known()] == []
    assert folder.clear([*chunk.sentences[1:]]) == 1
    assert folder.clear(chunk.sentences) == 0
    assert not (tmp_path / ".translate").exists()


def test_a_claimed_chunk_is_claimed_for_all_others(tmp_path):
    first, second = WorkFolder(tmp_path, WAY), WorkFolder(tmp_path, WAY)
    parts = ["a", "b", "c"]
    mine = first.claims(parts, lambda: False)
    assert next(mine) == parts[0]
    theirs = second.claims(parts, lambda: False)
    assert next(theirs) == parts[1]
    assert list(mine) == [parts[2]]
    assert list(theirs) == []
    first.let_go_of_all()
    assert [*second.claims(parts, lambda: False)] == [parts[0], parts[2]]
    assert [*WorkFolder(tmp_path, WAY).claims(parts, lambda: True)] == []


def test_only_one_ends_a_job_at_a_time(tmp_path, monkeypatch):
    first, second = WorkFolder(tmp_path, WAY), WorkFolder(tmp_path, WAY)
    with first.ending(lambda: False) as ours, second.ending(lambda: True) as theirs:
        assert (ours, theirs) == (True, False)
    with second.ending(lambda: True) as theirs:
        assert not theirs


def test_several_workers_have_several_chunks_each():
    assert fitting(8192, 1_000_000, 4) == 8192
    assert fitting(8192, 4_000, 2) == 500
    assert fitting(8192, 4_000, 1) == 8192
    assert fitting(8192, 1, 8) == 1


def test_a_defect_of_the_engine_keeps_what_was_done(tmp_path, undisturbed, begun, capsys):
    made, sentences = undisturbed
    folder, files = begun
    there = sentences_in(files)
    assert main(command(tmp_path, folder)) == 0
    assert sorted(fake_engine.translated) == sorted(sentences - there)
    assert f"of {len(sentences)} sentences are translated already" in capsys.readouterr().err
    assert result(folder) == made


def test_options_that_do_not_go_together_are_all_said(tmp_path, capsys):
    base = ["translate", "--translator", str(tmp_path / "fake"), "--engine", "fake"]
    assert main([*base, "--to", "de", "--columns", "1", "--workers", "2", "--chunk", "0"]) == 2
    message = capsys.readouterr().err
    for part in (
        "--corpora is needed, or --file", "--make is needed, or --file", "--to goes with --file",
        "--columns goes with --file", "--workers goes with --ray", "--chunk is 0",
    ):  # fmt: skip
        assert part in message
    assert main([*base, "--file", "x", "--corpora", "y", "--to", "de"]) == 2
    message = capsys.readouterr().err
    assert "--output is needed with --file" in message
    assert "--from is needed with --file" in message
    assert "--corpora does not go with --file" in message


def test_unwritable_says_where_the_rest_is(tmp_path):
    folder = WorkFolder(tmp_path, WAY)
    kept = "No space left on device. What was translated before is kept in .*de-en-"
    with pytest.raises(InputError, match=kept), folder.failing_plainly():
        raise OSError(28, "No space left on device")
