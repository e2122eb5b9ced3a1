"""The serving engine's client: load an adapter by its immutable name, ask, compare with the base."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from lift_core.errors import LiftError, NotFoundError, ServiceUnavailableError
from lift_core.records import AdapterRecord
from lift_core.serving.cache import AdapterCache, FileStore
from lift_core.settings import Settings

_SECONDS = 300.0
_MAX_TOKENS = 64
Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer, and the seconds until its first token and until its end."""

    text: str
    first_token_s: float
    total_s: float


class ServingClient:
    """One vLLM server with runtime LoRA loading."""

    def __init__(self, settings: Settings) -> None:
        if not settings.serving_url:
            raise ServiceUnavailableError(
                "no serving engine is named: run `lift up`, or set LIFT_SERVING_URL"
            )
        self._url = settings.serving_url.rstrip("/")
        self._cache = AdapterCache(settings.adapter_cache, settings.adapters_bucket)
        key = settings.serving_api_key.get_secret_value()
        self._http = httpx.Client(
            base_url=f"{self._url}/", timeout=_SECONDS, headers={"Authorization": f"Bearer {key}"}
        )

    def loaded(self) -> set[str]:
        """Names that the server answers to."""
        with self._errors():
            body = self._http.get("models").raise_for_status().json()
        return {model["id"] for model in body["data"]}

    def ensure_loaded(self, adapter: AdapterRecord, store: FileStore) -> None:
        """Load an adapter if the server does not hold it; its files are verified first."""
        if adapter.name in self.loaded():
            return
        folder = self._cache.fetch(adapter, store)
        with self._errors():
            reply = self._http.post(
                "load_lora_adapter", json={"lora_name": adapter.name, "lora_path": str(folder)}
            )
            if reply.status_code == httpx.codes.BAD_REQUEST and "already" in reply.text:
                return
            reply.raise_for_status()

    def unload(self, name: str) -> None:
        """Let the server forget an adapter; nothing happens where it does not hold it."""
        if name in self.loaded():
            with self._errors():
                self._http.post("unload_lora_adapter", json={"lora_name": name}).raise_for_status()

    def ask(self, model: str, messages: Messages, max_tokens: int = _MAX_TOKENS) -> Answer:
        """The model's greedy answer, streamed, so that the first token can be timed."""
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
            for line in reply.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
                if piece := (choices[0].get("delta") or {}).get("content"):
                    first = first or time.monotonic()
                    parts.append(piece)
        ended = time.monotonic()
        return Answer("".join(parts).strip(), (first or ended) - started, ended - started)

    def differs_from_base(self, adapter: str, base_model: str, messages: Messages) -> bool:
        """Whether the server gives other first-token probabilities under the adapter's name.

        Only generated tokens are asked for: log-probabilities of the prompt end vLLM's CPU engine
        when LoRA is on.
        """
        return self._first_token(adapter, messages) != self._first_token(base_model, messages)

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

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            reply = error.response
            message = f"the serving engine at {self._url} refuses: {reply.status_code} {reply.text[:300]}"
            if reply.status_code == httpx.codes.NOT_FOUND:
                raise NotFoundError(message) from error
            if reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise ServiceUnavailableError(message) from error
            raise LiftError(message) from error
        except httpx.TransportError as error:
            raise ServiceUnavailableError(
                f"the serving engine at {self._url} does not answer ({type(error).__name__}): "
                "is it up? see `lift status`, or check LIFT_SERVING_URL"
            ) from error
