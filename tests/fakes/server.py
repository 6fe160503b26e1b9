"""A small HTTP or HTTPS server in a thread: it remembers requests and can be told to fail."""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import trustme

CONTROL = "/__control/"
HTML_PAGE = b"<!DOCTYPE html><html><head><title>Down for maintenance</title></head><body>We will be back.</body></html>"


@dataclass
class Request:
    """One request as it arrived; `status` is what it was answered with, None when the connection was cut."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    at: float
    status: int | None = None

    @property
    def segments(self) -> list[str]:
        """The parts of the path, each unquoted by itself, so that %2F inside a key stays one part."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name.lower(), default)

    def param(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return self.query[name][-1] if name in self.query else default

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        """The fields of a form-encoded body."""
        return {name: values[-1] for name, values in parse_qs(self.text, keep_blank_values=True).items()}


@dataclass(frozen=True)
class Response:
    """What goes back: `body` is sent as it stands."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(value, default=str).encode()
    return Response(status, body, {"Content-Type": "application/json;charset=UTF-8", **(headers or {})})


@dataclass
class Trouble:
    """One planned failure: strikes every `every`-th matching request, `count` times (None: for ever)."""

    kind: str
    match: re.Pattern[str]
    count: int | None = 1
    every: int = 1
    seconds: float = 0.0
    response: Response | None = None
    after: str = "request"
    seen: int = 0

    def strikes(self, request: Request) -> bool:
        if self.count == 0 or not self.match.search(f"{request.method} {request.path}"):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        if self.count is not None:
            self.count -= 1
        return True


class Cut(Exception):
    """Close the connection, after sending these bytes."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__("connection cut")
        self.sent = sent


class FakeServer:
    """The base of the fakes: a subclass answers requests in `answer`; `lock` guards all it keeps.

    `match` is a regular expression searched in "METHOD /path" (no query string).
    """

    tls = False

    def __init__(self, *, port: int = 0, latency_seconds: float = 0.0) -> None:
        self.lock = threading.RLock()
        self.latency_seconds = latency_seconds
        self.connections = 0
        self._requests: list[Request] = []
        self._arrived = threading.Condition(self.lock)
        self._troubles: list[Trouble] = []
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    # What a service fills in

    def answer(self, request: Request) -> Response:
        """Answer one request, in the connection's thread and without the lock; a server of no service knows no path."""
        return self.failure(404)

    def failure(self, status: int) -> Response:
        """The service's own body for a status, used by `fails_next` when it is given none."""
        return json_response({"error": {"message": f"failed on purpose with {status}"}}, status)

    def control(self, request: Request) -> Any:
        """Answer a control request of the service itself; None for one it does not know."""
        return None

    def state(self) -> Any:
        """All that is kept, as plain JSON."""
        return {}

    def restore(self, state: Any) -> None:
        """Take back what `state` gave."""

    # Running

    def start(self) -> FakeServer:
        self._server = _Server(self, self._port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        if self._thread is not None:
            self._thread.join(5)
        self._server = None

    def __enter__(self) -> Any:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the fake is not running")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> str:
        """The certificate to trust: hand it over as REQUESTS_CA_BUNDLE or `verify=`."""
        return _certificates()[1]

    # Remembering

    @property
    def requests(self) -> list[Request]:
        with self.lock:
            return list(self._requests)

    def requests_to(self, match: str) -> list[Request]:
        """The requests whose "METHOD /path" holds `match`."""
        pattern = re.compile(match)
        return [request for request in self.requests if pattern.search(f"{request.method} {request.path}")]

    def forgets_requests(self) -> None:
        with self.lock:
            self._requests.clear()

    def waits_for(self, count: int, match: str = "", *, timeout_seconds: float = 5.0) -> list[Request]:
        """Wait until that many matching requests arrived, and return them."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests_to(match)) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self.requests_to(match))} of {count} requests matching {match!r} arrived")
            return self.requests_to(match)

    # Trouble

    def fails_next(
        self,
        status: int,
        body: Any = None,
        *,
        count: int | None = 1,
        match: str = "",
        every: int = 1,
        headers: Mapping[str, str] | None = None,
        applied: bool = False,
    ) -> None:
        """Answer with this status; with `applied` only after the request took effect."""
        response = self.failure(status) if body is None else _as_response(status, body)
        response = Response(response.status, response.body, {**response.headers, **(headers or {})})
        after = "response" if applied else "request"
        self._plan(Trouble("fail", re.compile(match), count, every, response=response, after=after))

    def delays_next(self, seconds: float, *, count: int | None = 1, match: str = "", every: int = 1) -> None:
        """Wait before anything else happens to the request."""
        self._plan(Trouble("delay", re.compile(match), count, every, seconds=seconds))

    def cuts_next(self, after: str = "request", *, count: int | None = 1, match: str = "", every: int = 1) -> None:
        """Close the connection: after "request" nothing happened; after "response" it did, but nobody hears of it;
        "half" sends half of the answer first."""
        if after not in ("request", "response", "half"):
            raise ValueError(f"after must be request, response or half, not {after!r}")
        self._plan(Trouble("cut", re.compile(match), count, every, after=after))

    def html_next(
        self, status: int = 200, *, count: int | None = 1, match: str = "", every: int = 1, applied: bool = False
    ) -> None:
        """Answer with a page for people, as gateways and maintenance windows do."""
        page = Response(status, HTML_PAGE, {"Content-Type": "text/html;charset=UTF-8"})
        after = "response" if applied else "request"
        self._plan(Trouble("fail", re.compile(match), count, every, response=page, after=after))

    def recovers(self) -> None:
        """Drop all planned trouble."""
        with self.lock:
            self._troubles.clear()

    def _plan(self, trouble: Trouble) -> None:
        with self.lock:
            self._troubles.append(trouble)

    # Serving one request

    def serve(self, request: Request) -> Response:
        """Remember, suffer what is planned, answer. Raises Cut."""
        if request.path.startswith(CONTROL):
            return self._controlled(request)
        with self._arrived:
            self._requests.append(request)
            delay, trouble = self._take(request)
            self._arrived.notify_all()
        time.sleep(delay + self.latency_seconds)
        if trouble and trouble.after == "request":
            return self._ends(request, trouble.response)
        response = self.answer(request)
        if trouble and trouble.after == "half":
            raise Cut(_wire(response)[: -max(1, len(response.body) // 2)])
        if trouble:
            return self._ends(request, trouble.response)
        request.status = response.status
        return response

    def _ends(self, request: Request, response: Response | None) -> Response:
        if response is None:
            raise Cut
        request.status = response.status
        return response

    def _take(self, request: Request) -> tuple[float, Trouble | None]:
        delay, chosen = 0.0, None
        for trouble in self._troubles:
            if trouble.kind == "delay":
                delay += trouble.seconds if trouble.strikes(request) else 0.0
            elif chosen is None and trouble.strikes(request):
                chosen = trouble
        self._troubles = [trouble for trouble in self._troubles if trouble.count != 0]
        return delay, chosen

    def _controlled(self, request: Request) -> Response:
        """The control endpoint, for a fake that runs as a process of its own."""
        name = request.path.removeprefix(CONTROL).strip("/")
        if request.method == "GET" and name == "requests":
            found = self.requests_to(request.param("match"))
            shown = [{"method": r.method, "path": r.path, "query": r.query, "body": r.text, "at": r.at,
                      "status": r.status} for r in found]  # fmt: skip
            return json_response({"count": len(found), "requests": shown})
        if request.method == "GET" and name == "state":
            return json_response(self.state())
        if request.method == "DELETE" and name == "requests":
            self.forgets_requests()
            return json_response({})
        if request.method == "DELETE" and name == "trouble":
            self.recovers()
            return json_response({})
        if request.method == "POST" and name in ("fails_next", "delays_next", "cuts_next", "html_next"):
            getattr(self, name)(**request.json())
            return json_response({})
        if request.method == "POST" and name == "latency":
            self.latency_seconds = float(request.json()["seconds"])
            return json_response({})
        answer = self.control(request)
        if answer is None:
            return json_response({"error": f"unknown control request {request.method} {request.path}"}, 404)
        return json_response(answer)


def run(make: Callable[[int], FakeServer], argv: list[str] | None = None) -> None:
    """Run a fake as a process until SIGTERM: prints {"url", "ca_file", "pid"} as its first line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, help="read at start if it exists, written at the end")
    parser.add_argument("--ca", type=Path, help="write the certificate to trust to this file")
    options = parser.parse_args(argv)
    fake = make(options.port)
    if options.state and options.state.exists():
        fake.restore(json.loads(options.state.read_text()))
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with fake:
        if options.ca and fake.tls:
            options.ca.write_bytes(Path(fake.ca_file).read_bytes())
        ca_file = str(options.ca or fake.ca_file) if fake.tls else None
        print(json.dumps({"url": fake.url, "ca_file": ca_file, "pid": os.getpid()}), flush=True)
        done.wait()
    if options.state:
        options.state.write_text(json.dumps(fake.state(), default=str))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, fake: FakeServer, port: int) -> None:
        self.fake = fake
        self._open: set[socket.socket] = set()
        self._context = _server_context() if fake.tls else None
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            # The handshake runs in the connection's own thread: a client that stalls delays only itself.
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self.fake.lock:
            self._open.add(connection)
            self.fake.connections += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self.fake.lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (OSError, ssl.SSLError)):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """Clients that keep their connection alive must see the end too."""
        with self.fake.lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        size = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=path,
            query=parse_qs(query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(size) if size else b"",
            at=time.time(),
        )
        try:
            response = self.server.fake.serve(request)
        except Cut as cut:
            self.close_connection = True
            if cut.sent:
                self.wfile.write(cut.sent)
            return
        self.wfile.write(_wire(response))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests are remembered instead."""


def _wire(response: Response) -> bytes:
    """The answer as one piece, so that it leaves in one packet where it fits."""
    phrase = BaseHTTPRequestHandler.responses.get(response.status, ("",))[0]
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if response.status == 204 else head + response.body


def _as_response(status: int, body: Any) -> Response:
    if isinstance(body, str | bytes):
        return Response(status, body.encode() if isinstance(body, str) else body, {"Content-Type": "text/plain"})
    return json_response(body, status)


@functools.cache
def _certificates() -> tuple[trustme.CA, str, tempfile.TemporaryDirectory[str]]:
    """One authority a process, the file that clients trust it by, and the folder that lives as long as we do."""
    authority, folder = trustme.CA(), tempfile.TemporaryDirectory(prefix="fakes-")
    path = Path(folder.name) / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, str(path), folder


@functools.cache
def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _certificates()[0].issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context
