"""Writes a made-up dataset of sentence pairs in the layout of PAWS-X, and text to train a small translator on.

Reads nothing. Writes, as UTF-8:

  OUTPUT/x-final/en/train.tsv              header `id sentence1 sentence2 label`, tabs between; label 1: same meaning
  OUTPUT/x-final/LANG/dev_2k.tsv           the same ids in the same order for en, de, fr, es and ja
  OUTPUT/x-final/LANG/test_2k.tsv
  OUTPUT/parallel/en-LANG.tsv              `english<TAB>LANG`, no header; no sentence of the dataset among them

The dataset's text in languages other than English is written freely, with synonyms, tenses and word orders of its own;
the parallel text mostly in the plain way, so that a translator trained on it leaves artifacts. The same seed and sizes
give the same files.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fairseq_musc.demo.grammar import (
    LANGUAGES,
    Pair,
    random_flavour,
    random_meaning,
    random_pair,
    random_style,
    render,
)
from fairseq_musc.errors import InputError
from fairseq_musc.files import written_whole
from fairseq_musc.progress import progress_bar, with_progress

ORIGINAL_RATE = 0.25
"""How often the dataset's texts in other languages depart from the plain way, in each respect."""
PARALLEL_RATE = 0.05
"""The same for the text that the translator learns from."""


def draw_pairs(rng: random.Random, count: int, used: set[str]) -> list[Pair]:
    """``count`` pairs, half of each label (one more of label 1 if odd), none with an English sentence of ``used``.

    Adds their English sentences to ``used``.
    """
    labels = [1 - i % 2 for i in range(count)]
    rng.shuffle(labels)
    pairs = []
    for label in with_progress(labels, "pairs", "make up pairs"):
        while True:
            pair = random_pair(rng, label)
            english = {render("en", *pair.first), render("en", *pair.second)}
            # Equal sentences are no paraphrase, and label 0 needs two that can be told apart.
            if len(english) == 2 and not english & used:
                break
        used |= english
        pairs.append(pair)
    return pairs


def pair_rows(pairs: Sequence[Pair], language: str, rng: random.Random) -> Iterator[tuple[str, str, str, str]]:
    """The rows (id, sentence1, sentence2, label) of a PAWS-X file, ids from 1; free in all languages but English."""
    for number, pair in enumerate(pairs, start=1):
        styles = [pair.first[1], pair.second[1]]
        if language != "en":
            flavour = random_flavour(rng, ORIGINAL_RATE)
            styles = [flavour.of(style) for style in styles]
        first, second = (render(language, pair.first[0], styles[0]), render(language, pair.second[0], styles[1]))
        yield str(number), first, second, str(pair.label)


def parallel_rows(count: int, seed: int, used: set[str]) -> list[dict[str, str]]:
    """``count`` sentences in all languages, none with an English sentence of ``used`` and none twice."""
    rng = random.Random(f"{seed} parallel")
    rows: list[dict[str, str]] = []
    seen = set(used)
    with progress_bar(count, "sentences", "make up parallel text") as bar:
        while len(rows) < count:
            meaning, style = random_meaning(rng, moody=0.25), random_style(rng, PARALLEL_RATE)
            plain = random_flavour(rng, PARALLEL_RATE).of(style)
            row = {language: render(language, meaning, style if language == "en" else plain) for language in LANGUAGES}
            if row["en"] not in seen:
                seen.add(row["en"])
                rows.append(row)
                bar.update()
    return rows


def _write_lines(path: Path, rows: Iterable[Sequence[str]]) -> None:
    with written_whole(path) as stream:
        stream.writelines("\t".join(row) + "\n" for row in rows)


def write_demo(output: Path, seed: int, train: int, valid: int, test: int, parallel: int) -> None:
    """Writes the dataset and the parallel text below ``output``; the sizes are rows a file.

    Raises:
        InputError: a size is below 1.
    """
    sizes = {"train": train, "valid": valid, "test": test, "parallel": parallel}
    problems = [f"--{name} is {size}; it must be 1 or more" for name, size in sizes.items() if size < 1]
    if problems:
        raise InputError.all_at_once("these sizes cannot be written:", problems)
    used: set[str] = set()
    header = ("id", "sentence1", "sentence2", "label")
    for split, count in {"train": train, "dev_2k": valid, "test_2k": test}.items():
        pairs = draw_pairs(random.Random(f"{seed} {split}"), count, used)
        for language in LANGUAGES[:1] if split == "train" else LANGUAGES:
            rows = pair_rows(pairs, language, random.Random(f"{seed} {split} {language}"))
            _write_lines(output / "x-final" / language / f"{split}.tsv", [header, *rows])
    sentences = parallel_rows(parallel, seed, used)
    for language in LANGUAGES[1:]:
        _write_lines(output / "parallel" / f"en-{language}.tsv", ((row["en"], row[language]) for row in sentences))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``fairseq-musc demo-data``."""
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other sentences (default: %(default)s)")
    parser.add_argument("--train", type=int, default=1500, metavar="N", help="rows of train (default: %(default)s)")
    parser.add_argument("--valid", type=int, default=200, metavar="N", help="rows of dev_2k (default: %(default)s)")
    parser.add_argument("--test", type=int, default=400, metavar="N", help="rows of test_2k (default: %(default)s)")
    parser.add_argument(
        "--parallel", type=int, default=5000, metavar="N", help="parallel sentences a language (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the files and says where."""
    sizes = {name: getattr(arguments, name) for name in ("train", "valid", "test", "parallel")}
    write_demo(arguments.output, arguments.seed, **sizes)
    print(f"{arguments.output}: " + ", ".join(f"{size} {name}" for name, size in sizes.items()))
