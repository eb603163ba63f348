"""The whole way from raw files to predictions, twice: the same numbers to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_musc.safe_loading import allow_fairseq_checkpoints

#: Every step that draws or computes, in one process, which is told a folder.
WAY = """
import sys
from pathlib import Path
import tiny
from fairseq_musc.cli import main

if __name__ == "__main__":
    def step(*words):
        assert main([str(word) for word in words]) == 0

    folder = Path(sys.argv[1])
    raw, translator, encoder, corpora, data, run = (folder / name for name in "raw translator encoder c d run".split())
    step("demo-data", "--output", raw, "--train", 40, "--valid", 12, "--test", 15, "--parallel", 120)
    sizes = "--vocabulary 400 --dim 32 --ffn-dim 64 --heads 2 --encoder-layers 1 --decoder-layers 1 --dropout 0.1"
    training = "--updates 20 --warmup 5 --max-tokens 600 --lr 0.01 --held-out 5 --max-len-b 12 --beam 2 --cpu"
    step("train-translator", "--parallel", raw / "parallel", "--output", translator, *sizes.split(), *training.split())
    sizes = "--vocab-size 600 --hidden-size 32 --layers 1 --heads 2 --intermediate-size 64"
    new = folder / "new"
    step("new-encoder", "--output", new, "--text", *sorted((raw / "parallel").glob("*.tsv")), *sizes.split())
    training = "--updates 12 --warmup 2 --batch-size 8 --max-length 24 --held-out 5 --num-workers 1 --cpu"
    step("pretrain-encoder", "--encoder", new, "--output", encoder, "--parallel", raw / "parallel", *training.split())
    step("read", "--dataset", "pawsx", "--input", raw / "x-final", "--output", corpora, "--languages", "en", "de", "ja")
    how = ["--beam", 2, "--max-len-b", 12, "--cpu"]
    for made in ("T_trn_MT", "S_val_MT", "S_tst_MT"):
        step("translate", "--corpora", corpora, "--translator", translator, "--make", made, *how)
    tiny.binarize(corpora, data, encoder)
    tiny.train(data, encoder, run, "dataset.num_workers=1", "optimization.max_epoch=2")
    predictions = folder / "predictions"
    checkpoint = ["--checkpoint", run / "checkpoint_last.pt"]
    step("predict", *checkpoint, "--data", data, "--predictions", predictions, "--corpora", "T_tst", "S_tst_MT")
    step("ensemble", "--predictions", predictions)
"""

#: What must be the same byte for byte. Files of JSON have dates, and checkpoints wall-clock times.
FILES = {".tsv": 25, ".bin": 10, ".idx": 10, ".safetensors": 2, ".model": 1, ".txt": 4}


def tensors(state, place=""):
    """The tensors of a checkpoint by their place in it."""
    import torch

    if isinstance(state, torch.Tensor):
        return {place: state}
    within = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return {name: tensor for key, value in within for name, tensor in tensors(value, f"{place}/{key}").items()}


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """Two folders, made at once: neither has the processor for itself, and hashes of words differ."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    running = []
    for seed, folder in enumerate(folders):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
        environment |= {"PYTHONPATH": str(Path(__file__).parent), "PYTHONSAFEPATH": "1"}
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-c", WAY, str(folder)]
            running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    for folder, process in zip(folders, running, strict=True):
        assert process.wait() == 0, (folder / "log").read_text()[-3000:]
    return folders


def test_every_file_is_the_same(ways):
    first, second = ({path.relative_to(way): path for path in way.rglob("*") if path.is_file()} for way in ways)
    assert first.keys() == second.keys()
    for ending, least in FILES.items():
        names = [name for name in first if name.suffix == ending]
        assert len(names) >= least, ending
        assert [str(name) for name in names if first[name].read_bytes() != second[name].read_bytes()] == []


def test_every_tensor_is_the_same(ways, promise):
    """Parameters, and what the optimiser remembers of them."""
    import torch

    allow_fairseq_checkpoints()
    for name, least in (("translator/model.pt", 20), ("run/checkpoint_last.pt", 60)):
        first, second = (tensors(torch.load(way / name, map_location="cpu", weights_only=True)) for way in ways)
        assert first.keys() == second.keys()
        assert len(first) >= least
        assert [place for place in first if not torch.equal(first[place], second[place])] == []
    promise(
        "reproducible", "the whole way from raw files to predictions, twice at once, with another PYTHONHASHSEED", 1
    )
