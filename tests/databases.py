"""Databases beside the test run's own, in the same process: what is restored or moved needs somewhere to go to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from django.db import connections

from billing import statements
from config.settings import _database

ROOT = Path(__file__).parent.parent


def migrated_sqlite(path: Path) -> str:
    """Make an SQLite file with every table, and return its address."""
    url = f"sqlite:///{path}"
    _migrate(url, path.parent)
    return url


def migrated_postgres(server_url: str, folder: Path) -> str:
    """Make a PostgreSQL database with every table, to be copied from, and return its address."""
    url = new_postgres(server_url)
    _migrate(url, folder)
    return url


def new_postgres(server_url: str, *, template: str = "template0") -> str:
    """Make a PostgreSQL database, empty or a copy of another, and return its address."""
    import psycopg

    name = f"ledger_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_postgres(server_url: str, url: str) -> None:
    import psycopg

    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{urlsplit(url).path[1:]}" WITH (FORCE)')


@contextmanager
def living_in(url: str) -> Iterator[None]:
    """Have everything of this process read and write another database, outside any transaction of the test's."""
    ours = connections["default"]
    settings = connections.configure_settings({"default": _database(url)})["default"]
    theirs = connections.databases["default"]
    connections.databases["default"] = settings
    connections["default"] = connections.create_connection("default")
    statements._vendor.cache_clear()  # the product has one kind of database for as long as it lives
    try:
        yield
    finally:
        connections["default"].close()
        connections.databases["default"] = theirs
        connections["default"] = ours
        statements._vendor.cache_clear()


def environment(url: str, folder: Path) -> dict[str, str]:
    """Return the environment of a process that lives in a database."""
    made = {**os.environ, "DATABASE_URL": url, "DATA_DIR": str(folder), "LOG_LEVEL": "ERROR"}
    return made | {"DJANGO_SETTINGS_MODULE": "config.settings"}


def _migrate(url: str, folder: Path) -> None:
    code = "import django; django.setup(); from config import install; install.bring_up_to_date()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(url, folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
