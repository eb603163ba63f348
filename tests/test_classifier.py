"""The model: one pass over mixed and plain views equals passes typed out one by one."""

import json

import pytest
import tiny
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModel, BertModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fairseq_musc.errors import InputError
from fairseq_musc.mixing import mix_within_groups
from fairseq_musc.models.classifier import (
    MuscClassifier,
    MuscClassifierConfig,
    encoder_config_of,
    encoder_from_config,
    encoder_from_pretrained,
)


@pytest.fixture
def encoder(tmp_path):
    tiny.make_encoder(tmp_path / "encoder", layers=2)
    return BertModel.from_pretrained(tmp_path / "encoder")


def classifier(encoder, **values):
    return MuscClassifier(encoder, 2, MuscClassifierConfig(**values)).eval()


def ragged(rows=5, longest=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, longest + 1, (rows,), generator=generator)
    lengths[0] = longest
    mask = (torch.arange(longest) < lengths[:, None]).long()
    ids = torch.randint(5, 100, (rows, longest), generator=generator) * mask
    segments = ((torch.arange(longest) >= 2) & (mask == 1)).long()
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}


def by_hand(model, mixed_embeddings, mask):
    """BERT from embeddings on, with Hugging Face's layers but not its forward: attention by the additive mask."""
    bert = model.encoder
    hidden = mixed_embeddings
    blocked = (1.0 - mask[:, None, None, :].float()) * -1e9
    for layer in bert.encoder.layer:
        attention = layer.attention.self
        q, k, v = (
            part(hidden).unflatten(-1, (bert.config.num_attention_heads, -1)).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + blocked).softmax(-1)
        context = (weights @ v).transpose(1, 2).flatten(2)
        output = layer.attention.output
        hidden = output.LayerNorm(output.dense(context) + hidden)
        hidden = layer.output.LayerNorm(layer.output.dense(F.gelu(layer.intermediate.dense(hidden))) + hidden)
    cls = hidden[:, 0]
    logits = model.classifier(torch.tanh(bert.pooler.dense(cls)))
    return logits, F.normalize(model.projector(cls), dim=1)


def embeddings_by_hand(bert, inputs, words=None):
    table = bert.embeddings
    words = table.word_embeddings(inputs["input_ids"]) if words is None else words
    positions = table.position_embeddings(torch.arange(words.shape[1]))
    return table.LayerNorm(words + positions + table.token_type_embeddings(inputs["token_type_ids"]))


@pytest.mark.parametrize("mix_at", ["embedding_output", "word_embeddings"])
def test_mixed_views_by_hand(encoder, mix_at):
    model = classifier(encoder, mix_at=mix_at)
    one = ragged()
    doubled = {key: torch.cat([value, value]) for key, value in one.items()}
    alpha = 0.3
    mixing = mix_within_groups([5], [torch.tensor([alpha])], torch.device("cpu"))
    with torch.no_grad():
        got = model(**doubled, mixing=mixing)
        union = torch.maximum(one["attention_mask"], one["attention_mask"].flip(0))
        if mix_at == "embedding_output":
            E = embeddings_by_hand(encoder, one)
            mixed = alpha * E + (1 - alpha) * E.flip(0)
        else:
            X = encoder.embeddings.word_embeddings(one["input_ids"])
            mixed = embeddings_by_hand(encoder, one, alpha * X + (1 - alpha) * X.flip(0))
        expected = by_hand(model, mixed, union)
        plain = by_hand(model, embeddings_by_hand(encoder, one), one["attention_mask"])
    for part in range(2):
        torch.testing.assert_close(got[part][:5], plain[part], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got[part][5:], expected[part], rtol=1e-4, atol=1e-5)


def test_padding_and_order_change_nothing(encoder):
    model = classifier(encoder)
    one = ragged()
    with torch.no_grad():
        whole = model(**one)
        padded = model(**{key: F.pad(value, (0, 4)) for key, value in one.items()})
        turned = model(**{key: value.flip(0) for key, value in one.items()})
        alone = [model(**{key: value[i : i + 1] for key, value in one.items()}).logits[0] for i in range(5)]
    torch.testing.assert_close(padded.logits, whole.logits)
    torch.testing.assert_close(turned.z.flip(0), whole.z)
    torch.testing.assert_close(torch.stack(alone), whole.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.z.norm(dim=1), torch.ones(5))


def test_the_hook_is_gone_after_a_mixed_pass(encoder):
    model = classifier(encoder)
    one = ragged(4)
    with torch.no_grad():
        before = model(**one).logits
        model(**one, mixing=mix_within_groups([2], [torch.tensor([0.1])], torch.device("cpu")))
        assert torch.equal(model(**one).logits, before)
    assert not encoder.embeddings._forward_hooks


OTHERS = {
    "albert": {"vocab_size": 120, "embedding_size": 8},
    "electra": {"vocab_size": 120, "embedding_size": 8},
    "ernie": {"vocab_size": 120},
    "eurobert": {"vocab_size": 120, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "mask_token_id": 3},
    "gte": {"vocab_size": 120},
    "mpnet": {"vocab_size": 120, "max_position_embeddings": 66},
    "rembert": {"vocab_size": 120, "input_embedding_size": 8, "bos_token_id": 1, "eos_token_id": 2},
    "xlm-roberta": {"vocab_size": 120, "max_position_embeddings": 66, "pad_token_id": 1},
    "distilbert": {"vocab_size": 120, "dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2},
    "deberta-v2": {"vocab_size": 120},
    "modernbert": {
        "vocab_size": 120,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
}


#: Types of later releases of transformers.
LATER = {"eurobert", "gte"}


@pytest.mark.parametrize("model_type", OTHERS)
def test_other_encoders_are_mixed_and_trained_too(model_type):
    if model_type in LATER and model_type not in CONFIG_MAPPING:
        pytest.skip(f"this release of transformers has no {model_type}")
    mix_at = "word_embeddings" if model_type == "eurobert" else "embedding_output"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    values = OTHERS[model_type]
    config = AutoConfig.for_model(model_type, **(values if model_type == "distilbert" else {**sizes, **values}))
    model = MuscClassifier(
        AutoModel.from_config(config), 3, MuscClassifierConfig(projector_size=8, mix_at=mix_at)
    ).train()
    one = ragged(4)
    del one["token_type_ids"]
    inputs = {key: torch.cat([value, value]) for key, value in one.items()}
    encoded = model(**inputs, mixing=mix_within_groups([4], [torch.tensor([0.4])], torch.device("cpu")))
    assert encoded.logits.shape == (8, 3)
    assert encoded.z.shape == (8, 8)
    (encoded.logits.sum() + encoded.z[:, 0].sum()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_an_encoder_is_rebuilt_from_its_configuration_alone(tmp_path):
    tiny.make_encoder(tmp_path / "encoder")
    saved = json.dumps(encoder_config_of(str(tmp_path / "encoder")))
    pretrained = encoder_from_pretrained(str(tmp_path / "encoder"), None)
    (tmp_path / "encoder").rename(tmp_path / "gone")
    rebuilt = encoder_from_config(saved, "eager")
    assert {k: v.shape for k, v in rebuilt.state_dict().items()} == {
        k: v.shape for k, v in pretrained.state_dict().items()
    }


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"model\.pretrained=.*nowhere cannot be loaded"):
        encoder_config_of(str(tmp_path / "nowhere"))


def test_a_folder_that_lacks_weights_is_refused_and_a_missing_pooler_is_made(tmp_path, caplog):
    from safetensors.torch import load_file, save_file

    tiny.make_encoder(tmp_path / "encoder")
    weights = tmp_path / "encoder" / "model.safetensors"
    whole = load_file(weights)
    save_file({k: v for k, v in whole.items() if "pooler" not in k}, weights, metadata={"format": "pt"})
    encoder_from_pretrained(str(tmp_path / "encoder"), None)
    assert "no pooler" in caplog.text
    save_file({k: v for k, v in whole.items() if "intermediate" not in k}, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks 2 weights"):
        encoder_from_pretrained(str(tmp_path / "encoder"), None)


def test_wrong_values_are_said_all_at_once():
    problems = MuscClassifierConfig.problems(
        MuscClassifierConfig(
            mix_at="words", classifier_dropout=1.5, projector_size=0, precision="int8", attention="fast", fuse="all"
        )
    )
    assert len(problems) == 6
    assert "'int8'; it can be float32 or bfloat16 or null" in problems[1]
    assert "'fast'; it can be triton, flash, efficient, padded or null" in problems[2]
    assert "'words'; it can be embedding_output or word_embeddings" in problems[0]


def test_a_part_that_was_set_apart_trains_again_with_the_whole(encoder):
    model = classifier(encoder).train()
    model.encoder.encoder.layer[1].eval()
    assert model.training and not model.encoder.encoder.layer[1].output.dropout.training
    assert model.train() is model
    assert all(part.training for part in model.modules())
    assert not any(part.training for part in model.eval().modules())
