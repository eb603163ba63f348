"""Triton's kernels: what they compute, in Triton's interpreter, and when they are chosen."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_beam_search import random_model
from triton_interpreter import needs_interpreter

from fairseq_musc.errors import InputError
from fairseq_musc.translate import torch_kernels, transformer_steps
from fairseq_musc.translate.beam_search import choose_kernels

needs_triton = pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="Triton comes with torch for CUDA; elsewhere: make test-kernels"
)


@needs_interpreter
def test_the_kernels_compute_what_plain_torch_does():
    checks = Path(__file__).parent / "interpreted_kernels.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", checks],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "13 passed" in done.stdout


@needs_triton
def test_without_a_gpu_the_kernels_are_refused_by_name():
    weights = transformer_steps.load(random_model(4, dim=32), torch.float32, torch.device("cpu"), 10)
    with pytest.raises(InputError, match="cpu is no NVIDIA GPU"):
        choose_kernels("triton", weights, 5)


def test_without_a_gpu_plain_torch_is_chosen():
    weights = transformer_steps.load(random_model(4, dim=32), torch.float32, torch.device("cpu"), 10)
    assert choose_kernels("auto", weights, 5) is torch_kernels
    with pytest.raises(InputError, match="no kernels 'cuda'"):
        choose_kernels("cuda", weights, 5)
