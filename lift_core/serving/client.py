"""Clients of the gateway, which answers for names, and of one vLLM server, which a proof asks directly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx
from pydantic import ValidationError

from lift_core.errors import LiftError, NotFoundError, NotServableError, ServiceUnavailableError
from lift_core.serving.gateway.status import GatewayStatus
from lift_core.serving.verification import base_name
from lift_core.settings import Settings

_SECONDS = 300.0
_MAX_TOKENS = 64
_PROMPT_TOKENS = 256
"""Room for the system prompt, the template and a question."""
_STATE_CODE = "adapter_"
Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer, and the seconds until its first token and until its end."""

    text: str
    first_token_s: float
    total_s: float


class _Client:
    """One server that speaks OpenAI's API; ``what`` and ``setting`` are what errors call it."""

    def __init__(self, what: str, url: str, key: str, setting: str) -> None:
        self._what = f"the {what} at {url}"
        self._setting = setting
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/", timeout=_SECONDS, headers={"Authorization": f"Bearer {key}"}
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            raise self._refusal(error.response.status_code, *_message(error.response)) from error
        except httpx.TransportError as error:
            raise ServiceUnavailableError(
                f"{self._what} does not answer ({type(error).__name__}): "
                f"is it up? see `lift status`, or check {self._setting}_URL"
            ) from error

    def _refusal(self, status: int, message: str, code: str) -> LiftError:
        text = f"{self._what} refuses: {message}"
        if status == httpx.codes.UNAUTHORIZED:
            return LiftError(f"{text} (check {self._setting}_API_KEY)")
        if status == httpx.codes.FORBIDDEN and code.startswith(_STATE_CODE):
            return NotServableError(text, code.removeprefix(_STATE_CODE))
        if status == httpx.codes.NOT_FOUND:
            return NotFoundError(text)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return ServiceUnavailableError(text)
        return LiftError(text)


class GatewayClient(_Client):
    """The gateway that ``LIFT_GATEWAY_URL`` names. Threads may share it.

    Raises:
        ServiceUnavailableError: no gateway is named.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.gateway_url:
            raise ServiceUnavailableError("no gateway is named: run `lift up`, or set LIFT_GATEWAY_URL")
        # The gateway's own setting may hold several; each of them lets in.
        key = settings.gateway_api_key.get_secret_value().split(",")[0].strip()
        super().__init__("gateway", settings.gateway_url, key, "LIFT_GATEWAY")

    def ask(
        self,
        model: str,
        messages: Messages,
        max_tokens: int = _MAX_TOKENS,
        on_token: Callable[[str], None] | None = None,
    ) -> Answer:
        """The greedy answer of an adapter or a base model, streamed, so that its first token can be timed.

        ``on_token`` gets each piece of text as it comes. The messages are sent as they are: without a system
        message among them, the gateway adds the adapter's own.

        Raises:
            NotFoundError: nothing of that name can be asked.
            NotServableError: the adapter's state does not let it answer.
            ServiceUnavailableError: the gateway, the registry or the serving engines are away.
            LiftError: the gateway refuses for another reason.
        """
        body = {
            "model": model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "stream": True,
        }
        started = time.monotonic()
        first: float | None = None
        parts: list[str] = []
        with self._errors(), self._http.stream("POST", "chat/completions", json=body) as reply:
            if reply.is_error:
                reply.read()
                reply.raise_for_status()
            for piece in self._pieces(reply):
                first = first or time.monotonic()
                parts.append(piece)
                if on_token is not None:
                    on_token(piece)
        ended = time.monotonic()
        return Answer("".join(parts).strip(), (first or ended) - started, ended - started)

    def context_tokens(self, base_model: str) -> int:
        """Tokens of context that may be filled with text: what the engine reads, less room for the rest.

        Raises:
            ServiceUnavailableError: the gateway is away.
            LiftError: the engine does not say how much it reads.
        """
        with self._errors():
            card = self._http.get(f"models/{base_model}").raise_for_status().json()
        tokens = card.get("max_model_len")
        if not isinstance(tokens, int):
            raise LiftError(f"{self._what} does not say how many tokens '{base_model}' reads")
        return tokens - _MAX_TOKENS - _PROMPT_TOKENS

    def status(self) -> GatewayStatus:
        """What the serving engines behind the gateway hold, and how often that helped.

        Raises:
            ServiceUnavailableError: the gateway is away.
            LiftError: it does not let us in, or it is of another version.
        """
        with self._errors():
            content = self._http.get("lift/status").raise_for_status().content
        try:
            return GatewayStatus.model_validate_json(content)
        except ValidationError as error:
            raise LiftError(
                f"{self._what} answers in a form that this version does not know: "
                "start it anew with the same version of LIFT"
            ) from error

    def _pieces(self, reply: httpx.Response) -> Iterator[str]:
        """The answer's text, piece by piece, to its end."""
        for line in reply.iter_lines():
            if line == "data: [DONE]":
                return
            if not line.startswith("data:"):
                continue
            event = json.loads(line.removeprefix("data:"))
            if error := event.get("error"):
                raise ServiceUnavailableError(f"{self._what} broke off: {error.get('message', error)}")
            choices = event.get("choices") or [{}]
            if piece := (choices[0].get("delta") or {}).get("content"):
                yield str(piece)
        raise ServiceUnavailableError(f"{self._what} broke off before the answer's end: ask again")


class ReplicaClient(_Client):
    """One vLLM server with LIFT's plugin, asked by immutable names and without the gateway's judgement.

    For the proof alone: the gateway refuses a candidate on purpose. ``url`` ends in ``/v1``.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        super().__init__("serving engine", url, settings.serving_api_key.get_secret_value(), "LIFT_SERVING")

    @classmethod
    def for_base_model(cls, settings: Settings, base_model: str) -> Self:
        """A server that has that base model: the first one in ``LIFT_SERVING_URL`` that answers.

        Raises:
            ServiceUnavailableError: no server is named, or none that answers has it while others are away.
            LiftError: none has it, or one does not let us in.
        """
        if not settings.serving_replicas:
            raise ServiceUnavailableError(
                "no serving engine is named: run `lift up`, or set LIFT_SERVING_URL"
            )
        away: ServiceUnavailableError | None = None
        for url in settings.serving_replicas:
            client = cls(url, settings)
            try:
                if base_name(base_model) in map(base_name, client.base_models()):
                    return client
            except ServiceUnavailableError as error:
                away = error
        if away is not None:
            raise away
        raise LiftError(
            f"no serving engine has base model '{base_model}': start vLLM with it, and name it in "
            "LIFT_SERVING_URL"
        )

    def base_models(self) -> list[str]:
        """Folders or names that the server's base models were loaded from.

        Raises:
            ServiceUnavailableError: it is away.
        """
        with self._errors():
            models: Any = self._http.get("models").raise_for_status().json()["data"]
        return [each.get("root") or each["id"] for each in models if each.get("parent") is None]

    def differs_from_base(self, adapter: str, base_model: str, messages: Messages) -> bool:
        """Whether the server gives other first-token probabilities under the adapter's name.

        The server's resolver fetches the adapter first, if it does not hold it. Only generated tokens are
        asked for: log-probabilities of the prompt end vLLM's CPU engine when LoRA is on.

        Raises:
            NotFoundError: the server's resolver refuses the adapter; an event of the adapter says why.
            LiftError: the server cannot load it.
            ServiceUnavailableError: the server is away.
        """
        return self._first_token(adapter, messages) != self._first_token(base_model, messages)

    def unload(self, name: str) -> None:
        """Let the server forget an adapter; nothing happens where it does not hold it.

        Raises:
            ServiceUnavailableError: the server is away.
        """
        with self._errors():
            reply = self._http.post("unload_lora_adapter", json={"lora_name": name})
            if reply.status_code != httpx.codes.NOT_FOUND:
                reply.raise_for_status()

    def _first_token(self, model: str, messages: Messages) -> dict[str, float]:
        body = {
            "model": model,
            "messages": list(messages),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": 5,
        }
        with self._errors():
            reply: Any = self._http.post("chat/completions", json=body).raise_for_status().json()
        top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {entry["token"]: round(entry["logprob"], 3) for entry in top}


def _message(reply: httpx.Response) -> tuple[str, str]:
    """What a server says of an error, and its code; the first of the body where it says it otherwise."""
    try:
        error = reply.json()["error"]
        return str(error["message"]), str(error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{reply.status_code} {reply.text[:300]}", ""
