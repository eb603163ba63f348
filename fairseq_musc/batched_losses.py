"""The terms of :mod:`fairseq_musc.losses` for all languages of a step at once. This file imports torch and losses.

There, one language after the other is taken through five SupCon losses, as the paper prints them; that is the
reference. Here, the G languages of a step are one more dimension, and the SupCon losses of a language come from three
products: those of the pairs (S, T), (mixed S, T) and (mixed T, S). Two of the printed losses make one of the mixed
pairs: L_musc(Z~, Z, y) weighs two SupCon losses over the same 2N vectors, which differ only in the labels of Z~, so
both share similarities and log-probabilities. With the log inside, it is one loss with weighed positives.

Languages with fewer rows than N are filled up; what is behind their end counts nowhere.

Letters as in :mod:`fairseq_musc.losses`; G groups, and V plain views: 2 for pairs (S, T), 1 without partners.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_musc.losses import CONTRASTIVE_TERMS, RELEASED, TERMS, Normalisation


class Groups(NamedTuple):
    """The rows of G languages, N at most in each."""

    y: Tensor
    """(G, N) int64 classes; any class behind the end of a group."""
    y_reversed: Tensor
    """(G, N): row i of a group of n has the label of row n-1-i."""
    sizes: Tensor
    """(G,) int64."""
    real: Tensor
    """(G, N) bool: whether there is such a row."""

    @classmethod
    def of(cls, y: Tensor, sizes: Tensor) -> Groups:
        """Groups with these labels (G, N) and sizes (G,)."""
        place = torch.arange(y.shape[1], device=y.device)
        partner = (sizes[:, None] - 1 - place).clamp_min(0)
        return cls(y, y.gather(1, partner), sizes, place < sizes[:, None])

    @classmethod
    def joined(cls, y: Tensor, sizes: Tensor) -> Groups:
        """The groups of R batches, batch after batch within each group; a row keeps the partner of its own batch.

        Args:
            y: (R, G, N) classes.
            sizes: (R, G).

        Returns:
            groups of R N rows at most, whose real ones do not all stand in front.
        """
        each = cls.of(y.flatten(0, 1), sizes.flatten())
        y, y_reversed, real = (
            of.view(*y.shape).transpose(0, 1).flatten(1) for of in (each.y, each.y_reversed, each.real)
        )
        return cls(y, y_reversed, sizes.sum(0), real)


def terms_of_groups(
    logits: Tensor,
    z: Tensor | None,
    y: Tensor,
    sizes: Tensor,
    alpha: Tensor,
    terms: Collection[str],
    tau: float,
    normalisation: Normalisation = RELEASED,
) -> dict[str, Tensor]:
    """The asked-for terms of every group: row g is what ``terms_of_pairs`` or ``terms_of_single`` says of its rows.

    Args:
        logits: (W, G, N, C); the V plain views, then the same views mixed if a term needs them.
        z: (W, G, N, d), projections of unit length; None if no contrastive term is asked for.
        y: (G, N) int64 classes.
        sizes: (G,) int64, the number of rows of each group.
        alpha: (V, G), what mixed each view.
        terms: of :data:`fairseq_musc.losses.TERMS`.
        tau: the temperature.
        normalisation: see :class:`fairseq_musc.losses.Normalisation`.

    Returns:
        term name -> (G,) float32, in the order of :data:`fairseq_musc.losses.TERMS`.
    """
    groups = Groups.of(y, sizes)
    value = classification(logits, groups, alpha, terms, normalisation)
    if CONTRASTIVE_TERMS & set(terms):
        assert z is not None
        value |= contrast(z, groups, alpha, terms, tau, normalisation)
    return {term: value[term] for term in TERMS if term in terms}


def classification(
    logits: Tensor, groups: Groups, alpha: Tensor, terms: Collection[str], normalisation: Normalisation
) -> dict[str, Tensor]:
    """L_ce and, if asked for, L_mu of every group, (G,) each.

    Args:
        logits: (W, G, N, C), as in :func:`terms_of_groups`.
        groups: the labels, and which of the N rows are real.
        alpha: (V, G).
        terms: as in :func:`terms_of_groups`.
        normalisation: see :class:`fairseq_musc.losses.Normalisation`.
    """
    V = len(alpha)
    weights = (normalisation.weight_S, normalisation.weight_T) if V == 2 else (1.0,)

    def weighed(losses: Tensor) -> Tensor:  # (V, G) -> (G,)
        return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum(0)

    value = {"ce": weighed(cross_entropy(logits[:V], groups.y, groups))}
    if "mu" in terms:
        normal, reversed_ = (cross_entropy(logits[V:], labels, groups) for labels in (groups.y, groups.y_reversed))
        value["mu"] = weighed(alpha * normal + (1 - alpha) * reversed_)
    return value


def cross_entropy(logits: Tensor, y: Tensor, groups: Groups) -> Tensor:
    """L_ce of every view and group, (V, G): the mean over the rows of a group, in nats.

    Args:
        logits: (V, G, N, C), any floating type; computed in float32.
        y: (G, N).
        groups: which of the N rows are real.
    """
    log_p = F.log_softmax(logits.float(), dim=-1)
    of_label = log_p.gather(-1, y.expand(len(logits), -1, -1)[..., None])[..., 0]  # (V, G, N)
    return -(of_label * groups.real).sum(-1) / groups.sizes


def contrast(
    z: Tensor, groups: Groups, alpha: Tensor, terms: Collection[str], tau: float, normalisation: Normalisation
) -> dict[str, Tensor]:
    """L_sc and L_musc of every group, (G,) each.

    Args:
        z: (W, G, N, d), as in :func:`terms_of_groups`.
        groups: the labels, and which of the N rows are real.
        alpha: (V, G).
        terms: as in :func:`terms_of_groups`.
        tau: the temperature.
        normalisation: see :class:`fairseq_musc.losses.Normalisation`.
    """
    V = len(alpha)
    paired = V == 2
    y, y_reversed, real = groups.y, groups.y_reversed, groups.real
    nothing = torch.zeros_like(real)
    # For each SupCon loss: both halves of its vectors, which of the second half are there, the labels of the first
    # half with all the weight and with the rest of it, and that weight. The second half keeps its labels.
    rows = []
    if "sc" in terms:
        rows.append((z[0], z[V - 1], real if paired else nothing, y, torch.ones_like(alpha[0])))
    if "musc" in terms:
        for v in range(V):
            rows.append((z[V + v], z[V - 1 - v], real, y_reversed, alpha[v]))
    first, second, there, y_other, share = map(torch.stack, zip(*rows, strict=True))
    vectors = torch.cat([first, second], dim=2).float()  # (K, G, 2N, d), K losses
    K, G, M, _ = vectors.shape
    present = torch.cat([real.expand(K, -1, -1), there], dim=2)  # (K, G, 2N)
    labels = torch.cat([y, y], dim=1)  # (G, 2N)
    labels_other = torch.cat([y_other, y.expand(K, -1, -1)], dim=2)  # (K, G, 2N)
    itself = torch.eye(M, dtype=torch.bool, device=z.device)
    others = present[:, :, None, :] & ~itself  # (K, G, 2N, 2N): all a != i that are there
    lowest = torch.finfo(torch.float32).min
    flat = vectors.flatten(0, 1)
    with torch.autocast(z.device.type, enabled=False):  # which would take the product to half precision
        similarity = torch.bmm(flat, flat.transpose(1, 2)).view(K, G, M, M) / tau
    log_p = F.log_softmax(similarity.masked_fill(~others, lowest), dim=-1)
    positives = [(y[..., :, None] == y[..., None, :]) & others for y in (labels, labels_other)]
    shares = [share[..., None], 1 - share[..., None]]
    anchors = anchor_losses(log_p, positives, shares, normalisation)  # (K, G, 2N)
    reduced = (anchors * present).sum(-1)
    if normalisation.supcon_reduction == "mean":
        reduced = reduced / present.sum(-1)
    reduced = normalisation.supcon_scale * reduced  # (K, G)
    value = {}
    if "sc" in terms:
        value["sc"] = reduced[0]
    if "musc" in terms:
        value["musc"] = reduced[-V:].sum(0)
    return value


def anchor_losses(log_p: Tensor, positives: list[Tensor], shares: list[Tensor], normalisation: Normalisation) -> Tensor:
    """The loss of every anchor, weighed over several sets of positives: (K, G, M).

    An anchor without a positive adds nothing.

    Args:
        log_p: (K, G, M, M), log-probabilities of all others for every anchor.
        positives: for each set of labels (K, G, M, M) bool, P(i) in row i.
        shares: for each of them its weight, (K, G, 1).
        normalisation: see :class:`fairseq_musc.losses.Normalisation`.
    """
    tiny = torch.finfo(log_p.dtype).tiny
    if normalisation.supcon_log == "inside":
        weights = torch.zeros((), device=log_p.device)
        for positive, share in zip(positives, shares, strict=True):
            count = positive.sum(-1)  # (K, G, M)
            weights = weights + positive * (share / (count + normalisation.supcon_epsilon).clamp_min(tiny))[..., None]
        return -(weights * log_p).sum(-1)
    total = torch.zeros((), device=log_p.device)
    for positive, share in zip(positives, shares, strict=True):
        count = positive.sum(-1)
        some = count > 0
        # Anchors without positives are taken out before, so that no infinity reaches the gradient.
        masked = log_p.masked_fill(~positive & some[..., None], -torch.inf)
        total = total + share * ((count.clamp_min(1).log() - masked.logsumexp(-1)) * some)
    return total
