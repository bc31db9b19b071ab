"""``osteo-edge doctor``: is everything here, whole, and right on this machine?"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import click

from osteo_edge import __version__
from osteo_edge.bundle import shipped_bundles
from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Command
from osteo_edge.cli.options import asked_names, asked_options
from osteo_edge.cli.terminal import tell_text
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.printable import printable

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle

PACKAGES = (
    *("numpy", "opencv-python-headless", "simplejpeg", "onnxruntime", "ai-edge-litert", "tflite-runtime", "click"),
    *("pydicom", "imagecodecs", "typst"),
)


@click.command("doctor", cls=Command, epilog="\b\nExample: osteo-edge doctor")
@asked_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(bundles: tuple[str, ...], questions: tuple[str, ...], as_json: bool) -> int:
    """Check versions, processor, engines and bundles, by default all embedded ones, and run their self-tests on this device."""
    report = _machine()
    examined = [_examine(name, report["threads"]) for name in asked_names(bundles or shipped_bundles(), questions)]
    report["bundles"] = [found for found, _ in examined]
    tell_text(json.dumps(report, indent=2) if as_json else _to_text(report))
    return next((code for _, code in examined if code != exit_codes.ANSWERED), exit_codes.ANSWERED)


def _machine() -> dict[str, Any]:
    from osteo_edge.device import processor
    from osteo_edge.engines.select import available_threads, is_installed
    from osteo_edge.manifest import ENGINE_NAMES
    from osteo_edge.records import to_plain

    return {
        "osteo_edge": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version_of(name) for name in PACKAGES},
        "processor": to_plain(processor()),
        "threads": available_threads(),
        "engines": {name: is_installed(name) for name in ENGINE_NAMES},
    }


def _examine(name: str, threads: int) -> tuple[dict[str, Any], int]:
    """Everything about the bundle that can still be told after a fault, and the exit code."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.engines.select import require_room_for
    from osteo_edge.records import to_plain

    require_room_for()
    from osteo_edge.selftest import run_self_test

    found: dict[str, Any] = {"name": name}
    try:
        bundle = open_bundle(name)
        found |= {"version": bundle.manifest.version, "digest": bundle.digest, "question": bundle.manifest.question.name}
        found["is_signed"] = bundle.signature is not None
        found["files_verified"] = sum(1 for _ in bundle.verify())
        found |= _automatic(bundle, threads)
        results = run_self_test(bundle)
    except OsteoEdgeError as error:
        return found | {"fault": str(error)}, exit_codes.of_error(error)
    found["self_test"] = [to_plain(result) for result in results]
    if not any(result.status == "passed" for result in results):
        return found | {"fault": "no file of the bundle passed its self-test on this device"}, exit_codes.BUNDLE
    if any(result.status == "failed" for result in results):
        return found | {"fault": "a file of the bundle failed its self-test on this device"}, exit_codes.BUNDLE
    return found, exit_codes.ANSWERED


def _automatic(bundle: Bundle, threads: int) -> dict[str, Any]:
    """What ``auto`` means here, and what became of a stored measurement."""
    from osteo_edge.engines.select import choose
    from osteo_edge.engines.stored import find_tuning

    found = find_tuning(bundle, threads=threads)
    choices = choose(bundle.manifest, tuned=found.pair)
    automatic = {"engine": choices[0].engine, "precisions": [choice.precision for choice in choices]}
    tuned = {"engine": found.tuning.engine, "precision": found.tuning.precision} if found.tuning else None
    return {"auto": automatic, "tuned": tuned, "tuning_ignored_because": found.ignored_because}


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _to_text(report: dict[str, Any]) -> str:
    processor = report["processor"]
    lines = [
        f"osteo-edge  {report['osteo_edge']} on Python {report['python']}, {report['system']}",
        f"processor   {processor['model']} ({processor['architecture']}), {report['threads']} threads",
        f"features    {' '.join(processor['features']) or 'unknown'}",
        *(f"package     {name} {found or 'not installed'}" for name, found in report["packages"].items()),
        *(f"engine      {name}: {'available' if found else 'not installed'}" for name, found in report["engines"].items()),
    ]
    for bundle in report["bundles"]:
        lines += _bundle_lines(bundle)
    if not any("fault" in bundle for bundle in report["bundles"]):
        lines.append("all is well")
    return "\n".join(map(printable, lines))


def _bundle_lines(bundle: dict[str, Any]) -> Iterator[str]:
    yield f"bundle      {bundle['name']} {bundle.get('version', '')} {bundle.get('digest', '')[:12]}"
    if "question" in bundle:
        yield f"question    {bundle['question']}"
    if "files_verified" in bundle:
        yield f"files       {bundle['files_verified']} verified"
    if "auto" in bundle:
        yield f"auto        {bundle['auto']['engine']} {' '.join(dict.fromkeys(bundle['auto']['precisions']))}"
        yield from _tuning_lines(bundle)
    for result in bundle.get("self_test", ()):
        yield f"self-test   {result['status']:<7} {result['engine']} {result['precision']}: {result['message']}"
    if "fault" in bundle:
        yield f"FAULT       {bundle['fault']}"


def _tuning_lines(bundle: dict[str, Any]) -> list[str]:
    if bundle["tuned"]:
        return [f"tuned       {bundle['tuned']['engine']} {bundle['tuned']['precision']}"]
    if bundle["tuning_ignored_because"]:
        return [f"tuned       stored choice ignored: {bundle['tuning_ignored_because']} (osteo-edge tune)"]
    return ["tuned       no (osteo-edge tune measures what is fastest here)"]
