"""Completions from any OpenAI-compatible server, with patience for one that is away for a while."""

from __future__ import annotations

import asyncio
import time

from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
)

from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import GeneratorRecipe
from lift_core.settings import Settings

_PATIENCE_SECONDS = 300.0
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 15.0
_REQUEST_SECONDS = 300.0


class GeneratorClient:
    """Asks one model for completions of a prompt."""

    def __init__(self, settings: Settings, recipe: GeneratorRecipe) -> None:
        if not settings.generator_url:
            raise ServiceUnavailableError("no generator is named: run `lift up`, or set LIFT_GENERATOR_URL")
        self._url = settings.generator_url
        self._recipe = recipe
        self._client = AsyncOpenAI(
            base_url=self._url,
            api_key=settings.generator_api_key.get_secret_value(),
            max_retries=0,
            timeout=_REQUEST_SECONDS,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def completions(self, prompt: str, seed: int) -> list[str]:
        """The recipe's greedy and sampled completions of a prompt.

        Raises:
            ServiceUnavailableError: the server stayed away for minutes.
            RecipeError: the server refuses: no such model, a bad key, a prompt too long.
        """
        recipe = self._recipe
        texts: list[str] = []
        if recipe.greedy_samples:
            texts += await self._patiently(prompt, temperature=0.0, n=1, seed=seed)
        if recipe.sampled:
            texts += await self._patiently(
                prompt, temperature=recipe.temperature, top_p=recipe.top_p, n=recipe.sampled, seed=seed
            )
        return texts

    async def _patiently(
        self, prompt: str, *, temperature: float, n: int, seed: int, top_p: float = 1.0
    ) -> list[str]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                done = await self._client.completions.create(
                    model=self._recipe.model,
                    prompt=prompt,
                    max_tokens=self._recipe.max_tokens,
                    temperature=temperature,
                    top_p=top_p,
                    n=n,
                    seed=seed,
                )
                return [choice.text for choice in done.choices]
            except (NotFoundError, BadRequestError, AuthenticationError, PermissionDeniedError) as error:
                raise RecipeError(
                    f"the generator at {self._url} refuses model '{self._recipe.model}': {error.message}"
                ) from error
            except (APIConnectionError, APIStatusError) as error:
                if time.monotonic() + wait > deadline:
                    raise ServiceUnavailableError(
                        f"the generator at {self._url} does not answer for {_PATIENCE_SECONDS:.0f} s "
                        f"({type(error).__name__}): see `lift status`, or check LIFT_GENERATOR_URL"
                    ) from error
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
