"""Which pairs deserve a look: far fewer than all, by thumbnails and by local features that lie close."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import cv2
import numpy as np

from train.research.audit.descriptors import FORMS, Descriptor, Form, in_form
from train.runs.arrays import Floats, Integers, Reals

# A pair in a form: the first picture, brought into the form, may be the second one.
Candidate = tuple[int, int, Form]

THUMBNAIL_PX = 16
CLOSEST_THUMBNAILS = 2
LEAST_LIKENESS = 0.8
CLOSEST_VOTES = 4
FEWEST_VOTES = 6
ASKED_FEATURES = 150
_NEIGHBOURS = 4
_FAR = 0.35  # squared distance of two RootSIFT features that are no longer called close; unlike ones have about 1.
_TREES, _LEAVES_CHECKED = 4, 32


def find_candidates(descriptors: Sequence[Descriptor]) -> list[Candidate]:
    """Pairs that may show the same radiograph, each with the form to try.

    Thumbnails of all pairs are compared in the eight turned and mirrored forms, plain and inverted: n² / 2 products of 256
    numbers, under a second for a thousand pictures. Local features are looked up in one search tree, n log n. Either
    gives each picture a fixed number of partners, so that the dear step after it grows with n alone.
    """
    if len(descriptors) < 2:
        return []
    found = {**dict.fromkeys(_by_thumbnail(descriptors)), **dict.fromkeys(_by_votes(descriptors))}
    return sorted(found, key=lambda one: (one[0], one[1], one[2].is_mirrored, one[2].is_inverted))


def _by_thumbnail(descriptors: Sequence[Descriptor]) -> list[Candidate]:
    thumbnails = np.array([_thumbnail(descriptor) for descriptor in descriptors])
    plain = _flat(thumbnails)
    candidates: list[Candidate] = []
    for form in FORMS:
        shown = thumbnails[:, :, ::-1] if form.is_mirrored else thumbnails
        shown = -shown if form.is_inverted else shown
        turned = [_flat(np.rot90(shown, quarter, axes=(1, 2))) @ plain.T for quarter in range(4)]
        candidates += _closest(np.max(turned, axis=0), CLOSEST_THUMBNAILS, form, at_least=LEAST_LIKENESS)
    return candidates


def _thumbnail(descriptor: Descriptor) -> Floats:
    """Without its frame: a thirtieth on each side, where paddings and edges of films lie."""
    work = descriptor.work
    rim_y, rim_x = work.shape[0] // 30, work.shape[1] // 30
    inside = work[rim_y : work.shape[0] - rim_y, rim_x : work.shape[1] - rim_x]
    return cv2.resize(inside, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)


def _flat(thumbnails: Floats) -> Floats:
    """Rows of mean 0 and length 1."""
    rows = thumbnails.reshape(len(thumbnails), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))


def _closest(scores: Reals, count: int, form: Form, *, at_least: float) -> list[Candidate]:
    """Each picture's best partners; a pair is named once, its lower number first (every form is its own inverse)."""
    np.fill_diagonal(scores, -np.inf)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    pairs = [(row, int(column)) for row, columns in enumerate(best) for column in columns if scores[row, column] >= at_least]
    return [(min(pair), max(pair), form) for pair in pairs if np.isfinite(scores[pair])]


def _by_votes(descriptors: Sequence[Descriptor]) -> list[Candidate]:
    owner = np.repeat(np.arange(len(descriptors)), [len(descriptor.features) for descriptor in descriptors])
    if not len(owner):
        return []
    matcher = _search_tree(np.concatenate([descriptor.features for descriptor in descriptors]))
    votes = {form: np.zeros((len(descriptors), len(descriptors)), np.float32) for form in FORMS}
    with click.progressbar(descriptors, label="Looking for partners", file=sys.stderr) as shown:
        for number, descriptor in enumerate(shown):
            for form in FORMS:
                asked = in_form(descriptor, form)[1][:ASKED_FEATURES]
                votes[form][number] = _votes_of(number, asked, matcher, owner, len(descriptors))
    return [
        candidate
        for form, counted in votes.items()
        for candidate in _closest(counted, CLOSEST_VOTES, form, at_least=FEWEST_VOTES)
    ]


def _search_tree(features: Floats) -> cv2.FlannBasedMatcher:
    """Approximate nearest neighbours (Muja & Lowe, VISAPP 2009)."""
    cv2.setRNGSeed(0)
    matcher = cv2.FlannBasedMatcher({"algorithm": 1, "trees": _TREES}, {"checks": _LEAVES_CHECKED})
    matcher.add([features])
    matcher.train()
    return matcher


def _votes_of(number: int, features: Floats, matcher: cv2.FlannBasedMatcher, owner: Integers, pictures: int) -> Floats:
    """How many of the features lie close to one of each other picture."""
    if not len(features):
        return np.zeros(pictures, np.float32)
    matches = matcher.knnMatch(np.ascontiguousarray(features), k=min(_NEIGHBOURS, len(owner)))
    voted = {(match.queryIdx, int(owner[match.trainIdx])) for row in matches for match in row if match.distance**2 < _FAR}
    return np.bincount([picture for _, picture in voted if picture != number], minlength=pictures).astype(np.float32)
