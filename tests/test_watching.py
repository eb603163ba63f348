"""What reaches TensorBoard and Weights & Biases through fairseq's own options, read back with their own packages."""

import json
import os
import re
import shlex
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import tiny
from doc_blocks import ROOT, blocks_of

TERMS = ("loss", "L_ce", "L_mu", "L_sc", "L_musc")
LANGUAGES = ("en", "de", "fr")
BLOCK = 32768
PROGRAM = Path(sys.executable).with_name("fairseq-hydra-train")


def logged(log, name, key, pattern):
    """Update to a figure, of the lines that fairseq logs for people."""
    lines = [line for line in log if line[0] == name]
    return {
        int(re.search(r"num_updates[ =](\d+)", text)[1]): float(re.search(pattern.format(re.escape(key)), text)[1])
        for _, text in lines
    }


def test_tensorboard_is_told_every_term_and_every_language(world, tmp_path, caplog, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from fairseq.logging import progress_bar

    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {})  # fairseq has one a process, whatever the folder
    caplog.set_level("INFO")
    board = tmp_path / "board"
    options = ("optimization.max_epoch=2", f"common.tensorboard_logdir={board}")
    tiny.train(world.data, world.encoder, tmp_path / "run", *options)
    progress_bar._close_writers()
    log = [(record.name, record.getMessage()) for record in caplog.records]
    log = [line for line in log if "num_updates" in line[1]]

    def scalars(tag):
        events = accumulator.EventAccumulator(str(board / tag), size_guidance={"scalars": 0})
        events.Reload()
        return {key: {event.step: event.value for event in events.Scalars(key)} for key in events.Tags()["scalars"]}

    training, epochs, validation = scalars("train_inner"), scalars("train"), scalars("valid")
    assert list(training["loss"]) == [*range(1, 11)]  # 37 rows in batches of 8, two epochs, log_interval=1
    for term in TERMS:
        assert training[term] == pytest.approx(logged(log, "train_inner", term, r"\b{}=([\d.]+)"), abs=1e-3)
        assert list(epochs[term]) == [5, 10]
    accuracies = [f"accuracy_{name}" for name in ("T_val", "S_val_MT", "Ens", *LANGUAGES)]
    for key in ("accuracy", *accuracies):
        assert validation[key] == pytest.approx(logged(log, "valid", key, r"\| {} ([\d.]+)"), abs=1e-3)
    for update in (5, 10):
        by_language = [validation[f"accuracy_{language}"][update] for language in LANGUAGES]
        assert sum(by_language) / 3 == pytest.approx(validation["accuracy"][update], abs=1e-3)


def test_tensorboard_serves_what_was_logged(world, tmp_path, monkeypatch):
    """The command of docs/watching.md, at a free port, asked for its runs and a curve as a browser asks."""
    pytest.importorskip("tensorboard")
    from fairseq.logging import progress_bar

    (command,) = (
        command
        for block in blocks_of(ROOT / "docs" / "watching.md")
        for command in block.commands
        if command.startswith("tensorboard ")
    )
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {})
    option = f"common.tensorboard_logdir={tmp_path / 'tensorboard'}"
    tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=1", option)
    progress_bar._close_writers()
    program, *options = shlex.split(command)
    log = tmp_path / "log"
    with log.open("w") as stream:
        serving = subprocess.Popen(
            [Path(sys.executable).with_name(program), *options, "--port", "0"],
            cwd=tmp_path,
            stdout=stream,
            stderr=stream,
        )
    try:
        deadline = time.monotonic() + 120
        while not (address := re.search(r"http://\S+:\d+/", log.read_text())):
            assert serving.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

        def asked(path):
            with urllib.request.urlopen(f"{address[0]}{path}", timeout=60) as answer:
                return json.load(answer)

        while set(runs := asked("data/runs")) != {"train", "train_inner", "valid"}:  # it reads them by and by
            assert time.monotonic() < deadline, runs
            time.sleep(0.1)
        while "loss" not in (tags := asked("data/plugin/scalars/tags").get("train_inner", {})):
            assert time.monotonic() < deadline, tags
            time.sleep(0.1)
        assert [step for _, step, _ in asked("data/plugin/scalars/scalars?tag=loss&run=train_inner")] == [1, 2, 3, 4, 5]
    finally:
        serving.terminate()
        serving.wait()


def history(path):
    """Key to step to value, of a file of wandb's: records of its protocol in a log of LevelDB's format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, content = path.read_bytes(), 7, b""  # behind the head of the file
    found = {}
    while place < len(data):
        if (left := BLOCK - place % BLOCK) < 7:  # too little for the head of a piece
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        content += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or its last piece
            record = Record.FromString(content)
            for item in record.history.item:
                key = item.key or "/".join(item.nested_key)
                found.setdefault(key, {})[record.history.step.num] = json.loads(item.value_json)
            content = b""
    return found


def test_wandb_is_told_the_same(world, tmp_path):
    """Without a network and an account; in a process of its own, as wandb starts another one beside it."""
    pytest.importorskip("wandb")
    command = [PROGRAM, "--config-name", "musc_pawsx", f"task.data={world.data}", f"model.pretrained={world.encoder}"]
    options = ["common.wandb_project=musc", "common.cpu=true", "common.log_interval=1", "dataset.num_workers=0"]
    options += ["dataset.batch_size=8", "optimization.max_epoch=1", f"checkpoint.save_dir={tmp_path / 'run'}"]
    environment = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*map(str, [*command, *options])],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [run] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    told = history(run)
    updates = [*range(1, 6)]
    assert {f"train_inner/{term}": list(told[f"train_inner/{term}"]) for term in TERMS} == {
        f"train_inner/{term}": updates for term in TERMS
    }
    lines = [re.match(r"\[.*?\]\[(\w+)\]\[INFO\] - (.*)", line) for line in done.stdout.splitlines()]
    log = [line.groups() for line in lines if line and "num_updates" in line[2]]
    for term in TERMS:
        assert told[f"train_inner/{term}"] == pytest.approx(
            logged(log, "train_inner", term, r"\b{}=([\d.]+)"), abs=1e-3
        )
    by_language = [told[f"valid/accuracy_{language}"][5] for language in LANGUAGES]
    assert sum(by_language) / 3 == pytest.approx(told["valid/accuracy"][5], abs=1e-3)
