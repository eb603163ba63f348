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

Texts are read row by row, and what is known of their sentences lies in a temporary file, so that memory does not grow
with the corpora. TMPDIR names the folder for it; it takes some times the size of the corpora of a direction.

With --nbest N the further translations of each text go to CORPORA/nbest2, CORPORA/nbest3, ...

With --file and --output, a text file is translated line by line, or columns of a tab-separated one, between any two
languages of the translator; OUTPUT.json says what made it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq_musc.errors import raise_all
from fairseq_musc.progress import say
from fairseq_musc.translate.corpora import make_corpora
from fairseq_musc.translate.engine import Decoding, Device, add_generation_arguments, generation_from, open_engine
from fairseq_musc.translate.job import CHUNK, CHUNK_IN_HALF_PRECISION, Here, Workers
from fairseq_musc.translate.made_corpora import MADE, corpora_to_make
from fairseq_musc.translate.on_ray import THIS_MACHINE, ray_pool
from fairseq_musc.translate.sentences import room_is_needed
from fairseq_musc.translate.text_file import read_text_file, translate_file
from fairseq_musc.translate.texts import Setup


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
    parser.add_argument(
        "--retranslate",
        action="store_true",
        help="translate flawed sentences (copies, loops, ...) once more with a beam twice as wide, and keep the better",
    )
    add_generation_arguments(parser)
    work = parser.add_argument_group("work")
    work.add_argument(
        "--chunk",
        type=int,
        metavar="SENTENCES",
        help="how many are kept, or lost, together when a run is killed "
        f"(default: {CHUNK}, with fp16 and bf16 {CHUNK_IN_HALF_PRECISION})",
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
        languages = {arguments.from_lang, arguments.to_lang}
        with stopped_plainly(), room_is_needed(), open_setup(arguments, decoding, device, languages) as setup:
            translate_file(file, arguments.output, arguments.from_lang, arguments.to_lang, setup)
        return
    wanted = corpora_to_make(
        arguments.corpora, arguments.make, arguments.languages, arguments.source_lang, arguments.where_there
    )
    languages = {language for corpus in wanted for language in corpus.direction}
    with stopped_plainly(), room_is_needed(), open_setup(arguments, decoding, device, languages) as setup:
        make_corpora(arguments.corpora, wanted, setup)


@contextmanager
def stopped_plainly() -> Iterator[None]:
    """Ends the program with a line instead of a traceback when it is told to stop (Ctrl-C)."""
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; the chunks that are done are kept, and the same command goes on from there")
        raise SystemExit(128 + signal.SIGINT) from None


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
    if arguments.chunk is not None and arguments.chunk < 1:
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
            workers = Here(opener)
        else:
            workers = stack.enter_context(ray_pool(opener, device.cpu, arguments.ray, arguments.workers))
        workers.engine(decoding).require(languages)
        chunk = arguments.chunk or (CHUNK_IN_HALF_PRECISION if device.precision in ("fp16", "bf16") else CHUNK)
        yield Setup(arguments.engine, workers, decoding, device, chunk, arguments.retranslate, arguments.overwrite)
