"""Databases beside the test run's own, in the same process: what is restored or moved needs somewhere to go to."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from django.db import connection, connections

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


@contextmanager
def copied(folder: Path) -> Iterator[None]:
    """Copy the tests' database, with its append-only rules, and have every thread of this process use the copy."""
    kept = connection.settings_dict["NAME"]
    is_sqlite = connection.vendor == "sqlite"
    own = str(folder / "own.sqlite3") if is_sqlite else f"ledger_{uuid4().hex[:12]}"
    opened = None
    if is_sqlite:
        connection.ensure_connection()
        with closing(sqlite3.connect(own)) as copy:
            connection.connection.backup(copy)
        opened, connection.connection = connection.connection, None  # closing the last one would end it: in memory
    else:
        # Only the tests' own process may be in the template, and it is not: whoever is left over is not waited for.
        _on_server("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", kept)
        _on_server(f'CREATE DATABASE "{own}" TEMPLATE "{kept}"')
    _use(own)
    try:
        yield
    finally:
        connection.close()
        _use(kept)
        if is_sqlite:
            connection.connection = opened
        else:
            _on_server(f'DROP DATABASE "{own}" WITH (FORCE)')


def _use(name: str) -> None:
    connections.settings["default"]["NAME"] = name
    connection.settings_dict["NAME"] = name


def _on_server(statement: str, *values: str) -> None:
    """Run a statement on the server itself, with nobody of ours in the database that it is about."""
    connection.close()
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement, values or None)


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
