"""What scores are told, and which are computed of whom: values, units, contradictions, populations, what is missing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteo_edge.clinical.assessment import WITH_RACE, WITHOUT_RACE, Assessment, Outcome, assess
from osteo_edge.clinical.instruments import BY_CODE, INSTRUMENTS, OSIRIS, OST, OSTA
from osteo_edge.clinical.known import ASKED, MEANINGS, read_known
from osteo_edge.errors import CovariateError

WOMAN: dict[str, Any] = {"age": 67, "sex": "female", "weight": 58}
MAN: dict[str, Any] = {"age": 67, "sex": "male", "weight": 78}
EVERYTHING: dict[str, Any] = WOMAN | {
    "after_menopause": "yes",
    "estrogen_use": "no",
    "estrogen_ever": "no",
    "prior_fracture": "no",
    "rheumatoid_arthritis": "no",
    "asian_ethnicity": "yes",
}


def assessed(known: dict[str, Any]) -> Assessment:
    return assess(read_known(known))


def outcomes(known: dict[str, Any]) -> dict[str, Outcome]:
    return {outcome.instrument.code: outcome for outcome in assessed(known).outcomes}


def statuses(known: dict[str, Any]) -> dict[str, str]:
    return {code: outcome.status for code, outcome in outcomes(known).items()}


def test_all_scores_of_a_woman_of_whom_all_is_known() -> None:
    found = outcomes(EVERYTHING)
    assert {code: one.value for code, one in found.items()} == {"ost": -1, "osta": -1, "orai": 20, "score": 12, "osiris": -2}
    assert all(one.is_in_range for one in found.values())
    assert [one.band for one in found.values()] == [None, "medium", None, None, "medium"]


def test_what_is_missing_is_named_and_nothing_is_assumed() -> None:
    found = outcomes(WOMAN)
    assert {code: one.missing for code, one in found.items()} == {
        "ost": (),
        "osta": ("asian_ethnicity",),
        "orai": ("estrogen_use",),
        "score": ("rheumatoid_arthritis", "fractures_after_45", "estrogen_ever"),
        "osiris": ("estrogen_use", "prior_fracture"),
    }
    assert [one.value for one in found.values()] == [-1, None, None, None, None]
    assert outcomes({})["ost"].missing == ("age_years", "sex", "weight_kg")


def test_what_a_score_needs_is_what_it_is_computed_from() -> None:
    for instrument in INSTRUMENTS:
        known = read_known(EVERYTHING).values
        assert instrument.compute({name: known[name] for name in instrument.needs}) == instrument.compute(known)
        for name in instrument.needs:
            if name not in ("sex", "asian_ethnicity"):  # these decide for whom it is, not what it is
                with pytest.raises(KeyError):
                    instrument.compute({other: known[other] for other in instrument.needs if other != name})


@pytest.mark.parametrize("code", BY_CODE)
def test_each_score_says_all_of_itself(code: str) -> None:
    instrument = BY_CODE[code]
    assert instrument.formula
    assert instrument.title
    assert set(instrument.needs) | set(instrument.takes) <= set(MEANINGS)
    for population in instrument.populations:
        assert population.source
        assert population.reported
        for one in population.reported:
            assert 0 < one.sensitivity_percent < 100
            assert 0 < one.specificity_percent < 100
            assert all((one.cut_off, one.target, one.persons, one.source))


def test_cut_offs_are_as_published() -> None:
    referred = {
        (one.code, population.sex): [value for value in range(-30, 60) if value in population.referral]
        for one in INSTRUMENTS
        for population in one.populations
    }
    assert max(referred["ost", "female"]) == 1  # below 2
    assert max(referred["ost", "male"]) == 3  # 3, which is below 4
    assert max(referred["osta", "female"]) == -1
    assert min(referred["orai", "female"]) == 9
    assert min(referred["score", "female"]) == 6
    assert max(referred["osiris", "female"]) == 0  # below 1


@pytest.mark.parametrize(
    ("value", "band"), [(0, "low"), (-1, "medium"), (-4, "medium"), (-5, "high"), (7, "low"), (-20, "high")]
)
def test_osta_s_bands(value: int, band: str) -> None:
    assert OSTA.band_of(value) == band


@pytest.mark.parametrize(("value", "band"), [(1, "low"), (0, "medium"), (-3, "medium"), (-4, "high")])
def test_osiris_s_bands(value: int, band: str) -> None:
    assert OSIRIS.band_of(value) == band
    assert OST.band_of(value) is None


def test_women_are_of_45_and_over_and_men_of_50_and_over() -> None:
    assert statuses(EVERYTHING | {"age": 45}) == dict.fromkeys(BY_CODE, "computed")
    assert statuses(EVERYTHING | {"age": 44.9}) == dict.fromkeys(BY_CODE, "outside")
    assert outcomes(EVERYTHING | {"age": 44.9})["ost"].reason.endswith("; this person is below 45")
    men = {"ost": "computed"} | dict.fromkeys(("osta", "orai", "score", "osiris"), "outside")
    assert statuses(MAN) == men | {"ost": "computed"}
    assert statuses(MAN | {"age": 50})["ost"] == "computed"
    assert statuses(MAN | {"age": 49})["ost"] == "outside"
    assert outcomes(MAN)["orai"].reason == "made for women of 45 and over, not for men"


def test_men_have_a_cut_off_of_their_own() -> None:
    """3 is in the range of a man and not of a woman."""
    borderline = {"age": 60, "weight": 77}
    assert outcomes(borderline | {"sex": "male"})["ost"].value == 3
    assert outcomes(borderline | {"sex": "male"})["ost"].is_in_range is True
    assert outcomes(borderline | {"sex": "female"})["ost"].is_in_range is False


def test_what_is_known_rules_out_before_anything_else_is_asked() -> None:
    assert statuses({"age": 30}) == dict.fromkeys(BY_CODE, "outside")
    assert statuses({"age": 12})["ost"] == "outside"
    assert outcomes({"age": 12})["ost"].reason.endswith("this person is below 18")
    assert statuses({"sex": "male"}) == {"ost": "missing"} | dict.fromkeys(("osta", "orai", "score", "osiris"), "outside")
    assert statuses({"age": 47})["ost"] == "missing"  # of a woman it could be computed
    assert statuses({"age": 115, "sex": "female", "weight": 50})["ost"] == "outside"


def test_before_menopause_one_score_remains() -> None:
    """ORAI alone was made of women of 45 and over, whether before menopause or after."""
    before = statuses(EVERYTHING | {"age": 47, "after_menopause": "no"})
    assert before == dict.fromkeys(BY_CODE, "outside") | {"orai": "computed"}


def test_menopause_is_asked_below_60_by_a_note() -> None:
    unsaid = {name: value for name, value in EVERYTHING.items() if name != "after_menopause"}
    assert any("after menopause" in note for note in outcomes(unsaid | {"age": 59.9})["ost"].notes)
    assert outcomes(unsaid | {"age": 60})["ost"].notes == ()
    assert outcomes(EVERYTHING | {"age": 50})["ost"].notes == ()


def test_osta_is_of_asian_women_alone() -> None:
    assert statuses(EVERYTHING | {"asian_ethnicity": "no"})["osta"] == "outside"


def test_race_changes_one_score_and_only_where_it_is_told() -> None:
    without, told, told_not = (
        outcomes(EVERYTHING | extra) for extra in ({}, {"black_ethnicity": "yes"}, {"black_ethnicity": "no"})
    )
    assert told["score"].value == without["score"].value - 5 == told_not["score"].value - 5
    assert (without["score"].notes, told["score"].notes) == ((WITHOUT_RACE,), (WITH_RACE,))
    for code in ("ost", "osta", "orai", "osiris"):
        assert told[code] == without[code] == told_not[code]


def test_what_follows_needs_not_be_said() -> None:
    assert read_known({"estrogen_use": "yes"}).values["estrogen_ever"] == 1
    assert read_known({"estrogen_ever": "no"}).values["estrogen_use"] == 0
    assert "estrogen_use" not in read_known({"estrogen_ever": "yes"}).values
    assert read_known({"prior_fracture": "no"}).values["fractures_after_45"] == 0
    assert read_known({"fractures_after_45": 2}).values["prior_fracture"] == 1
    assert "prior_fracture" not in read_known({"fractures_after_45": 0}).values  # another bone may have broken


@pytest.mark.parametrize(
    "given", [{"prior_fracture": "no", "fractures_after_45": 1}, {"estrogen_use": "yes", "estrogen_ever": "no"}]
)
def test_contradictions_are_told(given: dict[str, Any]) -> None:
    with pytest.raises(CovariateError, match="contradict one another"):
        read_known(given)


@pytest.mark.parametrize(
    ("weight", "kilograms"), [("58", 58), ("58.5 kg", 58.5), ("58,5kg", 58.5), (" 60 KG ", 60), ("60 kilograms", 60), (58, 58)]
)
def test_kilograms_may_be_named(weight: Any, kilograms: float) -> None:
    assert read_known({"weight_kg": weight}).values == {"weight_kg": kilograms}


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ("128 lb", "must be in kilograms, not pounds; 128 lb are 58.1 kg"),
        ("128.5lbs", "58.3 kg"),
        ("150 pounds", "68.0 kg"),
        ("9 st", "must be a number"),
        ("heavy", "must be a number"),
        ("nan", "must be a number"),
        ("1e999", "must be a number"),
        ("-60", "must be 25 to 250 kg"),
        ("24.9", "must be 25 to 250 kg"),
        (580, "must be 25 to 250 kg"),
        (True, "must be a number"),
        ("6" * 5000, "must be a number"),
        ("lb", "must be a number"),
    ],
)
def test_other_units_and_values_are_refused_in_a_sentence(weight: Any, said: str) -> None:
    with pytest.raises(CovariateError, match="weight_kg") as caught:
        read_known({"weight": weight})
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_weight_that_may_be_pounds_is_told_back() -> None:
    assert assessed(WOMAN | {"weight": 109.9}).notes == ()
    assert assessed(WOMAN | {"weight": 150}).notes == ("150 was taken as kilograms; if these are pounds, give 68",)


@pytest.mark.parametrize("name", [*ASKED, "age", "sex"])
@pytest.mark.parametrize("value", ["", "?", "yes please", "--", [], {}, b"yes please", object()])
def test_no_value_makes_anything_but_an_error_of_ours(name: str, value: Any) -> None:
    if value == "":
        assert read_known({name: value}).values == {}
        return
    with pytest.raises(CovariateError, match=name):
        read_known({name: value})


def test_fractures_are_counted_whole() -> None:
    for wrong in (1.5, -1, 51):
        with pytest.raises(CovariateError, match="fractures_after_45"):
            read_known({"fractures_after_45": wrong})


def test_what_no_score_asks_is_named() -> None:
    assert read_known(WOMAN | {"bmi": 24, "smoker": "yes"}).unused == ("bmi", "smoker")
    with pytest.raises(TypeError):
        read_known(["age"])  # type: ignore[arg-type]


def test_records_are_copied_pickled_and_hashed() -> None:
    assessment = assessed(EVERYTHING)
    for other in (copy.deepcopy(assessment), pickle.loads(pickle.dumps(assessment))):
        assert other == assessment
        assert hash(other) == hash(assessment)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "age": st.floats(1, 120),
            "sex": st.sampled_from(["female", "male"]),
            "weight": st.floats(25, 250),
            "estrogen_use": st.booleans(),
            "prior_fracture": st.booleans(),
            "fractures_after_45": st.integers(0, 50),
            "rheumatoid_arthritis": st.booleans(),
            "after_menopause": st.booleans(),
            "asian_ethnicity": st.booleans(),
            "black_ethnicity": st.booleans(),
        },
    )
)
def test_of_anybody_each_score_is_computed_or_says_why_not(known: dict[str, Any]) -> None:
    known = {name: int(value) if isinstance(value, bool) else value for name, value in known.items()}
    if known.get("prior_fracture") == 0:
        known.pop("fractures_after_45", None)
    for outcome in assessed(known).outcomes:
        said = (outcome.value is not None, bool(outcome.missing), bool(outcome.reason))
        assert sum(said) == 1, outcome
        assert (outcome.is_in_range is None) == (outcome.value is None)
        if outcome.value is not None:
            assert outcome.population is not None
            assert known["age"] >= outcome.population.from_years
            assert known["sex"] == outcome.population.sex
