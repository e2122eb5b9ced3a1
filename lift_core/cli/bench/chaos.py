"""``lift bench chaos``: a stack of its own, whose processes are killed while documents become adapters."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click
import httpx
import psutil

from lift_core import stack
from lift_core.benchmarks.chaos_plan import DOCUMENTS, KILLS, SERVICES, TRAINER, WORKER
from lift_core.benchmarks.report import Report
from lift_core.cli.bench.running import Progress, measured, quick_option
from lift_core.cli.output import json_option
from lift_core.errors import LiftError
from lift_core.settings import get_settings, lift_home

_DAG = "lift_document"
_RECIPE = {
    # Pairs by the embedded generator; a model of random weights that trains in a second.
    "format": 1,
    "base_model": "tiny-random",
    "generator": {
        "profile": "answers",
        "model": "SmolLM2-135M-Instruct-questions",
        "revision": "4",
        "pairs": 2,
        "sampled": 1,
    },
    "gate": {"min_pairs": 1, "grounded": False},
    "lora": {"rank": 4, "alpha": 8},
    "training": {"epochs": 4, "learning_rate": 0.005, "pairs_per_step": 4, "precision": "fp32"},
    "proof": {"served": False, "held_out_share": 0.0, "min_gain": -1000.0},
}
_HOUSEKEEPING_SECONDS = 600.0


class RunningStack:
    """The embedded stack as the benchmark sees it."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def pid(self, service: str) -> int | None:
        """The process of a service that answers."""
        found = stack.status(self._home).service(service)
        return found.pid if found is not None and found.ok else None

    def owns(self, pid: int) -> bool:
        """Whether a process descends from the stack's supervisor."""
        supervisor = self._supervisor().pid
        return any(parent.pid == supervisor for parent in psutil.Process(pid).parents())

    def orphans(self) -> list[str]:
        """Children of the supervisor that are no services: adopted, and not ended."""
        led = {each.pid for each in stack.status(self._home).services}
        return [
            f"{child.pid} {' '.join(child.cmdline())[:80]}"
            for child in self._supervisor().children()
            if child.pid not in led and child.status() != psutil.STATUS_ZOMBIE
        ]

    def unfinished_runs(self) -> list[str]:
        """Runs of the document DAG that are queued or running."""
        return [*self._runs("queued"), *self._runs("running")]

    def failed_runs(self) -> list[str]:
        """Runs of the document DAG that failed."""
        return self._runs("failed")

    def housekeep(self) -> None:
        """Start the housekeeping DAG and wait for its end."""
        run_id = f"chaos-{time.time_ns()}"
        with self._airflow() as client:
            body = {"dag_run_id": run_id, "logical_date": None, "conf": {"clean": True}}
            _checked(client.post("/api/v2/dags/lift_housekeeping/dagRuns", json=body))
            deadline = time.monotonic() + _HOUSEKEEPING_SECONDS
            while time.monotonic() < deadline:
                found = _checked(client.get(f"/api/v2/dags/lift_housekeeping/dagRuns/{run_id}"))
                if found["state"] in ("success", "failed"):
                    return
                time.sleep(1)
        raise LiftError(f"lift_housekeeping has not ended after {_HOUSEKEEPING_SECONDS:.0f} s")

    def _runs(self, state: str) -> list[str]:
        with self._airflow() as client:
            wanted: dict[str, str | int] = {"state": state, "limit": 100}
            found = _checked(client.get(f"/api/v2/dags/{_DAG}/dagRuns", params=wanted))
        return [run["dag_run_id"] for run in found["dag_runs"]]

    def _airflow(self) -> httpx.Client:
        seen = stack.status(self._home)
        if seen.airflow_url is None:
            raise LiftError("the stack has no Airflow")
        login = {"username": "admin", "password": seen.airflow_password}
        address = f"{seen.airflow_url}/auth/token"
        token = _checked(httpx.post(address, json=login, timeout=60, trust_env=False))["access_token"]
        return httpx.Client(
            base_url=seen.airflow_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )

    def _supervisor(self) -> psutil.Process:
        pid = stack.status(self._home).supervisor_pid
        if pid is None:
            raise LiftError("the stack's supervisor is gone")
        return psutil.Process(pid)


@click.command()
@click.option("--documents", type=click.IntRange(1), help="How many documents (default: 200).")
@click.option("--kills", type=click.IntRange(1), help="Kills of each kind of process (default: 10).")
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses the moments.")
@click.option("--without-vllm", is_flag=True, help="Pairs without a model, and no model servers to kill.")
@click.option(
    "--victim",
    "only",
    multiple=True,
    type=click.Choice([*SERVICES, WORKER, TRAINER]),
    help="Kill only this kind of process; may be given again (default: every kind).",
)
@quick_option
@json_option
def chaos(
    documents: int | None,
    kills: int | None,
    seed: int,
    without_vllm: bool,
    only: tuple[str, ...],
    quick: bool,
    as_json: bool,
) -> None:
    """Kill every kind of process while documents become adapters; exit code 1 where one was lost or doubled.

    It starts the embedded stack and stops it at the end: none may run in this LIFT_HOME. With --quick, six
    documents, one kill of each, no vLLM.

    \b
    Example:
      LIFT_HOME=.lift-chaos lift bench chaos --documents 30 --kills 3 --seed 7
    """
    from lift_core.benchmarks import chaos as benchmark
    from lift_core.steps import Steps

    home = lift_home()
    if stack.status(home).phase != "stopped":
        raise LiftError(f"a stack runs in {home}, and this would kill it: `lift down`, or another LIFT_HOME")
    without_vllm = without_vllm or quick
    documents = documents or (6 if quick else DOCUMENTS)
    kills = kills or (1 if quick else KILLS)
    kinds = [*SERVICES, WORKER, TRAINER]
    victims = [each for each in kinds if each in (only or kinds) and not (without_vllm and each == "vllm")]
    if not victims:
        raise click.UsageError("--without-vllm and --quick leave no vllm to kill")
    recipe = "smoke" if without_vllm else _own_recipe(home)
    os.environ.setdefault("LIFT_CHECKPOINT_SECONDS", "0")  # a commit after every step

    def tell(line: str) -> None:
        click.echo(line, err=True)

    def measure(progress: Progress) -> Report:
        _make_base_model(home)
        # Adapters of random weights are served by nobody.
        os.environ.setdefault("LIFT_SERVING_URL", "http://127.0.0.1:9/v1")
        stack.up(home, tell, with_vllm=not without_vllm)
        get_settings.cache_clear()
        try:
            report = benchmark.run(
                Steps.connect(),
                RunningStack(home),
                recipe=recipe,
                documents=documents,
                kills=kills,
                seed=seed,
                victims=victims,
                on_progress=progress,
            )
        finally:
            stack.down(home, tell)
        left = len(stack.left_behind(home))
        row = {"name": "processes after lift down", "ours": left, "peer": 0, "ratio": None}
        wrong.extend(benchmark.broken(report))
        wrong.extend([f"{left} processes after lift down"] if left else [])
        return report.model_copy(update={"rows": [*report.rows, row]})

    wrong: list[str] = []
    measured(measure, quick, as_json)
    if wrong:
        raise LiftError("; ".join(wrong))


def _own_recipe(home: Path) -> str:
    folder = home / "bench" / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos.json").write_text(json.dumps(_RECIPE, indent=1))
    os.environ["LIFT_RECIPES_DIR"] = str(folder)
    return "chaos"


def _make_base_model(home: Path) -> None:
    from lift_core.training.tiny_model import make_tiny_model

    folder = home / "models" / "tiny-random"
    if not folder.is_dir():
        make_tiny_model(folder)


def _checked(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise LiftError(f"Airflow answers {response.status_code} to {response.url}: {response.text[:200]}")
    return response.json()
