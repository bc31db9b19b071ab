"""DICOM on the command line: discs, folders, files without a name's ending, standard input."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from osteo_edge.cli.group import cli
from tests import dicoms

# Of what is made wrong on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "osteo_edge/reports/prediction.schema.json").read_text())


@pytest.fixture(scope="module")
def knee(example: Path) -> bytes:
    film = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    return dicoms.file(
        film, dicoms.JPEG_LOSSLESS_FIRST, **dicoms.OF_A_KNEE, **dicoms.SECRETS, PatientAge="045Y", PatientSex="F"
    )


@pytest.fixture
def disc(tmp_path: Path, knee: bytes) -> Path:
    """As a clinic burns one: numbered files two folders down, an index, a viewer beside them."""
    folder = tmp_path / "disc"
    (folder / "IMAGES" / "ST0001").mkdir(parents=True)
    (folder / "DICOMDIR").write_bytes(dicoms.file(np.zeros((9, 9), np.uint8), kind="1.2.840.10008.1.3.10"))
    (folder / "VIEWER.EXE").write_bytes(b"MZ" + bytes(600))
    (folder / "IMAGES" / "ST0001" / "IM000001").write_bytes(knee)
    magnets = dicoms.file(np.zeros((64, 64), np.uint16), kind="1.2.840.10008.5.1.4.1.1.4")
    (folder / "IMAGES" / "ST0001" / "IM000002").write_bytes(magnets)
    return folder


def run(*arguments: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["predict", *arguments], input=data, standalone_mode=False)


def test_a_disc_is_answered_by_its_index_and_by_its_folder(disc: Path) -> None:
    by_index, by_folder = run(str(disc / "DICOMDIR")), run("--recursive", str(disc))
    assert by_index.stdout == by_folder.stdout
    assert "IM000002: rejected - This is not a plain radiograph." in by_index.stdout
    assert "2 pictures" in by_index.stdout
    assert "2 other files passed over" in by_index.stdout
    assert by_index.return_value == 4


def test_answers_keep_to_the_schema_and_hold_nothing_of_the_patient(disc: Path) -> None:
    done = run("--format", "json", "--explain", "--output", str(disc / "out"), str(disc / "DICOMDIR"))
    first, second = json.loads(done.stdout)
    for record in (first, second):
        jsonschema.validate(record, SCHEMA)
    assert first["tags"]["kind"] == "CR"
    assert second["tags"] is None
    assert "secret" not in done.output.lower()
    assert "19410203" not in done.output
    assert [path.name for path in (disc / "out").iterdir()] == [Path(first["overlay"]).name]
    assert Path(first["overlay"]).name.startswith("IM000001-")


def test_standard_input_and_a_file_without_ending_give_the_same_answer(disc: Path, knee: bytes) -> None:
    path = disc / "IMAGES" / "ST0001" / "IM000001"
    of_file, of_stream = (
        json.loads(run("--format", "json", *arguments, data=data).stdout)
        for arguments, data in (((str(path),), None), (("-",), knee))
    )
    assert of_file["answers"] == of_stream["answers"]
    assert (of_file["sha256"], of_file["tags"]) == (of_stream["sha256"], of_stream["tags"])


def test_options_win_over_the_file_s_tags(disc: Path) -> None:
    path = str(disc / "IMAGES" / "ST0001" / "IM000001")
    plain, asked = run(path).stdout, run("--age", "60", "--sex", "male", path).stdout
    assert "Note: age and sex are taken from the file's own tags" in plain
    assert "Note: the file's tags say another age and sex than was given; what was given is taken" in asked
