"""What is known of the person: from what a caller or a clerk wrote to numbers within their ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from osteo_edge.errors import CovariateError
from osteo_edge.manifest import Covariate, Fusion
from osteo_edge.records import FrozenMapping

AGE = "age_years"
SEX = "sex"
WEIGHT = "weight_kg"

Value = float | str | None
Given = Mapping[str, Value]

# Below it no picture is answered: training held none of growing bones.
ADULT_AGE_YEARS = 18.0
_OLDEST_YEARS = 120.0

_OTHER_NAMES: Mapping[str, str] = {"age": AGE, "weight": WEIGHT}
_WORDS: Mapping[str, Mapping[str, float]] = {
    "sex": {"female": 1.0, "f": 1.0, "male": 0.0, "m": 0.0},
    "yes_no": {"yes": 1.0, "1": 1.0, "no": 0.0, "0": 0.0},
}
_ASKED_FOR = {"sex": "female or male", "yes_no": "yes or no"}


@dataclass(frozen=True)
class Person:
    """What a bundle can use of what is known.

    Attributes:
        values: covariate -> number; sex is 1 for female, yes is 1.
        unused: names of what was given and the bundle was not made for.
        missing: what the bundle asks for besides, before it takes the values into account; empty when nothing was given.
        age_years: where it was given, to any bundle; it decides what is advised.
        sex: ``female`` or ``male``, where it was given, to any bundle; likewise.
    """

    values: Mapping[str, float] = field(default_factory=FrozenMapping)
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    age_years: float | None = None
    sex: str | None = None

    @property
    def is_child(self) -> bool:
        return self.age_years is not None and self.age_years < ADULT_AGE_YEARS


def gather(age_years: float | None, sex: str | None, covariates: Given | None, *, weight_kg: Value = None) -> dict[str, Value]:
    """All that is known under the names that bundles use; None and empty text stand for what is not known.

    Raises:
        CovariateError: something was given twice, be it as ``age`` and as ``age_years``.
        TypeError: the covariates are no mapping of names.
    """
    given = _under_known_names({} if covariates is None else covariates)
    for name, value in ((AGE, age_years), (SEX, sex), (WEIGHT, weight_kg)):
        if value is not None and given.get(name) is not None:
            raise CovariateError(f"{name} was given twice")
        if value is not None:
            given[name] = value
    return {name: value for name, value in given.items() if value is not None and not (isinstance(value, str) and value == "")}


def describe(fusion: Fusion | None, given: Given, known_to_others: Collection[str] = ()) -> Person:
    """Check ``given`` against what the bundle knows; ``age`` is ``age_years``.

    Args:
        known_to_others: names that are no mistake, since other bundles that are asked at the same time take them.

    Age and sex are checked for every bundle, since the advice follows from them. A child's age is none that a bundle
    takes; it is for ``decision.verdict.refuse`` to answer, and no error.

    Raises:
        CovariateError: an unknown name, or a value that is no number, no answer, or out of range.
        TypeError: no mapping of names.
    """
    given = _under_known_names(given)
    known = {covariate.name: covariate for covariate in fusion.covariates} if fusion else {}
    for name in given:
        if fusion and name not in known and name not in (AGE, SEX) and name not in known_to_others:
            raise CovariateError(f"this bundle knows no covariate {name[:60]!r}; it knows {', '.join(known)}")
    is_child = AGE in given and _ANYBODY_S_AGE.low <= _read(_ANYBODY_S_AGE, given[AGE]) < ADULT_AGE_YEARS
    usable = [name for name in given if name in known and not (is_child and name == AGE)]
    values = {name: to_number(known[name], given[name]) for name in usable}
    return Person(
        FrozenMapping(values),
        unused=tuple(name for name in given if name not in known),
        missing=tuple(name for name in fusion.required if name not in values) if fusion and values else (),
        age_years=to_number(_ANYBODY_S_AGE, given[AGE]) if AGE in given else None,
        sex=("female" if to_number(_ANYBODY_S_SEX, given[SEX]) else "male") if SEX in given else None,
    )


def to_number(covariate: Covariate, value: Value) -> float:
    """The number that ``value`` stands for.

    Raises:
        CovariateError: names the covariate and what is asked for.
    """
    number = _read(covariate, value)
    if not covariate.low <= number <= covariate.high:
        unit = f" {covariate.unit}" if covariate.unit else ""
        raise CovariateError(f"{covariate.name} must be {covariate.low:g} to {covariate.high:g}{unit}, not {_shown(value)}")
    return number


def spoken(covariate: Covariate) -> str:
    """The name for people: ``age_years`` is age."""
    return covariate.name.removesuffix(f"_{covariate.unit}").replace("_", " ")


def _under_known_names(given: Given) -> dict[str, Value]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise TypeError('covariates must be a mapping of names to values, for example {"bmi": 24.5}')
    renamed: dict[str, Value] = {}
    for name, value in given.items():
        known = _OTHER_NAMES.get(name, name)
        if renamed.get(known) is not None and value is not None:
            raise CovariateError(f"{known} was given twice")
        renamed[known] = value if value is not None else renamed.get(known)
    return renamed


def _read(covariate: Covariate, value: Value) -> float:
    words = _WORDS.get(covariate.kind)
    if words is not None:
        text = str(int(value)) if isinstance(value, (int, float)) and value in (0, 1) else _written(value).strip().lower()
        if text not in words:
            raise CovariateError(f"{covariate.name} must be {_ASKED_FOR[covariate.kind]}, not {_shown(value)}")
        return words[text]
    try:
        number = math.nan if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise CovariateError(f"{covariate.name} must be a number, not {_shown(value)}; leave it out where it is not known")
    return number


def _written(value: Value, write: Callable[[object], str] = str) -> str:
    try:
        return write(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number of thousands of digits"


def _shown(value: Value) -> str:
    return " ".join(_written(value, repr).split())[:40]


# What no person's age and sex can be outside of, whatever the bundle; the lowest age leaves room for 0.67 to be a slip of 67.
_ANYBODY_S_AGE = Covariate(AGE, "number", "years", 1.0, _OLDEST_YEARS, 0.0, 1.0, FrozenMapping())
_ANYBODY_S_SEX = Covariate(SEX, "sex", "", 0.0, 1.0, 0.0, 1.0, FrozenMapping())
