"""What fairseq's trainer lets processes exchange behind each update, without a wait for the GPU.

Behind each update fairseq adds up logs and sample sizes over all processes, asks whether the sample sizes come to 0,
and looks whether the norms of all gradients are the same. For each of these the program waits until the GPU has done
all that it was asked for, and then the GPU waits for the program, which has the next step to prepare. Here the sums
stay on the GPU, nobody asks for that of the sample sizes, and the norms are looked at later
(:mod:`fairseq_musc.late`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fairseq_musc.finite import TrainingError
from fairseq_musc.late import Late
from fairseq_musc.optim import MuscAdam
from fairseq_musc.ranks import from_all_ranks, summed_over_ranks

#: By how much norms of the same gradient may differ, as a share of them; fairseq's.
SAME = 1e-6


class NotZero(Tensor):
    """A number on a GPU that is known not to be 0, so that ``number or 1.0`` is it without a look at it."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return True


def make_unwaited() -> None:
    """Has fairseq's trainer exchange in our way what it exchanges for a task of ours; done twice, it is once.

    Tasks of ours are those with ``norms`` (:class:`~fairseq_musc.late.Late`). With an optimizer that scales losses,
    which needs the norm of the gradient in its step, and with one of fairseq's own all is as it was.
    """
    from fairseq.trainer import Trainer

    if getattr(Trainer._check_grad_norms, "unwaited", False):
        return
    add_up: Callable[..., Any] = Trainer._fast_stat_sync_sum
    compare: Callable[..., None] = Trainer._check_grad_norms

    @functools.wraps(add_up)
    def _fast_stat_sync_sum(self: Any, logging_outputs: Any, *extra_stats_to_sum: Any, ignore: bool = False) -> Any:
        if not spares_waits(self):
            return add_up(self, logging_outputs, *extra_stats_to_sum, ignore=ignore)
        keys = list(logging_outputs[0]) if logging_outputs else []
        own = [0 if ignore else sum(logged[key] for logged in logging_outputs) for key in keys]
        sums = summed_over_ranks([*extra_stats_to_sum, *own], self.device)
        extra, values = sums[: len(extra_stats_to_sum)], sums[len(extra_stats_to_sum) :]
        # The first is the sample size, and one process at least has a batch.
        sizes = extra[0].as_subclass(NotZero)
        return [dict(zip(keys, values, strict=True))] if keys else [], [sizes, *extra[1:]]

    @functools.wraps(compare)
    def _check_grad_norms(self: Any, grad_norm: Tensor) -> None:
        if self._grad_norm_buf is None or not spares_waits(self):
            compare(self, grad_norm)
        else:
            hold_together(self.task.norms.read(from_all_ranks(torch.full((), float(grad_norm), device=self.device))))

    _check_grad_norms.unwaited = True  # type: ignore[attr-defined]
    Trainer._fast_stat_sync_sum, Trainer._check_grad_norms = _fast_stat_sync_sum, _check_grad_norms


def spares_waits(trainer: Any) -> bool:
    """Whether a trainer's exchange is ours."""
    optimizer = trainer._optimizer
    return (
        isinstance(getattr(trainer.task, "norms", None), Late)
        and isinstance(optimizer, MuscAdam)
        and optimizer.late is not None
    )


def hold_together(norms: Tensor) -> None:
    """Ends the run if the processes have not the same gradient, which they add up: their parameters then go apart.

    Args:
        norms: (R,) of the ranks' gradients in one update, finite.

    Raises:
        TrainingError: they differ.
    """
    if ((norms - norms[0]).abs() <= SAME * (norms[0] + SAME)).all():
        return
    each = ", ".join(f"{norm:.8g} of process {rank}" for rank, norm in enumerate(norms.tolist()))
    raise TrainingError(
        f"training stops: the processes have not the same gradient any more; its norm is {each}. Are all GPUs of one "
        "kind, and all processes of one version? distributed_training.ddp_backend=legacy_ddp adds up in another way"
    )
