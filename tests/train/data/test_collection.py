"""From a made-up hospital's export to a folder for training: what is read, what every fault says, and what is never told."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from osteo_edge.images.reader import read
from train.__main__ import main
from train.data.collection.config import CollectionConfig, CutOffs, Format, read_collection_config
from train.data.collection.joining import Collected, collect
from train.data.collection.table import read_table, same_patient
from train.data.collection.writing import write_collection
from train.data.dataset import DatasetError, read_dataset
from train.runs.config import PROJECT, ConfigError

EXAMPLE = PROJECT / "train" / "configs" / "collection-example.toml"
TABLE = "dxa.csv"
HEADER = ("Nr", "Film", "Befund", "T", "Alter", "Geschlecht", "Film am", "DXA am")
CONFIG = CollectionConfig(
    table=TABLE,
    columns={
        "patient": "Nr",
        "file": "Film",
        "label": "Befund",
        "t_score": "T",
        "age_years": "Alter",
        "sex": "Geschlecht",
        "film_date": "Film am",
        "dxa_date": "DXA am",
    },
    format=Format(delimiter=";", encoding="utf-8", decimal=",", date="%d.%m.%Y"),
    words={"label": {"gesund": "normal", "Porose": "osteoporosis"}, "sex": {"W": "female"}},
)
ROWS = (
    ("007", r"PA007\ST1\IM1", "gesund", "0,3", "067Y", "W", "01.02.2024", "03.02.2024"),
    ("007", r"PA007\ST1\IM2.dcm", "gesund", "0,3", "067Y", "W", "01.02.2024", "03.02.2024"),
    ("12", r"PA12\ST1\IM1", "osteopenia", "-1,8", "58", "m", "01.02.2024", ""),
    ("13", r"PA13\ST1\IM1", "POROSE", "-2,5", "804M", "female", "", ""),
)
Rows = list[list[str]]


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60), dtype=np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def write_table(
    folder: Path, rows: Sequence[Sequence[str]], *, encoding: str = "utf-8", header: Sequence[str] = HEADER
) -> None:
    lines = [";".join(cells) for cells in (header, *rows)]
    (folder / TABLE).write_bytes("\r\n".join([*lines, ""]).encode(encoding))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    for seed, row in enumerate(ROWS):
        draw(folder / row[1].replace("\\", "/"), seed)
    write_table(folder, ROWS)
    return folder


def collected(folder: Path, rows: Rows, config: CollectionConfig = CONFIG) -> Collected:
    write_table(folder, rows)
    return collect(folder, config)


def rows() -> Rows:
    return [list(row) for row in ROWS]


def names(found: Collected) -> list[str]:
    return [film.name.as_posix() for film in found.films]


def run(folder: Path, *options: str, config: Path = EXAMPLE) -> Result:
    return CliRunner().invoke(main, ["collect", str(folder), "--config", str(config), *options], catch_exceptions=False)


def test_a_clean_export_is_read_as_it_is_meant(export: Path) -> None:
    found = collect(export, CONFIG)
    assert (found.faults, found.notes) == ((), ())
    assert names(found) == ["PA007/ST1/IM1", "PA007/ST1/IM2.dcm", "PA12/ST1/IM1", "PA13/ST1/IM1"]
    entries = [film.entry for film in found.films]
    assert [entry.label for entry in entries] == ["normal", "normal", "osteopenia", "osteoporosis"]
    assert [entry.t_score for entry in entries] == [0.3, 0.3, -1.8, -2.5]
    assert [entry.covariates["age_years"] for entry in entries] == [67, 67, 58, 67]
    assert [entry.covariates["sex"] for entry in entries] == [1, 1, 0, 1]
    assert {film.acquisition for film in found.films} == {"landscape_64px"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_tables_are_read_in_the_encoding_that_is_said(export: Path, encoding: str) -> None:
    """Umlauts in the header and in the cells; a byte order mark is no part of the first column's name."""
    changed = replace(CONFIG, columns={**CONFIG.columns, "label": "Befünd"}, words={"label": {"Grün": "normal"}})
    header = [name.replace("Befund", "Befünd") for name in HEADER]
    write_table(export, [[*ROWS[0][:2], "Grün", *ROWS[0][3:5], "f", *ROWS[0][6:]]], encoding=encoding, header=header)
    said = replace(changed, format=replace(changed.format, encoding=encoding.removesuffix("-sig")))
    (entry,) = read_table(export / TABLE, said).entries
    assert (entry.patient, entry.label) == ("007", "normal")


def change(row: int, column: str, cell: str) -> Callable[[Path, Rows], None]:
    return lambda _, several: several[row].__setitem__(HEADER.index(column), cell)


def copy_of_another_patient(folder: Path, _: Rows) -> None:
    (folder / "PA13/ST1/IM1").write_bytes((folder / "PA12/ST1/IM1").read_bytes())


def cut_off(folder: Path, _: Rows) -> None:
    path = folder / "PA13/ST1/IM1"
    path.write_bytes(path.read_bytes()[:-200])


def contradict(_: Path, several: Rows) -> None:
    several[1][2:4] = ["Porose", "-3,1"]


def share(_: Path, several: Rows) -> None:
    several.append(["99", *several[2][1:]])


@pytest.mark.parametrize(
    ("spoil", "message", "left"),
    [
        (change(3, "Film", r"PA13\ST1\IM9"), r"line 5: the export holds no file 'PA13\ST1\IM9'; export it", 3),
        (change(3, "Film", ""), "line 5: the film's file ('Film') is empty", 3),
        (change(3, "Film", "IM1"), "line 5: 3 files are called 'IM1' (PA007/ST1/IM1, PA12/ST1/IM1, PA13/ST1/IM1); give the", 3),
        (change(3, "Nr", " "), "line 5: the patient ('Nr') is empty", 3),
        (
            change(3, "Befund", "s. u."),
            "line 5: label ('Befund') is 's. u.'; known are normal, osteopenia, osteoporosis, gesund",
            3,
        ),
        (change(3, "Befund", "gesund"), "the label 'gesund' (normal) contradicts the T-score -2.5, which is osteoporosis", 3),
        (change(3, "T", "-25"), "line 5: t_score ('T') is '-25'; a number of -10 to 10 standard deviations is needed", 3),
        (
            change(3, "Alter", "67J"),
            "line 5: age_years ('Alter') is '67J'; a number of 0 to 130 years is needed, or as in 067Y",
            3,
        ),
        (change(3, "Alter", "015Y"), "line 5: the person is 15; younger than 18 is left out", 3),
        (change(3, "Geschlecht", "x"), "line 5: sex ('Geschlecht') is 'x'; known are female, male, W", 3),
        (change(2, "DXA am", "2024-02-03"), "line 4: dxa_date ('DXA am') is '2024-02-03'; a date as 31.12.2024 is needed", 3),
        (
            change(2, "DXA am", "03.02.2019"),
            "line 4: film (2024-02-01) and DXA (2019-02-03) lie 1824 days apart; at most 365",
            3,
        ),
        (contradict, "patient '007': contradicting labels normal and osteoporosis in lines 2 and 3; settle it", 2),
        (share, "PA12/ST1/IM1: lines 4 and 6 give it to different patients", 3),
        (copy_of_another_patient, "PA12/ST1/IM1 and PA13/ST1/IM1 are one picture of patients 12 and 13; find out", 2),
        (cut_off, "PA13/ST1/IM1: the PNG file is truncated", 3),
    ],
)
def test_every_fault_is_told_and_costs_no_other_row(
    export: Path, spoil: Callable[[Path, Rows], None], message: str, left: int
) -> None:
    several = rows()
    spoil(export, several)
    found = collected(export, several)
    (fault,) = found.faults
    assert message in fault
    assert len(found.films) == left


def test_several_faults_are_told_at_once(export: Path) -> None:
    several = rows()
    several[0][4], several[2][1] = "alt", "nowhere"
    assert len(collected(export, several).faults) == 2


def test_one_picture_under_two_names_of_one_patient_is_counted_once(export: Path) -> None:
    """By its pixels: the copy was stored anew, so that no byte of its file need be the same."""
    pixels = cv2.imdecode(np.frombuffer((export / "PA12/ST1/IM1").read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    (export / "PA12/ST1/again.bmp").write_bytes(cv2.imencode(".bmp", pixels)[1].tobytes())
    found = collected(export, [*rows(), [*ROWS[2][:1], "again", *ROWS[2][2:]]])
    assert found.faults == ()
    assert found.notes == ("PA12/ST1/IM1 and PA12/ST1/again.bmp are one picture; counted once",)
    assert len(found.films) == 4


def test_a_film_that_stands_twice_and_films_of_nobody_are_notes(export: Path) -> None:
    draw(export / "PA99" / "lateral", 99)
    found = collected(export, [*rows(), list(ROWS[2])])
    assert found.faults == ()
    assert found.notes == (
        "1 file left aside: no row that can be used names PA99/lateral",
        "PA12/ST1/IM1: stands in lines 4 and 6; counted once, as line 4 says",
    )


def test_films_are_found_by_the_patient_in_their_path(export: Path) -> None:
    """A row a patient and no file; a spreadsheet has taken the zeros off the numbers."""
    columns = {name: theirs for name, theirs in CONFIG.columns.items() if name != "file"}
    config = replace(CONFIG, columns=columns, films="PA(?P<patient>[0-9]+)/")
    draw(export / "other" / "IM1", 50)
    draw(export / "PA55" / "IM1", 51)
    (export / "DICOMDIR").write_bytes(b"an index")
    found = collected(export, [["7", *ROWS[0][1:]], list(ROWS[2]), ["13", *ROWS[3][1:]], ["14", *ROWS[3][1:]]], config)
    assert names(found) == ["PA007/ST1/IM1", "PA007/ST1/IM2.dcm", "PA12/ST1/IM1", "PA13/ST1/IM1"]
    assert found.faults == ("line 5: no film's path tells of patient '14'; export one, or take the row out",)
    assert found.notes == (
        "1 file left aside: of patients of whom no row can be used: PA55/IM1",
        "1 file left aside: no patient in the path",
    )


def write_dicom(path: Path, seed: int, *, patient: str, instance: str) -> None:
    """A film as an X-ray machine stores it: 12 bits, uncompressed, the patient's name and number in its tags."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    pixels = np.random.default_rng(seed).integers(0, 4096, (50, 40), dtype=np.uint16)
    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID = DigitalXRayImageStorageForPresentation
    tags.file_meta.MediaStorageSOPInstanceUID = tags.SOPInstanceUID = f"1.2.3.{instance}"
    tags.PatientID, tags.PatientName, tags.Modality, tags.BodyPartExamined = patient, "Muster^Erika", "DX", "KNEE"
    tags.Rows, tags.Columns = pixels.shape
    tags.SamplesPerPixel, tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 1, 16, 12, 11, 0
    tags.PhotometricInterpretation = "MONOCHROME2"
    tags.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, tags, enforce_file_format=True)


def test_dicom_films_are_found_by_a_tag_and_lose_their_tags(tmp_path: Path) -> None:
    """Names of an archive tell of nobody; one film stands twice, as another instance of the same pixels."""
    folder, output = tmp_path / "export", tmp_path / "data"
    for number, patient in enumerate(("0007", "12", "13", "13", "99")):
        seed = min(number, 2) if number < 4 else number
        write_dicom(folder / f"DICOM/IM{number:06}", seed, patient=patient, instance=str(number))
    (folder / "DICOMDIR").write_bytes(b"an index")
    columns = {"patient": "Nr", "t_score": "T", "sex": "Geschlecht"}
    config = replace(CONFIG, columns=columns, films_tag="PatientID")
    several = [["7", *ROWS[0][1:]], list(ROWS[2]), list(ROWS[3])]
    found = collected(folder, several, config)
    assert names(found) == ["DICOM/IM000000", "DICOM/IM000001", "DICOM/IM000002"]
    assert found.faults == ()
    assert found.notes == (
        "1 file left aside: of patients of whom no row can be used: DICOM/IM000004",
        "DICOM/IM000002 and DICOM/IM000003 are one picture; counted once",
    )
    write_collection(folder, found.films, output, None)
    for row, film in zip(read_dataset(output).radiographs, found.films, strict=True):
        np.testing.assert_array_equal(read(row.path).pixels, read(folder / film.name).pixels)
        assert row.path.suffix == ".png"
        assert b"Muster" not in row.path.read_bytes()


def test_spellings_of_a_patients_number() -> None:
    assert same_patient(" 007 ") == same_patient("7")
    assert same_patient("000") == "0"
    assert same_patient("A007") == same_patient("a007") != same_patient("A7")


def test_labels_may_come_from_t_scores_alone(export: Path) -> None:
    columns = {name: theirs for name, theirs in CONFIG.columns.items() if name != "label"}
    several = rows()
    several[2][3] = ""
    found = collected(export, several, replace(CONFIG, columns=columns, t_score=CutOffs(0.5, -2.6)))
    assert [film.entry.label for film in found.films] == ["osteopenia"] * 3
    assert found.faults == ("line 4: there is neither a label nor a T-score",)


@pytest.mark.parametrize(
    ("t_score", "label"), [(-1.0, "normal"), (-1.1, "osteopenia"), (-2.4, "osteopenia"), (-2.5, "osteoporosis")]
)
def test_cut_offs_are_the_whos(t_score: float, label: str) -> None:
    assert CutOffs().label(t_score) == label


def test_ages_may_come_from_dates(export: Path) -> None:
    columns = {name: theirs for name, theirs in CONFIG.columns.items() if name != "age_years"} | {"birth_date": "Alter"}
    several = rows()
    for row, born in zip(several, ("01.02.1960", "", "01.02.2030", "01.02.1960"), strict=True):
        row[4] = born
    found = collected(export, several, replace(CONFIG, columns=columns))
    assert [film.entry.covariates.get("age_years") for film in found.films] == [pytest.approx(64, abs=0.01), None, None]
    assert found.faults == ("line 4: born 2030-02-01 and seen 2024-02-01 gives an age of -6",)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"encoding": "ascii"}, r'line 3 is not ascii; say how the table is written, as encoding = "latin-1"'),
        ({"delimiter": ","}, "its header has no ',' and some ';'; say delimiter = ';'"),
    ],
)
def test_a_table_that_is_written_otherwise_says_how_to_read_it(export: Path, written: dict[str, str], message: str) -> None:
    several = rows()
    several[1][2] = "gesünd"
    write_table(export, several)
    with pytest.raises(DatasetError) as caught:
        read_table(export / TABLE, replace(CONFIG, format=replace(CONFIG.format, **written)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the column 'Nr' (columns.patient) stands in it not at all"),
        (";".join(HEADER), "holds no row below its header"),
        (";".join((*HEADER, "Nr")), "the column 'Nr' (columns.patient) stands in it twice or more"),
        (";".join(HEADER) + "\n1;2", "line 2 has 2 cells, the header 8"),
        (";".join(HEADER) + '\n1;"2', "is not well-formed CSV"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / TABLE).write_text(content)
    with pytest.raises(DatasetError) as caught:
        read_table(tmp_path / TABLE, CONFIG)
    assert message in str(caught.value)


def test_a_missing_table_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dxa\.csv: the table cannot be read"):
        collect(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('patient = "Pat.-Nr."', "", "columns.patient is missing"),
        ('file = "Bilddatei"', "", "films or films_tag or columns.file is needed"),
        ('table = "', 'films = "x"\ntable = "', "films or films_tag or columns.file is needed, and just one"),
        ('sex = "Geschlecht"', 'shoes = "Geschlecht"', "columns.shoes is not known"),
        ('"W" = "female"', '"W" = "woman"', "words.sex.W must be one of female, male"),
        ("[words.sex]", "[words.t_score]", "words.t_score cannot be"),
        ('encoding = "latin-1"', 'encoding = "ebcdic-x"', "format.encoding is none that Python knows"),
        ("normal_from = -1.0", "normal_from = -3.0", "needs osteoporosis_to below normal_from"),
    ],
)
def test_wrong_configurations_are_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert before in text
    file = tmp_path / "collection.toml"
    file.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_collection_config(file)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up export as its command writes it, small."""
    folder = tmp_path_factory.mktemp("hospital") / "export"
    result = CliRunner().invoke(main, ["synthetic-hospital", "--output", str(folder), "--patients", "9", "--scale", "0.2"])
    assert result.exit_code == 0, result.output
    return folder


def test_nothing_is_written_while_there_are_faults(hospital: Path, tmp_path: Path) -> None:
    result = run(hospital, "--output", str(tmp_path / "data"))
    assert result.exit_code == 2
    assert "Error: 9 faults, nothing is written; mend them, or go on without by --leave-out" in result.output
    assert result.output.count("\nfault ") == 9
    assert not (tmp_path / "data").exists()


def test_what_is_left_can_be_trained_on_and_tells_of_no_patient(hospital: Path, tmp_path: Path) -> None:
    output, key = tmp_path / "data", tmp_path / "key.csv"
    result = run(hospital, "--output", str(output), "--leave-out", "--key", str(key))
    assert result.exit_code == 0, result.output
    dataset = read_dataset(output)
    assert "11 films of 8 patients" in result.output
    assert "within the 0.25 of matched groups" in result.output

    originals = list(csv.DictReader(key.open(encoding="utf-8")))
    patient_of = {row["file"]: row["patient"] for row in originals}
    films: dict[str, set[str]] = {}
    for row in dataset.radiographs:
        films.setdefault(row.patient_group, set()).add(patient_of[row.path.name])
    assert all(len(patients) == 1 for patients in films.values())
    assert len(films) == len(set(patient_of.values())) == 8
    assert max(dataset.groups.count(group) for group in films) == 2
    table = (output / "labels.csv").read_text(encoding="utf-8")
    for row in originals:
        assert (hospital / row["export"]).read_bytes() == (output / row["file"]).read_bytes()
        assert row["patient"] not in table
        assert row["patient"] not in " ".join(path.name for path in output.iterdir())
    assert key.stat().st_mode & 0o077 == 0

    again = run(hospital, "--output", str(output), "--leave-out")
    assert again.exit_code == 2
    assert "holds something already" in again.output


def test_the_same_export_with_a_byte_order_mark_gives_the_same_table(hospital: Path, tmp_path: Path) -> None:
    from train.synthetic.hospital import TABLE as GERMAN

    tables = []
    for number, encoding in enumerate(("latin-1", "utf-8-sig")):
        text = EXAMPLE.read_text(encoding="utf-8").replace('"latin-1"', f'"{encoding.removesuffix("-sig")}"')
        config = tmp_path / f"{number}.toml"
        config.write_text(text, encoding="utf-8")
        original = (hospital / GERMAN).read_bytes()
        try:
            (hospital / GERMAN).write_bytes(original.decode("latin-1").encode(encoding))
            assert run(hospital, "--output", str(tmp_path / encoding), "--leave-out", config=config).exit_code == 0
        finally:
            (hospital / GERMAN).write_bytes(original)
        tables.append((tmp_path / encoding / "labels.csv").read_bytes())
    assert tables[0] == tables[1]


def test_a_class_that_is_left_without_films_is_told_before_anything_is_written(export: Path, tmp_path: Path) -> None:
    write_table(export, ROWS[:3])
    config = tmp_path / "collection.toml"
    columns = "\n".join(f'{ours} = "{theirs}"' for ours, theirs in CONFIG.columns.items())
    config.write_text(
        f'table = "{TABLE}"\n[format]\ndelimiter = ";"\ndecimal = ","\ndate = "%d.%m.%Y"\n[columns]\n{columns}\n'
        '[words.label]\n"gesund" = "normal"\n[words.sex]\n"W" = "female"\n'
    )
    result = run(export, "--output", str(tmp_path / "data"), config=config)
    assert result.exit_code == 2
    assert "no film that can be used is osteoporosis" in result.output
    assert not (tmp_path / "data").exists()
