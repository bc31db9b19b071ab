"""Does the map of a grade's score look at the joint line? Against networks of the same weights in another order.

A map that only shows the picture's own edges, or the middle of the box, looks the same whatever the network has learnt
(Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018). So the share of a map's positive mass within a band around the
joint line is held against that of networks whose weights were shuffled, and against an even map.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import click
import cv2
import numpy as np

from benchmarks.graded.asking import QUESTION, open_graded
from benchmarks.graded.figures import SEED, measured
from benchmarks.graded.films import GradedFilm, read_validation
from benchmarks.graded.tables import short, table
from benchmarks.pages import chart_option, hand_on, json_option, page_option
from export.bundle_writer import list_files, write_files
from osteo_edge import OsteoPredictor
from osteo_edge.answered import Knee
from osteo_edge.bundle import Bundle
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.joints import Box, Joint
from osteo_edge.labels import Laterality
from osteo_edge.manifest import Manifest, Member, Metric
from train.data.dataset import DatasetError
from train.grading.judgement import resampled_weights
from train.grading.knees import GRADES
from train.runs.arrays import Booleans, Doubles, Floats

SCHEMA_VERSION: Literal[1] = 1
BAND = 0.15  # knee widths to each side of the joint line
GRID = 56
SHUFFLED = 3
RESAMPLES = 2000


@dataclass(frozen=True)
class Look:
    """Where a network looks in one knee.

    Attributes:
        grade: the likeliest, whose map it is.
        share: of the map's positive mass that lies in the band; 0 where nothing speaks for the grade.
        band: from where to where of the box's height it reaches.
        heat: (GRID, GRID), the positive mass as shares of the whole, right knees mirrored.
    """

    patient: str
    grade: int
    share: float
    band: tuple[float, float]
    heat: Floats = field(repr=False, compare=False)

    @property
    def even(self) -> float:
        """What an even map has in the band."""
        return min(self.band[1], 1.0) - max(self.band[0], 0.0)


@dataclass(frozen=True)
class Looks:
    """One group of knees; 95 % intervals by patient.

    Attributes:
        grade: the likeliest; -1 for all.
        trained, shuffled: share of the positive mass in the band; of the shuffled networks the mean.
        over_shuffled, over_even: trained less the others, paired.
    """

    grade: int
    knees: int
    trained: Metric
    shuffled: Metric
    even: float
    over_shuffled: Metric
    over_even: Metric

    @property
    def is_at_the_joint_line(self) -> bool:
        return self.over_shuffled.low > 0 and self.over_even.low > 0


@dataclass(frozen=True)
class Saliency:
    """``saliency.json``.

    Attributes:
        band: knee widths to each side of the joint line.
        networks: that were shuffled.
    """

    schema_version: Literal[1]
    bundle: str
    digest: str
    band: float
    networks: int
    rows: tuple[Looks, ...]


@click.command("saliency")
@click.option("--bundle", "name", required=True, help="Name or folder of a bundle that grades osteoarthritis.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Graded knees.")
@click.option("--most", type=click.IntRange(10), default=300, show_default=True, help="Knees, evenly drawn.")
@json_option
@page_option
@chart_option
def command(name: str, data: Path, most: int, target: Path | None, page: Path | None, chart: Path | None) -> None:
    """Share of a grade's map at the joint line, against shuffled networks."""
    try:
        bundle = open_graded(name)
        films = read_validation(data).films
        places = np.unique(np.linspace(0, len(films) - 1, min(most, len(films))).round().astype(int))
        trained, shuffled = look_all(bundle, [films[place] for place in places])
    except (OsteoEdgeError, DatasetError) as error:
        raise click.ClickException(str(error)) from error
    found = judge(bundle, trained, shuffled)
    hand_on(found, lines_of(found), "saliency", target=target, page=page)
    if chart:
        draw(trained, shuffled, chart)


def look_all(bundle: Bundle, films: Sequence[GradedFilm]) -> tuple[list[Look], list[list[Look]]]:
    """The looks of the bundle's network, and of each shuffled one, knee by knee; refused pictures are left out.

    Raises:
        ClickException: no picture is answered.
    """
    with tempfile.TemporaryDirectory(prefix="shuffled-") as folder:
        places = [shuffle(bundle, Path(folder) / str(seed), seed) for seed in range(SHUFFLED)]
        trained, *others = (look(place, films) for place in (bundle.root, *places))
    if not trained:
        raise click.ClickException("no picture is answered")
    return trained, others


def look(place: Path, films: Sequence[GradedFilm]) -> list[Look]:
    found = []
    with (
        OsteoPredictor(place, engine="onnxruntime", precision="fp32", threads=1) as predictor,
        click.progressbar(films, label=place.name, file=sys.stderr) as bar,
    ):
        for film in bar:
            answer = predictor.predict(film.path, explain=True).answer_to(QUESTION)
            if answer.knees:
                knee = answer.knees[answer.lead or 0]
                found.append(look_of(knee, film.patient, answer.asked.labels.index(answer.likeliest or "")))
    return found


def look_of(knee: Knee, patient: str, grade: int) -> Look:
    """What the knee's map tells."""
    assert knee.saliency is not None
    heat = np.maximum(knee.saliency, 0)
    whole = float(heat.sum())
    shares = heat / np.float32(whole) if whole > 0 else heat
    band = band_in(knee.box, knee.joint)
    shown = cv2.resize(shares, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    if knee.joint.laterality is Laterality.RIGHT:
        shown = shown[:, ::-1]
    return Look(patient, grade, float(shares.sum(axis=1) @ rows_in(band, len(heat))), band, shown)  # type: ignore[arg-type]


def band_in(box: Box, joint: Joint) -> tuple[float, float]:
    """From where to where of the box's height the band around the joint line reaches."""
    upper, lower = (joint.y_px + way * BAND * joint.width_px for way in (-1, 1))
    return (upper - box.y0) / box.height, (lower - box.y0) / box.height


def rows_in(band: tuple[float, float], rows: int) -> Doubles:
    """Share of each row of a map over the box that lies within the band, (rows,)."""
    edges = np.linspace(0, 1, rows + 1)
    overlap = np.minimum(edges[1:], band[1]) - np.maximum(edges[:-1], band[0])
    return np.clip(overlap, 0, None) * rows  # type: ignore[no-any-return]


def shuffle(bundle: Bundle, folder: Path, seed: int) -> Path:
    """A bundle of the same networks for ONNX Runtime, the values of each channel's kernel in another order.

    So the kernels keep their sums and sizes, and go with the biases as before: activations stay alive. What nobody asks for
    here, such as LiteRT's files, is left out.
    """
    manifest, rng = bundle.manifest, np.random.default_rng(seed)
    files = {manifest.finder: bundle.read(manifest.finder)}
    for member in manifest.members:
        path = member.files["onnxruntime"]["fp32"]
        files[path] = _shuffled_model(bundle.read(path), rng)
        files[member.head_weights] = _shuffled_head(bundle.read(member.head_weights), rng)
    write_files(_alone(manifest, files), files, folder)
    return folder


def _alone(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    def one_file(member: Member) -> Member:
        return replace(
            member,
            files={"onnxruntime": {"fp32": member.files["onnxruntime"]["fp32"]}},
            accepted={"onnxruntime": ("fp32",)},
            default_precision={"onnxruntime": "fp32"},
        )

    return replace(manifest, members=tuple(map(one_file, manifest.members)), files=list_files(files), choices=())


def _shuffled_model(data: bytes, rng: np.random.Generator) -> bytes:
    """Convolutions' kernels are (channels, ...), matrices (inputs, channels)."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(data)
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.float32 and values.ndim > 1:
            shuffled = _by_column(values, rng) if values.ndim == 2 else _by_channel(values, rng)
            constant.CopyFrom(numpy_helper.from_array(shuffled, constant.name))
    shuffled_file: bytes = model.SerializeToString()
    return shuffled_file


def _shuffled_head(data: bytes, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _by_column(np.load(io.BytesIO(data)), rng))
    return buffer.getvalue()


def _by_channel(values: Floats, rng: np.random.Generator) -> Floats:
    return rng.permuted(values.reshape(len(values), -1), axis=1).reshape(values.shape)


def _by_column(values: Floats, rng: np.random.Generator) -> Floats:
    return rng.permuted(values, axis=0)


def judge(bundle: Bundle, trained: Sequence[Look], shuffled: Sequence[Sequence[Look]]) -> Saliency:
    """All knees, and those of each likeliest grade of which there are some."""
    grades = np.array([one.grade for one in trained])
    groups = [(-1, np.ones(len(trained), bool)), *((grade, grades == grade) for grade in range(GRADES))]
    rows = [_looks(grade, chosen, trained, shuffled) for grade, chosen in groups if chosen.any()]
    return Saliency(SCHEMA_VERSION, bundle.manifest.name, bundle.digest, BAND, len(shuffled), tuple(rows))


def _looks(grade: int, chosen: Booleans, trained: Sequence[Look], shuffled: Sequence[Sequence[Look]]) -> Looks:
    mine = np.array([one.share for one in trained])[chosen]
    others = np.array([[one.share for one in looks] for looks in shuffled]).mean(axis=0)[chosen]
    even = np.array([one.even for one in trained])[chosen]
    patients = np.array([one.patient for one in trained])[chosen]
    weights = np.concatenate([np.ones((1, len(mine))), resampled_weights(patients, count=RESAMPLES, seed=SEED)])

    def mean(values: Doubles) -> Metric:
        return measured(weights @ values / weights.sum(axis=1))

    return Looks(
        grade, len(mine), mean(mine), mean(others), round(float(even.mean()), 6), mean(mine - others), mean(mine - even)
    )


def lines_of(found: Saliency) -> list[str]:
    """The part of the page."""
    return [
        f"{found.bundle}: share of what speaks for the likeliest grade that lies within {found.band:g} knee widths of the "
        f"joint line; shuffled: the mean of {found.networks} networks of the same weights in another order.",
        "",
        *table(["likeliest grade", "knees", "trained", "shuffled", "an even map", "over shuffled", "over even"], _cells(found)),
        "",
        _verdict(found),
    ]


def _cells(found: Saliency) -> list[dict[str, str]]:
    return [
        {
            "likeliest grade": "any" if row.grade < 0 else f"KL {row.grade}",
            "knees": str(row.knees),
            "trained": short(row.trained),
            "shuffled": short(row.shuffled),
            "an even map": f"{row.even:.2f}",
            "over shuffled": short(row.over_shuffled),
            "over even": short(row.over_even),
        }
        for row in found.rows
    ]


def _verdict(found: Saliency) -> str:
    if found.rows[0].is_at_the_joint_line:
        return "The maps look at the joint line: both intervals of all knees lie above zero."
    return "**The maps were not shown to look at the joint line**: an interval of all knees does not lie above zero."


def draw(trained: Sequence[Look], shuffled: Sequence[Sequence[Look]], path: Path) -> None:
    """Mean maps by the network's likeliest grade: above its own, below those of the shuffled ones; dashed: the band."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, GRADES, figsize=(9, 4.2), layout="constrained", squeeze=False)
    grades = np.array([one.grade for one in trained])
    own = np.stack([one.heat for one in trained])
    others = np.stack([[one.heat for one in looks] for looks in shuffled]).mean(axis=0)
    maps = [{grade: heats[grades == grade].mean(axis=0) for grade in set(grades.tolist())} for heats in (own, others)]
    most = max(float(heat.max()) for means in maps for heat in means.values())
    for line, means, name in zip(panels, maps, ("", ", shuffled"), strict=True):
        for grade, panel in enumerate(line):
            panel.set(xticks=[], yticks=[], title=f"KL {grade}{name}")
            if grade in means:
                panel.imshow(means[grade], cmap="magma", vmin=0, vmax=most)
                for edge in trained[0].band:  # boxes have one shape, so that the band of one knee serves for all
                    panel.axhline(edge * GRID - 0.5, color="white", linewidth=1, linestyle="--")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
