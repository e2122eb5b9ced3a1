"""What a benchmark's command tells whoever waits for it."""

from lift_core.benchmarks import Report
from lift_core.cli.bench import running


def test_where_no_bar_can_be_drawn_lines_say_how_far_it_is(monkeypatch, capsys):
    def measure(on_progress):
        on_progress("kills", 3, 90)
        on_progress("warming up", 0, 0)
        return Report(name="x", settings={}, rows=[{"name": "a", "ours": 1, "peer": None}])

    monkeypatch.setattr(running, "_LINE_SECONDS", 0.0)
    running.measured(measure, quick=True, as_json=True)
    said = capsys.readouterr()
    assert said.err.splitlines()[:2] == ["kills 3/90", "warming up"]
    assert said.out.lstrip().startswith("{")


def test_lines_come_now_and_then_only(monkeypatch, capsys):
    report = Report(name="x", settings={}, rows=[{"name": "a", "ours": 1}])

    def measure(on_progress):
        for number in range(100):
            on_progress("kills", number, 100)
        return report

    running.measured(measure, quick=True, as_json=True)
    assert "kills" not in capsys.readouterr().err
