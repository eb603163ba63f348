"""What transformers says of a tokenizer's regular expression is heard where there is one."""

import json
import logging

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizerFast

from fairseq_musc.data.tokenizer import load_tokenizer

#: transformers looks at vocabularies of more than 100,000 pieces alone.
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(100_000))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tokenizers of BERT's and of Mistral's kind; transformers adds to their config.json no release that wrote it."""
    root = tmp_path_factory.mktemp("tokenizers")
    for kind in ("bert", "mistral"):
        (root / kind).mkdir()
        (root / kind / "config.json").write_text(json.dumps({"model_type": kind}))
    (root / "bert" / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    BertTokenizerFast(str(root / "bert" / "vocab.txt"), do_lower_case=False).save_pretrained(root / "bert")
    (root / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    split = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(use_regex=False)])
    tokenizer.save(str(root / "mistral" / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (root / "mistral" / "tokenizer_config.json").write_text(json.dumps(about))
    return root


@pytest.fixture
def said():
    """What transformers says."""
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("transformers").addHandler(handler)
    yield heard
    logging.getLogger("transformers").removeHandler(handler)


@pytest.mark.parametrize("release", [None, "4.57.6"])
def test_no_false_alarm_about_a_bert(folders, said, release):
    named = {} if release is None else {"transformers_version": release}
    (folders / "bert" / "config.json").write_text(json.dumps({"model_type": "bert", **named}))
    AutoTokenizer.from_pretrained(folders / "bert")
    if release is None:
        assert "fix_mistral_regex" in "".join(said)  # else transformers has mended it, and ours can go
    said.clear()
    tokenizer = load_tokenizer(str(folders / "bert"))
    assert said == []
    assert tokenizer.tokenize("w7 w99999") == ["w7", "w99999"]
    assert "fix_mistral_regex" not in tokenizer.init_kwargs
    logging.getLogger("transformers.tokenization_utils_base").warning("fix_mistral_regex, by another")
    assert len(said) == 1  # nothing is held back for longer


def test_a_tokenizer_that_cuts_by_a_regular_expression_is_warned_of(folders, said):
    load_tokenizer(str(folders / "mistral"))
    assert [text.count("fix_mistral_regex=True") for text in said] == [1]
