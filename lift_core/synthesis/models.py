"""The models that a recipe names, asked about one document: who writes, who reads, who judges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from lift_core.errors import RecipeError
from lift_core.records import GenerationCost, QAPair, Recipe
from lift_core.settings import Settings
from lift_core.synthesis.client import ModelClient
from lift_core.synthesis.profiles import load_profile
from lift_core.synthesis.prompts import (
    Prompt,
    asking_prompt,
    choosing_prompt,
    global_prompt,
    judging_prompt,
    read_answer,
    read_answers,
    read_judgement,
    read_pairs,
    read_question,
    reading_prompt,
    writing_prompt,
)
from lift_core.synthesis.tasks import all_of

_READ_TOKENS = 60
_JUDGE_TOKENS = 200
_SEED_STRIDE = 1_000_003
"""Between the seeds of asking again; more than a document has segments."""

# A profile of another version is another prompt: where these change, the recipe must be able to say so.
_GLOBAL = ("global", 1)
_JUDGING = ("judging", 1)


class Models:
    """Clients of a recipe's generator, reader and judge; ``title`` stands in every prompt.

    Raises:
        ServiceUnavailableError: the settings name no server for a model that the recipe names.
    """

    def __init__(self, recipe: Recipe, settings: Settings, title: str) -> None:
        self._recipe = recipe.generator
        self._title = title
        self._writing = load_profile(recipe.generator.profile, recipe.generator.profile_version)
        concurrency = settings.generator_concurrency
        key = settings.generator_api_key.get_secret_value()
        self._writer = ModelClient(
            settings.generator_url, key, recipe.generator.model, concurrency=concurrency
        )
        self._reading = load_profile("reading", recipe.gate.reader_profile_version)
        self._reader = self._judge = None
        if recipe.gate.reader:
            own = bool(settings.reader_url)
            self._reader = ModelClient(
                settings.reader_url or settings.generator_url,
                settings.reader_api_key.get_secret_value() if own else key,
                recipe.gate.reader,
                concurrency=concurrency,
                setting="LIFT_READER" if own else "LIFT_GENERATOR",
            )
        if recipe.gate.judge:
            self._judge = ModelClient(
                settings.judge_url,
                settings.judge_api_key.get_secret_value(),
                recipe.gate.judge,
                concurrency=concurrency,
                setting="LIFT_JUDGE",
            )
        self._began = time.monotonic()

    @property
    def has_reader(self) -> bool:
        """Whether the recipe names one."""
        return self._reader is not None

    @property
    def has_judge(self) -> bool:
        """Whether the recipe names one."""
        return self._judge is not None

    @property
    def cost(self) -> GenerationCost:
        """What all of them were asked so far; ``seconds`` since they were made."""
        costs = [client.cost for client in self._clients()]
        return GenerationCost(
            requests=sum(each.requests for each in costs),
            prompt_tokens=sum(each.prompt_tokens for each in costs),
            cached_tokens=sum(each.cached_tokens for each in costs),
            completion_tokens=sum(each.completion_tokens for each in costs),
            seconds=time.monotonic() - self._began,
        )

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(client.close() for client in self._clients()))

    async def write(
        self, *, context: str, segment: str, seed: int, again: int = 0, touch: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """The pairs of the recipe's greedy and sampled completions about a segment.

        Where the profile has answers chosen first, ``pairs`` completions name them, or ``touch`` does, and
        the greedy and sampled completions ask for ``pairs`` of them; equal questions to one answer are one.

        The ``again``-th time only drawn ones, with other seeds: the greedy one would be what it was.

        Raises:
            ServiceUnavailableError: the server stayed away for minutes.
            RecipeError: it refuses what the recipe asks for.
        """
        seen = {"title": self._title, "context": context, "segment": segment}
        if not self._writing.choosing:
            prompt = writing_prompt(self._writing, **seen, pairs=self._recipe.pairs, touch=touch)
            completions = await self._completions(prompt, self._recipe.sampled, seed, again)
            return [pair for completion in completions for pair in read_pairs(self._writing, completion)]

        answers = read_answers(touch, segment)
        if not answers:
            prompt = choosing_prompt(self._writing, **seen)
            drawn = self._recipe.pairs - (1 if self._recipe.greedy_samples else 0)
            answers = read_answers(await self._completions(prompt, drawn, seed, again), segment)

        async def ask(answer: str) -> list[tuple[str, str]]:
            prompt = asking_prompt(self._writing, **seen, answer=answer)
            found = await self._completions(prompt, self._recipe.sampled, seed, again)
            return [(question, answer) for question in dict.fromkeys(map(read_question, found))]

        asked = await all_of(ask(answer) for answer in answers[: self._recipe.pairs])
        return [pair for pairs in asked for pair in pairs]

    async def _completions(self, prompt: Prompt, drawn: int, seed: int, again: int) -> list[str]:
        """The greedy completion, then ``drawn`` ones; the ``again``-th time only drawn ones, at least one."""
        found: list[str] = []
        if self._recipe.greedy_samples and not again:
            found += await self._writer.complete(
                prompt, temperature=0.0, max_tokens=self._recipe.max_tokens, seed=seed, order=seed
            )
        if drawn := max(drawn, 1 if again else 0):
            found += await self._writer.complete(
                prompt,
                temperature=self._recipe.temperature,
                top_p=self._recipe.top_p,
                n=drawn,
                max_tokens=self._recipe.max_tokens,
                seed=seed + again * _SEED_STRIDE,
                order=seed,
            )
        return found

    async def write_global(self, *, section: str, seed: int) -> list[tuple[str, str]]:
        """Pairs that need distant parts of a section together; errors as of :meth:`write`."""
        profile = load_profile(*_GLOBAL)
        pairs = self._recipe.global_pairs
        prompt = global_prompt(profile, title=self._title, section=section, pairs=pairs)
        completions = await self._writer.complete(
            prompt, temperature=0.0, max_tokens=self._recipe.max_tokens, seed=seed, order=seed
        )
        return [pair for completion in completions for pair in read_pairs(profile, completion)]

    async def read(
        self, question: str, *, context: str, segment: str, seed: int, n: int = 1, temperature: float = 0.0
    ) -> list[str | None]:
        """``n`` answers of the reader to a question; None where it finds none. Errors as of :meth:`write`."""
        if self._reader is None:
            raise RecipeError("the recipe names no gate.reader")
        prompt = reading_prompt(
            self._reading, title=self._title, context=context, segment=segment, question=question
        )
        found = await self._reader.complete(
            prompt, temperature=temperature, n=n, max_tokens=_READ_TOKENS, seed=seed, order=seed
        )
        return [read_answer(completion) for completion in found]

    async def judge(
        self, pair: QAPair, *, source: str, seed: int, n: int = 1, temperature: float = 0.0
    ) -> list[tuple[bool, str]]:
        """``n`` verdicts of the judge on a pair, each with its why. Errors as of :meth:`write`."""
        if self._judge is None:
            raise RecipeError("the recipe names no gate.judge")
        prompt = judging_prompt(
            load_profile(*_JUDGING),
            title=self._title,
            source=source,
            question=pair.question,
            answer=pair.answer,
        )
        found = await self._judge.complete(
            prompt, temperature=temperature, n=n, max_tokens=_JUDGE_TOKENS, seed=seed, order=seed
        )
        return [read_judgement(completion) for completion in found]

    def _clients(self) -> list[ModelClient]:
        return [each for each in (self._writer, self._reader, self._judge) if each is not None]
