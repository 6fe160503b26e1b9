"""Why a paying customer may soon stop, as points with their evidence, given facts and a date. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from mrr.engine import money


class Severity(StrEnum):
    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Weights:
    """Points of each signal and the thresholds of the severities."""

    second_attempt: int = 30
    further_attempt: int = 10
    no_further_attempt: int = 60
    past_due: int = 15
    long_past_due: int = 25
    long_past_due_from_day: int = 16
    open_invoice: int = 20
    cancels: int = 50
    cancels_for_price_or_rival: int = 60
    contraction: int = 15
    dispute: int = 30
    card_expires: int = 15
    collection_paused: int = 25
    discount_ends: int = 10
    usage_down: int = 20
    usage_far_down: int = 35
    refund: int = 10
    renewal: int = 10
    medium_from: int = 40
    high_from: int = 70


DEFAULT = Weights()


@dataclass(frozen=True, slots=True)
class FailedInvoice:
    """An open invoice whose payment failed. `next_attempt_at` None: Stripe plans no further one."""

    name: str
    remaining_minor: int
    currency: str
    attempts: int
    failed_at: datetime
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class OverdueInvoice:
    name: str
    remaining_minor: int
    currency: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Cancel:
    """A subscription that will end."""

    ends_at: datetime
    asked_at: datetime | None
    feedback: str = ""


@dataclass(frozen=True, slots=True)
class Contraction:
    """MRR that went down while the customer went on paying; `share` of the MRR before, such as 1/4."""

    share: Fraction
    at: datetime


@dataclass(frozen=True, slots=True)
class OpenDispute:
    amount_minor: int
    currency: str
    reason: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    amount_minor: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one customer now."""

    failed: tuple[FailedInvoice, ...] = ()
    past_due_since: datetime | None = None
    overdue: tuple[OverdueInvoice, ...] = ()
    cancels: tuple[Cancel, ...] = ()
    contractions: tuple[Contraction, ...] = ()
    disputes: tuple[OpenDispute, ...] = ()
    card_expires_on: date | None = None
    next_charge_at: datetime | None = None
    collection_paused_since: datetime | None = None
    discount_ends_at: datetime | None = None
    usage_change: Fraction | None = None
    usage_at: datetime | None = None
    refunds: tuple[Refund, ...] = ()
    annual_renewals: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One signal: its points, what shows it, and since when."""

    signal: str
    points: int
    evidence: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Risk:
    """All signals of a customer. The score is their sum, at most 100."""

    parts: tuple[Part, ...] = ()
    score: int = 0
    severity: Severity = Severity.NONE
    payment_severity: Severity = field(default=Severity.NONE)

    @property
    def since(self) -> datetime | None:
        return min((part.at for part in self.parts if part.at), default=None)


PAYMENT_SIGNALS = frozenset(
    {"failed_payment", "no_further_attempt", "past_due", "open_invoice", "card_expires", "dispute_open"}
)
NONE = Risk()


def assess(facts: Facts, *, now: datetime, weights: Weights = DEFAULT) -> Risk:
    """Return the signals that hold now, the strongest first, with their sum and severity."""
    parts = [part for signal in SIGNALS for part in signal(facts, now, weights)]
    parts.sort(key=lambda part: -part.points)
    payment = sum(part.points for part in parts if part.signal in PAYMENT_SIGNALS)
    score = min(100, sum(part.points for part in parts))
    return Risk(tuple(parts), score, severity(score, weights), severity(min(100, payment), weights))


def severity(score: int, weights: Weights = DEFAULT) -> Severity:
    """Return low < medium ≤ high by the thresholds; none without a signal."""
    if score <= 0:
        return Severity.NONE
    if score < weights.medium_from:
        return Severity.LOW
    return Severity.MEDIUM if score < weights.high_from else Severity.HIGH


# ---- the signals: each returns at most one part ----


def _failed_payment(facts: Facts, _now: datetime, weights: Weights) -> Iterable[Part]:
    ended = [one for one in facts.failed if one.next_attempt_at is None]
    if ended:
        worst = max(ended, key=lambda one: (one.attempts, one.remaining_minor))
        yield Part(
            "no_further_attempt",
            weights.no_further_attempt,
            f"{_attempts(worst)}, no further one planned",
            worst.failed_at,
        )
        return
    again = [one for one in facts.failed if one.attempts >= 2]
    if again:
        worst = max(again, key=lambda one: (one.attempts, one.remaining_minor))
        points = weights.second_attempt + weights.further_attempt * (worst.attempts - 2)
        yield Part("failed_payment", points, _attempts(worst), worst.failed_at)


def _attempts(invoice: FailedInvoice) -> str:
    times = "1 attempt" if invoice.attempts == 1 else f"{invoice.attempts} attempts"
    owed = _amount(invoice.remaining_minor, invoice.currency)
    return f"Invoice {invoice.name}, {owed}: {times}, last {_day(invoice.failed_at)}"


def _past_due(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    since = facts.past_due_since
    if since is not None:
        days = max(1, (now - since).days)
        points = weights.long_past_due if days >= weights.long_past_due_from_day else weights.past_due
        yield Part("past_due", points, f"Past due since {_day(since)}", since)


def _open_invoice(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    late = [one for one in facts.overdue if one.due_at < now]
    if late:
        oldest = min(late, key=lambda one: one.due_at)
        more = f", and {len(late) - 1} more" if len(late) > 1 else ""
        owed = _amount(oldest.remaining_minor, oldest.currency)
        text = f"Invoice {oldest.name}, {owed}, was due {_day(oldest.due_at)}{more}"
        yield Part("open_invoice", weights.open_invoice, text, oldest.due_at)


def _cancels(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    ahead = [one for one in facts.cancels if one.ends_at > now]
    if ahead:
        hard = [one for one in ahead if one.feedback in ("too_expensive", "switched_service")]
        worst = min(hard or ahead, key=lambda one: one.ends_at)
        why = f", {worst.feedback.replace('_', ' ')}" if worst.feedback else ""
        points = weights.cancels_for_price_or_rival if hard else weights.cancels
        yield Part("scheduled_cancel", points, f"Cancels {_day(worst.ends_at)}{why}", worst.asked_at)


def _contraction(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    recent = [one for one in facts.contractions if now - one.at <= timedelta(days=90) and one.share > Fraction(1, 10)]
    if recent:
        worst = max(recent, key=lambda one: one.share)
        yield Part(
            "contraction", weights.contraction, f"MRR went down {_percent(worst.share)} on {_day(worst.at)}", worst.at
        )


def _dispute(facts: Facts, _now: datetime, weights: Weights) -> Iterable[Part]:
    if facts.disputes:
        largest = max(facts.disputes, key=lambda one: one.amount_minor)
        why = f", {largest.reason.replace('_', ' ')}" if largest.reason else ""
        text = (
            f"Dispute of {_amount(largest.amount_minor, largest.currency)}{why}, open since {_day(largest.opened_at)}"
        )
        yield Part("dispute_open", weights.dispute, text, largest.opened_at)


def _card(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    expires, charge = facts.card_expires_on, facts.next_charge_at
    if expires is not None and charge is not None and expires < charge.date():
        verb = "expired" if expires < now.date() else "expires"
        text = f"The card {verb} {expires:%-d %b %Y}, before the charge of {_day(charge)}"
        yield Part("card_expires", weights.card_expires, text, None)


def _paused(facts: Facts, _now: datetime, weights: Weights) -> Iterable[Part]:
    since = facts.collection_paused_since
    if since is not None:
        yield Part(
            "collection_paused", weights.collection_paused, f"Collection is paused, known since {_day(since)}", since
        )


def _discount(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    end = facts.discount_ends_at
    if end is not None and now < end <= now + timedelta(days=30):
        yield Part("discount_ends", weights.discount_ends, f"A discount ends {_day(end)}", None)


def _usage(facts: Facts, _now: datetime, weights: Weights) -> Iterable[Part]:
    change = facts.usage_change
    if change is not None and change <= Fraction(-30, 100):
        points = weights.usage_far_down if change <= Fraction(-60, 100) else weights.usage_down
        yield Part("usage_down", points, f"Usage {_percent(change)} against the four weeks before", facts.usage_at)


def _refund(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    recent = [one for one in facts.refunds if now - one.at <= timedelta(days=90)]
    if recent:
        last = max(recent, key=lambda one: one.at)
        text = f"Refund of {_amount(last.amount_minor, last.currency)} on {_day(last.at)}"
        yield Part("refund", weights.refund, text, last.at)


def _renewal(facts: Facts, now: datetime, weights: Weights) -> Iterable[Part]:
    soon = [at for at in facts.annual_renewals if now < at <= now + timedelta(days=60)]
    if soon:
        yield Part("annual_renewal", weights.renewal, f"Renews for a year on {_day(min(soon))}", None)


SIGNALS: Sequence[Callable[[Facts, datetime, Weights], Iterable[Part]]] = (
    _failed_payment,
    _past_due,
    _open_invoice,
    _cancels,
    _contraction,
    _dispute,
    _card,
    _paused,
    _discount,
    _usage,
    _refund,
    _renewal,
)


def _amount(amount_minor: int, currency: str) -> str:
    whole, point, decimals = money.major(amount_minor, currency).partition(".")
    return f"{currency.upper()} {int(whole):,}{point}{decimals}"


def _day(at: datetime) -> str:
    return f"{at:%-d %b %Y}"


def _percent(share: Fraction) -> str:
    tenths = round(share * 1000)
    sign = "−" if tenths < 0 else ""
    return f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10}%"
