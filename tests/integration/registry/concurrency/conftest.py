"""A crowd of writers and readers, and the ledger of what was called and answered.

Every writer makes random calls for the same few documents; every reader checks what it is told. A ledger
holds which calls were acknowledged.
"""

import random
import threading
import time
from collections import Counter
from itertools import count

import pytest
from sqlalchemy.exc import DBAPIError

from lift_core.errors import (
    AlreadyDoneError,
    FencedError,
    NotFoundError,
    NotServableError,
    ProofError,
    ServiceUnavailableError,
    StateError,
)
from lift_core.records import AdapterFilter
from lift_core.registry import AdapterRegistry

WRITERS = READERS = 16
SEED = 20260
KEYS = ("report.md", "report-2.md", "b/report.md", "atlas.md", "manual.md", "terms.md")
LABELS = ("champion", "stable", "canary")
TRIES = 3
ALL_STATES = ("candidate", "active", "rejected", "superseded", "quarantined", "archived", "removed")
# What the client of a killed connection is told: admin_shutdown, or nothing. A deadlock (40P01) is an
# OperationalError too, as is a server without memory or disk: none of them may happen.
KILLED = ("57P01", None)


class Ledger:
    """What was called by all threads together, and what came of it."""

    def __init__(self):
        self._lock = threading.Lock()
        self.acknowledged = []
        self.outcomes = Counter()
        self.doubtful = Counter()
        self.wrong = []
        """Errors that nothing explains, and answers that must not be."""
        self.claims = []
        self.names = []
        self.proven = []
        self.written = 0
        self.writing = WRITERS

    def wrote(self):
        with self._lock:
            self.written += 1

    def left(self):
        with self._lock:
            self.writing -= 1

    def acknowledge(self, call, *values):
        with self._lock:
            self.acknowledged.append((call, *values))

    def count(self, counter, what):
        with self._lock:
            counter[what] += 1

    def lost(self, error):
        """A call that was not answered: because its connection was killed, or something is wrong."""
        cause = error.__cause__
        sqlstate = cause.orig.pgcode if isinstance(cause, DBAPIError) else type(cause).__name__
        with self._lock:
            self.outcomes["connection lost"] += 1
            if sqlstate not in KILLED:
                self.wrong.append((sqlstate, repr(error)))

    def acknowledged_of(self, call):
        return [values for name, *values in self.acknowledged if name == call]


class Writer:
    """One who makes random calls; the documents, jobs and adapters are those of all writers."""

    def __init__(self, number, registry, work, ledger, clock):
        self.number = number
        self.registry = registry
        self.work = work
        self.ledger = ledger
        self.clock = clock
        self.dice = random.Random(f"{SEED} writer {number}")
        self.calls = count(1)
        self.ways = {
            self.arrive: 4,
            self.claim: 10,
            self.register: 14,
            self.prove: 14,
            self.reject: 1,
            self.activate: 14,
            self.set_alias: 14,
            self.remove_alias: 4,
            self.quarantine: 4,
            self.release: 6,
            self.archive: 3,
            self.remove: 1,
            self.tag: 6,
            self.score: 4,
        }

    def run(self, operations):
        for _ in range(operations):
            (way,) = self.dice.choices([*self.ways], [*self.ways.values()])
            try:
                self.ledger.count(self.ledger.outcomes, f"{way.__name__}: {self.insist(way)}")
            except Exception as error:
                self.ledger.wrong.append((way.__name__, repr(error)))
            self.ledger.wrote()

    def insist(self, way):
        """Call until it is answered, or give up, as people do."""
        for _ in range(TRIES):
            try:
                way()
                return "done"
            except ServiceUnavailableError as error:
                self.ledger.lost(error)
            except (NotFoundError, StateError, ProofError, FencedError, AlreadyDoneError, IndexError):
                return "refused"
        return "given up"

    def moved(self, call, subject, *values):
        """Make a move; whether it happened is in doubt where the connection died."""
        try:
            result = call(subject, *values)
        except ServiceUnavailableError:
            self.ledger.count(self.ledger.doubtful, (call.__name__, subject))
            raise
        self.ledger.acknowledge(call.__name__, subject, *values)
        return result

    def arrive(self):
        """A new version, or one that was there before."""
        key = self.dice.choice(KEYS)
        seconds = next(self.clock)
        etag = f"e{seconds if self.dice.random() < 0.5 else self.dice.randrange(1, seconds + 1)}"
        self.registry.record_arrivals([self.work.arrival(key, etag, seconds)], self.work.recipe)
        self.ledger.acknowledge("arrive", key, etag)

    def claim(self):
        key = self.dice.choice(KEYS)
        self.registry.admit_jobs(self.work.bucket, 1000)
        run_id = self.registry.document(key).run_id
        if self.dice.random() < 0.6:
            # The same bytes again under another run: an adapter number of its own.
            run_id = self.registry.reprocess(self.work.bucket, key)
            self.registry.admit_job(self.registry.job_of_run(run_id))
        claim = self.registry.claim(run_id)
        self.registry.settle(claim.job_id, self.work.sha256(f"{key} {claim.etag}"), None)
        self.ledger.claims.append(claim)

    def register(self):
        claim = self.dice.choice(self.ledger.claims[-8:])
        lease = self.registry.acquire(claim.job_id, "train", f"writer-{self.number}")
        made = self.registry.register_candidate(
            lease, f"jobs/{claim.job_id}/", {"adapter_model.safetensors": "0" * 64}, {"train_loss": 0.5}
        )
        self.ledger.names.append(made.name)
        self.ledger.acknowledge("register", claim.job_id, made.name)

    def prove(self):
        claim, made = self.trained()
        lease = self.registry.acquire(claim.job_id, "prove", f"writer-{self.number}")
        self.registry.record_proof(lease, made.name, {"gain": 1.0})
        self.ledger.proven.append(made.name)
        self.ledger.acknowledge("prove", made.name)

    def reject(self):
        claim, made = self.trained()
        lease = self.registry.acquire(claim.job_id, "prove", f"writer-{self.number}")
        self.registry.reject(lease, made.name, "of no use")

    def activate(self):
        self.moved(self.registry.activate, self.dice.choice(self.ledger.proven[-8:]))

    def set_alias(self):
        name = self.any_name()
        slug = name.rpartition("-v")[0]
        self.moved(self.registry.set_alias, f"{slug}@{self.dice.choice(LABELS)}", name)

    def remove_alias(self):
        slug = self.any_name().rpartition("-v")[0]
        self.moved(self.registry.remove_alias, f"{slug}@{self.dice.choice(LABELS)}")

    def quarantine(self):
        self.moved(self.registry.quarantine, self.any_name(), "it lies")

    def release(self):
        self.moved(self.registry.release, self.any_name(), "it does not")

    def archive(self):
        self.moved(self.registry.archive, self.any_name())

    def remove(self):
        self.moved(self.registry.remove, self.any_name())

    def tag(self):
        """Under a key of this writer's own: the last value that was acknowledged must stay."""
        name, value = self.any_name(), next(self.calls)
        self.registry.tag(name, {f"writer-{self.number}": str(value)})
        self.ledger.acknowledge("tag", name, f"writer-{self.number}", value)

    def score(self):
        name, value = self.any_name(), next(self.calls)
        self.registry.record_scores(name, {f"writer_{self.number}": float(value)})
        self.ledger.acknowledge("score", name, f"writer_{self.number}", value)

    def trained(self):
        claim = self.dice.choice(self.ledger.claims[-8:])
        made = self.registry.adapter_of_job(claim.job_id)
        if made is None:
            raise NotFoundError("nobody has trained it yet")
        return claim, made

    def any_name(self):
        """Mostly a young and proven one, so that writers meet and their moves are allowed."""
        names = self.ledger.proven[-30:] if self.dice.random() < 0.8 else self.ledger.names
        return self.dice.choice(names)


class Reader:
    """One who asks at random and believes nothing."""

    def __init__(self, number, registry, ledger, never):
        self.rules = never
        self.registry = registry
        self.ledger = ledger
        self.dice = random.Random(f"{SEED} reader {number}")

    def run(self, operations):
        asked = 0
        ways = [self.resolve_alias, self.resolve_key, self.show, self.pages, self.filtered, self.lineage]
        while asked < operations:
            way = self.dice.choice([*ways, self.never])
            try:
                way()
                self.ledger.count(self.ledger.outcomes, f"{way.__name__}: done")
            except ServiceUnavailableError as error:
                self.ledger.count(self.ledger.outcomes, f"{way.__name__}: given up")
                self.ledger.lost(error)
            except (NotFoundError, IndexError):
                self.ledger.count(self.ledger.outcomes, f"{way.__name__}: refused")
            except NotServableError as error:
                self.ledger.count(self.ledger.outcomes, f"{way.__name__}: {error.state}")
            except Exception as error:
                self.ledger.wrong.append((way.__name__, repr(error)))
            asked += 1
            # In step with the writers, so that there is always somebody who reads.
            while self.ledger.writing and asked * WRITERS > self.ledger.written:
                time.sleep(0.01)

    def resolve_alias(self):
        slug = self.dice.choice(self.ledger.names).rpartition("-v")[0]
        label = self.dice.choice(LABELS)
        alias = slug if label == "champion" and self.dice.random() < 0.5 else f"{slug}@{label}"
        found = self.registry.resolve(alias)
        assert (found.state, found.slug) == ("active", slug)
        assert alias in found.aliases
        assert (slug in found.aliases) == (f"{slug}@champion" in found.aliases)

    def resolve_key(self):
        key = self.dice.choice(KEYS)
        found = self.registry.resolve(key)
        assert (found.state, found.document) == ("active", key)
        assert found.slug in found.aliases

    def show(self):
        name = self.dice.choice(self.ledger.names)
        found = self.registry.adapter(name)
        assert found.name == name
        assert bool(found.aliases) == (found.state == "active")

    def pages(self):
        """All adapters of a document that were there before, each once, newest first."""
        slug = self.dice.choice(self.ledger.names).rpartition("-v")[0]
        before = {name for name in [*self.ledger.names] if name.rpartition("-v")[0] == slug}
        seen, cursor = [], None
        while True:
            page = self.registry.adapters(AdapterFilter(document=slug, states=ALL_STATES), 7, cursor)
            seen += [each.name for each in page.adapters]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen))
        assert before <= set(seen), before - set(seen)
        numbers = [int(name.rpartition("-v")[2]) for name in seen]
        assert numbers == sorted(numbers, reverse=True)

    def filtered(self):
        state = self.dice.choice(ALL_STATES)
        page = self.registry.adapters(AdapterFilter(states=(state,)), 10)
        assert {each.state for each in page.adapters} <= {state}

    def lineage(self):
        name = self.dice.choice(self.ledger.names)
        found = self.registry.lineage(name)
        assert (found.adapter, found.document["slug"]) == (name, name.rpartition("-v")[0])
        assert found.run["run_id"].startswith(f"{found.document['slug']}-v{found.document['version']}-")

    def never(self):
        what = self.dice.choice([*self.rules])
        with self.registry.transaction() as connection:
            assert connection.exec_driver_sql(self.rules[what]).fetchall() == [], what


@pytest.fixture
def crowd(registry, settings, work, together, never):
    """Let 16 writers and 16 readers loose on some documents; together they make so many calls."""
    ledger, clock = Ledger(), count(1)
    # Four threads share a pool, as the workers of a server do.
    registries = [AdapterRegistry.from_settings(settings, pool_size=4) for _ in range(8)]
    for key in KEYS:
        work.arrive(key, f"e{next(clock)}")

    def run(operations):
        share = operations // (WRITERS + READERS) + 1

        def one(number):
            if number < WRITERS:
                try:
                    Writer(number, registries[number % 8], work, ledger, clock).run(share)
                finally:
                    ledger.left()
            else:
                Reader(number, registries[number % 8], ledger, never).run(share)

        together(WRITERS + READERS, one)
        return ledger

    return run
