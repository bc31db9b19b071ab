"""``osteo-edge bundles``: the models at hand, what they say of themselves, whether they are whole; installing more."""

from __future__ import annotations

import json

import click

from osteo_edge.bundle import DEFAULT_BUNDLE, embedded_bundles, installed_bundles, open_bundle
from osteo_edge.cli import exit_codes
from osteo_edge.errors import BundleError
from osteo_edge.printable import printable
from osteo_edge.records import to_plain

_BUNDLE = click.argument("bundle", default=DEFAULT_BUNDLE, metavar="[NAME|PATH]")


@click.group("bundles", epilog="Example: osteo-edge bundles verify")
def command() -> None:
    """List, show, verify, install and remove model bundles."""


@command.command("list", epilog="Example: osteo-edge bundles list")
def list_bundles() -> int:
    """List the embedded and the installed bundles."""
    codes = [_list_one(name, "default" if name == DEFAULT_BUNDLE else "embedded") for name in embedded_bundles()]
    codes += [_list_one(name, "installed") for name in installed_bundles() if name not in embedded_bundles()]
    return max(codes, default=exit_codes.ANSWERED)


def _list_one(name: str, kind: str) -> int:
    try:
        bundle = open_bundle(name)
    except BundleError as error:
        click.echo(f"{printable(name)} ({kind})  cannot be used: {printable(str(error))}")
        return exit_codes.BUNDLE
    networks = len(bundle.manifest.members)
    of_several = f"  {networks} networks, {bundle.manifest.ensemble.kind}" if networks > 1 else ""
    click.echo(f"{name} ({kind})  {bundle.manifest.version}  {bundle.digest[:12]}{of_several}")
    return exit_codes.ANSWERED


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


@command.command("install", epilog="Example: osteo-edge bundles install knee-convnext_tiny.zip")
@click.argument("path", metavar="FOLDER|ZIP")
@click.option("--force", is_flag=True, help="Replace an installed bundle of the same name.")
def install(path: str, force: bool) -> None:
    """Install a bundle for this user, after verifying and self-testing it on this device.

    It goes to the folder that OSTEO_EDGE_BUNDLES names, by default osteo-edge/bundles in the user's data folder, and is
    then found by its name: --bundle NAME. Install only bundles whose origin you trust: there is no signature.
    """
    from osteo_edge.installation import install_bundle

    click.echo("verifying and testing ...", err=True)
    bundle = install_bundle(path, force=force)
    click.echo(f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:12]}) is installed in {bundle.root}")
    click.echo(f"use it with: osteo-edge predict --bundle {bundle.manifest.name} image.png")


@command.command("remove", epilog="Example: osteo-edge bundles remove knee-convnext_tiny")
@click.argument("name")
def remove(name: str) -> None:
    """Remove an installed bundle."""
    from osteo_edge.installation import remove_bundle

    click.echo(f"removed {remove_bundle(name)}")
