"""A database of one test's own, for what several connections do at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests import databases


@pytest.fixture
def own_database(tmp_path: Path, django_db_setup: Any, django_db_blocker: Any) -> Iterator[None]:
    """Let every thread use a copy of the tests' database; commits are real."""
    with django_db_blocker.unblock(), databases.copied(tmp_path):
        yield


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
