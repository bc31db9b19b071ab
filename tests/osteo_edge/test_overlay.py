"""Overlay files: what they are named, and that many threads never mix them up."""

from __future__ import annotations

import os
import shutil
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from osteo_edge import OsteoPredictor, Prediction
from osteo_edge.errors import ReportError
from osteo_edge.reports.overlay import overlay_name
from tests.answers import with_first
from tests.bundles import DENSITY


@pytest.fixture(scope="module")
def prediction(example: Path) -> Prediction:
    with OsteoPredictor(DENSITY, threads=1) as predictor:
        return predictor.predict(example, explain=True)


@pytest.mark.parametrize(
    "stem",
    [
        "a\nb",
        "a\r\tb",
        "\x1b[2J\x1b]0;title\x07",
        "\x7f\x9b31m",
        "gnp.eenk\u202eexe",
        "\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
        "\u2028\u2029",
        "\udce9\ud800",
        "\ufeffbom\u00ad\u200b",
    ],
)
def test_no_character_that_does_something_reaches_the_name(prediction: Prediction, stem: str, tmp_path: Path) -> None:
    name = overlay_name(replace(prediction, source=f"folder/{stem}.png"))
    assert not [one for one in name if unicodedata.category(one)[0] == "C" or unicodedata.category(one) in ("Zl", "Zp")]
    assert name.endswith(".overlay.png")
    (tmp_path / name).touch()


@pytest.mark.parametrize("stem", ["knee", "Knie links", "膝", "ركبة", "ברך", "घुटना", "γόνατο", "knee.left"])
def test_a_name_of_any_script_stays(prediction: Prediction, stem: str) -> None:
    assert overlay_name(replace(prediction, source=f"folder/{stem}.png")).startswith(f"{stem}-")


@pytest.mark.parametrize(
    ("source", "start"), [("-", "stdin-"), ("--.png", "stdin-"), (".hidden.png", "hidden-"), ("-x.png", "x-")]
)
def test_a_name_is_no_option_and_not_hidden(prediction: Prediction, source: str, start: str) -> None:
    assert overlay_name(replace(prediction, source=source)).startswith(start)


def test_a_long_name_is_cut_between_characters(prediction: Prediction) -> None:
    name = overlay_name(replace(prediction, source="膝" * 200 + ".png"))
    assert name.startswith("膝" * 33 + "-")
    assert len(os.fsencode(name)) <= 255


def test_a_folder_that_was_removed_still_gives_a_name(prediction: Prediction, tmp_path: Path) -> None:
    folder, before = tmp_path / "gone", Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        shutil.rmtree(folder)
        assert overlay_name(replace(prediction, source="knee.png")).startswith("knee-")
    finally:
        os.chdir(before)


def test_many_threads_save_into_one_folder(prediction: Prediction, tmp_path: Path) -> None:
    """Each overlay is its own picture's: with one temporary name a process, pictures were lost or swapped."""
    answers = [with_first(prediction, model=replace(prediction.model, version=f"{number}.0")) for number in range(4)]
    expected = [answer.save_overlay(tmp_path / f"alone-{number}.png").read_bytes() for number, answer in enumerate(answers)]
    assert len(set(expected)) == 4
    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda number: answers[number % 4].save_overlay(tmp_path / f"{number}.png"), range(64)))
    assert [path.read_bytes() for path in saved] == [expected[number % 4] for number in range(64)]
    assert len(list(tmp_path.iterdir())) == 68


def test_a_planted_link_is_not_written_through(prediction: Prediction, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    for name in ("overlay.png", f".{os.getpid()}.part"):
        (tmp_path / name).symlink_to(tmp_path / "theirs")
    prediction.save_overlay(tmp_path / "overlay.png")
    assert (tmp_path / "theirs").read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/overlay.png", "a\0b.png", "\ud800.png"])
def test_a_path_that_cannot_be_written_is_named(prediction: Prediction, tmp_path: Path, name: str) -> None:
    with pytest.raises(ReportError, match="cannot be written"):
        prediction.save_overlay(tmp_path / name)
