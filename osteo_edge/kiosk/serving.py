"""The server: this machine's own address alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

ADDRESS: Final = "127.0.0.1"
# A browser asks for a page's parts side by side; more than this nobody who stands there needs.
_MOST_AT_ONCE: Final = 40


def hosts_of(port: int) -> tuple[str, ...]:
    """What the header ``Host`` of this machine's own browser says."""
    names = (ADDRESS, "localhost")
    return tuple(f"{name}:{port}" for name in names) + (names if port == 80 else ())


def serve(app: ASGIApp, port: int, *, ready: Callable[[], None]) -> bool:
    """Answer until the process is interrupted.

    Args:
        ready: is called once requests are taken.

    Returns:
        Whether it could begin: the port may be another program's.
    """
    config = uvicorn.Config(
        app,
        host=ADDRESS,
        port=port,
        log_config=None,  # its lines would hold addresses and times of persons' visits
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=_MOST_AT_ONCE,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config, ready)
    try:
        server.run()
    except SystemExit:  # uvicorn's way to say that the port cannot be had
        return False
    return server.started


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self._ready()
