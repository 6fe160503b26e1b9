"""The same two years of events on SQLite and on PostgreSQL come to the same ledger, to the last byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from config.demo import story
from tests.installations import environment, manage, reported

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


def test_two_years_of_the_demo_are_the_same_on_both_databases(files, tmp_path, postgres_url, migrated_sqlite):
    shutil.copy(migrated_sqlite, tmp_path)
    here = ledger(files, tmp_path, "")
    there = ledger(files, tmp_path, postgres_url)

    assert here["differences"] == there["differences"] == 0
    assert here["customers"] == there["customers"] == CUSTOMERS
    assert here["fingerprint"] == there["fingerprint"]


def ledger(files: dict[str, Path], folder: Path, database_url: str) -> dict[str, Any]:
    """Load and drain the events on a database, and recount them in one process and in two."""
    made = environment(folder, database_url)
    for slug, path in files.items():
        manage(made, "add_source", slug, f"--label={slug}")
        manage(made, "load_events", slug, str(path))
    manage(made, "drain", "--until-empty")
    alone = checked(made, 1)
    assert checked(made, 2) == alone
    return alone


def checked(made: dict[str, str], processes: int) -> dict[str, Any]:
    return reported(made, "check_ledger", "--as-of=2026-11-01T00:00:00Z", f"--processes={processes}")
