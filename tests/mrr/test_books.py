"""Where entries are booked, and months as closed: nothing that is learned later moves them."""

from __future__ import annotations

import json
import threading
from datetime import date, timedelta
from itertools import pairwise

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from mrr import as_closed, books, check, close, digests, rollups, selectors
from mrr.as_closed import Booked
from mrr.models import BookRollup, BookState, LedgerEntry
from mrr.selectors import Basis, View
from tests.mrr.books import Books, moment
from tests.mrr.conftest import Threads
from tests.mrr.histories import Subscription, item, state

MONTHS = [date(2026, month, 1) for month in range(1, 7)]


def fiona():
    user, _ = get_user_model().objects.get_or_create(username="fiona")
    user.groups.add(Group.objects.get_or_create(name="finance")[0])
    return user


def closed_series(view: View = View.EVENT, *, last: date = MONTHS[-1], basis: Basis = Basis.CLOSED):
    found = selectors.series(MONTHS[0], last, today=date(2026, 12, 1), currency="usd", basis=basis, view=view)
    return list(found.months)


def differences() -> list[str]:
    """Check all but the recount: these customers were told without Stripe's events."""
    told: list[str] = []
    check.check(now=moment("2026-12-01"), tell=told.append, parts=[part for part in check.PARTS if part != "customers"])
    return told


# ---- the book month ----


@pytest.mark.parametrize(
    ("closed", "booked", "backdated"),
    [
        (None, date(2026, 2, 1), None),
        (date(2026, 1, 1), date(2026, 2, 1), None),
        (date(2026, 2, 1), date(2026, 3, 1), date(2026, 2, 10)),
        (date(2026, 4, 1), date(2026, 5, 1), date(2026, 2, 10)),
    ],
)
def test_an_entry_goes_to_its_month_or_to_the_first_open_one(db, closed, booked, backdated):
    BookState.objects.update(closed_through=closed)

    Books().customer("cus_a", Subscription("sub_a").says("2026-02-10", state(item(3000), since="2026-02-10")))

    entry = LedgerEntry.objects.get()
    assert (entry.book_month, entry.backdated_from) == (booked, backdated)
    assert entry.effective_at == moment("2026-02-10")  # a close never alters it


def test_the_month_is_that_of_the_reporting_zone(db, settings):
    """V38: 04:30 UTC on 1 March is still February in New York."""
    settings.REPORTING_TIME_ZONE = "America/New_York"
    BookState.objects.update(closed_through=date(2026, 2, 1))

    told = Subscription("sub_a").says("2026-03-01 04:30", state(item(3000), since="2026-03-01 04:30"))
    Books().customer("cus_a", told)

    entry = LedgerEntry.objects.get()
    assert (entry.book_month, entry.backdated_from) == (date(2026, 3, 1), date(2026, 2, 28))


def test_a_reversal_has_the_time_of_its_entry_and_a_book_month_of_its_own(db):
    kept = Books()
    early, late = state(item(3000), since="2026-02-10"), state(item(5000), since="2026-01-20")
    customer = kept.customer("cus_a", Subscription("sub_a").says("2026-02-10", early))
    close_through(2)

    kept.says(customer, Subscription("sub_a").says("2026-01-20", late))

    first, reversal, new = LedgerEntry.objects.order_by("pk")
    assert (first.book_month, first.backdated_from) == (date(2026, 2, 1), None)
    assert (reversal.effective_at, reversal.book_month) == (first.effective_at, date(2026, 3, 1))
    assert (reversal.backdated_from, new.backdated_from) == (date(2026, 2, 10), date(2026, 1, 20))
    january, february, march = closed_series(last=MONTHS[2])
    assert (january.closing_minor, february.new_minor, february.closing_minor) == (0, 3000, 3000)
    assert (march.adjustment_minor, march.closing_minor, march.customers.closing) == (2000, 5000, 1)
    assert differences() == []


def test_the_hash_of_an_entry_is_the_one_of_the_row_as_read_back(db):
    """Databases give JSON back with keys in another order, and times in another zone."""
    told = Subscription("sub_a").says("2026-02-10", state(item(3000, quantity=3), item(10, id="si_2")))
    Books().customer("cus_a", told)

    row = LedgerEntry.objects.get()

    assert row.digest == digests.of_entry(row, reverses="", bodies={})
    assert len(row.digest) == 64


# ---- a close and a post ----


def close_through(month: int) -> None:
    """Close every month from the first open one to this one."""
    while (first := close.first_open_month(books.closed_through())) and first <= MONTHS[month - 1]:
        close.close(first, user=fiona(), now=moment("2026-12-01"))


def test_nobody_closes_while_somebody_posts(own_database):
    """An entry is posted into January and not committed yet: the close waits, and has it."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: a close cannot begin meanwhile")
    kept = Books()
    kept.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000))))
    who = fiona()
    closed = threading.Event()

    def close_january() -> None:
        close.close(date(2026, 1, 1), user=who, now=moment("2026-03-01"))
        closed.set()

    with transaction.atomic():
        kept.customer("cus_b", Subscription("sub_b").says("2026-01-12", state(item(2000), since="2026-01-12")))
        closing = Threads(close_january)
        assert not closed.wait(0.5)
    closing.join()

    (action,) = selectors.closed_months()
    assert (action.entries, action.figures[0]["closing_micros"]) == (2, 5_000_000_000)
    assert differences() == []


def test_nobody_posts_into_a_month_that_is_being_closed(own_database):
    """The close is not committed yet: who posts waits, and books in February."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: a post cannot begin meanwhile")
    kept = Books()
    kept.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000))))
    posted = threading.Event()

    def post() -> None:
        kept.customer("cus_b", Subscription("sub_b").says("2026-01-12", state(item(2000), since="2026-01-12")))
        posted.set()

    with transaction.atomic():
        close.close(date(2026, 1, 1), user=fiona(), now=moment("2026-03-01"))
        posting = Threads(post)
        assert not posted.wait(0.5)
    posting.join()

    late = LedgerEntry.objects.get(customer__stripe_id="cus_b")
    assert (late.book_month, late.backdated_from) == (date(2026, 2, 1), date(2026, 1, 12))
    assert differences() == []


def test_many_post_together(own_database):
    """Who posts holds the books together with others: two transactions with entries stand open at once."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    kept = Books()
    kept.source()
    done = threading.Event()

    def post() -> None:
        kept.customer("cus_b", Subscription("sub_b").says("2026-01-12", state(item(2000, per="year"))), source="other")
        done.set()

    with transaction.atomic():
        kept.customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000))))
        posting = Threads(post)
        assert done.wait(10)
    posting.join()


def test_posts_and_closes_all_at_once_leave_closed_months_as_they_were(own_database):
    kept = Books()
    kept.customer("cus_0", Subscription("sub_0").says("2026-01-10", state(item(3000))))
    who = fiona()

    def post(worker: int) -> None:
        for number in range(12):
            name = f"{worker}_{number}"
            at = f"2026-0{number % 4 + 1}-1{number % 10}"
            kept.customer(
                f"cus_{name}", Subscription(f"sub_{name}").says(at, state(item(1000), since=at)), source=f"s{worker}"
            )

    def close_all() -> None:
        for month in MONTHS[:4]:
            close.close(month, user=who, now=moment("2026-12-01"))

    Threads(lambda: post(1), lambda: post(2), close_all).join(60)

    assert [month.month for month in selectors.closed_months()] == list(reversed(MONTHS[:4]))
    assert differences() == []


# ---- properties: pure ----

steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding


@st.composite
def bookings(draw) -> list[Booked]:
    """One customer's entries in one currency as they were posted: some taken back, months closing in between."""
    entries: list[Booked] = []
    standing: list[Booked] = []
    first_open = 0
    for _ in range(draw(st.integers(1, 14))):
        step = draw(st.sampled_from(["post", "post", "post", "take back", "close"]))
        if step == "close":
            first_open = min(first_open + 1, 5)
        elif step == "take back" and standing:
            old = standing.pop(draw(st.integers(0, len(standing) - 1)))
            entries.append(_booked(len(entries), old.type, -old.micros, -old.paying_delta, old.at, first_open, old))
        else:
            at, micros = draw(st.integers(0, 599)), draw(st.integers(-3, 3).filter(bool)) * 10
            kind = draw(st.sampled_from(["new", "expansion", "contraction", "churn", "reactivation"]))
            delta = {"new": 1, "reactivation": 1, "churn": -1}.get(kind, 0)
            entries.append(_booked(len(entries), kind, micros, delta, at, first_open, None))
            standing.append(entries[-1])
    return entries


def _booked(
    sequence: int, kind: str, micros: int, delta: int, at: int, first_open: int, reverses: Booked | None
) -> Booked:
    own = at // 100
    return Booked(
        sequence,
        kind,
        "usd",
        micros,
        delta,
        at,
        max(own, first_open),
        own,
        own < first_open,
        None if reverses is None else reverses.sequence,
    )


def _total(sums: rollups.Sums, month: int | None = None) -> int:
    return sum(
        cell.get(name, 0)
        for (_, at), cell in sums.items()
        for name in (*rollups.EVENT_COLUMN.values(), "adjustment_micros")
        if month is None or at == month
    )


def _restated(entries: list[Booked]) -> rollups.Sums:
    taken_back = {entry.reverses for entry in entries}
    standing = [entry for entry in entries if entry.reverses is None and entry.sequence not in taken_back]
    return rollups.months_of(
        [rollups.Standing(e.type, e.currency, e.micros, e.paying_delta, e.at, e.own_month) for e in standing]
    )


@steady
@given(bookings())
def test_as_closed_and_as_restated_come_to_the_same_in_total(entries):
    assert _total(as_closed.as_closed(entries)) == _total(_restated(entries))


@steady
@given(bookings(), st.data())
def test_what_is_booked_later_leaves_earlier_months_alone(entries, data):
    cut = data.draw(st.integers(0, len(entries)))
    closed = min((entry.month for entry in entries[cut:]), default=99)

    before, after = as_closed.as_closed(entries[:cut]), as_closed.as_closed(entries)

    for key in before.keys() | after.keys():
        if key[1] < closed:
            assert _filled(before.get(key)) == _filled(after.get(key))


@steady
@given(bookings())
def test_where_nothing_is_late_both_are_the_same(entries):
    own = [
        Booked(**{name: getattr(e, name) for name in e.__slots__} | {"month": e.own_month, "is_late": False})
        for e in entries
    ]

    closed, restated = as_closed.as_closed(own), _restated(own)

    assert as_closed.difference(own, restated) == {}
    for key in closed.keys() | restated.keys():
        assert _filled(closed.get(key), netted=False) == _filled(restated.get(key), netted=False)


@steady
@given(bookings())
def test_a_pair_taken_back_in_its_own_month_is_as_if_never_there(entries):
    taken = {entry.reverses: entry for entry in entries if entry.reverses is not None}
    gone = {e.sequence for e in entries if e.sequence in taken and taken[e.sequence].month == e.month}
    rest = [e for e in entries if e.sequence not in gone and e.reverses not in gone]

    assert as_closed.as_closed(entries) == as_closed.as_closed(rest)


@steady
@given(bookings())
def test_customers_close_as_they_open_and_move(entries):
    """Whatever months are closed in between, all counts together are the customers there are."""
    sums = as_closed.as_closed(entries)
    begun = sum(
        cell.get(f"{name}_customers", 0) for cell in sums.values() for name in ("opening", "new", "reactivated")
    )
    gone = sum(cell.get("churned_customers", 0) for cell in sums.values())

    assert begun - gone == sum(entry.paying_delta for entry in entries)


def _filled(cell: dict[str, int] | None, *, netted: bool = True) -> dict[str, int]:
    kept = {name: amount for name, amount in (cell or {}).items() if amount}
    return kept if netted else {name: amount for name, amount in kept.items() if not name.startswith("netted")}


# ---- properties: through the database ----

AMOUNTS = st.integers(1, 9)


@st.composite
def lives(draw) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """What becomes known of three customers, bit by bit: (customer, closes before it, [(month, amount), …])."""
    known: dict[int, dict[int, int]] = {0: {}, 1: {}, 2: {}}
    told = []
    for _ in range(draw(st.integers(2, 7))):
        customer = draw(st.integers(0, 2))
        known[customer][draw(st.integers(0, 4))] = draw(st.integers(0, 9)) * 1000
        told.append((customer, draw(st.integers(0, 2)), sorted(known[customer].items())))
    return told


class ClosedMonthsNeverChange(TestCase):
    """Hypothesis' own test case: each example in a transaction of its own."""

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lives())
    def test_closed_months_stand_and_all_adds_up(self, told):
        kept = Books(now=moment("2026-11-01"))
        customers = {number: kept.customer(f"cus_{number}") for number in range(3)}
        frozen: dict[date, str] = {}
        who = fiona()

        for customer, closes, steps in told:
            for _ in range(closes):
                month = close.first_open_month(books.closed_through())
                if month is not None and month < MONTHS[-1]:
                    close.close(month, user=who, now=moment("2026-12-01"))
                    frozen[month] = _written(month)
            kept.says(customers[customer], _subscription(customer, steps))

        for month, written in frozen.items():
            assert _written(month) == written
        closed, restated = closed_series(), closed_series(basis=Basis.RESTATED)
        assert closed[-1].closing_micros == restated[-1].closing_micros
        for before, after in pairwise(closed):
            assert before.closing_micros == after.opening_micros
        for month in closed:
            parts = (
                month.new_micros
                + month.expansion_micros
                + month.reactivation_micros
                + month.contraction_micros
                + month.churn_micros
                + month.adjustment_micros
            )
            assert month.opening_micros + parts == month.closing_micros
        moved = sum(month.adjustment_micros for month in closed)
        assert moved == sum(
            LedgerEntry.objects.filter(backdated_from__isnull=False).values_list("amount_micros", flat=True)
        )
        assert sum(reversal.amount_micros + reversal.reverses.amount_micros for reversal in _reversals()) == 0
        assert differences() == []


def _reversals():
    return LedgerEntry.objects.filter(reverses__isnull=False).select_related("reverses")


def _written(month: date) -> str:
    """Write out all that a closed month shows, in both views."""
    views = [
        selectors.series(month, month, today=date(2026, 12, 1), currency="usd", basis=Basis.CLOSED, view=view).months
        for view in View
    ]
    return repr(views) + json.dumps(list(close.figures(month)))


def _subscription(customer: int, steps: list[tuple[int, int]]) -> Subscription:
    sub = Subscription(f"sub_{customer}")
    since = f"2026-0{steps[0][0] + 1}-1{customer}"
    for month, amount in steps:
        sub.says(f"2026-0{month + 1}-1{customer}", state(item(amount), since=since))
    return sub


def test_the_difference_is_kept_only_where_something_is_late(db):
    Books().customer("cus_a", Subscription("sub_a").says("2026-02-10", state(item(3000), since="2026-02-10")))

    assert not BookRollup.objects.exists()
    assert books.closed_through() is None
    assert timedelta(hours=24) == selectors.closing.NOTICE
