"""What ``auto`` means: a measurement of this device, the bundle's choice for its processor, or the defaults."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from osteo_edge import device, open_bundle
from osteo_edge.bundle import EMBEDDED_FOLDER
from osteo_edge.device import Processor
from osteo_edge.engines import select
from osteo_edge.engines.select import choose, installed_version
from osteo_edge.errors import EngineUnavailableError, IncompatibleBundleError
from osteo_edge.manifest import DeviceChoice, Manifest
from tests.bundles import DENSITY
from tests.making import make_ensemble

ARM = Processor("a board", "aarch64", ("asimd", "asimddp"))
PC = Processor("a pc", "x86_64", ("avx2", "avx512_vnni"))


@pytest.fixture
def manifest() -> Manifest:
    """Of the embedded bundle, as if it had and accepted files of these precisions, and chose nothing."""
    manifest = open_bundle(DENSITY).manifest
    accepted = {"onnxruntime": ("fp32", "int8"), "litert": ("fp32", "fp16", "int8")}
    files = {engine: {one: f"members/{engine}.{one}" for one in precisions} for engine, precisions in accepted.items()}
    defaults = dict.fromkeys(files, "fp32")
    member = replace(manifest.members[0], files=files, accepted=accepted, default_precision=defaults)
    return replace(manifest, members=(member,), choices=())


@pytest.fixture
def on_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "processor", lambda: ARM)


def chosen(manifest: Manifest, **wishes: object) -> tuple[str, str]:
    (choice,) = choose(manifest, **wishes)  # type: ignore[arg-type]
    assert choice.path == manifest.members[0].files[choice.engine][choice.precision]
    return choice.engine, choice.precision


def with_choices(manifest: Manifest, *choices: DeviceChoice) -> Manifest:
    return replace(manifest, choices=choices)


def test_without_choices_it_is_the_first_engine_and_the_default(manifest: Manifest) -> None:
    assert chosen(manifest) == ("onnxruntime", "fp32")
    assert chosen(manifest, engine="litert") == ("litert", "fp32")
    assert chosen(manifest, precision="fp16", engine="litert") == ("litert", "fp16")


@pytest.mark.usefixtures("on_arm")
@pytest.mark.parametrize(
    ("architecture", "features", "fits"),
    [
        ("", (), True),
        ("aarch64", (), True),
        ("aarch64", ("asimd", "asimddp"), True),
        ("", ("asimddp",), True),
        ("x86_64", (), False),
        ("aarch64", ("asimd", "i8mm"), False),
    ],
)
def test_a_choice_must_fit_the_processor(manifest: Manifest, architecture: str, features: tuple[str, ...], fits: bool) -> None:
    picky = with_choices(manifest, DeviceChoice(architecture, features, "litert", "fp16"))
    assert chosen(picky) == (("litert", "fp16") if fits else ("onnxruntime", "fp32"))


@pytest.mark.usefixtures("on_arm")
def test_the_first_that_fits_wins(manifest: Manifest) -> None:
    several = with_choices(
        manifest,
        DeviceChoice("x86_64", (), "litert", "int8"),
        DeviceChoice("aarch64", (), "litert", "fp16"),
        DeviceChoice("", (), "litert", "fp32"),
    )
    assert chosen(several) == ("litert", "fp16")


@pytest.mark.usefixtures("on_arm")
def test_a_choice_needs_its_engine(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    several = with_choices(manifest, DeviceChoice("", (), "litert", "fp16"))
    monkeypatch.setattr(select, "is_installed", lambda engine: engine == "onnxruntime")
    assert chosen(several) == ("onnxruntime", "fp32")
    monkeypatch.setattr(select, "is_installed", lambda engine: False)
    with pytest.raises(EngineUnavailableError):
        choose(several)


@pytest.mark.usefixtures("on_arm")
def test_a_wish_limits_what_is_left_to_choose(manifest: Manifest) -> None:
    several = with_choices(manifest, DeviceChoice("", (), "litert", "fp16"), DeviceChoice("", (), "onnxruntime", "int8"))
    assert chosen(several, engine="onnxruntime") == ("onnxruntime", "int8")
    assert chosen(several, engine="onnxruntime", precision="fp32") == ("onnxruntime", "fp32")
    assert chosen(several, precision="fp16") == ("litert", "fp16")
    assert chosen(several, precision="int8") == ("onnxruntime", "int8")
    with pytest.raises(IncompatibleBundleError, match="no fp16 file for onnxruntime"):
        choose(several, engine="onnxruntime", precision="fp16")


@pytest.mark.usefixtures("on_arm")
def test_a_measurement_comes_before_the_bundle_s_choice(manifest: Manifest) -> None:
    other = with_choices(manifest, DeviceChoice("", (), "litert", "fp16"))
    assert chosen(other, tuned=("litert", "int8")) == ("litert", "int8")
    assert chosen(other, tuned=("litert", "int8"), precision="fp32") == ("onnxruntime", "fp32")


def test_what_is_not_accepted_is_never_chosen_but_may_be_asked_for(manifest: Manifest) -> None:
    member = replace(manifest.members[0], accepted={"onnxruntime": ("fp32",), "litert": ("fp32",)})
    strict = replace(manifest, members=(member,))
    assert chosen(strict, tuned=("litert", "int8")) == ("onnxruntime", "fp32")
    assert chosen(strict, engine="litert", precision="int8") == ("litert", "int8")


def test_every_member_must_accept(tmp_path: Path, manifest: Manifest) -> None:
    folder = make_ensemble(Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path / "twin")), {})
    second = replace(open_bundle(folder).manifest.members[1], accepted={"onnxruntime": ("fp32",), "litert": ("fp32",)})
    pair = replace(manifest, members=(*manifest.members, second))
    assert {choice.precision for choice in choose(pair, tuned=("litert", "fp16"))} == {"fp32"}
    assert [choice.engine for choice in choose(pair, tuned=("litert", "fp32"))] == ["litert"] * 2


def test_versions_are_told_without_loading_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import version

    assert installed_version("onnxruntime") == f"onnxruntime-{version('onnxruntime')}"
    assert installed_version("litert") == f"ai_edge_litert-{version('ai-edge-litert')}"
    monkeypatch.setitem(select._PACKAGES, "litert", ("no_such_package",))
    assert installed_version("litert") is None


def test_a_package_of_no_known_version_is_told_by_its_file(tmp_path: Path) -> None:
    module = tmp_path / "site" / "engine" / "__init__.py"
    assert select._distribution("engine", module) == "unknown"
    module.parent.mkdir(parents=True)
    module.touch()
    before = select._distribution("engine", module)
    os.utime(module, (1, 1))
    assert select._distribution("engine", module) == "of 1000000000" != before
    (tmp_path / "site" / "engine_gpu-1.2.dist-info").mkdir()
    (tmp_path / "site" / "other-1.2.dist-info").mkdir()
    assert select._distribution("engine", module) == "engine_gpu-1.2"


@pytest.mark.parametrize(
    ("text", "model", "features"),
    [
        ("processor: 0\nmodel name : A PC\nflags : fpu avx2 avx512_vnni\n\nprocessor: 1\nflags : avx2\n", "A PC", ("avx2",)),
        (
            "Features : fp asimd asimddp\nCPU implementer : 0x41\nCPU part : 0xd0b\n\nModel : A Board\n",
            "A Board",
            ("asimd", "asimddp"),
        ),
        ("Features : asimd\nCPU implementer : 0x41\nCPU part : 0xd0b\n", "implementer 0x41, part 0xd0b", ("asimd",)),
        ("", "unknown", ()),
        ("model name : Many\n" + "flags : avx2\n" * 100_000, "Many", ("avx2",)),
    ],
)
def test_the_processor_is_read_from_what_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, model: str, features: tuple[str, ...]
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(device, "Path", lambda name: tmp_path / Path(name).name)
    found = device.processor()
    assert (found.model, found.features) == (model, features)
