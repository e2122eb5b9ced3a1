"""Benchmark ``serving``: adapters by name through the gateway and a real vLLM.

What the first request for an adapter costs that the server never saw (fetched from the object store,
checked, loaded), what the next one does, and the base model's; whether each of many adapters gives its own
answer and nobody else's; and how long an alias takes to move while requests are under way.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from lift_core.benchmarks.report import Report
from lift_core.benchmarks.secrets import QUESTION, Secret, forget, secret_recipe, secrets, teach
from lift_core.errors import LiftError
from lift_core.prompting import messages
from lift_core.serving import GatewayClient
from lift_core.steps import Steps

ADAPTERS = 20
ROUNDS = 2
AT_ONCE = 8
MOVES = 4
_MAX_TOKENS = 16
_BEFORE_MOVE_SECONDS = 2.0
_PATIENCE_SECONDS = 60.0
_SECONDS = 300.0


@dataclass(frozen=True)
class Reply:
    """One answer under load: when it was asked and given, by which adapter, and what it said."""

    asked: float
    answered: float
    adapter: str
    text: str


def run(
    steps: Steps,
    *,
    adapters: int = ADAPTERS,
    rounds: int = ROUNDS,
    on_progress: Callable[[str, int, int], None],
) -> Report:
    """Teach ``adapters`` adapters a secret each and ask for them; the stack must be up.

    ``on_progress`` gets the phase, how much of it is done, and how much there is.

    Raises:
        LiftError: an adapter could not be made, or did not answer.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    words = secrets(adapters + 2, seed=int(stamp))
    taught: list[Secret] = []
    try:
        for number, answer in enumerate(words[:adapters]):
            taught.append(teach(steps, f"secret-{stamp}-{number:02d}", answer))
            on_progress("teaching", number + 1, adapters)
        rows = first_tokens(steps, taught, lambda n: on_progress("first tokens", n, adapters))
        rows += right_answers(steps, taught, rounds, lambda n, of: on_progress("asking", n, of))
        for answer in words[adapters:]:
            taught.append(teach(steps, f"moving-{stamp}", answer))
        rows += alias_moves(steps, taught[adapters:], lambda n: on_progress("moving an alias", n, MOVES))
    finally:
        forget(steps, taught)
    return Report(
        name="serving",
        settings={
            "adapters": adapters,
            "rank": secret_recipe().lora.rank,
            "rounds": rounds,
            "at once": AT_ONCE,
            "replicas": len(steps.settings.serving_replicas),
        },
        rows=rows,
    )


def first_tokens(
    steps: Steps, taught: Sequence[Secret], on_progress: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Time to the first token, one request at a time: never seen, resident, base model."""
    client = GatewayClient(steps.settings)
    recipe = secret_recipe()
    prompt = messages(recipe.training, "The vault", QUESTION)
    times: dict[str, list[float]] = {"cold": [], "resident": [], "base": []}
    # The prompt is the same for all: a base model that has it in its prefix cache would seem quicker.
    client.ask(recipe.base_model, prompt, max_tokens=_MAX_TOKENS)
    for number, secret in enumerate(taught):
        name = secret.adapter.name
        for kind, model in (("cold", name), ("resident", name), ("base", recipe.base_model)):
            times[kind].append(client.ask(model, prompt, max_tokens=_MAX_TOKENS).first_token_s)
        on_progress(number + 1)
    base = statistics.median(times["base"])
    names = {
        "cold": "first token, adapter the server never saw (fetched from the store)",
        "resident": "first token, adapter that is resident",
        "base": "first token, base model",
    }
    return [
        {
            "name": names[kind],
            "unit": "s",
            "n": len(found),
            "ours": round(statistics.median(found), 4),
            "min": round(min(found), 4),
            "max": round(max(found), 4),
            "peer": round(base, 4) if kind != "base" else None,
            "ratio": round(statistics.median(found) / base, 2) if kind != "base" else None,
        }
        for kind, found in times.items()
    ]


def right_answers(
    steps: Steps, taught: Sequence[Secret], rounds: int, on_progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Ask all adapters in turn, then at once; count the answers that are the asked adapter's own."""
    total = 2 * rounds * len(taught)
    rows = []
    done = itertools.count(1)
    for name, at_once in (("asked in turn", 1), ("asked at once", AT_ONCE)):

        def answer(secret: Secret) -> bool:
            reply = ask(steps, secret.adapter.slug)
            on_progress(next(done), total)
            return (reply.adapter, reply.text) == (secret.adapter.name, secret.answer)

        began = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            right = list(pool.map(answer, list(taught) * rounds))
        rows.append(
            {
                "name": f"right adapter's answer, {name}",
                "unit": "answers",
                "n": len(right),
                "ours": sum(right),
                "requests a second": round(len(right) / (time.monotonic() - began), 2),
            }
        )
    return rows


def alias_moves(
    steps: Steps, moving: Sequence[Secret], on_progress: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Move a document's alias to and fro between its two adapters while it is asked without pause.

    The switch time is from the moment the move was ordered to the moment the first request was asked that the
    new adapter answered. A reply counts as a mixture when its text is not what the adapter in its header
    knows, or when it was asked after the move was done and the old adapter answered.
    """
    slug, knows = moving[0].adapter.slug, {each.adapter.name: each.answer for each in moving}
    switches: list[float] = []
    mixed = replies = 0
    for number in range(MOVES):
        target = moving[number % 2].adapter.name
        found, ordered, moved = _replies_around_move(steps, slug, target)
        replies += len(found)
        mixed += sum(
            reply.text != knows.get(reply.adapter) or (reply.asked > moved and reply.adapter != target)
            for reply in found
        )
        switches.append(max(0.0, min(r.asked for r in found if r.adapter == target) - ordered))
        on_progress(number + 1)
    return [
        {
            "name": "alias moved under load: until a request gets the new adapter",
            "unit": "s",
            "n": len(switches),
            "ours": round(statistics.median(switches), 4),
            "min": round(min(switches), 4),
            "max": round(max(switches), 4),
        },
        {
            "name": "alias moved under load: mixed or stale answers",
            "unit": "answers",
            "n": replies,
            "ours": mixed,
        },
    ]


def _replies_around_move(steps: Steps, alias: str, target: str) -> tuple[list[Reply], float, float]:
    """Replies before, during and after a move of an alias, and when it was ordered and done."""
    found: list[Reply] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            found.append(ask(steps, alias))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        asking = [pool.submit(keep_asking) for _ in range(AT_ONCE)]
        try:
            time.sleep(_BEFORE_MOVE_SECONDS)
            ordered = time.monotonic()
            steps.registry.set_alias(alias, target)
            moved = time.monotonic()
            while time.monotonic() < moved + _PATIENCE_SECONDS and not any(each.done() for each in asking):
                time.sleep(0.1)
                if sum(reply.asked > moved for reply in list(found)) >= 2 * AT_ONCE:
                    break
        finally:
            stop.set()
        for each in asking:
            each.result()
    if not any(reply.adapter == target for reply in found):
        raise LiftError(f"alias {alias} does not lead to {target} after {_PATIENCE_SECONDS:.0f} s")
    return found, ordered, moved


def ask(steps: Steps, model: str) -> Reply:
    """One request as any OpenAI client makes it: the gateway adds the system prompt."""
    settings = steps.settings
    asked = time.monotonic()
    reply = httpx.post(
        f"{settings.gateway_url.rstrip('/')}/chat/completions",
        json={
            "model": model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": _MAX_TOKENS,
            "temperature": 0.0,
        },
        headers={"Authorization": f"Bearer {settings.gateway_api_key.get_secret_value()}"},
        timeout=_SECONDS,
    )
    if reply.is_error:
        raise LiftError(f"the gateway answers {reply.status_code} for '{model}': {reply.text[:300]}")
    text = str(reply.json()["choices"][0]["message"]["content"]).strip()
    return Reply(asked, time.monotonic(), reply.headers["x-lift-adapter"], text)
