"""Airflow's side of `train`: it takes a worker's slot only when there is something to train on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from lift_airflow import steps
from lift_core.errors import ServiceUnavailableError

_PATIENCE_SECONDS = 2.0
"""A deferral and the way back take about as long: a stream that begins within it is waited for in place."""
_LOOK_SECONDS = 0.2


class TrainOperator(BaseOperator):
    """Trains a claim's adapter once the first row of its manifest is there; until then it is deferred.

    Waiting trainers so hold no slot, neither of a pool nor of a worker, that generation could need.
    """

    template_fields: Sequence[str] = ("claimed",)

    def __init__(self, *, claimed: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.claimed = claimed

    def execute(self, context: Any) -> Any:
        """Train at once where the stream has begun, as it has for every attempt but the first."""
        job_id = int(self.claimed["job_id"])
        begun = _begun(job_id)
        if begun is None:
            # Imported when it is needed: the registry's client makes parsing the DAG ten times longer.
            from lift_airflow.first_shard_trigger import FirstShardTrigger

            self.defer(trigger=FirstShardTrigger(job_id), method_name="resume")
        return self.resume(context, {"begun": begun})

    def resume(self, context: Any, event: dict[str, Any]) -> Any:
        """Train, unless the job ended before its first pair: that is for `generate` to tell.

        Raises:
            AirflowFailException: the job has ended; there is no stream.
        """
        if not event["begun"]:
            raise AirflowFailException(
                "the job has ended without a stream of pairs: `generate` says why; "
                "clear the run from `claim` on to take it up again"
            )
        return steps.run_step("train", self.claimed, context)


def _begun(job_id: int) -> bool | None:
    """Whether the job's stream has begun; None where that is not known yet."""
    from lift_core.registry import AdapterRegistry
    from lift_core.settings import get_settings

    registry = AdapterRegistry.from_settings(get_settings())
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            known = registry.streams_begun([job_id])
        except ServiceUnavailableError:
            return None  # the trigger waits for the registry too
        if known or time.monotonic() > deadline:
            return known.get(job_id)
        time.sleep(_LOOK_SECONDS)
