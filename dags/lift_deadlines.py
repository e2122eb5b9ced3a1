"""Each minute: which documents are not ready in time? One alert for each."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, get_current_context, task
from lift_airflow import alerts
from lift_airflow.placement import placed

from lift_core.settings import get_settings

with DAG(
    "lift_deadlines",
    # Without a deadline there is nothing to look for.
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC") if get_settings().deadline_minutes else None,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=20)} | placed("cpu"),
    tags=["lift"],
    doc_md="""
### Documents that are late raise an alert

A document whose job has not ended `LIFT_DEADLINE_MINUTES` after it was queued is **late**: the registry
records it once (event `job.late`, which webhooks deliver), and the notifiers of `[lift] notifiers` in
Airflow's configuration tell people. It goes on all the same. The clock starts this apart from
`lift_dispatch`, so that it also looks while the object store is away. With `LIFT_DEADLINE_MINUTES=0`, the
default, it has no schedule.
""",
):

    @task(doc_md="Record the documents that are late, and tell people of those that nobody was told of.")
    def watch() -> list[str]:
        return alerts.watch_deadlines(get_current_context())

    watch()
