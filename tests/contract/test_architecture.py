"""Imports point one way, and the runtime knows nothing of training."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "osteo_edge": {"osteo_edge"},
    "train": {"osteo_edge", "train"},
    "export": {"osteo_edge", "train", "export"},
    "benchmarks": {"osteo_edge", "train", "export", "benchmarks"},
}
# cryptography is an extra, loaded when a signature is checked; pydicom and imagecodecs are another, loaded for a DICOM file;
# typst is a third, loaded for a PDF, highdicom a fourth, for a structured report, pynetdicom a fifth, to
# receive and send, and starlette and uvicorn a sixth, for the kiosk.
RUNTIME_LIBRARIES = {"numpy", "cv2", "onnxruntime", "simplejpeg", "click", "ai_edge_litert", "tflite_runtime", "cryptography"}
RUNTIME_LIBRARIES |= {"pydicom", "imagecodecs", "typst", "highdicom", "pynetdicom", "starlette", "uvicorn"}
# PyInstaller itself imports its hook, and nobody else does.
ALSO_IN = {"_pyinstaller": {"PyInstaller"}}


def modules_of(tree: str) -> list[Path]:
    return sorted((ROOT / tree).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Top-level names of all imports of a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("tree", sorted(ALLOWED))
def test_arrows_point_to_the_runtime_and_never_back(tree: str) -> None:
    files = modules_of(tree)
    assert files
    for path in files:
        wrong = (set(imports_of(path)) & set(ALLOWED)) - ALLOWED[tree]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_the_runtime_imports_its_few_libraries_only() -> None:
    for path in modules_of("osteo_edge"):
        allowed = RUNTIME_LIBRARIES | ALSO_IN.get(path.parent.name, set()) | {"osteo_edge"}
        foreign = set(imports_of(path)) - set(sys.stdlib_module_names) - allowed
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    for path in modules_of("osteo_edge"):
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(name, ast.Name) and name.id in ("print", "exit", "quit")), path
            assert not (isinstance(name, ast.Attribute) and ast.unparse(name) == "sys.exit"), path


def test_experiments_lead_nowhere() -> None:
    """``train/research`` imports what it needs; the command line alone knows of it, by name."""
    for tree in ("train", "export", "benchmarks"):
        for path in modules_of(tree):
            if (ROOT / "train/research") not in path.parents:
                assert not [name for name in modules_imported(path) if name.startswith("train.research")], path


# The runtime, from the ground up: a room (a folder, or a module of its own) imports its own floor and those below.
FLOORS: dict[str, set[str]] = {
    "ground": {
        *("errors", "printable", "labels", "findings", "questions", "tags", "radiograph", "joints", "turning", "arrays"),
        *("records", "manifest", "manifest_rules", "integrity", "bundle", "signature", "covariates"),
        *("learned", "storage", "folders", "device", "cgroups", "headroom", "memory_budget", "interruption", "chatter"),
    },
    "rooms": {"images", "finder", "engines", "decision", "clinical"},
    "said": {"answered", "wording", "reports", "exchange"},
    "way": {"prediction", "model", "gates", "respondent", "ahead", "predictor", "selftest", "installation"},
    "above": {"tuning", "benchmark", "station", "kiosk"},
    "doors": {"cli", "__main__", "_pyinstaller"},
}
# On this floor nobody needs a neighbour.
APART = FLOORS["rooms"]


def rooms_imported(path: Path, *, by_types: bool = True) -> set[str]:
    """Rooms of its own tree that a file imports, inside functions too; its own is not among them."""
    tree, *_ = path.relative_to(ROOT).parts
    found = {name.split(".")[1] for name in modules_imported(path, by_types=by_types) if name.startswith(f"{tree}.")}
    return {name for name in found if (ROOT / tree / name).is_dir() or (ROOT / tree / f"{name}.py").is_file()} - {room_of(path)}


def room_of(path: Path) -> str:
    """The folder right below the tree, or the module that stands there."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def test_every_room_of_the_runtime_stands_on_one_floor() -> None:
    rooms = {room_of(path) for path in modules_of("osteo_edge")} - {"__init__"}
    assert sorted(room for floor in FLOORS.values() for room in floor) == sorted(rooms)


@pytest.mark.parametrize("floor", FLOORS)
def test_no_arrow_points_up(floor: str) -> None:
    floors = list(FLOORS)
    below = set().union(*(FLOORS[name] for name in floors[: floors.index(floor) + 1]))
    for path in modules_of("osteo_edge"):
        if (room := room_of(path)) in FLOORS[floor]:
            reachable = below - APART if room in APART else below
            assert rooms_imported(path) <= reachable, f"{path.relative_to(ROOT)} imports {rooms_imported(path) - reachable}"


@pytest.mark.parametrize("tree", ["osteo_edge", "export", "benchmarks"])
def test_rooms_stand_in_no_circle(tree: str) -> None:
    """What a type is named for alone is no arrow: it is not there when the program runs."""
    arrows: dict[str, set[str]] = {}
    for path in modules_of(tree):
        arrows.setdefault(room_of(path), set()).update(rooms_imported(path, by_types=False))
    while ends := [room for room, others in arrows.items() if not others & set(arrows)]:
        for room in ends:
            del arrows[room]
    assert arrows == {}


def modules_imported(path: Path, *, by_types: bool = True) -> Iterator[str]:
    """Modules and names that a file imports, ``from osteo_edge.images import reader`` as ``osteo_edge.images.reader``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {inner for node in ast.walk(tree) if is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (by_types or node not in for_types):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_every_folder_of_modules_is_packed() -> None:
    """``pyproject.toml`` lists them one by one."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in modules_of("osteo_edge")}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in folders)


def test_every_room_of_the_runtime_stands_in_the_table() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    named = {word.removeprefix("osteo_edge/").strip("/").removesuffix(".py") for word in re.findall(r"`([^`]+)`", table)}
    assert set().union(*FLOORS.values()) - named == {"__main__"}


def test_what_the_page_names_is_there() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = [word for word in re.findall(r"`([^`\s]+)`", page) if "/" in word and not word.startswith(("configs/", "results/"))]
    trees = (ROOT, ROOT / "export", ROOT / "benchmarks", ROOT / "tests")
    assert len(named) > 20
    assert [word for word in named if not any((tree / word).exists() for tree in trees)] == []


def test_every_decision_stands_in_the_list() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")


WRITING = {"write_bytes", "write_text", "touch", "mkstemp", "NamedTemporaryFile", "imwrite", "save", "savez", "tofile"}


def writes_of(path: Path) -> Iterator[str]:
    """What makes or changes files by a name: calls that do nothing else, and whatever opens for writing or creates."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.O_CREAT", "os.replace"):
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and (name_of(node) in WRITING or opens_for_writing(node)):
            yield ast.unparse(node)


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def opens_for_writing(call: ast.Call) -> bool:
    """By a name; ``closefd`` belongs to what is open already."""
    if any(keyword.arg == "closefd" for keyword in call.keywords):
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    words = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return name_of(call) == "open" and any(set(word) <= set("rwxabt+") and set(word) & set("wxa+") for word in words)


def test_only_one_room_writes_files() -> None:
    """Elsewhere a file would be written through a planted link, by halves, or into another process's unfinished one."""
    found = {path.relative_to(ROOT).as_posix(): list(writes_of(path)) for path in modules_of("osteo_edge")}
    assert found.pop("osteo_edge/storage.py")
    assert {name: writes for name, writes in found.items() if writes} == {}


KNOW_A_FORK = ("limits.py", "memory_budget.py", "untrusted.py")


def test_no_unfinished_file_is_named_after_the_process() -> None:
    """Every container has a process 1. A group of processes is made under such a name, which fails where there is one; a budget
    and a pool of decoding processes notice a fork by the number, and name nothing.
    """
    for tree in ("osteo_edge", "export", "train"):
        for path in modules_of(tree):
            assert ".getpid()" not in path.read_text(encoding="utf-8") or path.name in KNOW_A_FORK, path
