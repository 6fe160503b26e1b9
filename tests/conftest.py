"""What every test stands on: no network but loopback, and services, or a skip that says how to get them."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import hypothesis
import pytest

from tests import installations

# A busy machine is no fault of the code: examples have no time limit.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Playwright runs its own event loop in the test's thread; Django would refuse the ORM there.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# ---- no network but loopback ----


class NetworkRefused(RuntimeError):
    """A test reached for the network; only 127.0.0.1 and Unix sockets are open to tests."""


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def _guard_sockets() -> None:
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(address: Any) -> None:
        if isinstance(address, tuple) and not _is_local(address[0]):
            raise NetworkRefused(f"A test tried to connect to {address[0]}:{address[1]}.")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            raise NetworkRefused(f"A test tried to look up {host}.")
        return look_up(host, *args, **kwargs)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
    socket.getaddrinfo = guarded_look_up


def pytest_configure(config: pytest.Config) -> None:
    _guard_sockets()


# ---- services: PostgreSQL, a browser ----


def _answers(url: str, default_port: int) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), timeout=2):
            return True
    except (OSError, NetworkRefused):
        return False


def chromium_path() -> str | None:
    """Return the system's Chromium, or None. Playwright's own download is never used."""
    named = os.environ.get("CHROMIUM", "")
    return named or next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def _missing(marker: str) -> str | None:
    if marker == "postgres" and not _answers(POSTGRES_URL, 5432):
        return "PostgreSQL was not found: start one on 127.0.0.1:5432 or set TEST_POSTGRES_URL"
    if marker == "browser" and chromium_path() is None:
        return "Chromium was not found: install it (Debian: apt install chromium) or set CHROMIUM to its path"
    return None


# ---- what runs where, and when ----

# A test that asks for one of these sees the database of the run: SQLite or PostgreSQL.
OF_THE_RUN = {"db", "transactional_db", "django_db_setup", "installed"}
OF_ONE_DATABASE = ("django_db", "postgres")
LONGEST = "test_serve.py"  # it waits for minutes: whatever else there is can run beside it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is the same on every database, so that CI runs it once, and let the slow files begin."""
    for item in items:
        marked = any(item.get_closest_marker(name) for name in OF_ONE_DATABASE)
        if not marked and not OF_THE_RUN & set(item.fixturenames):  # type: ignore[attr-defined]
            item.add_marker("any_database")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.name != LONGEST))
    _skip_what_misses_a_service(items)


def _skip_what_misses_a_service(items: list[pytest.Item]) -> None:
    """Skip what needs a service that is not there; with REQUIRE_SERVICES=1 such a test fails instead."""
    missing = {marker: _missing(marker) for marker in ("postgres", "browser")}
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                if os.environ.get("REQUIRE_SERVICES") == "1":
                    item.add_marker(pytest.mark.usefixtures("a_required_service"))
                else:
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def a_required_service(request: pytest.FixtureRequest) -> None:
    reasons = [reason for marker in request.node.iter_markers() if (reason := _missing(marker.name))]
    if reasons:
        pytest.fail(f"REQUIRE_SERVICES is set, but: {'; '.join(reasons)}", pytrace=False)


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: Any, django_db_modify_db_settings: None
) -> Iterator[None]:
    """Make the tests' database, also where no test has a mark of pytest-django's: some copy it themselves."""
    from django.test.utils import setup_databases, teardown_databases

    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases={"default"})
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


# ---- databases of their own, for tests that start processes: migrated once, then copied ----


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an SQLite file with every table in it, to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    installations.manage(installations.environment(folder), "migrate", "--verbosity=0")
    return folder / "ledger.sqlite3"


@pytest.fixture(scope="session")
def migrated_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the name of a PostgreSQL database with every table in it, to be copied."""
    with _postgres_database("template1") as url:
        folder = tmp_path_factory.mktemp("migrated")
        installations.manage(installations.environment(folder, url), "migrate", "--verbosity=0")
        yield urlsplit(url).path.lstrip("/")


@pytest.fixture
def postgres_url(migrated_postgres: str) -> Iterator[str]:
    """Make a PostgreSQL database with every table for one test, and drop it afterwards."""
    with _postgres_database(migrated_postgres) as url:
        yield url


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[dict[str, str]]]:
    """Make an installation on this run's kind of database: a folder in, its environment out.

    It has every table, unless it `is_new`: then its first start makes them.
    """

    @contextmanager
    def made(folder: Path, *, is_new: bool = False) -> Iterator[dict[str, str]]:
        if os.environ["DATABASE_URL"].startswith("postgres"):
            template = "template1" if is_new else request.getfixturevalue("migrated_postgres")
            with _postgres_database(template) as url:
                yield installations.environment(folder, url)
            return
        if not is_new:
            shutil.copy(request.getfixturevalue("migrated_sqlite"), folder / "ledger.sqlite3")
        yield installations.environment(folder)

    return made


@contextmanager
def _postgres_database(template: str) -> Iterator[str]:
    import psycopg

    name = f"ledger_{uuid4().hex[:12]}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    parts = urlsplit(POSTGRES_URL)
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(autouse=True)
def _an_empty_cache() -> Iterator[None]:
    """Redis keeps log-in limits and heartbeats from test to test; the cache table is rolled back with the rest."""
    yield
    if os.environ.get("REDIS_URL"):
        from django.core.cache import cache

        cache.clear()


@pytest.fixture(scope="session")
def connection_before_the_loop() -> Any:
    from django.db import connections

    return connections["default"]


@pytest.fixture(scope="session")
def playwright(connection_before_the_loop: Any, playwright: Any) -> Any:
    """Playwright's fixture, and the tests' connection kept.

    Its event loop runs in the tests' thread, and Django keeps connections apart for what runs in a loop. Without this a
    second connection would be opened, and the first stay in the tests' database, where nobody could copy or drop it.
    """
    from django.db import connections

    connections["default"] = connection_before_the_loop
    return playwright


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Playwright's fixture: the system's Chromium, with what it needs as root in a container."""
    return {
        **browser_type_launch_args,
        "executable_path": chromium_path(),
        "args": ["--no-sandbox", "--disable-dev-shm-usage"],
    }
