"""Prints the folder to give to fairseq's own commands as ``--user-dir``. Reads and writes nothing.

    fairseq-generate ... --user-dir "$(fairseq-musc user-dir)"

``fairseq-hydra-train`` does not need it: the installed Hydra plugin finds everything.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> None:
    """Prints the path."""
    print(user_dir())


def user_dir() -> str:
    """The path as fairseq wants it: absolute, and the same in every process."""
    return str(Path(__file__).parent / "fairseq_musc_plugin")
