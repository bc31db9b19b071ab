"""Nothing heavy until needed, seen from a clean interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osteo_edge import open_bundle
from osteo_edge.engines.stored import SCHEMA_VERSION, Tuning, circumstances, store_tuning

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "cv2", "simplejpeg", "onnxruntime", "ai_edge_litert", "tflite_runtime", "tensorflow", "keras", "cryptography")
HEAVY += ("pydicom", "imagecodecs", "typst", "highdicom", "pynetdicom", "starlette", "uvicorn", "python_multipart")


def loaded_after(statement: str) -> set[str]:
    report = f"print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    code = f"import sys\n{statement}\n{report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("loaded:")[2].split())  # LiteRT greets on standard error too


LIGHT = (
    "import osteo_edge; osteo_edge.__version__; dir(osteo_edge)",
    "from osteo_edge import errors, labels, manifest, bundle, records",
    "from osteo_edge.cli.main import _run; assert _run(['--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['--version']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['predict', '--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['report', '--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['watch', '--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['kiosk', '--help']) == 0",
    "from osteo_edge.station.audit import AuditLog, verify",
    "from osteo_edge.cli.main import _run; assert _run(['tune', '--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['tune', '--forget']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['bench', '--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run('bench --seconds 0 --queries 1 --cold-rounds 0'.split()) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['bundles', 'list']) == 0",
    "from osteo_edge.clinical import advice, assessment, known",
    "from osteo_edge.cli.main import _run; assert _run('risk --age 67 --sex female --weight 58'.split()) == 0",
    "from osteo_edge.cli.main import _run; assert _run('risk --age 67 --sex female --weight 58 --json'.split()) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['bundles', 'install', '--help']) == 0",
    "from osteo_edge.cli.main import _run; assert _run(['bundles', 'remove', 'nothing']) == 5",
)


def test_loads_no_numpy_opencv_or_engine() -> None:
    """One after the other in one interpreter: what none of them loads, none alone does."""
    look = f"assert not (loaded := [name for name in {HEAVY!r} if name in sys.modules]), loaded"
    assert loaded_after("\n".join(f"{statement}\n{look}" for statement in LIGHT)) == set()


def test_a_stored_choice_is_read_without_anything_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``importlib.metadata`` would know the engines' versions too, for a tenth of a cold prediction."""
    monkeypatch.setenv("OSTEO_EDGE_TUNING", str(tmp_path))
    bundle = open_bundle()
    store_tuning(bundle, Tuning(SCHEMA_VERSION, circumstances(bundle, threads=1), "onnxruntime", "fp32", ()))
    found = "from osteo_edge.engines.stored import find_tuning; from osteo_edge import open_bundle"
    look = f"{found}; assert find_tuning(open_bundle(), threads=1).tuning; assert 'importlib.metadata' not in sys.modules"
    assert loaded_after(look) == set()


def test_nothing_is_written_to_the_user_s_home(tmp_path: Path, example: Path) -> None:
    """ONNX Runtime's telemetry keeps a device identifier there unless it is switched off."""
    code = f"from osteo_edge import OsteoPredictor; OsteoPredictor().predict({str(example)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | {"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_the_check_would_see_them() -> None:
    assert loaded_after("from osteo_edge import OsteoPredictor") == {"numpy", "cv2"}


def test_only_the_asked_for_engine_is_loaded() -> None:
    predictor = "from osteo_edge import OsteoPredictor; OsteoPredictor(engine={!r})"
    assert loaded_after(predictor.format("onnxruntime")) == {"numpy", "cv2", "onnxruntime"}
    assert loaded_after(predictor.format("litert")) == {"numpy", "cv2", "ai_edge_litert"}


def test_the_decoder_of_jpegs_is_loaded_for_a_jpeg_alone(tmp_path: Path, example: Path) -> None:
    jpeg = tmp_path / "knee.jpg"
    turn = f"import cv2; cv2.imwrite({str(jpeg)!r}, cv2.imread({str(example)!r}, 0))"
    read = "from osteo_edge.images.reader import read; read({!r})"
    assert loaded_after(f"{turn}; {read.format(str(example))}") == {"numpy", "cv2"}
    assert loaded_after(f"{turn}; {read.format(str(jpeg))}") == {"numpy", "cv2", "simplejpeg"}
