"""Completions from any OpenAI-compatible server: many at once, and with patience for its absences."""

from __future__ import annotations

import asyncio
import json
import random
import time
from email.utils import parsedate_to_datetime
from typing import Any

from openai import APIConnectionError, APIStatusError, AsyncOpenAI

from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import GenerationCost
from lift_core.synthesis.prompts import Prompt
from lift_core.synthesis.slots import Slots

_PATIENCE_SECONDS = 300.0
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 15.0
_REQUEST_SECONDS = 300.0
_WORTH_RETRYING = frozenset({408, 409, 425, 429})
"""Besides 5xx: time-outs, lock conflicts and rate limits, as the OpenAI client has it, and Too Early."""


class ModelClient:
    """One model of one server, asked by many tasks; at most ``concurrency`` requests are under way.

    ``url`` ends in ``/v1``. Errors refer to the settings ``<setting>_URL`` and ``<setting>_API_KEY``.

    Raises:
        ServiceUnavailableError: no server is named.
    """

    def __init__(
        self, url: str, api_key: str, model: str, *, concurrency: int, setting: str = "LIFT_GENERATOR"
    ) -> None:
        if not url:
            raise ServiceUnavailableError(
                f"no server is named for model '{model}': run `lift up`, or set {setting}_URL"
            )
        self._url = url
        self._model = model
        self._setting = setting
        self._client = AsyncOpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=_REQUEST_SECONDS)
        self._slots = Slots(concurrency)
        self._under_way = 0
        self._began: float | None = None
        self._heard_at = 0.0
        self._cost = GenerationCost()

    @property
    def cost(self) -> GenerationCost:
        """What was answered so far; ``seconds`` run from the first request to the last answer.

        Cached tokens are those that the server reports: vLLM does with ``--enable-prompt-tokens-details``.
        """
        return self._cost

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def complete(
        self,
        prompt: Prompt,
        *,
        temperature: float,
        top_p: float = 1.0,
        n: int = 1,
        max_tokens: int,
        seed: int,
        order: int = 0,
    ) -> list[str]:
        """``n`` completions of a prompt; a server that gives fewer at a time is asked several times.

        Where all slots are taken, requests of a lower ``order`` go first.

        A failure that may pass is tried again, after waits that double and are partly random, or after what
        the server asks for. A request keeps its slot meanwhile: an overloaded server gets less to do.

        Raises:
            ServiceUnavailableError: the server has answered none of the client's requests for minutes.
            RecipeError: it refuses: no such model, a bad key, a prompt too long.
        """
        body: dict[str, Any] = {
            "model": self._model,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
        }
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if prompt.json_schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": prompt.json_schema},
            }
        async with self._slots.held(order):
            if not self._under_way:
                # Nobody was asking, so the silence until now says nothing.
                self._heard_at = time.monotonic()
            self._under_way += 1
            try:
                texts: list[str] = []
                while len(texts) < n:
                    more = {"n": n - len(texts), "seed": seed + len(texts)}
                    texts += await self._patiently(prompt, body | more)
                return texts
            finally:
                self._under_way -= 1

    async def _patiently(self, prompt: Prompt, body: dict[str, Any]) -> list[str]:
        wait = _FIRST_WAIT_SECONDS
        self._began = time.monotonic() if self._began is None else self._began
        while True:
            asked_for = 0.0
            try:
                return self._answered(await self._send(prompt, body))
            except APIStatusError as error:
                if error.status_code < 500 and error.status_code not in _WORTH_RETRYING:
                    raise self._refusal(error) from error
                cause: Exception = error
                asked_for = _retry_after(error)
            except (APIConnectionError, _NoCompletionError) as error:
                cause = error
            # Some of it is random, lest requests that failed together come back together.
            pause = max(asked_for, wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            if time.monotonic() + pause > self._heard_at + _PATIENCE_SECONDS:
                raise self._away(cause, asked_for) from cause
            await asyncio.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    async def _send(self, prompt: Prompt, body: dict[str, Any]) -> Any:
        try:
            if prompt.messages:
                messages: Any = prompt.messages
                return await self._client.chat.completions.create(messages=messages, **body)
            return await self._client.completions.create(prompt=prompt.text, **body)
        except json.JSONDecodeError as error:
            raise _NoCompletionError("its answer is broken JSON") from error

    def _answered(self, reply: Any) -> list[str]:
        choices = getattr(reply, "choices", None)
        if not choices:
            # A proxy's page, or an error in the body, under status 200.
            raise _NoCompletionError("its answer holds no completion")
        self._heard_at = time.monotonic()
        usage = reply.usage
        details = getattr(usage, "prompt_tokens_details", None)
        cost = self._cost
        self._cost = GenerationCost(
            requests=cost.requests + 1,
            prompt_tokens=cost.prompt_tokens + (usage.prompt_tokens if usage else 0),
            cached_tokens=cost.cached_tokens + (getattr(details, "cached_tokens", None) or 0),
            completion_tokens=cost.completion_tokens + (usage.completion_tokens if usage else 0),
            seconds=self._heard_at - (self._began or self._heard_at),
        )
        return [(each.message.content if hasattr(each, "message") else each.text) or "" for each in choices]

    def _refusal(self, error: APIStatusError) -> RecipeError:
        remedies = {
            401: f"check {self._setting}_API_KEY",
            403: f"check what the key in {self._setting}_API_KEY may use",
            404: f"let the recipe name a model that {self._url}/models lists, or check {self._setting}_URL",
        }
        remedy = remedies.get(error.status_code, "the recipe may ask for too much: context_words, max_tokens")
        return RecipeError(
            f"{self._url} refuses model '{self._model}' with {error.status_code}: {error.message}; {remedy}"
        )

    def _away(self, cause: Exception, asked_for: float) -> ServiceUnavailableError:
        asks = f"; it asks to wait {asked_for:.0f} s" if asked_for else ""
        return ServiceUnavailableError(
            f"the server of model '{self._model}' at {self._url} has answered nothing for "
            f"{time.monotonic() - self._heard_at:.0f} s (last: {cause}{asks}): see `lift status`, "
            f"or check {self._setting}_URL"
        )


class _NoCompletionError(Exception):
    """The server answers, but not with a completion."""


def _retry_after(error: APIStatusError) -> float:
    """Seconds that the server asks to wait, a number or a date (RFC 9110, 10.2.3); 0 where it does not."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
