"""The dashboard and the alert rules ask for nothing that is not exported, and answer to what can be done."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from lift_core.registry.figures import FIGURES

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "docker" / "prometheus" / "lift-alerts.yaml"
DASHBOARD = ROOT / "docker" / "grafana" / "lift.json"
SUFFIXES = {"gauge": ("",), "counter": ("_total",), "summary": ("_sum", "_count")}
EXPORTED = {figure.name + suffix: figure for figure in FIGURES for suffix in SUFFIXES[figure.kind]}


def airflows() -> set[str]:
    """The names under which a StatsD exporter shows Airflow's metrics with tags."""
    named = files("airflow._shared.observability.metrics").joinpath("metrics_template.yaml").read_text()
    return {"airflow_" + re.sub(r"[.-]", "_", each["name"]) for each in yaml.safe_load(named)["metrics"]}


def alerts():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


EXPRESSIONS = [rule["expr"] for rule in alerts()] + [
    target["expr"] for panel in panels() for target in panel["targets"]
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_that_is_asked_for_is_exported(expression):
    asked = re.findall(
        r"\b((?:lift|airflow)_[a-z_]+)\b(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', expression)
    )
    assert asked
    for name, selector in asked:
        if name.startswith("airflow_"):
            assert name in airflows()
            continue
        labels = re.findall(r"([a-z_]+)\s*=", selector)
        assert set(labels) <= set(EXPORTED[name].labels)


def test_every_figure_is_on_the_dashboard():
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert [figure.name for figure in FIGURES if figure.name not in shown] == []


def test_panels_lie_beside_each_other_and_have_numbers_of_their_own():
    whole = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in whole}) == len(whole)
    taken = [
        (x, y)
        for panel in whole
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24


def test_every_alert_says_how_urgent_it_is_and_stands_on_the_page_for_operators():
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["alert"] in page
