"""What decoding in a process of its own costs: the same files read with and without it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from osteo_edge.images import reader
from osteo_edge.images.untrusted import UntrustedReader


@dataclass(frozen=True)
class Cost:
    """Milliseconds of the processor's time for one file: of whatever else the machine does it knows nothing."""

    name: str
    here_ms: float
    elsewhere_ms: float


@click.command("untrusted")
@click.option("--side", type=click.IntRange(64, 6000), default=3000, show_default=True, help="Of the square pictures, in px.")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
def command(side: int, rounds: int) -> None:
    """What decoding in a process of its own costs (Linux)."""
    elsewhere = UntrustedReader()
    for name, data in files_of(side).items():
        cost = measure(name, data, elsewhere, rounds)
        added = cost.elsewhere_ms - cost.here_ms
        click.echo(f"{name:<14} here {cost.here_ms:7.1f} ms   elsewhere {cost.elsewhere_ms:7.1f} ms   {added:+6.1f} ms")
    elsewhere.close()


def files_of(side: int) -> dict[str, bytes]:
    """A drawn picture of soft shapes and noise, of 16 and of 8 bit."""
    noise = np.random.default_rng(0).normal(0, 200, (side, side)).astype(np.float32)
    wide = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 3e5, (side, side)).astype(np.float32), (0, 0), side / 40)
    greys = np.clip(30_000 + wide + noise, 0, 65535).astype(np.uint16)
    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return {
        "PNG, 16 bit": cv2.imencode(".png", greys, quick)[1].tobytes(),
        "PNG, 8 bit": cv2.imencode(".png", (greys >> 8).astype(np.uint8), quick)[1].tobytes(),
        "JPEG": cv2.imencode(".jpg", (greys >> 8).astype(np.uint8))[1].tobytes(),
    }


def measure(name: str, data: bytes, elsewhere: UntrustedReader, rounds: int) -> Cost:
    """Of this process, and of that together with this."""
    for read in (reader.read, elsewhere.read):
        read(data)
    (other,) = elsewhere.processes
    times: list[float] = []
    for read in (reader.read, elsewhere.read):
        start = time.process_time() + _seconds_of(other)
        for _ in range(rounds):
            read(data)
        times.append((time.process_time() + _seconds_of(other) - start) / rounds * 1000)
    return Cost(name, *times)


def _seconds_of(process: int) -> float:
    """Of the processor's time, for itself and in the kernel (proc(5), stat)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
