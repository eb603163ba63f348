"""What stands beside a translation: what made it, and in what another one was made otherwise."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fairseq_musc.translate.engine import Decoding, Device
from fairseq_musc.version import __version__

#: What has a say in a translation, whatever the engine: splitting, normalising, and the pieces of words.
PACKAGES = ("sentencex", "sacremoses", "sentencepiece")
#: The same, of each engine. fairseq-fixed is a fork of fairseq: one of them is installed.
PACKAGES_OF = {
    "fairseq": ("fairseq", "fairseq-fixed", "torch"),
    "ctranslate2": ("ctranslate2",),
    "easynmt": ("easynmt", "transformers", "tokenizers", "torch"),
}


def way_of(source_lang: str, target_lang: str, engine: Mapping[str, Any], decoding: Decoding) -> dict[str, Any]:
    """Everything that decides how a sentence is translated.

    Args:
        engine: its :meth:`~fairseq_musc.translate.engine.Engine.provenance`.
    """
    languages = {"source_language": source_lang, "target_language": target_lang}
    return {**engine, **languages, **asdict(decoding)}


def circumstances(engine: str, device: Device) -> dict[str, Any]:
    """What is worth knowing besides: the versions, the size of batches, and when."""
    return {
        "batch_tokens": device.batch_tokens,
        "cpu": device.cpu,
        "versions": versions(engine),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions(engine: str) -> dict[str, str]:
    """The versions of everything that has a say in the text."""
    found = {"fairseq-musc": __version__}
    for package in (*PACKAGES, *PACKAGES_OF.get(engine, ())):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def difference(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """In what the provenance of something that is there differs from what is asked for; None if in nothing."""
    differing = [key for key, value in asked.items() if there.get(key) != value]
    return "; ".join(f"{key} was {brief(there.get(key))}, asked is {brief(asked[key])}" for key in differing) or None


def brief(value: Any) -> str:
    """A value of a provenance as a message shows it: the translator by the start of its checkpoint's checksum."""
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 40 else repr(value)
