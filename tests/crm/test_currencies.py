"""Several currencies: of one customer or Account, and in the org itself."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from crm import amounts, choices, converted, org_setup, outbox
from crm.channels.salesforce import errors
from crm.models import OpportunityChoice, SalesforceOrg, SyncRecord
from mrr import fx
from mrr.days import day_of
from mrr.engine.rates import Origin, Quote
from tests.crm.conftest import login, reads

pytestmark = pytest.mark.django_db(transaction=False)

TODAY = day_of(datetime.now(UTC))


def rate(value: str, currency: str = "eur", *, day: date = TODAY) -> None:
    fx.store([Quote(day, currency, "usd", value, Origin.MANUAL)])


@pytest.fixture
def acme(salesforce, live):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(Name="Acme team", AccountId=account)
    reads(salesforce)
    return account


@pytest.fixture
def customer(scenario, acme):
    """A customer who pays $30 and €100."""
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("team", monthly="30.00", on="2026-01-10")
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")
    return story


# ---- adding up ----


@given(
    st.lists(st.tuples(st.sampled_from(["usd", "eur"]), st.integers(-(10**12), 10**12)), max_size=6),
    st.sampled_from([2, 6]),
)
def test_a_total_is_the_same_in_any_order_and_one_currency_adds_up_as_written(parts, places):
    def convert(micros: int, _currency: str) -> int:
        return micros * 11 // 10

    def total(of: list[tuple[str, int]]) -> str | None:
        return amounts.total(of, places, reporting="usd", convert=convert)

    assert total(parts) == total(parts[::-1])
    own = [part for part in parts if part[0] == "usd"]
    written = sum((Decimal(amounts.decimal(micros, "usd", places)) for _, micros in own), Decimal(0))
    assert Decimal(total(own) or "") == written


def test_a_missing_rate_makes_the_sum_unknown_unless_nothing_is_in_that_currency():
    def total(*parts: tuple[str, int]) -> str | None:
        return amounts.total(parts, 2, reporting="usd", convert=lambda *_: None)

    assert total(("usd", 10**8), ("eur", 5)) is None
    assert total(("usd", 10**8), ("eur", 0)) == "1.00"
    assert total() == "0.00"


# ---- an Account with several currencies ----


def test_an_account_gets_the_sum_of_its_currencies_at_today_s_rates(scenario, salesforce, acme, customer):
    rate("1.10")
    converted.owe_again(now=timezone.now())
    scenario.drain()

    account = salesforce.record(acme)

    assert (account["MRR__c"], account["CMRR__c"], account["ARR__c"]) == (Decimal(140), Decimal(140), Decimal(1680))
    deltas = {row["Currency__c"]: row["MRR_Delta__c"] for row in salesforce.records("MRR_Schedule__c")}
    assert deltas == {"USD": Decimal(30), "EUR": Decimal(100)}


def test_without_a_rate_the_sum_is_unknown_and_the_page_says_why(scenario, salesforce, acme, customer, admin_client):
    account = salesforce.record(acme)
    assert (account["MRR__c"], account["ARR__c"]) == (None, None)
    assert account["Ledger_Version__c"] is not None

    page = admin_client.get(f"/dashboard/sync/?kind=account&q={acme}").content.decode()

    assert "MRR__c, ARR__c and CMRR__c are empty: no exchange rate" in page


def test_new_rates_write_the_accounts_they_change_and_no_other(scenario, salesforce, acme, customer):
    other = salesforce.add_account(Name="Dollar")
    reads(salesforce)
    scenario.customer("Dollar", salesforce_account_id=other).subscribes("team", monthly="30.00", on="2026-01-10")
    rate("1.10")
    assert converted.owe_again(now=timezone.now()) == 1
    scenario.drain()
    salesforce.forgets_requests()

    rate("1.20")
    assert converted.owe_again(now=timezone.now()) == 1
    scenario.drain()

    assert salesforce.record(acme)["MRR__c"] == Decimal(150)
    assert len(salesforce.requests_to("POST .*/composite$")) == 1
    converted.owe_again(now=timezone.now())
    scenario.drain()
    assert len(salesforce.requests_to("POST .*/composite$")) == 1


# ---- an org with several currencies ----


@pytest.fixture
def several(salesforce):
    salesforce.adds_currencies("USD", "EUR")
    return salesforce


def deal(salesforce, account: str) -> dict:
    (found,) = salesforce.records("Opportunity", AccountId=account)
    return found


def test_what_is_written_says_its_currency_where_the_org_has_several(scenario, several, acme):
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")

    won = deal(several, acme)
    (schedule,) = several.records("MRR_Schedule__c")
    assert (won["Amount"], won["CurrencyIsoCode"], won["IsWon"]) == (Decimal(1200), "EUR", True)
    assert (schedule["MRR_Delta__c"], schedule["CurrencyIsoCode"]) == (Decimal(100), "EUR")
    assert several.record(acme)["CurrencyIsoCode"] == "USD"  # the Account's own stays as people set it


def test_an_opportunity_that_is_only_linked_keeps_its_currency(scenario, several, live):
    account = several.add_account(Name="Acme")
    won = several.add_opportunity(AccountId=account, StageName="Closed Won", CloseDate="2026-01-15", Amount=500)
    reads(several)
    story = scenario.customer("Acme", salesforce_account_id=account)
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")

    record = several.record(won)
    assert (record["Amount"], record["CurrencyIsoCode"]) == (Decimal(500), "USD")
    assert record["Committed_ARR__c"] == Decimal(1200)


def test_one_whose_products_decide_the_amount_keeps_its_currency(scenario, several, live):
    account = several.add_account(Name="Acme")
    with_products = several.add_opportunity(AccountId=account, HasOpportunityLineItem=True, Amount=500)
    reads(several)
    story = scenario.customer("Acme", salesforce_account_id=account)
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")

    record = several.record(with_products)
    assert (record["IsWon"], record["Amount"], record["CurrencyIsoCode"]) == (True, Decimal(500), "USD")


def test_one_that_is_made_says_its_currency(scenario, several, live):
    account = several.add_account(Name="Acme")
    reads(several)
    SalesforceOrg.objects.update(makes_opportunities=True)
    story = scenario.customer("Acme", salesforce_account_id=account)
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")

    assert deal(several, account)["CurrencyIsoCode"] == "EUR"


def test_undoing_a_choice_gives_the_currency_back(scenario, several, live):
    account = several.add_account(Name="Acme")
    chosen = several.add_opportunity(AccountId=account, Amount=500)
    several.add_opportunity(AccountId=account)
    reads(several)
    story = scenario.customer("Acme", salesforce_account_id=account)
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")
    asked = OpportunityChoice.objects.get()
    assert {one["currency"] for one in asked.candidates} == {"USD"}
    choices.choose(asked.record_id, chosen, by="revops", now=timezone.now())
    scenario.drain()
    assert several.record(chosen)["CurrencyIsoCode"] == "EUR"

    choices.undo(asked.record_id, by="revops", now=timezone.now())

    record = several.record(chosen)
    assert (record["Amount"], record["CurrencyIsoCode"], record["IsClosed"]) == (Decimal(500), "USD", False)


def test_a_currency_that_is_not_active_is_refused_with_the_cure_and_heals(scenario, several, acme):
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("britain", monthly="100.00", currency="gbp", on="2026-01-20")

    parked = SyncRecord.objects.filter(state="parked")
    assert {row.kind for row in parked} == {"opportunity", "schedule"}
    for row in parked:
        told = errors.explain(row.error_code, row.error, sobject="Opportunity", fields=tuple(row.error_fields))
        assert told.fields == ("CurrencyIsoCode",) and "has not activated the currency" in told.why
        assert told.where == "Setup > Manage Currencies" and "Activate it" in told.fix

    several.adds_currencies("USD", "GBP")
    for row in parked:
        outbox.retry(row.pk, now=timezone.now())
    scenario.drain()
    assert deal(several, acme)["CurrencyIsoCode"] == "GBP"


def test_the_check_names_currencies_that_are_not_active_and_fields_that_show_another(scenario, several, acme):
    assert org_setup.check(now=timezone.now()) == []
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("britain", monthly="100.00", currency="gbp", on="2026-01-20")

    found = org_setup.check(now=timezone.now())

    assert [(one.sobject, one.field, one.code) for one in found] == [
        ("Opportunity", "CurrencyIsoCode", "currency_inactive"),
        ("MRR_Schedule__c", "CurrencyIsoCode", "currency_inactive"),
    ]
    assert "has not activated GBP" in found[0].text and "Manage Currencies" in found[0].text
    several.store.objects["Account"].fields["ARR__c"].type = "currency"
    remark = next(one for one in org_setup.check(now=timezone.now()) if one.is_remark)
    assert remark.code == "account_currency" and "ARR__c" in remark.text and "USD" in remark.text


def test_an_org_that_gets_several_currencies_later_is_written_again_with_them(scenario, salesforce, acme):
    story = scenario.customer("Acme", salesforce_account_id=acme)
    story.subscribes("europe", monthly="100.00", currency="eur", on="2026-01-20")
    assert not SalesforceOrg.objects.get().has_currencies
    salesforce.adds_currencies("USD", "EUR")
    (schedule,) = salesforce.records("MRR_Schedule__c")
    assert schedule["CurrencyIsoCode"] != "EUR"

    org_setup.check(now=timezone.now())
    scenario.drain()

    assert salesforce.record(schedule["Id"])["CurrencyIsoCode"] == "EUR"


def test_connecting_learns_whether_the_org_has_several_currencies(db, several):
    from crm import connections

    assert connections.connect(login(several), now=timezone.now()).org.has_currencies
