"""The gate's training: what is drawn, what is cut, what is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from osteo_edge.finder.poses import Pose
from train.gates import bones, drawn, judgement, network
from train.gates.judgement import Unseen
from train.gates.windows import any_part, near_misses, shuffled, varied_film


@pytest.mark.parametrize("kind", drawn.KINDS)
def test_the_same_seed_draws_the_same_picture(kind: str) -> None:
    first, second = (drawn.draw(kind, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first.shape, first.dtype) == ((drawn.SIDE_PX, drawn.SIDE_PX), np.float32)
    assert np.ptp(first) > 10


@pytest.mark.parametrize("part", bones.PARTS)
def test_bones_are_bright_and_drawn_anew_each_time(part: str) -> None:
    rng = np.random.default_rng(4)
    first, second = bones.draw(part, rng), bones.draw(part, rng)
    assert not np.array_equal(first, second)
    assert (first.min(), round(float(first.max()))) == (0, 255)


def a_film() -> tuple[np.ndarray, Pose]:
    """A bright cross where the joint is."""
    film = np.zeros((300, 240), np.float32)
    film[140:160], film[:, 110:130] = 200, 250
    return film, Pose(120, 150, 100)


def test_near_misses_are_of_every_kind_and_show_no_whole_joint() -> None:
    film, joint = a_film()
    made = dict(near_misses(film, [joint], np.random.default_rng(0)))
    wanted = {"upside down", "sideways", "negative", "femur alone", "tibia alone", "half a joint", "shuffled"}
    assert set(made) == wanted
    np.testing.assert_array_equal(made["upside down"][::-1, ::-1], film)
    assert made["negative"].max() == made["negative"][0, 0] == 250
    assert made["sideways"].shape == (240, 300)


def test_shuffled_tiles_are_the_joints_own() -> None:
    film, joint = a_film()
    film += np.random.default_rng(1).uniform(0, 1, film.shape).astype(np.float32)
    tiles = shuffled(film, joint, np.random.default_rng(2))
    assert tiles.shape == (216, 216)
    assert abs(float(tiles.mean()) - float(shuffled(film, joint, np.random.default_rng(2)).mean())) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_varied_film_has_its_joint_where_it_is_said_to_be(seed: int) -> None:
    film, joint = a_film()
    shown, joints = varied_film(film, [joint], np.random.default_rng(seed))
    for pose in joints:
        assert shown[int(pose.y), int(pose.x)] > 0.7 * shown.max()
    assert 0 <= shown.min() <= shown.max() <= 255


def test_any_part_of_a_picture_is_a_picture() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        part = any_part(a_film()[0], rng)
        assert part.dtype == np.float32
        assert min(part.shape) >= 80


def test_the_network_learns_what_differs_and_not_which_side() -> None:
    rng = np.random.default_rng(6)
    features = rng.normal(0, 1, (3000, 12)).astype(np.float32)
    is_knee = rng.random(3000) < 0.5
    features[is_knee, :4] += 3
    fitted = network.fit(features, features[:, ::-1].copy(), is_knee, np.ones(3000, np.float32), seed=1, members=2)
    assert fitted.first.shape == (12, 2 * network.HIDDEN)
    logits, turned = fitted.logits(features), fitted.logits(features[:, ::-1].copy())
    assert ((logits > 0) == is_knee).mean() > 0.85
    assert ((turned > 0) == is_knee).mean() > 0.85


def test_the_limit_refuses_as_many_knees_of_unseen_clinics_as_the_rule_allows() -> None:
    knees = np.linspace(0, 10, 101).astype(np.float32)
    clinics = [Unseen(name, knees, np.zeros(101, np.float32), [""] * 101) for name in ("a", "b")]
    by_finder = Unseen("kind", np.full(10, 5, np.float32), np.full(10, -1, np.float32), [""] * 10)
    by_score, limit = judgement.choose(clinics, [by_finder])
    refused = np.mean([1 - one.passing(by_score, limit).mean() for one in clinics])
    assert judgement.REFUSED_KNEES - 0.01 <= refused <= judgement.REFUSED_KNEES
    assert by_score == 5, "the least with which nothing of the kind passes"
    assert judgement.as_shares([by_finder], by_score, limit)["kind"]["pass"] == 0
