"""A linear layer with LoRA as one operation, for one adapter or for several in one pass.

PEFT computes ``base(x) + B(A(x)) * scaling`` as separate modules: for a small model most of a step is
then spent on starting operations and on copies between precisions. Here forward and backward are eight
matrix products and nothing else; what they compute is the same (the unit tests show it). Where a pack holds
tokens of several adapters, the base's product is one for all of them, and each adapter's small ones are over
its own tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lift_core.training.products import fastest, multiply, multiply_back


@dataclass(frozen=True)
class Span:
    """The tokens from ``start`` to before ``stop`` of a pack go through this adapter."""

    adapter: str
    start: int
    stop: int


@dataclass
class Routing:
    """Which tokens go through which adapter in the next forward pass; empty: all through the only one."""

    spans: Sequence[Span] = field(default_factory=tuple)


class _LoraLinear(torch.autograd.Function):
    """``x W' + bias + scaling (x A') B'`` with W frozen, and A and B those of each token's adapter.

    x: (…, in), W: (out, in), then for each span A: (rank, in), B: (out, rank); W in x's precision, A and B
    in any: they are rounded to the one that is multiplied in, and their gradients come back in their own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scaling: float,
        places: Sequence[slice],
        *matrices: Tensor,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        wide = flat.to(fastest(x))
        out = multiply(wide, weight, bias)
        rounded = [matrix.to(wide.dtype) for matrix in matrices]
        inner = []
        for place, a, b in zip(places, rounded[::2], rounded[1::2], strict=True):
            inner.append((wide[place] @ a.t()).mul_(scaling))
            out[place].addmm_(inner[-1], b.t())
        ctx.save_for_backward(flat, weight, *inner, *rounded)
        ctx.scaling, ctx.places, ctx.shape = scaling, places, x.shape
        ctx.dtypes = [matrix.dtype for matrix in matrices]
        return out.to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, *saved = ctx.saved_tensors
        inner, rounded = saved[: len(ctx.places)], saved[len(ctx.places) :]
        wide = flat.to(fastest(flat))
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1]).to(wide.dtype)
        x_gradient = multiply_back(gradient, weight) if ctx.needs_input_grad[0] else None
        found: list[Tensor] = []
        for number, place in enumerate(ctx.places):
            a, b = rounded[2 * number], rounded[2 * number + 1]
            own = gradient[place]
            inner_gradient = (own @ b).mul_(ctx.scaling)
            if x_gradient is not None:
                x_gradient[place].addmm_(inner_gradient, a)
            found.append((inner_gradient.t() @ wide[place]).to(ctx.dtypes[2 * number]))
            found.append((own.t() @ inner[number]).to(ctx.dtypes[2 * number + 1]))
        if x_gradient is not None:
            x_gradient = x_gradient.to(flat.dtype).view(ctx.shape)
        return x_gradient, None, None, None, None, *found


def fuse(model: Any, routing: Routing | None = None) -> int:
    """Let every LoRA linear layer of a PEFT model compute itself as one operation.

    The parameters and their names stay PEFT's. ``routing`` says, before each forward pass, which tokens go
    through which adapter; without it all go through the model's only one. Returns how many layers there are.

    Raises:
        ValueError: a layer has dropout or DoRA, which this does not compute.
    """
    from peft.tuners.lora import Linear

    routing = routing or Routing()
    count = 0
    for module in model.modules():
        if not isinstance(module, Linear):
            continue
        dropouts = module.lora_dropout.values()
        if any(module.use_dora.values()) or not all(isinstance(each, torch.nn.Identity) for each in dropouts):
            raise ValueError("a LoRA layer with dropout or DoRA cannot be fused")
        module.forward = partial(_apply, module, routing)
        count += 1
    return count


def _apply(layer: Any, routing: Routing, x: Tensor) -> Tensor:
    adapters = list(layer.lora_A)
    spans = routing.spans or [Span(adapters[0], 0, x.numel() // x.shape[-1])]
    matrices: list[Tensor] = []
    for span in spans:
        matrices += (layer.lora_A[span.adapter].weight, layer.lora_B[span.adapter].weight)
    places = [slice(span.start, span.stop) for span in spans]
    base = layer.base_layer
    scaling = layer.scaling[spans[0].adapter]
    out: Tensor = _LoraLinear.apply(x, base.weight, base.bias, scaling, places, *matrices)  # type: ignore[no-untyped-call]
    return out
