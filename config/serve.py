"""Runs web servers, workers and their watchdog as one process tree that stops cleanly and recovers alone.

Each part is a fork of this process in a session of its own: memory is shared, and a signal to one part's processes
never reaches another. A signal to a whole process group would hang the worker cluster, so only main processes are told.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import connection, connections

from config import tasks
from config.watchdog import watch

log = structlog.get_logger(__name__)

STOP_SECONDS = 8.0
SHORTEST_LIFE_SECONDS = 5.0
WEB_THREADS = 4
# A web process is replaced after so many requests, a worker when it has grown to so much: memory stays bounded.
WEB_MAX_REQUESTS = 50_000
WORKER_MAX_RSS_KB = 350_000


@dataclass
class Part:
    """One child: how to run it, and its process while there is one."""

    name: str
    run: Callable[[], None]
    pid: int | None = None
    started: float = 0.0
    not_before: float = field(default=0.0, repr=False)


def serve(listener: socket.socket | None, *, web: int, workers: int) -> None:
    """Run until SIGTERM or SIGINT, then stop all within ten seconds. Zero of a kind leaves that kind out."""
    parts = []
    if web and listener:
        parts.append(Part("web", lambda: run_web(listener, web)))
    if workers:
        tasks.share_lanes(workers=workers, has_many_writers=connection.vendor != "sqlite")
        parts.append(Part("workers", lambda: run_workers(workers)))
        parts.append(Part("watchdog", watch))
    _Tree(parts).run()


def listen(bind: str) -> socket.socket:
    """Open the address before anything else starts: a taken port is said at once, and a restart of web loses no caller.

    Raises ValueError for what is no HOST:PORT, OSError when the address cannot be had.
    """
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{bind} is not HOST:PORT, such as 127.0.0.1:8000.")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an answer's two packets must not wait 40 ms
    listener.bind((host, int(port)))
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def share_memory() -> None:
    """Load what every part needs and freeze it, so that forks share these pages instead of copying them."""
    from django.urls import get_resolver

    import config.wsgi  # noqa: F401

    get_resolver().url_patterns  # noqa: B018
    connections.close_all()
    gc.collect()
    gc.freeze()


def run_web(listener: socket.socket, processes: int) -> None:
    """Serve HTTP with gunicorn's threads until told to stop."""
    from gunicorn.app.base import BaseApplication

    from config.wsgi import application

    class Web(BaseApplication):
        def load_config(self) -> None:
            settings: dict[str, Any] = {
                "bind": f"fd://{listener.fileno()}",
                "workers": processes,
                "threads": WEB_THREADS,
                "worker_class": "gthread",
                "preload_app": True,
                "timeout": 60,
                "graceful_timeout": 4,
                "keepalive": 15,
                "max_requests": WEB_MAX_REQUESTS,
                "max_requests_jitter": WEB_MAX_REQUESTS // 10,
                "loglevel": "warning",
                "control_socket_disable": True,
                "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: PTH112, S108
            }
            for name, value in settings.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return application

    Web("serve").run()


def run_workers(workers: int) -> None:
    """Run django-q2's cluster until told to stop."""
    from django_q.cluster import Cluster
    from django_q.conf import Conf

    Conf.WORKERS = workers
    Conf.QUEUE_LIMIT = workers  # more would only wait here while their retry time runs
    Conf.MAX_RSS = WORKER_MAX_RSS_KB
    cluster = Cluster()
    cluster.start()
    while cluster.sentinel.is_alive():
        time.sleep(0.2)


class _Tree:
    """Keeps the parts alive; holds no database connection and no thread, so that it can fork at any moment."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.stopping = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        while not self.stopping:
            self._bury_the_dead()
            for part in self.parts:
                if part.pid is None and time.monotonic() >= part.not_before and not self.stopping:
                    self._start(part)
            if tasks.marks.take_restart():
                self._kill("workers")
            time.sleep(0.2)
        self._stop()

    def _on_stop(self, _number: int, _frame: Any) -> None:
        self.stopping = True

    def _start(self, part: Part) -> None:
        connections.close_all()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        part.pid = os.fork()
        part.started = time.monotonic()
        if part.pid == 0:
            _be_a_child(part, parent)

    def _bury_the_dead(self) -> None:
        for part in self.parts:
            if part.pid is None:
                continue
            pid, status = os.waitpid(part.pid, os.WNOHANG)
            if pid:
                _signal_session(pid, signal.SIGKILL)  # whoever outlived their main process
                lived = time.monotonic() - part.started
                part.pid = None
                part.not_before = time.monotonic() + (1.0 if lived < SHORTEST_LIFE_SECONDS else 0.0)
                log.warning("a part ended; starting it again", part=part.name, exit=os.waitstatus_to_exitcode(status))

    def _kill(self, name: str) -> None:
        for part in self.parts:
            if part.name == name and part.pid:
                _signal_session(part.pid, signal.SIGKILL)

    def _stop(self) -> None:
        tasks.marks.stop()
        alive = [part for part in self.parts if part.pid]
        for part in alive:
            _signal(part.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while alive and time.monotonic() < until:
            alive = [part for part in alive if not _has_ended(part.pid)]
            time.sleep(0.05)
        for part in self.parts:
            if part.pid:
                _signal_session(part.pid, signal.SIGKILL)
        for part in alive:
            os.waitpid(part.pid or 0, 0)


def _be_a_child(part: Part, parent: int) -> None:
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _die_with(parent)
        part.run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:  # nothing of this copy may run on into the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Ask Linux to end this child when `serve` is killed, so that no half of the tree lives on."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def _has_ended(pid: int | None) -> bool:
    try:
        return pid is None or os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _signal(pid: int | None, number: int) -> None:
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


def _signal_session(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
