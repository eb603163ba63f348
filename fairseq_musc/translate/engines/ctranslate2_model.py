"""A translator in CTranslate2's format: made once, by CTranslate2's own converter for fairseq.

It lies in a folder that is named after what it was made from: in ``$FAIRSEQ_MUSC_CACHE`` if that is set, else in the
folder of the translator, or, where that cannot be written to, in ``~/.cache/fairseq-musc``.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from fairseq_musc.files import folder_written_whole, write_json
from fairseq_musc.literals import let_fairseq_read_literals
from fairseq_musc.safe_loading import allow_fairseq_checkpoints
from fairseq_musc.translate.fairseq_commands import quiet
from fairseq_musc.translate.release import Translator

#: What CTranslate2 calls the precisions.
COMPUTE_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}

#: The file that says how many positions either side of the model has.
POSITIONS = "positions.json"


def converted(translator: Translator, compute_type: str) -> Path:
    """The folder with the translator in CTranslate2's format; made if it is not there."""
    made_from = [translator.sha256[path.name] for path in (translator.checkpoint, translator.model_dict)]
    name = f"ctranslate2-{compute_type}-{hashlib.sha256(''.join(made_from).encode()).hexdigest()[:16]}"
    beside = translator.checkpoint.parent
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairseq-musc"
    given = os.environ.get("FAIRSEQ_MUSC_CACHE")
    folders = [Path(given)] if given else [beside, home]
    for folder in folders:
        if (folder / name).is_dir():
            return folder / name
    path = (folders[0] if given or os.access(beside, os.W_OK) else home) / name
    try:
        with folder_written_whole(path) as partial:
            convert(translator, compute_type, partial)
    except OSError:
        if not path.is_dir():  # else another process was faster
            raise
    return path


def convert(translator: Translator, compute_type: str, folder: Path) -> None:
    """Writes the translator in CTranslate2's format, and how many positions it has."""
    from ctranslate2.converters import FairseqConverter

    class Converter(FairseqConverter):
        def _load(self) -> Any:
            spec = super()._load()
            self.positions = {
                "source": len(spec.encoder.position_encodings.encodings),
                "target": len(spec.decoder.position_encodings.encodings),
            }
            return spec

    let_fairseq_read_literals()
    allow_fairseq_checkpoints()  # the converter leaves torch's safe loader on
    language = translator.languages[0]  # the task wants a direction; the model and the dictionary know them all
    converter = Converter(
        str(translator.checkpoint),
        str(translator.checkpoint.parent),
        source_lang=language,
        target_lang=language,
        fixed_dictionary=str(translator.model_dict),
    )
    with quiet("ctranslate2"):
        converter.convert(str(folder), quantization=compute_type, force=True)
    write_json(folder / POSITIONS, converter.positions)
