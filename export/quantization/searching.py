"""The smallest or fastest int8 file within a budget, or an honest word that there is none.

Cheap questions come first: a fixed part of the knees, then all of them, then speed, and the folds' networks last and only
for files that would be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from export.plans import LOST, Agreement, Budget, EnginePlan, GroupDamage, Method, Plan, Preference, Ranges, Recipe, Tried
from export.progress import Track
from export.quantization.agreement import AgreementBench
from export.quantization.damage import group_damages
from export.quantization.groups import ALWAYS_FLOAT
from export.quantization.making import Maker
from export.quantization.records import Found
from export.quantization.speed import paired_speed
from osteo_edge.manifest import ENGINE_NAMES, EngineName, Metric

Drop = Callable[[Recipe], Metric]

# So many of the ways to quantize everything are followed further by each method, keeping more and more groups in float.
FOLLOWED = 2
# A part of the knees may miss the bound by this many and still be worth asking all.
_QUICK_SLACK_KNEES = 1.5
_OUTDONE = "agrees, and so does a file with fewer groups in float"


@dataclass(frozen=True)
class _Candidate:
    """A file on its way through the questions."""

    recipe: Recipe
    data: bytes = field(repr=False)
    quick: Agreement
    agreement: Agreement | None = None
    speed_ratio: float | None = None
    drop: Metric | None = None

    @property
    def error(self) -> float:
        return (self.agreement or self.quick).relative_error

    def tried(self, verdict: str) -> Tried:
        quick = replace(self.quick, flips=())
        return Tried(self.recipe, len(self.data), quick, self.agreement, self.speed_ratio, self.drop, verdict)


@dataclass(frozen=True)
class _Search:
    """What every step of a search asks."""

    maker: Maker
    bench: AgreementBench
    drop: Drop | None
    budget: Budget
    preference: Preference
    tuning_epochs: int
    damages: tuple[GroupDamage, ...]
    track: Track


def search(
    maker: Maker,
    bench: AgreementBench,
    *,
    engines: Sequence[EngineName] = ENGINE_NAMES,
    drop: Drop | None,
    budget: Budget | None = None,
    preference: Preference = "size",
    tuning_epochs: int = 0,
    track: Track,
) -> Found:
    """Find a file for every engine.

    Every way to quantize all groups but head and stem is tried first. The nearest ones are followed: as many of the most
    harmful groups go to float as it takes until the file agrees; then groups are given back, the largest first, where the
    file still agrees. Compensated rounding, which takes longer, is tried where plain rounding needs groups in float.
    Among the files that agree the smallest (or fastest) that loses no more on held-back radiographs than the budget
    allows is taken.

    Args:
        drop: what a recipe loses of the budget's figure on held-back radiographs; None judges by agreement alone.
        tuning_epochs: passes of fine-tuning that are tried where nothing else agrees; 0 for never.

    Raises:
        ExportError: a file cannot be made or run.
    """
    budget = budget or Budget()
    damages = group_damages(maker, bench, track=track) if "onnxruntime" in engines else ()
    asked = _Search(maker, bench, drop, budget, preference, tuning_epochs, damages, track)
    found = {engine: _search_engine(asked, engine) for engine in engines}
    exact = {engine: _fp32(maker, engine) for engine in engines}
    plan = Plan(
        preference=preference,
        budget=budget,
        fp32_bytes={engine: len(data) for engine, data in exact.items()},
        engines=tuple(plan for plan, _ in found.values()),
    )
    return Found(plan, {engine: data for engine, (_, data) in found.items() if data is not None})


def _search_engine(asked: _Search, engine: EngineName) -> tuple[EnginePlan, bytes | None]:
    tried: list[Tried] = []
    plain = _starts(asked, engine)
    starts = [_quick(asked, recipe) for recipe in asked.track(plain, f"trying int8 for {engine}")]
    agreeing = list(_follow_best(asked, starts, tried))
    whole = {one.recipe.method for one in agreeing if one.recipe in plain}
    compensated = [replace(recipe, is_compensated=True) for recipe in plain if recipe.method not in whole]
    if compensated:  # which takes much longer
        starts = [_quick(asked, recipe) for recipe in asked.track(compensated, f"trying compensated int8 for {engine}")]
        agreeing += _follow_best(asked, starts, tried)
    chosen, reason = _choose(asked, engine, agreeing, tried)
    if chosen is None and asked.tuning_epochs:
        nearest = min(starts, key=lambda one: one.error).recipe
        tuned = [_quick(asked, replace(nearest, is_compensated=False, tuning_epochs=asked.tuning_epochs))]
        chosen, reason = _choose(asked, engine, list(_follow_best(asked, tuned, tried)), tried)
    damages = asked.damages if engine == "onnxruntime" else ()
    plan = EnginePlan(engine, chosen.recipe if chosen else None, reason, tuple(tried), damages)
    return plan, chosen.data if chosen else None


def _starts(asked: _Search, engine: EngineName) -> list[Recipe]:
    """Everything quantized but head and stem, in every way that the engine knows."""
    kept = tuple(group for group in asked.maker.groups if group in ALWAYS_FLOAT)
    if engine == "litert":
        return [Recipe(engine, "dynamic"), Recipe(engine, "static", float_groups=kept)]
    ways = [Recipe(engine, "static", ranges, float_groups=kept) for ranges in get_args(Ranges)]
    if set(asked.maker.quantizable(engine, "dynamic")) - set(ALWAYS_FLOAT):
        ways.append(Recipe(engine, "dynamic", float_groups=kept))
    return ways


def _quick(asked: _Search, recipe: Recipe) -> _Candidate:
    data = asked.maker.make(recipe)
    return _Candidate(recipe, data, asked.bench.quick(recipe.engine, data))


def _follow_best(asked: _Search, starts: Sequence[_Candidate], tried: list[Tried]) -> Iterator[_Candidate]:
    """The files that agree; whatever was tried and does not goes to ``tried``."""
    followed = [one for method in get_args(Method) for one in _nearest(starts, method)]
    tried += [one.tried(f"{_found(one)}; others of its kind come nearer") for one in starts if one not in followed]
    for start in followed:
        found = _move_to_float(asked, start, tried)
        if found is not None:
            yield _give_back(asked, found, tried)


def _nearest(starts: Sequence[_Candidate], method: Method) -> list[_Candidate]:
    return sorted((one for one in starts if one.recipe.method == method), key=lambda one: one.error)[:FOLLOWED]


def _move_to_float(asked: _Search, start: _Candidate, tried: list[Tried]) -> _Candidate | None:
    """The file that agrees with the fewest of the most harmful groups in float; one group must stay on integers.

    Their number is found by halving, which takes files that agree to go on agreeing when more is kept in float.
    """
    judged = _judge(asked, start)
    if _agrees(asked, judged):
        return judged
    tried.append(judged.tried(_shortfall(asked, judged)))
    harmful, found = _by_harm(asked, start.recipe), None
    fewest, most = 1, len(harmful) - 1
    while fewest <= most:
        middle = (fewest + most) // 2
        groups = (*start.recipe.float_groups, *harmful[:middle])
        judged = _judge(asked, _quick(asked, replace(start.recipe, float_groups=groups)))
        if _agrees(asked, judged):
            tried += [found.tried(_OUTDONE)] if found else []
            found, most = judged, middle - 1
        else:
            tried.append(judged.tried(_shortfall(asked, judged)))
            fewest = middle + 1
    return found


def _give_back(asked: _Search, found: _Candidate, tried: list[Tried]) -> _Candidate:
    """``found`` with as many groups back on integers as it bears, the largest first."""
    sizes = {one.group: one.weight_bytes for one in asked.damages}
    moved = [group for group in found.recipe.float_groups if group not in ALWAYS_FLOAT][:-1]
    for group in sorted(moved, key=lambda group: -sizes.get(group, 0)):
        fewer = tuple(one for one in found.recipe.float_groups if one != group)
        judged = _judge(asked, _quick(asked, replace(found.recipe, float_groups=fewer)))
        if _agrees(asked, judged):
            tried.append(found.tried(_OUTDONE))
            found = judged
        else:
            tried.append(judged.tried(_shortfall(asked, judged)))
    return found


def _by_harm(asked: _Search, recipe: Recipe) -> list[str]:
    """Groups that the recipe quantizes, the most harmful first."""
    harm = {one.group: one.relative_error for one in sorted(asked.damages, key=lambda one: one.method == recipe.method)}
    left = [group for group in asked.maker.quantizable(recipe.engine, recipe.method) if group not in recipe.float_groups]
    return sorted(left, key=lambda group: -harm.get(group, 0.0))


def _judge(asked: _Search, candidate: _Candidate) -> _Candidate:
    """Asked of all knees, where the part of them gives hope."""
    if not _may_agree(asked, candidate):
        return candidate
    return replace(candidate, agreement=asked.bench.judge(candidate.recipe.engine, candidate.data))


def _may_agree(asked: _Search, candidate: _Candidate) -> bool:
    return candidate.quick.agreement >= asked.budget.min_agreement - _QUICK_SLACK_KNEES / candidate.quick.knees


def _agrees(asked: _Search, candidate: _Candidate) -> bool:
    return candidate.agreement is not None and candidate.agreement.agreement >= asked.budget.min_agreement


def _shortfall(asked: _Search, candidate: _Candidate) -> str:
    return f"{_found(candidate)}, {asked.budget.min_agreement:.0%} asked for"


def _found(candidate: _Candidate) -> str:
    found = candidate.agreement or candidate.quick
    part = "" if candidate.agreement else "a part of "
    return f"agrees on {found.agreement:.2%} of {part}the unlabelled knees"


def _timed(asked: _Search, engine: EngineName, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    if not candidates:
        return []
    files: dict[str, tuple[EngineName, bytes]] = {str(place): (engine, one.data) for place, one in enumerate(candidates)}
    files["fp32"] = (engine, _fp32(asked.maker, engine))
    ratios = paired_speed(files, "fp32", spec=asked.maker.exact.spec)
    return [replace(one, speed_ratio=ratios[str(place)]) for place, one in enumerate(candidates)]


def _choose(
    asked: _Search, engine: EngineName, agreeing: Sequence[_Candidate], tried: list[Tried]
) -> tuple[_Candidate | None, str]:
    """The first, by preference, that keeps to the budget on held-back radiographs; all go to ``tried``."""
    timed = _timed(asked, engine, agreeing)
    useful = [one for one in timed if _is_gain(asked, engine, one)]
    wanted, better = ("smallest", "smaller") if asked.preference == "size" else ("fastest", "faster")
    tried += [one.tried(f"agrees, but is not {better} than fp32") for one in timed if one not in useful]
    ordered = sorted(useful, key=lambda one: _rank(asked.preference, one))
    for place, candidate in enumerate(ordered):
        judged = candidate if asked.drop is None else replace(candidate, drop=asked.drop(candidate.recipe))
        if judged.drop is not None and judged.drop.value > asked.budget.max_drop:
            tried.append(judged.tried(f"{_lost(asked, judged)}, {asked.budget.max_drop:g} allowed"))
            continue
        tried.append(judged.tried("chosen"))
        tried += [other.tried(f"agrees, but is not the {wanted}") for other in ordered[place + 1 :]]
        return judged, f"the {wanted} file within the budget: {_told(judged)}; {_lost(asked, judged)}"
    return None, _why_none(asked, tried)


def _is_gain(asked: _Search, engine: EngineName, candidate: _Candidate) -> bool:
    if asked.preference == "size":
        return len(candidate.data) < len(_fp32(asked.maker, engine))
    return (candidate.speed_ratio or 0.0) > 1


def _rank(preference: Preference, candidate: _Candidate) -> tuple[float, float]:
    speed = candidate.speed_ratio or 0.0
    return (len(candidate.data), -speed) if preference == "size" else (-speed, len(candidate.data))


def _told(candidate: _Candidate) -> str:
    kept = ", ".join(candidate.recipe.float_groups) or "no group"
    share = f"{candidate.agreement.agreement:.2%}" if candidate.agreement else "an unknown share"
    return f"{candidate.recipe.name}, {kept} kept in float, agrees on {share} of the unlabelled knees"


def _lost(asked: _Search, candidate: _Candidate) -> str:
    figure = LOST[asked.budget.figure]
    if candidate.drop is None:
        return f"what it loses of {figure} was not asked for"
    return f"loses {candidate.drop.value:.4f} {figure} ({candidate.drop.low:.4f} to {candidate.drop.high:.4f})"


def _why_none(asked: _Search, tried: Sequence[Tried]) -> str:
    judged = [one for one in tried if one.drop is not None]
    if judged:
        least = min(judged, key=lambda one: one.drop.value if one.drop else 0.0)
        figure = LOST[asked.budget.figure]
        return f"no file that agrees keeps to the budget of {figure}; the nearest ({least.recipe.name}) {least.verdict}"
    nearest = max(tried, key=_nearness)
    return f"no file will do; the nearest ({nearest.recipe.name}) {nearest.verdict}"


def _nearness(tried: Tried) -> tuple[bool, float]:
    found = tried.agreement or tried.quick
    return tried.agreement is not None, found.agreement if found else 0.0


def _fp32(maker: Maker, engine: EngineName) -> bytes:
    if engine == "onnxruntime":
        return maker.exact.onnx
    return maker.fp32_litert
