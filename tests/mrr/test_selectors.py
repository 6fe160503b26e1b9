"""What pages and the API read from the ledger: balances, months, movements, customers and cohorts."""

from datetime import date
from fractions import Fraction
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import StripeEvent
from mrr import books as booking
from mrr import selectors
from mrr.engine.money import MICROS, shown
from mrr.models import CustomerBalance, LedgerEntry
from mrr.selectors import Basis, Measure, MovementFilter, Place, View
from tests.mrr.books import Books, moment
from tests.mrr.histories import Subscription, item, state

pytestmark = pytest.mark.django_db
TODAY = date(2026, 6, 15)


@pytest.fixture
def books():
    return Books()


@pytest.fixture
def company(books):
    """A grows, B leaves and returns, C stays a year at an uneven price, D pays yen."""
    books.a = books.customer(
        "cus_a",
        Subscription("sub_a")
        .says("2026-01-10", state(item(3000), since="2026-01-10"))
        .says("2026-03-05", state(item(5000), since="2026-01-10")),
    )
    books.b = books.customer(
        "cus_b",
        Subscription("sub_b1").says("2026-02-01", state(item(2000), since="2026-02-01")).ends("2026-04-01"),
        Subscription("sub_b2").says("2026-06-02", state(item(1500), since="2026-06-02")),
    )
    books.c = books.customer(
        "cus_c", Subscription("sub_c").says("2026-02-20", state(item(10000, per="year"), since="2026-02-20"))
    )
    books.d = books.customer(
        "cus_d",
        Subscription("sub_d").says("2026-03-15", state(item(12000), since="2026-03-15", currency="jpy")),
    )
    return books


def mrr_of(day, currency="usd", **scope):
    found = {one.currency: one for one in selectors.mrr_at(day, today=TODAY, **scope).currencies}
    return found[currency].mrr_micros if currency in found else 0


# ---- MRR on a day ----


def test_mrr_counts_everything_up_to_the_end_of_the_day(company):
    assert mrr_of(date(2026, 1, 9)) == 0
    assert mrr_of(date(2026, 1, 10)) == 3000 * MICROS
    assert mrr_of(date(2026, 1, 31)) == 3000 * MICROS
    assert mrr_of(date(2026, 3, 4)) == 5000 * MICROS + 833333333
    assert mrr_of(date(2026, 3, 5)) == 7000 * MICROS + 833333333
    assert mrr_of(date(2026, 3, 31)) == 7000 * MICROS + 833333333
    assert mrr_of(TODAY) == 6500 * MICROS + 833333333


def test_an_end_at_midnight_belongs_to_the_next_day(company):
    assert mrr_of(date(2026, 3, 31)) - mrr_of(date(2026, 4, 1)) == 2000 * MICROS


def test_every_day_is_the_sum_of_entries_until_then(company):
    for month in range(1, 7):
        for day in (1, 2, 5, 10, 15, 16, 20, 28):
            on = date(2026, month, day)
            until = selectors.day_start(on).replace(hour=23, minute=59, second=59)
            entries = LedgerEntry.objects.filter(currency="usd", effective_at__lte=until)
            assert mrr_of(on) == sum(entry.amount_micros for entry in entries), on


def test_currencies_are_never_added(company):
    found = selectors.mrr_at(TODAY, today=TODAY)

    assert [(one.currency, one.mrr_minor, one.customers) for one in found.currencies] == [
        ("usd", 7333, 3),
        ("jpy", 12000, 1),
    ]
    assert found.reporting.mrr_minor == 7333
    assert found.reporting.arr_minor == shown(12 * (6500 * MICROS + 833333333))


def test_what_cannot_be_converted_makes_the_total_incomplete(company):
    assert [(gap.code, gap.count) for gap in selectors.mrr_at(TODAY, today=TODAY).gaps] == [("rate_missing", 1)]
    assert selectors.mrr_at(date(2026, 2, 28), today=TODAY).is_complete


def test_unpriced_items_and_unfinished_events_make_the_total_incomplete(books):
    tiers = item(0, billing_scheme="tiered", unit_amount_decimal=None)
    customer = books.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000), tiers)))
    for number, condition in enumerate(("waiting", "waiting", "parked", "processed", "ignored")):
        StripeEvent.objects.create(
            source=customer.source,
            stripe_id=f"evt_{number}",
            type="customer.updated",
            body=b"{}",
            body_sha256="",
            received_at=books.now,
            due_at=books.now,
            state=condition,
        )

    found = selectors.mrr_at(TODAY, today=TODAY)

    assert [(gap.code, gap.count) for gap in found.gaps] == [
        ("unpriced_items", 1),
        ("events_waiting", 2),
        ("events_parked", 1),
    ]
    assert selectors.gaps() == found.gaps


def test_cmrr_is_known_for_today_alone(books):
    leaving = state(item(3000), ends_at="2026-07-10")
    books.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000))).says("2026-06-01", leaving))
    books.customer("cus_b", Subscription("sub_b").says("2026-01-10", state(item(1000))))

    (usd,) = selectors.mrr_at(TODAY, today=TODAY).currencies
    (past,) = selectors.mrr_at(date(2026, 6, 14), today=TODAY).currencies

    assert (usd.mrr_minor, usd.cmrr_minor) == (4000, 1000)
    assert (past.mrr_minor, past.cmrr_minor) == (4000, None)


def test_a_test_source_counts_only_when_it_is_named(books):
    sandbox = books.source("sandbox", livemode=False)
    books.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000))))
    books.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(9900))), source="sandbox")

    assert mrr_of(TODAY) == 3000 * MICROS
    assert mrr_of(TODAY, sources=[sandbox.pk]) == 9900 * MICROS
    assert selectors.series(date(2026, 1, 1), date(2026, 1, 1), today=TODAY).months[0].closing_minor == 3000
    assert len(selectors.latest_movements(limit=10)) == 1
    assert selectors.cohorts(Measure.LOGO, today=TODAY).cohorts[0].customers == 1
    assert len(selectors.customers(limit=10).customers) == 1


def test_an_empty_ledger_has_a_zero_in_the_reporting_currency(db):
    found = selectors.mrr_at(TODAY, today=TODAY)

    assert (found.currencies, found.reporting.currency, found.reporting.mrr_micros) == ((), "usd", 0)
    assert found.is_complete


def test_the_reporting_zone_says_when_a_day_ends(books, settings):
    books.customer("cus_a", Subscription("sub_a").says("2026-03-01 04:30", state(item(3000), since="2026-03-01 04:30")))

    settings.REPORTING_TIME_ZONE = "America/New_York"
    assert mrr_of(date(2026, 2, 28)) == 0  # the roll-ups were made in UTC: only the day's own month is read anew

    assert selectors.day_start(date(2026, 3, 1)).utcoffset().total_seconds() == -5 * 3600


# ---- months ----


def months(first, last, **scope):
    return selectors.series(first, last, today=TODAY, **scope).months


def test_opening_and_movements_are_the_closing_in_micros_and_as_shown(company):
    found = months(date(2026, 1, 1), date(2026, 6, 1))

    for month in found:
        parts = ("new", "expansion", "reactivation", "contraction", "churn", "adjustment", "fx")
        for unit in ("micros", "minor"):
            total = getattr(month, f"opening_{unit}") + sum(getattr(month, f"{name}_{unit}") for name in parts)
            assert total == getattr(month, f"closing_{unit}"), (month.month, unit)
    for before, after in pairwise(found):
        assert before.closing_micros == after.opening_micros
        assert before.closing_minor == after.opening_minor
        assert before.customers.closing == after.customers.opening


def test_a_month_says_what_moved(company):
    march, april, may, june = months(date(2026, 3, 1), date(2026, 6, 1))

    assert (march.expansion_minor, march.new_minor) == (2000, 0)
    assert (april.churn_minor, april.customers.churned) == (-2000, 1)
    assert (may.net_new_minor, may.opening_minor) == (0, may.closing_minor)
    assert (june.reactivation_minor, june.customers.reactivated, june.is_running) == (1500, 1, True)


def test_ratios_come_from_balances(company):
    (april,) = months(date(2026, 4, 1), date(2026, 4, 1), currency="usd")
    opening = 7000 * MICROS + 833333333

    assert april.nrr == april.grr == Fraction(opening - 2000 * MICROS, opening)
    assert april.logo_churn == Fraction(1, 3)
    assert april.quick_ratio == 0
    assert months(date(2026, 1, 1), date(2026, 1, 1))[0].nrr is None


def test_the_netted_view_compares_both_ends_of_the_month(books):
    """Cancelled, and back three days later in the same month: churn and reactivation, netted an expansion."""
    books.customer(
        "cus_a",
        Subscription("sub_a1").says("2026-01-10", state(item(10000), since="2026-01-10")).ends("2026-03-05"),
        Subscription("sub_a2").says("2026-03-08", state(item(12000), since="2026-03-08")),
    )

    (event,) = months(date(2026, 3, 1), date(2026, 3, 1))
    (netted,) = months(date(2026, 3, 1), date(2026, 3, 1), view=View.NETTED)

    assert (event.churn_minor, event.reactivation_minor, event.expansion_minor) == (-10000, 12000, 0)
    assert (netted.churn_minor, netted.reactivation_minor, netted.expansion_minor) == (0, 0, 2000)
    assert (event.customers.churned, netted.customers.churned) == (1, 0)
    assert event.nrr == netted.nrr == Fraction(12, 10)
    assert (event.quick_ratio, netted.quick_ratio) == (Fraction(12, 10), None)
    assert event.closing_micros == netted.closing_micros


def test_opening_mrr_counts_in_the_opening_of_its_month(books):
    books.source("old", history_from=date(2026, 2, 1))
    books.customer(
        "cus_a", Subscription("sub_a").says("2026-02-03", state(item(3000), since="2024-05-10")), source="old"
    )

    (february,) = months(date(2026, 2, 1), date(2026, 2, 1))

    assert (february.opening_minor, february.new_minor, february.closing_minor) == (3000, 0, 3000)
    assert (february.customers.opening, february.customers.new) == (1, 0)


def test_parts_are_rounded_together(books):
    """Three customers of a third of a cent each come to one cent."""
    for number in range(3):
        books.customer(
            f"cus_{number}",
            Subscription(f"sub_{number}").says("2026-01-10", state(item("4", per="year"), since="2026-01-10")),
        )

    (january,) = months(date(2026, 1, 1), date(2026, 1, 1))

    assert (january.new_micros, january.new_minor, january.closing_minor) == (3 * 333333, 1, 1)


@pytest.mark.parametrize(
    ("opening", "parts"),
    [
        (500_000, [0, 1_000_000, 0]),  # 0.5 shows 0, 1.5 shows 2: the part that moved takes the difference
        (1_500_000, [1_000_000, 0, 0]),
        (0, [333_333, 333_333, 333_334]),
        (10_000_000, [-3_500_000, 1_250_000, 2_250_000]),
    ],
)
def test_parts_add_up_and_nothing_stays_nothing(opening, parts):
    total = shown(opening + sum(parts)) - shown(opening)

    rounded = selectors.parts_shown(total, parts)

    assert sum(rounded) == total
    assert all(minor == 0 for minor, micros in zip(rounded, parts, strict=True) if micros == 0)


def test_a_series_runs_on_before_and_after_what_is_known(company):
    found = months(date(2025, 11, 1), date(2026, 8, 1))

    assert [month.closing_minor for month in found[:3]] == [0, 0, 3000]
    assert found[-1].closing_minor == found[-3].closing_minor


@pytest.fixture
def late(monkeypatch):
    """Book entries of a type in May, as if their own month was closed when they became known."""
    enter = booking.enter

    def book(kind):
        def enter_late(entries):
            enter(entries)
            for made in entries:
                if made.type == kind:
                    made.backdated_from, made.book_month = made.effective_at.date(), date(2026, 5, 1)

        monkeypatch.setattr(booking, "enter", enter_late)

    return book


def test_as_closed_takes_late_facts_as_adjustments_of_their_book_month(late, request):
    late("expansion")
    request.getfixturevalue("company")

    march, april, may = months(date(2026, 3, 1), date(2026, 5, 1), basis=Basis.CLOSED)
    restated = months(date(2026, 5, 1), date(2026, 5, 1))[0]

    assert (march.expansion_minor, march.adjustment_minor) == (0, 0)
    assert april.opening_minor == march.closing_minor
    assert (may.expansion_minor, may.adjustment_minor) == (0, 2000)
    assert may.closing_micros == restated.closing_micros


def test_as_closed_keeps_the_count_of_customers_whole(late, request):
    late("churn")
    request.getfixturevalue("company")

    for view in View:
        april, may = months(date(2026, 4, 1), date(2026, 5, 1), currency="usd", basis=Basis.CLOSED, view=view)

        assert (april.customers.churned, april.customers.closing) == (0, 3)
        assert (may.customers.churned, may.customers.closing) == (1, 2)
        assert (april.churn_minor, may.adjustment_minor) == (0, -2000)


# ---- movements ----


def test_movements_come_oldest_first_with_the_balance_around_them(company):
    found = selectors.movements(MovementFilter(customer_pks=[company.a.pk, company.b.pk]), limit=10).movements

    assert [(row.customer_id, row.type, row.before_micros, row.after_micros) for row in found] == [
        ("cus_a", "new", 0, 3000 * MICROS),
        ("cus_b", "new", 0, 2000 * MICROS),
        ("cus_a", "expansion", 3000 * MICROS, 5000 * MICROS),
        ("cus_b", "churn", 2000 * MICROS, 0),
        ("cus_b", "reactivation", 0, 1500 * MICROS),
    ]


def test_a_movement_shows_the_difference_of_shown_balances(books):
    """8.33333333 shows 8.33; from there to 16.66666667 it is 8.34, so that what is shown adds up."""
    books.customer(
        "cus_a",
        Subscription("sub_a")
        .says("2026-01-10", state(item(10000, per="year")))
        .says("2026-02-10", state(item(10000, per="year", quantity=2))),
    )

    first, second = selectors.movements(MovementFilter(), limit=10).movements

    assert (first.amount_minor, second.amount_minor) == (833, 834)
    assert (first.arr_minor, second.arr_minor) == (10000, 10000)
    assert [line.minor for line in second.lines] == [834]


def test_pages_of_movements_go_both_ways(company):
    everything = selectors.movements(MovementFilter(), limit=100).movements
    seen, place = [], None
    while True:
        page = selectors.movements(MovementFilter(), limit=2, after=place)
        seen += page.movements
        if not page.has_later:
            break
        place = Place(page.movements[-1].effective_at, page.movements[-1].pk)
    back = selectors.movements(MovementFilter(), limit=2, before=Place(seen[-1].effective_at, seen[-1].pk))
    start = selectors.movements(MovementFilter(), limit=9, before=Place(seen[1].effective_at, seen[1].pk))

    assert seen == list(everything)
    assert list(back.movements) == seen[-3:-1]
    assert (back.has_earlier, back.has_later) == (True, True)
    assert (list(start.movements), start.has_earlier) == (seen[:1], False)


def test_days_are_included_at_both_ends(company):
    chosen = MovementFilter(first=date(2026, 2, 1), last=date(2026, 2, 20))

    assert [row.customer_id for row in selectors.movements(chosen, limit=10).movements] == ["cus_b", "cus_c"]


def test_a_list_behind_a_figure_adds_up_to_it(company):
    (april,) = months(date(2026, 4, 1), date(2026, 4, 1))
    chosen = MovementFilter(first=date(2026, 4, 1), last=date(2026, 4, 30), currency="usd", types=("churn",))

    (total,) = selectors.movement_totals(chosen)

    assert (total.count, total.micros) == (1, april.churn_micros)


def test_reversed_pairs_are_left_out_unless_asked_for(books):
    story = Subscription("sub_a").says("2026-01-10", state(item(3000)))
    customer = books.customer("cus_a", story)
    books.says(customer, story.says("2026-01-10 00:30", state(item(4000))), now=moment("2026-06-15 13:00"))

    standing = selectors.movements(MovementFilter(), limit=10).movements
    everything = selectors.movements(MovementFilter(has_reversed=True), limit=10).movements

    assert [(row.type, row.amount_minor) for row in standing] == [("new", 4000)]
    assert sorted((row.type, row.amount_minor) for row in everything) == [
        ("new", 3000),
        ("new", 4000),
        ("reversal", -3000),
    ]
    taken_back = next(row for row in everything if row.amount_minor == 3000)
    reversal = next(row for row in everything if row.type == "reversal")
    assert (taken_back.reversed_by, reversal.reverses) == (reversal.key, taken_back.key)
    assert (taken_back.before_micros, reversal.after_micros) == (None, None)
    assert mrr_of(TODAY) == 4000 * MICROS


def test_entries_are_found_by_key_event_and_customer(company):
    newest = selectors.latest_movements(limit=1)[0]

    assert newest.type == "reactivation"
    assert selectors.movement(newest.key) == newest
    assert selectors.movement("mle_unknown") is None
    assert [row.key for row in selectors.movements_of_event(newest.event_ids[0], company.b.pk)] == [newest.key]
    assert [row.type for row in selectors.movements_of([company.b.pk])[company.b.pk]] == [
        "new",
        "churn",
        "reactivation",
    ]
    assert selectors.mrr_by_subscription(company.b.pk) == {"sub_b1": 0, "sub_b2": 1500 * MICROS}


# ---- customers ----


def test_customers_come_largest_first_and_by_currency(company):
    first = selectors.customers(limit=3)
    rest = selectors.customers(limit=3, after=first.following)

    assert [(row.customer_id, row.balance.currency) for row in first.customers] == [
        ("cus_a", "usd"),
        ("cus_b", "usd"),
        ("cus_c", "usd"),
    ]
    assert [row.customer_id for row in rest.customers] == ["cus_d"]
    assert rest.following is None


def test_customers_are_searched_and_narrowed(company):
    CustomerBalance.objects.filter(customer=company.c).update(mrr_micros=0)

    def ids(**chosen):
        return [row.customer_id for row in selectors.customers(limit=10, **chosen).customers]

    assert ids(search="B@EXAMPLE") == ["cus_b"]
    assert ids(search="cus_d") == ["cus_d"]
    assert ids(is_paying=False) == ["cus_c"]
    assert ids(is_paying=True, currency="usd") == ["cus_a", "cus_b"]


def test_balances_say_what_a_customer_pays_now(company):
    found = selectors.balances([company.a.pk, company.b.pk])

    (balance,) = found[company.b.pk]
    assert (balance.mrr_minor, balance.arr_minor, balance.cohort_month) == (1500, 18000, date(2026, 2, 1))
    assert set(selectors.paying_customers()) == {company.a.pk, company.b.pk, company.c.pk, company.d.pk}
    assert selectors.currencies() == ["usd", "jpy"]


# ---- cohorts ----


def test_the_cohorts_of_a_month_add_up_to_its_mrr(company):
    found = selectors.cohorts(Measure.NET_MRR, today=TODAY).cohorts

    for month in months(date(2026, 1, 1), date(2026, 6, 1)):
        cells = [cell for cohort in found for cell in cohort.cells if cell.month == month.month]
        assert sum(cell.micros for cell in cells) == month.closing_micros
        assert sum(cell.customers for cell in cells) == month.customers.closing


def test_a_customer_that_returns_is_in_its_old_cohort(company):
    february = selectors.cohorts(Measure.LOGO, today=TODAY).cohorts[1]

    assert (february.cohort, february.customers) == (date(2026, 2, 1), 2)
    assert [cell.customers for cell in february.cells] == [2, 2, 1, 1, 2]
    assert february.cells[-1].is_running


def test_cohorts_are_of_one_currency(company):
    assert [row.acquired_micros for row in selectors.cohorts(Measure.NET_MRR, today=TODAY, currency="jpy").cohorts] == [
        12000 * MICROS
    ]


# ---- cost ----


@pytest.mark.parametrize(
    ("read", "most"),
    [
        (lambda: selectors.mrr_at(TODAY, today=TODAY), 8),
        (lambda: selectors.series(date(2026, 1, 1), date(2026, 6, 1), today=TODAY), 3),
        (lambda: selectors.series(date(2026, 1, 1), date(2026, 6, 1), today=TODAY, currency="usd"), 2),
        (lambda: selectors.series(date(2026, 1, 1), date(2026, 6, 1), today=TODAY, basis=Basis.CLOSED), 5),
        (
            lambda: selectors.series(
                date(2026, 1, 1), date(2026, 6, 1), today=TODAY, currency="usd", basis=Basis.CLOSED
            ),
            3,
        ),
        (lambda: selectors.movements(MovementFilter(), limit=100), 4),
        (lambda: selectors.movement_totals(MovementFilter()), 2),
        (lambda: selectors.latest_movements(limit=8), 4),
        (lambda: selectors.customers(limit=100, search="a"), 3),
        (lambda: selectors.cohorts(Measure.LOGO, today=TODAY), 3),
        (lambda: selectors.cohorts(Measure.LOGO, today=TODAY, currency="usd"), 2),
        (lambda: selectors.gaps(), 4),
    ],
)
def test_reading_takes_few_queries_however_many_customers(company, read, most):
    with CaptureQueriesContext(connection) as queries:
        read()

    assert len(queries) <= most, [query["sql"] for query in queries]
