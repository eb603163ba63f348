"""Makes the machine-translated corpora from those that they are made from, with fairseq-generate.

reads   CORPORA/<source>.<language>.tsv, .json   see fairseq_musc.data.corpus
        TRANSLATOR/                              the files of fairseq's m2m_100 release, or of train-translator
writes  CORPORA/<made>.<language>.tsv, .json     the same ids and labels, the texts translated, and what made them

  T_trn_MT.xx  is made from S_trn.en      English into xx
  S_val_MT.xx               T_val.xx      xx into English
  S_tst_MT.xx               T_tst.xx      xx into English
  S_trn_MT.xx               T_trn.xx      xx into English
  T_trn_BT.xx               S_trn_MT.xx   English back into xx

All corpora of one direction go through the model together. A corpus that is already there, made from the same rows
by the same translator with the same settings, is kept. One that was made otherwise ends the run before anything is
translated, unless --overwrite is given.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairseq_musc.data.corpus import (
    CORPORA,
    Corpus,
    Row,
    check_aligned,
    corpus_exists,
    languages_of,
    read_about,
    read_corpus,
    write_corpus,
)
from fairseq_musc.errors import InputError
from fairseq_musc.translate.engine import Decoding, Device, add_generation_arguments, generation_from
from fairseq_musc.translate.fairseq_generate import provenance, translate
from fairseq_musc.translate.release import Translator, open_translator
from fairseq_musc.version import __version__

MADE = [name for name, kind in CORPORA.items() if kind.made_from]


@dataclass(frozen=True)
class Job:
    """One corpus to make."""

    name: str
    language: str
    source_lang: str
    """The source language of the whole experiment, which S corpora are in; not that of this translation."""

    @property
    def made_from(self) -> tuple[str, str]:
        """Name and language of the corpus that is translated: every T_trn_MT comes from the one S_trn."""
        name = CORPORA[self.name].made_from
        assert name is not None
        return name, self.source_lang if name == "S_trn" else self.language

    @property
    def direction(self) -> tuple[str, str]:
        """From and into which language."""
        into_target = CORPORA[self.name].side == "T"
        return (self.source_lang, self.language) if into_target else (self.language, self.source_lang)

    def __str__(self) -> str:
        return f"{self.name}.{self.language}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("--corpora", type=Path, required=True, metavar="FOLDER", help="where the corpora are")
    parser.add_argument("--translator", type=Path, required=True, metavar="FOLDER", help="the m2m_100 files")
    parser.add_argument("--make", nargs="+", required=True, choices=MADE, metavar="NAME", help=f"of {', '.join(MADE)}")
    parser.add_argument(
        "--languages",
        nargs="+",
        metavar="XX",
        help="target languages (default: those that the source corpora are there in; for T_trn_MT those of T_val and "
        "T_tst)",
    )
    parser.add_argument("--source-lang", default="en", metavar="XX", help="language of S_trn (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace corpora that were made otherwise")
    parser.add_argument(
        "--where-there",
        action="store_true",
        help="make what has a source corpus in the folder and pass over the rest of --make, instead of an error",
    )
    add_generation_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Makes the corpora.

    Raises:
        InputError: a source corpus is missing, a language is unknown to the translator, a corpus that is there was
            made otherwise; each with all its cases at once.
    """
    decoding, device = generation_from(arguments)
    translator = open_translator(arguments.translator)
    jobs = plan(arguments.corpora, arguments.make, arguments.languages, arguments.source_lang, arguments.where_there)
    translator.require(language for job in jobs for language in job.direction)
    make_corpora(arguments.corpora, jobs, translator, decoding, device, arguments.overwrite)


def say(line: str) -> None:
    """Progress, to the stream that no result goes to."""
    print(line, file=sys.stderr, flush=True)


def plan(
    folder: Path, names: Sequence[str], languages: Sequence[str] | None, source_lang: str, where_there: bool = False
) -> list[Job]:
    """The corpora to make, each behind the one that it is made from.

    Args:
        where_there: pass over what has no source corpus.

    Raises:
        InputError: source corpora are missing, or there is no language to make a corpus in.
    """
    jobs: list[Job] = []
    problems = []
    for name in sorted(set(names), key=MADE.index):
        wanted = default_languages(folder, name, names) if languages is None else set(languages)
        found = [Job(name, language, source_lang) for language in sorted(wanted - {source_lang})]
        there = [
            job for job in found if corpus_exists(folder, *job.made_from) or Job(*job.made_from, source_lang) in jobs
        ]
        if not where_there:
            missing = sorted({".".join(job.made_from) for job in found if job not in there})
            if missing:
                problems.append(f"{name}: {', '.join(missing)} to make it from")
            if not found:
                problems.append(f"{name}: any {CORPORA[name].made_from} in a language other than {source_lang}")
        jobs += there
    if problems or not jobs:
        raise InputError.all_at_once(
            f"{folder} lacks what {', '.join(names)} are made from; read the data set first, or name other languages:",
            problems or ["every corpus that could be translated"],
        )
    return jobs


def default_languages(folder: Path, name: str, names: Sequence[str]) -> set[str]:
    """The languages to make a corpus in when none is named."""
    source = CORPORA[name].made_from
    assert source is not None
    if source == "S_trn":
        return {*languages_of(folder, "T_val"), *languages_of(folder, "T_tst")}
    return {*languages_of(folder, source), *(default_languages(folder, source, names) if source in names else ())}


def make_corpora(
    folder: Path, jobs: Sequence[Job], translator: Translator, decoding: Decoding, device: Device, overwrite: bool
) -> None:
    """Makes each corpus, unless it is there already; all ready ones of a direction in one call.

    Raises:
        InputError: a corpus was made otherwise and ``overwrite`` is not set.
    """
    pending = list(jobs)
    to_check = [job for job in jobs if corpus_exists(folder, *job.made_from)]
    problems = [problem for job in to_check if (problem := made_otherwise(folder, job, translator, decoding))]
    if problems and not overwrite:
        raise InputError.all_at_once(
            "these corpora are there and were made otherwise; add --overwrite to replace them, or use another folder:",
            problems,
        )
    while pending:
        waiting = {job for job in pending if any(job.made_from == (other.name, other.language) for other in pending)}
        ready = [job for job in pending if job not in waiting]
        by_direction = defaultdict(list)
        for job in ready:
            by_direction[job.direction].append(job)
        # a direction that another corpus will need later is left until then, so that the model is loaded once for both
        later = {job.direction for job in waiting}
        chosen = [direction for direction in by_direction if direction not in later] or list(by_direction)
        for direction in chosen:
            make_direction(folder, by_direction[direction], translator, decoding, device, overwrite)
            pending = [job for job in pending if job not in by_direction[direction]]


def make_direction(
    folder: Path, jobs: Sequence[Job], translator: Translator, decoding: Decoding, device: Device, overwrite: bool
) -> None:
    """Makes corpora of one direction in one call of fairseq-generate."""
    to_make = []
    for job in jobs:
        problem = made_otherwise(folder, job, translator, decoding)
        if corpus_exists(folder, job.name, job.language) and problem is None:
            say(f"{job} is there, made in the same way; it is kept")
        elif problem and not overwrite:
            raise InputError(f"{problem}; add --overwrite to replace it")
        else:
            to_make.append(job)
    if not to_make:
        return
    source_lang, target_lang = to_make[0].direction
    sources = [read_corpus(folder, *job.made_from) for job in to_make]
    for job, source in zip(to_make, sources, strict=True):
        if source.text_language != source_lang:
            raise InputError(
                f"{'.'.join(job.made_from)} is in {source.text_language!r}, and {job} is translated from "
                f"{source_lang!r}; is --source-lang {job.source_lang} right?"
            )
    cells = [
        cell for source in sources for row in source.rows for cell in (row.text, row.text_pair) if cell is not None
    ]
    translation = translate(cells, source_lang, target_lang, translator, decoding, device)
    counts = translation.counts
    say(
        f"{source_lang} -> {target_lang}: {counts['distinct']} sentences, {counts['cut']} long ones cut, "
        f"{counts['blank']} blank texts left alone, {counts['empty']} empty translations"
    )
    if len(translation.texts) != len(cells):
        raise RuntimeError(f"{len(cells)} texts were translated into {len(translation.texts)}")
    texts = iter(translation.texts)
    for job, source in zip(to_make, sources, strict=True):
        rows = [
            Row(row.id, row.label, next(texts), None if row.text_pair is None else next(texts)) for row in source.rows
        ]
        check_aligned(".".join(job.made_from), source.ids, str(job), [row.id for row in rows])
        made_with = {
            **provenance(source_lang, target_lang, translator, decoding),
            **source_of(folder, job),
            **asdict(device),
            "generated_together": {"corpora": [str(other) for other in to_make], **counts},
            "versions": versions(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        corpus = Corpus(job.name, job.language, target_lang, source.dataset, source.labels, rows, made_with)
        say(f"{write_corpus(folder, corpus)}: {len(rows)} rows")


def source_of(folder: Path, job: Job) -> dict[str, Any]:
    """Which corpus a job translates, with its checksum."""
    return {"made_from": ".".join(job.made_from), "made_from_sha256": read_about(folder, *job.made_from)["sha256"]}


def made_otherwise(folder: Path, job: Job, translator: Translator, decoding: Decoding) -> str | None:
    """In what a corpus that is there differs from what was asked for; None if in nothing, or if it is not there."""
    if not corpus_exists(folder, job.name, job.language):
        return None
    there = read_about(folder, job.name, job.language)["provenance"]
    asked = {**provenance(*job.direction, translator, decoding), **source_of(folder, job)}
    differing = [key for key, value in asked.items() if there.get(key) != value]
    if not differing:
        return None
    return f"{job}: " + "; ".join(
        f"{key} was {brief(there.get(key))}, asked is {brief(asked[key])}" for key in differing
    )


def brief(value: Any) -> str:
    """A value of a provenance as a message shows it: the translator by the start of its checkpoint's checksum."""
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 40 else repr(value)


def versions() -> dict[str, str]:
    """The versions of everything that has a say in the text."""
    found = {"fairseq-musc": __version__}
    for package in ("fairseq", "fairseq-fixed", "torch", "sentencepiece"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
