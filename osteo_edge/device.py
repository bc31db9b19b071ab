"""What this machine's processor is and can do, as far as the operating system tells."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

# Instructions that decide which kernels the engines take (x86: /proc/cpuinfo 'flags'; arm64: 'Features').
TELLING_FEATURES = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip
# The first processors tell all, and the kernel takes its time over the text of hundreds.
_CPUINFO_BYTES = 1 << 15


@dataclass(frozen=True)
class Processor:
    """Model name, architecture, and those features that matter to inference."""

    model: str
    architecture: str
    features: tuple[str, ...]


def processor() -> Processor:
    """The processor of this machine; the model is ``"unknown"`` where the system does not tell."""
    entries = _cpuinfo()
    found = set(f"{entries.get('flags', '')} {entries.get('Features', '')}".split())
    return Processor(_model_name(entries), platform.machine(), tuple(name for name in TELLING_FEATURES if name in found))


def _model_name(entries: dict[str, str]) -> str:
    if name := entries.get("model name") or entries.get("Model"):
        return name
    arm = [entries.get(f"CPU {key}") for key in ("implementer", "part")]
    return f"implementer {arm[0]}, part {arm[1]}" if all(arm) else "unknown"


def _cpuinfo() -> dict[str, str]:
    try:
        with Path("/proc/cpuinfo").open("rb") as file:
            text = file.read(_CPUINFO_BYTES).decode(errors="replace")
    except OSError:
        return {}
    whole = text if len(text) < _CPUINFO_BYTES else text.rpartition("\n")[0]
    pairs = (line.partition(":") for line in whole.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
