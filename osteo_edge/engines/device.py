"""What this machine's processor is and can do, as far as the operating system tells."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

# Instructions that decide which kernels the engines take (x86: /proc/cpuinfo 'flags'; arm64: 'Features').
_TELLING_FEATURES = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip


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
    model = entries.get("model name") or entries.get("Model") or platform.processor() or "unknown"
    return Processor(model, platform.machine(), tuple(name for name in _TELLING_FEATURES if name in found))


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
