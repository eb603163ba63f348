"""A translator that was really trained, as small as can be, for every test that needs one: en, de, ja.

Use it with ``pytest_plugins = ["translator_fixture"]`` and a test argument ``translator_folder``.
"""

import os
import random
from pathlib import Path

import pytest
from filelock import FileLock

from fairseq_musc.cli import main

ENGLISH = "dog cat house tree man woman child sun moon river sees loves finds takes"
GERMAN = "Hund Katze Haus Baum Mann Frau Kind Sonne Mond Fluss sieht liebt findet nimmt"
JAPANESE = "犬 猫 家 木 男 女 子 日 月 川 見る 愛す 探す 取る"
WORDS = {"en": ENGLISH.split(), "de": GERMAN.split(), "ja": JAPANESE.split()}
ORDER = {"en": "the {0} {2} the {1}.", "de": "Der {0} {2} den {1}.", "ja": "{0}は{1}を{2}。"}


def sentences(number, seed=0):
    """Aligned sentences in the three languages, as one dict a row."""
    choose = random.Random(seed)
    rows = []
    for _ in range(number):
        words = [*choose.sample(range(10), 2), choose.randrange(10, 14)]
        rows.append({xx: ORDER[xx].format(*(WORDS[xx][word] for word in words)) for xx in WORDS})
    return rows


def write_parallel(folder: Path, number=300):
    folder.mkdir(parents=True, exist_ok=True)
    for xx in ("de", "ja"):
        lines = [f"{row['en']}\t{row[xx]}\n" for row in sentences(number)]
        (folder / f"en-{xx}.tsv").write_text("".join(lines), encoding="utf-8")


def tiny_arguments(parallel, output, *more):
    """The command line of a training of a few seconds; --max-positions 64 so that long lines have to be cut."""
    sizes = "--vocabulary 120 --dim 32 --ffn-dim 64 --heads 2 --encoder-layers 1 --decoder-layers 1 --max-positions 64"
    training = "--updates 200 --warmup 40 --max-tokens 600 --lr 0.01 --held-out 5 --cpu --max-len-b 20 --beam 2"
    return [
        "train-translator", "--parallel", str(parallel), "--output", str(output),
        *sizes.split(), *training.split(), *more,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def translator_folder(tmp_path_factory):
    """The folder of a translator. Not to be written to. Trained once, by whichever test process needs it first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # where the folders of all test processes lie
    root /= "translator"
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        if not (root / "made").exists():  # it appears whole or not at all
            write_parallel(root / "parallel")
            assert main(tiny_arguments(root / "parallel", root / "made")) == 0
    return root / "made"
