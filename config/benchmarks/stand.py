"""What every benchmark stands on: a database of its own, servers as child processes, and their processor time."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings

from config import env

TICKS = os.sysconf("SC_CLK_TCK")
SECRET = "whsec_benchmark"  # noqa: S105  # signs made-up events only


@dataclass(frozen=True)
class Stand:
    """A migrated, empty database with one source `bench`, and the environment that child processes need to use it."""

    environment: dict[str, str]
    vendor: str

    def manage(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run one of our commands to its end on this database; raises CalledProcessError with its output."""
        return self.python("manage.py", *words, stdin=stdin)

    def python(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run Python to its end on this database; raises CalledProcessError with its output."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=settings.BASE_DIR,
            env=self.environment,
            check=True,
            capture_output=True,
            input=stdin,
        )

    @contextmanager
    def server(self, application: str, *, workers: int, threads: int) -> Iterator[tuple[int, int]]:
        """Serve a WSGI application by gunicorn on a free port; yields (port, process id)."""
        port = free_port()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                application,
                f"--bind=127.0.0.1:{port}",
                f"--workers={workers}",
                f"--threads={threads}",
                "--worker-class=gthread",
                "--keep-alive=30",
                "--log-level=warning",
            ],
            cwd=settings.BASE_DIR,
            env=self.environment,
        )
        try:
            wait_for(port, process)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(timeout=15)


@contextmanager
def stand() -> Iterator[Stand]:
    """Make a database like the one that is configured (SQLite file or PostgreSQL), and drop it in the end."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    database_url, drop = _made_database(folder)
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "SECRET_KEY": settings.SECRET_KEY,
        "FIELD_ENCRYPTION_KEYS": ",".join(settings.FIELD_ENCRYPTION_KEYS),
        "LOG_LEVEL": "WARNING",
    }
    found = Stand(environment, "sqlite" if database_url.startswith("sqlite") else "postgresql")
    try:
        found.manage("migrate", "--verbosity=0")
        found.manage("add_source", "bench", "--label=Benchmark", "--signing-secret=-", stdin=SECRET.encode())
        yield found
    finally:
        drop()
        shutil.rmtree(folder, ignore_errors=True)


def processor_seconds(pid: int) -> float:
    """Return user and system time of a process and all its descendants, those that ended included."""
    return sum(_ticks(each) for each in [pid, *descendants(pid)]) / TICKS


def database_seconds() -> float:
    """Return the processor time of this machine's PostgreSQL with all its backends; 0 where there is none."""
    mains = [pid for pid in _pids() if _name(pid) == "postgres" and _name(_parent(pid)) != "postgres"]
    return sum(processor_seconds(pid) for pid in mains)


def memory_mib(pid: int) -> float:
    """Return the proportional memory of a process tree."""
    total = 0
    for each in [pid, *descendants(pid)]:
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def _made_database(folder: Path) -> tuple[str, Callable[[], None]]:
    if env.USES_SQLITE:
        return f"sqlite:///{folder / 'benchmark.sqlite3'}", lambda: None
    import psycopg

    name = f"benchmark_{secrets.token_hex(4)}"
    parts = urlsplit(env.DATABASE_URL)
    scheme = "postgresql"
    admin = urlunsplit((scheme, *parts[1:]))

    def run(statement: str) -> None:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]  # the name is ours

    run(f"CREATE DATABASE {name}")
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, "")), lambda: run(
        f"DROP DATABASE {name} WITH (FORCE)"
    )


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], *, seconds: int = 30) -> None:
    """Wait until a server listens; raises RuntimeError when it ends or takes longer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with {process.returncode} before it listened.")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The server does not listen after {seconds} s.")


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(int(value) for value in fields[11:15]) if fields else 0  # own and waited-for children's


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for each in _pids():
        children.setdefault(_parent(each), []).append(each)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
