"""The process tree as operators meet it: it starts, stops within ten seconds, and recovers from a wedged cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.impatient import SHORTER
from tests.installations import ROOT, free_port, wait_until

pytestmark = [pytest.mark.slow]


@pytest.fixture
def tree(tmp_path: Path, installed: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve an empty install on a free port; gives the process and its address."""
    port = free_port()
    with installed(tmp_path) as environment, (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.impatient",
                "serve",
                "--bind",
                f"127.0.0.1:{port}",
                "--web",
                "1",
                "--workers",
                "2",
            ],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or _status(f"{address}/readyz") == 200, 120)
            assert process.poll() is None, (tmp_path / "serve.log").read_text()
            yield process, address
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=15)


def test_a_tree_is_ready_with_its_setup_link_and_comes_back_when_killed_and_ends_at_sigterm(
    tree: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, address = tree
    assert f"{address}/dashboard/setup/?code=" in (tmp_path / "serve.log").read_text()

    for pid in _children(process.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _status(f"{address}/healthz") == 200, 20)
    wait_until(lambda: len(_descendants(process.pid)) >= 7, 20)  # web and its process, workers with theirs, watchdog

    members = _descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=10)

    assert process.returncode == 0
    wait_until(lambda: not any(_is_alive(pid) for pid in members), 2)


def test_a_wedged_cluster_works_again_within_a_minute_of_the_watchdogs(
    tree: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    """A worker killed while it waits leaves the task queue locked: its successors wait for ever, and look alive."""
    minute = 60 * SHORTER
    process, address = tree
    sentinel = next(pid for child in _children(process.pid) for pid in _children(child) if len(_children(pid)) >= 4)
    time.sleep(3)  # the workers are idle: one of them waits inside the lock

    for worker in sorted(_children(sentinel))[:2]:
        os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()

    wait_until(lambda: not _is_alive(sentinel), minute)
    wait_until(
        lambda: _beats_again(address), minute + 5 - (time.monotonic() - killed)
    )  # starting takes as long as ever
    assert "the workers are stuck" in (tmp_path / "serve.log").read_text()


def _beats_again(address: str) -> bool:
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return any(line.startswith('ledger_age_seconds{of="worker_beat"}') and float(line.split()[1]) < 5 for line in lines)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _descendants(pid: int) -> list[int]:
    return [one for child in _children(pid) for one in (child, *_descendants(child))]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
