"""The same two years of events on SQLite and on PostgreSQL come to the same ledger, to the last byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.demo import story

ROOT = Path(__file__).resolve().parent.parent
NOW = 1_790_000_000  # 2026-09-21
CUSTOMERS, MONTHS = 60, 24
pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("events")
    found = {}
    for slug, told in story.events(now=NOW, customers=CUSTOMERS, months=MONTHS).items():
        found[slug] = folder / f"{slug}.jsonl"
        found[slug].write_text("".join(f"{one.text}\n" for one in told), encoding="utf-8")
    return found


def test_two_years_of_the_demo_are_the_same_on_both_databases(files, tmp_path, postgres_url):
    here = ledger(files, tmp_path, f"sqlite:///{tmp_path}/ledger.sqlite3")
    there = ledger(files, tmp_path, postgres_url)

    assert here["differences"] == there["differences"] == 0
    assert here["customers"] == there["customers"] == CUSTOMERS
    assert here["fingerprint"] == there["fingerprint"]


def ledger(files: dict[str, Path], folder: Path, database_url: str) -> dict[str, Any]:
    """Load and drain the events on a database, and recount them in one process and in two."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    manage(environment, "migrate", "--verbosity=0")
    for slug, path in files.items():
        manage(environment, "add_source", slug, f"--label={slug}")
        manage(environment, "load_events", slug, str(path))
    manage(environment, "drain", "--until-empty")
    alone = checked(environment, 1)
    assert checked(environment, 2) == alone
    return alone


def checked(environment: dict[str, str], processes: int) -> dict[str, Any]:
    at = "2026-11-01T00:00:00Z"
    return json.loads(manage(environment, "check_ledger", f"--as-of={at}", f"--processes={processes}").splitlines()[-1])


def manage(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
