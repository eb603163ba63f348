#!/usr/bin/env python
"""A data set of topics in several languages from the lists of Debian's apt: descriptions of packages.

The label is the section that a package lies in. S_trn and the source side are the descriptions in English; those in the
other languages are translations that people made (Debian Description Translation Project), so that T_tst is translated
text here and there is no T_trn. Every row of validation and test is there in all languages.
"""

import argparse
import bz2
import csv
import gzip
import hashlib
import lzma
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, NamedTuple

from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.layout import aligned
from fairseq_musc.files import written_whole
from fairseq_musc.progress import with_progress

#: Sections that are topics. Others say a form (libs, doc, localization), a programming language, a desktop, or anything
#: (utils, misc), or have translations of some ten sources only.
SECTIONS = ("admin", "games", "graphics", "mail", "math", "net", "science", "sound", "text", "web")
LANGUAGES = ("de", "fr", "it", "ja")
#: Training rows of a section at most: without it net and science are more than a third.
MOST = 600
#: Of the rows that are there in all languages, one in so many is for validation.
VALID = 4
#: A paragraph of so many characters says what it is of; two packages that share one are not told apart by their text.
TELLING = 80
#: Writing without spaces: lines of it are joined without one.
UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
#: Python's own ways to open a list, by the ending of its name.
OPEN: dict[str, Callable[..., IO[str]]] = {"": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Package(NamedTuple):
    """A package with its description in English and in what other languages there is one."""

    name: str
    source: str
    section: str
    texts: Mapping[str, str]


# --- reading the lists -----------------------------------------------------------------------------------------------


def list_in(folder: Path, name: str) -> Path:
    """The one list of a name, e.g. ``Packages``, below whatever prefix apt gave it, compressed or not."""
    endings = (*OPEN, ".lz4")
    found = sorted(path for ending in endings for path in folder.glob(f"*{name}{ending}"))
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"{folder} is to hold one list {name} ({', '.join(name + ending for ending in endings)}, with anything "
            f"before it), got {got}; let apt-get update fill a folder of its own, from one line of sources"
        )
    return found[0]


def text_of(path: Path) -> str:
    """What a list says. LZ4 is what apt keeps; it is not in Python's library, so apt or lz4 unpacks it."""
    if path.suffix != ".lz4":
        with OPEN[path.suffix if path.suffix in OPEN else ""](path, "rt", encoding="utf-8") as stream:
            return stream.read()
    for program, *arguments in (("/usr/lib/apt/apt-helper", "cat-file"), ("lz4", "-dc")):
        if shutil.which(program):
            done = subprocess.run([program, *arguments, path], capture_output=True, check=False)
            if done.returncode == 0:
                return done.stdout.decode()
            raise InputError(f"{path} cannot be unpacked: {done.stderr.decode(errors='replace').strip()}")
    raise InputError(f"{path} is compressed by LZ4, and neither apt-helper nor lz4 is there; unpack it or install lz4")


def stanzas(path: Path) -> Iterator[Message]:
    """The stanzas of a list; their form is that of the headers of mail (deb822)."""
    parser = HeaderParser()
    for stanza in with_progress(re.split(r"\n(?:[ \t]*\n)+", text_of(path)), "stanzas", f"reading {path.name}"):
        if stanza.strip():
            yield parser.parsestr(stanza)


def packages_in(folder: Path, languages: Sequence[str]) -> Iterator[Package]:
    """The packages of the lists of a folder.

    A translation belongs to a package if it names the package and the checksum of the English that it translates, so
    that one of an older description is none.
    """
    listed = {
        language: {
            (stanza["Package"], stanza["Description-md5"]): stanza[f"Description-{language}"]
            for stanza in stanzas(list_in(folder, f"Translation-{language}"))
        }
        for language in ("en", *languages)
    }
    for stanza in stanzas(list_in(folder, "Packages")):
        name, section = stanza["Package"], stanza["Section"]
        key = name, stanza["Description-md5"]
        texts = {language: texts[key] for language, texts in listed.items() if texts.get(key)}
        if "en" in texts and section:
            yield Package(name, (stanza["Source"] or name).split()[0], section.rpartition("/")[2], texts)


def plain(description: str) -> str:
    """A description as text: the short one, and paragraphs, with an empty line between any two.

    The lines of a paragraph were broken to fit a terminal, and are joined. Indented ones stand by themselves (they are
    shown as they are: lists), but one that is indented deeper than the item before it goes on with it.
    """
    short, *lines = description.split("\n")
    blocks: list[list[str]] = [[short.strip()], []]
    hanging: int | None = None  # how far the item before is indented
    for line in (each[1:].rstrip() for each in lines):
        indented = len(line) - len(line.lstrip())
        if line in (".", ""):
            blocks.append([])
            hanging = None
        elif not blocks[-1] or (indented and (hanging is None or indented <= hanging)):
            blocks[-1].append(line.strip())
            hanging = indented or None
        elif not indented and hanging is not None:  # running text below a list
            blocks[-1].append(line.strip())
            hanging = None
        else:
            blocks[-1][-1] = joined(blocks[-1][-1], line.strip())
    return "\n\n".join("\n".join(block) for block in blocks if block)


def joined(before: str, after: str) -> str:
    """Two lines as one: with a space between, but not in writing that has none."""
    return before + ("" if UNSPACED.match(before[-1]) and UNSPACED.match(after) else " ") + after


# --- choosing rows ---------------------------------------------------------------------------------------------------


def paragraphs(text: str) -> set[str]:
    """The paragraphs that say what a text is of, as they are compared."""
    return {" ".join(part.split()).casefold() for part in text.split("\n\n") if len(part) >= TELLING}


def translated(package: Package, language: str) -> str:
    """How far the description is there in a language: ``yes``, ``no``, ``equal`` or ``partly``."""
    if language not in package.texts:
        return "no"
    english, text = package.texts["en"], package.texts[language]
    if text == english:
        return "equal"
    return "partly" if paragraphs(text) & paragraphs(english) else "yes"


def one_of_each(packages: Iterable[Package]) -> dict[str, Package]:
    """Of each source the package of its name, else the first: the others are described in almost the same words."""
    found: dict[str, Package] = {}
    for each in sorted(packages, key=lambda package: (package.name != package.source, package.name)):
        found.setdefault(each.source, each)
    return dict(sorted(found.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest()))


def split(
    packages: Sequence[Package], languages: Sequence[str], most: int = MOST
) -> tuple[dict[str, list[Package]], dict[str, int]]:
    """The rows of test, valid and train, in an order that depends on names alone; and what was left out, and why.

    Test and validation are of sources that have a package with a translation in all languages, train of the others: no
    source stands in two splits. Of packages that share a telling paragraph, one split at most has any: test goes before
    valid, valid before train.
    """
    whole = one_of_each(each for each in packages if all(translated(each, xx) == "yes" for xx in languages))
    others = one_of_each(each for each in packages if each.source not in whole)
    left_out = {"of a source that has another": len(packages) - len(whole) - len(others)}
    drawn: dict[str, list[Package]] = {"test": [], "valid": [], "train": []}
    counts: Counter[tuple[str, str]] = Counter()
    for each in whole.values():
        counts["whole", each.section] += 1
        drawn["test" if counts["whole", each.section] % VALID else "valid"].append(each)
    drawn["train"] = [*others.values()]
    taken: set[str] = set()
    for name, rows in drawn.items():
        apart = [each for each in rows if not paragraphs(each.texts["en"]) & taken]
        left_out[f"of {name} with a paragraph of a split before it"] = len(rows) - len(apart)
        drawn[name] = apart
        taken.update(*(paragraphs(each.texts["en"]) for each in apart))
    kept = []
    for each in drawn["train"]:
        counts["train", each.section] += 1
        if counts["train", each.section] <= most:
            kept.append(each)
    left_out[f"of train beyond {most} of a section"] = len(drawn["train"]) - len(kept)
    drawn["train"] = kept
    return drawn, left_out


# --- what is written and said ----------------------------------------------------------------------------------------


def write(path: Path, drawn: Mapping[str, Sequence[Package]], languages: Sequence[str]) -> None:
    """All rows as one CSV: a row for each split, language and package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(["id", "section", "language", "split", "text"])
        for name in ("train", "valid", "test"):
            for language in ("en",) if name == "train" else ("en", *languages):
                out.writerows([each.name, each.section, language, name, each.texts[language]] for each in drawn[name])


def said(packages: Sequence[Package], drawn: Mapping[str, Sequence[Package]], languages: Sequence[str]) -> list[str]:
    """The counts: of translations, of the labels in each split, and what always saying one label would reach."""
    lines = [["language", "translations", "equal to English", "with a paragraph in English"]]
    for language in languages:
        states = Counter(translated(each, language) for each in packages)
        there = len(packages) - states["no"]
        lines.append([language, *(f"{count:,}" for count in (there, states["equal"], states["partly"]))])
    printed = [*aligned(lines), ""]
    counts = {name: Counter(each.section for each in drawn[name]) for name in ("train", "valid", "test")}
    lines = [["section", *(word for name in counts for word in (name, "%"))]]
    for section in sorted(set().union(*counts.values())):
        shares = ((found[section], 100 * found[section] / max(1, found.total())) for found in counts.values())
        lines.append([section, *(word for count, share in shares for word in (f"{count:,}", f"{share:.1f}"))])
    lines.append(["all", *(word for found in counts.values() for word in (f"{found.total():,}", ""))])
    printed += [*aligned(lines), ""]
    for name in ("valid", "test"):
        [[label, count]] = counts[name].most_common(1)
        printed.append(f"always {label}: {100 * count / counts[name].total():.1f}% of {name}")
    return printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the data set and prints what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, help="the folder of Packages and Translation-<xx>, as apt keeps them")
    parser.add_argument("output", type=Path, help="the CSV to write, e.g. debian.csv")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES, help="beside en (default: de fr it ja)")
    parser.add_argument("--sections", nargs="+", default=SECTIONS, help=f"the labels (default: {' '.join(SECTIONS)})")
    parser.add_argument("--most", type=int, default=MOST, help="training rows of a section (default: %(default)s)")
    asked = parser.parse_args(arguments)
    try:
        packages = [
            each._replace(texts={language: plain(text) for language, text in each.texts.items()})
            for each in packages_in(asked.lists, asked.languages)
            if each.section in asked.sections
        ]
        drawn, left_out = split(packages, asked.languages, asked.most)
        if empty := [name for name, rows in drawn.items() if not rows]:
            raise InputError(f"no rows for {', '.join(empty)} in {asked.lists}; are the sections right, and the lists?")
        write(asked.output, drawn, asked.languages)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{len(packages):,} packages of {len(asked.sections)} sections; left out")
    print("\n".join(f"  {count:,} {why}" for why, count in left_out.items()), end="\n\n")
    print("\n".join(said(packages, drawn, asked.languages)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
