"""The commands of the README, in their order, as a user types them: from raw files to the table, the page and a model
for transformers; with a network that is forbidden and watched."""

import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_musc.cli import main

pytest_plugins = ["no_network", "translator_fixture"]

SCRIPTS = Path(__file__).parents[1] / "scripts"


def options(values):
    return [str(part) for option in values.items() for part in option]


@pytest.fixture
def temporary(tmp_path_factory):
    """Where commands put what they need for a time."""
    return tmp_path_factory.mktemp("t")  # short: the path of a socket has to be


@pytest.fixture
def run(tmp_path, temporary, monkeypatch):
    """Runs a command in an empty folder, with the environment's commands on the path."""
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")

    def run(*command):
        done = subprocess.run([str(part) for part in command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_from_raw_files_to_the_table(translator_folder, no_network, run, tmp_path, temporary, promise):
    """Three languages, one of them without spaces, and 37 rows to train on."""
    raw = tmp_path / "raw"
    counts = {"--train": 37, "--valid": 9, "--test": 13, "--parallel": 100}
    assert main(["demo-data", "--output", str(raw), *options(counts)]) == 0
    texts = sorted(map(str, (raw / "parallel").glob("*.tsv")))
    sizes = {"--vocab-size": 600, "--hidden-size": 16, "--layers": 1, "--heads": 2, "--intermediate-size": 32}
    assert main(["new-encoder", "--output", str(tmp_path / "encoder"), "--text", *texts, *options(sizes)]) == 0
    read = ["read", "--dataset", "pawsx", "--input", raw / "x-final", "--output", "corpora"]
    run("fairseq-musc", *read, "--languages", "en", "de", "ja")

    fast = ["--beam", "1", "--max-len-b", "20", "--cpu"]
    run(SCRIPTS / "translate.sh", "corpora", translator_folder, *fast)
    (tmp_path / "corpora" / "S_tst_MT.ja.json").unlink()  # so that the last script finds something to do
    run("fairseq-musc", "binarize", "--corpora", "corpora", "--data", "data-bin", "--tokenizer", "encoder")
    log = run(
        "fairseq-hydra-train",
        "--config-name",
        "musc_pawsx",
        "task.data=data-bin",
        "model.pretrained=encoder",
        "optimization.max_epoch=1",
        "dataset.batch_size=10",
    )
    assert "valid on 'valid' subset" in log
    checkpoint = Path("checkpoints/musc_pawsx/checkpoint_best.pt")
    table = run(SCRIPTS / "eval_translate_all.sh", checkpoint, "data-bin", "corpora", translator_folder, *fast)

    lines = [line.split() for line in table.splitlines()]
    header = lines.index(["Inference", "EN", "DE", "JA", "Avg."])
    assert [line[0] for line in lines[header + 1 : header + 5]] == ["T_tst", "S_tst^MT", "Ens.", "rows"]
    assert lines[header + 4] == ["rows", "13", "13", "13"]
    predictions = tmp_path / checkpoint.parent / "checkpoint_best.predictions"
    assert {path.name for path in predictions.glob("*.tsv")} == {
        "results.tsv",
        *(f"T_tst.{xx}.tsv" for xx in ("en", "de", "ja")),
        *(f"S_tst_MT.{xx}.tsv" for xx in ("de", "ja")),
        *(f"Ens.{xx}.tsv" for xx in ("en", "de", "ja")),
    }
    for path in predictions.glob("*_*.tsv"):
        assert path.read_bytes().count(b"\n") == 14
    assert "| Ens. |" in (predictions / "results.md").read_text()
    page = run(
        *("fairseq-musc", "page", "--predictions", predictions, "--corpora", "corpora", "--output", "report.html")
    )
    assert "1 run in 1 setting, 1 with a training log" in page
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "L<sub>musc</sub>, MUSC" in text and "hydra_train.log" in text
    again = run(SCRIPTS / "eval_translate_all.sh", checkpoint, "data-bin", "corpora", translator_folder, *fast)
    assert again == table
    run("fairseq-musc", "export", checkpoint, "exported")
    assert (tmp_path / "exported" / "model.safetensors").exists()
    assert list(temporary.iterdir()) == []
    assert no_network.reached_for() == []
    promise("no network", "the whole way, read to export, with every connection refused and written down", 1)


@pytest.mark.parametrize("script", ["eval_translate_all.sh", "pawsx_small.sh"])
def test_a_script_without_arguments_says_its_usage(script):
    done = subprocess.run([SCRIPTS / script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr
