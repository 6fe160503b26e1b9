"""Merged, deleted and undeleted Accounts: the next read follows, sums stay right, and history says so."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Customer
from crm import accounts, matching, outbox, records
from crm.models import Account, Contact, Match, RecordKind, SalesforceOrg, SyncRecord, Unmatched
from crm.selectors import account_ids
from mrr.models import LedgerEntry
from tests.crm.conftest import reads
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db


def follows(scenario) -> None:
    """Five minutes pass: a poll, and the sending of what it changed."""
    SalesforceOrg.objects.update(mirrored_to=timezone.now() - accounts.EVERY)
    matching.keep_up(now=timezone.now())
    scenario.drain()


def account_of(story) -> str | None:
    pk = Customer.objects.get(stripe_id=story.id).pk
    return account_ids([pk]).get(pk)


def history(story) -> list[tuple[str, str]]:
    rows = Match.objects.filter(customer__stripe_id=story.id).order_by("pk")
    return [(one.how, one.account.salesforce_id) for one in rows]


def sums(salesforce, *ids: str) -> list[Decimal | None]:
    return [salesforce.record(one)["MRR__c"] for one in ids]


@pytest.fixture
def three(scenario, salesforce, live):
    """Three Accounts with an Opportunity each; a customer on the first, written to Salesforce."""
    ids = [salesforce.add_account(Name=f"Acme {number}") for number in range(3)]
    for one in ids:
        salesforce.add_opportunity(AccountId=one)
    reads(salesforce)
    story = scenario.customer("Acme", salesforce_account_id=ids[0])
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    assert sums(salesforce, *ids) == [30, None, None]
    return story, ids


def test_a_merge_is_followed_and_so_are_the_records(scenario, salesforce, three):
    story, (loser, winner, _) = three
    salesforce.merges(winner, loser)

    follows(scenario)

    assert account_of(story) == winner and sums(salesforce, winner) == [30]
    assert {row["Account__c"] for row in salesforce.records("MRR_Schedule__c")} == {winner}
    assert history(story) == [("metadata", loser), ("merge", winner)]
    assert Match.objects.last().evidence[0]["text"] == f"Account {loser} was merged into {winner}"
    assert not SyncRecord.objects.exclude(state="sent").exists()


def test_customers_of_both_are_added_up(scenario, salesforce, three):
    _, (loser, winner, _) = three
    scenario.customer("Other", salesforce_account_id=winner).subscribes("team", monthly="12.00", on="2026-01-10")
    salesforce.merges(winner, loser)

    follows(scenario)

    assert sums(salesforce, winner) == [42]


def test_a_chain_of_merges_between_two_reads_is_followed_to_its_end(scenario, salesforce, three):
    story, (first, second, third) = three
    salesforce.merges(second, first)
    salesforce.merges(third, second)

    follows(scenario)

    assert account_of(story) == third and sums(salesforce, third) == [30]


def test_a_chain_of_merges_read_one_by_one(scenario, salesforce, three):
    story, (first, second, third) = three
    salesforce.merges(second, first)
    follows(scenario)
    salesforce.merges(third, second)
    follows(scenario)

    assert history(story) == [("metadata", first), ("merge", second), ("merge", third)]
    assert sums(salesforce, third) == [30]


def test_a_winner_that_the_mirror_lacks_is_asked_for(scenario, salesforce, three):
    story, (loser, winner, _) = three
    salesforce.merges(winner, loser)
    Account.objects.filter(salesforce_id=winner).delete()

    follows(scenario)

    assert account_of(story) == winner


def test_customers_stay_while_salesforce_does_not_say_who_won(scenario, salesforce, three):
    story, (loser, winner, _) = three
    Account.objects.filter(salesforce_id=loser).update(is_deleted=True, merged_into=winner)
    Account.objects.filter(salesforce_id=winner).delete()
    salesforce.fails_next(503, count=None)

    assert matching.follow_accounts(now=timezone.now()) == 0

    assert account_of(story) == loser and not Unmatched.objects.exists()


def test_a_merge_that_is_undeleted_leaves_customers_with_the_winner(scenario, salesforce, three):
    story, (loser, winner, _) = three
    salesforce.merges(winner, loser)
    follows(scenario)
    salesforce.undeletes(loser)

    follows(scenario)

    assert account_of(story) == winner and sums(salesforce, winner) == [30]
    row = Account.objects.get(salesforce_id=loser)
    assert (row.is_deleted, row.merged_into) == (False, "")


def test_a_deleted_account_sends_its_customers_back_with_the_reason(scenario, salesforce, three):
    story, (gone, *_) = three
    salesforce.deletes(gone)

    follows(scenario)

    assert account_of(story) is None and Unmatched.objects.get().reason == "deleted_account"
    assert not salesforce.records("MRR_Schedule__c", Account__c=gone)
    matching.match_waiting(now=timezone.now())
    assert Unmatched.objects.get().reason == "deleted_account"  # and it stays the reason


def test_an_undeleted_account_gets_its_customers_back_whoever_matched_them(scenario, salesforce, three):
    _, (_, gone, _) = three
    story = scenario.customer("Zebra", email="zoe@zebra.example")
    story.subscribes("team", monthly="12.00", on="2026-01-10")
    matching.match(Customer.objects.get(stripe_id=story.id).pk, gone, by="ana", now=timezone.now())
    scenario.drain()
    salesforce.deletes(gone)
    follows(scenario)
    story.moves_to("business", monthly="20.00", on="2026-02-01")
    salesforce.undeletes(gone)

    follows(scenario)

    assert account_of(story) == gone and sums(salesforce, gone) == [20]
    assert history(story) == [("person", gone), ("undeleted", gone)]
    assert {row["Account__c"] for row in salesforce.records("MRR_Schedule__c", Stripe_Customer_Id__c=story.id)} == {
        gone
    }


def test_what_a_person_undid_does_not_come_back_with_the_account(scenario, salesforce, three):
    story, (gone, *_) = three
    matching.unmatch(Match.objects.get().pk, by="ana", now=timezone.now())
    salesforce.deletes(gone)
    follows(scenario)
    salesforce.undeletes(gone)

    follows(scenario)

    assert account_of(story) is None and Unmatched.objects.get().reason == "undone"


# ---- sums after any history ----

STEPS = st.lists(st.tuples(st.sampled_from(["match", "unmatch", "merge", "delete", "back"]), st.integers(0, 3),
                           st.integers(0, 3)), max_size=8)  # fmt: skip


@pytest.fixture
def four(db):
    """Four customers with MRR and four mirrored Accounts, in an org that nobody can ask."""
    org = SalesforceOrg.objects.create(instance_url="https://x.example", error_code="x", mirrored_to=timezone.now())
    ids = [f"001{number:012d}AAA" for number in range(4)]
    Account.objects.bulk_create(
        [Account(org=org, salesforce_id=one, name=one, modified_at=timezone.now()) for one in ids]
    )
    scenario = Scenario()
    for number in range(4):
        story = scenario.customer(f"C{number}", email=f"c{number}@c{number}.example")
        story.subscribes("team", monthly=f"{number + 1}7.10", on="2026-01-10")
    return list(Customer.objects.order_by("pk")), ids


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_sums_of_accounts_follow_any_history_of_matches(four, steps):
    customers, ids = four
    Match.objects.all().delete()
    Account.objects.update(is_deleted=False, merged_into="")
    now = timezone.now()

    for what, one, other in steps:
        _step(what, customers[one].pk, ids[one], ids[other], now=now)

    assert _built(now) == _recounted()


def _step(what: str, customer_pk: int, account_id: str, other_id: str, *, now) -> None:
    standing = Match.objects.filter(customer_id=customer_pk, undone_at__isnull=True).first()
    living = Account.objects.filter(salesforce_id=account_id, is_deleted=False)
    if what == "match" and standing is None and Account.objects.filter(salesforce_id=other_id, is_deleted=False):
        matching.match(customer_pk, other_id, by="ana", now=now)
    elif what == "unmatch" and standing is not None:
        matching.unmatch(standing.pk, by="ana", now=now)
    elif what == "merge" and account_id != other_id and Account.objects.get(salesforce_id=other_id).is_deleted is False:
        living.update(is_deleted=True, merged_into=other_id)
        matching.follow_accounts(now=now)
    elif what == "delete":
        living.update(is_deleted=True)
        matching.follow_accounts(now=now)
    elif what == "back":
        Account.objects.filter(salesforce_id=account_id).update(is_deleted=False, merged_into="")
        matching.match_waiting(now=now)


def _built(now) -> dict[str, Decimal]:
    """What Salesforce would be told of each Account now."""
    outbox.owe_accounts(Account.objects.values_list("salesforce_id", flat=True), now=now)
    rows = list(SyncRecord.objects.filter(kind=RecordKind.ACCOUNT))
    built = records.build(rows, now=now)
    said = {row.key: getattr(built[row.ref], "fields", {}).get("MRR__c") for row in rows}
    return {key: Decimal(value) for key, value in said.items() if value is not None and Decimal(value)}


def _recounted() -> dict[str, Decimal]:
    """The same from the ledger's entries and the standing matches alone."""
    totals: Counter[str] = Counter()
    for match in Match.objects.filter(undone_at__isnull=True).select_related("account"):
        assert not match.account.is_deleted
        entries = LedgerEntry.objects.filter(customer_id=match.customer_id).values_list("amount_micros", flat=True)
        totals[match.account.salesforce_id] += sum(entries)
    assert not Contact.objects.exists()
    return {key: Decimal(micros).scaleb(-8) for key, micros in totals.items() if micros}
