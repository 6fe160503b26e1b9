"""The API: the contract's shapes and statuses, who may ask what, and what it costs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import jsonschema
import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Customer, StripeEvent
from crm.models import Account, Contact, Match, SalesforceOrg
from dashboard.api.urls import v1
from dashboard.roles import ABILITIES, Ability, Role
from tests.dashboard.people import api, person
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def june():
    with time_machine.travel(NOW, tick=True):
        yield


@pytest.fixture
def org():
    return SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com", is_demo=True)


@pytest.fixture
def account(org):
    made = Account.objects.create(org=org, salesforce_id="001000000000001AAA", name="Acme Corporation")
    Contact.objects.create(
        org=org, salesforce_id="003000000000001AAA", account_id=made.salesforce_id, email="pay@acme.test"
    )
    return made


@pytest.fixture
def scenario(account):
    """Acme is matched and grows; Bolt waits for an Account and leaves; Cord waits and stays."""
    told = Scenario("main")
    told.is_held = True
    told.acme = told.customer("Acme", on="2026-01-05", email="pay@acme.test")
    told.acme.subscribes("team", monthly="30.00", on="2026-01-10")
    told.acme.moves_to("business", monthly="50.00", on="2026-03-05")
    told.bolt = told.customer("Bolt", on="2026-02-01", email="hello@bolt.test")
    told.bolt.subscribes("team", yearly="100.00", on="2026-02-01")
    told.bolt.cancels(on="2026-04-01")
    told.cord = told.customer("Cord", on="2026-05-01", email="hello@cord.test")
    told.cord.subscribes("team", monthly="20.00", on="2026-05-01")
    return arrived(told)


def arrived(told):
    """Deliver all that was held back, and process it at once."""
    told.is_held = False
    for event in told.events:
        assert told.deliver(json.dumps(event).encode()).status_code == 200
    told.drain()
    return told


@pytest.fixture
def revops():
    return api(Role.REVOPS)


@pytest.fixture
def viewer():
    return api(Role.VIEWER)


def read(client, path, status=200):
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == status, answer.content
    return answer.json()


def send(client, path, **body):
    return client.post(f"/api/v1/{path}", body, content_type="application/json")


# ---- MRR ----


def test_mrr_of_a_day(scenario, revops):
    found = read(revops, "mrr?at=2026-03-31")

    assert found == {
        "at": "2026-03-31",
        "time_zone": "UTC",
        "policy_version": 1,
        "complete": True,
        "incomplete": [],
        "currencies": [
            {
                "currency": "usd",
                "mrr_minor": 5833,
                "mrr_micros": 5833333333,
                "arr_minor": 70000,
                "arr_micros": 69999999996,
                "cmrr_minor": None,
                "cmrr_micros": None,
                "customers": 2,
            }
        ],
        "reporting": {
            "currency": "usd",
            "mrr_minor": 5833,
            "mrr_micros": 5833333333,
            "arr_minor": 70000,
            "arr_micros": 69999999996,
        },
    }


def test_mrr_of_today_knows_what_is_scheduled(scenario, revops):
    scenario.cord.changes(on="2026-06-01", cancel_at=int(datetime(2026, 7, 1, tzinfo=UTC).timestamp()))

    (usd,) = read(revops, "mrr")["currencies"]

    assert (usd["mrr_minor"], usd["cmrr_minor"], usd["customers"]) == (7000, 5000, 2)


def test_mrr_says_what_it_lacks(scenario, revops):
    scenario.bolt.subscribes("team", monthly="9000", currency="jpy", on="2026-05-02")
    StripeEvent.objects.filter(type="customer.created").update(state="parked")

    found = read(revops, "mrr")

    assert not found["complete"]
    assert found["incomplete"] == [
        {"code": "events_parked", "count": 3},
        {"code": "rate_missing", "count": 1},
    ]


def test_the_series_adds_up_and_writes_ratios_as_text(scenario, revops):
    found = read(revops, "mrr/series?from=2026-01&to=2026-06")

    assert found["currency"] == "usd"
    april = found["months"][3]
    assert april == {
        "month": "2026-04",
        "opening_minor": 5833,
        "opening_micros": 5833333333,
        "new_minor": 0,
        "new_micros": 0,
        "expansion_minor": 0,
        "expansion_micros": 0,
        "reactivation_minor": 0,
        "reactivation_micros": 0,
        "contraction_minor": 0,
        "contraction_micros": 0,
        "churn_minor": -833,
        "churn_micros": -833333333,
        "adjustment_minor": 0,
        "adjustment_micros": 0,
        "fx_minor": 0,
        "fx_micros": 0,
        "closing_minor": 5000,
        "closing_micros": 5000000000,
        "customers": {"opening": 2, "new": 0, "reactivated": 0, "churned": 1, "closing": 1},
        "nrr": "0.857143",
        "grr": "0.857143",
        "logo_churn": "0.500000",
        "complete": True,
        "quick_ratio": "0.000000",
    }
    assert found["months"][0]["nrr"] is None
    assert read(revops, "mrr/series?from=2026-04&to=2026-04&view=netted&basis=closed")["months"] == [april]


def test_the_series_is_the_last_twelve_months_unless_told(scenario, revops):
    months = [row["month"] for row in read(revops, "mrr/series")["months"]]

    assert (len(months), months[0], months[-1]) == (12, "2025-07", "2026-06")


# ---- movements ----


def test_a_movement_has_all_its_fields(scenario, account, revops):
    (found,) = read(revops, f"movements?customer={scenario.acme.id}&type=expansion")["results"]

    item = scenario.acme.subscriptions[0]["items"]["data"][0]
    assert found.pop("id").startswith("mle_") and found.pop("posted_at").endswith("Z")
    assert found == {
        "source": "main",
        "customer": scenario.acme.id,
        "account_id": account.salesforce_id,
        "type": "expansion",
        "reason": "plan_change",
        "currency": "usd",
        "amount_minor": 2000,
        "amount_micros": 2000000000,
        "arr_minor": 24000,
        "arr_micros": 24000000000,
        "effective_at": "2026-03-05T00:00:00Z",
        "book_month": "2026-03",
        "event_ids": [scenario.events[2]["id"]],
        "lines": [
            {
                "subscription": scenario.acme.subscriptions[0]["id"],
                "item": item["id"],
                "price": item["price"]["id"],
                "product": item["price"]["product"],
                "reason": "plan_change",
                "amount_minor": 2000,
                "amount_micros": 2000000000,
            }
        ],
        "reverses": None,
        "reversed_by": None,
        "backdated_from": None,
        "policy_version": 1,
    }


def test_movements_are_paged_both_ways_by_addresses(scenario, revops):
    whole = read(revops, "movements")["results"]
    assert [row["type"] for row in whole] == ["new", "new", "expansion", "churn", "new"]

    first = read(revops, "movements?limit=2&currency=usd")
    second = revops.get(first["next"]).json()
    third = revops.get(second["next"]).json()
    back = revops.get(third["previous"]).json()

    assert first["previous"] is None and third["next"] is None
    assert first["next"].startswith("http://testserver/api/v1/movements?") and "currency=usd" in first["next"]
    assert [*first["results"], *second["results"], *third["results"]] == whole
    assert back["results"] == second["results"]
    assert revops.get(back["previous"]).json() == {**first, "next": first["next"]}


def test_reversed_pairs_need_all(scenario, revops):
    scenario.acme.changes(on="2026-01-10 00:20", quantity=2, plan=("team", "30.00", ""))

    standing = read(revops, f"movements?customer={scenario.acme.id}")["results"]
    everything = read(revops, f"movements?customer={scenario.acme.id}&all=1")["results"]

    reversal = next(row for row in everything if row["type"] == "reversal")
    taken_back = next(row for row in everything if row["id"] == reversal["reverses"])
    assert taken_back["reversed_by"] == reversal["id"]
    assert taken_back["amount_minor"] == -reversal["amount_minor"]
    assert not {taken_back["id"], reversal["id"]} & {row["id"] for row in standing}


def test_days_and_types_narrow_the_list(scenario, revops):
    def types(query):
        return [row["type"] for row in read(revops, f"movements?{query}")["results"]]

    assert types("from=2026-03-05&to=2026-03-05") == ["expansion"]
    assert types("from=2026-04-01&to=2026-04-30&basis=closed") == ["churn"]
    assert types("type=churn") == ["churn"]
    assert types("customer=cus_unknown") == []
    assert types("currency=eur") == []


def test_an_explanation_shows_no_bodies_to_who_may_only_see_figures(scenario, viewer):
    (row,) = read(viewer, "movements?type=expansion")["results"]

    found = read(viewer, f"movements/{row['id']}/explain")

    assert [event["body"] for event in found["events"]] == [None]
    assert found["formula"].endswith("= $20.00")


def test_an_entry_explains_itself(scenario, revops):
    (row,) = read(revops, "movements?type=expansion")["results"]

    found = read(revops, f"movements/{row['id']}/explain")

    assert found["formula"] == "$50.00 × 1 ÷ 1 month − $30.00 × 1 ÷ 1 month = $20.00"
    (line,) = found["lines"]
    assert line["before"]["formula"] == "$30.00 × 1 ÷ 1 month"
    assert (line["before"]["mrr_minor"], line["after"]["mrr_minor"]) == (3000, 5000)
    assert (found["mrr_before_minor"], found["mrr_after_minor"]) == (3000, 5000)
    assert [event["id"] for event in found["events"]] == row["event_ids"]
    (event,) = found["events"]
    assert event["state"] == "processed"
    assert event["body"] == next(told for told in scenario.events if told["id"] == event["id"])
    assert revops.get(event["url"]).json()["sha256"] == event["sha256"]
    assert found["policy"]["version"] == 1
    assert found["policy"]["settings"]["churn_at"] == "effective_end"
    assert read(revops, "movements/mle_unknown/explain", 404)["error"]["code"] == "not_found"


# ---- customers ----


def test_a_customer_with_everything_known(scenario, account, revops):
    found = read(revops, f"customers/{scenario.acme.id}")

    assert (found["source"], found["customer"], found["name"]) == ("main", scenario.acme.id, "Acme")
    assert found["email"] == "pay@acme.test"
    assert found["cohort"] == "2026-01"
    (balance,) = found["mrr"]
    assert (balance["currency"], balance["mrr_minor"], balance["arr_minor"]) == ("usd", 5000, 60000)
    (subscription,) = found["subscriptions"]
    assert (subscription["status"], subscription["mrr_minor"]) == ("active", 5000)
    assert subscription["items"][0]["unit_amount_decimal"] == "5000"
    assert found["match"]["account_id"] == account.salesforce_id
    assert found["match"]["matched_by"] is None
    assert found["risk"]["severity"] in ("none", "low", "medium", "high")


def test_a_customer_s_risk_is_told_with_its_parts(scenario, revops):
    scenario.cord.changes(on="2026-06-01", cancel_at=int(datetime(2026, 7, 1, tzinfo=UTC).timestamp()))

    risk = read(revops, f"customers/{scenario.cord.id}")["risk"]

    assert (risk["score"], risk["severity"]) == (50, "medium")
    assert [(part["signal"], part["points"]) for part in risk["parts"]] == [("scheduled_cancel", 50)]


# ---- cohorts ----


def test_cohorts_and_their_cells(scenario, revops):
    found = read(revops, "cohorts?measure=net_mrr&interval=month")

    assert (found["measure"], found["interval"]) == ("net_mrr", "month")
    january, february, may = found["cohorts"]
    assert january["cohort"] == "2026-01"
    assert (january["customers"], january["acquired_minor"]) == (1, 3000)
    assert january["cells"][2] == {
        "period": 2,
        "customers": 1,
        "mrr_minor": 5000,
        "month": "2026-03",
        "running": False,
        "mrr_micros": 5000000000,
        "ratio": "1.666667",
        "arpa_minor": 5000,
    }
    assert [cell["ratio"] for cell in february["cells"]] == ["1.000000", "1.000000", "0.000000", "0.000000", "0.000000"]
    assert len(may["cells"]) == 2
    (first, second) = read(revops, "cohorts?measure=arpa&interval=quarter")["cohorts"]
    assert (first["cohort"], first["customers"], first["cells"][0]["month"]) == ("2026-01", 2, "2026-03")
    assert (first["cells"][0]["arpa_minor"], second["cells"][0]["running"]) == (2917, True)
    assert read(revops, "cohorts")["measure"] == "logo"
    assert read(revops, "cohorts?currency=eur")["cohorts"] == []


# ---- retention ----


def test_retention_of_a_month_and_whom_it_lost(scenario, revops):
    found = read(revops, "retention?months=1&to=2026-04&by=cause")

    (april,) = found["periods"]
    assert (april["start_minor"], april["churn_minor"], april["end_minor"]) == (5833, -833, 5000)
    assert (april["nrr"], april["grr"], april["logo_churn"]) == ("0.857143", "0.857143", "0.500000")
    (lost,) = found["churn"]
    assert (lost["key"], lost["churn_micros"], lost["share"]) == ("decision", -833333333, "1.000000")
    assert read(revops, "retention?to=2026-05")["periods"][0]["nrr"] is None


# ---- unmatched and matches ----


def test_who_is_unmatched_comes_largest_first(scenario, revops):
    rows = read(revops, "unmatched")["results"]

    assert [row["name"] for row in rows] == ["Cord", "Bolt"]
    cord = rows[0]
    assert set(cord) == {
        "source",
        "customer",
        "name",
        "email",
        "mrr_minor",
        "mrr_micros",
        "currency",
        "since",
        "status",
        "reason",
        "candidates",
    }
    assert (cord["email"], cord["mrr_minor"], cord["currency"]) == ("hello@cord.test", 2000, "usd")
    assert (cord["status"], cord["reason"]) == ("waiting", "no_contact")


def test_unmatched_is_paged_both_ways(scenario, revops):
    first = read(revops, "unmatched?limit=1")
    second = revops.get(first["next"]).json()

    assert [row["name"] for row in (*first["results"], *second["results"])] == ["Cord", "Bolt"]
    assert (first["previous"], second["next"]) == (None, None)
    assert revops.get(second["previous"]).json()["results"] == first["results"]


def test_a_match_and_its_undoing(scenario, account, revops):
    made = send(revops, "matches", source="main", customer=scenario.cord.id, account_id=account.salesforce_id)

    assert made.status_code == 201
    body = made.json()
    assert body == {
        "id": body["id"],
        "source": "main",
        "customer": scenario.cord.id,
        "account_id": account.salesforce_id,
        "how": "person",
        "matched_by": "revops-person",
        "matched_at": body["matched_at"],
    }
    assert read(revops, f"customers/{scenario.cord.id}")["match"]["id"] == body["id"]

    undone = revops.delete(f"/api/v1/matches/{body['id']}")

    assert (undone.status_code, undone.content) == (204, b"")
    assert read(revops, f"customers/{scenario.cord.id}")["match"] is None
    assert Match.objects.get(pk=body["id"]).undone_by == "revops-person"
    assert revops.delete(f"/api/v1/matches/{body['id']}").status_code == 404


def test_the_second_of_two_people_hears_who_was_first(scenario, account, revops):
    wanted = {"customer": scenario.cord.id, "account_id": account.salesforce_id}
    send(revops, "matches", **wanted)

    late = send(api(Role.REVOPS, user=person(Role.REVOPS, "ben")), "matches", **wanted)

    assert late.status_code == 409
    error = late.json()["error"]
    assert (error["code"], error["matched_by"], error["field"]) == ("already_matched", "revops-person", "customer")
    assert error["matched_at"].endswith("Z") and "revops-person" in error["message"]
    assert Match.objects.filter(undone_at=None, customer__stripe_id=scenario.cord.id).count() == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "customer"),
        ({"customer": "cus_unknown", "account_id": "001000000000001AAA"}, 404, None),
        ({"customer": "CORD", "account_id": "001000000000001"}, 201, None),
        ({"customer": "CORD", "account_id": "too short"}, 400, "account_id"),
        ({"customer": "CORD", "account_id": "001000000000001AAB"}, 400, "account_id"),
        ({"customer": "CORD", "account_id": "001000000000009"}, 404, "account_id"),
        ({"customer": "CORD", "account_id": "0" * 500}, 400, "account_id"),
        ({"customer": "CORD", "account_id": "001000000000001AAA", "source": "nowhere"}, 400, "source"),
        ({"customer": ["CORD"], "account_id": "001000000000001AAA"}, 400, "customer"),
    ],
)
def test_a_wrong_match_names_the_field(scenario, revops, body, status, field):
    body = {name: scenario.cord.id if value == "CORD" else value for name, value in body.items()}

    answer = send(revops, "matches", **body)

    assert answer.status_code == status, answer.content
    if status != 201:
        assert answer.json()["error"]["field"] == field


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b'"text"', b"\xff", b"{}"])
def test_a_body_that_is_no_match_is_a_400(revops, raw):
    answer = revops.post("/api/v1/matches", raw, content_type="application/json")

    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"code", "message", "field"}


# ---- at risk ----


def test_who_is_at_risk_comes_worst_first(scenario, account, revops):
    ends = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())
    scenario.cord.changes(on="2026-06-01", cancel_at=ends)
    scenario.acme.changes(
        on="2026-06-02",
        cancel_at=ends,
        cancellation_details={"feedback": "too_expensive", "comment": "a secret comment", "reason": None},
    )

    first = read(revops, "at-risk?limit=1")
    second = revops.get(first["next"]).json()
    (row,) = first["results"]

    assert set(row) == {
        "source",
        "customer",
        "account_id",
        "mrr_minor",
        "mrr_micros",
        "currency",
        "score",
        "severity",
        "parts",
    }
    assert (row["customer"], row["account_id"], row["score"]) == (scenario.acme.id, account.salesforce_id, 60)
    assert row["score"] == sum(part["points"] for part in row["parts"])
    assert (second["results"][0]["customer"], second["results"][0]["account_id"]) == (scenario.cord.id, None)
    assert second["next"] is None
    assert revops.get(second["previous"]).json()["results"] == first["results"]
    assert "a secret comment" not in str(first)


# ---- events ----


def test_an_event_as_it_was_received(scenario, revops):
    sent = scenario.events[2]

    found = read(revops, f"events/{sent['id']}")

    assert found["body"]["data"]["object"]["id"] == scenario.acme.subscriptions[0]["id"]
    assert (found["id"], found["source"], found["type"]) == (sent["id"], "main", "customer.subscription.updated")
    assert (found["state"], found["attempts"], found["customer"]) == ("processed", 1, scenario.acme.id)
    assert [entry["type"] for entry in found["entries"]] == ["expansion"]
    assert len(found["sha256"]) == 64
    assert read(revops, "events/evt_unknown", 404)["error"]["code"] == "not_found"


@pytest.mark.parametrize("odd", ["[" * 5000 + "]" * 5000, "9" * 6000], ids=["too deep", "too large"])
def test_an_event_that_cannot_be_read_whole_is_shown_as_text(scenario, revops, odd):
    raw = f'{{"id":"evt_odd","type":"x","value":{odd}}}'
    scenario.deliver(raw.encode())

    found = read(revops, "events/evt_odd")

    assert found["body"] == raw
    assert found["state"] == "parked"


def test_an_event_is_processed_again(scenario, revops):
    event_id = scenario.events[2]["id"]
    StripeEvent.objects.filter(stripe_id=event_id).update(state="parked", reason="failed", attempts=5)
    before = read(revops, "movements?all=1")["results"]

    answer = send(revops, f"events/{event_id}/process?source=main")

    assert (answer.status_code, answer.json()) == (202, {"id": event_id, "source": "main", "state": "waiting"})
    scenario.drain()
    assert read(revops, f"events/{event_id}")["state"] == "processed"
    assert read(revops, "movements?all=1")["results"] == before
    assert send(revops, "events/evt_unknown/process").status_code == 404


# ---- sync ----


def test_sync_counts_everything_in_and_out(scenario, revops):
    found = read(revops, "sync")

    assert set(found) == {"events", "outbox", "oldest_due_seconds", "budget", "errors"}
    assert found["events"] == {"waiting": 0, "processed": len(scenario.events), "ignored": 0, "parked": 0}
    assert set(found["outbox"]) == {"waiting", "held", "sent", "would_send", "parked"}
    assert found["outbox"]["held"] > 0 and found["outbox"]["would_send"] > 0
    assert found["budget"]["mode"] == "shadow"
    assert found["errors"] == []


# ---- sources ----


@pytest.fixture
def brands(account):
    """Two live sources and a test source that know the same customer id."""
    for slug, livemode, amount in (("north", True, "10.00"), ("south", True, "20.00"), ("sandbox", False, "99.00")):
        told = Scenario(slug, livemode=livemode)
        told.is_held = True
        story = told.customer("Acme", on="2026-01-05")
        story.id = story.object["id"] = told.events[0]["data"]["object"]["id"] = "cus_shared"
        story.subscribes("team", monthly=amount, on="2026-01-10")
        arrived(told)


def test_an_id_that_several_sources_know_needs_a_source(brands, revops):
    for path in ("customers/cus_shared", "movements?customer=cus_shared"):
        error = read(revops, path, 409)["error"]
        assert (error["code"], error["field"]) == ("ambiguous_source", "source")
        assert "north, south" in error["message"] and "sandbox" not in error["message"]
    made = send(revops, "matches", customer="cus_shared", account_id="001000000000001AAA")
    assert (made.status_code, made.json()["error"]["code"]) == (409, "ambiguous_source")
    assert read(revops, "customers/cus_shared?source=south")["mrr"][0]["mrr_minor"] == 2000


def test_an_event_id_that_several_sources_know_needs_one_too(brands, revops):
    for source in ("north", "south"):
        event = StripeEvent.objects.filter(source__slug=source).first()
        StripeEvent.objects.create(
            source=event.source,
            stripe_id="evt_shared",
            type="x",
            body=b'{"id":"evt_shared"}',
            body_sha256="0" * 64,
            received_at=NOW,
            due_at=NOW,
            state="ignored",
        )

    assert read(revops, "events/evt_shared", 409)["error"]["code"] == "ambiguous_source"
    assert send(revops, "events/evt_shared/process").status_code == 409
    assert read(revops, "events/evt_shared?source=north")["source"] == "north"


def test_test_data_is_only_there_when_named(brands, revops):
    assert read(revops, "mrr")["reporting"]["mrr_minor"] == 3000
    assert read(revops, "mrr?source=north")["reporting"]["mrr_minor"] == 1000
    assert read(revops, "mrr?source=sandbox")["reporting"]["mrr_minor"] == 9900
    assert {row["source"] for row in read(revops, "movements")["results"]} == {"north", "south"}
    assert read(revops, "mrr/series?source=sandbox&from=2026-01&to=2026-01")["months"][0]["closing_minor"] == 9900
    assert sum(cohort["customers"] for cohort in read(revops, "cohorts")["cohorts"]) == 2
    assert {row["source"] for row in read(revops, "unmatched")["results"]} == {"north", "south"}
    for slug in ("north", "south"):
        Customer.objects.filter(source__slug=slug).update(stripe_id="cus_elsewhere")
    assert read(revops, "customers/cus_shared", 404)["error"]["code"] == "not_found"
    assert read(revops, "customers/cus_shared?source=sandbox")["mrr"][0]["mrr_minor"] == 9900
    sandbox_event = StripeEvent.objects.filter(source__slug="sandbox").latest("pk").stripe_id
    assert read(revops, f"events/{sandbox_event}", 404)
    assert read(revops, f"events/{sandbox_event}?source=sandbox")["source"] == "sandbox"


# ---- parameters and errors ----


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("mrr?at=yesterday", "at"),
        ("mrr?at=2026-02-30", "at"),
        ("mrr?at=2026-W01-1", "at"),
        ("mrr?at=2026-06-16", "at"),
        ("mrr?at=9999-12-31", "at"),
        ("mrr?at=0001-01-01", "at"),
        ("mrr?source=nowhere", "source"),
        ("mrr?source=%00", "source"),
        ("mrr/series?from=2026-13", "from"),
        ("mrr/series?from=2026-05&to=2026-04", "from"),
        ("mrr/series?from=1970-01&to=2026-04", "from"),
        ("mrr/series?to=2026-04-01", "to"),
        ("mrr/series?currency=dollars", "currency"),
        ("mrr/series?view=sideways", "view"),
        ("mrr/series?basis=wishful", "basis"),
        ("movements?from=2026", "from"),
        ("movements?from=2026-05-02&to=2026-05-01", "from"),
        ("movements?type=explosion", "type"),
        ("movements?all=perhaps", "all"),
        ("movements?limit=1001", "limit"),
        ("movements?limit=0", "limit"),
        ("movements?limit=-5", "limit"),
        ("movements?limit=ten", "limit"),
        ("movements?limit=%C2%B2", "limit"),
        ("movements?cursor=nonsense", "cursor"),
        ("movements?cursor=WyJuZXh0IiwxZTMwOSwxXQ", "cursor"),
        ("movements?cursor=WyJuZXh0Iiw5OTk5OTk5OTk5OTk5OTk5OTksMV0", "cursor"),
        ("movements?cursor=" + "W1tb" * 3000, "cursor"),
        ("unmatched?limit=5000", "limit"),
        ("unmatched?cursor=WyJuZXh0IiwieCIsMV0", "cursor"),
        ("at-risk?cursor=WyJuZXh0IiwxXQ", "cursor"),
        ("cohorts?measure=love", "measure"),
        ("cohorts?interval=week", "interval"),
        ("retention?months=2", "months"),
        ("retention?to=2999-01", "to"),
        ("retention?by=love", "by"),
    ],
)
def test_a_bad_parameter_is_named(revops, path, field):
    error = read(revops, path, 400)["error"]

    assert (error["code"], error["field"]) == ("bad_parameter", field)
    assert error["message"].endswith(".")


def test_unknown_addresses_and_methods_answer_in_the_same_shape(revops):
    for answer, status, code in (
        (revops.get("/api/v1/nothing"), 404, "not_found"),
        (revops.get("/api/v1/mrr/"), 404, "not_found"),
        (revops.get("/api/nothing"), 404, "not_found"),
        (revops.delete("/api/v1/mrr"), 405, "method_not_allowed"),
        (revops.get("/api/v1/matches"), 405, "method_not_allowed"),
        (revops.delete("/api/v1/matches/99999999999999999999999"), 404, "not_found"),
        (revops.post("/api/v1/matches", "a=b", content_type="text/plain"), 415, "unsupported_media_type"),
        (revops.get("/api/v1/mrr", headers={"accept": "text/csv"}), 406, "not_acceptable"),
    ):
        assert answer.status_code == status, answer.content
        assert answer.json()["error"]["code"] == code
        assert set(answer.json()["error"]) == {"code", "message", "field"}


def test_what_nobody_expected_is_a_500_without_details(revops, monkeypatch, caplog):
    def breaks(*args, **kwargs):
        raise ValueError("a secret about cus_1")

    monkeypatch.setattr("mrr.selectors.mrr_at", breaks)

    answer = revops.get("/api/v1/mrr")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "server_error"
    assert "secret" not in answer.content.decode()
    assert "api_failed" in caplog.text


# ---- who may what ----

ROUTES = [
    ("GET", "mrr", Ability.SEE_FIGURES),
    ("GET", "mrr/series", Ability.SEE_FIGURES),
    ("GET", "movements", Ability.SEE_FIGURES),
    ("GET", "movements/mle_unknown/explain", Ability.SEE_FIGURES),
    ("GET", "customers/cus_unknown", Ability.SEE_FIGURES),
    ("GET", "cohorts", Ability.SEE_FIGURES),
    ("GET", "retention", Ability.SEE_FIGURES),
    ("GET", "unmatched", Ability.SEE_FIGURES),
    ("POST", "matches", Ability.MATCH),
    ("DELETE", "matches/1", Ability.MATCH),
    ("GET", "at-risk", Ability.SEE_FIGURES),
    ("GET", "events/evt_unknown", Ability.SEE_FIGURES),
    ("POST", "events/evt_unknown/process", Ability.RETRY),
    ("GET", "sync", Ability.SEE_FIGURES),
    ("GET", "closes", Ability.SEE_FIGURES),
    ("GET", "board", Ability.SEE_FIGURES),
]


def test_the_matrix_names_every_route():
    assert len(ROUTES) == len(v1)
    assert [route.callback.ability for route in v1] == [ability for *_, ability in ROUTES]


@pytest.mark.parametrize("role", [None, *Role])
def test_each_route_is_open_to_exactly_the_roles_that_need_it(role):
    client = api(role) if role else Client()
    for method, path, ability in ROUTES:
        answer = client.generic(method, f"/api/v1/{path}", "{}", content_type="application/json")
        if role is None:
            assert answer.status_code == 401, path
        elif ability in ABILITIES[role]:
            assert answer.status_code in (200, 400, 404), (path, answer.content)
        else:
            assert answer.status_code == 403, path
            assert answer.json()["error"]["code"] == "forbidden"


def test_who_may_only_see_figures_sees_no_people(scenario, account, viewer, revops):
    send(revops, "matches", customer=scenario.bolt.id, account_id=account.salesforce_id)
    paths = [
        "mrr",
        "mrr/series",
        "movements",
        f"customers/{scenario.acme.id}",
        f"customers/{scenario.bolt.id}",
        "unmatched",
        "at-risk",
        "cohorts",
        "retention?months=1&by=owner",
        "sync",
        *(f"events/{event['id']}" for event in scenario.events),
    ]
    seen = " ".join(json.dumps(read(viewer, path), ensure_ascii=False) for path in paths)

    for personal in ("Acme", "Bolt", "Cord", "acme.test", "bolt.test", "cord.test", "revops-person"):
        assert personal not in seen, personal
        assert personal in " ".join(json.dumps(read(revops, path)) for path in paths) or personal == "Bolt"
    assert "•••" in seen
    assert read(viewer, f"events/{scenario.events[0]['id']}")["body"] is None


# ---- cost ----


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("mrr", 9),
        ("mrr/series", 5),
        ("movements", 7),
        ("cohorts", 5),
        ("retention", 9),
        ("unmatched", 7),
        ("at-risk", 7),
        ("sync", 12),
        ("board", 20),
        ("customers/ACME", 13),
        ("events/EVENT", 12),
    ],
)
def test_an_answer_takes_few_queries(scenario, revops, path, most):
    path = path.replace("ACME", scenario.acme.id).replace("EVENT", scenario.events[2]["id"])
    read(revops, path)  # the first use of a token is noted

    with CaptureQueriesContext(connection) as queries:
        read(revops, path)

    assert len(queries) <= most, [query["sql"] for query in queries]


# ---- the description ----


@pytest.fixture(scope="module")
def schema():
    from drf_spectacular.generators import SchemaGenerator

    return SchemaGenerator().get_schema(public=True)


def test_the_schema_is_whole_and_without_warnings(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))


def test_every_answer_fits_its_description(scenario, revops, schema):
    entry = read(revops, "movements?limit=1")["results"][0]["id"]
    addresses = {
        "/api/v1/mrr": "mrr",
        "/api/v1/mrr/series": "mrr/series",
        "/api/v1/movements": "movements?all=1",
        "/api/v1/movements/{key}/explain": f"movements/{entry}/explain",
        "/api/v1/customers/{customer_id}": f"customers/{scenario.acme.id}",
        "/api/v1/cohorts": "cohorts",
        "/api/v1/retention": "retention?months=1&to=2026-04",
        "/api/v1/closes": "closes",
        "/api/v1/board": "board?month=2026-02",
        "/api/v1/unmatched": "unmatched",
        "/api/v1/at-risk": "at-risk",
        "/api/v1/events/{event_id}": f"events/{scenario.events[0]['id']}",
        "/api/v1/sync": "sync",
    }
    described = {path: item["get"] for path, item in schema["paths"].items() if "get" in item}
    assert set(addresses) == set(described)
    for path, operation in described.items():
        check(read(revops, addresses[path]), operation["responses"]["200"], schema)
    failed = read(revops, "mrr?at=no", 400)
    check(failed, described["/api/v1/mrr"]["responses"]["400"], schema)


def test_every_example_fits_its_description(schema):
    for item in schema["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                for one in answer.get("content", {}).get("application/json", {}).get("examples", {}).values():
                    check(one["value"], answer, schema)


def check(value, answer, schema):
    """Check a value against the schema of an answer: every field described, none missing, types as said."""
    wanted = strict(answer["content"]["application/json"]["schema"], schema)
    jsonschema.Draft202012Validator(wanted).validate(value)


def strict(part, schema):
    """Resolve references, turn OpenAPI's nullable into a type, and allow no field that is not described."""
    if "$ref" in part:
        part = schema["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
    if "allOf" in part and len(part["allOf"]) == 1:
        part = {**strict(part["allOf"][0], schema), **{k: v for k, v in part.items() if k != "allOf"}}
    part = dict(part)
    if "properties" in part:
        part["properties"] = {name: strict(inner, schema) for name, inner in part["properties"].items()}
        part["additionalProperties"] = False
        part["required"] = sorted(part["properties"])
    if "items" in part:
        part["items"] = strict(part["items"], schema)
    if "oneOf" in part:
        part["oneOf"] = [strict(inner, schema) for inner in part["oneOf"]]
    return {"anyOf": [part, {"type": "null"}]} if part.pop("nullable", False) else part


def test_the_schema_and_its_page_need_a_login():
    assert Client().get("/api/schema/").status_code == 401
    assert Client().get("/api/docs/").status_code == 302
    assert api(Role.VIEWER).get("/api/schema/").status_code == 200


def test_the_documentation_works_offline_and_under_the_policy():
    client = Client()
    client.force_login(person(Role.VIEWER))

    page = client.get("/api/docs/")
    script = client.get("/api/docs/?script=")

    html = page.content.decode()
    assert page.status_code == script.status_code == 200
    assert "<style" not in html and "style=" not in html and "http://" not in html and "https://" not in html
    assert all(line.count("src=") for line in html.splitlines() if "<script" in line)
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/schema/" in script.content.decode()
    assert "unsafe" not in page["Content-Security-Policy"]
