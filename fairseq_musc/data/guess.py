"""What the columns of a file most likely are, by their names and by what stands in them: functions of values alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.datasets import WORDS
from fairseq_musc.data.own import LANGUAGE

#: The format of a file by the end of its name.
FORMATS = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
}
#: Names that columns have in many data sets, the likelier first; without case, spaces and underscores.
NAMES = {
    "language_column": ("language", "lang", "locale", "languagecode"),
    "split_column": ("split", "subset", "partition"),
    "id_column": ("id", "idx", "guid", "uid", "uuid", "reviewid", "pairid", "textid"),
    "text_column": (
        *("text", "sentence", "review", "reviewbody", "reviewtext", "body", "content", "comment", "message", "tweet"),
        *("premise", "sentence1", "text1", "question", "question1", "utterance", "document", "abstract", "title"),
    ),
    "label_column": (
        *("label", "labels", "goldlabel", "class", "stars", "star", "starrating", "rating", "sentiment", "category"),
        *("topic", "intent", "target", "score"),
    ),
    "text_pair_column": ("textpair", "hypothesis", "sentence2", "text2", "question2"),
}
#: Which first text a second one goes with.
PARTNERS = {
    "hypothesis": "premise",
    "sentence2": "sentence1",
    "text2": "text1",
    "question2": "question1",
    "textpair": "text",
}
#: A column of labels has at most so many different values, and each stands there at least so often on average.
MOST_CLASSES, LEAST_ROWS_A_CLASS = 50, 3


class Columns(NamedTuple):
    """What was found out."""

    said: dict[str, str]
    """Option to column."""
    unclear: dict[str, list[str]]
    """Option to the columns that it may be; text and labels must be said."""


def guess_columns(values: Mapping[str, Sequence[str]], said: Mapping[str, str | None]) -> Columns:
    """What the columns are.

    Args:
        values: column to the texts in it, of the first rows; empty where nothing stands.
        said: what the user said, by option.
    """
    found = {option: column for option, column in said.items() if column is not None}
    plain = {_plain(column): column for column in values}
    unclear: dict[str, list[str]] = {}
    for option, names in NAMES.items():
        if option in found:
            continue
        free = [column for column in values if column not in found.values()]
        named = [plain[name] for name in names if name in plain and plain[name] in free]
        if option in FITTING:
            fitting = [column for column in FITTING[option](values) if column in free]
            likely = [column for column in named if column in fitting] or named or fitting or free
            # several that would do, unless one is called as the option is
            if len(likely) > 1 and _plain(likely[0]) != names[0]:
                unclear[option] = likely
                continue
            named = likely
        elif option == "text_pair_column":
            named = [column for column in named if PARTNERS[_plain(column)] == _plain(found.get("text_column", ""))]
        elif option == "id_column":
            # the same row has one id in every language
            told = [values[found[each]] for each in ("language_column", "split_column") if found.get(each) in values]
            named = [column for column in named if each_once([*told, values[column]])]
        if named:
            found[option] = named[0]
    return Columns(found, unclear)


def _plain(column: str) -> str:
    """The name of a column without case, spaces and underscores."""
    return re.sub(r"[\s_-]", "", column).lower()


def each_once(columns: Sequence[Sequence[str]]) -> bool:
    """Whether no two rows have the same values in all of the columns."""
    rows = [*zip(*columns, strict=True)]
    return len({*rows}) == len(rows)


def like_labels(values: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns whose values come again and again, few of them different."""
    found = []
    for column, texts in values.items():
        there = [text for text in texts if text]
        different = len({*there})
        if 2 <= different <= MOST_CLASSES and len(there) >= LEAST_ROWS_A_CLASS * different:
            found.append(column)
    return found


def like_texts(values: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns most of whose values are different and longer than a word or two."""
    found = []
    for column, texts in values.items():
        there = [text for text in texts if text]
        long = sum(len(text) >= 15 for text in there)
        if there and 2 * long > len(there) and 2 * len({*there}) > len(there):
            found.append(column)
    return found


#: The options that must be said, and which columns would do.
FITTING = {"text_column": like_texts, "label_column": like_labels}


def guess_format(path: str) -> str | None:
    """The format of a file by its name, or of a folder that a dataset was saved to; None if it does not tell."""
    if Path(path, "dataset_dict.json").is_file() or Path(path, "state.json").is_file():
        return "datasets"
    return FORMATS.get(Path(path.removesuffix(".gz")).suffix.lower())


def guess_delimiter(header: str) -> str:
    """What stands between the names in the first line of a CSV."""
    return max(",;\t|", key=header.count)


def guess_language(spelled: str) -> str | None:
    """The code of a language as data spell it: ``de``, ``de_DE``, ``German``; None if it does not tell."""
    plain = spelled.strip().lower()
    for code, word in WORDS.items():
        if plain == word:
            return code
    first = re.split(r"[-_]", plain)[0]
    return first if LANGUAGE.fullmatch(first) else None


def guess_held_out(rows: Mapping[str, int]) -> tuple[int, int]:
    """How many rows to hold out for validation and test, in every language alike.

    A tenth of the training language each; less where a language has so few rows that a quarter (validation) and half
    (test) of them is less. At most 2,000 each, as in PAWS-X.

    Args:
        rows: language to its rows, the training language first.
    """
    first, *others = rows.values()
    valid, test = min([first // 10, *(count // 4 for count in others)]), min([first // 10, *(n // 2 for n in others)])
    return max(1, min(valid, 2_000)), max(1, min(test, 2_000))
