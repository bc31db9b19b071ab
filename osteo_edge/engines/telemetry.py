"""ONNX Runtime's telemetry, which official builds have on: they send events and keep a device identifier in the user's home."""

from __future__ import annotations

import os
import sys
import warnings

SWITCH = "ORT_DISABLE_TELEMETRY"
_OFF = ("1", "true")


class TelemetryWarning(UserWarning):
    """ONNX Runtime was imported by another, with its telemetry on."""


def switch_off() -> None:
    """Switch it off, before ONNX Runtime is imported; where that was done already, warn, and stop it from now on."""
    was_off = os.environ.get(SWITCH, "").lower() in _OFF
    os.environ[SWITCH] = "1"
    runtime = sys.modules.get("onnxruntime")
    if runtime is None or was_off:
        return
    runtime.disable_telemetry_events()
    warnings.warn(
        "ONNX Runtime was imported before osteo-edge, with its telemetry on: it keeps a device identifier in the user's home "
        f"and may have sent events; set {SWITCH}=1 before it is imported, or import osteo_edge.engines.onnx first",
        TelemetryWarning,
        stacklevel=2,
    )
