"""fairseq's own commands and their settings, inside this process to spare a start-up of several seconds a call."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairseq_musc.safe_loading import allow_fairseq_checkpoints


def run_here(module: str, arguments: Sequence[str]) -> None:
    """Runs a fairseq command's entry point, e.g. ``run_here("fairseq_cli.generate", ["bin", "--path", ...])``.

    Only for commands that leave nothing behind that changes the next one: ``fairseq_cli.preprocess`` and
    ``fairseq_cli.generate``. ``fairseq_cli.train`` keeps its best score on a function and needs a process of its own.
    """
    with _argv([module, *arguments]), quiet(module):
        command = importlib.import_module(module)
        allow_fairseq_checkpoints()
        command.cli_main()


def generation_settings(*arguments: str) -> Any:
    """The settings of ``fairseq-generate`` with these arguments, defaults filled in, for use without the command."""
    with _argv(["fairseq-generate"]), quiet("fairseq_cli.generate"):
        from fairseq import options  # which prints when it is imported
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        parsed = options.parse_args_and_arch(options.get_generation_parser(), list(arguments))
        return convert_namespace_to_omegaconf(parsed)


@contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = argv  # fairseq's parsers look there for --user-dir, whatever arguments they are handed
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def quiet(module: str) -> Iterator[None]:
    """Silences the lines that print whole configurations and Hydra's notes on fairseq's old style; the bar stays.

    A handler on the root logger keeps ``fairseq_cli.generate`` from making its results file the place for all logging
    of this process; the log file that ``fairseq_cli.preprocess`` opens is closed again.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
    loggers = [logging.getLogger(name) for name in (module, "fairseq.tasks", "fairseq.data", "hydra")]
    # it warns that languages are ordered by name, which decides nothing when the dictionary is fixed
    loggers.append(logging.getLogger("fairseq.data.multilingual.multilingual_data_manager"))
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    loggers[-1].setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            for handler in set(logger.handlers) - set(handlers):
                logger.removeHandler(handler)
                handler.close()


def binarize(
    prefix: Path, source_lang: str, target_lang: str, split: str, dictionary: Path, destination: Path, *flags: str
) -> None:
    """``fairseq-preprocess`` of the files ``<prefix>.<language>`` with the release's data dictionary.

    Args:
        split: ``train`` or ``test``.
        flags: further flags, e.g. ``--only-source``.
    """
    arguments = ["--source-lang", source_lang, "--target-lang", target_lang, f"--{split}pref", str(prefix)]
    arguments += ["--thresholdsrc", "0", "--thresholdtgt", "0", "--srcdict", str(dictionary)]
    run_here("fairseq_cli.preprocess", [*arguments, "--destdir", str(destination), "--workers", "1", *flags])
