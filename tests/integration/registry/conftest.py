"""Adapters with titles, tags and scores; rules that hold at every moment; somebody who kills connections."""

import math
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime

import psycopg2
import pytest

from lift_core.evaluation_records import AdapterVerdict, Conditions, Measurement, ResultShard
from lift_core.records import AdapterFilter

SECONDS_BETWEEN_KILLS = 0.05
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONDITIONS = Conditions(
    task="mmlu",
    task_digest="1" * 64,
    data_digest="2" * 64,
    harness="lm_eval 0.4.9",
    base_model="SmolLM2-135M-Instruct",
    base_revision="1",
    engine="transformers, float32",
)
ACCURACY = Measurement(
    task="mmlu",
    measure="accuracy",
    n=100,
    base=0.6,
    adapter=0.5,
    difference=-0.1,
    low=-0.2,
    high=-0.03,
    confidence=0.99,
    margin=0.02,
    p_value=1e-7,
    mcnemar_p_value=0.01,
    verdict="regressed",
)
LIKELIHOOD = Measurement(
    task="mmlu",
    measure="log-likelihood",
    n=100,
    base=-0.1,
    adapter=-0.3,
    difference=-0.2,
    low=-math.inf,
    high=math.inf,
    confidence=0.99,
    margin=0.05,
    p_value=0.5,
    verdict="undecided",
)
# Each is read by one statement, so of one moment; each must find nothing at any moment.
NEVER = {
    "an alias whose adapter is not active, or of another document": """
        SELECT l.name, a.name, a.state FROM aliases l JOIN adapters a ON a.id = l.adapter_id
        WHERE a.state <> 'active' OR a.document_id <> l.document_id""",
    "an alias without an adapter": """
        SELECT l.name FROM aliases l LEFT JOIN adapters a ON a.id = l.adapter_id WHERE a.id IS NULL""",
    "<slug> and <slug>@champion that disagree": """
        SELECT d.slug, s.adapter_id, c.adapter_id FROM documents d
        LEFT JOIN aliases s ON s.name = d.slug LEFT JOIN aliases c ON c.name = d.slug || '@champion'
        WHERE s.adapter_id IS DISTINCT FROM c.adapter_id""",
    "an active adapter that no alias names": """
        SELECT name FROM adapters a WHERE state = 'active'
        AND NOT EXISTS (SELECT 1 FROM aliases WHERE adapter_id = a.id)""",
    "a document whose adapters are not v1 to vN": """
        SELECT d.slug, d.adapter_count, array_agg(a.name) FROM documents d
        LEFT JOIN adapters a ON a.document_id = d.id GROUP BY d.id
        HAVING count(a.id) <> d.adapter_count
        OR count(a.id) <> count(DISTINCT a.name) FILTER (WHERE a.name IN
            (SELECT d.slug || '-v' || n FROM generate_series(1, d.adapter_count) n))""",
    "a document whose versions are not 1 to N, or of which not one is current": """
        SELECT d.slug, array_agg(v.number) FROM documents d JOIN versions v ON v.document_id = d.id
        GROUP BY d.id HAVING count(*) <> max(v.number)
        OR count(*) FILTER (WHERE v.state = 'current') <> 1""",
    "a job with two adapters": "SELECT job_id FROM adapters GROUP BY job_id HAVING count(*) > 1",
    "an unproven adapter in service": """
        SELECT name FROM adapters WHERE state IN ('active', 'superseded') AND proven_at IS NULL""",
}


@pytest.fixture
def listed(registry):
    """Names of the adapters that a filter lets through."""
    return lambda **filter: [each.name for each in registry.adapters(AdapterFilter(**filter)).adapters]


@pytest.fixture
def make(registry, work):
    """An active adapter with a title, a recipe, tags and scores."""

    def make(key, etag, title=None, recipe=None, tags=None, scores=None):
        registry.record_arrivals([work.arrival(key, etag)], recipe or work.recipe)
        job = registry.newest_job(work.bucket, key, (recipe or work.recipe).digest)
        registry.admit_job(job.job_id)
        claim = registry.claim(job.run_id)
        registry.settle(claim.job_id, work.sha256(f"{key} {etag}"), title)
        made = work.finish(claim)
        registry.tag(made.name, tags or {})
        registry.record_scores(made.name, scores or {})
        return made.name

    return make


@pytest.fixture
def never():
    """Queries that must find nothing at any moment, by what it is that they look for."""
    return NEVER


@pytest.fixture
def killer(settings):
    """Kills connections of others to the registry's database, one after another, until it is stopped."""
    url = settings.database_url.get_secret_value().replace("+psycopg2", "")
    stop = threading.Event()
    killed = []

    def kill():
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not stop.wait(SECONDS_BETWEEN_KILLS):
                # Those that are in the middle of something first: an idle one is just replaced.
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "ORDER BY state = 'idle', random() LIMIT 1"
                )
                killed.extend(cursor.fetchall())

    thread = threading.Thread(target=kill)
    yield thread.start, lambda: (stop.set(), thread.join()), killed
    stop.set()
    with suppress(RuntimeError):  # it was never started
        thread.join()


@pytest.fixture
def rejected(registry, work):
    """The name of an adapter that did not pass its proof."""
    claim = work.claim("bad.md", "bad")
    made = work.candidate(claim)
    registry.reject(work.prover(claim), made.name, "it knows nothing")
    return made.name


# --- what the guard records ---------------------------------------------------------------


@pytest.fixture
def now():
    """The moment at which verdicts are recorded, unless they say otherwise."""
    return NOW


@pytest.fixture
def conditions():
    return CONDITIONS


@pytest.fixture
def accuracy():
    """A measurement by which an adapter has regressed."""
    return ACCURACY


@pytest.fixture
def likelihood():
    """A measurement that decides nothing."""
    return LIKELIHOOD


@pytest.fixture
def piece():
    """Make a piece of results, as an attempt commits them."""

    def make(first, count, attempt="a", **changes):
        fields = {"key": f"evaluations/x/{attempt}/{first}", "sha256": "a" * 64} | changes
        return ResultShard(first=first, count=count, **fields)

    return make


@pytest.fixture
def verdict_on():
    """Make the verdict of a run on an adapter, by name."""

    def make(name, run="run-1", **changes):
        fields = {
            "adapter": name,
            "run": run,
            "base_model": "SmolLM2-135M-Instruct",
            "verdict": "regressed",
            "sentence": "Regressed: mmlu by accuracy, -10.0 points.",
            "decided_by": (("mmlu", "accuracy"),),
            "p_value": 1e-7,
            "adjusted_p_value": 3e-7,
            "alerted": True,
            "family": 3,
            "measurements": (ACCURACY, LIKELIHOOD),
            "subjects": {"mmlu": {"law": (40, 0.5, 0.4), "physics": (60, 2 / 3, 0.1 + 0.2)}},
            "signs": {"own_f1": 0.75, "verbatim_copying": 0.0},
            "policy": {"fingerprint": "f1", "margins": {"accuracy": 0.02}},
            "action": "quarantine",
            "report": f"reports/{run}/{name}/",
            "created_at": NOW,
        }
        return AdapterVerdict.model_validate(fields | changes)

    return make
