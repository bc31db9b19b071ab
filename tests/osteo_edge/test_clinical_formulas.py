"""The published formulas: examples in print, every band's limit, and what truncation does at the cut-offs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteo_edge.clinical.formulas import MAX_AGE_YEARS, MAX_WEIGHT_KG, MIN_WEIGHT_KG, POUNDS_PER_KG, orai, osiris, ost, score
from osteo_edge.errors import CovariateError

AGES = st.floats(45, MAX_AGE_YEARS)
WEIGHTS = st.floats(MIN_WEIGHT_KG, MAX_WEIGHT_KG)
# Without points for anything but race, age and weight.
NOTHING: dict[str, Any] = {"has_rheumatoid_arthritis": False, "fractures_after_45": 0, "ever_took_estrogen": True}


def kilograms(pounds: float) -> float:
    return pounds / POUNDS_PER_KG


@pytest.mark.parametrize(
    ("age", "weight", "expected"),
    [
        (60, 65, 1),  # OSTA: printed with its index by a public calculator, as the next three
        (70, 58, -2),
        (75, 45, -6),
        (65, 70, 1),
        (75, 60, -3),  # printed as the index of a 75-year-old of 60 kg
        (64.3, 91.2, 5),  # the mean man of Adler 2003: 64 completed years, 27.2 / 5
    ],
)
def test_ost_as_printed(age: float, weight: float, expected: int) -> None:
    assert ost(age, weight) == expected


@pytest.mark.parametrize(
    ("age", "weight", "expected"),
    [
        (60, 70, 2),  # the lowest that is not referred: 10 / 5
        (60, 69.9, 1),  # 9.9 / 5 is 1.98, not 2
        (60, 64, 0),
        (60, 56, 0),  # -4 / 5: towards zero, not down to -1
        (60, 55.1, 0),  # -4.9 / 5
        (60, 55, -1),  # OSTA's cut-off
        (60, 50.1, -1),
        (70, 50, -4),  # OSTA: medium still
        (70, 45.1, -4),
        (70, 45, -5),  # high
        (60, 80, 4),  # the lowest that is not referred in men
        (60, 79.9, 3),
    ],
)
def test_ost_drops_decimals_towards_zero(age: float, weight: float, expected: int) -> None:
    assert ost(age, weight) == expected


def test_both_forms_of_ost_at_its_edges() -> None:
    """Other papers truncate each term. The two may differ by one, also at a cut-off; the difference is followed."""
    by_terms = {(age, weight): int(weight / 5) - int(age / 5) for age in range(45, 111) for weight in range(25, 131)}
    differences = {place: ost(*place) - by_term for place, by_term in by_terms.items()}
    assert set(differences.values()) == {-1, 0, 1}
    assert (ost(67, 58), by_terms[67, 58]) == (-1, -2)
    assert (ost(60, 59), by_terms[60, 59]) == (0, -1)  # by terms OSTA would refer
    assert (ost(64, 70), by_terms[64, 70]) == (1, 2)  # by the difference OST refers


def test_binary_fractions_do_not_lose_a_point() -> None:
    tens = range(60, 551, 10)
    assert [pounds for pounds in tens if int(kilograms(pounds) * POUNDS_PER_KG / 10) < pounds // 10]  # as plain cutting would
    assert all(score(50, kilograms(pounds), **NOTHING) == 20 - pounds // 10 for pounds in tens)
    assert all(ost(50, 50 + tenths / 10) == tenths // 50 for tenths in range(501))


def test_age_counts_in_completed_years() -> None:
    for whole, nearly in ((64, 64.99), (54, 54.999), (74, 74.5)):
        assert ost(nearly, 58) == ost(whole, 58)
        assert orai(nearly, 58, takes_estrogen=True) == orai(whole, 58, takes_estrogen=True)
        assert osiris(nearly, 58, takes_estrogen=True, had_fracture=True) == osiris(
            whole, 58, takes_estrogen=True, had_fracture=True
        )
        assert score(nearly, 58, **NOTHING) == score(whole, 58, **NOTHING)


@pytest.mark.parametrize(
    ("age", "points"),
    [(45, 0), (54, 0), (54.9, 0), (55, 5), (64, 5), (64.9, 5), (65, 9), (74, 9), (74.9, 9), (75, 15), (110, 15)],
)
def test_orai_s_bands_of_age(age: float, points: int) -> None:
    assert orai(age, 80, takes_estrogen=True) == points


@pytest.mark.parametrize(
    ("weight", "points"), [(25, 9), (59.9, 9), (59.99, 9), (60, 3), (69.9, 3), (69.95, 3), (70, 0), (250, 0)]
)
def test_orai_s_bands_of_weight(weight: float, points: int) -> None:
    assert orai(50, weight, takes_estrogen=True) == points


def test_orai_s_ends_and_estrogen() -> None:
    """0 to 26 points, as its description in openEHR's clinical knowledge manager says."""
    assert orai(45, 70, takes_estrogen=True) == 0
    assert orai(75, 59, takes_estrogen=False) == 26
    assert orai(65, 70, takes_estrogen=True) == 9  # age alone refers from 65 on
    assert orai(45, 59, takes_estrogen=True) == 9  # and so does weight alone below 60 kg


@pytest.mark.parametrize("age", [0, 44, 44.99])
def test_orai_has_no_points_below_45(age: float) -> None:
    with pytest.raises(CovariateError, match="from 45 years of age on"):
        orai(age, 60, takes_estrogen=True)


@pytest.mark.parametrize(("age", "points"), [(48, 12), (70, 21), (49, 12), (50, 15), (99, 27), (100, 30), (110, 33)])
def test_score_s_points_of_age(age: float, points: int) -> None:
    """48 gives 12 and 70 gives 21 in print; from 100 on, where a first digit would be 1, tens go on to be counted."""
    assert score(age, kilograms(100), **NOTHING) == 5 + points - 10


@pytest.mark.parametrize(
    ("pounds", "points"), [(160, 16), (200, 20), (159.9, 15), (169.99, 16), (170, 17), (99.9, 9), (100, 10)]
)
def test_score_s_points_of_weight(pounds: float, points: int) -> None:
    """160 lb take 16 points away and 200 lb 20 in print; tens are cut, not rounded."""
    assert score(50, kilograms(pounds), **NOTHING) == 5 + 15 - points


def test_score_s_other_points() -> None:
    lean = score(50, 60, **NOTHING)
    assert lean == 5 + 15 - 13
    assert score(50, 60, **NOTHING | {"has_rheumatoid_arthritis": True}) == lean + 4
    assert score(50, 60, **NOTHING | {"ever_took_estrogen": False}) == lean + 1
    assert [score(50, 60, **NOTHING | {"fractures_after_45": count}) - lean for count in range(6)] == [0, 4, 8, 12, 12, 12]
    assert score(50, 60, **NOTHING, is_black=True) == lean - 5
    with pytest.raises(CovariateError, match="0 or more"):
        score(50, 60, **NOTHING | {"fractures_after_45": -1})


def test_kilograms_are_not_taken_for_pounds() -> None:
    assert score(60, 60, **NOTHING) == 5 + 18 - 13
    assert score(60, 60, **NOTHING) != 5 + 18 - 6


@pytest.mark.parametrize(
    ("age", "weight", "expected"),
    [(60, 60, 0), (60, 65, 1), (60, 64.9, 0), (59, 60, 1), (64, 60, 0), (65, 60, -1), (75, 60, -3), (80, 60, -4)],
)
def test_osiris_cuts_each_term(age: float, weight: float, expected: int) -> None:
    assert osiris(age, weight, takes_estrogen=False, had_fracture=False) == expected


def test_osiris_without_cutting_would_answer_otherwise_at_its_edge() -> None:
    """The plain sum, which some calculators print, is 0.2 here, and below 1."""
    assert 0.2 * (60 - 59) < 1
    assert osiris(59, 60, takes_estrogen=False, had_fracture=False) == 1


def test_osiris_s_other_points() -> None:
    found = [osiris(60, 60, takes_estrogen=now, had_fracture=broke) for now in (False, True) for broke in (False, True)]
    assert found == [0, -2, 2, 0]


@pytest.mark.parametrize("weight", [0, 24.9, 250.1, -60, math.inf, math.nan])
def test_no_formula_takes_a_weight_of_nobody(weight: float) -> None:
    for formula in (ost, lambda *known: orai(*known, takes_estrogen=True), lambda *known: score(*known, **NOTHING)):
        with pytest.raises(CovariateError, match="weight_kg must be 25 to 250 kilograms"):
            formula(60, weight)
    with pytest.raises(CovariateError, match="weight_kg must be 25 to 250 kilograms"):
        osiris(60, weight, takes_estrogen=True, had_fracture=True)


@pytest.mark.parametrize("age", [-1, 110.1, math.nan, math.inf])
def test_no_formula_takes_an_age_of_nobody(age: float) -> None:
    with pytest.raises(CovariateError, match="age_years must be 0 to 110"):
        ost(age, 60)


@settings(deadline=None)
@given(AGES, WEIGHTS, AGES, WEIGHTS, st.booleans(), st.booleans())
def test_older_and_lighter_is_never_better(
    age: float, weight: float, other_age: float, other_weight: float, estrogen: bool, fracture: bool
) -> None:
    younger, older = sorted((age, other_age))
    lighter, heavier = sorted((weight, other_weight))
    assert ost(older, lighter) <= ost(younger, heavier)
    assert orai(older, lighter, takes_estrogen=estrogen) >= orai(younger, heavier, takes_estrogen=estrogen)
    assert score(older, lighter, **NOTHING) >= score(younger, heavier, **NOTHING)
    known = {"takes_estrogen": estrogen, "had_fracture": fracture}
    assert osiris(older, lighter, **known) <= osiris(younger, heavier, **known)
