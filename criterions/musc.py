"""The registered criterion: batch in, the paper's total loss L and its terms out."""

# No postponed annotations here: fairseq reads the types of a dataclass's fields as they stand.
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from fairseq_musc import losses
from fairseq_musc.data.pairs import joined_views
from fairseq_musc.errors import InputError
from fairseq_musc.losses import CONTRASTIVE_TERMS, MIXED_TERMS, TERMS, Normalisation, View
from fairseq_musc.mixing import draw_alpha, mix_within_groups


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
    supcon_log: str = field(
        default="inside",
        metadata={"help": "inside: mean of log-probabilities over positives (released code); outside: as printed"},
    )
    supcon_reduction: str = field(
        default="mean", metadata={"help": "mean (released code) or sum (as printed) over the 2N anchors"}
    )
    supcon_scale: float = field(
        default=0.3,
        metadata={"help": "a factor on each SupCon loss; tau over a base temperature of 1 in the released code"},
    )
    supcon_epsilon: float = field(
        default=1e-4, metadata={"help": "added to the number of positives that divides, where supcon_log is inside"}
    )
    weight_S: float = field(default=0.5, metadata={"help": "the weight of the source view in L_ce and L_mu"})
    weight_T: float = field(default=0.5, metadata={"help": "the weight of the target view in L_ce and L_mu"})
    mixup_beta: float = field(
        default=1.0, metadata={"help": "alpha is drawn from Beta(b, b), once a step, language and side; 1 is U(0, 1)"}
    )

    @staticmethod
    def problems(cfg: Any) -> list[str]:
        """Values that cannot be, each with what is allowed."""
        found = []
        terms = str(cfg.terms).split("+")
        unknown = [term for term in terms if term not in TERMS]
        if unknown or "ce" not in terms or len(set(terms)) != len(terms):
            found.append(f"criterion.terms is {cfg.terms!r}; it is ce, with any of {', '.join(TERMS[1:])} joined by +")
        for name, allowed in (("supcon_log", ("inside", "outside")), ("supcon_reduction", ("mean", "sum"))):
            value = getattr(cfg, name)
            if value not in allowed:
                found.append(f"criterion.{name} is {value!r}; it can be {' or '.join(allowed)}")
        if not 0 <= cfg.lam <= 1:
            found.append(f"criterion.lam is {cfg.lam}; lambda is between 0 and 1")
        for name in ("tau", "mixup_beta"):
            if not getattr(cfg, name) > 0:
                found.append(f"criterion.{name} is {getattr(cfg, name)}; it is above 0")
        for name in ("supcon_scale", "supcon_epsilon", "weight_S", "weight_T"):
            if not getattr(cfg, name) >= 0:
                found.append(f"criterion.{name} is {getattr(cfg, name)}; it is at least 0")
        return found


class EncodedViews(NamedTuple):
    """The encoded views of a batch of B rows in G languages, and what mixed them."""

    views: list[View | None]
    """S, T, mixed S, mixed T, of B rows each; None if no term needs it."""
    alpha: Tensor
    """(2, G): for S and T, one for each language in the batch."""


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
        self.normalisation = Normalisation(
            cfg.supcon_log, cfg.supcon_reduction, cfg.supcon_scale, cfg.supcon_epsilon, cfg.weight_S, cfg.weight_T
        )

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss of a batch (see :mod:`fairseq_musc.data.pairs`), its sample size and what is logged."""
        if self.training:
            return self.training_loss(model, sample)
        return self.validation_counts(model, sample)

    def training_loss(self, model: Any, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """L, averaged over the target languages of the run."""
        sizes = [size for _, size in sample["groups"]]
        T = len(self.task.target_langs)
        encoded = self.encode(model, sample, sizes, T)
        logged: dict[str, Any] = {f"L_{term}": 0.0 for term in self.terms}
        loss = torch.zeros((), device=sample["labels"].device)
        start = 0
        for k, size in enumerate(sizes):
            rows = slice(start, start + size)
            view_S, view_T, mixed_S, mixed_T = (
                None if view is None else View(view.logits[rows], None if view.z is None else view.z[rows])
                for view in encoded.views
            )
            assert view_S is not None and view_T is not None
            value = losses.terms_of_pairs(
                view_S,
                view_T,
                mixed_S,
                mixed_T,
                sample["labels"][rows],
                encoded.alpha[0, k],
                encoded.alpha[1, k],
                self.terms,
                self.tau,
                self.normalisation,
            )
            loss = loss + losses.total(value, self.lam) / T
            for term, term_loss in value.items():
                logged[f"L_{term}"] = logged[f"L_{term}"] + term_loss.detach() / T
            start += size
        logged.update(
            loss=loss.detach(),
            sample_size=1,
            nsentences=sample["nsentences"],
            ntokens=sample["ntokens"],
        )
        return loss, 1, logged

    def encode(self, model: Any, sample: dict[str, Any], sizes: Sequence[int], T: int) -> EncodedViews:
        """All views of a batch in one encoder pass."""
        # Where processes have uneven numbers of batches fairseq hands out a stand-in, which may be one of validation,
        # with more languages and perhaps one view; its gradient is thrown away, but it has to pass.
        plain = sample["views"] if len(sample["views"]) == 2 else sample["views"] * 2
        mixed = bool(MIXED_TERMS & set(self.terms))
        device = sample["labels"].device
        # As many draws in every step, so that what is drawn later does not hang on which languages are used up.
        alpha = draw_alpha((len(plain), max(T, len(sizes))), self.mixup_beta)[:, : len(sizes)]
        inputs = joined_views([*plain, *plain] if mixed else plain, self.task.info.pad)
        mixing = mix_within_groups(sizes, list(alpha), device) if mixed else None
        logits, z = model(**inputs, mixing=mixing, project=bool(CONTRASTIVE_TERMS & set(self.terms)))
        B = sum(sizes)
        views: list[View | None] = [
            View(logits[i : i + B], None if z is None else z[i : i + B]) for i in range(0, len(logits), B)
        ]
        return EncodedViews(views + [None] * (4 - len(views)), alpha.to(device, non_blocking=True))

    def validation_counts(self, model: Any, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Cross-entropy of all views, and right answers of each view and of their ensemble, for every language."""
        views = sample["views"]
        labels, B = sample["labels"], sample["nsentences"]
        logits = model(**joined_views(views, self.task.info.pad), project=False).logits.float()
        logits = logits.view(len(views), B, -1)  # (V, B, C)
        loss = torch.stack([losses.cross_entropy(view, labels) for view in logits]).mean()
        probabilities = logits.softmax(-1)
        right = {
            **{
                name: p.argmax(-1) == labels for name, p in zip(self.task.cfg.valid_corpora, probabilities, strict=True)
            },
            "Ens": probabilities.mean(0).argmax(-1) == labels,
        }
        # Every key in every batch: fairseq sums these dicts by the keys of the first.
        logged: dict[str, Any] = {}
        for group in self.task.datasets["valid"].groups:
            logged[f"n:{group.language}"] = 0
            logged.update({f"right:{name}:{group.language}": 0 for name in right})
        start = 0
        for g, size in sample["groups"]:
            language = self.task.datasets["valid"].groups[g].language
            logged[f"n:{language}"] = size
            for name, hits in right.items():
                logged[f"right:{name}:{language}"] = hits[start : start + size].sum()
            start += size
        logged.update(loss=loss.detach() * B, sample_size=B, nsentences=B, ntokens=sample["ntokens"])
        return loss * B, B, logged

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[dict[str, Any]]) -> None:
        """Turns what was logged into what is shown: terms in nats, accuracies in percent averaged over languages."""
        size = sum(log["sample_size"] for log in logging_outputs)
        keys = [key for key in logging_outputs[0] if key == "loss" or key.startswith("L_")]
        for key in keys:
            metrics.log_scalar(key, sum(log[key] for log in logging_outputs) / size, size, round=4)
        for key in (key for key in logging_outputs[0] if key.startswith(("n:", "right:"))):
            metrics.log_scalar_sum(f"_{key}", sum(log[key] for log in logging_outputs), priority=0)
        languages = [key.removeprefix("n:") for key in logging_outputs[0] if key.startswith("n:")]
        if not languages:
            return
        for name in dict.fromkeys(key.split(":")[1] for key in logging_outputs[0] if key.startswith("right:")):
            metrics.log_derived(f"accuracy_{name}", macro_accuracy(name, languages))
        metrics.log_derived("accuracy", macro_accuracy("Ens", languages))

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
