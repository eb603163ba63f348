"""Reports what looks wrong in machine-translated corpora: untranslated copies, loops, wrong scripts, lengths, nothing.

reads   CORPORA/<name>.<language>.tsv, .json   the translated corpora, and those that they were made from
prints  how many rows of each have each flaw   see fairseq_musc.translate.quality
writes  with --drop, OUTPUT/                   all corpora of the folder, without the rows that have a flaw

A row is dropped from all corpora that hold it: what is wrong in one T_trn_MT.xx leaves S_trn and every other T_trn_MT,
too, so that they stay aligned; T_trn.xx, S_trn_MT.xx and T_trn_BT.xx have rows of their own in each language. Test rows
are dropped only when asked for by name: without them something else is measured than everyone else measures.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_musc.data.corpus import (
    CORPORA,
    Row,
    check_aligned,
    corpus_exists,
    corpus_path,
    languages_of,
    read_about,
    read_corpus,
    write_corpus,
)
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.layout import Cell, Sheet, as_text, text
from fairseq_musc.files import folder_written_whole
from fairseq_musc.progress import progress_bar
from fairseq_musc.translate.flaw_counts import flaws_of_each
from fairseq_musc.translate.quality import FLAWS, Thresholds, tally

MADE = [name for name, kind in CORPORA.items() if kind.made_from]
SPLITS = ("train", "valid", "test")
#: Characters of a text that an example shows.
SHOWN = 160

#: Name and language, e.g. ``("T_trn_MT", "de")``.
Which = tuple[str, str]


class Checked(NamedTuple):
    """One translated corpus, looked at."""

    which: Which
    source: Which
    rows: int
    found: dict[str, list[str]]
    """Id of a row -> its flaws; rows without any are left out."""
    examples: list[str]
    """Lines that show some of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc check-translations``."""
    parser.add_argument("--corpora", type=Path, required=True, metavar="FOLDER", help="where the corpora are")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MADE,
        metavar="NAME",
        help=f"look at these (default: all there are of {', '.join(MADE)})",
    )
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N rows with each flaw")
    parser.add_argument(
        "--drop",
        nargs="*",
        choices=SPLITS,
        metavar="SPLIT",
        help="write the corpora to --output without the rows that have a flaw, those of the splits train and valid; "
        "or name the splits",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="a new folder, with --drop")
    group = parser.add_argument_group("where a flaw begins")
    for threshold in fields(Thresholds):
        group.add_argument(
            f"--{threshold.name.replace('_', '-')}",
            type=type(threshold.default),
            default=threshold.default,
            metavar="X",
            help=f"{threshold.metadata['help']} (default: %(default)s)",
        )


def run(arguments: argparse.Namespace) -> None:
    """Prints the table, and writes the corpora without flawed rows if that is asked for.

    Raises:
        InputError: there is nothing to look at, or a corpus that another was made from is missing or another one; the
            output folder exists; no row would be left.
    """
    if (arguments.drop is None) != (arguments.output is None):
        raise InputError("--drop and --output go together: give both, or neither to have a report only")
    if arguments.output is not None and arguments.output.exists():
        raise InputError(f"{arguments.output} exists; name a new folder for the corpora without flawed rows")
    thresholds = thresholds_from(arguments)
    sources = sources_of(arguments.corpora)
    wanted = [which for which in sources if which[0] in (arguments.only or MADE)]
    if not wanted:
        names = ", ".join(arguments.only or MADE)
        raise InputError(f"{arguments.corpora} holds none of {names}; make them with `fairseq-musc translate`")
    checked = list(check(arguments.corpora, {which: sources[which] for which in wanted}, thresholds, arguments.show))
    print(as_text(sheet(checked, thresholds)))
    for one in checked:
        print("".join(f"{line}\n" for line in one.examples), end="")
    if arguments.output is not None:
        splits = arguments.drop or ("train", "valid")
        for line in drop(arguments.corpora, arguments.output, checked, sources, splits, thresholds):
            print(line)


def thresholds_from(arguments: argparse.Namespace) -> Thresholds:
    """The thresholds from parsed options.

    Raises:
        InputError: a share is not within 0 and 1, the ratio is not above 1, or a size is negative; all at once.
    """
    thresholds = Thresholds(**{threshold.name: getattr(arguments, threshold.name) for threshold in fields(Thresholds)})
    problems = []
    for name, value in asdict(thresholds).items():
        option = f"--{name.replace('_', '-')} is {value}"
        if name in ("copied", "repeated", "foreign", "kana"):
            if not 0 < value <= 1:
                problems.append(f"{option}; a share is above 0 and at most 1")
        elif name == "ratio":
            if not value > 1:
                problems.append(f"{option}; it must be above 1")
        elif not value >= 0:
            problems.append(f"{option}; it must not be negative")
    if problems:
        raise InputError.all_at_once("these thresholds cannot be used:", problems)
    return thresholds


# --- looking ---------------------------------------------------------------------------------------------------------


def sources_of(folder: Path) -> dict[Which, Which]:
    """The translated corpora of a folder, each with the one that it was made from, in the order of Table 1.

    Raises:
        InputError: a corpus is missing that another was made from, or it is not the one any more.
    """
    found: dict[Which, Which] = {}
    problems = []
    for which in ((name, language) for name in MADE for language in languages_of(folder, name)):
        provenance = read_about(folder, *which)["provenance"]
        source = found[which] = source_of(folder, which, provenance)
        if not corpus_exists(folder, *source):
            problems.append(f"{'.'.join(which)} was made from {'.'.join(source)}, which is not there")
        elif provenance.get("made_from_sha256") not in (None, read_about(folder, *source)["sha256"]):
            problems.append(
                f"{'.'.join(which)} was made from another {'.'.join(source)} than is there; translate again"
            )
    if problems:
        raise InputError.all_at_once(f"translations in {folder} cannot be held against their sources:", problems)
    return found


def source_of(folder: Path, which: Which, provenance: Mapping[str, Any]) -> Which:
    """The corpus that a translated one was made from, by its provenance or, if it came from elsewhere, by its name."""
    if "made_from" in provenance:
        name, _, language = provenance["made_from"].partition(".")
        return name, language
    name = CORPORA[which[0]].made_from
    assert name is not None
    languages = languages_of(folder, name)
    return name, which[1] if which[1] in languages or len(languages) != 1 else languages[0]


def check(folder: Path, sources: Mapping[Which, Which], thresholds: Thresholds, show: int = 0) -> Iterator[Checked]:
    """Looks at translated corpora, one at a time.

    Args:
        folder: where they and their sources are.
        sources: which, and what each was made from.
        thresholds: where a flaw begins.
        show: how many rows with each flaw become examples.

    Raises:
        InputError: a corpus and its source have not the same rows.
    """
    total = sum(read_about(folder, *which)["rows"] for which in sources)
    with progress_bar(total, "texts", "check") as bar:
        for which, source in sources.items():
            before, after = read_corpus(folder, *source), read_corpus(folder, *which)
            check_aligned(".".join(source), before.ids, ".".join(which), after.ids)
            rows = list(zip(before.rows, after.rows, strict=True))
            languages = before.text_language, after.text_language
            found, examples, shown = {}, [], Counter[str]()
            for (old, new), seen in zip(rows, flaws_of_rows(rows, *languages, thresholds, bar), strict=True):
                if not seen:
                    continue
                found[new.id] = seen
                if any(shown[flaw] < show for flaw in seen):
                    examples += [f"{'.'.join(which)}, id {new.id}: {', '.join(seen)}", *side_by_side(old, new)]
                shown.update(seen)
            yield Checked(which, source, len(after.rows), found, examples)


def flaws_of_rows(
    rows: Sequence[tuple[Row, Row]],
    source_lang: str,
    target_lang: str,
    thresholds: Thresholds,
    bar: Any,
) -> list[list[str]]:
    """The flaws of each row and its translation: those of either of its texts.

    Args:
        bar: counts the texts that were looked at; its total has one for each row.
    """
    texts = [(i, old.text, new.text) for i, (old, new) in enumerate(rows)]
    for i, (old, new) in enumerate(rows):
        if old.text_pair is not None and new.text_pair is not None:
            texts.append((i, old.text_pair, new.text_pair))
    bar.total += len(texts) - len(rows)
    sources, translations = [source for _, source, _ in texts], [translated for _, _, translated in texts]
    found = flaws_of_each(sources, translations, source_lang, target_lang, thresholds, bar.update)
    seen: list[set[str]] = [set() for _ in rows]
    for (i, _, _), of_text in zip(texts, found, strict=True):
        seen[i].update(of_text)
    return [[flaw for flaw in FLAWS if flaw in of_row] for of_row in seen]


def side_by_side(old: Row, new: Row) -> Iterator[str]:
    """The texts of a row and their translations, a line each, cut."""
    for before, after in ((old.text, new.text), (old.text_pair, new.text_pair)):
        if before is not None and after is not None:
            yield from (f"  {mark} {' '.join(cell.split())[:SHOWN]}" for mark, cell in (("-", before), ("+", after)))


def sheet(checked: Sequence[Checked], thresholds: Thresholds) -> Sheet:
    """The report: a line a corpus."""

    def share(count: int, rows: int) -> Cell:
        return Cell(f"{count} ({100 * count / rows:.2f} %)" if count else "0", str(count))

    lines = []
    for one in checked:
        counts = tally(one.found.values())
        cells = [share(counts[name], one.rows) for name in ("flawed", *FLAWS)]
        names = [text(".".join(one.which)), text(".".join(one.source))]
        lines.append([*names, text(str(one.rows)), *cells])
    changed = {name: value for name, value in asdict(thresholds).items() if value != getattr(Thresholds(), name)}
    notes = ["a row with several flaws is counted under each, and once under flawed"]
    notes += [f"{name.replace('_', ' ')}: {value}" for name, value in changed.items()]
    header = [text(name) for name in ("Corpus", "made from", "rows", "flawed", *FLAWS)]
    return Sheet("Translated rows that look wrong", header, lines, notes, names=2)


# --- dropping --------------------------------------------------------------------------------------------------------


def drop(
    folder: Path,
    output: Path,
    checked: Sequence[Checked],
    sources: Mapping[Which, Which],
    splits: Sequence[str],
    thresholds: Thresholds,
) -> list[str]:
    """Writes all corpora of a folder to a new one, without the rows that have a flaw in any view of them.

    Args:
        folder: where the corpora are.
        output: the new folder; it appears whole or not at all.
        checked: what was found.
        sources: every translated corpus of the folder, and what it was made from.
        splits: rows of these are dropped; corpora of others are copied as they are.
        thresholds: what was looked for, for the provenance.

    Returns:
        A line for each corpus that has lost rows, and one that says where they are.

    Raises:
        InputError: no row of a corpus would be left.
    """
    flawed: dict[Which, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    seen_in: dict[Which, list[str]] = defaultdict(list)
    for one in checked:
        root = written(one.which, sources)
        seen_in[root].append(".".join(one.which))
        for row_id, seen in one.found.items():
            flawed[root][row_id].update(seen)
    corpora = [(name, language) for name in CORPORA for language in languages_of(folder, name)]
    said = []
    with folder_written_whole(output) as new:
        for which in in_order(corpora, sources):
            root = written(which, sources)
            if CORPORA[which[0]].split not in splits or not flawed[root]:
                path = corpus_path(folder, *which)
                for file in (path, path.with_suffix(".json")):
                    shutil.copy2(file, new)
                continue
            corpus = read_corpus(folder, *which)
            rows = [row for row in corpus.rows if row.id not in flawed[root]]
            if not rows:
                raise InputError(f"all {len(corpus.rows)} rows of {'.'.join(which)} have a flaw; none would be left")
            dropped = {
                "rows": len(corpus.rows) - len(rows),
                **tally(flawed[root].values()),
                "seen_in": seen_in[root],
                "thresholds": asdict(thresholds),
                "sha256_before": read_about(folder, *which)["sha256"],
            }
            provenance = dict(corpus.provenance)
            if "made_from_sha256" in provenance:  # its rows were made from those that are left in its source
                provenance["made_from_sha256"] = read_about(new, *sources[which])["sha256"]
            provenance["dropped_as_flawed"] = [*provenance.get("dropped_as_flawed", []), dropped]
            write_corpus(new, replace(corpus, rows=rows, provenance=provenance))
            said.append(f"{'.'.join(which)}: {len(rows)} rows left, {dropped['rows']} dropped")
    return [*said, f"the corpora are in {output}"]


def written(which: Which, sources: Mapping[Which, Which]) -> Which:
    """The corpus that people wrote and that this one was made from, step by step; views of it share it."""
    while which in sources:
        which = sources[which]
    return which


def in_order(corpora: Sequence[Which], sources: Mapping[Which, Which]) -> list[Which]:
    """Corpora, each behind the one that it was made from."""

    def steps(which: Which) -> int:
        return 1 + steps(sources[which]) if which in sources else 0

    return sorted(corpora, key=steps)
