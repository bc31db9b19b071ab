"""Opening, verifying and refusing bundles, on copies of the embedded one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.bundle import DEFAULT_BUNDLE, MANIFEST, MANIFEST_DIGEST, embedded_bundles, manifest_digest_line, open_bundle
from osteo_edge.errors import (
    BundleError,
    BundleNotFoundError,
    IncompatibleBundleError,
    IntegrityError,
    ManifestError,
)
from osteo_edge.integrity import sha256_hex
from tests.bundles import DENSITY

CHOICE = {"architecture": "", "features": [], "engine": "onnxruntime", "precision": "fp32"}


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and make its digest fit again, as a maker of another bundle would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / MANIFEST_DIGEST).write_bytes(manifest_digest_line(sha256_hex(data)))


@pytest.mark.parametrize("name", embedded_bundles())
def test_the_embedded_bundles_are_whole(name: str) -> None:
    bundle = open_bundle(name)
    assert bundle.manifest.name == name
    assert set(bundle.verify()) == set(bundle.manifest.files)


def test_the_default_bundle_is_embedded() -> None:
    assert DEFAULT_BUNDLE in embedded_bundles()
    assert open_bundle().manifest.name == DEFAULT_BUNDLE


def test_a_bundle_is_opened_by_path_too(bundle_copy: Path) -> None:
    assert open_bundle(bundle_copy).digest == open_bundle(DENSITY).digest
    assert open_bundle(str(bundle_copy)).root == bundle_copy.resolve()


@pytest.mark.parametrize("name", ["", "nothing", "../knee-mobilenet_v2", "/nowhere"])
def test_an_unknown_bundle_is_named(name: str) -> None:
    with pytest.raises(BundleNotFoundError, match="embedded: "):
        open_bundle(name)


def test_every_file_is_missed_and_every_changed_bit_is_found(bundle_copy: Path) -> None:
    paths = [path for path in sorted(bundle_copy.rglob("*")) if path.is_file()]
    assert len(paths) > 10
    for path in paths:
        content = path.read_bytes()
        positions = sorted({0, len(content) // 2, len(content) - 1})
        for position in positions:
            for bit in (0, 5):  # 5: the bit that turns a letter's case in hexadecimal digits
                damaged = bytearray(content)
                damaged[position] ^= 1 << bit
                path.write_bytes(bytes(damaged))
                with pytest.raises(BundleError):
                    list(open_bundle(bundle_copy).verify())
        path.unlink()
        with pytest.raises(BundleError):
            list(open_bundle(bundle_copy).verify())
        path.write_bytes(content)
    list(open_bundle(bundle_copy).verify())


def test_every_bit_of_the_manifest_and_its_digest_counts(bundle_copy: Path) -> None:
    digest = bundle_copy / MANIFEST_DIGEST
    content = digest.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            digest.write_bytes(bytes(damaged))
            with pytest.raises(IntegrityError):
                open_bundle(bundle_copy)
    digest.write_bytes(content + b"\n")
    with pytest.raises(IntegrityError):
        open_bundle(bundle_copy)


def test_links_and_extra_files_are_refused(bundle_copy: Path, tmp_path: Path) -> None:
    card = bundle_copy / "MODEL_CARD.md"
    elsewhere = tmp_path / "elsewhere.md"
    shutil.copy(card, elsewhere)
    card.unlink()
    card.symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match="link"):
        open_bundle(bundle_copy).read("MODEL_CARD.md")
    card.unlink()
    shutil.copy(elsewhere, card)
    members = bundle_copy / "members"
    members.rename(tmp_path / "members")
    members.symlink_to(tmp_path / "members")
    bundle = open_bundle(bundle_copy)
    with pytest.raises(IntegrityError, match="link"):
        bundle.read(bundle.manifest.members[0].head_weights)
    members.unlink()
    (tmp_path / "members").rename(members)
    (bundle_copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(IntegrityError, match="not listed"):
        list(open_bundle(bundle_copy).verify())


def test_a_pipe_in_place_of_a_file_does_not_hang(bundle_copy: Path) -> None:
    (bundle_copy / "LICENSE").unlink()
    os.mkfifo(bundle_copy / "LICENSE")
    with pytest.raises(IntegrityError, match="regular"):
        open_bundle(bundle_copy).read("LICENSE")


def test_only_listed_files_are_read(bundle_copy: Path) -> None:
    with pytest.raises(IntegrityError, match="not listed"):
        open_bundle(bundle_copy).read("../secret")


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        place: Any = manifest
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value

    return change


def _with_input(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["members"][0]["input"].update(changes)


def _list_file(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64, "size": 0}})


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (_set("schema_version", 4), IncompatibleBundleError, "schema_version is 4, this version of osteo-edge reads 5"),
        (_set("schema_version", True), IncompatibleBundleError, "schema_version"),
        (_set("surprise", 1), ManifestError, "unknown key 'surprise'"),
        (_set("members/0/surprise", 1), ManifestError, r"members\[0\]: unknown key"),
        (_set("labels", ["osteopenia", "normal", "osteoporosis"]), ManifestError, "labels"),
        (_set("name", "../x"), ManifestError, "name"),
        (_set("body_part", "chest"), ManifestError, "body_part"),
        (_set("members", []), ManifestError, "members"),
        (_set("conformal/coverage", 1.5), ManifestError, "conformal.coverage"),
        (_set("conformal/min_probabilities", [0.2, 0.2]), ManifestError, "conformal.min_probabilities must hold 3 numbers"),
        (_set("conformal/min_probabilities", [0.2, 0.2, 1.2]), ManifestError, "conformal.min_probabilities must lie between"),
        (_set("conformal/min_probabilities", [0.2, -0.1, 0.2]), ManifestError, "conformal.min_probabilities must lie between"),
        (_set("conformal/min_probabilities", 0.2), ManifestError, "conformal.min_probabilities must be a list"),
        (_set("conformal/min_probability", 0.2), ManifestError, "unknown key 'min_probability'"),
        (_set("members/0/input/dtype", "float16"), ManifestError, "input.dtype"),
        (_set("members/0/input/height_px", 10**9), ManifestError, "input"),
        (_set("members/0/region/above", -1), ManifestError, "region"),
        (_set("members/0/head_weights", "nothing.npy"), ManifestError, "head_weights"),
        (_set("members/0/default_precision/onnxruntime", "fp64"), ManifestError, "default_precision"),
        (_set("members/0/accepted/onnxruntime", ["fp16"]), ManifestError, r"accepted.onnxruntime must hold fp32"),
        (_set("members/0/accepted/onnxruntime", ["fp32", "fp64"]), ManifestError, "a precision without a file"),
        (_set("members/0/accepted/onnxruntime", "fp32"), ManifestError, "must be a list"),
        (_set("members/0/accepted", {"onnxruntime": ["fp32"]}), ManifestError, r"accepted.litert must hold fp32"),
        (_set("members/0/accepted/magic", ["fp32"]), ManifestError, "must name the engines that have files"),
        (_set("choices", [CHOICE | {"engine": "magic"}]), ManifestError, r"choices\[0\].engine must be one of"),
        (_set("choices", [CHOICE | {"precision": "fp64"}]), ManifestError, r"choices\[0\].precision must be one of"),
        (_set("choices", [CHOICE | {"precision": "fp16"}]), ManifestError, "which a member does not accept"),
        (_set("choices", [CHOICE, CHOICE | {"features": ["magic"]}]), ManifestError, r"choices\[1\].features"),
        (_set("choices", [CHOICE | {"surprise": 1}]), ManifestError, r"choices\[0\]: unknown key"),
        (_set("members/0/input", "uint8"), ManifestError, "must be an object"),
        (_with_input(dtype="uint8", value_range=[-1.0, 1.0]), ManifestError, "between 0 and 255 for uint8"),
        (_with_input(dtype="uint8", value_range=[0.0, 256.0]), ManifestError, "between 0 and 255 for uint8"),
        (_set("finder", "nothing.npz"), ManifestError, "finder"),
        (_list_file("../outside"), ManifestError, "unsafe path"),
        (_list_file("/etc/passwd"), ManifestError, "unsafe path"),
        (_list_file("a/../b"), ManifestError, "unsafe path"),
        (_list_file("a\\b"), ManifestError, "unsafe path"),
        (_list_file(".hidden"), ManifestError, "unsafe path"),
        (_list_file("C:x"), ManifestError, "unsafe path"),
    ],
)
def test_a_wrong_manifest_names_its_field(
    bundle_copy: Path, change: Callable[[dict[str, Any]], None], error: type[BundleError], named: str
) -> None:
    rewrite_manifest(bundle_copy, change)
    with pytest.raises(error, match=named):
        open_bundle(bundle_copy)


def test_a_missing_field_is_named(bundle_copy: Path) -> None:
    rewrite_manifest(bundle_copy, lambda manifest: manifest.pop("intended_use"))
    with pytest.raises(ManifestError, match="'intended_use' is missing"):
        open_bundle(bundle_copy)
