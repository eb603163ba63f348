"""Trains, predicts and prints a whole table of the paper.

reads   a recipe, and a data-bin with the corpora that the table is about
writes  OUTPUT/<what was trained>_seed=<N>/
                            a training each, as `fairseq-musc grid` writes its cells, and predictions/ with its tables
        OUTPUT/tableN.md, .tsv, .tex
                            the table, by `fairseq-musc report`

What two tables share is trained once if they share OUTPUT. What is done is skipped, so the same command goes on where
it was stopped. --dry-run prints the trainings that the table needs.

Table 2 compares zsxl, translate_train, translate_test and translate_all, Table 3 (XNLI: 8) the corpora of inference,
Table 4 those of training, Table 5 (XNLI: 9) the terms of the loss. translate_test wants an English encoder and a
data-bin that was made with its tokenizer; without them it is left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import NamedTuple

import yaml

from fairseq_musc.data.corpus import languages_of
from fairseq_musc.data.databin import DataBinInfo, read_about
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.experiments.cells import (
    Cell,
    TrainingRecipe,
    check_corpora,
    check_settings,
    parse_overrides,
    path_override,
    result_of,
)
from fairseq_musc.experiments.grid import SEED, add_training_arguments, of, overrides_apart
from fairseq_musc.experiments.hyperparameters import origin, tuned
from fairseq_musc.experiments.processes import environments, train_cells
from fairseq_musc.locks import held_alone
from fairseq_musc.parents import end_with_parent

#: What --hyperparameters is about.
HYPERPARAMETERS = ("optimization.lr", "criterion.lam")


class Trained(NamedTuple):
    """What a checkpoint of a table is trained on and with."""

    corpora: tuple[str, ...]
    terms: str = "ce"
    valid_corpora: tuple[str, ...] | None = None
    """None leaves those of the recipe."""
    english: bool = False
    """Whether the encoder is the English one."""

    @property
    def name(self) -> str:
        """How its folders are called."""
        return "_".join([*(["english"] if self.english else []), "+".join(self.corpora), self.terms])

    def overrides(self) -> list[str]:
        """For fairseq-hydra-train."""
        found = [f"task.train_corpora=[{','.join(self.corpora)}]", f"criterion.terms={self.terms}"]
        if self.valid_corpora is not None:
            found.append(f"task.valid_corpora=[{','.join(self.valid_corpora)}]")
        return found


class Algorithm(NamedTuple):
    """A row of Table 2."""

    trained: Trained
    inference: tuple[str, ...]
    """Two corpora are averaged."""


PAIRED = Trained(("S_trn", "T_trn_MT"))
BOTH = ("T_tst", "S_tst_MT")

#: Table 2 of the paper.
ALGORITHMS = {
    "zsxl": Algorithm(Trained(("S_trn",), valid_corpora=("T_val",)), ("T_tst",)),
    "translate_train": Algorithm(PAIRED, ("T_tst",)),
    "translate_test": Algorithm(Trained(("S_trn",), valid_corpora=("S_val_MT",), english=True), ("S_tst_MT",)),
    "translate_all": Algorithm(PAIRED, BOTH),
}

_LOSSES = [
    Algorithm(PAIRED._replace(terms=terms), BOTH) for terms in ("ce", "ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc")
]
#: Table -> what is to be trained and predicted for it.
TABLES: dict[int, list[Algorithm]] = {
    2: [*ALGORITHMS.values()],
    3: [ALGORITHMS["translate_all"]],
    4: [Algorithm(Trained(("S_trn", target)), BOTH) for target in ("T_trn", "T_trn_BT")],
    5: _LOSSES,
    8: [ALGORITHMS["translate_all"]],
    9: _LOSSES,
}


class Run(NamedTuple):
    """A cell of a table: what is trained once, and the corpora that it predicts."""

    cell: Cell
    data: Path
    inference: tuple[str, ...]

    @property
    def predictions(self) -> Path:
        """Where its predictions tables go."""
        return self.cell.folder / "predictions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc run-table``."""
    parser.add_argument("--table", required=True, type=int, choices=list(TABLES), help="of the paper")
    parser.add_argument("--config-name", required=True, metavar="NAME", help="the recipe, e.g. musc_marc")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="where a recipe of your own lies")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="the data-bin")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where the trainings go")
    parser.add_argument("--seeds", nargs="+", type=of(int), metavar="N", help="seeds (default: 1 2 3)")
    parser.add_argument("--english-encoder", metavar="NAME", help="for translate_test, e.g. bert-base-cased")
    parser.add_argument("--english-data", type=Path, metavar="FOLDER", help="the data-bin made with its tokenizer")
    parser.add_argument(
        "--hyperparameters",
        default="recipe",
        metavar="recipe|table7|FOLDER",
        help="lr and lambda: the recipe's own in every row (default); those of Table 7; or what a grid has picked for "
        "the row's loss, FOLDER/<terms>/best.yaml with e.g. ce+sc for the terms",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained, and what is done")
    add_training_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Trains and predicts what is not done, and prints the table; ends with status 1 if a training failed.

    Raises:
        InputError: the recipe, an override or a data-bin is wrong; another run works in the folder; or a training lies
            there that was made with other settings.
    """
    overrides_apart(arguments, "seeds")
    runs, notes = plan(arguments)
    cells = [run.cell for run in runs]
    for note in notes:
        print(note)
    if arguments.dry_run:
        for cell in cells:
            print(f"{cell.folder}  {'done' if result_of(cell) else 'to be trained'}\n  {' '.join(cell.overrides)}")
        return
    recipe = TrainingRecipe(arguments.config_name, arguments.config_dir)
    for cell in cells:
        recipe.check_for_cells(cell.overrides)
    with held_alone(arguments.output):
        check_settings(cells)
        check_corpora((run.cell, () if run.predictions.is_dir() else run.inference) for run in runs)
        settings = cells[0].settings
        cpu = bool(settings.get("common.cpu"))
        gpus = settings.get("distributed_training.distributed_world_size") or 1
        places = environments(arguments.jobs, cpu, gpus)
        failed = train_cells(cells, places, keep="best")
        predict_all([run for run in runs if run.cell.name not in failed], places, cpu)
        if failed:
            names = ", ".join(failed)
            print(f"{len(failed)} of {len(cells)} trainings failed: {names}; the same command tries them again")
            raise SystemExit(1)
        report(arguments.table, arguments.output)


def plan(arguments: argparse.Namespace) -> tuple[list[Run], list[str]]:
    """The trainings of a table, each once, and what there is to say about them.

    Raises:
        InputError: an override is one of those that tell the rows apart, there are several values of one, or an option
            of the English encoder lacks the other.
    """
    english = arguments.english_encoder, arguments.english_data
    if (english[0] is None) != (english[1] is None):
        raise InputError("--english-encoder and --english-data go together: the data-bin is made with its tokenizer")
    check_overrides(arguments.overrides, arguments.hyperparameters)
    algorithms = TABLES[arguments.table]
    notes = []
    if english[0] is None and any(algorithm.trained.english for algorithm in algorithms):
        notes.append("translate_test is left out: it needs --english-encoder and --english-data")
        algorithms = [algorithm for algorithm in algorithms if not algorithm.trained.english]
    dataset, rows = size_of(arguments.data)
    if arguments.hyperparameters == "table7":
        notes.append(origin(dataset))
    recipe = TrainingRecipe(arguments.config_name, arguments.config_dir)
    inference: dict[Trained, tuple[str, ...]] = {}
    for algorithm in algorithms:
        inference[algorithm.trained] = tuple(
            dict.fromkeys((*inference.get(algorithm.trained, ()), *algorithm.inference))
        )
    runs = []
    for trained, corpora in inference.items():
        data = arguments.english_data if trained.english else arguments.data
        overrides = [path_override("task.data", data), *arguments.overrides, *trained.overrides()]
        if trained.english:
            overrides.append(path_override("model.pretrained", arguments.english_encoder))
        if arguments.hyperparameters not in ("recipe", "table7"):
            overrides += picked(Path(arguments.hyperparameters), trained.terms)
        elif arguments.hyperparameters == "table7":
            found = tuned(dataset, rows, trained.terms)
            overrides.append(f"optimization.lr=[{found.lr}]")
            overrides += [] if found.lam is None else [f"criterion.lam={found.lam}"]
        for seed in dict.fromkeys(arguments.seeds or (1, 2, 3)):
            name = f"{trained.name}_seed={seed}"
            cell = recipe.cell(name, arguments.output / name, [*overrides, f"{SEED}={seed}"])
            runs.append(Run(cell, data, corpora))
    return runs, notes


def picked(grids: Path, terms: str) -> list[str]:
    """What the grid of a loss has picked, as overrides: the learning rate and, where it was varied or given, lambda.

    Raises:
        InputError: there is no such grid, or nothing was picked in it.
    """
    path = grids / terms / "best.yaml"
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))["overrides"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise InputError(
            f"{path} cannot be read, so no grid has picked a learning rate for {terms}; --hyperparameters is recipe, "
            f"table7, or a folder in which `fairseq-musc grid --output {grids / terms} ... criterion.terms={terms}` "
            "has been given for the loss of every row"
        ) from None
    parsed = parse_overrides(overrides)
    return [str(override.input_line) for override in parsed if override.key_or_group in HYPERPARAMETERS]


def check_overrides(overrides: Sequence[str], hyperparameters: str = "recipe") -> None:
    """Raises :class:`InputError` for overrides that would undo what the table is about, or that an option gives."""
    taken = {
        "task.data": "--data",
        SEED: "--seeds",
        "task.train_corpora": "the table",
        "criterion.terms": "the table",
        "checkpoint.save_dir": "--output",
    }
    if hyperparameters != "recipe":
        taken |= dict.fromkeys(HYPERPARAMETERS, f"--hyperparameters {hyperparameters}")
    parsed = parse_overrides(overrides)
    problems = [
        f"{override.key_or_group} is given by {taken[override.key_or_group]}"
        for override in parsed
        if override.key_or_group in taken
    ]
    problems += [
        f"{override.input_line} has several values; a table takes one"
        for override in parsed
        if override.is_sweep_override()
    ]
    problems += [f"{override.input_line} is for Hydra itself" for override in parsed if override.is_hydra_override()]
    if problems:
        raise InputError.all_at_once("these overrides cannot be used here:", problems)


def size_of(data: Path) -> tuple[str, int]:
    """The data set of a data-bin, and its rows of S_trn.

    Raises:
        InputError: it is no data-bin.
    """
    dataset = DataBinInfo.load(data).dataset
    there = SOURCE_LANGUAGE in languages_of(data, "S_trn")
    return dataset, read_about(data, "S_trn", SOURCE_LANGUAGE)["rows"] if there else 0


def predict_all(runs: Sequence[Run], places: Sequence[dict[str, str]], cpu: bool) -> None:
    """Predicts for all of these runs what is not predicted yet, ``len(places)`` of them side by side."""
    arguments = [(run.cell.best_checkpoint, run.data, run.predictions, run.inference, cpu) for run in runs]
    few = len(places) == 1 or sum(not run.predictions.is_dir() for run in runs) < 2
    if few:  # a process takes as long to start as to predict
        for of_run in arguments:
            predict(*of_run)
        return
    processes = multiprocessing.get_context("spawn")
    free = processes.SimpleQueue()
    for place in places:
        free.put(place)
    with ProcessPoolExecutor(min(len(places), len(runs)), processes, take_place, (free,)) as pool:
        for predicted in [pool.submit(predict, *of_run) for of_run in arguments]:
            predicted.result()


def take_place(free: SimpleQueue[dict[str, str]]) -> None:
    """Gives this process the next of the environments, and an end with the process that has started it."""
    end_with_parent()
    os.environ.update(free.get())


def predict(checkpoint: Path, data: Path, predictions: Path, inference: Sequence[str], cpu: bool) -> None:
    """Predicts the corpora of a run with its best checkpoint and averages them; tables that are there are kept."""
    options = ["--predictions", str(predictions)]
    model = ["--checkpoint", str(checkpoint), "--data", str(data), *(["--cpu"] if cpu else [])]
    verb("predict", *model, *options, "--corpora", *inference)
    if "T_tst" not in inference:  # English is not translated: its column is that of T_tst
        verb("predict", *model, *options, "--corpora", "T_tst", "--languages", SOURCE_LANGUAGE)
    if tuple(inference) == BOTH:
        verb("ensemble", *options)


def report(table: int, output: Path) -> None:
    """Prints a table from all the predictions below a folder, and writes it there."""
    verb("report", "--table", str(table), "--predictions", str(output), "--output", str(output))


def verb(*arguments: str) -> None:
    """Another verb of this program, in this process; ends with its status if it fails."""
    from fairseq_musc.cli import main

    if status := main(arguments):
        raise SystemExit(status)
