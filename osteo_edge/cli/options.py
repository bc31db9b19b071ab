"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from osteo_edge.bundle import DEFAULT_BUNDLE
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS

bundle_option = click.option(
    "--bundle",
    default=DEFAULT_BUNDLE,
    show_default=True,
    metavar="NAME|PATH",
    help="An embedded or installed bundle, or a bundle's folder.",
)

verbose_option = click.option(
    "--verbose",
    "is_verbose",
    is_flag=True,
    callback=lambda context, _, value: value or bool(context.find_root().params.get("verbose")),
    help="Also tell scores, boxes, times and the model; and the traceback of a fault of osteo-edge itself.",
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine, --precision and --threads."""
    for option in (
        click.option("--threads", type=click.IntRange(1, 256), help="Processors to use at once [default: all]."),
        click.option(
            "--precision",
            type=click.Choice(["auto", *PRECISIONS]),
            default="auto",
            show_default=True,
            help="For LiteRT, int8 means dynamic range.",
        ),
        click.option("--engine", type=click.Choice(["auto", *ENGINE_NAMES]), default="auto", show_default=True),
    ):
        command = option(command)
    return command
