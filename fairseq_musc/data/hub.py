"""Hugging Face datasets: by name on the hub, or a folder, saved by ``save_to_disk`` or one that ``load_dataset`` takes.

The package ``datasets`` is loaded where it is needed and not before.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import Columns, Dataset, Files, Form, Layout
from fairseq_musc.data.forms import RawFile, Sought
from fairseq_musc.errors import InputError


class Published(NamedTuple):
    """How a data set of :data:`~fairseq_musc.data.datasets.DATASETS` lies on the hub: a configuration a language."""

    name: str
    columns: Columns
    translated_by: str
    """Who made the training data of the other languages."""


#: Data set to its name and columns on the hub. Class labels there have names, which are the labels.
PUBLISHED = {
    "pawsx": Published("google-research-datasets/paws-x", Columns("id", "label", "sentence1", "sentence2"), "PAWS-X"),
    "xnli": Published("facebook/xnli", Columns(None, "label", "premise", "hypothesis"), "XNLI-MT 1.0"),
}
SPLIT_OF = {"S_trn": "train", "T_trn_MT": "train", "T_val": "validation", "T_tst": "test"}


def find_published(
    dataset: Dataset, name: str | None, wanted: Mapping[str, Sequence[str]], translations: Sequence[str] | None
) -> dict[str, Sought]:
    """Corpus to the splits of a published data set that hold it; nothing is loaded yet.

    Args:
        dataset: one that lies on the hub.
        name: where it lies, if not under its usual name: a copy, or a folder.
        wanted: corpus to the languages to read it in.
        translations: the languages to read T_trn_MT in; None for no translations.

    Raises:
        InputError: the data set does not lie on the hub.
    """
    if dataset.name not in PUBLISHED:
        raise InputError(
            f"{dataset.name} is not known to lie on the hub; {', '.join(PUBLISHED)} are. Give its files without "
            "--format, or read it as data of your own"
        )
    published = PUBLISHED[dataset.name]
    name = name or published.name
    layout = Layout("datasets", published.columns, records=True)
    asked = dict(wanted) if translations is None else {**wanted, "T_trn_MT": translations}
    found = {}
    for corpus, languages in asked.items():
        split = SPLIT_OF[corpus]
        files = Files("{language}/{file}", split, layout)
        made_by = published.translated_by if CORPORA[corpus].made_from else ""
        there = {
            language: RawFile(
                Path(name, language, split),
                f"{language}/{split}",
                language,
                layout,
                made_by,
                split=(name, language, split),
            )
            for language in languages
        }
        names = {language: raw.name for language, raw in there.items()}
        found[corpus] = Sought(Form("datasets", {corpus: files}, made_by), files, split, names, there, [])
    return found


# --- the package datasets --------------------------------------------------------------------------------------------


def load_split(name: str, configuration: str | None, split: str) -> Any:
    """A split, by the package ``datasets``.

    Raises:
        InputError: it is not there, or the package is not installed.
    """
    datasets = package("datasets")
    try:
        if Path(name, "dataset_dict.json").is_file():
            return datasets.load_from_disk(name)[split]
        if Path(name, "state.json").is_file():
            return datasets.load_from_disk(name)
        return datasets.load_dataset(name, configuration, split=split)
    except Exception as error:
        raise _not_there(f"the split {split} of {name}{_of(configuration)}", error) from None


def split_names(name: str, configuration: str | None) -> list[str]:
    """The splits of a dataset; one that was saved alone is its ``train``.

    Raises:
        InputError: it is not there, or the package is not installed.
    """
    datasets = package("datasets")
    if (saved := Path(name, "dataset_dict.json")).is_file():
        return list(json.loads(saved.read_text(encoding="utf-8"))["splits"])
    if Path(name, "state.json").is_file():
        return ["train"]
    try:
        return list(datasets.get_dataset_split_names(name, configuration))
    except Exception as error:
        raise _not_there(f"the dataset {name}{_of(configuration)}", error) from None


def configuration_names(name: str) -> list[str]:
    """The configurations of a dataset.

    Raises:
        InputError: it is not there, or the package is not installed.
    """
    datasets = package("datasets")
    try:
        return list(datasets.get_dataset_config_names(name))
    except Exception as error:
        raise _not_there(f"the dataset {name}", error) from None


def class_names(split: Any) -> dict[str, list[str]]:
    """Column to the names of its classes, in order, of the columns that have some."""
    return {name: list(feature.names) for name, feature in split.features.items() if hasattr(feature, "int2str")}


def rows_of(split: Any, batch_size: int) -> Iterator[dict[str, Any]]:
    """The rows of a split; class labels as their names, and -1, which stands for no label, as None."""
    classes = class_names(split)
    for start in range(0, len(split), batch_size):
        batch = split[start : start + batch_size]
        for name, names in classes.items():
            batch[name] = [None if k is None or k < 0 else names[k] for k in batch[name]]
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def package(name: str) -> Any:
    """A package that only some formats need.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"this format needs the package {name.partition('.')[0]}, which is not installed: pip install "
            "'fairseq-musc[datasets]'"
        ) from None


def _of(configuration: str | None) -> str:
    return f" ({configuration})" if configuration else ""


def _not_there(what: str, error: Exception) -> InputError:
    """datasets and the hub raise many kinds for one mistake, some of many lines."""
    told = f"{type(error).__name__}: {error}".strip().split("\n")[0]
    return InputError(f"{what} cannot be loaded: {told}. Give the name of a dataset while online, or a folder of one")
