"""After a restore: what happened since the backup comes back from Stripe, and nothing older reaches Salesforce."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from billing import sources
from config import tasks
from config.backups import catching_up, restoring, writing
from crm import connections, holding
from crm.models import Message, SyncRecord, WorkState
from mrr import fingerprints
from tests.config.conftest import Place
from tests.crm.conftest import login, reads
from tests.databases import living_in
from tests.fakes.salesforce import FakeSalesforce
from tests.fakes.stripe import FakeStripe
from tests.scenario import CustomerStory, Scenario

KEY = "rk_live_0123456789"
NAMES = ("Acme", "Birch", "Cedar", "Dune")
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

pytestmark = pytest.mark.django_db


@pytest.fixture
def stripe(settings, tmp_path) -> Iterator[FakeStripe]:
    settings.DATA_DIR = tmp_path
    with FakeStripe(key=KEY, livemode=True) as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


@dataclass
class World:
    """A company that writes to Salesforce, told of up to the backup of six hours ago."""

    told: Scenario
    customers: dict[str, CustomerStory]
    stripe: FakeStripe
    salesforce: FakeSalesforce
    made_at: datetime
    copy: Path

    def goes_on(self) -> None:
        """Six more hours: one grows, one shrinks, one leaves, and one is new."""
        self.customers["Acme"].moves_to("business", monthly="80.00", on=ago(hours=5))
        self.customers["Birch"].moves_to("basic", monthly="10.00", on=ago(hours=4))
        self.customers["Cedar"].cancels(on=ago(hours=3))
        account = self.salesforce.add_account(Name="Elm")
        reads(self.salesforce)
        elm = self.told.customer("Elm", on=ago(hours=2), salesforce_account_id=account)
        elm.subscribes("team", monthly="70.00", on=ago(hours=1))
        self.told.drain()
        self.stripe.add_all(self.told.events)

    def is_lost(self) -> None:
        """The process is gone, and with it what it remembers of the outside."""
        self.salesforce.forgets_requests()


def ago(**time: int) -> str:
    return f"{timezone.now() - timedelta(**time):%Y-%m-%d %H:%M}"


def begun(stripe: FakeStripe, salesforce: FakeSalesforce, folder: Path, *, has_key: bool = True) -> World:
    told = Scenario()
    if has_key:
        sources.add(told.source.slug, api_key=KEY)
    connections.connect(login(salesforce), mode="live", now=timezone.now())
    accounts = {name: salesforce.add_account(Name=name) for name in NAMES}
    for account in accounts.values():
        salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    customers = {}
    for number, name in enumerate(NAMES):
        on = ago(days=9 - number)
        customers[name] = told.customer(name, on=on, salesforce_account_id=accounts[name])
        customers[name].subscribes("team", monthly="30.00", on=on)
    told.drain()
    made_at = timezone.now() - timedelta(hours=6)
    writing.write(folder / "copy", now=made_at)
    return World(told, customers, stripe, salesforce, made_at, folder / "copy")


def figures(salesforce: FakeSalesforce) -> dict[str, Any]:
    """What stands in Salesforce: each Account's MRR and status, and every schedule record by its key."""
    accounts = {row["Name"]: (row["MRR__c"], row["Billing_Status__c"]) for row in salesforce.records("Account")}
    entries = {row["Ledger_Key__c"]: row["MRR_Delta__c"] for row in salesforce.records("MRR_Schedule__c")}
    return {"accounts": accounts, "entries": entries, "posts": len(salesforce.records("FeedItem"))}


def versions_in(salesforce: FakeSalesforce) -> dict[str, Any]:
    return {row["Name"]: row["Ledger_Version__c"] for row in salesforce.records("Account")}


def written(salesforce: FakeSalesforce, field: str) -> list[Any]:
    """Every value of a field in what was sent to Salesforce, in its order."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if field in value:
                found.append(value[field])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for request in salesforce.requests:
        if request.method != "GET" and request.body:
            look(json.loads(request.body))
    return found


@pytest.mark.parametrize("kind", DATABASES)
def test_after_the_catch_up_all_is_as_if_nothing_had_happened(place: Place, stripe, salesforce, tmp_path, kind):
    with living_in(place(kind)):
        world = begun(stripe, salesforce, tmp_path)
        world.goes_on()
        unbroken = fingerprints.of_standing()
        before, versions = figures(salesforce), versions_in(salesforce)
    world.is_lost()

    with living_in(place(kind)):
        assert restoring.restore(world.copy).differences == ()
        catching_up.begin(world.made_at, now=timezone.now())
        world.told.drain()
        assert written(salesforce, "MRR__c") == []
        assert figures(salesforce) == before

        standing = catching_up.finish(now=timezone.now())
        world.told.drain()

        assert standing == catching_up.Standing()
        assert fingerprints.of_standing() == unbroken
        assert figures(salesforce) == before
        assert len(written(salesforce, "MRR__c")) == len(before["accounts"])
        assert all(version >= versions[name] for name, version in versions_in(salesforce).items())
        assert not Message.objects.filter(state=WorkState.WAITING).exists()


def test_while_a_source_cannot_be_read_nothing_is_written(place: Place, stripe, salesforce, tmp_path):
    with living_in(place("sqlite")):
        world = begun(stripe, salesforce, tmp_path, has_key=False)
        world.goes_on()
    world.is_lost()

    with living_in(place("sqlite")):
        restoring.restore(world.copy)
        catching_up.begin(world.made_at, now=timezone.now())
        world.told.drain()

        standing = catching_up.finish(now=timezone.now())

        assert standing.is_held
        assert "has no API key" in standing.waits_for[0]
        assert written(salesforce, "MRR__c") == []


def test_what_salesforce_knows_and_nobody_can_tell_again_waits_for_a_person(place: Place, stripe, salesforce, tmp_path):
    with living_in(place("sqlite")):
        world = begun(stripe, salesforce, tmp_path)
        world.customers["Acme"].moves_to("business", monthly="80.00", on=ago(hours=5))  # Stripe does not list it
        world.told.drain()
    world.is_lost()

    with living_in(place("sqlite")):
        restoring.restore(world.copy)
        catching_up.begin(world.made_at, now=timezone.now())
        world.told.drain()
        tasks.finish_restore()

        held = holding.held_by(catching_up.BY)
        assert held is not None
        assert "no entry here accounts for" in held[1]
        assert written(salesforce, "MRR__c") == []

        holding.release_held(by="ann", now=timezone.now())
        world.told.drain()

        assert not SyncRecord.objects.filter(state=WorkState.WAITING).exists()
        assert "30" in {str(value).split(".")[0] for value in written(salesforce, "MRR__c")}


def test_a_company_that_only_connected_salesforce_is_let_go_at_once(place: Place, salesforce, tmp_path):
    with living_in(place("sqlite")):
        connections.connect(login(salesforce), mode="live", now=timezone.now())
        made_at = timezone.now() - timedelta(hours=6)
        writing.write(tmp_path / "copy", now=made_at)

    with living_in(place("sqlite")):
        restoring.restore(tmp_path / "copy")
        catching_up.begin(made_at, now=timezone.now())

        assert catching_up.finish(now=timezone.now()) == catching_up.Standing()
        assert holding.held_by(catching_up.BY) is None
