"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from osteo_edge.bundle import DEFAULT_BUNDLES, Bundle, bundles_asked, open_bundle
from osteo_edge.errors import UnknownQuestionError
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS


def asked_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --bundle and --question, which ``asked_bundles`` takes."""
    for option in (
        click.option(
            "--question",
            "questions",
            multiple=True,
            metavar="NAME",
            help="Of all that the bundles answer, ask this, for example bone_density, or all; may be repeated.",
        ),
        click.option(
            "--bundle",
            "bundles",
            multiple=True,
            metavar="NAME|PATH",
            help=f"An embedded or installed bundle, or a bundle's folder; may be repeated, a bundle a question "
            f"[default: {', '.join(DEFAULT_BUNDLES)}; with --question all embedded ones].",
        ),
    ):
        command = option(command)
    return command


def asked_bundles(names: Sequence[str], questions: Sequence[str]) -> tuple[Bundle, ...]:
    """The bundles that are named, or the default ones; of them those that answer the questions, in the order of these.

    Raises:
        BundleError: one cannot be opened.
        UsageError: a question that none of them answers.
    """
    return tuple(open_bundle(name) for name in asked_names(names, questions))


def asked_names(names: Sequence[str], questions: Sequence[str]) -> tuple[str, ...]:
    """The same by their names, of which none was opened where no question is named.

    Raises:
        BundleError, UsageError: as ``asked_bundles``, where questions are named.
    """
    try:
        return tuple(map(str, dict.fromkeys(bundles_asked(names, questions))))
    except UnknownQuestionError as error:
        raise click.UsageError(f"{error} (--question)") from error


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


untrusted_option = click.option(
    "--untrusted",
    "is_untrusted",
    is_flag=True,
    help="Decode files in a process of its own, with limits of memory and time, as strangers' files should be.",
)
