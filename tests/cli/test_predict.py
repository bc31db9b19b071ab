"""The command line without a terminal: answers, exit codes, formats, bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from osteo_edge import open_bundle
from osteo_edge.bundle import DEFAULT_BUNDLE, DEFAULT_BUNDLES, embedded_bundles, shipped_bundles
from tests.answers import told
from tests.bundles import DENSITY
from tests.commands import run as osteo_edge

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/prediction.schema.json").read_text())
COMMANDS = (
    "",
    "predict",
    "tune",
    "bench",
    "doctor",
    "bundles",
    *(f"bundles {one}" for one in ["list", "show", "verify", "install", "remove"]),
)
ANSWERED = (0, 4)  # reported, or referred: both are answers
LABELS = len(open_bundle().manifest.labels)


def answers(done: subprocess.CompletedProcess[str]) -> list[dict]:
    value = json.loads(done.stdout)
    records = value if isinstance(value, list) else [value]
    for record in records:
        jsonschema.validate(record, SCHEMA)
    return records


@pytest.fixture
def folder(tmp_path: Path, example: Path) -> Path:
    """A good picture, a truncated one, a small one, and two files that are none."""
    shutil.copy(example, tmp_path / "a_good.png")
    (tmp_path / "b_truncated.png").write_bytes(example.read_bytes()[:5000])
    cv2.imwrite(str(tmp_path / "c_small.png"), np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8))
    (tmp_path / "d_notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").write_text("left out")
    return tmp_path


@pytest.mark.parametrize(("bundle", "has_reason"), [(DENSITY, True), (DEFAULT_BUNDLE, False)])
def test_text_for_people_is_the_answer_why_and_the_use(example: Path, bundle: str, has_reason: bool) -> None:
    manifest = open_bundle(bundle).manifest
    done = osteo_edge("predict", "--question", manifest.question.name, example)
    assert done.returncode in ANSWERED
    assert done.stderr == ""
    first, *_, last = lines = done.stdout.splitlines()
    assert first.startswith(f"{example}: ")
    assert last == manifest.intended_use
    assert [line.split(":")[0] for line in lines[2:-2]] == ["  Why", "  Next"][not has_reason :]
    assert lines[-2] == ""
    for part in ("scores", "box", " ms", "sha256", "[", f"{manifest.labels[0]} 0", "onnx", "litert", "1 picture"):
        assert part not in done.stdout


def test_what_is_asked_by_default_is_told_with_the_side_and_the_grades_that_remain(example: Path) -> None:
    """The example is drawn: what is seen of it may change with the network, the form of the answer not."""
    done = osteo_edge("predict", example)
    question = open_bundle(DEFAULT_BUNDLE).manifest.question
    sentence = done.stdout.splitlines()[1]
    side, _, said = sentence.strip().partition(": ")
    assert side == "Right knee (by its fibula)"
    known = [one.sentence for one in question.answers] + [question.unsure]
    assert any(said.lower().startswith(one.lower()) for one in known)
    assert re.search(r"rade \d( or \d| to \d)? of 4 \(Kellgren-Lawrence\)( open)?\.$", said)


@pytest.mark.parametrize("arguments", [["predict", "--verbose"], ["--verbose", "predict"]])
def test_verbose_tells_the_rest(example: Path, arguments: list[str]) -> None:
    done = osteo_edge(*arguments, "--question", "all", example)
    for part in (
        *(f"scores        {open_bundle(name).manifest.labels[0]} " for name in shipped_bundles()),
        "knee 1",
        "box x",
        "model  ",
        "time  ",
        " ms",
        "sha256",
        "research code",
        "[unproven]",
    ):
        assert part in done.stdout
    assert re.findall(r"0\.\d{3,}", done.stdout) == []
    for name in shipped_bundles():
        assert open_bundle(name).manifest.intended_use + "\n" in done.stdout


def test_several_pictures_get_a_line_each_and_one_closing_line(folder: Path, example: Path) -> None:
    of_density = ("--question", "bone_density")
    done = osteo_edge("predict", *of_density, folder, "missing.png")
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    names = ["a_good.png", "b_truncated.png", "c_small.png", "missing.png"]
    assert [Path(line.partition(": ")[0]).name for line in lines[:4]] == names
    assert "truncated" in lines[1]
    assert "no such file" in lines[3]
    assert "DXA" not in "".join(lines[:4]), "what all have in common stands below"
    assert lines[5].startswith('1 picture: "This test cannot tell from this picture." ')
    assert "DXA" in lines[5]
    assert done.stdout.count(open_bundle(DENSITY).manifest.intended_use) == 1
    assert lines[-1] == "4 pictures: 0 reported, 1 referred, 3 rejected; 2 other files passed over"
    verbose = osteo_edge("predict", "--verbose", *of_density, folder).stdout
    assert verbose.splitlines()[-1] == "3 pictures: 0 reported, 1 referred, 2 rejected; 2 other files passed over"
    assert verbose.count(open_bundle(DENSITY).manifest.intended_use) == 1
    assert "box x" in verbose


def test_json_follows_its_schema(example: Path) -> None:
    done = osteo_edge("predict", "--format", "json", example)
    (record,) = answers(done)
    assert record["status"] in ("reported", "referred")
    assert abs(sum(told(record)["probabilities"].values()) - 1) < 1e-5
    assert len(record["joints"]) == len(told(record)["knees"]) == 1
    assert set(record["timings_ms"]) == {"read", "quality", "region", "prepare", "run", "decide"}


def test_standard_input_equals_the_file(example: Path) -> None:
    (piped,) = answers(osteo_edge("predict", "--format", "json", "-", stdin=example.read_bytes()))
    (named,) = answers(osteo_edge("predict", "--format", "json", example))
    assert piped["source"] == "-"
    assert (piped["answers"], piped["sha256"], piped["joints"]) == (named["answers"], named["sha256"], named["joints"])


def test_a_mixed_folder_goes_on_and_ends_with_the_gravest_code(folder: Path) -> None:
    done = osteo_edge("predict", "--format", "json", folder)
    assert done.returncode == 3
    records = answers(done)
    assert [Path(record["source"]).name for record in records] == ["a_good.png", "b_truncated.png", "c_small.png"]
    assert [record["findings"][0]["code"] for record in records[1:]] == ["truncated", "too_small"]
    assert done.stderr == "osteo-edge: 2 other files passed over\n"
    assert all(told(record)["label"] is None and told(record)["probabilities"] == {} for record in records[1:])


def test_csv_has_one_row_a_picture(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(osteo_edge("predict", "--format", "csv", folder).stdout)))
    assert len(rows) == 3
    assert [row["status"] for row in rows[1:]] == ["rejected"] * 2
    assert rows[1]["label"] == rows[1]["probabilities"] == ""
    shares = dict(cell.split("=") for cell in rows[0]["probabilities"].split(";"))
    assert list(shares) == list(open_bundle().manifest.labels)
    assert sum(map(float, shares.values())) == pytest.approx(1, abs=1e-5)
    done = osteo_edge("predict", "--format", "csv", "--explain", "--output", folder / "o", folder)
    good, *rejected = csv.DictReader(io.StringIO(done.stdout))
    assert Path(good["overlay"]).is_file()
    assert [row["overlay"] for row in rejected] == ["", ""]
    assert good["message"] == rows[0]["message"] != ""


def test_json_is_one_value_and_jsonl_an_object_a_line(folder: Path, example: Path) -> None:
    one = json.loads(osteo_edge("predict", "--format", "json", example).stdout)
    assert one["source"] == str(example)
    several = json.loads(osteo_edge("predict", "--format", "json", example, example).stdout)
    assert [record["source"] for record in several] == [str(example)] * 2
    of_folder = json.loads(osteo_edge("predict", "--format", "json", folder).stdout)
    lines = osteo_edge("predict", "--format", "jsonl", folder).stdout.splitlines()
    assert [json.loads(line)["source"] for line in lines] == [record["source"] for record in of_folder]
    for name in ("b_truncated.png", "c_small.png"):
        (folder / name).unlink()
    (alone,) = json.loads(osteo_edge("predict", "--format", "json", folder).stdout)
    assert alone["source"] == str(folder / "a_good.png")


def test_recursive_reads_inner_folders(tmp_path: Path, example: Path) -> None:
    (tmp_path / "inner").mkdir()
    shutil.copy(example, tmp_path / "inner" / "x.png")
    assert osteo_edge("predict", tmp_path).returncode == 3
    (record,) = answers(osteo_edge("predict", "--recursive", "--format", "json", tmp_path))
    assert record["joints"]


@pytest.mark.parametrize(
    ("content", "code", "exit_code"),
    [
        (None, "not_found", 3),
        (b"", "empty", 3),
        (b"text", "unsupported_format", 3),
        ("folder", "empty_folder", 3),
        ("black", "constant", 4),
        ("noise", "no_knee", 4),
        ("bomb", "too_many_pixels", 6),
        ("sparse", "too_many_bytes", 6),
    ],
)
def test_bad_input_gives_one_reason_its_code_and_no_label(tmp_path: Path, content: object, code: str, exit_code: int) -> None:
    path = tmp_path / "picture.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    elif content == "black":
        cv2.imwrite(str(path), np.zeros((400, 400), np.uint8))
    elif content == "noise":
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (600, 600), np.uint8))
    elif content == "bomb":
        cv2.imwrite(str(path), np.zeros((7000, 7000), np.uint8))
    elif content == "sparse":
        with path.open("wb") as file:
            file.truncate(65 << 20)
    done = osteo_edge("predict", "--format", "json", path)
    (record,) = answers(done)
    assert done.returncode == exit_code
    for answer in record["answers"]:
        assert (answer["status"], answer["answer"], answer["label"], answer["label_set"]) == ("rejected", None, None, [])
        assert answer["findings"] == record["findings"]
    assert record["status"] == "rejected"
    assert [finding["code"] for finding in record["findings"]] == [code]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["predict"], 2, "Missing argument"),
        (["predict", "--threads", "0", "x.png"], 2, "--threads"),
        (["predict", "--output", "x", "x.png"], 2, "--explain"),
        (["predict", "--engine", "magic", "x.png"], 2, "--engine"),
        (["nothing"], 2, "No such command"),
        (["predict", "--bundle", "nothing", "x.png"], 5, "no bundle named"),
        (["predict", "--engine", "onnxruntime", "--precision", "fp16", "x.png"], 5, "no fp16 file"),
        (["bundles", "verify", "nothing"], 5, "no bundle named"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], exit_code: int, said: str) -> None:
    done = osteo_edge(*arguments)
    assert done.returncode == exit_code
    assert said in done.stderr
    assert done.stdout == ""


def test_a_damaged_model_is_never_run(bundle_copy: Path, example: Path) -> None:
    model = next((bundle_copy / "members").glob("*.fp32.onnx"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    done = osteo_edge("predict", "--engine", "onnxruntime", "--precision", "fp32", "--bundle", bundle_copy, example)
    assert done.returncode == 5
    assert "not the file that the bundle recorded" in done.stderr
    assert done.stdout == ""
    # Nor does it go unnoticed when no picture needs it.
    done = osteo_edge("predict", "--engine", "onnxruntime", "--precision", "fp32", "--bundle", bundle_copy, "missing.png")
    assert (done.returncode, done.stdout) == (5, "")


def test_explain_writes_an_overlay_for_each_answer(tmp_path: Path, example: Path) -> None:
    target = tmp_path / "new" / "folder"
    done = osteo_edge("predict", "--explain", "--output", target, "--format", "json", example, "missing.png")
    answered, missing = answers(done)
    overlay = cv2.imread(answered["overlay"])
    assert overlay is not None
    assert "overlay" not in missing
    assert [str(path) for path in target.iterdir()] == [answered["overlay"]]
    orange_or_blue = np.abs(overlay[..., 0].astype(int) - overlay[..., 2]) > 60  # the green of the box has 40
    assert orange_or_blue.mean() > 0.003, "no saliency was drawn"  # untinted: none


def test_an_overlay_that_cannot_be_written_keeps_the_answer(tmp_path: Path, example: Path) -> None:
    target = tmp_path / "overlays"
    (answered,) = answers(osteo_edge("predict", "--explain", "--output", target, "--format", "json", example))
    overlay = Path(answered["overlay"])
    overlay.unlink()
    overlay.mkdir()
    done = osteo_edge("predict", "--explain", "--output", target, "--format", "json", example)
    assert done.returncode == 7
    assert "cannot be written" in done.stderr
    assert answers(done)[0]["answers"] == answered["answers"]
    assert [path.name for path in target.iterdir()] == [overlay.name]


def in_the_way(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("a file where a folder should be")
    return tmp_path / "file" / "overlays"


def read_only(tmp_path: Path) -> Path:
    """A folder of another kind of file system that nobody can write to, not even the administrator."""
    return Path("/proc/self/overlays")


def a_folder_without_room(tmp_path: Path) -> Path:
    """Nothing can be made in /proc itself, although it is there."""
    return Path("/proc")


@pytest.mark.parametrize("place", [in_the_way, read_only, a_folder_without_room])
def test_a_folder_that_takes_no_overlay_keeps_the_answers(tmp_path: Path, example: Path, place: Callable[[Path], Path]) -> None:
    (tmp_path / "small.png").write_bytes(cv2.imencode(".png", np.zeros((20, 20), np.uint8))[1].tobytes())
    done = osteo_edge("predict", "--explain", "--output", place(tmp_path), "--format", "json", example, tmp_path / "small.png")
    assert done.returncode == 7
    assert [len(told(record)["probabilities"]) for record in answers(done)] == [LABELS, 0]
    assert all("overlay" not in record for record in answers(done))
    assert done.stderr.count("\n") == 1, "said once"
    assert done.stderr.startswith("osteo-edge: the ")
    assert str(place(tmp_path)) in done.stderr


def alone(*options: str) -> list[str]:
    """How to start a program in namespaces of its own; the test is skipped where that is not permitted."""
    wanted = ["unshare", *(() if os.getuid() == 0 else ("-Ur",)), *options]
    if not shutil.which("unshare") or subprocess.run([*wanted, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"{' '.join(wanted)} is not permitted here")
    return wanted


def test_a_full_disk_keeps_the_answers(tmp_path: Path, example: Path) -> None:
    """A file system in memory that has no room for an overlay."""
    (tmp_path / "full").mkdir()
    script = f'mount -t tmpfs -o size=16k none {tmp_path}/full && "$@"; code=$?; ls -A {tmp_path}/full >&2; exit $code'
    predict = [sys.executable, "-m", "osteo_edge", "predict", "--explain", "--output", f"{tmp_path}/full", "--format", "jsonl"]
    command = [*alone("-m"), "sh", "-c", script, "sh", *predict, str(example)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    if "mount" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 7
    assert len(told(json.loads(done.stdout))["probabilities"]) == LABELS
    assert re.fullmatch(r"osteo-edge: the overlay cannot be written to .*: No space left on device\n", done.stderr), (
        "nothing left"
    )


def test_containers_that_share_an_output_folder_keep_their_overlays(tmp_path: Path, example: Path) -> None:
    """Each is process 1, and has pictures of the same names as the others."""
    pixels = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    folders = [tmp_path / str(number) for number in range(3)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for name in ("left.png", "right.png"):
            cv2.imwrite(str(folder / name), pixels[number * 10 :])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    predict = [sys.executable, "-m", "osteo_edge", "predict", "--explain", "--output"]
    together, apart = tmp_path / "together", tmp_path / "apart"
    processes = [
        subprocess.Popen([*alone("-fp"), *predict, str(together), str(folder)], env=environment, stdout=subprocess.DEVNULL)
        for folder in folders
    ]
    assert all(process.wait() in ANSWERED for process in processes)
    for folder in folders:
        assert osteo_edge("predict", "--explain", "--output", apart, folder).returncode in ANSWERED
    contents = [{path.name: path.read_bytes() for path in place.iterdir()} for place in (together, apart)]
    assert len(contents[0]) == 6
    assert contents[0] == contents[1]


def test_an_overlay_for_each_picture_of_one_name_or_of_the_same_bytes(tmp_path: Path, example: Path) -> None:
    """Each has its own, even where the bytes are the same: the person that they are of may be another."""
    pictures = [
        tmp_path / name for name in ("a/knee.png", "b/knee.png", "b/knee.tif", f"b/{'k' * 120}1.png", f"b/{'k' * 120}2.png")
    ]
    for path in pictures:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(example, path)
    command = ("predict", "--explain", "--output", tmp_path / "o", "--format", "json")
    names = [record["overlay"] for record in answers(osteo_edge(*command, *pictures))]
    # The same name was given from two working folders.
    names += [answers(osteo_edge(*command, "knee.png", cwd=tmp_path / folder))[0]["overlay"] for folder in "ab"]
    assert names[5:] == names[:2], "what is answered again replaces its older overlay"
    assert sorted(str(path) for path in (tmp_path / "o").iterdir()) == sorted(set(names))
    assert len(set(names)) == 5


def test_a_long_name_can_be_explained(tmp_path: Path, example: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".png")
    shutil.copy(example, path)
    assert osteo_edge("predict", "--explain", "--output", tmp_path / "o", path).returncode in ANSWERED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_ends_with_its_code(example: Path) -> None:
    program = [sys.executable, "-m", "osteo_edge"]
    for command in ([*program, "predict", str(example)], [*program, "--version"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False)
        assert done.returncode == 7
        assert b"Traceback" not in done.stderr
    line = " ".join([*program, "predict", *[str(example)] * 3])
    for shell in (f"{line} | head -1; exit ${{PIPESTATUS[0]}}", f"{line} >&-", f"{line} 2>&-"):
        done = subprocess.run(["bash", "-c", shell], capture_output=True, cwd=ROOT, check=False)
        assert done.returncode in (*ANSWERED, 7)
        assert b"Traceback" not in done.stderr


def test_names_that_no_system_call_takes_are_unreadable_pictures(tmp_path: Path) -> None:
    for name in ("", "a" * 300 + ".png", str(tmp_path / "missing" / "x.png")):
        done = osteo_edge("predict", "--format", "json", name)
        assert done.returncode == 3
        assert answers(done)[0]["status"] == "rejected"
    assert osteo_edge("predict", "--bundle", "b" * 300, "x.png").returncode == 5


def test_odd_names_are_shown_escaped(tmp_path: Path, example: Path) -> None:
    path = tmp_path / "a\nb\x1b[31m.png"
    shutil.copy(example, path)
    done = osteo_edge("predict", path)
    assert done.returncode in ANSWERED
    assert "\x1b" not in done.stdout
    assert "a\\nb" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command: str) -> None:
    done = osteo_edge(*command.split(), "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_version_tells_the_intended_use() -> None:
    done = osteo_edge("--version")
    assert "osteo-edge" in done.stdout
    assert "not a diagnosis" in done.stdout.replace("\n", " ")


def test_bundles_and_doctor(bundle_copy: Path) -> None:
    listed = osteo_edge("bundles", "list").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [
        [name, "(default)" if name in DEFAULT_BUNDLES else "(embedded)"] for name in embedded_bundles()
    ]
    assert json.loads(osteo_edge("bundles", "show", "--json").stdout)["labels"] == list(open_bundle().manifest.labels)
    assert osteo_edge("bundles", "show").stdout.startswith("#")
    assert "is whole" in osteo_edge("bundles", "verify").stdout
    report = json.loads(osteo_edge("doctor", "--json").stdout)
    assert [bundle["name"] for bundle in report["bundles"]] == list(shipped_bundles())
    assert not any("fault" in bundle for bundle in report["bundles"])
    assert {result["status"] for bundle in report["bundles"] for result in bundle["self_test"]} == {"passed"}
    (bundle_copy / "LICENSE").write_text("changed")
    assert osteo_edge("bundles", "verify", bundle_copy).returncode == 5
    broken = osteo_edge("doctor", "--bundle", bundle_copy)
    assert broken.returncode == 5
    assert "FAULT" in broken.stdout
