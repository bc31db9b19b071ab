"""Values that no maker of a bundle, a table or a call would write, and the command line run with them in this process."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st

from osteo_edge.cli import exit_codes, main

# Colours, a title for the window, a bell, a line over the last one, text that reads from right to left, half a character.
HOSTILE = "\x1b[31m\x1b]0;owned\x07\r\n\x9b2J\u202eknp\u2066\u200f\u2028\udcff\ud800"

_STRINGS = ["", "x", ".", "../x", "/etc/passwd", "a/b", "nan", "1e999", "\0", HOSTILE, "x" * 300, "fp32", "osteopenia"]
_NUMBERS = [0, 1, -1, 2, 255, 2**31, 2**53, 2**53 + 1, 2**63, -(2**63), 10**300, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e-9]
_NUMBERS += [1e9, 1e29, -1e29, 1e200, 1e300, -1e308, float("nan"), float("inf"), -float("inf")]
_DEEP: list[Any] = []
for _ in range(150):
    _DEEP = [_DEEP]
_STRUCTURES = [None, True, False, [], {}, [[]], [1, 2, 3], ["a", "a"], {"a": 1}, {HOSTILE: HOSTILE}, [0] * 5000, _DEEP]

values = st.one_of(st.sampled_from(_NUMBERS), st.sampled_from(_STRINGS), st.sampled_from(_STRUCTURES).map(copy.deepcopy))

Step = str | int


@dataclass(frozen=True)
class Ran:
    """What the command line did: its exit code and the bytes that it wrote."""

    code: int
    out: bytes
    err: bytes


DOCUMENTED = {code for name, code in vars(exit_codes).items() if name.isupper() and isinstance(code, int)}


def run(arguments: Sequence[str]) -> Ran:
    """Run the command line here, with the streams of a UTF-8 terminal; it must end by a documented code, and not by 70."""
    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", errors="backslashreplace", write_through=True))
        code = main._run(list(arguments))
        ran = Ran(code, out.getvalue(), err.getvalue())  # a stream that nobody holds any more closes its bytes
    assert code in DOCUMENTED - {exit_codes.INTERNAL}, ran
    assert b"Traceback" not in ran.out + ran.err, ran
    assert b"Warning" not in ran.err, ran
    return ran


def places(value: Any, before: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """The way to every value inside of decoded JSON."""
    inside: list[tuple[Step, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    for step, item in inside:
        yield (*before, step)
        yield from places(item, (*before, step))


def value_at(plain: Any, way: tuple[Step, ...]) -> Any:
    for step in way:
        plain = plain[step]
    return plain


def put(plain: Any, way: tuple[Step, ...], value: Any) -> None:
    value_at(plain, way[:-1])[way[-1]] = value


@st.composite
def changed(draw: st.DrawFn, plain: Any) -> Any:
    """``plain`` with one to three of its values replaced, left out, doubled, renamed, exchanged, or a number moved."""
    plain = copy.deepcopy(plain)
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(plain))
        if not ways:
            return plain
        *before, last = draw(st.sampled_from(ways))
        _change(draw, value_at(plain, tuple(before)), last, plain, ways)
    return plain


def _change(draw: st.DrawFn, holder: Any, last: Any, plain: Any, ways: list[tuple[Step, ...]]) -> None:
    kind = draw(st.sampled_from(["replace", "replace", "replace", "move", "leave out", "double", "rename", "exchange"]))
    value = holder[last]
    if kind == "move" and isinstance(value, (int, float)) and not isinstance(value, bool):
        larger = value * 10**20 if isinstance(value, int) else value * 1e20
        holder[last] = draw(st.sampled_from([-value, value + 1, value // 2, larger, 0.25 if value == 0 else value - value % 1]))
    elif kind == "leave out":
        del holder[last]
    elif kind == "double" and isinstance(holder, list):
        holder.insert(last, copy.deepcopy(value))
    elif kind == "rename" and isinstance(holder, dict):
        holder[draw(st.sampled_from(_STRINGS))] = holder.pop(last)
    elif kind == "exchange":
        holder[last] = copy.deepcopy(value_at(plain, draw(st.sampled_from(ways))))
    else:
        holder[last] = draw(values)
