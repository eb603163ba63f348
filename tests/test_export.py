"""``fairseq-musc export``: transformers loads the folder by itself and says what the checkpoint says."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
import yaml
from markdown_it import MarkdownIt
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import read_predictions
from fairseq_musc.huggingface import export
from fairseq_musc.huggingface.card import as_code
from fairseq_musc.huggingface.heads import HEADS, sequence_classifier
from fairseq_musc.models.classifier import MuscClassifier, MuscClassifierConfig

pytest_plugins = ["checkpoint_fixture"]

#: What somebody does who has transformers and not this package.
ELSEWHERE = """
import json, sys
sys.modules["fairseq_musc"] = sys.modules["fairseq"] = None  # an import of either fails
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
folder, pairs = sys.argv[1], json.load(sys.stdin)
classify = pipeline("text-classification", model=folder, top_k=None)
says = classify([{"text": text, "text_pair": pair} for text, pair in pairs], batch_size=4)
model = AutoModelForSequenceClassification.from_pretrained(folder)
encoded = AutoTokenizer.from_pretrained(folder)([t for t, _ in pairs], [p for _, p in pairs], padding=True,
                                                return_tensors="pt")
json.dump({
    "says": [{each["label"]: each["score"] for each in row} for row in says],
    "logits": model(**encoded).logits.tolist(),
    "labels": [model.config.id2label[i] for i in range(model.config.num_labels)],
    "ids": model.config.label2id,
    "longest": AutoTokenizer.from_pretrained(folder).model_max_length,
}, sys.stdout)
"""


def options(values):
    return [str(part) for option in values.items() for part in option]


@pytest.fixture(scope="module")
def predictions(checkpoint, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    assert main(["predict", *options({"--checkpoint": checkpoint, "--data": world.data, "--predictions": folder})]) == 0
    assert main(["ensemble", "--predictions", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint, predictions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "reviews"
    assert main(["export", str(checkpoint), str(folder), "--predictions", str(predictions)]) == 0
    return folder


def test_transformers_alone_says_what_the_checkpoint_says(exported, predictions, world):
    rows = read_corpus(world.corpora, "T_tst", "de").rows
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(exported)],
        input=json.dumps([(row.text, row.text_pair) for row in rows]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert (got["labels"], got["ids"]) == (["0", "1"], {"0": 0, "1": 1})
    assert got["longest"] == 128  # as rows were cut in training
    expected = read_predictions(predictions, "T_tst", "de").probabilities
    assert np.ptp(expected[:, 0]) > 1e-3  # rows differ
    np.testing.assert_allclose([[row["0"], row["1"]] for row in got["says"]], expected, atol=1e-5)
    logits = np.array(got["logits"])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_the_folder_holds_safetensors_tokenizer_labels_and_card(exported, capsys):
    names = {path.name for path in exported.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".py"))}
    written = "".join(path.read_text() for path in exported.glob("*.json"))
    assert str(exported.parent.parent) not in written  # no path of the machine that made it


def test_the_card_has_the_table_and_what_it_was_trained_on(exported, checkpoint, predictions):
    card = (exported / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["pipeline_tag"] == "text-classification"
    assert about["library_name"] == "transformers"
    assert about["language"] == ["de", "en", "fr"]
    assert (predictions / "results.md").exists() is False  # the card makes its own table
    assert main(["report", "--predictions", str(predictions)]) == 0
    assert (predictions / "results.md").read_text() in text

    for line in (
        "- corpora: S_trn + T_trn_MT, aligned views of the same rows",
        "- rows: S_trn.en 37, T_trn_MT.de 37, T_trn_MT.fr 37",
        "- translator: word list with model.pt (SHA-256 000000000000)",
        "- loss: ce+mu+sc+musc, lambda 0.9, normalisation released",
        "- learning rate: 0.001",
        "- encoder: encoder",  # not the folder that it lay in
        f"- checkpoint: checkpoint_best.pt (update 10, SHA-256 {hashlib.sha256(checkpoint.read_bytes()).hexdigest()})",
    ):
        assert f"{line}\n" in text


def test_a_folder_that_is_there_is_left_alone(exported, checkpoint, capsys):
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert main(["export", str(checkpoint), str(exported)]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_predictions_of_another_checkpoint_are_refused(checkpoint, predictions, tmp_path, capsys):
    other = tmp_path / "checkpoint_best.pt"
    state = torch.load(checkpoint, weights_only=True)
    state["extra_state"]["val_loss"] = 0
    torch.save(state, other)
    assert main(["export", str(other), str(tmp_path / "out"), "--predictions", str(predictions)]) == 2
    assert re.search(r"are of checkpoint checkpoint_best.pt \(update 10, .*not of this one", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_is_gone_is_asked_for(checkpoint, world, tmp_path, capsys):
    lost = tmp_path / "lost.pt"
    state = torch.load(checkpoint, weights_only=True)
    state["cfg"]["task"]["data"] = str(tmp_path / "nowhere")
    state["cfg"]["model"]["pretrained"] = str(tmp_path / "gone")
    torch.save(state, lost)
    assert main(["export", str(lost), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "name it with --tokenizer" in error
    assert f"there is no data-bin {tmp_path / 'nowhere'}" in error
    assert f"no tokenizer can be loaded from {tmp_path / 'gone'}" in error
    tiny.make_encoder(tmp_path / "other", words=["one", "two"])
    assert main(["export", str(lost), str(tmp_path / "out"), "--tokenizer", str(tmp_path / "other")]) == 2
    assert "has another tokenizer than the training data" in capsys.readouterr().err
    assert main(["export", str(lost), str(tmp_path / "out"), "--tokenizer", str(world.encoder)]) == 0


def test_what_does_not_say_the_same_is_not_written(checkpoint, tmp_path, monkeypatch):
    def other_labels(model, labels, dropout):
        made = sequence_classifier(model, labels, dropout)
        made.classifier.weight.data = made.classifier.weight.flip(0).clone()
        return made

    monkeypatch.setattr("fairseq_musc.huggingface.heads.sequence_classifier", other_labels)
    with pytest.raises(RuntimeError, match="the logits of the exported BertForSequenceClassification are"):
        main(["export", str(checkpoint), str(tmp_path / "out")])
    assert list(tmp_path.iterdir()) == []


# --- every type of encoder ---

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 120,
    "max_position_embeddings": 66,
}
OWN_SIZES = {
    "albert": {"embedding_size": 8},
    "deberta-v2": {"relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 8, "type_vocab_size": 0},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 16},
    "modernbert": {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "rembert": {"input_embedding_size": 8, "bos_token_id": 1, "eos_token_id": 2},
}
#: Types of later releases of transformers.
LATER = {"gte"}


def classifier(model_type, **values):
    """A classifier on an encoder of a type, with weights large enough that every layer counts."""
    sizes = {} if model_type == "distilbert" else SIZES
    config = AutoConfig.for_model(model_type, **{**sizes, **OWN_SIZES.get(model_type, {}), **values})
    torch.manual_seed(0)
    model = MuscClassifier(AutoModel.from_config(config), 3, MuscClassifierConfig(projector_size=8)).eval()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return model


def test_the_types_looked_at_are_those_of_the_table_that_transformers_has():
    assert {model_type for model_type in HEADS if model_type not in CONFIG_MAPPING} <= LATER


@pytest.mark.parametrize("model_type", [name for name in HEADS if name in CONFIG_MAPPING])
def test_logits_are_the_same_after_writing_and_loading(model_type, tmp_path):
    model = classifier(model_type)
    sequence_classifier(model, ["bad", "so so", "good"], 0.25).save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    pad = model.encoder.config.pad_token_id or 0
    mask = (torch.arange(9) < torch.tensor([9, 4, 6, 3])[:, None]).long()
    ids = torch.randint(5, 100, mask.shape) * mask + pad * (1 - mask)
    with torch.no_grad():
        ours = model(input_ids=ids, attention_mask=mask, project=False).logits
        torch.testing.assert_close(loaded(input_ids=ids, attention_mask=mask).logits, ours, rtol=0, atol=1e-5)
    assert ours.std() > 0.01
    assert loaded.config.id2label == {0: "bad", 1: "so so", 2: "good"}
    head = HEADS[model_type]
    assert head.dropout is None or getattr(loaded.config, head.dropout) == 0.25


def test_encoders_without_such_a_head_are_refused_with_the_reason():
    with pytest.raises(InputError, match=r"modernbert cannot be exported: .*LayerNorm behind(.|\n)*Predict with"):
        sequence_classifier(classifier("modernbert"), ["a", "b", "c"], 0.1)
    with pytest.raises(InputError, match=r"embeddings of 8 under layers of 16(.|\n)*Predict with"):
        sequence_classifier(classifier("electra", embedding_size=8), ["a", "b", "c"], 0.1)
    model = classifier("bert")
    model.encoder.config.model_type = "of tomorrow"
    with pytest.raises(InputError, match=r"of tomorrow cannot be exported: no head .* It can be for albert, bert, "):
        sequence_classifier(model, ["a", "b", "c"], 0.1)


def test_positions_that_can_be_read_are_counted_as_the_encoder_counts_them():
    assert export.readable(classifier("bert").encoder) == 66
    assert export.readable(classifier("xlm-roberta").encoder) == 64
    longest = torch.ones(1, 64, dtype=torch.int64)
    classifier("xlm-roberta")(input_ids=longest * 5, attention_mask=longest)
    with pytest.raises((IndexError, RuntimeError)):
        classifier("xlm-roberta")(input_ids=torch.full((1, 65), 5), attention_mask=torch.ones(1, 65))


@pytest.mark.parametrize("label", ["good", "a`b", "``", "`begins", "ends`", "two ``` in `one", "a\nb", "*_<b>|"])
def test_a_label_is_code_on_the_card_whatever_stands_in_it(label):
    """By the rules of CommonMark, as another library reads them."""
    [paragraph] = [each for each in MarkdownIt().parse(f"as {as_code(label)}, and") if each.type == "inline"]
    before, code, behind = paragraph.children
    assert (before.content, code.type, behind.content) == ("as ", "code_inline", ", and")
    assert code.content == label.replace("\n", " ")
