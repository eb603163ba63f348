"""Writes one HTML page about a run, or about several: what a reader of the results wants to see, in one file.

reads   every predictions folder at or below the FOLDERs (T_tst, S_tst_MT, Ens, Ens_w); the training log of each;
        with --corpora the texts of T_tst and S_tst_MT
writes  --output: a page that needs no network and no other file

On it are: accuracies in each language with 95% intervals; the ensemble against its members, and other settings
against the first, by paired bootstrap and McNemar's test; learning curves; Figure 1; calibration; examples that the
ensemble won and lost; and where every figure comes from. Runs that differ in their seed alone are one setting. Of
Figure 1, calibration and examples the run with the lowest seed of each setting is shown.

A log is found as train.log or hydra_train.log in the folder of the predictions or up to three above, if the
configuration in it is that of the checkpoint; --logs names others: files, or folders that common.tensorboard_logdir
named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq_musc.data.corpus import CorpusFile
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.report import LINES
from fairseq_musc.evaluate.runs import find_runs
from fairseq_musc.files import written_whole
from fairseq_musc.page.contents import contents_of
from fairseq_musc.page.examples import texts_of
from fairseq_musc.page.groups import LoadedRun, grouped, load
from fairseq_musc.page.rendering import rendered
from fairseq_musc.page.training_log import Log, log_of, read_named
from fairseq_musc.progress import with_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc page``."""
    parser.add_argument(
        "--predictions",
        required=True,
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="predictions folders, or folders that are searched for them; the setting of the first is what others are "
        "compared with",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the page, e.g. report.html")
    parser.add_argument(
        "--corpora",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="show the texts of the examples from these corpora (without them the ids alone)",
    )
    parser.add_argument(
        "--logs",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="the training logs, one for each predictions folder, in the order in which they are found",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=10,
        metavar="N",
        help="how many won and how many lost ones in each language (default: %(default)s)",
    )
    parser.add_argument("--title", help="of the page (default: data set and setting)")


def run(arguments: argparse.Namespace) -> None:
    """Reads, counts, lays out, and writes the page."""
    if arguments.examples < 0:
        raise InputError(f"--examples is {arguments.examples}; it is 0 or more")
    started = time.monotonic()
    runs = [run for root in arguments.predictions for run in find_runs([root], LINES)]
    runs = list({run.folder.resolve(): run for run in runs}.values())
    if not runs:
        raise InputError(
            f"{', '.join(map(str, arguments.predictions))}: no predictions for {', '.join(LINES)}; predict first"
        )
    loaded = [load(run) for run in with_progress(runs, "runs", "read")]
    groups = grouped(loaded)
    logs = logs_of(loaded, arguments.logs)
    corpora: dict[Path, Mapping[tuple[str, str], CorpusFile]] = {}
    if arguments.corpora:
        corpora = {group.first.folder: texts_of(arguments.corpora, group.first.tables) for group in groups}
    page = rendered(contents_of(groups, arguments.title, logs, corpora, arguments.examples))
    with written_whole(arguments.output) as stream:
        stream.write(page)
    told = f"{len(loaded)} run{'s' * (len(loaded) > 1)} in {len(groups)} setting{'s' * (len(groups) > 1)}"
    print(
        f"{arguments.output}: {told}, {len(logs)} with a training log; {len(page.encode()) / 1e6:.1f} MB, "
        f"{time.monotonic() - started:.1f} s"
    )


def logs_of(runs: Sequence[LoadedRun], named: Sequence[Path] | None) -> dict[Path, Log]:
    """Predictions folder to the log of its training: the ones that were named, or those that are found.

    Raises:
        InputError: as many logs as runs were to be named, or one is not what it should be.
    """
    if named is None:
        found = {run.folder: log_of(run.folder, run.signature) for run in runs}
        return {folder: log for folder, log in found.items() if log is not None}
    if len(named) != len(runs):
        folders = ", ".join(str(run.folder) for run in runs)
        raise InputError(f"--logs names {len(named)} for {len(runs)} predictions folders; one for each of: {folders}")
    return {run.folder: read_named(path, run.signature) for run, path in zip(runs, named, strict=True)}
