"""Pairs and raw text as token ids, the common beginning apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from lift_core.prompting import messages
from lift_core.records import QAPair, TrainingRecipe


@dataclass(frozen=True)
class Example:
    """Token ids of what follows a common prefix: the rest of the prompt, and the answer that is learned."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens this example adds to a pack."""
        return len(self.prompt) + len(self.answer)


class Encoder:
    """Turns pairs into examples with the tokenizer's chat template."""

    def __init__(self, tokenizer: Any, recipe: TrainingRecipe, title: str) -> None:
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._title = title
        self._end = tokenizer.eos_token_id
        probes = [self._prompt(question) for question in ("a?", "Z 1")]
        same = itertools.takewhile(lambda both: both[0] == both[1], zip(*probes, strict=False))
        self.prefix: tuple[int, ...] = tuple(token for token, _ in same)

    def encode(self, pair: QAPair) -> Example:
        """The pair's tokens after the common prefix; the answer ends with the end-of-turn token."""
        prompt = self._prompt(pair.question)
        shared = len(self.prefix)
        if tuple(prompt[:shared]) != self.prefix:
            raise ValueError(f"the chat template gives no common prefix for {pair.question!r}")
        answer = self._tokenizer.encode(pair.answer, add_special_tokens=False)
        return Example(tuple(prompt[shared:]), (*answer, self._end))

    def windows(self, text: str) -> list[Example]:
        """The document's own text in windows of ``raw_text_tokens``, each behind the tokenizer's
        beginning-of-text token, where it puts one (Llama 3's and Gemma's do; Gemma knows no text without);
        otherwise each is learned whole but for its first token. They stand behind no prefix."""
        begin = tuple(self._tokenizer.encode(""))
        size = self._recipe.raw_text_tokens - len(begin)
        tokens = self._tokenizer.encode(text, add_special_tokens=False)
        cut = [tuple(tokens[first : first + size]) for first in range(0, len(tokens), size)]
        if begin:
            return [Example(begin, window) for window in cut]
        return [Example(window[:1], window[1:]) for window in cut if len(window) > 1]

    def _prompt(self, question: str) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            messages(self._recipe, self._title, question), add_generation_prompt=True, tokenize=False
        )
        return list(self._tokenizer.encode(text, add_special_tokens=False))
