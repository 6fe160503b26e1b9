"""A fake mail server that takes real connections: keeps what it accepted, and can be told to refuse or to break off."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any


class FakeSmtp:
    """Listens on a port of its own. `mails` are those it took, oldest first, whether it could say so or not.

    `refuses` is the answer to a recipient; `before_answer` is called when a mail was taken and its sender does not know
    yet: raising ConnectionError there cuts the connection.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuses = ""
        self.before_answer: Callable[[], None] = lambda: None
        fake = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                fake._talk(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Session)
        self.port = self._server.server_address[1]

    def __enter__(self) -> FakeSmtp:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _talk(self, session: Any) -> None:
        def say(line: str) -> None:
            session.wfile.write(f"{line}\r\n".encode())

        say("220 fake ready")
        while line := session.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "RCPT" and self.refuses:
                say(self.refuses)
            elif verb == "DATA":
                say("354 go on")
                lines = []
                while (read := session.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(read[1:] if read.startswith(b"..") else read)
                self.mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))  # type: ignore[arg-type]
                try:
                    self.before_answer()
                except ConnectionError:
                    return
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")
