"""``osteo-edge bundles``: the models at hand, what they say of themselves, whether they are whole; installing more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.bundle import DEFAULT_BUNDLE, DEFAULT_BUNDLES, Bundle, embedded_bundles, installed_bundles, open_bundle
from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Group
from osteo_edge.cli.terminal import tell, tell_text
from osteo_edge.errors import BundleError, SignatureError
from osteo_edge.integrity import read_up_to
from osteo_edge.records import to_plain

if TYPE_CHECKING:
    from osteo_edge.engines.select import EngineChoice

_MAX_KEY_BYTES = 1 << 16
_BUNDLE = click.argument("bundle", default=DEFAULT_BUNDLE, metavar="[NAME|PATH]")

_KEY = click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PUBLIC.pem",
    help="Public key that must have signed the bundle; needs the extra osteo-edge[signatures].",
)


@click.group("bundles", cls=Group, epilog="\b\nExample: osteo-edge bundles verify")
def command() -> None:
    """List, show, verify, install and remove model bundles."""


@command.command("list", epilog="\b\nExample: osteo-edge bundles list")
def list_bundles() -> int:
    """List the embedded and the installed bundles."""
    codes = [_list_one(name, "default" if name in DEFAULT_BUNDLES else "embedded") for name in embedded_bundles()]
    codes += [_list_one(name, "installed") for name in installed_bundles() if name not in embedded_bundles()]
    return max(codes, default=exit_codes.ANSWERED)


def _read_key(path: Path) -> bytes:
    try:
        return read_up_to(path, _MAX_KEY_BYTES)
    except OSError as error:
        raise SignatureError(f"{path} cannot be read: {error.strerror}") from error


def _list_one(name: str, kind: str) -> int:
    try:
        bundle = open_bundle(name)
    except BundleError as error:
        tell(f"{name} ({kind})  cannot be used: {error}")
        return exit_codes.BUNDLE
    networks = len(bundle.manifest.members)
    of_several = f"  {networks} networks, {bundle.manifest.ensemble.kind}" if networks > 1 else ""
    tell(f"{name} ({kind})  {bundle.manifest.version}  {bundle.digest[:12]}  {bundle.manifest.question.title}{of_several}")
    return exit_codes.ANSWERED


@command.command("show", epilog="\b\nExample: osteo-edge bundles show knee-mobilenet_v2 --json")
@_BUNDLE
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest.")
def show(bundle: str, as_json: bool) -> None:
    """Show a bundle's model card, or its manifest."""
    opened = open_bundle(bundle)
    if as_json:
        tell_text(json.dumps(to_plain(opened.manifest), indent=2))
        return
    tell_text(opened.read("MODEL_CARD.md").decode(errors="replace"))


@command.command("verify", epilog="\b\nExample: osteo-edge bundles verify ./knee-mobilenet_v2")
@_BUNDLE
@_KEY
def verify(bundle: str, key: Path | None) -> None:
    """Check every file of a bundle against its recorded SHA-256, and that the installed engines load its models.

    Without --key this finds damage, not forgery.
    """
    opened = open_bundle(bundle)
    for path in opened.verify():
        tell(f"ok  {path}")
    if key is not None:
        from osteo_edge.signature import require_signature

        tell(f"ok  signed with the key {require_signature(opened, _read_key(key))}")
    for choice in _loaded(opened):
        tell(f"ok  {choice.path} loads in {choice.engine}")
    tell(f"{opened.manifest.name} {opened.manifest.version} is whole ({opened.digest})")


def _loaded(bundle: Bundle) -> Iterator[EngineChoice]:
    """Every model file of an installed engine, once it was loaded."""
    from osteo_edge.engines.select import is_installed, require_room_for
    from osteo_edge.model import open_member

    require_room_for()
    from osteo_edge.selftest import model_files

    for member in bundle.manifest.members:
        for choice in model_files(member):
            if is_installed(choice.engine):
                open_member(bundle, member, choice, threads=1).close()
                yield choice


@command.command("install", epilog="\b\nExample: osteo-edge bundles install knee-convnext_tiny.zip")
@click.argument("path", metavar="FOLDER|ZIP")
@click.option("--force", is_flag=True, help="Replace an installed bundle of the same name.")
@_KEY
def install(path: str, force: bool, key: Path | None) -> None:
    """Install a bundle for this user, after verifying and self-testing it on this device.

    It goes to the folder that OSTEO_EDGE_BUNDLES names, by default osteo-edge/bundles in the user's data folder, and is
    then found by its name: --bundle NAME. Install only bundles whose origin you trust; --key asks for the signature of somebody
    whose public key you have. The key is not kept.
    """
    from osteo_edge.installation import install_bundle

    tell("verifying and testing ...", err=True)
    bundle = install_bundle(path, force=force, key=_read_key(key) if key else None)
    tell(f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:12]}) is installed in {bundle.root}")
    tell(f"use it with: osteo-edge predict --bundle {bundle.manifest.name} image.png")


@command.command("remove", epilog="\b\nExample: osteo-edge bundles remove knee-convnext_tiny")
@click.argument("name")
def remove(name: str) -> None:
    """Remove an installed bundle."""
    from osteo_edge.installation import remove_bundle

    tell(f"removed {remove_bundle(name)}")
