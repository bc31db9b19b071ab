"""The public names, the error tree, and the exit codes are what they are documented to be."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import osteo_edge
from osteo_edge import errors
from osteo_edge.cli import exit_codes

ROOT = Path(__file__).resolve().parents[2]


def test_all_is_sorted_and_every_name_is_there_and_documented() -> None:
    assert osteo_edge.__all__ == sorted(osteo_edge.__all__)
    for name in osteo_edge.__all__:
        value = getattr(osteo_edge, name)
        assert name == "__version__" or inspect.getdoc(value), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        osteo_edge.nothing  # noqa: B018


def test_the_drawn_error_tree_is_the_real_one() -> None:
    drawn = set(re.findall(r"[A-Z]\w+(?:Error|Rejected)", (errors.__doc__ or "").split("Errors of other")[0]))
    real = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert drawn == real
    assert all(issubclass(getattr(errors, name), errors.OsteoEdgeError) for name in real)
    assert real <= set(osteo_edge.__all__) | {"OsteoEdgeError"}


def test_every_exit_code_stands_in_the_table_and_the_readme() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    table = {int(code) for code in re.findall(r"^(\d+) ", exit_codes.__doc__ or "", re.MULTILINE)}
    assert codes == table
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", readme, re.MULTILINE)} == codes


@pytest.mark.parametrize(
    ("codes", "expected"), [([], 0), ([0, 0], 0), ([0, 4], 4), ([4, 6, 0], 6), ([6, 3, 4], 3), ([7, 3], 7)]
)
def test_a_mixed_run_ends_with_the_gravest_code(codes: list[int], expected: int) -> None:
    assert exit_codes.gravest(codes) == expected
