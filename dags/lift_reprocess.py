"""Daily, so that Airflow's own backfill works by date: what arrived on those days, under another recipe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, get_current_context, task
from lift_airflow import reprocessing
from lift_airflow.placement import placed

with DAG(
    "lift_reprocess",
    # A timetable with real intervals: the plain `@daily` preset has none.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=4,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)} | placed("cpu"),
    params={
        "recipe": Param(
            None, type=["null", "string"], description="Name of the recipe; empty: the default (LIFT_RECIPE)."
        ),
        "prefix": Param(
            None,
            type=["null", "string"],
            description="Only documents whose key begins with this.",
        ),
        "force": Param(
            False, type="boolean", description="A new generation also of what is done under this recipe."
        ),
    },
    tags=["lift"],
    doc_md="""
### Documents again, by the day they arrived

A **backfill** of this DAG queues every document that arrived on its days (UTC; the data interval, from its
start and before its end) under the recipe of the run's configuration. From the UI: *Trigger → Backfill*,
dates and parameters. From the command line:

```
airflow backfill create --dag-id lift_reprocess --from-date 2026-11-01 --to-date 2026-11-30 \\
    --dag-run-conf '{"recipe": "llama3-8b"}' --reprocess-behavior completed
```

**Days that ran before** are left out by Airflow unless the backfill is asked to do them again:
`--reprocess-behavior completed` (in the UI: *All Runs*, and *Override parameters on existing runs*). Each
day since the installation ran once, by its schedule, and skipped itself: a **scheduled run queues
nothing**, since `lift_dispatch` starts what arrives.

What is under way, done or failed for good under that recipe stays as it is, so a second backfill does
nothing; `force` asks for a new generation. Adapters of other recipes stay; the aliases move to the newest
adapter when it is proven. The jobs start as slots become free, after what arrives meanwhile.
`lift docs reprocess --from … --to … --dry-run` lists the same documents: Airflow's own dry run lists dates.
""",
):

    @task(doc_md="Select the documents of the data interval and queue their jobs; the log names each.")
    def queue_documents() -> dict[str, int]:
        return reprocessing.reprocess(get_current_context())

    queue_documents()
