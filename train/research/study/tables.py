"""A study's results as tables for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from osteo_edge.manifest import Metric
from train.ensembles.fusion_judgement import AGE_SEX_ALONE, ALONE, FUSED, IMAGE, Judgement
from train.ensembles.nested import EnsembleScores
from train.research.study.config import StudyConfig
from train.research.study.systems import Selected, count_choices

Figures = Mapping[str, Mapping[str, Metric]]

NO_NETWORK = "none"


def all_tables(
    config: StudyConfig,
    selections: Sequence[Selected],
    ensembles: Sequence[EnsembleScores],
    fusions: Mapping[tuple[str, str], Judgement],
    figures: Figures,
) -> list[dict[str, Any]]:
    """Every table as the report reads it: title, note, columns, rows."""
    return [
        _systems(config, figures),
        _choices(config, selections),
        *([_ensembles(config, ensembles, figures)] if config.ensembles else []),
        _fusions(fusions),
        _bands(fusions),
    ]


def proof_table(proof: Mapping[str, Any]) -> dict[str, Any]:
    """``proof.json`` as a table."""
    rule, beside = proof["rule"], proof["beside_covariates"]
    rows = [
        [name, _interval(one), f"{one['permuted']['low']:.2f} to {one['permuted']['high']:.2f}", f"{one['p_value']:.3f}"]
        for name, one in proof["macro_auc"].items()
    ]
    differences = {**proof["pools_compared"], f"gain on {', '.join(beside['covariates'])}": beside["gain"]}
    rows += [[name, as_text(one["macro_auc"]), "", ""] for name, one in differences.items()]
    return {
        "title": "Does the picture tell anything?",
        "note": f"The rule, set before: {rule['is_proven_where']}. By it the picture's answer is "
        f"{'proven' if proof['is_proven'] else 'not proven'}. In each of {rule['permutations']} permutations people were dealt "
        "to pictures anew and everything, with the choices inside the folds, was done again; the range is of the middle 95 %.",
        "columns": ["system", "macro AUC", "on permuted people", "p"],
        "rows": rows,
    }


def _interval(one: Mapping[str, Any]) -> str:
    return as_text(Metric(one["value"], one["low"], one["high"]))


def _systems(config: StudyConfig, figures: Figures) -> dict[str, Any]:
    by_name = {one.name: one for one in config.features}
    rows = [
        [
            one.name,
            by_name[one.features].backbone or NO_NETWORK,
            by_name[one.features].region,
            one.target,
            *_shown(figures[one.name]),
        ]
        for one in config.systems
    ]
    return {
        "title": "Networks, regions and targets",
        "note": "Frozen features and a linear classifier. To quote the best row here would be choosing on the "
        "held-back radiographs; the model above is chosen inside the folds.",
        "columns": ["system", "backbone", "region", "target", "macro AUC", "balanced accuracy", "AUC of osteoporosis"],
        "rows": sorted(rows, key=lambda row: row[4], reverse=True),
    }


def _choices(config: StudyConfig, selections: Sequence[Selected]) -> dict[str, Any]:
    chosen = count_choices(selections)
    rows = [
        [one.name, f"{np.mean([auc for s in selections for auc in s.inner_auc[one.name]]):.3f}", chosen.get(one.name, 0)]
        for one in config.candidates
    ]
    folds = sum(len(one.chosen) for one in selections)
    return {
        "title": "What the folds chose",
        "note": f"Macro AUC of each candidate in the inner cross-validation, mean over {folds} outer folds, and how many folds "
        "chose it.",
        "columns": ["candidate", "inner macro AUC", "chosen"],
        "rows": sorted(rows, key=lambda row: (-int(row[2]), row[0])),
    }


def _ensembles(config: StudyConfig, ensembles: Sequence[EnsembleScores], figures: Figures) -> dict[str, Any]:
    rows = [
        [kind, *_shown(figures[f"ensemble_{kind}"]), f"{np.mean([one.members_run[kind] for one in ensembles]):.2f}"]
        for kind in config.ensembles
    ]
    best = max(config.members, key=lambda name: figures[name]["macro_auc"].value)
    rows.append([f"best member, {best}", *_shown(figures[best]), "1"])
    return {
        "title": "Ensembles",
        "note": f"Of {', '.join(config.members)}; fitted on inner held-back scores. The best member is found on the same "
        "radiographs, which flatters it.",
        "columns": ["ensemble", "macro AUC", "balanced accuracy", "AUC of osteoporosis", "members run"],
        "rows": rows,
    }


def _fusions(fusions: Mapping[tuple[str, str], Judgement]) -> dict[str, Any]:
    rows = []
    for (system, covariates), one in fusions.items():
        for shown in (IMAGE, AGE_SEX_ALONE, ALONE, FUSED):
            if shown in one.figures:
                rows.append([system, covariates, shown, *_shown(one.figures[shown])])
        gain = one.gains[ALONE]
        rows.append(
            [system, covariates, "fused less covariates", as_text(gain["macro_auc"]), as_text(gain["balanced_accuracy"]), ""]
        )
    notes = [f"{system} with {covariates}: {' '.join(one.sentences()[:2])}" for (system, covariates), one in fusions.items()]
    return {
        "title": "The picture beside what is known of the person",
        "note": " ".join(notes),
        "columns": ["image score", "covariates", "system", "macro AUC", "balanced accuracy", "AUC of osteoporosis"],
        "rows": rows,
    }


def _bands(fusions: Mapping[tuple[str, str], Judgement]) -> dict[str, Any]:
    rows = []
    for (system, covariates), one in fusions.items():
        for band in one.bands:
            for pair in band["pairs"]:
                auc = pair["auc"]
                cells = [as_text(auc[name]) for name in (IMAGE, ALONE, FUSED)]
                classes = " against ".join(pair["classes"])
                rows.append([system, covariates, band["band"], classes, *cells, as_text(pair["fused_less_covariates"])])
    return {
        "title": "Within bands of age",
        "note": "AUC of neighbouring classes with at least five radiographs of both. Bands without a class have no "
        "three-class figure.",
        "columns": [
            "image score",
            "covariates",
            "age",
            "classes",
            "image",
            "covariates alone",
            "fused",
            "fused less covariates",
        ],
        "rows": rows,
    }


def _shown(figures: Mapping[str, Metric]) -> list[str]:
    return [as_text(figures[name]) for name in ("macro_auc", "balanced_accuracy", "auc_osteoporosis")]


def as_text(metric: Metric) -> str:
    """Value and 95 % interval with two digits."""
    return f"{metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})"
