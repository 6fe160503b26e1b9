"""A fake Salesforce over TLS, and our connection to it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.utils import timezone

from crm import connections
from crm.models import SalesforceOrg
from tests import databases
from tests.fakes.salesforce import FakeSalesforce
from tests.scenario import Scenario


@pytest.fixture
def scenario(db) -> Scenario:
    return Scenario()


@pytest.fixture
def salesforce(monkeypatch) -> Iterator[FakeSalesforce]:
    with FakeSalesforce() as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        yield fake


@pytest.fixture
def committed(tmp_path, django_db_setup, django_db_blocker) -> Iterator[None]:
    """Rows that other threads can see: a copy of the tests' database, in which commits are real."""
    with django_db_blocker.unblock(), databases.copied(tmp_path):
        yield


@pytest.fixture
def run(capsys):
    """Run a command and return its exit code and the object on the last line of its standard output."""

    def told(*arguments: str) -> tuple[int, dict]:
        capsys.readouterr()
        code = 0
        try:
            call_command(*arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return told


def login(fake: FakeSalesforce, **changed: str) -> connections.Login:
    values = {"instance_url": fake.url, "client_id": fake.client_id, "client_secret": fake.client_secret}
    return connections.Login(**{**values, **changed})


@pytest.fixture
def shadow(db, salesforce) -> SalesforceOrg:
    """A connection as it is made: in shadow mode."""
    return connections.connect(login(salesforce), now=timezone.now()).org


@pytest.fixture
def live(db, salesforce) -> SalesforceOrg:
    org = connections.connect(login(salesforce), mode="live", now=timezone.now()).org
    salesforce.forgets_requests()
    return org


def reads(fake: FakeSalesforce) -> None:
    """Let the mirror see what was added to the fake, and the unmatched try again."""
    from crm import accounts, matching

    SalesforceOrg.objects.update(mirrored_to=None)
    accounts.refresh(now=timezone.now())
    matching.match_waiting(now=timezone.now())
    fake.forgets_requests()
