"""The scripts in examples/ do what they say."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from osteo_edge import OsteoPredictor
from tests.answers import told

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# Its answers go by age, so that no client's can be taken for another's.
DENSITY_QUESTION = "bone_density"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a service that runs in a process of its own."""
    command = [sys.executable, EXAMPLES / "server.py", "--port", "0", "--question", DENSITY_QUESTION]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        yield int(address.split(":")[2].split("/")[0])
        process.terminate()


def post(port: int, body: bytes, where: str = "/predict", **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", where)
    for name, value in (
        {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    ).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_many_clients_get_each_their_own_answer(port: int, example: Path) -> None:
    """More clients than places; what each gets is what the library gives."""
    with OsteoPredictor(questions=DENSITY_QUESTION, threads=1) as predictor:
        expected = {age: predictor.predict(example, age_years=age, sex="female").probabilities for age in range(30, 46)}
    picture = example.read_bytes()
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda age: post(port, picture, f"/predict?age={age}&sex=female"), expected))
    for (status, answer), probabilities in zip(answers, expected.values(), strict=True):
        assert (status, answer["source"], len(answer["joints"])) == (200, "upload", 1)
        assert told(answer)["probabilities"] == {label: round(value, 6) for label, value in probabilities.items()}


def test_what_is_no_picture_is_answered_as_rejected(port: int, example: Path) -> None:
    for body in (b"", b"no picture", example.read_bytes()[:5000]):
        status, answer = post(port, body)
        assert (status, answer["status"], told(answer)["label"]) == (200, "rejected", None)
        assert answer["findings"]


@pytest.mark.parametrize(
    ("where", "headers", "status"),
    [
        ("/", {}, 404),
        ("/predict?age=old", {}, 400),
        ("/predict?shoes=44", {}, 400),
        ("/predict", {"Content_Length": str(1 << 30)}, 413),
        ("/predict", {"Content_Length": "9" * 5000}, 413),
        ("/predict", {"Content_Length": "-1"}, 411),
        ("/predict", {"Content_Length": "many"}, 411),
    ],
)
def test_other_requests_are_refused_in_words(
    port: int, example: Path, where: str, headers: dict[str, str], status: int
) -> None:
    body = b"" if headers else example.read_bytes()
    found, answer = post(port, body, where, **headers)
    assert found == status
    assert answer["error"]


def test_a_client_that_leaves_frees_its_place(port: int, example: Path) -> None:
    for _ in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", "100000")
        connection.endheaders(b"a few bytes")
        connection.close()
    assert post(port, example.read_bytes())[0] == 200


def test_a_pool_of_processes_answers_in_order(example: Path, tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        shutil.copy(example, tmp_path / name)
    (tmp_path / "b.png").write_bytes(example.read_bytes()[:5000])
    done = subprocess.run(
        [sys.executable, EXAMPLES / "pool.py", tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [Path(line.split(":")[0]).name for line in lines] == ["a.png", "b.png", "c.png"]
    assert "reported" in lines[0] or "referred" in lines[0]
    assert "truncated" in lines[1]
