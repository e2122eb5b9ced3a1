"""What benchmark ``chaos`` kills, when, and the documents that are under way meanwhile; a seed chooses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

DOCUMENTS, KILLS = 200, 10
SERVICES = {
    "scheduler": "airflow-scheduler",
    "triggerer": "airflow-triggerer",
    "dag-processor": "airflow-dag-processor",
    "api-server": "airflow-api",
    "vllm": "vllm-generator",
    "s3": "s3",
    "postgres": "postgres",
}
"""What is killed, and the name of its service; the two kinds below are found by their leases."""
WORKER, TRAINER = "worker", "trainer"
WINDOWS = {
    # what must be committed anew: a query whose one value changes with it
    "an arrival": "SELECT max(id)::text FROM events WHERE kind = 'version.arrived'",
    "an admission": "SELECT max(id)::text FROM events WHERE kind = 'job.admitted'",
    "a claim": "SELECT max(id)::text FROM events WHERE kind = 'job.running'",
    "a lease": "SELECT sum(token)::text FROM leases",
    "a stage": "SELECT count(*) || '/' || count(ended_at) FROM stages",
    "a shard": "SELECT count(*)::text FROM shards",
    "a stream's end": "SELECT count(*)::text FROM stream_ends",
    "a checkpoint": "SELECT max(saved_at)::text FROM checkpoints",
    "a candidate": "SELECT max(id)::text FROM events WHERE kind = 'adapter.candidate'",
    "a proof": "SELECT max(id)::text FROM events WHERE kind = 'adapter.proven'",
    "an activation": "SELECT max(id)::text FROM events WHERE kind = 'job.done'",
}
_LONGEST_PAUSE = 8.0
_SURNAMES = ("Vanterpool", "Krell", "Oduya", "Lindqvist", "Marchetti", "Haldane", "Ferreira", "Nakamura")
_TRADES = ("lamp maker", "bell founder", "bridge builder", "glass blower", "clock maker", "ship's carpenter")


@dataclass(frozen=True)
class Kill:
    """A kill to come: what, and after a commit of which kind (None: after a random pause)."""

    victim: str
    window: str | None
    pause: float


def plan(kills: int, seed: int, victims: Sequence[str]) -> list[Kill]:
    """Each victim so many times, in a random order; windows and random moments take turns for each."""
    chance = random.Random(seed)  # noqa: S311 - a test's moments
    windows = list(WINDOWS)
    chance.shuffle(windows)
    planned = []
    for place, victim in enumerate(victims):
        for number in range(kills):
            # Over all victims, every window gets its turn.
            window = windows[(place + number * 4) % len(windows)] if number % 3 != 2 else None
            planned.append(Kill(victim, window, chance.uniform(0.2, _LONGEST_PAUSE)))
    chance.shuffle(planned)
    return planned


def document(number: int) -> bytes:
    """A document of two sentences, about something that no other one is about."""
    surname, trade = _SURNAMES[number % len(_SURNAMES)], _TRADES[number // 8 % len(_TRADES)]
    return (
        f"# The lighthouse of Marra {number}\n\n"
        f"The lighthouse of Marra {number} was built in {1600 + number} by the {trade} Odo {surname}. "
        f"Its lamp burns {7 + number} barrels of oil in a year.\n"
    ).encode()
