"""What several test files share: one tiny data-bin, one tiny encoder, and the settings of every child process."""

import os
import signal
from typing import NamedTuple

import pytest
import tiny
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Models of a few thousand parameters: a second thread would only spin while the first works, in each of the processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # which Triton reads when it is imported: kernels run on the CPU
# A deadline for one example would measure who else uses the processor.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class TinyWorld(NamedTuple):
    corpora: object
    encoder: object
    data: object


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Corpora of 37, 13 and 21 rows in en, de, fr; a BERT folder; a data-bin. Not to be written to."""
    root = tmp_path_factory.mktemp("world")
    tiny.make_corpora(root / "corpora")
    tiny.make_encoder(root / "encoder")
    tiny.binarize(root / "corpora", root / "data-bin", root / "encoder")
    return TinyWorld(root / "corpora", root / "encoder", root / "data-bin")
