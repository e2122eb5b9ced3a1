"""Tables for people, and for whoever pipes them."""

from lift_core.cli.output import print_table


def test_a_piped_row_is_one_line(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "/a/" + "long/" * 20 + "log"
    print_table(["service", "log"], [["s3", path], ["gateway", None]])
    lines = capsys.readouterr().out.splitlines()
    assert any("s3" in line and path in line for line in lines)
    assert any("gateway" in line and "–" in line for line in lines)


def test_columns_says_how_wide_it_may_be(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["log"], [["x" * 100]])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40
