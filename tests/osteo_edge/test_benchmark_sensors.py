"""Sensors, on made-up ``/sys`` folders of devices that are not at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from osteo_edge.benchmark.records import State
from osteo_edge.benchmark.sensors import EnergyMeter, judge, read_state

CPU = "devices/system/cpu"
FIRMWARE = "devices/platform/soc/soc:firmware/get_throttled"


def write(root: Path, name: str, value: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")
    return path


def state(megahertz: float | None = None, events: int | None = None, flags: int | None = None) -> State:
    return State(0.0, None, megahertz, {}, events, flags)


def test_everything_of_a_laptop_is_read(tmp_path: Path) -> None:
    for number, kilohertz in enumerate((800_000, 3_400_000)):
        write(tmp_path, f"{CPU}/cpu{number}/cpufreq/scaling_cur_freq", kilohertz)
        write(tmp_path, f"{CPU}/cpu{number}/thermal_throttle/core_throttle_count", number)
        write(tmp_path, f"{CPU}/cpu{number}/thermal_throttle/package_throttle_count", 2)
    write(tmp_path, f"{CPU}/cpu0/cpufreq/scaling_governor", "powersave")
    write(tmp_path, "class/thermal/thermal_zone0/type", "x86_pkg_temp")
    write(tmp_path, "class/thermal/thermal_zone0/temp", 61_500)
    write(tmp_path, "class/hwmon/hwmon1/name", "k10temp")
    write(tmp_path, "class/hwmon/hwmon1/temp1_input", 55_000)
    write(tmp_path, "class/hwmon/hwmon1/temp1_label", "Tctl")
    write(tmp_path, "class/hwmon/hwmon2/name", "nvme")
    write(tmp_path, "class/hwmon/hwmon2/temp1_input", 40_000)
    found = read_state(1.5, tmp_path)
    assert found == State(1.5, "powersave", 3400.0, {"x86_pkg_temp (thermal_zone0)": 61.5, "Tctl (hwmon1)": 55.0}, 5, None)


def test_nothing_readable_is_unknown_with_reasons(tmp_path: Path) -> None:
    write(tmp_path, f"{CPU}/cpu0/cpufreq/scaling_cur_freq", "<unknown>")
    found = read_state(0.0, tmp_path)
    assert found == State(0.0, None, None, {}, None, None)
    health = judge(found, [found], found)
    assert health.throttled == "unknown"
    assert [message.split(" not ")[0] for message in health.messages] == ["frequency", "temperature", "no throttling counter"]


@pytest.mark.parametrize(
    ("before", "under_load", "after", "throttled", "message"),
    [
        (state(800, 3), [state(3000, 3), state(2950, 3)], state(900, 3), "no", None),
        (state(800, 3), [state(3000), state(2950)], state(900, 7), "yes", "4 throttling events"),
        (state(800), [state(3000), state(2600)], state(800), "yes", "from 3000 to 2600 MHz"),
        (state(800), [state(1500), state(3000)], state(800), "no", None),
        (state(800), [state(3000)] * 11 + [state(800)], state(800), "no", None),  # one odd reading
        (state(flags=0), [], state(flags=0), "no", None),
        (state(flags=0), [], state(flags=0x50000), "yes", "0x50000"),
        (state(flags=0x50000), [], state(flags=0x50000), "no", None),
        (state(flags=0x50005), [], state(flags=0x50005), "yes", "under-voltage"),
        (state(), [state(3000)], state(), "unknown", None),
    ],
)
def test_slowing_down_is_flagged(
    before: State, under_load: list[State], after: State, throttled: str, message: str | None
) -> None:
    health = judge(before, under_load, after)
    assert health.throttled == throttled
    assert message is None or any(message in one for one in health.messages)


def test_the_flags_of_a_raspberry_pi_are_read(tmp_path: Path) -> None:
    write(tmp_path, FIRMWARE, "50005")
    assert read_state(0.0, tmp_path).firmware_flags == 0x50005
    write(tmp_path, FIRMWARE, "none")
    assert read_state(0.0, tmp_path).firmware_flags is None


def test_rapl_is_counted_over_spans_and_over_a_turn_of_its_counter(tmp_path: Path) -> None:
    write(tmp_path, "class/powercap/intel-rapl:0/name", "package-0")
    write(tmp_path, "class/powercap/intel-rapl:0/max_energy_range_uj", 10_000_000)
    write(tmp_path, "class/powercap/intel-rapl:0:0/energy_uj", 1)  # a part of the package
    counter = write(tmp_path, "class/powercap/intel-rapl:0/energy_uj", 9_000_000)
    meter = EnergyMeter(tmp_path)
    meter.start(0.0)
    counter.write_text("500000")
    meter.tick(1.0)
    counter.write_text("5000000")  # between two spans: not ours
    meter.start(5.0)
    counter.write_text("5500000")
    meter.tick(6.0)
    (channel,) = meter.energy(queries=4).channels
    assert channel.name == "RAPL package-0"
    assert channel.joules == pytest.approx(2.0)
    assert channel.joules_per_query == pytest.approx(0.5)
    assert "board" in meter.energy(1).unreadable
    assert meter.energy(queries=0).channels == ()


def test_a_board_s_sensor_of_power_is_added_up_over_time(tmp_path: Path) -> None:
    write(tmp_path, "class/hwmon/hwmon3/name", "ina226")
    power = write(tmp_path, "class/hwmon/hwmon3/power1_input", 2_000_000)
    write(tmp_path, "class/hwmon/hwmon4/name", "amdgpu")
    write(tmp_path, "class/hwmon/hwmon4/power1_average", 9_000_000)
    meter = EnergyMeter(tmp_path)
    meter.start(10.0)
    power.write_text("4000000")
    meter.tick(12.0)
    (channel,) = meter.energy(queries=3).channels
    assert channel.name == "ina226 power1 (hwmon3)"
    assert channel.joules == pytest.approx(6.0)


def test_a_forbidden_counter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "class/powercap/intel-rapl:0/energy_uj", 1)
    path.chmod(0)
    if os.access(path, os.R_OK):  # as root
        original = Path.read_text

        def refuse(self: Path, *arguments: object, **options: object) -> str:
            if self == path:
                raise PermissionError(13, "Permission denied")
            return original(self, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Path, "read_text", refuse)
    energy = EnergyMeter(tmp_path).energy(1)
    assert energy.channels == ()
    assert "no permission" in energy.unreadable["RAPL intel-rapl:0"]
    assert "root" in energy.unreadable["RAPL intel-rapl:0"]
