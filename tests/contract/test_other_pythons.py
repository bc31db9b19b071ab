"""The wheel under the other versions of Python that it declares, where one is at hand: the same answers, the same tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from train.synthetic import write_dataset

ROOT = Path(__file__).resolve().parents[2]
HERE = "{}.{}".format(*sys.version_info)
PEOPLE = "people.csv"
RADIOGRAPHS = 6
TESTS = ("tests/osteo_edge", "tests/cli", "tests/golden", "tests/contract")

pytestmark = pytest.mark.slow


def declared() -> Iterator[str]:
    """Versions of the classifiers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for classifier in project["classifiers"]:
        *_, version = classifier.split(" :: ")
        if classifier.startswith("Programming Language :: Python :: 3."):
            yield version


def find_interpreter(version: str) -> Path:
    """On PATH, or among pyenv's; a pyenv that was told of no such version has an empty shell of it on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    for candidate in ([Path(named)] if named else []) + sorted(pyenv.glob(f"{version}.*/bin/python{version}")):
        tried = subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True, check=False)
        if tried.returncode == 0:
            return candidate
    pytest.skip(f"no Python {version} with its venv module, neither on PATH nor among pyenv's")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, example: Path, request: pytest.FixtureRequest) -> Path:
    """The example, drawn ones, one that is broken, and some radiographs where there are any."""
    folder = tmp_path_factory.mktemp("pictures")
    write_dataset(folder, count=4, seed=5, scale=0.6)
    shutil.copy(example, folder)
    (folder / "broken.png").write_bytes(example.read_bytes()[:1000])
    try:
        radiographs = sorted((request.getfixturevalue("data_folder") / "knee").rglob("*.jp*g"))
    except pytest.skip.Exception:
        radiographs = []
    for number, path in enumerate(radiographs[:: max(1, len(radiographs) // RADIOGRAPHS)]):
        shutil.copy(path, folder / f"{number}{path.suffix}")
    rows = [f"{path.relative_to(folder)},{20 + 5 * place},female" for place, path in enumerate(sorted(folder.rglob("*.*g")))]
    (folder / PEOPLE).write_text("\n".join(["file,age,sex", *rows]))
    return folder


def answers(program: list[str | Path], pictures: Path) -> list[dict[str, Any]]:
    """What it says of every picture, alone and with age and sex, by each engine; without what clocks say."""
    found = []
    for engine in ("onnxruntime", "litert"):
        for people in ((), ("--covariates-table", pictures / PEOPLE)):
            done = subprocess.run(
                [*program, "predict", "--format", "jsonl", "--recursive", "--engine", engine, *people, pictures],
                capture_output=True,
                text=True,
                check=False,
                cwd=ROOT,
            )
            assert done.stdout, done.stderr
            found += [json.loads(line) for line in done.stdout.splitlines()]
    return [{key: value for key, value in answer.items() if key != "timings_ms"} for answer in found]


@pytest.mark.parametrize("version", [version for version in declared() if version != HERE])
def test_answers_are_the_same_and_the_runtime_passes_its_tests(
    version: str, wheel: Path, make_environment: Callable[..., Path], pictures: Path
) -> None:
    environment = make_environment(
        f"osteo-edge[litert,signatures,dicom,report,kiosk] @ {wheel.as_uri()}",
        *("pytest", "hypothesis", "httpx", "jsonschema", "onnx", "scipy"),
        python=find_interpreter(version),
    )
    theirs = answers([environment / "bin/osteo-edge"], pictures)
    ours = answers([sys.executable, "-m", "osteo_edge"], pictures)
    assert len(ours) > 20
    assert theirs == ours
    tested = subprocess.run(
        [environment / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *TESTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout[-4000:]


def test_the_running_version_is_declared() -> None:
    assert HERE in declared()
