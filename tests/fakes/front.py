"""A TLS proxy in front of a server that speaks plain HTTP, as an installation has one."""

from __future__ import annotations

import http.client
from urllib.parse import urlencode

from .server import FakeServer, Request, Response

HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive")


class Front(FakeServer):
    """Forwards what comes by https to a port of this machine, and says that it came by https."""

    tls = True
    target_port = 0

    def answer(self, request: Request) -> Response:
        path = f"{request.path}?{urlencode(request.query, doseq=True)}" if request.query else request.path
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        behind = http.client.HTTPConnection("127.0.0.1", self.target_port, timeout=60)
        try:
            behind.request(request.method, path, request.body or None, {**headers, "X-Forwarded-Proto": "https"})
            answer = behind.getresponse()
            body = answer.read()
        finally:
            behind.close()
        for name in HOP_BY_HOP:
            del answer.headers[name]
        return Response(answer.status, body, answer.headers)
