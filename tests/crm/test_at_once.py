"""Several workers and several people at once: rows that other threads see, so PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from billing.models import Customer, StripeSource
from crm import connections, matching, outbox
from crm.channels.salesforce import oauth
from crm.ids import long_id
from crm.models import Account, Match, SalesforceOrg, SyncRecord
from dashboard.roles import Role
from tests.crm.conftest import login
from tests.crm.test_outbox import ACCOUNT, Scripted
from tests.dashboard.people import api, person


def at_once(*jobs: Callable[[], object]) -> None:
    def run(job: Callable[[], object]) -> None:
        try:
            job()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_no_version_is_lost_when_two_owe_the_same_account(committed):
    barrier = threading.Barrier(6)

    def owe() -> None:
        barrier.wait()
        with transaction.atomic():
            outbox.owe_accounts([ACCOUNT], now=timezone.now())

    try:
        at_once(*[owe] * 6)

        assert SyncRecord.objects.get().wanted == 6
    finally:
        SyncRecord.objects.all().delete()


def test_no_row_is_taken_twice(committed):
    now = timezone.now()
    with transaction.atomic():
        outbox.owe_accounts([f"0015g{number:010}AAA" for number in range(50)], now=now)
    taken: list[int] = []

    def take() -> None:
        while parcel := outbox.claim(Scripted(), now=now, limit=7):
            taken.extend(row.pk for row in parcel.rows)

    try:
        at_once(*[take] * 4)

        assert len(taken) == len(set(taken)) == 50
    finally:
        SyncRecord.objects.all().delete()


def test_two_people_at_once_do_not_both_win(committed):
    org = SalesforceOrg.objects.create(instance_url="https://acme.invalid", is_demo=True)
    ids = ["0015g00000AAAAA", "0015g00000BBBBB"]
    for name in ids:
        Account.objects.create(org=org, salesforce_id=long_id(name), name=name)
    source = StripeSource.objects.create(slug="race", label="Race")
    customer = Customer.objects.create(source=source, stripe_id="cus_race")
    told: list[object] = []

    def decide(account_id: str) -> None:
        try:
            told.append(matching.match(customer.pk, account_id, by=account_id, now=timezone.now()))
        except matching.AlreadyMatched as late:
            told.append(late)
        finally:
            connection.close()

    people = [threading.Thread(target=decide, args=(name,)) for name in ids * 4]
    try:
        for person in people:
            person.start()
        for person in people:
            person.join(30)

        won = [one for one in told if isinstance(one, Match)]
        lost = [one for one in told if isinstance(one, matching.AlreadyMatched)]
        assert (len(won), len(lost)) == (1, 7)
        assert {one.who for one in lost} == {won[0].matched_by}
    finally:
        Match.objects.all().delete()
        SyncRecord.objects.all().delete()
        Account.objects.all().delete()
        customer.delete()
        source.delete()


def test_two_programs_that_match_one_customer_at_once_are_told_apart(committed):
    """Each acts by its own token, over the API, for another Account: the second hears who was first, and with which."""
    org = SalesforceOrg.objects.create(instance_url="https://acme.invalid", is_demo=True)
    ids = {name: long_id(f"0015g00000{name:A<5}") for name in ("ana", "ben")}
    for account_id in ids.values():
        Account.objects.create(org=org, salesforce_id=account_id, name=account_id)
    source = StripeSource.objects.create(slug="race", label="Race")
    wanted = [Customer.objects.create(source=source, stripe_id=f"cus_race{number}").stripe_id for number in range(8)]
    clients = {name: api(Role.REVOPS, user=person(Role.REVOPS, name)) for name in ids}
    answers: dict[tuple[str, str], Any] = {}
    gate = threading.Barrier(len(ids))

    def matches(name: str) -> None:
        for customer in wanted:
            gate.wait(30)
            asked = {"source": "race", "customer": customer, "account_id": ids[name]}
            answers[customer, name] = clients[name].post("/api/v1/matches", asked, content_type="application/json")

    at_once(*[partial(matches, name) for name in ids])

    for customer in wanted:
        first, second = sorted(ids, key=lambda name: answers[customer, name].status_code)
        won, lost = answers[customer, first], answers[customer, second]
        assert (won.status_code, lost.status_code) == (201, 409), lost.content
        error = lost.json()["error"]
        assert (error["code"], error["matched_by"], error["account_id"]) == ("already_matched", first, ids[first])
        assert error["matched_at"] == won.json()["matched_at"] and first in error["message"]
        standing = Match.objects.get(customer__stripe_id=customer)
        assert (standing.pk, standing.matched_by) == (won.json()["id"], first)
        assert standing.account.salesforce_id == ids[first]


def test_eight_workers_make_one_renewal(salesforce, committed):
    org = connections.connect(login(salesforce), now=timezone.now()).org
    dead = org.access_token
    salesforce.expires_sessions()
    grants = salesforce.login.grants
    salesforce.delays_next(0.3, match="oauth2/token")
    tokens: list[str] = []

    def renew() -> None:
        tokens.append(oauth.renewed(org.pk, dead=dead, now=timezone.now()))
        connection.close()

    workers = [threading.Thread(target=renew) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)

    assert salesforce.login.grants == grants + 1
    assert len(tokens) == 8 and len(set(tokens)) == 1 and dead not in tokens
