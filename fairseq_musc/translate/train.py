"""Trains a small many-to-many translator by the recipe of m2m_100.

reads   FOLDER/<aa>-<bb>.tsv or .tsv.gz   parallel text, a line each: the sentence in language aa, a tab, the one in bb
writes  OUTPUT/                           the five files of fairseq's m2m_100 release, and training.json: what it was
                                          made from, with which settings, and its BLEU and chrF on held-out lines

One SentencePiece model for all languages, a fixed dictionary with a token for each language, and one transformer for
both directions of every file, trained by fairseq-train (task translation_multi_simple_epoch). The folder appears whole
or not at all; it is used exactly as the published one. A translator of this kind is for demonstrations, tests and
languages that m2m_100 lacks; where its 418M checkpoint can be had, that is the better one, or the one to begin with:
--from-translator trains an existing translator further, on text of one's own field.

Until it is done, what is done lies beside OUTPUT in a hidden folder: a training that was killed, or ended by
--stop-after, goes on from its last checkpoint when the same command is given again. --updates, --save-every, --average,
--num-workers, how held-out lines are translated, and when to stop may be other ones then. A training that stands still
goes on from there by itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.files import check_new, folder_written_whole, write_json
from fairseq_musc.locks import held_alone
from fairseq_musc.translate import release
from fairseq_musc.translate.at_once import translate
from fairseq_musc.translate.engine import Decoding, Device, add_generation_arguments, generation_from, open_engine
from fairseq_musc.translate.parallel import Pairs, hold_out, read_parallel
from fairseq_musc.translate.score import bleu, chrf
from fairseq_musc.translate.training import (
    STALLED_AFTER,
    Diverged,
    architecture_of,
    average,
    checkpoints_in,
    fairseq_train,
    say,
    updates_of,
)
from fairseq_musc.translate.vocabulary import binarize_pairs, train_sentencepiece, write_dictionaries
from fairseq_musc.unfinished import UNFINISHED, check_same
from fairseq_musc.version import __version__

#: m2m_100's own limit on training sentences, in pieces.
LONGEST_TRAINED = 250

#: What training.json does not say of a command.
NO_SETTINGS = ("parallel", "output", "from_translator", "stop_after", "finish", "stalled_after")

#: The options that decide what text is trained on and how it is cut into pieces ...
OF_THE_TEXT = (
    "languages",
    "limit",
    "held_out",
    "vocabulary",
    "character_coverage",
    "longest_trained",
    "max_positions",
    "seed",
)
#: ... and those that decide what a checkpoint is.
OF_THE_TRAINING = (
    "dim",
    "ffn_dim",
    "heads",
    "encoder_layers",
    "decoder_layers",
    "dropout",
    "warmup",
    "max_tokens",
    "lr",
    "label_smoothing",
    "sampling_temperature",
    "precision",
    "seed",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("--parallel", type=Path, required=True, metavar="FOLDER", help="the parallel text")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the translator; a new folder")
    parser.add_argument("--languages", nargs="+", metavar="XX", help="take only files between these (default: all)")
    parser.add_argument("--limit", type=int, metavar="N", help="take only the first N lines of each file")
    parser.add_argument(
        "--held-out", type=int, default=200, metavar="N", help="lines of each file kept for BLEU (default: %(default)s)"
    )
    parser.add_argument(
        "--from-translator",
        type=Path,
        metavar="FOLDER",
        help="begin with the parameters of this translator, the published m2m_100 or one made here; pieces, "
        "dictionaries and the model's sizes are its own, whatever the options for these say (default: begin anew)",
    )
    parser.add_argument("--vocabulary", type=int, default=8000, help="SentencePiece pieces (default: %(default)s)")
    parser.add_argument(
        "--character-coverage", type=float, default=0.9995, help="of SentencePiece (default: %(default)s)"
    )
    model = parser.add_argument_group("model")
    for option, default, text in (
        ("--dim", 256, "width of embeddings and layers"),
        ("--ffn-dim", 1024, "width of the feed-forward layers"),
        ("--heads", 4, "attention heads"),
        ("--encoder-layers", 3, "encoder layers"),
        ("--decoder-layers", 3, "decoder layers"),
        ("--max-positions", 1024, "pieces that the model can read or write at once"),
    ):
        model.add_argument(option, type=int, default=default, help=f"{text} (default: %(default)s)")
    model.add_argument("--dropout", type=float, default=0.1, help="dropout (default: %(default)s)")
    training = parser.add_argument_group("training")
    for option, default, text in (
        ("--updates", 4000, "optimiser steps"),
        ("--warmup", 400, "steps until the learning rate is reached; it falls with the square root from there"),
        ("--max-tokens", 4000, "target pieces a batch"),
        ("--seed", 1, "for weights, batches and the held-out lines"),
        ("--longest-trained", LONGEST_TRAINED, "pieces of a line at most; longer lines are left out"),
        ("--save-every", 1000, "updates between checkpoints, of each of which the held-out lines' perplexity is shown"),
        ("--average", 1, "the translator is the mean of so many checkpoints, the last ones"),
        ("--num-workers", 0, "processes that make batches; some keep a GPU from waiting"),
    ):
        training.add_argument(option, type=int, default=default, help=f"{text} (default: %(default)s)")
    training.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    training.add_argument("--label-smoothing", type=float, default=0.1, help="label smoothing (default: %(default)s)")
    training.add_argument(
        "--sampling-temperature",
        type=float,
        default=1.5,
        help="above 1, directions with little text are seen more often than their share (default: %(default)s)",
    )
    stopping = parser.add_argument_group("stopping")
    stopping.add_argument(
        "--stop-after",
        type=float,
        metavar="MINUTES",
        help=f"stop the training so many minutes after the start of this command, with a checkpoint and exit status "
        f"{UNFINISHED}; the same command goes on from there (default: no limit)",
    )
    stopping.add_argument(
        "--finish",
        action="store_true",
        help="leave no training unfinished: when --stop-after ends it, or at once if that is not given, make the "
        "translator of what there is",
    )
    stopping.add_argument(
        "--stalled-after",
        type=float,
        default=STALLED_AFTER,
        metavar="SECONDS",
        help="a training that shows no sign of life for so long, and each update is one, is killed and goes on from "
        "its last checkpoint; its start and writing a checkpoint may take ten minutes whatever this is (default: "
        "%(default)g)",
    )
    add_generation_arguments(parser)


class Prepared(NamedTuple):
    """What a training starts from."""

    folder: Path
    pairs: Sequence[tuple[str, str]]
    """The languages of each file."""
    about: Mapping[str, Any]
    """How many pairs went in, and how many were too long."""

    @property
    def translator(self) -> Path:
        """The files of the release, less the checkpoint."""
        return self.folder / "translator"

    @property
    def binarized(self) -> Path:
        """What ``fairseq-train`` reads."""
        return self.folder / "bin"

    @property
    def has_held_out(self) -> bool:
        """Whether there are held-out lines in every direction."""
        return bool(self.about["valid"]) and all(self.about["valid"].values())


def run(arguments: argparse.Namespace) -> None:
    """Trains the translator.

    Raises:
        InputError: the parallel text cannot be used, the output folder exists, a setting does not fit the data, or what
            lies in the hidden folder was begun with other settings.
        SystemExit: with :data:`UNFINISHED`, if it was ended by --stop-after and not told to --finish.
    """
    started = time.monotonic()
    decoding, device = generation_from(arguments)
    check_options(arguments)
    check_new(arguments.output)
    pairs, sources = read_parallel(arguments.parallel, arguments.languages, arguments.limit)
    base = None
    if arguments.from_translator is not None:
        base = release.open_translator(arguments.from_translator)
        base.require({language for pair in pairs for language in pair})
        arguments = argparse.Namespace(**{**vars(arguments), **architecture_of(base.checkpoint)})
    training, held_out = hold_out(pairs, arguments.held_out, arguments.seed)
    end = None if arguments.stop_after is None else started + 60 * arguments.stop_after
    if arguments.finish and end is None:
        end = started
    work = arguments.output.parent / f".{arguments.output.name}.training"
    with held_alone(work):
        try:
            check_new(arguments.output)  # another run may have ended while the text was read
            prepared = prepare(arguments, base, training, held_out, sources, work / "prepared")
        except BaseException:
            if not (work / "prepared").exists():
                shutil.rmtree(work)
            raise
        checkpoints = train(arguments, prepared, work, end)
        with folder_written_whole(arguments.output) as folder:
            shutil.copytree(prepared.translator, folder, dirs_exist_ok=True)
            write_checkpoint(checkpoints, folder / release.CHECKPOINTS[0], half=arguments.precision == "fp16")
            scores = score_held_out(held_out, folder, arguments.engine, decoding, device)
            about = {
                "version": __version__,
                "settings": {key: value for key, value in vars(arguments).items() if key not in NO_SETTINGS},
                "parallel": sources,
                **({} if base is None else {"from_translator": base.sha256}),
                "sentence_pairs": sum(map(len, training.values())),
                "longer_than_trained": prepared.about["left_out"],
                "updates": updates_of(checkpoints[-1]),
                "averaged": [updates_of(path) for path in checkpoints],
                **scores,
            }
            write_json(folder / "training.json", about)
        shutil.rmtree(work)
    for direction, found in scores["bleu"].items():
        say(f"{direction}  BLEU {found['score']:5.1f}  ({found['signature']})")
    say(f"the translator is in {arguments.output}")


#: The least that each number may be. With some below it fairseq fails without a word of the option, or trains nonsense.
LEAST = {
    **{"limit": 1, "held_out": 0, "vocabulary": 1, "dim": 1, "ffn_dim": 1, "heads": 1},
    **{"encoder_layers": 1, "decoder_layers": 1, "max_positions": 3, "updates": 1, "warmup": 1, "max_tokens": 1},
    **{"longest_trained": 1, "save_every": 1, "average": 1, "num_workers": 0, "stop_after": 0, "stalled_after": 1},
}


def check_options(arguments: argparse.Namespace) -> None:
    """Raises :class:`InputError` for options that do not go together, or are below their least."""
    problems = []
    for name, least in LEAST.items():
        value = getattr(arguments, name)
        if value is not None and not value >= least:
            problems.append(f"{option(name)} is {value}; it must be at least {least}")
    for name in ("lr", "sampling_temperature"):
        if not getattr(arguments, name) > 0:
            problems.append(f"{option(name)} is {getattr(arguments, name)}; it must be above 0")
    for name in ("dropout", "label_smoothing"):
        if not 0 <= getattr(arguments, name) < 1:
            problems.append(f"{option(name)} is {getattr(arguments, name)}; it must be at least 0 and below 1")
    if arguments.heads > 0 and arguments.dim % arguments.heads:
        problems.append(f"--dim {arguments.dim} is no multiple of --heads {arguments.heads}; choose one that is")
    if arguments.precision not in ("fp32", "fp16"):
        problems.append(f"--precision {arguments.precision} is not for training; fp32 and fp16 are")
    if arguments.engine == "easynmt":
        problems.append("--engine easynmt does not read what is made here; fairseq and ctranslate2 do")
    if problems:
        raise InputError.all_at_once("these options cannot be used:", problems)


def option(name: str) -> str:
    """What the command line calls an option."""
    return f"--{name.replace('_', '-')}"


def prepare(
    arguments: argparse.Namespace,
    base: release.Translator | None,
    training: Pairs,
    held_out: Pairs,
    sources: Mapping[str, Any],
    folder: Path,
) -> Prepared:
    """Pieces, dictionaries and binarized text, in a folder that appears whole; kept if they are there.

    Raises:
        InputError: the text does not do for these settings, or what is there was made with others.
    """
    asked = {
        **{key: getattr(arguments, key) for key in OF_THE_TEXT},
        **{f"sha256 of {name}": source["sha256"] for name, source in sources.items()},
        **(
            {}
            if base is None
            else {f"sha256 of {name} of --from-translator": sum_ for name, sum_ in base.sha256.items()}
        ),
    }
    languages, directions = languages_and_directions([*training])
    count = sum(map(len, training.values()))
    say(f"{count} sentence pairs of {len(training)} files, {len(languages)} languages, {len(directions)} directions")
    for partial in folder.parent.glob(f".{folder.name}.*.partial"):  # of a process that was killed
        shutil.rmtree(partial)
    if not folder.exists():
        longest = min(arguments.longest_trained, arguments.max_positions - 2)
        with folder_written_whole(folder) as partial:
            translator = partial / "translator"
            translator.mkdir()
            known = []
            if base is None:
                train_sentencepiece(training, arguments.vocabulary, arguments.character_coverage, translator)
                write_dictionaries(translator, languages)
            else:
                for path in (base.sentencepiece, base.data_dict, base.model_dict):
                    shutil.copyfile(path, translator / path.name)
                known = release.directions_of(base.language_pairs.read_text(encoding="utf-8"))
            named = ",".join(dict.fromkeys([*known, *directions]))
            (translator / release.LANGUAGE_PAIRS).write_text(named + "\n", encoding="utf-8")
            counts = binarize_pairs(training, translator, partial / "bin", "train", longest)
            bare = [f"{a}-{b}: none of {len(rows)}" for (a, b), rows in training.items() if not counts[f"{a}-{b}"]]
            if bare:
                raise InputError.all_at_once(f"no line has between 1 and {longest} pieces a side in these files:", bare)
            about = {
                "asked": asked,
                "train": counts,
                "valid": binarize_pairs(held_out, translator, partial / "bin", "valid", longest),
                "left_out": count - sum(counts.values()),
            }
            if about["left_out"]:
                say(f"{about['left_out']} lines of more than {longest} pieces are left out")
            write_json(partial / "prepared.json", about)
    about = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    check_same(about["asked"], asked, folder.parent)
    return Prepared(folder, [*training], about)


def train(arguments: argparse.Namespace, prepared: Prepared, work: Path, end: float | None) -> list[Path]:
    """Trains from the last checkpoint there is, or from the start.

    Returns:
        the checkpoints to average, the last one at the end.

    Raises:
        InputError: checkpoints that are there were made with other settings; there is none to finish with; or the
            training diverged, in which case its checkpoints are gone.
        SystemExit: its time is over.
    """
    from fairseq_musc.experiments.cells import mend_checkpoints

    folder, settings = work / "checkpoints", work / "settings.json"
    asked = {key: getattr(arguments, key) for key in OF_THE_TRAINING}
    mend_checkpoints(folder)
    found = checkpoints_in(folder)
    if found:
        check_same(json.loads(settings.read_text(encoding="utf-8")), asked, work)
        say(f"there is a checkpoint of update {updates_of(found[-1])}")
    else:
        write_json(settings, asked)
    if not is_done(found, arguments) and (end is None or time.monotonic() < end):
        try:
            fairseq_train(train_arguments(arguments, prepared, folder), end, arguments.stalled_after)
        except Diverged:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        found = checkpoints_in(folder)
    reached = updates_of(found[-1]) if found else 0
    if not is_done(found, arguments) and not arguments.finish:
        say(
            f"stopped at update {reached} of {arguments.updates}; the same command goes on from there, and makes the "
            "translator of what there is with --finish"
        )
        raise SystemExit(UNFINISHED)
    if not found:
        raise InputError("--finish needs a checkpoint, and there is none yet; let it train for longer")
    return found[-arguments.average :]


def is_done(checkpoints: Sequence[Path], arguments: argparse.Namespace) -> bool:
    """Whether the last checkpoint has all its updates."""
    return bool(checkpoints) and updates_of(checkpoints[-1]) >= arguments.updates


def write_checkpoint(checkpoints: Sequence[Path], path: Path, half: bool = False) -> None:
    """Writes the mean of checkpoints as one, in half precision if they were trained in it."""
    import torch

    if len(checkpoints) > 1:
        say(f"the translator is the mean of updates {', '.join(str(updates_of(found)) for found in checkpoints)}")
    torch.save(average(checkpoints, half), path)


def score_held_out(
    held_out: Pairs, folder: Path, engine_name: str, decoding: Decoding, device: Device
) -> dict[str, dict[str, Any]]:
    """BLEU and chrF of every direction, ``<aa>-<bb>`` -> score, on lines that were held out."""
    scores: dict[str, dict[str, Any]] = {"bleu": {}, "chrf": {}}
    if not any(held_out.values()):
        return scores
    engine = open_engine(engine_name, folder, decoding, device)
    for (a, b), rows in held_out.items():
        for source_lang, target_lang, inputs, references in (
            (a, b, [row[0] for row in rows], [row[1] for row in rows]),
            (b, a, [row[1] for row in rows], [row[0] for row in rows]),
        ):
            if rows:
                texts = translate(inputs, source_lang, target_lang, engine, decoding, device).texts
                direction = f"{source_lang}-{target_lang}"
                scores["bleu"][direction] = bleu(texts, references, target_lang)
                scores["chrf"][direction] = chrf(texts, references)
    return scores


def languages_and_directions(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """``["de", "en"], ["en-de", "de-en"]`` of ``[("en", "de")]``."""
    languages = sorted({language for pair in pairs for language in pair})
    return languages, [f"{a}-{b}" for pair in pairs for a, b in (pair, pair[::-1])]


def train_arguments(arguments: argparse.Namespace, prepared: Prepared, checkpoints: Path) -> list[str]:
    """The arguments of ``fairseq-train``."""
    languages, directions = languages_and_directions(prepared.pairs)
    flags = [
        str(prepared.binarized),
        *("--task", "translation_multi_simple_epoch"),
        *("--fixed-dictionary", str(prepared.translator / release.MODEL_DICT)),
        *("--langs", ",".join(languages), "--lang-pairs", ",".join(directions)),
        *("--encoder-langtok", "src", "--decoder-langtok"),
        *("--sampling-method", "temperature", "--sampling-temperature", str(arguments.sampling_temperature)),
        *("--arch", "transformer", "--share-all-embeddings"),
        *("--encoder-normalize-before", "--decoder-normalize-before"),
        *("--dropout", str(arguments.dropout)),
        *("--criterion", "label_smoothed_cross_entropy", "--label-smoothing", str(arguments.label_smoothing)),
        *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--clip-norm", "1.0"),
        *("--lr", str(arguments.lr), "--lr-scheduler", "inverse_sqrt", "--warmup-updates", str(arguments.warmup)),
        *("--max-tokens", str(arguments.max_tokens), "--required-batch-size-multiple", "1"),
        *("--num-workers", str(arguments.num_workers)),
        *("--max-update", str(arguments.updates), "--seed", str(arguments.seed)),
        *("--distributed-world-size", "1"),
        *("--save-dir", str(checkpoints), "--no-epoch-checkpoints"),
        *("--save-interval-updates", str(arguments.save_every), "--keep-interval-updates", str(arguments.average)),
        *("--save-interval", "1000000", "--validate-interval", "1000000"),  # epochs: none but at these updates
        *("--log-format", "json", "--log-interval", str(max(1, min(100, arguments.updates // 10)))),
    ]
    if arguments.from_translator is not None:
        base = release.open_translator(arguments.from_translator)
        flags += ["--finetune-from-model", str(base.checkpoint)]  # where there is no checkpoint of this training yet
    if not prepared.has_held_out:
        flags += ["--disable-validation"]
    if arguments.precision == "fp16":
        # A batch now and then whose gradients overflow is passed over; with one in four the loss is scaled down.
        flags += ["--fp16", "--fp16-scale-tolerance", "0.25", "--fp16-scale-window", "1000"]
    for side in ("encoder", "decoder"):
        flags += [f"--{side}-embed-dim", str(arguments.dim), f"--{side}-ffn-embed-dim", str(arguments.ffn_dim)]
        flags += [f"--{side}-attention-heads", str(arguments.heads)]
        flags += [f"--{side}-layers", str(getattr(arguments, f"{side}_layers"))]
    for side in ("source", "target"):
        flags += [f"--max-{side}-positions", str(arguments.max_positions)]
    return flags + ["--cpu"] * arguments.cpu
