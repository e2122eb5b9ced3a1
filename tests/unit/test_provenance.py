"""What is written down about the making of an adapter."""

import json

import pytest

from lift_core import __version__, provenance


def test_it_says_what_ran_on_what_and_for_how_long():
    with provenance.measured() as found:
        sum(number * number for number in range(200_000))
        assert found == {}
    assert found["code"].startswith(__version__)
    assert found["libraries"]["torch"]
    assert found["hardware"]["cores"] >= 1
    assert found["seconds"] >= 0
    assert found["processor_seconds"] > 0
    assert json.loads(json.dumps(found)) == found


def test_work_that_fails_leaves_nothing():
    with pytest.raises(RuntimeError), provenance.measured() as found:
        raise RuntimeError("no")
    assert found == {}


def test_the_commit_is_named_only_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    assert provenance.code_version() == __version__
    (tmp_path / ".git").mkdir()  # and nothing in it: git refuses
    assert provenance.code_version() == __version__


def test_energy_is_the_sum_of_the_counters_that_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_RAPL", tmp_path)
    assert provenance._energy_joules() is None
    for number, value in enumerate(["1500000", "2500000", "no number"]):
        folder = tmp_path / f"intel-rapl:{number}"
        folder.mkdir()
        (folder / "energy_uj").write_text(value)
    assert provenance._energy_joules() == 4.0
