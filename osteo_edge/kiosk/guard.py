"""What stands before every page: whose requests are answered at all, and what browsers are told to keep to."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; script-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Chromium's viewer of PDFs is a page of its own and takes no other policy; our page alone may hold it.
POLICY_OF_PDF: Final = "frame-ancestors 'self'"
# With no-referrer browsers send the origin of a form as null, and it could not be told whose form it is.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_OWN: Final = ("same-origin", "none")


class Guard:
    """Answers those who ask for this very machine, from a page of this very kiosk."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        """Stand before an application.

        Args:
            hosts: what the header ``Host`` may be; another one is a name that a stranger has led here (DNS rebinding).
        """
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        fault = self._fault(scope["method"], Headers(scope=scope))
        app = PlainTextResponse(*fault) if fault else self._app
        await app(scope, receive, send_guarded)

    def _fault(self, method: str, headers: Headers) -> tuple[str, int] | None:
        if headers.getlist("host") != [headers.get("host", "")] or headers.get("host") not in self._hosts:
            return "This kiosk answers to its own address alone.\n", 400
        if headers.get("sec-fetch-site", "none") not in _OWN:
            return "Another page may not ask this kiosk.\n", 403
        if method not in ("GET", "HEAD") and headers.get("origin") not in self._origins:
            return "Forms are taken from this kiosk's own pages alone.\n", 403
        return None
