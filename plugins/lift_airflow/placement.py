"""Where tasks run: what ``[lift]`` in Airflow's configuration says of machines with and without a GPU.

==========================  ==================================================================
option                      what it names
==========================  ==================================================================
cpu_queue, gpu_queue        the queue of the tasks of that kind, which workers listen on
cpu_executor, gpu_executor  their executor, where ``[core] executor`` lists several
cpu_pod_template_file,      their pod template, for the KubernetesExecutor: a file that the
gpu_pod_template_file       scheduler can read
==========================  ==================================================================

Nothing is set by default: then all tasks run where Airflow runs tasks. What is set for ``cpu`` alone holds
for all.
"""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk.configuration import conf


def placed(kind: Literal["cpu", "gpu"]) -> dict[str, Any]:
    """The arguments that place a task; none where nothing is configured. Read when a DAG is parsed."""
    arguments: dict[str, Any] = {}
    for option in ("queue", "executor"):
        if value := conf.get("lift", f"{kind}_{option}", fallback=""):
            arguments[option] = value
    if template := conf.get("lift", f"{kind}_pod_template_file", fallback=""):
        arguments["executor_config"] = {"pod_template_file": template}
    return arguments
