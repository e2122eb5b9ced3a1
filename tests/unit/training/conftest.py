"""The plain way of computing what the trainer computes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from lift_core.prompting import messages


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
