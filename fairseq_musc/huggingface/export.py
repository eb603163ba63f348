"""Writes a trained classifier as a folder that transformers loads without this package.

Reads a checkpoint that ``fairseq-hydra-train --config-name musc_...`` wrote, and the tokenizer of its training data:
that of the data-bin it was trained on, else that of its encoder, else what --tokenizer names. With --predictions it
reads the predictions tables of the checkpoint, too.

Writes FOLDER, whole or not at all: config.json with the names of the labels, model.safetensors, the tokenizer's files,
and a model card, README.md, with what the classifier was trained on and, with --predictions, its result table.

    AutoModelForSequenceClassification.from_pretrained(FOLDER)
    pipeline("text-classification", model=FOLDER)

Before the folder takes its name it is loaded as others will load it, and its logits are held against the checkpoint's.
Which encoders have a head in transformers that computes the same is in fairseq_musc/huggingface/heads.py; for the
others the export is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_musc.errors import InputError
from fairseq_musc.files import check_new, folder_written_whole, written_whole
from fairseq_musc.progress import progress_bar
from fairseq_musc.safe_loading import NO_CODE

if TYPE_CHECKING:
    from fairseq_musc.evaluate.report import Results
    from fairseq_musc.models.checkpoint import TrainedClassifier

#: How far the logits of the folder may be from the checkpoint's.
TOLERANCE = 1e-5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc export``."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="e.g. checkpoint_best.pt")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what to write; a new folder")
    parser.add_argument(
        "--predictions", type=Path, metavar="FOLDER", help="put the result table of these predictions on the model card"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME_OR_FOLDER",
        help="the tokenizer of the training data (default: that of the data-bin, or of the encoder, where they are "
        "still there)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the folder, and says what it is."""
    print(export(arguments.checkpoint, arguments.folder, arguments.predictions, arguments.tokenizer))


def export(checkpoint: Path, folder: Path, predictions: Path | None = None, tokenizer_name: str | None = None) -> str:
    """Writes the folder.

    Args:
        checkpoint: what ``fairseq-hydra-train`` wrote.
        folder: a new folder.
        predictions: of the checkpoint, for the model card.
        tokenizer_name: that of the training data, by hub name or folder; None looks for it.

    Returns:
        What was written, in a line.

    Raises:
        InputError: the folder exists; the checkpoint cannot be loaded, is of an encoder without such a head, or
            is not that of the predictions; or its tokenizer is not found.
    """
    from fairseq_musc.huggingface.card import model_card
    from fairseq_musc.huggingface.heads import sequence_classifier
    from fairseq_musc.models.checkpoint import load_with_checksum

    check_new(folder)
    with progress_bar(4, "steps", "export") as bar:  # load, look up, write, compare
        trained, digest = load_with_checksum(checkpoint)
        bar.update()
        results = None if predictions is None else results_of_checkpoint(predictions, digest)
        exported = sequence_classifier(trained.model, trained.labels, trained.model.dropout.p)
        tokenizer, where = tokenizer_of(trained, tokenizer_name)
        tokenizer.model_max_length = min(readable(trained.model.encoder), longest_row(where, tokenizer))
        bar.update()
        with folder_written_whole(folder) as partial:
            exported.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            with written_whole(partial / "README.md") as stream:
                stream.write(model_card(folder.name, trained, checkpoint.name, digest, exported, results))
            bar.update()
            apart = largest_difference(partial, trained)
            bar.update()
            if not apart <= TOLERANCE:
                raise RuntimeError(
                    f"the logits of the exported {type(exported).__name__} are {apart:.2g} from the checkpoint's, more "
                    f"than {TOLERANCE:g}; transformers has changed what this head computes"
                )
    return (
        f"{folder}: a {type(exported).__name__} with the classes {', '.join(trained.labels)}; its logits are the "
        f"checkpoint's to {apart:.1e}"
    )


def results_of_checkpoint(folder: Path, checkpoint_sha256: str) -> Results:
    """The result table of predictions.

    Raises:
        InputError: there are none, they do not go together, or they are of another checkpoint.
    """
    from fairseq_musc.evaluate.ensemble import checkpoint_of
    from fairseq_musc.evaluate.report import read_tables, results_of

    tables = read_tables(folder)
    signature = next(table.signature for cells in tables.values() for table in cells.values())
    if signature.checkpoint_sha256 != checkpoint_sha256:
        raise InputError(
            f"the predictions in {folder} are of checkpoint {checkpoint_of(signature)}, not of this one (SHA-256 "
            f"{checkpoint_sha256[:12]}); predict with it, or leave --predictions out"
        )
    return results_of(tables)


def tokenizer_of(trained: TrainedClassifier, given: str | None) -> tuple[Any, str]:
    """The tokenizer that made the ids a classifier was trained on, and where it was found.

    Raises:
        InputError: none of the places has it; says what each has.
    """
    from fairseq_musc.data.tokenizer import fingerprint, load_tokenizer

    in_data_bin = Path(trained.data) / "tokenizer"
    places = [given] if given else [*([str(in_data_bin)] if in_data_bin.is_dir() else []), trained.encoder]
    problems = [] if given or in_data_bin.is_dir() else [f"there is no data-bin {trained.data}"]
    for place in places:
        try:
            tokenizer = load_tokenizer(place)
        except InputError as error:
            problems.append(str(error).split("\n")[0])
            continue
        if fingerprint(tokenizer) == trained.fingerprint:
            return tokenizer, place
        problems.append(f"{place} has another tokenizer than the training data")
    raise InputError.all_at_once(
        "the tokenizer of the training data is not found; name it with --tokenizer, by hub name or folder:", problems
    )


def readable(encoder: Any) -> int:
    """How many tokens an encoder can read at once.

    RoBERTa and its kin count positions from behind the id of the padding, so they have some less than they say.
    """
    longest = getattr(encoder.config, "max_position_embeddings", None)
    if longest is None:
        return int(1e30)  # what transformers writes for "no limit"
    positions = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return longest if padding is None else longest - padding - 1


def longest_row(tokenizer_folder: str, tokenizer: Any) -> int:
    """To how many tokens rows were cut in training: as the data-bin says whose tokenizer it is, else the tokenizer."""
    from fairseq_musc.data.databin import DataBinInfo

    data = Path(tokenizer_folder).parent
    if (data / "databin.json").is_file():
        return DataBinInfo.load(data).max_length
    return tokenizer.model_max_length


def largest_difference(folder: Path, trained: TrainedClassifier) -> float:
    """How far the logits of a folder, loaded as others load it, are from those of the checkpoint it was made from.

    The texts are those that tokenizers differ on, each by itself and as a pair with another.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from fairseq_musc.data.tokenizer import fingerprint, load_tokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, **NO_CODE).eval()
    tokenizer = load_tokenizer(str(folder))
    if fingerprint(tokenizer) != trained.fingerprint:
        raise RuntimeError("the exported tokenizer gives other ids; transformers has changed how it is written")
    with torch.inference_mode():
        apart = [
            (model(**view).logits - trained.model(**view, project=False).logits).abs().max()
            for view in probes(tokenizer)
        ]
    return float(torch.stack(apart).max())  # torch's, which lets no NaN pass for a number


def probes(tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Two padded batches of texts: single ones, and pairs."""
    from fairseq_musc.data.tokenizer import PROBES

    for pairs in (None, list(PROBES[::-1])):
        yield dict(tokenizer(list(PROBES), pairs, padding=True, truncation=True, return_tensors="pt"))
