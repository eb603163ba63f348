"""One cell of an experiment: a recipe with its overrides, trained in a folder of its own.

``cell.json``
    what is trained: the recipe, the overrides, every value of the two together, and the checksums of the corpora;
    written before training starts, so that a later run can tell whether the folder is for it
``train.log``, ``checkpoints/``
    what ``fairseq-hydra-train`` writes
``done.json``
    the same as ``cell.json``, and the result; written when the training has ended: a cell without it is not done

A cell is a process of ``fairseq-hydra-train`` of its own, because fairseq keeps the best score of one training for the
next in the same process.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq_musc.data.corpus import languages_of, made_by
from fairseq_musc.data.databin import DataBinInfo, read_about
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.files import sha256, write_json
from fairseq_musc.recipes import Recipe, compose, one_by_one, read_recipe

FORMAT = 1
#: What stands beside the corpora of a data-bin in :attr:`Cell.data`.
CUT = "max_length"
#: And what stands there of an encoder that is a folder: the checksum of the weights that training starts from.
WEIGHTS = "weights of the encoder"
#: What decides nothing about the result: places, what is logged, and who loads the rows.
NOT_SETTINGS = (
    "checkpoint.save_dir",
    "common.log_format",
    "common.log_interval",
    "common.tensorboard_logdir",
    "common.user_dir",
    "common.wandb_project",
    "dataset.num_workers",
)
#: Where a cell writes, as fairseq-hydra-train is told; Hydra's folder of the job is the folder of the cell.
PLACES = (
    "hydra.job.chdir=false",
    "hydra.job.name=train",
    "checkpoint.save_dir=${hydra:runtime.output_dir}/checkpoints",
)


@dataclass(frozen=True)
class Cell:
    """What one training is, and where it is."""

    name: str
    folder: Path
    config_name: str
    config_dir: Path | None
    recipe_sha256: str
    """Of the file of the recipe."""
    overrides: tuple[str, ...]
    settings: Mapping[str, Any]
    """``section.key`` -> value for all that the recipe and the overrides say, less :data:`NOT_SETTINGS`."""
    data: Mapping[str, str]
    """``<corpus>.<language>`` of every training and validation corpus -> the checksum of the file it was made from; and
    :data:`CUT` -> to how many tokens rows were cut, and :data:`WEIGHTS`."""

    @property
    def checkpoints(self) -> Path:
        """Where fairseq writes its checkpoints."""
        return self.folder / "checkpoints"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint that was best on validation data."""
        return self.checkpoints / "checkpoint_best.pt"

    @property
    def log(self) -> Path:
        """What fairseq said, of all attempts."""
        return self.folder / "train.log"

    def about(self) -> dict[str, Any]:
        """What ``cell.json`` holds."""
        return {
            "format": FORMAT,
            "config_name": self.config_name,
            "recipe_sha256": self.recipe_sha256,
            "overrides": list(self.overrides),
            "settings": dict(self.settings),
            "data": dict(self.data),
        }

    def command(self) -> list[str]:
        """The process that trains this cell; all that it says goes to :attr:`log`."""
        return [
            *train_command(self.config_name, self.config_dir),
            f"hydra.run.dir={quoted(str(self.folder))}",
            "hydra.job_logging.root.handlers=[file]",  # the console is written to the same file
            *PLACES,
            *self.overrides,
        ]


@dataclass(frozen=True)
class Result:
    """What became of a cell."""

    metric: str
    """What the best checkpoint was chosen by, e.g. ``accuracy``: in %, averaged over the validation languages."""
    best: float
    """Its value at the best checkpoint."""
    update: int
    """The optimiser step of the best checkpoint."""
    updates: int
    """All optimiser steps."""
    seconds: float
    """From start to end, less the time between a stop and the next start."""
    versions: dict[str, str] = field(default_factory=dict)


def train_command(config_name: str, config_dir: Path | None) -> list[str]:
    """``fairseq-hydra-train`` of this environment with a recipe.

    Raises:
        InputError: the command is neither beside this Python nor on the path.
    """
    here = Path(sysconfig.get_path("scripts"), "fairseq-hydra-train")
    # Packages that were installed into a folder of their own (pip install --target) have their commands there.
    script = str(here) if here.exists() else shutil.which("fairseq-hydra-train")
    if script is None:
        raise InputError("fairseq-hydra-train is not on the path; add the folder bin of where fairseq was installed")
    # -P keeps the current folder off the path: in a checkout fairseq_musc lies there, less what setup.py maps into it.
    command = [sys.executable, "-P", script, "--config-name", config_name]
    return command if config_dir is None else [*command, "--config-dir", str(config_dir)]


def quoted(text: str) -> str:
    """A text as the value of an override, whatever stands in it."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ("\\" + found[2] if found[2] else ""), text) + '"'


def path_override(key: str, path: str | os.PathLike[str]) -> str:
    """The override of a path; in quotation marks only where Hydra takes it for something else, or not at all."""
    text = os.fspath(path)
    return f"{key}={text if re.fullmatch(r'[A-Za-z0-9_./ -]+', text) else quoted(text)}"


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Hydra's own reading of overrides.

    Raises:
        InputError: Hydra cannot read one.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise InputError(str(error)) from None


class TrainingRecipe:
    """A recipe that cells are trained with; read without fairseq."""

    def __init__(self, name: str, config_dir: Path | None):
        """Reads it.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        self.name = name
        self.config_dir = config_dir
        spec = find_spec("fairseq_musc.configs")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        installed = Path(next(iter(spec.submodule_search_locations)))
        Plugins.instance()  # Hydra's own readers of files are plugins too
        self.search_path = ConfigSearchPathImpl()
        self.search_path.append("hydra", "pkg://hydra.conf")
        self.search_path.append("fairseq-musc", f"file://{installed}")
        folder = None if config_dir is None else str(config_dir)
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"--config-dir {folder} is not a folder")
        try:
            self.layers: list[Recipe] = read_recipe(self.search_path, name, folder, [])[0]
        except InputError:
            raise
        except (yaml.YAMLError, UnicodeDecodeError, HydraException, OmegaConfBaseException, OSError) as error:
            raise InputError(f"recipe {name} cannot be read: {error}") from None
        file = f"{name.removesuffix('.yaml')}.yaml"
        places = [place / file for place in (config_dir, installed) if place is not None]
        self.sha256 = sha256(next(place for place in places if place.is_file()))

    def value(self, key: str) -> Any:
        """What the recipe itself says of ``section.key``; None if nothing."""
        return OmegaConf.select(OmegaConf.create(compose(self.layers, []).config), key)

    def check(self, overrides: Sequence[str]) -> None:
        """Looks at the overrides as ``fairseq-hydra-train`` does before it starts; sweeps with all their values.

        Raises:
            InputError: all mistakes at once.
        """
        import fairseq_musc.registration  # noqa: F401  what a recipe can name
        from fairseq_musc.recipes import check_command

        folder = [] if self.config_dir is None else ["--config-dir", str(self.config_dir)]
        check_command(self.search_path, get_args(["--config-name", self.name, *folder, *overrides]))

    def check_for_cells(self, overrides: Sequence[str]) -> None:
        """The same, for trainings in folders of their own whose results are read off their checkpoints.

        Raises:
            InputError: all mistakes at once; or a setting with which a training ends without the files for that.
        """
        self.check(overrides)
        parsed = parse_overrides(overrides)
        problems = []
        if "checkpoint.save_dir" in [override.key_or_group for override in parsed]:
            problems.append("checkpoint.save_dir: each training saves in a folder of its own, below that of all")
        recipes = [compose(self.layers, variant) for variant in one_by_one(parsed)]
        for key in ("no_save", "no_last_checkpoints"):
            if any((recipe.config.get("checkpoint") or {}).get(key) for recipe in recipes):
                problems.append(f"checkpoint.{key} is true: the result is read off the checkpoints")
        raise_all("these settings cannot be used here:", problems)

    def cell(self, name: str, folder: Path, overrides: Sequence[str]) -> Cell:
        """The cell of these overrides in ``folder``."""
        parsed = [override for override in parse_overrides(overrides) if not override.is_hydra_override()]
        config = compose(self.layers, [(override, override.value()) for override in parsed]).config
        settings = flat(config)
        return Cell(
            name=name,
            folder=folder,
            config_name=self.name,
            config_dir=self.config_dir,
            recipe_sha256=self.sha256,
            overrides=tuple(overrides),
            settings={key: value for key, value in settings.items() if key not in NOT_SETTINGS},
            data={**corpora_of(config), **weights_of(config)},
        )


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """``section.key`` -> value, as JSON gives it back; what JSON does not have is left out."""
    values = {}
    for section, keys in config.items():
        for key, value in keys.items() if isinstance(keys, Mapping) else [("", keys)]:
            with suppress(TypeError):
                values[f"{section}.{key}".rstrip(".")] = json.loads(json.dumps(value))
    return values


def corpora_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The training and validation corpora in the data-bin of a configuration, as :attr:`Cell.data`.

    Nothing is said of what is not there; training itself asks for it.
    """
    task = OmegaConf.create(dict(config)).get("task") or {}
    data, targets = str(task.get("data")), task.get("target_langs")
    wanted = None if targets is None else {task.get("source_lang"), *targets}
    found: dict[str, str] = {}
    for name in (*task.get("train_corpora", ()), *task.get("valid_corpora", ())):
        for language in languages_of(data, name):
            if wanted is None or language in wanted:
                found[f"{name}.{language}"] = read_about(data, name, language)["source_sha256"]
    if found:
        found[CUT] = str(DataBinInfo.load(data).max_length)
    return found


def weights_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The checksum of the weights in the folder of a configuration's encoder; nothing if it is none, or has none."""
    model = config.get("model")
    if not isinstance(model, Mapping) or not (folder := Path(str(model.get("pretrained")))).is_dir():
        return {}
    files = sorted({*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")})
    now = tuple((path, (about := path.stat()).st_size, about.st_mtime_ns) for path in files)
    return {WEIGHTS: _checksum(now)} if now else {}


@functools.lru_cache
def _checksum(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of files as they are now: all cells of a grid ask for the same ones."""
    return hashlib.sha256("\n".join(f"{path.name} {sha256(path)}" for path, _, _ in files).encode()).hexdigest()


# --- what lies in the folder of a cell -------------------------------------------------------------------------------


def differences(cell: Cell) -> list[str]:
    """In what the training that lies in the folder of a cell is another one; nothing if it is the same, or none."""
    there = _made_with(cell.folder)
    if there is None:
        return []
    settings, data = there
    problems = []
    for key in {**settings, **cell.settings} if data is not None else cell.settings:
        was, asked = settings.get(key), cell.settings.get(key)
        if was != asked and not any(isinstance(value, str) and "${" in value for value in (was, asked)):
            problems.append(f"{key} was {was!r}, asked is {asked!r}")
    if data is not None:
        was, now = dict(data), dict(cell.data)
        # Where one is None an earlier version did not write it down, or the encoder is not there any more.
        if len({was.pop(WEIGHTS, None), now.pop(WEIGHTS, None)} - {None}) > 1:
            problems.append(f"the weights in {cell.settings.get('model.pretrained')} have changed")
        if now:  # the data-bin is there
            was.setdefault(CUT, now[CUT])  # earlier versions did not write it down
            if changed := sorted(key for key in {**was, **now} if was.get(key) != now.get(key)):
                problems.append(f"the data-bin has changed in {', '.join(changed)}")
    return problems


def check_settings(cells: Sequence[Cell], otherwise: str = "name another --output") -> None:
    """Raises :class:`InputError` naming every cell whose folder holds another training, and what differs.

    ``otherwise`` is what to do if that is to stay.
    """
    problems = [f"{cell.folder}: {'; '.join(found)}" for cell in cells if (found := differences(cell))]
    if problems:
        raise InputError.all_at_once(
            f"these folders were made with other settings; {otherwise}, or remove them first:", problems
        )


def check_corpora(needed: Iterable[tuple[Cell, Sequence[str]]]) -> None:
    """Raises :class:`InputError` naming every corpus that a data-bin lacks: of what cells that are not done train and
    validate on, and of what stands beside each, which it is to predict."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for cell, predicted in needed:
        data = str(cell.settings.get("task.data"))
        trained = () if result_of(cell) else ("task.train_corpora", "task.valid_corpora")
        for name in dict.fromkeys([name for key in trained for name in cell.settings.get(key) or ()] + [*predicted]):
            if not languages_of(data, name):
                lacking.setdefault((data, name), []).append(cell.name)
    if lacking:
        raise InputError.all_at_once(
            "corpora are not there that would be trained on, validated on or predicted:",
            [
                f"{data} holds {name} in no language, which {', '.join(names)} would take; make it with `fairseq-musc "
                f"{made_by(name)}`, then binarize it"
                for (data, name), names in lacking.items()
            ],
        )


def _made_with(folder: Path) -> tuple[dict[str, Any], dict[str, str] | None] | None:
    """Settings and data of the training in a folder; None if there is neither a result nor a checkpoint.

    A training that Hydra's own ``-m`` started has no ``cell.json``: then the settings are those in its checkpoint, and
    of the data nothing is known.
    """
    if (folder / "done.json").is_file():
        about = _read_json(folder / "done.json")
        return about["settings"], about["data"]
    states = (_read_checkpoint(folder / "checkpoints" / f"checkpoint_{which}.pt") for which in ("last", "best"))
    state = next((state for state in states if state is not None), None)
    if state is not None and (folder / "cell.json").is_file():
        about = _read_json(folder / "cell.json")
        return about["settings"], about["data"]
    return None if state is None else (flat(state["cfg"]), None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise InputError(f"{path} was written by another version of this package; name another --output")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read: {error!r}; remove its folder, or name another --output") from None
    return about


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state in a checkpoint, its tensors left on disk; None if there is none, or it was cut short."""
    import torch

    from fairseq_musc.safe_loading import allow_fairseq_checkpoints

    if not zipfile.is_zipfile(path):
        return None
    allow_fairseq_checkpoints()
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def result_of(cell: Cell) -> Result | None:
    """The result of a cell, if it is done; without asking what it was trained with."""
    path = cell.folder / "done.json"
    return Result(**_read_json(path)["result"]) if path.is_file() else None


def collect(cell: Cell) -> Result | None:
    """The result of a cell whose training has ended; written to ``done.json`` if it is not there yet.

    That the training has ended is read off fairseq's last checkpoint: it is behind the last epoch or update that the
    run was told of. Where that does not tell (a run with patience), fairseq's last words in the log do.
    """
    if (result := result_of(cell)) is not None:
        return result
    last = _read_checkpoint(cell.checkpoints / "checkpoint_last.pt")
    best = _read_checkpoint(cell.best_checkpoint)
    if last is None or best is None or not (_at_the_end(last) or _said_it_ended(cell.log)):
        return None
    result = Result(
        metric=last["cfg"]["checkpoint"]["best_checkpoint_metric"],
        best=float(best["extra_state"]["val_loss"]),
        update=best["optimizer_history"][-1]["num_updates"],
        updates=last["optimizer_history"][-1]["num_updates"],
        seconds=round(last["extra_state"]["previous_training_time"], 1),
        versions=versions(),
    )
    write_json(cell.folder / "done.json", {**cell.about(), "result": asdict(result)})
    return result


def _at_the_end(last: Mapping[str, Any]) -> bool:
    limits = last["cfg"]["optimization"]
    epoch = last["extra_state"]["train_iterator"]["epoch"]  # the next one, once an epoch has ended
    updates = last["optimizer_history"][-1]["num_updates"]
    return 0 < limits["max_epoch"] < epoch or 0 < limits["max_update"] <= updates


def _said_it_ended(log: Path) -> bool:
    return log.is_file() and "done training in" in last_lines(log, 5)


def last_lines(path: Path, count: int) -> str:
    """The last lines of a text file; nothing if it is not there."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, path.stat().st_size - 500 * count))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""


def mend_checkpoints(folder: Path) -> None:
    """Puts right what a kill in the middle of a copy has left.

    fairseq writes the first file of a save whole or not at all and copies it to ``checkpoint_best.pt`` and
    ``checkpoint_last.pt``. A copy cut short would end every later attempt; the newest whole file is what it was
    copied from.
    """
    whole = [path for path in folder.glob("checkpoint*.pt") if zipfile.is_zipfile(path)]
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        path = folder / name
        if not path.exists() or path in whole:
            continue
        if whole:
            source = max(whole, key=lambda path: path.stat().st_mtime_ns)
            shutil.copyfile(source, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        else:
            path.unlink()


def remove_checkpoints(cell: Cell, keep: str) -> None:
    """Removes the checkpoints of a done cell that are not to be kept: ``all``, the ``best`` alone, or ``none``."""
    if keep == "all":
        return
    for path in cell.checkpoints.glob("checkpoint*"):
        if keep == "none" or path != cell.best_checkpoint:
            path.unlink()


def versions() -> dict[str, str]:
    """The versions of what has a say in a training."""
    found = {}
    for package in ("fairseq-musc", "fairseq", "fairseq-fixed", "torch", "transformers"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
