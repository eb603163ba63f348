"""The released code's way of a training step and of predicting, acted again with this package's parts.

Read off the description of jongwooko/MUSC: float32; the eager attention of its copy of BERT; every row padded to 128
tokens; for each target language four encoder passes, each with a lookup of its own, the five SupCon losses one by one,
a backward pass and a look at the loss; then one step of torch's Adam. The data lie on the device beforehand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_musc import losses
from fairseq_musc.data.databin import DataBinInfo, open_corpus
from fairseq_musc.data.pairs import padded
from fairseq_musc.mixing import Mixing
from fairseq_musc.models.classifier import MuscClassifier, MuscClassifierConfig, encoder_from_pretrained

TERMS = losses.TERMS


class LanguageBatch(NamedTuple):
    """N aligned pairs of one target language, padded to the full length."""

    S: dict[str, Tensor]
    T: dict[str, Tensor]
    y: Tensor
    tokens: int
    """Real tokens of both views."""


def released_model(encoder: Path, device: torch.device) -> MuscClassifier:
    """The classifier with eager attention over padded rows, in float32."""
    config = MuscClassifierConfig(packed=False)
    return MuscClassifier(encoder_from_pretrained(str(encoder), "eager"), 2, config).to(device)


def to_full_length(view: dict[str, Tensor], pad: int, length: int, device: torch.device) -> dict[str, Tensor]:
    """A view padded to ``length`` tokens, on the device."""
    fill = {"input_ids": pad, "attention_mask": 0, "token_type_ids": 0}
    return {k: F.pad(v, (0, length - v.shape[1]), value=fill[k]).to(device) for k, v in view.items()}


def language_batches(
    data: Path, languages: tuple[str, ...], size: int, step: int, length: int, device: torch.device
) -> list[LanguageBatch]:
    """The pairs of one step: every language draws its own rows."""
    info = DataBinInfo.load(data)
    source = open_corpus(data, "S_trn", "en")
    batches = []
    for g, language in enumerate(languages):
        target = open_corpus(data, "T_trn_MT", language)
        rows = np.random.default_rng([step, g]).choice(len(source), size, replace=False)
        taken = [corpus.take(rows) for corpus in (source, target)]
        views = [to_full_length(padded(view, info.pad), info.pad, length, device) for view in taken]
        y = torch.from_numpy(source.labels[rows].astype(np.int64)).to(device)
        batches.append(LanguageBatch(*views, y, sum(len(view.ids) for view in taken)))
    return batches


def released_step(
    model: MuscClassifier, optimizer: torch.optim.Optimizer, batches: list[LanguageBatch], lam: float = 0.1
) -> None:
    """One update on one batch of every language."""
    for batch in batches:
        n = len(batch.y)
        alpha = torch.rand(2)
        against = torch.arange(n - 1, -1, -1, device=batch.y.device)
        mixings = [Mixing(against, a.to(batch.y.device).expand(n)) for a in alpha]
        S, T = (losses.View(*model(**view)) for view in (batch.S, batch.T))
        mixed = [losses.View(*model(**view, mixing=m)) for view, m in zip((batch.S, batch.T), mixings, strict=True)]
        terms = losses.terms_of_pairs(S, T, *mixed, batch.y, *alpha.to(batch.y.device), TERMS, 0.3)
        loss = losses.total(terms, lam) / len(batches)
        loss.backward()
        loss.item()
    optimizer.step()
    optimizer.zero_grad()


def released_predictions(
    model: MuscClassifier, data: Path, name: str, language: str, length: int, device: torch.device, size: int = 128
) -> Any:
    """The probabilities of a corpus, in the order of its rows, all padded to the full length: (n, C) on the CPU."""
    info = DataBinInfo.load(data)
    corpus = open_corpus(data, name, language)
    probabilities = []
    with torch.no_grad():
        for start in range(0, len(corpus), size):
            rows = np.arange(start, min(start + size, len(corpus)))
            view = to_full_length(padded(corpus.take(rows), info.pad), info.pad, length, device)
            probabilities.append(model(**view, project=False).logits.softmax(-1).cpu())
    return torch.cat(probabilities).numpy()
