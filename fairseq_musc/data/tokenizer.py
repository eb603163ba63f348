"""The tokenizer of a data-bin: loading it, and telling whether two are the same."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.safe_loading import NO_CODE

#: Sentences that tokenizers differ on: case, accents, scripts with and without spaces, digits, punctuation, spaces.
PROBES = (
    "Hello, my DOG is cute!",
    "Der Fluß fließt  über 1.234,5 Äcker.",
    "L’été, c’était déjà ça…",
    "日本語の文です。",
    "한국어 문장 中文句子",
    "Привет, мир? مرحبا हिन्दी",
)


#: Who warns, in transformers 4 and 5, of a regular expression that was wrong in tokenizers of Mistral's.
WARN_OF_REGEX = ("transformers.tokenization_utils_base", "transformers.tokenization_utils_tokenizers")


def load_tokenizer(name_or_folder: str) -> Any:
    """The fast Hugging Face tokenizer of a hub name or a folder.

    Raises:
        InputError: it is not there.
    """
    from transformers import AutoTokenizer

    try:
        with regex_warnings_held_back() as held:
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder, use_fast=True, **NO_CODE)
    except Exception as error:  # transformers and tokenizers raise many kinds for one mistake
        raise InputError(
            f"no tokenizer can be loaded from {name_or_folder}: {error}\n"
            "Give a local folder with tokenizer files (tokenizer.json or vocab.txt), or a hub name while online."
        ) from error
    if cuts_by_regex(tokenizer):
        for record in held:
            logging.getLogger(record.name).handle(record)
    return tokenizer


@contextmanager
def regex_warnings_held_back() -> Iterator[list[logging.LogRecord]]:
    """Collects what transformers would say during the block about a wrong regular expression of Mistral's.

    It says so of every local tokenizer of more than 100,000 pieces whose config.json names no release of transformers;
    releases 4.57.3 to 4.57.6 also where it names one of themselves, whatever kind of model that is. A BERT's does not
    cut text by a regular expression at all.
    """
    held: list[logging.LogRecord] = []

    def let_through(record: logging.LogRecord) -> bool:
        if "fix_mistral_regex" not in record.getMessage():
            return True
        held.append(record)
        return False

    loggers = [logging.getLogger(name) for name in WARN_OF_REGEX]
    for logger in loggers:
        logger.addFilter(let_through)
    try:
        yield held
    finally:
        for logger in loggers:
            logger.removeFilter(let_through)


def cuts_by_regex(tokenizer: Any) -> bool:
    """Whether a regular expression that lies with a tokenizer is what it first cuts text by."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    first = getattr(backend, "pre_tokenizer", None)
    return first is not None and b'"Regex"' in first.__getstate__()


def encoder_of(tokenizer: Any, max_length: int, pair: bool) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """What encodes many rows as the tokenizer does, without what it makes besides ids: places of tokens in the text.

    It may be called in several threads; the tokenizer itself must not be called meanwhile, for a call sets it up anew.

    Args:
        tokenizer: a fast tokenizer.
        max_length: tokens a row at most; the longer text is cut first.
        pair: whether a row is two texts.

    Returns:
        A function of texts, or of pairs of texts, that gives an encoding (of the package ``tokenizers``) for each.
    """
    texts = (["a"], ["b"]) if pair else (["a"],)
    tokenizer(*texts, truncation="longest_first", max_length=max_length)  # which sets up what truncates and pads
    encode: Callable[[Sequence[Any]], Sequence[Any]] = tokenizer.backend_tokenizer.encode_batch_fast
    return encode


def fingerprint(tokenizer: Any) -> str:
    """What two tokenizers share if and only if they give the same ids: a hash of the vocabulary and of probes.

    The files of a tokenizer differ between releases of transformers; its vocabulary and its ids do not.
    """
    digest = hashlib.sha256()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        digest.update(f"{index}\t{token}\n".encode())
    for probe in PROBES:
        ids = tokenizer(probe, probe[::-1])["input_ids"]
        digest.update(f"{ids}\n".encode())
    return digest.hexdigest()
