"""Turns corpora into a data-bin.

Reads the corpora of a folder (``T_trn_MT.de.tsv`` and ``.json``, see `fairseq-musc read` and `translate`) and the
tokenizer of an encoder, by hub name or local folder.

Writes ``databin.json``, ``tokenizer/`` and, for each corpus, the token ids in fairseq's indexed format (``.bin``,
``.idx``) with labels (``.rows.npy``), ids (``.ids``) and counts (``.json``). Corpora that are there already, whole and
made from the same rows, are kept; more can be added at any time.

Rows are read, tokenized and written block by block, with a thread for every core that may be used; what is in memory
does not grow with the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fairseq_musc.data.corpus import CORPORA, Row, corpus_exists, escape, languages_of, origin, read_about, rows_of
from fairseq_musc.data.databin import FORMAT, DataBinInfo, stem, suffixed
from fairseq_musc.data.indexed_writer import IndexedWriter, dtype_of
from fairseq_musc.data.tokenizer import encoder_of, fingerprint, load_tokenizer
from fairseq_musc.errors import InputError, raise_all
from fairseq_musc.files import crc32, make_folder, naming, read_sealed_json, write_sealed_json
from fairseq_musc.progress import progress_bar

BLOCK = 1024
"""Rows that are tokenized at once: enough that threads seldom wait for each other, few enough to stay small."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc binarize``."""
    parser.add_argument("--corpora", required=True, type=Path, metavar="FOLDER", help="where the corpora lie")
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="the data-bin to make or to add to")
    parser.add_argument(
        "--tokenizer",
        metavar="NAME_OR_FOLDER",
        help="the encoder's tokenizer, as in model.pretrained; may be left out when adding to a data-bin",
    )
    parser.add_argument(
        "--max-length", type=int, metavar="N", help="tokens a row at most, the longer text is cut first (default: 128)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="CORPUS", choices=list(CORPORA), help="these corpora only (default: all there are)"
    )
    parser.add_argument(
        "--train-rows",
        type=int,
        metavar="N",
        help="take N rows of each training corpus, the first of each class in equal parts; the same ones of a corpus "
        "and its translations (default: all)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Binarizes what is asked for and is not there yet."""
    wanted = [
        (name, language) for name in arguments.only or CORPORA for language in languages_of(arguments.corpora, name)
    ]
    if not wanted:
        raise InputError(f"{arguments.corpora} holds no corpora; make them with `fairseq-musc read`")
    abouts = [read_about(arguments.corpora, *which) for which in wanted]
    check_sources(arguments.corpora, wanted)
    kept: dict[tuple[str, str], list[int]] = {}
    if arguments.train_rows is not None:
        kept = training_subsets(arguments.corpora, wanted, abouts, arguments.train_rows)
        abouts = [
            of_subset(about, len(kept[which])) if which in kept else about
            for which, about in zip(wanted, abouts, strict=True)
        ]
    info, tokenizer = open_or_create(
        arguments.data, abouts, arguments.tokenizer, arguments.max_length, where=arguments.corpora
    )
    total = sum(about["rows"] for about in abouts)
    with progress_bar(total, "rows", "binarize") as bar:
        for (name, language), about in zip(wanted, abouts, strict=True):
            if already_there(arguments.data, name, language, about["sha256"]):
                bar.update(about["rows"])
                continue
            rows = rows_of(arguments.corpora, name, language, read_about(arguments.corpora, name, language))
            if (places := kept.get((name, language))) is not None:
                taken = set(places)
                rows = (row for place, row in enumerate(rows) if place in taken)
            cut = binarize_corpus(arguments.data, about, rows, info, tokenizer, bar.update)
            if cut:
                bar.write(f"{name}.{language}: {cut} of {about['rows']} rows were cut to {info.max_length} tokens")


def check_sources(corpora: Path, wanted: Sequence[tuple[str, str]]) -> None:
    """Raises :class:`InputError` with every translation of a corpus that is another one by now, read anew for instance.

    Ids and labels may be the same then, so that nothing else tells. A source that is not there says nothing; that of
    further translations (``--nbest``) is in the folder above theirs.
    """
    problems = dict.fromkeys(problem for which in wanted if (problem := stale(corpora, which)))
    heading = f"there are translations in {corpora} of texts that have changed since; translate again:"
    raise_all(heading, [*problems])


def stale(corpora: Path, which: tuple[str, str]) -> str | None:
    """What is wrong with what a corpus was made from, step by step back to what people wrote; None for nothing."""
    provenance = read_about(corpora, *which)["provenance"]
    if re.fullmatch(r"nbest\d+", corpora.name):
        corpora = corpora.parent
    name, _, language = str(provenance.get("made_from", "")).partition(".")
    if name != CORPORA[which[0]].made_from or not corpus_exists(corpora, name, language):
        return None
    if provenance.get("made_from_sha256") not in (None, read_about(corpora, name, language)["sha256"]):
        return f"{'.'.join(which)} was made from another {name}.{language} than is there"
    return stale(corpora, (name, language))


def training_subsets(
    corpora: Path, wanted: Sequence[tuple[str, str]], abouts: Sequence[dict[str, Any]], number: int
) -> dict[tuple[str, str], list[int]]:
    """Which rows of each training corpus are taken.

    Raises:
        InputError: a corpus has fewer.
    """
    training = {
        which: about for which, about in zip(wanted, abouts, strict=True) if origin(which[0]) in ("S_trn", "T_trn")
    }
    small = [f"{name}.{language} has {about['rows']}" for (name, language), about in training.items()]
    if number < 1 or any(about["rows"] < number for about in training.values()):
        raise InputError.all_at_once(f"--train-rows {number} is not possible; it is from 1 to the smallest of:", small)
    return {
        which: first_of_each_class([row.label for row in rows_of(corpora, *which, about)], number)
        for which, about in training.items()
    }


def first_of_each_class(labels: Sequence[str], number: int) -> list[int]:
    """The places of ``number`` rows, the first of each class in equal parts, in their order.

    Classes that have too few are taken whole, and the rows that come next make up for them, as for what is left when
    ``number`` cannot be shared out.
    """
    share = number // len(set(labels))
    seen: Counter[str] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for place, label in enumerate(labels):
        seen[label] += 1
        (first if seen[label] <= share else rest).append(place)
    return sorted([*first, *rest[: number - len(first)]])


def of_subset(about: dict[str, Any], rows: int) -> dict[str, Any]:
    """What is said of some rows of a corpus, with a checksum of their own; all of them are the corpus."""
    if rows == about["rows"]:
        return about
    digest = hashlib.sha256(f"{about['sha256']}, {rows} rows of each class in equal parts".encode())
    return {**about, "rows": rows, "sha256": digest.hexdigest()}


def already_there(data: Path, name: str, language: str, source_sha256: str) -> bool:
    """Whether a data-bin holds this corpus whole, made from rows with this checksum.

    One whose files have changed since is none, so that it is made again by the command that made it.
    """
    path = stem(data, name, language)
    try:
        about = read_sealed_json(suffixed(path, ".json"))
        if about["source_sha256"] != source_sha256:
            return False
        sizes, sums = about["bytes"], about.get("crc32s", {})  # earlier versions wrote no sums
        return all(suffixed(path, suffix).stat().st_size == size for suffix, size in sizes.items()) and all(
            crc32(suffixed(path, suffix)) == written for suffix, written in sums.items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def open_or_create(
    data: Path, abouts: Sequence[dict[str, Any]], tokenizer_name: str | None, max_length: int | None, where: Path
) -> tuple[DataBinInfo, Any]:
    """What a data-bin is for and its tokenizer; if there is none yet it is begun.

    Args:
        data: the folder of the data-bin.
        abouts: what the corpora say of themselves.
        tokenizer_name: hub name or folder; None takes the one in the data-bin.
        max_length: tokens a row; None takes the data-bin's own, or 128.
        where: the folder of the corpora, for messages.

    Raises:
        InputError: the corpora do not go together, or not with the data-bin.
    """
    kinds = {(about["dataset"], tuple(about["labels"]), about["pair"]) for about in abouts}
    if len(kinds) > 1:
        told = "; ".join(f"{dataset} with {len(labels)} labels" for dataset, labels, _ in sorted(kinds))
        raise InputError(f"{where} mixes corpora of several kinds ({told}); a data-bin is for one dataset")
    dataset, labels, pair = kinds.pop()
    there = DataBinInfo.load(data) if (data / "databin.json").exists() else None
    if there is None and (left := [f"{name}.{xx}" for name in CORPORA for xx in languages_of(data, name)]):
        raise InputError(
            f"{data} has no databin.json and holds {', '.join(left)}, of which nothing tells the tokenizer; remove it, "
            "or give another --data folder"
        )
    if there is None and tokenizer_name is None:
        raise InputError(f"{data} is new: say with --tokenizer which encoder it is for")
    tokenizer = load_tokenizer(tokenizer_name or str(data / "tokenizer"))
    marks = tokenizer.num_special_tokens_to_add(pair=pair)
    if max_length is not None and max_length <= marks:  # tokenizers then cut nothing, or everything
        raise InputError(
            f"--max-length is {max_length}; a row of these corpora has {marks} tokens besides its text, so it is at "
            f"least {marks + 1}"
        )
    asked = DataBinInfo(
        dataset=dataset,
        labels=labels,
        pair=pair,
        max_length=max_length if max_length is not None else there.max_length if there else 128,
        tokenizer=tokenizer_name or (there.tokenizer if there else ""),
        fingerprint=fingerprint(tokenizer),
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        pad=tokenizer.pad_token_id,
        token_types="token_type_ids" in tokenizer.model_input_names,
    )
    if there is not None:
        check_same_kind(data, there, asked)
        return there, tokenizer
    make_folder(data)
    partial = Path(tempfile.mkdtemp(dir=data, prefix=".tokenizer."))
    try:
        with naming(data / "tokenizer"):
            tokenizer.save_pretrained(partial)
        shutil.rmtree(data / "tokenizer", ignore_errors=True)
        partial.rename(data / "tokenizer")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    asked.save(data)
    return asked, tokenizer


def check_same_kind(data: Path, there: DataBinInfo, asked: DataBinInfo) -> None:
    """Raises :class:`InputError` with every way in which corpora or options do not go into a data-bin."""
    problems = []
    if there.fingerprint != asked.fingerprint:
        problems.append(
            f"it was made with another tokenizer: {there.tokenizer} ({there.vocab_size} ids), now "
            f"{asked.tokenizer} ({asked.vocab_size} ids)"
        )
    for name in ("dataset", "labels", "pair", "max_length"):
        old, new = getattr(there, name), getattr(asked, name)
        if old != new:
            problems.append(f"its {name} is {old!r}, now {new!r}")
    if problems:
        raise InputError.all_at_once(f"{data} cannot take these corpora (give another --data folder):", problems)


class Block(NamedTuple):
    """Some rows of a corpus as they go into a data-bin."""

    ids: np.ndarray
    """(tokens,) uint32: the token ids of n rows, end to end."""
    lengths: np.ndarray
    """(n,) int32: how many of them belong to each row."""
    classes: np.ndarray
    """(n, 2) int32: the class of each row, and the length of its first segment."""
    names: bytes
    """The ids of the rows, as they stand in a data-bin."""
    cut: int
    """How many rows were cut."""


def encoded_blocks(rows: Iterable[Row], info: DataBinInfo, tokenizer: Any) -> Iterator[Block]:
    """Rows as they go into a data-bin, in order, :data:`BLOCK` at once.

    Args:
        rows: those of one corpus.
        info: what the data-bin is for.
        tokenizer: the fast tokenizer.
    """
    encode = encoder_of(tokenizer, info.max_length, info.pair)
    class_of = {label: k for k, label in enumerate(info.labels)}

    def encoded(block: list[Row]) -> Block:
        encodings = encode([(row.text, row.text_pair) if info.pair else row.text for row in block])
        lengths = np.fromiter(map(len, encodings), np.int32, len(block))
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.uint32, int(lengths.sum()))
        classes = np.empty((len(block), 2), dtype=np.int32)
        classes[:, 0] = [class_of[row.label] for row in block]
        classes[:, 1] = lengths
        if info.token_types:
            classes[:, 1] -= np.fromiter((sum(e.type_ids) for e in encodings), np.int32, len(block))
        names = "".join(f"{escape(row.id)}\n" for row in block).encode()
        return Block(ids, lengths, classes, names, sum(bool(e.overflowing) for e in encodings))

    remaining = iter(rows)
    yield from in_order(encoded, iter(lambda: list(islice(remaining, BLOCK)), []))


def in_order(function: Callable[[list[Row]], Block], items: Iterable[list[Row]]) -> Iterator[Block]:
    """What a function gives for each item, in order, with a thread for every core that may be used.

    The tokenizer works outside Python's lock, so threads do; a few items are ahead of what was taken, and no more.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads, thread_name_prefix="binarize") as pool:
        ahead: deque[Future[Block]] = deque()
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def binarize_corpus(
    data: Path, about: dict[str, Any], rows: Iterable[Row], info: DataBinInfo, tokenizer: Any, progress: Any
) -> int:
    """Writes one corpus into a data-bin, whole or not at all; returns how many rows were cut.

    Args:
        data: the folder of the data-bin.
        about: what the JSON file of the corpus says.
        rows: its rows.
        info: what the data-bin is for.
        tokenizer: the fast tokenizer.
        progress: called with the number of rows done since the last call.
    """
    path = stem(data, about["corpus"], about["language"])
    count, cut = about["rows"], 0
    with tempfile.TemporaryDirectory(dir=data, prefix=f".{path.name}.") as partial:
        begun = Path(partial) / path.name
        with ExitStack() as opened:
            opened.enter_context(naming(path))
            data_path, index_path = (suffixed(begun, suffix) for suffix in (".bin", ".idx"))
            tokens = opened.enter_context(IndexedWriter(data_path, index_path, count, dtype_of(info.vocab_size)))
            classes = opened.enter_context(suffixed(begun, ".rows.npy").open("wb"))
            names = opened.enter_context(suffixed(begun, ".ids").open("wb"))
            header = {"descr": np.dtype(np.int32).str, "fortran_order": False, "shape": (count, 2)}
            np.lib.format.write_array_header_1_0(classes, header)
            for block in encoded_blocks(rows, info, tokenizer):
                tokens.write(block.ids, block.lengths)
                classes.write(block.classes.tobytes())
                names.write(block.names)
                cut += block.cut
                progress(len(block.lengths))
        suffixes = (".bin", ".idx", ".rows.npy", ".ids")
        made = {
            "format": FORMAT,
            "corpus": about["corpus"],
            "language": about["language"],
            "text_language": about["text_language"],
            "rows": count,
            "cut": cut,
            "bytes": {suffix: suffixed(begun, suffix).stat().st_size for suffix in suffixes},
            "crc32s": {suffix: crc32(suffixed(begun, suffix)) for suffix in suffixes},
            "source_sha256": about["sha256"],
            "provenance": about["provenance"],
        }
        suffixed(path, ".json").unlink(missing_ok=True)  # while its files are changed the corpus is not there
        for suffix in suffixes:
            suffixed(begun, suffix).replace(suffixed(path, suffix))
    write_sealed_json(suffixed(path, ".json"), made)
    return cut
