"""The ten vectors of the rule, and each signal at its edges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest

from crm.risk import (
    Cancel,
    Contraction,
    Facts,
    FailedInvoice,
    OpenDispute,
    OverdueInvoice,
    Refund,
    Severity,
    assess,
    severity,
)

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def ahead(days: float) -> datetime:
    return NOW + timedelta(days=days)


def failed(attempts: int, *, is_last: bool = False) -> tuple[FailedInvoice, ...]:
    return (FailedInvoice("NW-1", 186_000, "usd", attempts, ago(1), None if is_last else ahead(3)),)


DISPUTE = (OpenDispute(5_000, "usd", "fraudulent", ago(2)),)
CARD = Facts(card_expires_on=date(2026, 4, 30), next_charge_at=datetime(2026, 5, 3, tzinfo=UTC))

VECTORS = {
    "attempt 2 and past due since day 3": (Facts(failed=failed(2), past_due_since=ago(3)), 45, "medium"),
    "attempt 3 and past due": (Facts(failed=failed(3), past_due_since=ago(5)), 55, "medium"),
    "no further attempt and day 16": (Facts(failed=failed(4, is_last=True), past_due_since=ago(16)), 85, "high"),
    "scheduled cancel": (Facts(cancels=(Cancel(ahead(14), ago(1)),)), 50, "medium"),
    "cancel too_expensive and contraction": (
        Facts(
            cancels=(Cancel(ahead(14), ago(1), "too_expensive"),), contractions=(Contraction(Fraction(1, 5), ago(9)),)
        ),
        75,
        "high",
    ),
    "dispute": (Facts(disputes=DISPUTE), 30, "low"),
    "card": (CARD, 15, "low"),
    "dispute, attempt 2 and past due": (Facts(disputes=DISPUTE, failed=failed(2), past_due_since=ago(3)), 75, "high"),
    "renewal and usage −60 %": (
        Facts(annual_renewals=(ahead(30),), usage_change=Fraction(-60, 100), usage_at=ago(1)),
        45,
        "medium",
    ),
    "all": (
        Facts(
            failed=failed(4, is_last=True),
            past_due_since=ago(20),
            overdue=(OverdueInvoice("NW-2", 100, "usd", ago(3)),),
            cancels=(Cancel(ahead(5), ago(1), "switched_service"),),
            contractions=(Contraction(Fraction(1, 2), ago(9)),),
            disputes=DISPUTE,
            card_expires_on=date(2026, 4, 30),
            next_charge_at=datetime(2026, 5, 3, tzinfo=UTC),
            collection_paused_since=ago(2),
            discount_ends_at=ahead(10),
            usage_change=Fraction(-61, 100),
            refunds=(Refund(100, "usd", ago(5)),),
            annual_renewals=(ahead(30),),
        ),
        100,
        "high",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name):
    facts, score, expected = VECTORS[name]

    found = assess(facts, now=NOW)

    assert (found.score, found.severity) == (score, expected)
    assert found.score == min(100, sum(part.points for part in found.parts))


def test_nothing_speaks_against_a_quiet_customer():
    found = assess(Facts(), now=NOW)

    assert (found.score, found.severity, found.parts) == (0, Severity.NONE, ())


@pytest.mark.parametrize(
    ("score", "expected"), [(0, "none"), (1, "low"), (39, "low"), (40, "medium"), (69, "medium"), (70, "high")]
)
def test_thresholds(score, expected):
    assert severity(score) == expected


def test_a_first_failed_attempt_is_no_signal_while_another_is_planned():
    assert assess(Facts(failed=failed(1)), now=NOW).score == 0


@pytest.mark.parametrize(("days", "points"), [(0, 15), (15, 15), (16, 25)])
def test_past_due_weighs_more_from_day_sixteen(days, points):
    assert assess(Facts(past_due_since=ago(days)), now=NOW).score == points


def test_payment_severity_leaves_out_what_is_no_payment():
    facts = Facts(cancels=(Cancel(ahead(14), ago(1)),), failed=failed(2))

    found = assess(facts, now=NOW)

    assert (found.severity, found.payment_severity) == ("high", "low")


@pytest.mark.parametrize(
    ("facts", "score"),
    [
        (Facts(contractions=(Contraction(Fraction(1, 10), ago(1)),)), 0),
        (Facts(contractions=(Contraction(Fraction(101, 1000), ago(91)),)), 0),
        (Facts(contractions=(Contraction(Fraction(101, 1000), ago(90)),)), 15),
        (Facts(refunds=(Refund(1, "usd", ago(91)),)), 0),
        (Facts(annual_renewals=(ahead(61),)), 0),
        (Facts(annual_renewals=(ahead(60),)), 10),
        (Facts(usage_change=Fraction(-29, 100)), 0),
        (Facts(usage_change=Fraction(-30, 100)), 20),
        (Facts(cancels=(Cancel(ago(1), ago(9)),)), 0),
        (replace(CARD, next_charge_at=datetime(2026, 4, 30, 9, tzinfo=UTC)), 0),
        (Facts(overdue=(OverdueInvoice("NW-2", 100, "usd", ago(1)),)), 20),
        (Facts(collection_paused_since=ago(1)), 25),
        (Facts(discount_ends_at=ahead(31)), 0),
    ],
)
def test_edges(facts, score):
    assert assess(facts, now=NOW).score == score


def test_evidence_says_what_and_when():
    (part,) = assess(Facts(failed=failed(4, is_last=True)), now=NOW).parts

    assert part.evidence == "Invoice NW-1, USD 1,860.00: 4 attempts, last 30 Mar 2026, no further one planned"
    assert part.at == ago(1)
