"""Pretrains an encoder by masked language modelling, with the Trainer of Hugging Face transformers.

reads   --encoder    a folder of BERT's kind with its tokenizer: of `fairseq-musc new-encoder`, or a pretrained one
        --corpora    folders of corpora: the texts of S_trn and T_trn; never validation or test text, nor translations
        --parallel   FOLDER/<aa>-<bb>.tsv or .tsv.gz: parallel text, each side by itself
        --text       UTF-8 files, a text a line; *.gz is unpacked
writes  OUTPUT/      the same folder with pretrained weights, and pretraining.json: what it was made from, with which
                     settings, and its perplexity on held-out texts

The objective is BERT's (Devlin et al. 2019, section 3.1) without next sentence prediction: 15% of the word pieces are
chosen anew each time, of which 80% are masked, 10% replaced and 10% kept. The texts of one source follow one another,
[SEP] between them, cut into rows of --max-length pieces, so that no row is padded. A source is one language of one file
or corpus: a sentence and its translation do not share a row, as they do not in mBERT. AdamW; the learning rate rises
over --warmup updates and falls linearly to 0 at --updates or at the end of --minutes, whichever is nearer.

Until it is done, what is done lies beside OUTPUT in a hidden folder: a training that was killed, or ended by
--stop-after, goes on from its last checkpoint when the same command is given again. --updates, --minutes, --save-every,
--num-workers and when to stop may be other ones then; with --minutes that are already over, the encoder is made of what
there is. Minutes count over all such commands, without what is done before the first update of each. Ctrl-C and SIGTERM
end it behind the update in hand, with a checkpoint and exit status 130 and 143.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairseq_musc.data.corpus import languages_of, read_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.files import check_new, folder_written_whole, sha256, write_json
from fairseq_musc.locks import held_alone
from fairseq_musc.models.new_encoder import read_texts
from fairseq_musc.progress import say
from fairseq_musc.unfinished import UNFINISHED, check_same
from fairseq_musc.version import __version__

#: The corpora of originals for training; the texts of all others are not for pretraining.
TRAINING_CORPORA = ("S_trn", "T_trn")

#: In the work folder: with what settings the training was begun.
BEGUN = "settings.json"

#: The options that decide what a checkpoint is; the texts and the encoder count by their checksums.
SETTINGS = (
    "held_out",
    "limit",
    "max_length",
    "mask",
    "batch_size",
    "lr",
    "warmup",
    "weight_decay",
    "precision",
    "seed",
)

Texts = dict[str, list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc pretrain-encoder``."""
    parser.add_argument("--encoder", type=Path, required=True, metavar="FOLDER", help="the encoder to start from")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the encoder; a new folder")
    texts = parser.add_argument_group("texts")
    texts.add_argument("--corpora", type=Path, nargs="+", default=[], metavar="FOLDER", help="folders of corpora")
    texts.add_argument("--parallel", type=Path, metavar="FOLDER", help="parallel text, e.g. en-de.tsv.gz")
    texts.add_argument("--languages", nargs="+", metavar="XX", help="only parallel text between these (default: all)")
    texts.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help="files of a text a line")
    texts.add_argument("--limit", type=int, metavar="N", help="take only the first N texts of each source")
    texts.add_argument(
        "--held-out", type=int, default=50, metavar="N", help="texts of each source kept for perplexity (default: 50)"
    )
    training = parser.add_argument_group("training")
    for option, default, text in (
        ("--max-length", 128, "word pieces of a row"),
        ("--batch-size", 32, "rows of an update"),
        ("--warmup", 100, "updates until the learning rate is reached"),
        ("--save-every", 500, "updates between checkpoints, of each of which the held-out perplexity is shown"),
        ("--num-workers", 0, "processes that make batches; some keep a GPU from waiting"),
        ("--seed", 1, "for masks, batches and the held-out texts"),
    ):
        training.add_argument(option, type=int, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    for option, real, text in (
        ("--lr", 1e-3, "learning rate"),
        ("--weight-decay", 0.01, "of AdamW"),
        ("--mask", 0.15, "share of the word pieces that are to be told"),
    ):
        training.add_argument(option, type=float, default=real, metavar="X", help=f"{text} (default: %(default)s)")
    training.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="what is computed in (default: %(default)s)"
    )
    training.add_argument("--cpu", action="store_true", help="do not use a GPU")
    stopping = parser.add_argument_group("stopping; one of the first two at least")
    stopping.add_argument("--updates", type=int, metavar="N", help="optimiser steps at most")
    stopping.add_argument("--minutes", type=float, metavar="M", help="train for so long, over all commands together")
    stopping.add_argument(
        "--stop-after",
        type=float,
        metavar="MINUTES",
        help=f"stop so many minutes after the start of this command, with a checkpoint and exit status {UNFINISHED}; "
        "the same command goes on from there (default: no limit)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Pretrains the encoder.

    Raises:
        InputError: a text cannot be used, the encoder cannot be pretrained, the output folder exists, or what lies in
            the hidden folder was begun with other settings.
        SystemExit: with :data:`UNFINISHED`, if it was ended by --stop-after; with 128 and the number of the signal, if
            it was asked to stop by one.
    """
    started = time.monotonic()
    check_options(arguments)
    check_new(arguments.output)
    texts = read_sources(arguments)
    training, held_out = hold_out(texts, arguments.held_out, arguments.seed)
    settings = {
        **{name: getattr(arguments, name) for name in SETTINGS},
        **{f"sha256 of {name}": digest for name, digest in checksums_of(arguments.encoder).items()},
        **{f"sha256 of {name}": digest_of(rows) for name, rows in texts.items()},
    }

    from fairseq_musc.models.masked_language_model import Stopping, Training, pretrain

    work = arguments.output.parent / f".{arguments.output.name}.pretraining"
    with held_alone(work):
        if not (work / BEGUN).exists() and arguments.output.exists():  # another run has ended while the text was read
            shutil.rmtree(work)
            check_new(arguments.output)
        begin_or_go_on(work, settings)
        stopping = Stopping(
            updates=arguments.updates,
            seconds=None if arguments.minutes is None else 60 * arguments.minutes,
            end=None if arguments.stop_after is None else started + 60 * arguments.stop_after,
        )
        options = Training(
            **{name: getattr(arguments, name) for name in Training._fields if hasattr(arguments, name)},
            bf16=arguments.precision == "bf16",
        )
        done = pretrain(arguments.encoder, training, held_out, work, options, stopping)
        if not done.finished:
            say(f"stopped at update {done.updates}; the same command goes on from there")
            raise SystemExit(UNFINISHED if done.asked is None else 128 + done.asked)
        with folder_written_whole(arguments.output) as folder:
            done.save(folder)
            about = {
                "version": __version__,
                "settings": settings,
                "texts": {name: len(rows) for name, rows in training.items()},
                "rows": done.rows,
                "updates": done.updates,
                "minutes": round(done.seconds / 60, 2),
                "device": done.device,
                "held_out_loss": done.held_out,
            }
            write_json(folder / "pretraining.json", about)
        shutil.rmtree(work)
    last = done.held_out.get(str(done.updates))
    perplexity = "" if last is None else f", perplexity of held-out {math.exp(last):.2f}"
    print(f"{arguments.output}: {done.updates} updates in {done.seconds / 60:.1f} minutes{perplexity}")


def check_options(arguments: argparse.Namespace) -> None:
    """Raises :class:`InputError` for options that do not go together, or are out of range."""
    problems = []
    if not (arguments.corpora or arguments.parallel or arguments.text):
        problems.append("there is no text; give --corpora, --parallel or --text")
    if arguments.updates is None and arguments.minutes is None:
        problems.append("nothing says how long; give --updates or --minutes")
    least = {"updates": 1, "batch_size": 1, "save_every": 1, "limit": 1, "max_length": 8, "held_out": 0, "warmup": 0}
    for name, number in {**least, "num_workers": 0, "minutes": 0, "stop_after": 0, "lr": 0, "weight_decay": 0}.items():
        value = getattr(arguments, name)
        if value is not None and not value >= number:
            problems.append(f"--{name.replace('_', '-')} is {value}; it must be at least {number}")
    if not 0 < arguments.mask < 1:
        problems.append(f"--mask is {arguments.mask}; it must be between 0 and 1")
    if find_spec("accelerate") is None:
        problems.append(
            "the Trainer of transformers needs accelerate, which is not installed; pip install 'fairseq-musc[pretrain]'"
        )
    if problems:
        raise InputError.all_at_once("these options cannot be used:", problems)


def read_sources(arguments: argparse.Namespace) -> Texts:
    """The texts of each source, named by its file or corpus and language.

    Raises:
        InputError: a file cannot be read, or corpora are none of those for training.
    """
    from fairseq_musc.translate.parallel import read_parallel

    found: Texts = {}
    for folder in arguments.corpora:
        there = [(name, language) for name in TRAINING_CORPORA for language in languages_of(folder, name)]
        if not there:
            raise InputError(f"{folder} holds neither S_trn nor T_trn; make them with fairseq-musc read")
        for name, language in there:
            rows = read_corpus(folder, name, language).rows
            cells = [cell for row in rows for cell in (row.text, row.text_pair) if cell]
            found[f"{folder}/{name}.{language}"] = cells
    if arguments.parallel:
        pairs, _ = read_parallel(arguments.parallel, arguments.languages, arguments.limit)
        for (a, b), lines in pairs.items():
            for language, side in zip((a, b), zip(*lines, strict=True), strict=True):
                found[f"{a}-{b}.{language}"] = list(side)
    for path in arguments.text:
        found[str(path)] = list(read_texts(path))
    return {name: rows[: arguments.limit] for name, rows in found.items()}


def hold_out(texts: Texts, number: int, seed: int) -> tuple[Texts, Texts]:
    """Splits off ``number`` random texts of each source; none of them is left in any source.

    Raises:
        InputError: a source would have nothing left.
    """
    held_out = {name: random.Random(seed).sample(rows, min(number, len(rows))) for name, rows in texts.items()}
    seen = {text for rows in held_out.values() for text in rows}
    training = {name: [text for text in rows if text not in seen] for name, rows in texts.items()}
    bare = [f"{name} has {len(texts[name])} texts" for name, rows in training.items() if not rows]
    if bare:
        raise InputError.all_at_once(
            f"no text is left to train on when {number} of each source are held out; give --held-out a smaller number:",
            bare,
        )
    return training, held_out


def checksums_of(folder: Path) -> Mapping[str, str]:
    """The checksums of an encoder's configuration, weights and vocabulary.

    Raises:
        InputError: it has no config.json.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no encoder: it has no config.json; fairseq-musc new-encoder makes one")
    names = ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json")
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def digest_of(texts: Sequence[str]) -> str:
    """A checksum of texts and their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def begin_or_go_on(work: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings of a training that begins; holds those of one that goes on against them.

    Raises:
        InputError: they differ.
    """
    path = work / BEGUN
    if not path.exists():
        write_json(path, settings)
    check_same(json.loads(path.read_text(encoding="utf-8")), settings, work)
