"""Every loss term against a slow loop typed from the paper's equations, and against values worked out by hand."""

import itertools
import math

import pytest
import torch

from fairseq_musc.losses import (
    PAPER,
    RELEASED,
    Normalisation,
    View,
    cross_entropy,
    mixup,
    musc,
    supcon,
    supcon_pair,
    terms_of_pairs,
    terms_of_single,
    total,
)

TAU = 0.3


def random_views(N, C=3, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, C, generator=generator)
    z = torch.nn.functional.normalize(torch.randn(N, d, generator=generator), dim=1)
    y = torch.randint(0, C, (N,), generator=generator)
    return logits, z, y


def loop_cross_entropy(logits, y):
    losses = []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        losses.append(-math.log(math.exp(row[label]) / sum(math.exp(x) for x in row)))
    return sum(losses) / len(losses)


def loop_softmax(z, i, p, tau):
    """exp(z_i z_p / tau) / sum over a != i of exp(z_i z_a / tau)."""
    dot = lambda a, b: sum(x * y for x, y in zip(z[a], z[b], strict=True))  # noqa: E731
    below = sum(math.exp(dot(i, a) / tau) for a in range(len(z)) if a != i)
    return math.exp(dot(i, p) / tau) / below


def loop_supcon(z_a, z_b, y, tau, form):
    """L_sc with Z = [Z_a; Z_b]; ``form`` says paper (as printed) or released (with its factor and its means)."""
    z = z_a.tolist() + z_b.tolist()
    labels = y.tolist() * 2
    anchors = []
    for i in range(len(z)):
        P = [j for j in range(len(z)) if j != i and labels[j] == labels[i]]
        if form == "paper":
            anchors.append(-math.log(sum(loop_softmax(z, i, p, tau) for p in P) / len(P)))
        else:
            anchors.append(-sum(math.log(loop_softmax(z, i, p, tau)) for p in P) / (len(P) + 1e-4))
    return sum(anchors) if form == "paper" else 0.3 * sum(anchors) / len(anchors)


FORMS = {"paper": PAPER, "released": RELEASED}


@pytest.mark.parametrize("N", [1, 2, 5, 8])
@pytest.mark.parametrize("form", FORMS)
def test_supcon_is_the_printed_sum_and_the_released_mean(N, form):
    _, z_S, y = random_views(N, seed=N)
    _, z_T, _ = random_views(N, seed=N + 100)
    got = supcon_pair(z_S, z_T, y, TAU, FORMS[form])
    assert got.item() == pytest.approx(loop_supcon(z_S, z_T, y, TAU, form), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_musc_weighs_two_orders(form):
    N, alpha = 6, 0.37
    _, z_mixed, y = random_views(N, seed=1)
    _, z_T, _ = random_views(N, seed=2)
    down = list(reversed(range(N)))
    expected = alpha * loop_supcon(z_mixed, z_T, y, TAU, form) + (1 - alpha) * loop_supcon(
        z_mixed, z_T[down], y[down], TAU, form
    )
    got = musc(z_mixed, z_T, y, torch.tensor(alpha), TAU, FORMS[form])
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_mixup_weighs_two_labels():
    logits, _, y = random_views(7)
    expected = 0.2 * loop_cross_entropy(logits, y) + 0.8 * loop_cross_entropy(logits, y[[6, 5, 4, 3, 2, 1, 0]])
    assert mixup(logits, y, torch.tensor(0.2)).item() == pytest.approx(expected, rel=1e-5)
    assert cross_entropy(logits, y).item() == pytest.approx(loop_cross_entropy(logits, y), rel=1e-5)


def test_alpha_at_its_ends():
    logits, z, y = random_views(5)
    _, z_T, _ = random_views(5, seed=9)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    assert mixup(logits, y, one) == cross_entropy(logits, y)
    assert mixup(logits, y, zero) == cross_entropy(logits, y.flip(0))
    assert musc(z, z_T, y, one, TAU) == supcon_pair(z, z_T, y, TAU)


@pytest.mark.parametrize("N", [2, 3, 16])
def test_identical_features_give_the_log_of_the_other_vectors(N):
    z = torch.nn.functional.normalize(torch.ones(N, 4), dim=1)
    y = torch.zeros(N, dtype=torch.long)
    plain = Normalisation("inside", "mean", 1.0, 0.0, 1.0, 1.0)
    assert supcon_pair(z, z, y, TAU, plain).item() == pytest.approx(math.log(2 * N - 1), rel=1e-5)
    printed = supcon_pair(z, z, y, TAU, PAPER)  # a sum over 2N anchors
    assert printed.item() == pytest.approx(2 * N * math.log(2 * N - 1), rel=1e-5)


def test_released_constants_by_hand():
    """Two orthogonal pairs, worked out on paper: z_S = z_T = [e1, e2], y = [0, 1].

    Every anchor has one positive, itself in the other view, with similarity 1; the two others have similarity 0. So the
    log-probability is 1/0.3 - log(e^(1/0.3) + 2); the mean over positives divides by 1.0001 and the loss by 0.3 times.
    """
    z = torch.eye(2)
    log_p = 1 / 0.3 - math.log(math.exp(1 / 0.3) + 2)
    got = supcon_pair(z, z, torch.tensor([0, 1]), 0.3)
    assert got.item() == pytest.approx(0.3 * -log_p / 1.0001, rel=1e-5)


@pytest.mark.parametrize("normalisation", FORMS.values())
def test_anchors_without_a_positive_add_nothing_and_have_finite_gradients(normalisation):
    z = torch.nn.functional.normalize(torch.randn(4, 3), dim=1).requires_grad_()
    supcon(z, torch.tensor([0, 1, 2, 3]), TAU, normalisation).backward()
    assert torch.equal(z.grad, torch.zeros_like(z))
    with_one_pair = supcon(z, torch.tensor([0, 0, 2, 3]), TAU, normalisation)
    with_one_pair.backward()
    assert torch.isfinite(with_one_pair)
    assert torch.isfinite(z.grad).all()
    single = supcon(z[:1], torch.tensor([0]), TAU, normalisation)
    single.backward()
    assert single.item() == 0
    assert torch.isfinite(z.grad).all()


def test_order_of_the_batch_changes_nothing():
    logits, z_S, y = random_views(8)
    _, z_T, _ = random_views(8, seed=5)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    for normalisation in FORMS.values():
        assert supcon_pair(z_S[order], z_T[order], y[order], TAU, normalisation).item() == pytest.approx(
            supcon_pair(z_S, z_T, y, TAU, normalisation).item(), rel=1e-5
        )
    assert cross_entropy(logits[order], y[order]).item() == pytest.approx(cross_entropy(logits, y).item(), rel=1e-6)


def table_5_row(terms, lam, N=4):
    """The total as the released code adds it up, from losses of the loops above."""
    logits = [random_views(N, seed=s)[0] for s in range(4)]
    z = [random_views(N, seed=s)[1] for s in range(4)]
    y = random_views(N)[2]
    a, b = 0.7, 0.1
    views = [View(q, p) for q, p in zip(logits, z, strict=True)]
    value = terms_of_pairs(*views, y, torch.tensor(a), torch.tensor(b), terms, TAU)
    down = list(reversed(range(N)))
    ce = [loop_cross_entropy(q, y) for q in logits[:2]]
    mu = [
        w * loop_cross_entropy(q, y) + (1 - w) * loop_cross_entropy(q, y[down])
        for q, w in zip(logits[2:], (a, b), strict=True)
    ]
    sc = loop_supcon(z[0], z[1], y, TAU, "released")
    musc_S = a * loop_supcon(z[2], z[1], y, TAU, "released") + (1 - a) * loop_supcon(
        z[2], z[1][down], y[down], TAU, "released"
    )
    musc_T = b * loop_supcon(z[0], z[3], y, TAU, "released") + (1 - b) * loop_supcon(
        z[0][down], z[3], y[down], TAU, "released"
    )
    rows = {
        ("ce",): 0.5 * sum(ce),
        ("ce", "mu"): 0.5 * (ce[0] + mu[0]) + 0.5 * (ce[1] + mu[1]),
        ("ce", "sc"): (1 - lam) * 0.5 * sum(ce) + lam * sc,
        ("ce", "sc", "mu"): (1 - lam) * 0.5 * (sum(ce) + sum(mu)) + lam * sc,
        ("ce", "mu", "sc", "musc"): (1 - lam) * 0.5 * (sum(ce) + sum(mu)) + lam * (sc + musc_S + musc_T),
    }
    return total(value, lam).item(), rows[terms]


@pytest.mark.parametrize(
    ("terms", "lam"),
    itertools.product(
        [("ce",), ("ce", "sc"), ("ce", "mu"), ("ce", "sc", "mu"), ("ce", "mu", "sc", "musc")], [0.1, 0.9]
    ),
)
def test_the_rows_of_table_5(terms, lam):
    got, expected = table_5_row(terms, lam)
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tau", [0.07, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_supcon_is_that_of_pytorch_metric_learning(tau, seed):
    """Where every anchor has a positive and a negative, both average over anchors with the log inside."""
    from pytorch_metric_learning.losses import SupConLoss

    _, z, _ = random_views(12, d=8, seed=seed)
    y = torch.tensor([0, 1, 2] * 4)[torch.randperm(12, generator=torch.Generator().manual_seed(seed))]
    z, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    unit = torch.nn.functional.normalize(z, dim=1)  # the other library does it itself, and so passes its gradient
    got = supcon(unit, y, tau, Normalisation("inside", "mean", 1.0, 0.0, 1.0, 1.0))
    expected = SupConLoss(temperature=tau)(other, y)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)
    got.backward()
    expected.backward()
    torch.testing.assert_close(z.grad, other.grad, rtol=1e-4, atol=1e-6)


def without_constants(value, N):
    """The released SupCon of 2N anchors without its factor, mean and epsilon: a sum, as the paper prints it."""
    return value * 2 * N / 0.3


def test_the_two_normalisations_agree_where_every_anchor_has_one_positive():
    """A mean of one: the log inside and the log outside are the same, up to the released constants."""
    N = 5
    _, z_S, _ = random_views(N, seed=3)
    _, z_T, _ = random_views(N, seed=4)
    y = torch.arange(N)  # the only positive is the own translation
    released, paper = supcon_pair(z_S, z_T, y, TAU, RELEASED), supcon_pair(z_S, z_T, y, TAU, PAPER)
    assert without_constants(released, N).item() * 1.0001 == pytest.approx(paper.item(), rel=1e-5)


def test_the_two_normalisations_cannot_agree_where_positives_differ_in_probability():
    """Four vectors of one class, two of them equal, worked out by hand for tau = 1; Jensen: the paper's is smaller.

    z = (a, a, b, b) with a.b = 0. Each anchor has positives of similarity 1, 0 and 0, so of probability p = e / (e + 2)
    and twice q = 1 / (e + 2). Paper: 4 x -log((p + 2 q) / 3) = 4 log 3, for p + 2 q is 1. Released, without its
    constants: 4 x -(log p + 2 log q) / 3 = 4 (log(e + 2) - 1/3).
    """
    z, y = torch.eye(2), torch.zeros(2, dtype=torch.long)
    released, paper = supcon_pair(z, z, y, 1.0, RELEASED), supcon_pair(z, z, y, 1.0, PAPER)
    assert paper.item() == pytest.approx(4 * math.log(3), rel=1e-6)
    assert without_constants(released, 2).item() * 3.0001 / 3 == pytest.approx(
        4 * (math.log(math.e + 2) - 1 / 3), rel=1e-6
    )
    assert 4 * math.log(3) < 4 * (math.log(math.e + 2) - 1 / 3)


def test_the_views_of_a_pair_weigh_one_half_in_the_code_and_one_in_print():
    """Equal logits of two classes: every cross-entropy is log 2, mixed or not."""
    view, y, alpha = View(torch.zeros(3, 2), None), torch.tensor([0, 1, 1]), torch.tensor(0.25)
    for normalisation, expected in ((RELEASED, math.log(2)), (PAPER, 2 * math.log(2))):
        value = terms_of_pairs(view, view, view, view, y, alpha, alpha, ("ce", "mu"), TAU, normalisation)
        assert [round(loss.item(), 6) for loss in value.values()] == [round(expected, 6)] * 2
        assert total(value, 0.9).item() == pytest.approx(2 * expected)


@pytest.mark.parametrize(
    "terms", [("ce",), ("ce", "mu"), ("ce", "sc"), ("ce", "mu", "musc"), ("ce", "mu", "sc", "musc")]
)
@pytest.mark.parametrize("N", [1, 5])
def test_rows_without_a_partner_have_the_released_losses_of_one_view(terms, N):
    """The released code's single-view branch, typed with loops; it never has L_sc and L_musc together."""
    (q, z, y), (mixed_q, mixed_z, _) = random_views(N, C=2, seed=1), random_views(N, C=2, seed=2)
    a, lam = 0.3, 0.4

    def loop(z, y):
        anchors = 0.0
        for i in range(len(z)):
            positives = [p for p in range(len(z)) if p != i and y[p] == y[i]]
            anchors -= sum(math.log(loop_softmax(z.tolist(), i, p, TAU)) for p in positives) / (len(positives) + 1e-4)
        return 0.3 * anchors / len(z)

    down = list(reversed(range(N)))
    classification, contrast = loop_cross_entropy(q, y), 0.0
    if "mu" in terms:
        classification += a * loop_cross_entropy(mixed_q, y) + (1 - a) * loop_cross_entropy(mixed_q, y[down])
    if "sc" in terms:
        contrast += loop(z, y)
    if "musc" in terms:
        contrast += a * loop(torch.cat([z, mixed_z]), torch.cat([y, y]))
        contrast += (1 - a) * loop(torch.cat([z[down], mixed_z]), torch.cat([y[down], y[down]]))
    value = terms_of_single(View(q, z), View(mixed_q, mixed_z), y, torch.tensor(a), terms, TAU)
    assert tuple(value) == terms
    expected = (1 - lam) * classification + lam * contrast if {"sc", "musc"} & set(terms) else classification
    assert total(value, lam).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite(dtype):
    logits, z, y = random_views(6)
    logits = (100 * logits).to(dtype)
    values = [mixup(logits, y, torch.tensor(0.5)), supcon_pair(z.to(dtype), z.to(dtype), y, 0.01)]
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    _, z, y = random_views(6)
    expected = supcon(z, y, 0.3)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(supcon(z, y, 0.3), expected)
