"""Installations of their own, for tests that start processes: the environment, `manage.py`, a served address."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent


def environment(folder: Path, database_url: str = "", **more: str) -> dict[str, str]:
    """Return the environment of an installation in a folder, on an SQLite file there unless a database is given."""
    return {
        **os.environ,
        "DATA_DIR": str(folder),
        "DATABASE_URL": database_url or f"sqlite:///{folder}/ledger.sqlite3",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
        **more,
    }


def manage(environment: dict[str, str], *words: str, stdin: str | None = None) -> str:
    """Run a command that must end well, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def reported(environment: dict[str, str], *words: str) -> dict[str, Any]:
    """Run a command and return the object on the last line that it printed."""
    result: dict[str, Any] = json.loads(manage(environment, *words).splitlines()[-1])
    return result


def start(environment: dict[str, str], *words: str, out: IO[str] | None = None) -> subprocess.Popen[str]:
    """Start a command, and leave it running; `out` takes what it prints."""
    command = [sys.executable, "manage.py", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out or subprocess.DEVNULL, text=True)


@contextmanager
def served(
    environment: dict[str, str], port: int, *words: str, out: IO[str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `serve` until the block ends; its web process answers on the port when the block begins."""
    process = start(environment, "serve", "--bind", f"127.0.0.1:{port}", *words, out=out)
    try:
        wait_until(lambda: process.poll() is not None or answers(port), 120)
        assert process.poll() is None, "the server ended"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether the web process is up: the port listens long before, while tables are still made."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(holds: Callable[[], object], seconds: float) -> None:
    """Return as soon as it holds; fail when it does not within so many seconds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"did not hold within {seconds:.0f} s"
        time.sleep(0.05)
