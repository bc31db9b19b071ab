"""No text of a manifest, a file's name, a table or an option steers a terminal: what is written is looked at byte by byte."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.bundle import EMBEDDED_FOLDER, MANIFEST
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.manifest_rules import parse_manifest
from osteo_edge.printable import printable, printable_lines
from tests.bundles import DENSITY
from tests.foreign import HOSTILE, Ran, places, put, run, value_at
from tests.making import add_fusion, keep_one_file, rewrite_file, rewrite_manifest

ROOT = Path(__file__).resolve().parents[2]
# As a file's name or an argument may hold it: without half characters that no name can have.
NAME = HOSTILE.replace("\ud800", "")
STRAY = ("click.echo", "click.secho", "error.show", "traceback.print_exception")
# What would begin a line if a line end came through.
AFTER_LINE_END = printable(HOSTILE).partition("\\n")[2]


def look_at(ran: Ran) -> None:
    for written in (ran.out, ran.err):
        text = written.decode()
        assert {character for character in text if not character.isprintable()} <= {"\n"}, text
        assert not any(line.startswith(AFTER_LINE_END[:6]) for line in text.splitlines()), text


def seen(*arguments: str) -> Ran:
    ran = run(arguments)
    look_at(ran)
    return ran


def strings(manifest: Any) -> list[tuple[str | int, ...]]:
    """The way to every text, and to every mapping whose names are free."""
    return [way for way in places(manifest) if isinstance(value_at(manifest, way), str)]


def rename_key(manifest: Any, way: tuple[str | int, ...]) -> None:
    holder = value_at(manifest, way[:-1])
    holder[HOSTILE] = holder.pop(way[-1])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return add_fusion(keep_one_file(Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path / "bundle"))))


def is_accepted(manifest: Any) -> bool:
    try:
        parse_manifest(json.dumps(manifest).encode())
    except OsteoEdgeError:
        return False
    return True


def test_a_manifest_whose_every_free_text_is_hostile(bundle: Path, example: Path, tmp_path: Path) -> None:
    """All that the manifest's rules let through at once, by every command that opens a bundle."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    hostile = []
    for way in strings(manifest):
        before = value_at(manifest, way)
        put(manifest, way, HOSTILE)
        hostile.append(way)
        if not is_accepted(manifest):
            put(manifest, hostile.pop(), before)
    for names in ("provenance", "metrics", "baselines"):
        rename_key(manifest, (names, next(iter(manifest[names]))))
    assert is_accepted(manifest)
    assert {way[0] for way in hostile} >= {"version", "view_position", "intended_use", "licence", "members", "provenance"}
    rewrite_file(bundle, "MODEL_CARD.md", HOSTILE.replace("\n", "").encode("utf-8", "replace") + b"\n\xff\n")
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    rewrite_manifest(bundle, lambda plain: plain.update(manifest | {"files": files}))

    path = str(bundle)
    shutil.copytree(bundle, tmp_path / "installed" / "knee-hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEO_EDGE_BUNDLES", str(tmp_path / "installed"))
        assert b"knee-hostile" in seen("bundles", "list").out
    assert json.loads(seen("bundles", "show", "--json", path).out)["version"] == HOSTILE
    assert seen("bundles", "show", path).code == seen("bundles", "verify", path).code == 0
    assert seen("doctor", "--bundle", path).code == 0
    assert json.loads(seen("doctor", "--json", "--bundle", path).out)["bundles"][0]["version"] == HOSTILE
    person = ["--age", "40", "--sex", "male"]
    for options in ([], ["--verbose"], ["--format", "csv"], ["--format", "jsonl"], ["--format", "json"]):
        for known in ([], person):
            assert seen("predict", *options, *known, "--bundle", path, str(example)).code in (0, 4)
    seen("predict", "--verbose", "--explain", "--output", str(tmp_path / "overlays"), "--bundle", path, str(example))
    seen("predict", "--age", "900", "--bundle", path, str(example))
    seen("tune", "--forget", "--bundle", path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEO_EDGE_BUNDLES", str(tmp_path / "other"))
        rewrite_manifest(bundle, lambda plain: plain.update(name="knee-hostile"))
        assert seen("bundles", "install", path).code == 0
        assert seen("bundles", "install", path).code == 5
        assert seen("bundles", "remove", "knee-hostile").code == 0


def test_a_manifest_with_any_one_text_hostile(bundle: Path) -> None:
    """Refused or not, and whatever the refusal quotes."""
    before = (bundle / MANIFEST).read_text()
    for way in strings(json.loads(before)):
        rewrite_manifest(bundle, lambda plain, way=way: put(plain, way, HOSTILE))
        seen("bundles", "show", "--json", str(bundle))
        (bundle / MANIFEST).write_text(before)
    for way in places(json.loads(before)):
        if isinstance(way[-1], str):
            rewrite_manifest(bundle, lambda plain, way=way: rename_key(plain, way))
            seen("bundles", "show", "--json", str(bundle))
            (bundle / MANIFEST).write_text(before)


def test_what_the_self_test_expects(bundle: Path) -> None:
    from osteo_edge.selftest import EXPECTED

    expected = json.loads((bundle / EXPECTED).read_text())
    for change in ({"picture": HOSTILE}, {"files": {HOSTILE: next(iter(expected["files"].values()))}}, {HOSTILE: 1}):
        rewrite_file(bundle, EXPECTED, json.dumps(expected | change).encode())
        assert seen("doctor", "--bundle", str(bundle)).code == 5


@pytest.fixture
def hostile_folder(tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture, a folder, a table and a bundle of hostile names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / NAME
    folder.mkdir()
    shutil.copy(example, folder / f"{NAME}.png")
    (folder / f"{NAME}.jpg").write_bytes(b"no picture")
    (folder / "table.csv").write_text(f'"{HOSTILE.encode("utf-8", "replace").decode()}",file\nx,"a\x1b[31m"\n', newline="")
    return folder


def test_names_of_files(hostile_folder: Path) -> None:
    folder = str(hostile_folder)
    for style in ("text", "csv", "jsonl", "json"):
        assert seen("predict", "--format", style, folder).code == 3
    seen("predict", "--verbose", "--explain", "--output", f"{folder}/{NAME}", folder)
    seen("predict", "--explain", "--output", f"{folder}/{NAME}.jpg", f"{folder}/{NAME}.png")
    seen("predict", "--covariates-table", f"{folder}/table.csv", f"{folder}/{NAME}.png")
    seen("predict", "--bundle", folder, f"{folder}/{NAME}.png")
    for arguments in (["verify"], ["show"], ["install"], ["remove"]):
        seen("bundles", *arguments, folder)
        seen("bundles", *arguments, f"{folder}/{NAME}.png")
    seen("bench", "--compare", f"{folder}/{NAME}.png", f"{folder}/{NAME}.png")
    seen("bench", "--json", f"{folder}/no/{NAME}", folder)
    seen("bench", "--bundle", folder, folder)
    seen(folder)


def test_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: Path) -> None:
    monkeypatch.chdir(tmp_path)
    options = {
        "predict": (
            "--format --output --age --sex --covariate --covariates-table --engine --precision --threads --bundle",
            [str(example)],
        ),
        "bench": ("--engine --precision --threads --profile --seconds --queries --cold-rounds --budget --json --bundle", ["x"]),
        "tune": ("--bundle --threads", []),
        "doctor": ("--bundle", []),
    }
    for command, (names, rest) in options.items():
        for name in names.split():
            if (command, name) not in (("predict", "--output"), ("bench", "--json")):
                assert seen(command, name, NAME, *rest).code in (2, 3, 5, 8)
        assert seen(command, f"--{NAME}", *rest).code == 2
    of_density = ("predict", "--question", "bone_density", "--covariate")
    assert seen(*of_density, f"{NAME}=1", str(example)).code == 2
    assert seen(*of_density, f"{NAME}=1", "--covariate", f"{NAME}=1", str(example)).code == 2
    assert seen("predict", "--covariate", f"{NAME}=1", str(example)).code in (0, 4), "a note, where a bundle takes none"
    assert seen("predict", "--covariate", f"sex={NAME}", str(example)).code == 2
    for arguments in ([NAME], ["bundles", NAME], ["bundles", "verify", "--key", NAME], ["doctor", NAME]):
        assert seen(*arguments).code == 2


def test_a_stream_that_cannot_hold_a_letter_gets_an_escape(example: Path, tmp_path: Path) -> None:
    picture = tmp_path / "колено-膝.png"
    shutil.copy(example, picture)
    done = subprocess.run(
        [sys.executable, "-m", "osteo_edge", "predict", str(picture), str(tmp_path / "нет.png")],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert b"\\u043a\\u043e\\u043b\\u0435\\u043d\\u043e-\\u819d.png: " in done.stdout


def test_labels_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    from osteo_edge.cli.bench import _Bar

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        bar = _Bar(2)
        bar.show(HOSTILE, 0.0)
        bar.show(HOSTILE, 1.0)
        bar.finish()
        assert printable(HOSTILE)[:20] in stream.getvalue()
        for stray in ("\x1b[31m", "\x07", "\u202e", "\x9b"):
            assert stray not in stream.getvalue()


def test_controls_and_directions_are_escapes_and_letters_are_not() -> None:
    directions = [chr(code) for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
    others = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA1), 0x2028, 0x2029, 0xD800, 0xDCFF, 0xFEFF, 0x200B, 0xFFFE)]
    for character in [*directions, *others]:
        if character != " ":
            assert printable(f"a{character}b").isascii(), hex(ord(character))
    assert printable("колено 膝 ركبة ברך é") == "колено 膝 ركبة ברך é"
    assert printable(printable(HOSTILE)) == printable(HOSTILE)
    assert printable_lines("a\x1b\r\nb\u2028c") == "a\\x1b\\r\nb\\u2028c"


def test_commands_write_by_one_way_alone() -> None:
    """``terminal`` makes text printable; click's own ``echo`` does not, nor does ``print``."""
    strays = [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "osteo_edge" / "cli").glob("*.py"))
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in STRAY
    ]
    assert not strays
