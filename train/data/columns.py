"""The columns of ``labels.csv`` that say something of the person: their kind, unit and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_SEXES = {"female": 1.0, "male": 0.0}
_YES_NO = {"1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class Column:
    """One column. A blank cell is unknown; sex is 1 for female, yes is 1; values outside low to high are refused."""

    name: str
    kind: Literal["number", "yes_no", "sex"]
    unit: str = ""
    low: float = 0.0
    high: float = 1.0

    def parse(self, cell: str) -> float | None:
        """The cell's number; None for a blank.

        Raises:
            ValueError: says what is needed.
        """
        if not cell:
            return None
        if self.kind == "sex":
            return _look_up(_SEXES, cell)
        if self.kind == "yes_no":
            return _look_up(_YES_NO, cell.removesuffix(".0").lower())
        return self._number(cell)

    def _number(self, cell: str) -> float:
        needed = f"a number of {self.low:g} to {self.high:g} {self.unit}".rstrip() + " is needed"
        try:
            value = float(cell)
        except ValueError as error:
            raise ValueError(needed) from error
        if math.isnan(value):
            raise ValueError(f"{needed}; leave the cell empty where it is unknown")
        if not self.low <= value <= self.high:
            raise ValueError(needed)
        return value


def _look_up(known: Mapping[str, float], cell: str) -> float:
    try:
        return known[cell]
    except KeyError as error:
        raise ValueError(f"known are {', '.join(known)}") from error


_TABLE = (
    Column("age_years", "number", "years", 0, 130),
    Column("sex", "sex"),
    Column("height_m", "number", "m", 0.5, 2.5),
    Column("weight_kg", "number", "kg", 10, 300),
    Column("bmi", "number", "kg/m2", 8, 90),
    Column("menopause_age_years", "number", "years", 15, 80),
    Column("pregnancies", "number", "", 0, 25),
    Column("max_walking_km", "number", "km", 0, 100),
    *(
        Column(name, "yes_no")
        for name in (
            "smoker",
            "alcohol",
            "diabetes",
            "hypothyroidism",
            "seizure_disorder",
            "estrogen_use",
            "prior_fracture",
            "dialysis",
            "family_history",
            "joint_pain",
        )
    ),
)
COLUMNS: Mapping[str, Column] = {column.name: column for column in _TABLE}

# Measured, so that training may use it as an auxiliary target. It is never a covariate, and never leaves training.
T_SCORE = Column("t_score", "number", "standard deviations", -10, 10)
