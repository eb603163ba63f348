"""The vocabulary of a translator in training, and sentence pairs in it as the binarized files of fairseq.

``fairseq-preprocess`` makes the same files from text that another program has cut into pieces. Here the pieces of
SentencePiece go straight into them: seconds instead of minutes.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq_musc.errors import InputError
from fairseq_musc.files import make_folder
from fairseq_musc.translate import release
from fairseq_musc.translate.parallel import Pairs

#: Sentences that SentencePiece looks at, which are chosen by lot; more give the same pieces after more time.
SENTENCES_SEEN = 500_000


def sentences_seen(pairs: Pairs) -> Iterator[str]:
    """All sides of all files, or :data:`SENTENCES_SEEN` of them, the same ones every time.

    SentencePiece can choose for itself, but draws from a generator of which the seed is another in every process.
    """
    sides = (side for rows in pairs.values() for row in rows for side in row)
    number = 2 * sum(map(len, pairs.values()))
    if number <= SENTENCES_SEEN:
        return sides
    seen = set(random.Random(0).sample(range(number), SENTENCES_SEEN))
    return (side for place, side in enumerate(sides) if place in seen)


def train_sentencepiece(pairs: Pairs, size: int, coverage: float, folder: Path) -> None:
    """One SentencePiece model over all sides of all files.

    Raises:
        InputError: the size is too small for the characters of the text.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=sentences_seen(pairs),
            model_writer=model,
            vocab_size=size,
            hard_vocab_limit=False,  # text too small for the size gives fewer pieces instead of an error
            character_coverage=coverage,
            num_threads=os.cpu_count() or 1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(
            f"SentencePiece cannot make {size} pieces of this text: {error}. Give --vocabulary a larger number, or "
            "--character-coverage a smaller one"
        ) from None
    (folder / release.SENTENCEPIECE).write_bytes(model.getvalue())


def write_dictionaries(folder: Path, languages: Sequence[str]) -> None:
    """``data_dict``: the pieces; ``model_dict``: these, a token for each language, and words that fill up the size.

    fairseq adds its four special symbols itself when it loads them.
    """
    from fairseq.data import Dictionary
    from fairseq.data.multilingual.multilingual_utils import augment_dictionary
    from sentencepiece import SentencePieceProcessor

    spm = SentencePieceProcessor(model_file=str(folder / release.SENTENCEPIECE))
    dictionary = Dictionary()
    for i in range(spm.get_piece_size()):
        if not (spm.is_unknown(i) or spm.is_control(i)):
            dictionary.add_symbol(spm.id_to_piece(i))
    dictionary.save(str(folder / release.DATA_DICT))
    augment_dictionary(dictionary, list(languages), lang_tok_style="multilingual")
    dictionary.pad_to_multiple_(8)
    dictionary.save(str(folder / release.MODEL_DICT))


def binarize_pairs(pairs: Pairs, folder: Path, destination: Path, split: str, longest: int) -> dict[str, int]:
    """Encodes sentence pairs into ``<split>.<aa>-<bb>.<aa>.bin`` and so on, for both directions of each file.

    Args:
        folder: of the translator, with its SentencePiece model and dictionaries.
        destination: the folder that ``fairseq-train`` takes.
        split: ``train`` or ``valid``.
        longest: pieces of a side at most; pairs with a longer side, or with one of no piece, are left out.

    Returns:
        ``<aa>-<bb>`` -> how many pairs went in.
    """
    import numpy as np
    import torch
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder, best_fitting_int_dtype
    from sentencepiece import SentencePieceProcessor

    spm = SentencePieceProcessor(model_file=str(folder / release.SENTENCEPIECE))
    dictionary = Dictionary.load(str(folder / release.DATA_DICT))
    index = np.array([dictionary.index(spm.id_to_piece(i)) for i in range(spm.get_piece_size())])
    index[spm.unk_id()] = dictionary.unk()
    dtype = best_fitting_int_dtype(len(dictionary))
    make_folder(destination)
    counts = {}
    for (a, b), rows in pairs.items():
        encoded = [
            spm.encode([row[side] for row in rows], out_type=int, num_threads=os.cpu_count() or 1) for side in (0, 1)
        ]
        kept = [sides for sides in zip(*encoded, strict=True) if all(0 < len(side) <= longest for side in sides)]
        counts[f"{a}-{b}"] = len(kept)
        for side, language in enumerate((a, b)):
            prefix = destination / f"{split}.{a}-{b}.{language}"
            builder = MMapIndexedDatasetBuilder(f"{prefix}.bin", dtype)
            for sides in kept:
                builder.add_item(torch.from_numpy(np.append(index[sides[side]], dictionary.eos())))
            builder.finalize(f"{prefix}.idx")
    return counts


def check_counts(pairs: Pairs, counts: dict[str, int], longest: int) -> int:
    """How many pairs were left out.

    Raises:
        InputError: nothing is left of a file.
    """
    bare = [f"{a}-{b}: none of {len(rows)}" for (a, b), rows in pairs.items() if not counts[f"{a}-{b}"]]
    if bare:
        raise InputError.all_at_once(f"no line has between 1 and {longest} pieces a side in these files:", bare)
    return sum(map(len, pairs.values())) - sum(counts.values())
