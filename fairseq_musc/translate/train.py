"""Trains a small many-to-many translator by the recipe of m2m_100.

reads   FOLDER/<aa>-<bb>.tsv or .tsv.gz   parallel text, a line each: the sentence in language aa, a tab, the one in bb
writes  OUTPUT/                           the five files of fairseq's m2m_100 release, and training.json: what it was
                                          made from, with which settings, and its BLEU on held-out lines

One SentencePiece model for all languages, a fixed dictionary with a token for each language, and one transformer for
both directions of every file, trained by fairseq-train (task translation_multi_simple_epoch). The folder appears whole
or not at all; it is used exactly as the published one. A translator of this kind is for demonstrations, tests and
languages that m2m_100 lacks; where its 418M checkpoint can be had, that is the better one.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.files import folder_written_whole, sha256, write_json
from fairseq_musc.translate import release
from fairseq_musc.translate.engine import add_generation_arguments, generation_from
from fairseq_musc.translate.fairseq_commands import binarize
from fairseq_musc.translate.fairseq_generate import translate
from fairseq_musc.version import __version__

#: sacreBLEU's tokenizer for languages that its own default (13a) does not cut into words.
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char", "km": "char", "lo": "char", "my": "char"}

#: m2m_100's own limit on training sentences, in pieces.
LONGEST_TRAINED = 250

Pairs = dict[tuple[str, str], list[tuple[str, str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("--parallel", type=Path, required=True, metavar="FOLDER", help="the parallel text")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the translator; a new folder")
    parser.add_argument("--languages", nargs="+", metavar="XX", help="take only files between these (default: all)")
    parser.add_argument("--limit", type=int, metavar="N", help="take only the first N lines of each file")
    parser.add_argument(
        "--held-out", type=int, default=200, metavar="N", help="lines of each file kept for BLEU (default: %(default)s)"
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
        ("--num-workers", 0, "processes that make batches; some keep a GPU from waiting"),
    ):
        training.add_argument(option, type=int, default=default, help=f"{text} (default: %(default)s)")
    training.add_argument(
        "--stop-time-hours", type=float, metavar="H", help="end earlier, after so many hours (default: no limit)"
    )
    training.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    training.add_argument("--label-smoothing", type=float, default=0.1, help="label smoothing (default: %(default)s)")
    training.add_argument(
        "--sampling-temperature",
        type=float,
        default=1.5,
        help="above 1, directions with little text are seen more often than their share (default: %(default)s)",
    )
    add_generation_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Trains the translator.

    Raises:
        InputError: the parallel text cannot be used, the output folder exists, or a setting does not fit the data.
    """
    decoding, device = generation_from(arguments)
    if arguments.dim % arguments.heads:
        raise InputError(f"--dim {arguments.dim} is no multiple of --heads {arguments.heads}; choose one that is")
    with folder_written_whole(arguments.output) as folder, tempfile.TemporaryDirectory(prefix="fairseq-musc-") as work:
        pairs, sources = read_parallel(arguments.parallel, arguments.languages, arguments.limit)
        training, held_out = hold_out(pairs, arguments.held_out, arguments.seed)
        languages = sorted({language for pair in pairs for language in pair})
        directions = [f"{a}-{b}" for pair in pairs for a, b in (pair, pair[::-1])]
        count = sum(map(len, training.values()))
        say(f"{count} sentence pairs of {len(pairs)} files, {len(languages)} languages, {len(directions)} directions")
        train_sentencepiece(training, arguments.vocabulary, arguments.character_coverage, folder)
        write_dictionaries(folder, languages)
        (folder / release.LANGUAGE_PAIRS).write_text(",".join(directions) + "\n", encoding="utf-8")
        longest = min(arguments.longest_trained, arguments.max_positions - 2)
        left_out = binarize_pairs(training, folder, Path(work), longest)
        fairseq_train(train_arguments(arguments, folder, Path(work), languages, directions))
        shutil.move(Path(work) / "checkpoints" / "checkpoint_last.pt", folder / release.CHECKPOINTS[0])
        translator = release.open_translator(folder)
        scores = {}
        for (a, b), rows in held_out.items():
            for source_lang, target_lang, inputs, references in (
                (a, b, [row[0] for row in rows], [row[1] for row in rows]),
                (b, a, [row[1] for row in rows], [row[0] for row in rows]),
            ):
                if not rows:
                    continue
                texts = translate(inputs, source_lang, target_lang, translator, decoding, device).texts
                scores[f"{source_lang}-{target_lang}"] = bleu(texts, references, target_lang)
        about = {
            "version": __version__,
            "settings": {key: value for key, value in vars(arguments).items() if key not in ("parallel", "output")},
            "parallel": sources,
            "sentence_pairs": count,
            "longer_than_trained": left_out,
            "bleu": scores,
        }
        write_json(folder / "training.json", about)
    for direction, score in scores.items():
        say(f"{direction}  BLEU {score['score']:5.1f}  ({score['signature']})")
    say(f"the translator is in {arguments.output}")


def say(line: str) -> None:
    """Progress, to the stream that no result goes to."""
    print(line, file=sys.stderr, flush=True)


def read_parallel(
    folder: Path, languages: Sequence[str] | None, limit: int | None
) -> tuple[Pairs, dict[str, dict[str, Any]]]:
    """The sentence pairs of each file, and each file's checksum and count.

    Lines with an empty side are left out and counted.

    Raises:
        InputError: there is no file, or lines that are not UTF-8 or not two cells; of every file the first.
    """
    names = {path: path.name.removesuffix(".gz").removesuffix(".tsv") for path in sorted(folder.glob("*-*.tsv*"))}
    files = {path: tuple(name.split("-")) for path, name in names.items() if path.name.endswith((".tsv", ".tsv.gz"))}
    wanted = {path: pair for path, pair in files.items() if len(pair) == 2 and not set(pair) - set(languages or pair)}
    missing = sorted(set(languages or ()) - {language for pair in wanted.values() for language in pair})
    if missing or not wanted:
        there = ", ".join(path.name for path in files) or "none"
        asked = f" between the languages {', '.join(languages)}" if languages else ""
        raise InputError(
            f"{folder} holds no parallel text{asked}{' with ' + ', '.join(missing) if missing else ''}; files are "
            f"called like en-de.tsv or en-de.tsv.gz, and there is {there}"
        )
    pairs: Pairs = {}
    sources, problems = {}, []
    for path, (a, b) in wanted.items():
        if (a, b) in pairs or (b, a) in pairs:
            problems.append(f"{path.name}: {a}-{b} is there twice; leave one of the files")
            continue
        rows, empty = [], 0
        try:
            for cells in read_lines(path, limit):
                if all(cells):
                    rows.append(cells)
                else:
                    empty += 1
        except ValueError as error:
            problems.append(str(error))
        if not rows and not problems:
            problems.append(f"{path}: it has no sentence pair")
        pairs[a, b] = rows
        sources[path.name] = {"sha256": sha256(path), "sentence_pairs": len(rows), "with_an_empty_side": empty}
    if problems:
        raise InputError.all_at_once("the parallel text cannot be used:", problems)
    return pairs, sources


def read_lines(path: Path, limit: int | None) -> Iterator[tuple[str, str]]:
    """The two cells of each line, white space made single.

    Raises:
        ValueError: with the file and the line, at the first that is not UTF-8 or not two cells.
    """
    number = 0
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                if limit is not None and number > limit:
                    return
                cells = [" ".join(cell.split()) for cell in line.decode().removesuffix("\n").split("\t")]
                if len(cells) != 2:
                    raise ValueError(f"it has {len(cells)} cells; a line is a sentence, a tab and its translation")
                yield cells[0], cells[1]
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}, line {number}: {error}") from None


def hold_out(pairs: Pairs, number: int, seed: int) -> tuple[Pairs, Pairs]:
    """Splits off ``number`` random lines of each file; no sentence of theirs is left in the training lines.

    Raises:
        InputError: nothing would be left to train on.
    """
    held_out = {
        pair: random.Random(seed).sample(rows, min(number, len(rows))) if number else [] for pair, rows in pairs.items()
    }
    seen = {
        (language, sentence)
        for pair, rows in held_out.items()
        for row in rows
        for language, sentence in zip(pair, row, strict=True)
    }
    training = {
        (a, b): [row for row in rows if (a, row[0]) not in seen and (b, row[1]) not in seen]
        for (a, b), rows in pairs.items()
    }
    bare = [f"{a}-{b} has {len(pairs[a, b])} lines" for (a, b), rows in training.items() if not rows]
    if bare:
        raise InputError.all_at_once(
            f"no line is left to train on when {number} of each file are held out; give --held-out a smaller number:",
            bare,
        )
    return training, held_out


def train_sentencepiece(pairs: Pairs, size: int, coverage: float, folder: Path) -> None:
    """One SentencePiece model over all sides of all files.

    Raises:
        InputError: the size is too small for the characters of the text.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(side for rows in pairs.values() for row in rows for side in row),
            model_writer=model,
            vocab_size=size,
            hard_vocab_limit=False,  # text too small for the size gives fewer pieces instead of an error
            character_coverage=coverage,
            input_sentence_size=500_000,
            shuffle_input_sentence=True,
            num_threads=os.cpu_count() or 1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(
            f"SentencePiece cannot make {size} pieces of this text: {error}. Give --vocabulary a larger number, or "
            "--character-coverage a smaller one"
        ) from None
    (folder / release.SENTENCEPIECE).write_bytes(model.getvalue())


def write_dictionaries(folder: Path, languages: Sequence[str]) -> None:
    """``data_dict``: the pieces; ``model_dict``: these, a token for each language, and words that fill up the size.

    fairseq adds its four special symbols itself when it loads them.
    """
    from fairseq.data import Dictionary
    from fairseq.data.multilingual.multilingual_utils import augment_dictionary
    from sentencepiece import SentencePieceProcessor

    spm = SentencePieceProcessor(model_file=str(folder / release.SENTENCEPIECE))
    dictionary = Dictionary()
    for i in range(spm.get_piece_size()):
        if not (spm.is_unknown(i) or spm.is_control(i)):
            dictionary.add_symbol(spm.id_to_piece(i))
    dictionary.save(str(folder / release.DATA_DICT))
    augment_dictionary(dictionary, list(languages), lang_tok_style="multilingual")
    dictionary.pad_to_multiple_(8)
    dictionary.save(str(folder / release.MODEL_DICT))


def binarize_pairs(pairs: Pairs, folder: Path, work: Path, longest: int) -> int:
    """Encodes and binarizes the training lines, in this process; returns how many are too long and were left out.

    Raises:
        InputError: all lines of a file are too long.
    """
    from sentencepiece import SentencePieceProcessor

    spm = SentencePieceProcessor(model_file=str(folder / release.SENTENCEPIECE))
    left_out = 0
    for (a, b), rows in pairs.items():
        encoded = [spm.encode([row[side] for row in rows], out_type=str) for side in (0, 1)]
        kept = [sides for sides in zip(*encoded, strict=True) if all(0 < len(side) <= longest for side in sides)]
        if not kept:
            raise InputError(f"none of the {len(rows)} lines of {a}-{b} has between 1 and {longest} pieces a side")
        left_out += len(rows) - len(kept)
        for side, language in enumerate((a, b)):
            with open(work / f"{a}-{b}.{language}", "w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(" ".join(sides[side]) + "\n" for sides in kept)
        dictionary = folder / release.DATA_DICT
        binarize(work / f"{a}-{b}", a, b, "train", dictionary, work / "bin", "--tgtdict", str(dictionary))
        (work / "bin" / f"dict.{a}.txt").unlink()  # fairseq-preprocess stops when the next pair finds it there
        (work / "bin" / f"dict.{b}.txt").unlink()
    if left_out:
        say(f"{left_out} lines of more than {longest} pieces are left out")
    return left_out


def train_arguments(
    arguments: argparse.Namespace, folder: Path, work: Path, languages: Sequence[str], directions: Sequence[str]
) -> list[str]:
    """The arguments of ``fairseq-train``."""
    flags = [
        str(work / "bin"),
        *("--task", "translation_multi_simple_epoch"),
        *("--fixed-dictionary", str(folder / release.MODEL_DICT)),
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
        *("--save-dir", str(work / "checkpoints"), "--no-epoch-checkpoints", "--no-save-optimizer-state"),
        *("--save-interval", str(arguments.updates), "--disable-validation"),
        *("--log-format", "json", "--log-interval", str(max(1, min(100, arguments.updates // 10)))),
    ]
    if arguments.stop_time_hours is not None:
        flags += ["--stop-time-hours", str(arguments.stop_time_hours)]
    for side in ("encoder", "decoder"):
        flags += [f"--{side}-embed-dim", str(arguments.dim), f"--{side}-ffn-embed-dim", str(arguments.ffn_dim)]
        flags += [f"--{side}-attention-heads", str(arguments.heads)]
        flags += [f"--{side}-layers", str(getattr(arguments, f"{side}_layers"))]
    for side in ("source", "target"):
        flags += [f"--max-{side}-positions", str(arguments.max_positions)]
    return flags + ["--cpu"] * arguments.cpu + ["--fp16"] * (arguments.precision == "fp16")


def fairseq_train(arguments: Sequence[str]) -> None:
    """``fairseq-train`` in a process of its own, its progress in a line each.

    Raises:
        InputError: it diverged.
        RuntimeError: it failed otherwise; with the last lines that it printed.
    """
    # -P keeps the current folder off the path: in a checkout fairseq_musc lies there, less what setup.py maps into it.
    command = [sys.executable, "-u", "-P", "-m", "fairseq_cli.train", *arguments]
    # With --cpu fairseq still clips gradients by a factor on the GPU that it sees, and fails.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""} if "--cpu" in arguments else None
    last: deque[str] = deque(maxlen=200)
    update = "the start"
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            if " | train_inner | " in line:
                numbers = json.loads(line.rsplit(" | ", 1)[1])
                update = f"update {numbers['num_updates']}, where the loss was {numbers['loss']}"
                say(
                    f"update {numbers['num_updates']}/{arguments[arguments.index('--max-update') + 1]}  "
                    f"loss {numbers['loss']}  perplexity {numbers['ppl']}  {numbers['wps']} pieces/s"
                )
    if process.returncode and any(line.startswith("FloatingPointError") for line in last):
        # fairseq then looks for the module to blame, which fails with newer releases of torch and hides the reason.
        raise InputError(
            f"the training diverged behind {update}: its gradients are not finite. Give a smaller --lr or a longer "
            "--warmup"
        )
    if process.returncode:
        said = "".join([*last][-40:])
        raise RuntimeError(f"fairseq-train ended with status {process.returncode}; its last lines:\n{said}")


def bleu(hypotheses: list[str], references: list[str], language: str) -> dict[str, Any]:
    """sacreBLEU of translations into a language, with its signature."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=BLEU_TOKENIZERS.get(language, "13a"))
    score = metric.corpus_score(hypotheses, [references]).score
    return {"score": round(score, 2), "lines": len(references), "signature": str(metric.get_signature())}
