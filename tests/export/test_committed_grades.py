"""The embedded bundle of grades, made again from the committed run, measurements and the graded knees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.pipeline import Material, export_bundle
from export.reference import draw_reference
from export.source import load_source
from osteo_edge.bundle import open_bundle
from tests.export.conftest import ROOT

RESULTS = ROOT / "export/results/knee-osteoarthritis"


@pytest.mark.slow
def test_it_comes_out_as_it_is_embedded(
    data_folder: Path, finder: Any, finder_bytes: bytes, track: Any, tmp_path: Path
) -> None:
    from export.evidence import read_evidence
    from export.measured import read_measured
    from export.plans import read_plan

    embedded = open_bundle("knee-osteoarthritis")
    source = load_source(ROOT / "train/results" / embedded.manifest.provenance["training_run"])
    material = Material(
        source=source,
        finder=finder_bytes,
        reference=draw_reference(finder),
        data=data_folder / "knee_oa",
        data_card=ROOT / "export/data_cards" / embedded.manifest.provenance["data_card"],
        plan=read_plan(RESULTS / "plan.json", source),
        measured=read_measured(RESULTS / "measured.npz", source),
        evidence=read_evidence(portability=RESULTS / "portability.json", latency=RESULTS / "latency.json"),
    )
    made = export_bundle(material, tmp_path / "knee-osteoarthritis", force=False, track=track).bundle
    files, again = embedded.manifest.files, made.manifest.files
    for path in files:
        if path.startswith(("members/", "region/", "reference/")) or path == "LICENSE":
            assert again[path] == files[path], path
    assert made.manifest.conformal == embedded.manifest.conformal
    assert made.manifest.question == embedded.manifest.question
    assert made.manifest.choices == embedded.manifest.choices
