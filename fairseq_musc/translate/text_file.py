"""A text file -> the same file translated: line by line, or columns of a tab-separated one."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.files import remove_partials, sha256, write_json, written_whole
from fairseq_musc.progress import say
from fairseq_musc.translate.flaw_counts import flaws_in, told
from fairseq_musc.translate.provenance import circumstances, difference
from fairseq_musc.translate.texts import Setup, translate_texts

#: What a cell cannot hold without being two.
ONE_LINE = str.maketrans("\t\n\r", "   ")
SHOWN = 3


@dataclass(frozen=True)
class TextFile:
    """A file to translate. Made by :func:`read_text_file`."""

    path: Path
    lines: list[list[str]]
    """The cells of each line; one where the file is not taken for tab-separated."""
    ends: list[str]
    """What ends each line."""
    columns: Sequence[int] | None
    """The columns to translate, from 1; None for whole lines."""
    header: bool
    """Whether the first line is copied."""

    def texts(self) -> Iterator[tuple[list[str], int]]:
        """Line and column, from 0, of each text to translate; an empty line has none."""
        for cells in self.lines[self.header :]:
            for column in [0] if self.columns is None else [number - 1 for number in self.columns]:
                if cells != [""]:
                    yield cells, column


def read_text_file(path: Path, columns: Sequence[int] | None, header: bool) -> TextFile:
    """Reads a file, and looks whether all columns are there.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has lines without one of the columns.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {data[: error.start].count(10) + 1}: not UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    whole = text.removesuffix("\n").split("\n") if text else []
    ends = ["\r\n" if line.endswith("\r") else "\n" for line in whole]
    bare = [line.removesuffix("\r") for line in whole]
    lines = [[line] if columns is None else line.split("\t") for line in bare]
    file = TextFile(path, lines, ends, columns, header)
    wrong = [column for column in columns or () if column < 1]
    if wrong or len(set(columns or ())) != len(columns or ()):
        raise InputError(f"--columns {' '.join(map(str, columns or ()))}: each is 1 or more, and stands there once")
    short = {
        number: len(cells)
        for number, cells in enumerate(file.lines, start=1)
        if cells != [""] and len(cells) < max(columns or [1])
    }
    if short:
        named = ", ".join(f"line {number} has {count}" for number, count in [*short.items()][:SHOWN])
        raise InputError(f"{path}: {len(short)} lines have no column {max(columns or [1])}: {named}")
    return file


def translate_file(file: TextFile, output: Path, source_lang: str, target_lang: str, setup: Setup) -> None:
    """Writes the translated file, whole or not at all, and ``<output>.json`` with what made it.

    The further hypotheses of ``nbest`` go to files of their own, ``out.nbest2.txt`` beside ``out.txt``.

    Raises:
        InputError: something else is there and is not to be replaced, or nothing can be written there.
    """
    if output.resolve() == file.path.resolve():
        raise InputError(f"--output {output} is the file itself; name another")
    made_from = {"made_from": file.path.name, "made_from_sha256": sha256(file.path)}
    decides = {**made_from, "columns": file.columns, "header": file.header}
    asked = {rank: {**setup.asked(source_lang, target_lang, rank), **decides} for rank in setup.ranks}

    def missing() -> list[int]:
        return [rank for rank in setup.ranks if state_of(path_of(output, rank), asked[rank]) != ""]

    problems = [state for rank in setup.ranks if (state := state_of(path_of(output, rank), asked[rank]))]
    if problems and not setup.overwrite:
        raise InputError.all_at_once("add --overwrite to replace what is there, or name another --output:", problems)
    texts = [cells[column] for cells, column in file.texts()]
    if not missing():
        say(f"{output} is there, made in the same way; it is kept")
        setup.clean_up(output.parent, source_lang, target_lang, lambda: texts)
        return
    translated = translate_texts(texts, source_lang, target_lang, output.parent, setup, lambda: not missing())
    if translated is None:
        say(f"{output}: written by another process")
        return
    say(f"{source_lang} -> {target_lang}: {translated.told()}")
    with translated.ending(lambda: not missing()) as ours, translated.folder.failing_plainly():
        if not ours:
            say(f"{output}: written by another process")
        for rank in missing() if ours else ():
            about = {
                **asked[rank],
                "nbest": setup.decoding.nbest,
                **circumstances(setup.engine, setup.device),
                "flaws": flaws_in(texts, translated.texts(rank), source_lang, target_lang),
                "counts": translated.counts,
            }
            write_file(path_of(output, rank), file, translated.texts(rank), about)
            say(f"{path_of(output, rank)}: {len(file.lines)} lines, {told(about['flaws'])}")
    if left := translated.clear():
        say(f"{left} chunks of other files stay in {translated.folder.path.parent}")


def path_of(output: Path, rank: int) -> Path:
    """Where the hypotheses of a rank go: ``out.txt``, then ``out.nbest2.txt``."""
    if rank == 1:
        return output
    packed = ".gz" if output.suffix == ".gz" else ""
    name = Path(output.name.removesuffix(packed))
    return output.with_name(f"{name.stem}.nbest{rank}{name.suffix}{packed}")


def about_path(path: Path) -> Path:
    """Where it stands what made a file."""
    return path.with_name(f"{path.name}.json")


def state_of(path: Path, asked: dict[str, Any]) -> str | None:
    """``""`` if a file is there as it is asked for, None if it is not there, else in what it is another one."""
    if not path.exists():
        return None
    try:
        about = json.loads(about_path(path).read_text(encoding="utf-8"))
        found, digest = difference(about["provenance"], asked), about["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{path}: there is nothing beside it that says what made it"
    if found is None and digest != sha256(path):
        return f"{path} has changed since it was written"
    return f"{path}: {found}" if found else ""


def write_file(path: Path, file: TextFile, texts: Sequence[str], provenance: dict[str, Any]) -> None:
    """Writes both files of a translated file; the one that says what made it last."""
    translated = replace(file, lines=[[*cells] for cells in file.lines])
    for (cells, column), text in zip(translated.texts(), texts, strict=True):
        cells[column] = text.translate(ONE_LINE)
    data = "".join("\t".join(cells) + end for cells, end in zip(translated.lines, file.ends, strict=True)).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    for one in (path, about_path(path)):
        remove_partials(one)
    with written_whole(path, "wb") as stream:
        stream.write(data)
    about = {"lines": len(file.lines), "sha256": hashlib.sha256(data).hexdigest(), "provenance": provenance}
    write_json(about_path(path), about)
