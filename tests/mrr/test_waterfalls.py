"""The waterfall in each of its ways: it ties, it is what the entries come to when added up plainly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from itertools import product

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.facts import DiscountTerms, Facts
from mrr import check, committed, fx, selectors
from mrr.engine.rates import Origin, Quote
from mrr.models import DiscountChange, LedgerEntry
from mrr.selectors import Basis, Counted, Discounts, Level, Options, Rates, View
from mrr.waterfalls import PARTS, refusal, with_meaning
from tests.mrr.books import Books, moment
from tests.mrr.histories import Subscription, at, item, state
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
TODAY = date(2026, 6, 15)
WAYS = [
    Options(*way) for way in product(View, Basis, Level, Discounts, Rates, Counted) if refusal(Options(*way)) is None
]


@pytest.fixture
def books():
    fx.pin(date(2026, 1, 1))
    days = [date(2025, 12, 28) + timedelta(days=at) for at in range(180)]
    fx.store([Quote(day, "eur", "usd", f"1.{10 + day.month}{day.day:02}7", Origin.MANUAL) for day in days])
    return Books()


def pays(books, name, *steps, currency="usd", source="main", key=""):
    told = Subscription(f"sub_{name}{key}")
    for day, minor in steps:
        if minor:
            told.says(day, state(item(minor, currency=currency), since=steps[0][0], currency=currency))
        else:
            told.ends(day)
    return books.customer(f"cus_{name}", told, source=source)


@pytest.fixture
def company(books):
    """Two brands, two currencies, Accounts of several customers, one that moved between its customers."""
    return {
        "a": pays(books, "a", ("2026-01-10", 10000), ("2026-03-05", 15000)),
        "b": pays(books, "b", ("2026-01-11", 20000), ("2026-03-06", 10000), ("2026-03-20", 12000)),
        "c": pays(books, "c", ("2026-01-12", 30000), ("2026-03-07", 0)),
        "d": pays(books, "d", ("2026-03-08", 8000)),
        "gone": pays(books, "gone", ("2026-02-01", 10000), ("2026-03-03", 0)),
        "heir": pays(books, "heir", ("2026-03-06", 12000)),
        "euro": pays(books, "euro", ("2026-01-15", 10000), ("2026-02-10", 15033), currency="eur"),
        "euro2": pays(books, "euro2", ("2026-03-15", 7777), ("2026-05-02", 0), currency="eur", source="second"),
        "other": pays(books, "other", ("2026-02-15", 4321), ("2026-04-02", 0), source="second"),
    }


def accounts(company, *groups: str) -> dict[int, str]:
    return {company[name].pk: group for group in groups for name in group.split("+")}


def look(first="2026-03", last="2026-03", **how):
    options = Options(**{name: how.pop(name) for name in tuple(how) if name in Options.__slots__})
    ends = (date.fromisoformat(f"{month}-01") for month in (first, last))
    return selectors.waterfall(*ends, today=TODAY, options=options, **how)


def balances(until: str, currency: str | None = None, **more) -> dict[tuple[int, str], int]:
    """Add up entries one by one, the plainest way."""
    found: dict[tuple[int, str], int] = {}
    for row in LedgerEntry.objects.filter(effective_at__lt=moment(until), **more):
        if currency in (None, row.currency):
            place = (row.customer_id, row.currency)
            found[place] = found.get(place, 0) + row.amount_micros
    return found


def compared(start: Mapping, end: Mapping, had: set, group_of=lambda pk: pk, convert=lambda micros, _code: micros):
    """Say what became of whom, the plainest way."""
    ends: dict = {}
    for place in {*start, *end}:
        cell = ends.setdefault(group_of(place[0]), [0, 0, False])
        cell[0] += convert(start.get(place, 0), place[1])
        cell[1] += convert(end.get(place, 0), place[1])
        cell[2] |= place[0] in had
    parts = dict.fromkeys(PARTS, 0)
    for before, after, was in ends.values():
        if before != after:
            if not before:
                name = "reactivation" if was else "new"
            else:
                name = "churn" if not after else "expansion" if after > before else "contraction"
            parts[name] += after - before
    return parts


def ties(found):
    assert found.opening_micros + sum(found.parts.values()) + found.adjustment_micros + found.fx_micros == (
        found.closing_micros
    )
    minor = found.minor
    assert minor["opening"] + sum(minor[name] for name in (*PARTS, "adjustment", "fx")) == minor["closing"]
    assert found.off_micros == 0
    assert found.held == ()


@pytest.mark.parametrize("options", WAYS, ids=lambda way: "-".join(getattr(way, name) for name in way.__slots__))
def test_every_way_that_has_a_meaning_ties_in_micros_and_as_shown(company, options):
    committed.keep(now=moment("2026-06-15"), seconds=60)
    groups = accounts(company, "gone+heir", "a+euro", "b+other")
    for months, currency in product(
        (("2026-03", "2026-03"), ("2026-01", "2026-06"), ("2026-02", "2026-04")), (None, "usd", "eur")
    ):
        ends = [date.fromisoformat(f"{month}-01") for month in months]
        found = selectors.waterfall(
            *ends,
            today=TODAY,
            options=options,
            currency=currency,
            accounts=groups if options.level is not Level.CUSTOMER else None,
            by_brand=True,
        )

        ties(found)
        for brand in found.brands:
            ties(brand.waterfall)
        for name, micros in found.micros.items():
            assert sum(brand.waterfall.micros[name] for brand in found.brands) == micros
        if options.rates is Rates.CONSTANT:
            assert found.fx_micros == 0


def test_as_it_is_opened_it_is_the_months_table(company):
    for currency in (None, "usd", "eur"):
        months = selectors.series(date(2026, 1, 1), date(2026, 6, 1), today=TODAY, currency=currency).months
        for month in months:
            found = selectors.waterfall(month.month, month.month, today=TODAY, currency=currency)

            assert found.micros == {name: getattr(month, f"{name}_micros") for name in found.micros}
            assert found.customers == month.customers
            assert found.minor == {name: getattr(month, f"{name}_minor") for name in found.minor}


@pytest.mark.parametrize("currency", [None, "usd", "eur"])
def test_the_netted_month_is_that_of_the_series(company, currency):
    for month in selectors.series(
        date(2026, 1, 1), date(2026, 6, 1), today=TODAY, currency=currency, view=View.NETTED
    ).months:
        found = selectors.waterfall(
            month.month, month.month, today=TODAY, currency=currency, options=Options(View.NETTED)
        )

        assert found.micros == {name: getattr(month, f"{name}_micros") for name in found.micros}
        assert found.customers == month.customers


@pytest.mark.parametrize(
    ("first", "last", "end"), [("2026-03", "2026-03", "2026-04-01"), ("2026-02", "2026-05", "2026-06-01")]
)
def test_netted_compares_both_ends_of_the_period_not_of_its_months(company, first, last, end):
    start, closing = balances(f"{first}-01", "usd"), balances(end, "usd")

    found = look(first, last, currency="usd", view=View.NETTED)

    assert found.parts == compared(start, closing, {pk for pk, _ in start})
    groups = accounts(company, "gone+heir", "b+other")
    by_account = look(first, last, currency="usd", view=View.NETTED, level=Level.ACCOUNT, accounts=groups)
    assert by_account.parts == compared(start, closing, {pk for pk, _ in start}, lambda pk: groups.get(pk, pk))
    assert by_account.closing_micros == found.closing_micros


def test_v29_two_customers_of_one_account_are_one_expansion(books):
    company = {
        "a": pays(books, "a", ("2026-01-10", 10000), ("2026-03-10", 0)),
        "b": pays(books, "b", ("2026-03-13", 12000)),
    }

    by_customer = look(view=View.NETTED)
    by_account = look(view=View.NETTED, level=Level.ACCOUNT, accounts=accounts(company, "a+b"))

    assert (by_customer.minor["new"], by_customer.minor["churn"]) == (12000, -10000)
    assert (by_account.minor["expansion"], by_account.minor["new"], by_account.minor["churn"]) == (2000, 0, 0)
    assert (by_account.customers.opening, by_account.customers.closing) == (1, 1)


def test_v28_events_and_both_ends_differ(books):
    one, two = Subscription("sub_one"), Subscription("sub_two")
    one.says("2026-01-10", state(item(10000), since="2026-01-10"))
    one.ends("2026-03-10")
    two.says("2026-03-13", state(item(12000, id="si_2"), since="2026-03-13"))
    books.customer("cus_b", one, two)

    assert look().minor["reactivation"] == 12000
    assert look().minor["churn"] == -10000
    assert look(view=View.NETTED).minor["expansion"] == 2000
    assert look(view=View.NETTED).minor["churn"] == 0


def test_constant_currency_takes_one_rate_and_has_no_fx(company):
    rates = fx.conversion(["eur", "usd"])
    found = look("2026-01", "2026-06", rates=Rates.CONSTANT)

    euros = sum(micros for (_, code), micros in balances("2026-07-01").items() if code == "eur")
    dollars = sum(micros for (_, code), micros in balances("2026-07-01").items() if code == "usd")
    assert found.closing_micros == dollars + rates.constant(euros, "eur")
    assert found.fx_micros == 0
    assert look("2026-01", "2026-06").fx_micros != 0
    assert look("2026-01", "2026-06", rates=Rates.REPORTED).closing_micros != found.closing_micros


# ---- before discounts ----


def with_coupon(books, name, *steps, currency="usd", source="main"):
    """A customer whose one item has, from each day on, a price and a percentage off forever."""
    told = Subscription(f"sub_{name}")
    known = {}
    for day, minor, percent in steps:
        coupon = f"di_{name}_{percent}"
        known[coupon] = DiscountTerms(coupon, "forever", percent_off=str(percent))
        held = item(minor, currency=currency, discounts=(coupon,) if percent else ())
        told.says(day, state(held, since=steps[0][0], currency=currency))
    return books.customer(f"cus_{name}", told, source=source, facts=Facts(discounts=known))


def test_before_discounts_a_movement_is_what_the_items_cost(books):
    # 80 net of 100; 150 net of 200; the discount ends: 200; all is free: churn; back at 40 net of 50.
    with_coupon(
        books,
        "a",
        ("2026-01-10", 10000, 20),
        ("2026-02-10", 20000, 25),
        ("2026-03-10", 20000, 0),
        ("2026-04-10", 20000, 100),
        ("2026-05-10", 5000, 20),
    )
    pays(books, "plain", ("2026-01-11", 3000), ("2026-03-12", 2500))

    found = {month: look(month, month, discounts=Discounts.GROSS).minor for month in MONTHS}

    assert found["2026-01"]["new"] == 13000
    assert found["2026-02"]["expansion"] == 10000
    assert (found["2026-03"]["expansion"], found["2026-03"]["contraction"]) == (0, -500)
    assert (found["2026-04"]["opening"], found["2026-04"]["churn"], found["2026-04"]["closing"]) == (
        22500,
        -20000,
        2500,
    )
    assert (found["2026-05"]["reactivation"], found["2026-05"]["closing"]) == (5000, 7500)
    assert look("2026-05", "2026-05").minor["closing"] == 6500


def test_before_discounts_a_rise_may_be_a_fall(books):
    # 50 net of 100, then 60 net of 60: MRR expands, what the items cost contracts.
    with_coupon(books, "a", ("2026-01-10", 10000, 50), ("2026-03-10", 6000, 0))

    net, gross_of = look(), look(discounts=Discounts.GROSS)

    assert (net.minor["expansion"], net.minor["contraction"]) == (1000, 0)
    assert (gross_of.minor["expansion"], gross_of.minor["contraction"]) == (0, -4000)
    assert look(view=View.NETTED, discounts=Discounts.GROSS).minor["contraction"] == -4000


def test_what_discounts_take_off_is_proved_and_repaired(books):
    with_coupon(books, "a", ("2026-01-10", 10000, 50), ("2026-03-10", 6000, 0))
    DiscountChange.objects.filter(effective_at__gte=moment("2026-03-01")).delete()
    told: list[str] = []

    check.check(now=moment("2026-06-15"), tell=told.append, parts=["discounts"])
    check.check(now=moment("2026-06-15"), repair=True, parts=["discounts"])

    assert len(told) == 1
    assert "discounts of customer" in told[0]
    assert check.check(now=moment("2026-06-15"), parts=["discounts"]).differences == 0


def test_what_is_told_anew_has_its_discounts_anew(books):
    customer = with_coupon(books, "a", ("2026-01-10", 10000, 50))
    told = Subscription("sub_a")
    told.says("2026-01-10", state(item(10000), since="2026-01-10"))

    books.says(customer, told)

    assert not DiscountChange.objects.exists()
    assert look(discounts=Discounts.GROSS).micros == look().micros


MONTHS = [f"2026-{month:02}" for month in range(1, 7)]
HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["usd", "eur"]),
        st.sampled_from(["main", "second"]),
        st.lists(
            st.tuples(st.integers(1, 150), st.sampled_from([0, 1999, 3333, 10007]), st.sampled_from([0, 10, 33, 100])),
            min_size=1,
            max_size=4,
            unique_by=lambda step: step[0],
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=HISTORIES, number=st.integers(0, 10**6), ends=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_whatever_happened_every_way_ties(books, histories, number, ends):
    with transaction.atomic():
        keys = []
        for place, (currency, source, steps) in enumerate(histories):
            told = [
                ((date(2026, 1, 1) + timedelta(days=day)).isoformat(), minor, percent)
                for day, minor, percent in sorted(steps)
            ]
            keys.append(with_coupon(books, f"{number}_{place}", *told, currency=currency, source=source).pk)
        groups = dict.fromkeys(keys[:2], "one") if len(keys) > 1 else {}
        first, last = sorted(ends)
        for options in WAYS:
            found = selectors.waterfall(
                date(2026, first + 1, 1),
                date(2026, last + 1, 1),
                today=TODAY,
                options=options,
                accounts=groups if options.level is not Level.CUSTOMER else None,
                by_brand=True,
            )
            ties(found)
            for name, micros in found.micros.items():
                assert sum(brand.waterfall.micros[name] for brand in found.brands) == micros
            for customers in (found.customers, *(brand.waterfall.customers for brand in found.brands)):
                assert (
                    customers.opening + customers.new + customers.reactivated - customers.churned == customers.closing
                )
        transaction.set_rollback(True)


# ---- CMRR ----


def test_v22_v23_what_is_scheduled_moves_cmrr_when_it_is_scheduled():
    story = Scenario("acme")
    acme = story.customer("Acme", on="2026-01-10")
    acme.subscribes("Team", monthly="100.00", on="2026-01-10")
    acme.changes(on="2026-02-10", cancel_at_period_end=True, cancel_at=at("2026-04-01"))
    other = story.customer("Other", on="2026-01-10")
    other.subscribes("Team", monthly="70.00", on="2026-01-10")
    other.changes(on="2026-02-10", cancel_at_period_end=True, cancel_at=at("2026-05-01"))
    other.changes(on="2026-03-20", cancel_at_period_end=False, cancel_at=None)
    acme.cancels(on="2026-04-01")

    committed.keep(now=moment("2026-06-15"), seconds=60)

    def cmrr(month):
        found = look(month, month, view=View.NETTED, measure=Counted.CMRR, currency="usd")
        ties(found)
        return {name: minor for name, minor in found.minor.items() if minor}

    assert cmrr("2026-02") == {"opening": 17000, "churn": -17000}
    assert cmrr("2026-03") == {"reactivation": 7000, "closing": 7000}
    assert cmrr("2026-04") == {"opening": 7000, "closing": 7000}
    assert look("2026-04", "2026-04", currency="usd").minor["churn"] == -10000


def test_who_is_told_late_of_a_kept_month_is_looked_at_anew():
    story = Scenario("acme")
    acme = story.customer("Acme", on="2026-01-10")
    acme.subscribes("Team", monthly="100.00", on="2026-01-10")
    committed.keep(now=moment("2026-06-15"), seconds=60)
    acme.moves_to("Business", monthly="150.00", on="2026-02-01")
    acme.changes(on="2026-02-10", cancel_at_period_end=True, cancel_at=at("2026-12-01"))

    committed.keep(now=moment("2026-06-15"), seconds=60)

    found = look("2026-03", "2026-03", view=View.NETTED, measure=Counted.CMRR, currency="usd")
    assert (found.opening_micros, found.closing_micros) == (0, 0)


# ---- which ways go together ----


def test_ways_without_a_meaning_are_refused_with_their_reason():
    assert refusal(Options(level=Level.ACCOUNT)).field == "level"
    assert refusal(Options(measure=Counted.CMRR)).field == "measure"
    assert refusal(Options(View.NETTED, Basis.CLOSED)).field == "basis"
    assert refusal(Options(View.NETTED, measure=Counted.CMRR, discounts=Discounts.GROSS)).field == "discounts"


ENUMS = {"view": View, "basis": Basis, "level": Level, "discounts": Discounts, "rates": Rates, "measure": Counted}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(getattr(way, name) for name in way.__slots__))
def test_each_choice_can_be_had_from_anywhere_by_giving_up_another(way):
    for name, values in ENUMS.items():
        for value in values:
            found = with_meaning(replace(way, **{name: value}), wanted=name)

            assert getattr(found, name) is value
            assert refusal(found) is None
