"""A small local service around one predictor, with the standard library alone: python examples/server.py --port 8077

    curl --data-binary @examples/synthetic-knee.png "http://127.0.0.1:8077/predict?age=40&sex=female"

It answers one picture a request with the JSON object of ``osteo-edge predict --format jsonl``, and keeps nothing. Memory does
not grow with the number of clients: at most WORKERS requests are held at once, each of at most MAX_BYTES, and later clients
wait outside until one is done. It listens to this machine only and asks nobody who they are: what faces others belongs behind a
server that does. A research screening aid, not a diagnosis.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import parse_qs, urlsplit

from osteo_edge import CovariateError, InputError, OsteoEdgeError, OsteoPredictor, Prediction

WORKERS = 2
MAX_BYTES = 20 << 20
PATIENCE_S = 20.0  # a client that sends nothing for so long gives its place to another


class Refusal(Exception):  # noqa: N818  it tells of a request, not of a fault
    """A request that is not answered by the predictor."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service(ThreadingHTTPServer):
    """A thread a request, and no more than WORKERS requests at once."""

    daemon_threads = True
    request_queue_size = 128  # clients that wait outside

    def __init__(self, predictor: OsteoPredictor, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.predictor = predictor
        self._places = BoundedSemaphore(WORKERS)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        request.settimeout(PATIENCE_S)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class Handler(BaseHTTPRequestHandler):
    """POST /predict with the bytes of one picture; age and sex may stand in the query."""

    server: Service

    def do_POST(self) -> None:
        try:
            self._send(HTTPStatus.OK, self._answer().to_dict())
        except Refusal as refusal:
            self._send(refusal.status, {"error": str(refusal)})
        except CovariateError as error:
            self._send(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except OsteoEdgeError as error:  # the engine, or memory: another try may do
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})

    def _answer(self) -> Prediction:
        body, address = self._body(), urlsplit(self.path)
        if address.path != "/predict":
            raise Refusal(HTTPStatus.NOT_FOUND, "POST a picture to /predict")
        person = {name: values[-1] for name, values in parse_qs(address.query).items()}
        try:
            return self.server.predictor.predict(body, source="upload", covariates=person)
        except InputError as error:
            return self.server.predictor.reject("upload", error)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "send the picture with a Content-Length")
        if len(length) > 12 or int(length) > MAX_BYTES:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a picture may have {MAX_BYTES >> 20} MiB")
        try:
            body = self.rfile.read(int(length))
        except TimeoutError as error:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"nothing came for {PATIENCE_S:g} seconds") from error
        if len(body) < int(length):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the picture was cut short")
        return body

    def _send(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing of a request is kept, not even that there was one."""


def main() -> None:
    options = argparse.ArgumentParser(description="Answers for knee radiographs on this machine; for research alone.")
    options.add_argument("--port", type=int, default=8077, help="0 takes any that is free")
    options.add_argument("--question", action="append", default=[], help="ask this; may be repeated, 'all' for all there are")
    given = options.parse_args()
    # Threads of the engine: requests side by side serve more people than one request on all processors.
    with OsteoPredictor(questions=given.question, threads=1) as predictor, Service(predictor, given.port) as service:
        print(f"http://127.0.0.1:{service.server_port}/predict", flush=True)
        with suppress(KeyboardInterrupt):
            service.serve_forever()


if __name__ == "__main__":
    main()
