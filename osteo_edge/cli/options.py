"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from osteo_edge.bundle import Bundle, default_bundles, embedded_bundles, open_bundle
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS


def asked_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --bundle and --question, which ``asked_bundles`` takes."""
    for option in (
        click.option(
            "--question",
            "questions",
            multiple=True,
            metavar="NAME",
            help="Ask this alone of all that the bundles answer, for example bone_density; may be repeated.",
        ),
        click.option(
            "--bundle",
            "bundles",
            multiple=True,
            metavar="NAME|PATH",
            help="An embedded or installed bundle, or a bundle's folder; may be repeated, a bundle a question "
            "[default: the embedded ones].",
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
    if not questions:
        return tuple(dict.fromkeys(names or default_bundles()))
    asked = {name: open_bundle(name).manifest.question.name for name in names or embedded_bundles()}
    for question in questions:
        if question not in asked.values():
            known = ", ".join(dict.fromkeys(asked.values()))
            raise click.UsageError(f"no bundle here answers {question[:60]!r}; there is: {known} (--question)")
    return tuple(name for question in dict.fromkeys(questions) for name, its_own in asked.items() if its_own == question)


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
