"""Models to train, and the plain way of computing what the trainer computes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from lift_core.prompting import messages


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random-weights Llama with a real chat template."""
    from lift_core.training.tiny_model import make_tiny_model

    folder = tmp_path_factory.mktemp("model") / "tiny-random"
    make_tiny_model(folder)
    return folder


class Plain:
    """Each pair a sequence of its own, through transformers' own attention and PEFT's own layers."""

    @staticmethod
    def model(folder, **changes):
        """The base model in float32; ``changes`` are to its configuration."""
        return AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, attn_implementation="eager", **changes
        )

    @staticmethod
    def logits(model, tokenizer, training, title, pairs):
        """Logits (m, vocabulary) that predict the m tokens of all answers, and those tokens."""
        logits, answers = [], []
        for pair in pairs:
            text = tokenizer.apply_chat_template(
                messages(training, title, pair.question), add_generation_prompt=True, tokenize=False
            )
            prompt = tokenizer.encode(text, add_special_tokens=False)
            answer = [*tokenizer.encode(pair.answer, add_special_tokens=False), tokenizer.eos_token_id]
            ids = torch.tensor([[*prompt, *answer]])
            logits.append(model(input_ids=ids).logits[0, len(prompt) - 1 : -1])
            answers.append(torch.tensor(answer))
        return torch.cat(logits), torch.cat(answers)

    @classmethod
    def loss(cls, folder, adapters, name, training, title, pairs):
        """Mean loss, and its gradients by name, with the weights of the trainer's adapter ``name``."""
        model = get_peft_model(cls.model(folder), copy.deepcopy(adapters.model.peft_config[name]))
        wanted = adapters.parameters(name)
        own = {key.replace(".default.", "."): p for key, p in model.named_parameters() if p.requires_grad}
        assert own.keys() == wanted.keys()
        for key, parameter in own.items():
            parameter.data = wanted[key].detach().clone()
        loss = F.cross_entropy(*cls.logits(model, adapters.backbone.tokenizer, training, title, pairs))
        loss.backward()
        return loss.item(), {key: parameter.grad for key, parameter in own.items()}


@pytest.fixture
def plain():
    """The plain way."""
    return Plain


@pytest.fixture
def shake():
    """Give adapters weights in which nothing is zero."""

    def run(adapters, *names):
        torch.manual_seed(1)
        for name in names:
            for parameter in adapters.parameters(name).values():
                # B starts at zero, and with it A's gradient would be zero too.
                parameter.data = torch.randn_like(parameter) * 0.05

    return run


@pytest.fixture
def gradients():
    """The gradients that an adapter of the trainer's has, by name."""

    def run(adapters, name):
        return {key: p.grad.clone() for key, p in adapters.parameters(name).items() if p.grad is not None}

    return run


@pytest.fixture
def assert_same():
    """Two sets of gradients are equal within float32's rounding, and none is zero."""

    def run(found, wanted):
        assert found.keys() == wanted.keys() and wanted
        for name, gradient in wanted.items():
            assert gradient.abs().max() > 0, name
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)

    return run
