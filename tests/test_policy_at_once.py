"""The policy changes three times while workers post: in the end all stand under the last, as if it always had been."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from config.benchmarks.histories import history
from tests.installations import environment, manage, reported, start

CUSTOMERS = 30
LAST = ["--preset", "ours", "churn_at=request", "grouping_minutes=0"]
pytestmark = [pytest.mark.slow, pytest.mark.postgres]


def test_workers_and_changes_of_policy_at_once(tmp_path: Path, postgres_url: str, migrated_sqlite: Path) -> None:
    made = company(tmp_path, postgres_url)
    workers = [start(made, "drain", "--until-empty") for _ in range(2)]
    for settings in (["--preset", "stripe"], ["--preset", "ours", "discounts=none"], LAST):
        manage(made, "set_policy", *settings, "--user", "fay")
    for worker in workers:
        assert worker.wait(120) == 0
    manage(made, "drain", "--until-empty")

    found = reported(made, "check_ledger", "--as-of", "2027-01-01T00:00:00Z")

    shutil.copy(migrated_sqlite, tmp_path)
    apart = company(tmp_path, "")
    manage(apart, "set_policy", *LAST, "--user", "fay")
    manage(apart, "drain", "--until-empty")
    expected = reported(apart, "check_ledger", "--as-of", "2027-01-01T00:00:00Z")
    assert found["differences"] == expected["differences"] == 0
    assert found["fingerprint"] == expected["fingerprint"]
    assert found["entries"] > expected["entries"]  # what was posted under another policy was taken back


def company(folder: Path, database_url: str) -> dict[str, str]:
    """Give a database with every table one source, a finance user and events that wait."""
    made = environment(folder, database_url)
    events = folder / "events.jsonl"
    bodies = [json.dumps(event) for seed in range(CUSTOMERS) for event in history(seed).events]
    events.write_text("\n".join(bodies) + "\n", encoding="utf-8")
    manage(made, "add_source", "acme", "--label=Acme")
    manage(made, "load_events", "acme", str(events))
    manage(made, "create_api_token", "fay", "--role", "finance")
    return made
