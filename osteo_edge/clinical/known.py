"""What the scores ask of a person: names, ranges and words, checked; what follows from it; what cannot be together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from osteo_edge.clinical.formulas import MAX_WEIGHT_KG, MIN_WEIGHT_KG, POUNDS_PER_KG
from osteo_edge.clinical.instruments import (
    ARTHRITIS,
    ASIAN,
    BLACK,
    ESTROGEN_EVER,
    ESTROGEN_NOW,
    FRACTURE,
    FRACTURES,
    MENOPAUSE,
)
from osteo_edge.covariates import AGE, SEX, WEIGHT, Given, Person, Value, describe, gather, to_number
from osteo_edge.errors import CovariateError
from osteo_edge.manifest import Covariate
from osteo_edge.records import FrozenMapping

# From here on a weight is told back: in pounds it would be a common one, and the scores would wrongly be low.
HEAVY_KG: Final = 110.0
MOST_FRACTURES: Final = 50.0

_NUMBER = r"(\d+(?:[.,]\d+)?)"
_KILOGRAMS: Final = re.compile(rf"\s*{_NUMBER}\s*(?:kg|kgs|kilos?|kilograms?)\.?\s*", re.IGNORECASE)
_POUNDS: Final = re.compile(rf"\s*{_NUMBER}\s*(?:lb|lbs|pounds?)\.?\s*", re.IGNORECASE)


def _yes_no(name: str) -> Covariate:
    return Covariate(name, "yes_no", "", 0.0, 1.0, 0.0, 1.0, FrozenMapping())


def _number(name: str, unit: str, low: float, high: float) -> Covariate:
    return Covariate(name, "number", unit, low, high, 0.0, 1.0, FrozenMapping())


# Age and sex are checked for everybody, by ``osteo_edge.covariates``.
_ASKED: Final = (
    _number(WEIGHT, "kg", MIN_WEIGHT_KG, MAX_WEIGHT_KG),
    _yes_no(MENOPAUSE),
    _yes_no(ESTROGEN_NOW),
    _yes_no(ESTROGEN_EVER),
    _yes_no(FRACTURE),
    _number(FRACTURES, "", 0.0, MOST_FRACTURES),
    _yes_no(ARTHRITIS),
    _yes_no(ASIAN),
    _yes_no(BLACK),
)
ASKED: Final[Mapping[str, Covariate]] = FrozenMapping({covariate.name: covariate for covariate in _ASKED})

# What each name stands for, in words for people.
MEANINGS: Final[Mapping[str, str]] = FrozenMapping(
    {
        AGE: "age in years",
        SEX: "female or male",
        WEIGHT: "weight in kilograms",
        MENOPAUSE: "yes or no: the monthly bleeding has ended for good",
        ESTROGEN_NOW: "yes or no: takes estrogen (hormone replacement) now",
        ESTROGEN_EVER: "yes or no: takes or took estrogen",
        FRACTURE: "yes or no: a bone broke in a slight fall or knock",
        FRACTURES: "how many of wrist, hip and rib broke easily after 45",
        ARTHRITIS: "yes or no: rheumatoid, not the common wear of joints",
        ASIAN: "yes or no: of Asian origin; OSTA alone asks it",
        BLACK: "yes or no: Black; SCORE alone asks it, need not",
    }
)


def read_known(given: Given) -> Person:
    """What is known, as numbers under the names above; sex is 1 for female, yes is 1.

    What follows from it is added: who takes estrogen has taken it, and where no bone broke, none of three did.

    Returns:
        ``unused`` holds the names that no score asks for.

    Raises:
        CovariateError: a value that is none or out of its range, a weight in pounds, or two that contradict one another.
        TypeError: no mapping of names.
    """
    known = gather(None, None, given)
    person = describe(None, {name: value for name, value in known.items() if name in (AGE, SEX)})
    values = {name: to_number(ASKED[name], _unit_taken(name, value)) for name, value in known.items() if name in ASKED}
    if person.age_years is not None:
        values[AGE] = person.age_years
    if person.sex is not None:
        values[SEX] = float(person.sex == "female")
    unused = tuple(name for name in known if name not in MEANINGS)
    return Person(FrozenMapping(_with_what_follows(values)), unused=unused, age_years=person.age_years, sex=person.sex)


def _unit_taken(name: str, value: Value) -> Value:
    """A weight without its unit, where that is kilograms.

    Raises:
        CovariateError: it is pounds.
    """
    if name != WEIGHT or not isinstance(value, str):
        return value
    if pounds := _POUNDS.fullmatch(value):
        kilograms = float(pounds[1].replace(",", ".")) / POUNDS_PER_KG
        raise CovariateError(f"{WEIGHT} must be in kilograms, not pounds; {value.strip()[:20]} are {kilograms:.1f} kg")
    kilograms_told = _KILOGRAMS.fullmatch(value)
    return kilograms_told[1].replace(",", ".") if kilograms_told else value


def _with_what_follows(values: dict[str, float]) -> dict[str, float]:
    fractures = values.get(FRACTURES)
    if fractures is not None and fractures != int(fractures):
        raise CovariateError(f"{FRACTURES} must be a whole number, not {fractures:g}")
    if fractures and values.get(FRACTURE) == 0:
        raise CovariateError(f"{FRACTURES} and {FRACTURE} contradict one another: {fractures:g} and no")
    if values.get(ESTROGEN_NOW) and values.get(ESTROGEN_EVER) == 0:
        raise CovariateError(f"{ESTROGEN_NOW} and {ESTROGEN_EVER} contradict one another: yes and no")
    implied = {
        ESTROGEN_EVER: 1.0 if values.get(ESTROGEN_NOW) else None,
        ESTROGEN_NOW: 0.0 if values.get(ESTROGEN_EVER) == 0 else None,
        FRACTURES: 0.0 if values.get(FRACTURE) == 0 else None,
        FRACTURE: 1.0 if fractures else None,
    }
    return {**{name: value for name, value in implied.items() if value is not None}, **values}


def told_back(person: Person) -> str:
    """What is to be looked at again in what was given; empty where nothing is."""
    kilograms = person.values.get(WEIGHT, 0.0)
    if kilograms < HEAVY_KG:
        return ""
    return f"{kilograms:g} was taken as kilograms; if these are pounds, give {kilograms / POUNDS_PER_KG:.0f}"
