"""The same radiographs through what a user would pick instead of osteo-edge, in interleaved rounds.

The peers are Keras as the papers use it, the same network with depthwise convolutions, TensorFlow as a graph, PyTorch, and
plain scripts on ONNX Runtime, LiteRT and OpenVINO. Every one does the same job: a picture file in, probabilities out. The
peers are given the boxes of the knees, which osteo-edge finds itself; that favours them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from benchmarks.contest import Conversation
from benchmarks.entrants import Entrant, Field, gather
from benchmarks.growth import pictures_of
from benchmarks.places import NATIVE, environments
from osteo_edge.device import processor
from osteo_edge.records import parse_json, parse_record, to_plain

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle
    from osteo_edge.joints import Joint

SCHEMA_VERSION: Literal[1] = 1
EXAMPLE = Path("examples/synthetic-knee.png")
RUNS = ("train/results/knee-convnext_tiny", "train/results/knee-mobilenet_v2")
RESAMPLES = 2000
MOST_OF_A_KIND = 24
EXAMINED = 120
SAME_ANSWER = 1e-4

IMAGE = "image"
ONE_KNEE = "one knee"
TWO_KNEES = "two knees"
FOLDER = "folder"
COLD = "cold start"
_ANSWERED = (0, 4)  # of the program: reported, referred or rejected


@dataclass(frozen=True)
class Ratio:
    """How many times as long as osteo-edge: the median over the rounds, and a 95 % interval by resampling rounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One entrant and task.

    Attributes:
        task: a picture of a kind, a folder, or a whole process with the image.
        threads: None for the engine's own choice.
        samples_ms: milliseconds a picture, one a round.
        times_default: as long as osteo-edge with the first bundle; None for that itself.
        times_same: as long as osteo-edge with the same network; None without such a bundle, and for osteo-edge itself.
    """

    entrant: str
    task: str
    threads: int | None
    samples_ms: tuple[float, ...]
    median_ms: float
    times_default: Ratio | None
    times_same: Ratio | None


@dataclass(frozen=True)
class Participant:
    """What is known of an entrant apart from its times.

    Attributes:
        versions: of its packages.
        installed_mb: distributions that it needs -> MB (10^6 bytes) of their files.
        peak_mb: resident memory of the process on one thread; None where it was not measured.
        cold_peak_mb: of the whole process of one picture.
        max_difference: of a probability, against osteo-edge's fp32 with the same network; None without such a bundle.
        stages_ms: of osteo-edge's predictions of the image on one thread, medians; empty for peers. ``region`` finds the knees,
            which peers are told.
    """

    name: str
    network: str
    engine: str
    precision: str
    versions: Mapping[str, str]
    installed_mb: Mapping[str, float]
    peak_mb: float | None
    cold_peak_mb: float | None
    max_difference: float | None
    stages_ms: Mapping[str, float]

    @property
    def total_mb(self) -> float:
        return sum(self.installed_mb.values())


@dataclass(frozen=True)
class Peers:
    """What the command writes.

    Attributes:
        pictures: task -> pictures that its rounds go through.
        default: name of the entrant that ``times_default`` is against.
        left_out: name -> why it was not measured.
    """

    schema_version: Literal[1]
    processor: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    pictures: Mapping[str, int]
    default: str
    participants: tuple[Participant, ...]
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Shown:
    """A picture file with its knees."""

    path: str
    joints: tuple[Joint, ...]


@dataclass(frozen=True)
class Programme:
    """What is asked of every entrant.

    Attributes:
        shown: all pictures; the first is the image.
        kinds: task -> places of its pictures in ``shown``.
        folder: places of the folder's pictures; one portion a round.
    """

    shown: tuple[Shown, ...]
    kinds: Mapping[str, tuple[int, ...]]
    folder: tuple[int, ...]
    rounds: int
    cold_rounds: int
    seconds: float

    @property
    def steps(self) -> int:
        """Of the progress bar."""
        return 2 * (self.rounds + 1) + self.cold_rounds + 1


@click.command("peers")
@click.option("--bundle", "names", multiple=True, default=("knee-mobilenet_v2",), show_default=True, help="The first is ours.")
@click.option(
    "--run", "folders", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), default=RUNS,
    show_default=True, help="Networks for Keras, TensorFlow and PyTorch.",
)  # fmt: skip
@click.option(
    "--peers", "others", multiple=True, type=click.Path(exists=True, dir_okay=False),
    help="Another Python with OpenVINO, PyTorch and Keras, or others.",
)  # fmt: skip
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=EXAMPLE, show_default=True)
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Radiographs to go through as well."
)
@click.option("--pictures", type=click.IntRange(0), default=1000, show_default=True, help="Of the folder; 0: none.")
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option("--cold-rounds", type=click.IntRange(0), default=7, show_default=True, help="Whole processes; 0: none.")
@click.option("--seconds", type=click.FloatRange(0), default=0.5, show_default=True, help="An entrant runs a picture, about.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Kept up to date while measuring.")
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="Also draw it, PNG or SVG.")
@click.option(
    "--again",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing; print and draw what this file of --json holds.",
)
def command(
    names: Sequence[str],
    folders: Sequence[Path],
    others: Sequence[str],
    image: Path,
    data: Path | None,
    pictures: int,
    rounds: int,
    cold_rounds: int,
    seconds: float,
    target: Path | None,
    chart: Path | None,
    again: Path | None,
) -> None:
    """Keras, TensorFlow, PyTorch, ONNX Runtime, LiteRT and OpenVINO against osteo-edge, on the same picture files."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError
    from train.runs.folder import load_run

    if chart and chart.suffix not in (".png", ".svg"):
        raise click.UsageError("--chart names a .png or .svg file")
    try:
        if again:
            found = read(again)
        else:
            bundles = [open_bundle(name) for name in names]
            runs = [load_run(folder) for folder in folders]
            with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
                place = Path(temporary)
                click.echo("making the peers' files", err=True)
                asked = programme(bundles[0], image, data, place, pictures, rounds, cold_rounds, seconds)
                field = gather(bundles, runs, (sys.executable, *others), data, place)
                with click.progressbar(length=asked.steps, label="rounds", file=sys.stderr) as bar:
                    contest = Contest(field, bundles, asked, place, on_round=lambda: bar.update(1))
                    for found in contest.measure():
                        if target:
                            write(found, target)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(found))
    if chart:
        from benchmarks.peer_chart import draw

        draw(found, chart)


def programme(
    bundle: Bundle,
    image: Path,
    data: Path | None,
    place: Path,
    pictures: int,
    rounds: int,
    cold_rounds: int,
    seconds: float,
) -> Programme:
    """The image, one-knee and two-knee radiographs of the data, and a folder of copies of them.

    Raises:
        ClickException: the image, or every radiograph, is unfit or shows no knee.
    """
    first = examine(bundle, [str(image.resolve())])
    if not first:
        raise click.ClickException(f"{image} shows no knee that could be screened; name another with --image")
    found = examine(bundle, evenly(pictures_of(data), EXAMINED)) if data else []
    if data and not found:
        raise click.ClickException(f"no radiograph of {data} shows a knee; name another folder with --data")
    shown = [*first]
    kinds: dict[str, tuple[int, ...]] = {IMAGE: (0,)}
    for kind, knees in ((ONE_KNEE, 1), (TWO_KNEES, 2)):
        if of_kind := evenly([one for one in found if len(one.joints) == knees], MOST_OF_A_KIND):
            kinds[kind] = tuple(range(len(shown), len(shown) + len(of_kind)))
            shown += of_kind
    copies = list(copied(found or first, pictures, place / "folder"))
    return Programme((*shown, *copies), kinds, tuple(range(len(shown), len(shown) + len(copies))), rounds, cold_rounds, seconds)


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, spread over all."""
    places = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)) if items else ()
    return [items[place] for place in places]


def examine(bundle: Bundle, paths: Sequence[str]) -> list[Shown]:
    """The pictures that osteo-edge answers for, with their knees."""
    from osteo_edge.errors import InputError
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.images import quality, reader

    finder = JointFinder.from_bytes(bundle.read(bundle.manifest.finder))
    found = []
    for path in paths:
        try:
            radiograph = reader.read(path)
        except InputError:
            continue
        if not quality.assess(radiograph, bundle.manifest.quality) and (joints := finder.find(radiograph.pixels)):
            found.append(Shown(path, joints))
    return found


def copied(shown: Sequence[Shown], count: int, folder: Path) -> Iterator[Shown]:
    """So many copies in one folder, of each picture in turn."""
    folder.mkdir()
    for number in range(count):
        source = shown[number % len(shown)]
        target = folder / f"{number:05}{Path(source.path).suffix}"
        shutil.copyfile(source.path, target)
        yield replace(source, path=str(target))


class Contest:
    """Entrants in persistent processes, one at a time, in rounds of shuffled order; and whole processes in turn.

    An interruption from the keyboard ends the measuring; what was measured is kept.
    """

    def __init__(
        self, field: Field, bundles: Sequence[Bundle], asked: Programme, place: Path, on_round: Callable[[], object]
    ) -> None:
        self._entrants, self._left_out = list(field.entrants), dict(field.left_out)
        self._bundles, self._asked, self._place, self._on_round = bundles, asked, place, on_round
        self._default = self._entrants[0].name
        self._samples: dict[tuple[str, str, int | None], list[float]] = {}
        self._peaks: dict[str, float] = {}
        self._cold_peaks: dict[str, float] = {}
        self._stages: dict[str, dict[str, float]] = {}
        self._answers: dict[str, list[list[float]]] = {}
        self._exact: dict[str, list[list[float]]] = {}

    def measure(self) -> Iterator[Peers]:
        """What is known after each part.

        Raises:
            ClickException: osteo-edge itself cannot be run.
        """
        with environments(()) as forms:
            self._variables = forms[NATIVE]
            try:
                for threads in (1, None):
                    self._warm(threads)
                    yield self.found()
                self._cold()
                yield self.found()
            except KeyboardInterrupt:
                click.echo("interrupted; what was measured is kept", err=True)
                yield self.found()

    def found(self) -> Peers:
        """All rounds that every entrant finished."""
        machine = processor()
        kinds = {kind: len(places) for kind, places in self._asked.kinds.items()}
        return Peers(
            schema_version=SCHEMA_VERSION,
            processor=machine.model,
            architecture=machine.architecture,
            features=machine.features,
            cores=len(os.sched_getaffinity(0)),
            pictures=kinds | {FOLDER: len(self._asked.folder)},
            default=self._default,
            participants=tuple(self._participant(one) for one in self._entrants),
            rows=tuple(rows_of(self._samples, self._entrants)),
            left_out=self._left_out,
        )

    def _warm(self, threads: int | None) -> None:
        """One thread, or the engine's own choice and the folder as well."""
        order = random.Random(0)
        with ExitStack() as stack:
            workers = self._start(threads, stack)
            for turn in range(self._asked.rounds + 1):
                taken: dict[tuple[str, str, int | None], float] = {}
                for entrant in order.sample(self._entrants, len(self._entrants)):
                    worker = workers[entrant.name]
                    for task, milliseconds in self._turn(worker, turn, is_folder=threads is None):
                        taken[entrant.name, task, threads] = milliseconds
                if turn:  # the first warms up; a round that was broken off counts for nobody
                    for key, milliseconds in taken.items():
                        self._samples.setdefault(key, []).append(milliseconds)
                self._on_round()
            if threads == 1:
                self._peaks = {name: worker.tell({"memory": True})["peak_mb"] for name, worker in workers.items()}
                self._stages = {name: worker.tell({"stages": 0}) for name, worker in workers.items()}

    def _start(self, threads: int | None, stack: ExitStack) -> dict[str, Conversation]:
        """Every entrant's process; a peer that cannot be run is left out, with what it said."""
        workers: dict[str, Conversation] = {}
        firsts = [places[0] for places in self._asked.kinds.values()]
        for entrant in list(self._entrants):
            command = [entrant.python, "-m", "benchmarks.peer_worker"]
            try:
                worker = Conversation(entrant.name, command, self._variables, self._job(entrant, threads))
                stack.enter_context(worker)
                self._answers[entrant.name] = worker.tell({"answers": firsts})["probabilities"]
            except click.ClickException as error:
                if entrant.is_own:
                    raise
                self._drop(entrant, error.message)
            else:
                workers[entrant.name] = worker
        return workers

    def _turn(self, worker: Conversation, turn: int, *, is_folder: bool) -> Iterator[tuple[str, float]]:
        """One picture of each kind, the same for all in a round, and a portion of the folder."""
        for kind, places in self._asked.kinds.items():
            order = {"picture": places[turn % len(places)], "seconds": self._asked.seconds}
            yield kind, worker.tell(order)["milliseconds"]
        portions = np.array_split(np.array(self._asked.folder, int), self._asked.rounds)
        if is_folder and turn and len(portions[turn - 1]):
            portion = portions[turn - 1].tolist()
            yield FOLDER, worker.tell({"folder": portion})["seconds"] * 1000 / len(portion)

    def _cold(self) -> None:
        """Whole processes with the image, after one round that is not counted."""
        if not self._asked.cold_rounds:
            return
        commands = {entrant.name: self._process(entrant) for entrant in self._entrants}
        starter = [sys.executable, "-m", "benchmarks.processes"]
        with Conversation("the starter of processes", starter, self._variables, {}) as starting:
            for turn in range(self._asked.cold_rounds + 1):
                runs = {name: starting.tell({"command": command}) for name, command in commands.items()}
                for entrant in [one for one in self._entrants if one.name in runs]:
                    run = runs[entrant.name]
                    if run["exit_code"] not in (_ANSWERED if entrant.is_own else (0,)):
                        self._left_out[f"{COLD}, {entrant.name}"] = f"a process ended with exit code {run['exit_code']}"
                        commands.pop(entrant.name)
                    elif turn:
                        self._samples.setdefault((entrant.name, COLD, None), []).append(run["seconds"] * 1000)
                        self._cold_peaks[entrant.name] = max(self._cold_peaks.get(entrant.name, 0.0), run["peak_mb"])
                self._on_round()

    def _process(self, entrant: Entrant) -> list[str]:
        image = self._asked.shown[0].path
        if entrant.is_own:
            return [entrant.python, "-m", "osteo_edge", "predict", "--bundle", str(entrant.model), image]
        path = self._place / f"job-{self._entrants.index(entrant)}.json"
        path.write_text(json.dumps(self._job(entrant, None)), encoding="utf-8")
        return [entrant.python, "-m", "benchmarks.peer_worker", str(path)]

    def _job(self, entrant: Entrant, threads: int | None) -> dict[str, Any]:
        return job(entrant, threads, self._asked.shown)

    def _drop(self, entrant: Entrant, why: str) -> None:
        self._entrants.remove(entrant)
        self._left_out[entrant.name] = why
        for key in [key for key in self._samples if key[0] == entrant.name]:
            del self._samples[key]

    def _participant(self, entrant: Entrant) -> Participant:
        shared = {name: size for package in entrant.packages for name, size in package.mb.items()}
        return Participant(
            name=entrant.name,
            network=entrant.network,
            engine=entrant.engine,
            precision=entrant.precision,
            versions={package.name: package.version for package in entrant.packages},
            installed_mb={name: round(size, 2) for name, size in sorted(shared.items())},
            peak_mb=_rounded(self._peaks.get(entrant.name)),
            cold_peak_mb=_rounded(self._cold_peaks.get(entrant.name)),
            max_difference=self._difference(entrant),
            stages_ms={stage: round(one, 3) for stage, one in self._stages.get(entrant.name, {}).items()},
        )

    def _difference(self, entrant: Entrant) -> float | None:
        bundle = next((one for one in self._bundles if one.manifest.name == entrant.network), None)
        if bundle is None or entrant.name not in self._answers:
            return None
        if bundle.manifest.name not in self._exact:
            self._exact[bundle.manifest.name] = exact_answers(
                bundle, [self._asked.shown[places[0]].path for places in self._asked.kinds.values()]
            )
        off = np.abs(np.array(self._answers[entrant.name]) - np.array(self._exact[bundle.manifest.name]))
        return float(f"{off.max():.3g}")


def job(entrant: Entrant, threads: int | None, shown: Sequence[Shown]) -> dict[str, Any]:
    """What ``benchmarks.peer_worker`` is told first."""
    from osteo_edge.joints import box_around

    def boxes(one: Shown) -> list[list[int]]:
        found = [box_around(joint, entrant.region) for joint in one.joints]
        return [[box.x0, box.y0, box.x1, box.y1] for box in found]

    return {
        "engine": entrant.engine,
        "model": str(entrant.model),
        "threads": threads,
        "channels": entrant.channels,
        "spec": asdict(entrant.spec),
        "pictures": [[one.path, [] if entrant.is_own else boxes(one)] for one in shown],
    }


def exact_answers(bundle: Bundle, paths: Sequence[str]) -> list[list[float]]:
    """(pictures, labels): probabilities by osteo-edge in fp32."""
    from osteo_edge import OsteoPredictor

    engine = "onnxruntime" if "onnxruntime" in bundle.manifest.members[0].files else "litert"
    with OsteoPredictor(bundle.root, engine=engine, precision="fp32") as predictor:
        return [list(one.image_probabilities.values()) for one in predictor.predict_many(paths)]


def rows_of(samples: Mapping[tuple[str, str, int | None], Sequence[float]], entrants: Sequence[Entrant]) -> Iterator[Row]:
    """Every series of samples beside osteo-edge's of the same task; the first entrant is the default.

    Only rounds that both finished are compared.
    """
    own = {entrant.network: entrant.name for entrant in reversed(entrants) if entrant.is_own}
    default = entrants[0].name
    networks = {entrant.name: entrant for entrant in entrants}
    for (name, task, threads), taken in samples.items():
        if name not in networks:
            continue

        def against(other: str | None, name: str = name, task: str = task, threads: int | None = threads) -> Ratio | None:
            base = samples.get((other, task, threads)) if other and other != name else None
            return ratio_of(samples[name, task, threads], base) if base else None

        same = None if networks[name].is_own else own.get(networks[name].network)
        milliseconds = tuple(round(one, 3) for one in taken)
        yield Row(name, task, threads, milliseconds, round(float(np.median(taken)), 3), against(default), against(same))


def ratio_of(samples: Sequence[float], base: Sequence[float], *, seed: int = 0) -> Ratio:
    """How many times as long as ``base``, round by round; the interval resamples rounds, the 2.5th to the 97.5th percentile."""
    common = min(len(samples), len(base))
    ratios = np.array(samples[:common]) / np.array(base[:common])
    drawn = np.random.default_rng(seed).integers(common, size=(RESAMPLES, common))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), (2.5, 97.5))
    return Ratio(*(round(float(one), 3) for one in (np.median(ratios), low, high)))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def write(found: Peers, target: Path) -> None:
    """Write ``found`` as JSON."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(to_plain(found), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Peers:
    """What ``write`` wrote.

    Raises:
        ManifestError: the file holds something else.
    """
    return parse_record(Peers, parse_json(path.read_bytes(), what=path.name), where=path.name)


def table(found: Peers) -> str:
    """A part a task, the fastest first; then memory, disk and answers."""
    lines = [f"{found.processor}, {found.cores} core(s); rounds interleaved, medians, 95 % intervals over rounds"]
    lines.append(
        f"times: as long as {found.default}, and as osteo-edge with the same network; peers are given the knees' boxes"
    )
    for task, threads in dict.fromkeys((row.task, row.threads) for row in found.rows):
        rows = [row for row in found.rows if (row.task, row.threads) == (task, threads)]
        lines += ["", f"{_told(task, threads, found)}, {max(len(row.samples_ms) for row in rows)} rounds"]
        lines.append(f"{'':<70} {'ms':>9} {'a second':>9}  {'times the default':<22} {'times the same network':<22}")
        for row in sorted(rows, key=lambda row: row.median_ms):
            ratios = f"{_interval(row.times_default):<22} {_interval(row.times_same):<22}".rstrip()
            lines.append(f"{row.entrant:<70} {row.median_ms:>9.2f} {1000 / row.median_ms:>9.1f}  {ratios}".rstrip())
    lines += ["", f"{'':<70} {'peak MB':>8} {'cold MB':>8} {'installed MB':>13} {'off by':>8}"]
    for one in found.participants:
        peak, cold = (_number(value) for value in (one.peak_mb, one.cold_peak_mb))
        off = "-" if one.max_difference is None else f"{one.max_difference:.0e}"
        lines.append(f"{one.name:<70} {peak:>8} {cold:>8} {one.total_mb:>13.0f} {off:>8}")
    for one in found.participants:
        if one.stages_ms:
            stages = ", ".join(f"{stage} {milliseconds:.2f}" for stage, milliseconds in one.stages_ms.items())
            lines.append(f"{one.name}, ms of the image on one thread: {stages}")
    lines += ["", *(f"left out: {name}: {why}" for name, why in found.left_out.items())]
    return "\n".join(lines).rstrip()


def _told(task: str, threads: int | None, found: Peers) -> str:
    many = "one thread" if threads == 1 else "all threads"
    if task == COLD:
        return "whole process, the image"
    if task == IMAGE:
        return f"the image, {many}"
    if task == FOLDER:
        return f"a folder of {found.pictures[FOLDER]} pictures, {many}; ms a picture"
    return f"radiographs of {task} ({found.pictures[task]} in turn), {many}"


def _interval(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
