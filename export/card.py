"""The bundle's model card and licence. Every figure in the card comes from the run or from this export's measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from export.card_files import Pictures, files_section, precision_section
from export.data_card import DataCard
from export.folds import FoldFigures
from export.members import ExportedMember
from export.origin import Origin
from osteo_edge.bundle import DEFAULT_BUNDLE
from osteo_edge.covariates import spoken
from osteo_edge.decision.conformal import TIE
from osteo_edge.decision.fusion import weighs_picture
from osteo_edge.manifest import Conformal, Fusion, Manifest, Member, Metric, RegionProfile
from osteo_edge.printable import enumerate_words
from osteo_edge.questions import Question

_COMMON = "--finder train/results/knee-finder/finder.npz --data ../shared/data/knee"
LICENCE_ID = "LicenseRef-osteo-edge-research-model"
INTENDED_USE = (
    "Research, education and demonstration only. Not a medical device, not validated or cleared by any regulator, not for "
    "clinical use. It may inform the question whether to offer a DXA scan; it is no diagnosis and no substitute for one."
)

_FIGURES = {
    "balanced_accuracy": "Balanced accuracy",
    "macro_auc": "Macro AUC",
    "auc_low_density": "AUC, any low bone density",
    "auc_osteoporosis": "AUC, osteoporosis against the rest",
}
SHORTCUTS = ("file_metadata", "border_ring")
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
_ENSEMBLES = {
    "mean": "whose probabilities are averaged",
    "weighted": "whose probabilities are averaged with weights",
    "vote": "each of which has one vote for its likeliest code",
    "gompertz": "whose ranks of the codes are fused by Gompertz functions",
    "stacking": "whose scores a small model, fitted on out-of-fold scores, weighs against each other",
    "forest": "whose scores a forest of small trees, fitted on out-of-fold scores, turns into one",
    "cascade": "run one after the other until the mean of their probabilities is sure",
}


def model_card(
    manifest: Manifest,
    metrics: Mapping[str, Any],
    members: Sequence[ExportedMember],
    data_card: DataCard,
    origins: Sequence[Origin],
    *,
    together: Mapping[str, FoldFigures],
    pictures: Pictures,
) -> str:
    """The card, Markdown.

    Args:
        together: engine -> figures of the whole ensemble in int8.
    """
    sections = [
        _head(manifest),
        _intended_use(),
        _training(manifest, metrics, data_card, origins),
        _results(manifest, metrics),
        *([_with_covariates(manifest.fusion, manifest.labels)] if manifest.fusion else []),
        _label_sets(manifest, metrics),
        _limits(metrics, data_card),
        files_section(members, pictures),
        *_precisions_of(members, together),
        _again(manifest, origins),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _precisions_of(members: Sequence[ExportedMember], together: Mapping[str, FoldFigures]) -> Iterator[list[str]]:
    for place, member in enumerate(members):
        is_last = place == len(members) - 1
        if section := precision_section(member, together, is_alone=len(members) == 1, is_last=is_last):
            yield section


def licence(origins: Sequence[Origin], data_card: DataCard) -> str:
    """The text of the bundle's LICENSE."""
    return _LICENCE.format(training_set=data_card.source, use=data_card.use, weights=_told(origins))


def _head(manifest: Manifest) -> list[str]:
    return [
        f"# {manifest.name} {manifest.version}",
        "",
        "A research model that looks at antero-posterior knee radiographs for signs of low bone density.",
        "**Not a medical device. Not for clinical use. Its answers are research codes, not diagnoses.**",
        "",
        *(_networks(manifest) if len(manifest.members) > 1 else [f"- Network: {_network(manifest.members[0])}."]),
        *dict.fromkeys(_sees(member.region) for member in manifest.members),
        f"- Question: {manifest.question.title}, one answer a {manifest.question.unit}.",
        f"- Answers: {_answers(manifest.question)}; probabilities of these research codes, and the set of codes that cannot be "
        "ruled out.",
    ]


def _answers(question: Question) -> str:
    return ", ".join(f"`{one.code}` ({', '.join(one.labels)})" for one in question.answers)


def _networks(manifest: Manifest) -> list[str]:
    return [
        f"- Networks: {len(manifest.members)}, {_ENSEMBLES[manifest.ensemble.kind]}.",
        *(f"  - {member.name}: {_network(member)}." for member in manifest.members),
    ]


def _network(member: Member) -> str:
    size = f"{member.input.height_px} x {member.input.width_px} pixels"
    backbone, _, last = member.backbone.partition("@")
    ended = f", ended after its layer {last}" if last else ""
    return f"{backbone}{ended}, one grey channel, {size}, linear head on the mean of the feature map"


def _sees(region: RegionProfile) -> str:
    return (
        f"- Sees: a box around each knee joint that the finder finds ({region.half_width:g} knee widths to each side, "
        f"{region.above:g} above and {region.below:g} below the joint); two knees are scored apart and their logits averaged."
    )


def _intended_use() -> list[str]:
    return [
        "## Intended use",
        "",
        INTENDED_USE,
        "",
        "- Who: researchers and engineers; clinicians in an approved study.",
        "- On whom: adults like those of the training set, antero-posterior view of the knee.",
        "- What it may inform: whether to offer a DXA scan. Only DXA of hip or spine, read by a doctor, diagnoses.",
        "",
        "It must not be used",
        "",
        "- to tell a person that they have or do not have a disease, or to start, change or stop a treatment;",
        "- to derive a T-score: no number of this model is one;",
        "- to follow one person over time: the change that means something was not measured;",
        "- to rule out low bone density: it misses cases;",
        "- on other body parts or views, on children, or on knees with implants.",
    ]


def _training(manifest: Manifest, metrics: Mapping[str, Any], data_card: DataCard, origins: Sequence[Origin]) -> list[str]:
    counts = metrics.get("radiographs", {})
    by_label = ", ".join(f"{count} {label}" for label, count in counts.get("scored_by_label", {}).items())
    return [
        "## What it was trained on",
        "",
        f"- {manifest.provenance['training_radiographs']} radiographs{f' ({by_label})' if by_label else ''}: "
        f"{data_card.source}. {data_card.selection}",
        f"- Labels: {data_card.label_source}. {data_card.label_caveat}",
        f"- It started from {_told(origins)}.",
        f"- SHA-256 of the sorted digests of the training radiographs: `{manifest.provenance['training_digests_sha256']}`.",
    ]


def _results(manifest: Manifest, metrics: Mapping[str, Any]) -> list[str]:
    names = [name for name in _FIGURES if name in manifest.metrics]
    rows = [_row("**This model**", manifest.metrics, names)]
    rows += [_row(_SYSTEMS.get(name, name), figures, names) for name, figures in manifest.baselines.items()]
    return [
        "## How well it does",
        "",
        f"Cross-validation in which no patient stands on both sides ({metrics.get('method', 'grouped by patient')}). Brackets: "
        "95 % interval. There is no independent external set.",
        "",
        f"| | {' | '.join(_FIGURES[name] for name in names)} |",
        f"|---|{'---|' * len(names)}",
        *rows,
        "",
        "In plain words:",
        "",
        *(f"- {line}" for line in _in_plain_words(manifest, metrics)),
    ]


def _row(name: str, figures: Mapping[str, Metric], names: list[str]) -> str:
    return f"| {name} | {' | '.join(_shown(figures[one]) if one in figures else '' for one in names)} |"


def _shown(metric: Metric) -> str:
    return f"{metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}]"


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
        return f"It tells the classes apart better than chance (macro AUC {_shown(auc)}, chance 0.50), and far from surely."
    return f"It was not shown to be better than chance (macro AUC {_shown(auc)}, chance 0.50)."


def _against_shortcut(system: str, difference: Metric) -> str:
    verdict = "It was not shown to do better than"
    if difference.low > 0 or difference.high < 0:
        verdict = "It does better than" if difference.low > 0 else "It does worse than"
    return f"{verdict}: {system[0].lower()}{system[1:]} (macro AUC, difference {_shown(difference)})."


def _against_age_and_sex(difference: Metric) -> str:
    shown = f"macro AUC of the picture less that of age and sex: {_shown(difference)}"
    if difference.high < 0:
        return f"Age and sex alone, without any picture, do better than this model ({shown})."
    if difference.low > 0:
        return f"It does better than age and sex alone ({shown})."
    return f"It was not shown to do better than age and sex alone ({shown})."


def _against_frozen(difference: Metric) -> str:
    shown = f"macro AUC, difference {_shown(difference)}"
    if difference.low > 0:
        return f"Fine-tuning helped over a linear head on the features of the starting weights ({shown})."
    return f"Fine-tuning was not shown to help over a linear head on the features of the starting weights ({shown})."


def _with_covariates(fusion: Fusion, labels: Sequence[str]) -> list[str]:
    known = enumerate_words([spoken(covariate) for covariate in fusion.covariates])
    required = enumerate_words([spoken(covariate) for covariate in fusion.covariates if covariate.name in fusion.required])
    names = [name for name in _FIGURES if name in fusion.metrics]
    lines = [
        "## Together with what is known of the person",
        "",
        f"Where {required} are given, the picture's score and what is known ({known}) are weighed by one multinomial logistic "
        "model. Same folds, 95 % intervals; the gain is paired.",
        "",
        f"| | {' | '.join(_FIGURES[name] for name in names)} |",
        f"|---|{'---|' * len(names)}",
        _row("**Picture and covariates**", fusion.metrics, names),
        _row("The same covariates, no picture", fusion.without_image, names),
        _row("Gain by the picture", fusion.gain, names),
        "",
        _whether_the_picture_adds(fusion),
    ]
    if not fusion.is_proven:
        lines += ["", "**These scores were not shown to be better than chance either: every picture is referred.**"]
    lines += [
        "",
        f"Every class of at least {_enough(fusion.conformal, labels)} stays in the set, for a coverage of about "
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
        f"Every class with a probability of at least {_enough(conformal, manifest.labels)} stays in the answer's set, so that "
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


def _enough(conformal: Conformal, labels: Sequence[str]) -> str:
    """The threshold; where they differ, each with its class."""
    thresholds = conformal.min_probabilities
    if len(set(thresholds)) == 1:
        return f"{thresholds[0]:.3f}"
    return ", ".join(f"{enough:.3f} ({label})" for label, enough in zip(labels, thresholds, strict=True))


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


def _limits(metrics: Mapping[str, Any], data_card: DataCard) -> list[str]:
    lost = metrics.get("radiographs", {}).get("without_knee")
    return [
        "## Who it does not represent, and where it fails",
        "",
        *(f"- {limit}" for limit in data_card.limits),
        "- Weakest: the smaller classes (normal and osteoporosis) and neighbouring classes; see the shares above.",
        "- Implants, fractures, casts, growing bones, strong osteoarthritis, lateral or rotated views: not in the set or not "
        "counted; the finder may still find a knee there.",
        "- Photographs of a screen and pictures with heavy processing were not studied.",
        *([f"- The finder found no knee on {lost} of the radiographs that were to be trained on."] if lost is not None else []),
        "- The finder of knees was fitted on joints, not on bone density, of some of these radiographs; what it finds on "
        "others is told in its own evaluation. Pictures that show a knee stretched or squeezed often go unanswered.",
        "- The intervals are of the scores as they came out; they do not hold what another training would change.",
        "- Results by sex, age group, device and side are too few to be given with a useful interval.",
    ]


def _again(manifest: Manifest, origins: Sequence[Origin]) -> list[str]:
    software = {
        key.removeprefix("software_"): value for key, value in manifest.provenance.items() if key.startswith("software_")
    }
    return [
        "## How to make it again",
        "",
        "```",
        *dict.fromkeys(origin.command for origin in origins if origin.command),
        *_training_commands(manifest),
        *_plan(manifest),
        f"python -m export bundle --run train/results/{manifest.provenance['training_run']} \\",
        f"    {_COMMON} \\",
        f"    --data-card export/data_cards/{manifest.provenance['data_card']} \\",
        *_evidence(manifest),
        f"    --coverage {manifest.conformal.coverage:g} {_output(manifest.name)} --force",
        "```",
        "",
        f"With {', '.join(f'{name} {number}' for name, number in sorted(software.items()))}. "
        "The same input gives the same bytes; ranges of int8, measured anew, depend on the machine in their last digits.",
    ]


def _evidence(manifest: Manifest) -> Iterator[str]:
    """The options that name what was measured before."""
    if any(path.endswith("quantization.json") for path in manifest.files):
        yield f"    --plan {_plan_file(manifest)} --unlabelled ../shared/data/knee_unlabelled \\"
        yield f"    --measured {_measured_file(manifest)} \\"
    for name in ("portability", "latency"):
        if f"evidence/{name}.json" in manifest.files:
            yield f"    --{name} export/results/{manifest.name}/{name}.json \\"


def _training_commands(manifest: Manifest) -> Iterator[str]:
    """The configurations bear the names of the runs."""
    run = manifest.provenance["training_run"]
    members = manifest.provenance.get("member_runs", run).split(", ")
    yield from (f"python -m train fit --config train/configs/{member}.toml" for member in members)
    if run not in members:
        yield f"python -m train ensemble --config train/configs/{run}.toml"


def _plan(manifest: Manifest) -> Iterator[str]:
    """How the reduced files were found; nothing for bundles of fp32 alone."""
    if any(path.endswith("quantization.json") for path in manifest.files):
        yield f"python -m export plan --run train/results/{manifest.provenance['training_run']} \\"
        yield f"    {_COMMON} --unlabelled ../shared/data/knee_unlabelled \\"
        yield f"    --output {_plan_file(manifest)}"
        yield f"python -m export measure --run train/results/{manifest.provenance['training_run']} \\"
        yield f"    {_COMMON} --plan {_plan_file(manifest)} --output {_measured_file(manifest)}"


def _plan_file(manifest: Manifest) -> str:
    return f"export/results/{manifest.name}/plan.json"


def _measured_file(manifest: Manifest) -> str:
    return f"export/results/{manifest.name}/measured.npz"


def _output(name: str) -> str:
    """The embedded bundle lies in the package; others are packed for ``bundles install``."""
    return f"--output osteo_edge/bundles/{name}" if name == DEFAULT_BUNDLE else f"--output dist/{name} --zip"


def _told(origins: Sequence[Origin]) -> str:
    return "; ".join(dict.fromkeys(origin.told for origin in origins))


_LICENCE = """\
Licence of this model bundle (LicenseRef-osteo-edge-research-model)

This licence covers the model files, the reference picture and the documents of this folder. The code of
osteo-edge has a licence of its own, the Apache License 2.0.

Permission is granted, free of charge, to use, copy, change and share these files for research, education
and demonstration, under these conditions:

1. Not for clinical use. The files must not be used to diagnose, treat, or decide about the care of any
   person, and must not be offered as, or built into, a medical device. Using them in a study with human
   participants needs the approval that the law of the place asks for.
2. Attribution. Whoever shares these files or results obtained with them names their sources:
   - radiographs: {training_set}, {use};
   - starting weights: {weights}.
3. This text and MODEL_CARD.md stay with the files, and changed files say that they were changed.

The starting weights stay under their own licence as far as they are contained unchanged.

THE FILES ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE. IN NO EVENT SHALL THE AUTHORS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY ARISING FROM THE FILES OR THEIR USE.
"""
