"""The risk scores of a person and the next step: lines for people, one JSON object, one CSV row.

The JSON form is described by ``risk.schema.json`` beside this file; a change of meaning raises its version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from osteo_edge.clinical.advice import Risk
from osteo_edge.clinical.assessment import Assessment, Outcome
from osteo_edge.clinical.instruments import FRAX, INSTRUMENTS
from osteo_edge.covariates import AGE, SEX, Person
from osteo_edge.printable import enumerate_words, printable
from osteo_edge.records import to_plain

SCHEMA_VERSION: Final = 2
INTENDED_USE: Final = (
    "Research screening aid, not a medical device and not a diagnosis: published scores tell who may be offered a DXA scan, "
    "and only DXA measures bone density."
)
_NAME_WIDTH: Final = max(len(one.name) for one in INSTRUMENTS) + 2

CSV_COLUMNS: Final = (
    "person",
    *(f"{one.code}{ending}" for one in INSTRUMENTS for ending in ("", "_in_range", "_not_computed")),
    "next_step",
    "sentence",
    "notes",
)


def to_lines(risk: Risk, *, with_sources: bool = False, with_step: bool = True) -> list[str]:
    """For people; without ``INTENDED_USE``.

    Args:
        with_step: also what is advised; it may be said elsewhere.
        with_sources: also formulas, publications and what studies reported.
    """
    return [printable(line) for line in _lines(risk, with_sources=with_sources, with_step=with_step)]


def _lines(risk: Risk, *, with_sources: bool, with_step: bool) -> Iterator[str]:
    for outcome in risk.assessment.outcomes:
        yield f"{outcome.instrument.name:<{_NAME_WIDTH}}{told(outcome)}"
        yield from (f"{'':{_NAME_WIDTH}}{line}" for line in (_background(outcome) if with_sources else ()))
    yield f"{'FRAX':<{_NAME_WIDTH}}{FRAX.removeprefix('FRAX is ')}"
    if with_step:
        yield f"Next: {risk.step.sentence}"
        yield f"Source: {risk.step.source}."
    for note in _notes(risk.assessment):
        yield f"Note: {note}"


def told(outcome: Outcome) -> str:
    """What is said of one score."""
    if outcome.reason:
        return f"not computed: {outcome.reason}"
    if outcome.value is None or outcome.population is None:
        return f"not computed: also give {enumerate_words(outcome.missing)}"
    return f"{outcome.value:>3}  {verdict(outcome)}"


def verdict(outcome: Outcome) -> str:
    """What a value means; empty where there is none."""
    if outcome.value is None or outcome.population is None:
        return ""
    where = "in" if outcome.is_in_range else "not in"
    band = f", published as {outcome.band}" if outcome.band else ""
    return f"{where} the range where a DXA scan is advised ({outcome.population.referral}){band}"


def _background(outcome: Outcome) -> Iterator[str]:
    instrument = outcome.instrument
    yield f"{instrument.title}: {instrument.formula}"
    yield f"made for {' or '.join(map(str, instrument.populations))}; cut-off of {instrument.source}"
    for population in (outcome.population,) if outcome.population else instrument.populations:
        for one in population.reported:
            yield (
                f"{one.cut_off}: sensitivity {one.sensitivity_percent:g} %, specificity {one.specificity_percent:g} % for "
                f"{one.target} in {one.persons} ({one.source})"
            )


def _notes(assessment: Assessment) -> list[str]:
    """Each once, after the names of the scores that it is of."""
    of_scores: dict[str, list[str]] = {}
    for outcome in assessment.outcomes:
        for note in outcome.notes:
            of_scores.setdefault(note, []).append(outcome.instrument.name)
    return [*assessment.notes, *(f"{enumerate_words(names)}: {note}" for note, names in of_scores.items())]


def to_dict(risk: Risk, *, name: str | None = None) -> dict[str, Any]:
    """The JSON object: types of JSON alone."""
    assessment = risk.assessment
    return {
        "schema_version": SCHEMA_VERSION,
        "person": name,
        "known": _known(assessment.person),
        "not_used": list(assessment.person.unused),
        "scores": [_score(outcome) for outcome in assessment.outcomes],
        "not_open": {"frax": FRAX},
        "next_step": to_plain(risk.step),
        "notes": _notes(assessment),
        "intended_use": INTENDED_USE,
    }


def _known(person: Person) -> dict[str, float | str | None]:
    values: dict[str, float | str | None] = {name: value for name, value in person.values.items() if name not in (AGE, SEX)}
    return {AGE: person.age_years, SEX: person.sex} | values


def _score(outcome: Outcome) -> dict[str, Any]:
    instrument = outcome.instrument
    return {
        "score": instrument.code,
        "name": instrument.name,
        "title": instrument.title,
        "status": outcome.status,
        "value": outcome.value,
        "verdict": verdict(outcome),
        "in_range": outcome.is_in_range,
        "band": outcome.band,
        "missing": list(outcome.missing),
        "reason": outcome.reason,
        "notes": list(outcome.notes),
        "formula": instrument.formula,
        "made_for": [
            {
                "persons": str(population),
                "sex": population.sex,
                "from_years": population.from_years,
                "referral": to_plain(population.referral),
                "reported": to_plain(population.reported),
            }
            for population in instrument.populations
        ],
        "source": instrument.source,
    }


def to_row(risk: Risk, *, name: str) -> list[str]:
    """The CSV row, in the order of ``CSV_COLUMNS``; lists are joined by ``;``."""
    cells = [printable(name)]
    for outcome in risk.assessment.outcomes:
        in_range = {None: "", True: "yes", False: "no"}[outcome.is_in_range]
        cells += [
            "" if outcome.value is None else str(outcome.value),
            in_range,
            outcome.reason or ";".join(f"missing {name}" for name in outcome.missing),
        ]
    return [*cells, risk.step.code, risk.step.sentence, ";".join(_notes(risk.assessment))]
