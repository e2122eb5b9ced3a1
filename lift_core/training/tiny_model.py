"""Random-weights models of a few kilobytes, for tests and for measuring everything but the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "max_position_embeddings": 4096,
}
# Scores of attention are near zero in a small model with the usual weights: caps would bend nothing.
_GROUPED: dict[str, Any] = {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}


@dataclass(frozen=True)
class _Family:
    """An architecture as transformers names it, its configuration, and how it chats."""

    model_type: str
    config: dict[str, Any]
    template: str
    special: tuple[str, ...]
    end: str
    begin: str | None = None


_FAMILIES = {
    "llama": _Family(
        "llama",
        {"num_attention_heads": 2, "num_key_value_heads": 2},
        _CHATML,
        ("<|im_start|>", "<|im_end|>"),
        end="<|im_end|>",
    ),
    "llama3": _Family(
        "llama",
        _GROUPED
        | {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        _LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        end="<|eot_id|>",
        begin="<|begin_of_text|>",
    ),
    "gemma2": _Family(
        "gemma2",
        _GROUPED
        | {
            "head_dim": 32,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "sliding_window": 24,
        },
        _GEMMA,
        ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        end="<eos>",
        begin="<bos>",
    ),
    "qwen3": _Family(
        "qwen3", _GROUPED | {"head_dim": 32}, _CHATML, ("<|im_start|>", "<|im_end|>"), end="<|im_end|>"
    ),
    "smollm2": _Family(
        "llama",
        _GROUPED
        | {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}},
        _CHATML,
        ("<|im_start|>", "<|im_end|>"),
        end="<|im_end|>",
    ),
}
ARCHITECTURES = tuple(_FAMILIES)
"""``llama`` is the plainest; the others have what sets their family apart, and its form of a chat."""


def make_tiny_model(folder: Path, seed: int = 0, architecture: str = "llama") -> None:
    """Write a model of two layers with a byte tokenizer and a chat template, as a loadable folder.

    ``architecture`` is one of :data:`ARCHITECTURES`.

    Raises:
        KeyError: it is not.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    family = _FAMILIES[architecture]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*family.special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    begin = {} if family.begin is None else {"bos_token": family.begin}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=family.end,
        pad_token=family.end,
        additional_special_tokens=list(family.special),
        **begin,
    )
    fast.chat_template = family.template
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family.model_type,
        vocab_size=len(vocabulary),
        bos_token_id=fast.eos_token_id if family.begin is None else fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.eos_token_id,
        **_SMALL,
        **family.config,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
    fast.save_pretrained(str(folder))
