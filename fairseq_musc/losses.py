"""The formulas of the paper (section 4.1), one pure function each. This file imports torch and nothing else.

Letters: N aligned pairs in a batch of one target language, C classes, d the width of a projection; S is the source
view, T the target view, a tilde (in code ``mixed_``) a view whose embeddings were mixed; ``y`` are the labels, (N,).
"Reversed" is the order of the batch turned round, the paper's down arrow: row i meets row N-1-i.

Where the paper's print and the code that produced its numbers differ, the difference is a named argument. The two ways
have names: ``RELEASED`` and ``PAPER``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TERMS = ("ce", "mu", "sc", "musc")
"""The terms of the total loss; L_ce is always among those that are used (caption of Table 5)."""

MIXED_TERMS = frozenset({"mu", "musc"})
CONTRASTIVE_TERMS = frozenset({"sc", "musc"})


class View(NamedTuple):
    """What the model says about one view of the N rows."""

    logits: Tensor
    """(N, C), the classifier's output Q."""
    z: Tensor | None
    """(N, d), projections of unit length; None if no contrastive term needs them."""


@dataclass(frozen=True)
class Normalisation:
    """Every hidden factor between the printed equations and a number."""

    supcon_log: str
    """``inside``: the mean over positives of log-probabilities (L_out of Khosla et al. 2020).
    ``outside``: the log of the mean of probabilities, as the paper prints L_sc."""
    supcon_reduction: str
    """``mean`` or ``sum`` over the 2N anchors."""
    supcon_scale: float
    """A factor on every SupCon loss; the released code multiplies by tau over a base temperature of 1."""
    supcon_epsilon: float
    """Added to the number of positives |P(i)| that divides ``inside``."""
    weight_S: float
    """The weight of the source view in L_ce and L_mu of pairs."""
    weight_T: float
    """The weight of the target view in L_ce and L_mu of pairs."""


RELEASED = Normalisation("inside", "mean", 0.3, 1e-4, 0.5, 0.5)
"""What the released code computes, and so what gave the paper's numbers."""

PAPER = Normalisation("outside", "sum", 1.0, 0.0, 1.0, 1.0)
"""What the paper prints."""

NORMALISATIONS = {"released": RELEASED, "paper": PAPER}


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """L_ce: the mean over the batch of the negative log-probability of the label, in nats.

    Args:
        logits: (N, C), any floating type; computed in float32.
        y: (N,).

    Returns:
        a scalar.
    """
    return F.cross_entropy(logits.float(), y)


def mixup(mixed_logits: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    """L_mu: alpha L_ce(Q~, y) + (1 - alpha) L_ce(Q~, y reversed).

    Args:
        mixed_logits: (N, C), from embeddings alpha E + (1 - alpha) E reversed.
        y: (N,).
        alpha: a scalar in [0, 1].

    Returns:
        a scalar.
    """
    return alpha * cross_entropy(mixed_logits, y) + (1 - alpha) * cross_entropy(mixed_logits, y.flip(0))


def supcon(z: Tensor, y: Tensor, tau: float, normalisation: Normalisation = RELEASED) -> Tensor:
    """Supervised contrastive loss of M vectors, every one an anchor against all others.

    An anchor without a positive adds nothing, and still counts in the mean (both as in the released code).

    Args:
        z: (M, d), rows of unit length; computed in float32.
        y: (M,).
        tau: the temperature.
        normalisation: see :class:`Normalisation`.

    Returns:
        a scalar.
    """
    z = z.float()
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)  # (M, M)
    with torch.autocast(z.device.type, enabled=False):  # which would take the product to half precision
        similarity = (z @ z.T / tau).masked_fill(itself, torch.finfo(z.dtype).min)  # (M, M)
    log_p = F.log_softmax(similarity, dim=1)  # (M, M), over all a != i
    positive = (y[:, None] == y[None, :]) & ~itself  # (M, M), P(i) in row i
    count = positive.sum(1)  # (M,)
    if normalisation.supcon_log == "inside":
        total = log_p.masked_fill(~positive, 0).sum(1)
        anchor = -total / (count + normalisation.supcon_epsilon).clamp_min(torch.finfo(z.dtype).tiny)
    else:
        # The mean of probabilities in logs; anchors without positives are taken out before, so that no infinity
        # reaches the gradient.
        some = count > 0
        masked = log_p.masked_fill(~positive & some[:, None], -torch.inf)
        anchor = (count.clamp_min(1).log() - masked.logsumexp(1)) * some
    reduced = anchor.mean() if normalisation.supcon_reduction == "mean" else anchor.sum()
    return normalisation.supcon_scale * reduced


def supcon_pair(z_a: Tensor, z_b: Tensor, y: Tensor, tau: float, normalisation: Normalisation = RELEASED) -> Tensor:
    """L_sc(Z_a, Z_b, y): :func:`supcon` over the 2N rows of both views, whose labels are the same.

    Args:
        z_a: (N, d).
        z_b: (N, d).
        y: (N,), the labels of row i of both.
        tau: the temperature.
        normalisation: see :class:`Normalisation`.

    Returns:
        a scalar.
    """
    return supcon(torch.cat([z_a, z_b]), torch.cat([y, y]), tau, normalisation)


def musc(
    mixed_z: Tensor, z_other: Tensor, y: Tensor, alpha: Tensor, tau: float, normalisation: Normalisation = RELEASED
) -> Tensor:
    """L_musc(Z~, Z, y): alpha L_sc(Z~, Z, y) + (1 - alpha) L_sc(Z~, Z reversed, y reversed).

    Args:
        mixed_z: (N, d), projections of the mixed view of one side.
        z_other: (N, d), projections of the plain view of the other side.
        y: (N,).
        alpha: a scalar, the one that mixed ``mixed_z``.
        tau: the temperature.
        normalisation: see :class:`Normalisation`.

    Returns:
        a scalar.
    """
    normal = supcon_pair(mixed_z, z_other, y, tau, normalisation)
    reversed_ = supcon_pair(mixed_z, z_other.flip(0), y.flip(0), tau, normalisation)
    return alpha * normal + (1 - alpha) * reversed_


def terms_of_pairs(
    S: View,
    T: View,
    mixed_S: View | None,
    mixed_T: View | None,
    y: Tensor,
    alpha_S: Tensor,
    alpha_T: Tensor,
    terms: Collection[str],
    tau: float,
    normalisation: Normalisation = RELEASED,
) -> dict[str, Tensor]:
    """The asked-for terms for the N aligned pairs of one target language, each summed over the views it takes.

    Returns:
        term name -> scalar, in the order of :data:`TERMS`.
    """
    w_S, w_T = normalisation.weight_S, normalisation.weight_T
    value = {"ce": w_S * cross_entropy(S.logits, y) + w_T * cross_entropy(T.logits, y)}
    if "mu" in terms:
        assert mixed_S is not None and mixed_T is not None
        value["mu"] = w_S * mixup(mixed_S.logits, y, alpha_S) + w_T * mixup(mixed_T.logits, y, alpha_T)
    if "sc" in terms:
        assert S.z is not None and T.z is not None
        value["sc"] = supcon_pair(S.z, T.z, y, tau, normalisation)
    if "musc" in terms:
        assert mixed_S is not None and mixed_T is not None
        assert S.z is not None and T.z is not None and mixed_S.z is not None and mixed_T.z is not None
        value["musc"] = musc(mixed_S.z, T.z, y, alpha_S, tau, normalisation) + musc(
            mixed_T.z, S.z, y, alpha_T, tau, normalisation
        )
    return value


def terms_of_single(
    view: View,
    mixed: View | None,
    y: Tensor,
    alpha: Tensor,
    terms: Collection[str],
    tau: float,
    normalisation: Normalisation = RELEASED,
) -> dict[str, Tensor]:
    """The asked-for terms for the N rows of one language that have no partner (S_trn with T_trn, or S_trn alone).

    The released code's branch for such data: L_ce and L_mu of the one view count in full; L_sc has N anchors, of which
    some may lack a positive; L_musc sets the mixed view against the plain one of the same side. Its full loss there is
    ``ce+mu+musc``: L_sc stands in it only where neither MixUp nor L_musc does.

    Returns:
        term name -> scalar, in the order of :data:`TERMS`.
    """
    value = {"ce": cross_entropy(view.logits, y)}
    if "mu" in terms:
        assert mixed is not None
        value["mu"] = mixup(mixed.logits, y, alpha)
    if "sc" in terms:
        assert view.z is not None
        value["sc"] = supcon(view.z, y, tau, normalisation)
    if "musc" in terms:
        assert mixed is not None and mixed.z is not None and view.z is not None
        value["musc"] = musc(mixed.z, view.z, y, alpha, tau, normalisation)
    return value


def total(value: Mapping[str, Tensor], lam: float) -> Tensor:
    """L = (1 - lambda) [L_ce + L_mu] + lambda [L_sc + L_musc], over the terms that are there.

    Without a contrastive term there is nothing to weigh, and L is L_ce + L_mu (as in the released code).
    """
    classification = sum(loss for term, loss in value.items() if term not in CONTRASTIVE_TERMS)
    contrast = [loss for term, loss in value.items() if term in CONTRASTIVE_TERMS]
    if not contrast:
        return torch.as_tensor(classification)
    return (1 - lam) * classification + lam * torch.stack(contrast).sum()
