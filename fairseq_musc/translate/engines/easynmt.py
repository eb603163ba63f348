"""m2m_100 in Hugging Face's format through EasyNMT, which the paper translated with.

Here EasyNMT gets a batch of sentences at a time, so neither its own splitting (which looks for Japanese under ``jp``)
nor its batches of 16 have a say. What is left is its model: Hugging Face's ``generate``. That chooses between
hypotheses by a score without the language token, which fairseq counts in; the order is left as it is, and the scores
are those of :class:`Hypothesis`. Tokens of other languages amid a text are left out, where fairseq writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256
from fairseq_musc.safe_loading import NO_CODE, check_config
from fairseq_musc.translate.engine import Decoding, Device, Hypothesis

if TYPE_CHECKING:
    from torch import Tensor

#: What makes a folder one of m2m_100, beside the weights.
FILES = ("config.json", "vocab.json", "sentencepiece.bpe.model")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

#: Hypotheses that are scored at once: each takes a score for every word of the dictionary and each of its pieces.
SCORED_AT_ONCE = 16


def open_engine(folder: Path, decoding: Decoding, device: Device) -> EasyNMTEngine:
    """Loads a folder with m2m_100 as Hugging Face publishes it (``facebook/m2m100_418M``).

    Raises:
        InputError: EasyNMT is not installed, or files are missing.
    """
    try:
        import easynmt  # noqa: F401
    except ImportError:
        raise InputError(
            "the engine easynmt needs packages that are not here: pip install 'fairseq-musc[easynmt]'"
        ) from None
    missing = [name for name in FILES if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in WEIGHTS):
        missing.append(" or ".join(WEIGHTS))
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}; the engine easynmt takes a folder with the files of m2m_100 in "
            "Hugging Face's format (facebook/m2m100_418M), and the other engines take fairseq's"
        )
    check_config(str(folder), own_code=False)  # EasyNMT does not say that such code is not to be run
    return EasyNMTEngine(folder, decoding, device)


class EasyNMTEngine:
    """See :class:`fairseq_musc.translate.engine.Engine`."""

    def __init__(self, folder: Path, decoding: Decoding, device: Device):
        import torch
        from easynmt.models import AutoModel

        self.folder, self.decoding, self.device = folder, decoding, device
        self._translator = AutoModel(str(folder), tokenizer_args=dict(NO_CODE))
        self._tokenizer, self._model = self._translator.tokenizer, self._translator.model
        if device.precision in ("fp16", "bf16"):
            self._model.to(torch.float16 if device.precision == "fp16" else torch.bfloat16)
        self._where = "cuda" if torch.cuda.is_available() and not device.cpu else "cpu"
        self._positions = self._model.config.max_position_embeddings
        self.longest = self._positions - 2  # the language token and the end of sentence
        self._generate = self._model.generate
        self._model.generate = self._generate_and_keep

    def _generate_and_keep(self, **arguments: Any) -> Tensor:
        """EasyNMT throws away what it makes its text of, and the score needs it."""
        self._kept = arguments, self._generate(**arguments)
        return self._kept[1]

    def require(self, languages: Iterable[str]) -> None:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        known = sorted(self._tokenizer.lang_code_to_id)
        unknown = sorted(set(languages) - set(known))
        if unknown:
            raise InputError(
                f"the model in {self.folder} does not know {', '.join(unknown)}; it knows {', '.join(known)}"
            )

    def lengths(self, sentences: Sequence[str]) -> list[int]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        if not sentences:
            return []
        return [len(ids) for ids in self._tokenizer(list(sentences), add_special_tokens=False).input_ids]

    def translate(
        self, batches: Iterable[Sequence[str]], source_lang: str, target_lang: str
    ) -> Iterator[list[list[Hypothesis]]]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        self.require([source_lang, target_lang])
        nbest = self.decoding.nbest
        for batch in batches:
            src_len = max(self.lengths(batch)) + 2
            limit = min(int(self.decoding.max_len_a * src_len + self.decoding.max_len_b), self._positions - 2)
            texts = self._translator.translate_sentences(
                list(batch),
                source_lang,
                target_lang,
                self._where,
                self.decoding.beam,
                num_return_sequences=nbest,
                max_length=limit + 1,  # with what the decoder starts from
            )
            hypotheses = [
                Hypothesis(" ".join(text.split()), score) for text, score in zip(texts, self._scores(), strict=True)
            ]
            yield [hypotheses[i : i + nbest] for i in range(0, len(hypotheses), nbest)]

    def _scores(self) -> list[float]:
        """Of each hypothesis that was generated last: its mean log-probability, language token and end included."""
        import torch

        arguments, sequences = self._kept
        pad, end = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        ended = sequences[:, 1:].eq(end).any(1, keepdim=True)  # the rest reached the limit
        sequences = torch.cat([sequences, torch.where(ended, pad, end)], 1)
        source = {
            name: arguments[name].repeat_interleave(self.decoding.nbest, 0) for name in ("input_ids", "attention_mask")
        }
        scores: list[float] = []
        for first in range(0, len(sequences), SCORED_AT_ONCE):
            rows = slice(first, first + SCORED_AT_ONCE)
            inputs = {name: tensor[rows] for name, tensor in source.items()}
            given, target = sequences[rows, :-1], sequences[rows, 1:]
            with torch.no_grad():
                logits = self._model(**inputs, decoder_input_ids=given).logits.float()
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), target, ignore_index=pad, reduction="none"
            )
            scores += (-losses.sum(1) / target.ne(pad).sum(1)).tolist()
        return scores

    def provenance(self) -> dict[str, Any]:
        """See :class:`fairseq_musc.translate.engine.Engine`."""
        return {"engine": "easynmt", "translator": self._sha256, "precision": self.device.precision}

    @cached_property
    def _sha256(self) -> dict[str, str]:
        """The checksum of each file by its name; computed once, as the weights are large."""
        files = [path for path in self.folder.iterdir() if path.is_file()]
        files.sort(key=lambda path: (path.name not in WEIGHTS, path.name))  # the weights first, as everywhere
        return {path.name: sha256(path) for path in files}
