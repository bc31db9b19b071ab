"""Write synthetic-knee.json anew, after a bundle was made anew: ``python tests/golden/record.py`` from the project's root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from osteo_edge import OsteoPredictor, embedded_bundles, open_bundle

EXAMPLE = Path("examples/synthetic-knee.png")
TARGET = Path(__file__).with_name("synthetic-knee.json")


def main() -> None:
    """Run every file of the embedded bundles on the example."""
    record = {name: _record(name) for name in embedded_bundles()}
    TARGET.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _record(name: str) -> dict[str, Any]:
    bundle = open_bundle(name)
    probabilities, joints = {}, []
    for engine, by_precision in bundle.manifest.members[0].files.items():
        for precision in by_precision:
            prediction = OsteoPredictor(name, engine=engine, precision=precision).predict(EXAMPLE)
            probabilities[f"{engine} {precision}"] = [round(value, 6) for value in prediction.probabilities.values()]
            joints = [[round(part, 2) for part in (k.joint.x_px, k.joint.y_px, k.joint.width_px)] for k in prediction.knees]
    return {"sha256": bundle.digest, "joints": joints, "probabilities": probabilities}


if __name__ == "__main__":
    main()
