"""The outbox as a queue: versions are never lost, no row is taken twice, spacing and giving up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from crm import outbox, selectors
from crm.channels.kinds import Dropped, Held, Permanent, Postponed, Sent, Transient, Unclear, Wait, WouldSend
from crm.models import SyncRecord

ACCOUNT = "0015g000000000AAAQ"


pytestmark = pytest.mark.django_db


class Scripted:
    """A channel that says what it is told to say."""

    name, work, batch = "salesforce", "records", 100

    def __init__(self, outcome=None) -> None:
        self.outcome = outcome

    def is_open(self, *, now) -> bool:
        return True

    def deliver(self, parcel, *, now):
        return {row.pk: self.outcome for row in parcel.rows if self.outcome is not None}


def owed() -> SyncRecord:
    outbox.owe_accounts([ACCOUNT], now=timezone.now())
    return SyncRecord.objects.get()


def after(outcome, *, times: int = 1) -> SyncRecord:
    record = owed()
    for _ in range(times):
        now = timezone.now()
        SyncRecord.objects.filter(state="waiting").update(due_at=now)
        outbox.send_due([Scripted(outcome)], now=now)
    record.refresh_from_db()
    return record


NOW = timezone.now()


@pytest.mark.parametrize(
    ("outcome", "state", "attempts", "code"),
    [
        (Sent({"a": 1}, their_id="x"), "sent", 0, ""),
        (WouldSend({"a": 1}), "would_send", 0, ""),
        (Held("needs_a_person", "Several"), "held", 0, "needs_a_person"),
        (Dropped("taken_back", "Gone"), "dropped", 1, "taken_back"),
        (Postponed(), "waiting", 0, ""),
        (Permanent("INVALID_FIELD", "No such column"), "parked", 1, "INVALID_FIELD"),
        (Transient("UNABLE_TO_LOCK_ROW", "Locked"), "waiting", 1, "UNABLE_TO_LOCK_ROW"),
        (Unclear("no_answer", "It may stand"), "waiting", 1, "no_answer"),
        (Wait("LIMIT", "Reached", until=NOW + timedelta(minutes=15)), "waiting", 0, "LIMIT"),
        (None, "waiting", 1, "no_outcome"),
    ],
)
def test_what_becomes_of_a_record(outcome, state, attempts, code):
    record = after(outcome)

    assert (record.state, record.attempts, record.error_code, record.leased_until) == (state, attempts, code, None)
    assert record.confirmed == (1 if state == "sent" else 0)


def test_a_transient_failure_is_spaced_and_given_up_at_last():
    record = after(Transient("SERVER_UNAVAILABLE", "Down."), times=3)
    assert record.due_at > timezone.now() + timedelta(seconds=30)

    record = after(Transient("SERVER_UNAVAILABLE", "Down."), times=outbox.ATTEMPTS)

    assert record.state == "parked" and "Given up after 8 attempts" in record.error


def test_a_new_version_makes_a_parked_record_due_again():
    after(Permanent("INVALID_FIELD", "No such column"))

    outbox.owe_accounts([ACCOUNT], now=timezone.now())

    record = SyncRecord.objects.get()
    assert (record.state, record.attempts, record.wanted) == ("waiting", 0, 2)


def test_a_lease_that_ended_counts_as_an_attempt():
    owed()
    now = timezone.now()
    assert outbox.claim(Scripted(), now=now) is not None
    assert outbox.claim(Scripted(), now=now) is None

    later = outbox.claim(Scripted(), now=now + outbox.LEASE)

    assert later is not None and later.rows[0].attempts == 2


def test_a_worker_that_comes_late_has_the_newer_value_sent_again():
    owed()
    channel, now = Scripted(), timezone.now()
    slow = outbox.claim(channel, now=now)
    outbox.owe_accounts([ACCOUNT], now=now)
    quick = outbox.claim(channel, now=now + outbox.LEASE)
    newer = {row.pk: Sent({"MRR__c": "2"}) for row in quick.rows}
    outbox.settle(quick, newer, now=now + outbox.LEASE)
    assert SyncRecord.objects.get().state == "sent"

    outbox.settle(slow, {row.pk: Sent({"MRR__c": "1"}) for row in slow.rows}, now=now + outbox.LEASE)

    record = SyncRecord.objects.get()
    assert (record.state, record.fields_sent) == ("waiting", None)


def test_one_that_comes_late_while_the_other_still_sends():
    owed()
    channel, now = Scripted(), timezone.now()
    slow = outbox.claim(channel, now=now)
    quick = outbox.claim(channel, now=now + outbox.LEASE)
    outbox.settle(slow, {row.pk: Sent({"MRR__c": "1"}) for row in slow.rows}, now=now + outbox.LEASE)

    outbox.settle(quick, {row.pk: Sent({"MRR__c": "2"}) for row in quick.rows}, now=now + outbox.LEASE)

    record = SyncRecord.objects.get()
    assert (record.state, record.fields_sent, record.leased_until) == ("waiting", None, None)


def test_retrying_what_is_not_there_is_refused():
    with pytest.raises(outbox.UnknownWork):
        outbox.retry(4711, now=timezone.now())


def test_counts_and_errors():
    after(Permanent("INVALID_FIELD", "No such column"))
    now = timezone.now()

    counts = selectors.outbox_counts(now=now)
    (error,) = selectors.sync_errors()

    assert (counts.parked, counts.waiting, counts.oldest_due_seconds(now=now)) == (1, 0, 0)
    assert (error.code, error.count, error.text) == ("INVALID_FIELD", 1, "No such column")
