"""Measures how well an encoder's representations tell original from translated text.

Reads a data-bin (--data), and checkpoints that ``fairseq-hydra-train --config-name musc_...`` wrote (--checkpoint) or
encoders as they are before fine-tuning (--encoder: a Hugging Face folder or name with the data-bin's tokenizer), one or
more of each. Uses a GPU if there is one.

A pair is an original corpus and a translated one whose texts are in the same language, so that language is no cue:
T_tst.en against S_tst_MT.de (German translated into English), or T_tst.de against T_trn_MT.de (English translated into
German). All pairs that the data-bin holds are measured, or those of --original and --translated. From both corpora as
many rows are taken, at most --limit; rows that are in both come first. On the representation of a row, the last layer's
[CLS] that the projector sees (or what --layer and --pooling say), logistic regression learns which corpus it is of. Its
accuracy and the area under its ROC curve are means over 5 folds; rows with the same id are always in the same fold, as
they say the same thing. Chance is 50%. The line "tokens" is what a bag of the row's tokens gives on the same folds:
what an encoder scores above it is more than the choice of words.

Prints the table, and writes it as OUTPUT.tsv (unrounded) and OUTPUT.md, if asked to.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.data.corpus import CORPORA, languages_of
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.layout import Cell, Sheet, as_text, number, text, write
from fairseq_musc.evaluate.predict import check_fit, device_of, padded_batches
from fairseq_musc.evaluate.separability import FOLDS, Separability, folds_of, separability, token_counts
from fairseq_musc.progress import progress_bar
from fairseq_musc.version import __version__

if TYPE_CHECKING:
    from fairseq_musc.data.databin import BinarizedCorpus, DataBinInfo

ORIGINAL = [name for name, kind in CORPORA.items() if kind.made_from is None]
TRANSLATED = [name for name, kind in CORPORA.items() if kind.made_from is not None]
POOLINGS = ("cls", "mean")
#: Rows of each side that a pair needs: two in the test part of a fold.
LEAST_ROWS = 2 * FOLDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc probe``."""
    parser.add_argument("--checkpoint", nargs="+", type=Path, default=[], metavar="FILE", help="fine-tuned models")
    parser.add_argument("--encoder", nargs="+", default=[], metavar="FOLDER", help="encoders before fine-tuning")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="the data-bin")
    for option, names in (("--original", ORIGINAL), ("--translated", TRANSLATED)):
        parser.add_argument(
            option,
            nargs="+",
            choices=names,
            default=names,
            metavar="CORPUS",
            help=f"of {', '.join(names)} (default: all)",
        )
    parser.add_argument("--languages", nargs="+", metavar="LANG", help="of the texts (default: all in the data-bin)")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="rows of each corpus (default: 1000)")
    parser.add_argument("--layer", type=int, metavar="N", help="0 for the embeddings, 1 for the first (default: last)")
    parser.add_argument("--pooling", choices=POOLINGS, default="cls", help="of a layer's tokens (default: cls)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of rows and folds (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="rows at once (default: 128)")
    parser.add_argument("--cpu", action="store_true", help="do not use a GPU")
    parser.add_argument("--output", type=Path, metavar="NAME", help="write NAME.tsv and NAME.md as well")


def run(arguments: argparse.Namespace) -> None:
    """Measures every pair, prints, and writes if asked to."""
    from fairseq_musc.data.databin import DataBinInfo

    problems = [
        f"{option} is {value}; it is at least {least}"
        for option, value, least in (
            ("--batch-size", arguments.batch_size, 1),
            ("--limit", arguments.limit, LEAST_ROWS),
            ("--layer", arguments.layer or 0, 0),
        )
        if value < least
    ]
    if not arguments.checkpoint and not arguments.encoder:
        problems.append("there is nothing to measure: give --checkpoint, --encoder or both")
    # which is read behind the encoders otherwise, when those have been measured
    problems += [f"there is no checkpoint {path}" for path in arguments.checkpoint if not path.is_file()]
    if problems:
        raise InputError.all_at_once("the probe cannot be run:", problems)
    info = DataBinInfo.load(arguments.data)
    pairs = find_pairs(arguments)
    # One model after the other: two large ones need not fit into memory together.
    loaders: list[tuple[str, Callable[[], Model]]] = [
        *((str(name), lambda name=name: pretrained_model(name, arguments.data, info)) for name in arguments.encoder),
        *((str(path), lambda path=path: fine_tuned_model(path, arguments.data, info)) for path in arguments.checkpoint),
    ]
    scores: list[list[tuple[str, Separability]]] = [[] for _ in pairs]
    with progress_bar(len(pairs) * (1 + len(loaders)), "probes", "tokens") as bar:
        for pair, found in zip(pairs, scores, strict=True):
            found.append(("tokens", separability(pair.token_counts(info.vocab_size), pair.side, pair.folds)))
            bar.update(1)
        notes = []
        for name, load in loaders:
            bar.set_description(Path(name).name, refresh=False)
            model = load()
            check_layer(name, model.encoder, arguments.layer)
            notes.append(model.note)
            features = Representations(model.encoder, info, arguments)
            for pair, found in zip(pairs, scores, strict=True):
                found.append((model.name, separability(features.of_pair(pair), pair.side, pair.folds)))
                bar.update(1)
    sheet = sheet_of(pairs, scores, [*notes, *notes_of(info, arguments)])
    if arguments.output:
        write(sheet, arguments.output)
    print(as_text(sheet), end="")


class Pair(NamedTuple):
    """An original and a translated corpus in the same language, and the rows taken from both."""

    language: str
    """Of the texts."""
    original: BinarizedCorpus
    translated: BinarizedCorpus
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    """(n,) row numbers of each."""
    same_ids: int
    """How many of them are the same row in both, i.e. have the same id."""
    side: NDArray[np.int64]
    """(2 n,) 0 for original and 1 for translated."""
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]

    def token_counts(self, vocabulary: int) -> Any:
        """(2 n, vocabulary): how often each token stands in each row."""
        both = zip((self.original, self.translated), self.rows, strict=True)
        return token_counts([corpus.tokens[i].numpy() for corpus, rows in both for i in rows], vocabulary)


def find_pairs(arguments: argparse.Namespace) -> list[Pair]:
    """The pairs that the data-bin holds, by language.

    Raises:
        InputError: there are none, or none in a language that is asked for, or one has too few rows.
    """
    from fairseq_musc.data.databin import open_corpus

    names = [*arguments.original, *arguments.translated]
    corpora = [open_corpus(arguments.data, name, lang) for name in names for lang in languages_of(arguments.data, name)]
    languages = arguments.languages or sorted({corpus.about["text_language"] for corpus in corpora})
    pairs = []
    for language in languages:
        inside = [corpus for corpus in corpora if corpus.about["text_language"] == language]
        for original in (corpus for corpus in inside if corpus.name in ORIGINAL):
            for translated in (corpus for corpus in inside if corpus.name in TRANSLATED):
                pairs.append(pair_of(language, original, translated, arguments.limit, arguments.seed))
    nowhere = [language for language in arguments.languages or () if language not in {pair.language for pair in pairs}]
    if not pairs or nowhere:
        there = (
            ", ".join(f"{name_of(corpus)} in {corpus.about['text_language']}" for corpus in corpora) or "none of them"
        )
        raise InputError(
            f"{arguments.data} holds no original and translated text in the same language among "
            f"{', '.join(arguments.original)} and {', '.join(arguments.translated)}"
            f"{' in ' + ', '.join(nowhere) if nowhere else ''}; it holds {there}"
        )
    return pairs


def pair_of(language: str, original: BinarizedCorpus, translated: BinarizedCorpus, limit: int, seed: int) -> Pair:
    """As many rows of both corpora, and their folds.

    Raises:
        InputError: there are fewer than :data:`LEAST_ROWS` of one.
    """
    same = same_rows(original, translated)
    rows = chosen_rows(list(original.ids), list(translated.ids), same, limit, seed)
    count = len(rows[0])
    if count < LEAST_ROWS:
        raise InputError(
            f"{name_of(original)} has {len(original)} rows and {name_of(translated)} has {len(translated)}; a probe "
            f"needs {LEAST_ROWS} of each"
        )
    ids = [[corpus.ids[i] for i in taken] for corpus, taken in zip((original, translated), rows, strict=True)]
    side = np.repeat([0, 1], count)
    same_ids = len(same.intersection(ids[0]).intersection(ids[1]))
    return Pair(language, original, translated, rows, same_ids, side, folds_of(side, [*ids[0], *ids[1]], seed))


def same_rows(first: BinarizedCorpus, second: BinarizedCorpus) -> set[str]:
    """The ids that stand for the same row in two corpora.

    Sets that are numbered each by itself have the same ids too, but other labels: then nothing is the same.
    """
    label_of = dict(zip(first.ids, np.asarray(first.labels).tolist(), strict=True))
    labels = zip(second.ids, np.asarray(second.labels).tolist(), strict=True)
    shared = {row_id: label for row_id, label in labels if row_id in label_of}
    return set(shared) if all(label_of[row_id] == label for row_id, label in shared.items()) else set()


def chosen_rows(
    first: Sequence[str], second: Sequence[str], same: set[str], limit: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As many rows of two corpora: those that are in both first, in random order.

    Args:
        first: the ids of one corpus.
        second: the ids of the other.
        same: of :func:`same_rows`.
        limit: rows of each at most.
        seed: of the order.

    Returns:
        Two arrays of row numbers, of the same length.
    """
    count = min(limit, len(first), len(second))
    # The same order for every partner, so that few rows are encoded in all.
    orders = [np.random.default_rng(seed).permutation(len(ids)) for ids in (first, second)]
    taken = [first[row] for row in orders[0] if first[row] in same][:count]
    rows = []
    for ids, order in zip((first, second), orders, strict=True):
        place = {row_id: row for row, row_id in enumerate(ids)}
        chosen = set(taken)
        others = [row for row in order if ids[row] not in chosen][: count - len(taken)]
        rows.append(np.array([*(place[row_id] for row_id in taken), *others], dtype=np.int64))
    return rows[0], rows[1]


def name_of(corpus: BinarizedCorpus) -> str:
    """A corpus as messages and tables call it, e.g. ``S_tst_MT.de``."""
    return f"{corpus.name}.{corpus.language}"


class Model(NamedTuple):
    """An encoder to measure."""

    name: str
    """In the table."""
    note: str
    """What it can be traced back to."""
    encoder: Any


def fine_tuned_model(path: Path, data: Path, info: DataBinInfo) -> Model:
    """The encoder of a checkpoint.

    Raises:
        InputError: there is none, or it does not go with the data-bin.
    """
    from fairseq_musc.models.checkpoint import load_with_checksum

    trained, checksum = load_with_checksum(path)
    digest = checksum[:12]
    check_fit(path, trained, data, info)
    note = f"{path}: fine-tuned, update {trained.num_updates}, SHA-256 {digest}, seed {trained.seed}"
    return Model(f"{path.name} ({digest})", note, trained.model.encoder)


def pretrained_model(name: str, data: Path, info: DataBinInfo) -> Model:
    """An encoder before fine-tuning.

    Raises:
        InputError: there is none, or it has another tokenizer than the data-bin or takes fewer tokens.
    """
    from fairseq_musc.data.tokenizer import fingerprint, load_tokenizer
    from fairseq_musc.models.classifier import encoder_from_pretrained

    encoder = encoder_from_pretrained(name, None).eval()
    problems = []
    if fingerprint(load_tokenizer(name)) != info.fingerprint:
        problems.append(f"the data-bin was made with another tokenizer ({info.tokenizer})")
    positions = getattr(encoder.config, "max_position_embeddings", None)
    if positions is not None and positions < info.max_length:
        problems.append(f"the encoder takes {positions} tokens, rows were cut to {info.max_length}")
    if problems:
        raise InputError.all_at_once(f"{name} cannot encode {data} (give the data-bin made for it):", problems)
    return Model(Path(name).name, f"{name}: not fine-tuned", encoder)


def check_layer(name: str, encoder: Any, layer: int | None) -> None:
    """Raises :class:`InputError` if an encoder has no such layer."""
    layers = encoder.config.num_hidden_layers
    if layer is not None and layer > layers:
        raise InputError(f"--layer is {layer}, but {name} has {layers} layers; 0 is the output of the embeddings")


class Representations:
    """The representations of rows, each computed once.

    Args:
        encoder: of Hugging Face, in eval mode.
        info: what the data-bin says of its rows.
        arguments: ``layer``, ``pooling``, ``batch_size`` and ``cpu`` of the verb.
    """

    def __init__(self, encoder: Any, info: DataBinInfo, arguments: argparse.Namespace):
        self.info = info
        self.layer = arguments.layer
        self.pooling = arguments.pooling
        self.batch_size = arguments.batch_size
        self.device = device_of(arguments.cpu)
        self.encoder = encoder.to(self.device)
        self.known: dict[str, dict[int, NDArray[np.float32]]] = {}

    def of_pair(self, pair: Pair) -> NDArray[np.float32]:
        """(2 n, width), the original rows first."""
        both = zip((pair.original, pair.translated), pair.rows, strict=True)
        return np.concatenate([self.of_rows(corpus, rows) for corpus, rows in both])

    def of_rows(self, corpus: BinarizedCorpus, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, width)"""
        known = self.known.setdefault(name_of(corpus), {})
        new = np.array([row for row in rows if row not in known], dtype=np.int64)
        if len(new):
            known.update(zip(new, self._encoded(corpus, new), strict=True))
        return np.stack([known[row] for row in rows])

    def _encoded(self, corpus: BinarizedCorpus, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        import torch

        pieces: list[Any] = [None] * len(rows)
        with torch.inference_mode():
            for places, view in padded_batches(corpus, rows, self.info, self.batch_size, self.device):
                output = self.encoder(**view, output_hidden_states=self.layer is not None)
                hidden = output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]
                if self.pooling == "cls":
                    vectors = hidden[:, 0]  # (B, width)
                else:
                    real = view["attention_mask"][:, :, None].to(hidden.dtype)  # (B, L, 1)
                    vectors = (hidden * real).sum(dim=1) / real.sum(dim=1)  # (B, width)
                for place, vector in zip(places, vectors.float().cpu().numpy(), strict=True):
                    pieces[place] = vector
        return np.stack(pieces)


def sheet_of(
    pairs: Sequence[Pair], scores: Sequence[Sequence[tuple[str, Separability]]], notes: Sequence[str]
) -> Sheet:
    """The printed table: for each pair a line for the tokens and one for each model."""
    header = [
        text("Language", "language"),
        text("original"),
        text("translated"),
        text("representation"),
        text("rows"),
        text("same ids", "same_ids"),
        text("accuracy"),
        text("±", "accuracy_deviation"),
        text("AUC", "auc"),
    ]
    rows: list[list[Cell]] = []
    for pair, found in zip(pairs, scores, strict=True):
        for name, score in found:
            rows.append(
                [
                    text(pair.language.upper(), pair.language),
                    text(name_of(pair.original)),
                    text(name_of(pair.translated)),
                    text(name),
                    text(str(len(pair.side))),
                    text(str(pair.same_ids)),
                    number(score.accuracy, ".1f", 100),
                    number(score.accuracy_deviation, ".1f", 100),
                    number(score.auc, ".3f"),
                ]
            )
    return Sheet("Original or translated? Accuracy in %; chance is 50", header, rows, notes, names=4)


def notes_of(info: DataBinInfo, arguments: argparse.Namespace) -> list[str]:
    """How it was measured, a line each."""
    layer = "last layer" if arguments.layer is None else f"layer {arguments.layer}"
    pooling = "[CLS]" if arguments.pooling == "cls" else "mean over tokens"
    return [
        f"representation: {layer}, {pooling}, standardised; tokens: tf-idf of the bag of tokens",
        f"logistic regression, mean over {FOLDS} folds and ± their standard deviation; an id is in one fold; "
        f"seed {arguments.seed}",
        "rows: of both corpora together, half of each; same ids: how many of each half are in the other half too",
        f"dataset: {info.dataset}",
        f"version: fairseq-musc {__version__}",
    ]
