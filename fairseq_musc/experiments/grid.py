"""Trains the grid of Appendix B, learning rate x lambda x seed, and picks by accuracy on validation data.

reads   a recipe, and the training and validation corpora of a data-bin; never test data
writes  OUTPUT/<cell>/      a training each: checkpoints, train.log, and done.json with its result
        OUTPUT/grid.tsv, grid.md
                            mean and standard deviation over seeds of each cell's best validation accuracy
        OUTPUT/best.yaml    the overrides of the setting with the highest mean

Every cell is a process of fairseq-hydra-train. What is done is skipped, what was stopped goes on from its last
checkpoint, what failed is tried again; a folder that was made with other settings ends the run before it starts.

Overrides are those of fairseq-hydra-train. One with several values (criterion.terms=ce,ce+sc) is an axis more; one for
optimization.lr, criterion.lam or common.seed takes the place of that axis.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from hydra.core.override_parser.types import Override

from fairseq_musc.data.databin import DataBinInfo, classes_of
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.layout import aligned, markdown_rows
from fairseq_musc.experiments.cells import (
    PLACES,
    Cell,
    Result,
    TrainingRecipe,
    check_corpora,
    check_settings,
    collect,
    differences,
    parse_overrides,
    quoted,
    remove_checkpoints,
    train_command,
)
from fairseq_musc.experiments.hyperparameters import GRID_LAM, GRID_LR
from fairseq_musc.experiments.processes import environments, train_cells
from fairseq_musc.files import write_json, written_whole
from fairseq_musc.locks import held_alone

SEED = "common.seed"


class Axis(NamedTuple):
    """What is varied, and how each of its values is spelled."""

    key: str
    values: tuple[Any, ...]
    overrides: tuple[str, ...]
    """One a value, as fairseq-hydra-train takes it."""


@dataclass(frozen=True)
class Plan:
    """A grid: its axes, seeds last, and its cells in their order."""

    recipe: TrainingRecipe
    output: Path
    axes: tuple[Axis, ...]
    fixed: tuple[str, ...]
    """Overrides that are the same in all cells."""
    for_hydra: tuple[str, ...]
    """Overrides of Hydra itself, which decide nothing about a result."""
    cells: dict[tuple[int, ...], Cell]
    """The place of the cell's value on every axis -> the cell."""


class Setting(NamedTuple):
    """One line of the table: the cells that differ in the seed alone."""

    place: tuple[int, ...]
    """On every axis but the seeds'."""
    labels: tuple[str, ...]
    """The values on these axes, as they are printed."""
    results: dict[str, Result]
    """Seed -> result, of those that are done."""
    seeds: int
    """How many seeds there are to be."""

    @property
    def mean(self) -> float | None:
        """Of the best validation accuracies; None if no seed is done."""
        return statistics.fmean(result.best for result in self.results.values()) if self.results else None

    @property
    def std(self) -> float | None:
        """Their sample standard deviation (n - 1); None for fewer than two seeds."""
        return statistics.stdev(result.best for result in self.results.values()) if len(self.results) > 1 else None

    @property
    def done(self) -> bool:
        """Whether all seeds are done."""
        return len(self.results) == self.seeds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc grid``."""
    parser.add_argument("--config-name", metavar="NAME", help="the recipe, e.g. musc_pawsx")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="where a recipe of your own lies")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where the cells go")
    parser.add_argument(
        "--lr", nargs="+", type=of(float), metavar="LR", help=f"learning rates (default: {spaced(GRID_LR)})"
    )
    parser.add_argument("--lam", nargs="+", type=of(float), metavar="L", help=f"lambdas (default: {spaced(GRID_LAM)})")
    parser.add_argument("--seeds", nargs="+", type=of(int), metavar="N", help="seeds (default: 1 2 3)")
    parser.add_argument("--launcher", metavar="NAME", help="give the cells to this Hydra launcher: submitit_slurm, ...")
    parser.add_argument(
        "--show", action="store_true", help="train nothing; collect, and print the table of what is done"
    )
    add_training_arguments(parser)
    parser.add_argument(
        "--keep",
        choices=("all", "best", "none"),
        default="best",
        help="the checkpoints of a done cell that stay (default: best)",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all experiments share."""
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="cells side by side (default: one for each GPU, or 1 on a CPU)"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides for fairseq-hydra-train")


def of(kind: type) -> Callable[[str], Any]:
    """Reads numbers behind an option, and leaves overrides that follow them for :func:`overrides_apart`."""

    def number(text: str) -> Any:
        return text if "=" in text else kind(text)

    return number


def overrides_apart(arguments: argparse.Namespace, *options: str) -> None:
    """Moves the overrides that stand behind the numbers of these options to the other overrides."""
    for option in options:
        values = getattr(arguments, option) or []
        arguments.overrides += [value for value in values if isinstance(value, str)]
        setattr(arguments, option, [value for value in values if not isinstance(value, str)] or None)


def spaced(values: Sequence[Any]) -> str:
    """Values as they are typed behind an option."""
    return " ".join(map(str, values))


def run(arguments: argparse.Namespace) -> None:
    """Trains what is not done, and prints the table; ends with status 1 if a cell failed.

    Raises:
        InputError: the recipe, an override or an axis is wrong; another run works in the folder; or a cell lies there
            that was made with other settings.
    """
    overrides_apart(arguments, "lr", "lam", "seeds")
    if arguments.show:
        show(make_plan(arguments if arguments.config_name else _remembered(arguments.output)))
        return
    if arguments.config_name is None:
        raise InputError("--config-name is needed: the recipe to train, e.g. musc_pawsx")
    plan = make_plan(arguments)
    if plan.for_hydra and arguments.launcher is None:
        raise InputError(f"{', '.join(plan.for_hydra)}: overrides of Hydra itself are for --launcher; leave them away")
    if arguments.launcher is not None:
        check_launcher(arguments.launcher, arguments.config_dir)
    plan.recipe.check_for_cells([*plan.fixed, *(_swept(axis.overrides) for axis in plan.axes)])
    settings = next(iter(plan.cells.values())).settings
    check_picked_by_accuracy(settings)
    with held_alone(plan.output):
        check_settings(list(plan.cells.values()))
        check_corpora((cell, ()) for cell in plan.cells.values())
        _remember(arguments, plan.output)
        if arguments.launcher is None:
            cpu = bool(settings.get("common.cpu"))
            places = environments(arguments.jobs, cpu, settings.get("distributed_training.distributed_world_size") or 1)
            failed = list(train_cells(list(plan.cells.values()), places, arguments.keep))
        else:
            failed = launch(plan, arguments.launcher, arguments.keep)
        show(plan)
    if failed:
        print(
            f"{len(failed)} of {len(plan.cells)} cells failed: {', '.join(failed)}; the same command tries them again"
        )
        raise SystemExit(1)


def check_picked_by_accuracy(settings: Mapping[str, Any]) -> None:
    """Raises :class:`InputError` unless the best checkpoint is that of the highest validation accuracy."""
    metric = settings.get("checkpoint.best_checkpoint_metric")
    highest = settings.get("checkpoint.maximize_best_checkpoint_metric")
    if not str(metric).startswith("accuracy") or highest is not True:
        raise InputError(
            f"checkpoint.best_checkpoint_metric is {metric} and checkpoint.maximize_best_checkpoint_metric {highest}; "
            "a grid picks by the highest accuracy on validation data"
        )


# --- the plan --------------------------------------------------------------------------------------------------------


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The cells that the arguments ask for.

    Raises:
        InputError: the recipe or an override cannot be read, a key is given twice, or two cells would share a folder.
    """
    recipe = TrainingRecipe(arguments.config_name, arguments.config_dir)
    parsed = parse_overrides(arguments.overrides)
    for_hydra = [override for override in parsed if override.is_hydra_override()]
    ours = [override for override in parsed if not override.is_hydra_override()]
    given = {override.key_or_group for override in ours}
    options = [
        ("--lr", "optimization.lr", arguments.lr, GRID_LR),
        ("--lam", "criterion.lam", arguments.lam, GRID_LAM),
        ("--seeds", SEED, arguments.seeds, (1, 2, 3)),
    ]
    twice = [
        f"{key} is given by {option} and by an override"
        for option, key, values, _ in options
        if values and key in given
    ]
    twice += [f"{key} is given by two overrides" for key in given if [o.key_or_group for o in ours].count(key) > 1]
    if twice:
        raise InputError.all_at_once("leave one of the two away:", sorted(twice))
    axes = []
    for _, key, values, default in options:
        if key not in given:
            chosen = values or default
            axes.append(axis_of(key, [[value] if key == "optimization.lr" else value for value in chosen]))
    axes += [_swept_axis(override, recipe) for override in ours if override.is_sweep_override()]
    axes.sort(key=lambda axis: axis.key == SEED)
    fixed = tuple(str(override.input_line) for override in ours if not override.is_sweep_override())
    cells = {}
    for place in itertools.product(*(range(len(axis.values)) for axis in axes)):
        name = "_".join(
            f"{short}={label(axis.values[i])}" for short, axis, i in zip(short_names(axes), axes, place, strict=True)
        )
        overrides = [*fixed, *(axis.overrides[i] for axis, i in zip(axes, place, strict=True))]
        cells[place] = recipe.cell(name or "only", arguments.output / (name or "only"), overrides)
    names = [cell.name for cell in cells.values()]
    if shared := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two cells would share a folder: {', '.join(shared)}; give every value of an axis once")
    return Plan(
        recipe=recipe,
        output=arguments.output,
        axes=tuple(axes),
        fixed=fixed,
        for_hydra=tuple(str(override.input_line) for override in for_hydra),
        cells=cells,
    )


def axis_of(key: str, values: Sequence[Any]) -> Axis:
    """An axis of plain numbers or lists of them."""
    return Axis(key, tuple(values), tuple(f"{key}={value}" for value in values))


def _swept_axis(override: Override, recipe: TrainingRecipe) -> Axis:
    """The axis that an override with several values spells, whole numbers made what the recipe has there.

    So a cell is called the same whether it is trained here or by Hydra, which makes of 1 a 1.0 where that is the type.
    """
    key = override.get_key_element()  # with a + where it has one
    if not override.is_discrete_sweep():
        raise InputError(f"{override.input_line}: an axis is a list of values, choice(...) or range(...)")
    values = [Override._convert_value(value) for value in override.sweep_iterator()]
    spelled = [f"{key}={text}" for text in override.sweep_string_iterator()]
    if isinstance(recipe.value(override.key_or_group), float):
        for i, value in enumerate(values):
            if isinstance(value, int) and not isinstance(value, bool):
                values[i], spelled[i] = float(value), f"{key}={float(value)}"
    return Axis(override.key_or_group, tuple(values), tuple(spelled))


def short_names(axes: Sequence[Axis]) -> list[str]:
    """The last part of each key, or the whole key where two end in the same."""
    last = [axis.key.rpartition(".")[2] for axis in axes]
    return [name if last.count(name) == 1 else axis.key for name, axis in zip(last, axes, strict=True)]


def label(value: Any) -> str:
    """A value as it is printed and stands in the name of a folder."""
    if isinstance(value, list):
        return "+".join(map(label, value))
    return re.sub(r"[^\w.+-]+", "-", str(value))


def _remember(arguments: argparse.Namespace, output: Path) -> None:
    """Writes down what ``--show`` needs to know when it is given the folder alone."""
    kept = {key: getattr(arguments, key) for key in ("config_name", "lr", "lam", "seeds", "overrides")}
    folder = None if arguments.config_dir is None else str(arguments.config_dir)
    write_json(output / "grid.json", {**kept, "config_dir": folder})


def _remembered(output: Path) -> argparse.Namespace:
    """The arguments of the last run in a folder.

    Raises:
        InputError: there was none.
    """
    try:
        values = json.loads((output / "grid.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{output} holds no grid.json, so no grid was started there by this command; to collect cells that Hydra "
            "trained, give --config-name and the axes as well"
        ) from None
    folder = values.pop("config_dir")
    return argparse.Namespace(**values, config_dir=None if folder is None else Path(folder), output=output)


# --- on a cluster ----------------------------------------------------------------------------------------------------


def check_launcher(name: str, config_dir: Path | None) -> None:
    """Raises :class:`InputError` for a launcher that neither a plugin of Hydra nor ``--config-dir`` brings."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # finds the plugins that are installed; each says then what launchers it has
    known = {Path(file).stem for file in ConfigStore.instance().repo["hydra"]["launcher"]}
    if config_dir is not None:
        known |= {file.stem for file in (config_dir / "hydra" / "launcher").glob("*.yaml")}
    if name in known:
        return
    brought = "pip install 'fairseq-musc[slurm]' brings submitit_slurm and submitit_local"
    raise InputError(f"--launcher {name} is not installed; Hydra knows {', '.join(sorted(known))} here; {brought}")


def launch(plan: Plan, launcher: str, keep: str) -> list[str]:
    """Gives the cells that are not done to a launcher of Hydra, waits for it, and returns the names of those not done.

    Raises:
        InputError: an axis has values that Hydra's interpolation would name otherwise than :func:`label`.
    """
    todo = {place: cell for place, cell in plan.cells.items() if collect(cell) is None}
    commands = [launch_command(plan, box, launcher) for box in boxes(set(todo))]
    for cell in todo.values():
        write_json(cell.folder / "cell.json", cell.about())
    # A launcher's jobs start as `python -m ...`, which puts the current folder on the path; see train_command.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    processes = []
    for command in commands:
        shown = ["fairseq-hydra-train", *command[command.index("--config-name") :]]
        print(shlex.join(shown), file=sys.stderr, flush=True)
        processes.append(subprocess.Popen(command, env=environment))
    for process in processes:
        process.wait()
    for cell in plan.cells.values():
        if collect(cell) is not None:
            remove_checkpoints(cell, keep)
    return [cell.name for cell in todo.values() if collect(cell) is None]


def launch_command(plan: Plan, box: Sequence[Sequence[int]], launcher: str) -> list[str]:
    """``fairseq-hydra-train -m`` for the cells with these places on each axis, in the same folders as without it."""
    odd = [
        f"{axis.key}={value}"
        for axis in plan.axes
        for value in axis.values
        if label(value) != str(value[0] if isinstance(value, list) and len(value) == 1 else value)
    ]
    if odd:
        raise InputError.all_at_once(
            "Hydra cannot call folders by these values; give --launcher one grid for each of them:", odd
        )
    names = [
        f"{short}=${{{axis.key}{'[0]' if isinstance(axis.values[0], list) else ''}}}"
        for short, axis in zip(short_names(plan.axes), plan.axes, strict=True)
    ]
    swept = [_swept([axis.overrides[i] for i in places]) for axis, places in zip(plan.axes, box, strict=True)]
    return [
        *train_command(plan.recipe.name, plan.recipe.config_dir),
        "--multirun",
        f"hydra/launcher={launcher}",
        f"hydra.sweep.dir={quoted(str(plan.output))}",
        f"hydra.sweep.subdir={quoted('_'.join(names) or 'only')}",
        *PLACES,
        *plan.for_hydra,
        *plan.fixed,
        *swept,
    ]


def _swept(overrides: Sequence[str]) -> str:
    """Overrides of one key as one sweep."""
    return f"{overrides[0].partition('=')[0]}={','.join(override.partition('=')[2] for override in overrides)}"


def boxes(places: set[tuple[int, ...]]) -> Iterator[list[list[int]]]:
    """Cells as products of places on each axis, which is what a sweep of Hydra is; few, and each cell in one."""
    if not places:
        return
    if places == {()}:
        yield []
        return
    behind: dict[int, frozenset[tuple[int, ...]]] = {
        first: frozenset(place[1:] for place in places if place[0] == first) for first in sorted({p[0] for p in places})
    }
    for rest in dict.fromkeys(behind.values()):
        together = [first for first, its_rest in behind.items() if its_rest == rest]
        for box in boxes(set(rest)):
            yield [together, *box]


# --- the table -------------------------------------------------------------------------------------------------------


def show(plan: Plan) -> None:
    """Prints the table and the pick, and writes both."""
    settings, notes = collected(plan)
    picked, said = pick(plan, settings)
    if picked is not None and picked.mean is not None:
        said += nothing_learnt(plan, picked.mean)
    header, lines = table(plan, settings)
    text = [*aligned([header, *lines], names=0), "", *notes, *said]
    with written_whole(plan.output / "grid.tsv") as stream:
        stream.writelines("\t".join(cells) + "\n" for cells in as_tsv(plan, settings))
    with written_whole(plan.output / "grid.md") as stream:
        rows = markdown_rows([header, *lines], names=len(header) - 3)
        below = [f"- {note}" for note in [*notes, *said]]
        metric = _metric(settings)
        stream.write("\n".join([f"Best validation {metric} in %.", "", *rows, "", *below, ""]))
    if picked is not None:
        with written_whole(plan.output / "best.yaml") as stream:
            stream.write(best_yaml(plan, picked, said))
    else:  # that of an earlier grid would be taken for the pick of this one
        (plan.output / "best.yaml").unlink(missing_ok=True)
    print("\n".join(text))


def collected(plan: Plan) -> tuple[list[Setting], list[str]]:
    """The lines of the table, and what there is to say about cells that are left out."""
    axes = [axis for axis in plan.axes if axis.key != SEED]
    seeds = next((axis.values for axis in plan.axes if axis.key == SEED), None)
    results: dict[tuple[int, ...], dict[str, Result]] = {}
    notes = []
    for place, cell in plan.cells.items():
        setting, seed = (place, "") if seeds is None else (place[:-1], str(seeds[place[-1]]))
        done = results.setdefault(setting, {})
        if found := differences(cell):
            notes.append(f"{cell.name} is left out, it was made with other settings: {'; '.join(found)}")
        elif (result := collect(cell)) is not None:
            done[seed] = result
    count = 1 if seeds is None else len(seeds)
    return [
        Setting(place, tuple(label(axis.values[i]) for axis, i in zip(axes, place, strict=True)), done, count)
        for place, done in results.items()
    ], notes


def pick(plan: Plan, settings: Sequence[Setting]) -> tuple[Setting | None, list[str]]:
    """The setting with the highest mean among those with all their seeds, and what is to be said with it.

    Of equal ones the first in the order of the axes is taken.
    """
    done = [setting for setting in settings if setting.done]
    left = len(settings) - len(done)
    if not done:
        return None, [f"nothing is picked: no setting has all its {settings[0].seeds} seeds"]
    best = max(done, key=lambda setting: setting.mean if setting.mean is not None else -math.inf)
    said = [f"picked: {_named(plan, best)}, {_metric(settings)} {best.mean:.2f} on validation data"]
    if tied := [_named(plan, other) for other in done if other.mean == best.mean and other is not best]:
        said.append(f"tied with {'; '.join(tied)}: the first in the order of the axes is picked")
    if left:
        said.append(f"{left} of {len(settings)} settings lack seeds and were not compared")
    return best, said


def nothing_learnt(plan: Plan, accuracy: float) -> list[str]:
    """What is to be said of a pick that is no better than one answer to all validation rows.

    Args:
        plan: the grid.
        accuracy: of the pick, in %, on average over the languages.
    """
    first = next(iter(plan.cells.values()))
    corpora = list(first.settings["task.valid_corpora"])
    of_language: dict[str, str] = {}
    for name, _, language in (key.partition(".") for key in first.data):
        if name in (*corpora, "T_val"):  # which the source language has whatever is validated on
            of_language.setdefault(language, name)
    try:
        label, share = best_single_answer(str(first.settings["task.data"]), of_language)
    except InputError:  # the data-bin may be gone by now
        return []
    if accuracy > 100 * share + 0.005:  # figures of logs are rounded
        return []
    return [
        f"no setting is better than {label!r} for every row, which gives {100 * share:.2f}: nothing was learnt that "
        "tells rows apart. Lower learning rates, more rows or a better encoder may help"
    ]


def best_single_answer(folder: str, corpora: Mapping[str, str]) -> tuple[str, float]:
    """The label that is right for the largest share of rows, on average over languages, and that share.

    Args:
        folder: of a data-bin.
        corpora: language to a corpus of it.

    Raises:
        InputError: it is not there.
    """
    labels = DataBinInfo.load(folder).labels
    counts = [
        np.bincount(classes_of(folder, name, language), minlength=len(labels)) for language, name in corpora.items()
    ]
    average = np.mean([each / each.sum() for each in counts], axis=0)
    return labels[int(average.argmax())], float(average.max())


def _named(plan: Plan, setting: Setting) -> str:
    names = short_names(plan.axes)
    return (
        ", ".join(f"{name} {value}" for name, value in zip(names, setting.labels, strict=False)) or "the only setting"
    )


def _metric(settings: Sequence[Setting]) -> str:
    metrics = {result.metric for setting in settings for result in setting.results.values()}
    return " and ".join(sorted(metrics)) or "accuracy"


def table(plan: Plan, settings: Sequence[Setting]) -> tuple[list[str], list[list[str]]]:
    """The header and the lines of the printed table."""
    names = [name for name, axis in zip(short_names(plan.axes), plan.axes, strict=True) if axis.key != SEED]
    lines = [
        [
            *setting.labels,
            "–" if setting.mean is None else f"{setting.mean:.2f}",
            "–" if setting.std is None else f"{setting.std:.2f}",
            f"{len(setting.results)}/{setting.seeds}",
        ]
        for setting in settings
    ]
    return [*names, "mean", "std", "seeds"], lines


def as_tsv(plan: Plan, settings: Sequence[Setting]) -> list[list[str]]:
    """The table for programs: unrounded, what is missing empty, with the best accuracy of every seed."""
    header, _ = table(plan, settings)
    seeds = list(dict.fromkeys(seed for setting in settings for seed in setting.results))
    lines = [[*header, *(f"seed={seed}" if seed else "best" for seed in seeds)]]
    for setting in settings:
        figures = [setting.mean, setting.std, float(len(setting.results))]
        by_seed = [setting.results[seed].best if seed in setting.results else None for seed in seeds]
        numbers = ["" if number is None else f"{number:.10g}" for number in [*figures, *by_seed]]
        lines.append([*setting.labels, *numbers])
    return lines


def best_yaml(plan: Plan, picked: Setting, said: Sequence[str]) -> str:
    """What was picked: its overrides, and what it was picked by."""
    varied = [axis.overrides[i] for axis, i in zip(plan.axes, picked.place, strict=False)]
    cells = [cell for place, cell in plan.cells.items() if place[: len(picked.place)] == picked.place]
    values = {
        "config_name": plan.recipe.name,
        "overrides": [*plan.fixed, *varied],
        "metric": _metric([picked]),
        "mean": picked.mean,
        "std": picked.std,
        "cells": {
            cell.name: {"best": result.best, "update": result.update}
            for cell, result in zip(cells, picked.results.values(), strict=True)
        },
    }
    comments = "".join(f"# {line}\n" for line in said)
    return comments + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
