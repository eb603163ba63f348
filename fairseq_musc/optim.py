"""The registered optimizer: torch's own Adam in one kernel, without a wait in the step."""

# No postponed annotations here: fairseq reads the types of a dataclass's fields as they stand.
import ast
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import Tensor

from fairseq_musc.errors import InputError
from fairseq_musc.finite import LossWatch, NotFiniteError, remedy
from fairseq_musc.late import Late


@dataclass
class MuscAdamConfig(FairseqDataclass):
    """The values of Adam, under the names that fairseq's own has for them."""

    adam_betas: str = field(default="(0.9, 0.999)", metadata={"help": "the betas of Adam, as (b1, b2)"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon of Adam"})
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled weight decay, as in AdamW"})
    lr: list[float] = II("optimization.lr")  # noqa: RUF009
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")

    @staticmethod
    def problems(cfg: Any) -> list[str]:
        """Values that cannot be, each with what is allowed."""
        found = []
        betas = parsed_betas(cfg.adam_betas)
        if betas is None or not all(0 <= beta < 1 for beta in betas):
            found.append(
                f"optimizer.adam_betas is {cfg.adam_betas!r}; it is two numbers from 0 to below 1, (0.9, 0.999)"
            )
        for name in ("adam_eps", "weight_decay"):
            if not getattr(cfg, name) >= 0:
                found.append(f"optimizer.{name} is {getattr(cfg, name)}; it is at least 0")
        return found


def parsed_betas(written: str) -> tuple[float, float] | None:
    """The two numbers of ``(b1, b2)``, or None if it is anything else."""
    try:
        first, second = ast.literal_eval(str(written))
        return float(first), float(second)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


@register_optimizer("musc_adam", dataclass=MuscAdamConfig)
class MuscAdam(FairseqOptimizer):
    """``torch.optim.AdamW``, fused: Adam as the released code has it where ``weight_decay`` is 0.

    fairseq's ``adam`` is the same up to the place of epsilon: it adds epsilon to the root of the second moment before
    the correction of its bias, torch behind it.

    On a GPU the norm of the gradient that is shown and checked is that of the update before (:class:`Late`). A gradient
    that is not finite is found on the GPU in the same step, which then leaves the parameters as they are; the run ends
    one update later, or goes on without it (``skips``). The norm shown of an update that was left out is 0. Under
    ``common.fp16``, ``bf16`` and ``amp`` fairseq wraps the optimizer and scales by the norm itself, so there it is read
    at once.
    """

    def __init__(self, cfg: Any, params: Collection[torch.nn.Parameter]):
        super().__init__(cfg)
        problems = MuscAdamConfig.problems(cfg)
        if problems:
            raise InputError.all_at_once("the optimizer cannot be built:", problems)
        self._optimizer = torch.optim.AdamW(params, fused=True, **self.optimizer_config)
        self.late = Late() if not (cfg.fp16 or cfg.bf16 or cfg.amp) else None
        self.skips = False
        """Whether updates whose gradient is not finite are left out; the task sets it from ``criterion.not_finite``."""
        self.watch: LossWatch | None = None
        """Who knows the rows of an update; the task sets it, too."""

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """What overrides the values in a checkpoint when a run goes on."""
        lr = self.cfg.lr[0] if isinstance(self.cfg.lr, Sequence) else self.cfg.lr
        betas = parsed_betas(self.cfg.adam_betas)
        return {"lr": lr, "betas": betas, "eps": self.cfg.adam_eps, "weight_decay": self.cfg.weight_decay}

    @property
    def supports_flat_params(self) -> bool:
        """Yes: parameters may come as one long vector."""
        return True

    def multiply_grads(self, c: Any) -> None:
        """Multiplies all gradients by a number; by 1, which is the case without accumulation, nothing is done.

        A tensor of one number, as several processes have it, is not looked at.
        """
        if torch.is_tensor(c):
            if gradients := [p.grad for p in self.params if p.grad is not None]:
                torch._foreach_mul_(gradients, c.to(gradients[0]))
        elif c != 1:
            super().multiply_grads(c)

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        """Scales gradients down to a norm, if ``max_norm`` is above 0; returns the norm, see the class for of when.

        Raises:
            NotFiniteError: the norm is not finite, and such updates are not left out.
        """
        if aggregate_norm_fn is not None or self.late is None:
            return super().clip_grad_norm(max_norm, aggregate_norm_fn)
        gradients = [p.grad for p in self.params if p.grad is not None]
        if not gradients:
            return torch.zeros(())
        norm = torch.nn.utils.get_total_norm(gradients)
        if max_norm > 0:
            torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1))
        # torch's fused kernels look at this, and skip the step where it is 1.
        self.optimizer.found_inf = (~norm.isfinite()).float()
        shown = self.late.read(norm)
        if shown.isfinite():
            return shown
        if not self.skips:
            of = self.watch.rows_of_update(before=norm.is_cuda) if self.watch else "an update"
            raise NotFiniteError(remedy(f"the norm of the gradient is {float(shown)} in {of}"))
        metrics.log_scalar_sum("skipped", 1, priority=450)
        return torch.zeros_like(shown)
