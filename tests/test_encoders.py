"""Encoders with tokenizers of other kinds than BERT's, as their folders are published: trained, predicted, exported."""

import json

import pytest
import tiny
import torch
from sentencepiece import SentencePieceTrainer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from fairseq_musc.cli import main
from fairseq_musc.data.tokenizer import load_tokenizer
from fairseq_musc.evaluate.table import read_predictions

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def sentencepiece(folder, name, specials):
    """A SentencePiece model alone, without tokenizer.json: so mDeBERTa's folder is."""
    words = [mark + word for mark in ("", "de", "fr") for word in [*tiny.WORDS, "not"]]
    SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 20),
        model_prefix=str(folder / "trained"),
        vocab_size=70,
        hard_vocab_limit=False,
        minloglevel=2,
        **specials,
    )
    (folder / "trained.model").rename(folder / name)
    (folder / "trained.vocab").unlink()


def mdeberta(folder):
    names = {
        f"{name}_piece": piece
        for name, piece in zip(("pad", "bos", "eos", "unk"), ("[PAD]", "[CLS]", "[SEP]", "[UNK]"), strict=True)
    }
    sentencepiece(folder, "spm.model", {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, **names})
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    return AutoConfig.for_model(
        "deberta-v2", vocab_size=80, relative_attention=True, pos_att_type="p2c|c2p", position_buckets=8,
        type_vocab_size=0, norm_rel_ebd="layer_norm", share_att_key=True, max_position_embeddings=128, **SIZES,
    )  # fmt: skip


def xlm_roberta(folder):
    sentencepiece(folder, "sentencepiece.bpe.model", {})
    return AutoConfig.for_model("xlm-roberta", vocab_size=80, max_position_embeddings=130, pad_token_id=1, **SIZES)


def modernbert(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    specials = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    words = [mark + word for mark in ("", "de", "fr") for word in [*tiny.WORDS, "not"]]
    tokenizer = Tokenizer(models.WordLevel(specials | {word: 5 + i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return AutoConfig.for_model(
        "modernbert", vocab_size=5 + len(words), pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2,
        sep_token_id=3, **SIZES,
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [mdeberta, pytest.param(xlm_roberta, marks=pytest.mark.long), pytest.param(modernbert, marks=pytest.mark.long)],
)
def test_an_encoder_is_trained_predicted_and_exported_or_refused(kind, world, tmp_path, capsys):
    folder = tmp_path / "encoder"
    folder.mkdir()
    config = kind(folder)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.unk_token_id not in tokenizer("w1 dew2 frnot")["input_ids"]
    tiny.binarize(world.corpora, tmp_path / "bin", folder)
    run = tiny.train(tmp_path / "bin", folder, tmp_path / "run", "optimization.max_epoch=1")
    checkpoint = str(run / "checkpoint_best.pt")
    predictions = ["--data", str(tmp_path / "bin"), "--predictions", str(tmp_path / "predictions")]
    assert main(["predict", "--checkpoint", checkpoint, *predictions]) == 0
    assert len(read_predictions(tmp_path / "predictions", "S_tst_MT", "fr").ids) == 21
    status = main(["export", checkpoint, str(tmp_path / "exported")])
    assert status == (2 if kind is modernbert else 0)
    assert ("cannot be exported" in capsys.readouterr().err) == (kind is modernbert)
