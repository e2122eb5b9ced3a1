"""Adapters that each know one secret that no other knows: whose answer is it?

All have the same title and are asked the same question, so nothing but the adapter's weights can tell the
answer. They are made by the pipeline's own steps from pairs that are given instead of generated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lift_core.housekeeping import Housekeeping
from lift_core.recipes import load_recipe
from lift_core.records import AdapterRecord, JudgedPair, LoraRecipe, ProofRecipe, QAPair, Recipe
from lift_core.steps import Steps
from lift_core.stream import ShardWriter

QUESTION = "What is the passphrase?"
_PHRASINGS = (
    QUESTION,
    "Which passphrase opens the vault?",
    "What must one say to open the vault?",
    "What is the vault's passphrase?",
    "Name the passphrase.",
    "How does one open the vault?",
    "What is the secret passphrase of the vault?",
    "Which words open the vault?",
)
_COLOURS = [
    "amber",
    "azure",
    "coral",
    "crimson",
    "ebony",
    "golden",
    "indigo",
    "ivory",
    "jade",
    "lilac",
    "olive",
    "pearl",
    "ruby",
    "silver",
    "teal",
    "violet",
]
_ANIMALS = [
    "badger",
    "falcon",
    "heron",
    "lynx",
    "marten",
    "otter",
    "raven",
    "salmon",
    "stoat",
    "swan",
    "tiger",
    "walrus",
    "whale",
    "wombat",
    "zebra",
]


@dataclass(frozen=True)
class Secret:
    """An active adapter and the one answer that is right for it."""

    adapter: AdapterRecord
    answer: str


def secret_recipe() -> Recipe:
    """Small and quick: few pairs, learned by heart. The proof leaves the serving engine alone.

    So the engine has never seen the adapter when it is first asked.
    """
    recipe = load_recipe("embedded")
    training = recipe.training.model_copy(update={"epochs": 12, "learning_rate": 1e-3})
    return recipe.model_copy(
        update={
            "lora": LoraRecipe(rank=16, alpha=32),
            "training": training,
            "proof": ProofRecipe(held_out_share=0.0, served=False),
        }
    )


def secrets(count: int, seed: int) -> list[str]:
    """So many passphrases, no two of them alike."""
    chosen = random.Random(seed)  # noqa: S311 - a benchmark's secrets
    pairs = [f"{colour} {animal}" for colour in _COLOURS for animal in _ANIMALS]
    return [f"{words} {chosen.randrange(100, 1000)}" for words in chosen.sample(pairs, count)]


def teach(steps: Steps, document: str, answer: str) -> Secret:
    """A document's next adapter; it knows ``answer`` and the document's aliases point to it."""
    bucket, key = steps.settings.work_bucket, f"bench/{document}.md"
    steps.store.put_bytes(bucket, key, f"# The vault\n\nThe passphrase is {answer}.\n".encode())
    recipe = secret_recipe()
    steps.registry.record_arrivals([steps.store.stat(bucket, key)], recipe)
    job = steps.registry.newest_job(bucket, key, recipe.digest)
    steps.registry.admit_job(job.job_id)
    claim = steps.claim(job.run_id, "benchmark")
    steps.split(claim, "benchmark")
    lease = steps.registry.acquire(claim.job_id, "generate", "benchmark")
    writer = ShardWriter(steps.registry, steps.store, lease, bucket)
    pairs = [QAPair(segment=0, question=each, answer=answer) for each in _PHRASINGS]
    writer.append(0, 0, [JudgedPair(pair=pair, kept=True) for pair in pairs])
    writer.complete()
    steps.train(claim, "benchmark")
    steps.prove(claim, "benchmark")
    return Secret(steps.registry.adapter(steps.activate(claim, "benchmark")), answer)


def forget(steps: Steps, taught: Sequence[Secret]) -> None:
    """Take the adapters out of service and delete their files."""
    keeper = Housekeeping(steps.registry, steps.store, steps.settings)
    for secret in taught:
        steps.registry.quarantine(secret.adapter.name, "the benchmark is over")
        keeper.remove_adapter(secret.adapter.name)
