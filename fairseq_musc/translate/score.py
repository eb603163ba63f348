"""Scores a translator on aligned texts: BLEU and chrF of every direction, by sacreBLEU and with its signatures.

reads   TRANSLATOR/            the files of fairseq's m2m_100 release, or of train-translator
        REFERENCES/NAME.<xx>   the same text in several languages, line by line, e.g. FLORES-200 as devtest.en,
                               devtest.de and so on: each is a source, and a reference for the others
writes  OUTPUT/scores.tsv, scores.md, scores.json
                               the table; in JSON with all that it was made with
        OUTPUT/<aa>-<bb>.txt, <aa>-<bb>.json
                               the translations, a line each, and what they were made with

Translations that are there as they were written, made from the same text by the same translator with the same settings,
are kept. Text like this measures a translator only if nothing of it was trained on or chosen by.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.layout import Cell, Sheet, as_text, number, text, write
from fairseq_musc.files import sha256, write_json, written_whole
from fairseq_musc.translate.at_once import translate
from fairseq_musc.translate.engine import (
    Decoding,
    Device,
    Engine,
    add_generation_arguments,
    generation_from,
    open_engine,
)
from fairseq_musc.translate.provenance import way_of
from fairseq_musc.translate.release import LANGUAGE_PAIRS, directions_of
from fairseq_musc.version import __version__

#: sacreBLEU's tokenizer for languages that its own default (13a) does not cut into words.
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char", "km": "char", "lo": "char", "my": "char"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc score-translator``."""
    parser.add_argument("--translator", type=Path, required=True, metavar="FOLDER", help="the m2m_100 files")
    parser.add_argument("--references", type=Path, required=True, metavar="FOLDER", help="the aligned texts")
    parser.add_argument(
        "--name", metavar="NAME", help="of the texts NAME.<xx>, if the folder has several (default: the one there is)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where translations and table go")
    parser.add_argument(
        "--directions",
        nargs="+",
        metavar="XX-YY",
        help="e.g. en-de de-en (default: all that the translator was made for and there are texts of)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="take only the first N lines")
    add_generation_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Translates, scores, and prints and writes the table.

    Raises:
        InputError: the texts are not there or not aligned, or a direction is unknown; all cases at once.
    """
    decoding, device = generation_from(arguments)
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}; it must be at least 1")
    name, texts = read_texts(arguments.references, arguments.name, arguments.limit)
    engine = open_engine(arguments.engine, arguments.translator, decoding, device)
    directions = arguments.directions or directions_between(texts, arguments.translator, engine)
    check_directions(directions, texts, engine)
    scores = {}
    for direction in directions:
        source_lang, target_lang = direction.split("-")
        hypotheses = translated(texts, source_lang, target_lang, engine, decoding, device, arguments.output)
        references = texts[target_lang]
        scores[direction] = {"bleu": bleu(hypotheses, references, target_lang), "chrf": chrf(hypotheses, references)}
    made_with = {
        "version": __version__,
        "text": name,
        "lines": len(next(iter(texts.values()))),
        "sha256": {
            language: sha256(arguments.references / f"{name}.{language}")
            for language in sorted({language for direction in directions for language in direction.split("-")})
        },
        **{key: value for key, value in way_of("", "", engine.provenance(), decoding).items() if "language" not in key},
    }
    sheet = table(scores, made_with)
    write(sheet, arguments.output / "scores")
    write_json(arguments.output / "scores.json", {**made_with, "scores": scores})
    print(as_text(sheet), end="")


def read_texts(folder: Path, name: str | None, limit: int | None) -> tuple[str, dict[str, list[str]]]:
    """The aligned texts of a folder: their name, and language -> lines.

    Raises:
        InputError: there are none, several and no name was given, or they are not aligned.
    """
    files = [path for path in sorted(folder.glob("*.*")) if path.is_file() and not path.name.startswith(".")]
    names = sorted({path.stem for path in files})
    if name is None and len(names) != 1:
        raise InputError(f"{folder} has {len(names)} texts ({', '.join(names) or 'none'}); say which with --name")
    name = name or names[0]
    texts = {}
    for path in files:
        if path.stem == name:
            try:
                lines = [line.removesuffix("\r") for line in path.read_bytes().decode("utf-8-sig").split("\n")]
            except ValueError as error:
                raise InputError(f"{path} is not UTF-8: {error}") from None
            texts[path.suffix[1:]] = lines[:-1] if lines[-1] == "" else lines
    if len(texts) < 2:
        raise InputError(f"{folder} has {name} in {', '.join(texts) or 'no language'}; scoring takes two languages")
    if len({len(lines) for lines in texts.values()}) > 1:
        counts = ", ".join(f"{name}.{language} {len(lines)}" for language, lines in texts.items())
        raise InputError(f"the texts in {folder} are not translations of one another line by line; lines: {counts}")
    if not all(texts.values()):
        raise InputError(f"the texts in {folder} are empty: {name} has no lines")
    return name, {language: lines[:limit] for language, lines in texts.items()}


def directions_between(texts: Mapping[str, Any], translator: Path, engine: Engine) -> list[str]:
    """The directions between the languages of texts that a translator was made for, in the order of its file of them.

    A folder in Hugging Face's format has no such file: it was made for all directions between languages that it knows.
    """
    known = [language for language in texts if knows(engine, language)]
    pairs = translator / LANGUAGE_PAIRS
    if not pairs.is_file():
        return [f"{a}-{b}" for a, b in permutations(known, 2)]
    return [
        direction
        for direction in directions_of(pairs.read_text(encoding="utf-8"))
        if set(direction.split("-")) <= set(known)
    ]


def knows(engine: Engine, language: str) -> bool:
    """Whether a translator knows a language."""
    try:
        engine.require([language])
    except InputError:
        return False
    return True


def check_directions(directions: Sequence[str], texts: Mapping[str, Any], engine: Engine) -> None:
    """Raises :class:`InputError` if there is no direction, or one that is none, without a text or unknown."""
    problems = []
    for direction in directions:
        languages = direction.split("-")
        if len(languages) != 2 or languages[0] == languages[1]:
            problems.append(f"{direction} is no direction; one is like en-de")
            continue
        problems += [f"{direction}: there is no text in {xx}" for xx in languages if xx not in texts]
        problems += [f"{direction}: the translator does not know {xx}" for xx in languages if not knows(engine, xx)]
    if not directions:
        known = [language for language in texts if knows(engine, language)]
        problems = [
            f"texts are in {', '.join(texts)}; it knows {', '.join(known) or 'none'} of these, and no direction "
            "between two of them"
        ]
    if problems:
        raise InputError.all_at_once("the translator cannot be scored:", problems)


def translated(
    texts: Mapping[str, list[str]],
    source_lang: str,
    target_lang: str,
    engine: Engine,
    decoding: Decoding,
    device: Device,
    output: Path,
) -> list[str]:
    """The translations of a direction; read from ``output`` if they are there and were made in the same way."""
    path = output / f"{source_lang}-{target_lang}.txt"
    about = path.with_suffix(".json")
    sources = texts[source_lang]
    made_with = {
        **way_of(source_lang, target_lang, engine.provenance(), decoding),
        "source": sources,
    }
    if (kept := kept_translations(path, about, made_with)) is not None:
        return kept
    found = translate(sources, source_lang, target_lang, engine, decoding, device).texts
    about.unlink(missing_ok=True)
    with written_whole(path) as stream:
        stream.writelines(f"{line}\n" for line in found)
    write_json(about, {**made_with, "sha256": sha256(path)})
    return found


def kept_translations(path: Path, about: Path, made_with: Mapping[str, Any]) -> list[str] | None:
    """The translations in ``path`` as they were written, if ``about`` says that they were made so; else None."""
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
        if found.pop("sha256") != sha256(path) or found != json.loads(json.dumps(made_with)):
            return None
        return path.read_bytes().decode().split("\n")[:-1]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):  # not there, or damaged
        return None


def bleu(hypotheses: list[str], references: list[str], language: str) -> dict[str, Any]:
    """sacreBLEU of translations into a language, with its signature."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=BLEU_TOKENIZERS.get(language, "13a"))
    score = metric.corpus_score(hypotheses, [references]).score
    return {"score": round(score, 2), "lines": len(references), "signature": str(metric.get_signature())}


def chrf(hypotheses: list[str], references: list[str]) -> dict[str, Any]:
    """sacreBLEU's chrF of translations, with its signature."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    score = metric.corpus_score(hypotheses, [references]).score
    return {"score": round(score, 2), "lines": len(references), "signature": str(metric.get_signature())}


def table(scores: Mapping[str, Mapping[str, Any]], made_with: Mapping[str, Any]) -> Sheet:
    """A line for each direction, one for the mean, and below them what the scores mean."""
    rows = [
        [text(direction), *(number(found[metric]["score"], ".1f") for metric in ("bleu", "chrf"))]
        for direction, found in scores.items()
    ]
    if len(scores) > 1:
        means = [sum(found[metric]["score"] for found in scores.values()) / len(scores) for metric in ("bleu", "chrf")]
        rows.append([text("mean"), *(number(mean, ".1f") for mean in means)])
    signatures: dict[str, list[str]] = {}
    for direction, found in scores.items():
        signatures.setdefault(f"BLEU {found['bleu']['signature']}", []).append(direction)
    chrf_signature = next(iter(scores.values()))["chrf"]["signature"]
    decoding = ", ".join(
        f"{key} {made_with[key]}" for key in ("beam", "max_len_a", "max_len_b", "longest", "precision")
    )
    checkpoint, checksum = next(iter(made_with["translator"].items()))
    notes = [
        *(
            signature if len(signatures) == 1 else f"{signature}: {', '.join(directions)}"
            for signature, directions in signatures.items()
        ),
        f"chrF {chrf_signature}",
        f"text: {made_with['text']}, {made_with['lines']} lines",
        f"translator: {made_with['engine']} with {checkpoint} (SHA-256 {checksum[:12]}); {decoding}",
        f"version: fairseq-musc {made_with['version']}",
    ]
    header: list[Cell] = [text("Direction"), text("BLEU"), text("chrF")]
    return Sheet("BLEU and chrF of a translator", header, rows, notes)
