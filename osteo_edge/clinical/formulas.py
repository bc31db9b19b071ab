"""Four published formulas as pure functions of years, kilograms, yes and no.

An age counts in completed years, as people tell it and as bands such as 55 to 64 are meant. ``docs/risk-scores.md`` says where
published forms disagree, which one is followed here, and what could not be confirmed from two sources.
"""

from __future__ import annotations

from typing import Final

from osteo_edge.errors import CovariateError

# Limits of sense, not of whom the scores were made for: outside of them something was mistyped.
MIN_WEIGHT_KG: Final = 25.0
MAX_WEIGHT_KG: Final = 250.0
MAX_AGE_YEARS: Final = 110.0
POUNDS_PER_KG: Final = 2.2046226218

ORAI_FROM_YEARS: Final = 45
FRACTURES_COUNTED: Final = 3
# Binary fractions of decimal weights are off by less than this.
_DIGITS: Final = 9


def ost(age_years: float, weight_kg: float) -> int:
    """Osteoporosis Self-assessment Tool: a fifth of weight less age, its decimals dropped towards zero. Low is worse.

    The difference is truncated, as in table 1 of BMC Musculoskeletal Disorders 2008;9:13; other papers truncate each term.
    OSTA, for Asian women, is the same index with another cut-off.

    Raises:
        CovariateError: an age or weight outside of the limits above.
    """
    years, kilograms = _checked(age_years, weight_kg)
    return _truncated((kilograms - years) / 5)


def orai(age_years: float, weight_kg: float, *, takes_estrogen: bool) -> int:
    """Osteoporosis Risk Assessment Instrument (Cadarette et al., CMAJ 2000;162:1289): 0 to 26 points. High is worse.

    Raises:
        CovariateError: an age below 45, for which there are no points, or a value outside of the limits above.
    """
    years, kilograms = _checked(age_years, weight_kg)
    if years < ORAI_FROM_YEARS:
        raise CovariateError(f"ORAI has points from {ORAI_FROM_YEARS:g} years of age on, not for {years}")
    of_age = 15 if years >= 75 else 9 if years >= 65 else 5 if years >= 55 else 0
    of_weight = 9 if kilograms < 60 else 3 if kilograms < 70 else 0
    return of_age + of_weight + (0 if takes_estrogen else 2)


def score(
    age_years: float,
    weight_kg: float,
    *,
    has_rheumatoid_arthritis: bool,
    fractures_after_45: int,
    ever_took_estrogen: bool,
    is_black: bool = False,
) -> int:
    """Simple Calculated Osteoporosis Risk Estimation (Lydick et al., Am J Manag Care 1998;4:37). High is worse.

    Three points for each ten years of age, and one less for each ten pounds; both are cut, not rounded.

    Args:
        fractures_after_45: of wrist, hip or rib without much force, after 45 years of age; three are counted at most.
        is_black: as the publication asks; it takes five points less. False is the form without race.

    Raises:
        CovariateError: a negative count, or a value outside of the limits above.
    """
    years, kilograms = _checked(age_years, weight_kg)
    if fractures_after_45 < 0:
        raise CovariateError(f"fractures_after_45 must be 0 or more, not {fractures_after_45}")
    points = 0 if is_black else 5
    points += 4 if has_rheumatoid_arthritis else 0
    points += 4 * min(fractures_after_45, FRACTURES_COUNTED)
    points += 3 * (years // 10)  # the first digit of an age; from 100 years on the first two
    points += 0 if ever_took_estrogen else 1
    return points - _truncated(kilograms * POUNDS_PER_KG / 10)


def osiris(age_years: float, weight_kg: float, *, takes_estrogen: bool, had_fracture: bool) -> int:
    """Osteoporosis Index of Risk (Sedrine et al., Gynecol Endocrinol 2002;16:245). Low is worse.

    A fifth of the weight less a fifth of the age, each cut to a whole number.

    Args:
        takes_estrogen: hormone replacement now.
        had_fracture: a bone broke in a slight fall or knock.

    Raises:
        CovariateError: an age or weight outside of the limits above.
    """
    years, kilograms = _checked(age_years, weight_kg)
    return _truncated(kilograms / 5) - _truncated(years / 5) + (2 if takes_estrogen else 0) - (2 if had_fracture else 0)


def _checked(age_years: float, weight_kg: float) -> tuple[int, float]:
    """Completed years, and kilograms."""
    if not 0 <= age_years <= MAX_AGE_YEARS:
        raise CovariateError(f"age_years must be 0 to {MAX_AGE_YEARS:g} for a score, not {age_years:g}")
    if not MIN_WEIGHT_KG <= weight_kg <= MAX_WEIGHT_KG:
        raise CovariateError(f"weight_kg must be {MIN_WEIGHT_KG:g} to {MAX_WEIGHT_KG:g} kilograms, not {weight_kg:g}")
    return int(age_years), weight_kg


def _truncated(number: float) -> int:
    """Towards zero, as decimals are dropped on paper: 59.7 less 49.7 is 10, although its binary fraction is less."""
    return int(round(number, _DIGITS))
