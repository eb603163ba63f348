"""Looks at a user's own data: what can be told of it from its files, and what must be asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.data.forms import RawFile
from fairseq_musc.data.guess import guess_columns, guess_delimiter, guess_format, guess_held_out, guess_language
from fairseq_musc.data.own import OPTIONS, OwnData, option, own_data
from fairseq_musc.data.own_files import places, places_of
from fairseq_musc.data.readers import RawLines
from fairseq_musc.data.records import RECORDS, as_text
from fairseq_musc.data.survey import Survey, codes_of, labels_of, spelled_twice, split_of, survey, unclear_labels
from fairseq_musc.errors import InputError, raise_all

#: Rows that columns are told by.
SAMPLE = 1000


class Unclear(NamedTuple):
    """Something that the files do not tell."""

    name: str
    """The option that says it."""
    question: str
    choices: Sequence[str] = ()
    known: Sequence[str] | None = None
    """Of languages, whose codes are to be said and whose spellings are the choices: those that are known, CODE=SPELLED;
    None of something else."""

    def as_option(self) -> str:
        """How to say it on the command line."""
        if self.known is not None:
            codes = [*self.known, *(f"XX={each!r}" for each in self.choices)]
            return f"{self.question}: {option(self.name)} {' '.join(codes)}"
        of = f", one of {', '.join(map(repr, self.choices))}" if self.choices else ""
        return f"{self.question}: {option(self.name)} ...{of}"

    def asked(self) -> Any:
        """What the user says on the terminal."""
        if self.known is not None:
            print(self.question)
            said = [f"{input(f'  the code of {each!r}, e.g. en or de: ').strip()}={each}" for each in self.choices]
            return [*self.known, *said]
        print(f"{self.question}:" if self.choices else self.question)
        for number, each in enumerate(self.choices, start=1):
            print(f"  {number}. {each}")
        while True:
            answer = input("> ").strip()
            if answer.isdecimal() and 0 < int(answer) <= len(self.choices):
                return self.choices[int(answer) - 1]
            if answer in self.choices or (answer and not self.choices):
                return answer
            print(f"  one of {', '.join(self.choices)}" if self.choices else "  a text is needed")


class UnclearError(Exception):
    """What the files do not tell."""

    def __init__(self, *unclear: Unclear):
        super().__init__()
        self.unclear = unclear


def look(said: Mapping[str, Any]) -> Survey:
    """What is in the files, with all that was said or found.

    Raises:
        UnclearError: something cannot be told.
        InputError: the files are not there, cannot be read, or do not hold what is needed.
    """
    values = dict(said)
    entries = [path for name in ("input", "train_file", "valid_file", "test_file") for path in values.get(name) or ()]
    if not entries:
        raise InputError("name the files: --input, or --train-file, --valid-file and --test-file")
    if "format" not in values:
        kinds = {guess_format(re.sub(r"^[a-z]{2,3}=", "", path)) for path in entries}
        if len(kinds) != 1 or None in kinds:
            raise UnclearError(Unclear("format", f"how {', '.join(entries)} are written", list(RECORDS)))
        values["format"] = kinds.pop()
    first = with_held_out(values)
    place = places(first)[0]
    raw = RawFile(place.path, str(place.path), SOURCE_LANGUAGE, first.layout, split=place.part)
    if first.format == "csv" and first.delimiter is None:
        line = next(iter(RawLines(raw.path)), b"").decode("utf-8", "replace")
        if (delimiter := guess_delimiter(line)) != ",":
            values["delimiter"] = "TAB" if delimiter == "\t" else delimiter
            raw = raw._replace(layout=raw.layout._replace(delimiter=delimiter))
    columns, unclear = guess_columns(sample(raw), {name: values.get(name) for name in OPTIONS if "column" in name})
    if unclear:
        raise UnclearError(
            *(Unclear(name, f"the column of the {_WHAT[name]}", choices) for name, choices in unclear.items())
        )
    values |= columns
    surveyed = survey(with_held_out(values))
    values |= languages(surveyed, values)
    surveyed = replace(surveyed, own=with_held_out(values))
    codes = codes_of(surveyed)
    there = {codes[kind.language] for kind in surveyed.rows if kind.language in codes}
    if SOURCE_LANGUAGE not in there:
        raise InputError(
            f"the rows are in {', '.join(sorted(there)) or 'no language'}; training rows in {SOURCE_LANGUAGE} are "
            "needed"
        )
    surveyed = replace(surveyed, own=own_data({**values, **held_out(surveyed, codes, values)}, "the data"))
    labels = surveyed.own.labels or labels_of(surveyed, codes)
    raise_all(
        f"{surveyed.own.called} cannot be described as it is:",
        [*spelled_twice(surveyed, codes), *unclear_labels(surveyed.own, labels)],
    )
    return replace(surveyed, own=replace(surveyed.own, labels=tuple(labels)))


_WHAT = {"text_column": "texts", "label_column": "labels"}
#: The option that takes the rows of a split from the training rows.
HELD = {"valid": "hold_out", "test": "hold_out_test"}


def undecided(values: Mapping[str, Any]) -> list[str]:
    """The splits of which nothing was said."""
    return [split for split, held in HELD.items() if not values.get(f"{split}_file") and not values.get(held)]


def with_held_out(values: Mapping[str, Any]) -> OwnData:
    """What was said, with a row held out for each split that the names of files or datasets do not tell."""
    one_each = {HELD[split]: 1 for split in undecided(values)}
    held = own_data({**values, **one_each}, "the data")
    if not held.input or not held.tells_splits:
        return held
    told = own_data(values, "the data")
    if told.split_column:
        return told
    absent = [split for split in undecided(values) if not any(places_of(told, split, *x) for x in told.entries(split))]
    return own_data({**values, **{HELD[split]: 1 for split in absent}}, "the data")


def sample(raw: RawFile) -> dict[str, list[str]]:
    """Column to the texts in it, of the first rows; empty where there is none."""
    records = RECORDS[raw.layout.format](raw)
    rows = [values for _, values in islice(records.rows, SAMPLE)]
    texts = {name: [as_text(values.get(name)) for values in rows] for name in records.columns}
    return {name: [text if isinstance(text, str) else "" for text in column] for name, column in texts.items()}


def languages(surveyed: Survey, values: Mapping[str, Any]) -> dict[str, Any]:
    """The languages that were found, with how the data spell them; nothing if they were said.

    Raises:
        UnclearError: a spelling does not tell the language.
    """
    if values.get("languages"):
        return {}
    spelled = sorted({kind.language for kind in surveyed.rows if kind.language})
    guessed = {each: guess_language(each) for each in spelled}
    codes = [code for code in guessed.values() if code is not None]
    unclear = [each for each, code in guessed.items() if code is None or codes.count(code) > 1]
    if unclear:
        known = [f"{code}={each}" for each, code in guessed.items() if each not in unclear]
        raise UnclearError(Unclear("languages", "which languages these are", unclear, known))
    in_order = sorted(zip(codes, spelled, strict=True), key=lambda pair: (pair[0] != SOURCE_LANGUAGE, pair))
    return {"languages": dict(in_order)}


def held_out(surveyed: Survey, codes: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, int]:
    """How many rows to hold out for the splits that nothing else tells.

    Raises:
        InputError: a column says the splits, and none of them is that of the training rows.
    """
    own = surveyed.own
    there = {split_of(surveyed, kind) for kind in surveyed.rows}
    if "train" not in there:
        spelled = ", ".join(sorted({repr(kind.split) for kind in surveyed.rows}))
        raise InputError(
            f"the column {own.split_column} says {spelled}; say how it spells the splits: --splits train=... valid=..."
        )
    rows: Counter[str] = Counter({SOURCE_LANGUAGE: 0})
    for kind, count in surveyed.rows.items():
        if split_of(surveyed, kind) == "train" and kind.language in codes:
            rows[codes[kind.language]] += count
    counts = dict(zip(HELD, guess_held_out(rows), strict=True))
    return {HELD[split]: counts[split] for split in undecided(values) if split not in there}
