"""Trains a classifier from texts in memory, or from a folder of corpora: the verbs of this program, one after another.

Everything lies in one folder: ``corpora/``, ``data-bin/`` and ``training/`` (as `fairseq-musc grid` writes a cell).
What is there and was made from the same things is kept, so a run that was stopped goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairseq_musc.api.given import Labelled
from fairseq_musc.api.translator import GIVEN, FolderTranslator, Translate, provenance_of, translated
from fairseq_musc.cli import run_verb
from fairseq_musc.data.align import balanced
from fairseq_musc.data.corpus import (
    CORPORA,
    Corpus,
    Row,
    corpus_exists,
    languages_of,
    read_about,
    read_corpus,
    write_corpus,
)
from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.data.survey import in_class_order
from fairseq_musc.data.translators import translator_of
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.locks import held_alone
from fairseq_musc.version import __version__

MADE_BY = "fairseq_musc.TranslateAllClassifier"
#: What to do if what is in a folder is to stay.
OTHERWISE = "name another folder"


@dataclass(frozen=True)
class Settings:
    """What decides a training besides its rows."""

    folder: Path
    encoder: str
    recipe: str
    config_dir: Path | None
    overrides: Mapping[str, Any]
    max_length: int
    cpu: bool
    targets: Sequence[str]
    translate: Translate | None
    translations: Mapping[str, Labelled] = field(default_factory=dict)
    """Language to the training texts in it, translated by somebody else."""

    @property
    def corpora(self) -> Path:
        """Where corpora that are made of texts in memory go."""
        return self.folder / "corpora"


# --- corpora ---------------------------------------------------------------------------------------------------------


def write_corpora(
    settings: Settings, train: Labelled, validation: Mapping[str, Labelled], hold_out: float | int
) -> None:
    """Writes S_trn, T_val and, where they were given, T_trn_MT.

    Validation rows in the source language are held out of the training rows if none are given: from the ends of all
    classes, in equal parts, half of a rare class at most. Those in a target language, if none are given, are the
    translated ones of the source language; they are not text that people wrote, and their provenance says so.

    Raises:
        InputError: the folder holds other rows, or what another call was given, or nothing is left to train on.
    """
    rows = train.rows()
    held: list[int] = []
    if SOURCE_LANGUAGE not in validation:
        count = round(hold_out * len(rows)) if isinstance(hold_out, float) else hold_out
        if not 0 < count < len(rows):
            raise InputError(
                f"hold_out={hold_out} takes {count} of {len(rows)} rows for validation; leave some for both"
            )
        held = balanced([*range(len(rows))], train.labels, count, from_end=True)
    labels = in_class_order(train.labels)
    kept = sorted({*range(len(rows))} - {*held})

    def write(name: str, language: str, of: Sequence[Row], provenance: dict[str, Any]) -> None:
        about = {"made_by": MADE_BY, "version": __version__, **provenance}
        corpus = Corpus(name, language, language, settings.folder.name, tuple(labels), of, about)
        keep_or_write(settings.corpora, corpus)

    write("S_trn", SOURCE_LANGUAGE, [rows[i] for i in kept], {})
    given = {language: each.rows() for language, each in validation.items()}
    given.setdefault(SOURCE_LANGUAGE, [rows[i] for i in held])
    for language, of in given.items():
        write("T_val", language, of, {})
    check_given(settings, validation)
    for target in settings.targets:
        in_target = settings.translations[target].rows() if target in settings.translations else None
        if in_target is not None:
            by = provenance_of(None, SOURCE_LANGUAGE, target)
            write("T_trn_MT", target, [in_target[i] for i in kept], by)
        if target not in given:
            if in_target is not None and held:
                write("T_val", target, [in_target[i] for i in held], provenance_of(None, SOURCE_LANGUAGE, target))
                continue
            if not corpus_exists(settings.corpora, "T_val", target):  # another T_val.en has ended the run by now
                write("T_val", target, *translated_rows(settings, given[SOURCE_LANGUAGE], SOURCE_LANGUAGE, target))
    check_translator(settings)


def check_given(settings: Settings, validation: Mapping[str, Labelled]) -> None:
    """Raises :class:`InputError` if corpora are what an earlier call was given, and this one would make by itself."""
    found = []
    for target in settings.targets:
        for name in ("T_trn_MT", "T_val"):
            if not corpus_exists(settings.corpora, name, target):
                continue
            engine = read_about(settings.corpora, name, target)["provenance"].get("engine")  # none: people wrote it
            untold = name == "T_val" and target not in validation and engine is None
            unmade = settings.translate is not None and target not in settings.translations and engine == GIVEN
            if untold or unmade:
                found.append(f"{name}.{target}")
    raise_all(
        f"{settings.corpora} holds what another call was given, and this one is not; give it again, name another "
        "folder, or remove this one first:",
        found,
    )


def check_translator(settings: Settings) -> None:
    """Raises :class:`InputError` if corpora that an earlier call has made are of another translator."""
    if settings.translate is None:
        return
    problems = []
    for target in settings.targets:
        for name in ("T_trn_MT", "T_val", "S_val_MT"):
            if not corpus_exists(settings.corpora, name, target):
                continue
            there = read_about(settings.corpora, name, target)["provenance"]
            asked = provenance_of(settings.translate, SOURCE_LANGUAGE, target)
            if there.get("engine", GIVEN) != GIVEN and any(
                there[key] != asked[key] for key in ("engine", "translator")
            ):
                problems.append(f"{name}.{target} was made by {translator_of(there)}")
    raise_all(
        f"{settings.corpora} holds translations by another translator; name another folder, or remove this one first:",
        problems,
    )


def keep_or_write(folder: Path, corpus: Corpus) -> None:
    """Writes a corpus, unless it is there.

    Raises:
        InputError: another one is there under its name.
    """
    if corpus_exists(folder, corpus.name, corpus.language):
        there = read_corpus(folder, corpus.name, corpus.language)
        if (list(there.rows), there.labels) == (list(corpus.rows), corpus.labels):
            return
        raise InputError(
            f"{folder} holds another {corpus.name}.{corpus.language}, of {len(there.rows)} rows; name another folder, "
            "or remove this one first"
        )
    write_corpus(folder, corpus)


def translated_rows(
    settings: Settings, rows: Sequence[Row], source: str, target: str
) -> tuple[list[Row], dict[str, Any]]:
    """Rows with their texts translated, and what made them.

    Raises:
        InputError: there is no translator.
    """
    if settings.translate is None:
        raise InputError(f"texts in {source} are to be translated into {target}: give a translator")
    cells = [cell for row in rows for cell in (row.text, row.text_pair) if cell is not None]
    texts = iter(translated(settings.translate, cells, source, target))
    made = [row._replace(text=next(texts), text_pair=None if row.text_pair is None else next(texts)) for row in rows]
    return made, provenance_of(settings.translate, source, target)


def translate_corpora(settings: Settings, corpora: Path) -> None:
    """Makes T_trn_MT and S_val_MT where they are not there yet, if there is a translator."""
    wanted = [(name, target) for target in settings.targets for name in ("T_trn_MT", "S_val_MT")]
    wanted = [which for which in wanted if not corpus_exists(corpora, *which)]
    if not wanted or settings.translate is None:
        return
    if isinstance(settings.translate, FolderTranslator):
        for name in ("T_trn_MT", "S_val_MT"):
            targets = [target for each, target in wanted if each == name]
            if targets:
                options = ["--corpora", str(corpora), "--make", name, "--languages", *targets]
                run_verb("translate", [*options, *settings.translate.options()])
        return
    for name, target in wanted:
        into_target = CORPORA[name].side == "T"
        source = read_corpus(corpora, CORPORA[name].made_from or "", SOURCE_LANGUAGE if into_target else target)
        languages = (SOURCE_LANGUAGE, target) if into_target else (target, SOURCE_LANGUAGE)
        rows, provenance = translated_rows(settings, source.rows, *languages)
        about = {"made_by": MADE_BY, "version": __version__, **provenance}
        write_corpus(corpora, Corpus(name, target, languages[1], source.dataset, source.labels, rows, about))


@contextmanager
def ctrl_c_is_an_exception() -> Iterator[None]:
    """Lets what ends a command at Ctrl-C, a status, reach Python as the exception that it was."""
    try:
        yield
    except SystemExit as error:
        if error.code == 128 + signal.SIGINT:
            raise KeyboardInterrupt from error
        raise


# --- training --------------------------------------------------------------------------------------------------------


def check_overrides(settings: Settings) -> None:
    """Raises :class:`InputError` for mistakes in the recipe and the overrides, before anything is translated."""
    from fairseq_musc.experiments.cells import TrainingRecipe

    TrainingRecipe(settings.recipe, settings.config_dir).check_for_cells(overrides_of(settings, ["T_val"]))


def overrides_of(settings: Settings, valid: Sequence[str]) -> list[str]:
    """What a training is started with; ``valid`` are the corpora that its best checkpoint is chosen by."""
    from fairseq_musc.experiments.cells import quoted

    return [
        f"task.data={quoted(str(settings.folder / 'data-bin'))}",
        f"model.pretrained={quoted(settings.encoder)}",
        f"task.target_langs=[{','.join(settings.targets)}]",
        f"task.valid_corpora=[{','.join(valid)}]",
        *(["common.cpu=true"] if settings.cpu else []),
        *(f"{key}={as_override(value)}" for key, value in settings.overrides.items()),
    ]


@ctrl_c_is_an_exception()
def train(settings: Settings, corpora: Path) -> Path:
    """Translates, binarizes and trains; returns the checkpoint that was best on validation data.

    Raises:
        KeyboardInterrupt: Ctrl-C, when the training has saved its state.
        InputError: corpora are missing, an override is wrong, or the folder holds another training.
        RuntimeError: the training failed; the end of its log is in the message.
    """
    translate_corpora(settings, corpora)
    valid = valid_corpora(settings, corpora)
    data = settings.folder / "data-bin"
    options = ["--tokenizer", settings.encoder, "--max-length", str(settings.max_length)]
    options += ["--only", "S_trn", "T_trn_MT", *valid]
    try:
        run_verb("binarize", ["--corpora", str(corpora), "--data", str(data), *options])
    except InputError as error:
        raise InputError(str(error).replace("give another --data folder", OTHERWISE)) from None

    from fairseq_musc.experiments.cells import TrainingRecipe, check_settings
    from fairseq_musc.experiments.processes import environments, train_cells

    overrides = overrides_of(settings, valid)
    recipe = TrainingRecipe(settings.recipe, settings.config_dir)
    recipe.check(overrides)
    cell = recipe.cell("training", settings.folder / "training", overrides)
    with held_alone(settings.folder, OTHERWISE):
        check_settings([cell], OTHERWISE)
        gpus = cell.settings.get("distributed_training.distributed_world_size") or 1
        failed = train_cells([cell], environments(1, settings.cpu, gpus), keep="best")
    if failed:
        raise RuntimeError(f"the training failed; the end of {cell.log}:\n{failed[cell.name]}")
    return cell.best_checkpoint


def valid_corpora(settings: Settings, corpora: Path) -> list[str]:
    """What the best checkpoint is chosen by: both views, or T_val alone where there are no translations of it.

    Raises:
        InputError: corpora are missing.
    """
    needed = [("S_trn", SOURCE_LANGUAGE), ("T_val", SOURCE_LANGUAGE)]
    needed += [(name, target) for target in settings.targets for name in ("T_trn_MT", "T_val")]
    missing = [f"{name}.{language}" for name, language in needed if not corpus_exists(corpora, name, language)]
    cure = "" if settings.translate is not None else "; give a translator, or the translations"
    raise_all(f"{corpora} lacks what is trained and validated on{cure}:", missing)
    both = all(corpus_exists(corpora, "S_val_MT", target) for target in settings.targets)
    return ["T_val", "S_val_MT"] if both else ["T_val"]


def targets_of(corpora: Path) -> list[str]:
    """The languages that a folder of corpora has validation data in, but the source language."""
    return [language for language in languages_of(corpora, "T_val") if language != SOURCE_LANGUAGE]


def as_override(value: Any) -> str:
    """A value as Hydra reads it."""
    from fairseq_musc.experiments.cells import quoted

    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(as_override, value))}]"
    return quoted(value) if isinstance(value, str) else str(value)
