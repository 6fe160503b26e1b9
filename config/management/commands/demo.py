"""Makes a demo company and serves it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from argparse import BooleanOptionalAction
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config import install, serve
from config.demo import run
from dashboard.roles import Role
from mrr import committed

KEEPING_SECONDS = 120.0  # to rebuild what was scheduled at the ends of the past months


class Command(BaseCommand):
    help = (
        "Make a demo company by sending signed webhooks through the real endpoint and pipeline, then serve it. "
        "What is made stays: the second start only serves."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT", help="default 127.0.0.1:8000")
        parser.add_argument("--customers", type=int, default=400, metavar="N", help="default 400")
        parser.add_argument("--months", type=int, default=24, metavar="N", help="default 24")
        parser.add_argument(
            "--serve", action=BooleanOptionalAction, default=True, help="serve when done; --no-serve ends instead"
        )

    def handle(self, *args: Any, bind: str, customers: int, months: int, **options: Any) -> None:
        if customers < 1 or not 2 <= months <= 60:
            raise CommandError("A demo has at least one customer and 2 to 60 months.", returncode=2)
        settings.COMPANY_NAME = settings.COMPANY_NAME or "Northwind"
        listener = self._listener(bind, is_needed=options["serve"])
        install.bring_up_to_date()
        try:
            run.refuse_real_data()
        except run.DemoRefused as refused:
            raise CommandError(str(refused)) from refused
        run.keep_rates(months, now=timezone.now())
        made = run.is_made()
        if made is None:
            made = self._make(listener, run.Size(customers, months))
        committed.keep(now=timezone.now(), seconds=KEEPING_SECONDS)
        password = run.make_users()
        if not options["serve"]:
            listener.close()
            self.stdout.write(json.dumps({**made, "users": [role.value for role in Role], "password": password}))
            return
        self.stdout.write(
            f"\n  {install.address(bind)}/\n\n"
            f"  Log in as {', '.join(role.value for role in Role)} (admin sees all); the password is {password}\n"
            "  Salesforce is in shadow mode: what would be written is recorded, nothing is sent. Stop with Ctrl-C.\n"
        )
        self.stdout.flush()
        serve.share_memory()
        serve.serve(listener, web=2, workers=2)

    def _listener(self, bind: str, *, is_needed: bool) -> socket.socket:
        """Open the address to serve on; without serving any free port will do for the deliveries."""
        try:
            return serve.listen(bind if is_needed else "127.0.0.1:0")
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        except OSError as error:
            raise CommandError(f"{bind} cannot be opened: {error.strerror}. Choose another with --bind.") from error

    def _make(self, listener: socket.socket, size: run.Size) -> dict[str, Any]:
        started = time.monotonic()
        console = Console(stderr=True)
        console.print(f"Making Northwind: {size.customers} customers over {size.months} months.")
        _be_quick()
        files = run.make_company(size)
        total = sum(path.read_bytes().count(b"\n") for path in files.values())
        with _web_process(listener) as address, _progress(console) as progress:
            posting = progress.add_task("Signed events posted to the endpoint", total=total)
            run.deliver(files, address, lambda more: progress.advance(posting, more))
            draining = progress.add_task("Events through the pipeline", total=total)
            done = run.drain(lambda more: progress.advance(draining, more))
        made = run.write_marker(size, done, time.monotonic() - started)
        console.print(
            f"{made['events']:,} events made {made['entries']:,} entries of the MRR schedule in {made['seconds']} s."
        )
        return made


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:38}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _be_quick() -> None:
    """Let SQLite leave the disk alone at each commit: a demo that is cut off is made again, so nothing can be lost."""
    options = connections["default"].settings_dict["OPTIONS"]
    if "init_command" in options:
        options["init_command"] = options["init_command"].replace("synchronous=FULL", "synchronous=OFF")


@contextmanager
def _web_process(listener: socket.socket) -> Iterator[tuple[str, int]]:
    """Serve HTTP from a fork while the events are posted; gives the address to post to."""
    host, port = listener.getsockname()[:2]
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            _be_quick()
            serve.run_web(listener, 1)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    try:
        yield ("127.0.0.1" if host in ("0.0.0.0", "::") else host), port  # noqa: S104
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
