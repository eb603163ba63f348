"""The corpus file: the first of the three contracts of this package.

A corpus is one set of Table 1 of the paper in one language, e.g. ``T_trn_MT.de``: the training set that was
machine-translated into German. On disk it is two files in one folder:

``T_trn_MT.de.tsv``
    UTF-8, one line a row, no quoting. The header is ``id label text`` or ``id label text text_pair``, with tabs
    between. In the cells a backslash, a tab, a line feed and a carriage return are written ``\\\\``, ``\\t``, ``\\n``
    and ``\\r``, so that every text comes back unchanged.

``T_trn_MT.de.json``
    What the rows are (dataset, labels in class order, the language the set stands for and the one its text is in), how
    many they are, their checksum, the provenance (what made the file, from what), and a checksum of all this. It is
    written last: a corpus without it is not there.

Rows of corpora that belong together (S_trn and every T_trn_MT; T_tst.de and S_tst_MT.de) have the same ids in the
same order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.data.heads import Ids
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.files import read_sealed_json, rows_as_written, write_sealed_json, written_whole


class Kind(NamedTuple):
    """What a corpus name of Table 1 means."""

    split: str
    """``train``, ``valid`` or ``test``."""
    side: str
    """``S`` if the text is in the source language, ``T`` if it is in the target language."""
    made_from: str | None
    """The corpus that was translated to make this one; None for text that people wrote."""
    notation: str
    """How tables print it."""


#: The paper's Table 1, and what it leaves unnamed: the validation sets, and the middle of a back-translation.
CORPORA: dict[str, Kind] = {
    "S_trn": Kind("train", "S", None, "S_trn"),
    "T_trn": Kind("train", "T", None, "T_trn"),
    "T_trn_MT": Kind("train", "T", "S_trn", "T_trn^MT"),
    "S_trn_MT": Kind("train", "S", "T_trn", "S_trn^MT"),
    "T_trn_BT": Kind("train", "T", "S_trn_MT", "T_trn^BT"),
    "T_val": Kind("valid", "T", None, "T_val"),
    "S_val_MT": Kind("valid", "S", "T_val", "S_val^MT"),
    "T_tst": Kind("test", "T", None, "T_tst"),
    "S_tst_MT": Kind("test", "S", "T_tst", "S_tst^MT"),
}


def made_by(name: str) -> str:
    """The verb of the program that makes a corpus: ``read`` or ``translate``."""
    return "translate" if CORPORA[name].made_from else "read"


def origin(name: str) -> str:
    """The corpus that people wrote and that this one was made from, step by step: S_trn for T_trn_MT.

    Corpora of one origin in one language have the same rows, so they can be views of each other.
    """
    while (source := CORPORA[name].made_from) is not None:
        name = source
    return name


def are_views(names: Sequence[str]) -> bool:
    """Whether two corpora hold the same rows, one as people wrote them or both translated."""
    return len(names) == 2 and origin(names[0]) == origin(names[1])


class Row(NamedTuple):
    """One labelled text or text pair."""

    id: str
    label: str
    text: str
    text_pair: str | None = None


@dataclass(frozen=True)
class Corpus:
    """A set of Table 1 in one language, in memory."""

    name: str
    """A key of :data:`CORPORA`."""
    language: str
    """The language that the set stands for in tables, e.g. ``de`` for T_tst.de and for S_tst_MT.de."""
    text_language: str
    """The language that the text is in: ``en`` for S_tst_MT.de."""
    dataset: str
    labels: tuple[str, ...]
    """The label set in class order: ``labels[k]`` is class k of the classifier."""
    rows: Sequence[Row]
    provenance: dict[str, Any] = field(default_factory=dict)
    """What made it and from what; free keys, kept as they are."""

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two texts."""
        return bool(self.rows) and self.rows[0].text_pair is not None

    @property
    def ids(self) -> list[str]:
        """The row ids, in order."""
        return [row.id for row in self.rows]


@dataclass(frozen=True)
class CorpusFile:
    """A corpus whose rows stay in their file. Made by :func:`corpus_file`."""

    folder: Path
    name: str
    language: str
    about: dict[str, Any]
    """What its JSON file says."""

    @property
    def texts(self) -> int:
        """How many it has: one or two a row."""
        return int(self.about["rows"]) * (2 if self.about["pair"] else 1)

    def rows(self) -> Iterator[Row]:
        """Its rows, read as they are taken; see :func:`rows_of`."""
        return rows_of(self.folder, self.name, self.language, self.about)


FORMAT = 1
#: What has to be in the JSON file of a corpus.
ABOUT: dict[str, type] = {
    **{"corpus": str, "language": str, "text_language": str, "dataset": str, "labels": list, "pair": bool},
    **{"rows": int, "sha256": str, "provenance": dict},
}
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}


def corpus_path(folder: str | Path, name: str, language: str) -> Path:
    """Where the rows of a corpus lie: the one rule from name and language to path."""
    if name not in CORPORA:
        raise InputError(f"no corpus is called {name!r}; the names are {', '.join(CORPORA)}")
    check_language(language)
    return Path(folder) / f"{name}.{language}.tsv"


def check_language(language: str) -> None:
    """Raises :class:`InputError` for a language that would make a path elsewhere: it is a part of a file's name."""
    if not language or language.startswith(".") or re.search(r"[/\\\x00-\x1f]", language):
        raise InputError(f"{language!r} is no language: it stands in names of files, without / and \\ and no dot first")


def corpus_exists(folder: str | Path, name: str, language: str) -> bool:
    """Whether a corpus is there, whole."""
    return corpus_path(folder, name, language).with_suffix(".json").exists()


def languages_of(folder: str | Path, name: str) -> list[str]:
    """The languages in which a corpus lies in a folder of corpora or in a data-bin, sorted."""
    found = Path(folder).glob(f"{name}.*.json")
    return sorted(path.name.removeprefix(f"{name}.").removesuffix(".json") for path in found)


def escape(cell: str) -> str:
    """The cell as it stands in a corpus file: without tabs and line ends."""
    if not any(character in cell for character in _ESCAPES):
        return cell
    return "".join(_ESCAPES.get(character, character) for character in cell)


def unescape(cell: str) -> str:
    """The inverse of :func:`escape`.

    Raises:
        ValueError: a backslash is followed by something that :func:`escape` never writes.
    """
    if "\\" not in cell:
        return cell
    pieces, i = [], 0
    while (j := cell.find("\\", i)) >= 0:
        if j + 1 == len(cell) or cell[j + 1] not in _UNESCAPES:
            raise ValueError(f"a backslash in a corpus file stands before one of \\ t n r, not in {cell[j : j + 2]!r}")
        pieces += [cell[i:j], _UNESCAPES[cell[j + 1]]]
        i = j + 2
    return "".join([*pieces, cell[i:]])


def write_corpus(folder: str | Path, corpus: Corpus) -> Path:
    """Writes both files of a corpus, each whole or not at all, and returns the path of the rows.

    Raises:
        InputError: rows without or with a second text are mixed, an id stands twice, or a label is not of the set;
            nothing is written then.
    """
    return write_rows(folder, corpus, corpus.rows)


def write_rows(folder: str | Path, corpus: Corpus, rows: Iterable[Row]) -> Path:
    """Writes a corpus as :func:`write_corpus`, whose rows are not in memory.

    Args:
        folder: where it goes.
        corpus: all of it but its rows. It is written behind the rows, so that what they are counted in may be part of
            its provenance.
        rows: are gone through once.

    Raises:
        InputError: as :func:`write_corpus`, all mistakes at once.
    """
    path = corpus_path(folder, corpus.name, corpus.language)
    look = Look(corpus.labels)
    digest = hashlib.sha256()
    with written_whole(path, "wb") as stream:

        def write(cells: Iterable[str]) -> None:
            line = ("\t".join(map(escape, cells)) + "\n").encode()
            digest.update(line)
            stream.write(line)

        for row in rows:
            if look.pair is None:
                write(Row._fields if row.text_pair is not None else Row._fields[:3])
            look.at(row)
            write(cell for cell in row if cell is not None)
        raise_all(f"{path.name} cannot be a corpus:", look.problems())
    about = {
        "format": FORMAT,
        "corpus": corpus.name,
        "language": corpus.language,
        "text_language": corpus.text_language,
        "dataset": corpus.dataset,
        "labels": list(corpus.labels),
        "pair": look.pair,
        "rows": len(look.ids),
        "sha256": digest.hexdigest(),
        "provenance": corpus.provenance,
    }
    write_sealed_json(path.with_suffix(".json"), about)
    return path


class Look:
    """A look at the rows of a corpus as they go by: every kind of mistake, each with its first example.

    Holds what is needed to see an id that stands twice, see :class:`~fairseq_musc.data.heads.Ids`.

    Args:
        labels: those that rows may have.
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = labels
        self._known = {*labels}
        self.ids = Ids()
        self.pair: bool | None = None
        """Whether a row holds two texts, as the first does; None before it."""
        self._mixed, self._unknown = 0, 0
        self._first_mixed: Row | None = None
        self._first_unknown: Row | None = None

    def at(self, row: Row) -> None:
        """Looks at the next row."""
        self.ids.append(row.id)
        if self.pair is None:
            self.pair = row.text_pair is not None
        if (row.text_pair is not None) != self.pair:
            self._mixed += 1
            self._first_mixed = self._first_mixed or row
        if row.label not in self._known:
            self._unknown += 1
            self._first_unknown = self._first_unknown or row

    def problems(self) -> list[str]:
        """A line for each kind of mistake."""
        problems = []
        if not self.ids:
            problems.append("it has no rows")
        if self._first_mixed:
            problems.append(
                f"{self._mixed} rows have another number of texts than the first row; id {self._first_mixed.id}"
            )
        if self._first_unknown:
            problems.append(
                f"{self._unknown} rows have a label outside the set ({', '.join(self.labels)}); id "
                f"{self._first_unknown.id}: {self._first_unknown.label!r}"
            )
        if twice := self.ids.repeated():
            problems.append(f"{len(twice)} ids stand more than once; the first is {self.ids[twice[0]]!r}")
        return problems


def read_about(folder: str | Path, name: str, language: str) -> dict[str, Any]:
    """What stands in the JSON file of a corpus, without reading its rows.

    Raises:
        InputError: the corpus is not there, or was written by a later version.
    """
    path = corpus_path(folder, name, language).with_suffix(".json")
    try:
        about = read_sealed_json(path)
    except FileNotFoundError:
        there = ", ".join(sorted(other.stem for other in Path(folder).glob("*.json"))) or "nothing"
        raise InputError(f"{folder} holds no corpus {name}.{language}; there is {there}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; make the corpus again") from None
    if about.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {about.get('format')!r}, this version reads {FORMAT}; make the corpus again"
        )
    wrong = [
        f"its {key} is {str(about.get(key))[:40]!r}" for key in ABOUT if not isinstance(about.get(key), ABOUT[key])
    ]
    if not wrong and (about["corpus"], about["language"]) != (name, language):
        wrong = [f"it is of {about['corpus']}.{about['language']}"]
    if not wrong and not all(isinstance(label, str) for label in about["labels"]):
        wrong = ["its labels are not all texts"]
    if wrong:
        raise InputError(f"{path} cannot be read: {', '.join(wrong)}; make the corpus again")
    return about


def corpus_file(folder: str | Path, name: str, language: str) -> CorpusFile:
    """A corpus, without reading its rows.

    Raises:
        InputError: as :func:`read_about`.
    """
    return CorpusFile(Path(folder), name, language, read_about(folder, name, language))


def read_corpus(folder: str | Path, name: str, language: str) -> Corpus:
    """Reads a corpus and holds it against its own row count and checksum.

    Raises:
        InputError: the corpus is missing, cut short, changed since it was written, or not UTF-8.
    """
    about = read_about(folder, name, language)
    return Corpus(
        name=about["corpus"],
        language=about["language"],
        text_language=about["text_language"],
        dataset=about["dataset"],
        labels=tuple(about["labels"]),
        rows=list(rows_of(folder, name, language, about)),
        provenance=about["provenance"],
    )


def rows_of(folder: str | Path, name: str, language: str, about: dict[str, Any]) -> Iterator[Row]:
    """The rows of a corpus, one by one, once they are held against their count and checksum.

    Args:
        folder: where the corpus lies.
        name: which it is.
        language: and in which language.
        about: what its JSON file says, see :func:`read_about`.

    Raises:
        InputError: as :func:`read_corpus`.
    """
    path = corpus_path(folder, name, language)
    labels = set(about["labels"])
    for number, line in enumerate(rows_as_written(path, about, "make the corpus again"), start=2):
        try:
            row = Row(*(unescape(cell) for cell in line.decode().split("\t")))
            if (row.text_pair is not None) != about["pair"]:
                raise ValueError("it has another number of texts than the corpus")
            if row.label not in labels:
                raise ValueError(f"the label {row.label!r} is not one of {', '.join(about['labels'])}")
            yield row
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {number}: {error}") from None


def check_aligned(first: str, first_ids: Sequence[str], second: str, second_ids: Sequence[str]) -> None:
    """Raises :class:`InputError` unless two corpora have the same ids in the same order.

    The message gives both row counts, or the first row at which the ids part.
    """
    if len(first_ids) != len(second_ids):
        raise InputError(
            f"{first} has {len(first_ids)} rows and {second} has {len(second_ids)}: aligned sets need the same rows in "
            "the same order; make the shorter one again"
        )
    for number, (a, b) in enumerate(zip(first_ids, second_ids, strict=True), start=1):
        if a != b:
            raise InputError(
                f"row {number} has id {a!r} in {first} and {b!r} in {second}: aligned sets need the same rows in the "
                "same order; make the second one again from the first"
            )
