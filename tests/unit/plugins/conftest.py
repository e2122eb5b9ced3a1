"""Airflow's side of LIFT, importable as it is in Airflow's own processes."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def plugins_on_path(tmp_path_factory):
    """The plugins folder on the path, for a module's tests; afterwards its modules are forgotten."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(ROOT / "plugins"))
    patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    yield
    patch.undo()
    for name in [name for name in sys.modules if name.startswith("lift_airflow")]:
        del sys.modules[name]
