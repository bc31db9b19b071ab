"""Who made a bundle: signatures against keys, forgeries of every part, and what is said without the extra."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from osteo_edge import install_bundle, open_bundle
from osteo_edge.bundle import MANIFEST, MANIFEST_SIGNATURE
from osteo_edge.cli.main import _run
from osteo_edge.errors import IntegrityError, SignatureError
from osteo_edge.integrity import sha256_hex
from osteo_edge.signature import require_signature
from tests.bundles import DENSITY
from tests.making import keep_one_file, rename, rewrite_file, rewrite_manifest

NAME = "knee-other"


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign(folder: Path, key: Ed25519PrivateKey, **changes: object) -> Path:
    """As the export does, spelled out here once more: the format is a contract."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = base64.b64encode(key.sign((folder / MANIFEST).read_bytes())).decode()
    plain = {"schema_version": 1, "algorithm": "ed25519", "key_sha256": sha256_hex(raw), "signature": signature}
    (folder / MANIFEST_SIGNATURE).write_text(json.dumps(plain | changes))
    return folder


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def signed(bundle_copy: Path, key: Ed25519PrivateKey) -> Path:
    return sign(rename(keep_one_file(bundle_copy), NAME), key)


def test_a_signed_bundle_is_whole_and_of_its_key(signed: Path, key: Ed25519PrivateKey) -> None:
    bundle = open_bundle(signed)
    assert list(bundle.verify())
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert require_signature(bundle, pem(key)) == sha256_hex(raw)
    assert MANIFEST_SIGNATURE in bundle.listed


def test_an_unsigned_bundle_has_no_signature_to_list() -> None:
    bundle = open_bundle(DENSITY)
    assert bundle.signature is None
    assert MANIFEST_SIGNATURE not in bundle.listed


def _add_licence(folder: Path) -> None:
    rewrite_file(folder, "LICENSE", b"another")


def _cut_signature(folder: Path) -> None:
    plain = json.loads((folder / MANIFEST_SIGNATURE).read_text())
    shorter = base64.b64encode(base64.b64decode(plain["signature"])[:-1]).decode()
    (folder / MANIFEST_SIGNATURE).write_text(json.dumps(plain | {"signature": shorter}))


def _change_signature(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        plain = json.loads((folder / MANIFEST_SIGNATURE).read_text())
        (folder / MANIFEST_SIGNATURE).write_text(json.dumps(plain | changes))

    return change


def _write_signature(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / MANIFEST_SIGNATURE).write_bytes(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / MANIFEST_SIGNATURE).unlink(), "is not signed"),
        (
            lambda folder: rewrite_manifest(folder, lambda manifest: manifest.update(version="9.9")),
            "is not of its manifest.json",
        ),
        (_add_licence, "is not of its manifest.json"),
        (_cut_signature, "must have 64 bytes, not 63"),
        (_change_signature(signature=base64.b64encode(bytes(64)).decode()), "is not of its manifest.json"),
        (_change_signature(signature="!" * 88), "is not base64"),
        (_change_signature(signature=7), "signature must be str"),
        (_change_signature(key_sha256="0" * 64), "another key"),
        (_change_signature(algorithm="none"), "algorithm must be one of ed25519"),
        (_change_signature(schema_version=2), "schema_version is 2"),
        (_change_signature(surprise=1), "unknown key 'surprise'"),
        (_write_signature(b""), "manifest.sig is not valid JSON"),
        (_write_signature(b"\xff\x00"), "manifest.sig is not valid JSON"),
        (_write_signature(b"[]"), "must be an object"),
    ],
)
def test_what_is_not_signed_as_it_should_be_is_refused(
    signed: Path, key: Ed25519PrivateKey, change: Callable[[Path], object], said: str
) -> None:
    change(signed)
    bundle = open_bundle(signed)
    assert list(bundle.verify()), "the files themselves are whole"
    with pytest.raises(SignatureError, match=said):
        require_signature(bundle, pem(key))


def test_every_bit_of_the_signature_counts(signed: Path, key: Ed25519PrivateKey) -> None:
    plain = json.loads((signed / MANIFEST_SIGNATURE).read_text())
    genuine = base64.b64decode(plain["signature"])
    for position in range(0, len(genuine) * 8, 7):
        forged = bytearray(genuine)
        forged[position // 8] ^= 1 << position % 8
        sign(signed, key, signature=base64.b64encode(forged).decode())
        with pytest.raises(SignatureError, match="is not of its"):
            require_signature(open_bundle(signed), pem(key))


def test_a_manifest_exchanged_after_it_was_opened_is_found(signed: Path, key: Ed25519PrivateKey) -> None:
    """The one that was opened is another than the one that the signature is of."""
    genuine = {name: (signed / name).read_bytes() for name in (MANIFEST, "manifest.sha256")}
    rewrite_manifest(signed, lambda manifest: manifest.update(version="9.9"))
    bundle = open_bundle(signed)
    for name, data in genuine.items():
        (signed / name).write_bytes(data)
    with pytest.raises(SignatureError, match="is not of its"):
        require_signature(bundle, pem(key))


@pytest.mark.parametrize("name", ["link", "folder", "large"])
def test_a_signature_that_is_no_small_plain_file_is_an_unlisted_file(signed: Path, name: str, tmp_path: Path) -> None:
    place = signed / MANIFEST_SIGNATURE
    content = place.read_bytes()
    place.unlink()
    if name == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        place.symlink_to(tmp_path / "elsewhere")
    elif name == "folder":
        place.mkdir()
        (place / "x").touch()
    else:
        place.write_bytes(content + b" " * 5000)
    with pytest.raises(IntegrityError, match=r"manifest\.sig.* is not listed"):
        list(open_bundle(signed).verify())


def test_a_key_that_is_none_is_told(signed: Path, key: Ed25519PrivateKey) -> None:
    with pytest.raises(SignatureError, match="no public key in PEM form"):
        require_signature(open_bundle(signed), b"nonsense")
    with pytest.raises(SignatureError, match="not an Ed25519 key"):
        require_signature(open_bundle(signed), pem(X25519PrivateKey.from_private_bytes(bytes(range(32)))))
    with pytest.raises(SignatureError, match="another key"):
        require_signature(open_bundle(signed), pem(Ed25519PrivateKey.from_private_bytes(bytes(32))))


def test_without_the_extra_the_way_to_get_it_is_told(
    signed: Path, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert list(open_bundle(signed).verify())
    with pytest.raises(SignatureError, match=r'pip install "osteo-edge\[signatures\]"'):
        require_signature(open_bundle(signed), pem(key))


def test_installing_asks_for_the_signature_and_keeps_it(
    signed: Path, key: Ed25519PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(home))
    other = pem(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(SignatureError, match="another key"):
        install_bundle(signed, key=other)
    assert list(home.iterdir()) == []
    bundle = install_bundle(signed, key=pem(key))
    assert require_signature(bundle, pem(key))
    assert not list(home.rglob("*.pem"))
    (signed / MANIFEST_SIGNATURE).unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        install_bundle(signed, force=True, key=pem(key))
    assert require_signature(open_bundle(NAME), pem(key)), "what was installed is still there"


def test_the_command_line_tells_each_case(
    signed: Path, key: Ed25519PrivateKey, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(tmp_path / "home"))
    ours, theirs = tmp_path / "ours.pub.pem", tmp_path / "theirs.pub.pem"
    ours.write_bytes(pem(key))
    theirs.write_bytes(pem(Ed25519PrivateKey.from_private_bytes(bytes(32))))

    def run(*arguments: object) -> tuple[int, str, str]:
        code = _run(["bundles", *map(str, arguments)])
        return code, *capfd.readouterr()

    code, out, _ = run("verify", signed, "--key", ours)
    assert code == 0
    assert "signed with the key" in out
    assert "is whole" in out
    code, out, error = run("verify", signed, "--key", theirs)
    assert code == 5
    assert "is whole" not in out
    assert "another key" in error
    assert run("verify", signed, "--key", tmp_path / "missing.pem")[0] == 2
    assert run("install", signed, "--key", theirs)[0] == 5
    assert run("install", signed, "--key", ours)[0] == 0
    assert run("verify", NAME, "--key", ours)[0] == 0
    (signed / MANIFEST_SIGNATURE).unlink()
    code, _, error = run("verify", signed, "--key", ours)
    assert (code, "is not signed" in error) == (5, True)
    assert run("verify", signed)[0] == 0, "without a key no signature is asked for"
    for arguments in (("verify", signed), ("install", signed, "--force")):
        (signed / "LICENSE").write_text("changed")
        code, _, error = run(*arguments, "--key", ours)
        assert (code, "LICENSE is not the file" in error or "LICENSE in" in error) == (5, True)
