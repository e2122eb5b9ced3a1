"""16 writers and 16 readers at once, while their connections are killed: nothing is lost, doubled or illegal.

At the end the append-only events, replayed from the first to the last, must give exactly what the tables
hold, and hold every acknowledged call.
"""

import os
from collections import Counter, defaultdict

OPERATIONS = int(os.environ.get("LIFT_TEST_REGISTRY_OPERATIONS", "10000"))
LEGAL = {
    None: {"candidate"},
    "candidate": {"active", "rejected", "superseded", "removed"},
    "active": {"superseded", "quarantined", "archived"},
    "superseded": {"active", "quarantined", "archived", "removed"},
    "quarantined": {"superseded", "archived", "removed"},
    "archived": {"superseded", "removed"},
    "rejected": {"removed"},
    "removed": set(),
}
STATE_AFTER = {f"adapter.{state}": state for state in LEGAL if state} | {"adapter.released": "superseded"}


def test_nothing_is_lost_doubled_or_illegal_however_many_write_and_connections_die(crowd, sql, killer, never):
    start_killing, stop_killing, killed = killer
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    deadlocks_before = sql(deadlocks)

    start_killing()
    ledger = crowd(OPERATIONS)
    stop_killing()

    told = f"{len(killed)} connections killed; {dict(sorted(ledger.outcomes.items()))}"
    assert ledger.wrong == [], told
    assert {what: found for what, query in never.items() if (found := sql(query))} == {}
    assert sql(deadlocks) == deadlocks_before
    check_events_give_the_tables(sql)
    check_acknowledged_calls_happened(ledger, sql)
    # What the test shows, it shows only if all of it was exercised.
    assert sum(ledger.outcomes.values()) - ledger.outcomes["connection lost"] >= OPERATIONS
    assert ledger.outcomes["connection lost"] > 0, told
    assert {call for call, *_ in ledger.acknowledged} >= {
        *("arrive", "register", "prove", "activate", "set_alias", "remove_alias"),
        *("quarantine", "release", "archive", "remove", "tag", "score"),
    }


def check_events_give_the_tables(sql):
    """Replay all events: the states, the aliases and the jobs that they give are those of the tables."""
    states, aliases, jobs, illegal = {}, {}, {}, []
    for kind, subject, detail in sql("SELECT kind, subject, detail FROM events ORDER BY id"):
        if kind in STATE_AFTER:
            if STATE_AFTER[kind] not in LEGAL[states.get(subject)]:
                illegal.append((subject, states.get(subject), kind))
            states[subject] = STATE_AFTER[kind]
        elif kind == "alias.moved":
            aliases[subject] = detail["adapter"]
        elif kind == "alias.removed":
            del aliases[subject]
        elif kind in ("job.admitted", "job.running", "job.done"):
            jobs[subject] = kind.removeprefix("job.")
    assert illegal == []
    assert states == dict(sql("SELECT name, state FROM adapters"))
    assert aliases == dict(sql("SELECT l.name, a.name FROM aliases l JOIN adapters a ON a.id = l.adapter_id"))
    ended = dict(sql("SELECT run_id, state FROM jobs WHERE state IN ('running', 'done')"))
    assert {run: jobs.get(run) for run in ended} == ended


def check_acknowledged_calls_happened(ledger, sql):
    """Each acknowledged call left what it must leave, as often as it was acknowledged."""
    events = Counter(sql("SELECT kind, subject FROM events"))
    arrived = set(sql("SELECT d.key, r.etag FROM arrivals r JOIN documents d ON d.id = r.document_id"))
    assert {tuple(values) for values in ledger.acknowledged_of("arrive")} <= arrived
    adapters = {name: (job, state) for name, job, state in sql("SELECT name, job_id, state FROM adapters")}
    for job, name in ledger.acknowledged_of("register"):
        assert adapters[name][0] == job
    assert all(events["adapter.candidate", name] == 1 for name in adapters)
    for kind, call in (
        *(("proven", "prove"), ("active", "activate"), ("quarantined", "quarantine")),
        *(("archived", "archive"), ("removed", "remove")),
    ):
        for name, *_ in ledger.acknowledged_of(call):
            # What comes too late is superseded instead of activated.
            superseded = call == "activate" and events["adapter.superseded", name]
            assert events[f"adapter.{kind}", name] or superseded, (call, name)
    assert {adapters[name][1] for (name,) in ledger.acknowledged_of("remove")} == {"removed"}
    for alias, name in ledger.acknowledged_of("set_alias"):
        assert sql("SELECT 1 FROM events WHERE subject = %s AND detail->>'adapter' = %s", alias, name)
    # A release happens once for each time it is acknowledged, and perhaps where the answer was lost.
    released = Counter(name for name, _ in ledger.acknowledged_of("release"))
    for (kind, name), happened in events.items():
        if kind == "adapter.released":
            assert released[name] <= happened <= released[name] + ledger.doubtful["release", name]
    # Everyone's last word is kept: nothing that was written after it was lost.
    last = defaultdict(int)
    for call in ("tag", "score"):
        for name, key, value in ledger.acknowledged_of(call):
            last[name, key] = max(value, last[name, key])
    rows = sql(
        "SELECT a.name, t.key, t.value::float FROM tags t JOIN adapters a ON a.id = t.adapter_id "
        "UNION ALL SELECT a.name, s.name, s.value FROM scores s JOIN adapters a ON a.id = s.adapter_id"
    )
    kept = {(name, key): value for name, key, value in rows}
    assert {key: value for key, value in last.items() if kept.get(key, -1) < value} == {}
