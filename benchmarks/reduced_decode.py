"""Large JPEGs decoded at half scale: what it would save, and which answers it would change.

libjpeg can leave out the finest frequencies while it decodes. The knees of a large radiograph are shrunk anyway before a
network sees them, so that one might hope for the same answers in less time. This measures both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.growth import pictures_of
from osteo_edge import OsteoPredictor
from osteo_edge.bundle import DEFAULT_BUNDLE
from osteo_edge.device import processor
from osteo_edge.images.formats import read_header
from osteo_edge.integrity import sha256_hex
from osteo_edge.records import to_plain
from train.runs.arrays import Bytes, Doubles

REPEATS = 5
# As an int8 file may change the label of a knee that is nearly a tie.
CLEAR_MARGIN = 0.02


@dataclass(frozen=True)
class Compared:
    """One picture, whole and at half scale.

    Attributes:
        digest: SHA-256 of the file.
        whole_ms, half_ms: to decode; medians of repeats in turn.
        difference: largest of a probability; None where the number of knees differs or there is none.
        margin: of the whole picture's likeliest class over the next.
        same_label: both have the same likeliest class, or both have no knee.
    """

    digest: str
    megapixels: float
    whole_ms: float
    half_ms: float
    difference: float | None
    margin: float | None
    same_label: bool


@click.command("reduced-decode")
@click.option("--bundle", default=DEFAULT_BUNDLE, show_default=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of JPEGs.")
@click.option("--megapixels", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True, help="Smallest to read.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write the samples.")
def command(bundle: str, data: Path, megapixels: float, target: Path | None) -> None:
    """Time and answers of large JPEGs decoded at half scale."""
    chosen = [path for path in pictures_of(data) if _is_large_jpeg(path, megapixels)]
    if not chosen:
        raise click.ClickException(f"{data} holds no JPEG of {megapixels:g} megapixels or more")
    cv2.setNumThreads(1)
    with (
        OsteoPredictor(bundle, engine="onnxruntime", precision="fp32", threads=1) as predictor,
        click.progressbar(chosen, label="pictures", file=sys.stderr) as bar,
    ):
        rows = [compare(predictor, Path(path).read_bytes()) for path in bar]
    click.echo(table(rows))
    if target:
        report = {"processor": to_plain(processor()), "bundle": bundle, "pictures": [asdict(row) for row in rows]}
        target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def compare(predictor: OsteoPredictor, data: bytes) -> Compared:
    """Decode a JPEG both ways and answer for each."""
    times: tuple[list[float], list[float]] = ([], [])
    flags = (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_REDUCED_GRAYSCALE_2)
    for _ in range(REPEATS):
        pixels = [_decoded(data, flag, taken) for flag, taken in zip(flags, times, strict=True)]
    whole, half = (predictor.predict(one) for one in pixels)
    probabilities = [np.array(list(one.image_probabilities.values())) for one in (whole, half)]
    comparable = len(whole.knees) == len(half.knees) > 0
    return Compared(
        digest=sha256_hex(data),
        megapixels=round(pixels[0].size / 1e6, 2),
        whole_ms=round(statistics.median(times[0]) * 1000, 2),
        half_ms=round(statistics.median(times[1]) * 1000, 2),
        difference=float(np.abs(probabilities[0] - probabilities[1]).max()) if comparable else None,
        margin=_margin(probabilities[0]) if whole.knees else None,
        same_label=whole.likeliest == half.likeliest,
    )


def table(rows: Sequence[Compared]) -> str:
    """What was found, in words."""
    ratio = statistics.median(row.half_ms / row.whole_ms for row in rows)
    changed = [row for row in rows if not row.same_label]
    clear = [row for row in changed if row.margin is None or row.margin > CLEAR_MARGIN]
    sizes = [row.megapixels for row in rows]
    whole = statistics.median(row.whole_ms for row in rows)
    lines = [
        f"{len(rows)} JPEGs of {min(sizes):.1f} to {max(sizes):.1f} megapixels",
        f"decoding takes {whole:.1f} ms in the median; at half scale {ratio:.2f} of that",
        f"likeliest class changed for {len(changed)}, {len(clear)} of them with a margin over {CLEAR_MARGIN}",
    ]
    differences = [row.difference for row in rows if row.difference is not None]
    if differences:
        mean = statistics.fmean(differences)
        lines.append(f"largest difference of a probability: {max(differences):.3f}; in the mean of the pictures {mean:.3f}")
    return "\n".join(lines)


def _is_large_jpeg(path: str, megapixels: float) -> bool:
    if not path.lower().endswith((".jpg", ".jpeg")):
        return False
    header = read_header(Path(path).read_bytes())
    return header.format == "JPEG" and header.pixels >= megapixels * 1e6


def _decoded(data: bytes, flag: int, taken: list[float]) -> Bytes:
    start = time.perf_counter()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    taken.append(time.perf_counter() - start)
    return np.asarray(pixels, np.uint8)


def _margin(probabilities: Doubles) -> float:
    below, highest = np.sort(probabilities)[-2:]
    return float(highest - below)
