"""How ONNX Runtime is given a model."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest

from osteo_edge.bundle import open_bundle
from osteo_edge.engines.onnx import OnnxEngine
from osteo_edge.errors import InferenceError
from tests.bundles import DENSITY


@pytest.fixture(scope="module")
def model() -> bytes:
    bundle = open_bundle(DENSITY)
    return bundle.read(bundle.manifest.members[0].files["onnxruntime"]["fp32"])


def answers(model: bytes) -> dict[str, np.ndarray]:
    engine = OnnxEngine(model, threads=1)
    spec = engine.inputs[0]
    picture = np.random.default_rng(0).random(spec.shape, np.float32)
    return engine.run({spec.name: picture})


def test_answers_are_the_same_where_there_are_no_files_in_memory(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    by_file = answers(model)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    for name, values in answers(model).items():
        np.testing.assert_array_equal(values, by_file[name])


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EMFILE])
def test_answers_are_the_same_where_files_in_memory_are_forbidden(
    model: bytes, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_file = answers(model)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create", refuse)
    for name, values in answers(model).items():
        np.testing.assert_array_equal(values, by_file[name])


def test_answers_are_the_same_where_no_file_has_a_name(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc, as in some sandboxes."""
    by_file = answers(model)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("osteo_edge.engines.onnx._DESCRIPTORS", "/nowhere")
    for name, values in answers(model).items():
        np.testing.assert_array_equal(values, by_file[name])
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_file_stays_open(model: bytes) -> None:
    before = os.listdir("/proc/self/fd")
    engine = OnnxEngine(model, threads=1)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    engine.close()


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: b"", lambda data: data.replace(b"Conv", b"Cxnv")])
def test_a_refusal_names_the_fault_and_no_file(model: bytes, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InferenceError, match=r"cannot load the model: \[ONNXRuntimeError\]") as refused:
        OnnxEngine(damage(model), threads=1)
    assert "/proc" not in str(refused.value)
