"""The way through the pages: language, what this is, about you, picture, answer, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from osteo_edge.covariates import AGE, SEX, WEIGHT
from osteo_edge.errors import (
    BundleError,
    CovariateError,
    DecoderError,
    EngineError,
    InputError,
    OutOfMemoryError,
    ReportError,
)
from osteo_edge.findings import TOO_MANY_BYTES
from osteo_edge.kiosk import captions, pages
from osteo_edge.kiosk.gallery import Gallery
from osteo_edge.kiosk.guard import POLICY_OF_PDF, Guard
from osteo_edge.kiosk.pages import Frame
from osteo_edge.kiosk.upload import Form, NoFormError, TooLargeError, TooSlowError, discard, read_form
from osteo_edge.kiosk.visit import ANSWER, PERSON, PICTURE, WARNED_BEFORE_S, WHAT, Desk, Visit, is_same, token
from osteo_edge.reports.pages import captions as reported
from osteo_edge.reports.pages.answers import as_answered
from osteo_edge.reports.pages.catalogue import ENGLISH, LANGUAGES, catalogue_of
from osteo_edge.reports.pages.html import FONTS
from osteo_edge.reports.pages.page import Page, page_of
from osteo_edge.reports.pages.pdf import is_available, to_pdf
from osteo_edge.reports.pages.picture import Read, film_of
from osteo_edge.reports.pages.writing import stated_time
from osteo_edge.wording import REJECTIONS

if TYPE_CHECKING:
    from osteo_edge.covariates import Given, Person
    from osteo_edge.prediction import Prediction

_COOKIE: Final = "visit"
# Of the cookie too: the browser forgets all that it had of a visit.
_FORGET: Final = {"Clear-Site-Data": '"cache", "cookies", "storage"'}
_AGAIN_S: Final = 10
_FILES: Final = {"/kiosk.css": "text/css", "/kiosk.js": "text/javascript"}
_FONT_FILES: Final = tuple(sorted(path.name for path in FONTS.glob("*.ttf")))


class Answering(Protocol):
    """What ``OsteoPredictor`` does for a kiosk."""

    def predict(
        self, image: bytes, *, source: str, age_years: float | None, sex: str | None, covariates: Given
    ) -> Prediction: ...
    def reject(self, source: str, error: InputError, given: Given | None = None) -> Prediction: ...
    def describe(self, given: Given) -> Person: ...


@dataclass(frozen=True)
class Setting:
    """What a kiosk is made of.

    Attributes:
        read: decodes a picture, in a process of its own.
        gallery: pictures to choose from; None where the site has no folder.
        warn: is told of what failed, never of whom.
        upload_seconds: how long a picture may take to arrive.
    """

    predictor: Answering
    read: Read
    gallery: Gallery | None
    is_demonstration: bool
    desk: Desk
    warn: Callable[[str], None]
    upload_seconds: float = 60.0


class Stop(Exception):  # noqa: N818  a page of its own in place of what was asked for
    """Answer with this instead."""

    @property
    def response(self) -> Response:
        response: Response = self.args[0]
        return response


def make_app(setting: Setting, hosts: Collection[str]) -> ASGIApp:
    """The application, behind its guard.

    Args:
        hosts: as ``guard.Guard`` takes them.
    """
    return Guard(_Kiosk(setting).application(), hosts)


class _Kiosk:
    def __init__(self, setting: Setting) -> None:
        self._setting, self._desk = setting, setting.desk
        self._at_work = asyncio.Lock()

    def application(self) -> Starlette:
        shown = {
            "/": self.start,
            "/what": self.what,
            "/person": self.person,
            "/picture": self.picture,
            "/answer": self.answer,
            "/paper": self.paper,
            "/language": self.language,
            "/text/{size}": self.text,
            "/still-there": self.still_there,
            "/time-out/{language}": self.time_out,
            "/ended/{language}": self.ended,
            "/film.jpg": self.film,
            "/answer.pdf": self.pdf,
            "/small/{name}.jpg": self.small,
            "/font/{name}": self.font,
            **dict.fromkeys(_FILES, self.file),
        }
        taken = {
            "/start": self.take_start,
            "/what": self.take_what,
            "/person": self.take_person,
            "/picture": self.take_picture,
            "/language": self.take_language,
            "/stay": self.take_stay,
            "/end": self.take_end,
        }
        routes = [Route(path, self._told(page), methods=["GET"]) for path, page in shown.items() if path not in taken]
        for path, take in taken.items():
            routes.append(Route(path, self._told(self._either(shown.get(path), take)), methods=["GET", "POST"]))
        handlers: Mapping[Any, Any] = {404: self.no_page, 405: self.no_page, 400: self.no_page}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._sweeping)

    def _either(self, show: Callable[[Request], Any] | None, take: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def page(request: Request) -> Response:
            if request.method == "POST":
                return await _awaited(take(request))
            return await _awaited(show(request)) if show else await self.no_page(request, None)

        return page

    def _told(self, page: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Whatever fails becomes a page; of the fault its kind is told, of the person nothing."""

        async def answered(request: Request) -> Response:
            try:
                return await _awaited(page(request))
            except Stop as stop:
                return stop.response
            except TooLargeError:
                said = REJECTIONS[TOO_MANY_BYTES]
                return self._explain(request, 413, *said, "/picture")
            except TooSlowError:
                return self._explain(request, 408, captions.SLOW, captions.CHOOSE_AGAIN, "/picture")
            except NoFormError:
                return self._explain(request, 400, captions.OLD, captions.SEVERAL_WINDOWS, "/")
            except Exception as error:
                self._setting.warn(_without_person(error))
                return self._explain(request, 500, captions.FAILED, captions.NOT_YOUR_FAULT, "/")

        return answered

    @asynccontextmanager
    async def _sweeping(self, _: Starlette) -> AsyncIterator[None]:
        """A visit that has had its time is erased although nobody asks for a page."""

        async def sweep() -> None:
            while True:
                await asyncio.sleep(1)
                self._desk.sweep()

        task = asyncio.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._desk.end()

    # Pages

    def start(self, request: Request) -> Response:
        visit = self._visit(request)
        if visit is not None:
            return _to(f"/{visit.step}")
        is_large = request.query_params.get("text") == "large"
        if self._desk.is_taken():
            frame = self._frame(None, refresh=(_AGAIN_S, "/"))
            return _page(frame, captions.BUSY, pages.told(frame, captions.PLEASE_WAIT, "/", captions.TRY_AGAIN), 503)
        frame = self._frame(None, token=self._desk.door, is_large=is_large)
        return HTMLResponse(pages.document(frame, reported.PROGRAM_NAME, pages.choose_language(frame, "/start")))

    def what(self, request: Request) -> Response:
        visit = self._at(request, WHAT)
        frame = self._frame(visit)
        return _page(frame, captions.WHAT, pages.what(frame, round(self._desk.idle_seconds)))

    def person(self, request: Request) -> Response:
        return self._person_page(self._at(request, PERSON), {})

    async def picture(self, request: Request) -> Response:
        visit = self._at(request, PICTURE)
        gallery = self._setting.gallery
        names = await run_in_threadpool(gallery.names) if gallery else ()
        frame = self._frame(visit)
        return _page(frame, captions.PICTURE, pages.picture(frame, names, with_folder=gallery is not None))

    def answer(self, request: Request) -> Response:
        visit = self._at(request, ANSWER)
        frame, page = self._frame(visit), _report(visit)
        return HTMLResponse(pages.document(frame, page.title, pages.answer(frame, page, with_pdf=is_available())))

    def paper(self, request: Request) -> Response:
        frame = self._frame(self._at(request, ANSWER))
        return _page(frame, captions.AS_PDF, pages.paper(frame))

    def language(self, request: Request) -> Response:
        frame = self._frame(self._required(request))
        return _page(frame, captions.LANGUAGE, pages.choose_language(frame, "/language"))

    def text(self, request: Request) -> Response:
        visit = self._required(request)
        visit.is_large = request.path_params["size"] == "large"
        return _to(f"/{visit.step}")

    def still_there(self, request: Request) -> Response:
        """Does not count as something that the person has done."""
        visit = self._required(request, is_sign=False)
        frame = self._frame(visit, refresh=(WARNED_BEFORE_S + 1, f"/time-out/{visit.language}"))
        return _page(frame, captions.STILL_THERE, pages.still_there(frame, WARNED_BEFORE_S))

    def time_out(self, request: Request) -> Response:
        visit = self._visit(request)
        return _to(f"/{visit.step}") if visit else _to(f"/ended/{_language(request)}")

    def ended(self, request: Request) -> Response:
        frame = self._frame(None, language=_language(request), refresh=(_AGAIN_S, "/"))
        body = pages.told(frame, captions.NEXT_PERSON, "/", captions.BEGIN)
        # The name of another visit, which may have begun meanwhile, is not to be forgotten.
        return _page(frame, captions.ENDED, body, headers={} if self._visit(request) else _FORGET)

    async def no_page(self, request: Request, _: Exception | None) -> Response:
        return self._explain(request, 404, captions.NO_PAGE, captions.SEVERAL_WINDOWS, "/")

    # What belongs to pages

    def film(self, request: Request) -> Response:
        film = self._required(request, is_sign=False).film
        return Response(film.data, media_type=film.kind) if film and film.is_shown else Response(status_code=404)

    async def pdf(self, request: Request) -> Response:
        page = _report(self._at(request, ANSWER, stays=True))
        headers = {"Content-Security-Policy": POLICY_OF_PDF, "Content-Disposition": 'inline; filename="answer.pdf"'}
        return Response(await run_in_threadpool(to_pdf, page), media_type="application/pdf", headers=headers)

    async def small(self, request: Request) -> Response:
        self._required(request, is_sign=False)
        gallery = self._setting.gallery
        data = await run_in_threadpool(gallery.thumbnail, request.path_params["name"]) if gallery else b""
        return Response(data, media_type="image/jpeg") if data else Response(status_code=404)

    def font(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FONT_FILES:
            return Response(status_code=404)
        return Response((FONTS / name).read_bytes(), media_type="font/ttf", headers={"Cache-Control": "max-age=3600"})

    def file(self, request: Request) -> Response:
        path = request.url.path
        return Response(Path(__file__).with_name(path[1:]).read_bytes(), media_type=_FILES[path])

    # Forms

    async def take_start(self, request: Request) -> Response:
        form = await read_form(request)
        if self._desk.is_taken() or not is_same(form.get("token"), self._desk.door):
            return _to("/")
        language = form.get("language")
        visit = self._desk.begin(language if language in LANGUAGES else ENGLISH, is_large=form.get("text") == "large")
        response = _to("/what")
        response.set_cookie(_COOKIE, visit.name, httponly=True, samesite="strict", path="/")
        return response

    async def take_what(self, request: Request) -> Response:
        visit, _ = await self._taken(request)
        visit.go_to(PERSON)
        return _to("/person")

    async def take_person(self, request: Request) -> Response:
        visit, form = await self._taken(request)
        if not visit.may_see(PERSON):
            return _to(f"/{visit.step}")
        given = {name: form.get(name).strip()[:20] for name in (AGE, SEX, WEIGHT)}
        faults = [name for name, value in given.items() if value and not self._is_understood(name, value)]
        if faults:
            return self._person_page(visit, given, faults)
        visit.know({name: value for name, value in given.items() if value})
        return _to("/picture")

    async def take_picture(self, request: Request) -> Response:
        visit, form = await self._taken(request, with_picture=True)
        if not visit.may_see(PICTURE):
            return _to(f"/{visit.step}")
        image = await self._chosen(visit, form)
        async with self._at_work:
            answered, film = await run_in_threadpool(self._answer, image, visit.given)
        if not self._desk.holds(visit):  # erased meanwhile
            return _to("/")
        visit.answered, visit.film = answered, film
        self._desk.prolong(visit)
        visit.go_to(ANSWER)
        return _to("/answer")

    async def take_language(self, request: Request) -> Response:
        visit, form = await self._taken(request)
        if form.get("language") in LANGUAGES:
            visit.language = form.get("language")
        return _to(f"/{visit.step}")

    async def take_stay(self, request: Request) -> Response:
        visit, _ = await self._taken(request)
        return _to(f"/{visit.step}")

    async def take_end(self, request: Request) -> Response:
        """Also with an old token: who wants to end is not told of windows."""
        visit = self._required(request)
        self._desk.end()
        return _to(f"/ended/{visit.language}", headers=_FORGET)

    # What pages have in common

    def _visit(self, request: Request) -> Visit | None:
        return self._desk.visit_of(request.cookies.get(_COOKIE, ""))

    def _required(self, request: Request, *, is_sign: bool = True) -> Visit:
        """The visit of this browser; where there is none, a page says so.

        Args:
            is_sign: that the request shows that somebody is there.
        """
        visit = self._visit(request)
        if visit is None:
            raise Stop(self._explain(request, 410, captions.OVER, captions.START_AGAIN, "/"))
        if is_sign:
            self._desk.prolong(visit)
        return visit

    def _at(self, request: Request, step: str, *, stays: bool = False) -> Visit:
        """The visit, at a step that it has reached; else its own page comes."""
        visit = self._required(request, is_sign=not stays)
        if not visit.may_see(step) or (step == ANSWER and visit.answered is None):
            raise Stop(_to(f"/{visit.step}"))
        if not stays:
            visit.step = step
        return visit

    async def _taken(self, request: Request, *, with_picture: bool = False) -> tuple[Visit, Form]:
        """A form of the page that was shown last; one that was sent before, or is older, is told and not taken."""
        if self._visit(request) is None:
            await discard(request, seconds=self._setting.upload_seconds)
        self._required(request)
        form = await read_form(request, with_picture=with_picture, seconds=self._setting.upload_seconds)
        visit = self._required(request)  # the form may have taken its time
        if not is_same(form.get("token"), visit.token):
            raise Stop(self._explain(request, 409, captions.OLD, captions.SEVERAL_WINDOWS, "/"))
        visit.token = token()
        return visit, form

    def _frame(
        self,
        visit: Visit | None,
        *,
        language: str = ENGLISH,
        token: str = "",
        is_large: bool = False,
        refresh: tuple[int, str] | None = None,
    ) -> Frame:
        demonstration = self._setting.is_demonstration
        if visit is None:
            return Frame(language, is_large, token, False, demonstration, refresh)
        idle = (max(1, round(self._desk.idle_seconds) - WARNED_BEFORE_S), "/still-there")
        return Frame(visit.language, visit.is_large, visit.token, True, demonstration, refresh or idle)

    def _explain(self, request: Request, code: int, title: str, sentence: str, link: str) -> Response:
        visit = self._visit(request)
        frame = self._frame(visit)
        label = captions.GO_ON if visit else captions.BEGIN
        return _page(frame, title.rstrip("."), pages.told(frame, sentence, link if visit else "/", label), code)

    def _person_page(self, visit: Visit, given: Mapping[str, str], faults: Collection[str] = ()) -> Response:
        frame = self._frame(visit)
        shown = {**visit.given, **given}
        return _page(frame, captions.ABOUT_YOU, pages.person(frame, shown, faults), 422 if faults else 200)

    def _is_understood(self, name: str, value: str) -> bool:
        """By the ranges of the predictor and of the risk scores."""
        try:
            self._setting.predictor.describe({name: value.replace(",", ".")})
        except CovariateError:
            return False
        return True

    async def _chosen(self, visit: Visit, form: Form) -> bytes:
        """The picture that is to be answered for; in a demonstration nothing of a person's is taken."""
        gallery = self._setting.gallery
        if form.picture and not self._setting.is_demonstration:
            return form.picture
        if gallery and form.get("chosen"):
            try:
                return await run_in_threadpool(gallery.data, form.get("chosen"))
            except InputError as error:
                said = reported.UNREAD.get(error.code, captions.NONE_CHOSEN)
                raise Stop(self._explained(visit, 404, said, captions.CHOOSE_AGAIN)) from error
        raise Stop(self._explained(visit, 422, captions.NONE_CHOSEN, captions.CHOOSE_AGAIN))

    def _explained(self, visit: Visit, code: int, title: str, sentence: str) -> Response:
        frame = self._frame(visit)
        return _page(frame, title.rstrip("."), pages.told(frame, sentence, "/picture", captions.GO_ON), code)

    def _answer(self, image: bytes, given: Mapping[str, str]) -> tuple[Any, Any]:
        """The answer and its picture; what cannot be read is an answer too."""
        source = f"visit-{token()}"  # stands nowhere
        known: dict[str, float | str | None] = {name: value.replace(",", ".") for name, value in given.items()}
        age = known.pop(AGE, None)
        sex = known.pop(SEX, None)
        try:
            prediction = self._setting.predictor.predict(
                image,
                source=source,
                age_years=float(age) if age is not None else None,
                sex=str(sex) if sex is not None else None,
                covariates=known,
            )
        except InputError as error:
            prediction = self._setting.predictor.reject(source, error, dict(given))
        answered = as_answered(prediction.to_dict())
        return answered, film_of(answered, image, self._setting.read)


def _language(request: Request) -> str:
    """Of a page's address."""
    language = str(request.path_params["language"])
    return language if language in LANGUAGES else ENGLISH


def _report(visit: Visit) -> Page:
    """What is said of a visit's picture, in its language."""
    if visit.answered is None or visit.film is None:
        raise ReportError("there is no answer yet")
    return page_of(visit.answered, visit.film, catalogue_of(visit.language), made=stated_time())


def _without_person(error: Exception) -> str:
    """What is told of a fault: of other kinds than these a message may hold what a person gave."""
    is_ours = isinstance(error, (EngineError, DecoderError, OutOfMemoryError, BundleError))
    return str(error) if is_ours else f"a page failed ({type(error).__name__})"


def _page(
    frame: Frame, title: str, body: Iterator[str], code: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    """A page of which the title is English."""
    return HTMLResponse(pages.document(frame, frame.catalogue.word(title), body), code, headers=headers)


def _to(address: str, *, headers: Mapping[str, str] | None = None) -> RedirectResponse:
    """Another page is asked for; what was sent is not sent again by going back."""
    return RedirectResponse(address, 303, headers=headers)


async def _awaited(response: Any) -> Response:
    awaited: Response = await response if asyncio.iscoroutine(response) else response
    return awaited
