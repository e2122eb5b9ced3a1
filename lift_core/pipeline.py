"""The whole chain in one process, without Airflow: the same steps, two threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lift_core.attempts import this_process
from lift_core.errors import AlreadyDoneError, FencedError, LiftError, NotFoundError, PermanentError
from lift_core.records import AdapterRecord, Claim, Recipe
from lift_core.steps import Steps

LOCAL_PREFIX = "local/"
"""Documents of ``lift run`` live in the work bucket, which no dispatcher lists."""


def run_file(
    steps: Steps, path: Path, recipe: Recipe, on_stage: Callable[[str], None] = lambda _: None
) -> AdapterRecord:
    """Turn a file into an active adapter in this process.

    The same bytes under the same recipe are not done twice: the adapter that exists is returned.

    Raises:
        LiftError: what went wrong; a permanent cause is also recorded on the job.
    """
    key = f"{LOCAL_PREFIX}{path.name}"
    with steps.registry.alone(key, on_wait=lambda: on_stage("wait for another run of this file")):
        return _run(steps, path, key, recipe, on_stage)


def _run(
    steps: Steps, path: Path, key: str, recipe: Recipe, on_stage: Callable[[str], None]
) -> AdapterRecord:
    bucket = steps.settings.work_bucket
    on_stage("put")
    steps.store.put_file(bucket, key, path)
    arrival = steps.store.stat(bucket, key)
    steps.registry.record_arrivals([arrival], recipe)
    try:
        job = steps.registry.newest_job(bucket, key, recipe.digest)
    except NotFoundError:
        # The same bytes, under another recipe than before.
        steps.registry.reprocess(bucket, key, recipe)
        job = steps.registry.newest_job(bucket, key, recipe.digest)
    existing = steps.registry.adapter_of_job(job.job_id)
    if existing is not None and existing.state == "active":
        return existing
    holder = this_process()
    steps.registry.admit_job(job.job_id)
    try:
        return _chain(steps, job.run_id, holder, on_stage)
    except (FencedError, AlreadyDoneError):
        # Another attempt has the work: the job is its, and not failed.
        raise
    except LiftError as error:
        steps.fail(job.run_id, str(error), permanent=isinstance(error, PermanentError))
        raise


def _chain(steps: Steps, run_id: str, holder: str, on_stage: Callable[[str], None]) -> AdapterRecord:
    on_stage("claim")
    claim = steps.claim(run_id, holder)
    on_stage("split")
    steps.split(claim, holder)
    on_stage("generate and train")
    _generate_beside_train(steps, claim, holder)
    on_stage("prove")
    steps.prove(claim, holder)
    on_stage("activate")
    return steps.registry.adapter(steps.activate(claim, holder))


def _generate_beside_train(steps: Steps, claim: Claim, holder: str) -> None:
    """Run both sides of the stream; when the writer dies, the reader stops waiting."""
    writer_gone = threading.Event()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate") as pool:
        generating = pool.submit(steps.generate, claim, holder)
        generating.add_done_callback(lambda done: writer_gone.set() if done.exception() else None)
        try:
            steps.train(claim, holder, writer_gone)
        except LiftError:
            if generating.done() and (cause := generating.exception()) is not None:
                raise cause from None
            raise
        generating.result()
