"""A trained classifier in memory: texts in, probabilities out.

It comes from a checkpoint of ``fairseq-hydra-train``, or from a folder of Hugging Face transformers such as
``fairseq-musc export`` writes; both give the same probabilities.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.errors import InputError
from fairseq_musc.safe_loading import NO_CODE, check_config

#: Rows that are tokenized at once.
CHUNK = 4096
#: Tokens that no text has.
NO_LIMIT = 1_000_000


@dataclass(frozen=True, eq=False)
class Scorer:
    """A classifier with its tokenizer."""

    classes: tuple[str, ...]
    tokenizer: Any
    max_length: int
    """Texts are cut to this many tokens, of a pair the longer first."""
    logits: Callable[[dict[str, Any]], Any]
    """From a view (tensors (B, L) by the names of the encoder's arguments) on the device to (B, C)."""
    device: str

    def probabilities(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None,
        batch_size: int,
        progress: Callable[[int], object] = lambda rows: None,
    ) -> NDArray[np.float64]:
        """The probabilities of the classes.

        Args:
            texts: n texts.
            pairs: n second texts, if it is a classifier of pairs.
            batch_size: rows at once; they are taken by length, so that little padding is computed.
            progress: called with the number of rows done since the last call.

        Returns:
            (n, C).
        """
        import torch

        from fairseq_musc.evaluate.predict import by_length

        encoded = self.encoded(texts, pairs)
        found = np.full((len(texts), len(self.classes)), np.nan)
        with torch.inference_mode():
            for places in by_length(np.array([len(row["input_ids"]) for row in encoded], dtype=np.int64), batch_size):
                view = {
                    key: tensor.to(self.device) for key, tensor in self.padded([encoded[i] for i in places]).items()
                }
                found[places] = self.logits(view).double().softmax(-1).cpu().numpy()
                progress(len(places))
        return found

    def encoded(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[dict[str, list[int]]]:
        """The token ids of each row, as they were made for training."""
        rows: list[dict[str, list[int]]] = []
        for start in range(0, len(texts), CHUNK):
            stretch = slice(start, start + CHUNK)
            of_chunk = self.tokenizer(
                list(texts[stretch]),
                None if pairs is None else list(pairs[stretch]),
                truncation="longest_first",
                max_length=self.max_length,
            )
            names = list(of_chunk)
            rows += [dict(zip(names, values, strict=True)) for values in zip(*of_chunk.values(), strict=True)]
        return rows

    def padded(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        """Rows side by side: tensors (B, L), L the longest."""
        import torch

        pad = {"input_ids": self.tokenizer.pad_token_id}
        return {
            name: torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row[name]) for row in rows], batch_first=True, padding_value=pad.get(name, 0)
            )
            for name in rows[0]
        }


def open_scorer(path: str | Path, tokenizer: str | None = None, device: str | None = None) -> Scorer:
    """Loads a classifier.

    Args:
        path: a checkpoint; or a folder or hub name for transformers' AutoModelForSequenceClassification.
        tokenizer: for a checkpoint whose data-bin and encoder are no longer there.
        device: e.g. ``cpu`` or ``cuda:1``; None takes a GPU if there is one.

    Raises:
        InputError: it is not there, or is no classifier.
    """
    from fairseq_musc.evaluate.predict import device_of

    device = device or device_of(cpu=False)
    if Path(path).is_file():
        return of_checkpoint(Path(path), tokenizer, device)
    return of_folder(str(path), device)


def of_checkpoint(path: Path, tokenizer_name: str | None, device: str) -> Scorer:
    """The classifier of a checkpoint.

    Raises:
        InputError: it cannot be loaded, or its tokenizer is not found.
    """
    from fairseq_musc.huggingface.export import longest_row, readable, tokenizer_of
    from fairseq_musc.models.checkpoint import load_classifier

    trained = load_classifier(path)
    tokenizer, where = tokenizer_of(trained, tokenizer_name)
    model = trained.model.to(device)
    return Scorer(
        classes=trained.labels,
        tokenizer=tokenizer,
        max_length=min(readable(model.encoder), longest_row(where, tokenizer)),
        logits=lambda view: model(**view, project=False).logits,
        device=device,
    )


def of_folder(path: str, device: str) -> Scorer:
    """The classifier of a folder, or of a name on the hub.

    Raises:
        InputError: it is not there, holds an encoder without a classifier, or one that chooses no one label of several.
    """
    from transformers import AutoModelForSequenceClassification

    from fairseq_musc.data.tokenizer import load_tokenizer
    from fairseq_musc.huggingface.export import readable

    check_config(path)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(path, output_loading_info=True, **NO_CODE)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} cannot be loaded as a classifier: {error}\nGive a checkpoint (checkpoint_best.pt), a folder that "
            "`fairseq-musc export` wrote, or the name of a classifier on the hub while online."
        ) from error
    if report["missing_keys"]:
        raise InputError(
            f"{path} is an encoder without a trained classifier: it lacks "
            f"{', '.join(sorted(report['missing_keys']))}; train one first"
        )
    if model.config.num_labels < 2 or model.config.problem_type not in (None, "single_label_classification"):
        how = "has one output, as a regression has"
        if model.config.num_labels > 1:
            how = f"is for {model.config.problem_type}: it says of each label by itself whether it holds"
        raise InputError(f"{path} {how}; a classifier that chooses one of two labels or more is needed")
    tokenizer = load_tokenizer(path)
    longest = min(readable(model.base_model), tokenizer.model_max_length, NO_LIMIT)
    model = model.eval().to(device)
    names = model.config.id2label
    return Scorer(
        classes=tuple(names[i] for i in range(len(names))),
        tokenizer=tokenizer,
        max_length=longest,
        logits=lambda view: model(**view).logits,
        device=device,
    )
