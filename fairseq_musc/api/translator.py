"""Who translates for a classifier in Python: a folder of a translator by one of the engines, or any function.

This is the one place where the classes of :mod:`fairseq_musc.api` meet :mod:`fairseq_musc.translate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_musc.errors import InputError, raise_all

if TYPE_CHECKING:
    from fairseq_musc.translate.engine import Engine

#: From texts, their language and the language wanted to as many texts in the same order.
Translate = Callable[[Sequence[str], str, str], Sequence[str]]
#: What stands in a provenance for the engine of translations that were handed over.
GIVEN = "translations that were given"


class FolderTranslator:
    """Translates by the files of a translator, e.g. fairseq's m2m_100. They are opened when they are first needed.

    Args:
        folder: where the files lie.
        engine: what reads them, one of :data:`~fairseq_musc.translate.engine.ENGINES`.
        decoding: what differs from the defaults of :class:`~fairseq_musc.translate.engine.Decoding`, e.g.
            ``{"beam": 1}``.
        cpu: whether to leave a GPU alone.
        progress: whether to show how far a long translation is.

    Raises:
        InputError: there is no such engine, setting or folder.
    """

    def __init__(self, folder: str | Path, engine: str, decoding: Mapping[str, Any], cpu: bool, progress: bool):
        from fairseq_musc.translate.engine import ENGINES, Decoding, Device

        settings = [name for name in Decoding.__dataclass_fields__ if name != "nbest"]
        problems = [f"decoding has no {name}; it has {', '.join(settings)}" for name in {*decoding} - {*settings}]
        if engine not in ENGINES:
            problems.append(f"engine is {engine!r}; it can be {', '.join(ENGINES)}")
        if not Path(folder).is_dir():
            problems.append(f"translator is {folder}; it is a folder with the files of a translator, or a function")
        raise_all("the translator cannot be used:", problems)
        self.folder = Path(folder)
        self.name = engine
        self.said = dict(decoding)
        self.decoding = Decoding(**decoding)
        self.device = Device(cpu=cpu)
        self.progress = progress

    @cached_property
    def engine(self) -> Engine:
        """The engine, loaded.

        Raises:
            InputError: its package is not installed, or the folder is not what it takes.
        """
        from fairseq_musc.translate.engine import open_engine

        return open_engine(self.name, self.folder.resolve(), self.decoding, self.device)

    def __call__(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Texts in ``source`` as texts in ``target``.

        Raises:
            InputError: the engine cannot be loaded, or does not know a language.
        """
        from fairseq_musc.translate.at_once import translate

        return translate(
            texts, source, target, self.engine, self.decoding, self.device, show_progress=self.progress
        ).texts

    def options(self) -> list[str]:
        """The same for the verb ``translate``."""
        said = [part for name, value in self.said.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        cpu = ["--cpu"] if self.device.cpu else []
        return ["--translator", str(self.folder), "--engine", self.name, *said, *cpu]

    def provenance(self, source: str, target: str) -> dict[str, Any]:
        """What a translation was made with.

        Raises:
            InputError: the engine cannot be loaded.
        """
        from fairseq_musc.translate.provenance import way_of

        way = way_of(source, target, self.engine.provenance(), self.decoding)
        return {name: value for name, value in way.items() if name != "nbest"}  # it decides nothing about the best


def provenance_of(translate: Translate | None, source: str, target: str) -> dict[str, Any]:
    """What stands beside a corpus that was translated: by a folder, a function, or somebody else if None."""
    if isinstance(translate, FolderTranslator):
        return translate.provenance(source, target)
    name = GIVEN if translate is None else getattr(translate, "__qualname__", repr(translate))
    return {"engine": name, "translator": {}, "source_language": source, "target_language": target}


def translated(translate: Translate, texts: Sequence[str], source: str, target: str) -> list[str]:
    """The translations of texts, counted.

    Raises:
        InputError: the translator gives another number of texts, or something that is no text.
    """
    given = translate(texts, source, target)
    if given is None or isinstance(given, str):
        raise InputError(
            f"the translator was given {len(texts)} texts in {source} and gave {given!r:.80} back; it needs to "
            "give a list, with one text for each, in order"
        )
    found = list(given)
    other = "" if all(isinstance(text, str) for text in found) else ", not all of them texts"
    if len(found) != len(texts) or other:
        raise InputError(
            f"the translator was given {len(texts)} texts in {source} and gave {len(found)} back{other}; it needs to "
            "give one text for each, in order"
        )
    return found
