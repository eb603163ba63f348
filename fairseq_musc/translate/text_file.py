"""A text file -> the same file translated: line by line, or columns of a tab-separated one."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
#: What zlib is told to write what gzip does, without a time.
GZIP = 31


@dataclass(frozen=True)
class TextFile:
    """A file to translate, whose lines stay in it. Made by :func:`read_text_file`."""

    path: Path
    columns: Sequence[int] | None
    """The columns to translate, from 1; None for whole lines."""
    header: bool
    """Whether the first line is copied."""

    def lines(self) -> Iterator[tuple[list[str], str]]:
        """The cells of each line, one where the file is not taken for tab-separated, and what ends it.

        Raises:
            InputError: the file cannot be read, or is not UTF-8.
        """
        try:
            with gzip.open(self.path) if self.path.suffix == ".gz" else open(self.path, "rb") as stream:
                for number, data in enumerate(stream, start=1):
                    try:
                        line = data.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n")
                    except UnicodeDecodeError:
                        raise InputError(f"{self.path}, line {number}: not UTF-8") from None
                    if not line and not data.endswith(b"\n"):
                        return  # a byte order mark and nothing else
                    bare = line.removesuffix("\r")
                    cells = [bare] if self.columns is None else bare.split("\t")
                    yield cells, "\r\n" if line.endswith("\r") else "\n"
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}") from None

    def places(self, cells: list[str], number: int) -> list[int]:
        """The columns of a line, from 0, that are translated: none of an empty line, and of the first if it is copied.

        Args:
            cells: of the line.
            number: of the line, from 1.
        """
        if cells == [""] or (self.header and number == 1):
            return []
        return [0] if self.columns is None else [column - 1 for column in self.columns]

    def texts(self) -> Iterator[str]:
        """The texts to translate."""
        for number, (cells, _) in enumerate(self.lines(), start=1):
            for place in self.places(cells, number):
                yield cells[place]


def read_text_file(path: Path, columns: Sequence[int] | None, header: bool) -> TextFile:
    """A file, once it was looked whether all columns are there.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has lines without one of the columns.
    """
    file = TextFile(path, columns, header)
    count, named = 0, []
    for number, (cells, _) in enumerate(file.lines(), start=1):
        if cells != [""] and len(cells) < max(columns or [1]):
            count += 1
            if count <= SHOWN:
                named.append(f"line {number} has {len(cells)}")
    wrong = [column for column in columns or () if column < 1]
    if wrong or len(set(columns or ())) != len(columns or ()):
        raise InputError(f"--columns {' '.join(map(str, columns or ()))}: each is 1 or more, and stands there once")
    if count:
        raise InputError(f"{path}: {count} lines have no column {max(columns or [1])}: {', '.join(named)}")
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
    if not missing():
        say(f"{output} is there, made in the same way; it is kept")
        setup.clean_up(output.parent, source_lang, target_lang, file.texts())
        return
    translated = translate_texts(file.texts(), source_lang, target_lang, output.parent, setup, lambda: not missing())
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
                "flaws": flaws_in(file.texts(), translated.texts(rank), source_lang, target_lang),
                "counts": translated.counts,
            }
            lines = write_file(path_of(output, rank), file, translated.texts(rank), about)
            say(f"{path_of(output, rank)}: {lines} lines, {told(about['flaws'])}")
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


def write_file(path: Path, file: TextFile, texts: Iterator[str], provenance: dict[str, Any]) -> int:
    """Writes both files of a translated file, the one that says what made it last; returns the number of lines."""
    for one in (path, about_path(path)):
        remove_partials(one)
    digest, number = hashlib.sha256(), 0
    packer = zlib.compressobj(9, wbits=GZIP) if path.suffix == ".gz" else None
    with written_whole(path, "wb") as stream:

        def write(data: bytes) -> None:
            digest.update(data)
            stream.write(data)

        for number, (cells, end) in enumerate(file.lines(), start=1):
            for place in file.places(cells, number):
                cells[place] = next(texts).translate(ONE_LINE)
            line = ("\t".join(cells) + end).encode()
            write(packer.compress(line) if packer else line)
        if packer:
            write(packer.flush())
    write_json(about_path(path), {"lines": number, "sha256": digest.hexdigest(), "provenance": provenance})
    return number
