"""The encoder over rows end to end is the encoder over padded rows: values, gradients, dropout, half precision."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from fairseq import tasks
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModel
from triton_interpreter import needs_interpreter

from fairseq_musc.data.databin import TokenRows
from fairseq_musc.data.pairs import joined_views, padded
from fairseq_musc.mixing import mix_within_groups
from fairseq_musc.models import packed as models_packed
from fairseq_musc.models.classifier import MuscClassifier, MuscClassifierConfig
from fairseq_musc.models.packed import why_not_packed
from fairseq_musc.packing import packed, rows_for_encoder

GROUPS = (5, 3, 1)  # rows of each language: odd numbers, and a row that meets itself


def classifier(kind="bert", dropout=0.0, **values):
    """A small encoder of random weights with its heads."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": 120, "max_position_embeddings": 66, "pad_token_id": 1 if kind == "xlm-roberta" else 0}
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    encoder = AutoModel.from_config(AutoConfig.for_model(kind, **sizes, **dropouts))
    config = MuscClassifierConfig(classifier_dropout=dropout, projector_size=8, **values)
    model = MuscClassifier(encoder, 3, config).train()
    torch.manual_seed(3)
    for name, p in model.named_parameters():  # biases and norms of a fresh model hide mistakes
        torch.nn.init.normal_(p, mean=float("LayerNorm.weight" in name), std=0.3)
    return model


def two_views(segments, groups, longest=17):
    """Two views of rows of 3 to 17 tokens."""
    rng = np.random.default_rng(0)
    views = []
    for _ in range(2):
        lengths = rng.integers(3, longest + 1, sum(groups))
        first = rng.integers(1, lengths) if segments else lengths
        views.append(TokenRows(rng.integers(5, 100, lengths.sum()), lengths, first))
    return views


def both_ways(alpha, kind="bert", groups=GROUPS, views=None):
    """The same rows, plain and mixed, as arguments of the model: side by side and end to end."""
    pad, segments = (0, True) if kind == "bert" else (1, False)
    views = views or two_views(segments, groups)
    inputs = joined_views([padded(view, pad) for view in views] * 2, pad)
    if not segments:
        del inputs["token_type_ids"]
    beside = {**inputs, "mixing": mix_within_groups(groups, list(alpha), torch.device("cpu"))}
    blocks = []
    for view in views:
        ends = np.cumsum(view.lengths)
        for start, size in zip(np.cumsum([0, *groups])[:-1], groups, strict=True):
            rows = slice(start, start + size)
            tokens = slice(ends[start] - view.lengths[start], ends[start + size - 1])
            blocks.append(TokenRows(view.ids[tokens], view.lengths[rows], view.first_lengths[rows]))
    layout = packed(blocks, pad, list(range(len(blocks))))
    return beside, {"packed": rows_for_encoder(layout, alpha.flatten())}


def gradients(model, inputs):
    """Logits, projections, and the gradients of a number that hangs on all of them."""
    model.zero_grad(set_to_none=True)
    encoded = model(**inputs)
    weights = torch.Generator().manual_seed(5)
    total = sum((part * torch.randn(part.shape, generator=weights)).sum() for part in encoded)
    total.backward()
    return {"logits": encoded.logits, "z": encoded.z, **{n: p.grad for n, p in model.named_parameters()}}


def assert_equal_up_to_rounding(got, expected):
    """Within 2e-5 of the largest value of each tensor.

    The bias of the keys moves all scores of a query alike, so that its gradient is nothing but rounding; it is held to
    the largest value of all gradients.
    """
    assert got.keys() == expected.keys()
    largest = max(float(value.abs().max()) for name, value in expected.items() if name not in ("logits", "z"))
    for name, value in expected.items():
        scale = largest if "key.bias" in name else float(value.abs().max())
        torch.testing.assert_close(got[name], value, rtol=0, atol=2e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("mix_at", ["embedding_output", "word_embeddings"])
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_values_and_all_gradients_are_those_of_padded_rows(kind, mix_at):
    """In float32 without dropout."""
    model = classifier(kind, mix_at=mix_at)
    assert model.packed
    alpha = torch.rand(2, len(GROUPS), generator=torch.Generator().manual_seed(6))
    beside, end_to_end = both_ways(alpha, kind)
    expected, got = gradients(model, beside), gradients(model, end_to_end)
    assert all(value.any() for name, value in expected.items() if "key.bias" not in name)
    assert_equal_up_to_rounding(got, expected)


@needs_interpreter
def test_the_kernels_for_a_gpu_have_the_values_and_gradients_of_padded_rows(monkeypatch):
    monkeypatch.setattr(models_packed, "fused_is_right", lambda device, dtype, d: True)
    alpha = torch.rand(2, len(GROUPS), generator=torch.Generator().manual_seed(6))
    beside, end_to_end = both_ways(alpha)
    expected = gradients(classifier(packed=False), beside)
    got = gradients(classifier(attention="triton", fuse="triton"), end_to_end)
    assert_equal_up_to_rounding(got, expected)


def test_bfloat16_is_as_close_as_autocast_over_padded_rows_and_gradients_are_single():
    beside, end_to_end = both_ways(torch.rand(2, len(GROUPS), generator=torch.Generator().manual_seed(6)))
    expected = gradients(classifier(), end_to_end)
    errors = []
    for inputs, how in ((beside, False), (end_to_end, True)):
        got = gradients(classifier(precision="bfloat16", packed=how), inputs)
        assert all(got[name].dtype == torch.float32 for name in expected if name != "logits")
        assert not torch.equal(got["logits"], expected["logits"])
        differences = torch.cat([(got[name] - value).flatten() for name, value in expected.items()])
        errors.append(float(differences.norm() / torch.cat([value.flatten() for value in expected.values()]).norm()))
    assert errors[0] < 0.1
    assert errors[1] < 1.5 * errors[0]


def test_dropout_is_drawn_from_the_same_distribution():
    """Mean and spread of logits over many draws; any of the four dropouts amiss would show in the spread."""
    draws = 3000
    pair = two_views(True, (2,), longest=6)
    views = [TokenRows(*(np.tile(part, draws) for part in view)) for view in pair]  # so many languages of the same rows
    alpha = torch.tensor([[0.3], [0.8]]).expand(2, draws)
    model = classifier(dropout=0.3)
    seen = []
    for inputs in both_ways(alpha, groups=(2,) * draws, views=views):
        torch.manual_seed(7)
        with torch.no_grad():
            logits = model(**inputs, project=False).logits.view(4, draws, 2, 3)
        seen.append((logits.mean(1), logits.std(1)))
    (mean, spread), (packed_mean, packed_spread) = seen
    # In 24 comparisons of normal means about 2.6 standard errors of the difference are expected at most.
    assert ((packed_mean - mean).abs() / (spread * (2 / draws) ** 0.5)).max() < 4.5
    assert (packed_spread / spread - 1).abs().max() < 0.08
    assert (packed_spread.mean() / spread.mean() - 1).abs() < 0.02


def test_embeddings_of_plain_and_mixed_rows_drop_apart_and_partners_together():
    model = classifier(dropout=0.5)
    alpha = torch.full((2, 1), 0.5)
    _, inputs = both_ways(alpha, groups=(2,))
    rows = inputs["packed"]
    torch.manual_seed(8)
    E = model._packed_encoder[0].embed(rows)
    plain, mixed = E[: rows.plain_tokens] == 0, E[rows.plain_tokens :]
    assert plain.float().mean() == pytest.approx(0.5, abs=0.05)
    # alpha is one half: both partners of a pair are the same mixture, of the same dropped embeddings
    assert torch.equal(mixed, mixed[rows.mixed.partner])
    both_dropped = mixed == 0
    assert both_dropped.float().mean() == pytest.approx(0.25, abs=0.05)
    own = rows.mixed.source < rows.plain_tokens
    agree = (plain[rows.mixed.source[own]] == both_dropped[own]).float().mean()
    assert agree == pytest.approx(0.5, abs=0.05)  # what independent draws give


def test_encoders_of_another_kind_are_padded_and_it_is_said(caplog):
    values = {"vocab_size": 120, "dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
    distilbert = AutoModel.from_config(AutoConfig.for_model("distilbert", **values))
    assert "DistilBertModel is none of BertModel" in why_not_packed(distilbert)
    assert not MuscClassifier(distilbert, 3, MuscClassifierConfig()).packed
    assert caplog.text.count("rows are padded") == 1


# --- in a step of the criterion --------------------------------------------------------------------------------------


@pytest.fixture
def step(world, tmp_path):
    """The loss of a training batch and all gradients, as the task takes the step; without dropout."""
    tiny.make_encoder(tmp_path / "encoder", layers=2, dropout=0.0)

    def take(*overrides, rows=None, split="train"):
        options = ("model.classifier_dropout=0", "criterion.lam=0.4", *overrides)
        cfg = tiny.compose(world.data, tmp_path / "encoder", tmp_path / "run", *options)
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
        task = tasks.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        criterion = task.build_criterion(cfg.criterion).train()
        for name in ("train", "valid"):
            task.load_dataset(name)
        torch.manual_seed(9)
        for name, p in model.named_parameters():
            torch.nn.init.normal_(p, mean=float("LayerNorm.weight" in name), std=0.2)
        pairs = task.datasets[split]
        batches = pairs.batch_by_size(pairs.ordered_indices(), max_sentences=5)
        sample = pairs.collater(batches[0] if rows is None else rows)
        passes = []
        real = model.forward

        def counted(*args, **kwargs):
            encoded = real(*args, **kwargs)
            passes.append(len(encoded.logits))
            return encoded

        model.forward = counted
        optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
        torch.manual_seed(5)
        loss, size, logged = task.train_step(sample, model, criterion, optimizer, 0)
        assert size == logged["sample_size"] == 1
        assert logged["nsentences"] == len(sample["rows"])
        assert logged["loss"] == pytest.approx(float(loss))
        gradient = {name: p.grad for name, p in model.named_parameters()}
        return SimpleNamespace(loss=float(loss), gradient=gradient, passes=passes, sample=sample, logged=logged)

    return take


def assert_same_step(one, other):
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    for key in ("L_ce", "L_mu", "L_sc", "L_musc"):
        assert float(one.logged[key]) == pytest.approx(float(other.logged[key]), rel=1e-5)
    assert_equal_up_to_rounding(one.gradient, other.gradient)


@pytest.mark.parametrize("packed", [True, False])
def test_a_step_taken_language_by_language_has_the_same_gradients(step, packed):
    whole = step(f"model.packed={packed}")
    apart = step(f"model.packed={packed}", "task.languages_at_once=1")
    assert whole.passes == [2 * 4 * 5]
    assert apart.passes == [4 * 5, 4 * 5]
    assert_same_step(apart, whole)


def test_uneven_languages_and_odd_batches_are_the_padded_step(step):
    rows = [3, 1, 36, 8, 20, *(37 + i for i in (5, 0, 30))]  # five of German, three of French
    assert_same_step(step(rows=rows), step("model.packed=false", rows=rows))


@pytest.mark.parametrize("at_once", ["null", 1])
def test_a_shared_source_is_encoded_once_and_has_the_gradients_of_all_its_uses(step, at_once):
    shared = step("task.shared_source=true", f"task.languages_at_once={at_once}")
    assert shared.passes == ([(2 * 2 + 2) * 5] if at_once == "null" else [4 * 5, 4 * 5])
    rows = shared.sample["rows"].tolist()
    assert [row + 37 for row in rows[:5]] == rows[5:]
    assert_same_step(shared, step("model.packed=false", "task.shared_source=true", rows=rows))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("valid_corpora", ["[T_val,S_val_MT]", "[T_val]"])
def test_a_batch_of_validation_can_stand_in_for_one_of_training(step, valid_corpora, packed):
    """fairseq does so where processes have uneven numbers of batches; V and the languages are others."""
    taken = step(f"task.valid_corpora={valid_corpora}", f"model.packed={packed}", split="valid")
    assert taken.logged.keys() >= {"L_ce", "L_mu", "L_sc", "L_musc", "loss"}
    assert np.isfinite(taken.loss)
