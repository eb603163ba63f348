"""The model card of an exported classifier: how it is used, its result table, what it was trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_musc.version import __version__

if TYPE_CHECKING:
    from fairseq_musc.evaluate.report import Results
    from fairseq_musc.models.checkpoint import TrainedClassifier

PAPER = (
    "Oh, Ko and Yun, Synergy with Translation Artifacts for Training and Inference in Multilingual Tasks, EMNLP 2022"
)


def model_card(
    name: str,
    trained: TrainedClassifier,
    checkpoint: str,
    checkpoint_sha256: str,
    exported: Any,
    results: Results | None,
) -> str:
    """The text of README.md.

    Args:
        name: the folder's.
        trained: what was exported.
        checkpoint: the file name of its checkpoint.
        checkpoint_sha256: the checksum of that file.
        exported: the model of transformers.
        results: its result table, if there is one.
    """
    from huggingface_hub import ModelCardData

    languages = languages_of(trained)
    about = ModelCardData(
        language=languages or None,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["fairseq-musc", "translate-all"],
    )
    labels = ", ".join(map(as_code, trained.labels))
    read = f" in {', '.join(language.upper() for language in languages)}" if languages else ""
    lines = [
        *("---", about.to_yaml(), "---", ""),
        *(f"# {name}", ""),
        f"Classifies text{read} as {labels}. A {type(exported).__name__}, trained with fairseq-musc by the method of "
        f"{PAPER}.",
        *("", "```python", "from transformers import pipeline", ""),
        f'classify = pipeline("text-classification", model={json.dumps(name, ensure_ascii=False)}, top_k=None)',
        'classify("a text", truncation=True)',
        'classify({"text": "a text", "text_pair": "its partner"}, truncation=True)  # if it was trained on pairs',
        *("```", ""),
        "The paper's ensemble (Ens.) is the mean of the probabilities for a text and for its translation into English, "
        "both by this model.",
        "",
    ]
    if results is not None:
        from fairseq_musc.evaluate.report import as_markdown

        lines += ["## Results", "", as_markdown(results)]
    lines += ["## Training", "", *(f"- {line}" for line in signature(trained, checkpoint, checkpoint_sha256)), ""]
    return "\n".join(lines)


def as_code(text: str) -> str:
    """A text as code in Markdown, whatever stands in it: its fence is longer than each run of backticks there."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    apart = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{apart}{text}{apart}{fence}"


def languages_of(trained: TrainedClassifier) -> list[str]:
    """The languages that it was trained on, sorted; none if its checkpoint does not say."""
    rows = trained.training.rows if trained.training else {}
    return sorted({name.partition(".")[2] for name in rows})


def signature(trained: TrainedClassifier, checkpoint: str, checkpoint_sha256: str) -> Iterator[str]:
    """What the weights can be traced back to, one line each."""
    training = trained.training
    if training is not None:
        kind = "aligned views of the same rows" if training.paired else "each by itself"
        yield f"corpora: {' + '.join(training.corpora)}, {kind}"
        yield f"rows: {', '.join(f'{name} {rows:,}' for name, rows in training.rows.items())}"
        for translator in training.translators:
            yield f"translator: {translator}"
        yield f"loss: {training.terms}, lambda {training.lam:g}, normalisation {training.normalisation}"
        yield f"learning rate: {training.lr:g}"
    # Where a folder lay is of no use to those who read the card.
    yield f"encoder: {Path(trained.encoder).name if Path(trained.encoder).is_absolute() else trained.encoder}"
    yield f"seed: {trained.seed}"
    yield f"checkpoint: {checkpoint} (update {trained.num_updates}, SHA-256 {checkpoint_sha256})"
    yield f"exported by: fairseq-musc {__version__}"
