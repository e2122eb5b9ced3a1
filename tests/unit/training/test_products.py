"""Products with frozen matrices are the same in whichever precision the processor is fast."""

import pytest
import torch
import torch.nn.functional as F

from lift_core.training import products


@pytest.fixture(params=[True, False], ids=["fast bf16", "slow bf16"])
def processor(request, monkeypatch):
    """One that multiplies bf16 fast, and one that does not."""
    monkeypatch.setattr(products, "multiplies_bf16", lambda: request.param)
    # Smaller than the matrices here, and no divisor of their heights.
    monkeypatch.setattr(products, "SLAB", 7 * 24)
    return request.param


def layer(bias, dtype):
    torch.manual_seed(0)
    return torch.nn.Linear(24, 40, bias=bias).requires_grad_(False).to(dtype)


def output_and_gradient(linear, x):
    x = x.clone().requires_grad_()
    out = linear(x)
    out.float().square().sum().backward()
    return out.detach(), x.grad


@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_layer_gives_what_it_gave_before(processor, bias):
    linear = layer(bias, torch.bfloat16)
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    wide = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    wide.load_state_dict(linear.state_dict())
    wanted = output_and_gradient(wide, x.float())
    products.use_fastest(linear)
    found = output_and_gradient(linear, x)
    for each, exact in zip(found, wanted, strict=True):
        assert each.dtype == torch.bfloat16 and each.shape == exact.shape
        torch.testing.assert_close(each.float(), exact, rtol=0.02, atol=0.05)
    assert linear.weight.dtype == torch.bfloat16


def test_bf16_is_widened_only_where_it_is_slow(processor):
    x = torch.zeros(1, dtype=torch.bfloat16)
    assert products.fastest(x) == (torch.bfloat16 if processor else torch.float32)
    assert products.fastest(x.float()) == torch.float32
    assert products.fastest(x.double()) == torch.float64


@pytest.mark.parametrize("bias", [True, False])
def test_a_widened_matrix_is_multiplied_whole(processor, bias):
    linear = layer(bias, torch.bfloat16)
    weight, offset = linear.weight.float(), linear.bias.float() if bias else None
    x, gradient = torch.randn(5, 24), torch.randn(5, 40)
    torch.testing.assert_close(products.multiply(x, linear.weight, linear.bias), F.linear(x, weight, offset))
    torch.testing.assert_close(products.multiply_back(gradient, linear.weight), gradient @ weight)
