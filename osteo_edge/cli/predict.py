"""``osteo-edge predict``: answers for files, folders and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Command
from osteo_edge.cli.inputs import STDIN, Input, Inputs, find_inputs
from osteo_edge.cli.options import asked_bundles, asked_options, engine_options, untrusted_option, verbose_option
from osteo_edge.cli.pages import make_folder, open_pages, page_options, tell_fault, tell_written, wanted_pages
from osteo_edge.cli.person import check_people, person_options, read_people
from osteo_edge.cli.terminal import clear_line, tell
from osteo_edge.cli.writers import Answer, CsvWriter, FhirWriter, JsonLinesWriter, JsonWriter, TextWriter, Writer
from osteo_edge.engines.select import available_threads
from osteo_edge.errors import InputError, ReportError, UnreadableImageError
from osteo_edge.labels import Status
from osteo_edge.model import load_models
from osteo_edge.printable import counted

if TYPE_CHECKING:
    from osteo_edge.covariates import Given
    from osteo_edge.prediction import Prediction
    from osteo_edge.predictor import OsteoPredictor
    from osteo_edge.reports.pages.writing import Pages

_FORMATS = ("text", "json", "jsonl", "csv", "fhir")
_EPILOG = """\b
Examples:
  osteo-edge predict image.png
  osteo-edge predict --question all image.png
  osteo-edge predict --format json --explain --output answers radiographs/
  osteo-edge predict --age 67 --sex female --weight 58 image.png
  osteo-edge predict --report pages --language en --language ar radiographs/
  cat image.png | osteo-edge predict -

Exit codes: 0 answered, 2 usage, 3 unreadable, 4 rejected or referred, 5 bundle, 6 too large, 7 output, 8 engine, 9 memory.
For several pictures: the gravest, in the order 7, 3, 6, 4, 0."""


@click.command("predict", cls=Command, epilog=_EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH... | FOLDER | -")
@click.option(
    "--format",
    "style",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="json is one JSON value: an object for one path, an array for several or a folder; jsonl is an object a line; fhir is "
    "a bundle of FHIR R4 a line.",
)
@click.option("--recursive", is_flag=True, help="Also read the folders inside a folder; links to folders are not followed.")
@click.option("--explain", is_flag=True, help="Write an overlay picture for each answer.")
@click.option("--output", "folder", type=click.Path(file_okay=False, path_type=Path), help="Folder for overlays [default: .].")
@untrusted_option
@click.option(
    "--report",
    "report_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a page of each answer, a PDF and an HTML file.",
)
@click.option(
    "--audit",
    "audit_log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add a line without names for each answer to this log, as 'osteo-edge audit verify' reads it.",
)
@page_options
@person_options
@engine_options
@asked_options
@verbose_option
def command(
    paths: tuple[str, ...],
    style: str,
    recursive: bool,
    explain: bool,
    folder: Path | None,
    report_folder: Path | None,
    audit_log: Path | None,
    languages: tuple[str, ...],
    html_only: bool,
    with_names: bool,
    is_untrusted: bool,
    age_years: float | None,
    sex: str | None,
    weight_kg: str | None,
    covariates: tuple[str, ...],
    table: Path | None,
    engine: str,
    precision: str,
    threads: int | None,
    bundles: tuple[str, ...],
    questions: tuple[str, ...],
    is_verbose: bool,
) -> int:
    """Screen radiographs: PNG, JPEG, TIFF, BMP, WebP or DICOM.

    Each PATH is a picture, a folder of pictures, or - for standard input. What cannot be read gives a rejected
    answer with its reason, and the run goes on. Other files in a folder are passed over and counted.

    What is known of the person takes part in the answer where the bundle was made for it ('osteo-edge bundles show'); else
    a note says that it did not. Of a DICOM file, age and sex are taken from its tags where they are not given. With a weight,
    published risk scores stand beside the answers ('osteo-edge risk' gives them without a picture, and says what else they
    ask for).
    """
    if folder is not None and not explain:
        raise click.UsageError("--output is the folder for overlays and needs --explain")
    if report_folder is None and (languages or html_only or with_names):
        raise click.UsageError("--language, --html-only and --names are of pages and need --report")
    inputs = find_inputs(paths, recursive=recursive)
    count = len(inputs.pictures)
    threads = threads or available_threads()
    # The engines start to load first: numpy and OpenCV, the reading and the finding of the knees come meanwhile.
    asked = asked_bundles(bundles, questions)
    models = load_models(asked, engine=engine, precision=precision, threads=threads, workers=min(threads, count))
    from osteo_edge.predictor import OsteoPredictor

    names = [picture.name for picture in inputs.pictures]
    people = read_people(age_years, sex, weight_kg, covariates, table, names)
    overlays = (folder or Path()) if explain and make_folder(folder or Path(), "overlay") else None
    codes = [exit_codes.OUTPUT] if explain and overlays is None else []
    reports = _Reports(report_folder, count, languages, html_only=html_only, with_names=with_names, is_untrusted=is_untrusted)
    with OsteoPredictor(models, untrusted=is_untrusted) as predictor:
        check_people(people, predictor, names)
        given = [people.of(name) for name in names]
        predictions = _predictions(predictor, inputs.pictures, given, reports, explain=explain)
        with _writer(style, inputs, is_verbose=is_verbose) as writer:
            for prediction, bar in _with_progress(predictions, count):
                answer = _answer(prediction, overlays)
                for model in models:  # a damaged one is told before any answer, even to a picture that did not need it
                    model.wait()
                bar.clear()
                writer.write(answer)
                codes += [answer.exit_code, *_audited(prediction, audit_log)]
                reports.add(prediction)
    codes += reports.finish()
    if inputs.passed_over and style != "text":
        tell(f"osteo-edge: {counted(inputs.passed_over, 'other file')} passed over", err=True)
    return exit_codes.gravest(codes)


def _writer(style: str, inputs: Inputs, *, is_verbose: bool) -> Writer:
    if style == "json":
        return JsonWriter(is_array=not inputs.is_one_path)
    if style == "text":
        return TextWriter(are_several=len(inputs.pictures) > 1, passed_over=inputs.passed_over, is_verbose=is_verbose)
    if style == "csv":
        return CsvWriter()
    return JsonLinesWriter() if style == "jsonl" else FhirWriter()


class _Bar:
    """A progress bar on standard error for several pictures on a terminal; else nothing."""

    def __init__(self, length: int) -> None:
        shown = length > 1 and sys.stderr.isatty()
        self._bar = click.progressbar(length=length, label="predicting", file=sys.stderr) if shown else None

    def clear(self) -> None:
        """Make room for lines on the same terminal."""
        if self._bar and sys.stdout.isatty():
            clear_line()

    def advance(self) -> None:
        if self._bar:
            self._bar.update(1)

    def finish(self) -> None:
        if self._bar:
            self._bar.render_finish()


def _with_progress(predictions: Iterable[Prediction], count: int) -> Iterator[tuple[Prediction, _Bar]]:
    bar = _Bar(count)
    for prediction in predictions:
        yield prediction, bar
        bar.advance()
    bar.finish()


def _predictions(
    predictor: OsteoPredictor, inputs: Sequence[Input], given: Sequence[Given], reports: _Reports, *, explain: bool
) -> Iterator[Prediction]:
    """In the inputs' order; files are read ahead, standard input when its turn comes."""
    files = [(picture.name, person) for picture, person in zip(inputs, given, strict=True) if picture.is_file]
    of_files = predictor.predict_files(files, explain=explain)
    with closing(of_files):
        for picture, person in zip(inputs, given, strict=True):
            yield next(of_files) if picture.is_file else _predict(predictor, picture, person, reports, explain=explain)


class _Reports:
    """The pages of a run; without a folder, none."""

    def __init__(
        self,
        folder: Path | None,
        count: int,
        languages: Sequence[str],
        *,
        html_only: bool,
        with_names: bool,
        is_untrusted: bool,
    ) -> None:
        self._folder, self._written, self._codes = folder, 0, list[int]()
        self._kept: dict[str, bytes] = {}
        self._pages: Pages | None = None
        if folder is None:
            return
        wanted = wanted_pages(folder, languages, html_only=html_only, with_names=with_names)
        self._pages = open_pages(wanted, count, is_untrusted=is_untrusted)
        if not make_folder(folder, "page"):
            self._pages, self._codes = None, [exit_codes.OUTPUT]

    def keep(self, name: str, data: bytes) -> None:
        """A picture that cannot be read a second time, until its page is written."""
        if self._pages is not None:
            self._kept[name] = data

    def add(self, prediction: Prediction) -> None:
        if self._pages is None:
            return
        from osteo_edge.reports.pages.answers import as_answered

        image = self._kept.pop(prediction.source, prediction.source)
        try:
            self._pages.add(as_answered(prediction.to_dict()), image)
            self._written += 1
        except ReportError as error:
            self._codes.append(tell_fault(error))

    def finish(self) -> list[int]:
        """Write the summary; returns the exit codes that the pages ask for."""
        if self._pages is None or self._folder is None:
            return self._codes
        try:
            tell_written(self._written, self._folder, self._pages.finish())
        except ReportError as error:
            self._codes.append(tell_fault(error))
        return self._codes


def _audited(prediction: Prediction, log: Path | None) -> list[int]:
    """Add a line to the log, if there is one; an exit code where that fails, which is told."""
    if log is None:
        return []
    from osteo_edge.errors import AuditError, StationError
    from osteo_edge.station.audit import AuditLog
    from osteo_edge.station.worker import ANSWERED, bundles_of, facts_of

    bundles = bundles_of(answer.model for answer in prediction.answers)
    try:
        AuditLog(log).append(ANSWERED, {"sha256": prediction.digest, **facts_of(prediction), "bundles": bundles})
    except (StationError, AuditError) as error:
        tell(f"osteo-edge: {error}", err=True)
        return [exit_codes.OUTPUT]
    return []


def _answer(prediction: Prediction, overlays: Path | None) -> Answer:
    is_answered = prediction.status is Status.REPORTED
    code = exit_codes.ANSWERED if is_answered else exit_codes.of_finding(prediction.findings[0].code)
    if overlays is None or prediction.status is Status.REJECTED:
        return Answer(prediction, None, code)
    from osteo_edge.reports.overlay import overlay_name

    target = overlays / overlay_name(prediction)
    try:
        return Answer(prediction, prediction.save_overlay(target), code)
    except ReportError as error:
        tell(f"osteo-edge: {error}", err=True)
        return Answer(prediction, None, exit_codes.OUTPUT)


def _predict(predictor: OsteoPredictor, picture: Input, person: Given, reports: _Reports, *, explain: bool) -> Prediction:
    """For standard input, and for what was found faulty before it was opened."""
    try:
        if picture.fault:
            raise picture.fault
        from osteo_edge.images.reader import read_stream

        if sys.stdin is None:
            raise UnreadableImageError("standard input is closed", code="unreadable")
        data = read_stream(sys.stdin.buffer)
        reports.keep(picture.name, data)
        return predictor.predict(data, explain=explain, source=STDIN, covariates=person)
    except InputError as error:
        return predictor.reject(picture.name, error, person)
