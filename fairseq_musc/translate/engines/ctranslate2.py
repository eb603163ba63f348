"""The published checkpoint through CTranslate2: for CPUs, and for arithmetic in int8.

The checkpoint is converted once, by CTranslate2's own converter for fairseq, into a folder that is named after what it
was made from: in ``$FAIRSEQ_MUSC_CACHE`` if that is set, else in the folder of the translator, or, where that cannot be
written to, in ``~/.cache/fairseq-musc``.

Its beam search is fairseq's but for two things, which are mended here, so that in fp32 the same is found with the same
scores: the score leaves out the log-probability of the language token, which decides between hypotheses of different
lengths; and a hypothesis that reaches the limit of its length does not pay for ending there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.files import folder_written_whole, write_json
from fairseq_musc.safe_loading import allow_fairseq_checkpoints, check_pickled_classes
from fairseq_musc.translate.engine import Decoding, Device, Hypothesis
from fairseq_musc.translate.engines.pieces import Pieces, language_token
from fairseq_musc.translate.fairseq_commands import quiet
from fairseq_musc.translate.release import Translator, open_translator

if TYPE_CHECKING:
    from ctranslate2 import AsyncScoringResult, AsyncTranslationResult

#: What CTranslate2 calls the precisions.
COMPUTE_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}

#: How many positions either side of the converted model has.
POSITIONS = "positions.json"


def open_engine(folder: Path, decoding: Decoding, device: Device) -> CTranslate2Engine:
    """Loads the folder of a translator, converted first if need be.

    Raises:
        InputError: CTranslate2 is not installed, the folder is no translator, or its checkpoint holds other classes
            than a safe loader may build.
    """
    try:
        import ctranslate2  # noqa: F401
    except ImportError:
        raise InputError(
            "the engine ctranslate2 needs a package that is not here: pip install 'fairseq-musc[ctranslate2]'"
        ) from None
    translator = open_translator(folder)
    check_pickled_classes(translator.checkpoint)
    return CTranslate2Engine(translator, decoding, device)


class CTranslate2Engine:
    """See :class:`fairseq_musc.translate.engine.Engine`."""

    def __init__(self, translator: Translator, decoding: Decoding, device: Device):
        import ctranslate2
        import torch

        self.translator, self.decoding, self.device = translator, decoding, device
        self.require = translator.require
        self._pieces = Pieces(translator)
        self.lengths = self._pieces.lengths
        model = converted(translator, COMPUTE_TYPES[device.precision])
        positions = json.loads((model / POSITIONS).read_text(encoding="utf-8"))
        self.longest = positions["source"] - 2  # the language token and the end of sentence
        self._longest_target = positions["target"] - 1
        on_gpu = ctranslate2.get_cuda_device_count() and not device.cpu
        # On a CPU, a batch for each thread is faster than all threads for one batch.
        self._at_once = 1 if on_gpu else torch.get_num_threads()
        self._model = ctranslate2.Translator(
            str(model),
            device="cuda" if on_gpu else "cpu",
            compute_type=COMPUTE_TYPES[device.precision],
            inter_threads=self._at_once,
            intra_threads=1,
        )

    def translate(
        self, batches: Iterable[Sequence[str]], source_lang: str, target_lang: str
    ) -> Iterator[list[list[Hypothesis]]]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        self.require([source_lang, target_lang])
        under_way: deque[Search] = deque()
        for batch in batches:
            under_way.append(self._begin(batch, source_lang, target_lang))
            if len(under_way) > self._at_once:
                yield self._end(under_way.popleft())
        while under_way:
            yield self._end(under_way.popleft())

    def _begin(self, sentences: Sequence[str], source_lang: str, target_lang: str) -> Search:
        source = [[language_token(source_lang), *pieces] for pieces in self._pieces.encode(sentences)]
        prefix = [[language_token(target_lang)]] * len(source)
        src_len = max(map(len, source)) + 1  # fairseq counts the end of sentence, too
        limit = min(int(self.decoding.max_len_a * src_len + self.decoding.max_len_b), self._longest_target)
        found = self._model.translate_batch(
            source,
            prefix,
            beam_size=self.decoding.beam,
            num_hypotheses=self.decoding.beam,
            return_scores=True,
            min_decoding_length=1,  # not counting the prefix: no sentence is translated into nothing
            max_decoding_length=limit,
            max_input_length=0,  # documents are cut before; nothing is cut off here
            asynchronous=True,
        )
        prefix_scores = self._model.score_batch(source, prefix, max_input_length=0, asynchronous=True)
        return Search(source, target_lang, limit, found, prefix_scores)

    def _end(self, search: Search) -> list[list[Hypothesis]]:
        answers = []
        for source, result, prefix in zip(search.source, search.found, search.prefix_scores, strict=True):
            found, of_prefix = result.result(), prefix.result().log_probs[0]
            hypotheses = []
            for pieces, score in zip(found.hypotheses, found.scores, strict=True):
                if len(pieces) < search.limit:
                    score += of_prefix / (len(pieces) + 1)
                else:
                    (scored,) = self._model.score_batch([source], [pieces], max_input_length=0)
                    score = sum(scored.log_probs) / len(scored.log_probs)
                hypotheses.append(Hypothesis(self._pieces.decode(pieces, search.target_lang), score))
            hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
            answers.append(hypotheses[: self.decoding.nbest])
        return answers

    def provenance(self) -> dict[str, Any]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        return {"engine": "ctranslate2", "translator": self.translator.sha256, "precision": self.device.precision}


class Search(NamedTuple):
    """A batch under way."""

    source: list[list[str]]
    target_lang: str
    limit: int
    """The pieces of a translation at most, language token included."""
    found: list[AsyncTranslationResult]
    prefix_scores: list[AsyncScoringResult]


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
