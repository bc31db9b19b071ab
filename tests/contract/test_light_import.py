"""Nothing heavy until needed, seen from a clean interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "cv2", "onnxruntime", "ai_edge_litert", "tflite_runtime", "tensorflow", "keras")


def loaded_after(statement: str) -> set[str]:
    report = f"print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    code = f"import sys\n{statement}\n{report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("loaded:")[2].split())  # LiteRT greets on standard error too


@pytest.mark.parametrize(
    "statement",
    [
        "import osteo_edge; osteo_edge.__version__; dir(osteo_edge)",
        "from osteo_edge import errors, labels, manifest, bundle, records",
        "from osteo_edge.cli.main import _run; assert _run(['--help']) == 0",
        "from osteo_edge.cli.main import _run; assert _run(['--version']) == 0",
        "from osteo_edge.cli.main import _run; assert _run(['predict', '--help']) == 0",
        "from osteo_edge.cli.main import _run; assert _run(['bundles', 'list']) == 0",
    ],
)
def test_loads_no_numpy_opencv_or_engine(statement: str) -> None:
    assert loaded_after(statement) == set()


def test_the_check_would_see_them() -> None:
    assert loaded_after("from osteo_edge import OsteoPredictor") == {"numpy", "cv2"}


def test_only_the_asked_for_engine_is_loaded() -> None:
    predictor = "from osteo_edge import OsteoPredictor; OsteoPredictor(engine={!r})"
    assert loaded_after(predictor.format("onnxruntime")) == {"numpy", "cv2", "onnxruntime"}
    assert loaded_after(predictor.format("litert")) == {"numpy", "cv2", "ai_edge_litert"}
