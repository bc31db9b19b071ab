"""Whatever stands in a manifest, a file of a bundle, a table, an option or an argument: only documented errors come out.

The number of examples is an everyday one; OSTEO_EDGE_EXAMPLES=3000 looks longer.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from osteo_edge.bundle import EMBEDDED_FOLDER, MANIFEST, MANIFEST_DIGEST, manifest_digest_line, open_bundle
from osteo_edge.engines.stored import SCHEMA_VERSION as TUNING_VERSION
from osteo_edge.engines.stored import Timing, Tuning, circumstances, find_tuning, store_tuning
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.finder.joint_finder import LAYOUT, JointFinder
from osteo_edge.integrity import sha256_hex
from osteo_edge.predictor import OsteoPredictor
from osteo_edge.records import to_plain
from osteo_edge.reports.structured import to_dict, to_rows
from osteo_edge.reports.text import to_text
from osteo_edge.selftest import EXPECTED, run_self_test
from tests.bundles import DENSITY
from tests.foreign import HOSTILE, changed, places, put, run, value_at, values
from tests.making import add_fusion, keep_one_file, make_ensemble, rewrite_file
from tests.osteo_edge.test_benchmark_compare import report, row

EXAMPLES = int(os.environ.get("OSTEO_EDGE_EXAMPLES", "0"))
ROOT = Path(__file__).resolve().parents[2]
PICTURE = str(ROOT / "examples" / "synthetic-knee.png")
STACKING = {"kind": "stacking", "layers": [{"kernel": [[0.5] * 3] * 6, "bias": [0.1] * 3, "activation": "linear"}]}
LEAVES = [[], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
TREE = {"feature": [2, -1, -1], "threshold": [0.5, 0, 0], "left": [1, -1, -1], "right": [2, -1, -1], "values": LEAVES}


def often(number: int) -> Callable[[Any], Any]:
    """So many examples, the same each time; with OSTEO_EDGE_EXAMPLES so many others."""
    return settings(
        max_examples=EXAMPLES or number,
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Of the kinds whose manifests differ: one network and a fusion, and two ways of combining networks."""
    folder = tmp_path_factory.mktemp("bundles")
    kinds = ({}, STACKING, {"kind": "forest", "trees": [TREE, TREE]})
    made = []
    for number, kind in enumerate(kinds):
        copied = keep_one_file(Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, folder / f"bundle-{number}")))
        made.append(make_ensemble(copied, kind) if kind else add_fusion(copied))
    return tuple(made)


@pytest.fixture(scope="module")
def manifests(bundles: tuple[Path, ...]) -> list[tuple[Path, dict[str, Any]]]:
    """Each bundle with its manifest as it was; the long lists of figures are left out, which are all alike."""
    plain = [(folder, json.loads((folder / MANIFEST).read_text())) for folder in bundles]
    for _, manifest in plain:
        manifest["metrics"] = {"macro_auc": manifest["metrics"]["macro_auc"]}
        manifest["baselines"] = {"age": manifest["metrics"]}
    return plain


def write(folder: Path, manifest: Any) -> Path:
    data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / MANIFEST_DIGEST).write_bytes(manifest_digest_line(sha256_hex(data)))
    return folder


def only_documented(function: Callable[[], object]) -> bool:
    """Whether it went well; an error of this package is an answer too, anything else is a fault."""
    refusal = ""
    try:
        with np.errstate(all="raise", under="ignore"):
            function()
    except OsteoEdgeError as error:
        refusal = str(error) or repr(error)
    assert "\n" not in refusal
    return not refusal


@often(150)
@given(data=st.data())
def test_a_manifest(manifests: list[tuple[Path, dict[str, Any]]], data: st.DataObject) -> None:
    folder, plain = data.draw(st.sampled_from(manifests))
    write(folder, data.draw(changed(plain)))
    if only_documented(lambda: open_bundle(folder)):
        only_documented(lambda: list(open_bundle(folder).verify()))
        only_documented(lambda: predict(folder))
    for arguments in (["bundles", "show", "--json"], ["bundles", "show"], ["bundles", "verify"]):
        run([*arguments, str(folder)])


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-3, 3),
    st.integers(-3, 3),
    st.sampled_from([1e30, -1e30, 1e-30]),
)


@often(50)
@given(data=st.data())
def test_numbers_that_a_manifest_may_hold(manifests: list[tuple[Path, dict[str, Any]]], data: st.DataObject) -> None:
    """One or two of what decides, so that most are taken and answered with."""
    folder, plain = data.draw(st.sampled_from(manifests))
    plain = copy.deepcopy(plain)
    decisive = ("quality", "conformal", "ensemble", "fusion", "members")
    ways = [way for way in places(plain) if way[0] in decisive and type(value_at(plain, way)) in (int, float)]
    for way in data.draw(st.lists(st.sampled_from(ways), min_size=1, max_size=2)):
        put(plain, way, data.draw(numbers))
    write(folder, plain)
    if only_documented(lambda: open_bundle(folder)):
        only_documented(lambda: predict(folder))


def predict(folder: Path) -> None:
    with OsteoPredictor(folder, engine="onnxruntime", precision="fp32", threads=1) as predictor:
        for known in ({}, {"age_years": 40, "sex": "female"}):
            try:
                predictor.describe(known)
            except OsteoEdgeError:
                continue
            prediction = predictor.predict(PICTURE, covariates=known, explain=True)
            json.dumps(to_dict(prediction), allow_nan=False)
            to_rows(prediction)
            to_text(prediction, is_verbose=True)


@often(40)
@given(data=st.data())
def test_what_the_self_test_expects(manifests: list[tuple[Path, dict[str, Any]]], data: st.DataObject) -> None:
    folder, plain = data.draw(st.sampled_from(manifests[:2]))
    write(folder, plain)
    before = (folder / EXPECTED).read_bytes()
    try:
        rewrite_file(folder, EXPECTED, json.dumps(data.draw(changed(json.loads(before)))).encode())
        only_documented(lambda: run_self_test(open_bundle(folder), engines=["onnxruntime"]))
    finally:
        rewrite_file(folder, EXPECTED, before)


junk = st.sampled_from([b"", b"x", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{", b"PK\x03\x04", b"\0" * 400])
shapes = st.sampled_from(
    ["(11, 11, 8)", "(10**400,)", "(2**62, 2**62)", "(-1,)", "(1e9,)", "((((()))))", "-" * 3000, "()", "x"]
)
kinds = st.sampled_from(["<f2", "|O", "<f4", "V9", "<M8", "nonsense", "[('a','<f2')]", HOSTILE])


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A .npy file with a header of any kind."""
    if draw(st.booleans()):
        return draw(junk)
    header = f"{{'descr': {draw(kinds)!r}, 'fortran_order': {draw(st.booleans())}, 'shape': {draw(shapes)}}}".encode(
        "utf-8", "replace"
    )
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + draw(junk)


def archive(entries: dict[str, bytes]) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return buffer.getvalue()


def finder_entries() -> dict[str, bytes]:
    import zipfile

    bundle = open_bundle(DENSITY)
    with zipfile.ZipFile(io.BytesIO(bundle.read(bundle.manifest.finder))) as there:
        return {name: there.read(name) for name in there.namelist()}


FINDER = finder_entries()


@often(120)
@given(st.sampled_from(sorted(FINDER)), st.one_of(arrays(), junk), st.sampled_from(["", ".npy", "/", "\\", "x"]))
@example("template.npy", b"junk", "")
def test_an_entry_of_the_finders_file(name: str, data: bytes, ending: str) -> None:
    stem = name.removesuffix(".npy")
    for entries in ({**FINDER, name: data}, {**{k: v for k, v in FINDER.items() if k != name}, f"{stem}{ending}": data}):
        only_documented(lambda entries=entries: JointFinder.from_bytes(archive(entries)))
    assert set(LAYOUT) == {entry.removesuffix(".npy") for entry in FINDER}


@often(60)
@given(arrays())
def test_head_weights(data: bytes) -> None:
    from osteo_edge.decision.explanation import read_head_weights

    only_documented(lambda: read_head_weights(data, labels=3))


REPORT = to_plain(report(row([10.0, 11.0, 9.0, 10.5], cold=[100.0, 110.0, 105.0])))


@often(60)
@given(changed(REPORT), changed(REPORT))
def test_reports_of_bench(tmp_path_factory: pytest.TempPathFactory, first: Any, second: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, plain in (("first.json", first), ("second.json", second)):
        (folder / name).write_text(json.dumps(plain))
    for pair in (("first.json", "second.json"), ("first.json", "first.json")):
        with np.errstate(all="raise", under="ignore"):
            assert run(["bench", "--compare", *(str(folder / name) for name in pair)]).code in (0, 2)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A stored choice that holds here, and its file."""
    bundle, here = open_bundle(DENSITY), circumstances(open_bundle(DENSITY), threads=1)
    timing = Timing("onnxruntime", "fp32", 5.0, 1.0, 0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEO_EDGE_TUNING", str(tmp_path_factory.mktemp("tuning")))
        path = store_tuning(bundle, Tuning(TUNING_VERSION, here, "onnxruntime", "fp32", (timing,)))
        assert find_tuning(bundle, threads=1).tuning
    return path, json.loads(path.read_text())


@often(100)
@given(data=st.data())
def test_a_stored_choice(stored: tuple[Path, Any], data: st.DataObject) -> None:
    """It never does any harm: it is heeded or passed over."""
    path, plain = stored
    path.write_text(json.dumps(data.draw(changed(plain))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEO_EDGE_TUNING", str(path.parent))
        found = find_tuning(open_bundle(DENSITY), threads=1)
    assert (found.tuning is None) == (found.ignored_because is not None)


cells = st.one_of(
    st.sampled_from(["", "file", "age_years", "sex", "67", "f", "1e400", "9" * 5000, "a.png", PICTURE, "\0", "-"])
)
tables = st.lists(st.lists(cells, max_size=4), max_size=4)


@often(150)
@given(st.one_of(tables, st.binary(max_size=60), st.just([["file", "age_years", "sex"], [PICTURE, "9" * 400, "female"]])))
@example([["file", "age_years"], ["a\0b", "67"], [PICTURE, "67"]])
@example(b"")
@example(b"\n\n")
@example(b"\xef\xbb\xbf")
@example(b'file\n"' + b"x" * 200_000 + b'"\n')
def test_a_table(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]] | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    if isinstance(rows, bytes):
        path.write_bytes(rows)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    assert run(["predict", "--covariates-table", str(path), "nowhere.png"]).code in (2, 3)


texts = st.one_of(
    st.sampled_from(["", "-", "1e400", "nan", "-1", "9" * 30, "9" * 5000, "x" * 5000, "a/" * 2500, "a=b", "age_years=40", "="]),
    st.sampled_from(
        [HOSTILE.replace("\ud800", ""), "text", "onnxruntime", "fp32", "/dev/null", "/proc/self/mem", "..", PICTURE]
    ),
)
OPTIONS = {
    "predict": [
        *("--age", "--sex", "--covariate", "--covariates-table", "--engine", "--precision"),
        *("--threads", "--bundle", "--format", "--output", "--recursive", "--explain"),
    ],
    "bench": ["--compare", "--json", "--budget", "--threads", "--seconds", "--queries", "--bundle"],
    "tune": ["--forget", "--threads", "--bundle"],
    "doctor": ["--json", "--bundle"],
    "bundles": ["list", "show", "verify", "install", "remove", "--key"],
}


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(OPTIONS)))
    options = draw(st.lists(st.tuples(st.sampled_from(OPTIONS[command]), texts), min_size=1, max_size=3))
    line = [command, *(part for option in options for part in option)]
    # Nothing is measured, and no default bundle tested, since that takes long.
    missing = {"predict": ["nowhere.png"], "bench": ["--bundle", "nowhere"], "tune": ["--bundle", "nowhere"]}
    return line + missing.get(command, [] if command == "bundles" else ["--bundle", "nowhere"])


@often(150)
@given(lines())
@example(["bench", "--json", "x" * 5000, "--bundle", "nowhere"])
@example(["bench", "--json", "a/" * 2500, "--bundle", "nowhere"])
@example(["bundles", "install", "x\0y"])
def test_options(tmp_path_factory: pytest.TempPathFactory, line: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        patch.setenv("OSTEO_EDGE_BUNDLES", "bundles")
        run(line)


anything = st.one_of(
    values,
    st.sampled_from([b"x", {1: 2}, {None: 1}, {"age_years": 10**400}, {"sex": [1]}, {"age_years": np.arange(3)}, object()]),
    st.sampled_from([np.float32(3), np.int64(2), np.arange(2), np.array("a"), 10**5000, 3 + 4j, range(3), [("sex", "f")]]),
    st.dictionaries(st.sampled_from(["age_years", "sex", "", HOSTILE]), values, max_size=2),
)


@pytest.fixture(scope="module")
def predictors(bundles: tuple[Path, ...], manifests: list[tuple[Path, dict[str, Any]]]) -> list[OsteoPredictor]:
    return [OsteoPredictor(write(folder, plain), threads=1) for folder, plain in manifests[:2]]


@often(150)
@given(data=st.data(), age=anything, sex=anything, covariates=anything, threads=anything, engine=anything)
def test_arguments(
    predictors: list[OsteoPredictor], data: st.DataObject, age: Any, sex: Any, covariates: Any, threads: Any, engine: Any
) -> None:
    """A TypeError tells of an argument of another kind, in words of this package."""
    predictor = data.draw(st.sampled_from(predictors))
    blank = np.zeros((300, 300), np.uint8)
    for known in ({"age_years": age}, {"sex": sex}, {"covariates": covariates}):
        refuses_in_words(lambda known=known: predictor.predict(blank, **known), next(iter(known)))
    # Numbers of threads that are taken would load an engine each time.
    if not (isinstance(threads, (int, np.integer)) and 1 <= threads <= 256):
        refuses_in_words(lambda: OsteoPredictor(DENSITY, threads=threads), "threads")
        refuses_in_words(lambda: OsteoPredictor(DENSITY, workers=threads), "workers")
    if not (isinstance(engine, str) and engine in ("auto", "onnxruntime", "litert", "fp32")):
        refuses_in_words(lambda: OsteoPredictor(DENSITY, engine=engine, threads=1), "engine")
        refuses_in_words(lambda: OsteoPredictor(DENSITY, precision=engine, threads=1), "precision")
        refuses_in_words(lambda: OsteoPredictor(engine), "bundle")


def refuses_in_words(function: Callable[[], object], argument: str) -> None:
    fault: Exception | None = None
    try:
        only_documented(function)
    except (TypeError, ValueError) as error:
        fault = error
    assert fault is None or str(fault).startswith(argument), repr(fault)
