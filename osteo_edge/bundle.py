"""Opening a bundle: the folder that holds a model, how to feed it, and the proof that it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osteo_edge.errors import BundleNotFoundError, IntegrityError
from osteo_edge.integrity import read_regular_file, require_digest, sha256_hex
from osteo_edge.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest

MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
DEFAULT_BUNDLE = "knee-mobilenet_v2"
EMBEDDED_FOLDER = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. The manifest was checked; each file is checked when it is read.

    Attributes:
        root: the bundle's folder, links resolved.
        digest: SHA-256 of ``manifest.json``, which names every other file's digest: the bundle's identity.
    """

    root: Path
    manifest: Manifest
    digest: str

    def read(self, path: str) -> bytes:
        """The bytes of a listed file, verified.

        Raises:
            IntegrityError: the file is not listed, missing, changed, or a link.
        """
        entry = self.manifest.files.get(path)
        if entry is None:
            raise IntegrityError(f"{path} is not listed in the manifest of {self.root}")
        return require_digest(
            read_regular_file(self.root, path, max_bytes=entry.size), sha256=entry.sha256, size=entry.size, path=path
        )

    def verify(self) -> Iterator[str]:
        """Check every file, yielding each path once it is found whole.

        Raises:
            IntegrityError: a file is missing, changed, linked or not listed.
        """
        self._refuse_unlisted()
        for path in sorted(self.manifest.files):
            self.read(path)
            yield path

    def _refuse_unlisted(self) -> None:
        listed = {MANIFEST, MANIFEST_DIGEST, *self.manifest.files}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if (path.is_symlink() or not path.is_dir()) and name not in listed:
                raise IntegrityError(f"{name} in {self.root} is not listed in the manifest; remove it")


def open_bundle(name_or_path: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Open a bundle by the name of an embedded one, or by the path of its folder.

    Raises:
        BundleNotFoundError: neither exists.
        BundleError: the manifest is damaged, unknown or untrustworthy.
    """
    root = _locate(name_or_path)
    manifest_bytes = read_regular_file(root, MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    digest = sha256_hex(manifest_bytes)
    # Compared byte for byte, so that no bit of the digest's own file may change unnoticed either.
    expected = manifest_digest_line(digest)
    if read_regular_file(root, MANIFEST_DIGEST, max_bytes=len(expected)) != expected:
        raise IntegrityError(f"{MANIFEST} in {root} does not match {MANIFEST_DIGEST}; install the bundle again")
    return Bundle(root=root, manifest=parse_manifest(manifest_bytes), digest=digest)


def embedded_bundles() -> tuple[str, ...]:
    """Names of the bundles inside the package, sorted."""
    if not EMBEDDED_FOLDER.is_dir():
        return ()
    return tuple(sorted(folder.name for folder in EMBEDDED_FOLDER.iterdir() if (folder / MANIFEST).is_file()))


def manifest_digest_line(digest: str) -> bytes:
    """The content of ``manifest.sha256``, as ``sha256sum`` writes it."""
    return f"{digest}  {MANIFEST}\n".encode()


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and name_or_path in embedded_bundles():
        return (EMBEDDED_FOLDER / name_or_path).resolve()
    path = Path(name_or_path)
    if os.path.isfile(path / MANIFEST):  # unlike Path.is_file it never raises, whatever the name
        return path.resolve()
    known = ", ".join(embedded_bundles()) or "none"
    raise BundleNotFoundError(f"no bundle named {str(name_or_path)!r}, and no folder there with {MANIFEST}; embedded: {known}")
