"""The generating process itself, killed at any moment: no kill changes a pair, none is lost or doubled."""

import os
import random
import threading
import time
from functools import partial

import pytest

from lift_core.documents import split
from lift_core.recipes import load_recipe
from lift_core.records import GateRecipe, GeneratorRecipe, ProofRecipe, Recipe
from lift_core.stack.processes import wait_until
from lift_core.steps import Steps
from lift_core.store import layout
from lift_core.stream import read_report

KILLS = int(os.environ.get("LIFT_TEST_KILLS", "6"))
SEED = 11
PATIENCE_SECONDS = 600
SEGMENTS_A_KILL = 8
A_FEW = 80
"""Requests whose answers make a shard or more, whatever the order in which they are answered."""
ALL = 10**9
TITLE = "The lighthouses of Marra"
# What a kill falls into. Where it would seldom fall by chance, a lock or the server holds the process there.
WINDOWS = ("any moment", "object without row", "within the row's transaction", "row without the next object")

PROGRAM = """
from pathlib import Path
from lift_core import generate_step
from lift_core.records import Claim
from lift_core.settings import get_settings
from lift_core.steps import Steps
from lift_core.synthesis import PairWriter

def work(talk, claim, url, key):
    # Many shards of a short document.
    generate_step.SEGMENTS_PER_SHARD = 2
    steps = Steps.connect(get_settings().model_copy(update={
        "generator_url": url, "generator_api_key": type(get_settings().generator_api_key)(key),
        "generator_concurrency": 2,
    }))
    steps.generate(Claim.model_validate_json(Path(claim).read_text()), "generator")
"""


def sentences(count):
    return [
        f"Lighthouse {n} of Marra was built by Odo Krell in {1500 + n} and had {n + 100} steps."
        for n in range(count)
    ]


class Author:
    """A generator and reader that say the same to the same request; what they write has every kind of fault.

    It answers as many requests as it is allowed, then none until it is allowed more. What a killed process
    asked counts no more once the next one is expected.
    """

    def __init__(self):
        self.left = 0
        self._process = 0
        self.silent_about_faithfulness = False
        self.asked = threading.Event()
        self.asked_about_faithfulness = threading.Event()
        self._news = threading.Condition()

    def __call__(self, body, _):
        self.asked.set()
        number = int(body["prompt"].split("Sentence: Lighthouse ")[1].split()[0])
        reading = "Question: " in body["prompt"]
        looking_again = reading and body["temperature"]
        if looking_again:
            self.asked_about_faithfulness.set()
        with self._news:
            asker = self._process
            self._news.wait_for(
                lambda: (
                    asker != self._process
                    or (self.left > 0 and not (looking_again and self.silent_about_faithfulness))
                ),
                PATIENCE_SECONDS,
            )
            if asker != self._process:
                return ""
            self.left = max(0, self.left - 1)
        return self._read(body, number) if reading else self._write(body, number)

    def allow(self, requests, silent_about_faithfulness=False):
        with self._news:
            self.left, self.silent_about_faithfulness = requests, silent_about_faithfulness
            self._news.notify_all()

    def expect_another(self):
        """Another process will ask; it gets no answer before it is allowed one."""
        with self._news:
            self._process += 1
            self.left = 0
            self.asked.clear()
            self._news.notify_all()

    @staticmethod
    def _write(body, number):
        if body["temperature"] == 0 and number % 5 == 0:
            return "Let me think."  # and the sentence is asked about again
        pairs = [
            (f"When was lighthouse {number} of Marra built?", 1500 + number),
            (f"In which year did Odo Krell build lighthouse {number} of Marra?", 1500 + number),
            ("Who built the lighthouses of Marra?", "Odo Krell"),  # a duplicate but for the first time
            (f"How many steps has lighthouse {number} of Marra?", number + (99 if number % 4 == 0 else 100)),
            (f"How many steps had lighthouse {number} of Marra?", number + 100),
            (f"Which steps did lighthouse {number} of Marra have?", number + 100),
        ]
        return "".join(f"Q: {question}\nA: {answer}\n" for question, answer in pairs)

    @staticmethod
    def _read(body, number):
        question = body["prompt"].split("Question: ")[1]
        if "steps" in question:
            return " not stated" if number % 6 == 0 else f" {number + 100}"
        if question.startswith("Who"):
            return " Odo Krell"
        return f" {1500 + number}" if number % 7 else " 1911"


@pytest.fixture
def author(scripted_server):
    author = Author()
    scripted_server.script = author
    yield author
    author.allow(ALL)


@pytest.fixture
def prepare(work, store, settings, tmp_path):
    """A claimed job whose document is split; its claim lies in a file."""

    def make(key, recipe, text):
        work.recipe = recipe
        claim = work.claim(key, key).model_copy(update={"title": TITLE})
        steps = Steps(work.registry, store, settings)
        steps._put_json(layout.text_key(claim.job_id), {"title": TITLE, "text": text})
        steps.split(claim)
        file = tmp_path / f"{claim.job_id}.json"
        file.write_text(claim.model_dump_json())
        return claim, file

    return make


def covered(shards):
    return [number for shard in shards for number in range(shard.first_segment, shard.last_segment + 1)]


@pytest.mark.timeout(1200 + 30 * KILLS)
def test_a_generation_killed_in_every_window_leaves_the_pairs_of_one_that_was_not(
    registry,
    store,
    settings,
    prepare,
    author,
    start,
    scripted_server,
    connect,
    wait_for_blocked,
    sql,
    put_but_not_named,
):
    count = SEGMENTS_A_KILL * (KILLS + 2)
    recipe = Recipe(
        generator=GeneratorRecipe(sampled=1, model="author"),
        gate=GateRecipe(reader="reader", ask_again=1, max_pairs_per_segment=3, similarity=0.9),
        proof=ProofRecipe(held_out_share=0.5),
    )
    text = " ".join(sentences(count))
    assert len(split(text, recipe.segmentation)) == count
    claim, file = prepare("killed.md", recipe, text)
    job, chance = claim.job_id, random.Random(SEED)
    holding = {
        "object without row": "SELECT 1 FROM leases FOR UPDATE",
        "within the row's transaction": "LOCK TABLE shards IN SHARE MODE",
    }

    def begin():
        """A process that has begun, and may not go on yet; the number of the first segment it will write."""
        shards = registry.shards(job)
        first = shards[-1].last_segment + 1 if shards else 0
        author.expect_another()
        begun = sql("SELECT coalesce(max(token), 0) FROM leases WHERE role = 'generate'")[0][0]
        process = start(file, scripted_server.url, "key")
        process.tell()
        # Then its lease and its stage are recorded: what it waits for later is a commit of pairs.
        assert author.asked.wait(PATIENCE_SECONDS)
        assert wait_until(
            lambda: sql("SELECT max(token) FROM leases WHERE role = 'generate'")[0][0] == begun + 1,
            PATIENCE_SECONDS,
        )
        return process, first

    def committed_all_it_has(process, token, first):
        """Whether that attempt has committed segments, and waits for answers now."""
        process.check()
        under_way = any(f"/{token:06d}/" in key for key in put_but_not_named(job))
        if author.left or under_way:
            return False
        if len(covered(registry.shards(job))) > first:
            return True
        # Some sentences are asked about again, and take more answers before their shard is full.
        author.allow(A_FEW)
        return False

    for number in range(KILLS - 2):
        window = WINDOWS[number % len(WINDOWS)]
        process, first = begin()
        if window in holding:
            holder = connect()
            holder.cursor().execute(holding[window])
            author.allow(ALL)
            wait_for_blocked(1)
            mine = f"/{number + 1:06d}/"
            # A sign of life may wait for the lease as well, before the first object is put.
            assert wait_until(
                lambda mine=mine: any(mine in key for key in put_but_not_named(job)), PATIENCE_SECONDS
            )
            process.kill()
            holder.rollback()
        elif window == "row without the next object":
            author.allow(A_FEW)
            assert wait_until(partial(committed_all_it_has, process, number + 1, first), PATIENCE_SECONDS)
            process.kill()
        else:
            author.allow(A_FEW)
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
    assert registry.stream_end(job) is None

    # All pairs are there, and somebody looks whether they are faithful.
    process, _ = begin()
    author.allow(ALL, silent_about_faithfulness=True)
    assert author.asked_about_faithfulness.wait(PATIENCE_SECONDS)
    assert covered(registry.shards(job)) == list(range(count))
    process.kill()
    # The report is there, and the end is not.
    process, _ = begin()
    # Once it has begun: whoever begins looks whether an earlier end is to be taken back.
    holder = connect()
    holder.cursor().execute("LOCK TABLE stream_ends IN SHARE MODE")
    author.allow(ALL)
    wait_for_blocked(1)
    assert layout.pair_report_key(job, KILLS) in put_but_not_named(job)
    process.kill()
    holder.rollback()
    assert registry.stream_end(job) is None
    assert read_report(registry, store, job, settings.work_bucket) is None

    last = start(file, scripted_server.url, "key")
    last.tell()
    assert last.end() == "done"

    one_go, file = prepare("whole.md", recipe, text)
    whole = start(file, scripted_server.url, "key")
    whole.tell()
    assert whole.end() == "done"
    steps = Steps(registry, store, settings)
    expected = list(steps.committed_judged(one_go.job_id))
    assert list(steps.committed_judged(job)) == expected
    # The comparison has something to compare.
    reasons = {each.reason for each in expected}
    assert {None, "duplicate", "excess", "ungrounded", "unanswered", "disagreement"} <= reasons
    assert any(each.pair.held_out for each in expected)

    shards = registry.shards(job)
    assert covered(shards) == list(range(count))
    assert [shard.number for shard in shards] == list(range(len(shards)))
    tokens = [token for (token,) in sql(f"SELECT token FROM shards WHERE job_id = {job} ORDER BY number")]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) > 1
    end = registry.stream_end(job)
    assert (end.state, end.pair_count) == ("complete", sum(each.kept for each in expected))
    told, of_one_go = (
        read_report(registry, store, each, settings.work_bucket) for each in (job, one_go.job_id)
    )
    assert told.model_dump(exclude={"cost"}) == of_one_go.model_dump(exclude={"cost"})
    assert told.faithfulness.sample == min(64, told.kept)


@pytest.mark.timeout(1200 + 30 * KILLS)
def test_with_a_real_generator_every_segment_is_committed_once(registry, prepare, start, sql):
    url = os.environ.get("LIFT_GENERATOR_URL")
    if not url:
        pytest.skip("LIFT_GENERATOR_URL names no generator")
    key = os.environ.get("LIFT_GENERATOR_API_KEY", "none")
    recipe = load_recipe(os.environ.get("LIFT_RECIPE", "embedded"))
    # Few completions: a model on two cores writes for most of an hour else.
    few = recipe.generator.model_copy(update={"pairs": 2, "sampled": 1})
    recipe = recipe.model_copy(update={"generator": few})
    # More than the attempts can write before they are killed.
    count = 4 * KILLS
    claim, file = prepare("killed.md", recipe, " ".join(sentences(count)))
    chance = random.Random(SEED)
    for number in range(KILLS):
        there = len(registry.shards(claim.job_id))
        process = start(file, url, key)
        process.tell()
        if number % 2:
            more = partial(lambda there: len(registry.shards(claim.job_id)) > there, there)
            assert wait_until(more, PATIENCE_SECONDS)
        time.sleep(chance.uniform(0, 1))
        process.kill()
    last = start(file, url, key)
    last.tell()
    assert last.end() == "done"
    shards = registry.shards(claim.job_id)
    assert covered(shards) == list(range(count))
    tokens = {token for (token,) in sql("SELECT token FROM shards")}
    assert len(tokens) > 1, "one attempt wrote everything: the others were killed too soon"
    assert registry.stream_end(claim.job_id).state == "complete"
