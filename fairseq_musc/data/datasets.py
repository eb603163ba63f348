"""The data sets, one row each: what Table 6 of the paper counts, and how the published files are named and laid out.

To add a data set, add a row to :data:`DATASETS`; if its files are of a new format, add a reader to
:mod:`fairseq_musc.data.readers` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: The language of S_trn, and of the text of S_tst_MT, in every data set of the paper.
SOURCE_LANGUAGE = "en"


class Columns(NamedTuple):
    """Where the parts of a row stand in a raw file."""

    id: str
    label: str
    text: str
    text_pair: str | None = None
    """None for single sentences."""


class Dataset(NamedTuple):
    """One data set as it is published."""

    name: str
    labels: tuple[str, ...]
    """In class order, as the raw files write them."""
    languages: tuple[str, ...]
    format: str
    """A key of :data:`fairseq_musc.data.readers.READERS`."""
    columns: Columns
    path: str
    """The path of a raw file below the data set's folder, from ``{file}`` and ``{language}``."""
    files: Mapping[str, str]
    """Split (``train``, ``valid``, ``test``) to the ``{file}`` in :attr:`path`."""
    rows: Mapping[str, int]
    """Split to the rows a language, by Table 6."""
    untranslated: frozenset[str]
    """What stands in place of a sentence that was never translated; surrounding spaces do not count."""

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two texts."""
        return self.columns.text_pair is not None

    def raw_path(self, folder: str | Path, file: str, language: str) -> Path:
        """Where the raw file of a language lies."""
        return Path(folder) / self.path.format(file=file, language=language)


DATASETS: dict[str, Dataset] = {
    row.name: row
    for row in [
        Dataset(
            name="pawsx",
            labels=("0", "1"),
            languages=("en", "de", "es", "fr", "ja", "ko", "zh"),
            format="header_tsv",
            columns=Columns("id", "label", "sentence1", "sentence2"),
            path="{language}/{file}.tsv",
            files={"train": "train", "valid": "dev_2k", "test": "test_2k"},
            rows={"train": 49_401, "valid": 2_000, "test": 2_000},
            untranslated=frozenset({"", "NS"}),
        ),
    ]
}
