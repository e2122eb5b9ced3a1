"""The registry's plugin: cheap for every process that loads it, a page that shows text and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "plugins" / "lift_airflow" / "registry_page.html").read_text(encoding="utf-8")

LOAD = """
import sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
print([plugin.name for plugin in plugins if plugin.name == "lift"], errors)
print(sorted({"fastapi", "lift_core.registry", "lift_core.api", "alembic"} & set(sys.modules)))
"""


def test_loading_the_plugin_imports_no_server_and_no_registry(tmp_path):
    environment = dict(os.environ) | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["['lift'] {}", "[]"]


@pytest.mark.parametrize(
    "way", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", " on[a-z]+="]
)
def test_the_page_has_no_way_to_show_what_the_registry_says_as_html(way):
    pattern = way if "[" in way else re.escape(way)
    assert re.search(pattern, PAGE) is None


def test_the_page_loads_nothing_from_anywhere_else():
    assert re.search(r"https?://|src=|@import|url\(", PAGE) is None
    assert (PAGE.count("<script>"), PAGE.count("<style>"), PAGE.count("<link")) == (1, 1, 0)
