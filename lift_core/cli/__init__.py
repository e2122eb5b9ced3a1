"""The ``lift`` command. One file a subcommand, imported only when that subcommand runs."""

from __future__ import annotations

import importlib
import sys

import click

from lift_core import __version__
from lift_core.errors import LiftError, ServiceUnavailableError

__all__ = ["cli", "main"]

COMMANDS = {
    "up": ("stack", "Start the embedded stack and wait until it is ready."),
    "down": ("stack", "Stop the embedded stack; no process stays."),
    "status": ("stack", "Show the services, their state and their addresses."),
    "doctor": ("stack", "Name what is missing or broken, and the remedy."),
    "demo": ("demo", "Start the stack, drop the sample document, ask its adapter."),
    "run": ("run", "Turn a file into an adapter in this process, without Airflow."),
    "docs": ("docs", "Put, list and inspect documents."),
    "pairs": ("pairs", "See the pairs of a document before or after it is trained, and how good they are."),
    "adapters": ("adapters", "Find, inspect, compare and manage adapters."),
    "ask": ("ask", "Ask an adapter from the query alone."),
    "eval": ("evaluations", "Measure what adapters forgot; see and compare verdicts."),
    "serve": ("serve", "Run the gateway, and see what the serving engines hold."),
    "webhooks": ("webhooks", "Tell other systems of the registry's events."),
    "registry": ("registry", "Look after the registry: its schema, and what nothing refers to."),
    "bench": ("bench", "Measure; writes docs/benchmarks."),
}


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is called, so that ``lift --help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lift_core.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lift")
def cli() -> None:
    """Drop a document into a bucket, get a LoRA adapter that answers about it.

    \b
    Example:
      lift up
      lift docs put report.md --wait
      lift ask report "Who signed it?"
    """


def main() -> None:
    """Run the command line; errors of LIFT become one clear line and an exit code.

    Exit codes: 0 done, 1 the thing asked for failed, 2 wrong usage, 3 a service is away.
    """
    try:
        cli(standalone_mode=True)
    except ServiceUnavailableError as error:
        click.echo(f"lift: {error}", err=True)
        sys.exit(3)
    except LiftError as error:
        click.echo(f"lift: {error}", err=True)
        sys.exit(1)
