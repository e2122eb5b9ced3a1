"""What the forgetting guard measured: results piece by piece, verdicts, and who is due.

An evaluation is one model (the base, or one adapter) under one set of conditions; its pieces are
contiguous. A verdict is what one run made of one adapter. Neither is ever changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from lift_core.errors import LiftError, NotFoundError, StateError
from lift_core.evaluation_records import AdapterVerdict, Conditions, DueAdapter, Evaluation, ResultShard
from lift_core.registry.adapters import store_scores
from lift_core.registry.database import Database, event, one, rows

_EVALUATION = """
    SELECT e.id, e.conditions, a.name AS adapter,
           (SELECT coalesce(jsonb_agg(jsonb_build_object('first', first, 'count', count, 'key', key,
                'sha256', sha256) ORDER BY first), '[]')
            FROM evaluation_shards WHERE evaluation_id = e.id) AS shards
    FROM evaluations e LEFT JOIN adapters a ON a.id = e.adapter_id
"""
_VERDICT = """
    SELECT a.name AS adapter, v.run, a.base_model, v.verdict, v.sentence, v.p_value, v.adjusted_p_value,
           v.alerted, v.family, v.subjects, v.signs, v.policy, v.action, v.report, v.created_at,
           (SELECT coalesce(jsonb_agg(to_jsonb(m) - 'verdict_id' - 'number' ORDER BY number), '[]')
            FROM measurements m WHERE m.verdict_id = v.id) AS measurements
    FROM verdicts v JOIN adapters a ON a.id = v.adapter_id
"""
_NEWEST_FIRST = "ORDER BY v.created_at DESC, v.id DESC"
# The index of attempts is walked from whoever waits longest; each one's newest verdict is one look-up. That
# the walk soon ends is what PostgreSQL expects of "IS NOT NULL", and not of the conditions written out.
_DUE = """
    SELECT a.name, a.base_model, a.base_revision, a.reason FROM (
        SELECT a.id, a.name, a.base_model, a.base_revision, a.attempted_at,
               CASE WHEN v.id IS NULL THEN 'never measured'
                    WHEN v.policy ->> 'fingerprint' IS DISTINCT FROM :fingerprint THEN 'other conditions'
                    WHEN v.created_at < :measured_before THEN 'measured long ago' END AS reason
        FROM adapters a LEFT JOIN LATERAL (
            SELECT v.id, v.created_at, v.policy FROM verdicts v
            WHERE v.adapter_id = a.id ORDER BY v.created_at DESC, v.id DESC LIMIT 1) v ON true
        WHERE a.state = 'active') a
    WHERE a.reason IS NOT NULL
"""
_LONGEST_WAIT_FIRST = "ORDER BY a.attempted_at NULLS FIRST, a.id LIMIT :limit"
_ASKED_FOR = "SELECT a.name, a.base_model, a.base_revision, 'asked for' AS reason FROM adapters a WHERE "


class Evaluations(Database):
    """Results, verdicts, and the order in which adapters are measured."""

    def open_evaluation(self, conditions: Conditions, adapter: str | None) -> Evaluation:
        """The evaluation of an adapter (None: the base model) under these conditions, made if it is new.

        Raises:
            NotFoundError: there is no such adapter.
        """
        values: dict[str, Any] = {"digest": conditions.digest}
        with self.transaction() as connection:
            if adapter is not None:
                values["adapter"] = _adapter(connection, adapter).id
            connection.execute(
                text(
                    "INSERT INTO evaluations (digest, conditions, adapter_id) "
                    "VALUES (:digest, :conditions, :adapter) ON CONFLICT (digest, adapter_id) DO NOTHING"
                ),
                {"adapter": None, "conditions": conditions.model_dump_json()} | values,
            )
            whose = "e.adapter_id IS NULL" if adapter is None else "e.adapter_id = :adapter"
            (found,) = rows(connection, f"{_EVALUATION} WHERE e.digest = :digest AND {whose}", values)
        return _evaluation(found)

    def evaluations_of(self, adapter: str | None) -> tuple[Evaluation, ...]:
        """All evaluations of an adapter (None: of base models), the oldest first.

        Raises:
            NotFoundError: there is no such adapter.
        """
        with self.transaction() as connection:
            if adapter is None:
                found = rows(connection, f"{_EVALUATION} WHERE e.adapter_id IS NULL ORDER BY e.id")
            else:
                whose = {"adapter": _adapter(connection, adapter).id}
                found = rows(connection, f"{_EVALUATION} WHERE e.adapter_id = :adapter ORDER BY e.id", whose)
        return tuple(_evaluation(row) for row in found)

    def commit_results(self, evaluation_id: int, shard: ResultShard) -> bool:
        """Add a piece of results, whose object is in the store, at the evaluation's end.

        Returns whether the piece counts. If not, another attempt has committed these items already, and
        this one's object is an orphan. Calling again for a piece that counts, by its key, is True again.

        Raises:
            NotFoundError: there is no such evaluation.
            StateError: items before the piece are missing, or only some of its own are committed already;
                or its key is that of another piece.
        """
        with self.transaction() as connection:
            # Whoever commits to the same evaluation waits here, and then sees this piece.
            if (
                one(connection, "SELECT 1 FROM evaluations WHERE id = :e FOR NO KEY UPDATE", e=evaluation_id)
                is None
            ):
                raise NotFoundError(f"there is no evaluation {evaluation_id}")
            there = one(
                connection,
                "SELECT evaluation_id, first, count, key, sha256 FROM evaluation_shards WHERE key = :key",
                key=shard.key,
            )
            if there is not None:
                if tuple(there) == (evaluation_id, *shard.model_dump().values()):
                    return True
                raise StateError(
                    f"'{shard.key}' is the key of a piece of evaluation {there.evaluation_id} that begins at "
                    f"item {there.first}: every piece needs an object of its own"
                )
            end = one(
                connection,
                "SELECT coalesce(max(next), 0) AS done FROM evaluation_shards WHERE evaluation_id = :e",
                e=evaluation_id,
            )
            done = 0 if end is None else end.done
            if shard.first + shard.count <= done:
                return False
            if shard.first != done:
                raise StateError(
                    f"evaluation {evaluation_id} has {done} items, and items {shard.first} to "
                    f"{shard.first + shard.count - 1} do not follow them: open it again, go on at item {done}"
                )
            connection.execute(
                text(
                    "INSERT INTO evaluation_shards (evaluation_id, first, count, key, sha256) "
                    "VALUES (:e, :first, :count, :key, :sha256)"
                ),
                {"e": evaluation_id, **shard.model_dump()},
            )
        return True

    def record_verdict(self, verdict: AdapterVerdict) -> AdapterVerdict:
        """Keep a verdict with its measurements, and the adapter's values as scores.

        It is kept once for each adapter and run: whoever calls again gets the one that is there.

        Raises:
            NotFoundError: there is no such adapter.
            LiftError: the verdict was measured against another base model than the adapter's, or hangs on a
                measure that it does not hold.
        """
        with self.transaction() as connection:
            adapter = _held(connection, verdict.adapter)
            there = _verdicts(connection, "v.adapter_id = :a AND v.run = :run", a=adapter.id, run=verdict.run)
            if there:
                return there[0]
            if verdict.base_model != adapter.base_model:
                raise LiftError(
                    f"the verdict on adapter '{verdict.adapter}' was measured against {verdict.base_model}; "
                    f"its base model is {adapter.base_model}"
                )
            _insert_verdict(connection, adapter.id, verdict)
            store_scores(connection, verdict.adapter, _scores(verdict))
            event(
                connection,
                "adapter.judged",
                verdict.adapter,
                verdict=verdict.verdict,
                sentence=verdict.sentence,
                action=verdict.action,
                run=verdict.run,
            )
            _note_attempt(connection, adapter.id, verdict.created_at)
            return _verdicts(connection, "v.adapter_id = :a AND v.run = :run", a=adapter.id, run=verdict.run)[
                0
            ]

    def record_unmeasured(self, adapter: str, run: str, reason: str) -> None:
        """Note that a run could not measure an adapter, and why; once for each adapter and run.

        The attempt counts: the adapter goes to the end of those that :meth:`due_adapters` gives.

        Raises:
            NotFoundError: there is no such adapter.
        """
        with self.transaction() as connection:
            found = _held(connection, adapter)
            there = one(
                connection,
                "SELECT 1 FROM events WHERE subject = :name AND kind = 'adapter.unmeasured' "
                "AND detail ->> 'run' = :run",
                name=adapter,
                run=run,
            )
            if there is None:
                event(connection, "adapter.unmeasured", adapter, reason=reason, run=run)
                _note_attempt(connection, found.id, None)

    def verdict(self, adapter: str, run: str) -> AdapterVerdict:
        """What one run found about an adapter.

        Raises:
            NotFoundError: there is no such adapter, or the run did not judge it.
        """
        with self.transaction() as connection:
            whose = _adapter(connection, adapter).id
            found = _verdicts(connection, "v.adapter_id = :a AND v.run = :run", a=whose, run=run)
        if not found:
            raise NotFoundError(f"run '{run}' has no verdict on adapter '{adapter}'")
        return found[0]

    def verdicts(self, adapter: str, limit: int = 100) -> tuple[AdapterVerdict, ...]:
        """The verdicts on an adapter, newest first.

        Raises:
            NotFoundError: there is no such adapter.
        """
        with self.transaction() as connection:
            whose = _adapter(connection, adapter).id
            return _verdicts(connection, f"v.adapter_id = :a {_NEWEST_FIRST} LIMIT :n", a=whose, n=limit)

    def verdicts_of_run(self, run: str) -> tuple[AdapterVerdict, ...]:
        """The verdicts of one run, by the adapter's name; none where the run judged nothing."""
        with self.transaction() as connection:
            return _verdicts(connection, "v.run = :run ORDER BY a.name", run=run)

    def has_active_adapters(self) -> bool:
        """Whether there is an adapter that could be measured."""
        with self.transaction() as connection:
            return one(connection, "SELECT 1 FROM adapters WHERE state = 'active' LIMIT 1") is not None

    def due_adapters(
        self,
        *,
        measured_before: datetime,
        fingerprint: str,
        limit: int,
        created_since: datetime | None = None,
        created_until: datetime | None = None,
        names: Sequence[str] | None = None,
    ) -> tuple[DueAdapter, ...]:
        """The adapters that are to be measured, the longest without an attempt first.

        Due are active adapters without a verdict, with one whose policy has another ``fingerprint``, or with
        one from before ``measured_before``. Those that were never tried come first, the oldest of them first.
        With ``created_since`` or ``created_until`` it is all active adapters created then or later, and
        before, due or not; with ``names`` just those, in whatever state.

        Raises:
            NotFoundError: there is no adapter of one of the names, or it is removed.
            LiftError: the limit is below 1.
        """
        if limit < 1:
            raise LiftError(f"at least 1 adapter must be asked for, not {limit}")
        values: dict[str, Any] = {"limit": limit}
        if names is not None:
            query, values["names"] = f"{_ASKED_FOR} a.name = ANY(:names)", [*names]
        elif created_since is not None or created_until is not None:
            query = f"{_ASKED_FOR} a.state = 'active'"
            if created_since is not None:
                query, values["since"] = f"{query} AND a.created_at >= :since", created_since
            if created_until is not None:
                query, values["until"] = f"{query} AND a.created_at < :until", created_until
        else:
            query = _DUE
            values |= {"fingerprint": fingerprint, "measured_before": measured_before}
        with self.transaction() as connection:
            if names is not None:
                _check_names(connection, names)
            found = rows(connection, f"{query} {_LONGEST_WAIT_FIRST}", values)
        return tuple(DueAdapter.model_validate(dict(row._mapping)) for row in found)


def _adapter(connection: Connection, name: str, lock: str = "") -> Row[Any]:
    query = f"SELECT id, base_model FROM adapters WHERE name = :name {lock}"  # noqa: S608
    found = one(connection, query, name=name)
    if found is None:
        raise NotFoundError(f"there is no adapter '{name}'; see `lift adapters ls`")
    return found


def _held(connection: Connection, name: str) -> Row[Any]:
    """The adapter, held until the end: what a run says of it twice is said one after the other."""
    return _adapter(connection, name, "FOR NO KEY UPDATE")


def _note_attempt(connection: Connection, adapter_id: int, at: datetime | None) -> None:
    # A verdict of an earlier moment, recorded late, does not make the adapter wait less.
    connection.execute(
        text(
            "UPDATE adapters SET attempted_at = greatest(attempted_at, coalesce(:at, clock_timestamp())) "
            "WHERE id = :a"
        ),
        {"a": adapter_id, "at": at},
    )


def _insert_verdict(connection: Connection, adapter_id: int, verdict: AdapterVerdict) -> None:
    # As JSON: numbers of other libraries, which the database's driver would not know, are plain ones.
    plain = verdict.model_dump(mode="json")
    places = {decided: place for place, decided in enumerate(verdict.decided_by)}
    missing = places.keys() - {(each.task, each.measure) for each in verdict.measurements}
    if missing:
        named = ", ".join(f"{measure} of {task}" for task, measure in sorted(missing))
        raise LiftError(
            f"the verdict on adapter '{verdict.adapter}' hangs on {named}, which it does not hold"
        )
    made = one(
        connection,
        """
        INSERT INTO verdicts (adapter_id, run, verdict, sentence, p_value, adjusted_p_value, alerted, family,
            subjects, signs, policy, action, report, created_at)
        VALUES (:adapter, :run, :verdict, :sentence, :p_value, :adjusted_p_value, :alerted, :family,
            :subjects, :signs, :policy, :action, :report, :created_at)
        RETURNING id
        """,
        **{
            name: plain[name]
            for name in ("run", "verdict", "sentence", "p_value", "adjusted_p_value", "alerted", "family")
        },
        **{name: json.dumps(plain[name]) for name in ("subjects", "signs", "policy")},
        adapter=adapter_id,
        action=verdict.action,
        report=verdict.report,
        created_at=verdict.created_at,
    )
    if made is None:
        raise RuntimeError("a row that was just written cannot be read")
    for number, each in enumerate(plain["measurements"]):
        connection.execute(
            text(
                "INSERT INTO measurements (verdict_id, number, task, measure, n, base, adapter, difference, "
                "low, high, confidence, margin, p_value, mcnemar_p_value, verdict, deciding) "
                "VALUES (:verdict_id, :number, :task, :measure, :n, :base, :adapter, :difference, "
                ":low, :high, :confidence, :margin, :p_value, :mcnemar_p_value, :verdict, :deciding)"
            ),
            {
                **each,
                "verdict_id": made.id,
                "number": number,
                "deciding": places.get((each["task"], each["measure"])),
            },
        )


def _scores(verdict: AdapterVerdict) -> Mapping[str, float]:
    """The adapter's values by the names under which they are scores: ``mmlu.log_likelihood``."""
    found = {
        f"{each.task}.{each.measure.replace('-', '_')}": each.adapter
        for each in verdict.measurements
        if each.adapter is not None
    }
    # Tasks may be named by anybody; a score's name stands in filters and in SQL.
    return {
        re.sub(r"[^A-Za-z0-9._-]", "_", name): float(value) for name, value in (found | verdict.signs).items()
    }


def _verdicts(connection: Connection, condition: str, **values: Any) -> tuple[AdapterVerdict, ...]:
    return tuple(_verdict(row) for row in rows(connection, f"{_VERDICT} WHERE {condition}", values))


def _verdict(row: Row[Any]) -> AdapterVerdict:
    body = dict(row._mapping)
    places = {
        place: (each["task"], each["measure"])
        for each in body["measurements"]
        if (place := each.pop("deciding")) is not None
    }
    body["decided_by"] = [places[place] for place in sorted(places)]
    return AdapterVerdict.model_validate(body)


def _evaluation(row: Row[Any]) -> Evaluation:
    return Evaluation.model_validate(dict(row._mapping))


def _check_names(connection: Connection, names: Sequence[str]) -> None:
    found = rows(connection, "SELECT name, state FROM adapters WHERE name = ANY(:names)", {"names": [*names]})
    states = {row.name: row.state for row in found}
    for name in names:
        if name not in states:
            raise NotFoundError(f"there is no adapter '{name}'; see `lift adapters ls`")
        if states[name] == "removed":
            raise NotFoundError(f"adapter '{name}' is removed: its files are gone and cannot be measured")
