"""Whether Triton's interpreter can be used, in which the kernels are tested without a GPU."""

import functools
import os

import numpy
import pytest


@functools.cache
def reason_against():
    """Why it cannot be used; empty if it can. Triton 3.6's, for one, does not run with numpy 2.4 or later."""
    try:
        import triton
        import triton.language as tl
    except ImportError:
        return "Triton comes with torch for CUDA; elsewhere: make test-kernels"
    if os.environ.get("TRITON_INTERPRET") != "1":
        return "TRITON_INTERPRET is not 1"
    import torch

    @triton.jit
    def add_up(count, OUT):
        total = count * 0
        for i in range(0, count, 2):
            total += i
        tl.store(OUT, total)

    out = torch.zeros(1, dtype=torch.int32)
    try:
        add_up[(1,)](7, out)
    except Exception as error:
        return f"the interpreter of Triton {triton.__version__} does not run with numpy {numpy.__version__}: {error}"
    assert out.item() == 12
    return ""


needs_interpreter = pytest.mark.skipif(bool(reason_against()), reason=reason_against())
