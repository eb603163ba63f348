"""The published checkpoint through CTranslate2: for CPUs, and for arithmetic in int8.

Its beam search is fairseq's but for two things, which are mended here, so that in fp32 the same is found with the same
scores: the score leaves out the log-probability of the language token, which decides between hypotheses of different
lengths; and a hypothesis that reaches the limit of its length does not pay for ending there.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.safe_loading import check_named
from fairseq_musc.translate.engine import Decoding, Device, Hypothesis
from fairseq_musc.translate.engines.ctranslate2_model import COMPUTE_TYPES, POSITIONS, converted
from fairseq_musc.translate.engines.pieces import Pieces, language_token
from fairseq_musc.translate.release import MODELS, TASKS, Translator, open_translator

if TYPE_CHECKING:
    from ctranslate2 import AsyncScoringResult, AsyncTranslationResult

#: Pieces that a thread of a CPU translates at once; larger parts were slower and smaller ones no faster.
PART = 1024


def open_engine(folder: Path, decoding: Decoding, device: Device) -> CTranslate2Engine:
    """Loads the folder of a translator, converted first if need be.

    Raises:
        InputError: CTranslate2 is not installed, the folder is no translator, or its checkpoint holds other classes
            than a safe loader may build, or another model.
    """
    allow_avx512(Path("/proc/cpuinfo"))
    try:
        import ctranslate2  # noqa: F401
    except ImportError:
        raise InputError(
            "the engine ctranslate2 needs a package that is not here: pip install 'fairseq-musc[ctranslate2]'"
        ) from None
    translator = open_translator(folder)
    check_named(translator.checkpoint, MODELS, TASKS)
    return CTranslate2Engine(translator, decoding, device)


def allow_avx512(cpuinfo: Path) -> None:
    """Lets CTranslate2 use AVX-512 on the CPUs that gain by it, unless ``$CT2_FORCE_CPU_ISA`` says what it may use.

    By itself it keeps to AVX2, because the first CPUs with AVX-512 lowered their clock for it. Those that have its
    extension for bf16 do not; int8 takes an eighth less time there.
    """
    if cpuinfo.is_file() and re.search(r"\bavx512_bf16\b", cpuinfo.read_text(encoding="utf-8")):
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


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
        # On a CPU each thread takes parts of a batch for itself, of a size that fits its cache.
        self._at_once = 1 if on_gpu else torch.get_num_threads()
        self._parts = {"max_batch_size": 0 if on_gpu else PART, "batch_type": "tokens", "max_input_length": 0}
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
            asynchronous=True,
            **self._parts,
        )
        prefix_scores = self._model.score_batch(source, prefix, asynchronous=True, **self._parts)
        return Search(source, target_lang, limit, found, prefix_scores)

    def _end(self, search: Search) -> list[list[Hypothesis]]:
        found = [result.result() for result in search.found]
        of_prefix = [result.result().log_probs[0] for result in search.prefix_scores]
        at_limit = [
            (source, pieces)
            for source, of_sentence in zip(search.source, found, strict=True)
            for pieces in of_sentence.hypotheses
            if len(pieces) >= search.limit
        ]
        sources, targets = [source for source, _ in at_limit], [pieces for _, pieces in at_limit]
        scored = iter(self._model.score_batch(sources, targets, **self._parts))
        answers = []
        for of_sentence, prefix in zip(found, of_prefix, strict=True):
            hypotheses = []
            for pieces, score in zip(of_sentence.hypotheses, of_sentence.scores, strict=True):
                if len(pieces) >= search.limit:
                    log_probs = next(scored).log_probs
                    score = sum(log_probs) / len(log_probs)
                else:
                    score += prefix / (len(pieces) + 1)
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
