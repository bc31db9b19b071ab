"""What the model card says of a run of classes: its figures out of fold, beside what needs no picture, and its label sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from export.card_tables import enough, shown, table
from export.evaluation import SHORTCUTS
from osteo_edge.covariates import spoken
from osteo_edge.decision.conformal import TIE
from osteo_edge.decision.fusion import weighs_picture
from osteo_edge.manifest import Fusion, Manifest, Metric
from osteo_edge.printable import enumerate_words

_FIGURES = {
    "balanced_accuracy": "Balanced accuracy",
    "macro_auc": "Macro AUC",
    "auc_low_density": "AUC, any low bone density",
    "auc_osteoporosis": "AUC, osteoporosis against the rest",
}
_SYSTEMS = {
    "majority": "Class shares alone, no picture",
    "age_sex": "Age and sex alone, no picture",
    "file_metadata": "File size, shape and type alone",
    "border_ring": "Border of the picture alone, no knee",
    "frozen_features": "The same network, not fine-tuned, linear head",
    "ensemble_mean": "Mean of the members' probabilities",
    "ensemble_weighted": "Weighted mean of the members' probabilities",
    "ensemble_vote": "Vote of the members",
    "ensemble_gompertz": "Fuzzy ranks of the members (Gompertz)",
    "ensemble_stacking": "Stacking with a linear model",
    "ensemble_stacking_network": "Stacking with a small network",
    "ensemble_hierarchical": "Low density or not, then how low, each by stacking",
    "ensemble_forest": "Forest of small trees on the members' scores",
    "ensemble_cascade": "Cascade that stops when sure",
}


def sections_of_classes(manifest: Manifest, metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    """How well it does, together with covariates where it takes them, and when it does not answer."""
    yield _results(manifest, metrics)
    if manifest.fusion:
        yield _with_covariates(manifest.fusion, manifest.labels)
    yield _label_sets(manifest, metrics)


def _results(manifest: Manifest, metrics: Mapping[str, Any]) -> list[str]:
    rows = {"**This model**": manifest.metrics}
    rows |= {_SYSTEMS.get(name, name): figures for name, figures in manifest.baselines.items()}
    return [
        "## How well it does",
        "",
        f"Cross-validation in which no patient stands on both sides ({metrics.get('method', 'grouped by patient')}). Brackets: "
        "95 % interval. There is no independent external set.",
        "",
        *table(_present(manifest.metrics), rows),
        "",
        "In plain words:",
        "",
        *(f"- {line}" for line in _in_plain_words(manifest, metrics)),
    ]


def _present(figures: Mapping[str, Metric]) -> dict[str, str]:
    return {name: word for name, word in _FIGURES.items() if name in figures}


def _in_plain_words(manifest: Manifest, metrics: Mapping[str, Any]) -> Iterator[str]:
    auc = manifest.metrics.get("macro_auc")
    if auc is not None:
        yield _against_chance(auc)
    differences = metrics.get("model_less_baseline", {})
    for name in SHORTCUTS:
        if name in differences:
            yield _against_shortcut(_SYSTEMS[name], Metric(**differences[name]["macro_auc"]))
    if "age_sex" in differences:
        yield _against_age_and_sex(Metric(**differences["age_sex"]["macro_auc"]))
    if "frozen_features" in differences:
        yield _against_frozen(Metric(**differences["frozen_features"]["macro_auc"]))
    recalls = {label: manifest.metrics[f"recall_{label}"] for label in manifest.labels if f"recall_{label}" in manifest.metrics}
    if recalls:
        found = "; ".join(
            f"{label} {recall.value:.0%} [{recall.low:.0%}, {recall.high:.0%}]" for label, recall in recalls.items()
        )
        yield f"Share of each class whose likeliest code was the right one: {found}."


def _against_chance(auc: Metric) -> str:
    if auc.low > 0.5:
        return f"It tells the classes apart better than chance (macro AUC {shown(auc)}, chance 0.50), and far from surely."
    return f"It was not shown to be better than chance (macro AUC {shown(auc)}, chance 0.50)."


def _against_shortcut(system: str, difference: Metric) -> str:
    verdict = "It was not shown to do better than"
    if difference.low > 0 or difference.high < 0:
        verdict = "It does better than" if difference.low > 0 else "It does worse than"
    return f"{verdict}: {system[0].lower()}{system[1:]} (macro AUC, difference {shown(difference)})."


def _against_age_and_sex(difference: Metric) -> str:
    told = f"macro AUC of the picture less that of age and sex: {shown(difference)}"
    if difference.high < 0:
        return f"Age and sex alone, without any picture, do better than this model ({told})."
    if difference.low > 0:
        return f"It does better than age and sex alone ({told})."
    return f"It was not shown to do better than age and sex alone ({told})."


def _against_frozen(difference: Metric) -> str:
    told = f"macro AUC, difference {shown(difference)}"
    if difference.low > 0:
        return f"Fine-tuning helped over a linear head on the features of the starting weights ({told})."
    return f"Fine-tuning was not shown to help over a linear head on the features of the starting weights ({told})."


def _with_covariates(fusion: Fusion, labels: Sequence[str]) -> list[str]:
    known = enumerate_words([spoken(covariate) for covariate in fusion.covariates])
    required = enumerate_words([spoken(covariate) for covariate in fusion.covariates if covariate.name in fusion.required])
    rows = {
        "**Picture and covariates**": fusion.metrics,
        "The same covariates, no picture": fusion.without_image,
        "Gain by the picture": fusion.gain,
    }
    lines = [
        "## Together with what is known of the person",
        "",
        f"Where {required} are given, the picture's score and what is known ({known}) are weighed by one multinomial logistic "
        "model. Same folds, 95 % intervals; the gain is paired.",
        "",
        *table(_present(fusion.metrics), rows),
        "",
        _whether_the_picture_adds(fusion),
    ]
    if not fusion.is_proven:
        lines += ["", "**These scores were not shown to be better than chance either: every picture is referred.**"]
    lines += [
        "",
        f"Every class of at least {enough(fusion.conformal, labels)} stays in the set, for a coverage of about "
        f"{fusion.conformal.coverage:.0%} (fitted on {fusion.conformal.calibration_size} out-of-fold radiographs).",
        *_support(fusion),
    ]
    return lines


def _whether_the_picture_adds(fusion: Fusion) -> str:
    if fusion.image_adds:
        return "The picture adds to what the covariates tell: the interval of its gain in macro AUC lies above zero."
    weightless = "" if weighs_picture(fusion) else " Its fitted model gives the picture no weight at all."
    return (
        "**The picture was not shown to add to what the covariates tell**: the interval of its gain in macro AUC does not "
        f"lie above zero. An answer of this kind is referred, and says what it rests on.{weightless}"
    )


def _support(fusion: Fusion) -> Iterator[str]:
    """Who is referred since the training set held nobody like them."""
    for covariate in fusion.covariates:
        for label, (low, high) in covariate.support.items():
            yield ""
            yield (
                f"Seen of {label}: {spoken(covariate)} {low:g} to {high:g}{f' {covariate.unit}' if covariate.unit else ''}. "
                "Whoever lies outside is referred."
            )


def _label_sets(manifest: Manifest, metrics: Mapping[str, Any]) -> list[str]:
    conformal = manifest.conformal
    measured: Mapping[str, Any] = next(
        (one for one in metrics.get("conformal", ()) if one["coverage"] == conformal.coverage), {}
    )
    lines = [
        "## When it does not answer",
        "",
        f"Every class with a probability of at least {enough(conformal, manifest.labels)} stays in the answer's set, so that "
        f"it holds the true class for about {conformal.coverage:.0%} of pictures like those of the training set (fitted on "
        f"{conformal.calibration_size} out-of-fold radiographs; an average, not a promise for each class). So does a class "
        f"within {TIE:g} of the likeliest, and what lies between two that stay. A set whose classes do not all lie in one "
        "of the answers is 'referred'.",
    ]
    if not manifest.is_proven:
        lines += [
            "",
            "**Cross-validation did not show that this model tells more than chance, and more than the picture's file and "
            "border do. So every picture alone is referred**: scores and sets are given for research.",
        ]
    if "single_label_share" in measured:
        shares = ", ".join(f"{label} {share:.0%}" for label, share in measured["covered_share_by_label"].items())
        lines += [
            "",
            f"On the training set's out-of-fold scores a single class remained for {measured['single_label_share']:.0%} of the "
            f"radiographs. The true class was in the set for: {shares}.",
        ]
    if "single_labels" in measured:
        lines += ["", *_sentences(measured)]
    return lines


def _sentences(measured: Mapping[str, Any]) -> Iterator[str]:
    """What the sets alone would tell people, and how often that is right."""
    right, single = measured["single_labels_right"], measured["single_labels"]
    yield f"The single class was the right one for {right} of {single}. By the sets alone people would be told:"
    yield ""
    labels = list(next(iter(measured["sentences_by_label"].values())))
    yield f"| sentence | {' | '.join(f'of the {label}' for label in labels)} |"
    yield f"|---|{'---|' * len(labels)}"
    for sentence, counts in measured["sentences_by_label"].items():
        yield f"| {sentence} | {' | '.join(str(counts[label]) for label in labels)} |"
