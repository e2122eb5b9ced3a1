"""The command line: help everywhere, with an example, without loading what it does not need."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from lift_core.cli import COMMANDS, cli


def _commands(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))


@pytest.mark.parametrize("path", list(_commands(cli)), ids=" ".join)
def test_every_command_has_help_with_an_example(path):
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example:" in result.output
    assert "lift " in result.output.split("Example:")[1]


def test_listing_commands_offer_json():
    for path in (["docs", "ls"], ["adapters", "ls"], ["status"], ["ask"], ["docs", "show"]):
        assert "--json" in CliRunner().invoke(cli, [*path, "--help"]).output


def test_top_level_help_lists_every_command():
    output = CliRunner().invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert f"  {name} " in output


def test_help_loads_none_of_the_heavy_libraries():
    code = (
        "import sys\nfrom lift_core.cli import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'airflow', 'sqlalchemy', 'minio', 'pydantic', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_wrong_usage_exits_with_two():
    assert CliRunner().invoke(cli, ["ask"]).exit_code == 2
    assert CliRunner().invoke(cli, ["nonsense"]).exit_code == 2
