"""Which raw file holds which corpus: looks for the published forms of a data set in the folders that were given.

A form fits where one of its files is there. Each corpus is looked for on its own, so that the parts of a data set may
come in several forms: PAWS-X's own test files and XTREME's translations of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import SOURCE_LANGUAGE, Dataset, Files, Form, Layout
from fairseq_musc.errors import InputError, raise_all

#: The corpora of translations that are published with some data sets.
TRANSLATIONS = ("T_trn_MT", "S_tst_MT")


class RawFile(NamedTuple):
    """A raw file that is there, or what stands for one: a split of a dataset."""

    path: Path
    """Where it is; of a split, what messages call it."""
    name: str
    """The path below its folder: what provenance calls it."""
    language: str
    layout: Layout
    translated_by: str = ""
    where: tuple[tuple[str, str], ...] = ()
    """Columns and the values that they have in the rows that count; all rows count if empty."""
    split: tuple[str, str | None, str] | None = None
    """For a split of a Hugging Face dataset: its name or folder, its configuration, and the split."""


class Sought(NamedTuple):
    """The files of one corpus in one form, there or not."""

    form: Form
    files: Files
    file: str
    """What ``{file}`` stands for."""
    names: dict[str, str]
    """Language to the path below a folder."""
    there: dict[str, RawFile]
    """Language to the file, where it is there."""
    twice: list[str]
    """Paths that are there in more than one folder."""


def seek(folders: Sequence[Path], form: Form, files: Files, file: str, languages: Sequence[str]) -> Sought:
    """Looks for the files of one corpus in one form."""
    sought = Sought(form, files, file, {}, {}, [])
    for language in languages:
        name = files.name(file, language)
        sought.names[language] = name
        paths = [
            path for folder in folders if (path := folder / name).is_file() or (path := folder / f"{name}.gz").is_file()
        ]
        if paths:
            name += paths[0].suffix if paths[0].name.endswith(".gz") else ""
            sought.there[language] = RawFile(paths[0], name, language, files.layout, form.translated_by)
        if len(paths) > 1:
            sought.twice.append(f"{name} lies in {' and '.join(str(path.parent) for path in paths)}; give one of them")
    return sought


def find_files(
    folders: Sequence[Path],
    dataset: Dataset,
    wanted: Mapping[str, Sequence[str]],
    *,
    forms: Sequence[str] | None = None,
    given: Mapping[str, str] | None = None,
    size: int | None = None,
    translations: Sequence[str] | None = None,
) -> dict[str, Sought]:
    """Corpus to its files in the form that they are there in, all of them.

    Args:
        folders: where raw files lie.
        dataset: what they are.
        wanted: S_trn, T_val and T_tst, as far as they are asked for, to the languages to read them in.
        forms: the names of the only forms to look for; None for all.
        given: corpus to the file that is to be read in place of the published one.
        size: what ``{size}`` stands for.
        translations: target languages to look for published translations in; None for no translations. S_trn is then
            taken from the translations if it is nowhere else.

    Raises:
        InputError: files are not there, a corpus is there in several forms, or two would be read from one file.
    """
    given = given or {}
    considered = [form for form in dataset.forms if forms is None or form.name in forms]

    def look(corpus: str, languages: Sequence[str]) -> list[Sought]:
        file = given.get(corpus)
        # A file that some form names is read as that form says; another takes the place of the published one.
        rows = [(form, files) for form in considered for files in form.files.values() if file and files.file == file]
        if not rows:
            rows = [(form, form.files[corpus]) for form in considered if corpus in form.files]
        if not rows and file:  # a validation set for a data set that is published without
            rows = [(form, form.files["S_trn"]) for form in considered if "S_trn" in form.files]
        rows = [*{form.name: (form, files) for form, files in rows}.values()]
        return [seek(folders, form, files, file or files.file.format(size=size), languages) for form, files in rows]

    looked = {corpus: look(corpus, languages) for corpus, languages in wanted.items()}
    made = {corpus: look(corpus, translations or dataset.languages[1:]) for corpus in TRANSLATIONS}
    chosen, chosen_made = where_there_once(looked), where_there_once(made)
    problems = [*ambiguities(looked)]
    if not any(sought.there for sought in looked["S_trn"]) and [*wanted["S_trn"]] == [SOURCE_LANGUAGE]:
        source = source_side(chosen_made["T_trn_MT"]) if "T_trn_MT" in chosen_made else None
        if source and translations is None:
            problems.append(f"S_trn is not there, but can be taken from {source.form.name}: give --translations")
        elif source:
            chosen["S_trn"] = source
    if translations is not None:
        problems += ambiguities(made)
        chosen |= chosen_made
        if not any(sought.there for found in made.values() for sought in found):
            problems += [f"no published translations are there: {examples(found)}" for found in made.values()]
    nowhere = [corpus for corpus, found in looked.items() if not any(s.there for s in found) and corpus not in chosen]
    if len(nowhere) == len(looked):
        raise_all(f"{_all_of_them(looked)} of {dataset.name} looked for are not in {_named(folders)}:", _forms(looked))
    for corpus in nowhere:
        in_use = [sought.form.name for sought in chosen.values()]
        same_form = [sought for sought in looked[corpus] if sought.form.name in in_use]
        if same_form:
            chosen[corpus] = same_form[0]
        else:
            problems.append(f"{corpus} is not there: {examples(looked[corpus])}")
    raise_all("the options do not go together:", [*same_files(chosen)])
    problems += english_in_other_languages(chosen)
    raise_absent(folders, dataset, chosen, problems)
    problems += [problem for sought in chosen.values() for problem in sought.twice]
    raise_all(f"{_named(folders)} cannot be read as {dataset.name}:", problems)
    return chosen


def where_there_once(looked: Mapping[str, Sequence[Sought]]) -> dict[str, Sought]:
    """The files of the corpora that are there in one form."""
    there = {corpus: [sought for sought in found if sought.there] for corpus, found in looked.items()}
    return {corpus: found[0] for corpus, found in there.items() if len(found) == 1}


def english_in_other_languages(chosen: Mapping[str, Sought]) -> Iterator[str]:
    """One problem a corpus that is asked for in several languages and published in the source language alone."""
    for corpus, sought in chosen.items():
        if len(sought.names) > 1 and sought.files.in_source_language_alone:
            yield (
                f"{corpus} would be {sought.names[SOURCE_LANGUAGE]} in every language, which is in {SOURCE_LANGUAGE} "
                "alone; leave --hold-out out or name another file"
            )


def source_side(sought: Sought) -> Sought | None:
    """S_trn in the first file of its translations, if the texts that were translated stand there too."""
    raw = next(iter(sought.there.values()))
    columns = raw.layout.columns
    if not columns.source:
        return None
    text, pair = columns.source
    layout = raw.layout._replace(columns=columns._replace(text=text, text_pair=pair, source=()))
    raw = raw._replace(language=SOURCE_LANGUAGE, layout=layout, translated_by="")
    return sought._replace(names={SOURCE_LANGUAGE: raw.name}, there={SOURCE_LANGUAGE: raw})


def ambiguities(looked: Mapping[str, Sequence[Sought]]) -> Iterator[str]:
    """One problem a corpus that is there in several forms."""
    for corpus, found in looked.items():
        there = [sought for sought in found if sought.there]
        if len(there) > 1:
            forms = ", ".join(f"{s.form.name} ({next(iter(s.there.values())).name})" for s in there)
            yield f"{corpus} is there in several forms, {forms}: say with --form which to read"


def same_files(chosen: Mapping[str, Sought]) -> Iterator[str]:
    """One problem a file that two of S_trn, T_val and T_tst would be read from."""
    used: dict[str, str] = {}
    for corpus, sought in chosen.items():
        if corpus in TRANSLATIONS:
            continue
        split = CORPORA[corpus].split
        name = sought.names[SOURCE_LANGUAGE]
        if name in used:
            cure = "give --hold-out N to split it" if split == "valid" else "give another"
            yield f"the {used[name]} and the {split} set would both be {sought.file}; {cure}"
        used[name] = split


def raise_absent(
    folders: Sequence[Path], dataset: Dataset, chosen: Mapping[str, Sought], problems: Sequence[str]
) -> None:
    """Raises :class:`InputError` if files are not there, with what could be done and what else is wrong."""
    names = {name for sought in chosen.values() for name in sought.names.values()}
    absent = {
        str(folders[0] / name) if len(folders) == 1 else name: None
        for sought in chosen.values()
        for language, name in sought.names.items()
        if language not in sought.there
    }
    if not absent:
        return
    cures = []
    for corpus, sought in chosen.items():
        languages = " ".join(sought.there) or "no language"
        cures.append(f"{sought.file if corpus not in TRANSLATIONS else corpus} is there in {languages}")
    if "S_trn" in chosen and not chosen["S_trn"].there and "T_val" in chosen and chosen["T_val"].there:
        cures.append(f"without train files: --train-file {chosen['T_val'].file} --hold-out 400")
    cures.append("to read some of the languages: --languages")
    raise InputError.all_at_once(
        f"{len(absent)} of the {len(names)} files of {dataset.name} looked for are not in {_named(folders)}:",
        [*absent, *cures, *problems],
    )


def examples(found: Sequence[Sought]) -> str:
    """What was looked for in each form, by one file."""
    looked = "; ".join(f"{sought.form.name}: {next(iter(sought.names.values()))}" for sought in found if sought.names)
    return f"looked for were {looked}" if looked else "it is published in none of the forms looked for"


def _named(folders: Sequence[Path]) -> str:
    return " or ".join(map(str, folders))


def _all_of_them(looked: Mapping[str, Sequence[Sought]]) -> str:
    count = len({name for found in looked.values() if found for name in found[0].names.values()})
    return f"{count} of the {count} files"


def _forms(looked: Mapping[str, Sequence[Sought]]) -> list[str]:
    """One line a form: where a file of it would lie, the last of the corpora first."""
    lines: dict[str, str] = {}
    for found in reversed([*looked.values()]):
        for sought in found:
            lines.setdefault(sought.form.name, sought.names[SOURCE_LANGUAGE])
    return [f"form {form}: give the folder that holds files such as {name}" for form, name in lines.items()]
