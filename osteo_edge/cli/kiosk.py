"""``osteo-edge kiosk``: the page that stands in a clinic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Command
from osteo_edge.cli.inputs import PICTURE_ENDINGS
from osteo_edge.cli.options import asked_bundles, asked_options, engine_options
from osteo_edge.cli.terminal import tell
from osteo_edge.engines.select import available_threads
from osteo_edge.interruption import sigterm_as_interrupt
from osteo_edge.model import load_models

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle
    from osteo_edge.images.untrusted import UntrustedReader
    from osteo_edge.kiosk.gallery import Gallery
    from osteo_edge.kiosk.site import Site

_EXAMPLE = Path("reference/input.png")
_EPILOG = """\b
Examples:
  osteo-edge kiosk                   a demonstration
  osteo-edge kiosk --site site.json
  osteo-edge kiosk --site site.json --check

Exit codes: 0 nothing is missing (--check), 2 usage, or something is missing, 5 bundle, 7 the port is taken, 8 engine, 9 memory,
130, 143 interrupted."""


@click.command("kiosk", cls=Command, epilog=_EPILOG)
@click.option(
    "--site",
    "site_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file in which the site acknowledges the intended use, and names a folder of pictures.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8377, show_default=True, help="On this machine's own address.")
@click.option(
    "--idle",
    "idle_seconds",
    type=click.IntRange(60, 1200),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="After so long without a sign all is erased; 30 seconds before that the page asks.",
)
@click.option("--check", "is_check", is_flag=True, help="Tell what is missing, and end.")
@engine_options
@asked_options
def command(
    site_file: Path | None,
    port: int,
    idle_seconds: int,
    is_check: bool,
    engine: str,
    precision: str,
    threads: int | None,
    bundles: tuple[str, ...],
    questions: tuple[str, ...],
) -> int:
    """Serve the page that stands in a clinic, on this machine alone.

    Language, what this is, about you, picture, answer, print, end: pages that need no script, for one person at a time. What
    a person gives is held in memory, written nowhere, and erased at the end or when nobody is there any more. Pictures are
    decoded in a process of their own.

    Until a site file acknowledges the intended use, it is a demonstration and answers the drawn example picture alone.
    """
    from osteo_edge.kiosk import check
    from osteo_edge.kiosk.site import DEMONSTRATION, read_site

    site = read_site(site_file) if site_file else DEMONSTRATION
    folder = site_file.parent / site.pictures if site_file and site.pictures else None
    if is_check:
        return _check(site, folder)
    if not check.is_available():
        raise click.UsageError(check.MISSING)
    models = load_models(
        asked_bundles(bundles, questions), engine=engine, precision=precision, threads=threads or available_threads()
    )
    from osteo_edge.images.untrusted import UntrustedReader
    from osteo_edge.kiosk.app import Setting, make_app
    from osteo_edge.kiosk.serving import hosts_of, serve
    from osteo_edge.kiosk.visit import Desk
    from osteo_edge.predictor import OsteoPredictor

    reader = UntrustedReader()
    with sigterm_as_interrupt() as termination, OsteoPredictor(models, untrusted=True) as predictor:
        for model in models:
            model.wait()
        gallery = _gallery(site, folder, models[0].bundle, reader)
        setting = Setting(predictor, reader.read, gallery, not site.is_acknowledged, Desk(idle_seconds), _warn)
        try:
            could_begin = serve(make_app(setting, hosts_of(port)), port, ready=lambda: _tell_ready(site, port))
        except KeyboardInterrupt:
            if not termination.came:
                raise
            return exit_codes.TERMINATED
        finally:
            reader.close()
    if not could_begin:
        _warn(f"port {port} cannot be used; another program may have it: choose another one (--port)")
        return exit_codes.OUTPUT
    return exit_codes.ANSWERED


def _gallery(site: Site, folder: Path | None, bundle: Bundle, reader: UntrustedReader) -> Gallery | None:
    from osteo_edge.kiosk.gallery import Gallery, newest_of

    if not site.is_acknowledged:
        return Gallery(lambda: [bundle.root / _EXAMPLE], reader.read)
    if folder is None:
        return None
    return Gallery(lambda: newest_of(folder, PICTURE_ENDINGS), reader.read)


def _check(site: Site, folder: Path | None) -> int:
    from osteo_edge.kiosk.check import points

    found = list(points(site, folder))
    for point in found:
        tell(f"{'ok      ' if point.is_there else 'missing ' if point.is_needed else 'without '}{point.told}")
    return exit_codes.ANSWERED if all(point.is_there or not point.is_needed for point in found) else exit_codes.USAGE


def _tell_ready(site: Site, port: int) -> None:
    what = "kiosk" if site.is_acknowledged else "demonstration ('osteo-edge kiosk --check' tells what is missing)"
    tell(f"osteo-edge: {what} at http://127.0.0.1:{port}", err=True)


def _warn(message: str) -> None:
    tell(f"osteo-edge: {message}", err=True)
