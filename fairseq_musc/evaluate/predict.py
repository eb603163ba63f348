"""Predicts corpora of a data-bin with a checkpoint.

Reads a checkpoint that ``fairseq-hydra-train --config-name musc_...`` wrote, and corpora of a data-bin (T_tst and
S_tst_MT, or what is asked for). The encoder's original folder and a network are not needed. Uses a GPU if there is
one.

Writes one predictions table for each corpus and language (``T_tst.de.tsv`` and ``.json``): ids, labels and a
probability for each class, in the order of the corpus. A table that is there already, made by the same checkpoint from
the same rows, cut to the same length, in the same precision, is kept, so that a run that was stopped goes on where it
was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairseq_musc.data.corpus import CORPORA, languages_of
from fairseq_musc.data.translators import mismatch, translator_of
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Predictions, Signature, read_predictions, write_predictions
from fairseq_musc.progress import progress_bar, say
from fairseq_musc.version import __version__

if TYPE_CHECKING:
    from fairseq_musc.data.databin import BinarizedCorpus, DataBinInfo
    from fairseq_musc.models.checkpoint import TrainedClassifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc predict``."""
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="FILE", help="e.g. checkpoint_best.pt")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="the data-bin")
    parser.add_argument("--predictions", required=True, type=Path, metavar="FOLDER", help="where the tables go")
    parser.add_argument(
        "--corpora",
        nargs="+",
        choices=list(CORPORA),
        default=["T_tst", "S_tst_MT"],
        metavar="CORPUS",
        help="what to predict (default: T_tst S_tst_MT)",
    )
    parser.add_argument(
        "--languages", nargs="+", metavar="LANG", help="in these languages only (default: all in the data-bin)"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="rows at once (default: 128, and 1024 without padding on a GPU)"
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="the type in which the encoder computes (default: that of training)",
    )
    parser.add_argument("--cpu", action="store_true", help="do not use a GPU")


def run(arguments: argparse.Namespace) -> None:
    """Predicts what is asked for and is not there yet."""
    from fairseq_musc.data.databin import DataBinInfo, open_corpus
    from fairseq_musc.models.checkpoint import load_with_checksum

    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise InputError(f"--batch-size is {arguments.batch_size}; it is at least 1")
    info = DataBinInfo.load(arguments.data)
    wanted = []
    for name in arguments.corpora:
        found = languages_of(arguments.data, name)
        languages = [language for language in arguments.languages or found if language in found]
        if not languages:
            asked = f" in {', '.join(arguments.languages)}" if arguments.languages else ""
            there = f"only in {', '.join(found)}" if found else "in no language"
            raise InputError(f"{arguments.data} holds {name}{asked}: {there}; make and binarize it first")
        wanted += [(name, language) for language in languages]
    # A corpus may lack a language that another has (S_tst_MT has no English); one that all lack is a mistake.
    nowhere = sorted(set(arguments.languages or ()) - {language for _, language in wanted})
    if nowhere:
        raise InputError(f"{arguments.data} holds none of {', '.join(arguments.corpora)} in {', '.join(nowhere)}")
    trained, checkpoint_sha256 = load_with_checksum(arguments.checkpoint)
    check_fit(arguments.checkpoint, trained, arguments.data, info)
    if arguments.precision is not None:
        trained.model.compute_in(arguments.precision)
    as_trained = arguments.precision in (None, trained.settings.get("model.precision") or "float32")
    corpora = [open_corpus(arguments.data, *which) for which in wanted]
    translators = [translator_of(corpus.about["provenance"]) for corpus in corpora]
    if trained.training and (warning := mismatch(trained.training.translators, translators, "predicting")):
        say(f"warning: {warning}")
    with progress_bar(sum(map(len, corpora)), "rows", "predict") as bar:
        for corpus, translator in zip(corpora, translators, strict=True):
            signature = Signature(
                dataset=info.dataset,
                corpus=corpus.name,
                corpus_sha256=corpus.about["source_sha256"],
                language=corpus.language,
                labels=info.labels,
                checkpoint=arguments.checkpoint.name,
                checkpoint_sha256=checkpoint_sha256,
                update=trained.num_updates,
                seed=trained.seed,
                version=__version__,
                translator=translator,
                training=trained.training,
                settings=trained.settings,
                precision=None if as_trained else arguments.precision,
                max_length=info.max_length,
            )
            bar.set_description(f"predict {corpus.name}.{corpus.language}", refresh=False)
            if already_there(arguments.predictions, signature):
                bar.update(len(corpus))
                continue
            probabilities = predict(
                trained.model, corpus, info, arguments.batch_size, device_of(arguments.cpu), bar.update
            )
            ids, labels = list(corpus.ids), np.asarray(corpus.labels)
            write_predictions(arguments.predictions, Predictions(signature, ids, labels, probabilities))


def check_fit(checkpoint: Path, trained: TrainedClassifier, data: Path, info: DataBinInfo) -> None:
    """Raises :class:`InputError` with every way in which a checkpoint and a data-bin do not go together."""
    problems = []
    if trained.labels != info.labels:
        problems.append(
            f"the checkpoint has {len(trained.labels)} classes ({', '.join(trained.labels)}), the data-bin "
            f"{len(info.labels)} ({', '.join(info.labels)})"
        )
    if trained.fingerprint != info.fingerprint:
        problems.append(f"the data-bin was made with another tokenizer ({info.tokenizer}) than the training data")
    if trained.max_positions is not None and trained.max_positions < info.max_length:
        problems.append(f"the encoder takes {trained.max_positions} tokens, rows were cut to {info.max_length}")
    if problems:
        raise InputError.all_at_once(f"{checkpoint} cannot predict {data} (give the data-bin made for it):", problems)


def already_there(folder: Path, signature: Signature) -> bool:
    """Whether a whole table with this signature is there."""
    try:
        return read_predictions(folder, signature.corpus, signature.language).signature == signature
    except InputError:  # none yet, or damaged: it is made again
        return False


def predict(
    model: Any, corpus: BinarizedCorpus, info: DataBinInfo, batch_size: int | None, device: str, progress: Any
) -> np.ndarray:
    """The probabilities of all rows of a corpus.

    Rows are taken by length, so that little padding is computed where there is any, and come back in their own order.
    Nothing waits for a GPU before the last batch is on its way.

    Args:
        model: the classifier, in eval mode.
        corpus: n rows.
        info: the data-bin's pad id and segments.
        batch_size: rows at once; None: 128, and 1024 for rows end to end on a GPU.
        device: where to compute, e.g. ``cuda``.
        progress: called with the number of rows done since the last call.

    Returns:
        (n, C) float64.
    """
    import torch

    model = model.to(device)
    batches = packed_batches if model.packed else padded_batches
    batch_size = batch_size or (1024 if model.packed and device != "cpu" else 128)
    order, logits = [], []
    with torch.inference_mode():
        for rows, inputs in batches(corpus, np.arange(len(corpus)), info, batch_size, device):
            logits.append(model(**inputs, project=False).logits)
            order.append(rows)
            progress(len(rows))
        probabilities = np.full((len(corpus), model.classifier.out_features), np.nan)
        if order:
            probabilities[np.concatenate(order)] = torch.cat(logits).double().softmax(-1).cpu().numpy()
    return probabilities


def packed_batches(
    corpus: BinarizedCorpus, rows: np.ndarray, info: DataBinInfo, batch_size: int, device: str
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Rows of a corpus end to end, for a classifier whose ``packed`` is true, longest first.

    Args and yields are those of :func:`padded_batches`; the rows are one argument of the classifier.
    """
    from fairseq_musc.packing import packed, rows_for_encoder

    for places in by_length(corpus.sizes[rows], batch_size):
        layout = packed([corpus.take(rows[places])], info.pad, None)
        if not info.token_types:
            layout["token_type_ids"].zero_()
        if device != "cpu":
            layout = {
                key: value if isinstance(value, int) else value.pin_memory().to(device, non_blocking=True)
                for key, value in layout.items()
            }
        yield places, {"packed": rows_for_encoder(layout, None)}


def padded_batches(
    corpus: BinarizedCorpus, rows: np.ndarray, info: DataBinInfo, batch_size: int, device: str
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Rows of a corpus side by side, as the encoder takes them, longest first.

    Args:
        corpus: where the rows are.
        rows: which of them.
        info: the data-bin's pad id and segments.
        batch_size: rows at once.
        device: where the tensors go.

    Yields:
        Which places of ``rows`` are in the batch, and the view: (B, L) tensors by the names of the encoder's arguments.
    """
    from fairseq_musc.data.pairs import padded

    for places in by_length(corpus.sizes[rows], batch_size):
        view = padded(corpus.take(rows[places]), info.pad)
        if not info.token_types:
            del view["token_type_ids"]
        yield places, {key: tensor.to(device, non_blocking=True) for key, tensor in view.items()}


def by_length(sizes: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Row numbers in batches, longest rows first: what does not fit in memory fails at once."""
    order = np.argsort(-np.asarray(sizes), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def device_of(cpu: bool) -> str:
    """Where to compute: ``cuda`` if there is a GPU, unless ``cpu`` is asked for."""
    import torch

    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"
