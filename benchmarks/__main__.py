"""``python -m benchmarks``: one module a command."""

from __future__ import annotations

import click

from benchmarks import (
    accuracy,
    cold_start,
    devices,
    engines,
    gates,
    growth,
    quality,
    questions,
    reports,
    roofline,
    saliency,
    stability,
    turned,
    untrusted,
)
from benchmarks.graded import command as graded
from benchmarks.peers import command as peers


@click.group()
def main() -> None:
    """Measure what osteo-edge costs on this machine."""


main.add_command(accuracy.command)
main.add_command(cold_start.command)
main.add_command(devices.command)
main.add_command(engines.command)
main.add_command(gates.command)
main.add_command(graded.external)
main.add_command(graded.grades)
main.add_command(growth.command)
main.add_command(peers.command)
main.add_command(quality.command)
main.add_command(questions.command)
main.add_command(reports.command)
main.add_command(roofline.command)
main.add_command(saliency.command)
main.add_command(stability.command)
main.add_command(turned.command)
main.add_command(untrusted.command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
