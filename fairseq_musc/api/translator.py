"""Who translates for a classifier in Python: a folder of a translator by one of the engines, or any function.

This is the one place where the classes of :mod:`fairseq_musc.api` meet :mod:`fairseq_musc.translate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError, raise_all

#: From texts, their language and the language wanted to as many texts in the same order.
Translate = Callable[[Sequence[str], str, str], Sequence[str]]


class FolderTranslator:
    """Translates by the files of a translator, e.g. fairseq's m2m_100.

    Args:
        folder: where the files lie.
        engine: what reads them.
        decoding: what differs from the defaults of :class:`~fairseq_musc.translate.engine.Decoding`, e.g.
            ``{"beam": 1}``.
        cpu: whether to leave a GPU alone.

    Raises:
        InputError: the folder is not whole, or there is no such engine or setting.
    """

    def __init__(self, folder: str | Path, engine: str, decoding: Mapping[str, Any], cpu: bool):
        from fairseq_musc.translate.fairseq_generate import Decoding, Device
        from fairseq_musc.translate.release import open_translator

        if engine != "fairseq":
            raise InputError(f"engine is {engine!r}; it can be fairseq")
        unknown = sorted(set(decoding) - set(Decoding.__dataclass_fields__))
        raise_all(
            "the translator cannot be used:",
            [f"decoding has no {name}; it has {', '.join(Decoding.__dataclass_fields__)}" for name in unknown],
        )
        self.folder = Path(folder)
        self.engine = engine
        self.decoding = dict(decoding)
        self.cpu = cpu
        self._how = (open_translator(folder), Decoding(**decoding), Device(cpu=cpu))

    def __call__(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Texts in ``source`` as texts in ``target``.

        Raises:
            InputError: a language that the translator does not know.
        """
        from fairseq_musc.translate.fairseq_generate import translate

        return translate(texts, source, target, *self._how).texts

    def options(self) -> list[str]:
        """The same for the verb ``translate``."""
        said = [part for name, value in self.decoding.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        return ["--translator", str(self.folder), *said, *(["--cpu"] if self.cpu else [])]

    def provenance(self, source: str, target: str) -> dict[str, Any]:
        """What a translation was made with."""
        from fairseq_musc.translate.fairseq_generate import provenance

        translator, decoding, _device = self._how
        return provenance(source, target, translator, decoding)


def provenance_of(translate: Translate | None, source: str, target: str) -> dict[str, Any]:
    """What stands beside a corpus that was translated: by a folder, a function, or somebody else if None."""
    if isinstance(translate, FolderTranslator):
        return translate.provenance(source, target)
    name = "translations that were given" if translate is None else getattr(translate, "__qualname__", repr(translate))
    return {"engine": name, "translator": {}, "source_language": source, "target_language": target}


def translated(translate: Translate, texts: Sequence[str], source: str, target: str) -> list[str]:
    """The translations of texts, counted.

    Raises:
        InputError: the translator gives another number of texts, or something that is no text.
    """
    found = list(translate(texts, source, target))
    other = "" if all(isinstance(text, str) for text in found) else ", not all of them texts"
    if len(found) != len(texts) or other:
        raise InputError(
            f"the translator was given {len(texts)} texts in {source} and gave {len(found)} back{other}; it needs to "
            "give one text for each, in order"
        )
    return found
