"""Makes a small untrained BERT folder in Hugging Face format.

Reads a vocabulary, one word piece a line (`--vocab`, kept line for line: the id of a piece is its line number from 0),
or texts to learn a cased WordPiece vocabulary from (`--text`: UTF-8, one sentence a line; in files named `*.tsv` every
cell is a text, and `*.gz` is unpacked). Writes the folder OUTPUT: config.json, model.safetensors, vocab.txt and the
tokenizer's files, for AutoModel and AutoTokenizer. The folder appears whole or not at all.

It stands in for bert-base-multilingual-cased in demonstrations and tests; it has learned nothing.
"""

from __future__ import annotations

import argparse
import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fairseq_musc.errors import InputError
from fairseq_musc.files import folder_written_whole, written_whole
from fairseq_musc.progress import with_progress

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

#: Characters that a vocabulary that is learned has at most; words are cut where they have others.
MOST_CHARACTERS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``fairseq-musc new-encoder``."""
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the encoder; a new folder")
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--vocab", type=Path, metavar="FILE", help="a BERT vocab.txt to take as it is")
    words.add_argument("--text", type=Path, nargs="+", metavar="FILE", help="texts to learn a vocabulary from")
    for option, default, text in (
        ("--vocab-size", 4000, "pieces to learn at most, with --text"),
        ("--hidden-size", 128, "width of embeddings and layers"),
        ("--layers", 2, "layers"),
        ("--heads", 4, "attention heads; they divide the hidden size"),
        ("--intermediate-size", 512, "width of the feed-forward layers"),
        ("--max-positions", 128, "pieces that the model can read at once"),
        ("--seed", 1, "for the weights"),
    ):
        parser.add_argument(option, type=int, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--dropout", type=float, default=0.1, metavar="P", help="dropout everywhere, as in mBERT (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the folder.

    Raises:
        InputError: the folder exists, the vocabulary or a text cannot be used, or the sizes do not fit together.
    """
    problems = size_problems(arguments)
    if problems:
        raise InputError.all_at_once("an encoder of these sizes cannot be made:", problems)
    if arguments.vocab:
        pieces = read_vocabulary(arguments.vocab)
    else:
        pieces = learn_vocabulary(arguments.text, arguments.vocab_size)
    with folder_written_whole(arguments.output) as folder:
        write_tokenizer(folder, pieces, arguments.max_positions)
        parameters = write_model(folder, len(pieces), arguments)
    print(f"{arguments.output}: an untrained BERT of {len(pieces)} word pieces and {parameters} parameters")


def size_problems(arguments: argparse.Namespace) -> list[str]:
    """What is wrong with the numbers, a line each."""
    sizes = ("vocab_size", "hidden_size", "layers", "heads", "intermediate_size", "max_positions")
    problems = [
        f"--{name.replace('_', '-')} is {getattr(arguments, name)}; it must be 1 or more"
        for name in sizes
        if getattr(arguments, name) < 1
    ]
    if not problems and arguments.hidden_size % arguments.heads:
        problems.append(f"--hidden-size {arguments.hidden_size} cannot be shared by --heads {arguments.heads}")
    if not 0 <= arguments.dropout < 1:
        problems.append(f"--dropout is {arguments.dropout}; it must be 0 or more and less than 1")
    return problems


def read_vocabulary(path: Path) -> list[str]:
    """The word pieces of a vocab.txt, in the order of their ids.

    Raises:
        InputError: not there, not UTF-8, a line is empty, a piece stands twice or a special token is missing.
    """
    pieces = _read_text(path).removesuffix("\n").split("\n")
    problems: list[str] = []
    lines: dict[str, int] = {}
    for number, piece in enumerate(pieces, start=1):
        if not piece:
            problems.append(f"line {number} is empty")
        elif piece in lines:
            problems.append(f"line {number} repeats {piece!r} of line {lines[piece]}")
        lines.setdefault(piece, number)
    problems += [f"{token} is missing" for token in SPECIAL_TOKENS if token not in lines]
    if problems:
        shown = problems if len(problems) <= 10 else [*problems[:10], f"and {len(problems) - 10} more"]
        raise InputError.all_at_once(f"{path} is no BERT vocabulary (one piece a line):", shown)
    return pieces


def learn_vocabulary(paths: Sequence[Path], size: int) -> list[str]:
    """A cased WordPiece vocabulary of at most ``size`` pieces, the special tokens first.

    Text is cut as BERT cuts it: at spaces and punctuation, and around every Chinese character.

    Raises:
        InputError: a file cannot be read, holds no text, or has more characters than ``size`` has room for.
    """
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    texts = [text for path in paths for text in read_texts(path)]
    # The trainer gives ids to characters in the order of a hash map, anew in every process, and takes the lower ids
    # where pairs are as frequent as each other: unless it is told their order, no two vocabularies are the same.
    alphabet, continued = characters(
        word
        for text in with_progress(texts, "texts", "count characters")
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    )
    tokenizer.train_from_iterator(
        with_progress(texts, "texts", "learn word pieces"),
        vocab_size=size,
        min_frequency=2,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{character}" for character in continued)],
        show_progress=False,
    )
    ids = tokenizer.get_vocab()
    if len(ids) > size:
        raise InputError(
            f"--vocab-size is {size}, but the single characters of the texts alone need {len(ids)} pieces; "
            "give a larger size"
        )
    return sorted(ids, key=ids.__getitem__)


def characters(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The characters of words, at most :data:`MOST_CHARACTERS` of the most frequent ones, and which of them stand
    within a word; both sorted."""
    anywhere: Counter[str] = Counter()
    within: set[str] = set()
    for word in words:
        anywhere.update(word)
        within.update(word[1:])
    by_frequency = sorted(anywhere, key=lambda character: (-anywhere[character], character))
    kept = sorted(by_frequency[:MOST_CHARACTERS])
    return kept, [character for character in kept if character in within]


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a file: its lines, or the cells of its lines if it is a TSV.

    Raises:
        InputError: not there, not UTF-8 or without text.
    """
    is_table = path.name.removesuffix(".gz").endswith(".tsv")
    lines = _read_text(path).split("\n")
    texts = [cell for line in lines for cell in (line.split("\t") if is_table else [line]) if cell.strip()]
    if not texts:
        raise InputError(f"{path} holds no text to learn a vocabulary from")
    return iter(texts)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: byte {data[error.start]:#04x} is not UTF-8; convert the file") from None


def write_tokenizer(folder: Path, pieces: Sequence[str], max_positions: int) -> None:
    """Writes vocab.txt and the files of a cased fast BERT tokenizer."""
    from transformers import BertTokenizerFast

    from fairseq_musc.data.tokenizer import load_tokenizer

    with written_whole(folder / "vocab.txt") as stream:
        stream.writelines(piece + "\n" for piece in pieces)
    tokenizer = BertTokenizerFast.from_pretrained(
        folder, do_lower_case=False, strip_accents=False, tokenize_chinese_chars=True, model_max_length=max_positions
    )
    tokenizer.save_pretrained(folder)
    # transformers 4 and 5 read and write these files in different ways: see that no id has moved.
    found = load_tokenizer(str(folder)).get_vocab()
    moved = [piece for number, piece in enumerate(pieces) if found.get(piece) != number]
    if moved or len(found) != len(pieces):
        raise RuntimeError(f"the tokenizer gives {moved[:3]} other ids than the vocabulary; transformers has changed")


def write_model(folder: Path, vocab_size: int, arguments: argparse.Namespace) -> int:
    """Writes config.json and model.safetensors of a freshly initialised BERT; returns its number of parameters."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=arguments.hidden_size,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        intermediate_size=arguments.intermediate_size,
        max_position_embeddings=arguments.max_positions,
        hidden_dropout_prob=arguments.dropout,
        attention_probs_dropout_prob=arguments.dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        model = BertModel(config)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())
