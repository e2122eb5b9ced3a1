"""Products with frozen matrices, in the precision in which the processor multiplies fastest.

Some processors multiply bf16 several times as fast as float32, others take twice as long over it
(:func:`lift_core.processor.multiplies_bf16`). There a matrix is kept in bf16 and widened while it is used,
some rows at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lift_core.processor import multiplies_bf16

SLAB = 2**22
"""Numbers of a matrix that are widened at once."""


def fastest(x: Tensor) -> torch.dtype:
    """The precision in which to multiply ``x``: its own, or float32 where bf16 is slower."""
    slow = x.dtype == torch.bfloat16 and x.device.type == "cpu" and not multiplies_bf16()
    return torch.float32 if slow else x.dtype


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W' + bias`` in x's precision, (n, out); x: (n, in), ``weight``: (out, in).

    The weight has x's precision, or x is float32. So it is with :func:`multiply_back`.
    """
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    out = x.new_empty(x.shape[0], weight.shape[0])
    for rows in _slabs(weight):
        torch.mm(x, _widened(weight[rows]).t(), out=out[:, rows])
    return out if bias is None else out.add_(bias)


def multiply_back(gradient: Tensor, weight: Tensor) -> Tensor:
    """``gradient W`` in the gradient's precision, (n, in): what :func:`multiply` gives back to x."""
    if weight.dtype == gradient.dtype:
        return gradient @ weight
    found = gradient.new_empty(gradient.shape[0], weight.shape[1])
    for rows in _slabs(weight):
        # With beta 0 what lies in the new tensor is not read.
        found.addmm_(gradient[:, rows], _widened(weight[rows]), beta=min(rows.start, 1))
    return found


def _slabs(weight: Tensor) -> Iterator[slice]:
    height = max(1, SLAB // weight.shape[1])
    return (slice(start, start + height) for start in range(0, weight.shape[0], height))


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.numbers = torch.empty(0)


_scratch = _Scratch()


def _widened(part: Tensor) -> Tensor:
    """``part`` in float32, in memory that the thread's next call takes again: an allocation for each matrix
    scatters what is kept between them over more memory than it fills."""
    if _scratch.numbers.numel() < part.numel():
        _scratch.numbers = torch.empty(part.numel())
    return _scratch.numbers[: part.numel()].view(part.shape).copy_(part)


class _Frozen(torch.autograd.Function):
    """``x W' + bias`` where only x learns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        flat = x.reshape(-1, x.shape[-1]).to(fastest(x))
        return multiply(flat, weight, bias).to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        gradient = gradients[0]
        flat = gradient.reshape(-1, gradient.shape[-1]).to(fastest(gradient))
        x_gradient = multiply_back(flat, weight).to(gradient.dtype)
        return x_gradient.view(*gradient.shape[:-1], -1), None, None


def use_fastest(model: torch.nn.Module) -> None:
    """Let a model's frozen linear layers multiply in the fastest precision; weights stay as they are."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and fastest(module.weight) != module.weight.dtype:
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def _forward(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    out: Tensor = _Frozen.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return out
