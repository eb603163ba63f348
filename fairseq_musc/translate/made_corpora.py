"""Which corpora are made by translation, each from which other, and whether one that is there is the one asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_musc.data.corpus import CORPORA, corpus_exists, corpus_path, languages_of, read_about
from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256
from fairseq_musc.translate.provenance import difference

#: The corpora of Table 1 that are made from another, each behind the one that it is made from.
MADE = [name for name, kind in CORPORA.items() if kind.made_from]


@dataclass(frozen=True)
class MadeCorpus:
    """One corpus to make."""

    name: str
    language: str
    source_lang: str
    """The source language of the whole experiment, which S corpora are in; not that of this translation."""

    @property
    def made_from(self) -> tuple[str, str]:
        """Name and language of the corpus that is translated: every T_trn_MT comes from the one S_trn."""
        name = CORPORA[self.name].made_from
        assert name is not None
        return name, self.source_lang if name == "S_trn" else self.language

    @property
    def direction(self) -> tuple[str, str]:
        """From and into which language."""
        into_target = CORPORA[self.name].side == "T"
        return (self.source_lang, self.language) if into_target else (self.language, self.source_lang)

    def __str__(self) -> str:
        return f"{self.name}.{self.language}"


def corpora_to_make(
    folder: Path, names: Sequence[str], languages: Sequence[str] | None, source_lang: str, where_there: bool = False
) -> list[MadeCorpus]:
    """The corpora to make, each behind the one that it is made from.

    Args:
        folder: where the corpora lie.
        names: those of :data:`MADE` that are asked for.
        languages: the target languages; None for all in which the source corpora are there.
        source_lang: the language of S_trn.
        where_there: pass over what has no source corpus.

    Raises:
        InputError: source corpora are missing, or there is no language to make a corpus in.
    """
    found: list[MadeCorpus] = []
    problems = []
    for name in sorted(set(names), key=MADE.index):
        wanted = default_languages(folder, name, names) if languages is None else set(languages)
        asked = [MadeCorpus(name, language, source_lang) for language in sorted(wanted - {source_lang})]
        there = [
            corpus
            for corpus in asked
            if corpus_exists(folder, *corpus.made_from) or MadeCorpus(*corpus.made_from, source_lang) in found
        ]
        if not where_there:
            missing = sorted({".".join(corpus.made_from) for corpus in asked if corpus not in there})
            if missing:
                problems.append(f"{name}: {', '.join(missing)} to make it from")
            if not asked:
                source = CORPORA[name].made_from
                told_by = "T_val or T_tst" if source == "S_trn" else source
                problems.append(f"{name}: any {told_by} in a language other than {source_lang}")
        found += there
    if problems or not found:
        raise InputError.all_at_once(
            f"{folder} lacks what {', '.join(names)} are made from; read the data set first, or name other languages:",
            problems or ["every corpus that could be translated"],
        )
    return found


def default_languages(folder: Path, name: str, names: Sequence[str]) -> set[str]:
    """The languages to make a corpus in when none is named."""
    source = CORPORA[name].made_from
    assert source is not None
    if source == "S_trn":
        return {*languages_of(folder, "T_val"), *languages_of(folder, "T_tst")}
    also = default_languages(folder, source, names) if source in names else set()
    return {*languages_of(folder, source), *also}


def source_of(folder: Path, corpus: MadeCorpus) -> dict[str, Any]:
    """Which corpus is translated, with its checksum."""
    return {
        "made_from": ".".join(corpus.made_from),
        "made_from_sha256": read_about(folder, *corpus.made_from)["sha256"],
    }


def is_there(folder: Path, corpus: MadeCorpus, asked: Mapping[str, Any]) -> bool:
    """Whether a corpus lies in ``folder`` with a provenance of which ``asked`` is part."""
    return corpus_exists(folder, corpus.name, corpus.language) and made_otherwise(folder, corpus, asked) is None


def made_otherwise(folder: Path, corpus: MadeCorpus, asked: Mapping[str, Any]) -> str | None:
    """In what a corpus that is there differs from what was asked for; None if in nothing, or if it is not there."""
    if not corpus_exists(folder, corpus.name, corpus.language):
        return None
    try:
        found = difference(read_about(folder, corpus.name, corpus.language)["provenance"], asked)
    except InputError as error:
        return str(error)
    return f"{folder / str(corpus)}: {found}" if found else None


def changed_since(folder: Path, corpus: MadeCorpus) -> str | None:
    """That the rows of a corpus that is there are not those that were written; None if they are. Reads all of them."""
    path = corpus_path(folder, corpus.name, corpus.language)
    if not path.is_file():
        return f"{path} is not there any more"
    if sha256(path) != read_about(folder, corpus.name, corpus.language)["sha256"]:
        return f"{path} has changed since it was written"
    return None
