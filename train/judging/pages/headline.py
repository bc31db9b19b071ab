"""What a run's numbers allow to be said, in words; every sentence follows from an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.judging.evaluate import compare, permutation_p_value
from train.judging.pages.reading import RunMaterial
from train.judging.pages.wording import system_title, with_interval
from train.runs.scores import MODEL, Scores

CHANCE_AUC = 0.5
PERSON = "age_sex"
COVARIATES = "covariates"
FUSED = "fused"
SHORTCUTS = ("file_metadata", "border_ring", "thumbnail")
SIMPLER = "frozen_features"
RESAMPLES = 2000
LEVEL = 0.05

Verdict = Literal["shown", "not_shown", "worse"]


@dataclass(frozen=True)
class Finding:
    """A sentence, the numbers behind it, and which way it goes."""

    verdict: Verdict
    sentence: str
    evidence: str


def findings(material: RunMaterial) -> tuple[Finding, ...]:
    """The most important first; only what the run has measured."""
    return tuple(_findings(material))


def headline(found: Sequence[Finding]) -> str:
    """The first finding, and beside it the first that did not turn out well: no good news alone."""
    first, *others = found
    return " ".join([first.sentence, *(one.sentence for one in others if one.verdict != "shown")][:2])


def _findings(material: RunMaterial) -> Iterator[Finding]:
    figures = material.systems[MODEL]
    if "macro_auc" in figures:
        yield _against_chance(figures["macro_auc"])
    for name in (PERSON, *SHORTCUTS, SIMPLER):
        if "macro_auc" in material.differences.get(name, {}):
            yield _against(name, material.differences[name]["macro_auc"])
    yield from _fused(material.scores, material.seed)
    yield from _missed(figures)
    yield from _permuted(material)


def _against_chance(macro_auc: Metric) -> Finding:
    evidence = f"macro AUC {with_interval(macro_auc)}; chance is {CHANCE_AUC}"
    if macro_auc.low > CHANCE_AUC:
        return Finding("shown", "Better than chance.", evidence)
    if macro_auc.high < CHANCE_AUC:
        return Finding("worse", "Worse than chance: something is wrong with the run.", evidence)
    return Finding("not_shown", "Not shown to be better than chance.", evidence)


def _against(name: str, difference: Metric) -> Finding:
    other = system_title(name)
    other = other[0].lower() + other[1:]
    words = ("Better than", "Not shown to be better than", "Worse than")
    return _finding("{} " + other.replace("{", "{{").replace("}", "}}") + ".", words, difference, "model less this")


def _fused(scores: Mapping[str, Scores], seed: int) -> Iterator[Finding]:
    """What the picture adds to what is known of the person, where the run has fused the two."""
    if FUSED not in scores:
        return
    if COVARIATES in scores:
        difference = _paired_macro_auc(scores[FUSED], scores[COVARIATES], seed)
        words = ("adds to the covariates", "adds nothing shown to the covariates", "takes away from what the covariates tell")
        yield _finding("The picture {}.", words, difference, "with the picture less without")
    if PERSON in scores:
        difference = _paired_macro_auc(scores[FUSED], scores[PERSON], seed)
        words = ("better", "not shown to be better", "worse")
        template = "Picture and covariates together are {} than age and sex alone."
        yield _finding(template, words, difference, "together less age and sex")


def _paired_macro_auc(first: Scores, second: Scores, seed: int) -> Metric:
    systems = {one.name: one.probabilities for one in (first, second)}
    _, differences = compare(first.labels, systems, first.groups, model=first.name, count=RESAMPLES, seed=seed)
    return differences[second.name]["macro_auc"]


def _finding(template: str, words: tuple[str, str, str], difference: Metric, what: str) -> Finding:
    """The sentence that the interval of a paired difference allows: it is above zero, holds zero, or is below."""
    verdict: Verdict = "shown" if difference.low > 0 else "worse" if difference.high < 0 else "not_shown"
    word = dict(zip(("shown", "not_shown", "worse"), words, strict=True))[verdict]
    return Finding(verdict, template.format(word), f"macro AUC, {what}: {with_interval(difference, signed=True)}")


def _missed(figures: Mapping[str, Metric]) -> Iterator[Finding]:
    """Classes that are found no more often than by naming a class at random."""
    for label in LABELS:
        recall = figures.get(f"recall_{label}")
        if recall is not None and recall.low <= 1 / len(LABELS):
            sentence = f"Not shown to find {label} more often than naming a class at random."
            yield Finding("not_shown", sentence, f"recall {with_interval(recall)}; at random {1 / len(LABELS):.2f}")


def _permuted(material: RunMaterial) -> Iterator[Finding]:
    """Whether the true labels can be told from shuffled ones."""
    check = material.metrics.get("permuted_labels") or {}
    aucs, system = check.get("macro_auc") or [], str(check.get("system", MODEL))
    own = material.systems.get(system, {}).get("macro_auc")
    if not aucs or own is None:
        return
    p_value = permutation_p_value(own.value, aucs)
    evidence = (
        f"macro AUC of {len(aucs)} shuffles {min(aucs):.2f} to {max(aucs):.2f}, of the true labels {own.value:.2f}; "
        f"p = {p_value:.2f}, and no less than {1 / (1 + len(aucs)):.2f} with so many shuffles"
    )
    title = system_title(system)
    if p_value <= LEVEL:
        yield Finding("shown", f"{title}: true labels do better than shuffled ones.", evidence)
    else:
        yield Finding("not_shown", f"{title}: true labels not shown to do better than shuffled ones.", evidence)
