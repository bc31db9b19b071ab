"""Model files that must not be run: damaged, exchanged, or made to ask for more than an engine alone gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from onnx import TensorProto, helper

from osteo_edge.bundle import MANIFEST
from osteo_edge.cli.main import _run
from tests.making import rewrite_file, rewrite_manifest

Change = Callable[[bytes], bytes]

_CUSTOM = 32  # BuiltinOperator.CUSTOM


def model_path(folder: Path, engine: str) -> str:
    path: str = json.loads((folder / MANIFEST).read_text())["members"][0]["files"][engine]["fp32"]
    return path


def commands(folder: Path, engine: str, picture: Path) -> list[list[str]]:
    wish = ["--engine", engine, "--precision", "fp32"]
    return [
        ["predict", *wish, "--bundle", str(folder), str(picture)],
        ["doctor", "--bundle", str(folder)],
        ["bundles", "verify", str(folder)],
    ]


def require_refusals(
    folder: Path, engine: str, picture: Path, said: str, capfd: pytest.CaptureFixture[str], codes: tuple[int, ...] = (5,)
) -> None:
    for arguments in commands(folder, engine, picture):
        code = _run(arguments)
        printed = capfd.readouterr()
        assert code in codes, arguments
        assert said in printed.out + printed.err, arguments
        assert "Traceback" not in printed.out + printed.err
        assert arguments[0] != "predict" or printed.out == ""


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("change", [_flipped, lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: b""])
@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_a_damaged_file_is_not_the_recorded_one(
    bundle_copy: Path, example: Path, engine: str, change: Change, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bundle_copy / model_path(bundle_copy, engine)
    path.write_bytes(change(path.read_bytes()))
    require_refusals(bundle_copy, engine, example, "not the file that the bundle recorded", capfd)


def test_a_file_under_another_s_name_is_not_the_recorded_one(
    bundle_copy: Path, example: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both are models that their engine takes: only the digests tell them apart."""
    path = model_path(bundle_copy, "onnxruntime")
    exact, other = bundle_copy / path, bundle_copy / path.replace("fp32", "other")
    model = onnx.load(exact)
    model.producer_version = "another"
    rewrite_file(bundle_copy, other.relative_to(bundle_copy).as_posix(), model.SerializeToString())
    assert _run(["bundles", "verify", str(bundle_copy)]) == 0
    content = exact.read_bytes()
    exact.write_bytes(other.read_bytes())
    other.write_bytes(content)
    capfd.readouterr()
    for arguments in commands(bundle_copy, "onnxruntime", example):
        assert _run(arguments) == 5
        printed = capfd.readouterr()
        text = printed.out + printed.err
        assert "not the file that the bundle recorded" in text or "larger than it should be" in text


def _with_external_data(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    tensor = next(one for one in model.graph.initializer if one.raw_data)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.ClearField("raw_data")
    return model.SerializeToString()


def _with_operator(name: str, domain: str) -> Change:
    def change(data: bytes) -> bytes:
        model = onnx.load_from_string(data)
        model.graph.node[0].op_type, model.graph.node[0].domain = name, domain
        del model.graph.node[0].attribute[:]
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        return model.SerializeToString()

    return change


def _with_other_outputs(data: bytes) -> bytes:
    return data.replace(b"logits", b"scores")


def _with_custom_operator(data: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(data)
    code = model.operatorCodes[model.subgraphs[0].operators[0].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = _CUSTOM
    code.customCode = b"NoSuchOperator"
    builder = Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("engine", "change", "said"),
    [
        ("onnxruntime", _with_external_data, "data in another file"),
        ("onnxruntime", _with_operator("NoSuchOperator", ""), "NoSuchOperator"),
        ("onnxruntime", _with_operator("Conv", "com.example"), "com.example"),
        ("onnxruntime", _with_other_outputs, "the model must give logits"),
        ("onnxruntime", lambda data: data[: len(data) // 2], "cannot load the model"),
        ("onnxruntime", lambda data: b"", "cannot load the model"),
        ("litert", _with_custom_operator, "NoSuchOperator"),
        ("litert", lambda data: data[: len(data) // 2], "cannot load the model"),
        ("litert", lambda data: b"", "cannot load the model"),
    ],
)
def test_a_listed_file_that_is_no_member_is_refused_with_its_name(
    bundle_copy: Path, example: Path, engine: str, change: Change, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The digests fit: somebody made such a bundle."""
    path = model_path(bundle_copy, engine)
    rewrite_file(bundle_copy, path, change((bundle_copy / path).read_bytes()))
    require_refusals(bundle_copy, engine, example, said, capfd, codes=(5, 8))
    assert _run(["bundles", "verify", str(bundle_copy)]) in (5, 8)
    assert path in capfd.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("height_px", 64), ("dtype", "uint8")])
def test_a_manifest_of_another_input_is_refused(
    bundle_copy: Path, example: Path, key: str, value: object, capfd: pytest.CaptureFixture[str]
) -> None:
    rewrite_manifest(bundle_copy, lambda manifest: manifest["members"][0]["input"].update({key: value}))
    require_refusals(bundle_copy, "onnxruntime", example, "the model must take one", capfd)
