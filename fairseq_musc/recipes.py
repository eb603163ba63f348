"""Mistakes in a recipe and on the command line of ``fairseq-hydra-train``, all said at once.

Left alone, fairseq takes a mistyped recipe name for an empty recipe and complains of something else, and it finds
mistyped keys one by one, the last of them after seconds of loading. So the Hydra plugin has this module look first. It
reads what Hydra would read, through Hydra's own parsers, and only looks: what is right is composed by Hydra as ever,
and what Hydra itself takes (``hydra.*`` and groups, ``~key``, ``+key``, sweeps, ``--cfg``, ``--info``) is left to it.

A recipe may come from a stranger, the command line does not. Hydra builds what ``hydra:`` names (``_target_``,
factories of loggers), and fairseq imports ``common.user_dir``: both run code, so a file may say neither (see
:func:`check_harmless`).

A component can add checks of its own values: if its dataclass has a static method ``problems(cfg) -> list[str]``, it
is given the component's node of the whole merged configuration (interpolations resolve; a value may still be ``???``,
for which there is ``OmegaConf.is_missing``), and what it returns joins the list.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq_musc.errors import InputError
from fairseq_musc.yaml_aliases import check_aliases

COMMAND_LINE = "command line"
#: What a recipe may say under ``hydra:``; the rest of it can name code.
HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.chdir")

#: How a message calls the providers of Hydra's search path; others are called by their own name.
_PLACES = {"fairseq-musc": "installed", "main": "fairseq's own", "command-line": "in --config-dir"}


class Recipe(NamedTuple):
    """A composed configuration as plain values, and where they come from."""

    config: dict[str, Any]
    """``section -> key -> value``; interpolations are text, and ``???`` stands for a value that must be given."""
    origins: dict[str, str]
    """``section.key`` -> the file or :data:`COMMAND_LINE`."""
    hydra: Any = None
    """What the file says under ``hydra:``."""


def check_command(search_path: ConfigSearchPath, arguments: argparse.Namespace) -> None:
    """Looks at one command line of ``fairseq-hydra-train``, as parsed by Hydra.

    Nothing is checked without ``--config-name``, or when the recipe is none of MUSC's (no task, model or criterion
    called ``musc...``).

    Raises:
        InputError: no recipe has the name, or two have it; or the list of all mistakes in the recipe and on the
            command line.
    """
    name, folder = arguments.config_name, arguments.config_dir
    if name is None or arguments.hydra_help or arguments.shell_completion:
        return
    if folder is not None and not os.path.isdir(folder):
        return  # Hydra's own message says it
    try:
        layers, overrides = read_recipe(search_path, name, folder, arguments.overrides)
    except InputError:
        raise
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"recipe {name} cannot be read: {error}") from None
    except (HydraException, OmegaConfBaseException, OSError, ValueError):
        return  # Hydra finds it again and says what it is
    recipes = [recipe for variant in one_by_one(overrides) if is_ours(recipe := compose(layers, variant))]
    if not recipes or arguments.help:
        return
    check_harmless(layers, overrides)
    check_stands_alone(name, layers)
    for_training = arguments.cfg is None and arguments.info is None
    problems = [problem for recipe in recipes for problem in find_mistakes(recipe, for_training)]
    if arguments.multirun and len(recipes) > 1:
        problems += one_folder_for_all(recipes)
    if problems:
        raise InputError.all_at_once(f"recipe {name} and its command line cannot be used:", dict.fromkeys(problems))


# --- the name --------------------------------------------------------------------------------------------------------


def check_name(name: str, sources: Sequence[ConfigSource]) -> None:
    """Raises :class:`InputError` unless exactly one place holds a configuration called ``name``.

    fairseq stores its schema under whatever name was asked for; that place, and Hydra's own, do not count.
    """
    places = [source for source in sources if source.provider not in ("hydra", "schema") and source.available()]
    holders = [source for source in places if source.is_config(name)]
    if {"fairseq-musc", "command-line"} <= {source.provider for source in holders}:
        raise InputError(
            f"there are two configs '{name}': {' and '.join(source.path for source in holders)}; the first would be "
            "used and the other not seen; give yours another name"
        )
    if not holders:
        raise InputError(no_such_config(name, {_place(source): _configs(source) for source in places}))


def no_such_config(name: str, there: Mapping[str, Sequence[str]]) -> str:
    """The message for a name that is in none of the places (place -> names)."""
    lists = ", ".join(f"{', '.join(names)} ({place})" for place, names in there.items() if names)
    nearest = get_close_matches(name, [known for names in there.values() for known in names], n=1)
    return f"there is no config '{name}'; {_did_you_mean(nearest)}there are: {lists}"


def _place(source: ConfigSource) -> str:
    """What a message calls a source; that of ``--config-dir`` with its path."""
    place = _PLACES.get(source.provider, source.provider)
    return f"{place} {source.path}" if source.provider == "command-line" else place


def _configs(source: ConfigSource) -> list[str]:
    """The configurations at the top of a source, without those of its groups."""
    return source.list(config_path="", results_filter=ObjectType.CONFIG)


# --- the recipe that Hydra would compose -----------------------------------------------------------------------------


def read_recipe(
    search_path: ConfigSearchPath, name: str, folder: str | None, arguments: Sequence[str]
) -> tuple[list[Recipe], list[Override]]:
    """The files of a recipe in the order in which they are merged, and the overrides of it.

    Args:
        search_path: of Hydra and the installed recipes.
        folder: ``--config-dir``.
        arguments: overrides as on the command line; those for Hydra itself are left out of what is returned.

    Raises:
        InputError: no recipe has the name, or two have it.
        HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError, OSError, ValueError: as Hydra does.
    """
    loader = ConfigLoaderImpl(_whole_search_path(search_path, folder))
    with _aliases_looked_at():
        overrides, repository = loader._parse_overrides_and_create_caching_repo(name, list(arguments))
        check_name(name, repository.get_sources())
        return _layers(name, overrides, repository)


@contextmanager
def _aliases_looked_at() -> Iterator[None]:
    """Has Hydra look at the aliases of each file that it is to load, also of those that a recipe leads to.

    OmegaConf writes aliases out when it loads a file, so it is too late then.
    """
    # Hydra finds its plugins by itself; what is imported by its name is another class.
    files: Any = SourcesRegistry.instance().resolve("file")
    load = files.load_config

    def looked_at(self: Any, config_path: str) -> Any:
        path = Path(self.path, self._normalize_file_name(config_path))
        if path.is_file():
            check_aliases(path.read_text(encoding="utf-8"), path.name)
        return load(self, config_path)

    files.load_config = looked_at
    try:
        yield
    finally:
        files.load_config = load


def _whole_search_path(search_path: ConfigSearchPath, folder: str | None) -> ConfigSearchPath:
    """The search path as Hydra completes it behind the plugins: ``--config-dir``, then the schemas."""
    whole = copy.deepcopy(search_path)
    if folder is not None:
        whole.append(provider="command-line", path=f"file://{os.path.abspath(folder)}")
    whole.append(provider="schema", path="structured://")
    return whole


def _layers(name: str, overrides: list[Override], repository: Any) -> tuple[list[Recipe], list[Override]]:
    """The files of the recipe in the order in which they are merged, and the overrides that choose no file."""
    chosen = create_defaults_list(repository, name, overrides, prepend_hydra=True, skip_missing=True)
    layers: list[Recipe] = []
    for default in chosen.defaults:
        path = default.config_path
        if path is None:
            continue
        found = repository.load_config(path)
        if path.startswith("hydra/") and found.provider != "command-line":
            continue
        loaded = ConfigLoaderImpl._embed_result_config(found, default.package)
        config: Any = OmegaConf.to_container(loaded.config, resolve=False)
        if isinstance(config, dict):
            hydra = config.pop("hydra", None)
            file = f"{path.removesuffix('.yaml')}.yaml"
            layers.append(Recipe(config, dict.fromkeys(_paths(config), file), hydra))
    sweeps = [  # Hydra leaves them out until it runs a job for each value
        override
        for override in overrides
        if override.is_sweep_override() and not repository.group_exists(override.key_or_group)
    ]
    return layers, [override for override in [*chosen.config_overrides, *sweeps] if not override.is_hydra_override()]


def check_stands_alone(name: str, layers: Sequence[Recipe]) -> None:
    """Raises :class:`InputError` if a recipe takes in another by its ``defaults`` list.

    Hydra merges fairseq's schema with the recipe that was asked for; what came before it is then overwritten with the
    schema's own values, in silence for the sections that have a default.
    """
    asked_for = f"{name.removesuffix('.yaml')}.yaml"
    files = list(dict.fromkeys(file for layer in layers for file in layer.origins.values()))
    before = files[: files.index(asked_for)] if asked_for in files else []
    if before:
        raise InputError(
            f"{asked_for} takes in {', '.join(before)} by its `defaults:`. fairseq would set every value that "
            f"{asked_for} does not name itself back to fairseq's own; copy the whole recipe and change the copy instead"
        )


def check_harmless(layers: Sequence[Recipe], overrides: Sequence[Override]) -> None:
    """Raises :class:`InputError` with everything in the files of a recipe that would run code which they name.

    Of ``hydra:`` they may say what is in :data:`HYDRA_KEYS`. ``common.user_dir`` is this package's own, unless the
    command line says another.
    """
    problems = []
    asked_for = {override.key_or_group for override in overrides}
    for layer in layers:
        file = next(iter(layer.origins.values()), "the recipe")
        harmless = {key for key in _leaves(layer.hydra, "hydra") if key in HYDRA_KEYS}
        for path in _leaves({**layer.config, "hydra": layer.hydra}):
            if path.startswith("hydra.") and path not in harmless:
                problems.append(
                    f"{path} ({file}): of Hydra's own settings a recipe may have {', '.join(HYDRA_KEYS)}; others can "
                    "run code, give them on the command line"
                )
            elif {"_target_", "()"} & set(path.split(".")):
                problems.append(f"{path} ({file}): it names code to run, which a recipe may not")
        common = layer.config.get("common")
        user_dir = common.get("user_dir") if isinstance(common, dict) else None
        if user_dir not in (None, "${fairseq_musc_dir:}") and "common.user_dir" not in asked_for:
            problems.append(
                f"common.user_dir ({file}): it is {user_dir!r}, whose code would be run; if you trust it, say so on "
                f"the command line: common.user_dir={user_dir}"
            )
    if problems:
        raise InputError.all_at_once("the recipe would run code that it names:", dict.fromkeys(problems))


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    """The path of every value that holds no further ones."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner and path and value is not None:
        yield path
    for key, each in inner:
        yield from _leaves(each, f"{path}.{key}" if path else str(key))


def _paths(config: Mapping[str, Any]) -> Iterator[str]:
    """``section.key`` for every key of every section, and ``section`` alone where it holds no keys."""
    for section, values in config.items():
        if isinstance(values, dict) and values:
            yield from (f"{section}.{key}" for key in values)
        else:
            yield str(section)


def one_by_one(overrides: Sequence[Override]) -> Iterator[list[tuple[Override, Any]]]:
    """The overrides with plain values: a sweep takes its values one by one, while the others hold their first.

    So every value is seen once, without the product of all sweeps. An interval stands for its two ends.
    """
    choices: list[tuple[Override, list[Any]]] = []
    for override in overrides:
        if not override.is_sweep_override():
            choices.append((override, [override.value()]))
        elif isinstance(override.value(), Glob):
            continue  # of names of groups; Hydra says where there are none
        elif override.is_discrete_sweep():
            choices.append((override, [Override._convert_value(value) for value in override.sweep_iterator()]))
        elif isinstance(sweep := override.value(), IntervalSweep):
            choices.append((override, [sweep.start, sweep.end]))
    first = [(override, values[0]) for override, values in choices if values]
    yield first
    for i, (override, values) in enumerate(choices):
        for value in values[1:]:
            yield [*first[:i], (override, value), *first[i + 1 :]]


def compose(layers: Sequence[Recipe], overrides: Sequence[tuple[Override, Any]]) -> Recipe:
    """Merges the layers and applies the overrides, without any schema: unknown keys stay, to be found."""
    config = OmegaConf.create()
    origins: dict[str, str] = {}
    for layer in layers:
        config.merge_with(layer.config)
        origins |= layer.origins
    for override, value in overrides:
        key = override.key_or_group
        try:
            if override.package is not None:
                continue  # looks like a group that does not exist
            if override.is_delete():
                parent, _, last = key.rpartition(".")
                del (OmegaConf.select(config, parent) if parent else config)[last]
                continue
            OmegaConf.update(config, key, value, merge=True, force_add=True)
        except (OmegaConfBaseException, TypeError):
            continue  # Hydra cannot apply it either, and says so
        section, _, rest = key.partition(".")
        touched = [f"{section}.{rest.partition('.')[0]}"] if rest else _paths({section: value})
        origins |= dict.fromkeys(touched, COMMAND_LINE)
    return Recipe(typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)), origins)


def is_ours(recipe: Recipe) -> bool:
    """Whether the task, the model or the criterion is one of MUSC's."""
    names = (_name(recipe.config.get(component)) for component in ("task", "model", "criterion"))
    return any(name is not None and name.startswith("musc") for name in names)


# --- what can be wrong in it -----------------------------------------------------------------------------------------


def find_mistakes(recipe: Recipe, for_training: bool) -> list[str]:
    """Every key that nothing reads, every value of another type, every unknown component; then their own checks.

    Args:
        recipe: what :func:`compose` made.
        for_training: whether every value must be there; a configuration that is only shown may still hold ``???``.
    """
    schemas = known_sections(recipe.config)
    problems = _unknown_sections(recipe, schemas)
    merged = OmegaConf.create()
    for section, schema in schemas.items():
        values = recipe.config.get(section)
        if section in _components() and values:
            problems += _unknown_component(section, recipe)
        if schema is None:
            merged[section] = values
            continue
        if isinstance(values, dict):
            unknown = [key for key in values if key not in _keys(schema) and key != "_name"]
            problems += _unknown_keys(section, unknown, recipe, schemas)
            values = {key: value for key, value in values.items() if key not in unknown}
            for key in mistyped(schema, values):
                got = values.pop(key)
                problems.append(f"{_said(recipe, f'{section}.{key}')}: {expected(schema, key)} is needed, got {got!r}")
            if for_training:
                missing = [f"{section}.{key}" for key, value in values.items() if value == "???"]
                problems += [f"{path} must be given: {path}=..." for path in missing]
        elif values is not None and section not in _components() and not _is_interpolation(values):
            problems.append(f"{_said(recipe, section)}: keys with values are needed, got {values!r}")
        merged[section] = OmegaConf.merge(OmegaConf.structured(schema), values if isinstance(values, dict) else {})
    return problems + (_untrainable(merged) if for_training else []) + _problems_of_components(merged, schemas)


def one_folder_for_all(recipes: Sequence[Recipe]) -> list[str]:
    """A problem if the runs of a sweep would save in one folder, where each goes on from the one before.

    A relative folder is no such: Hydra gives every run a place of its own.
    """
    folders = {str((recipe.config.get("checkpoint") or {}).get("save_dir", "checkpoints")) for recipe in recipes}
    folder = folders.pop()
    if folders or "${" in folder or not os.path.isabs(folder):
        return []
    return [
        f"checkpoint.save_dir is {folder} for all runs of the sweep; a relative one lies in the folder of each run, "
        "and ${hydra:job.num} in it is the number of the run"
    ]


def _untrainable(merged: Any) -> list[str]:
    """Values of fairseq's own that it takes, to fail on them once data and model are loaded, or never to end."""
    problems: list[str] = []
    with suppress(OmegaConfBaseException):  # something is missing or interpolated; fairseq will stop at that
        limits, batches = merged.optimization, merged.dataset
        for key, least, example in (("lr", 0, "[1e-5]"), ("update_freq", 1, "[1]")):
            values = list(limits[key])
            if not values or not all(least <= value < math.inf for value in values):
                problems.append(
                    f"optimization.{key} is {values}; it is a list of numbers of at least {least}, one for each epoch "
                    f"and the last for all that follow, e.g. {example}"
                )
        for key in ("batch_size", "max_tokens"):
            if batches[key] is not None and batches[key] < 1:
                problems.append(f"dataset.{key} is {batches[key]}; it is at least 1, or null")
        if limits.max_epoch < 0 or limits.max_update < 0:
            problems.append(
                f"optimization.max_epoch is {limits.max_epoch} and max_update {limits.max_update}; each is at least 1, "
                "or 0 for no limit"
            )
    return problems


def _problems_of_components(merged: Any, schemas: Mapping[str, type | None]) -> list[str]:
    """What the components' own checks say of their part of the whole configuration."""
    problems: list[str] = []
    for section in _components():
        check = getattr(schemas[section], "problems", None)
        if callable(check):
            with suppress(OmegaConfBaseException):  # it interpolates something missing; fairseq will stop at that
                problems += check(merged[section])
    return problems


def _unknown_sections(recipe: Recipe, schemas: Mapping[str, type | None]) -> list[str]:
    """One problem for each section that fairseq does not have; the first lists those that it has."""
    problems: list[str] = []
    for section in recipe.config:
        if section in schemas:
            continue
        paths = list(_paths({section: recipe.config[section]}))
        there = "" if problems else f"there are: {', '.join(sorted(schemas))}"
        remedy = _did_you_mean(nearest_keys(paths[0], schemas))
        problems.append(f"{_said(recipe, *paths)}: there is no section '{section}'; {remedy}{there}".rstrip("; "))
    return problems


def _unknown_keys(
    section: str, unknown: Sequence[str], recipe: Recipe, schemas: Mapping[str, type | None]
) -> list[str]:
    """One problem for each key that a section does not have; the first lists those that it has."""
    schema = schemas[section]
    assert schema is not None
    owner = f"{section} '{_name(recipe.config[section])}'" if section in _components() else section
    renamed = recipe.origins.get(f"{section}._name") == COMMAND_LINE
    problems: list[str] = []
    for key in unknown:
        path = f"{section}.{key}"
        there = "" if problems else f"{owner} has: {', '.join(_keys(schema))}"
        if renamed and recipe.origins.get(path) != COMMAND_LINE:
            remedy = f"take it away with ~{path}; "  # the recipe wrote it for another component
        else:
            remedy = _did_you_mean(nearest_keys(path, schemas))
        problems.append(f"{_said(recipe, path)}: there is no such key; {remedy}{there}".rstrip("; "))
    return problems


def _unknown_component(component: str, recipe: Recipe) -> list[str]:
    """A problem if fairseq has no component of this name, unless another ``user_dir`` may bring it later."""
    name = _name(recipe.config[component])
    there = sorted(_registered(component))
    if not name:
        return [f"{component} has no _name, which says what {component} it is; there are: {', '.join(there)}"]
    common = recipe.config.get("common")
    user_dir = common.get("user_dir") if isinstance(common, Mapping) else None  # one that is not is a mistake by itself
    brings_its_own = user_dir is not None and "fairseq_musc_dir" not in str(user_dir)
    if name in there or name == "???" or _is_interpolation(name) or brings_its_own:
        return []
    remedy = _did_you_mean(get_close_matches(name, there, n=1))
    said = _said(recipe, f"{component}._name")
    return [f"{said}: there is no {component} '{name}'; {remedy}there are: {', '.join(there)}"]


def known_sections(config: Mapping[str, Any]) -> dict[str, type | None]:
    """The sections that fairseq reads, each with the dataclass that it is merged with.

    That of a component (task, model, criterion, ...) follows from the ``_name`` in ``config``; it is None for a
    component that is not there, or that has no dataclass, so that its keys are not known.
    """
    from fairseq.dataclass.configs import FairseqConfig

    return {
        section.name: _dataclass(section.name, _name(config.get(section.name)))
        if section.name in _components()
        else typing.cast(type, section.type)
        for section in fields(FairseqConfig)
        if section.name != "_name"
    }


def _components() -> set[str]:
    """The sections whose keys depend on a ``_name``."""
    from fairseq.dataclass.configs import FairseqConfig

    return {section.name for section in fields(FairseqConfig) if section.name != "_name" and section.type is Any}


def _registered(component: str) -> set[str]:
    """The names that are registered with fairseq for a component."""
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_REGISTRY

    if component == "task":
        return set(TASK_REGISTRY)
    if component == "model":
        return set(MODEL_REGISTRY) | set(ARCH_MODEL_REGISTRY)
    return set(REGISTRIES[component]["registry"]) if component in REGISTRIES else set()


def _dataclass(component: str, name: str | None) -> type | None:
    """The dataclass that fairseq merges a component with, as in its ``add_defaults``."""
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    if component == "task":
        found = TASK_DATACLASS_REGISTRY.get(name)
    elif component == "model":
        found = MODEL_DATACLASS_REGISTRY.get(ARCH_MODEL_NAME_REGISTRY.get(name, name))
    else:
        found = REGISTRIES.get(component, {}).get("dataclass_registry", {}).get(name)
    return found if isinstance(found, type) and is_dataclass(found) else None


def _name(component: Any) -> str | None:
    """What a component's node says it is: its ``_name``, or the node itself where it is only a name."""
    name = component.get("_name") if isinstance(component, dict) else component
    return name if isinstance(name, str) else None


def _keys(schema: type) -> list[str]:
    """The keys of a dataclass, sorted."""
    return sorted(key.name for key in fields(schema) if key.name != "_name")


def nearest_keys(path: str, schemas: Mapping[str, type | None]) -> list[str]:
    """The key that was most likely meant, if any is near: in the same section, in a section of a like name, elsewhere.

    Args:
        path: ``section.key`` or ``section`` as it was given.
        schemas: as :func:`known_sections` gives them.
    """
    section, _, key = path.partition(".")
    keys = {known: _keys(schema) for known, schema in schemas.items() if schema is not None}
    if near := get_close_matches(key, keys.get(section, []), n=1):
        return [f"{section}.{near[0]}"]
    if section not in schemas and (alike := get_close_matches(section, schemas, n=1)):
        near = get_close_matches(key, keys.get(alike[0], []), n=1)
        return [f"{alike[0]}.{near[0]}" if near else alike[0]]
    return [f"{other}.{key or section}" for other in keys if (key or section) in keys[other]][:1]


def mistyped(schema: type, values: Mapping[str, Any]) -> list[str]:
    """The keys whose values the dataclass does not take; OmegaConf decides, as it will for fairseq."""
    if _fits(schema, values):
        return []
    return [key for key, value in values.items() if not _fits(schema, {key: value})]


def _fits(schema: type, values: Mapping[str, Any]) -> bool:
    try:
        OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException:
        return False
    return True


def expected(schema: type, key: str) -> str:
    """The type of a key in words, e.g. ``a number or null``."""
    return _in_words(typing.get_type_hints(schema)[key])


def _in_words(type_: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    if type_ in words:
        return words[type_]
    if isinstance(type_, type) and issubclass(type_, Enum):
        return f"one of {', '.join(member.name for member in type_)}"
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(argument) for argument in arguments)
    if type_ is list or origin is list:
        return f"a list [...], each item {_in_words(arguments[0])}," if arguments else "a list [...]"
    if type_ is dict or origin is dict:
        return "keys with values {...}"
    return f"a value of type {getattr(type_, '__name__', type_)}"


def _is_interpolation(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _said(recipe: Recipe, *paths: str) -> str:
    """The keys, and the file or files or the command line that they came from."""
    origins = dict.fromkeys(recipe.origins[path] for path in paths if path in recipe.origins)
    return f"{', '.join(paths)} ({' and '.join(origins)})" if origins else ", ".join(paths)


def _did_you_mean(nearest: Sequence[str]) -> str:
    return f"did you mean {nearest[0]}? " if nearest else ""
