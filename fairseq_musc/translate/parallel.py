"""Parallel text: files of sentence pairs, and the lines of them that are held out.

FOLDER/<aa>-<bb>.tsv or .tsv.gz   a line each: the sentence in language aa, a tab, the one in bb
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256

Pairs = dict[tuple[str, str], list[tuple[str, str]]]


def read_parallel(
    folder: Path, languages: Sequence[str] | None, limit: int | None
) -> tuple[Pairs, dict[str, dict[str, Any]]]:
    """The sentence pairs of each file, and each file's checksum and count.

    Lines with an empty side are left out and counted.

    Raises:
        InputError: there is no file, or lines that are not UTF-8 or not two cells; of every file the first.
    """
    names = {path: path.name.removesuffix(".gz").removesuffix(".tsv") for path in sorted(folder.glob("*-*.tsv*"))}
    files = {path: tuple(name.split("-")) for path, name in names.items() if path.name.endswith((".tsv", ".tsv.gz"))}
    wanted = {path: pair for path, pair in files.items() if len(pair) == 2 and not set(pair) - set(languages or pair)}
    missing = sorted(set(languages or ()) - {language for pair in wanted.values() for language in pair})
    if missing or not wanted:
        there = ", ".join(path.name for path in files) or "none"
        asked = f" between the languages {', '.join(languages)}" if languages else ""
        raise InputError(
            f"{folder} holds no parallel text{asked}{' with ' + ', '.join(missing) if missing else ''}; files are "
            f"called like en-de.tsv or en-de.tsv.gz, and there is {there}"
        )
    pairs: Pairs = {}
    sources, problems = {}, []
    for path, (a, b) in wanted.items():
        if (a, b) in pairs or (b, a) in pairs:
            problems.append(f"{path.name}: {a}-{b} is there twice; leave one of the files")
            continue
        rows, empty = [], 0
        try:
            for cells in read_lines(path, limit):
                if all(cells):
                    rows.append(cells)
                else:
                    empty += 1
        except ValueError as error:
            problems.append(str(error))
        if not rows and not problems:
            problems.append(f"{path}: it has no sentence pair")
        pairs[a, b] = rows
        sources[path.name] = {"sha256": sha256(path), "sentence_pairs": len(rows), "with_an_empty_side": empty}
    if problems:
        raise InputError.all_at_once("the parallel text cannot be used:", problems)
    return pairs, sources


def read_lines(path: Path, limit: int | None) -> Iterator[tuple[str, str]]:
    """The two cells of each line, white space made single.

    Raises:
        ValueError: with the file and the line, at the first that is not UTF-8 or not two cells.
    """
    number = 0
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                if limit is not None and number > limit:
                    return
                cells = [" ".join(cell.split()) for cell in line.decode().removesuffix("\n").split("\t")]
                if len(cells) != 2:
                    raise ValueError(f"it has {len(cells)} cells; a line is a sentence, a tab and its translation")
                yield cells[0], cells[1]
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}, line {number}: {error}") from None


def hold_out(pairs: Pairs, number: int, seed: int) -> tuple[Pairs, Pairs]:
    """Splits off ``number`` random lines of each file; no sentence of theirs is left in the training lines.

    Raises:
        InputError: nothing would be left to train on.
    """
    held_out = {
        pair: random.Random(seed).sample(rows, min(number, len(rows))) if number else [] for pair, rows in pairs.items()
    }
    seen = {
        (language, sentence)
        for pair, rows in held_out.items()
        for row in rows
        for language, sentence in zip(pair, row, strict=True)
    }
    training = {
        (a, b): [row for row in rows if (a, row[0]) not in seen and (b, row[1]) not in seen]
        for (a, b), rows in pairs.items()
    }
    bare = [f"{a}-{b} has {len(pairs[a, b])} lines" for (a, b), rows in training.items() if not rows]
    if bare:
        raise InputError.all_at_once(
            f"no line is left to train on when {number} of each file are held out; give --held-out a smaller number:",
            bare,
        )
    return training, held_out
