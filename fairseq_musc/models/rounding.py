"""Parameters of one floating type, computed with in another: all at once, not one kernel for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def in_type(dtype: torch.dtype, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Copies in another floating type, made by one kernel."""
    copies = [torch.empty_like(parameter, dtype=dtype) for parameter in parameters]
    torch._foreach_copy_(copies, list(parameters))
    return copies


class RoundedTogether(torch.autograd.Function):
    """Parameters in another floating type, by one kernel; their gradients come back in their own by another."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *parameters: Tensor) -> tuple[Tensor, ...]:
        """Rounds parameters.

        Args:
            ctx: autograd's.
            dtype: the type to round to.
            parameters: any number of them.
        """
        ctx.dtypes = [parameter.dtype for parameter in parameters]
        return tuple(in_type(dtype, parameters))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """The gradients in the parameters' own type."""
        back = [torch.empty_like(g, dtype=dtype) for g, dtype in zip(gradients, ctx.dtypes, strict=True)]
        torch._foreach_copy_(back, list(gradients))
        return None, *back
