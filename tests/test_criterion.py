"""The registered criterion on real batches: its step is the released code's step, and it counts what it sees."""

from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F
from fairseq import tasks
from fairseq.logging import metrics
from omegaconf import OmegaConf

from fairseq_musc.criterions.musc import MuscCriterion, MuscCriterionConfig
from fairseq_musc.data.pairs import AlignedPairs
from fairseq_musc.errors import InputError
from fairseq_musc.losses import PAPER, RELEASED
from fairseq_musc.tasks.musc import MuscTask, MuscTaskConfig


@pytest.fixture
def parts(world, tmp_path):
    """Task, model and criterion as fairseq builds them, without dropout."""

    def build(*overrides, dropout=0.0):
        if not (tmp_path / "encoder").exists():
            tiny.make_encoder(tmp_path / "encoder", dropout=dropout)
        no_dropout = f"model.classifier_dropout={dropout}"
        cfg = tiny.compose(world.data, tmp_path / "encoder", tmp_path / "run", no_dropout, *overrides)
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
        task = tasks.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        criterion = task.build_criterion(cfg.criterion)
        for split in ("train", "valid"):
            task.load_dataset(split)
        return task, model.train(), criterion.train()

    return build


def first_batch(task, split="train", size=8):
    pairs = task.datasets[split]
    batch = pairs.batch_by_size(pairs.ordered_indices(), max_sentences=size)[0]
    return pairs.collater([pairs[i] for i in batch])


def side_by_side(task, batch):
    """The same rows as padded views, whatever form the batch has."""
    dataset = task.datasets["train"]
    twin = AlignedPairs(dataset.groups, dataset.pad, dataset.token_types, dataset.shuffle, dataset.seed)
    return twin.collater(batch["rows"].tolist())


def released_supcon(z, y, tau=0.3):
    total = torch.zeros(())
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [a for a in others if y[a] == y[i]]
        below = torch.logsumexp(torch.stack([z[i] @ z[a] / tau for a in others]), 0)
        total = total - sum(z[i] @ z[p] / tau - below for p in positives) / (len(positives) + 1e-4)
    return 0.3 * total / len(z)


def released_step(model, batch, terms, lam, alphas, T, tau=0.3):
    """Language by language, pass by pass, with the released code's constants; accumulates gradients.

    Written from the description of the released step: four encoder passes and five SupCon terms a language, each
    language's loss divided by T and propagated on its own.
    """

    def encode(view, mix=None):
        inputs = {k: v for k, v in view.items() if k != "attention_mask"}
        mask = view["attention_mask"]
        E = model.encoder.embeddings(**inputs)
        if mix is not None:
            E, mask = mix * E + (1 - mix) * E.flip(0), mask | mask.flip(0)
        blocked = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        hidden = model.encoder.encoder(E, attention_mask=blocked)[0]
        return model.classifier(model.encoder.pooler(hidden)), F.normalize(model.projector(hidden[:, 0]), dim=1)

    def sc(z1, z2, y1, y2):
        return released_supcon(torch.cat([z1, z2]), torch.cat([y1, y2]), tau)

    start, seen = 0, 0.0
    for (_, size), (a, b) in zip(batch["groups"], alphas, strict=True):
        rows = slice(start, start + size)
        S, T_view = ({k: v[rows] for k, v in view.items()} for view in batch["views"])
        y = batch["labels"][rows]
        down = y.flip(0)
        (q1, z1), (q2, z2) = encode(S), encode(T_view)
        classification = 0.5 * F.cross_entropy(q1, y) + 0.5 * F.cross_entropy(q2, y)
        contrast = torch.zeros(())
        if "mu" in terms or "musc" in terms:
            (q3, z3), (q4, z4) = encode(S, a), encode(T_view, b)
        if "mu" in terms:
            classification = classification + 0.5 * (a * F.cross_entropy(q3, y) + (1 - a) * F.cross_entropy(q3, down))
            classification = classification + 0.5 * (b * F.cross_entropy(q4, y) + (1 - b) * F.cross_entropy(q4, down))
        if "sc" in terms:
            contrast = contrast + sc(z1, z2, y, y)
        if "musc" in terms:
            contrast = contrast + a * sc(z3, z2, y, y) + (1 - a) * sc(z3, z2.flip(0), down, down)
            contrast = contrast + b * sc(z1, z4, y, y) + (1 - b) * sc(z1.flip(0), z4, down, down)
        weighed = {"sc", "musc"} & set(terms)
        loss = ((1 - lam) * classification + lam * contrast if weighed else classification) / T
        loss.backward()
        seen += loss.item()
        start += size
    return seen


@pytest.mark.parametrize("terms", ["ce", "ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc"])
@pytest.mark.parametrize(("size", "packed"), [(5, True), (5, False), (8, True)])
def test_one_pass_has_the_loss_and_the_gradients_of_the_released_step(parts, terms, size, packed):
    task, model, criterion = parts(f"criterion.terms={terms}", "criterion.lam=0.4", f"model.packed={packed}")
    batch = first_batch(task, size=size)
    assert ("parts" in batch) == packed
    torch.manual_seed(5)
    loss, sample_size, _ = criterion(model, batch)
    loss.backward()
    got = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(5)
    alpha = torch.rand(2, 2)  # side, language
    expected = released_step(model, side_by_side(task, batch), terms.split("+"), 0.4, alpha.T.tolist(), T=2)
    assert sample_size == 1
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    for name, p in model.named_parameters():
        if got[name] is None:
            assert p.grad is None
            assert "projector" in name
        else:
            torch.testing.assert_close(got[name], p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("terms", ["ce", "ce+sc", "ce+mu", "ce+mu+musc"])
def test_rows_without_partners_take_the_released_step_of_one_view(parts, terms, packed):
    """S_trn in English and T_trn in two languages, three groups: the loss of each over three."""
    options = (f"criterion.terms={terms}", "criterion.lam=0.4", "task.train_corpora=[S_trn,T_trn]")
    task, model, criterion = parts(*options, f"model.packed={packed}")
    batch = first_batch(task, size=5)
    assert [size for _, size in batch["groups"]] == [5, 5, 5]
    views = side_by_side(task, batch)["views"]
    assert len(views) == 1
    torch.manual_seed(5)
    loss, _, logged = criterion(model, batch)
    loss.backward()
    got = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(5)
    alpha = torch.rand(1, 3)[0].tolist()

    def encode(view, mix=None):
        inputs = {k: v for k, v in view.items() if k != "attention_mask"}
        E, mask = model.encoder.embeddings(**inputs), view["attention_mask"]
        if mix is not None:
            E, mask = mix * E + (1 - mix) * E.flip(0), mask | mask.flip(0)
        blocked = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        hidden = model.encoder.encoder(E, attention_mask=blocked)[0]
        return model.classifier(model.encoder.pooler(hidden)), F.normalize(model.projector(hidden[:, 0]), dim=1)

    expected = 0.0
    for g, a in enumerate(alpha):
        rows = slice(5 * g, 5 * g + 5)
        view = {k: v[rows] for k, v in views[0].items()}
        y = batch["labels"][rows]
        q, z = encode(view)
        q_mixed, z_mixed = encode(view, a)
        classification, contrast = F.cross_entropy(q, y), torch.zeros(())
        if "mu" in terms:
            classification = classification + a * F.cross_entropy(q_mixed, y)
            classification = classification + (1 - a) * F.cross_entropy(q_mixed, y.flip(0))
        if "sc" in terms.split("+"):
            contrast = contrast + released_supcon(z, y)
        if "musc" in terms:
            contrast = contrast + a * released_supcon(torch.cat([z, z_mixed]), torch.cat([y, y]))
            down = torch.cat([y.flip(0), y.flip(0)])
            contrast = contrast + (1 - a) * released_supcon(torch.cat([z.flip(0), z_mixed]), down)
        weighed = {"sc", "musc"} & set(terms.split("+"))
        loss_of_one = (0.6 * classification + 0.4 * contrast if weighed else classification) / 3
        loss_of_one.backward()
        expected += loss_of_one.item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert set(logged) >= {f"L_{term}" for term in terms.split("+")}
    for name, p in model.named_parameters():
        if p.grad is not None and got[name] is not None:
            torch.testing.assert_close(got[name], p.grad, rtol=1e-4, atol=1e-6)


def test_padding_changes_neither_loss_nor_gradient(parts):
    """Ten columns of padding more in every view, with the full loss."""
    task, model, criterion = parts("model.packed=false")
    batch = first_batch(task, size=5)
    padded = {**batch, "views": [dict(view) for view in batch["views"]]}
    for view in padded["views"]:
        for key, fill in (("input_ids", task.info.pad), ("attention_mask", 0), ("token_type_ids", 0)):
            view[key] = F.pad(view[key], (0, 10), value=fill)
    gradients = []
    for sample in (batch, padded):
        model.zero_grad(set_to_none=True)
        torch.manual_seed(5)
        loss, _, _ = criterion(model, sample)
        loss.backward()
        gradients.append((loss.item(), [p.grad.clone() for p in model.parameters()]))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_named_normalisations_and_single_factors(parts):
    """One option chooses all six factors; a factor that is given stands apart from it."""
    assert parts()[2].normalisation == RELEASED
    assert parts("criterion.normalisation=paper")[2].normalisation == PAPER
    mixed = parts("criterion.normalisation=paper", "criterion.supcon_scale=0.5", "criterion.weight_S=0")[2]
    assert mixed.normalisation == replace(PAPER, supcon_scale=0.5, weight_S=0.0)


def test_every_parameter_has_a_gradient_with_the_full_loss(parts):
    task, model, criterion = parts(dropout=0.1)
    loss, _, _ = criterion(model, first_batch(task))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_language_without_rows_left_still_counts_in_the_mean(parts):
    """Released code: the loss of the others is divided by T all the same."""
    task, model, criterion = parts()
    pairs = task.datasets["train"]
    rows = list(range(6))  # German only
    torch.manual_seed(5)
    alone, _, _ = criterion(model, pairs.collater([pairs[i] for i in rows]))
    torch.manual_seed(5)
    alpha = torch.rand(2, 2)
    expected = released_step(
        model, side_by_side(task, {"rows": torch.tensor(rows)}), ["mu", "sc", "musc"], 0.9, [alpha[:, 0].tolist()], T=2
    )
    assert alone.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_validation_counts_every_row_once_and_averages_over_languages(parts, packed):
    """13 rows in each of en, de, fr against a loop over single rows."""
    task, model, criterion = parts(f"model.packed={packed}")
    model.eval()
    criterion.eval()
    pairs = task.datasets["valid"]
    logs = []
    with torch.no_grad():
        for batch in pairs.batch_by_size(pairs.ordered_indices(), max_sentences=5):
            logs.append(criterion(model, pairs.collater([pairs[i] for i in batch]))[2])
    with metrics.aggregate(new_root=True) as meters:
        MuscCriterion.reduce_metrics(logs)
    task.post_validate(model, {}, meters)
    expected = {"T_val": [], "S_val_MT": [], "Ens": []}
    for group in pairs.groups:
        hits = dict.fromkeys(expected, 0)
        for i in range(13):
            logits = []
            for view in group.views:
                ids = view.tokens[i][None]
                segments = (torch.arange(ids.shape[1]) >= view.first_lengths[i]).long()[None]
                with torch.no_grad():
                    logits.append(model(ids, torch.ones_like(ids), segments).logits[0])
            label = group.views[0].labels[i]
            probabilities = [q.softmax(0) for q in logits]
            hits["T_val"] += int(probabilities[0].argmax() == label)
            hits["S_val_MT"] += int(probabilities[1].argmax() == label)
            hits["Ens"] += int((probabilities[0] + probabilities[1]).argmax() == label)
        for name, count in hits.items():
            expected[name].append(100 * count / 13)
    for name, accuracies in expected.items():
        assert meters.get_smoothed_value(f"accuracy_{name}") == pytest.approx(sum(accuracies) / 3, abs=1e-3)
    for group, accuracy in zip(task.datasets["valid"].groups, expected["Ens"], strict=True):
        assert meters.get_smoothed_value(f"accuracy_{group.language}") == pytest.approx(accuracy, abs=1e-3)
    assert meters.get_smoothed_value("accuracy") == meters.get_smoothed_value("accuracy_Ens")
    assert isinstance(meters.get_smoothed_value("accuracy"), float)
    with metrics.aggregate(new_root=True) as meters:
        MuscCriterion.reduce_metrics(logs[:-1])
    with pytest.raises(RuntimeError, match="of 13"):
        task.post_validate(model, {}, meters)


def test_one_view_can_be_validated_on(parts):
    task, model, criterion = parts("task.valid_corpora=[T_val]")
    criterion.eval()
    _, size, logged = criterion(model.eval(), first_batch(task, "valid", 4))
    assert size == 12
    assert "right:S_val_MT:de" not in logged


def test_wrong_values_are_said_all_at_once():
    cfg = MuscCriterionConfig(terms="sc+mux", lam=1.5, tau=0, supcon_log="middle", weight_S=-1)
    problems = "\n".join(MuscCriterionConfig.problems(cfg))
    for part in (
        "'sc+mux'; it is ce, with any of mu, sc, musc",
        "lam is 1.5",
        "tau is 0",
        "'middle'",
        "weight_S is -1",
    ):
        assert part in problems
    cfg = MuscTaskConfig(data="x", train_corpora=["S_trn", "T_tst"], valid_corpora=[], target_langs=["en"])
    problems = "\n".join(MuscTaskConfig.problems(cfg))
    for part in ("names T_tst; it can name S_trn, T_trn", "valid_corpora has 0", "not the source language en"):
        assert part in problems
    for names, part in (
        ([], "train_corpora is empty"),
        (["S_trn", "S_trn"], "can stand there once"),
        (["S_trn", "T_trn"], "are not two views of the same rows, such as"),
        (["S_trn"], "are not two views"),
    ):
        assert part in "\n".join(MuscTaskConfig.problems(MuscTaskConfig(data="x", train_corpora=names, paired=True)))
    for names in (["S_trn"], ["S_trn", "T_trn"], ["T_trn", "T_trn_BT"]):
        cfg_ = MuscTaskConfig(data="x", train_corpora=names, shared_source=True, languages_at_once=0)
        problems = "\n".join(MuscTaskConfig.problems(cfg_))
        assert "are no pairs with one source for all languages, such as [S_trn, T_trn_MT]" in problems
        assert "languages_at_once is 0" in problems
    assert not MuscTaskConfig.problems(MuscTaskConfig(data="x", shared_source=True, languages_at_once=2))
    with pytest.raises(InputError, match="cannot be set up"):
        MuscTask.setup_task(cfg)
    cfg = MuscTaskConfig(data="x", target_langs=["de", "fr", "de"])
    assert MuscTaskConfig.problems(cfg) == [
        "task.target_langs is ['de', 'fr', 'de']; each language can stand there once"
    ]


def test_an_encoder_for_another_data_bin_is_refused(world, tmp_path):
    tiny.make_encoder(tmp_path / "other", words=["one", "two"])
    cfg = tiny.compose(world.data, tmp_path / "other", tmp_path / "run")
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    with pytest.raises(InputError) as error:
        tasks.setup_task(cfg.task).build_model(cfg.model)
    assert "knows 7 token ids, the data-bin uses 128" in str(error.value)
    assert "another tokenizer" in str(error.value)


def test_sets_that_are_not_aligned_are_refused_with_both_numbers(world, tmp_path):
    tiny.make_corpora(tmp_path / "corpora", train=20)
    for other in (tmp_path / "corpora").glob("S_trn.en.*"):
        other.write_bytes((world.corpora / other.name).read_bytes())
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", world.encoder)
    cfg = OmegaConf.create(OmegaConf.to_container(tiny.compose(tmp_path / "bin", world.encoder, "x"), resolve=True))
    with pytest.raises(InputError, match=r"S_trn\.en has 37 rows and T_trn_MT\.de has 20"):
        tasks.setup_task(cfg.task).load_dataset("train")
