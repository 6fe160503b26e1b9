"""Whole stories: a signed webhook in, the ledger out."""

from __future__ import annotations

import hashlib
import json

import pytest
from django.core.management import call_command

from billing.models import StripeEvent
from mrr.models import LedgerEntry
from tests.scenario import Scenario, seconds, standing

pytestmark = pytest.mark.django_db


@pytest.fixture
def scenario() -> Scenario:
    return Scenario()


def checked(capsys) -> dict[str, object]:
    """Run check_ledger and return what it prints; it exits 1 on any difference."""
    capsys.readouterr()
    call_command("check_ledger", "--as-of", "2026-12-31")
    partial = json.loads(capsys.readouterr().out.splitlines()[-1])
    call_command("check_ledger")
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert whole["differences"] == 0
    return partial


def test_a_customer_who_leaves_and_returns(scenario):
    acme = scenario.customer("Acme")

    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    acme.moves_to("business", monthly="50.00", on="2026-02-01")
    acme.cancels(on="2026-03-15")
    acme.subscribes("team", monthly="30.00", on="2026-05-02")

    assert scenario.ledger(acme) == [
        "2026-01-10 new          +30.00",
        "2026-02-01 expansion    +20.00",
        "2026-03-15 churn        -50.00",
        "2026-05-02 reactivation +30.00",
    ]


def three_entries(scenario: Scenario) -> list[tuple[str, str, int, str, list[str]]]:
    return [
        (entry.type, f"{entry.effective_at:%Y-%m-%d}", entry.amount_micros, entry.reason, entry.event_ids)
        for entry in LedgerEntry.objects.filter(source=scenario.source, reverses=None, reversed_by=None).order_by(
            "effective_at"
        )
    ]


@pytest.fixture
def story(scenario) -> list[dict]:
    """Created, upgraded, cancelled: told, but not delivered yet."""
    scenario.is_held = True
    acme = scenario.customer("Acme")
    acme.subscribes("team", monthly="30.00", on="2026-01-10 09:00")
    acme.moves_to("business", monthly="50.00", on="2026-02-01 09:00")
    acme.cancels(on="2026-03-15 09:00")
    return scenario.events


EXPECTED = [
    ("new", "2026-01-10", 3000 * 10**6, "subscribed", ["evt_acme_0002"]),
    ("expansion", "2026-02-01", 2000 * 10**6, "plan_change", ["evt_acme_0003"]),
    ("churn", "2026-03-15", -5000 * 10**6, "canceled", ["evt_acme_0004"]),
]
# One and the same on every database and for every order; any other value means that the number changed.
FINGERPRINT = "142a0a02be037da29c6a9277e2db370bf2bce850788c7f42d7270a8a0823bb60"


@pytest.mark.parametrize(
    ("order", "repeat"), [("told", 1), ("reversed", 1), ("shuffled", 1), ("told", 3), ("shuffled", 3), ("reversed", 3)]
)
def test_order_and_repeats_do_not_matter(scenario, story, order, repeat, capsys):
    scenario.arrives(story, order=order, repeat=repeat)

    assert three_entries(scenario) == EXPECTED
    assert StripeEvent.objects.count() == 4
    assert checked(capsys)["fingerprint"] == FINGERPRINT


def test_the_fingerprint_is_the_hash_of_the_written_rule(story):
    sub = story[1]["data"]["object"]
    item = sub["items"]["data"][0]["id"]
    entries = [
        (seconds("2026-01-10 09:00"), "new", "subscribed", 3_000_000_000),
        (seconds("2026-02-01 09:00"), "expansion", "plan_change", 2_000_000_000),
        (seconds("2026-03-15 09:00"), "churn", "canceled", -5_000_000_000),
    ]
    lines = [
        f"acme\t{sub['customer']}\tusd\t{at}\t{kind}\t{reason}\t{micros}\t{item}:{micros}\n"
        for at, kind, reason, micros in entries
    ]

    assert hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() == FINGERPRINT


def test_all_at_once_is_the_same(scenario, story, capsys):
    for event in reversed(story):
        assert scenario.deliver(json.dumps(event).encode()).status_code == 200

    scenario.drain()

    assert three_entries(scenario) == EXPECTED
    assert LedgerEntry.objects.count() == 3
    assert checked(capsys)["fingerprint"] == FINGERPRINT


@pytest.mark.parametrize("field", ["type", "amount", "reason", "effective_at", "currency", "line", "customer"])
def test_changing_any_field_of_an_entry_changes_the_fingerprint(field):
    from dataclasses import replace

    from mrr.engine.movements import Line, Movement
    from mrr.fingerprints import fingerprint, fingerprint_line

    line = Line("sub_1", "si_1", "price_1", "prod_1", "subscribed", 3000, None, None)
    entry = Movement("new", "subscribed", "usd", 3000, 1, seconds("2026-01-10"), ("evt_1",), (line,))
    changed = {
        "type": replace(entry, type="expansion"),
        "amount": replace(entry, micros=3001),
        "reason": replace(entry, reason="quantity"),
        "effective_at": replace(entry, effective_at=entry.effective_at + 1),
        "currency": replace(entry, currency="eur"),
        "line": replace(entry, lines=(replace(line, micros=2999),)),
        "customer": entry,
    }[field]

    was = fingerprint([fingerprint_line("acme", "cus_1", entry)])
    now = fingerprint([fingerprint_line("acme", "cus_2" if field == "customer" else "cus_1", changed)])

    assert was != now


def test_old_and_new_layouts_tell_one_story(capsys):
    told = {}
    for is_old in (False, True):
        world = Scenario("new" if not is_old else "old", is_old=is_old)
        acme = world.customer("Acme")
        acme.subscribes("team", monthly="30.00", on="2026-01-10")
        acme.moves_to("business", yearly="600.00", on="2026-02-01")
        acme.cancels(on="2026-03-15")
        told[is_old] = [(e.type, e.effective_at, e.amount_micros, e.reason) for e in standing(acme.id, world.source)]

    assert told[True] == told[False]
    assert len(told[True]) == 3


def test_learning_late_reverses_and_never_edits(scenario, story):
    created, moved = story[1], story[2]
    scenario.arrives([story[0], moved])
    first = list(LedgerEntry.objects.order_by("pk").values("pk", "amount_micros", "event_ids"))

    scenario.arrives([created])

    assert list(LedgerEntry.objects.order_by("pk").values("pk", "amount_micros", "event_ids"))[: len(first)] == first
    assert [entry[4] for entry in three_entries(scenario)] == [["evt_acme_0002"], ["evt_acme_0003"]]
    reversal = LedgerEntry.objects.get(type="reversal")
    assert reversal.amount_micros == -reversal.reverses.amount_micros
    assert reversal.effective_at == reversal.reverses.effective_at


def test_the_ledger_refuses_changes_in_the_database(scenario, story):
    from django.db import DatabaseError, connection, transaction

    scenario.arrives(story)
    attempts = [
        "UPDATE mrr_ledgerentry SET amount_micros = 1",
        "DELETE FROM mrr_ledgerentry",
        "DELETE FROM billing_stripeevent",
    ]

    for statement in [*attempts, "UPDATE billing_stripeevent SET body = body"]:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    assert three_entries(scenario) == EXPECTED
