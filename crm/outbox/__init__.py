"""What we owe the outside world: records to bring in step and messages to tell. The row is the queue."""

from crm.outbox.owing import (
    IGNORED,
    SALESFORCE,
    UNMATCHED,
    UnknownWork,
    beginning,
    hold_as,
    org_connected,
    owe_accounts,
    owe_for,
    point_anew,
    release,
    repoint,
    retry,
    retry_messages,
    send_for_real,
)
from crm.outbox.sending import LEASE, claim, claim_to_take_back, deliver, due_jobs, due_records, is_due, send_due
from crm.outbox.settling import ATTEMPTS, Settled, settle
from crm.outbox.withdrawing import settle_taken_back

__all__ = [
    "ATTEMPTS",
    "IGNORED",
    "LEASE",
    "SALESFORCE",
    "UNMATCHED",
    "Settled",
    "UnknownWork",
    "beginning",
    "claim",
    "claim_to_take_back",
    "deliver",
    "due_jobs",
    "due_records",
    "hold_as",
    "is_due",
    "org_connected",
    "owe_accounts",
    "owe_for",
    "point_anew",
    "release",
    "repoint",
    "retry",
    "retry_messages",
    "send_due",
    "send_for_real",
    "settle",
    "settle_taken_back",
]
