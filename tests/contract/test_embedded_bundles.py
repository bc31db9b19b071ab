"""What the package itself answers with: whole, small together, and made as its cards say."""

from __future__ import annotations

import pytest

from export.bundle_writer import zipped_size
from export.card_commands import EMBEDDED
from osteo_edge.bundle import embedded_bundles, open_bundle
from tests.contract.test_wheel import MAX_WHEEL_BYTES

GRADES = "knee-osteoarthritis"


def test_the_cards_know_which_bundles_lie_in_the_package() -> None:
    assert set(EMBEDDED) == set(embedded_bundles())


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_file_is_the_one_that_the_manifest_lists(name: str) -> None:
    bundle = open_bundle(name)
    assert sorted(bundle.verify()) == sorted(bundle.manifest.files)
    card = bundle.read("MODEL_CARD.md").decode()
    assert f"--output osteo_edge/bundles/{name} --force" in card
    assert bundle.manifest.intended_use in card


def test_all_of_them_together_leave_room_in_the_wheel() -> None:
    """The code is a small part of the rest: the wheel itself is weighed where it is built."""
    bundles = [open_bundle(name) for name in EMBEDDED]
    packed = sum(zipped_size({path: bundle.read(path) for path in bundle.manifest.files}) for bundle in bundles)
    assert packed < MAX_WHEEL_BYTES - 2_000_000


def test_grades_are_proven_asked_of_crops_and_calibrated_grade_by_grade() -> None:
    manifest = open_bundle(GRADES).manifest
    assert manifest.question.name == "osteoarthritis"
    assert manifest.is_proven
    assert manifest.quality.min_side_px <= 224
    assert manifest.conformal.coverage == 0.9
    assert len(set(manifest.conformal.min_probabilities)) == 5
    assert manifest.metrics["quadratic_kappa"].low > manifest.baselines["border_ring"]["quadratic_kappa"].high


def test_grades_name_their_data_and_whom_they_are_not_for() -> None:
    bundle = open_bundle(GRADES)
    card, licence = (bundle.read(name).decode() for name in ("MODEL_CARD.md", "LICENSE"))
    for told in ("10.17632/56rmx5bjcr", "Osteoarthritis Initiative"):
        assert told in card
        assert told in licence
    for told in ("It must not be used", "45 to 79 years", "quadratic kappa of about 0.8", "224 x 224"):
        assert told in card
