"""``osteo-edge tune``: measure which file of a bundle is fastest on this device, and remember it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from osteo_edge.bundle import Bundle, open_bundle
from osteo_edge.cli.help import Command
from osteo_edge.cli.options import bundle_option

if TYPE_CHECKING:
    from osteo_edge.engines.measurement import Measured

_STEPS = 100


@click.command("tune", cls=Command, epilog="\b\nExample: osteo-edge tune --bundle knee-mobilenet_v2")
@bundle_option
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the engine [default: all processors].")
@click.option("--forget", is_flag=True, help="Remove what was measured for the bundle, and measure nothing.")
def command(bundle: str, threads: int | None, forget: bool) -> None:
    """Measure for some seconds which engine and precision of a bundle is fastest on this device, and remember it.

    'predict' then uses it where engine and precision are left to it, with the same number of threads, until the bundle, the
    processor, the engines or osteo-edge change. Only files that the bundle accepts as equal to its networks take part. The
    choice is kept in the folder that OSTEO_EDGE_TUNING names, by default osteo-edge/tuning in the user's configuration folder.
    """
    opened = open_bundle(bundle)
    if forget:
        _forget(opened)
    else:
        _tune(opened, threads)


def _forget(bundle: Bundle) -> None:
    from osteo_edge.engines.tuning import forget_tuning

    name = bundle.manifest.name
    was_there = forget_tuning(bundle)
    click.echo(f"the stored choice for {name} is removed" if was_there else f"nothing was stored for {name}")


def _tune(bundle: Bundle, threads: int | None) -> None:
    from osteo_edge.engines.measurement import measure
    from osteo_edge.engines.select import available_threads
    from osteo_edge.engines.tuning import require_tuning_folder, store_tuning

    require_tuning_folder()
    count = threads or available_threads()
    click.echo("testing and loading the bundle's files ...", err=True)
    with click.progressbar(length=_STEPS, label="measuring", file=sys.stderr) as bar:
        measured = measure(bundle, threads=count, on_progress=lambda share: bar.update(round(share * _STEPS) - bar.pos))
    stored = store_tuning(bundle, measured.tuning)
    click.echo(_table(measured))
    click.echo(f"auto is now {measured.tuning.engine} {measured.tuning.precision} (threads: {count}), stored in {stored}")


def _table(measured: Measured) -> str:
    first = measured.tuning.timings[0]
    lines = [f"{'engine':<12} {'precision':<9} {'ms':>8}  times as fast as {first.engine} {first.precision}"]
    lines += [
        f"{timing.engine:<12} {timing.precision:<9} {timing.median_ms:>8.2f}  {timing.times_as_fast:.2f}"
        for timing in measured.tuning.timings
    ]
    lines += [
        f"{engine:<12} {precision:<9} {'-':>8}  fails its self-test here: {why}"
        for (engine, precision), why in measured.left_out.items()
    ]
    return "\n".join(lines)
