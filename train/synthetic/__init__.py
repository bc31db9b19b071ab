"""Synthetic antero-posterior knee radiographs.

A leg is built from outlines in millimetres, turned into path lengths through skin, fat, muscle, cortex and
spongy bone, summed by Beer-Lambert, exposed on a noisy detector and displayed with bone bright. Synthetic
pictures serve tests, examples and the self-test of a bundle only; they are never evidence of accuracy.

Rooms: `records` (what passes between the others), `shapes` (outlines), `attenuation` (path lengths),
`detector` (exposure and display), `render` (one radiograph), `cases` (random cases and collections).
"""

from train.synthetic.cases import sample_case, write_dataset
from train.synthetic.records import Acquisition, KneeAnatomy, KneeTruth, SyntheticRadiograph
from train.synthetic.render import render

__all__ = [
    "Acquisition",
    "KneeAnatomy",
    "KneeTruth",
    "SyntheticRadiograph",
    "render",
    "sample_case",
    "write_dataset",
]
