"""Maps at the joint line: the band by hand, shuffled networks, a verdict that can be no, and the bundle that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from benchmarks import saliency
from benchmarks.graded.asking import QUESTION
from benchmarks.graded.films import read_validation
from benchmarks.pages import part_of
from benchmarks.saliency import BAND, GRID, Look, Saliency, band_in, judge, lines_of, look_all, look_of, rows_in, shuffle
from osteo_edge.bundle import Bundle, embedded_bundles, open_bundle
from osteo_edge.joints import Box, Joint
from osteo_edge.labels import Laterality
from osteo_edge.records import parse_record
from tests.answers import OSTEOARTHRITIS, a_knee
from tests.benchmarks.graded_pictures import graded_folder, make_graded_bundle

JOINT = Joint(x_px=50.0, y_px=50.0, width_px=100.0, score=1.0, laterality=Laterality.LEFT)
BOX = Box(0, 0, 100, 100)


def test_the_band_is_counted_in_parts_of_rows() -> None:
    assert band_in(BOX, JOINT) == (0.35, 0.65)
    assert rows_in((0.35, 0.65), 10) == pytest.approx([0, 0, 0, 0.5, 1, 1, 0.5, 0, 0, 0])
    assert rows_in((0.35, 0.65), 2) == pytest.approx([0.3, 0.3])
    assert rows_in((-0.1, 0.1), 5) == pytest.approx([0.5, 0, 0, 0, 0])


def knee(heat: np.ndarray, side: Laterality = Laterality.LEFT) -> saliency.Knee:
    return replace(
        a_knee(OSTEOARTHRITIS, ("kl2",), side), joint=replace(JOINT, laterality=side), box=BOX, saliency=heat.astype(np.float32)
    )


def test_what_speaks_for_the_grade_alone_is_counted() -> None:
    heat = np.zeros((10, 4))
    heat[4:6, 0], heat[0, 1], heat[9] = 3, 2, -50
    look = look_of(knee(heat), "p", 2)
    assert look.share == pytest.approx(6 / 8)
    assert look.even == pytest.approx(0.3)
    assert look.heat.shape == (GRID, GRID)
    mirrored = look_of(knee(heat, Laterality.RIGHT), "p", 2)
    np.testing.assert_array_equal(mirrored.heat, look.heat[:, ::-1])
    assert look_of(knee(-np.ones((10, 4))), "p", 2).share == 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_graded_bundle(tmp_path_factory.mktemp("bundles")))


def constants(bundle: Bundle) -> dict[str, np.ndarray]:
    model = onnx.load_from_string(bundle.read(bundle.manifest.members[0].files["onnxruntime"]["fp32"]))
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def test_shuffled_networks_have_the_same_values_elsewhere(bundle: Bundle, tmp_path: Path) -> None:
    one, again, other = (open_bundle(shuffle(bundle, tmp_path / str(n), seed)) for n, seed in enumerate((1, 1, 2)))
    assert one.digest == again.digest != other.digest
    before, after = constants(bundle), constants(one)
    kernels = [name for name, values in before.items() if values.ndim == 4 and values[0].size > 1]
    assert kernels
    for name in kernels:
        old, new = (values[name].reshape(len(values[name]), -1) for values in (before, after))
        assert not np.array_equal(old, new)
        np.testing.assert_array_equal(np.sort(old, axis=1), np.sort(new, axis=1))
    for name, values in before.items():
        if values.ndim < 2:
            np.testing.assert_array_equal(values, after[name])
    assert list(one.verify())


def looks(shares: list[float], *, even: float = 0.3, grade: int = 0) -> list[Look]:
    band = (0.5 - even / 2, 0.5 + even / 2)
    return [Look(str(n), grade, share, band, np.zeros((GRID, GRID), np.float32)) for n, share in enumerate(shares)]


def test_the_verdict_follows_the_intervals(bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    at_line, anywhere, also = rng.uniform(0.5, 0.9, 60), rng.uniform(0.1, 0.5, 60), rng.uniform(0.1, 0.5, 60)
    found = judge(bundle, looks(at_line.tolist()), [looks(anywhere.tolist()), looks(also.tolist())])
    (whole, of_grade) = found.rows
    assert whole.is_at_the_joint_line
    assert whole.trained.value == pytest.approx(at_line.mean(), abs=1e-6)
    assert whole.over_shuffled.value == pytest.approx((at_line - (anywhere + also) / 2).mean(), abs=1e-6)
    assert whole.even == pytest.approx(0.3)
    assert (of_grade.grade, of_grade.knees) == (0, 60)
    assert "look at the joint line" in lines_of(found)[-1]
    for trained, shuffled in ((anywhere, also), (at_line, at_line + 0.05), (anywhere - 0.1, anywhere - 0.3)):
        missed = judge(bundle, looks(trained.tolist()), [looks(shuffled.tolist())])
        assert not missed.rows[0].is_at_the_joint_line
        assert "were not shown to" in lines_of(missed)[-1]


def test_the_command_writes_all_of_it(bundle: Bundle, tmp_path: Path) -> None:
    target, page, chart = tmp_path / "new" / "saliency.json", tmp_path / "page.md", tmp_path / "new" / "saliency.png"
    page.write_text("<!-- saliency: written by python -m benchmarks -->\n<!-- end of saliency -->\n")
    data = graded_folder(tmp_path / "knees", count=5)
    options = ["--bundle", bundle.root, "--data", data, "--json", target, "--page", page, "--chart", chart]
    done = CliRunner().invoke(saliency.command, [str(one) for one in options])
    assert done.exit_code == 0, done.output
    found = parse_record(Saliency, json.loads(target.read_text()), where="saliency.json")
    assert found.band == BAND
    assert found.rows[0].knees == 4  # the last picture shows no knee
    assert part_of(page, "saliency") == lines_of(found)
    assert chart.stat().st_size > 5_000


def test_the_bundle_that_ships_looks_at_the_joint_line(data_folder: Path) -> None:
    """By far more than networks of the same weights in another order, and than an even map."""
    shipped = [one for name in embedded_bundles() if (one := open_bundle(name)).manifest.question.name == QUESTION]
    assert shipped
    films = read_validation(data_folder / "knee_oa").films[::14]
    for one in shipped:
        whole = judge(one, *look_all(one, films)).rows[0]
        assert whole.knees > 50
        assert whole.is_at_the_joint_line
        assert whole.trained.value > 2 * whole.even
