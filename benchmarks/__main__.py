"""``python -m benchmarks``: one module a command."""

from __future__ import annotations

import click

from benchmarks import cold_start


@click.group()
def main() -> None:
    """Measure what osteo-edge costs on this machine."""


main.add_command(cold_start.command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
