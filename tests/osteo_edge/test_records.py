"""Strict JSON to frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from osteo_edge.errors import ManifestError
from osteo_edge.records import parse_json, parse_record, to_plain


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    share: float
    pair: tuple[float, float]
    inner: Inner
    table: Mapping[str, Inner]
    note: str | None = None


GOOD: dict[str, Any] = {
    "name": "x",
    "share": 1,
    "pair": [0, 2.5],
    "inner": {"kind": "a", "sizes": [1, 2]},
    "table": {"first": {"kind": "b", "sizes": []}},
}


def test_reads_nested_records_and_writes_them_back() -> None:
    record = parse_record(Outer, GOOD, where="file")
    assert record.inner == Inner("a", (1, 2))
    assert record.table["first"].kind == "b"
    assert record.note is None
    assert to_plain(record) == GOOD | {"note": None}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 3}, "file.name must be str"),
        ({"share": "1"}, "file.share must be float"),
        ({"share": True}, "file.share must be float"),
        ({"share": float("inf")}, "file.share must be a finite"),
        ({"pair": [1]}, "file.pair must have 2"),
        ({"inner": []}, "file.inner must be an object"),
        ({"inner": {"kind": "c", "sizes": []}}, "file.inner.kind must be one of a, b"),
        ({"inner": {"kind": "a", "sizes": [1, "2"]}}, r"file.inner.sizes\[1\] must be int"),
        ({"table": {"first": {"kind": "a"}}}, "file.table.first: the field 'sizes' is missing"),
        ({"extra": 1}, "file: unknown key 'extra'"),
        ({"note": 5}, "file.note must be str"),
    ],
)
def test_names_the_faulty_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        parse_record(Outer, GOOD | change, where="file")


@pytest.mark.parametrize("text", [b"{", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_refuses_what_is_not_strict_json(text: bytes) -> None:
    with pytest.raises(ManifestError, match="file is not valid JSON"):
        parse_json(text, what="file")
