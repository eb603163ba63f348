"""Turns corpora into a data-bin.

Reads the corpora of a folder (``T_trn_MT.de.tsv`` and ``.json``, see `fairseq-musc read` and `translate`) and the
tokenizer of an encoder, by hub name or local folder.

Writes ``databin.json``, ``tokenizer/`` and, for each corpus, the token ids in fairseq's indexed format (``.bin``,
``.idx``) with labels (``.rows.npy``), ids (``.ids``) and counts (``.json``). Corpora that are there already, made from
the same rows, are kept; more can be added at any time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_musc.data.corpus import CORPORA, Corpus, escape, languages_of, read_about, read_corpus
from fairseq_musc.data.databin import FORMAT, DataBinInfo, stem, suffixed
from fairseq_musc.data.tokenizer import fingerprint, load_tokenizer
from fairseq_musc.errors import InputError
from fairseq_musc.files import write_json
from fairseq_musc.progress import progress_bar

CHUNK = 4096  # rows that are tokenized at once: enough to keep every core busy, few enough to stay small


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


def run(arguments: argparse.Namespace) -> None:
    """Binarizes what is asked for and is not there yet."""
    wanted = [
        (name, language) for name in arguments.only or CORPORA for language in languages_of(arguments.corpora, name)
    ]
    if not wanted:
        raise InputError(f"{arguments.corpora} holds no corpora; make them with `fairseq-musc read`")
    abouts = [read_about(arguments.corpora, *which) for which in wanted]
    info, tokenizer = open_or_create(
        arguments.data, abouts, arguments.tokenizer, arguments.max_length, where=arguments.corpora
    )
    total = sum(about["rows"] for about in abouts)
    with progress_bar(total, "rows", "binarize") as bar:
        for (name, language), about in zip(wanted, abouts, strict=True):
            if already_there(arguments.data, name, language, about["sha256"]):
                bar.update(about["rows"])
                continue
            corpus = read_corpus(arguments.corpora, name, language)
            cut = binarize_corpus(arguments.data, corpus, about["sha256"], info, tokenizer, bar.update)
            if cut:
                bar.write(f"{name}.{language}: {cut} of {about['rows']} rows were cut to {info.max_length} tokens")


def already_there(data: Path, name: str, language: str, source_sha256: str) -> bool:
    """Whether a data-bin holds this corpus, made from rows with this checksum."""
    path = suffixed(stem(data, name, language), ".json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))["source_sha256"] == source_sha256
    except (OSError, ValueError, KeyError):
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
    if there is None and tokenizer_name is None:
        raise InputError(f"{data} is new: say with --tokenizer which encoder it is for")
    tokenizer = load_tokenizer(tokenizer_name or str(data / "tokenizer"))
    asked = DataBinInfo(
        dataset=dataset,
        labels=labels,
        pair=pair,
        max_length=max_length or (there.max_length if there else 128),
        tokenizer=tokenizer_name or (there.tokenizer if there else ""),
        fingerprint=fingerprint(tokenizer),
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        pad=tokenizer.pad_token_id,
        token_types="token_type_ids" in tokenizer.model_input_names,
    )
    if there is not None:
        check_same_kind(data, there, asked)
        return there, tokenizer
    data.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=data, prefix=".tokenizer."))
    try:
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


def encoded_rows(corpus: Corpus, info: DataBinInfo, tokenizer: Any) -> Iterator[tuple[list[int], int, bool]]:
    """The token ids of each row, the length of its first segment, and whether it was cut."""
    for start in range(0, len(corpus.rows), CHUNK):
        rows = corpus.rows[start : start + CHUNK]
        texts = [row.text for row in rows]
        pairs = [row.text_pair for row in rows] if info.pair else None
        encoded = tokenizer(
            texts,
            pairs,
            truncation="longest_first",
            max_length=info.max_length,
            return_overflowing_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=info.token_types,
        )
        for i, ids in enumerate(encoded["input_ids"]):
            first = len(ids) - sum(encoded["token_type_ids"][i]) if info.token_types else len(ids)
            yield ids, first, bool(encoded.encodings[i].overflowing)


def binarize_corpus(
    data: Path, corpus: Corpus, source_sha256: str, info: DataBinInfo, tokenizer: Any, progress: Any
) -> int:
    """Writes one corpus into a data-bin, whole or not at all; returns how many rows were cut.

    Args:
        data: the folder of the data-bin.
        corpus: what to write.
        source_sha256: the checksum of the corpus file.
        info: what the data-bin is for.
        tokenizer: the fast tokenizer.
        progress: called with the number of rows done since the last call.
    """
    import torch
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder, best_fitting_int_dtype

    path = stem(data, corpus.name, corpus.language)
    class_of = {label: k for k, label in enumerate(info.labels)}
    rows = np.empty((len(corpus.rows), 2), dtype=np.int32)
    cut = 0
    with tempfile.TemporaryDirectory(dir=data, prefix=f".{path.name}.") as partial:
        begun = Path(partial) / path.name
        builder = MMapIndexedDatasetBuilder(str(suffixed(begun, ".bin")), dtype=best_fitting_int_dtype(info.vocab_size))
        for i, (ids, first, was_cut) in enumerate(encoded_rows(corpus, info, tokenizer)):
            builder.add_item(torch.tensor(ids))
            rows[i] = class_of[corpus.rows[i].label], first
            cut += was_cut
            if (i + 1) % CHUNK == 0 or i + 1 == len(rows):
                progress(i % CHUNK + 1)
        builder.finalize(str(suffixed(begun, ".idx")))
        np.save(suffixed(begun, ".rows.npy"), rows, allow_pickle=False)
        suffixed(begun, ".ids").write_bytes("".join(f"{escape(row.id)}\n" for row in corpus.rows).encode())
        suffixes = (".bin", ".idx", ".rows.npy", ".ids")
        about = {
            "format": FORMAT,
            "corpus": corpus.name,
            "language": corpus.language,
            "text_language": corpus.text_language,
            "rows": len(rows),
            "cut": cut,
            "bytes": {suffix: suffixed(begun, suffix).stat().st_size for suffix in suffixes},
            "source_sha256": source_sha256,
            "provenance": corpus.provenance,
        }
        suffixed(path, ".json").unlink(missing_ok=True)  # while its files are changed the corpus is not there
        for suffix in suffixes:
            suffixed(begun, suffix).replace(suffixed(path, suffix))
    write_json(suffixed(path, ".json"), about)
    return cut
