"""Versions of everything that has a part in a run's numbers."""

from __future__ import annotations

import platform
from importlib import import_module
from importlib.metadata import version

import keras

from osteo_edge import __version__

_PACKAGES = ("keras", "numpy", "opencv-python-headless", "scipy", "scikit-learn", "matplotlib")


def versions() -> dict[str, str]:
    """Python, this project, Keras' backend and the packages, by name."""
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "osteo_edge": __version__,
        backend: import_module(backend).__version__,
        **{name: version(name) for name in _PACKAGES},
    }
