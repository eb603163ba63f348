"""Reads the signature beside a predictions table, and prints the command that trains its checkpoint again.

On the same machine, with the same software, it makes the same parameters and the same probabilities, bit for bit. Where
the data-bin or the encoder lie elsewhere by now, name them behind the options, as on the command line of
fairseq-hydra-train: task.data=FOLDER model.pretrained=FOLDER. The update of the checkpoint, and the training corpora
with their checksums, are printed above it. It writes no file.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Signature, list_predictions, read_predictions
from fairseq_musc.models.settings import COMPONENTS, RECIPE, said_by_the_recipe
from fairseq_musc.progress import with_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fairseq-musc rerun``."""
    parser.add_argument("--predictions", type=Path, required=True, metavar="FOLDER", help="predictions tables")
    parser.add_argument("--save-dir", type=Path, required=True, metavar="FOLDER", help="where the new run saves")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="what is another way by now")


def run(arguments: argparse.Namespace) -> None:
    """Prints the command."""
    signature = signature_of(arguments.predictions)
    print(f"# {signature.checkpoint}, update {signature.update}, SHA-256 {signature.checkpoint_sha256}")
    for name, about in json.loads(signature.settings["model.trained_on"])["files"].items():
        print(f"# {name}: {about['rows']} rows, SHA-256 {about['sha256']}")
    print(command(signature.settings, arguments.save_dir, arguments.overrides))


def signature_of(folder: Path) -> Signature:
    """The signature of the tables of one checkpoint.

    Raises:
        InputError: there are none, they are of several checkpoints, or their signature does not say enough.
    """
    tables = list_predictions(folder)
    if not tables:
        raise InputError(f"{folder} holds no predictions tables; give a folder that `fairseq-musc predict` wrote")
    signatures = [read_predictions(folder, *table).signature for table in with_progress(tables, "tables", "read")]
    checkpoints = {signature.checkpoint_sha256 for signature in signatures}
    if len(checkpoints) > 1:
        raise InputError(f"{folder} holds tables of {len(checkpoints)} checkpoints; give a folder for one of them")
    if not signatures[0].settings:
        raise InputError(f"{folder} was predicted by a version that did not keep all settings; predict again")
    return signatures[0]


def command(settings: Mapping[str, Any], save_dir: Path, more: Sequence[str]) -> str:
    """A line of a shell that trains with these settings."""
    words = ["fairseq-hydra-train", "--config-name", RECIPE, *overrides(settings), f"checkpoint.save_dir={save_dir}"]
    return " ".join(shlex.quote(word) for word in [*words, *more])


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as Hydra reads them, less those that the recipe has anyway."""
    said = said_by_the_recipe()
    changes = []
    for key, value in settings.items():
        if key == "model.trained_on" or (key in said and said[key] == value):
            continue
        changes.append(f"{'' if key in said else '++'}{key}={_written(value)}")
    # What the recipe says of a component that another one took the place of is no key of that.
    others = [section for section in COMPONENTS if settings.get(name := f"{section}._name") != said.get(name)]
    return changes + [f"~{key}" for key in said if key.partition(".")[0] in others and key not in settings]


def _written(value: Any) -> str:
    """A value in the grammar of Hydra's command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str):
        # Of backslashes only those before a quote, or at the end, count.
        return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value) + "'"
    return json.dumps(value)
