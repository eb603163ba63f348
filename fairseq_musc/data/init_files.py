"""The two files that ``fairseq-musc init`` writes: what describes a data set, and the recipe to train on it."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from fairseq_musc.data.own import OwnData, anything_at, entry_of
from fairseq_musc.data.survey import Survey
from fairseq_musc.errors import InputError

#: The installed recipe that the new one is made from: single reviews, as most data of one's own are.
TEMPLATE = "musc_marc"
#: What YAML writes behind a value that stands alone.
END = "...\n"


def check_name(name: str) -> None:
    """Raises :class:`InputError` if an installed recipe has the name."""
    if (_installed() / f"{name}.yaml").is_file():
        raise InputError(f"there is an installed recipe {name}; give yours another --name")


def _installed() -> Path:
    """The folder of the installed recipes."""
    spec = find_spec("fairseq_musc.configs")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def described(found: Survey, name: str, folder: Path) -> str:
    """The YAML file that describes the data: every key with what it means."""
    import yaml

    lines = [
        f"# What is what in the data set {name}, as fairseq-musc init found it. Change what is not right, then",
        f"#   fairseq-musc read --dataset {folder / f'{name}.data.yaml'} --output corpora",
        "# Paths are seen from the folder of this file.",
        "",
    ]
    for each in fields(OwnData):
        value = getattr(found.own, each.name)
        if each.name == "name":
            value = name
        if each.name in ("input", "train_file", "valid_file", "test_file"):
            value = [_from_folder(text, folder, found.own.format) for text in value]
        value = list(value) if isinstance(value, tuple) else value
        if value in (None, [], {}, False):
            continue
        written = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, sort_keys=False, width=1000)
        lines += [f"# {each.metadata['help']}", f"{each.name}: {written.removesuffix(END).rstrip()}"]
    return "\n".join([*lines, ""])


def _from_folder(text: str, folder: Path, kind: str) -> str:
    """An entry whose path is seen from the folder of the file; the name of a dataset stays."""
    language, path = entry_of(text)
    if kind == "datasets" and not anything_at(path):
        return text
    moved = os.path.relpath(path, folder)
    return f"{language}={moved}" if language else moved


def recipe(name: str, encoder: str, folder: Path) -> str:
    """The recipe: the installed one for reviews, with what is this data set's own."""
    text = (_installed() / f"{TEMPLATE}.yaml").read_text(encoding="utf-8")
    body = text[text.index("\nhydra:") :]
    changes = {
        "  data: ???  # the data-bin: task.data=FOLDER": "  data: data-bin  # as seen from where training is started",
        "  pretrained: bert-base-multilingual-cased  # section 2: mBERT, cased": f"  pretrained: {_quoted(encoder)}",
        f"  save_dir: checkpoints/{TEMPLATE}": f"  save_dir: checkpoints/{name}",
    }
    for old, new in changes.items():
        if body.count(old) != 1:
            raise RuntimeError(f"the recipe {TEMPLATE} has changed: it has not one line {old!r}")
        body = body.replace(old, new)
    head = (
        f"# MUSC on {name}. Every value is written out; a change is one here, or an override on the command line:\n"
        f"#   fairseq-hydra-train --config-dir {folder} --config-name {name} optimization.max_epoch=2\n"
        "# The values are those of MARC, the paper's reviews. [B] Appendix B, [7] Table 7; [code] the released code.\n"
    )
    return head + body


def _quoted(text: str) -> str:
    """A text as YAML has it between quotation marks; JSON's are the same."""
    return json.dumps(text, ensure_ascii=False)
