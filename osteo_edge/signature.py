"""Whether the holder of a key made a bundle: an Ed25519 signature (RFC 8032) over the bytes of ``manifest.json``.

The manifest holds every other file's digest, so that its signature covers the bundle. Whose the key is, the user must know.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from osteo_edge.bundle import MANIFEST, MANIFEST_SIGNATURE, Bundle
from osteo_edge.errors import ManifestError, SignatureError
from osteo_edge.integrity import read_regular_file, sha256_hex
from osteo_edge.manifest_rules import MAX_MANIFEST_BYTES
from osteo_edge.records import parse_json, parse_record

SCHEMA_VERSION = 1
SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Signature:
    """``manifest.sig``.

    Attributes:
        key_sha256: fingerprint of the public key: SHA-256 of its 32 bytes.
        signature: 64 bytes in base64.
    """

    schema_version: int
    algorithm: Literal["ed25519"]
    key_sha256: str
    signature: str


def require_signature(bundle: Bundle, key: bytes) -> str:
    """Check that the holder of ``key`` signed the bundle's manifest; returns the key's fingerprint.

    It says nothing of the other files: ``Bundle.verify`` compares them with the manifest.

    Args:
        key: Ed25519 public key, PEM.

    Raises:
        SignatureError: there is no signature, or a malformed one, or of another key, or of another manifest; the key is
            none; or the ``cryptography`` package is not installed.
        IntegrityError: the manifest cannot be read.
    """
    if bundle.signature is None:
        raise SignatureError(f"{bundle.root} is not signed: it holds no {MANIFEST_SIGNATURE}")
    stated = _parse(bundle.signature)
    raw = _public_bytes(key)
    fingerprint = sha256_hex(raw)
    if stated.key_sha256 != fingerprint:
        raise SignatureError(
            f"{bundle.root} is signed with another key than the one given (fingerprints {stated.key_sha256[:16]}, "
            f"{fingerprint[:16]})"
        )
    manifest = read_regular_file(bundle.root, MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    # The opened manifest is the one that counts: the file may have been exchanged since.
    if sha256_hex(manifest) != bundle.digest or not _is_of(raw, _decoded(stated.signature), manifest):
        raise SignatureError(f"the signature in {bundle.root} is not of its {MANIFEST}; do not use the bundle")
    return fingerprint


def _parse(data: bytes) -> Signature:
    try:
        stated = parse_record(Signature, parse_json(data, what=MANIFEST_SIGNATURE), where=MANIFEST_SIGNATURE)
    except ManifestError as error:
        raise SignatureError(str(error)) from error
    if stated.schema_version != SCHEMA_VERSION:
        raise SignatureError(f"{MANIFEST_SIGNATURE}: schema_version is {stated.schema_version}, this version reads 1")
    return stated


def _decoded(text: str) -> bytes:
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{MANIFEST_SIGNATURE}: signature is not base64") from error
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"{MANIFEST_SIGNATURE}: signature must have {SIGNATURE_BYTES} bytes, not {len(signature)}")
    return signature


def _public_bytes(key: bytes) -> bytes:
    """The 32 bytes of a public key."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SignatureError(
            f"signatures are checked by the cryptography package, which cannot be loaded ({error}); run: pip install "
            '"osteo-edge[signatures]"'
        ) from error
    try:
        loaded = load_pem_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError("the key given is no public key in PEM form; give the file whose name ends in .pub.pem") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise SignatureError("the key given is not an Ed25519 key; make one with: python -m export keygen")
    return loaded.public_bytes_raw()


def _is_of(raw: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except InvalidSignature:
        return False
    return True
