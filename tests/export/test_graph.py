"""The inference form is the trained network with fewer layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.graph import head_weights
from export.parity import INFERENCE_FORM_TOLERANCE, compare, run_network


def test_it_answers_as_the_trained_network(network: Any, form: Any, pictures: Any) -> None:
    trained, folded = run_network(network, pictures), run_network(form, pictures)
    assert compare(trained.probabilities, folded.probabilities).max_difference < INFERENCE_FORM_TOLERANCE


def test_normalisation_padding_and_dropout_are_gone(form: Any) -> None:
    kinds = {type(layer).__name__ for layer in form.layers}
    assert kinds.isdisjoint({"BatchNormalization", "ZeroPadding2D", "Dropout", "Identity"})


def test_kernels_hold_values_of_half_precision(form: Any) -> None:
    kernels = [weight for weight in form.get_weights() if weight.ndim > 1]
    assert len(kernels) == 53
    assert all(np.array_equal(kernel, kernel.astype(np.float16).astype(np.float32)) for kernel in kernels)


def test_layer_names_depend_on_their_place_alone(form: Any) -> None:
    assert [layer.name for layer in form.layers[:2]] == ["image", "layer_001"]
    assert all(layer.name.startswith("layer_") for layer in form.layers[1:])


def test_the_head_explains_the_logits(form: Any, pictures: Any) -> None:
    answers = run_network(form, pictures)
    bias = answers.logits - answers.pooled @ head_weights(form)
    np.testing.assert_allclose(bias, np.broadcast_to(bias[0], bias.shape), atol=1e-3)
