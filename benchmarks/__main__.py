"""``python -m benchmarks``: one module a command."""

from __future__ import annotations

import click

from benchmarks import cold_start, engines, one_graph, winograd


@click.group()
def main() -> None:
    """Measure what osteo-edge costs on this machine."""


main.add_command(cold_start.command)
main.add_command(engines.command)
main.add_command(one_graph.command)
main.add_command(winograd.command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
