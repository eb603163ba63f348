"""The registered criterion: batch in, the paper's total loss L and its terms out."""

# No postponed annotations here: fairseq reads the types of a dataclass's fields as they stand.
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from fairseq_musc import losses
from fairseq_musc.batched_losses import Groups, classification, contrast, terms_of_groups
from fairseq_musc.data.pairs import joined_views
from fairseq_musc.errors import InputError
from fairseq_musc.losses import CONTRASTIVE_TERMS, MIXED_TERMS, NORMALISATIONS, TERMS, Normalisation, View
from fairseq_musc.mixing import draw_alpha, mix_within_groups
from fairseq_musc.packing import rows_for_encoder
from fairseq_musc.ranks import busy, join, sent, sizes_of_all_ranks


@dataclass
class MuscCriterionConfig(FairseqDataclass):
    """The loss, with every constant that the released code has."""

    terms: str = field(
        default="ce+mu+sc+musc",
        metadata={
            "help": "the terms of the loss, joined by +: ce, mu, sc, musc. The rows of Table 5 are ce, ce+sc, ce+mu, "
            "ce+sc+mu and ce+mu+sc+musc (L)"
        },
    )
    lam: float = field(default=0.9, metadata={"help": "lambda, the weight of the contrastive terms (0 to 1)"})
    tau: float = field(default=0.3, metadata={"help": "the temperature of SupCon"})
    normalisation: str = field(
        default="released",
        metadata={
            "help": "released: the losses as the released code computes them; paper: as the paper prints them. It sets "
            "the six options below that are null"
        },
    )
    supcon_log: Optional[str] = field(
        default=None,
        metadata={"help": "inside (released): mean of log-probabilities over positives; outside (paper): log of mean"},
    )
    supcon_reduction: Optional[str] = field(
        default=None, metadata={"help": "mean (released) or sum (paper) over the 2N anchors"}
    )
    supcon_scale: Optional[float] = field(
        default=None,
        metadata={"help": "a factor on each SupCon loss: 0.3 (released: tau over a base of 1) or 1 (paper)"},
    )
    supcon_epsilon: Optional[float] = field(
        default=None,
        metadata={"help": "added to the number of positives that divides, with supcon_log inside: 1e-4 (released)"},
    )
    weight_S: Optional[float] = field(
        default=None,
        metadata={"help": "weight of the source view of pairs in L_ce and L_mu: 0.5 (released) or 1 (paper)"},
    )
    weight_T: Optional[float] = field(default=None, metadata={"help": "the same of the target view"})
    mixup_beta: float = field(
        default=1.0, metadata={"help": "alpha is drawn from Beta(b, b), once a step, language and side; 1 is U(0, 1)"}
    )
    gather: bool = field(
        default=False,
        metadata={
            "help": "with several processes (GPUs): whether the rows of all of them are compared with one another in "
            "L_sc and L_musc, with gradients, as one process would on the joined batch; false: each process compares "
            "its own"
        },
    )
    not_finite: str = field(
        default="stop",
        metadata={
            "help": "what happens to an update whose loss or gradient is NaN or infinite: stop ends the run and names "
            "its rows; skip (with musc_adam) leaves parameters and moments as they are, names the rows, counts it in "
            "the log as skipped, and goes on"
        },
    )

    @staticmethod
    def problems(cfg: Any) -> list[str]:
        """Values that cannot be, each with what is allowed."""
        found = []
        terms = str(cfg.terms).split("+")
        unknown = [term for term in terms if term not in TERMS]
        if unknown or "ce" not in terms or len(set(terms)) != len(terms):
            found.append(f"criterion.terms is {cfg.terms!r}; it is ce, with any of {', '.join(TERMS[1:])} joined by +")
        for name, allowed in (
            ("normalisation", tuple(NORMALISATIONS)),
            ("supcon_log", ("inside", "outside", None)),
            ("supcon_reduction", ("mean", "sum", None)),
            ("not_finite", ("stop", "skip")),
        ):
            value = getattr(cfg, name)
            if value not in allowed:
                either = " or ".join("null" if choice is None else choice for choice in allowed)
                found.append(f"criterion.{name} is {value!r}; it can be {either}")
        if not 0 <= cfg.lam <= 1:
            found.append(f"criterion.lam is {cfg.lam}; lambda is between 0 and 1")
        for name in ("tau", "mixup_beta"):
            if not getattr(cfg, name) > 0:
                found.append(f"criterion.{name} is {getattr(cfg, name)}; it is above 0")
        for name in ("supcon_scale", "supcon_epsilon", "weight_S", "weight_T"):
            value = getattr(cfg, name)
            if value is not None and not value >= 0:
                found.append(f"criterion.{name} is {value}; it is at least 0, or null")
        return found


class EncodedViews(NamedTuple):
    """The encoded views of a batch of B rows in G groups, and what mixed them."""

    views: list[View]
    """V plain views, then V mixed ones if a term needs them, of B rows each: of pairs S, T, mixed S, mixed T."""
    alpha: Tensor
    """(V, G): for each view, one for each group in the batch."""

    def of(self, rows: slice) -> list[View]:
        """The views of some rows."""
        return [View(view.logits[rows], None if view.z is None else view.z[rows]) for view in self.views]


@register_criterion("musc", dataclass=MuscCriterionConfig)
class MuscCriterion(FairseqCriterion):
    """Unpacks a batch, calls the model once and the formulas of :mod:`fairseq_musc.losses` a language, and logs.

    The gradient of one step is that of the released code: every language's loss is a mean over its pairs, and the
    languages are averaged over all T of the run, also in the last steps of an epoch that lack some of them. So the loss
    is returned with a sample size of 1, and fairseq's division by the sum of sample sizes averages steps that are
    accumulated and processes that run side by side.
    """

    def __init__(self, cfg: MuscCriterionConfig, task: Any):
        super().__init__(task)
        problems = MuscCriterionConfig.problems(cfg)
        if problems:
            raise InputError.all_at_once("the criterion cannot be built:", problems)
        self.terms = tuple(term for term in TERMS if term in cfg.terms.split("+"))
        self.lam = cfg.lam
        self.tau = cfg.tau
        self.mixup_beta = cfg.mixup_beta
        self.gather = cfg.gather
        if cfg.gather and task.cfg.languages_at_once is not None:
            raise InputError(
                f"criterion.gather is true, and task.languages_at_once is {task.cfg.languages_at_once}: the rows of "
                "all processes meet in one pass; leave task.languages_at_once null, or criterion.gather false"
            )
        self.skips_not_finite = cfg.not_finite == "skip"
        set_apart = {
            name: getattr(cfg, name) for name in Normalisation.__dataclass_fields__ if getattr(cfg, name) is not None
        }
        self.normalisation = replace(NORMALISATIONS[cfg.normalisation], **set_apart)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss of a batch (see :mod:`fairseq_musc.data.pairs`), its sample size and what is logged."""
        if self.training:
            return self.training_loss(model, sample)
        return self.validation_counts(model, sample)

    def training_loss(self, model: Any, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """L, averaged over the groups of the run: the target languages, or all languages where there are no pairs."""
        T = len(self.task.training_groups)
        pieces = [sample] if "alpha" in sample else self.split(sample)
        terms_of = self.terms_of_packed if self.packed(sample) else self.terms_of_padded
        values = [terms_of(model, piece) for piece in pieces]
        value = {term: torch.stack([each[term] for each in values]).sum() / T for term in self.terms}
        loss = losses.total(value, self.lam)
        logged: dict[str, Any] = {f"L_{term}": term_loss.detach() for term, term_loss in value.items()}
        logged.update(
            loss=loss.detach(),
            sample_size=1,
            nsentences=sample["nsentences"],
            ntokens=sample["ntokens"],
        )
        return loss, 1, logged

    @staticmethod
    def packed(sample: dict[str, Any]) -> bool:
        """Whether the rows of a batch lie end to end."""
        return "parts" in sample

    def split(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        """The encoder passes of a training step, each a batch of its own with its ``alpha`` (V, G).

        Their losses add up to that of the batch, and so do their gradients: every language has a loss of its own.
        """
        sizes = [size for _, size in sample["groups"]]
        draws = self.draw_alpha(len(sizes))
        alpha = draws[:, self.places_of_alpha(sample)]
        if self.packed(sample):
            begins = [part["first_group"] for part in sample["parts"]]
        elif self.gather:  # which all processes do once a step, whatever stands in for a batch
            begins = [0]
        else:
            begins = list(range(0, len(sizes), self.task.datasets["train"].groups_at_once))
        starts = [0, *itertools.accumulate(sizes)]
        pieces = []
        for place, (k, end) in enumerate(zip(begins, [*begins[1:], len(sizes)], strict=True)):
            rows = slice(starts[k], starts[end])
            piece = {
                "alpha": alpha[:, k:end],
                "groups": sample["groups"][k:end],
                "labels": sample["labels"][rows],
                "rows": sample["rows"][rows],
                "nsentences": rows.stop - rows.start,
                "ntokens": sample["ntokens"] if place == 0 else 0,
                "draws": draws,
                "stands_in": sample.get("stands_in", False),
            }
            if self.packed(sample):
                piece["parts"] = sample["parts"][place : place + 1]
            else:
                piece["views"] = [{key: value[rows] for key, value in view.items()} for view in sample["views"]]
            pieces.append(piece)
        return pieces

    def places_of_alpha(self, sample: dict[str, Any]) -> list[int]:
        """Which of the step's draws each group of a batch takes: the first ones, or with ``gather`` its language's own.

        So that processes of which one lacks a language mix the others alike.
        """
        groups = [g for g, _ in sample["groups"]]
        return groups if self.gather and not sample.get("stands_in") else list(range(len(groups)))

    def draw_alpha(self, G: int) -> Tensor:
        """What mixes each view of up to G groups in this step, (V, max(T, G)); one for all if they share a view."""
        V, T = 2 if self.task.paired else 1, len(self.task.training_groups)
        # As many draws in every step, so that what is drawn later does not hang on which languages are used up.
        alpha = draw_alpha((V, max(T, G)), self.mixup_beta)
        if self.task.cfg.shared_source:
            alpha[0] = alpha[0, 0]
        return alpha

    def terms_of_packed(self, model: Any, piece: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of rows that lie end to end, summed over their groups."""
        (part,) = piece["parts"]
        layout, slots = part["layout"], part["slots"]
        V = len(piece["alpha"])
        alpha = piece["alpha"].to(slots.device, non_blocking=True)
        mixed = bool(MIXED_TERMS & set(self.terms))
        if stands_in := "mixed_alpha" not in layout:  # a batch of validation, see `encode`
            slots = slots.repeat(2 * V, 1, 1)
        rows = rows_for_encoder(layout, alpha.flatten() if mixed and not stands_in else None)
        of_rows = model(packed=rows, project=bool(CONTRASTIVE_TERMS & set(self.terms)))
        slots = slots[: 2 * V if mixed else V]
        logits = of_rows.logits.index_select(0, slots.flatten()).view(*slots.shape, -1)
        z = None if of_rows.z is None else of_rows.z.index_select(0, slots.flatten()).view(*slots.shape, -1)
        return self.terms_of_groups(logits, z, part["labels"], part["sizes"], alpha, piece)

    def terms_of_groups(
        self, logits: Tensor, z: Tensor | None, y: Tensor, sizes: Tensor, alpha: Tensor, piece: dict[str, Any]
    ) -> dict[str, Tensor]:
        """The terms of the groups of a batch, summed over them; with ``gather`` this rank's part of those of all ranks.

        Args: as :func:`fairseq_musc.batched_losses.terms_of_groups`, and the batch.
        """
        common = (self.terms, self.tau, self.normalisation)
        if not self.gather:
            value = terms_of_groups(logits, z, y, sizes, alpha, *common)
            return {term: loss.sum() for term, loss in value.items()}
        T = len(self.task.training_groups)
        numbers, own_sizes = [g for g, _ in piece["groups"]], [size for _, size in piece["groups"]]
        if piece["stands_in"]:  # with groups of validation, maybe, and nothing to say
            numbers = list(range(min(T, len(sizes))))
            own_sizes = [0] * len(numbers)
        all_sizes = sizes_of_all_ranks(own_sizes, numbers, T)
        # A mean over the joined rows is made of the ranks' means, of which fairseq takes the mean over busy ranks.
        share = busy(all_sizes) * torch.tensor(own_sizes) / all_sizes.sum(0)[numbers].clamp_min(1)
        share = sent(share, logits.device)
        value = classification(logits, Groups.of(y, sizes), alpha, self.terms, self.normalisation)
        value = {term: (share * loss[: len(numbers)]).sum() for term, loss in value.items()}
        if z is not None:
            joined = join(z[:, : len(numbers)], y[: len(numbers)], numbers, all_sizes)
            draws = sent(piece["draws"][:, joined.numbers], z.device)
            contrasts = contrast(joined.z, joined.groups, draws, *common)
            value |= {term: loss.sum() for term, loss in contrasts.items()}
        return {term: value[term] for term in self.terms}

    def terms_of_padded(self, model: Any, piece: dict[str, Any]) -> dict[str, Tensor]:
        """The same of rows side by side, language by language: the reference."""
        sizes = [size for _, size in piece["groups"]]
        encoded = self.encode(model, piece, sizes)
        if self.gather:
            return self.terms_of_groups(*self.grouped(encoded, piece["labels"], sizes), encoded.alpha, piece)
        value = {term: torch.zeros((), device=piece["labels"].device) for term in self.terms}
        start = 0
        for k, size in enumerate(sizes):
            rows = slice(start, start + size)
            for term, loss in self.terms_of(encoded.of(rows), piece["labels"][rows], encoded.alpha[:, k]).items():
                value[term] = value[term] + loss
            start += size
        return value

    def terms_of(self, views: Sequence[View], y: Tensor, alpha: Tensor) -> dict[str, Tensor]:
        """The terms for the rows of one group.

        Args:
            views: the V plain views, then the V mixed ones if the terms need them; V is 2 for pairs and else 1.
            y: (N,) classes.
            alpha: (V,).
        """
        common = (self.terms, self.tau, self.normalisation)
        V = len(alpha)
        mixed: Sequence[View | None] = views[V:] or [None] * V
        if self.task.paired:
            return losses.terms_of_pairs(views[0], views[1], mixed[0], mixed[1], y, alpha[0], alpha[1], *common)
        return losses.terms_of_single(views[0], mixed[0], y, alpha[0], *common)

    @staticmethod
    def grouped(encoded: EncodedViews, y: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Views of rows one after the other as logits (W, G, N, C), z (W, G, N, d), classes (G, N) and sizes (G,)."""
        size = torch.tensor(list(sizes), device=y.device)
        place = torch.arange(max(sizes), device=y.device).minimum(size[:, None] - 1)  # behind the end the last row
        rows = (size.cumsum(0) - size)[:, None] + place  # (G, N)
        logits = torch.stack([view.logits[rows] for view in encoded.views])
        z = [view.z[rows] for view in encoded.views if view.z is not None]
        return logits, torch.stack(z) if z else None, y[rows], size

    def encode(self, model: Any, piece: dict[str, Any], sizes: Sequence[int]) -> EncodedViews:
        """All views of a batch of padded rows in one encoder pass."""
        # Where processes have uneven numbers of batches fairseq hands out a stand-in, which may be one of validation,
        # with more languages and another number of views; its gradient is thrown away, but it has to pass.
        alpha = piece["alpha"]
        V = len(alpha)
        plain = (piece["views"] * V)[:V]
        mixed = bool(MIXED_TERMS & set(self.terms))
        device = piece["labels"].device
        inputs = joined_views([*plain, *plain] if mixed else plain, self.task.info.pad)
        mixing = mix_within_groups(sizes, list(alpha), device) if mixed else None
        logits, z = model(**inputs, mixing=mixing, project=bool(CONTRASTIVE_TERMS & set(self.terms)))
        B = sum(sizes)
        views = [View(logits[i : i + B], None if z is None else z[i : i + B]) for i in range(0, len(logits), B)]
        return EncodedViews(views, alpha.to(device, non_blocking=True))

    def validation_counts(self, model: Any, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Cross-entropy of all views, and right answers of each view and of their ensemble, for every language."""
        B, sizes = sample["nsentences"], [size for _, size in sample["groups"]]
        names = [*self.task.cfg.valid_corpora, "Ens"]
        if self.packed(sample):
            (part,) = sample["parts"]
            rows = model(packed=rows_for_encoder(part["layout"], None), project=False).logits.float()
            views = rows[part["slots"]].flatten(1, 2)  # (V, G N, C)
            labels = part["labels"].flatten()
            place = torch.arange(part["labels"].shape[1], device=labels.device)
            real = (place < part["sizes"][:, None]).flatten()  # (G N,)
        else:
            inputs = joined_views(sample["views"], self.task.info.pad)
            views = model(**inputs, project=False).logits.float().view(len(sample["views"]), B, -1)  # (V, B, C)
            labels = sample["labels"]
            real = torch.ones_like(labels, dtype=torch.bool)
        V = len(views)
        log_p = views.log_softmax(-1)
        loss = -(log_p.gather(-1, labels.expand(V, -1)[..., None])[..., 0] * real).sum() / (V * B)
        probabilities = log_p.exp()
        answers = torch.cat([probabilities, probabilities.mean(0, keepdim=True)]).argmax(-1)  # (V + 1, rows)
        right = (answers == labels) & real
        counts = (
            right.view(V + 1, len(sizes), -1).sum(-1)
            if self.packed(sample)
            else torch.stack([piece.sum(-1) for piece in right.split(sizes, dim=1)], dim=1)
        )
        # One transfer for all that is counted.
        logged_loss, *hits = torch.cat([loss.double()[None], counts.flatten().double()]).tolist()
        # Every key in every batch: fairseq sums these dicts by the keys of the first.
        logged: dict[str, Any] = {}
        for group in self.task.datasets["valid"].groups:
            logged[f"n:{group.language}"] = 0
            logged.update({f"right:{name}:{group.language}": 0 for name in names})
        for k, (g, size) in enumerate(sample["groups"]):
            language = self.task.datasets["valid"].groups[g].language
            logged[f"n:{language}"] = size
            logged.update({f"right:{name}:{language}": int(hits[v * len(sizes) + k]) for v, name in enumerate(names)})
        logged.update(loss=logged_loss * B, sample_size=B, nsentences=B, ntokens=sample["ntokens"])
        return loss * B, B, logged

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[dict[str, Any]]) -> None:
        """Turns what was logged into what is shown: terms in nats, accuracies in percent, averaged and by language."""
        size = sum(log["sample_size"] for log in logging_outputs)
        keys = [key for key in logging_outputs[0] if key == "loss" or key.startswith("L_")]
        training = any(key.startswith("L_") for key in keys)
        for key in keys:
            value = sum(log[key] for log in logging_outputs) / size
            # A loss of training that is no number ends the run, or its update was left out; the mean goes without it.
            weight = 0 if training and not math.isfinite(value) else size
            metrics.log_scalar(key, value, weight, round=4)
        for key in (key for key in logging_outputs[0] if key.startswith(("n:", "right:"))):
            metrics.log_scalar_sum(f"_{key}", sum(log[key] for log in logging_outputs), priority=0)
        languages = [key.removeprefix("n:") for key in logging_outputs[0] if key.startswith("n:")]
        if not languages:
            return
        for name in dict.fromkeys(key.split(":")[1] for key in logging_outputs[0] if key.startswith("right:")):
            metrics.log_derived(f"accuracy_{name}", macro_accuracy(name, languages))
        metrics.log_derived("accuracy", macro_accuracy("Ens", languages))
        for language in languages:  # behind the averages, where there are several
            metrics.log_derived(f"accuracy_{language}", macro_accuracy("Ens", [language]), priority=25)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Yes: all that is logged is a number, with the same keys in every process."""
        return True


def macro_accuracy(name: str, languages: Sequence[str]) -> Any:
    """A function of fairseq's meters: the mean over languages of the accuracy in percent.

    fairseq picks the best checkpoint by the rounded figure, so it keeps four digits; a Python float, because a numpy
    scalar would end in the checkpoint and keep it from being loaded safely.
    """

    def mean(meters: Any) -> float:
        shares = [float(meters[f"_right:{name}:{xx}"].sum) / max(float(meters[f"_n:{xx}"].sum), 1) for xx in languages]
        return round(100 * sum(shares) / len(shares), 4)

    return mean
