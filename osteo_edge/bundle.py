"""Opening a bundle: the folder that holds a model, how to feed it, and the proof that it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from osteo_edge.errors import BundleNotFoundError, IntegrityError, UnknownQuestionError
from osteo_edge.integrity import read_in_pieces, read_regular_file, require_digest, require_digest_of_pieces, sha256_hex
from osteo_edge.manifest import Manifest
from osteo_edge.manifest_rules import MAX_MANIFEST_BYTES, parse_manifest
from osteo_edge.questions import ALL_QUESTIONS

MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
MANIFEST_SIGNATURE = "manifest.sig"
MAX_SIGNATURE_BYTES = 4096
# What a picture is asked where neither a bundle nor a question is named: the embedded bundles that were shown to tell more than
# chance. Their names stand here so that no other manifest is read before an answer.
DEFAULT_BUNDLES = ("knee-osteoarthritis",)
DEFAULT_BUNDLE = DEFAULT_BUNDLES[0]
# Where a file system cannot exchange two folders, the old bundle waits under this name while the new one takes its place.
REPLACED = ".osteo-edge-replaced-"
EMBEDDED_FOLDER = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. The manifest was checked; each file is checked when it is read.

    Attributes:
        root: the bundle's folder, links resolved.
        digest: SHA-256 of ``manifest.json``, which names every other file's digest: the bundle's identity.
        signature: content of ``manifest.sig``, which nothing has checked yet; None where there is none.
    """

    root: Path
    manifest: Manifest
    digest: str
    signature: bytes | None = None

    @property
    def listed(self) -> frozenset[str]:
        """Every file that is part of the bundle: the manifest, its digest and its signature too."""
        signature = () if self.signature is None else (MANIFEST_SIGNATURE,)
        return frozenset((MANIFEST, MANIFEST_DIGEST, *signature, *self.manifest.files))

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
        self.refuse_unlisted()
        for path, entry in sorted(self.manifest.files.items()):
            pieces = read_in_pieces(self.root, path, max_bytes=entry.size)
            for _ in require_digest_of_pieces(pieces, sha256=entry.sha256, size=entry.size, path=path):
                pass
            yield path

    def refuse_unlisted(self) -> None:
        """Raise IntegrityError for a file or folder that is not part of the bundle.

        Only folders of listed files are looked into, so that their depth is that of the manifest's paths.
        """
        parents = {parent.as_posix() for path in self.listed for parent in PurePosixPath(path).parents}
        for folder in sorted(parents):
            for name, is_folder in _entries(self.root, folder):
                if name not in (parents if is_folder else self.listed):
                    raise IntegrityError(f"{name} in {self.root} is not listed in the manifest; remove it")


def _entries(root: Path, folder: str) -> list[tuple[str, bool]]:
    """Path in the bundle of each entry, sorted, and whether it is a folder; a link is none. A missing folder is empty."""
    try:
        with os.scandir(root / folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):  # what is missing there is told when it is read
        return []
    except OSError as error:
        raise IntegrityError(f"the folder {folder} in {root} cannot be listed: {error.strerror}") from error
    return sorted(((PurePosixPath(folder) / name).as_posix(), is_folder) for name, is_folder in found)


def open_bundle(name_or_path: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Open a bundle by the name of an embedded or, after these, an installed one; or by the path of its folder.

    Raises:
        BundleNotFoundError: neither exists.
        BundleError: the manifest is damaged, unknown or untrustworthy.
    """
    root = _locate(name_or_path)
    return parse_bundle(lambda path, size: read_regular_file(root, path, max_bytes=size), root)


def parse_bundle(read: Callable[[str, int], bytes], root: Path) -> Bundle:
    """The bundle whose files ``read(path, max_bytes)`` gives.

    Raises:
        BundleError: as ``open_bundle``.
    """
    manifest_bytes = read(MANIFEST, MAX_MANIFEST_BYTES)
    digest = sha256_hex(manifest_bytes)
    # Compared byte for byte, so that no bit of the digest's own file may change unnoticed either.
    expected = manifest_digest_line(digest)
    if read(MANIFEST_DIGEST, len(expected)) != expected:
        raise IntegrityError(f"{MANIFEST} in {root} does not match {MANIFEST_DIGEST}; install the bundle again")
    return Bundle(root, parse_manifest(manifest_bytes), digest, _read_signature(read))


def _read_signature(read: Callable[[str, int], bytes]) -> bytes | None:
    """What is no plain small file counts as none, and is found among the files that are not listed."""
    try:
        return read(MANIFEST_SIGNATURE, MAX_SIGNATURE_BYTES)
    except IntegrityError:
        return None


def embedded_bundles() -> tuple[str, ...]:
    """Names of the bundles inside the package, sorted.

    Raises:
        BundleNotFoundError: the package was imported from an archive, in which no bundle can be read.
    """
    names = _bundles_in(EMBEDDED_FOLDER)
    if not names and (archive := _archive_around(EMBEDDED_FOLDER)):
        raise BundleNotFoundError(
            f"osteo-edge was imported from the archive {archive}, which is not supported: its bundles are read from a folder; "
            "install it (pip install), or freeze the program with PyInstaller into one folder"
        )
    return names


def bundles_asked(names: Sequence[str | Path] = (), questions: Sequence[str] = ()) -> tuple[str | Path, ...]:
    """The bundles that are to be asked of a picture, by their names.

    Args:
        names: of bundles, or paths of their folders; the default ones where there are none, and all embedded ones where
            there are questions.
        questions: of these bundles, those that answer them, in the order of the questions; ``all`` stands for all of them.
            Where there are none, no bundle is opened.

    Raises:
        UnknownQuestionError: none of the bundles answers a question.
        BundleError: where there are questions, a bundle cannot be opened.
    """
    if not questions:
        return tuple(names or DEFAULT_BUNDLES)
    answering = [(name, open_bundle(name).manifest.question.name) for name in names or shipped_bundles()]
    known = list(dict.fromkeys(question for _, question in answering))
    wanted = [one for question in questions for one in (known if question == ALL_QUESTIONS else [question])]
    for question in wanted:
        if question not in known:
            raise UnknownQuestionError(f"no bundle here answers {question[:60]!r}; there is: {', '.join(known)}")
    return tuple(name for question in dict.fromkeys(wanted) for name, its_own in answering if its_own == question)


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles that should be inside the package, the default ones first, and of all others that are.

    Raises:
        BundleNotFoundError: as ``embedded_bundles``.
    """
    return tuple(dict.fromkeys((*DEFAULT_BUNDLES, *embedded_bundles())))


def installed_bundles() -> tuple[str, ...]:
    """Names of the bundles in the user's folder, sorted."""
    folder = user_folder()
    return _bundles_in(folder) if folder else ()


def user_folder() -> Path | None:
    """Where bundles are installed: ``OSTEO_EDGE_BUNDLES``, or ``osteo-edge/bundles`` in the user's data folder.

    That is ``XDG_DATA_HOME``, or ``~/.local/share``. It need not exist, and is only read but for installing and
    removing. None where the user has no home.
    """
    if named := os.environ.get("OSTEO_EDGE_BUNDLES"):
        return Path(named).absolute()
    data = os.environ.get("XDG_DATA_HOME", "")
    try:
        base = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    except RuntimeError:
        return None
    return base / "osteo-edge" / "bundles"


def _bundles_in(folder: Path) -> tuple[str, ...]:
    """Hidden folders, in which an installation may be under way, are none, but for a bundle that still waits to be replaced."""
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    found = {name.removeprefix(REPLACED) for name in names if os.path.isfile(folder / name / MANIFEST)}
    return tuple(sorted(name for name in found if name and name[0] != "."))


def _root_in(folder: Path, name: str) -> Path:
    """An installed bundle's folder; the old one where a run that was killed left no new one."""
    return folder / name if os.path.isfile(folder / name / MANIFEST) else folder / f"{REPLACED}{name}"


def _archive_around(folder: Path) -> Path | None:
    """The file that is said to hold the folder, as a wheel on the search path or a zipped program does."""
    return next((parent for parent in folder.parents if os.path.isfile(parent)), None)


def manifest_digest_line(digest: str) -> bytes:
    """The content of ``manifest.sha256``, as ``sha256sum`` writes it."""
    return f"{digest}  {MANIFEST}\n".encode()


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and name_or_path in embedded_bundles():
        return (EMBEDDED_FOLDER / name_or_path).resolve()
    folder = user_folder()
    if isinstance(name_or_path, str) and folder and name_or_path in installed_bundles():
        return _root_in(folder, name_or_path).resolve()
    path = Path(name_or_path)
    if os.path.isfile(path / MANIFEST):  # unlike Path.is_file it never raises, whatever the name
        return path.resolve()
    embedded, installed = (", ".join(names) or "none" for names in (embedded_bundles(), installed_bundles()))
    raise BundleNotFoundError(
        f"no bundle named {str(name_or_path)!r}, and no folder there with {MANIFEST}; embedded: {embedded}; "
        f"installed: {installed} (osteo-edge bundles install)"
    )
