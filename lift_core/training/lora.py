"""A linear layer with LoRA as one operation.

PEFT computes ``base(x) + B(A(x)) * scaling`` as separate modules: for a small model most of a step is
then spent on starting operations and on copies between precisions. Here forward and backward are eight
matrix products and nothing else; what they compute is the same (the unit tests show it).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _LoraLinear(torch.autograd.Function):
    """``x W' + bias + scaling (x A') B'`` with W frozen.

    x: (…, in), W: (out, in), A: (rank, in), B: (out, rank); W in x's precision, A and B in any: they
    are rounded to x's precision, and their gradients come back in their own.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low_a, low_b = a.to(x.dtype), b.to(x.dtype)
        inner = flat @ low_a.t()
        out = F.linear(flat, weight, bias)
        out.addmm_(inner, low_b.t(), alpha=scaling)
        ctx.save_for_backward(flat, inner, weight, low_a, low_b)
        ctx.scaling, ctx.shape, ctx.dtypes = scaling, x.shape, (a.dtype, b.dtype)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, low_a, low_b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])
        inner_gradient = (gradient @ low_b).mul_(ctx.scaling)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = gradient @ weight
            x_gradient.addmm_(inner_gradient, low_a)
            x_gradient = x_gradient.view(ctx.shape)
        a_gradient = (inner_gradient.t() @ flat).to(ctx.dtypes[0])
        b_gradient = (gradient.t() @ inner).to(ctx.dtypes[1]).mul_(ctx.scaling)
        return x_gradient, None, None, a_gradient, b_gradient, None


def fuse(model: Any) -> int:
    """Let every LoRA linear layer of a PEFT model compute itself as one operation.

    The parameters and their names stay PEFT's. Returns how many layers there are.

    Raises:
        ValueError: a layer has dropout or DoRA, which this does not compute.
    """
    from peft.tuners.lora import Linear

    count = 0
    for module in model.modules():
        if not isinstance(module, Linear):
            continue
        if module.use_dora.get("default") or not isinstance(
            module.lora_dropout["default"], torch.nn.Identity
        ):
            raise ValueError("a LoRA layer with dropout or DoRA cannot be fused")
        module.forward = partial(
            _apply,
            module.base_layer,
            module.lora_A["default"],
            module.lora_B["default"],
            module.scaling["default"],
        )
        count += 1
    return count


def _apply(base: Any, a: Any, b: Any, scaling: float, x: Tensor) -> Tensor:
    out: Tensor = _LoraLinear.apply(x, base.weight, base.bias, a.weight, b.weight, scaling)  # type: ignore[no-untyped-call]
    return out
