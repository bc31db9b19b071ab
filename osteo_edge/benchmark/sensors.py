"""What the device tells of its frequency, temperature and energy, as far as the operating system lets it be read.

All come from files below ``/sys``. What is missing or forbidden is told with its reason and never an error.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from osteo_edge.benchmark.records import Channel, Energy, Health, State, Throttled

SYS = Path("/sys")
# Under load a processor may rest a little lower than it began, in particular after a short boost.
FREQUENCY_KEPT = 0.9
# Chips that measure a supply, by the start of their driver's name: INA2xx and INA3221 of boards, ACPI power meters.
_SUPPLY_CHIPS = ("ina", "power_meter")
# Bits of a Raspberry Pi's get_throttled that tell of this moment: under-voltage, capped, throttled, soft limit.
_FIRMWARE_NOW = 0b1111
_UNIT = 1e-6  # RAPL and hwmon count microjoules and microwatts


def read_state(seconds: float, root: Path = SYS) -> State:
    """The device now, ``seconds`` after the row began."""
    frequencies = [number for path in _cpus(root, "cpufreq/scaling_cur_freq") if (number := _number(path)) is not None]
    return State(
        seconds=round(seconds, 2),
        governor=_text(root / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        megahertz=max(frequencies) / 1000 if frequencies else None,
        celsius=dict(_temperatures(root)),
        throttle_events=_throttle_events(root),
        firmware_flags=_firmware_flags(root),
    )


def judge(before: State, under_load: Sequence[State], after: State) -> Health:
    """Whether the processor was slowed down: its own counters rose, or its frequency fell while queries ran."""
    messages = []
    counts = (before.throttle_events, after.throttle_events)
    frequencies = [state.megahertz for state in under_load if state.megahertz is not None]
    if counts[0] is not None and counts[1] is not None and counts[1] > counts[0]:
        messages.append(f"the processor counted {counts[1] - counts[0]} throttling events")
    if (flags := _new_flags(before, after)) is not None:
        messages.append(f"the firmware reports under-voltage or throttling (get_throttled 0x{flags:x})")
    if len(frequencies) >= 2:
        quarter = max(1, len(frequencies) // 4)
        first, last = median(frequencies[:quarter]), median(frequencies[-quarter:])
        if last < FREQUENCY_KEPT * first:
            messages.append(f"the frequency fell under load from {first:.0f} to {last:.0f} MHz")
    if messages:
        return Health(before, tuple(under_load), after, "yes", tuple(messages))
    is_told = counts[1] is not None or after.firmware_flags is not None or len(frequencies) >= 2
    verdict: Throttled = "no" if is_told else "unknown"
    return Health(before, tuple(under_load), after, verdict, tuple(_unreadable(after)))


def _unreadable(state: State) -> Iterator[str]:
    if state.megahertz is None:
        yield "frequency not readable (no cpufreq on this device, as in most virtual machines)"
    if not state.celsius:
        yield "temperature not readable (no thermal zone on this device)"
    if state.throttle_events is None and state.firmware_flags is None:
        yield "no throttling counter"


def _new_flags(before: State, after: State) -> int | None:
    """The firmware's flags where it slows the processor now, or did since ``before``."""
    was, now = before.firmware_flags, after.firmware_flags
    if was is None or now is None:
        return None
    return now if now & _FIRMWARE_NOW or now & ~was else None


def _firmware_flags(root: Path) -> int | None:
    for path in (root / "devices/platform").glob("soc*/soc*:firmware/get_throttled"):
        try:
            return int(_text(path) or "", 16)
        except ValueError:
            return None
    return None


def _throttle_events(root: Path) -> int | None:
    counts = [
        number
        for name in ("core_throttle_count", "package_throttle_count")
        for path in _cpus(root, f"thermal_throttle/{name}")
        if (number := _number(path)) is not None
    ]
    return round(sum(counts)) if counts else None


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted((root / "class/thermal").glob("thermal_zone*")):
        if (millidegrees := _number(zone / "temp")) is not None:
            yield f"{_text(zone / 'type') or 'zone'} ({zone.name})", millidegrees / 1000
    for chip in sorted((root / "class/hwmon").glob("hwmon*")):
        if _text(chip / "name") in ("coretemp", "k10temp", "zenpower"):
            for path in sorted(chip.glob("temp*_input")):
                if (millidegrees := _number(path)) is not None:
                    label = _text(path.with_name(path.name.replace("_input", "_label"))) or path.name.removesuffix("_input")
                    yield f"{label} ({chip.name})", millidegrees / 1000


@dataclass
class _Source:
    """One sensor and what it has counted since ``start``.

    Attributes:
        wraps_at: a counter of energy starts again at zero there; None for a sensor of power.
    """

    name: str
    read: Callable[[], float | None]
    is_counter: bool
    wraps_at: float | None = None
    joules: float = 0.0
    last: float | None = None

    def tick(self, elapsed: float) -> None:
        now = self.read()
        if now is not None and self.last is not None:
            if not self.is_counter:
                self.joules += (now + self.last) / 2 * elapsed
            elif now >= self.last:
                self.joules += now - self.last
            elif self.wraps_at is not None:
                self.joules += now - self.last + self.wraps_at
        self.last = now


class EnergyMeter:
    """Adds up the energy of every readable sensor between ``start`` and the last ``tick``, over any number of such spans.

    A tick a second or more often sees every turn of RAPL's counters, which takes minutes, and follows a sensor of power.
    """

    def __init__(self, root: Path = SYS) -> None:
        self._sources, self._unreadable = _energy_sources(root)
        self._last = 0.0

    def start(self, now: float) -> None:
        """Begin a span at ``now``, in seconds of any clock."""
        for source in self._sources:
            source.last = None
        self.tick(now)

    def tick(self, now: float) -> None:
        for source in self._sources:
            source.tick(now - self._last)
        self._last = now

    def energy(self, queries: int) -> Energy:
        """What was counted over ``queries`` queries."""
        channels = [Channel(one.name, one.joules, one.joules / queries) for one in self._sources if queries]
        return Energy(tuple(channels), self._unreadable)


def _energy_sources(root: Path) -> tuple[list[_Source], Mapping[str, str]]:
    sources: list[_Source] = []
    unreadable: dict[str, str] = {}
    zones = [zone for zone in sorted((root / "class/powercap").glob("*-rapl:*")) if zone.name.count(":") == 1]
    for zone in zones:
        path = zone / "energy_uj"
        if (reason := _why_unreadable(path)) is not None:
            unreadable[f"RAPL {zone.name}"] = reason
        else:
            turn = _number(zone / "max_energy_range_uj")
            name = f"RAPL {_text(zone / 'name') or zone.name}"
            sources.append(_Source(name, _scaled(path), True, turn * _UNIT if turn is not None else None))
    if not zones:
        unreadable["RAPL"] = f"{root / 'class/powercap'} holds no zone (no such processor, or a virtual machine)"
    supplies = list(_supply_sensors(root))
    for name, path in supplies:
        if (reason := _why_unreadable(path)) is not None:
            unreadable[name] = reason
        else:
            sources.append(_Source(name, _scaled(path), path.name.startswith("energy")))
    if not supplies:
        unreadable["board"] = f"{root / 'class/hwmon'} holds no sensor of power (INA2xx, INA3221 or ACPI power meter)"
    return sources, unreadable


def _supply_sensors(root: Path) -> Iterator[tuple[str, Path]]:
    for chip in sorted((root / "class/hwmon").glob("hwmon*")):
        name = _text(chip / "name") or ""
        if name.startswith(_SUPPLY_CHIPS):
            for path in sorted((*chip.glob("power*_input"), *chip.glob("power*_average"), *chip.glob("energy*_input"))):
                yield f"{name} {path.name.rpartition('_')[0]} ({chip.name})", path


def _scaled(path: Path) -> Callable[[], float | None]:
    def read() -> float | None:
        number = _number(path)
        return None if number is None else number * _UNIT

    return read


def _why_unreadable(path: Path) -> str | None:
    try:
        float(path.read_text())
    except PermissionError:
        return f"no permission to read {path}; on most systems only root has it"
    except OSError as error:
        return f"{path}: {error.strerror or errno.errorcode.get(error.errno or 0, 'cannot be read')}"
    except ValueError:
        return f"{path} holds no number"
    return None


def _cpus(root: Path, name: str) -> Iterator[Path]:
    return (root / "devices/system/cpu").glob(f"cpu[0-9]*/{name}")


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
