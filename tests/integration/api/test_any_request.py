"""What the OpenAPI schema allows, and much that it does not: no request breaks the API."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as some
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from lift_core.api import create_app
from lift_core.evaluation_records import AdapterVerdict, Measurement
from lift_core.records import Recipe
from lift_core.registry import AdapterRegistry
from lift_core.store import layout

EXAMPLES = 50
# A token stands for the header that writes need; the rest of a request is invented.
SIGNED_IN = {"Authorization": "Bearer token"}
KNOWN = {
    "name": ["report-v1", "report-v2", "report", "report.md"],
    "run": ["run-1", "run-1", "run-1", "run-2"],
    "alias": ["report@stable", "report", "report@champion", "report@old"],
}
VERDICT = AdapterVerdict(
    adapter="",
    run="run-1",
    base_model=Recipe().base_model,
    verdict="undecided",
    sentence="Undecided.",
    decided_by=(),
    p_value=1,
    adjusted_p_value=1,
    alerted=False,
    family=1,
    measurements=(
        Measurement(
            task="mmlu",
            measure="log-likelihood",
            n=9,
            base=-0.1,
            adapter=-0.2,
            difference=-0.1,
            low=-math.inf,
            high=math.inf,
            confidence=0.95,
            margin=0.05,
            p_value=0.5,
            verdict="undecided",
        ),
    ),
    subjects={"mmlu": {"law": (9, 0.5, 0.4)}},
    signs={"own_f1": 0.5},
    policy={"margins": [0.02]},
    action="none",
    report="reports/run-1/report/",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
# What these look for is not promised: a condition's meaning (a cursor, a tag, a score), the condition that a
# move needs, and the order of things refused are not in the schema; a longer path is a document's key.
NOT_PROMISED = [negative_data_rejection, positive_data_acceptance, unsupported_method]


@pytest.fixture
def schema(settings, registry, store, work):
    first, second = work.active("report.md", "e1"), work.active("report.md", "e2")
    registry.tag(first.name, {"owner": "ada"})
    work.arrive("folder/garden.md")
    pooled = AdapterRegistry.from_settings(settings, pool_size=5)
    for adapter in (first, second):
        verdict = registry.record_verdict(VERDICT.model_copy(update={"adapter": adapter.name}))
        store.put_bytes(settings.work_bucket, f"{verdict.report}report.html", b"<!doctype html>")
    store.put_bytes(
        settings.work_bucket, f"{layout.run_report_prefix('run-1')}report.html", b"<!doctype html>"
    )
    app = create_app(
        lambda: pooled, [], [], read_report=lambda key: store.get_bytes(settings.work_bucket, key)
    )
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=SIGNED_IN)
    pooled._engine.dispose()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda m: m.value)
def test_no_request_breaks_the_api_and_every_answer_is_as_its_schema_says(schema, mode):
    answers = Counter()
    condition = some.sampled_from([{}, {"If-Match": "*"}, {"If-None-Match": "*"}])

    def ask(case, choice, headers):
        # Invented names find nothing: most requests are about something that is there.
        if choice is not None:
            for parameter in case.path_parameters:
                case.path_parameters[parameter] = KNOWN[parameter][choice]
            if mode is GenerationMode.POSITIVE and case.method == "PUT":
                case.body = {"adapter": KNOWN["name"][choice % 2]}
            for header in ("if-match", "if-none-match"):
                case.headers.pop(header, None)
        answer = case.call_and_validate(headers=SIGNED_IN | headers, excluded_checks=NOT_PROMISED)
        answers[case.operation.label, answer.status_code] += 1

    for found in schema.get_all_operations():
        operation = found.ok()
        asked = given(operation.as_strategy(mode), some.none() | some.integers(0, 3), condition)(ask)
        try:
            effort(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(asked)()
        except Unsatisfiable:
            # Whatever can stand in a path or a header is a name: there is nothing wrong to invent.
            assert mode is GenerationMode.NEGATIVE
    assert answers.total() >= 10 * EXAMPLES
    assert not [answer for answer in answers if answer[1] >= 500]
    if mode is GenerationMode.POSITIVE:
        assert {label for label, status in answers if status < 300} == {label for label, _ in answers}
