"""The shape of the code: who may import whom, and what the locks and the starting-up may hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_data_flows_down_and_imports_point_up() -> None:
    linter = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_locks_are_hashed_and_name_no_package_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pinned = re.findall(r"^[a-z0-9][^\s=]*==\S+.*\\$", text, re.M)

    assert "://" not in text
    assert not re.search(r"^(--|-i )", text, re.M)
    assert pinned
    assert text.count("--hash=sha256:") >= len(pinned)


def test_the_lock_holds_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)", (ROOT / "requirements.txt").read_text(), re.M))

    wanted = {re.split(r"[\[<>=~! ]", one, maxsplit=1)[0].lower() for one in project["project"]["dependencies"]}

    assert wanted <= locked, "run: make lock"


def test_starting_up_loads_none_of_the_slow_libraries() -> None:
    """stripe and simple_salesforce cost a third and half a second; they are imported where they are used."""
    script = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings';"
        "import config.wsgi, django.urls; django.urls.get_resolver().url_patterns;"
        "print(sorted({'stripe', 'simple_salesforce', 'slack_sdk', 'plotly', 'openpyxl', 'zeep'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
