"""Forgetting a customer's person in events and mirror: once and for good, without moving a hash."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from billing import forgetting, inbox, listed, mirror, redacting
from billing import selectors as billing
from billing.models import Customer, Forgetting, InvoiceLine, Origin, Redaction, StripeEvent, Subscription
from tests import builders
from tests.billing.conftest import NOW, drain

EMAIL, NAME = "jane.doe@canary.example", "Jane Canary Doe"


@pytest.fixture
def jane(take):
    """A customer with an invoice and a disputed charge."""
    take(
        [
            builders.event(
                "customer.created", builders.customer("cus_jane", email=EMAIL, name=NAME, metadata={"k": NAME})
            ),
            builders.event(
                "customer.subscription.created",
                builders.subscription("sub_jane", customer="cus_jane", metadata={"for": NAME}),
            ),
            builders.event(
                "invoice.finalized",
                builders.invoice("in_jane", customer="cus_jane", lines=[builders.line(description=f"For {NAME}")]),
            ),
            builders.event(
                "charge.succeeded",
                builders.charge("ch_jane", customer="cus_jane", billing_details={"name": NAME, "email": EMAIL}),
            ),
            builders.event(
                "charge.dispute.created",
                builders.dispute("du_jane", charge="ch_jane", evidence={"customer_name": NAME}),
            ),
            builders.event("customer.created", builders.customer("cus_bob", email="bob@example.test", name="Bob")),
        ]
    )
    return Customer.objects.get(stripe_id="cus_jane")


def forget(customer: str = "cus_jane") -> Forgetting:
    row = forgetting.ask("acme", customer, by="ada", reason="asked by letter", now=NOW)
    told = forgetting.told_by_events(row)
    with transaction.atomic():
        pk = forgetting.customer_pk(row)
        assert pk is not None
        mirror.lock_customers([pk])
        forgetting.clear_mirror(pk, now=NOW)
    forgetting.redact_events(row, told, now=NOW)
    return row


def bodies() -> bytes:
    return b"".join(bytes(body) for body in StripeEvent.objects.values_list("body", flat=True))


def test_events_and_mirror_tell_nothing_of_the_person_any_more(jane):
    forget()

    jane.refresh_from_db()
    assert (jane.name, jane.email, jane.metadata, jane.forgotten_at) == ("", "", {}, NOW)
    assert Subscription.objects.get().metadata == {}
    assert InvoiceLine.objects.get().description == ""
    assert NAME.encode() not in bodies()
    assert EMAIL.encode() not in bodies()


def test_others_stay_as_they_are(jane):
    before = bytes(StripeEvent.objects.get(customer_id="cus_bob").body)

    forget()

    assert bytes(StripeEvent.objects.get(customer_id="cus_bob").body) == before
    assert Customer.objects.get(stripe_id="cus_bob").name == "Bob"


def test_each_redaction_says_who_asked_and_why_and_the_hash_of_what_was_received_stays(jane):
    hashes = dict(StripeEvent.objects.values_list("pk", "body_sha256"))

    forget()

    assert dict(StripeEvent.objects.values_list("pk", "body_sha256")) == hashes
    assert billing.wrong_bodies(after_pk=0, limit=100)[1] == []
    redaction = Redaction.objects.select_related("forgetting").first()
    assert redaction is not None and redaction.forgetting is not None
    assert (redaction.forgetting.asked_by, redaction.forgetting.reason) == ("ada", "asked by letter")
    assert redaction.body is None


def test_a_dispute_that_names_only_the_charge_is_of_the_person_too(jane):
    forget()

    assert redacting.is_redacted(billing.event_details(_event("charge.dispute.created"))[0].body)


def test_a_guest_s_charge_with_the_same_e_mail_is_of_the_person_too(jane, take):
    guest = builders.charge("ch_guest", customer=None, receipt_email=EMAIL)
    take([builders.event("charge.succeeded", guest)])

    forget()

    assert EMAIL.encode() not in bodies()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_stripeevent SET body = body_sha256",
        "UPDATE billing_stripeevent SET body_sha256 = ''",
        "UPDATE billing_redaction SET body_sha256 = ''",
        "UPDATE billing_redaction SET body = body_sha256",
        "UPDATE billing_forgetting SET reason = ''",
        "DELETE FROM billing_redaction",
        "DELETE FROM billing_forgetting",
    ],
)
def test_the_database_lets_a_body_change_in_no_other_way(jane, statement):
    forget()
    if connection.vendor == "postgresql":
        statement = statement.replace("= body_sha256", "= body_sha256::bytea")

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_redacted_body_that_is_changed_behind_our_back_is_named(jane):
    row = forget()
    event = StripeEvent.objects.get(type="customer.created", customer_id="cus_jane")
    Redaction.objects.create(event=event, forgetting=row, at=NOW, body=b"{}", body_sha256="0" * 64)

    assert billing.wrong_bodies(after_pk=0, limit=100)[1] == [("acme", event.stripe_id)]


def test_what_arrives_later_is_redacted_before_it_is_kept(jane, source):
    forget()
    source.refresh_from_db()
    raw = builders.as_bytes(
        builders.event("customer.updated", builders.customer("cus_jane", email=EMAIL, name=NAME), id="evt_late")
    )

    inbox.keep(source, raw, origin=Origin.WEBHOOK, now=NOW)

    kept = StripeEvent.objects.get(stripe_id="evt_late")
    assert NAME.encode() not in bytes(kept.body)
    assert kept.body_sha256 == hashlib.sha256(raw).hexdigest()
    assert billing.wrong_bodies(after_pk=0, limit=100)[1] == []
    drain()
    assert Customer.objects.get(stripe_id="cus_jane").name == ""


def test_a_new_charge_and_its_dispute_are_redacted_though_the_dispute_names_no_customer(jane, source):
    forget()
    source.refresh_from_db()
    later = [
        builders.event("charge.succeeded", builders.charge("ch_new", customer="cus_jane", receipt_email=EMAIL)),
        builders.event("charge.dispute.created", builders.dispute("du_new", charge="ch_new", evidence={"n": NAME})),
    ]

    for event in later:
        inbox.keep(source, builders.as_bytes(event), origin=Origin.WEBHOOK, now=NOW)

    assert EMAIL.encode() not in bodies()
    assert NAME.encode() not in bodies()


def test_an_old_event_delivered_again_brings_nothing_back(jane, take):
    told = builders.event("customer.updated", builders.customer("cus_jane", name=NAME), id="evt_again")
    take([told])
    forget()

    take([told])

    assert NAME.encode() not in bodies()
    assert Redaction.objects.filter(event__stripe_id="evt_again").count() == 1


def test_another_customer_s_event_that_mentions_the_forgotten_one_stays_whole(jane, source):
    forget()
    source.refresh_from_db()
    raw = builders.as_bytes(
        builders.event("customer.updated", builders.customer("cus_bob", name="Bob", metadata={"friend": "cus_jane"}))
    )

    inbox.keep(source, raw, origin=Origin.WEBHOOK, now=NOW)

    assert bytes(StripeEvent.objects.latest("pk").body) == raw


def test_an_event_on_its_way_when_its_customer_is_forgotten_is_redacted_by_who_works_on_it(jane, source):
    raw = builders.as_bytes(builders.event("customer.updated", builders.customer("cus_jane", name=NAME)))
    forget()
    inbox.keep(source, raw, origin=Origin.WEBHOOK, now=NOW)  # it read the source before

    drain()

    assert Customer.objects.get(stripe_id="cus_jane").name == ""
    assert NAME.encode() not in bodies()


def test_what_is_fetched_of_a_forgotten_customer_is_redacted(jane, source):
    forget()

    with transaction.atomic():
        obj = builders.customer("cus_jane", name=NAME, email=EMAIL)
        mirror.store(source.pk, [("customer", obj)], asked=int((NOW + timedelta(days=1)).timestamp()))

    assert Customer.objects.get(stripe_id="cus_jane").email == ""


def test_a_forgotten_customer_that_stripe_lists_as_it_was_is_no_difference(jane, source):
    forget()
    asked = int((NOW + timedelta(days=1)).timestamp())

    compared = listed.compare(source.pk, "customer", [builders.customer("cus_jane", name=NAME)], asked=asked)

    assert (compared.same, compared.differing) == (1, {})


@pytest.mark.parametrize("is_before", [True, False])
def test_a_body_that_cannot_be_read_to_its_end_is_known_by_the_ids_in_it(jane, source, is_before):
    deep = "[" * 100_000 + "]" * 100_000
    raw = f'{{"id":"evt_deep","note":"{NAME}","data":[{deep},{{"customer":"cus_jane"}}]}}'.encode()
    if is_before:
        inbox.keep(source, raw, origin=Origin.WEBHOOK, now=NOW)
    forget()
    source.refresh_from_db()

    inbox.keep(source, raw, origin=Origin.WEBHOOK, now=NOW)

    assert StripeEvent.objects.get(stripe_id="evt_deep").reason == "too_deep"
    assert NAME.encode() not in bodies()


def test_a_reason_that_names_the_person_is_refused(jane):
    with pytest.raises(forgetting.NamesSomebody):
        forgetting.ask("acme", "cus_jane", by="ada", reason=f"{NAME.upper()} asked", now=NOW)


def test_the_list_taken_over_by_another_database_redacts_what_arrives_there(jane, source):
    forget()
    listed = forgetting.listed()
    other = builders.source("other")

    new = forgetting.take_over([replace(one, source="other") for one in listed], now=NOW)

    other.refresh_from_db()
    raw = builders.as_bytes(builders.event("customer.created", builders.customer("cus_jane", name=NAME)))
    inbox.keep(other, raw, origin=Origin.BACKFILL, now=NOW)
    assert new == 1
    assert NAME.encode() not in bytes(StripeEvent.objects.latest("pk").body)
    assert forgetting.take_over(listed, now=NOW) == 0


def _event(kind: str) -> str:
    return StripeEvent.objects.values_list("stripe_id", flat=True).get(type=kind)
