"""A tiny world for tests: corpora, a BERT folder, a data-bin and training runs that take seconds.

The language is made up: a row is two rows of words, the same (label 1) or with "not" put in (label 0); the German word
for "w7" is "dew7". Nothing here imitates fairseq, Hydra or Hugging Face: all run for real.
"""

import random
from pathlib import Path

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import CORPORA, Corpus, Row, write_corpus

WORDS = [f"w{i}" for i in range(40)]
LABELS = ("0", "1")
TARGETS = ("de", "fr")


def rows(count, prefix, language, seed):
    """The same rows in every language, word for word."""
    rng = random.Random(seed)
    mark = "" if language == "en" else language
    made = []
    for i in range(count):
        label = rng.choice(LABELS)
        words = [mark + rng.choice(WORDS) for _ in range(rng.randint(3, 9))]
        other = list(words)
        if label == "0":
            other.insert(rng.randint(0, len(other)), mark + "not")
        made.append(Row(f"{prefix}{i}", label, " ".join(words), " ".join(other)))
    return made


def make_corpora(folder, train=37, valid=13, test=21, targets=TARGETS, labels=LABELS):
    """S_trn, T_trn_MT, T_trn and its back-translation, and validation and test sets with their translations."""

    def write(name, language, text_language, count, prefix, seed):
        content = rows(count, prefix, text_language, seed)
        made = CORPORA[name].made_from is not None
        provenance = {"engine": "word list", "translator": {"model.pt": "0" * 64}} if made else {}
        write_corpus(folder, Corpus(name, language, text_language, "pawsx", labels, content, provenance))

    write("S_trn", "en", "en", train, "t", 1)
    for name, count, prefix, seed in (("T_val", valid, "v", 2), ("T_tst", test, "s", 3)):
        write(name, "en", "en", count, prefix, seed)
        for target in targets:
            write(name, target, target, count, prefix, seed)
            write(name.replace("T_", "S_") + "_MT", target, "en", count, prefix, seed)
    for place, target in enumerate(targets):
        write("T_trn_MT", target, target, train, "t", 1)
        # rows of its own in each language
        write("T_trn", target, target, max(2, train - 8 - place), f"{target}-o", 4 + place)
        write("S_trn_MT", target, "en", max(2, train - 8 - place), f"{target}-o", 4 + place)
        write("T_trn_BT", target, target, max(2, train - 8 - place), f"{target}-o", 4 + place)


def make_encoder(folder, width=16, layers=1, words=None, dropout=0.1, seed=0):
    """A BERT folder in Hugging Face format whose vocabulary is the made-up words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    marks = ("", *TARGETS)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += words or [mark + word for mark in marks for word in [*WORDS, "not"]]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=128,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)


def binarize(corpora, data, encoder):
    """The real verb."""
    assert main(["binarize", "--corpora", str(corpora), "--data", str(data), "--tokenizer", str(encoder)]) == 0


def compose(data, encoder, save_dir, *overrides):
    """The installed recipe with overrides, as fairseq-hydra-train composes it."""
    from fairseq.dataclass.initialize import hydra_init
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    import fairseq_musc.configs
    import fairseq_musc.registration

    GlobalHydra.instance().clear()
    hydra_init("musc_pawsx")
    configs = str(Path(fairseq_musc.configs.__path__[0]).resolve())
    small = [
        f"task.data={data}",
        f"model.pretrained={encoder}",
        f"checkpoint.save_dir={save_dir}",
        "optimization.lr=[0.001]",
        "dataset.batch_size=8",
        "dataset.num_workers=0",
        "common.log_interval=1",
        "common.cpu=true",
    ]
    # A version_base of 1.2 or more would break fairseq's own command-line parsing in this process.
    with initialize_config_dir(configs, version_base="1.1"):
        return hydra_compose("musc_pawsx", [*small, *overrides])


def train(data, encoder, save_dir, *overrides):
    """fairseq-hydra-train in this process; returns the folder of its checkpoints."""
    from fairseq_cli.hydra_train import _hydra_main

    _hydra_main(compose(data, encoder, save_dir, *overrides))
    return Path(save_dir)


def load(path):
    """A checkpoint, by torch's safe loader."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)
