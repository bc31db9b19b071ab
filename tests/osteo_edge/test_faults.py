"""Odd files and films that are nothing to fear: what stands beside the picture changes no answer, and no picture ends badly."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.blemishes import blemishes
from osteo_edge import OsteoPredictor, Status, open_bundle
from osteo_edge.cli.main import _run
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.images.decoder_limits import Limits
from osteo_edge.images.reader import read
from osteo_edge.images.untrusted import UntrustedReader
from osteo_edge.joints import Joint
from tests import dicoms
from tests.bundles import DENSITY
from tests.pictures import encoded, jpeg_segment, png_chunk

GREYS = np.random.default_rng(3).integers(0, 255, (61, 45), np.uint8)
PNG_START = 8 + 12 + 13
# Where each pass of Adam7 begins and how far apart its pixels are: x, y, then across and down (PNG, 8.2).
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor(DENSITY, threads=1) as predictor:
        yield predictor


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("rider", [b"PK\x03\x04" + b"\0" * 60, b"<?php system($_GET['c']); ?>", b"<script>alert(1)</script>"])
def test_a_picture_that_is_something_else_besides_is_a_picture_alone(ending: str, rider: bytes) -> None:
    """What follows the picture's end is never looked at."""
    data = encoded(ending, GREYS)
    assert np.array_equal(read(data + rider).pixels, read(data).pixels)


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    return png[:PNG_START] + png_chunk(kind, content) + png[PNG_START:]


def test_notes_and_profiles_that_inflate_without_end_take_no_memory() -> None:
    """512 MiB of text and of a colour profile, in a process that has 160 MiB to work with."""
    bomb = zlib.compress(bytes(512 << 20), 1)
    reader = UntrustedReader(Limits(seconds=60, working_bytes=160 << 20))
    for kind in (b"zTXt", b"iCCP"):
        data = with_chunk(encoded(".png", GREYS), kind, b"name\0\0" + bomb)
        assert np.array_equal(reader.read(data).pixels, GREYS), kind
    reader.close()


def test_gamma_and_profiles_change_no_grey() -> None:
    png, jpeg = encoded(".png", GREYS), encoded(".jpg", GREYS)
    for kind, content in (
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"sRGB", b"\0"),
        (b"iCCP", b"x\0\0" + zlib.compress(b"none")),
    ):
        assert np.array_equal(read(with_chunk(png, kind, content)).pixels, GREYS), kind
    segment = jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(400))
    assert np.array_equal(read(jpeg[:2] + segment + jpeg[2:]).pixels, read(jpeg).pixels)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_an_interlaced_png_is_the_plain_one(depth: type[np.unsignedinteger]) -> None:
    greys = GREYS.astype(depth) * depth(1 if depth is np.uint8 else 257)
    rows = (row for x, y, across, down in ADAM7 for row in greys[y::down, x::across])
    data = b"".join(b"\0" + row.astype(greys.dtype.newbyteorder(">")).tobytes() for row in rows if row.size)
    head = struct.pack(">IIBBBBB", greys.shape[1], greys.shape[0], 8 * greys.itemsize, 0, 0, 0, 1)
    chunks = (png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(data)), png_chunk(b"IEND", b""))
    assert np.array_equal(read(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).pixels, greys)


@pytest.mark.parametrize("shape", [(300, 6000), (6000, 300), (256, 256 * 60)])
def test_a_strip_is_no_knee(predictor: OsteoPredictor, shape: tuple[int, int]) -> None:
    strip = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    prediction = predictor.predict(strip)
    assert (prediction.status, prediction.label) == (Status.REJECTED, None)


def test_a_marker_at_the_border_changes_next_to_nothing(predictor: OsteoPredictor, example: Path) -> None:
    """A lead letter and an arrow beside the leg."""
    pixels = read(example).pixels
    marked = pixels.copy()
    height, width = pixels.shape
    cv2.putText(marked, "R", (width // 40, height // 8), cv2.FONT_HERSHEY_SIMPLEX, 2.5, 255, 6)
    cv2.arrowedLine(marked, (width - width // 12, height // 8), (width - width // 40, height // 20), 255, 5)
    plain, other = predictor.predict(pixels), predictor.predict(marked)
    assert other.status is plain.status
    assert max(abs(other.probabilities[label] - one) for label, one in plain.probabilities.items()) < 0.02


def test_a_mixed_folder_has_a_reason_for_every_refusal(
    example: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As somebody drops it: films, an implant, a spine, a document under a picture's name, and one that lies on its side."""
    pixels = read(example).pixels
    (joint,) = find_joints(pixels)
    implant = next(image for _, name, image in blemishes(pixels, joint) if name == "prosthesis")
    made = {
        "implant.png": encoded(".png", np.asarray(implant)),
        "knee": dicoms.file(pixels, **dicoms.OF_A_KNEE),
        "renamed.png": b"%PDF-1.4",
        "sideways.png": encoded(".png", np.ascontiguousarray(np.rot90(pixels))),
        "spine.dcm": dicoms.file(pixels, **dicoms.OF_A_KNEE | {"BodyPartExamined": "LSPINE"}),
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.4")
    assert _run(["predict", "--bundle", DENSITY, "--format", "jsonl", str(tmp_path)]) == 3
    printed = capfd.readouterr()
    told = {Path(one["source"]).name: one for one in map(json.loads, printed.out.splitlines())}
    refused = {name: [finding["code"] for finding in one["findings"]] for name, one in told.items()}
    assert refused == {
        "implant.png": ["metal"],
        "knee": [],
        "renamed.png": ["unsupported_format"],
        "sideways.png": [],
        "spine.dcm": ["body_part"],
    }
    assert told["sideways.png"]["turned_degrees"] == 90
    assert "1 other file passed over" in printed.err


def find_joints(pixels: np.ndarray) -> tuple[Joint, ...]:
    bundle = open_bundle(DENSITY)
    return JointFinder.from_bytes(bundle.read(bundle.manifest.finder)).find(pixels)


def test_the_same_picture_twice_is_the_same_answer_to_the_bit(predictor: OsteoPredictor, example: Path) -> None:
    assert predictor.predict(example) == predictor.predict(example)
