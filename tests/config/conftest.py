"""Databases to restore into, and both outside services."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.conftest import POSTGRES_URL
from tests.crm.conftest import salesforce as salesforce
from tests.databases import drop_postgres, migrated_postgres, migrated_sqlite, new_postgres

Place = Callable[[str], str]


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory, django_db_setup, django_db_blocker) -> Path:
    """An SQLite file with every table: a copy of the test run's own database, or made anew."""
    path = tmp_path_factory.mktemp("empty") / "ledger.sqlite3"
    with django_db_blocker.unblock():
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            with sqlite3.connect(path) as copy:
                connection.connection.backup(copy)
        else:
            migrated_sqlite(path)
    return path


@pytest.fixture(scope="session")
def empty_postgres(tmp_path_factory) -> Iterator[str]:
    """The name of a PostgreSQL database with every table, to be copied."""
    url = migrated_postgres(POSTGRES_URL, tmp_path_factory.mktemp("keys"))
    yield url.rpartition("/")[2]
    drop_postgres(POSTGRES_URL, url)


@pytest.fixture
def place(request, tmp_path, empty_sqlite) -> Iterator[Place]:
    """Make migrated databases without rows, by kind; they are gone after the test."""
    made: list[str] = []

    def new(kind: str) -> str:
        if kind == "sqlite":
            path = tmp_path / f"{len(made)}.sqlite3"
            shutil.copy(empty_sqlite, path)
            made.append(f"sqlite:///{path}")
        else:
            made.append(new_postgres(POSTGRES_URL, template=request.getfixturevalue("empty_postgres")))
        return made[-1]

    yield new
    for url in made:
        if url.startswith("postgres"):
            drop_postgres(POSTGRES_URL, url)
