"""``python -m tests.fuzzing``: damaged files of every format, each read as ``predict --untrusted`` reads it.

What must never happen is told with the number that makes it again: a decoder that broke down, hung or took more memory than it
may. Each of these is a refused picture, but one that the checks before the decoder should have known.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from osteo_edge.errors import InputError
from osteo_edge.images.decoder_limits import Limits
from osteo_edge.images.untrusted import DECODER_FAILED, DECODER_MEMORY, DECODER_TOO_SLOW, UntrustedReader
from tests.fuzzing.mutations import mutated
from tests.fuzzing.seeds import seeds

READ = "read"
NEVER = (DECODER_FAILED, DECODER_TOO_SLOW, DECODER_MEMORY)
LIMITS = Limits(seconds=10.0, working_bytes=512 << 20)
# Pictures of a format before the next has its turn.
TURN = 200


@dataclass
class Tally:
    """Of one format.

    Attributes:
        outcomes: code of the refusal, or ``read`` -> files.
        found: number of the file and message of what must never happen.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    found: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--only", type=click.Choice(list(seeds())), help="One format.")
@click.option("--number", type=click.IntRange(0), help="The one file of this number, of one format: its refusal is shown.")
def main(seconds: int, seed: int, only: str | None, number: int | None) -> None:
    """Read damaged files for some time."""
    files = {name: some for name, some in seeds().items() if only in (None, name)}
    reader = UntrustedReader(LIMITS)
    if number is not None:
        ((name, some),) = files.items()
        click.echo(_outcome(reader, mutated(some, seed=seed, name=name, number=number)))
        return
    before = _peak_mib("self")
    tallies = {name: Tally() for name in files}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, some in files.items():
            fuzz(reader, some, name, tallies[name], seed=seed, count=TURN)
    _tell(tallies, before, reader)
    reader.close()


def fuzz(reader: UntrustedReader, files: list[bytes], name: str, tally: Tally, *, seed: int, count: int) -> None:
    """The next so many damaged files of a format."""
    first = tally.outcomes.total()
    for number in range(first, first + count):
        data = mutated(files, seed=seed, name=name, number=number)
        start = time.monotonic()
        code, message = _outcome(reader, data)
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - start)
        tally.outcomes[code] += 1
        if code in NEVER:
            tally.found.append((number, message))


def _outcome(reader: UntrustedReader, data: bytes) -> tuple[str, str]:
    try:
        reader.read(data)
    except InputError as error:
        return error.code, str(error)
    return READ, ""


def _tell(tallies: dict[str, Tally], before_mib: int, reader: UntrustedReader) -> None:
    for name, tally in tallies.items():
        never = sum(tally.outcomes[code] for code in NEVER)
        refused = tally.outcomes.total() - tally.outcomes[READ]
        click.echo(
            f"{name:<6} {tally.outcomes.total():>9} files  {tally.outcomes[READ]:>8} read  {refused:>9} refused  "
            f"{never:>5} by their decoder  slowest {tally.slowest_s:.2f} s"
        )
        click.echo("       " + ", ".join(f"{code} {count}" for code, count in tally.outcomes.most_common()))
        for number, message in tally.found[:10]:
            click.echo(f"       --only {name} --number {number}: {message}")
    children = ", ".join(f"{_peak_mib(str(number))} MiB" for number in reader.processes)
    click.echo(f"peak of this process {before_mib} MiB before, {_peak_mib('self')} MiB after; of the decoding one {children}")


def _peak_mib(process: str) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) >> 10


if __name__ == "__main__":
    main(prog_name="python -m tests.fuzzing")
