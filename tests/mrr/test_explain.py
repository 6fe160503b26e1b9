"""What the printed formula of an item says, and that it comes to the item's line when it is computed as it stands."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from mrr import policies, selectors
from mrr.engine.formulas import formula
from mrr.engine.money import MICROS, exponent, to_micros
from mrr.engine.policy import parse
from mrr.engine.terms import Taken, Terms, factor
from mrr.explain import explained, sum_written
from mrr.models import LedgerEntry
from tests.mrr.books import Books
from tests.mrr.formulas import computed
from tests.mrr.histories import Subscription, item, state
from tests.scenario import Scenario

NOW = datetime(2026, 6, 15, tzinfo=UTC)

GRADUATED = ((5, "700", "0"), (10, "650", "0"), (None, "600", "0"))
WITH_FLAT = ((5, "700", "1000"), (10, "650", "500"), (None, "600", "0"))


def terms(unit="10000", quantity=1, interval="month", count=1, **changes):
    """Return an item's terms as a test needs them: its worth is left out."""
    kept = {"factor": str(factor(interval, count)), **changes}
    return Terms("price_1", "prod_1", unit, quantity, interval, count, 0, **kept)


@pytest.mark.parametrize(
    ("given_terms", "currency", "text"),
    [
        (terms("120000", 3, "year", discounts=(Taken("di_1", "20"),)), "usd", "$1,200.00 × 3 ÷ 12 months − 20 %"),
        (terms("120000", interval="year"), "usd", "$1,200.00 × 1 ÷ 12 months"),
        (terms("30000", interval="month", count=3), "usd", "$300.00 × 1 ÷ 3 months"),
        (terms("1000", interval="week"), "usd", "$10.00 × 1 × 52 ÷ 12 months"),
        (terms("1000", interval="week", factor="12/53"), "usd", "$10.00 × 1 × 53 ÷ 12 months"),
        (terms("900", interval="day", count=10), "usd", "$9.00 × 1 × 365 ÷ 120 months"),
        (terms("12000", 2), "jpy", "¥12,000 × 2 ÷ 1 month"),
        (terms("1500", 2), "kwd", "KWD\u00a01.500 × 2 ÷ 1 month"),
        (terms("0.15", 9000), "usd", "$0.0015 × 9,000 ÷ 1 month"),
        (terms("100", None), "chf", "CHF\u00a01.00 × 1 ÷ 1 month"),
        (terms("500", 250, divide_by=100, round="up"), "usd", "$5.00 × (250 ÷ 100, rounded up) ÷ 1 month"),
        (terms("500", 250, divide_by=100, round="down"), "usd", "$5.00 × (250 ÷ 100, rounded down) ÷ 1 month"),
        (
            terms(None, 6, tiers=GRADUATED, tiers_mode="graduated"),
            "usd",
            "($7.00 × 5 + $6.50 × 1) ÷ 1 month",
        ),
        (
            terms(None, 6, tiers=WITH_FLAT, tiers_mode="graduated"),
            "usd",
            "($7.00 × 5 + $10.00 flat + $6.50 × 1 + $5.00 flat) ÷ 1 month",
        ),
        (terms(None, 20, tiers=GRADUATED, tiers_mode="volume"), "usd", "$6.00 × 20 ÷ 1 month"),
        (terms(None, 6, tiers=WITH_FLAT, tiers_mode="volume"), "usd", "($6.50 × 6 + $5.00 flat) ÷ 1 month"),
        (
            terms(discounts=(Taken("di_1", "20"), Taken("di_2", amount=1000))),
            "usd",
            "($100.00 × 1 − 20 % − $10.00) ÷ 1 month",
        ),
        (
            terms(discounts=(Taken("di_2", amount=1000), Taken("di_1", "20"))),
            "usd",
            "($100.00 × 1 − $10.00 − 20 %) ÷ 1 month",
        ),
        (
            terms(discounts=(Taken("di_2", amount=6000, share="1/3"),)),
            "usd",
            "($100.00 × 1 − $60.00 × 1 ÷ 3) ÷ 1 month",
        ),
        (terms("0", discounts=(Taken("di_2", amount=6000, share="0"),)), "usd", "$0.00 × 1 ÷ 1 month"),
        (terms(discounts=(Taken("di_2", amount=15000),)), "usd", "($100.00 × 1 − $150.00, not below 0) ÷ 1 month"),
        (
            terms(None, 6, tiers=GRADUATED, tiers_mode="graduated", discounts=(Taken("di_2", amount=1000),)),
            "usd",
            "(($7.00 × 5 + $6.50 × 1) − $10.00) ÷ 1 month",
        ),
        (terms("12100", tax="21/100"), "eur", "€121.00 × 1 ÷ (1 + 21 % tax) ÷ 1 month"),
        (terms("12100", tax="77/1000"), "eur", "€121.00 × 1 ÷ (1 + 7.7 % tax) ÷ 1 month"),
        (terms(None, code="tiers_unknown"), "usd", "$0.00 (tiers not known yet)"),
        (terms("5", None, code="metered"), "usd", "$0.00 (usage is not committed)"),
        (terms(None, code="custom_amount"), "usd", "$0.00 (the customer chooses the amount)"),
        (terms(None), "usd", "$0.00 (price not known yet)"),
    ],
)
def test_a_formula_reads_as_people_compute(given_terms, currency, text):
    assert formula(given_terms, currency) == text
    assert to_micros(computed(text) * 10 ** exponent(currency)) == _micros(given_terms)


AMOUNTS = st.decimals(min_value=0, max_value=1_000_000, places=3).map(lambda amount: f"{amount.normalize():f}")
TIERS = st.builds(
    lambda tops, units, flats: tuple(
        zip([*sorted(tops), None], units[: len(tops) + 1], flats[: len(tops) + 1], strict=True)
    ),
    st.sets(st.integers(1, 50), max_size=4),
    st.lists(AMOUNTS, min_size=5, max_size=5),
    st.lists(st.one_of(st.just("0"), AMOUNTS), min_size=5, max_size=5),
)
DISCOUNTS = st.lists(
    st.one_of(
        st.builds(lambda percent: Taken("di", percent=percent), st.sampled_from(["5", "12.5", "33.33", "100"])),
        st.builds(
            lambda amount, part, parts: Taken("di", amount=amount, share=str(Fraction(min(part, parts), parts))),
            st.integers(0, 100_000),
            st.integers(1, 7),
            st.integers(1, 7),
        ),
    ),
    max_size=3,
).map(tuple)


@st.composite
def any_terms(draw):
    interval = draw(st.sampled_from(["day", "week", "month", "year"]))
    count = draw(st.integers(1, 12))
    weeks, days = draw(st.integers(48, 53)), draw(st.integers(360, 366))
    kind = draw(st.sampled_from(["unit", "packages", "graduated", "volume", "metered"]))
    changes = {
        "factor": str(factor(interval, count, weeks, days)),
        "discounts": draw(DISCOUNTS),
        "tax": draw(st.sampled_from([None, "21/100", "77/1000", "1/3"])),
    }
    if kind == "packages":
        changes |= {"divide_by": draw(st.integers(1, 100)), "round": draw(st.sampled_from(["up", "down"]))}
    if kind in ("graduated", "volume"):
        changes |= {"tiers": draw(TIERS), "tiers_mode": kind}
    if kind == "metered":
        changes |= {"code": "metered", "discounts": ()}
    quantity = draw(st.one_of(st.none(), st.integers(0, 60)))
    unit = None if "tiers" in changes else draw(AMOUNTS)
    return terms(unit, quantity, interval, count, **changes)


@settings(deadline=None)
@given(any_terms(), st.sampled_from(["usd", "eur", "jpy", "kwd", "isk", "chf", "xof", "brl"]))
def test_a_formula_computed_as_it_stands_gives_the_item_to_the_micro(made, currency):
    text = formula(made, currency)

    assert to_micros(computed(text) * 10 ** exponent(currency)) == _micros(made), text


def _micros(made: Terms) -> int:
    """Return the item's worth by the definition: amount less discounts, less tax, by month; rounded once."""
    if made.code or (made.unit_amount_decimal is None and not made.tiers):
        return 0
    quantity = 1 if made.quantity is None else made.quantity
    remains = _period(made, quantity)
    for taken in made.discounts:
        if taken.percent is not None:
            remains -= remains * Fraction(taken.percent) / 100
        else:
            remains = max(remains - taken.amount * Fraction(taken.share), Fraction(0))
    return to_micros(remains / (1 + Fraction(made.tax or 0)) / Fraction(made.factor))


def _period(made: Terms, quantity: int) -> Fraction:
    if not made.tiers:
        units = quantity
        if made.divide_by:
            units = -(-quantity // made.divide_by) if made.round == "up" else quantity // made.divide_by
        return Fraction(made.unit_amount_decimal) * units
    amount, reached = Fraction(0), 0
    entered = None
    for unit_number in range(1, quantity + 1):
        place = next(i for i, tier in enumerate(made.tiers) if tier[0] is None or unit_number <= tier[0])
        if made.tiers_mode == "volume":
            entered = place
            continue
        amount += Fraction(made.tiers[place][1])
        if entered != place:
            amount += Fraction(made.tiers[place][2])
            entered = place
        reached += 1
    if made.tiers_mode == "volume" and entered is not None:
        amount = Fraction(made.tiers[entered][1]) * quantity + Fraction(made.tiers[entered][2])
    return amount


# ---- entries ----


@pytest.mark.django_db
def test_an_entry_is_written_out():
    Books().customer(
        "cus_a",
        Subscription("sub_a")
        .says("2026-01-10", state(item(3000, quantity=5)))
        .says("2026-02-10", state(item(3000, quantity=8))),
    )
    entry = selectors.latest_movements(limit=1)[0]

    (line,) = explained(entry)

    assert (line.before.formula, line.before.minor) == ("$30.00 × 5 ÷ 1 month", 15000)
    assert (line.after.formula, line.after.minor) == ("$30.00 × 8 ÷ 1 month", 24000)
    assert line.after.micros - line.before.micros == line.line.micros
    assert sum_written(entry) == "$30.00 × 8 ÷ 1 month − $30.00 × 5 ÷ 1 month = $90.00"


# ---- as text ----


def run(*arguments):
    out = StringIO()
    call_command("explain", *arguments, stdout=out)
    *text, last = out.getvalue().splitlines()
    return "\n".join(text), json.loads(last)


@pytest.fixture
def acme():
    scenario = Scenario("acme")
    customer = scenario.customer("Acme", email="pay@acme.test")
    customer.subscribes("team", yearly="1200.00", quantity=3, on="2026-01-10")
    customer.changes(on="2026-02-01", quantity=5)
    customer.subscribes("extra", monthly="9.50", on="2026-03-01")
    return customer


@pytest.mark.django_db
def test_the_command_says_how_an_entry_came_about(acme):
    entry = LedgerEntry.objects.get(reason="quantity")

    text, found = run(entry.key)

    assert f"expansion of {acme.id}, 2026-02-01T00:00:00Z, quantity" in text
    assert "$1,200.00 × 5 ÷ 12 months − $1,200.00 × 3 ÷ 12 months = $200.00" in text
    assert "  before: $1,200.00 × 3 ÷ 12 months = $300.00" in text
    assert "The customer's MRR: $300.00 before, $500.00 after" in text
    assert "Policy 1: our own preset" in text
    assert '"type": "customer.subscription.updated"' in text
    assert found["id"] == entry.key
    assert found["lines"][0]["after"]["formula"] == "$1,200.00 × 5 ÷ 12 months"
    assert [event["id"] for event in found["events"]] == entry.event_ids
    assert found["events"][0]["body"]["data"]["object"]["customer"] == acme.id
    assert found["policy"]["version"] == 1
    assert run(str(entry.pk))[1] == found


@pytest.mark.django_db
def test_the_command_explains_a_customer_by_what_counts_now(acme):
    text, found = run(acme.id)

    (usd,) = found["currencies"]
    assert [item["formula"] for item in usd["items"]] == ["$1,200.00 × 5 ÷ 12 months", "$9.50 × 1 ÷ 1 month"]
    assert usd["mrr_micros"] == sum(item["mrr_micros"] for item in usd["items"]) == 50950 * MICROS
    assert usd["mrr_micros"] == sum(entry["amount_micros"] for entry in usd["entries"])
    assert "MRR $509.50" in text


@pytest.mark.django_db
def test_an_entry_of_another_policy_names_what_was_otherwise(acme):
    policies.add(parse(["churn_at=request"]), preset="", changed={}, user="ann", now=NOW)
    acme.changes(on="2026-05-01", quantity=1, sub=1)
    acme.cancels(on="2026-06-01", sub=1)

    text, found = run(LedgerEntry.objects.latest("pk").key)

    assert "Policy 2: churn_at request" in text
    assert found["policy"]["churn_at"] == "request"


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["mle_none", "17", "cus_none", "٣"])
def test_what_is_unknown_is_said_to_be(name):
    with pytest.raises(CommandError, match="There is no") as error:
        run(name)

    assert error.value.returncode == 2
