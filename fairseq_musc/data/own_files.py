"""Which files, or splits of datasets, a user's own data set lies in, and what their names say of their rows."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.data.hub import configuration_names, split_names
from fairseq_musc.data.own import SPELLINGS, OwnData
from fairseq_musc.errors import raise_all


class Place(NamedTuple):
    """A file, or a split of a dataset, and what its name says of all its rows."""

    path: Path
    split: str | None
    """``train``, ``valid`` or ``test``; None if a column says it."""
    language: str | None
    """As the data spell it; None if a column says it."""
    part: tuple[str, str | None, str] | None = None
    """As :attr:`RawFile.split <fairseq_musc.data.forms.RawFile.split>`."""


def places(own: OwnData) -> list[Place]:
    """The files of all splits that are read, each once.

    Raises:
        InputError: some are not there.
    """
    there = {
        (split, pattern): places_of(own, split, language, pattern)
        for split in own.read_splits
        for language, pattern in own.entries(split)
    }
    absent = [which for which, found in there.items() if not found]
    problems = [f"{pattern}: there is nothing to read the {split} rows from" for split, pattern in absent]
    raise_all("these are not there:", problems)
    return [*dict.fromkeys(place for found in there.values() for place in found)]


def places_of(own: OwnData, split: str, language: str | None, pattern: str) -> list[Place]:
    """What one entry stands for in a split; nothing if nothing is there."""
    of_split = splits_of_datasets if own.format == "datasets" else files
    return [*of_split(own, split, language, pattern)]


def files(own: OwnData, split: str, language: str | None, pattern: str) -> Iterator[Place]:
    """The files that a pattern stands for."""
    in_path = "{split}" in pattern
    said = None if own.split_column and not in_path else split
    elsewhere = None if own.language_column else SOURCE_LANGUAGE
    for spelled in spellings_of(own, split) if in_path else [""]:
        path = pattern.replace("{split}", spelled)
        if "{language}" in path:
            candidates = in_languages(own, path, glob.glob(_any_language(path)))
        else:
            candidates = [(language or elsewhere, path)]
        there = [Place(Path(found), said, xx) for xx, found in candidates if Path(found).is_file()]
        if there:
            yield from there
            return


def splits_of_datasets(own: OwnData, split: str, language: str | None, pattern: str) -> Iterator[Place]:
    """The splits that the name of a dataset, a configuration and the spelling of a split stand for."""
    elsewhere = language or (None if own.language_column else SOURCE_LANGUAGE)
    names = [(elsewhere, pattern)]
    if "{language}" in pattern:
        names = in_languages(own, pattern, glob.glob(_any_language(pattern)))
    for of_name, name in names:
        configurations: list[tuple[str | None, str | None]] = [(of_name, own.configuration)]
        if own.configuration and "{language}" in own.configuration:
            there_are = [] if own.languages else configuration_names(name)
            configurations = [*in_languages(own, own.configuration, there_are)]
        for of_configuration, configuration in configurations:
            there = split_names(name, configuration)
            for spelled in spellings_of(own, split):
                of_split = [(of_configuration, spelled)]
                if "{language}" in spelled:
                    of_split = in_languages(own, spelled, there)
                hits = [
                    Place(
                        Path(name, configuration or "", each),
                        None if own.split_column else split,
                        xx,
                        (name, configuration, each),
                    )
                    for xx, each in of_split
                    if each in there
                ]
                yield from hits
                if hits:
                    break


def spellings_of(own: OwnData, split: str) -> Sequence[str]:
    """How the data may spell a split."""
    return [own.splits[split]] if split in own.splits else SPELLINGS[split]


def in_languages(own: OwnData, pattern: str, there: Iterable[str]) -> list[tuple[str | None, str]]:
    """A pattern with ``{language}`` in it, filled: with the languages that were said, else as found in ``there``."""
    if own.languages:
        return [(spelled, pattern.replace("{language}", spelled)) for spelled in own.languages.values()]
    first, *others = map(re.escape, pattern.split("{language}"))
    expression = re.compile(f"{first}([^/]+?){''.join(others[:1])}" + "".join(rf"\1{other}" for other in others[1:]))
    found = [(match[1], text) for text in sorted(there) if (match := expression.fullmatch(text))]
    return [(xx, text) for xx, text in found]


def _any_language(pattern: str) -> str:
    return "*".join(map(glob.escape, pattern.split("{language}")))
