"""What a site says of its kiosk, what is missing, and the command that serves it."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from osteo_edge.cli import exit_codes
from osteo_edge.cli.group import run
from osteo_edge.errors import SiteError
from osteo_edge.kiosk import check, serving
from osteo_edge.kiosk.site import ACKNOWLEDGEMENT, Site, read_site
from tests.bundles import DENSITY

ACKNOWLEDGED = {"schema_version": 1, "acknowledged": ACKNOWLEDGEMENT, "by": "Dr Example"}


def written(folder: Path, **fields: Any) -> Path:
    path = folder / "site.json"
    path.write_text(json.dumps({**ACKNOWLEDGED, **fields}))
    return path


def test_the_intended_use_is_acknowledged_word_by_word(tmp_path: Path) -> None:
    assert read_site(written(tmp_path)).is_acknowledged
    assert not read_site(written(tmp_path, by=" ")).is_acknowledged
    assert not read_site(written(tmp_path, acknowledged="yes")).is_acknowledged
    assert not Site(1).is_acknowledged


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be an object"),
        ('{"schema_version": 2}', "schema_version"),
        ('{"schema_version": 1, "acknowledgd": "x"}', "acknowledgd"),
        ('{"schema_version": 1, "pictures": 3}', "pictures"),
        (" " * 70_000, "larger than"),
    ],
)
def test_a_broken_site_file_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    path = tmp_path / "site.json"
    path.write_text(text)
    with pytest.raises(SiteError, match=re.escape(told)):
        read_site(path)
    assert run(["kiosk", "--site", str(path), "--check"]) == exit_codes.USAGE
    assert told in capsys.readouterr().err


def test_check_tells_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kiosk", "--check"]) == exit_codes.USAGE
    told = capsys.readouterr().out
    assert "missing the intended use is not acknowledged" in told
    assert ACKNOWLEDGEMENT in told
    site = str(written(tmp_path, pictures="inbox"))
    assert run(["kiosk", "--site", site, "--check"]) == exit_codes.USAGE
    assert "cannot be read" in capsys.readouterr().out
    (tmp_path / "inbox").mkdir()
    assert run(["kiosk", "--site", site, "--check"]) == exit_codes.ANSWERED
    assert "acknowledged by Dr Example" in capsys.readouterr().out


def test_without_the_extra_one_sentence_tells_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    assert run(["kiosk"]) == exit_codes.USAGE
    assert "pip install 'osteo-edge[kiosk]'" in capsys.readouterr().err


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_the_command_serves_what_the_site_allows(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch, is_acknowledged: bool
) -> None:
    pages: list[str] = []

    def serve(app: Any, port: int, *, ready: Any) -> bool:
        here = f"http://127.0.0.1:{port}"
        browser = TestClient(app, base_url=here, headers={"Origin": here})
        page = browser.get("/").text
        for address in ("/start", "/what", "/person"):
            page = browser.post(address, data={"token": token_of(page), "language": "en"}).text
        pages.append(page)
        (name,) = re.findall('name="chosen" value="([^"]*)"', page)
        pages.append(browser.post("/picture", data={"token": token_of(page), "chosen": name}).text)
        ready()
        return True

    monkeypatch.setattr(serving, "serve", serve)
    (tmp_path / "inbox").mkdir()
    shutil.copy(example, tmp_path / "inbox" / "Doe Jane.png")
    site = ["--site", str(written(tmp_path, pictures="inbox"))] if is_acknowledged else []
    assert run(["kiosk", "--threads", "1", "--bundle", DENSITY, *site]) == exit_codes.ANSWERED
    assert ('type="file"' in pages[0]) is is_acknowledged
    assert ("Demonstration" in pages[0]) is not is_acknowledged
    assert "what the program found" in pages[1]
    assert "Doe" not in "".join(pages)


def token_of(page: str) -> str:
    return re.findall('name="token" value="([^"]*)"', page)[-1]


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["kiosk", "--threads", "1", "--bundle", DENSITY, "--port", str(port)]) == exit_codes.OUTPUT
    assert f"port {port} cannot be used" in capsys.readouterr().err
