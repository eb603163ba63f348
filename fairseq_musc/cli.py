"""``fairseq-musc``: the steps between fairseq's own commands, one verb each.

A verb is a module with ``add_arguments(parser)`` and ``run(arguments)``; only the module of the verb that was asked
for is imported, so that a report starts without torch.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.version import __version__


class Verb(NamedTuple):
    """One step: where it lives, and what it does in a line."""

    module: str
    summary: str


VERBS = {
    "init": Verb("fairseq_musc.data.init", "data of your own -> a description for read, and a recipe"),
    "read": Verb("fairseq_musc.data.read", "raw files of a dataset -> corpora"),
    "translate": Verb("fairseq_musc.translate.translate", "corpora, or a text file -> translated ones (MT, BT)"),
    "check-translations": Verb(
        "fairseq_musc.translate.check", "machine-translated corpora -> what looks wrong in them"
    ),
    "binarize": Verb("fairseq_musc.data.binarize", "corpora -> data-bin"),
    "predict": Verb("fairseq_musc.evaluate.predict", "checkpoint + data-bin -> predictions tables"),
    "ensemble": Verb("fairseq_musc.evaluate.ensemble", "predictions on T_tst and S_tst_MT -> predictions of Ens"),
    "report": Verb("fairseq_musc.evaluate.report", "predictions tables -> accuracies, or a table of the paper"),
    "page": Verb("fairseq_musc.page.write", "predictions tables -> one HTML page about a run, or about several"),
    "figure": Verb("fairseq_musc.evaluate.figure", "predictions tables -> Figure 1, what the ensemble changes"),
    "compare": Verb("fairseq_musc.evaluate.compare", "two rows of a table -> bootstrap interval and McNemar's test"),
    "calibrate": Verb("fairseq_musc.evaluate.calibrate", "predictions tables -> calibration errors"),
    "probe": Verb(
        "fairseq_musc.evaluate.probe", "checkpoint + data-bin -> how far original and translated text differ"
    ),
    "rerun": Verb(
        "fairseq_musc.evaluate.rerun", "predictions tables -> the command that trains their checkpoint again"
    ),
    "export": Verb("fairseq_musc.huggingface.export", "checkpoint -> a folder that Hugging Face transformers loads"),
    "grid": Verb(
        "fairseq_musc.experiments.grid", "recipe + data-bin -> a grid of trainings, and the best by validation"
    ),
    "run-table": Verb("fairseq_musc.experiments.table_runs", "recipe + data-bin -> all runs of a table of the paper"),
    "user-dir": Verb("fairseq_musc.user_dir.show", "prints what fairseq's --user-dir takes"),
    "demo-data": Verb("fairseq_musc.demo.write", "nothing -> a made-up dataset in the layout of PAWS-X"),
    "train-translator": Verb("fairseq_musc.translate.train", "parallel text -> a small translator of m2m_100's kind"),
    "score-translator": Verb("fairseq_musc.translate.score", "translator + aligned texts -> BLEU and chrF"),
    "new-encoder": Verb("fairseq_musc.models.new_encoder", "a vocabulary -> a small untrained BERT folder"),
    "pretrain-encoder": Verb(
        "fairseq_musc.models.pretrain_encoder",
        "BERT folder + texts -> a BERT folder pretrained on them",
    ),
}


#: What a disk, a folder or its rights may say to one who writes: full (the disk, a quota, the file), not writable, and
#: paths that cannot be.
OF_THE_MACHINE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    }
)


#: What can be left out of an environment and is asked for by a verb without a word of its own: how it is installed.
LEFT_OUT = {
    "fairseq": "pip install numpy cython setuptools, and then pip install --no-deps --no-build-isolation fairseq-fixed",
    "fairseq_cli": "it comes with fairseq: pip install --no-deps --no-build-isolation --force-reinstall fairseq-fixed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0, 2 after an error that the user can mend, 130 after Ctrl-C, or 141
    when nobody reads stdout any more.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    open_closed_streams()
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="fairseq-musc",
        description="The steps of translate-all between fairseq's own commands. Each reads and writes files.",
        epilog=f"verbs, in the way of the data:\n{verbs}\n\n`fairseq-musc VERB --help` says what it reads and writes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of the verbs below")
    verb_name = parser.parse_args(argv[:1]).verb
    try:
        run_verb(verb_name, argv[1:])
        sys.stdout.flush()
    except InputError as error:
        print(f"fairseq-musc {verb_name}: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in LEFT_OUT:
            raise
        said = f"{error.name} is not installed, and this verb needs it: {LEFT_OUT[error.name]}"
        print(f"fairseq-musc {verb_name}: error: {said}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not nobody_reads():
            raise
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = error.filename if isinstance(error.filename, str) else "a file"
        print(f"fairseq-musc {verb_name}: error: {where}: {error.strerror}; what is written is whole", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        told = "what is written is whole, and the same command does the rest"
        print(f"\nfairseq-musc {verb_name}: stopped; {told}", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def open_closed_streams() -> None:
    """Has what is said to a stream that the process was started without (``2>&-``) go nowhere.

    Python has None in their place, and the next file that is opened would take their number.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for as long as the process lives


def nobody_reads() -> bool:
    """Whether who read stdout has gone, as ``head`` does; nothing more is then written to it."""
    try:
        stdout = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file but in this process
        return False
    asked = select.poll()
    asked.register(stdout, 0)
    if not asked.poll(0):
        return False
    # what is still to be written would be an error again while Python ends
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return True


def run_verb(name: str, options: Sequence[str]) -> None:
    """Runs one verb in this process.

    Raises:
        InputError: as the verb says.
        SystemExit: the options cannot be parsed, or are ``--help``.
    """
    verb = importlib.import_module(VERBS[name].module)
    parser = argparse.ArgumentParser(
        prog=f"fairseq-musc {name}",
        description=verb.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_arguments(parser)
    arguments = parser.parse_args(options)
    # A module of fairseq turns on every message there is while it is imported.
    for talkative in ("filelock", "urllib3"):  # the second of every file that the hub is asked for
        logging.getLogger(talkative).setLevel(logging.WARNING)
    # fairseq logs every file that it opens; what a verb has to say it says itself.
    fairseq = logging.getLogger("fairseq")
    level = fairseq.level
    fairseq.setLevel(logging.WARNING)
    try:
        verb.run(arguments)
    finally:
        fairseq.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
