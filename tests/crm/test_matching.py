"""The sure matches are made alone, everything else waits with its reason, and people decide once."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.models import Customer
from config import pipeline
from crm import accounts, matching, outbox, selectors
from crm.ids import MalformedId
from crm.models import Account, Match, SyncRecord, Unmatched
from tests.crm.conftest import reads
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db


def pk_of(story) -> int:
    return Customer.objects.get(stripe_id=story.id).pk


def reason_of(story) -> str:
    return Unmatched.objects.get(customer__stripe_id=story.id).reason


def account_of(story) -> str | None:
    return selectors.account_ids([pk_of(story)]).get(pk_of(story))


@pytest.fixture
def acme(salesforce, shadow) -> str:
    account = salesforce.add_account(Name="Acme Inc.", Website="https://www.acme.com")
    salesforce.add_contact(AccountId=account, Email="Ana@Acme.com")
    reads(salesforce)
    return account


def test_by_the_id_in_the_metadata(scenario, acme):
    story = scenario.customer("Acme", salesforce_account_id=acme[:15])

    assert account_of(story) == acme
    found = Match.objects.get()
    assert (found.how, found.matched_by) == ("metadata", "")
    assert found.evidence[0]["kind"] == "metadata_id"
    assert not Unmatched.objects.exists()


def test_by_the_only_contact_with_the_email(scenario, acme):
    story = scenario.customer("Ana Duarte", email="ANA@acme.com")

    assert account_of(story) == acme
    assert Match.objects.get().how == "email"


def test_the_email_of_a_contact_is_not_enough_for_another_companys_name(scenario, acme):
    story = scenario.customer("Pike & Fern", email="ana@acme.com")

    assert (account_of(story), reason_of(story)) == (None, "evidence_against")


def test_the_mailbox_of_a_contact_with_a_tag_is_found(scenario, acme):
    assert account_of(scenario.customer("Ana Duarte", email="ana+stripe@acme.com")) == acme
    assert [one["kind"] for one in Match.objects.get().evidence][:2] == ["same_mailbox", "website_domain"]


def test_what_a_person_said_of_a_customer_goes_for_the_next_of_the_same_email_and_name(scenario, acme):
    first = scenario.customer("Foxglove Print", email="fox@gmail.com")
    matching.match(pk_of(first), acme, by="ana", now=timezone.now())

    assert account_of(scenario.customer("Foxglove Print (EUR)", email="fox@gmail.com")) == acme
    assert account_of(scenario.customer("Bramley Vets", email="fox@gmail.com")) is None


@pytest.mark.parametrize("said", ["n/a", "none", "-", "null", " "])
def test_words_for_no_id_are_no_id(scenario, acme, said):
    assert account_of(scenario.customer("Ana Duarte", email="ana@acme.com", salesforce_account_id=said)) == acme


def test_the_metadata_wins_over_the_email(scenario, salesforce, acme):
    other = salesforce.add_account(Name="Other")
    reads(salesforce)

    assert account_of(scenario.customer("Acme", email="ana@acme.com", salesforce_account_id=other)) == other


def test_two_accounts_with_the_email_wait_for_a_person(scenario, salesforce, acme):
    salesforce.add_contact(AccountId=salesforce.add_account(Name="Agency"), Email="ana@acme.com")
    reads(salesforce)
    story = scenario.customer("Acme", email="ana@acme.com")

    waiting = Unmatched.objects.get()
    assert (account_of(story), waiting.reason) == (None, "several_contacts")
    assert [one["name"] for one in waiting.candidates] == ["Acme Inc.", "Agency"]
    assert [one["kind"] for one in waiting.candidates[0]["reasons"]] == [
        "contact_email",
        "website_domain",
        "company_name",
    ]


def test_of_two_alike_the_one_worked_on_last_is_shown_first_and_still_waits(scenario, salesforce, shadow):
    salesforce.add_account(Name="Twin", Website="twin.io", LastActivityDate="2024-02-01")
    busy = salesforce.add_account(Name="Twin", Website="twin.io", LastActivityDate="2026-05-04")
    reads(salesforce)

    story = scenario.customer("Twin", email="pay@twin.io")

    first, second = Unmatched.objects.get(customer__stripe_id=story.id).candidates
    assert (first["account_id"], first["score"]) == (busy, second["score"])
    assert [one["text"] for one in first["hints"]] == ["The latest activity of all: 2026-05-04"]
    assert second["hints"] == []


@pytest.mark.parametrize(
    ("metadata", "email", "reason"),
    [
        ({"salesforce_account_id": "nonsense"}, "ana@acme.com", "malformed_id"),
        ({"salesforce_account_id": "../../services"}, None, "malformed_id"),
        ({"salesforce_account_id": "0035g00000AbCdE"}, None, "malformed_id"),
        ({"salesforce_account_id": "0015g00000ZzZzZ"}, "ana@acme.com", "no_account_for_id"),
        ({}, "nobody@acme.com", "no_contact"),
        ({}, "x' OR Email != '", "no_email"),
        ({}, None, "no_email"),
    ],
)
def test_what_is_not_sure_waits_with_its_reason(scenario, acme, metadata, email, reason):
    story = scenario.customer("Zebra", email=email, **metadata)

    assert (account_of(story), reason_of(story)) == (None, reason)


def test_a_contact_without_an_account(scenario, salesforce, acme):
    salesforce.add_contact(Email="solo@zebra.io")
    reads(salesforce)

    assert reason_of(scenario.customer("Zebra", email="solo@zebra.io")) == "contact_without_account"


def test_a_deleted_account(scenario, salesforce, acme):
    salesforce.deletes(acme)
    Account.objects.filter(salesforce_id=acme).update(is_deleted=True)

    assert reason_of(scenario.customer("Acme", salesforce_account_id=acme)) == "deleted_account"


def test_a_merged_account_is_followed(scenario, salesforce, acme):
    winner = salesforce.add_account(Name="Acme Holding")
    salesforce.merges(winner, acme)
    accounts.refresh(now=timezone.now())

    assert account_of(scenario.customer("Acme", salesforce_account_id=acme)) == winner


def test_a_website_or_a_name_is_a_hint_and_no_more(scenario, acme):
    by_website = scenario.customer("Zebra", email="zoe@acme.com")
    by_name = scenario.customer("ACME", email="billing@acme.example")

    for story, score in ((by_website, 40), (by_name, 40)):
        (candidate,) = Unmatched.objects.get(customer=pk_of(story)).candidates
        assert account_of(story) is None
        assert (candidate["account_id"], candidate["score"]) == (acme, score)


def test_the_website_and_the_name_together_are_enough(scenario, acme):
    assert account_of(scenario.customer("ACME", email="billing@acme.com")) == acme
    assert Match.objects.get().how == "evidence"


def test_free_mail_is_no_hint(scenario, salesforce, shadow):
    salesforce.add_account(Name="Google", Website="gmail.com")
    reads(salesforce)
    scenario.customer("Zebra", email="ana@gmail.com")

    assert Unmatched.objects.get().candidates == []


def test_without_a_connection_everybody_waits(scenario):
    story = scenario.customer("Acme", salesforce_account_id="0015g00000AbCdE")
    story.subscribes("team", monthly="30.00", on="2026-01-10")

    assert reason_of(story) == "no_org"
    assert set(SyncRecord.objects.values_list("state", "error_code")) == {("held", "no_org")}


def test_a_customer_of_a_test_source_is_left_alone(acme):
    scenario = Scenario("sandbox", livemode=False)
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("team", monthly="30.00", on="2026-01-10")

    assert not Match.objects.exists() and not Unmatched.objects.exists() and not SyncRecord.objects.exists()
    with pytest.raises(matching.UnknownCustomer):
        matching.match(pk_of(story), acme, by="ana", now=timezone.now())


def test_an_account_that_appears_later_releases_what_was_held(scenario, salesforce, shadow):
    story = scenario.customer("Acme", email="ana@acme.com")
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"held"}

    salesforce.add_contact(AccountId=salesforce.add_account(Name="Acme"), Email="ana@acme.com")
    reads(salesforce)
    scenario.drain()

    assert account_of(story)
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"would_send"}


def test_a_named_account_that_the_mirror_lacks_is_asked_for_once(scenario, salesforce, shadow):
    salesforce.forgets_requests()
    account = salesforce.add_account(Name="Acme")

    story = scenario.customer("Acme", salesforce_account_id=account)
    other = scenario.customer("Zebra", salesforce_account_id="0015g00000ZzZzZ")
    other.subscribes("team", monthly="30.00", on="2026-01-10")

    assert account_of(story) == account
    assert reason_of(other) == "no_account_for_id"
    assert len(salesforce.requests) == 2


def test_salesforce_being_away_does_not_stop_the_rest(scenario, salesforce, live):
    salesforce.fails_next(503, count=None)
    story = scenario.customer("Acme", salesforce_account_id="0015g00000ZzZzZ")
    story.subscribes("team", monthly="30.00", on="2026-01-10")

    assert reason_of(story) == "no_account_for_id"
    assert scenario.ledger(story) == ["2026-01-10 new          +30.00"]


def test_changes_are_read_every_ten_minutes(scenario, salesforce, shadow):
    story = scenario.customer("Acme", email="ana@acme.com")
    salesforce.add_contact(AccountId=salesforce.add_account(Name="Acme"), Email="ana@acme.com")
    now = timezone.now()

    assert matching.keep_up(now=now) == 0
    assert matching.keep_up(now=now + accounts.EVERY) == 1

    assert account_of(story)


# ---- people ----


def test_a_person_matches_and_the_held_work_goes(scenario, salesforce, live):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    story = scenario.customer("Zebra", email="ana@zebra.io")
    story.subscribes("team", monthly="30.00", on="2026-01-10")

    matching.match(pk_of(story), account, by="ana", now=timezone.now())
    scenario.drain()

    (schedule,) = salesforce.records("MRR_Schedule__c")
    assert schedule["Account__c"] == account
    assert salesforce.record(account)["MRR__c"] == Decimal(30)
    assert salesforce.records("Opportunity")[0]["IsWon"]
    assert not Unmatched.objects.exists()


def test_the_second_person_is_told_who_was_first(scenario, salesforce, acme):
    other = salesforce.add_account(Name="Other")
    reads(salesforce)
    story = scenario.customer("Zebra", email="ana@zebra.io")
    now = timezone.now()
    matching.match(pk_of(story), acme, by="ana", now=now)

    with pytest.raises(matching.AlreadyMatched) as told:
        matching.match(pk_of(story), other, by="bo", now=now)

    assert (told.value.who, told.value.when, told.value.account_id) == ("ana", now, acme)
    assert account_of(story) == acme


@pytest.mark.parametrize("account_id", ["x", "../001", "0035g00000AbCdE"])
def test_a_malformed_account_is_refused(scenario, acme, account_id):
    story = scenario.customer("Zebra")

    with pytest.raises(MalformedId):
        matching.match(pk_of(story), account_id, by="ana", now=timezone.now())


def test_an_unknown_account_is_refused(scenario, acme):
    story = scenario.customer("Zebra")

    with pytest.raises(matching.UnknownAccount):
        matching.match(pk_of(story), "0015g00000ZzZzZ", by="ana", now=timezone.now())


def test_undoing_takes_the_numbers_off_the_account(scenario, salesforce, live):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    story = scenario.customer("Acme", salesforce_account_id=account)
    story.subscribes("team", monthly="30.00", on="2026-01-10")

    undone = matching.unmatch(Match.objects.get().pk, by="ana", now=timezone.now())
    scenario.drain()

    assert (undone.undone_by, reason_of(story)) == ("ana", "undone")
    assert salesforce.record(account)["MRR__c"] is None
    assert salesforce.record(account)["Stripe_Customer_Ids__c"] is None
    assert salesforce.records("MRR_Schedule__c") == []
    assert Unmatched.objects.get().candidates[0]["account_id"] == account
    story.moves_to("business", monthly="50.00", on="2026-02-01")
    assert account_of(story) is None  # the machine does not take it again

    matching.match(pk_of(story), account, by="bo", now=timezone.now())
    scenario.drain()
    assert salesforce.record(account)["MRR__c"] == Decimal(50)
    assert {one["Account__c"] for one in salesforce.records("MRR_Schedule__c")} == {account}


def test_undoing_twice_is_refused(scenario, acme):
    scenario.customer("Acme", salesforce_account_id=acme)
    pk = Match.objects.get().pk
    matching.unmatch(pk, by="ana", now=timezone.now())

    with pytest.raises(matching.UnknownMatch):
        matching.unmatch(pk, by="bo", now=timezone.now())


# ---- cost ----


def test_many_customers_take_a_few_queries(scenario, salesforce, acme, django_assert_max_num_queries):
    scenario.is_held = True
    for number in range(20):
        scenario.customer(f"Zebra {number}", email=f"ana{number}@zebra.io")
    for event in scenario.events:
        scenario.deliver(json.dumps(event).encode())
    pipeline.drain_inbox()
    pks = list(Customer.objects.values_list("pk", flat=True))

    with django_assert_max_num_queries(9):
        matching.match_customers(pks, now=timezone.now())
    with django_assert_max_num_queries(8):
        outbox.owe_for([], set(pks), now=timezone.now())


def test_the_list_of_unmatched_shows_the_largest_first(scenario, acme, django_assert_max_num_queries):
    for number, monthly in enumerate(("30.00", "90.00", "60.00")):
        story = scenario.customer(f"Zebra {number}", email=f"ana{number}@zebra.io")
        story.subscribes("team", monthly=monthly, on="2026-01-10")

    with django_assert_max_num_queries(3):
        page = selectors.unmatched(limit=2)

    assert [row.mrr_minor for row in page.rows] == [9000, 6000]
    assert page.rows[0].held == 2
    rest = selectors.unmatched(limit=2, after=page.following)
    assert [row.mrr_minor for row in rest.rows] == [3000] and rest.following is None
    totals = selectors.unmatched_totals()
    assert totals.customers == 3 and totals.share("usd") == 0
