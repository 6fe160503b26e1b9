"""The policy changes three times while workers post: in the end all stand under the last, as if it always had been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.benchmarks.histories import history

ROOT = Path(__file__).resolve().parent.parent
CUSTOMERS = 30
LAST = ["--preset", "ours", "churn_at=request", "grouping_minutes=0"]
pytestmark = [pytest.mark.slow, pytest.mark.postgres]


def test_workers_and_changes_of_policy_at_once(tmp_path: Path, postgres_url: str) -> None:
    made = company(tmp_path / "at_once", postgres_url)
    workers = [start(made, "drain", "--until-empty") for _ in range(2)]
    for settings in (["--preset", "stripe"], ["--preset", "ours", "discounts=none"], LAST):
        manage(made, "set_policy", *settings, "--user", "fay", "--json")
    for worker in workers:
        assert worker.wait(120) == 0
    manage(made, "drain", "--until-empty")

    found = manage(made, "check_ledger", "--as-of", "2027-01-01T00:00:00Z")

    apart = company(tmp_path / "apart", f"sqlite:///{tmp_path}/apart.sqlite3")
    manage(apart, "set_policy", *LAST, "--user", "fay", "--json")
    manage(apart, "drain", "--until-empty")
    expected = manage(apart, "check_ledger", "--as-of", "2027-01-01T00:00:00Z")
    assert found["differences"] == expected["differences"] == 0
    assert found["fingerprint"] == expected["fingerprint"]
    assert found["entries"] > expected["entries"]  # what was posted under another policy was taken back


def company(folder: Path, database_url: str) -> dict[str, str]:
    """Make a database with one source, a finance user and events that wait."""
    folder.mkdir()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    events = folder / "events.jsonl"
    bodies = [json.dumps(event) for seed in range(CUSTOMERS) for event in history(seed).events]
    events.write_text("\n".join(bodies) + "\n", encoding="utf-8")
    call(environment, "migrate", "--verbosity=0")
    manage(environment, "add_source", "acme", "--label=Acme")
    manage(environment, "load_events", "acme", str(events))
    manage(environment, "create_api_token", "fay", "--role", "finance")
    return environment


def manage(environment: dict[str, str], *words: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(call(environment, *words).splitlines()[-1])
    return result


def call(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def start(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, text=True
    )
