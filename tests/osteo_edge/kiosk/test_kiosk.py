"""The kiosk at the level of HTTP: the whole way, what it refuses, and that nothing of a person stays."""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from osteo_edge import OsteoPredictor
from osteo_edge.covariates import Given, Person
from osteo_edge.errors import InferenceError, InputError, UnreadableImageError
from osteo_edge.findings import Finding
from osteo_edge.images import reader
from osteo_edge.images.untrusted import UntrustedReader
from osteo_edge.integrity import sha256_hex
from osteo_edge.kiosk import upload
from osteo_edge.kiosk.app import Setting, make_app
from osteo_edge.kiosk.gallery import Gallery, newest_of
from osteo_edge.kiosk.guard import HEADERS
from osteo_edge.kiosk.pages import told_range
from osteo_edge.kiosk.serving import hosts_of
from osteo_edge.kiosk.visit import Desk
from osteo_edge.labels import Status
from osteo_edge.prediction import Prediction
from osteo_edge.reports.pages.catalogue import LANGUAGES, catalogue_of
from tests.answers import a_prediction, an_answer
from tests.bundles import DENSITY
from tests.pictures import encoded

HOST = "127.0.0.1:8377"
HERE = f"http://{HOST}"


class Quick:
    """Answers at once: ``bad`` cannot be read, ``ill`` makes the engine fail."""

    def __init__(self, during: Callable[[], object] = lambda: None) -> None:
        self.during = during
        self.asked: list[tuple[float | None, str | None, dict[str, Any]]] = []

    def predict(self, image: bytes, *, source: str, age_years: float | None, sex: str | None, covariates: Given) -> Prediction:
        self.asked.append((age_years, sex, dict(covariates)))
        self.during()
        if image.startswith(b"bad"):
            raise UnreadableImageError(f"{source} is damaged", code="damaged")
        if image.startswith(b"ill"):
            raise InferenceError("the engine failed")
        return a_prediction(an_answer(), source=source, digest=sha256_hex(image))

    def reject(self, source: str, error: InputError, given: Given | None = None) -> Prediction:
        answer = replace(
            an_answer(), status=Status.REJECTED, findings=(Finding(error.code, str(error)),), label_set=(), mode=None
        )
        return a_prediction(answer, source=source, digest=None)

    def describe(self, given: Given) -> Person:
        return OsteoPredictor.describe(_PREDICTOR, given)


class _Undescribed:
    """Checks as a predictor of bundles that know of nobody."""

    _known = frozenset[str]()
    _respondents = ()

    def _describe(self, given: Given) -> tuple[Person, ...]:
        from osteo_edge.covariates import describe

        return (describe(None, {name: value for name, value in given.items() if name != "weight_kg"}),)


_PREDICTOR: Any = _Undescribed()


class Stand:
    """A kiosk, a clock that is set by hand, and browsers before it."""

    def __init__(self, predictor: Any = None, *, demonstration: bool = False, gallery: Gallery | None = None) -> None:
        self.now = 1000.0
        self.warned: list[str] = []
        self.desk = Desk(120, lambda: self.now)
        self.predictor = predictor or Quick()
        setting = Setting(self.predictor, reader.read, gallery, demonstration, self.desk, self.warned.append, 5.0)
        self.app = make_app(setting, hosts_of(8377))

    def browser(self) -> Browser:
        return Browser(self.app)


class Browser(TestClient):
    """Sends what a browser sends with a form."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, base_url=HERE, headers={"Origin": HERE, "Sec-Fetch-Site": "same-origin"})
        self.page = self.get("/")

    def go(self, address: str) -> str:
        self.page = self.get(address)
        return self.page.text

    def fill(self, action: str, **fields: str) -> str:
        """Send the form of the page that is shown."""
        self.page = self.post(action, data={"token": self.token, **fields})
        return self.page.text

    def give(self, data: bytes, name: str = "Doe Jane.png") -> str:
        self.page = self.post("/picture", data={"token": self.token}, files={"file": (name, data)})
        return self.page.text

    @property
    def token(self) -> str:
        return re.findall('name="token" value="([^"]*)"', self.page.text)[-1]

    def walk(self, language: str = "en", **person: str) -> Browser:
        """As far as the page of the picture."""
        self.page = self.get("/")
        self.fill("/start", language=language)
        self.fill("/what")
        self.fill("/person", **person)
        assert self.page.url.path == "/picture"
        return self


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def browser(stand: Stand) -> Browser:
    return stand.browser()


@pytest.fixture(scope="module")
def picture() -> bytes:
    return encoded(".png", np.random.default_rng(1).integers(0, 255, (70, 50), np.uint8))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_whole_way_in_every_language(stand: Stand, picture: bytes, language: str) -> None:
    say = catalogue_of(language).word
    browser = stand.browser()
    assert all(name in browser.page.text for name, _ in LANGUAGES.values())
    assert f'<html lang="{language}" dir="{LANGUAGES[language][1]}"' in browser.fill("/start", language=language)
    assert say("It makes no diagnosis, and it can be wrong.").rstrip(".") in browser.page.text or language != "en"
    browser.fill("/what")
    browser.fill("/person", age_years="67", sex="female", weight_kg="58,5")
    told = browser.give(picture)
    assert stand.predictor.asked == [(67.0, "female", {"weight_kg": "58.5"})]
    assert (browser.page.url.path, browser.page.status_code) == ("/answer", 200)
    assert say("Knee radiograph: what the program found") in told
    assert say("AI research screening aid, not for diagnosis") in told
    film = browser.get("/film.jpg")
    assert (film.headers["content-type"], film.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert say("All was erased") in browser.fill("/end")
    assert stand.desk.is_taken() is False


def test_the_library_s_own_predictor_answers_the_example(example: Path) -> None:
    untrusted = UntrustedReader()
    gallery = Gallery(lambda: [example], untrusted.read)
    with OsteoPredictor(DENSITY, threads=1, untrusted=True) as predictor:
        stand = Stand(predictor, demonstration=True, gallery=gallery)
        browser = stand.browser().walk(age_years="67", weight_kg="58", sex="female")
        (name,) = gallery.names()
        assert browser.get(f"/small/{name}.jpg").content[:2] == b"\xff\xd8"
        told = browser.fill("/picture", chosen=name)
        direct = predictor.predict(example, age_years=67, sex="female", covariates={"weight_kg": "58"})
    untrusted.close()
    for sentence in direct.to_dict()["answers"][0]["told"]["knees"]:
        assert sentence["sentence"] in told
    assert "OST" in told
    assert browser.get("/film.jpg").status_code == 200
    pdf = browser.get("/answer.pdf")
    assert pdf.content.startswith(b"%PDF")
    assert pdf.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert "<iframe" in browser.go("/paper")


def test_what_cannot_be_read_is_an_answer_that_says_why_and_what_to_do(browser: Browser) -> None:
    told = browser.walk().give(b"bad bytes")
    assert browser.page.status_code == 200
    assert "The file is damaged" in told or "is damaged" in told
    assert "No answer" in told
    assert "visit-" not in told


def test_no_name_of_a_file_is_shown_and_nothing_is_written(
    stand: Stand, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened: list[str] = []
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_, **__: opened.append("a file") or io.BytesIO())
    told = stand.browser().walk().give(picture + bytes(3 << 20), "Doe Jane.png")
    assert "Doe" not in told
    assert opened == []
    assert list(tmp_path.iterdir()) == []


def test_every_answer_has_the_guarding_headers(browser: Browser) -> None:
    for address in ("/", "/what", "/nothing", "/kiosk.css", "/film.jpg"):
        found = browser.get(address).headers
        assert {name: found.get(name) for name in HEADERS} == HEADERS, address
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_pages_hold_no_script_or_style_of_their_own(stand: Stand, picture: bytes) -> None:
    browser = stand.browser().walk()
    pages = [browser.get(address).text for address in ("/what", "/person", "/picture", "/language", "/still-there")]
    pages.append(browser.give(picture))
    for page in pages:
        assert (
            re.findall(r"<script(?! src=\"/kiosk.js\" defer></script>)|<style|\sstyle=|\son\w+=|(?:https?:)?//\w", page) == []
        )
        assert page.count('autocomplete="off"') == page.count("<form")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Host": "evil.example:8377"}, 400),
        ({"Host": "127.0.0.1:80"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_strangers_are_not_served(stand: Stand, headers: dict[str, str], code: int) -> None:
    browser = stand.browser()
    answer = browser.post("/start", data={"token": browser.token, "language": "en"}, headers=headers)
    assert answer.status_code == code
    assert not stand.desk.is_taken()


def test_a_form_needs_the_token_of_its_page_and_takes_it_once(stand: Stand) -> None:
    browser = stand.browser()
    browser.post("/start", data={"token": "guessed", "language": "en"})
    assert not stand.desk.is_taken()
    browser.fill("/start", language="en")
    old = browser.token
    browser.fill("/what")
    second = browser.post("/person", data={"token": old, "age_years": "67"})
    assert second.status_code == 409
    assert "out of date" in second.text
    assert "another window" in second.text
    assert browser.go("/").count("About you")


def test_nobody_comes_to_a_page_before_its_turn(stand: Stand) -> None:
    browser = stand.browser()
    browser.fill("/start", language="en")
    for address in ("/person", "/picture", "/answer", "/paper", "/answer.pdf"):
        assert browser.get(address).url.path == "/what"
    browser.post("/picture", data={"token": browser.token}, files={"file": b"ill"})
    assert stand.predictor.asked == []


def test_one_person_at_a_time(stand: Stand) -> None:
    stand.browser().walk()
    other = stand.browser()
    assert other.page.status_code == 503
    assert "Somebody else is using this now" in other.page.text
    assert 'http-equiv="refresh"' in other.page.text
    assert other.get("/picture").status_code == 410
    stand.now += 121
    assert other.go("/").count('name="language"')


def test_the_page_asks_before_time_is_over_and_time_can_be_had(stand: Stand) -> None:
    browser = stand.browser().walk()
    assert '<meta http-equiv="refresh" content="90;url=/still-there">' in browser.page.text
    stand.now += 90
    assert "In 30 seconds all will be erased." in browser.go("/still-there")
    assert 'content="31;url=/time-out/en"' in browser.page.text
    browser.fill("/stay")
    assert browser.page.url.path == "/picture"
    stand.now += 100
    assert browser.go("/time-out/en").count("The picture")
    stand.now += 90
    browser.go("/still-there")  # is no sign that somebody is there
    stand.now += 31
    assert "All was erased" in browser.go("/time-out/en")
    assert browser.page.headers["clear-site-data"] == '"cache", "cookies", "storage"'
    assert not stand.desk.is_taken()


def test_after_the_end_going_back_shows_nothing(stand: Stand, picture: bytes) -> None:
    browser = stand.browser().walk(age_years="67")
    browser.give(picture)
    token = browser.token
    (cookie,) = browser.cookies.items()
    ended = browser.post("/end", data={"token": token}, follow_redirects=False)
    assert ended.headers["clear-site-data"] == '"cache", "cookies", "storage"'
    for address in ("/answer", "/film.jpg", "/answer.pdf", "/person", "/picture", "/paper", "/language", "/still-there"):
        browser.cookies.set(*cookie, domain="127.0.0.1")
        gone = browser.get(address)
        assert gone.status_code == 410, address
        assert "67" not in gone.text
    again = browser.post("/picture", data={"token": token}, files={"file": picture})
    assert (again.status_code, "Your visit is over" in again.text) == (410, True)


def test_an_answer_that_comes_after_the_end_is_dropped(picture: bytes) -> None:
    stand = Stand()
    stand.predictor.during = stand.desk.end
    browser = stand.browser().walk()
    browser.give(picture)
    assert browser.page.url.path == "/"
    assert not stand.desk.is_taken()


def test_nothing_of_a_person_is_left_in_memory(stand: Stand, picture: bytes) -> None:
    from osteo_edge.kiosk.visit import Visit
    from osteo_edge.reports.pages.answers import Answered

    browser = stand.browser().walk(age_years="67")
    browser.give(picture)
    browser.fill("/end")
    browser.close()
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, (Visit, Answered))] == []


@pytest.mark.parametrize(
    ("person", "name"),
    [({"age_years": "old"}, "age_years"), ({"age_years": "900"}, "age_years"), ({"weight_kg": "5"}, "weight_kg")],
)
def test_what_is_not_understood_of_a_person_is_asked_again(stand: Stand, person: dict[str, str], name: str) -> None:
    browser = stand.browser()
    browser.fill("/start", language="en")
    browser.fill("/what")
    told = browser.fill("/person", **person)
    assert browser.page.status_code == 422
    assert f'aria-describedby="{name}-fault"' in told
    assert f'value="{person[name]}"' in told
    assert "or leave it empty." in told


def test_ranges_that_are_told_are_those_that_are_taken() -> None:
    assert told_range("age_years", 1, 120) == "Please give the age as a number from 1 to 120, or leave it empty."
    for name, low, high in (("age_years", 1, 120), ("weight_kg", 25, 250)):
        for value in (low, high):
            Quick().describe({name: str(value)})


def test_a_new_person_s_data_is_answered_anew(stand: Stand, picture: bytes) -> None:
    browser = stand.browser().walk(age_years="67")
    browser.give(picture)
    browser.go("/person")
    assert 'value="67"' in browser.page.text
    browser.fill("/person", age_years="40")
    assert browser.get("/answer").url.path == "/picture"


def test_too_large_a_picture_is_told_and_not_kept(stand: Stand, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MAX_BYTES", 1 << 20)
    browser = stand.browser().walk()
    token = browser.token
    told = browser.give(picture + bytes(2 << 20))
    assert (browser.page.status_code, stand.predictor.asked) == (413, [])
    assert "This file is too large" in told
    assert "Save the picture as a smaller file" in told
    assert 'href="/picture"' in told

    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield from (bytes(1 << 18) for _ in range(9))

    headers = {"Content-Type": "multipart/form-data; boundary=x"}  # without a length
    browser.go("/picture")
    assert browser.post("/picture", content=pieces(), headers=headers).status_code == 413
    browser.go("/picture")
    assert token == browser.token  # the form may be sent again
    assert "/answer" in str(browser.post("/picture", data={"token": token}, files={"file": picture}).url)


@pytest.mark.anyio
async def test_too_slow_a_picture_is_told() -> None:
    import asyncio

    from starlette.requests import Request

    async def never() -> Any:
        await asyncio.sleep(60)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"multipart/form-data; boundary=x")]}
    with pytest.raises(upload.TooSlowError):
        await upload.read_form(Request(scope, never), with_picture=True, seconds=0.01)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("data", "code"),
    [({}, 422), ({"chosen": "../../etc/passwd"}, 422), ({"chosen": "0" * 24}, 422)],
)
def test_no_picture_is_told(browser: Browser, data: dict[str, str], code: int) -> None:
    told = browser.walk().fill("/picture", **data)
    assert browser.page.status_code == code
    assert "No picture was chosen" in told
    assert 'href="/picture"' in told


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"--x\r\n\r\n", b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n']
)
def test_forms_that_are_none_give_a_page(browser: Browser, body: bytes) -> None:
    browser.walk()
    answer = browser.post("/picture", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code in (400, 409)
    assert "out of date" in answer.text


def test_an_engine_that_fails_is_told_without_the_person(stand: Stand) -> None:
    browser = stand.browser().walk(age_years="67")
    told = browser.give(b"ill")
    assert browser.page.status_code == 500
    assert "no fault of yours" in told
    assert 'href="/"' in told
    assert stand.warned == ["the engine failed"]
    assert browser.go("/").count("The picture")


def test_a_fault_of_ours_is_told_by_its_kind_alone(stand: Stand) -> None:
    def fault() -> None:
        raise ValueError("Jane Doe is 67")

    stand.predictor.during = fault
    browser = stand.browser().walk()
    browser.give(b"x")
    assert (browser.page.status_code, stand.warned) == (500, ["a page failed (ValueError)"])


def test_a_demonstration_takes_no_picture_of_a_person(example: Path, picture: bytes) -> None:
    stand = Stand(demonstration=True, gallery=Gallery(lambda: [example], reader.read))
    browser = stand.browser().walk()
    assert 'type="file"' not in browser.page.text
    assert "Demonstration: only the drawn example picture" in browser.page.text
    browser.give(picture)
    assert (browser.page.status_code, stand.predictor.asked) == (422, [])


def test_a_folder_s_pictures_have_no_names(tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "Doe Jane.png").write_bytes(picture)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("Doe")
    (tmp_path / ".hidden.png").write_bytes(picture)
    (tmp_path / "link.png").symlink_to("/etc/passwd")
    gallery = Gallery(lambda: newest_of(tmp_path, (".png",)), reader.read)
    stand = Stand(gallery=gallery)
    browser = stand.browser().walk()
    assert len(gallery.names()) == 2
    assert "Doe" not in browser.page.text
    small = [browser.get(f"/small/{name}.jpg") for name in gallery.names()]
    assert sorted(one.status_code for one in small) == [200, 404]
    assert "Doe" not in browser.fill("/picture", chosen=gallery.names()[0])
    assert browser.page.url.path == "/answer"
    (tmp_path / "Doe Jane.png").unlink()
    assert len(gallery.names()) == 1


def test_text_size_and_language_are_switched_on_the_way(browser: Browser) -> None:
    assert 'class="large"' in browser.go("/?text=large")
    browser.page = browser.post("/start", data={"token": browser.token, "language": "ar", "text": "large"})
    assert 'dir="rtl" class="large"' in browser.page.text
    assert 'class="large"' not in browser.go("/text/normal")
    browser.go("/language")
    assert 'lang="hi"' in browser.fill("/language", language="hi")
    assert browser.page.url.path == "/what"


def test_what_is_given_stands_on_pages_as_text_alone(browser: Browser) -> None:
    browser.fill("/start", language="en")
    browser.fill("/what")
    assert "<script>" not in browser.fill("/person", age_years='"><script>', sex="<b>").replace("<script src", "")


def test_everybody_s_files_are_two_and_the_letters(browser: Browser) -> None:
    assert browser.get("/kiosk.css").status_code == browser.get("/kiosk.js").status_code == 200
    assert browser.get("/font/NotoSans-Bold.ttf").status_code == 200
    for address in ("/font/OFL.txt", "/font/..%2Fpage.css", "/app.py", "/kiosk.py"):
        assert browser.get(address).status_code == 404


def test_nobody_s_visit_ends_by_itself_where_no_page_is_asked_for(stand: Stand) -> None:
    import time

    with stand.browser() as browser:
        browser.walk(age_years="67")
        stand.now += 121
        for _ in range(40):
            if stand.desk._visit is None:
                break
            time.sleep(0.1)
        assert stand.desk._visit is None
