"""A network that is forbidden and watched: what a process or any child of it reaches for fails, and is written down.

Use it with ``pytest_plugins = ["no_network"]`` and a test argument ``no_network``.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("no_network.c")


class Network:
    """What was reached for so far."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def reached_for(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def no_network(tmp_path_factory, monkeypatch):
    """Processes that are started from here on have no network. They are not told to be offline, as tests are elsewhere:
    a library that looks at the hub unless it is told not to is seen."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("no-network")
    library = folder / "no_network.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"], check=True)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(folder / "hub"))  # with nothing in it
    monkeypatch.setenv("NETWORK_LOG", str(folder / "log"))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    return Network(folder / "log")
