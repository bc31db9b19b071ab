"""The comparison on other processors: nothing differs from itself, what saturates is caught, what was left out is said."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.portability import compare as comparing
from export.portability import places
from export.portability.command import portability
from export.portability.compare import Answers, Arm64, ModelFile, compare, judge
from export.portability.hidden import hide, without_avx512
from export.portability.records import Portability, Row
from osteo_edge.bundle import EMBEDDED_FOLDER, open_bundle
from osteo_edge.records import parse_record, to_plain
from osteo_edge.selftest import require_self_test
from tests.bundles import DENSITY
from tests.making import rewrite_file, rewrite_manifest

ARM64_FOLDER = os.environ.get("OSTEO_EDGE_ARM64")
needs_avx512 = pytest.mark.skipif(not places.has_avx512(), reason="this processor has no AVX-512 to hide")

FILE = ModelFile("members/a.int8.onnx", "0" * 64, "onnxruntime", "int8", Path("model"), Path("knees"))
KNEES = tuple((f"{number:064x}", 0) for number in range(4))
NATIVE = np.array([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])


def rows(found: Portability, form: str) -> dict[str, Row]:
    return {row.path: row for row in found.rows if row.form == form}


def reduce_to(folder: Path, files: dict[str, dict[str, str]]) -> Path:
    """Leave these model files of the one member."""

    def change(manifest: dict[str, Any]) -> None:
        member = manifest["members"][0]
        member["files"] = files
        member["accepted"] = {engine: list(by_precision) for engine, by_precision in files.items()}
        member["default_precision"] = {engine: next(iter(by_precision)) for engine, by_precision in files.items()}
        manifest["choices"] = []

    return rewrite_manifest(folder, change)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path / "bundle"))


def answers(probabilities: np.ndarray, order: tuple[int, ...] = (0, 1, 2, 3)) -> Answers:
    return Answers(np.array(order), np.asarray(probabilities, np.float64), {})


def test_the_same_answers_pass() -> None:
    row = judge(FILE, "arm64", answers(NATIVE), answers(NATIVE), KNEES)
    assert (row.knees, row.max_difference, row.same_label, row.agreement, row.passes) == (4, 0.0, 1.0, 1.0, True)


def test_a_flip_near_a_tie_is_listed_and_passes() -> None:
    here = NATIVE.copy()
    here[1] = [0.33, 0.34, 0.33]
    row = judge(FILE, "arm64", answers(NATIVE), answers(here), KNEES)
    assert row.passes
    assert row.same_label == 0.75
    assert row.agreement == 1.0
    assert [(flip.radiograph_sha256, flip.margin) for flip in row.flips] == [(KNEES[1][0], 0.01)]


def test_a_clear_flip_fails_and_names_the_knee_among_those_that_were_run() -> None:
    here = NATIVE[[3, 2]].copy()
    here[1] = [0.5, 0.4, 0.1]
    row = judge(FILE, "arm64", answers(NATIVE), answers(here, (3, 2)), KNEES)
    assert not row.passes
    assert row.flips[0].radiograph_sha256 == KNEES[2][0]
    assert row.flips[0].native == (0.1, 0.8, 0.1)


@pytest.mark.parametrize(("form", "passes"), [("avx512_hidden", False), ("arm64", True)])
def test_int8_that_keeps_its_labels_but_moves_all_answers_fails_where_it_may_saturate(form: Any, passes: bool) -> None:
    here = NATIVE + np.array([0.006, -0.004, -0.002])
    row = judge(FILE, form, answers(NATIVE), answers(here), KNEES)
    assert row.agreement == 1.0
    assert row.passes is passes


@pytest.mark.parametrize(("off", "passes"), [(9e-5, True), (2e-4, False)])
def test_fp32_is_held_to_its_digits(off: float, passes: bool) -> None:
    file = dataclasses.replace(FILE, precision="fp32")
    here = NATIVE + np.array([off, -off, 0])
    assert judge(file, "arm64", answers(NATIVE), answers(here), KNEES).passes is passes


def test_scores_that_are_no_numbers_fail() -> None:
    row = judge(FILE, "arm64", answers(NATIVE), answers(np.full((4, 3), np.nan)), KNEES)
    assert not row.passes
    assert "numbers" in row.fault


def elf(code: bytes, data: bytes) -> bytes:
    """A shared object with one executable segment and something behind it."""
    header = b"\x7fELF\x02\x01".ljust(0x20, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 0, 0, len(code), len(code), 1)
    return header + segment + code + data


def test_only_code_is_patched_and_keeps_its_length() -> None:
    asked = bytes.fromhex("b807000000 b901000000 0fa2")
    saved = bytes.fromhex("b807000000 b901000000 4889de 0fa2")
    enabled = bytes.fromhex("31c9 0f01d0")
    patched, count = hide(elf(asked + saved + enabled, enabled + asked))
    assert count == 3
    assert patched[120:] == (
        bytes.fromhex("b807000000 31c031d290 31c9")
        + bytes.fromhex("b807000000 31c031d290 4889de 31c9")
        + bytes.fromhex("31c9 b00790")
        + enabled
        + asked
    )


def test_what_is_no_library_stays() -> None:
    assert hide(bytes.fromhex("0f01d0")) == (bytes.fromhex("0f01d0"), 0)


def test_a_package_that_asks_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "lib.so").write_bytes(elf(b"\x90", b""))
    with pytest.raises(ExportError, match="no instruction"), without_avx512({"engine": tmp_path / "engine"}):
        pass


def test_a_folder_that_is_no_machine_is_refused_before_anything_is_read(copy: Path, track: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"prepare_arm64\.sh"):
        compare(open_bundle(copy), tmp_path / "nowhere", track=track, arm64=Arm64(tmp_path))


def test_a_processor_without_avx512_is_told_honestly(
    copy: Path, radiographs: Path, track: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing.places, "has_avx512", lambda: False)
    found = compare(open_bundle(copy), radiographs, track=track)
    native, hidden, arm64 = found.environments
    assert (native.status, hidden.status, arm64.status) == ("compared", "not_available", "not_compared")
    assert "--arm64" in arm64.reason
    assert found.rows == ()
    assert set(found.files) == {path for path in open_bundle(copy).manifest.files if path.endswith((".onnx", ".tflite"))}
    assert parse_record(Portability, to_plain(found), where="portability.json").files == found.files


@needs_avx512
def test_the_embedded_bundle_passes_its_self_test_with_avx512_hidden() -> None:
    program = (
        "from osteo_edge.selftest import *; from osteo_edge import open_bundle; print(len(require_self_test(open_bundle())))"
    )
    with places.avx512_hidden() as place:
        done = subprocess.run(
            [*place.command, "-c", program], env=place.environment, capture_output=True, text=True, check=False
        )
    assert done.stdout == f"{len(require_self_test(open_bundle()))}\n", done.stderr


@pytest.mark.slow
@needs_avx512
def test_the_embedded_files_answer_alike_with_avx512_hidden(copy: Path, radiographs: Path, tmp_path: Path) -> None:
    output = tmp_path / "results" / "portability.json"
    done = CliRunner().invoke(
        portability, ["--bundle", str(copy), "--data", str(radiographs), "--output", str(output)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "4194176 here" in done.output
    text = output.read_text()
    assert str(tmp_path) not in text
    assert str(radiographs) not in text
    found = parse_record(Portability, json.loads(text), where="portability.json")
    assert {row.path for row in found.rows} == set(found.files)


@pytest.fixture
def saturating(copy: Path) -> Path:
    """A bundle whose int8 file has 8-bit weights of 127 and inputs of 255: three logits that its pairs of products decide."""
    bundle = open_bundle(copy)
    member = bundle.manifest.members[0]
    path = member.files["onnxruntime"]["int8"]
    spec = member.input
    return plant(copy, path, saturating_model(spec.height_px, spec.width_px))


def plant(folder: Path, path: str, model: bytes) -> Path:
    rewrite_file(folder, path, model)
    return reduce_to(folder, {"onnxruntime": {"int8": path, "fp32": path.replace("int8", "fp32")}})


def saturating_model(height: int, width: int) -> bytes:
    """Logits: the picture's bright half and its dark half compete, by products that 16 bits cannot hold in pairs."""
    size = height * width
    weights = np.zeros((size, 3), np.int8)
    weights[:, 0] = 127
    weights[:, 1] = np.where(np.arange(size) % 4 < 3, 90, 0)
    nodes = [
        helper.make_node("Mul", ["input", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "full"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "row"], ["flat"]),
        helper.make_node("MatMulInteger", ["flat", "weights"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "bias"], ["logits"]),
    ]
    exact = 255 * 127 * size
    constants = {
        "zero": np.float32(0),
        "full": np.float32(255),
        "row": np.array([1, size]),
        "weights": weights,
        "scale": np.float32(4 / exact),
        # Exactly summed, class 0 leads by one; halved, it falls behind class 1, whose products fit.
        "bias": np.array([3.0, 4 * 0.75 * 90 / 127, 4.0], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "saturating",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, height, width, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@needs_avx512
def test_a_file_that_saturates_without_avx512_is_caught(saturating: Path, radiographs: Path, tmp_path: Path) -> None:
    output = tmp_path / "portability.json"
    done = CliRunner().invoke(portability, ["--bundle", str(saturating), "--data", str(radiographs), "--output", str(output)])
    assert done.exit_code == 1
    assert "does not answer alike" in done.output
    found = parse_record(Portability, json.loads(output.read_text()), where="portability.json")
    hidden = {row.precision: row for row in found.rows if row.form == "avx512_hidden"}
    assert hidden["fp32"].passes
    assert hidden["fp32"].max_difference < 1e-4
    assert not hidden["int8"].passes
    assert hidden["int8"].agreement == 0
    assert len(hidden["int8"].flips) == found.knees
    assert "4194176" in found.environments[1].proof
    assert not found.passes


@pytest.mark.slow
@pytest.mark.skipif(ARM64_FOLDER is None, reason="OSTEO_EDGE_ARM64 names no folder made by prepare_arm64.sh")
def test_emulated_arm64_answers_alike(copy: Path, radiographs: Path, track: Any) -> None:
    assert ARM64_FOLDER is not None
    found = compare(open_bundle(copy), radiographs, track=track, arm64=Arm64(Path(ARM64_FOLDER), seconds=0, at_least=2))
    arm64 = rows(found, "arm64")
    assert set(arm64) == set(found.files)
    assert all(row.passes and row.knees == 2 for row in arm64.values())
    assert found.environments[2].architecture == "aarch64"
