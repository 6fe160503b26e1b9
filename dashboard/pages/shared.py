"""What every page does: read whose figures are asked for, name people or mask them, set links, render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render as django_render
from django.urls import reverse
from django.utils import timezone

from billing import selectors as billing
from crm import selectors as crm
from dashboard import formats
from dashboard.context import company_name
from dashboard.parts import Band, Choice, Pager
from dashboard.periods import PRESETS, Period
from dashboard.roles import Ability, may
from mrr import selectors as mrr
from mrr.engine.money import shown
from mrr.engine.policy import DEFAULT

ORDINARY_BACKLOG = 50  # so many events on their way are not worth a band

REASONS = {
    "subscribed": "Subscribed",
    "trial_converted": "Trial converted",
    "quantity": "Quantity",
    "plan_change": "Plan change",
    "interval_change": "Interval change",
    "price_change": "Price change",
    "item_added": "Item added",
    "item_removed": "Item removed",
    "discount_started": "Discount started",
    "discount_ended": "Discount ended",
    "paused": "Paused",
    "resumed": "Resumed",
    "canceled": "Canceled",
    "payment_failed": "Payment failed",
    "dispute_lost": "Dispute lost",
    "dispute_recovered": "Dispute recovered",
    "moved_to_free": "Moved to free",
    "fully_discounted": "Fully discounted",
    "quantity_zero": "Quantity zero",
    "migrated": "Migrated",
    "backdated": "Backdated",
    "manual": "Manual",
}


@dataclass(frozen=True)
class Scope:
    """Whose figures a page shows: one currency, of all live sources or of one source by name. Currencies never mix."""

    currency: str
    source: str
    sources: tuple[int, ...]
    is_test: bool
    standing: mrr.Standing
    currency_choices: tuple[Choice, ...]
    source_choices: tuple[Choice, ...]

    @property
    def default_currency(self) -> str:
        return str(settings.REPORTING_CURRENCY)

    @property
    def words(self) -> str:
        """Name the filters, as prints and exports carry them."""
        return f"{self.source or 'all live sources'}, {self.currency.upper()}"


@dataclass(frozen=True)
class PeriodLinks:
    presets: tuple[Choice, ...]
    earlier: str
    later: str


@dataclass(frozen=True)
class About:
    """What a page prints at its end and an export carries with it."""

    name: str
    as_of: str
    policy_version: int
    filters: str


def today(now: datetime) -> date:
    """Return the day it is in the reporting zone."""
    return now.astimezone(zone()).date()


def zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def read_scope(request: HttpRequest) -> Scope:
    """Return what `source=` and `currency=` ask for: all live sources and the reporting currency unless they say else.

    A test source is only shown when named, and the page then says so. Raises BadRequest for names that do not exist.
    """
    known = billing.sources()
    slug = request.GET.get("source", "")
    named = next((source for source in known if source.slug == slug), None)
    if slug and named is None:
        raise BadRequest(f"There is no Stripe source '{slug}'.")
    pks = (named.pk,) if named else tuple(source.pk for source in known if source.livemode)
    standing = mrr.standing(pks)
    found = [row.currency for row in standing.currencies]
    currency = request.GET.get("currency", "").lower() or settings.REPORTING_CURRENCY
    if currency not in found and currency != settings.REPORTING_CURRENCY:
        raise BadRequest(f"There is no MRR in the currency '{currency}'.")
    request.source_count = len({source.pk for source in known if source.livemode})  # type: ignore[attr-defined]
    request.is_test_mode = named is not None and not named.livemode  # type: ignore[attr-defined]  # the frame reads it
    request.test_source = named.slug if named else ""  # type: ignore[attr-defined]
    currencies = tuple(dict.fromkeys((settings.REPORTING_CURRENCY, *found)))
    sources = (
        Choice("All live", link(request, source=None), not slug),
        *(
            Choice(
                source.label + ("" if source.livemode else ", test"), link(request, source=source.slug), source is named
            )
            for source in known
        ),
    )
    return Scope(
        currency,
        slug,
        pks,
        named is not None and not named.livemode,
        standing,
        tuple(Choice(code.upper(), link(request, currency=code), code == currency) for code in currencies),
        sources,
    )


def link(request: HttpRequest, **changes: object) -> str:
    """Return this page's address with parameters changed; None takes one out. The panel and the list's place go."""
    query = request.GET.copy()
    for name in ("explain", "after", "before", "format", *(name for name, value in changes.items() if value is None)):
        query.pop(name, None)
    for name, value in changes.items():
        if value is not None:
            query[name] = str(value)
    return f"?{query.urlencode(safe=':')}"


def period_links(request: HttpRequest, period: Period, names: tuple[str, ...] = tuple(PRESETS)) -> PeriodLinks:
    def moved(query: str) -> str:
        ends = dict(part.split("=") for part in query.split("&")) if query else {}
        return link(request, **{"period": None, "from": ends.get("from"), "to": ends.get("to")}) if ends else ""

    presets = tuple(
        Choice(PRESETS[name], link(request, **{"period": name, "from": None, "to": None}), period.name == name)
        for name in names
    )
    return PeriodLinks(presets, moved(period.earlier), moved(period.later))


def sees_people(request: HttpRequest) -> bool:
    """Say whether names and e-mails may be shown; who only sees figures sees ids instead."""
    return may(request, Ability.SEE_PEOPLE)


def who(request: HttpRequest, *, name: str, email: str, stripe_id: str) -> str:
    """Name a customer as the reader may see it: its name, else its e-mail, else its id; only the id for viewers."""
    return (name or email or stripe_id) if sees_people(request) else stripe_id


def reason(code: str) -> str:
    return REASONS.get(code, code.replace("_", " ").capitalize())


def reason_words(entry: mrr.Movement) -> str:
    """Say why an entry moved MRR, with its detail where the entry holds one: Quantity 26 to 30."""
    words = reason(entry.reason)
    if entry.reason == "quantity" and len(entry.lines) == 1:
        before, after = entry.lines[0].before or {}, entry.lines[0].after or {}
        if before.get("quantity") is not None and after.get("quantity") is not None:
            return f"{words} {formats.count(before['quantity'])} to {formats.count(after['quantity'])}"
    if entry.days_lapsed is not None:
        return f"{words} after {formats.count(entry.days_lapsed)} day{'' if entry.days_lapsed == 1 else 's'}"
    return words


def wants_export(request: HttpRequest) -> str:
    """Return csv or xlsx when the page is asked for as a file by somebody who may export, else nothing.

    Raises PermissionDenied for those who may not, BadRequest for another format.
    """
    kind = request.GET.get("format", "")
    if not kind:
        return ""
    if kind not in ("csv", "xlsx"):
        raise BadRequest(f"There is no format '{kind}'. Known are csv and xlsx.")
    if not may(request, Ability.EXPORT):
        raise PermissionDenied("This needs the ability 'export'. Ask an administrator for a role that has it.")
    return kind


def unconverted_band(request: HttpRequest, scope: Scope) -> Band | None:
    """Return the band that says what the figures leave out because it is in other currencies."""
    others = [row for row in scope.standing.currencies if row.currency != scope.currency and row.mrr_micros]
    if not others:
        return None
    listed = " and ".join(formats.money(row.mrr_minor, row.currency) for row in others)
    return Band(
        "warn",
        "coin",
        "Not converted.",
        f"MRR of {listed} is not in these figures: there are no exchange rates yet, so each currency stands by itself.",
        f"Show {others[0].currency.upper()}",
        link(request, currency=others[0].currency),
    )


def gaps(request: HttpRequest, scope: Scope, *, now: datetime) -> list[mrr.Gap]:
    """Return what the figures lack now; test sources have their events counted apart."""
    if scope.is_test:
        counts = billing.unprocessed_counts(scope.sources)
        waiting, parked = counts.waiting, counts.parked
    else:
        pulse = inbox_pulse(request, now=now)
        waiting, parked = pulse.waiting, pulse.parked
    found = (
        mrr.Gap("unpriced_items", scope.standing.unpriced_items),
        mrr.Gap("events_waiting", waiting),
        mrr.Gap("events_parked", parked),
    )
    return [gap for gap in found if gap.count]


def makes_incomplete(found: Sequence[mrr.Gap]) -> bool:
    """Say whether a total lacks something; a handful of events on their way is the ordinary state."""
    return any(gap.code != "events_waiting" or gap.count > ORDINARY_BACKLOG for gap in found)


def gap_bands(found: Sequence[mrr.Gap]) -> list[Band]:
    """Return the bands that say why a total is incomplete, in plain words."""
    bands = []
    for gap in found:
        one, count = gap.count == 1, formats.count(gap.count)
        if gap.code == "unpriced_items":
            words = f"{count} subscription {'item has' if one else 'items have'} no price that we can read yet"
            bands.append(Band("warn", "hourglass", "MRR is incomplete.", f"{words}. They count as nothing until then."))
        elif gap.code == "events_parked":
            words = f"{count} {'event is' if one else 'events are'} parked and not in these figures."
            url = f"{reverse('dashboard:events')}?state=parked"
            bands.append(Band("warn", "circle-minus", "MRR is incomplete.", words, "Show them", url))
        elif gap.count > ORDINARY_BACKLOG:
            words = f"{count} events wait; the figures are those of before."
            url = f"{reverse('dashboard:events')}?state=waiting"
            bands.append(Band("warn", "clock", "Behind.", words, "Show the queue", url))
    return bands


def inbox_pulse(request: HttpRequest, *, now: datetime) -> billing.InboxPulse:
    """Return the inbox's pulse, read once a request: the page and its frame both need it."""
    if not hasattr(request, "_inbox_pulse"):
        request._inbox_pulse = billing.inbox_pulse(now=now)  # type: ignore[attr-defined]
    return request._inbox_pulse  # type: ignore[attr-defined,no-any-return]


def crm_pulse(request: HttpRequest) -> crm.CrmPulse:
    """Return what waits for people, read once a request."""
    if not hasattr(request, "_crm_pulse"):
        request._crm_pulse = crm.pulse()  # type: ignore[attr-defined]
    return request._crm_pulse  # type: ignore[attr-defined,no-any-return]


def minor(micros: int) -> int:
    """Round a balance to minor units, as pages show it."""
    return shown(micros)


def exact_minor(difference_micros: int) -> int:
    """Return a difference as shown, but never 0 unless it is nothing: a mark must not hide a part of a cent."""
    if not difference_micros:
        return 0
    return shown(difference_micros) or (1 if difference_micros > 0 else -1)


def page(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    *,
    name: str,
    now: datetime,
    scope: Scope | None = None,
    bands: Sequence[Band | None] = (),
) -> HttpResponse:
    """Render a page with what all pages carry."""
    request.bands = [band for band in bands if band]  # type: ignore[attr-defined]  # the frame reads it
    return django_render(
        request,
        template,
        {
            "now": now,
            "zone": settings.REPORTING_TIME_ZONE,
            "scope": scope,
            "page": About(name, formats.moment(now, zone()), DEFAULT.version, scope.words if scope else ""),
            "may_export": may(request, Ability.EXPORT),
            "sees_people": sees_people(request),
            **context,
        },
    )


def about(request: HttpRequest, name: str, *, now: datetime, scope: Scope | None = None) -> list[tuple[str, str]]:
    """Return what an export says of itself on its second sheet."""
    return [
        ("Company", company_name()),
        ("Page", name),
        ("As of", formats.moment(now, zone())),
        ("Reporting time zone", settings.REPORTING_TIME_ZONE),
        ("Filters", scope.words if scope else ""),
        ("Metric policy", f"version {DEFAULT.version}"),
        ("Amounts", "minor units (cents) as shown; micros are millionths of a minor unit, exact"),
        ("Made by", request.user.get_username()),
    ]


def now_of(request: HttpRequest) -> datetime:
    """Return the moment of the request: one for all that the page shows."""
    return timezone.now()


def listed(shown_count: int, total: int | None, *, next_url: str = "", previous_url: str = "") -> Pager:
    of = f" of {formats.count(total)}" if total is not None and total != shown_count else ""
    return Pager(f"{formats.count(shown_count)}{of}", next_url, previous_url)
