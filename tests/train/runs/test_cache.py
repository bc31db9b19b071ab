from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.runs.cache import json_text, kept

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=20), inner, max_size=9),
    max_leaves=60,
)


@given(_PLAIN)
def test_short_json_is_the_same_json(plain: Any) -> None:
    assert json.loads(json_text(plain)) == plain


def test_a_record_that_fits_is_one_line() -> None:
    many = {"values": [[1.5, 2.5], [3.5, 4.5]] * 30, "count": 60}
    lines = json_text(many).splitlines()
    assert lines[:3] == ["{", ' "values": [', "  [1.5, 2.5],"]
    assert lines[-3:] == [" ],", ' "count": 60', "}"]


def test_json_knows_no_infinity() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_text({"loss": [float("inf")] * 40})


def test_what_is_kept_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"values": np.arange(3), "names": np.array(["a"])}

    for _ in range(2):
        found = kept(tmp_path / "kept.npz", make)
        assert found["values"].tolist() == [0, 1, 2]
        assert found["names"].tolist() == ["a"]
    assert made == [1]
