"""A report is read back as it was written, by programs and by people."""

import json

from lift_core.benchmarks import Report, write_report
from lift_core.benchmarks.report import columns


def test_json_and_page_hold_the_same_figures(tmp_path):
    rows = [
        {"name": "a step", "unit": "s", "ours": 0.5, "peer": 1.5, "ratio": 3.0},
        {"name": "put to ready", "unit": "s", "ours": 12.345678, "peer": None, "ratio": None},
    ]
    page = write_report(Report(name="training", settings={"pairs": 7}, rows=rows), tmp_path)
    body = json.loads((tmp_path / "training.json").read_text())
    assert body["rows"] == rows
    assert set(body) == {"name", "command", "started_at", "machine", "settings", "rows", "details"}
    assert body["machine"]["cores"] >= 1
    text = page.read_text()
    assert "| a step | s | 0.5 | 1.5 | 3 |" in text
    assert "| put to ready | s | 12.3 | – | – |" in text
    assert "pairs 7" in text


def test_the_page_says_by_which_command_it_was_made(tmp_path):
    report = Report(name="overlap-apart", command="overlap --apart", settings={}, rows=[])
    assert "`lift bench overlap --apart`, " in write_report(report, tmp_path).read_text()
    assert "`lift bench x`, " in write_report(Report(name="x", settings={}, rows=[]), tmp_path).read_text()


def test_a_column_without_any_value_is_not_on_the_page(tmp_path):
    rows = [
        {"name": "put to ready", "ours": 3.5, "peer": None},
        {"name": "lost", "ours": 0, "peer": None},
    ]
    report = Report(name="x", settings={}, rows=rows)
    assert columns(rows) == ["name", "ours"]
    text = write_report(report, tmp_path).read_text()
    assert "| put to ready | 3.5 |\n| lost | 0 |" in text


def test_what_the_figures_come_from_has_a_table_of_its_own(tmp_path):
    details = [{"name": "Tesla", "kept": 0.5}, {"name": "Normans", "kept": 0.25, "rejected": 3}]
    report = Report(name="x", settings={}, rows=[{"name": "mean: kept", "ours": 0.375}], details=details)
    text = write_report(report, tmp_path).read_text()
    summary, one_by_one = text.split("## One by one")
    assert "| mean: kept | 0.375 |" in summary and "Tesla" not in summary
    assert "| Tesla | 0.5 | – |\n| Normans | 0.25 | 3 |" in one_by_one
