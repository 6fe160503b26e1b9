"""Tells people when customers wait too long for an Account, or too much MRR does: once, and once when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q, QuerySet, Sum

from crm import alerts
from crm.models import SalesforceOrg, Unmatched
from crm.selectors.unmatched_customers import is_away
from mrr import selectors as mrr
from mrr.engine.money import exponent, shown


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits and pays: how many customers longer than the days that are set, and how much MRR altogether.

    `mrr_minor` is in the reporting currency; a currency without a rate is left out of it.
    """

    too_long: int
    mrr_minor: int
    days: int
    most_minor: int

    @property
    def is_too_much(self) -> bool:
        return bool(self.days and self.too_long) or bool(self.most_minor and self.mrr_minor > self.most_minor)

    @property
    def words(self) -> str:
        """Say it with figures alone: who waits stands on the page."""
        said = []
        if self.days and self.too_long:
            who = "1 paying customer waits" if self.too_long == 1 else f"{self.too_long} paying customers wait"
            said.append(f"{who} for an Account longer than {self.days} days.")
        if self.most_minor and self.mrr_minor > self.most_minor:
            said.append("More MRR waits for an Account than the limit that is set.")
        return " ".join(said)


def waiting(org: SalesforceOrg, *, now: datetime) -> Waiting:
    """Return what waits and pays, the ignored and what a person set aside left out. Two queries, and the rates'."""
    rows = _paying(now)
    since = now - timedelta(days=org.waiting_alert_days)
    too_long = rows.filter(since__lt=since).values("customer_id").distinct().count() if org.waiting_alert_days else 0
    most_minor = org.waiting_alert_amount * 10 ** exponent(settings.REPORTING_CURRENCY)
    return Waiting(too_long, _mrr_minor(rows, now), org.waiting_alert_days, most_minor)


def watch(*, now: datetime) -> None:
    """Alert whoever looks after the connection when too much waits, and when that is over."""
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None:
        return
    found, told_at = waiting(org, now=now), org.waiting_alerted_at
    if found.is_too_much and told_at is None:
        _note(org, now)
        alerts.stopped(org.pk, alerts.UNMATCHED, found.words, at=now)
    elif told_at is not None and not found.is_too_much:
        _note(org, None)
        alerts.over(org.pk, alerts.UNMATCHED, since=told_at, now=now)


def _note(org: SalesforceOrg, at: datetime | None) -> None:
    SalesforceOrg.objects.filter(pk=org.pk).update(waiting_alerted_at=at)


def _paying(now: datetime) -> QuerySet[Unmatched]:
    rows = Unmatched.objects.filter(ignored_because="", customer__balances__mrr_micros__gt=0)
    return rows.exclude(snoozed_until__gt=now).exclude(Q(is_away(now)))


def _mrr_minor(rows: QuerySet[Unmatched], now: datetime) -> int:
    by_currency = rows.values_list("customer__balances__currency").annotate(sum=Sum("customer__balances__mrr_micros"))
    amounts = dict(by_currency.order_by())
    if not amounts.keys() - {settings.REPORTING_CURRENCY}:
        return shown(amounts.get(settings.REPORTING_CURRENCY, 0))
    parts = mrr.parts_of(amounts, now.astimezone(mrr.reporting_zone()).date())
    return shown(sum(part.micros or 0 for part in parts))
