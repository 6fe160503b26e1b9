"""From SQLite to PostgreSQL: everything, or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from config import tasks
from config.backups import moving
from mrr import fingerprints
from tests.config.test_backups import a_company
from tests.conftest import POSTGRES_URL
from tests.databases import ROOT, drop_postgres, environment, living_in, new_postgres

pytestmark = pytest.mark.django_db


def test_nobody_moves_while_workers_run(place):
    with living_in(place("sqlite")):
        tasks.beat()

        with pytest.raises(moving.NotMoved, match="Stop serve"):
            moving.move("postgres://127.0.0.1/elsewhere", now=timezone.now(), tell=print)


@pytest.mark.postgres
def test_all_of_sqlite_goes_to_postgresql_and_stays_append_only(place, empty_postgres, tmp_path):
    here = place("sqlite")
    there = new_postgres(POSTGRES_URL, template=empty_postgres)
    with living_in(here):
        a_company()
        fingerprint = fingerprints.of_standing()
    try:
        moved = move(here, there, tmp_path)
        again = move(here, there, tmp_path)

        assert moved["moved"]
        assert moved["fingerprint"] == fingerprint
        assert not again["moved"]
        assert "not empty" in again["why"]
        with psycopg.connect(there, autocommit=True) as server:
            with pytest.raises(psycopg.errors.RestrictViolation):
                server.execute("UPDATE mrr_ledgerentry SET reason = 'another'")
            [newest] = server.execute("SELECT max(id) FROM mrr_ledgerentry").fetchone()
            [following] = server.execute("SELECT nextval(pg_get_serial_sequence('mrr_ledgerentry', 'id'))").fetchone()
            assert following == newest + 1
    finally:
        drop_postgres(POSTGRES_URL, there)


def move(here: str, there: str, folder: Any) -> dict[str, Any]:
    """Run the command in a process that lives in the old database."""
    done = subprocess.run(
        [sys.executable, "manage.py", "move_database", "--to", "env:THERE"],
        cwd=ROOT,
        env=environment(here, folder) | {"THERE": there},
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))
