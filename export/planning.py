"""Which reduced files a bundle may hold: searched for each member, judged on unlabelled knees and fold by fold, written down.

The search is long; what it found is a file of its own (``plan.json``), from which bundles are made again in minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from export.folds import FoldBench, FoldScores, MakeFile, compare_forms, views_of
from export.graded_bench import GradedBench, judge_together
from export.graded_knees import read_source_cases
from export.graph import inference_form
from export.plans import (
    SCHEMA_VERSION,
    Agreement,
    Bin,
    Budget,
    EnginePlan,
    FoldFigures,
    MemberPlan,
    Plan,
    Preference,
    Recipe,
    Reduced,
    SourcePlan,
    digest_of,
)
from export.progress import Track
from export.quantization import AgreementBench, Exact, Maker, make, representative_set, search
from export.radiographs import Case, View, knees, read_cases
from export.source import Source
from export.to_litert import to_litert
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.manifest import ENGINE_NAMES, EngineName, InputSpec, Metric
from train.data.dataset import Dataset, read_dataset
from train.fitting.fold_networks import FoldNetwork, load_fold_networks
from train.grading.knees import read_index
from train.judging.evaluate import reliability
from train.runs.arrays import Doubles, Floats, Integers
from train.runs.scores import MODEL, read_scores

if TYPE_CHECKING:
    import keras

    from train.runs.folder import Run


@dataclass(frozen=True)
class Task:
    """What is asked for.

    Attributes:
        data, unlabelled: folders of the radiographs that the runs were trained on (of graded knees, with the validation part),
            and of knees without a label.
        tuning_epochs: of quantization-aware fine-tuning, tried where nothing else meets the budget; 0 for never.
    """

    source: Source
    finder: JointFinder
    data: Path
    unlabelled: Path
    budget: Budget
    preference: Preference
    engines: tuple[EngineName, ...] = ENGINE_NAMES
    tuning_epochs: int = 0


def make_plan(task: Task, track: Track) -> SourcePlan:
    """Search and judge, member by member.

    Raises:
        ExportError: radiographs or fold networks are missing, or something cannot be made.
        RunError: the run's fold networks are of another run.
    """
    source = task.source
    members: dict[str, MemberPlan] = {}
    scores: dict[str, dict[EngineName, FoldScores]] = {}
    benches: dict[str, Bench] = {}
    counts = [0, 0]
    for name, run in zip(source.names, source.runs, strict=True):
        folds = tuple(load_fold_networks(run)) if run.kind == "classes" else ()
        view = View(run.region, run.input)
        views = [*dict.fromkeys([view, *views_of(folds)])]
        cases = read_source_cases(source, task.data, task.finder, views, track=track)
        (unlabelled,) = read_cases(task.unlabelled, task.finder, [view], track=track).values()
        counts = [sum(bool(case.tensors) for case in group) for group in (cases[view], unlabelled)]
        exact = Exact.of(inference_form(run.network()), run.input)
        benches[name] = _bench(task, run, exact, folds, cases)
        members[name], scores[name] = _plan_member(task, run, exact, benches[name], cases[view], unlabelled, track)
    together = _judge_together(task, benches, scores) if len(source.runs) > 1 else {}
    return SourcePlan(SCHEMA_VERSION, source.folder.name, task.budget, task.preference, counts[0], counts[1], members, together)


class Bench(Protocol):
    """What reduced forms are judged on: fold by fold, or on a validation part."""

    @property
    def labels(self) -> Integers: ...

    @property
    def fp32(self) -> FoldScores: ...

    def score(self, engine: EngineName, make: MakeFile) -> FoldScores: ...

    def figures(self, reduced: FoldScores) -> FoldFigures: ...


def _bench(task: Task, run: Run, exact: Exact, folds: Sequence[FoldNetwork], cases: Mapping[View, Sequence[Case]]) -> Bench:
    if run.kind == "grades":
        return GradedBench(run, exact, cases[View(run.region, run.input)], read_index(task.data))
    return FoldBench(run, cases, folds)


def _plan_member(
    task: Task,
    run: Run,
    exact: Exact,
    bench: Bench,
    of_run: Sequence[Case],
    unlabelled: Sequence[Case],
    track: Track,
) -> tuple[MemberPlan, dict[EngineName, FoldScores]]:
    representative = representative_set(of_run, run.training_digests)
    tuning = knees_of_training(of_run, run.training_digests) if task.tuning_epochs else None
    maker = Maker(exact, representative, tuning=tuning)
    agreement = AgreementBench(exact, unlabelled, run.labels)
    by_recipe: dict[Recipe, FoldScores] = {}

    def drop(recipe: Recipe) -> Metric:
        by_recipe[recipe] = bench.score(recipe.engine, _by_recipe(recipe))
        return bench.figures(by_recipe[recipe]).drop

    found = search(
        maker,
        agreement,
        engines=task.engines,
        drop=drop,
        budget=task.budget,
        preference=task.preference,
        tuning_epochs=task.tuning_epochs,
        track=track,
    )
    reduced = [_reduced(bench, agreement, found.files[one.engine], one, by_recipe, task.budget) for one in _chosen(found.plan)]
    if "litert" in task.engines:
        reduced.insert(0, _half(bench, agreement, exact, task.budget))
    scores = {one.engine: by_recipe[one.chosen] for one in _chosen(found.plan) if one.chosen}
    plan = MemberPlan(
        run.folder.name, digest_of(run), found.plan, tuple(reduced), bins_of(bench.labels, bench.fp32.probabilities)
    )
    return plan, scores


def _chosen(plan: Plan) -> list[EnginePlan]:
    return [one for one in plan.engines if one.chosen is not None]


def _by_recipe(recipe: Recipe) -> MakeFile:
    def make_file(form: keras.Model, exact: bytes, spec: InputSpec, cases: Sequence[Case], training: frozenset[str]) -> bytes:
        representative = representative_set(cases, training)
        tuning = knees_of_training(cases, training) if recipe.tuning_epochs else None
        return make(Exact(form, spec, exact), recipe, representative, tuning=tuning)

    return make_file


def knees_of_training(cases: Sequence[Case], training: frozenset[str]) -> Floats:
    """What quantization-aware fine-tuning sees: every knee of the training radiographs, and no other."""
    return knees(case for case in cases if case.digest in training)


def _reduced(
    bench: Bench,
    agreement: AgreementBench,
    data: bytes,
    plan: EnginePlan,
    by_recipe: Mapping[Recipe, FoldScores],
    budget: Budget,
) -> Reduced:
    assert plan.chosen is not None
    judged = agreement.judge(plan.engine, data)
    return _verdict(bench, plan.engine, "int8", plan.chosen, data, judged, by_recipe[plan.chosen], budget)


def _half(bench: Bench, agreement: AgreementBench, exact: Exact, budget: Budget) -> Reduced:
    """LiteRT with weights of half precision."""
    data = to_litert(exact.form, exact.spec, ("fp16",))["fp16"]
    scores = bench.score("litert", lambda form, onnx, spec, cases, training: to_litert(form, spec, ("fp16",))["fp16"])
    return _verdict(bench, "litert", "fp16", None, data, agreement.judge("litert", data), scores, budget)


def _verdict(
    bench: Bench,
    engine: EngineName,
    precision: Literal["fp16", "int8"],
    recipe: Recipe | None,
    data: bytes,
    agreement: Agreement,
    scores: FoldScores,
    budget: Budget,
) -> Reduced:
    figures = bench.figures(scores)
    is_accepted = agreement.agreement >= budget.min_agreement and figures.drop.value <= budget.max_drop
    bins = bins_of(bench.labels, scores.probabilities)
    return Reduced(engine, precision, recipe, len(data), agreement, figures, bins, is_accepted)


def bins_of(labels: Integers, probabilities: Doubles) -> tuple[Bin, ...]:
    """A reliability diagram's bins, four digits each."""
    return tuple(Bin(*(round(value, 4) for value in one)) for one in reliability(labels, probabilities))


def _judge_together(
    task: Task, benches: Mapping[str, Bench], scores: Mapping[str, Mapping[EngineName, FoldScores]]
) -> Mapping[str, FoldFigures]:
    """The ensemble on its members' int8 scores."""
    graded = {name: bench for name, bench in benches.items() if isinstance(bench, GradedBench)}
    if graded:
        return judge_together(task.source.ensemble, graded, scores)
    return _classes_together(task.source, read_dataset(task.data), scores)


def _classes_together(
    source: Source, dataset: Dataset, scores: Mapping[str, Mapping[EngineName, FoldScores]]
) -> dict[str, FoldFigures]:
    """It is fitted, as ever, on the members' inner fp32 scores."""
    from export.together import ensemble_scores

    recorded = read_scores(source.folder)[MODEL]
    fp32 = ensemble_scores(source, dataset, {})
    found: dict[str, FoldFigures] = {}
    for engine in ENGINE_NAMES:
        of_members = {name: of_one[engine] for name, of_one in scores.items() if engine in of_one}
        if len(of_members) == len(source.names):
            found[engine] = compare_forms(recorded, fp32, ensemble_scores(source, dataset, of_members))
    return found
