"""``lift bench``: figures about speed, and about what is right how often."""

from __future__ import annotations

import click

from lift_core.cli.bench import chaos, models, pairs, services


@click.group()
def bench() -> None:
    """Measure; each command prints, and writes docs/benchmarks/NAME.md and NAME.json.

    \b
    Example:
      lift bench registry --quick
      lift bench serving --json
    """


for _room in (services, models, pairs):
    for _command in _room.COMMANDS:
        bench.add_command(_command)
bench.add_command(chaos.chaos)
