"""Drawn knees with made-up grades, in the forms in which graded knees come, and a bundle that grades them anyhow."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from osteo_edge.bundle import DEFAULT_BUNDLE, EMBEDDED_FOLDER
from osteo_edge.integrity import sha256_hex
from tests.answers import OSTEOARTHRITIS
from tests.making import add_precision, ask
from train.synthetic import render, sample_case

COLUMNS = ("file", "split", "kl_grade", "patient", "side", "sha256")


def make_graded_bundle(folder: Path, **changes: object) -> Path:
    """One engine in full and half precision, which are the same file."""
    copy = Path(shutil.copytree(EMBEDDED_FOLDER / DEFAULT_BUNDLE, folder / "graded"))
    return add_precision(ask(copy, OSTEOARTHRITIS, **changes), "onnxruntime", "fp16")


def draw_knees(folder: Path, *, count: int) -> list[Path]:
    """Drawn pictures of one knee or two."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(count):
        knees, acquisition = sample_case(np.random.default_rng(2000 + seed))
        pixels = render(knees, acquisition, seed=seed).pixels
        paths.append(folder / f"{seed}.png")
        cv2.imwrite(str(paths[-1]), cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return paths


def write_index(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def graded_folder(folder: Path, *, count: int) -> Path:
    """Drawn knees to validate on, the last of them no knee at all, two a patient; and one to learn from."""
    paths = draw_knees(folder, count=count + 1)
    cv2.imwrite(str(paths[-2]), np.random.default_rng(0).integers(90, 160, (300, 300), dtype=np.uint8))
    rows = [
        (path.name, "val", str(place % 5), str(place // 2), ("left", "right")[place % 2], sha256_hex(path.read_bytes()))
        for place, path in enumerate(paths[:-1])
    ]
    rows.append((paths[-1].name, "train", "0", "999", "left", sha256_hex(paths[-1].read_bytes())))
    return write_index(folder, [dict(zip(COLUMNS, row, strict=True)) for row in rows])
