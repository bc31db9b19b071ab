"""The embedded bundles, by what they are asked."""

from __future__ import annotations

DENSITY = "knee-mobilenet_v2"
