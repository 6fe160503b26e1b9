"""Rates change while entries in other currencies are posted: nothing stays converted at an old rate."""

import threading
import time
from contextlib import suppress
from datetime import date
from fractions import Fraction

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from mrr import fx
from mrr.engine.money import MICROS
from mrr.engine.rates import Quote
from mrr.models import ConvertedRollup
from tests.mrr.books import Books
from tests.mrr.conftest import Threads
from tests.mrr.histories import Subscription, item, state


def euros(rate):
    return fx.store([Quote(date(2026, 1, 15), "eur", "usd", rate, "manual")])


def test_an_import_waits_for_those_who_post_and_converts_what_they_added(own_database):
    euros("1.10")
    books = Books()
    books.source()
    is_posted, may_commit, said = threading.Event(), threading.Event(), []

    def post():
        with transaction.atomic():
            since = "2026-01-15"
            told = Subscription("sub_a").says(since, state(item(10000, currency="eur"), since=since, currency="eur"))
            books.customer("cus_a", told)
            is_posted.set()
            assert may_commit.wait(20)

    def correct():
        assert is_posted.wait(20)
        said.append(euros("1.20"))

    both = Threads(post, correct)
    assert is_posted.wait(20)
    time.sleep(0.3)
    assert not said  # it waits: the entry is not committed yet
    may_commit.set()
    both.join()

    assert (said[0].changed, said[0].months) == (1, 1)
    assert ConvertedRollup.objects.get().new_micros == 12000 * MICROS
    assert list(fx.differences()) == []


def test_a_rebuild_that_was_cut_off_goes_on_with_the_next_call(own_database, monkeypatch):
    books = Books()
    for month in (1, 2, 3):
        day = f"2026-0{month}-15"
        told = Subscription(f"sub_{month}").says(day, state(item(10000, currency="eur"), since=day, currency="eur"))
        books.customer(f"cus_{month}", told)
    rebuild, done = fx._rebuild_month, []

    def killed(book, currency, month):
        if done:
            raise KeyboardInterrupt
        done.append(month)
        rebuild(book, currency, month)

    monkeypatch.setattr(fx, "_rebuild_month", killed)
    with suppress(KeyboardInterrupt):
        fx.store([Quote(date(2026, month, 14), "eur", "usd", "1.10", "manual") for month in (1, 2, 3)])
    monkeypatch.setattr(fx, "_rebuild_month", rebuild)
    assert "still to be converted" in next(fx.differences())

    fx.rebuild()

    assert list(fx.differences()) == []
    assert sum(ConvertedRollup.objects.values_list("new_micros", flat=True)) == 33000 * MICROS


@pytest.mark.django_db
def test_rates_are_read_once_until_they_change():
    euros("1.10")
    first = fx.conversion(["eur"])
    with CaptureQueriesContext(connection) as queries:
        again = fx.conversion(["eur"])
    euros("1.20")

    assert len(queries) == 1
    assert again.rates is first.rates
    assert fx.conversion(["eur"]).rates.on("eur", date(2026, 1, 15)) == Fraction(12, 10)
