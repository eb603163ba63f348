"""What the processes of a training exchange beyond gradients. The one file that names torch.distributed.

A rank is one process of several that train together, each on batches of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from fairseq.distributed import utils as distributed_utils
from torch import Tensor

from fairseq_musc.batched_losses import Groups


class JoinedBatch(NamedTuple):
    """The rows of all ranks' batches, for losses that compare rows; R ranks, G groups."""

    z: Tensor
    """(W, G, R N, d): the projections of all ranks, rank after rank; only this rank's have a gradient."""
    groups: Groups
    """Their labels and sizes; every row keeps the partner it is mixed with in its own rank."""
    numbers: list[int]
    """(G) which groups of the run they are: those that some rank has rows of."""


def from_all_ranks(own: Tensor) -> Tensor:
    """A tensor of the same shape from every rank, (R, ...), without gradients; one on the CPU waits for no GPU."""
    count = distributed_utils.get_data_parallel_world_size() if torch.distributed.is_initialized() else 1
    if count == 1:
        return own.detach()[None]
    group = distributed_utils.get_data_parallel_group()
    if not own.is_cuda:
        group = _that_exchanges_on_the_cpu(group)
    gathered = [torch.empty_like(own) for _ in range(count)]
    torch.distributed.all_gather(gathered, own.detach().contiguous(), group=group)
    return torch.stack(gathered)


@functools.cache
def _that_exchanges_on_the_cpu(group: Any) -> Any:
    """A group, or one of the same ranks beside it; every rank calls it at the same time."""
    if torch.distributed.get_backend(group) == "gloo":
        return group
    return torch.distributed.new_group(torch.distributed.get_process_group_ranks(group), backend="gloo")


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; the program does not wait until it is there."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def summed_over_ranks(values: Sequence[Tensor | float], device: torch.device) -> list[Tensor]:
    """Sums of single numbers over all ranks, float64 on the device; every rank calls it at the same time.

    It is one exchange, and nothing waits for it.

    Args:
        values: numbers, and tensors of one number; those that lie elsewhere than on the device are waited for.
        device: that of the ranks' exchange.
    """
    elsewhere = [float(value) for value in values if not _lies_on(value, device)]
    copied = iter(sent(torch.tensor(elsewhere, dtype=torch.float64), device))
    summed = torch.stack(
        [value.detach().double().reshape(()) if _lies_on(value, device) else next(copied) for value in values]
    )
    distributed_utils.all_reduce(summed, group=distributed_utils.get_data_parallel_group())
    return list(summed.unbind())


def _lies_on(value: Tensor | float, device: torch.device) -> TypeGuard[Tensor]:
    return torch.is_tensor(value) and value.device.type == device.type


def own_rank() -> int:
    """The number of this process among those that train."""
    return distributed_utils.get_data_parallel_rank() if torch.distributed.is_initialized() else 0


def wait_for_all_ranks() -> None:
    """Returns when every rank has come here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier(group=distributed_utils.get_data_parallel_group())


def sizes_of_all_ranks(sizes: Sequence[int], numbers: Sequence[int], T: int) -> Tensor:
    """The rows of every rank in every group of the run, (R, T) int64; every rank calls it at the same time.

    They are on the CPU, and exchanged there: what follows hangs on them, and would else wait for all that the GPU has
    been asked for.

    Args:
        sizes: (G) rows of this rank in each group of its batch; 0 everywhere for a batch that only stands in.
        numbers: (G) which groups of the run they are.
        T: how many groups the run has.
    """
    own = torch.zeros(T, dtype=torch.int64)
    own[list(numbers)] = torch.tensor(sizes)
    return from_all_ranks(own)


def busy(all_sizes: Tensor) -> int:
    """How many ranks have rows; the others stand by, where batches do not come out even."""
    return int((all_sizes.sum(1) > 0).sum())


def join(z: Tensor, y: Tensor, numbers: list[int], all_sizes: Tensor) -> JoinedBatch:
    """Joins the batches of all ranks; every rank calls it at the same time.

    fairseq adds the gradients of all ranks and divides by how many are busy. The loss of the joined batch is the same
    on every busy rank, and each has a gradient for its own rows alone, so the sum is the whole gradient once; it is
    multiplied by the number of busy ranks here, for the division.

    Args:
        z: (W, G, N, d) projections of this rank.
        y: (G, N) classes.
        numbers: (G) which groups of the run they are.
        all_sizes: (R, T), as :func:`sizes_of_all_ranks` gives them.
    """
    T, N, device = all_sizes.shape[1], int(all_sizes.max()), z.device
    place = sent(torch.tensor(numbers), device)
    n = min(N, z.shape[2])  # a batch that stands in may be larger
    real = torch.arange(n, device=device) < sent(all_sizes[own_rank()][numbers], device)[:, None]  # (G, n)
    own = torch.zeros(len(z), T, N, z.shape[3], dtype=z.dtype, device=device)
    own[:, place, :n] = z[:, :, :n] * real[..., None]
    labels = torch.zeros(T, N, dtype=y.dtype, device=device)
    labels[place, :n] = y[:, :n]
    every_z, every_y = from_all_ranks(own), from_all_ranks(labels)
    mine = own + (busy(all_sizes) - 1) * (own - own.detach())  # the same values, and the gradient times so many
    before, behind = every_z[: own_rank()], every_z[own_rank() + 1 :]
    there = all_sizes.sum(0).nonzero().flatten()
    at = sent(there, device)
    joined = torch.cat([before, mine[None], behind]).index_select(2, at)  # (R, W, G, N, d)
    return JoinedBatch(
        joined.permute(1, 2, 0, 3, 4).flatten(2, 3),
        Groups.joined(every_y.index_select(1, at), sent(all_sizes[:, there], device)),
        there.tolist(),
    )
