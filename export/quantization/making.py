"""From a recipe to a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import onnx

from export.errors import ExportError
from export.plans import Method, Recipe
from export.quantization import integers, litert, rounding
from export.quantization.groups import ALWAYS_FLOAT, HEAD, RESIDUAL, groups_of, quantizable
from export.quantization.ranges import Histogram, measure
from export.quantization.records import Exact, Limits, Measured, RepresentativeSet, require_known
from export.quantization.wiring import Wiring
from export.to_litert import to_litert
from export.to_onnx import serialise
from osteo_edge.manifest import EngineName
from train.runs.arrays import Floats

if TYPE_CHECKING:
    import keras


class Maker:
    """Makes files of one network; what recipes have in common, such as ranges, is worked out once.

    Args:
        tuning: knees (N, H, W, 1) for fine-tuning, of training patients or without labels; None where no recipe tunes.
        measured: what recipes took from radiographs before; it is taken again, whatever lies in the representative set.
    """

    def __init__(
        self,
        exact: Exact,
        representative: RepresentativeSet,
        *,
        tuning: Floats | None = None,
        measured: Mapping[Recipe, Measured] | None = None,
    ) -> None:
        self.exact, self.representative = exact, representative
        self._tuning, self._known = tuning, measured or {}
        self._rounded: dict[tuple[frozenset[str], int, int], rounding.Constants] = {}
        self._histograms: dict[int, Mapping[str, Histogram]] = {}
        self._means: dict[int, rounding.Means] = {}
        self._tuned: dict[Recipe, Exact] = {}

    @cached_property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Every layer group of the ONNX file."""
        return groups_of(onnx.load_from_string(self.exact.onnx))

    @cached_property
    def fp32_litert(self) -> bytes:
        """LiteRT's fp32 file, to compare with."""
        return to_litert(self.exact.form, self.exact.spec, ["fp32"])["fp32"]

    def quantizable(self, engine: EngineName, method: Method) -> Mapping[str, tuple[str, ...]]:
        """Groups that a recipe may quantize or keep in float; LiteRT's dynamic range offers no choice, so it has none."""
        if engine == "onnxruntime":
            return quantizable(onnx.load_from_string(self.exact.onnx), method)
        if method == "dynamic":
            return {}
        return {group: nodes for group, nodes in self.groups.items() if not group.endswith(f".{RESIDUAL}")}

    def make(self, recipe: Recipe) -> bytes:
        """The file.

        Raises:
            ExportError: the recipe names an unknown group or leaves nothing to quantize, or a converter failed.
        """
        require_known(recipe, self.groups)
        return self._litert(self._exact(recipe), recipe) if recipe.engine == "litert" else self._onnx(recipe)

    def measured(self, recipe: Recipe) -> Measured:
        """What a recipe for ONNX Runtime takes from radiographs.

        Raises:
            ExportError: there are none, and it was not measured before.
        """
        if recipe in self._known:
            return self._known[recipe]
        exact = self._exact(recipe)
        names = _quantized(onnx.load_from_string(exact.onnx), recipe)
        limits = self._limits(exact, names, recipe) if recipe.method == "static" else {}
        return Measured(limits, self._compensated(exact, names, limits) if recipe.is_compensated else {})

    def _onnx(self, recipe: Recipe) -> bytes:
        model, measured = onnx.load_from_string(self._exact(recipe).onnx), self.measured(recipe)
        names = _quantized(model, recipe)
        reduced = rounding.with_constants(model, measured.constants)
        if recipe.method == "static":
            reduced = integers.to_static(reduced, names, measured.limits.__getitem__)
        reduced = integers.to_dynamic(reduced, names)
        if any(node.name in names for node in Wiring.of(model).weighted()):
            integers.require_seven_bits(reduced)
        return serialise(integers.with_tanh_gelu(reduced))

    def _litert(self, exact: Exact, recipe: Recipe) -> bytes:
        is_dynamic = recipe.method == "dynamic"
        if is_dynamic and set(recipe.float_groups) - set(ALWAYS_FLOAT):
            raise ExportError("LiteRT's dynamic range takes all layers but the head; leave out float groups")
        if recipe.ranges != "minmax":
            raise ExportError("LiteRT's converter takes the least and largest value as range; leave out --ranges")
        kept = {node for group in recipe.float_groups for node in self.groups[group]}
        names = frozenset(node for nodes in self.groups.values() for node in nodes) - kept
        form = self._compensated_form(exact, names - set(self.groups.get(HEAD, ()))) if recipe.is_compensated else exact.form
        if is_dynamic:
            return litert.to_dynamic_litert(form, exact.spec)
        layers = rounding.layers_of(exact.form, onnx.load_from_string(exact.onnx))
        self._knees()
        return litert.to_static_litert(form, exact.spec, self.representative, [layers[node] for node in kept if node in layers])

    def _compensated_form(self, exact: Exact, names: frozenset[str]) -> keras.Model:
        model = onnx.load_from_string(exact.onnx)
        return rounding.carry_kernels(
            exact.form, model, rounding.with_constants(model, self._round(exact, names, litert.MAX_WEIGHT))
        )

    def _compensated(self, exact: Exact, names: frozenset[str], limits: Mapping[str, Limits]) -> rounding.Constants:
        """Rounded to the grid of ONNX files, making up for what the integers do to activations too where these have limits."""
        if not limits:
            return self._round(exact, names, integers.MAX_WEIGHT)
        model = onnx.load_from_string(exact.onnx)
        activations = integers.activations_of(Wiring.of(model), names, limits.__getitem__)
        means, limit = self._fp32_means(exact), integers.MAX_WEIGHT
        return rounding.round_to_grid(model, names, self._knees(), limit=limit, means=means, activations=activations)

    def _round(self, exact: Exact, names: frozenset[str], limit: int) -> rounding.Constants:
        key = names, limit, id(exact)
        if key not in self._rounded:
            model, means = onnx.load_from_string(exact.onnx), self._fp32_means(exact)
            self._rounded[key] = rounding.round_to_grid(model, names, self._knees(), limit=limit, means=means)
        return self._rounded[key]

    def _knees(self) -> tuple[Floats, ...]:
        if not self.representative.tensors:
            raise ExportError(
                "int8 files need training radiographs, or what was measured on them before; name their folder (--data) or "
                "the file that 'python -m export measure' wrote (--measured)"
            )
        return self.representative.tensors

    def _limits(self, exact: Exact, names: frozenset[str], recipe: Recipe) -> dict[str, Limits]:
        wiring, histograms = Wiring.of(onnx.load_from_string(exact.onnx)), self._measured(exact)
        return {
            tensor: histograms[tensor].limits(recipe.ranges)
            for tensor in integers.sites_of(wiring, names)
            if tensor not in wiring.inputs
        }

    def _fp32_means(self, exact: Exact) -> rounding.Means:
        if id(exact) not in self._means:
            model = onnx.load_from_string(exact.onnx)
            self._means[id(exact)] = rounding.channel_means(model, self._knees())
        return self._means[id(exact)]

    def _measured(self, exact: Exact) -> Mapping[str, Histogram]:
        """Histograms of all tensors that any choice of groups asks for."""
        if id(exact) not in self._histograms:
            model = onnx.load_from_string(exact.onnx)
            wiring = Wiring.of(model)
            everything = [name for nodes in self.groups.values() for name in nodes]
            tensors = [name for name in integers.sites_of(wiring, everything) if name not in wiring.inputs]
            self._histograms[id(exact)] = measure(model, tensors, self._knees())
        return self._histograms[id(exact)]

    def _exact(self, recipe: Recipe) -> Exact:
        """The fp32 forms, fine-tuned where the recipe asks for it."""
        if not recipe.tuning_epochs:
            return self.exact
        from export.quantization import aware

        if self._tuning is None:
            raise ExportError("fine-tuning needs knees of training patients or without labels; none were given")
        if recipe not in self._tuned:
            knees = self._tuning
            self._tuned[recipe] = Exact.of(
                aware.fine_tune(self.exact, recipe, knees, epochs=recipe.tuning_epochs), self.exact.spec
            )
        return self._tuned[recipe]


def _quantized(model: onnx.ModelProto, recipe: Recipe) -> frozenset[str]:
    """Names of the nodes that the recipe quantizes in an ONNX file.

    Raises:
        ExportError: there is none.
    """
    groups = quantizable(model, recipe.method)
    names = frozenset(name for group, nodes in groups.items() if group not in recipe.float_groups for name in nodes)
    if not names:
        raise ExportError(f"the recipe ({recipe.name}) leaves no layer to quantize; keep fewer groups in float")
    return names


def make(exact: Exact, recipe: Recipe, representative: RepresentativeSet, *, tuning: Floats | None = None) -> bytes:
    """One file by one recipe; see ``Maker``.

    Raises:
        ExportError: see ``Maker.make``.
    """
    return Maker(exact, representative, tuning=tuning).make(recipe)
