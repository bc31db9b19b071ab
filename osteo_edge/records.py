"""Frozen records, and strict JSON made into them: what is missing, unknown or of a wrong type is named."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from osteo_edge.errors import ManifestError

Record = TypeVar("Record")
Value = TypeVar("Value")

# Products of a few such numbers stay finite.
MAX_NUMBER = 1e30
# As far as every reader of JSON keeps them apart.
MAX_INTEGER = 2**53


class FrozenMapping(Mapping[str, Value]):
    """A mapping inside a frozen record: a copy that nobody can change.

    It equals any mapping of the same items, and is hashed, copied and pickled.

    ``types.MappingProxyType`` can be neither hashed, copied deeply nor pickled, and neither could a record that holds one.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Value] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMapping, (self._items,)


def parse_json(data: bytes, *, what: str) -> Any:
    """Decode UTF-8 JSON without duplicate keys, NaN or infinity.

    Raises:
        ManifestError: names ``what`` and the first fault.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{what} is not valid JSON: {error}") from error


def parse_record(cls: type[Record], data: Any, *, where: str) -> Record:
    """Build the frozen dataclass ``cls`` from decoded JSON.

    Raises:
        ManifestError: names the field, for example ``manifest.json: members[0].input.height_px``.
    """
    if not isinstance(data, dict):
        raise ManifestError(f"{where} must be an object, not {_kind(data)}")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ManifestError(f"{where}: unknown key {str(key)[:60]!r}; this version of osteo-edge does not know it")
    hints = _hints(cls)  # type: ignore[arg-type]
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _parse_value(hints[name], data[name], f"{where}.{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ManifestError(f"{where}: the field {name!r} is missing")
    return cls(**values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Resolved once a class: a manifest holds dozens of records of few classes."""
    return get_type_hints(cls)


def to_plain(value: Any) -> Any:
    """The inverse of ``parse_record``: records, mappings and tuples as JSON's own types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def _parse_value(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        if value is None and type(None) in options:
            return None
        return _parse_value(next(option for option in options if option is not type(None)), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise ManifestError(f"{where} must be one of {', '.join(map(str, get_args(hint)))}, not {_shown(value)}")
        return value
    if origin is tuple:
        return _parse_tuple(get_args(hint), value, where)
    if origin is Mapping:
        return _parse_mapping(get_args(hint)[1], value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return parse_record(hint, value, where=where)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(_parse_value(Literal[*hint], value, where))
    return _parse_scalar(hint, value, where)


def _parse_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ManifestError(f"{where} must be a list, not {_kind(value)}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_parse_value(items[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(items) != len(value):
        raise ManifestError(f"{where} must have {len(items)} values, not {len(value)}")
    return tuple(_parse_value(hint, item, f"{where}[{n}]") for n, (hint, item) in enumerate(zip(items, value, strict=True)))


def _parse_mapping(hint: Any, value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{where} must be an object, not {_kind(value)}")
    return FrozenMapping({key: _parse_value(hint, item, f"{where}.{key}") for key, item in value.items()})


def _parse_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not -MAX_NUMBER <= value <= MAX_NUMBER:  # NaN too
            raise ManifestError(f"{where} must be a finite number, at most {MAX_NUMBER:g} in size")
        return float(value)
    if type(value) is not hint:
        raise ManifestError(f"{where} must be {hint.__name__}, not {_kind(value)}")
    if hint is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ManifestError(f"{where} must be at most 2**53 in size")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    return _kind(value) if isinstance(value, (dict, list)) else repr(value)[:60]
