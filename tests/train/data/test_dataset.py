from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.dataset import DatasetError, read_dataset, require_readable, survey_folder

Row = dict[str, str]


def _write(folder: Path, rows: list[Row]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def _rows(folder: Path) -> list[Row]:
    """Three good rows and their files, whose content is never looked at here."""
    rows = []
    for number, label in enumerate(("normal", "osteopenia", "osteoporosis")):
        (folder / f"{number}.png").write_bytes(bytes([number]))
        rows.append({"file": f"{number}.png", "label": label, "patient_group": str(number)})
    return rows


def test_reads_optional_columns(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows[0] |= {"age_years": "61.5", "sex": "female", "acquisition": "A", "t_score": "-1.2"}
    rows[0]["sha256"] = hashlib.sha256(b"\0").hexdigest()
    first, second, _ = read_dataset(_write(tmp_path, rows)).radiographs
    assert (first.covariates, first.t_score, first.acquisition) == ({"age_years": 61.5, "sex": 1.0}, -1.2, "A")
    assert (second.covariates, second.t_score, second.acquisition) == ({}, None, "unknown")
    assert second.sha256 == hashlib.sha256(b"\1").hexdigest()


def _change(index: int, **cells: str) -> Callable[[Path, list[Row]], None]:
    return lambda _, rows: rows[index].update(cells)


def _drop_column(_: Path, rows: list[Row]) -> None:
    for row in rows:
        del row["patient_group"]


def _contradict(_: Path, rows: list[Row]) -> None:
    rows[1]["patient_group"] = rows[0]["patient_group"]


def _copy(folder: Path, rows: list[Row]) -> None:
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_change(0, label="fine"), "unknown label 'fine'"),
        (_change(1, file="absent.png"), "absent.png cannot be read"),
        (_change(1, file="../labels.csv"), "not a file inside the folder"),
        (_change(1, file=""), "not a file inside the folder"),
        (_change(2, patient_group=""), "patient_group is empty"),
        (_change(1, patient_group="1 "), "line 3: patient_group '1 ' has blanks around it"),
        (_change(1, label="\tosteopenia"), r"line 3: label '\tosteopenia' has blanks around it"),
        (_change(2, age_years="old"), "age_years is 'old'"),
        (_change(2, age_years="nan"), "age_years is 'nan'"),
        (_change(2, sex="f"), "sex is 'f'"),
        (_change(0, sha256="0" * 64), "not the one whose sha256 is recorded"),
        (_drop_column, "the column 'patient_group' is missing"),
        (_contradict, "patient group '0' carries contradicting labels: normal, osteopenia"),
        (_copy, "are the same picture"),
        (lambda _, rows: rows.clear() or rows.append({"file": "", "label": "", "patient_group": ""}), "unknown label ''"),
    ],
)
def test_refuses(tmp_path: Path, spoil: Callable[[Path, list[Row]], None], message: str) -> None:
    rows = _rows(tmp_path)
    spoil(tmp_path, rows)
    with pytest.raises(DatasetError) as caught:
        read_dataset(_write(tmp_path, rows))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the column 'file' is missing"),
        ("file,label,patient_group\n", "lists no radiograph"),
        ("file,label,patient_group\na.png,normal\n", "another number of cells"),
        ("file,label,patient_group\na.png,normal,1,2\n", "another number of cells"),
        ("file,label,patient_group\n\xff", "UTF-8"),
    ],
)
def test_refuses_broken_table(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path)


def test_refuses_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither labels\.csv nor folders named"):
        read_dataset(tmp_path)


def test_refuses_an_empty_class(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the class osteoporosis is empty"):
        read_dataset(_write(tmp_path, _rows(tmp_path)[:2]))


def _class_folders(folder: Path, shapes: tuple[tuple[int, int], ...] = ((64, 64), (40, 80), (80, 40))) -> Path:
    rng = np.random.default_rng(0)
    for name, shape in zip(("Normal", "OSTEOPENIA", "osteoporosis"), shapes, strict=True):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "a.png"), rng.integers(0, 255, shape, np.uint8))
    return folder


def test_reads_class_folders(tmp_path: Path) -> None:
    folder = _class_folders(tmp_path)
    (folder / "Normal" / ".hidden").touch()
    (folder / "Normal" / "Thumbs.db").touch()
    dataset = read_dataset(folder)
    assert sorted(row.label for row in dataset.radiographs) == ["normal", "osteopenia", "osteoporosis"]
    assert not dataset.patients_known
    assert not dataset.subset([0]).patients_known
    assert len(set(dataset.groups)) == 3
    assert {row.acquisition for row in dataset.radiographs} == {"square_64px", "landscape_91px", "portrait_91px"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "osteopenic").mkdir(), "osteopenic: no class has this folder's name"),
        (lambda folder: (folder / "Normal" / "a.png").unlink(), "the class normal is empty"),
        (lambda folder: (folder / "Normal" / "b.png").write_bytes(b"no picture"), "b.png: this is not a picture"),
        (lambda folder: (folder / "Normal" / "more").mkdir(), "more: a folder inside a class folder"),
        (
            lambda folder: (folder / "Normal" / "b.png").write_bytes((folder / "OSTEOPENIA" / "a.png").read_bytes()),
            "are the same picture",
        ),
        (lambda folder: (folder / "Normal" / "b.png").symlink_to("/etc/hostname"), "leads out of the folder"),
    ],
)
def test_refuses_class_folders(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = _class_folders(tmp_path)
    spoil(folder)
    with pytest.raises(DatasetError) as caught:
        read_dataset(folder)
    assert message in str(caught.value)


def test_refuses_a_folder_without_classes(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DatasetError, match=r"neither labels\.csv nor folders named normal"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_dataset(tmp_path / "absent")


def test_names_unreadable_pictures(tmp_path: Path) -> None:
    folder = _class_folders(tmp_path)
    require_readable(read_dataset(folder))
    picture = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    whole = cv2.imencode(".jpg", picture)[1].tobytes()
    (folder / "Normal" / "cut.jpg").write_bytes(whole[:-1500] + whole[-2:])  # its header is sound
    with pytest.raises(DatasetError, match=r"1 of 4 pictures cannot be read: .*cut\.jpg: the JPEG file is damaged"):
        require_readable(read_dataset(folder))


def test_survey_goes_on_after_a_bad_row(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows[0]["label"] = "fine"
    rows[2]["age_years"] = "nan"
    dataset, problems = survey_folder(_write(tmp_path, [*rows, dict(rows[1])]))
    assert [row.path.name for row in dataset.radiographs] == ["1.png", "1.png"]
    assert "line 2: unknown label 'fine'" in problems[0]
    assert "line 4: age_years is 'nan'" in problems[1]
