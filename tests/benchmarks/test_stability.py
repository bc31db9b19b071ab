"""The same film come otherwise: what is done to it, how knees are found again, and what is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import disturbances, stability
from benchmarks.disturbances import BORDER, CROPPED, JPEG, MIRRORED, ONE_KNEE, RESIZED, changes_of, regraded
from benchmarks.pages import part_of
from benchmarks.stability import Outcome, Pair, Told, compare, evenly, name_of, summarise, told
from export.errors import ExportError
from export.stability import ALL, Stability, read_stability, stability_lines, stability_section
from osteo_edge.joints import Joint
from osteo_edge.labels import Status
from tests.answers import GRADES, OSTEOARTHRITIS, a_knee, a_prediction, an_answer
from tests.benchmarks.graded_pictures import draw_knees, make_graded_bundle

JOINTS = (Joint(60.5, 70.5, 40.0, 1.0, None), Joint(150.5, 72.5, 40.0, 1.0, None))


def dotted(joints: tuple[Joint, ...] = JOINTS) -> np.ndarray:
    """A grey picture with a white square of 3 px in the middle of each joint."""
    pixels = np.full((160, 200), 90, np.uint8)
    for joint in joints:
        x, y = int(joint.x_px), int(joint.y_px)
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    return pixels


def decoded(image: np.ndarray | bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE) if isinstance(image, bytes) else image


def test_every_change_tells_where_a_joint_lies_now() -> None:
    for change in changes_of(dotted(), JOINTS):
        pixels = decoded(change.image)
        assert pixels.shape == (change.height_px, change.width_px), change
        seen = [change.place_of(joint) for joint in JOINTS]
        assert any(seen), change
        for place in filter(None, seen):
            around = pixels[max(0, int(place[1]) - 1) : int(place[1]) + 2, max(0, int(place[0]) - 1) : int(place[0]) + 2]
            assert around.max() > 150, change


def test_all_that_was_asked_for_is_done() -> None:
    found = [(change.kind, change.name) for change in changes_of(dotted(), JOINTS)]
    assert len(set(found)) == len(found)
    assert [name for kind, name in found if kind == RESIZED] == ["0.5", "0.75", "1.5", "2"]
    assert [name for kind, name in found if kind == JPEG] == ["60", "75", "85", "95"]
    assert [name for kind, name in found if kind == disturbances.GAMMA] == ["0.8", "0.9", "1.1", "1.25"]
    assert {kind for kind, _ in found} >= {ONE_KNEE, CROPPED, MIRRORED, BORDER}


def test_a_crop_to_one_knee_leaves_the_other_out_and_is_none_of_a_picture_of_one() -> None:
    first, second = [change for change in changes_of(dotted(), JOINTS) if change.kind == ONE_KNEE]
    assert first.place_of(JOINTS[1]) is None
    assert second.place_of(JOINTS[0]) is None
    assert (first.width_px, first.height_px) == (80, 80)
    close = dotted((replace(JOINTS[0], width_px=150.0),))
    assert not [
        change for change in changes_of(close, (replace(JOINTS[0], x_px=100.0, width_px=150.0),)) if change.kind == ONE_KNEE
    ]


def test_greys_are_changed_in_both_depths() -> None:
    greys = np.array([[0, 64, 255]], np.uint8)
    assert regraded(greys, 0.8).tolist() == [[0, round(255 * (64 / 255) ** 0.8), 255]]
    deep = np.array([[0, 65535, 16384]], np.uint16)
    changed = regraded(deep, 1.25)
    assert changed.dtype == np.uint16
    assert changed[0, 1] == 65535
    assert changed[0, 2] < 16384
    stored = [change for change in changes_of(np.full((64, 64), 40000, np.uint16), ()) if change.kind == JPEG]
    assert abs(int(decoded(stored[0].image).mean()) - 40000 // 256) <= 1


def of_two(first: list[float], second: list[float], codes: tuple[str, str] = ("", "")) -> Told:
    return Told(JOINTS, np.array([first, second]), codes)


BEFORE = of_two([0.7, 0.3], [0.4, 0.6], ("a", "b"))
STILL, MIRROR = (
    next(change for change in changes_of(dotted(), JOINTS) if change.kind == kind) for kind in (disturbances.GAMMA, MIRRORED)
)


def test_knees_are_paired_by_their_place() -> None:
    swapped = tuple(replace(joint, x_px=200 - joint.x_px) for joint in reversed(JOINTS))
    after = Told(swapped, np.array([[0.5, 0.5], [0.6, 0.4]]), ("b", "a"))
    outcome = compare(BEFORE, after, MIRROR)
    assert outcome.lost == 0
    assert [(pair.before, pair.after) for pair in outcome.pairs] == [("a", "a"), ("b", "b")]
    np.testing.assert_allclose([pair.difference for pair in outcome.pairs], [[-0.1, 0.1], [0.1, -0.1]])
    assert [pair.is_other_label for pair in outcome.pairs] == [False, True]


def test_a_knee_that_is_not_found_again_is_lost_and_one_beyond_the_edge_is_not() -> None:
    moved = Told((JOINTS[0], replace(JOINTS[1], x_px=JOINTS[1].x_px + 17)), BEFORE.probabilities, BEFORE.codes)
    outcome = compare(BEFORE, moved, STILL)  # 17 px are more than 0.4 of 40
    assert (outcome.lost, len(outcome.pairs)) == (1, 1)
    one = next(change for change in changes_of(dotted(), JOINTS) if change.kind == ONE_KNEE)
    x, y = one.place_of(JOINTS[0])  # type: ignore[misc]
    alone = Told((replace(JOINTS[0], x_px=x, y_px=y),), BEFORE.probabilities[:1], ("a",))
    assert compare(BEFORE, alone, one).lost == 0
    assert compare(BEFORE, None, STILL) == Outcome(STILL.kind, STILL.name, True, 0, ())


def test_a_half_as_large_picture_bears_half_the_distance() -> None:
    half = next(change for change in changes_of(dotted(), JOINTS) if (change.kind, change.name) == (RESIZED, "0.5"))
    for off, lost in ((7, 0), (9, 1)):
        places = tuple(replace(joint, x_px=joint.x_px / 2, y_px=joint.y_px / 2) for joint in JOINTS)
        after = Told((replace(places[0], y_px=places[0].y_px + off), places[1]), BEFORE.probabilities, BEFORE.codes)
        assert compare(BEFORE, after, half).lost == lost


def pair(change: float, before: str = "", after: str = "", *, other: bool = False) -> Pair:
    return Pair(np.array([change, -change]), other, before, after)


def test_what_is_counted() -> None:
    outcomes = [
        Outcome("gamma", "0.8", False, 1, (pair(0.1, "a", "b", other=True),)),
        Outcome("gamma", "1.25", False, 0, (pair(0.0, "a", "a"), pair(0.02, "a", ""))),
        Outcome("gamma", "1.25", True, 0, ()),
        Outcome("mirrored", "mirrored", False, 0, (pair(0.0, "", "b"),)),
    ]
    rows = {(row.kind, row.name): row for row in summarise("films", outcomes)}
    assert list(rows) == [("gamma", "0.8"), ("gamma", "1.25"), ("gamma", ALL), ("mirrored", ALL), (ALL, ALL)]
    whole = rows["gamma", ALL]
    assert (whole.asked, whole.refused, whole.knees, whole.lost, whole.compared) == (3, 1, 4, 1, 3)
    assert (whole.changed, whole.crossed, whole.withdrawn) == (1, 1, 1)
    assert whole.mean_change == pytest.approx(0.04)
    assert whole.largest_change == pytest.approx(0.1)
    assert not whole.is_steady
    assert rows["mirrored", ALL].is_steady
    assert rows[ALL, ALL].knees == 5
    crossed = replace(rows["mirrored", ALL], crossed=1)
    assert not crossed.is_steady


def test_nothing_is_told_of_no_knee() -> None:
    (row, _) = summarise("films", [Outcome("gamma", "0.8", True, 0, ())])
    assert (row.compared, row.changed_share, row.mean_change) == (0, 0, 0)


def test_answers_are_of_knees_or_of_the_picture() -> None:
    by_knee = an_answer(GRADES, knees=tuple(a_knee(GRADES, (label,), None) for label in ("w0", "w2")), lead=1)
    found = told(a_prediction(by_knee))
    assert found is not None
    assert found.codes == ("no_wear", "wear")
    assert found.probabilities.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert told(a_prediction(an_answer(OSTEOARTHRITIS, status=Status.REJECTED))) is None
    of_picture = an_answer(knees=(a_knee(an_answer().asked, ("normal",), None),), label_set=("normal",))
    assert told(a_prediction(of_picture)).codes == ("no_sign",)  # type: ignore[union-attr]


def test_pictures_are_drawn_evenly_and_folders_keep_their_part() -> None:
    assert evenly(list("abcde"), 3) == ["a", "c", "e"]
    assert evenly(list("ab"), 9) == ["a", "b"]
    assert name_of(Path("/x/knee_oa/val")) == "knee_oa/val"
    assert name_of(Path("/x/knee")) == "knee"


def test_a_bundle_is_measured_and_the_page_is_written(tmp_path: Path) -> None:
    films, target, page = tmp_path / "films", tmp_path / "new" / "stability.json", tmp_path / "page.md"
    draw_knees(films, count=2)
    part = "stability of knee-osteoarthritis"
    page.write_text(f"<!-- {part}: written by python -m benchmarks -->\n<!-- end of {part} -->\n")
    bundle = make_graded_bundle(tmp_path, is_proven=True)
    options = ["--bundle", bundle, "--data", films, "--json", target, "--page", page]
    done = CliRunner().invoke(stability.command, [str(one) for one in options])
    assert done.exit_code == 0, done.output
    found = read_stability(json.loads(target.read_text()))
    assert found.pictures == {"films": 2}
    assert set(found.files) == {path for path in found.files if path.endswith((".onnx", ".tflite"))}
    assert found.kinds()[-1].compared > 20
    assert found.kinds()[-1].mean_change > 0
    assert part_of(page, part) == stability_lines(found)
    assert stability_section(found)[0].startswith("## ")
    with pytest.raises(ExportError, match="measure it anew"):
        read_stability({"schema_version": 1})


def test_a_folder_in_which_nothing_is_answered_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((300, 300), np.uint8))
    done = CliRunner().invoke(stability.command, ["--bundle", "knee-mobilenet_v2", "--data", str(tmp_path)])
    assert done.exit_code == 1
    assert "no picture is answered even as it is" in done.output
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    done = CliRunner().invoke(stability.command, ["--bundle", "knee-mobilenet_v2", "--data", str(tmp_path)])
    assert done.exit_code == 1
    assert "broken.png: " in done.output


def test_the_verdict_names_what_misses_the_aim() -> None:
    row = next(iter(summarise("films", [Outcome("gamma", "0.8", False, 0, (pair(0.1, "a", "b", other=True),))])))
    found = Stability(1, "b", {}, "onnxruntime", "fp32", {"films": 1}, (replace(row, name=ALL),))
    assert stability_lines(found)[-1].endswith("Missed by: gamma (films).")
    steady = replace(found, rows=(replace(row, name=ALL, changed=0, crossed=0, mean_change=0.0),))
    assert stability_lines(steady)[-1].endswith("Every kind of change keeps to it.")
