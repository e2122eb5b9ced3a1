"""Answers written by a vLLM server: for open questions, which are dear without continuous batching.

Only written answers are asked of a server, never a prompt's log-probabilities: with LoRA those end vLLM's
engine on the CPU. Likelihoods are computed in this process (``shared_prefix.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from lm_eval.models.utils import normalize_gen_kwargs

from lift_core.errors import LiftError, ServiceUnavailableError

MAX_TOKENS = 256
"""As long an answer as the harness's ``hf`` model writes."""
_SECONDS = 600.0


class ServedAnswers:
    """One model of a server, by its immutable name."""

    def __init__(self, url: str, api_key: str, model: str, at_once: int = 16) -> None:
        self._url = url
        self._model = model
        self._at_once = at_once
        self._client = httpx.Client(
            timeout=_SECONDS,
            headers={"Authorization": f"Bearer {api_key}"},
            limits=httpx.Limits(max_connections=at_once),
        )
        self.on_progress: Callable[[int], None] = lambda answers: None
        """Told how many answers are there, now and then."""

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The greedy answers to the harness's requests, in their order.

        Raises:
            ServiceUnavailableError: the server does not answer.
            LiftError: it refuses a request, or does not know the model.
        """
        answers = []
        with ThreadPoolExecutor(self._at_once) as pool:
            for answer in pool.map(self._write, requests):
                answers.append(answer)
                self.on_progress(len(answers))
        return answers

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Refused, always.

        Raises:
            LiftError: with the reason.
        """
        raise LiftError(
            f"{self._url} is not asked for log-likelihoods: with LoRA they end vLLM's engine on the CPU; "
            "they are computed in the guard's own process"
        )

    def tokens_of(self, context: str, continuation: str) -> int:
        """Refused, as :meth:`loglikelihood`.

        Raises:
            LiftError: with the reason.
        """
        raise LiftError(f"{self._url} scores no answers, so their tokens are not counted")

    def _write(self, request: Any) -> str:
        prompt, asked = request.args
        how = normalize_gen_kwargs(asked, MAX_TOKENS)
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": how["max_gen_toks"],
            "temperature": 0.0,
            "stop": how["until"],
        }
        try:
            response = self._client.post(f"{self._url}/completions", json=body)
        except httpx.HTTPError as error:
            raise ServiceUnavailableError(
                f"the server at {self._url} does not answer ({type(error).__name__}): see `lift status`"
            ) from error
        if response.status_code >= 500 or response.status_code == 429:
            raise ServiceUnavailableError(
                f"the server at {self._url} answers {response.status_code}: {_why(response)}"
            )
        if response.status_code != 200:
            raise LiftError(f"the server at {self._url} refuses '{self._model}': {_why(response)}")
        try:
            return str(response.json()["choices"][0]["text"])
        except (ValueError, LookupError, TypeError) as error:
            raise LiftError(
                f"what answers at {self._url} is no vLLM server: it says '{_why(response)}' to a completion"
            ) from error


def _why(response: httpx.Response) -> str:
    return response.text.strip()[:300] or response.reason_phrase
