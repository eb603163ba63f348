"""Makes the machine-translated corpora from those that they are made from, direction by direction."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from fairseq_musc.data.corpus import Corpus, CorpusFile, Row, corpus_exists, corpus_file, corpus_path, write_rows
from fairseq_musc.errors import InputError
from fairseq_musc.files import remove_partials
from fairseq_musc.progress import say
from fairseq_musc.translate.flaw_counts import flaws_in, told
from fairseq_musc.translate.made_corpora import MadeCorpus, changed_since, is_there, made_otherwise, source_of
from fairseq_musc.translate.provenance import circumstances
from fairseq_musc.translate.texts import Setup, TranslatedTexts, translate_texts


def folder_of(folder: Path, rank: int) -> Path:
    """Where the corpora of the translations of a rank lie; 1 is the best."""
    return folder if rank == 1 else folder / f"nbest{rank}"


def make_corpora(folder: Path, wanted: Sequence[MadeCorpus], setup: Setup) -> None:
    """Makes each corpus, unless it is there already; all ready ones of a direction in one go.

    Raises:
        InputError: a corpus was made otherwise and is not to be replaced.
    """
    pending = list(wanted)
    to_check = [corpus for corpus in wanted if corpus_exists(folder, *corpus.made_from)]
    check_replaceable(folder, to_check, setup)
    while pending:
        waiting = {corpus for corpus in pending if any(corpus.made_from == (o.name, o.language) for o in pending)}
        ready = [corpus for corpus in pending if corpus not in waiting]
        by_direction = defaultdict(list)
        for corpus in ready:
            by_direction[corpus.direction].append(corpus)
        # a direction that another corpus will need later is left until then, so that its sentences go together
        later = {corpus.direction for corpus in waiting}
        chosen = [direction for direction in by_direction if direction not in later] or list(by_direction)
        for direction in chosen:
            make_direction(folder, by_direction[direction], setup)
            pending = [corpus for corpus in pending if corpus not in by_direction[direction]]


def check_replaceable(folder: Path, wanted: Sequence[MadeCorpus], setup: Setup) -> None:
    """Raises :class:`InputError` with what was made otherwise or has changed since, unless that is replaced.

    One that is there with other rows than were written is then given up, so that it counts as not there.
    """
    problems = []
    for corpus in wanted:
        for rank in setup.ranks:
            where, asked = folder_of(folder, rank), asked_of(folder, corpus, rank, setup)
            if otherwise := made_otherwise(where, corpus, asked):
                problems.append(otherwise)
            elif is_there(where, corpus, asked) and (changed := changed_since(where, corpus)):
                problems.append(changed)
                if setup.overwrite:
                    corpus_path(where, corpus.name, corpus.language).with_suffix(".json").unlink(missing_ok=True)
    if problems and not setup.overwrite:
        raise InputError.all_at_once(
            "these corpora are there and were made otherwise; add --overwrite to replace them, or use another folder:",
            problems,
        )


def asked_of(folder: Path, corpus: MadeCorpus, rank: int, setup: Setup) -> dict[str, Any]:
    """What decides a corpus of the translations of a rank."""
    return {**setup.asked(*corpus.direction, rank), **source_of(folder, corpus)}


def make_direction(folder: Path, wanted: Sequence[MadeCorpus], setup: Setup) -> None:
    """Makes corpora of one direction together, as far as they are not there."""
    check_replaceable(folder, wanted, setup)

    def missing() -> list[tuple[MadeCorpus, int]]:
        return [
            (corpus, rank)
            for corpus in wanted
            for rank in setup.ranks
            if not is_there(folder_of(folder, rank), corpus, asked_of(folder, corpus, rank, setup))
        ]

    to_make = [corpus for corpus in wanted if corpus in {corpus for corpus, _ in missing()}]
    kept = [corpus for corpus in wanted if corpus not in to_make]
    for corpus in kept:
        say(f"{corpus} is there, made in the same way; it is kept")
    source_lang, target_lang = wanted[0].direction
    if not to_make:
        setup.clean_up(folder, source_lang, target_lang, texts_of(sources_of(folder, kept)))
        return
    sources = sources_of(folder, to_make)
    translated = translate_texts(texts_of(sources), source_lang, target_lang, folder, setup, lambda: not missing())
    if translated is None:
        say(f"{', '.join(map(str, to_make))}: written by another process")
        return
    say(f"{source_lang} -> {target_lang}: {translated.told()}")
    with translated.ending(lambda: not missing()) as ours:
        if ours:
            write_corpora(folder, sources, missing(), translated, setup)
        else:
            say(f"{', '.join(map(str, to_make))}: written by another process")
    if translated.clear():
        # a run that was killed while it wrote the corpora has left those of its chunks that belong to what is kept
        texts = texts_of(sources_of(folder, kept))
        if left := translated.clear(setup.split(texts, source_lang, target_lang).sentences):
            say(f"{left} chunks of other corpora stay in {translated.folder.path.parent}")


def sources_of(folder: Path, wanted: Iterable[MadeCorpus]) -> dict[MadeCorpus, CorpusFile]:
    """Corpora to make, and the one that each is made from.

    Raises:
        InputError: one is in another language than the one that is translated from.
    """
    sources = {}
    for corpus in wanted:
        source = corpus_file(folder, *corpus.made_from)
        language = source.about["text_language"]
        if language != corpus.direction[0]:
            raise InputError(
                f"{'.'.join(corpus.made_from)} is in {language!r}, and {corpus} is translated from "
                f"{corpus.direction[0]!r}; is --source-lang {corpus.source_lang} right?"
            )
        sources[corpus] = source
    return sources


def texts_of(sources: Mapping[MadeCorpus, CorpusFile]) -> Iterator[str]:
    """The texts of corpora, row by row, each with its second one behind it if there is one."""
    return chain.from_iterable(map(texts_of_rows, (source.rows() for source in sources.values())))


def texts_of_rows(rows: Iterable[Row]) -> Iterator[str]:
    """The same of rows."""
    return (text for row in rows for text in row[2:] if text is not None)


def write_corpora(
    folder: Path,
    sources: Mapping[MadeCorpus, CorpusFile],
    missing: Sequence[tuple[MadeCorpus, int]],
    translated: TranslatedTexts,
    setup: Setup,
) -> None:
    """Writes corpora of which all texts are translated.

    Args:
        folder: where those of the best translations go.
        sources: each corpus to make, and the one that it is made from, in the order of the translated texts.
        missing: what is to be written: corpus and rank.
        translated: the texts of all sources.
        setup: how they were translated.

    Raises:
        InputError: a file cannot be written; the translations are kept.
    """
    ends = [*accumulate(source.texts for source in sources.values())]
    for rank in setup.ranks:
        for (made, source), last in zip(sources.items(), ends, strict=True):
            if (made, rank) not in missing:
                continue
            texts = functools.partial(translated.texts, rank, last - source.texts, last)
            made_with = {
                **asked_of(folder, made, rank, setup),
                "nbest": setup.decoding.nbest,
                **circumstances(setup.engine, setup.device),
                "flaws": flaws_in(texts_of_rows(source.rows()), texts(), *made.direction),
                "generated_together": {"corpora": [str(other) for other in sources], **translated.counts},
            }
            about = source.about
            corpus = Corpus(
                made.name, made.language, made.direction[1], about["dataset"], tuple(about["labels"]), (), made_with
            )
            path = corpus_path(folder_of(folder, rank), made.name, made.language)
            with translated.folder.failing_plainly():
                for file in (path, path.with_suffix(".json")):
                    remove_partials(file)
                written = write_rows(folder_of(folder, rank), corpus, translated_rows(source.rows(), texts()))
            say(f"{written}: {about['rows']} rows, {told(made_with['flaws'])}")


def translated_rows(rows: Iterable[Row], texts: Iterator[str]) -> Iterator[Row]:
    """Rows with other texts, which are as many: the same ids and labels in the same order."""
    for row in rows:
        yield Row(row.id, row.label, next(texts), None if row.text_pair is None else next(texts))
