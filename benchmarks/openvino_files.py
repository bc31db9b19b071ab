"""Files for OpenVINO, which the project does not use, made to be measured beside it; run by an interpreter that has its makers.

``python -m benchmarks.openvino_files`` reads one job (JSON) from standard input: ``{"models": fp32 ONNX and LiteRT files,
"knees": .npy (N, H, W, 1), "folder": where files go, "wanted": names of files, null for all}``, and prints name -> file. It
needs openvino and nncf. OpenVINO is given both files, since what it makes of them differs much in speed: the one holds
matrix products where the other holds convolutions.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

# What nncf is told of the network: how it finds layers to keep in float, and whether weights stay within 7 bits, so that
# processors without fused 8-bit products do not saturate.
VARIANTS = {
    "OpenVINO int8": (False, False),
    "OpenVINO int8, as transformer": (True, False),
    "OpenVINO int8, as transformer, 7 bits": (True, True),
}
FP32 = "OpenVINO fp32"


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nncf prints its progress
    job = json.load(sys.stdin)
    made = make([Path(model) for model in job["models"]], Path(job["knees"]), Path(job["folder"]), job["wanted"])
    print(json.dumps({name: str(path) for name, path in made.items()}), file=out)


def make(models: Sequence[Path], knees: Path, folder: Path, wanted: Container[str] | None = None) -> dict[str, Path]:
    """OpenVINO's own int8 files of fp32 files, which it reads as they are for fp32."""
    import numpy as np
    import openvino

    shown = np.load(knees)
    files: dict[str, Path] = {}
    for model in models:
        source = f", of the {model.suffix[1:]} file"
        if wanted is None or FP32 + source in wanted:
            files[FP32 + source] = model
        for name, (is_transformer, is_seven_bits) in VARIANTS.items():
            if wanted is not None and name + source not in wanted:
                continue
            target = files[name + source] = folder / f"openvino-{len(files)}.xml"
            quantized = _quantize(openvino.Core().read_model(model), shown, is_transformer, is_seven_bits)
            openvino.save_model(quantized, target, compress_to_fp16=False)
    return files


def _quantize(model: Any, knees: Any, is_transformer: bool, is_seven_bits: bool) -> Any:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    fix = OverflowFix.ENABLE if is_seven_bits else OverflowFix.FIRST_LAYER
    return nncf.quantize(
        model,
        nncf.Dataset(list(knees), lambda knee: {0: knee[None]}),
        subset_size=len(knees),
        model_type=nncf.ModelType.TRANSFORMER if is_transformer else None,
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
    )


if __name__ == "__main__":
    main()
