"""Signing bundles with a key of one's own: Ed25519 (RFC 8032) over the bytes of ``manifest.json``.

The private key never leaves its file. Ed25519 is deterministic: the same bundle and key give the same ``manifest.sig``.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from export.bundle_writer import to_json, write_zip
from export.errors import ExportError
from osteo_edge.bundle import MANIFEST, MANIFEST_SIGNATURE, Bundle, open_bundle
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.integrity import read_regular_file, sha256_hex
from osteo_edge.manifest_rules import MAX_MANIFEST_BYTES
from osteo_edge.signature import SCHEMA_VERSION, Signature, require_signature
from osteo_edge.storage import creating, write_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_INSTALL = 'pip install -c constraints.txt -e ".[export]"'
_PRIVATE = 0o600
_PUBLIC = 0o644
_PATH = click.Path(path_type=Path)


@click.command("keygen")
@click.option("--output", type=_PATH, required=True, help="The private key's file (.pem), which only you may read.")
def keygen(output: Path) -> None:
    """Make an Ed25519 key pair: OUTPUT, to be kept secret, and the same name with .pub.pem, to be given away."""
    try:
        public, fingerprint = make_keys(output)
    except (ExportError, OsteoEdgeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}  private: keep it secret\n{public}  public, fingerprint {fingerprint}")


@click.command("sign")
@click.option("--bundle", "folder", type=_PATH, required=True, help="The bundle's folder.")
@click.option("--key", type=_PATH, required=True, help="The private key's file (.pem).")
@click.option("--zip", "is_zipped", is_flag=True, help="Also write BUNDLE.zip anew, for 'osteo-edge bundles install'.")
def sign(folder: Path, key: Path, is_zipped: bool) -> None:
    """Verify every file of a bundle, and put a signature of its manifest beside it."""
    try:
        bundle, fingerprint = sign_bundle(folder, key)
        if is_zipped:
            write_zip(bundle, bundle.root.with_name(f"{bundle.root.name}.zip"))
    except (ExportError, OsteoEdgeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{bundle.root / MANIFEST_SIGNATURE}  signed with the key {fingerprint}")


def make_keys(private: Path) -> tuple[Path, str]:
    """Write a new private key and its public one; returns the public one's path and fingerprint. Nothing is replaced.

    Raises:
        ExportError: a file is there already, or cannot be written.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise ExportError(f"keys are made by the cryptography package ({error}); run: {_INSTALL}") from error
    public = private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")
    for path in (private, public):
        if os.path.lexists(path):
            raise ExportError(f"{path} exists already and is not replaced; choose another --output")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_new(private, secret, mode=_PRIVATE)
    _write_new(public, _public_pem(key), mode=_PUBLIC)
    return public, sha256_hex(key.public_key().public_bytes_raw())


def sign_bundle(folder: Path, private: Path) -> tuple[Bundle, str]:
    """Verify the bundle, write its ``manifest.sig`` in one step, and check it; returns bundle and the key's fingerprint.

    Raises:
        ExportError: the key cannot be read or is no Ed25519 private key, or the signature cannot be written.
        BundleError: the bundle is not whole.
    """
    bundle = open_bundle(folder)
    for _ in bundle.verify():
        pass
    key = _read_private(private)
    manifest = read_regular_file(bundle.root, MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    fingerprint = sha256_hex(key.public_key().public_bytes_raw())
    signature = base64.b64encode(key.sign(manifest)).decode()
    data = to_json(Signature(SCHEMA_VERSION, "ed25519", fingerprint, signature))
    target = bundle.root / MANIFEST_SIGNATURE
    try:
        write_file(target, data, by_way_of=bundle.root.parent)  # a file that is not listed would spoil the bundle
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror}") from error
    signed = open_bundle(bundle.root)
    require_signature(signed, _public_pem(key))
    return signed, fingerprint


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise ExportError(f"bundles are signed by the cryptography package ({error}); run: {_INSTALL}") from error
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); check --key") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is locked with a password
        raise ExportError(f"{path} is no private key in PEM form without a password; check --key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ExportError(f"{path} is not an Ed25519 key; make one with: python -m export keygen")
    return key


def _public_pem(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that was not there, readable as ``mode`` says from the first moment on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with creating(path, mode=mode) as file:
            file.write(data)
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); choose another --output") from error
