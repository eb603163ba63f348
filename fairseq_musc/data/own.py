"""A data set of the user's own: how its files are written, and which of their rows are what.

An :class:`OwnData` is what the options of ``fairseq-musc read --format`` say, and what a YAML file says that ``read
--dataset FILE.yaml`` takes and ``fairseq-musc init`` writes; the keys of the file are the options.
"""

from __future__ import annotations

import glob
import re
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fairseq_musc.data.datasets import SOURCE_LANGUAGE, Columns, Layout
from fairseq_musc.data.records import RECORDS
from fairseq_musc.errors import InputError, raise_all, shown

SPLITS = ("train", "valid", "test")
#: How data spell the splits, where it is not said; the first that is there counts.
SPELLINGS = {"train": ("train", "training"), "valid": ("valid", "validation", "dev", "val"), "test": ("test",)}
#: What a language is called in file names, options and tables: its code (ISO 639).
LANGUAGE = re.compile(r"[a-z]{2,3}")


def _option(text: str, **more: Any) -> Any:
    return field(metadata={"help": text}, **more)


@dataclass(frozen=True)
class OwnData:
    """What the options say; every field is one."""

    format: str = _option("how the files are written")
    label_column: str = _option("the column of the labels", default="label")
    text_column: str = _option(
        "the column of the texts; '{title}. {body}' puts one together from columns", default="text"
    )
    text_pair_column: str | None = _option("the column of the second texts, for text pairs", default=None)
    id_column: str | None = _option("the column of the ids; row numbers if left out", default=None)
    language_column: str | None = _option("the column that says the language of a row", default=None)
    split_column: str | None = _option("the column that says the split of a row", default=None)
    name: str | None = _option("what tables call the data set; the first file's name if left out", default=None)
    input: tuple[str, ...] = _option(
        "the files, or one dataset by name or folder; {language} and {split} in a path stand for each", default=()
    )
    train_file: tuple[str, ...] = _option("files of S_trn and T_trn, [LANGUAGE=]FILE", default=())
    valid_file: tuple[str, ...] = _option("files of T_val", default=())
    test_file: tuple[str, ...] = _option("files of T_tst", default=())
    configuration: str | None = _option("of a dataset; {language} in it stands for each language", default=None)
    languages: Mapping[str, str] = _option(
        "these only, XX or XX=SPELLED where the data spell a language otherwise; those found if left out",
        default_factory=dict,
    )
    splits: Mapping[str, str] = _option(
        "how the data spell train, valid and test, e.g. valid=dev", default_factory=dict
    )
    labels: tuple[str, ...] = _option(
        "the labels in class order; those of the training rows, sorted, if left out", default=()
    )
    delimiter: str | None = _option("what stands between the cells of CSV, e.g. ';' or TAB", default=None)
    aligned: bool = _option("row n is the same row in every language, translated", default=False)
    hold_out: int | None = _option("take T_val from the last N training rows of every language", default=None)
    hold_out_test: int | None = _option("and T_tst from the last N before those are taken", default=None)

    @property
    def layout(self) -> Layout:
        """How a file is written."""
        columns = Columns(self.id_column, self.label_column, self.text_column, self.text_pair_column)
        delimiter = "\t" if self.delimiter in ("TAB", "\\t") else self.delimiter
        return Layout(self.format, columns, delimiter=delimiter, records=True)

    @property
    def read_splits(self) -> list[str]:
        """The splits that are read; the others are held out of the training rows."""
        held = {"valid": self.hold_out, "test": self.hold_out_test}
        return [split for split in SPLITS if held.get(split) is None]

    def entries(self, split: str) -> list[tuple[str | None, str]]:
        """The files of a split: the language that was said, and the path or pattern."""
        given = getattr(self, f"{split}_file") or self.input
        return [entry_of(text) for text in given]

    def described(self) -> dict[str, Any]:
        """What decides how files are read, for the provenance: everything that was said but paths."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        paths = {"input", "train_file", "valid_file", "test_file", "languages", "name"}
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
        spelled = {code: spelled for code, spelled in self.languages.items() if code != spelled}
        return {name: value for name, value in told.items() if name not in paths and value} | {"spelled": spelled}

    @property
    def called(self) -> str:
        """The name of the data set."""
        first = next(path for split in SPLITS for _, path in self.entries(split))
        return self.name or re.sub(r"[{}]", "", Path(first).name.split(".")[0])

    def problems(self) -> Iterator[str]:
        """What does not go together, a line each."""
        if self.format not in RECORDS:
            yield f"there is no format {self.format!r}; there are {', '.join(RECORDS)}"
        if self.delimiter is not None and len(self.layout.delimiter or "") != 1:
            yield f"the delimiter {self.delimiter!r} is not one character (or TAB)"
        if self.delimiter is not None and self.format not in ("csv", "tsv"):
            yield f"a delimiter is for csv, not for {self.format}"
        if unknown := sorted(set(self.splits) - {*SPLITS}):
            yield f"there is no split {', '.join(unknown)}; there are {', '.join(SPLITS)}"
        for language in self.languages:
            if not LANGUAGE.fullmatch(language):
                yield f"{language!r} is no language code, such as en or de: give XX={language} if the data say so"
        if self.languages and SOURCE_LANGUAGE not in self.languages:
            yield f"the languages need {SOURCE_LANGUAGE} among them, the language of S_trn"
        if len(set(self.labels)) != len(self.labels) or len(self.labels) == 1:
            yield f"the labels are {', '.join(self.labels)}; two or more are needed, each once"
        for name in ("hold_out", "hold_out_test"):
            if (number := getattr(self, name)) is not None and number < 1:
                yield f"{option(name)} is {number}; it needs to be at least 1"
        for split, held in (("valid", "hold_out"), ("test", "hold_out_test")):
            if getattr(self, held) is not None and getattr(self, f"{split}_file"):
                yield (
                    f"{option(held)} takes the {split} rows from the training rows, {option(f'{split}_file')} from "
                    "another file: give one of them"
                )
        yield from self._without_rows()

    def _without_rows(self) -> Iterator[str]:
        """Splits that no rows are said for, and patterns with unknown places."""
        if self.format == "datasets" and len(self.input) > 1:
            yield f"--input names {len(self.input)} datasets; one can be read at a time"
        for split in self.read_splits:
            own = getattr(self, f"{split}_file")
            if not own and not self.input:
                yield f"there are no files to read the {split} rows from: give {option(f'{split}_file')} or --input"
            elif not own and not self.tells_splits and split != "train":
                held = {"valid": "hold_out", "test": "hold_out_test"}[split]
                yield (
                    f"nothing says which rows are for {split}: give {option(held)} N, {option(f'{split}_file')}, "
                    "--split-column, or {split} in a path"
                )
            for _, pattern in self.entries(split):
                if unknown := set(re.findall(r"{(.*?)}", pattern)) - {"language", "split"}:
                    braces = ", ".join(f"{{{name}}}" for name in sorted(unknown))
                    yield f"{pattern} has {braces} in it; {{language}} and {{split}} can stand there"

    @property
    def tells_splits(self) -> bool:
        """Whether the split of a row of ``input`` can be told."""
        return (
            self.format == "datasets"
            or self.split_column is not None
            or all("{split}" in pattern for pattern in self.input)
        )


#: The options of published data sets that are read in another way for data of one's own.
PUBLISHED_TOO = frozenset({"input", "languages", "train_file", "valid_file", "test_file", "hold_out"})
OPTIONS = tuple(each.name for each in fields(OwnData))


def add_own_arguments(group: Any, without: Collection[str] = ()) -> None:
    """An option for each field of :class:`OwnData`, but those that are there already."""
    hints = typing.get_type_hints(OwnData)
    for each in fields(OwnData):
        if each.name in without:
            continue
        kind, text = hints[each.name], each.metadata["help"]
        if kind is bool:
            group.add_argument(option(each.name), action="store_true", default=None, help=text)
        elif kind in (tuple[str, ...], Mapping[str, str]):
            group.add_argument(option(each.name), nargs="+", metavar=METAVARS.get(each.name, "NAME"), help=text)
        else:
            number = {"type": int} if int in typing.get_args(kind) else {}
            choices = {"choices": list(RECORDS)} if each.name == "format" else {}
            metavar = {} if choices else {"metavar": "N" if number else METAVARS.get(each.name, "COLUMN")}
            group.add_argument(option(each.name), help=text.replace("%", "%%"), **number, **choices, **metavar)


METAVARS = {"name": "NAME", "configuration": "NAME", "delimiter": "MARK", "labels": "LABEL", "splits": "SPLIT=SPELLED"}


def option(name: str) -> str:
    """A field as the command line calls it."""
    return f"--{name.replace('_', '-')}"


def entry_of(text: str) -> tuple[str | None, str]:
    """A file with the language that was said for it, if any."""
    found = re.fullmatch(rf"({LANGUAGE.pattern})=(.+)", text)
    return (found[1], found[2]) if found else (None, text)


def anything_at(pattern: str) -> bool:
    """Whether something lies where a path leads, with anything for what stands in braces."""
    return bool(glob.glob("*".join(map(glob.escape, re.split(r"{\w+}", pattern)))))


def own_data(values: Mapping[str, Any], where: str) -> OwnData:
    """What options or a YAML file say.

    Args:
        values: by the names of the fields; None for what was left out.
        where: what messages call their origin.

    Raises:
        InputError: a key or a type is wrong, or they do not go together; all at once.
    """
    hints = typing.get_type_hints(OwnData)
    problems, clean = [], {}
    for key, value in values.items():
        if key not in hints:
            near = get_close_matches(shown(key), hints, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            problems.append(f"there is no key {shown(key)}; {meant}there are {', '.join(hints)}")
        elif value is not None:
            try:
                clean[key] = _clean(hints[key], value)
            except TypeError as error:
                problems.append(f"{key}: {error} is needed, got {shown(value)}")
    if "format" not in clean and not problems:
        problems.append(f"format is missing; there are {', '.join(RECORDS)}")
    if not problems:
        own = OwnData(**clean)
        problems = [*own.problems()]
    raise_all(f"{where} cannot be read as a data set:", problems)
    return own


def _clean(kind: Any, value: Any) -> Any:
    """A value as a field has it; :class:`TypeError` names what is needed."""
    if kind == tuple[str, ...]:
        items = [value] if isinstance(value, str | int) else value
        if not isinstance(items, Sequence) or not all(isinstance(item, str | int | bool) for item in items):
            raise TypeError("a text or a list of texts")
        return tuple(_text(item) for item in items)
    if kind == Mapping[str, str]:
        if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
            value = dict(item.partition("=")[::2] for item in value)
            value = {key: spelled or key for key, spelled in value.items()}
        if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
            raise TypeError("a list of names, or names with their spellings (in quotes, as 'no' is a truth value),")
        return dict(value)
    if kind is bool:
        if not isinstance(value, bool):
            raise TypeError("true or false")
        return value
    if int in typing.get_args(kind):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError("a whole number")
        return value
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _text(value: Any) -> str:
    """A label as records have it: YAML makes numbers and truth values of some."""
    try:
        return str(value).lower() if isinstance(value, bool) else str(value)
    except ValueError:  # Python writes no number of thousands of digits
        raise TypeError("a text or a list of texts") from None


def read_yaml(path: Path, instead: Mapping[str, Any] = MappingProxyType({})) -> OwnData:
    """What a YAML file says; paths in it are seen from its folder.

    Args:
        path: the file.
        instead: what takes the place of its values.

    Raises:
        InputError: it is not there, is no YAML, or does not describe a data set.
    """
    import yaml

    from fairseq_musc.yaml_aliases import check_aliases

    try:
        text = path.read_text(encoding="utf-8")
        check_aliases(text, str(path))
        values = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        raise InputError(f"{path} is no YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no keys with values; `fairseq-musc init` writes such a file")
    for name in ("input", "train_file", "valid_file", "test_file"):
        texts = values.get(name)
        if isinstance(texts, str | list) and all(isinstance(text, str) for text in texts):
            each = [texts] if isinstance(texts, str) else texts
            values[name] = [_seen_from(path.parent, text, values.get("format")) for text in each]
    return own_data({**values, **instead}, str(path))


def _seen_from(folder: Path, text: str, kind: Any) -> str:
    """An entry whose path is seen from another folder; the name of a dataset stays."""
    language, path = entry_of(text)
    moved = folder / path
    if kind == "datasets" and not anything_at(str(moved)):
        return text
    return f"{language}={moved}" if language else str(moved)
