"""The mirror of Accounts, Contacts and Users: one call a poll, large orgs by Bulk, killed reads carried on."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.utils import timezone

from billing import selectors as billing
from billing.models import Customer
from crm import accounts, matching, selectors
from crm.accounts import by_bulk, reading
from crm.models import Account, Contact, Match, MirrorRead, SalesforceOrg, SalesforceUser, Unmatched
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db

HOSTILE = 'true", said Ana\n"O\'Neill; DROP'


class Killed(BaseException):
    """As when the worker dies: nothing catches it."""


def read(**options) -> accounts.Mirrored:
    return accounts.refresh(now=timezone.now(), **options)


def kinds(fake) -> list[str]:
    """What was called, without addresses and queries."""
    return [f"{one.method} {'/'.join(one.segments[3:5])}" for one in fake.requests if "/services/data/" in one.path]


@pytest.fixture
def anew(shadow, salesforce):
    """An org that was never read, as right after connecting, and no calls counted yet."""
    SalesforceOrg.objects.update(mirrored_to=None)
    for model in (SalesforceUser, MirrorRead):
        model.objects.all().delete()
    salesforce.forgets_requests()
    return shadow


@pytest.fixture
def large(anew, salesforce, monkeypatch):
    """Seven Accounts, each with a Contact, in an org that counts as large from three records on."""
    monkeypatch.setattr(reading, "BULK_FROM", 3)
    monkeypatch.setattr(by_bulk, "PART", 3)
    salesforce.bulk_polls = 0
    for number in range(7):
        account = salesforce.add_account(Name=f"Company {number}, {HOSTILE}", Website=f"https://c{number}.example")
        salesforce.add_contact(AccountId=account, Email=f"ana@c{number}.example")
    return anew


def test_one_call_reads_all_three_kinds(anew, salesforce):
    boss = salesforce.add_user(Name="Bea Boss", Email="bea@ours.example")
    owner = salesforce.add_user(Name="Olga Owner", Email="olga@ours.example", ManagerId=boss)
    parent = salesforce.add_account(Name="Holding")
    account = salesforce.add_account(Name="Acme", OwnerId=owner, ParentId=parent)
    salesforce.store.table("Account")[account]["LastActivityDate"] = "2026-05-04"
    salesforce.add_contact(AccountId=account, Email="Ana@Acme.example")

    found = read()

    assert (found.accounts, found.contacts, found.is_whole) == (2, 1, True)
    assert kinds(salesforce) == ["POST composite"]
    row = Account.objects.get(salesforce_id=account)
    assert (row.owner_name, row.owner_id, row.parent_id) == ("Olga Owner", owner, parent)
    assert row.last_activity_on == date(2026, 5, 4)
    user = SalesforceUser.objects.get(salesforce_id=owner)
    assert (user.name, user.email, user.manager_id, user.is_active) == ("Olga Owner", "olga@ours.example", boss, True)


def test_polls_of_a_day_leave_room_for_others(anew, salesforce):
    read()
    salesforce.forgets_requests()
    now = timezone.now()
    for minute in range(1, 61):
        matching.keep_up(now=now + timedelta(minutes=minute))

    assert len(salesforce.requests) * 24 <= 288


def test_users_of_portals_are_left_out(anew, salesforce):
    salesforce.add_user(Name="Paul Portal", UserType="CspLitePortal")

    read()

    assert not SalesforceUser.objects.filter(name="Paul Portal").exists()


def test_an_org_that_hides_users_is_read_without_them(anew, salesforce):
    salesforce.hides_field("User", "Email")
    salesforce.add_account(Name="Acme")

    found = read()

    assert (found.accounts, found.is_whole) == (1, True)
    assert MirrorRead.objects.get(sobject="User").error_code == "INVALID_FIELD"


def test_an_owner_who_leaves_is_news_to_the_accounts(anew, salesforce):
    owner = salesforce.add_user(Name="Olga Owner")
    account = salesforce.add_account(Name="Acme", OwnerId=owner)
    read()

    salesforce.edits(owner, IsActive=False, Name="Olga Former")
    read()

    row = Account.objects.get(salesforce_id=account)
    assert (row.owner_is_active, row.owner_name) == (False, "Olga Former")


# ---- large orgs ----


def test_a_large_org_is_read_by_bulk_in_parts(large, salesforce):
    found = read()

    assert (found.accounts, found.contacts, found.is_whole) == (7, 7, True)
    assert Account.objects.filter(name__contains=HOSTILE).count() == 7
    assert Contact.objects.filter(email="ana@c3.example", is_deleted=False).exists()
    assert kinds(salesforce).count("GET jobs/query") == 2 * (1 + 3)  # a look and three parts, for each kind
    assert not salesforce.jobs  # thrown away: they held names and addresses


def test_it_looks_the_same_by_bulk_and_by_pages(large, salesforce, monkeypatch):
    owner = salesforce.add_user(Name="Olga Owner", IsActive=False)
    salesforce.add_account(Name="Owned", OwnerId=owner, Phone="+31 20 1", BillingCountry="NL")
    columns = [one.name for one in Account._meta.concrete_fields if one.name != "id"]
    read()
    by_jobs = list(Account.objects.order_by("salesforce_id").values(*columns))

    Account.objects.all().delete()
    SalesforceOrg.objects.update(mirrored_to=None)
    monkeypatch.setattr(reading, "BULK_FROM", 100)
    read()

    assert list(Account.objects.order_by("salesforce_id").values(*columns)) == by_jobs
    assert len(by_jobs) == 8


def test_a_job_that_takes_long_is_looked_at_again_by_the_next_turn(large, salesforce):
    salesforce.bulk_polls = 1

    turns = [read(seconds=0)]
    while not turns[-1].is_whole:
        turns.append(read(seconds=0))

    assert len(turns) > 2
    assert max(one.accounts for one in turns) == 3  # a part a turn
    assert kinds(salesforce).count("POST jobs/query") == 2  # never a second job for one kind
    assert Account.objects.count() == 7


def test_a_killed_read_is_carried_on_where_it_stopped(large, salesforce):
    def dies(count: int) -> None:
        if count > 6:
            raise Killed

    with pytest.raises(Killed):
        read(report=dies)
    kept = MirrorRead.objects.get(sobject="Account")
    assert (kept.kept, kept.total) == (3, 7) and kept.locator and kept.job_id
    salesforce.forgets_requests()

    found = read()

    assert (found.accounts, found.is_whole) == (4, True)
    assert Account.objects.count() == Contact.objects.count() == 7
    assert kinds(salesforce).count("POST jobs/query") == 1  # for Contacts alone


def test_where_bulk_is_refused_the_pages_do(large, salesforce):
    salesforce.fails_next(
        400, [{"errorCode": "FEATURENOTENABLED", "message": "no bulk"}], match="jobs/query", count=None
    )
    salesforce.page_size = 3

    found = read()

    assert (found.accounts, found.contacts, found.is_whole) == (7, 7, True)


def test_a_killed_read_of_pages_is_carried_on(anew, salesforce):
    salesforce.page_size = 2
    for number in range(5):
        salesforce.add_account(Name=f"Company {number}")

    def dies(count: int) -> None:
        if count > 5:
            raise Killed

    with pytest.raises(Killed):
        read(report=dies)
    salesforce.forgets_requests()
    found = read()

    assert found.is_whole and Account.objects.count() == 5
    assert found.accounts == 3  # the page that it died over, and the last


def test_a_page_that_salesforce_keeps_no_longer_is_asked_for_anew(anew, salesforce):
    salesforce.page_size = 2
    for number in range(5):
        salesforce.add_account(Name=f"Company {number}")
    read(seconds=-1)
    salesforce.results.clear()

    with pytest.raises(Exception, match="invalid query locator"):
        read()
    while not read().is_whole:
        pass

    assert Account.objects.count() == 5


def test_one_worker_reads_and_the_others_pass(anew, salesforce):
    SalesforceOrg.objects.update(mirroring_until=timezone.now() + timedelta(minutes=1))

    assert read() == accounts.Mirrored()
    assert not salesforce.requests

    SalesforceOrg.objects.update(mirroring_until=timezone.now() - timedelta(seconds=1))  # it died meanwhile
    assert read().is_whole


def test_what_was_asked_for_anew_during_a_read_is_read_anew(large, salesforce):
    salesforce.bulk_polls = 1
    read(seconds=0)

    began = MirrorRead.objects.first().began_at
    SalesforceOrg.objects.update(mirrored_to=began)  # as if another read had ended
    read()
    assert MirrorRead.objects.first().since == began - accounts.OVERLAP


# ---- what is deleted ----


def test_reading_anew_finds_what_was_deleted_meanwhile(anew, salesforce):
    account = salesforce.add_account(Name="Acme")
    contact = salesforce.add_contact(AccountId=account, Email="ana@acme.example")
    read()
    salesforce.deletes(account)
    salesforce.edits(contact, Email=None)
    SalesforceOrg.objects.update(mirrored_to=None)

    read()

    assert Account.objects.get().is_deleted and Contact.objects.get().is_deleted


def test_a_changed_parent_is_learned(anew, salesforce):
    old, new = salesforce.add_account(Name="Old Holding"), salesforce.add_account(Name="New Holding")
    account = salesforce.add_account(Name="Acme", ParentId=old)
    read()

    salesforce.edits(account, ParentId=new)
    read()

    assert Account.objects.get(salesforce_id=account).parent_id == new


# ---- matching from the mirror ----


def test_nobody_is_matched_by_email_while_salesforce_is_still_read(scenario, large, salesforce):
    """The second Contact with the e-mail may stand in a part that is not read yet."""
    salesforce.bulk_polls = 1
    salesforce.add_contact(AccountId=salesforce.add_account(Name="Twin"), Email="ana@c0.example")
    read(seconds=0)
    account = salesforce.records("Account")[0]["Id"]
    Account.objects.get_or_create(org=large, salesforce_id=account, defaults={"name": "Company 0"})
    contact = salesforce.records("Contact", AccountId=account)[0]["Id"]
    Contact.objects.create(org=large, salesforce_id=contact, account_id=account, email="ana@c0.example")

    scenario.customer("Company", email="ana@c0.example")

    assert Unmatched.objects.get().reason == "accounts_being_read"
    now = timezone.now()
    for minute in range(1, 12):
        matching.keep_up(now=now + timedelta(minutes=minute))
    assert not Match.objects.exists()
    assert Unmatched.objects.get().reason == "several_contacts"


def test_five_thousand_customers_cost_no_call(anew, salesforce):
    scenario = Scenario()
    for number in range(20):
        account = salesforce.add_account(Name=f"Company {number}")
        salesforce.add_contact(AccountId=account, Email=f"ana@c{number}.example")
    read()
    salesforce.forgets_requests()
    made = Customer.objects.bulk_create(
        [
            Customer(
                source=scenario.source, stripe_id=f"cus_{number}", name=f"Ana {number}", email=f"ana@c{number}.example"
            )
            for number in range(5000)
        ]
    )

    pks = [one.pk for one in made]
    for start in range(0, len(pks), 500):
        matching.match_customers(pks[start : start + 500], now=timezone.now())
    matching.match_waiting(now=timezone.now())

    assert not salesforce.requests
    assert Match.objects.count() == 20 and Unmatched.objects.count() == 4980
    assert len(billing.customers(pks)) == 5000
    assert selectors.account_ids([made[3].pk])
