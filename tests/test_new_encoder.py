"""The small BERT folder: Hugging Face's own classes load it, with the ids of the vocabulary that was given."""

import gzip
import itertools
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from fairseq_musc.cli import main
from fairseq_musc.models import new_encoder

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
SMALL = ["--hidden-size", "16", "--layers", "2", "--heads", "2", "--intermediate-size", "24", "--max-positions", "40"]
VOCABULARY = ["[PAD]", "der", "[UNK]", "[CLS]", "Hund", "[SEP]", "[MASK]", "##e", "犬", "Ä", "A"]


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "given.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


def test_the_given_vocabulary_keeps_its_ids(tmp_path, vocabulary):
    folder = tmp_path / "encoder"
    assert main(["new-encoder", "--output", str(folder), "--vocab", str(vocabulary), *SMALL]) == 0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast
    assert [tokenizer.convert_tokens_to_ids(piece) for piece in VOCABULARY] == list(range(11))
    # cased, accents kept, ideographs cut apart: 9 is the accented letter, 10 the bare one
    assert tokenizer("der Hunde 犬犬 Ä a").input_ids == [3, 1, 4, 7, 8, 8, 9, 2, 5]
    pair = tokenizer("der", "Hund")
    assert (pair.input_ids, pair.token_type_ids) == ([3, 1, 5, 4, 5], [0, 0, 0, 1, 1])
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.model_max_length) == (0, 6, 40)
    assert (folder / "vocab.txt").read_bytes() == vocabulary.read_bytes()


def test_the_model_has_the_sizes_asked_for(tmp_path, vocabulary):
    folder = tmp_path / "encoder"
    assert main(["new-encoder", "--output", str(folder), "--vocab", str(vocabulary), *SMALL, "--dropout", "0.25"]) == 0
    model = AutoModel.from_pretrained(folder)
    assert type(model).__name__ == "BertModel"
    config = json.loads((folder / "config.json").read_text())
    expected = {
        "model_type": "bert",
        "vocab_size": 11,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 40,
        "hidden_dropout_prob": 0.25,
        "attention_probs_dropout_prob": 0.25,
    }
    assert {key: config[key] for key in expected} == expected
    assert (folder / "model.safetensors").exists()
    assert model(input_ids=torch.tensor([[3, 1, 5]])).last_hidden_state.shape == (1, 3, 16)


def test_the_seed_decides_the_weights(tmp_path, vocabulary):
    state = torch.get_rng_state()
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        out = str(tmp_path / name)
        assert main(["new-encoder", "--output", out, "--vocab", str(vocabulary), *SMALL, "--seed", seed]) == 0
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_is_that_of_mbert_unless_said(tmp_path, vocabulary):
    assert main(["new-encoder", "--output", str(tmp_path / "e"), "--vocab", str(vocabulary), *SMALL]) == 0
    config = AutoModel.from_pretrained(tmp_path / "e").config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.1, 0.1)


def test_a_vocabulary_is_learned_from_tables_and_plain_text(tmp_path):
    table = tmp_path / "en-ja.tsv"
    table.write_text("Anna lost the key.\tアンナは鍵をなくした。\n" * 20, encoding="utf-8")
    plain = tmp_path / "de.txt.gz"
    plain.write_bytes(gzip.compress(("Anna verlor den Schlüssel.\n" * 20).encode()))
    folder = tmp_path / "encoder"
    command = ["new-encoder", "--output", str(folder), "--text", str(table), str(plain), "--vocab-size", "150"]
    assert main([*command, *SMALL]) == 0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.tokenize("Anna verlor den Schlüssel.") == ["Anna", "verlor", "den", "Schlüssel", "."]
    assert tokenizer.tokenize("鍵をなくした。") == ["鍵", "をなくした", "。"]
    assert len(tokenizer) <= 150
    assert AutoModel.from_pretrained(folder).config.vocab_size == len(tokenizer)


def test_the_same_texts_make_the_same_vocabulary(tmp_path, monkeypatch):
    """Among words of every pair of 40 letters, which are all as frequent as each other, and of more characters than a
    vocabulary has room for."""
    monkeypatch.setattr(new_encoder, "MOST_CHARACTERS", 30)
    letters = [chr(code) for code in range(0x0430, 0x0458)]
    words = [a + b + c for a, b in itertools.permutations(letters, 2) for c in (letters[0], letters[9])]
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{word} {word} {word}\n" for word in words), encoding="utf-8")
    first, *others = (new_encoder.learn_vocabulary([text], 200) for _ in range(4))
    assert len(first) == 200
    assert sum(len(piece) == 1 for piece in first) == 30
    assert others == [first] * 3


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        (["--hidden-size", "10", "--heads", "4"], None, "--hidden-size 10 cannot be shared by --heads 4"),
        (["--layers", "0", "--dropout", "1"], None, "--layers is 0"),
        (["--layers", "0", "--dropout", "1"], None, "--dropout is 1.0"),
        ([], "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "[MASK] is missing"),
        ([], "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n", "line 8 repeats 'a' of line 6"),
        ([], "[PAD]\n[UNK]\n\n[CLS]\n[SEP]\n[MASK]\n", "line 3 is empty"),
        ([], b"[PAD]\n[UNK]\nM\xfcller\n", "line 3: byte 0xfc is not UTF-8"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(tmp_path, vocabulary, capsys, options, content, message):
    if content is not None:
        vocabulary.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["new-encoder", "--output", str(tmp_path / "e"), "--vocab", str(vocabulary), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [vocabulary]


def test_text_that_cannot_be_learned_from_is_named(tmp_path, capsys):
    empty, rich = tmp_path / "empty.txt", tmp_path / "rich.txt"
    empty.write_text(" \n\n", encoding="utf-8")
    rich.write_text("".join(map(chr, range(0x4E00, 0x4E40))) * 3, encoding="utf-8")
    for path, text in ((empty, "holds no text"), (rich, "--vocab-size is 20"), (tmp_path / "no", "cannot be read")):
        command = ["new-encoder", "--output", str(tmp_path / "e"), "--text", str(path), "--vocab-size", "20"]
        assert main([*command, *SMALL]) == 2
        assert text in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [empty, rich]


def test_an_existing_folder_is_left_alone(tmp_path, vocabulary, capsys):
    folder = tmp_path / "encoder"
    folder.mkdir()
    assert main(["new-encoder", "--output", str(folder), "--vocab", str(vocabulary), *SMALL]) == 2
    assert "exists" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_failure_half_way_leaves_nothing(tmp_path, vocabulary, monkeypatch):
    monkeypatch.setattr("fairseq_musc.models.new_encoder.write_model", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["new-encoder", "--output", str(tmp_path / "e"), "--vocab", str(vocabulary), *SMALL])
    assert list(tmp_path.iterdir()) == [vocabulary]


@pytest.mark.shared
def test_the_ids_of_mbert_are_unchanged(tmp_path):
    vocabulary = SHARED / "data" / "mbert" / "vocab.txt"
    if not vocabulary.exists():
        pytest.skip("needs ../shared/data/mbert/vocab.txt")
    assert main(["new-encoder", "--output", str(tmp_path / "e"), "--vocab", str(vocabulary), *SMALL]) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "e")
    assert tokenizer("Hello, my dog is cute").input_ids == [101, 31178, 117, 15127, 17835, 10124, 21610, 10112, 102]
    assert len(tokenizer) == 119547
