"""Translates corpora, or a plain file.

reads   CORPORA/<source>.<language>.tsv, .json   see fairseq_musc.data.corpus
        TRANSLATOR/                              the files of fairseq's m2m_100 release, or what --engine takes
writes  CORPORA/<made>.<language>.tsv, .json     the same ids and labels, the texts translated, and what made them

  T_trn_MT.xx  is made from S_trn.en      English into xx
  S_val_MT.xx               T_val.xx      xx into English
  S_tst_MT.xx               T_tst.xx      xx into English
  S_trn_MT.xx               T_trn.xx      xx into English
  T_trn_BT.xx               S_trn_MT.xx   English back into xx

With --source-lang ja the other language is Japanese instead of English; nothing goes through a third one.

All corpora of one direction go through the model together, a distinct sentence once. What is translated lies in
CORPORA/.translate until they are written: a run that was killed goes on where it was, and the same command started
again elsewhere on the same folder takes a share of the work. A corpus that is already there, made from the same rows by
the same translator with the same settings, is kept. One that was made otherwise ends the run before anything is
translated, unless --overwrite is given.

With --nbest N the further translations of each text go to CORPORA/nbest2, CORPORA/nbest3, ...

With --file and --output, a text file is translated line by line, or columns of a tab-separated one, between any two
languages of the translator; OUTPUT.json says what made it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairseq_musc.data.corpus import Corpus, Row, check_aligned, corpus_exists, corpus_path, read_corpus, write_corpus
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.files import remove_partials
from fairseq_musc.progress import say
from fairseq_musc.translate.engine import Decoding, Device, add_generation_arguments, generation_from, open_engine
from fairseq_musc.translate.job import CHUNK, Here, Workers
from fairseq_musc.translate.made_corpora import (
    MADE,
    MadeCorpus,
    corpora_to_make,
    is_there,
    made_otherwise,
    source_of,
)
from fairseq_musc.translate.on_ray import THIS_MACHINE, ray_pool
from fairseq_musc.translate.provenance import circumstances
from fairseq_musc.translate.text_file import read_text_file, translate_file
from fairseq_musc.translate.texts import Setup, TranslatedTexts, translate_texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("--translator", type=Path, required=True, metavar="FOLDER", help="the m2m_100 files")
    corpora = parser.add_argument_group("corpora")
    corpora.add_argument("--corpora", type=Path, metavar="FOLDER", help="where the corpora are")
    corpora.add_argument("--make", nargs="+", choices=MADE, metavar="NAME", help=f"of {', '.join(MADE)}")
    corpora.add_argument(
        "--languages",
        nargs="+",
        metavar="XX",
        help="target languages (default: those that the source corpora are there in; for T_trn_MT those of T_val and "
        "T_tst)",
    )
    corpora.add_argument("--source-lang", default="en", metavar="XX", help="language of S_trn (default: %(default)s)")
    corpora.add_argument(
        "--where-there",
        action="store_true",
        help="make what has a source corpus in the folder and pass over the rest of --make, instead of an error",
    )
    file = parser.add_argument_group("a plain file")
    file.add_argument("--file", type=Path, metavar="IN", help="UTF-8, a text a line; .gz is unpacked")
    file.add_argument("--output", type=Path, metavar="OUT", help="the same lines, translated; .gz is packed")
    file.add_argument("--from", dest="from_lang", metavar="XX", help="the language of IN")
    file.add_argument("--to", dest="to_lang", metavar="XX", help="the language of OUT")
    file.add_argument(
        "--columns", nargs="+", type=int, metavar="N", help="IN is tab-separated: translate these columns, from 1"
    )
    file.add_argument("--header", action="store_true", help="the first line of IN is copied")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there and was made otherwise")
    parser.add_argument(
        "--nbest",
        type=int,
        default=1,
        metavar="N",
        help="keep the N best translations, the further ones in corpora of their own (default: %(default)s)",
    )
    add_generation_arguments(parser)
    work = parser.add_argument_group("work")
    work.add_argument(
        "--chunk",
        type=int,
        default=CHUNK,
        metavar="SENTENCES",
        help="how many are kept, or lost, together when a run is killed (default: %(default)s)",
    )
    work.add_argument(
        "--ray",
        nargs="?",
        const=THIS_MACHINE,
        metavar="ADDRESS",
        help="translate on the workers of a Ray cluster; without ADDRESS, one of this machine alone",
    )
    work.add_argument(
        "--workers", type=int, metavar="N", help="how many workers --ray has (default: one a GPU, or a single one)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the corpora, or the file.

    Raises:
        InputError: options that do not go together, a source corpus is missing, a language is unknown to the
            translator, something that is there was made otherwise; each with all its cases at once.
    """
    check_options(arguments)
    decoding, device = generation_from(arguments)
    if arguments.file is not None:
        file = read_text_file(arguments.file, arguments.columns, arguments.header)
        with open_setup(arguments, decoding, device, [arguments.from_lang, arguments.to_lang]) as setup:
            translate_file(file, arguments.output, arguments.from_lang, arguments.to_lang, setup)
        return
    wanted = corpora_to_make(
        arguments.corpora, arguments.make, arguments.languages, arguments.source_lang, arguments.where_there
    )
    languages = {language for corpus in wanted for language in corpus.direction}
    with open_setup(arguments, decoding, device, languages) as setup:
        make_corpora(arguments.corpora, wanted, setup)


def check_options(arguments: argparse.Namespace) -> None:
    """Raises :class:`InputError` unless the options are those of corpora or those of a file, and all that it takes."""
    of_corpora = {"--corpora": arguments.corpora, "--make": arguments.make}
    of_file = {"--output": arguments.output, "--from": arguments.from_lang, "--to": arguments.to_lang}
    problems = []
    if arguments.file is None:
        problems += [f"{option} is needed, or --file" for option, value in of_corpora.items() if value is None]
        also = {**of_file, "--columns": arguments.columns, "--header": arguments.header or None}
        problems += [f"{option} goes with --file" for option, value in also.items() if value is not None]
    else:
        problems += [f"{option} is needed with --file" for option, value in of_file.items() if value is None]
        also = {**of_corpora, "--languages": arguments.languages, "--where-there": arguments.where_there or None}
        problems += [f"{option} does not go with --file" for option, value in also.items() if value is not None]
    if arguments.chunk < 1:
        problems.append(f"--chunk is {arguments.chunk}; it must be at least 1")
    if arguments.workers is not None and arguments.ray is None:
        problems.append("--workers goes with --ray")
    raise_all("these options cannot be used:", problems)


@contextmanager
def open_setup(
    arguments: argparse.Namespace, decoding: Decoding, device: Device, languages: Iterable[str]
) -> Iterator[Setup]:
    """Who translates, for the block.

    Raises:
        InputError: the translator cannot be opened, does not know a language, or there are no such workers.
    """
    opener = functools.partial(open_engine, arguments.engine, arguments.translator.resolve(), device=device)
    with contextlib.ExitStack() as stack:
        workers: Workers
        if arguments.ray is None:
            workers = Here(opener, device)
        else:
            workers = stack.enter_context(ray_pool(opener, device, arguments.ray, arguments.workers))
        workers.engine(decoding).require(languages)
        yield Setup(arguments.engine, workers, decoding, device, arguments.chunk, arguments.overwrite)


def folder_of(folder: Path, rank: int) -> Path:
    """Where the corpora of the translations of a rank lie; 1 is the best."""
    return folder if rank == 1 else folder / f"nbest{rank}"


def make_corpora(folder: Path, wanted: Sequence[MadeCorpus], setup: Setup) -> None:
    """Makes each corpus, unless it is there already; all ready ones of a direction in one go.

    Raises:
        InputError: a corpus was made otherwise and is not to be replaced.
    """
    pending = list(wanted)
    to_check = [corpus for corpus in wanted if corpus_exists(folder, *corpus.made_from)]
    check_replaceable(folder, to_check, setup)
    while pending:
        waiting = {corpus for corpus in pending if any(corpus.made_from == (o.name, o.language) for o in pending)}
        ready = [corpus for corpus in pending if corpus not in waiting]
        by_direction = defaultdict(list)
        for corpus in ready:
            by_direction[corpus.direction].append(corpus)
        # a direction that another corpus will need later is left until then, so that its sentences go together
        later = {corpus.direction for corpus in waiting}
        chosen = [direction for direction in by_direction if direction not in later] or list(by_direction)
        for direction in chosen:
            make_direction(folder, by_direction[direction], setup)
            pending = [corpus for corpus in pending if corpus not in by_direction[direction]]


def check_replaceable(folder: Path, wanted: Sequence[MadeCorpus], setup: Setup) -> None:
    """Raises :class:`InputError` with each corpus that was made otherwise, unless such are to be replaced."""
    problems = [
        problem
        for corpus in wanted
        for rank in setup.ranks
        if (problem := made_otherwise(folder_of(folder, rank), corpus, asked_of(folder, corpus, rank, setup)))
    ]
    if problems and not setup.overwrite:
        raise InputError.all_at_once(
            "these corpora are there and were made otherwise; add --overwrite to replace them, or use another folder:",
            problems,
        )


def asked_of(folder: Path, corpus: MadeCorpus, rank: int, setup: Setup) -> dict[str, Any]:
    """What decides a corpus of the translations of a rank."""
    return {**setup.asked(*corpus.direction, rank), **source_of(folder, corpus)}


def make_direction(folder: Path, wanted: Sequence[MadeCorpus], setup: Setup) -> None:
    """Makes corpora of one direction together, as far as they are not there."""
    check_replaceable(folder, wanted, setup)

    def missing() -> list[tuple[MadeCorpus, int]]:
        return [
            (corpus, rank)
            for corpus in wanted
            for rank in setup.ranks
            if not is_there(folder_of(folder, rank), corpus, asked_of(folder, corpus, rank, setup))
        ]

    to_make = [corpus for corpus in wanted if corpus in {corpus for corpus, _ in missing()}]
    kept = [corpus for corpus in wanted if corpus not in to_make]
    for corpus in kept:
        say(f"{corpus} is there, made in the same way; it is kept")
    source_lang, target_lang = wanted[0].direction
    sources = {corpus: read_source(folder, corpus) for corpus in to_make}
    if not sources and not setup.work_folder(folder, source_lang, target_lang).path.exists():
        return
    translated = translate_texts(texts_of(sources), source_lang, target_lang, folder, setup, lambda: not missing())
    if translated is None:
        say(f"{', '.join(map(str, to_make))}: written by another process")
        return
    counts = translated.plan.counts
    if sources:
        say(
            f"{source_lang} -> {target_lang}: {counts['blank']} of {counts['texts']} texts blank and left alone, "
            f"{counts['cut']} of {counts['distinct']} sentences too long and cut"
        )
    with translated.ending(lambda: not missing()) as ours:
        if ours:
            write_corpora(folder, sources, missing(), translated, setup)
    if translated.clear():
        # a run that was killed while it wrote the corpora has left those of its chunks that belong to what is kept
        texts = texts_of({corpus: read_source(folder, corpus) for corpus in kept})
        if left := translated.clear(setup.plan(texts, source_lang, target_lang).sentences):
            say(f"{left} chunks of other corpora stay in {translated.folder.path}")


def texts_of(sources: Mapping[MadeCorpus, Corpus]) -> list[str]:
    """The texts of corpora, row by row, each with its second one behind it if there is one."""
    return [text for source in sources.values() for row in source.rows for text in row[2:] if text is not None]


def read_source(folder: Path, corpus: MadeCorpus) -> Corpus:
    """The corpus that another is made from.

    Raises:
        InputError: it is in another language than the one that is translated from.
    """
    source = read_corpus(folder, *corpus.made_from)
    if source.text_language != corpus.direction[0]:
        raise InputError(
            f"{'.'.join(corpus.made_from)} is in {source.text_language!r}, and {corpus} is translated from "
            f"{corpus.direction[0]!r}; is --source-lang {corpus.source_lang} right?"
        )
    return source


def write_corpora(
    folder: Path,
    sources: Mapping[MadeCorpus, Corpus],
    missing: Sequence[tuple[MadeCorpus, int]],
    translated: TranslatedTexts,
    setup: Setup,
) -> None:
    """Writes corpora of which all texts are translated.

    Args:
        folder: where those of the best translations go.
        sources: each corpus to make, and the one that it is made from, in the order of the translated texts.
        missing: what is to be written: corpus and rank.
        translated: the texts of all sources.
        setup: how they were translated.

    Raises:
        InputError: a file cannot be written; the translations are kept.
    """
    for rank in setup.ranks:
        texts = iter(translated.texts(rank))
        for made, source in sources.items():
            rows = [
                Row(row.id, row.label, next(texts), None if row.text_pair is None else next(texts))
                for row in source.rows
            ]
            check_aligned(".".join(made.made_from), source.ids, str(made), [row.id for row in rows])
            if (made, rank) not in missing:
                continue
            made_with = {
                **asked_of(folder, made, rank, setup),
                "nbest": setup.decoding.nbest,
                **circumstances(setup.engine, setup.device),
                "generated_together": {"corpora": [str(other) for other in sources], **translated.plan.counts},
            }
            language = made.direction[1]
            corpus = Corpus(made.name, made.language, language, source.dataset, source.labels, rows, made_with)
            path = corpus_path(folder_of(folder, rank), made.name, made.language)
            with translated.folder.failing_plainly():
                for file in (path, path.with_suffix(".json")):
                    remove_partials(file)
                written = write_corpus(folder_of(folder, rank), corpus)
            say(f"{written}: {len(rows)} rows")
