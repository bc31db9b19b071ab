"""What an interpreter has installed, and how large it is with all that it needs; standard library alone, for any interpreter.

``python -m benchmarks.installed NAME...`` prints distribution -> ``{"version", "mb": {distribution: MB}}``, null where it is
not installed. Sizes are of the files that the distributions' own records list, compiled bytecode left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main() -> None:
    sys.stdout.write(json.dumps({name: look_up(name) for name in sys.argv[1:]}) + "\n")


def look_up(name: str) -> dict[str, Any] | None:
    """Version and sizes (MB of 10^6 bytes) of a distribution and all that it needs; None where it is not installed."""
    try:
        return {"version": distribution(name).version, "mb": sizes_mb(name)}
    except PackageNotFoundError:
        return None


def sizes_mb(name: str) -> dict[str, float]:
    """Normalised name -> MB, of the distribution and of everything that it needs and that is installed.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    found: dict[str, float] = {}
    waiting = [distribution(name)]
    while waiting:
        one = waiting.pop()
        if (key := normalised(one.name)) not in found:
            found[key] = _bytes_of(one) / 1e6
            waiting += _needed_by(one)
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed_by(one: Distribution) -> Iterator[Distribution]:
    """Requirements of extras are left out; those of other systems are not installed."""
    for requirement in one.requires or ():
        needed, _, marker = requirement.partition(";")
        match = _NAME.match(needed.strip())
        if match and "extra" not in marker:
            try:
                yield distribution(match[0])
            except PackageNotFoundError:
                continue


def _bytes_of(one: Distribution) -> int:
    if _is_editable(one) and (spec := find_spec(one.name.replace("-", "_"))) and spec.origin:
        files = [path for path in Path(spec.origin).parent.rglob("*") if path.is_file()]
    else:
        files = [Path(str(path.locate())) for path in one.files or ()]
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc" and path.is_file())


def _is_editable(one: Distribution) -> bool:
    """Whether its files lie in a folder of source code that its record does not list."""
    told = json.loads(one.read_text("direct_url.json") or "{}")
    return bool(told.get("dir_info", {}).get("editable"))


if __name__ == "__main__":
    main()
