"""The same job on two workers of a Ray cluster, one of which is killed."""

import fcntl
import functools
import importlib.util
import os
import signal
import sys
import threading
import time
from pathlib import Path

import fake_engine
import pytest
from test_translate_job import logged, result, write_sources

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.translate.chunks import WorkFolder
from fairseq_musc.translate.engine import Decoding, Device
from fairseq_musc.translate.job import Task, translate_all
from fairseq_musc.translate.on_ray import THIS_MACHINE, ray_pool
from fairseq_musc.translate.provenance import way_of
from fairseq_musc.translate.sentences import Sentences

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra [ray] is not installed")
pytest_plugins = ["translator_fixture"]

DECODING = Decoding(nbest=2)
DEVICE = Device(batch_tokens=48, cpu=True)
TASK = Task("de", "en", DECODING, DEVICE)
SENTENCES = [f"Satz {i} steht hier" for i in range(120)]


@pytest.fixture(autouse=True)
def one_at_a_time(tmp_path_factory):
    """Of the processes that test side by side: each would find the cluster of another."""
    with open(tmp_path_factory.getbasetemp().parent / "ray.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kill_one(log, pids):
    """Kills the process of the first worker that is seen, in the midst of its work."""
    while not log.exists() or len(logged(log)) < 12:
        time.sleep(0.02)
    pids.append(int(log.read_text().split("\t")[0]))
    os.kill(pids[0], signal.SIGKILL)


def given(texts):
    sentences = Sentences()
    sentences.add(texts)
    return sentences


def test_a_killed_worker_costs_its_chunk_and_nothing_else(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("SECONDS", "0.05")
    monkeypatch.setenv("KILL_AT", "this one kills")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    opener = functools.partial(fake_engine.open_engine, fake_engine.make_folder(tmp_path / "fake"), device=DEVICE)
    killed = []
    with ray_pool(opener, True, THIS_MACHINE, 2) as pool:
        import ray

        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"], "nobody outside can reach it"
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        engine = pool.engine(DECODING)
        assert engine.longest == 50
        assert engine.lengths(["a b", "c"]) == [2, 1]
        with pytest.raises(InputError, match="the fake does not know xx"):
            engine.require(["de", "xx"])
        folder = WorkFolder(tmp_path, way_of("de", "en", engine.provenance(), DECODING))
        killer = threading.Thread(target=kill_one, args=(log, killed), daemon=True)
        killer.start()
        found = given(SENTENCES)
        assert translate_all(found, folder, pool, TASK, lambda: False, size=10)
        killer.join()
        assert dict(found.items()) == {
            sentence: [(fake_engine.translation(sentence, "de", "en", rank), -0.1 * rank) for rank in (1, 2)]
            for sentence in SENTENCES
        }
        assert len(list(folder.path.glob("*.jsonl"))) == 12
        counts = logged(log)
        assert set(counts) == set(SENTENCES)
        assert 0 < counts.total() - len(SENTENCES) <= 10, "the chunk of the killed worker, and only that"
        workers = {line.split("\t")[0] for line in log.read_text().splitlines()}
        assert len(workers) == 3, "two, and the one that came for the killed"

        log.unlink()
        for path in [*folder.path.glob("*.jsonl")][:3]:
            path.unlink()
        again = given(SENTENCES)
        assert translate_all(again, WorkFolder(tmp_path, folder.way), pool, TASK, lambda: False, size=10)
        assert [*again.items()] == [*found.items()]
        assert len(logged(log)) == 30

        with pytest.raises(InputError, match=r"(?s)a worker died.*The chunks that are done are kept.*--batch-tokens"):
            translate_all(
                given(["this one kills"]), WorkFolder(tmp_path, folder.way), pool, TASK, lambda: False, size=10
            )

        other = Decoding(beam=3)
        ways = way_of("de", "en", pool.engine(other).provenance(), other)  # the first worker opens its translator
        fake_engine.make_folder(tmp_path / "fake", digest="e" * 64)  # before the second opens it
        with pytest.raises(InputError, match="is another than the one that the job was begun with"):
            translate_all(
                given(SENTENCES),
                WorkFolder(tmp_path, ways),
                pool,
                TASK._replace(decoding=other),
                lambda: False,
                size=10,
            )


def test_ray_is_optional(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    write_sources(tmp_path / "corpora")
    where = ["--corpora", str(tmp_path / "corpora"), "--translator", str(tmp_path), "--make", "S_tst_MT"]
    assert main(["translate", *where, "--ray", "--workers", "2"]) == 2
    assert "pip install 'fairseq-musc[ray]'" in capsys.readouterr().err


def test_no_cluster_at_an_address_is_said(tmp_path):
    opener = functools.partial(fake_engine.open_engine, tmp_path, device=DEVICE)
    with pytest.raises(InputError, match="--workers is 0"), ray_pool(opener, True, THIS_MACHINE, 0):
        pass
    with pytest.raises(InputError, match="no Ray cluster answers at 'auto'"), ray_pool(opener, True, "auto", None):
        pass


@pytest.mark.long
def test_the_verb_on_two_workers_makes_what_it_makes_without_them(tmp_path, translator_folder):
    made = []
    for more in ([], ["--ray", "--workers", "2", "--chunk", "20"]):
        folder = write_sources(tmp_path / f"corpora{len(more)}", rows=40)
        where = ["--corpora", str(folder), "--translator", str(translator_folder), "--beam", "2", "--max-len-b", "12"]
        assert main(["translate", *where, "--make", "S_tst_MT", "S_val_MT", "--cpu", *more]) == 0
        made.append(result(folder))
        assert not (folder / ".translate").exists()
    assert made[0] == made[1]
