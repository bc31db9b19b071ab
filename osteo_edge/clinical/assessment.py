"""Each score of one person: computed, or not and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from osteo_edge.clinical.formulas import MAX_AGE_YEARS
from osteo_edge.clinical.instruments import (
    ASIAN,
    BLACK,
    INSTRUMENTS,
    MENOPAUSE,
    SCORE,
    Instrument,
    Population,
)
from osteo_edge.clinical.known import told_back
from osteo_edge.covariates import ADULT_AGE_YEARS, AGE, Person

Status = Literal["computed", "missing", "outside"]

WITH_RACE: Final = "as published it takes five points less for Black women; without black_ethnicity it takes none"
WITHOUT_RACE: Final = "computed without race: it takes the five points that are published for women who are not Black"
MENOPAUSE_SURELY_FROM_YEARS: Final = 60.0
MENOPAUSE_NOT_SAID: Final = "made for women after menopause, which was not said"


@dataclass(frozen=True)
class Outcome:
    """One score of one person.

    Attributes:
        value: None unless computed.
        population: that the person belongs to, as far as is known; None where there is none.
        missing: names of what is to be given, before it is computed.
        reason: why the score is not for this person; empty where it may be.
        notes: what is worth knowing of a computed value.
    """

    instrument: Instrument
    value: int | None = None
    population: Population | None = None
    missing: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        if self.reason:
            return "outside"
        return "missing" if self.value is None else "computed"

    @property
    def is_in_range(self) -> bool | None:
        """Whether a DXA scan is advised by this score; None unless computed."""
        if self.value is None or self.population is None:
            return None
        return self.value in self.population.referral

    @property
    def band(self) -> str | None:
        """Published name of the value; None unless computed, and where the score has none."""
        return None if self.value is None else self.instrument.band_of(self.value)


@dataclass(frozen=True)
class Assessment:
    """All scores of one person, and what they rest on."""

    person: Person
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def computed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == "computed")

    @property
    def in_range(self) -> tuple[Outcome, ...]:
        """The scores that advise a DXA scan."""
        return tuple(outcome for outcome in self.computed if outcome.is_in_range)


def assess(person: Person) -> Assessment:
    """Compute what can be computed of a person as ``clinical.known.read_known`` gives it."""
    again = told_back(person)
    return Assessment(person, tuple(_outcome(one, person) for one in INSTRUMENTS), (again,) if again else ())


def _outcome(instrument: Instrument, person: Person) -> Outcome:
    population = instrument.population_of(person.sex) if person.sex is not None else None
    if reason := _outside(instrument, population, person):
        return Outcome(instrument, reason=reason)
    missing = tuple(name for name in instrument.needs if name not in person.values)
    if missing or population is None:  # which is so only without the sex, and that is among what every score needs
        return Outcome(instrument, population=population, missing=missing)
    return Outcome(
        instrument, instrument.compute(person.values), population, notes=tuple(_notes(instrument, population, person))
    )


def _outside(instrument: Instrument, population: Population | None, person: Person) -> str:
    """Why the score is not for this person, by what is known of it; empty where it may be."""
    populations = instrument.populations if person.sex is None else filter(None, (population,))
    made_for = " or ".join(map(str, instrument.populations))
    told = [_not_of(one, person) for one in populations]
    if not told:
        return f"made for {made_for}, not for {'women' if person.sex == 'female' else 'men'}"
    return f"made for {made_for}; {told[0]}" if all(told) else ""


def _not_of(population: Population, person: Person) -> str:
    """What keeps a person of this sex, or of none that is known, out of a population; empty where nothing does."""
    age, values = person.age_years, person.values
    if age is not None and age < ADULT_AGE_YEARS:
        return f"this person is below {ADULT_AGE_YEARS:g}"
    if age is not None and age < population.from_years:
        return f"this person is below {population.from_years:g}"
    if age is not None and age > MAX_AGE_YEARS:
        return f"this person is over {MAX_AGE_YEARS:g}"
    if population.after_menopause and values.get(MENOPAUSE) == 0:
        return "this woman is not after menopause"
    return "this person is not of Asian origin" if population.asian and values.get(ASIAN) == 0 else ""


def _notes(instrument: Instrument, population: Population, person: Person) -> list[str]:
    is_said = MENOPAUSE in person.values or person.values[AGE] >= MENOPAUSE_SURELY_FROM_YEARS
    notes = [MENOPAUSE_NOT_SAID] if population.after_menopause and not is_said else []
    if instrument is SCORE:
        notes.append(WITH_RACE if person.values.get(BLACK) else WITHOUT_RACE)
    return notes
