"""Health: what is wrong is named with its code and its button, and dead workers are never shown as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import checks, inbox
from billing.checks import Check, State
from billing.models import DeliveryRefusal, FetchKind, FetchState, Origin, OwedFetch, SigningSecret, StripeEvent
from config import tasks
from crm.models import SalesforceOrg
from dashboard import findings, machine, status
from dashboard.models import JobRun
from dashboard.roles import Role
from mrr.models import CustomerBalance
from tests import builders
from tests.dashboard.test_pages import World, march, page_of, text_of, world
from tests.fakes.stripe import FakeStripe

__all__ = ["march", "world"]

HEALTH = "/dashboard/health/"
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def source(db: None) -> Any:
    return builders.source("main", livemode=True)


def codes(client: Client) -> list[str]:
    return [line.finding.code for line in client.get(HEALTH).context["lines"]]


def keep(source: Any, event_id: str, *, at: int = builders.T0, **fields: Any) -> StripeEvent:
    body = builders.event("customer.updated", builders.customer(), at=at, livemode=True, id=event_id, **fields)
    inbox.keep(source, builders.as_bytes(body), origin=Origin.WEBHOOK, now=timezone.now())
    return StripeEvent.objects.get(stripe_id=event_id)


# ---- workers ----


def test_an_install_without_workers_says_that_nothing_is_worked_on(source: Any) -> None:
    shown = text_of(page_of(Role.VIEWER).get(HEALTH))

    assert "No worker takes tasks. None ever began." in shown
    assert "Stands still" in shown


def test_workers_that_beat_but_do_not_work_are_not_called_well(source: Any) -> None:
    tasks.beat()
    keep(source, "evt_1")
    StripeEvent.objects.update(due_at=timezone.now() - timedelta(minutes=6))

    client = page_of(Role.VIEWER)
    answer = client.get(HEALTH)

    assert "work_overdue" in codes(client)
    assert "Stands still" in text_of(answer)
    assert client.get("/readyz").status_code == 503


def test_with_young_work_and_beating_workers_all_is_well(source: Any) -> None:
    tasks.beat()
    keep(source, "evt_1")

    client = page_of(Role.VIEWER)

    assert "Moves" in text_of(client.get(HEALTH))
    assert not [code for code in codes(client) if code in ("workers_silent", "work_overdue")]


def test_a_job_that_failed_or_does_not_run_is_named(source: Any) -> None:
    JobRun.objects.create(name="keep rates", started_at=timezone.now(), error="Unreachable: no answer")
    JobRun.objects.create(name="clear old", started_at=timezone.now() - timedelta(days=3))

    assert {"job_failed", "job_late"} <= set(codes(page_of(Role.VIEWER)))


def test_the_last_backup_is_shown_and_an_old_one_is_a_finding(source: Any, tmp_path: Path) -> None:
    client = page_of(Role.VIEWER)
    assert "Last backup by our command: never" in text_of(client.get(HEALTH))

    call_command("backup", str(tmp_path / "copy"), stdout=StringIO(), stderr=StringIO())
    assert "backup_old" not in codes(client)

    JobRun.objects.update(went_well_at=timezone.now() - timedelta(days=3))
    assert "backup_old" in codes(client)


# ---- sources ----


def test_a_source_shows_what_came_late_twice_and_in_which_versions(source: Any) -> None:
    keep(source, "evt_young", at=builders.T0 + 60, api_version="2026-10-28.endive")
    keep(source, "evt_old", at=builders.T0, api_version="2025-02-24.acacia")
    DeliveryRefusal.objects.create(
        source=source, code="duplicate_updates", hour=timezone.now(), count=7, last_at=timezone.now()
    )

    client = page_of(Role.VIEWER)
    shown = text_of(client.get(HEALTH))

    assert "1 of the last 2 came after a younger event of their object" in shown
    assert "7, kept once each" in shown
    assert "api_versions_differ" in codes(client)


def test_refused_deliveries_are_counted_and_lead_to_help(source: Any) -> None:
    DeliveryRefusal.objects.create(
        source=source, code="bad_signature", hour=timezone.now(), count=14, last_at=timezone.now()
    )

    client = page_of(Role.VIEWER)
    page = client.get(HEALTH).content.decode()

    assert "bad_signature" in codes(client)
    assert 'href="/dashboard/help/bad_signature/"' in page


def test_what_stripe_said_of_the_key_is_shown_with_its_code(source: Any) -> None:
    found = [
        Check("right", State.MEND, "The key may not read Disputes: lost money.", "missing_permission", "Grant it.")
    ]
    checks.keep(source.pk, found, now=timezone.now())

    assert "The key may not read Disputes" in text_of(page_of(Role.VIEWER).get(HEALTH))


def test_keys_and_secrets_older_than_ninety_days_are_findings(source: Any) -> None:
    long_ago = timezone.now() - timedelta(days=91)
    type(source).objects.update(api_key="rk_live_1", api_key_at=long_ago)
    SigningSecret.objects.update(created_at=long_ago)
    client = page_of(Role.VIEWER)

    assert {"api_key_old", "signing_secret_old"} <= set(codes(client))

    SigningSecret.objects.create(source=source, secret="whsec_fresh_fresh", last4="resh")
    type(source).objects.update(api_key_at=timezone.now())
    assert not {"api_key_old", "signing_secret_old"} & set(codes(client))


def test_a_recount_that_found_differences_says_so(source: Any) -> None:
    found = findings.of_lists("main", None, "recount_differs")

    assert list(found) == []


# ---- buttons ----


def test_parked_events_are_processed_again_by_one_button_for_each_reason(source: Any) -> None:
    for name in ("evt_1", "evt_2", "evt_3"):
        keep(source, name)
    StripeEvent.objects.update(state="parked", reason="failed")
    StripeEvent.objects.filter(stripe_id="evt_3").update(reason="wrong_mode")
    client = page_of(Role.REVOPS)

    assert "Process again" in client.get(HEALTH).content.decode()
    answer = client.post(f"{HEALTH}events/", {"source": "main", "reason": "failed"}, follow=True)

    assert "2 events: waits again" in text_of(answer)
    assert dict(StripeEvent.objects.values_list("stripe_id", "state")) == {
        "evt_1": "waiting",
        "evt_2": "waiting",
        "evt_3": "parked",
    }


def test_a_waiting_event_is_parked_by_a_button_and_says_who_did_it(source: Any) -> None:
    event = keep(source, "evt_1")
    client = page_of(Role.REVOPS)

    client.post("/dashboard/events/evt_1/park/?source=main")

    event.refresh_from_db()
    assert (event.state, event.reason) == ("parked", "parked_by_person")
    assert event.error == "revops-person parked it."
    assert "Somebody took it out of the queue" in text_of(client.get("/dashboard/events/evt_1/"))


def test_an_event_that_is_being_worked_on_is_not_parked(source: Any) -> None:
    event = keep(source, "evt_1")
    StripeEvent.objects.update(leased_until=timezone.now() + timedelta(minutes=1))

    page_of(Role.REVOPS).post("/dashboard/events/evt_1/park/?source=main")

    event.refresh_from_db()
    assert event.state == "waiting"


def test_reads_that_were_given_up_on_are_tried_again_by_a_button(source: Any) -> None:
    now = timezone.now()
    OwedFetch.objects.create(
        source=source, kind=FetchKind.PRICE, stripe_id="price_1", state=FetchState.PARKED, due_at=now, created_at=now
    )
    client = page_of(Role.REVOPS)

    assert "fetch_parked" in codes(client)
    client.post(f"{HEALTH}fetches/", {"source": "main"})

    assert OwedFetch.objects.get().state == FetchState.WAITING


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST, Role.FINANCE])
def test_whoever_may_not_retry_sees_no_button_and_is_refused(source: Any, role: Role) -> None:
    keep(source, "evt_1")
    StripeEvent.objects.update(state="parked", reason="failed")
    client = page_of(role)

    assert "Process again" not in client.get(HEALTH).content.decode()
    assert client.post(f"{HEALTH}events/", {"source": "main", "reason": "failed"}).status_code == 403
    assert client.post(f"{HEALTH}fetches/", {"source": "main"}).status_code == 403
    assert client.post("/dashboard/events/evt_1/park/").status_code == 403
    assert client.get(f"{HEALTH}main/keys/").status_code == 403


# ---- keys ----


@pytest.fixture
def stripe(settings: Any) -> Any:
    with FakeStripe() as fake:
        settings.STRIPE_API_BASE = fake.url
        yield fake


def test_a_key_that_does_less_than_the_one_in_use_is_not_taken(source: Any, stripe: FakeStripe) -> None:
    type(source).objects.update(api_key="rk_live_in_use")
    stripe.add_key("rk_live_poorer", rights=["customer_read"])

    answer = page_of(Role.ADMIN).post(f"{HEALTH}main/keys/replace/", {"api_key": "rk_live_poorer"})

    source.refresh_from_db()
    assert answer.status_code == 422
    assert "The key in use was kept, because this one does less" in text_of(answer)
    assert source.api_key == "rk_live_in_use"
    assert "rk_live_poorer" not in answer.content.decode()


def test_a_key_that_reads_all_is_tried_and_then_used(source: Any, stripe: FakeStripe) -> None:
    type(source).objects.update(api_key="rk_live_in_use")
    stripe.add_key("rk_live_better")

    page_of(Role.ADMIN).post(f"{HEALTH}main/keys/replace/", {"api_key": "rk_live_better"})

    source.refresh_from_db()
    assert source.api_key == "rk_live_better"
    assert source.api_key_at is not None


def test_a_secret_is_rolled_with_an_overlap_and_the_old_one_removed_by_a_button(source: Any) -> None:
    client = page_of(Role.ADMIN)
    old = SigningSecret.objects.get()

    only = client.post(f"{HEALTH}main/secrets/{old.pk}/remove/", follow=True)
    client.post(f"{HEALTH}main/secrets/", {"signing_secret": "whsec_the_new_one_5678"})

    assert "It is the only one" in text_of(only)
    assert SigningSecret.objects.count() == 2

    client.post(f"{HEALTH}main/secrets/{old.pk}/remove/")

    assert [row.last4 for row in SigningSecret.objects.all()] == ["5678"]


def test_an_old_secret_that_is_still_used_is_removed_only_when_that_is_said(source: Any) -> None:
    client = page_of(Role.ADMIN)
    old = SigningSecret.objects.get()
    client.post(f"{HEALTH}main/secrets/", {"signing_secret": "whsec_the_new_one_5678"})
    SigningSecret.objects.filter(pk=old.pk).update(last_used_at=timezone.now())

    refused = client.post(f"{HEALTH}main/secrets/{old.pk}/remove/", follow=True)
    assert "It was used since the newer one was" in text_of(refused)
    assert SigningSecret.objects.count() == 2

    client.post(f"{HEALTH}main/secrets/{old.pk}/remove/", {"although": "1"})
    assert SigningSecret.objects.count() == 1


# ---- the banner ----


def said(client: Client, path: str = "/dashboard/customers/") -> list[str]:
    return [band.title for band in client.get(path).context["frame"].shown_bands]


def test_every_page_says_that_salesforce_is_in_shadow_and_only_once(world: World) -> None:
    client = page_of(Role.ADMIN)

    assert said(client) == ["Shadow."]
    assert said(client, "/dashboard/sync/") == ["Shadow."]
    SalesforceOrg.objects.update(mode="live")
    assert said(client) == []


def test_the_worst_two_are_said_first(world: World) -> None:
    client = page_of(Role.ADMIN)
    JobRun.objects.create(name=status.BEAT, started_at=NOW, went_well_at=timezone.now() - timedelta(minutes=12))
    event = StripeEvent.objects.order_by("-pk")[0]
    StripeEvent.objects.filter(pk=event.pk).update(state="waiting", due_at=timezone.now() - timedelta(minutes=6))

    assert said(client) == ["Nothing is worked on.", "Behind."]


def test_what_a_figure_lacks_is_said_on_pages_without_figures_too(world: World) -> None:
    client = page_of(Role.ADMIN)
    CustomerBalance.objects.filter(pk=CustomerBalance.objects.order_by("pk")[0].pk).update(incomplete_items=1)

    assert said(client, HEALTH) == ["MRR is incomplete.", "Shadow."]
    assert said(client) == ["MRR is incomplete.", "Shadow."]


# ---- the page itself ----


def test_the_page_costs_no_more_with_more_events(world: World) -> None:
    client = page_of(Role.ADMIN)
    client.get(HEALTH)

    with CaptureQueriesContext(connection) as few:
        client.get(HEALTH)
    world.customer("One More", on="2026-03-18").subscribes("Team", monthly="10.00", on="2026-03-18")
    with CaptureQueriesContext(connection) as many:
        client.get(HEALTH)

    assert len(few) == len(many) <= 50


def test_an_empty_install_says_how_to_begin(db: None) -> None:
    shown = text_of(page_of(Role.ADMIN).get(HEALTH))

    assert "No Stripe source yet" in shown
    assert "Not connected" in shown


def test_a_page_of_a_machine_that_was_not_told_does_not_claim_to_move() -> None:
    assert not machine.Machine((), None, False, False, 0, ()).is_moving


def test_nobody_is_named_on_the_page(world: World) -> None:
    shown = page_of(Role.VIEWER).get(HEALTH).content.decode()

    assert "Rockets" not in shown
    assert "@" not in shown.replace("@media", "")


def test_the_room_that_tables_take_is_measured_when_asked_for(source: Any) -> None:
    client = page_of(Role.ADMIN)

    assert client.get(HEALTH).context["sizes"] is None
    assert "billing_stripeevent" in text_of(client.get(f"{HEALTH}?tables=1"))
