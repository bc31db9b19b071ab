"""Where a model file can be run: this machine, this machine with AVX-512 hidden, an emulated arm64 machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.portability.hidden import without_avx512
from export.portability.records import Form
from osteo_edge.device import Processor, processor
from osteo_edge.engines import telemetry

ROOT = Path(__file__).resolve().parents[2]
ENGINE_PACKAGES = ("onnxruntime", "ai_edge_litert")
# Without fused 8-bit products pairs of them are added in 16 bits: 2 * 255 * 127 does not fit.
EXACT_SUM = 255 * 127 * 256
_HIDDEN_FEATURES = ("avx512", "avx_vnni", "amx")


@dataclass(frozen=True)
class Place:
    """How Python is started there.

    Attributes:
        command: Python's, without arguments.
        search: folders before all others in which it looks for packages.
        form, processor: see ``records.Environment``.
        changed: what was done so that engines see this processor, in words; empty where nothing was.
    """

    form: Form
    command: tuple[str, ...]
    search: tuple[Path, ...]
    processor: Processor
    changed: str = ""

    def run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run ``answer`` there.

        Raises:
            ExportError: the program failed; with its last words.
        """
        try:
            done = subprocess.run(
                [*self.command, "-m", "export.portability.answer"],
                cwd=ROOT,
                env=self.environment,
                input=json.dumps(job),
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise ExportError(f"{self.command[0]} cannot be started ({error.strerror})") from error
        if done.returncode:
            raise ExportError(_last_words(done))
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of programs that run there."""
        path = os.pathsep.join(map(str, (*self.search, ROOT)))
        return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", telemetry.SWITCH: "1"}


def native() -> Place:
    """This machine as it is."""
    return Place("native", (sys.executable,), (), processor())


def has_avx512() -> bool:
    """Whether there is something to hide."""
    return "avx512f" in processor().features


@contextmanager
def avx512_hidden() -> Iterator[Place]:
    """This machine, its engines patched copies that see no AVX-512 and no AVX-VNNI.

    Raises:
        ExportError: an engine cannot be patched.
    """
    packages = {name: package for name in ENGINE_PACKAGES if (package := _folder_of(name))}
    with without_avx512(packages) as hidden:
        counts = ", ".join(f"{count} of {name}" for name, count in hidden.replaced.items())
        yield Place(
            "avx512_hidden",
            (sys.executable,),
            (hidden.folder,),
            without_hidden_features(processor()),
            f"instructions that ask for it, replaced in copies: {counts}",
        )


def without_hidden_features(whole: Processor) -> Processor:
    """What the patched engines see of a processor."""
    features = tuple(name for name in whole.features if not name.startswith(_HIDDEN_FEATURES))
    return Processor(whole.model, whole.architecture, features)


def arm64(folder: Path, cpu: str) -> Place:
    """The emulated machine that ``prepare_arm64.sh`` made in ``folder``.

    Args:
        cpu: a processor's name as qemu knows it.

    Raises:
        ExportError: the folder is not such a machine.
    """
    folder = folder.resolve()
    emulator, python = folder / "qemu" / "usr" / "bin" / "qemu-aarch64", folder / "root" / "usr" / "bin" / "python3.11"
    for path in (emulator, python, folder / "site"):
        if not path.exists():
            raise ExportError(f"{path} is missing; make the emulated machine by export/portability/prepare_arm64.sh FOLDER")
    command = (str(emulator), "-cpu", cpu, "-L", str(folder / "root"), str(python))
    return Place("arm64", command, (folder / "site",), Processor(cpu, "aarch64", ()), _version(emulator))


def saturation_probe() -> bytes:
    """A model (ONNX): the sum of 256 products of its input (1, 256) uint8 with 127, which 16 bits cannot hold in pairs."""
    from onnx import TensorProto, helper

    size = EXACT_SUM // (255 * 127)
    weights = helper.make_tensor("weights", TensorProto.INT8, [size, 1], [127] * size)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["input", "weights"], ["sum"])],
        "saturation",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, [1, size])],
        [helper.make_tensor_value_info("sum", TensorProto.INT32, [1, 1])],
        [weights],
    )
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    return made


def _folder_of(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _version(emulator: Path) -> str:
    done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].replace(" version", "").strip()


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the engine ended by signal {-done.returncode}"
    lines: Sequence[str] = done.stderr.strip().splitlines()
    return lines[-1][:300] if lines else f"the program ended with {done.returncode} and said nothing"
