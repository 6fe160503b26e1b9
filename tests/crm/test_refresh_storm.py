"""Eight workers meet a dead token at once: rows that other threads see, so PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from django.db import connection
from django.utils import timezone

from crm import connections
from crm.channels.kinds import Wait
from crm.channels.salesforce import oauth
from crm.models import SalesforceOrg
from tests.crm.conftest import login


def at_once(count: int, job: Callable[[], object]) -> None:
    barrier = threading.Barrier(count)

    def run() -> None:
        try:
            barrier.wait()
            job()
        finally:
            connection.close()

    workers = [threading.Thread(target=run) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)


def test_a_storm_of_eight_workers_makes_one_refresh_of_a_rotating_token(salesforce, committed):
    salesforce.app.rotates_refresh_tokens = True
    given = login(salesforce, client_secret="", refresh_token=salesforce.refresh_token())
    org = connections.connect(given, now=timezone.now()).org
    salesforce.expires_sessions()
    salesforce.forgets_requests()
    salesforce.delays_next(0.3, match="oauth2/token")
    tokens: list[str] = []

    at_once(8, lambda: tokens.append(oauth.renewed(org.pk, dead=org.access_token, now=timezone.now())))

    kept = SalesforceOrg.objects.get()
    assert len(salesforce.requests_to("oauth2/token")) == 1
    assert tokens == [kept.access_token] * 8
    assert kept.refresh_token == salesforce.login.refresh_tokens[-1] and kept.error_code == ""


def test_eight_workers_with_a_withdrawn_token_ask_once_and_say_so_once(salesforce, committed):
    org = connections.connect(login(salesforce), now=timezone.now()).org
    salesforce.revokes_access()
    salesforce.forgets_requests()
    salesforce.delays_next(0.3, match="oauth2/token")
    refused: list[str] = []

    def renew() -> None:
        try:
            oauth.renewed(org.pk, dead=org.access_token, now=timezone.now())
        except Wait as wait:
            refused.append(wait.code)

    with structlog.testing.capture_logs() as logged:
        at_once(8, renew)

    assert refused == ["invalid_grant"] * 8
    assert len(salesforce.requests_to("oauth2/token")) == 1
    assert [one["event"] for one in logged if one["log_level"] == "error"] == ["salesforce must be connected again"]
