from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from osteo_edge.manifest import Metric
from train.judging.evaluate import confusion, figures_of_merit
from train.judging.pages import figures

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 10)
PROBABILITIES = RNG.dirichlet(np.ones(3), 30)
FIGURES = {name: Metric(value, value - 0.1, value + 0.1) for name, value in figures_of_merit(LABELS, PROBABILITIES).items()}
HISTORY = [[[SimpleNamespace(epoch=n, loss=1.0, validation_loss=None, validation_macro_auc=0.5) for n in range(3)]]]


def test_png_files(tmp_path: Path) -> None:
    figures.draw_figures(tmp_path, HISTORY, LABELS, PROBABILITIES, FIGURES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "curves.png", "reliability.png", "roc.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_svg_stands_alone_and_takes_the_colours_of_the_page() -> None:
    svg = figures.as_svg(figures.roc_curves(LABELS, PROBABILITIES, FIGURES), name="roc")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "<metadata" not in svg
    assert f"normal vs rest: {FIGURES['auc_normal'].value:.2f}" in svg
    known = set(re.findall(r'\bid="([^"]+)"', svg))
    assert set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg)) <= known
    assert all(one.startswith("roc-") for one in known)


def test_svg_is_the_same_again_and_figures_share_no_identifier() -> None:
    drawn = [figures.as_svg(figures.reliability_diagram(LABELS, PROBABILITIES, FIGURES), name=name) for name in ("a", "a", "b")]
    assert drawn[0] == drawn[1]
    first, third = (set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (drawn[0], drawn[2]))
    assert not first & third


def test_confusion_shows_counts_and_shares_even_of_an_empty_class() -> None:
    counts = confusion(LABELS, PROBABILITIES)
    svg = figures.as_svg(figures.confusion_matrix([counts[0], counts[1], [0, 0, 0]]), name="confusion")
    assert svg.count(">0%<") >= 3
    assert f">{counts[0][0]}<" in svg


def test_systems_with_names_that_look_like_formulas() -> None:
    svg = figures.as_svg(figures.systems_figure({"$x_1$ <b>": FIGURES, "other": FIGURES}), name="systems")
    assert "$x_1$ &lt;b&gt;" in svg


def test_learning_curve_marks_every_size() -> None:
    points = [SimpleNamespace(radiographs=size, figures=FIGURES) for size in (40, 80, 116)]
    figure = figures.learning_curve_figure(points)
    assert figure.axes[0].lines[1].get_xdata().tolist() == pytest.approx([40, 80, 116])
    ElementTree.fromstring(figures.as_svg(figure, name="learning"))
