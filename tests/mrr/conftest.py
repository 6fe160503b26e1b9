"""A database of one test's own, for what several connections do at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections


@pytest.fixture
def own_database(tmp_path: Path, django_db_setup: Any, django_db_blocker: Any) -> Iterator[None]:
    """Copy the tests' database, with its append-only rules, and let every thread use the copy; commits are real."""
    with django_db_blocker.unblock():
        kept = connection.settings_dict["NAME"]
        is_sqlite = connection.vendor == "sqlite"
        own = str(tmp_path / "own.sqlite3") if is_sqlite else f"ledger_{uuid4().hex[:12]}"
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


class Threads:
    """Runs jobs side by side, each with a connection of its own, and hands on what they raise."""

    def __init__(self, *jobs: Callable[[], object]) -> None:
        self.errors: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(job,), daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def join(self, seconds: float = 30) -> None:
        for thread in self.threads:
            thread.join(seconds)
            assert not thread.is_alive(), "it waits for ever"
        if self.errors:
            raise self.errors[0]

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()
