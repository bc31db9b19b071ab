from __future__ import annotations

import pytest

from osteo_edge.manifest import Covariate
from train.data.columns import COLUMNS, T_SCORE


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("age_years", "61.5", 61.5),
        ("age_years", "", None),
        ("sex", "female", 1.0),
        ("sex", "male", 0.0),
        ("smoker", "1", 1.0),
        ("smoker", "0.0", 0.0),
        ("prior_fracture", "Yes", 1.0),
    ],
)
def test_cells_become_numbers(name: str, cell: str, value: float | None) -> None:
    assert COLUMNS[name].parse(cell) == value


@pytest.mark.parametrize(
    ("name", "cell", "needed"),
    [
        ("age_years", "old", "0 to 130 years"),
        ("age_years", "nan", "leave the cell empty"),
        ("age_years", "131", "0 to 130 years"),
        ("bmi", "inf", "8 to 90"),
        ("sex", "w", "female, male"),
        ("smoker", "2", "known are"),
    ],
)
def test_other_cells_are_told(name: str, cell: str, needed: str) -> None:
    with pytest.raises(ValueError, match=needed):
        COLUMNS[name].parse(cell)


def test_the_label_s_source_is_no_covariate() -> None:
    assert T_SCORE.name not in COLUMNS
    assert "z_score" not in COLUMNS


def test_a_column_has_what_the_runtime_s_record_needs() -> None:
    for column in COLUMNS.values():
        Covariate(column.name, column.kind, column.unit, column.low, column.high, 0.0, 1.0, {})
