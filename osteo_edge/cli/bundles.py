"""``osteo-edge bundles``: the models at hand, what they say of themselves, and whether they are whole."""

from __future__ import annotations

import json

import click

from osteo_edge.bundle import DEFAULT_BUNDLE, embedded_bundles, open_bundle
from osteo_edge.records import to_plain

_BUNDLE = click.argument("bundle", default=DEFAULT_BUNDLE, metavar="[NAME|PATH]")


@click.group("bundles", epilog="Example: osteo-edge bundles verify")
def command() -> None:
    """List, show and verify model bundles."""


@command.command("list", epilog="Example: osteo-edge bundles list")
def list_bundles() -> None:
    """List the embedded bundles."""
    for name in embedded_bundles():
        bundle = open_bundle(name)
        default = " (default)" if name == DEFAULT_BUNDLE else ""
        click.echo(f"{name}{default}  {bundle.manifest.version}  {bundle.digest[:12]}")


@command.command("show", epilog="Example: osteo-edge bundles show knee-mobilenet_v2 --json")
@_BUNDLE
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest.")
def show(bundle: str, as_json: bool) -> None:
    """Show a bundle's model card, or its manifest."""
    opened = open_bundle(bundle)
    if as_json:
        click.echo(json.dumps(to_plain(opened.manifest), indent=2))
        return
    click.echo(opened.read("MODEL_CARD.md").decode(errors="replace"))


@command.command("verify", epilog="Example: osteo-edge bundles verify ./knee-mobilenet_v2")
@_BUNDLE
def verify(bundle: str) -> None:
    """Check every file of a bundle against its recorded SHA-256.

    Without a signature this finds damage, not forgery.
    """
    opened = open_bundle(bundle)
    for path in opened.verify():
        click.echo(f"ok  {path}")
    click.echo(f"{opened.manifest.name} {opened.manifest.version} is whole ({opened.digest})")
