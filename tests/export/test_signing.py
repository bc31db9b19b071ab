"""Keys and signatures: written with care, the same each time, and taken by the runtime."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from export.__main__ import main
from export.errors import ExportError
from export.signing import make_keys, sign_bundle
from osteo_edge import install_bundle, open_bundle
from osteo_edge.bundle import MANIFEST_SIGNATURE
from osteo_edge.errors import IntegrityError
from osteo_edge.signature import require_signature
from tests.making import keep_one_file, rename

NAME = "knee-other"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys" / "mine.pem")
    return tmp_path / "keys" / "mine.pem"


@pytest.fixture
def bundle(bundle_copy: Path) -> Path:
    return rename(keep_one_file(bundle_copy), NAME).rename(bundle_copy.with_name(NAME))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def public(key: Path) -> bytes:
    return key.with_name("mine.pub.pem").read_bytes()


def test_the_private_key_is_for_its_owner_alone(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"BEGIN PRIVATE KEY" in key.read_bytes()
    assert b"PRIVATE" not in public(key)
    assert sorted(path.name for path in key.parent.iterdir()) == ["mine.pem", "mine.pub.pem"]


def test_no_key_is_ever_replaced(key: Path) -> None:
    before = key.read_bytes()
    result = run("keygen", "--output", key)
    assert result.exit_code == 1
    assert "exists already" in result.output
    assert key.read_bytes() == before
    key.unlink()
    with pytest.raises(ExportError, match=r"mine\.pub\.pem exists already"):
        make_keys(key)
    assert not key.exists(), "no half of a pair"


def test_signed_installed_and_proved(bundle: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("sign", "--bundle", bundle, "--key", key, "--zip")
    assert result.exit_code == 0, result.output
    assert require_signature(open_bundle(bundle), public(key)) in result.output
    assert list(open_bundle(bundle).verify())
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(tmp_path / "home"))
    installed = install_bundle(bundle.with_name(f"{NAME}.zip"), key=public(key))
    assert require_signature(installed, public(key))


def test_the_same_key_and_bundle_give_the_same_bytes(bundle: Path, key: Path) -> None:
    contents = []
    for _ in range(2):
        assert run("sign", "--bundle", bundle, "--key", key, "--zip").exit_code == 0
        archive = bundle.with_name(f"{NAME}.zip")
        contents.append(((bundle / MANIFEST_SIGNATURE).read_bytes(), archive.read_bytes()))
        archive.unlink()
    assert contents[0] == contents[1]


def test_a_damaged_bundle_is_not_signed(bundle: Path, key: Path) -> None:
    (bundle / "LICENSE").write_text("changed")
    with pytest.raises(IntegrityError):
        sign_bundle(bundle, key)
    result = run("sign", "--bundle", bundle, "--key", key)
    assert result.exit_code == 1
    assert not (bundle / MANIFEST_SIGNATURE).exists()


def test_what_is_no_private_ed25519_key_is_refused(bundle: Path, key: Path, tmp_path: Path) -> None:
    mine = load_pem_private_key(key.read_bytes(), None)
    form = (Encoding.PEM, PrivateFormat.PKCS8)
    odd = {
        "locked.pem": (mine.private_bytes(*form, BestAvailableEncryption(b"x")), "without a password"),
        "other.pem": (X25519PrivateKey.generate().private_bytes(*form, NoEncryption()), "not an Ed25519 key"),
        "public.pem": (public(key), "no private key"),
        "text.pem": (b"text", "no private key"),
    }
    for name, (data, said) in odd.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ExportError, match=said):
            sign_bundle(bundle, tmp_path / name)
    with pytest.raises(ExportError, match="cannot be read"):
        sign_bundle(bundle, tmp_path / "missing.pem")
    assert not (bundle / MANIFEST_SIGNATURE).exists()


def test_a_second_key_takes_the_first_one_s_place(bundle: Path, key: Path, tmp_path: Path) -> None:
    sign_bundle(bundle, key)
    make_keys(tmp_path / "second.pem")
    sign_bundle(bundle, tmp_path / "second.pem")
    assert require_signature(open_bundle(bundle), (tmp_path / "second.pub.pem").read_bytes())
