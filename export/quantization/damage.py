"""What quantizing each layer group alone costs."""

from __future__ import annotations

import onnx

from export.plans import GroupDamage, Method, Recipe
from export.progress import Track
from export.quantization.agreement import AgreementBench
from export.quantization.making import Maker
from export.quantization.wiring import Wiring


def group_damages(maker: Maker, bench: AgreementBench, *, track: Track) -> tuple[GroupDamage, ...]:
    """The damage of every group by every method that can quantize it, for ONNX Runtime, on a fixed part of the knees.

    Groups that stay float by rule are measured too, so that the rule rests on a figure. LiteRT's converter
    takes all layers or none, so there is nothing to measure group by group.
    """
    methods: tuple[Method, ...] = ("static", "dynamic")
    alone = [(method, group) for method in methods for group in _measured(maker, method)]
    return tuple(_damage(maker, bench, method, group) for method, group in track(alone, "measuring layer groups"))


def _measured(maker: Maker, method: Method) -> list[str]:
    """A group of matrix products alone is the same by either method, and is measured once."""
    static, dynamic = (maker.quantizable("onnxruntime", one) for one in ("static", "dynamic"))
    return list(dynamic) if method == "dynamic" else [group for group, nodes in static.items() if nodes != dynamic.get(group)]


def _damage(maker: Maker, bench: AgreementBench, method: Method, group: str) -> GroupDamage:
    others = tuple(other for other in maker.groups if other != group)
    found = bench.quick("onnxruntime", maker.make(Recipe("onnxruntime", method, float_groups=others)))
    names = maker.quantizable("onnxruntime", method)[group]
    wiring = Wiring.of(onnx.load_from_string(maker.exact.onnx))
    weights = sum(wiring.kernel(node).nbytes for node in wiring.weighted() if node.name in names)
    return GroupDamage(
        engine="onnxruntime",
        method=method,
        group=group,
        nodes=len(names),
        weight_bytes=weights,
        agreement=found.agreement,
        same_label=found.same_label,
        max_difference=found.max_difference,
        mean_difference=found.mean_difference,
        relative_error=found.relative_error,
    )
