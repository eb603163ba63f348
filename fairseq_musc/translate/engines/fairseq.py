"""The published checkpoint through the beam search of ``fairseq-generate``, in this process and loaded once.

What is translated, and what is found, is that of the command with the flags of the m2m_100 page (a test holds the two
together); there are no files in between, and a folder serves every direction. Who searches is a setting: fairseq's
generator, which is the reference, or :mod:`fairseq_musc.translate.beam_search`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_musc.errors import InputError
from fairseq_musc.literals import let_fairseq_read_literals
from fairseq_musc.safe_loading import allow_fairseq_checkpoints, check_named
from fairseq_musc.translate.ahead import ahead
from fairseq_musc.translate.engine import Decoding, Device, Hypothesis
from fairseq_musc.translate.engines.pieces import Pieces, language_token
from fairseq_musc.translate.fairseq_commands import generation_settings, quiet
from fairseq_musc.translate.release import MODELS, TASKS, Translator, open_translator

if TYPE_CHECKING:
    from fairseq.data import Dictionary
    from fairseq.models import FairseqEncoderDecoderModel
    from torch import Tensor

    from fairseq_musc.translate.beam_search import BeamSearch

logger = logging.getLogger(__name__)

#: The language token and a piece: no sentence is translated into nothing.
MIN_LEN = 2


def open_engine(folder: Path, decoding: Decoding, device: Device) -> FairseqEngine:
    """Loads the folder of a translator.

    Raises:
        InputError: it is none, or its checkpoint holds other classes than a safe loader may build, or another model.
    """
    translator = open_translator(folder)
    check_named(translator.checkpoint, MODELS, TASKS)
    return FairseqEngine(translator, decoding, device)


class FairseqEngine:
    """See :class:`fairseq_musc.translate.engine.Engine`."""

    def __init__(self, translator: Translator, decoding: Decoding, device: Device):
        self.translator, self.decoding, self.device = translator, decoding, device
        self.model, self.dictionary, self.longest = load(translator, device)
        self._fast = fast_search(self.model, self.longest, decoding, device)
        self._pieces = Pieces(translator)
        self.require = translator.require
        self.lengths = self._pieces.lengths

    def translate(
        self, batches: Iterable[Sequence[str]], source_lang: str, target_lang: str
    ) -> Iterator[list[list[Hypothesis]]]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        self.require([source_lang, target_lang])
        prefix_token = self.dictionary.index(language_token(target_lang))
        found: Iterator[list[list[tuple[list[int], float]]]]
        if self._fast is None:
            found = (self._by_fairseq(batch, source_lang, prefix_token) for batch in batches)
        else:
            rows = (self.numbers(batch, source_lang) for batch in batches)
            found = ahead(self._fast.search_batches(rows, prefix_token), 4)
        for of_batch in found:
            yield [
                [
                    Hypothesis(self._pieces.decode((self.dictionary[i] for i in tokens), target_lang), score)
                    for tokens, score in hypotheses[: self.decoding.nbest]
                ]
                for hypotheses in of_batch
            ]

    def _by_fairseq(
        self, batch: Sequence[str], source_lang: str, prefix_token: int
    ) -> list[list[tuple[list[int], float]]]:
        src_tokens, src_lengths = self.encode(batch, source_lang)
        return search(self.model, self.dictionary, src_tokens, src_lengths, prefix_token, self.decoding)

    def numbers(self, sentences: Sequence[str], source_lang: str) -> list[list[int]]:
        """The tokens of each sentence: language token, pieces, end of sentence."""
        first, index = self.dictionary.index(language_token(source_lang)), self.dictionary.index
        return [[first, *map(index, pieces), self.dictionary.eos()] for pieces in self._pieces.encode(sentences)]

    def encode(self, sentences: Sequence[str], source_lang: str) -> tuple[Tensor, Tensor]:
        """The batch that the model reads.

        Returns:
            ``src_tokens`` (sentences x longest): the tokens of :meth:`numbers`, padded at the left; ``src_lengths``
            (sentences).
        """
        import torch
        from fairseq.data.data_utils import collate_tokens

        rows = [torch.tensor(row) for row in self.numbers(sentences, source_lang)]
        src_tokens = collate_tokens(rows, self.dictionary.pad(), left_pad=True)
        src_lengths = torch.tensor([len(row) for row in rows])
        where = next(self.model.parameters()).device
        return src_tokens.to(where), src_lengths.to(where)

    def provenance(self) -> dict[str, Any]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        return {"engine": "fairseq", "translator": self.translator.sha256, "precision": self.device.precision}


def search(
    model: FairseqEncoderDecoderModel,
    dictionary: Dictionary,
    src_tokens: Tensor,
    src_lengths: Tensor,
    prefix_token: int,
    decoding: Decoding,
) -> list[list[tuple[list[int], float]]]:
    """Beam search by fairseq's SequenceGenerator, with the defaults of ``fairseq-generate``.

    Args:
        src_tokens: (sentences x longest), padded at the left.
        src_lengths: (sentences), language token and end of sentence included.
        prefix_token: what every hypothesis begins with: the token of the target language.

    Returns:
        for each sentence, best first, up to ``decoding.beam`` hypotheses: their tokens, from ``prefix_token`` to the
        end of sentence, and the score, see :attr:`Hypothesis.score`. The limit ``decoding.max_len_a`` is taken of the
        longest sentence.
    """
    from fairseq.sequence_generator import SequenceGenerator

    generator = SequenceGenerator(
        [model],
        dictionary,
        beam_size=decoding.beam,
        max_len_a=decoding.max_len_a,
        max_len_b=decoding.max_len_b,
        min_len=MIN_LEN,
    )
    sample = {"net_input": {"src_tokens": src_tokens, "src_lengths": src_lengths}}
    prefix_tokens = src_tokens.new_full((len(src_tokens), 1), prefix_token)
    found = generator.generate([model], sample, prefix_tokens=prefix_tokens)
    return [[(h["tokens"].tolist(), h["score"].item()) for h in hypotheses] for hypotheses in found]


def fast_search(
    model: FairseqEncoderDecoderModel, longest: int, decoding: Decoding, device: Device
) -> BeamSearch | None:
    """The search that finds what :func:`search` does, or None if fairseq's is to be used.

    Args:
        model: where it is to be used, and in its precision.
        longest: how many pieces of a sentence the model reads.
        decoding, device: of the engine.

    Raises:
        InputError: it was asked for by name, and cannot search this model.
    """
    on_gpu = next(model.parameters()).is_cuda
    if device.search == "fairseq" or (device.search == "auto" and not on_gpu):
        return None
    from fairseq_musc.translate.beam_search import BeamSearch, Limits

    limits = Limits(decoding.beam, decoding.max_len_a, decoding.max_len_b, MIN_LEN)
    # a single character can have more pieces than sentences are cut to
    tokens = min(max(decoding.longest, 32), longest) + 2
    try:
        return BeamSearch(model, limits, longest=tokens, slots=512 if on_gpu else 32, nbest=decoding.nbest)
    except InputError as error:
        if device.search == "fast":
            raise
        logger.warning("%s\nfairseq's own generator is used", error)
        return None


def load(translator: Translator, device: Device) -> tuple[FairseqEncoderDecoderModel, Dictionary, int]:
    """The model, ready for inference where and in which precision ``device`` says; its dictionary; and how many pieces
    of a sentence it reads.
    """
    import torch

    allow_fairseq_checkpoints()
    let_fairseq_read_literals()
    language = translator.languages[0]  # the task wants a direction; the model and the dictionary know them all
    settings = generation_settings(
        "no-data",
        *("--task", "translation_multi_simple_epoch"),
        *("--fixed-dictionary", str(translator.model_dict), "--lang-pairs", str(translator.language_pairs)),
        *("--source-lang", language, "--target-lang", language, "--encoder-langtok", "src", "--decoder-langtok"),
    )
    from fairseq import checkpoint_utils, tasks

    with quiet("fairseq.checkpoint_utils"):
        task = tasks.setup_task(settings.task)
        (model,), _ = checkpoint_utils.load_model_ensemble([str(translator.checkpoint)], task=task)
    if device.precision in ("fp16", "bf16"):
        model.to(torch.float16 if device.precision == "fp16" else torch.bfloat16)
    if torch.cuda.is_available() and not device.cpu:
        model.cuda()
    model.prepare_for_inference_(settings)
    model.eval()
    positions = min(task.max_positions()[0], model.max_positions()[0])
    return model, task.source_dictionary, positions - 2  # the language token and the end of sentence
