"""``osteo-edge tune``: measure which file of a bundle is fastest on this device, and remember it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.bundle import Bundle
from osteo_edge.cli.help import Command
from osteo_edge.cli.options import asked_bundles, asked_options
from osteo_edge.cli.terminal import tell, tell_text
from osteo_edge.printable import printable

if TYPE_CHECKING:
    from osteo_edge.tuning.measurement import Measured

_STEPS = 100


_EPILOG = """\b
Examples:
  osteo-edge tune
  osteo-edge tune --bundle knee-mobilenet_v2 radiographs/"""


@click.command("tune", cls=Command, epilog=_EPILOG)
@click.argument("pictures", nargs=-1, type=click.Path(exists=True), metavar="[PATH | FOLDER]...")
@asked_options
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the engine [default: all processors].")
@click.option("--forget", is_flag=True, help="Remove what was measured for the bundle, and measure nothing.")
def command(
    pictures: tuple[str, ...], bundles: tuple[str, ...], questions: tuple[str, ...], threads: int | None, forget: bool
) -> None:
    """Measure for some seconds which engine and precision of a bundle is fastest on this device, and remember it.

    A less exact file is kept only where it is faster than the more exact ones beyond the noise of the measurement. How many
    answers would then be others is counted on the radiographs that are given, else on variations of the bundle's own picture.

    'predict' then uses the choice where engine and precision are left to it, with the same number of threads, until the
    bundle, the processor, the engines or osteo-edge change. Only files that the bundle accepts as equal to its networks take
    part. The choice is kept in the folder that OSTEO_EDGE_TUNING names, by default osteo-edge/tuning in the user's
    configuration folder.
    """
    asked = asked_bundles(bundles, questions)
    for bundle in asked:
        if forget:
            _forget(bundle)
            continue
        if len(asked) > 1:
            tell(f"{bundle.manifest.name}:")
        _tune(bundle, threads, pictures)


def _forget(bundle: Bundle) -> None:
    from osteo_edge.engines.stored import forget_tuning

    name = bundle.manifest.name
    was_there = forget_tuning(bundle)
    tell(f"the stored choice for {name} is removed" if was_there else f"nothing was stored for {name}")


def _tune(bundle: Bundle, threads: int | None, pictures: Sequence[str]) -> None:
    from osteo_edge.engines.select import available_threads, require_room_for
    from osteo_edge.engines.stored import require_tuning_folder, store_tuning

    require_tuning_folder()
    count = threads or available_threads()
    require_room_for(threads=count)
    from osteo_edge.tuning.measurement import measure

    tell("testing and loading the bundle's files ...", err=True)
    with click.progressbar(length=_STEPS, label="measuring", file=sys.stderr) as bar:
        measured = measure(bundle, threads=count, on_progress=lambda share: bar.update(round(share * _STEPS) - bar.pos))
    tell("comparing answers ...", err=True)
    differences = _differences(bundle, measured, pictures, threads=count)
    kept, stored = measured.tuning, store_tuning(bundle, measured.tuning)
    tell_text(_table(measured))
    tell(f"auto is now {kept.engine} {kept.precision} (threads: {count}), stored in {stored}")
    for remark in (*_remarks(measured), differences):
        tell(remark)


def _differences(bundle: Bundle, measured: Measured, pictures: Sequence[str], *, threads: int) -> str:
    """How many answers the kept file gives otherwise than the exact one, and on how many pictures that was found."""
    from osteo_edge.tuning.agreement import compare_answers, variations

    kept, exact = measured.tuning, measured.exact
    if exact is None:
        return f"answers: {kept.engine} {kept.precision} is what the others are compared with"
    shown = _files(pictures) if pictures else list(variations(bundle))
    found = compare_answers(bundle, (kept.engine, kept.precision), exact, shown, threads=threads)
    origin = "of those given" if pictures else "made from the bundle's own synthetic one"
    if not found.pictures:
        return f"answers: no picture {origin} could be answered for, so that nothing is known of how answers differ"
    passed_over = len(shown) - found.pictures
    others = f"; {passed_over} more could not be answered for" if passed_over else ""
    return (
        f"answers: {found.different} of {found.pictures} pictures {origin} are answered otherwise than by "
        f"{exact[0]} {exact[1]}; no probability is off by more than {found.largest_difference:.2g}{others}"
    )


def _files(pictures: Sequence[str]) -> list[Path]:
    from osteo_edge.folders import list_files

    paths = [Path(picture) for picture in pictures]
    return [file for path in paths for file in (list_files(path, recursive=False).files if os.path.isdir(path) else (path,))]


def _remarks(measured: Measured) -> Iterator[str]:
    kept, faster = measured.tuning, measured.faster
    if faster is not None:
        yield (
            f"{faster.engine} {faster.precision} was faster in {faster.won} of {faster.rounds} rounds only, within the "
            f"noise: {kept.engine} {kept.precision} is kept"
        )
    if measured.is_busy:
        yield (
            f"the machine was busy: other programs used {measured.other_work:.1f} of its {os.cpu_count()} processors; "
            "measure again when it is idle"
        )


def _table(measured: Measured) -> str:
    first = measured.tuning.timings[0]
    lines = [f"{'engine':<12} {'precision':<9} {'ms':>8} {'+-':>5}  times as fast as {first.engine} {first.precision}"]
    lines += [
        f"{timing.engine:<12} {timing.precision:<9} {timing.median_ms:>8.2f} {timing.scatter:>5.0%}  {timing.times_as_fast:.2f}"
        for timing in measured.tuning.timings
    ]
    lines += [
        f"{engine:<12} {precision:<9} {'-':>8} {'':>5}  fails its self-test here: {printable(why)}"
        for (engine, precision), why in measured.left_out.items()
    ]
    return "\n".join(lines)
