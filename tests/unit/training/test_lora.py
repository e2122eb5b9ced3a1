"""The fused LoRA layer computes what PEFT's does, forward and backward."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lift_core.training.lora import fuse


class Layers(torch.nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first = torch.nn.Linear(24, 40, bias=bias)
        self.second = torch.nn.Linear(40, 16, bias=bias)

    def forward(self, x):
        return self.second(torch.nn.functional.silu(self.first(x)))


def make(bias: bool = True, **more):
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=["first", "second"], **{"lora_dropout": 0.0} | more
    )
    model = get_peft_model(Layers(bias), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24)])
def test_output_and_every_gradient_are_pefts(bias, shape):
    plain, fused = make(bias).double(), make(bias).double()
    assert fuse(fused) == 2
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [model(given) for model, given in zip((plain, fused), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    wanted = {name: p.grad for name, p in plain.named_parameters() if p.requires_grad}
    found = {name: p.grad for name, p in fused.named_parameters() if p.requires_grad}
    assert found.keys() == wanted.keys() and len(wanted) == 4
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_low_precision_rounds_the_product_and_keeps_the_gradient_in_full():
    model = make().to(torch.bfloat16)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    fuse(model)
    output = model(torch.randn(3, 24, dtype=torch.bfloat16))
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert {p.grad.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("more", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_it_does_not_compute_is_refused(more):
    with pytest.raises(ValueError, match="cannot be fused"):
        fuse(make(**more))
