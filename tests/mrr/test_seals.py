"""The chain over the entries: sealed once each, by whoever comes, in whatever order they came into sight."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from config import doctor, tasks
from mrr import check, seals
from mrr.models import LedgerEntry, MonthRollup, Seal
from mrr.seals import Ranges, ranges_of
from tests.mrr.books import Books, moment
from tests.mrr.conftest import Threads
from tests.mrr.histories import Subscription, item, state

NOW = moment("2026-06-15 12:00")


def customers(count: int, *, begin: int = 0, source: str = "main") -> list[LedgerEntry]:
    """Post one entry for each of so many customers."""
    kept = Books()
    for number in range(begin, begin + count):
        told = Subscription(f"sub_{number}").says("2026-01-10", state(item(3000)))
        kept.customer(f"cus_{number}", told, source=source)
    return list(LedgerEntry.objects.order_by("pk"))


def sealed() -> list[int]:
    """Return the keys of all sealed rows, as often as they are sealed."""
    found = [
        pk for ranges in Seal.objects.values_list("ranges", flat=True) for a, b in ranges for pk in range(a, b + 1)
    ]
    return sorted(found)


def findings() -> list[str]:
    told: list[str] = []
    check.check(now=timezone.now() + timedelta(days=1), tell=told.append, parts=("entries", "seals"))
    return told


def test_each_entry_is_sealed_once_and_nothing_makes_no_seal(db):
    entries = customers(5)

    assert seals.seal_all(now=NOW) == 5
    assert seals.seal_all(now=NOW + timedelta(minutes=1)) == 0
    assert sealed() == [entry.pk for entry in entries]
    assert (seals.head().number, seals.head().entries) == (1, 5)


def test_a_seal_names_the_hash_of_the_one_before(db):
    customers(2)
    seals.seal_all(now=NOW)
    customers(1, begin=2)
    seals.seal_all(now=NOW + timedelta(minutes=1))

    first, second, third = Seal.objects.order_by("number")

    assert (second.previous, third.previous) == (first.digest, second.digest)
    assert findings() == []


def test_many_entries_take_several_seals(db, monkeypatch):
    monkeypatch.setattr(seals, "ENTRIES_A_SEAL", 3)
    entries = customers(8)

    assert seals.seal_all(now=NOW) == 8
    assert seals.head().number == 3
    assert sealed() == [entry.pk for entry in entries]


def test_an_entry_that_is_not_sealed_yet_is_no_finding(db):
    customers(2)
    seals.seal_all(now=timezone.now())
    customers(1, begin=2)

    assert findings() == []


def test_an_entry_committed_after_ones_with_higher_keys_is_sealed_too(own_database):
    """PostgreSQL gives keys before the commit: another connection may commit first."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: keys come in the order of commits")
    customers(2)
    with transaction.atomic():
        customers(1, begin=2)
        Threads(lambda: customers(2, begin=3, source="other")).join()  # another's sums: the first's are held
        Threads(lambda: seals.seal_all(now=NOW)).join()
        hidden = LedgerEntry.objects.get(customer__stripe_id="cus_2").pk
        assert hidden not in sealed()
        assert seals.head().last_entry > hidden

    seals.seal_all(now=NOW + timedelta(minutes=1))

    assert sealed() == sorted(LedgerEntry.objects.values_list("pk", flat=True))
    assert findings() == []


def test_many_who_seal_at_once_seal_each_entry_once(own_database):
    stop = []

    def seal() -> None:
        while not stop:
            seals.seal_all(now=NOW)

    def post(begin: int) -> None:
        for number in range(begin, begin + 15):
            customers(1, begin=number)

    sealing = Threads(seal, seal, seal)
    try:
        Threads(lambda: post(0), lambda: post(100)).join(60)
    finally:
        stop.append(True)
        sealing.join(60)
    seals.seal_all(now=NOW + timedelta(minutes=1))

    assert sealed() == sorted(LedgerEntry.objects.values_list("pk", flat=True))
    assert len(sealed()) == 30
    assert findings() == []


def test_ranges_are_as_few_as_can_be():
    assert ranges_of([1, 2, 3, 7, 9, 10]) == [[1, 3], [7, 7], [9, 10]]
    ranges = Ranges([[7, 7], [1, 3], [4, 5]])
    assert ranges.parts == [(1, 5), (7, 7)]
    assert [pk for pk in range(10) if pk in ranges] == [1, 2, 3, 4, 5, 7]
    assert (ranges.above(0), ranges.above(3), ranges.above(7)) == (6, 3, 0)


# ---- the nightly check, in slices ----


@pytest.fixture
def without_recount(monkeypatch):
    """These customers were told without Stripe's events: count them, and leave what they come to."""
    monkeypatch.setattr(check, "_movements_differ", lambda *_: [])
    monkeypatch.setattr(check, "_balances_differ", lambda *_: [])


def test_the_nightly_check_goes_on_where_it_stopped(db, without_recount):
    customers(7)
    seals.seal_all(now=NOW)
    slices = 0
    while (row := check.check_some(now=NOW, seconds=0.000001)) and row.finished_at is None:
        slices += 1

    assert slices > 3
    assert (row.customers, row.entries, row.differences, row.findings) == (7, 7, 0, [])
    assert (row.seal_number, row.seal_digest) == (1, seals.head().digest)
    assert check.check_some(now=NOW + timedelta(hours=1), seconds=1) is None  # one a night
    again = check.check_some(now=NOW + timedelta(days=1), seconds=60)
    assert again is not None
    assert again.pk != row.pk


def test_the_job_of_each_minute_seals_and_checks(db, without_recount):
    customers(2)

    tasks.keep_books()

    assert len(sealed()) == 2
    last = check.last_run()
    assert last is not None
    assert (last.customers, last.differences) == (2, 0)


def test_two_workers_never_do_the_same_slice(db, monkeypatch, without_recount):
    customers(1)
    step = check._step
    seen = []

    def meanwhile(run, part, after):
        if not seen:
            seen.append(check.check_some(now=NOW, seconds=60))
        return step(run, part, after)

    monkeypatch.setattr(check, "_step", meanwhile)
    row = check.check_some(now=NOW, seconds=60)

    assert seen == [None]
    assert row is not None
    assert row.finished_at == NOW


def test_what_the_night_found_is_told_by_doctor(db, without_recount):
    customers(1)
    MonthRollup.objects.update(new_micros=1)
    check.check_some(now=timezone.now(), seconds=60)

    found = [one for one in doctor.examine(now=timezone.now()) if one.check == "ledger"]

    assert [one.is_well for one in found] == [False]
    assert "found 1 differences. The first: MonthRollup source" in found[0].seen
