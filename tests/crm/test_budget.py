"""The wall around API calls: a day's pace, the org's reserve, and what is said when it is reached."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import pipeline
from crm import outbox
from crm.channels.salesforce import budget, pace
from crm.channels.salesforce.packing import Question, Write, pack
from crm.models import ApiHour, Priority, SalesforceOrg, SyncRecord
from tests.crm.conftest import reads

DAY = pace.DAY_SECONDS


class Org:
    """A day of one org with a clock of its own: flushes go when the pace allows, and carry what is due."""

    def __init__(self, allowance: int = 3000) -> None:
        self.allowance, self.calls, self.credit, self.at = allowance, 0, pace.BURST_CALLS * pace.CALL, 0.0

    def day(self, now: float) -> pace.Day:
        return pace.Day(self.calls, self.allowance, DAY - now)

    def wait(self, now: float) -> float:
        """Return how long until a flush may go."""
        self.credit = pace.credit_after(self.credit, idle_seconds=now - self.at, day=self.day(now))
        self.at = now
        return pace.wait_seconds(self.credit, day=self.day(now))

    def send(self, calls: int) -> None:
        self.calls += calls
        self.credit -= calls * pace.CALL


# ---- a day's pace: pure ----


@given(st.randoms(use_true_random=False), st.integers(200, 5000), st.floats(0.1, 600))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_day_ever_passes_its_allowance(chance, allowance, longest):
    org, now = Org(allowance), 0.0
    for gap in [*(chance.uniform(0, longest) for _ in range(400)), *([0.0] * 200)]:
        now = min(DAY, now + gap)
        if org.wait(now) == 0:
            org.send(1)
    promised = org.calls + org.credit / pace.CALL + (DAY - now) / org.day(now).slowest_seconds

    assert promised <= allowance + 1


def test_a_single_event_goes_at_once_whatever_the_hour():
    for hour in range(24):
        org = Org()
        org.at = hour * 3600.0
        assert org.wait(hour * 3600.0 + 1) == 0


def test_a_rush_of_ten_minutes_at_noon_is_sent_within_a_second_or_so():
    org, now, gaps = Org(), DAY / 2, []
    org.at = now
    while now < DAY / 2 + 600:
        wait = org.wait(now)
        gaps.append(wait)
        now += max(wait, 0.25)  # a call takes a quarter of a second; what falls due meanwhile goes with the next
        org.wait(now)
        org.send(1)

    assert sorted(gaps)[len(gaps) // 2] < 1
    assert max(gaps) < 1.5


def test_a_day_of_two_hundred_thousand_events_takes_at_most_three_thousand_calls():
    """Events come all day, most at office hours, in rushes; each owes a schedule entry and its Account, some more."""
    chance, org, now = random.Random(7), Org(), 0.0
    arrivals = sorted(_office_hours(chance) for _ in range(199_000)) + sorted(
        chance.uniform(0, DAY) for _ in range(1000)
    )
    arrivals.sort()
    place, due, slowest = 0, [], 0.0
    while place < len(arrivals) or due:
        if not due:
            now = max(now, arrivals[place])
        now += org.wait(now)
        since = due[0][0] if due else now
        while place < len(arrivals) and arrivals[place] <= now:
            due.append((arrivals[place], place))
            place += 1
        taken, due = due[:400], due[400:]
        calls = len(pack(_owed(taken), [Question((-1,), "SELECT Id FROM Opportunity")]))
        org.send(calls)
        slowest = max(slowest, now - since) if now < DAY else slowest
        now += 0.3 * calls

    assert org.calls <= 3000
    assert slowest <= 150


def _office_hours(chance: random.Random) -> float:
    return min(DAY - 1.0, max(0.0, chance.gauss(14 * 3600, 3 * 3600)))


def _owed(taken) -> list[Write]:
    writes = [
        Write(number, f"001{number % 5000}", "MRR_Schedule__c", {}, key_field="K", key=f"{number}")
        for _, number in taken
    ]
    accounts = {number % 5000 for _, number in taken}
    return writes + [Write(number, f"001{number}", "Account", {}, their_id=f"001{number}") for number in accounts]


def test_what_an_org_has_left_slows_sending_before_it_stops():
    assert not pace.is_scarce(used=50, limit=100, reserve=50 - 49)
    assert pace.is_scarce(used=9_100, limit=10_000, reserve=500)
    assert not pace.is_spent(used=9_499, limit=10_000, reserve=500)
    assert pace.is_spent(used=9_500, limit=10_000, reserve=500)
    scarce = pace.Day(0, 3000, DAY, is_scarce=True)
    assert pace.wait_seconds(0, day=scarce) == pytest.approx(30)


def test_the_forecast_is_what_the_pace_lets_through():
    quiet = pace.Day(100, 3000, DAY / 2)

    assert pace.forecast(quiet, lately=60, lately_seconds=3600) == 100 + 12 * 60
    assert pace.forecast(quiet, lately=3600, lately_seconds=3600) == 3000


# ---- against the org ----


@pytest.mark.django_db
def test_calls_are_counted_by_the_hour_as_writes_and_reads(scenario, salesforce, live):
    account = salesforce.add_account(Name="Acme")
    salesforce.add_opportunity(AccountId=account)
    reads(salesforce)
    ApiHour.objects.all().delete()
    scenario.customer("Acme", salesforce_account_id=account).subscribes("team", monthly="30.00", on="2026-01-10")

    live.refresh_from_db()
    found = budget.status(live, now=timezone.now())

    assert (found.writes, found.reads) == (2, 0)  # the match's refresh; the subscription's records with their question
    assert (found.used, found.limit) == (salesforce.calls, 15_000)
    assert found.forecast >= 1 and found.gap_seconds == 0 and found.stopped_at is None


@pytest.mark.django_db
def test_it_stops_at_the_reserve_says_so_once_and_resumes_when_calls_are_free(scenario, salesforce, live, caplog):
    accounts = [salesforce.add_account(Name=f"Acme {number}") for number in range(3)]
    reads(salesforce)
    salesforce.used_by_others = 0
    salesforce.calls, salesforce.daily_limit = 0, 100
    SalesforceOrg.objects.update(reserve_calls=50, calls_used=0, calls_limit=100)
    now = timezone.now()
    for _turn in range(90):
        now += timedelta(seconds=31)
        outbox.owe_accounts(accounts, now=now)
        SyncRecord.objects.update(fields_sent=None)
        pipeline.drain_outbox(now=now)

    assert salesforce.calls <= 51
    org = SalesforceOrg.objects.get()
    assert org.stopped_at is not None and org.calls_used >= 50
    assert sum("stopped at the reserve" in str(record.msg) for record in caplog.records) == 1
    assert SyncRecord.objects.filter(state="waiting").count() == 3
    assert not outbox.is_due(pipeline.CHANNELS, now=now)

    salesforce.calls = 3
    for _turn in range(4):
        now += timedelta(minutes=16)
        pipeline.drain_outbox(now=now)

    org.refresh_from_db()
    assert org.stopped_at is None
    assert set(SyncRecord.objects.values_list("state", flat=True)) == {"sent"}


@pytest.mark.django_db
def test_a_limit_that_others_used_up_pauses_and_is_not_hammered(salesforce, live):
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    outbox.owe_accounts([account], now=timezone.now())
    salesforce.used_by_others = 15_000

    for _ in range(10):
        pipeline.drain_outbox()

    assert len(salesforce.requests) == 1
    assert SyncRecord.objects.get().attempts == 0


@pytest.mark.django_db
def test_while_the_pace_is_slow_nothing_goes_and_nothing_is_lost(salesforce, live):
    account = salesforce.add_account(Name="Acme")
    reads(salesforce)
    now = timezone.now()
    SalesforceOrg.objects.update(flush_credit=0, flush_credit_at=now, write_allowance=10)
    outbox.owe_accounts([account], now=now)

    pipeline.drain_outbox(now=now)
    assert salesforce.requests == [] and SyncRecord.objects.get().state == "waiting"
    assert not outbox.is_due(pipeline.CHANNELS, now=now)  # nobody polls for it: the sweep finds it
    pipeline.drain_outbox(now=now + timedelta(hours=3))

    assert SyncRecord.objects.get().state == "sent"


@pytest.mark.django_db
def test_the_day_is_that_of_the_reporting_zone(salesforce, live, settings):
    settings.REPORTING_TIME_ZONE = "America/New_York"
    midnight = datetime(2026, 3, 31, tzinfo=ZoneInfo("America/New_York"))
    ApiHour.objects.all().delete()
    for hours, writes in ((-1, 7), (0, 3), (5, 2)):
        ApiHour.objects.create(org=live, hour=midnight + timedelta(hours=hours), writes=writes)

    assert budget.status(live, now=midnight + timedelta(hours=9)).writes == 5


@pytest.mark.django_db
def test_what_matters_most_goes_first(salesforce, live):
    ids = [f"0015g{number:010}AAA" for number in range(3)]
    now = timezone.now()
    for account_id, priority in zip(ids, (3, 2, 1), strict=True):
        outbox.owe_accounts([account_id], now=now, priority=Priority(priority))

    parcel = outbox.claim(pipeline.CHANNELS[0], now=now)

    assert [row.key for row in parcel.rows] == list(reversed(ids))
