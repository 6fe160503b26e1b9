"""Customers that a person ignores, or that wait for something, leave the queue and come back with news."""

from __future__ import annotations

from datetime import timedelta

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from billing.models import Customer
from crm import matching, selectors
from crm.models import Match, Message, SyncRecord, Unmatched
from crm.selectors import UnmatchedList
from tests.crm.conftest import reads

pytestmark = pytest.mark.django_db


def pk_of(story) -> int:
    return Customer.objects.get(stripe_id=story.id).pk


@pytest.fixture
def zebra(scenario, salesforce, live):
    """A customer that pays and has no Account."""
    story = scenario.customer("Zebra", email="ana@zebra.io")
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    return story


def ignored(story) -> None:
    matching.ignore(pk_of(story), reason="internal", note=" our own \n", by="ana", now=timezone.now())


def rows(listed: UnmatchedList, now=None) -> tuple[selectors.UnmatchedRow, ...]:
    return selectors.unmatched(selectors.UnmatchedFilter(listed=listed, at=now or timezone.now()), limit=9).rows


def waiting(now=None) -> list[int]:
    return [row.customer_pk for row in rows(UnmatchedList.WAITING, now)]


def test_an_ignored_customer_leaves_the_queue_and_counts_as_ignored(zebra):
    ignored(zebra)

    assert waiting() == [] and selectors.pulse().unmatched == 0
    (row,) = rows(UnmatchedList.IGNORED)
    assert (row.ignored_because, row.ignored_by, row.ignored_note) == ("internal", "ana", "our own")
    totals = selectors.unmatched_totals()
    assert (totals.customers, totals.share("usd")) == (0, 0)
    usd = totals.currencies["usd"]
    assert (usd.unmatched_micros, usd.ignored_micros, usd.ignored_customers) == (30_00_000_000, 30_00_000_000, 1)


def test_work_of_an_ignored_customer_is_held_and_does_not_wait(zebra):
    ignored(zebra)
    zebra.moves_to("business", monthly="50.00", on="2026-02-01")

    assert set(SyncRecord.objects.values_list("state", "error_code")) == {("held", "ignored")}
    matching.unignore(pk_of(zebra), by="bo", now=timezone.now())
    assert set(SyncRecord.objects.values_list("state", "error_code")) == {("held", "unmatched")}
    assert waiting() == [pk_of(zebra)]


def test_messages_of_an_ignored_customer_are_held_as_well(zebra):
    Message.objects.create(
        channel="salesforce", topic="closed_won", dedupe_key="k", customer_id=pk_of(zebra), state="held",
        error_code="unmatched", due_at=timezone.now(), created_at=timezone.now(),
    )  # fmt: skip
    ignored(zebra)

    assert Message.objects.get().error_code == "ignored"


def test_an_account_that_fits_never_takes_an_ignored_customer(zebra, salesforce):
    ignored(zebra)
    account = salesforce.add_account(Name="Zebra")
    salesforce.add_contact(AccountId=account, Email="ana@zebra.io")
    reads(salesforce)

    row = Unmatched.objects.get()
    assert not Match.objects.exists()
    assert (row.reason, row.candidates[0]["account_id"]) == ("ignored", account)
    assert row.news_at is not None  # the list of ignored customers shows that something fits now

    matching.unignore(pk_of(zebra), by="ana", now=timezone.now())

    assert Match.objects.get().account.salesforce_id == account
    assert not SyncRecord.objects.filter(state="held", error_code__in=("ignored", "unmatched")).exists()


def test_a_person_may_match_an_ignored_customer(zebra, salesforce, scenario):
    ignored(zebra)
    account = salesforce.add_account(Name="Other")
    reads(salesforce)

    matching.match(pk_of(zebra), account, by="ana", now=timezone.now())
    scenario.drain()

    assert salesforce.records("MRR_Schedule__c")[0]["Account__c"] == account


def test_who_waits_for_something_comes_back_on_its_day(zebra):
    now = timezone.now()
    matching.wait_for(pk_of(zebra), what="answer_from_sales", until=now + timedelta(days=3), by="ana", now=now)

    assert waiting(now) == []
    assert waiting(now + timedelta(days=3)) == [pk_of(zebra)]


def test_who_waits_for_something_comes_back_with_an_account_that_may_be_it(zebra, salesforce):
    matching.wait_for(pk_of(zebra), what="new_account", until=None, by="ana", now=timezone.now())
    reads(salesforce)
    assert waiting() == []

    salesforce.add_account(Name="Zebra Labs", Website="zebra.io")
    reads(salesforce)

    (row,) = rows(UnmatchedList.WAITING)
    assert (row.waits_for, row.waits_by, row.news_at is not None) == ("new_account", "ana", True)

    matching.wait_for(row.customer_pk, what="new_account", until=None, by="ana", now=timezone.now())
    assert waiting() == []  # what is known already is no news


@pytest.mark.parametrize(
    "decide",
    [
        lambda pk, now: matching.ignore(pk, reason="boredom", note="", by="ana", now=now),
        lambda pk, now: matching.wait_for(pk, what="christmas", until=None, by="ana", now=now),
    ],
)
def test_only_named_reasons_are_taken(zebra, decide):
    with pytest.raises(matching.UnknownReason):
        decide(pk_of(zebra), timezone.now())


def test_who_was_matched_meanwhile_is_not_set_aside(zebra, salesforce):
    account = salesforce.add_account(Name="Other")
    reads(salesforce)
    matching.match(pk_of(zebra), account, by="bo", now=timezone.now())

    with pytest.raises(matching.UnknownCustomer):
        ignored(zebra)


def test_every_decision_leaves_a_line_with_before_and_after(zebra, salesforce):
    account = salesforce.add_account(Name="Other")
    reads(salesforce)
    pk, now = pk_of(zebra), timezone.now()
    matching.wait_for(pk, what="new_account", until=None, by="ana", now=now)
    ignored(zebra)
    made = matching.match(pk, account, by="bo", now=now)
    matching.unmatch(made.pk, by="cy", now=now)
    matching.snooze(pk, until=now, by="ana", now=now)

    lines = [(one.additional_data["by"], one.changes) for one in LogEntry.objects.order_by("pk")]
    assert lines == [
        ("ana", {"waits_for": ["", "new_account"]}),
        ("ana", {"ignored_because": ["", "internal"], "waits_for": ["new_account", ""]}),
        ("bo", {"account": ["", account]}),
        ("cy", {"account": [account, ""]}),
        ("ana", {"snoozed_until": ["", now.isoformat()]}),
    ]
    assert {(one.object_id, one.object_repr) for one in LogEntry.objects.all()} == {(pk, zebra.id)}


# ---- like another, and many at once ----


def test_a_customer_is_matched_like_another(zebra, salesforce, scenario):
    account = salesforce.add_account(Name="Zebra")
    other = scenario.customer("Zebra UK", salesforce_account_id="")
    reads(salesforce)
    matching.match(pk_of(other), account, by="ana", now=timezone.now())

    made = matching.match_like(pk_of(zebra), pk_of(other), by="ana", now=timezone.now())

    assert made.account.salesforce_id == account
    assert made.evidence[0] == {
        "kind": "like_customer", "weight": 0, "text": f"A person said: the same company as {other.id}",
    }  # fmt: skip


def test_a_customer_cannot_be_like_itself_or_one_without_an_account(zebra, scenario):
    other = scenario.customer("Zebra UK")

    for pk in (pk_of(zebra), pk_of(other), 0):
        with pytest.raises(matching.NotLike):
            matching.match_like(pk_of(zebra), pk, by="ana", now=timezone.now())


@pytest.fixture
def herd(scenario, salesforce, live):
    """Three customers: one candidate alone, two near each other, none."""
    alone = salesforce.add_account(Name="Alone Group", Website="alone.io")
    for name in ("Twin A", "Twin B"):
        salesforce.add_account(Name=name, Website="twin.io")
    reads(salesforce)
    stories = [scenario.customer(name, email=f"ana@{name.lower()}.io") for name in ("Alone", "Twin", "Nobody")]
    for story in stories:
        story.subscribes("team", monthly="30.00", on="2026-01-10")
    return alone, [pk_of(story) for story in stories]


def test_only_who_has_one_candidate_alone_is_acceptable(herd, django_assert_max_num_queries):
    alone, (first, _, _) = herd

    with django_assert_max_num_queries(3):
        found = selectors.acceptable(60)

    assert (found.count, found.pairs, found.mrr_micros) == (1, ((first, alone),), {"usd": 30_00_000_000})
    assert selectors.acceptable(101).count == 0


def test_many_are_accepted_at_once_and_each_refusal_says_why(herd, salesforce, scenario):
    alone, (first, twin, nobody) = herd
    rival = Unmatched.objects.get(customer_id=twin).candidates[0]["account_id"]
    pairs = [(first, alone), (twin, rival), (nobody, alone), (0, alone)]

    accepted = matching.accept_many(pairs, by="ana", now=timezone.now())
    scenario.drain()

    assert accepted.matched == 1
    assert dict(accepted.refused) == {
        twin: "It is not its only candidate any more, or something casts doubt. Look at it alone.",
        nobody: "It is not its only candidate any more, or something casts doubt. Look at it alone.",
        0: "It does not wait for an Account.",
    }
    assert Match.objects.get().evidence[0]["kind"]
    assert salesforce.records("MRR_Schedule__c")[0]["Account__c"] == alone
    again = matching.accept_many([(first, alone)], by="bo", now=timezone.now())
    assert again.matched == 0 and again.refused[0][1].startswith("ana matched it at ")
