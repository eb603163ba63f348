"""The folder of a translator: the files of fairseq's m2m_100 release, under their published names.

=====================================  =================================================================
``model.pt``                           the checkpoint; the published ``418M_last_checkpoint.pt`` and
                                       ``1.2B_last_checkpoint.pt`` are accepted under these names as well
``model_dict.128k.txt``                the model's dictionary: the pieces, then ``__xx__`` for each language
``data_dict.128k.txt``                 the pieces alone, for binarizing
``spm.128k.model``                     the SentencePiece model
``language_pairs_small_models.txt``    the directions, as ``af-am,af-ar,...``
=====================================  =================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256

CHECKPOINTS = ("model.pt", "418M_last_checkpoint.pt", "1.2B_last_checkpoint.pt")
MODEL_DICT = "model_dict.128k.txt"
DATA_DICT = "data_dict.128k.txt"
SENTENCEPIECE = "spm.128k.model"
LANGUAGE_PAIRS = "language_pairs_small_models.txt"
PUBLISHED = "https://dl.fbaipublicfiles.com/m2m_100/"
#: What fairseq calls the model and the task of such a checkpoint; others are not built.
MODELS = ("transformer",)
TASKS = ("translation_multi_simple_epoch", "translation")
README = "https://github.com/facebookresearch/fairseq/tree/main/examples/m2m_100"


@dataclass(frozen=True)
class Translator:
    """A translator's folder, found complete by :func:`open_translator`."""

    checkpoint: Path
    model_dict: Path
    data_dict: Path
    sentencepiece: Path
    language_pairs: Path

    @property
    def files(self) -> list[Path]:
        """All five, the checkpoint first."""
        return [self.checkpoint, self.model_dict, self.data_dict, self.sentencepiece, self.language_pairs]

    @cached_property
    def sha256(self) -> dict[str, str]:
        """The checksum of each file by its name; computed once, as the checkpoint is large."""
        return {path.name: sha256(path) for path in self.files}

    @cached_property
    def languages(self) -> list[str]:
        """The languages that stand in a direction and have a token in the model's dictionary, sorted."""
        tokens = set(re.findall(r"^__(\S+)__ ", self.model_dict.read_text(encoding="utf-8"), flags=re.MULTILINE))
        return sorted(tokens & languages_of(self.language_pairs.read_text(encoding="utf-8")))

    def require(self, languages: Iterable[str]) -> None:
        """Raises :class:`InputError` with the languages that the translator does not know, and those it knows."""
        unknown = sorted(set(languages) - set(self.languages))
        if unknown:
            raise InputError(
                f"the translator in {self.checkpoint.parent} does not know {', '.join(unknown)}; "
                f"it knows {', '.join(self.languages) or 'no language'}"
            )


def directions_of(pairs: str) -> list[str]:
    """The directions in a text of them: ``["af-am", "am-af"]`` in ``af-am,am-af``."""
    return [pair for pair in re.split(r"[,\s]+", pairs) if "-" in pair]


def languages_of(pairs: str) -> set[str]:
    """The languages in a text of directions: ``{"af", "am"}`` in ``af-am,am-af``."""
    return {language for pair in directions_of(pairs) for language in pair.split("-")}


def open_translator(folder: str | Path) -> Translator:
    """Finds the files of a translator, without loading any.

    Raises:
        InputError: the folder or any file is missing (all of them are named, with where they are published), or there
            are several checkpoints.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; a translator is a folder with the files of m2m_100 ({README})")
    checkpoints = [name for name in CHECKPOINTS if (folder / name).is_file()]
    if len(checkpoints) > 1:
        raise InputError(f"{folder} holds {' and '.join(checkpoints)}; leave the one checkpoint that is to translate")
    missing = [name for name in (MODEL_DICT, DATA_DICT, SENTENCEPIECE, LANGUAGE_PAIRS) if not (folder / name).is_file()]
    problems = [f"{name}: {PUBLISHED}{name}" for name in missing]
    if not checkpoints:
        problems.insert(0, f"{CHECKPOINTS[0]}: {PUBLISHED}{CHECKPOINTS[1]} (under either name)")
    if problems:
        raise InputError.all_at_once(
            f"{folder} lacks {len(problems)} of the 5 files of a translator; they are published in {README}:", problems
        )
    return Translator(
        folder / checkpoints[0],
        folder / MODEL_DICT,
        folder / DATA_DICT,
        folder / SENTENCEPIECE,
        folder / LANGUAGE_PAIRS,
    )
