"""What every page does: read whose figures are asked for, name people or mask them, set links, render."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
from dashboard import filters, formats, status
from dashboard.context import company_name
from dashboard.filters import Filters
from dashboard.pages import filtering
from dashboard.parts import Band, Choice, Empty, Pager
from dashboard.periods import PRESETS, Period
from dashboard.roles import Ability, may
from mrr import selectors as mrr
from mrr.engine.money import shown

NO_FILTERS = Filters()
PERIOD = ("period", "from", "to")
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
    """Whose figures a page shows: of all live sources or of one by name (`slugs` are their names), in one currency.

    `is_consolidated`: they are of all currencies, converted to `currency`; otherwise of that one alone. `segment` is
    the part of the business that the filters leave, None for all of it; `filters_url` is where they are set.
    """

    currency: str
    source: str
    sources: tuple[int, ...]
    is_test: bool
    standing: mrr.Standing
    currency_choices: tuple[Choice, ...]
    source_choices: tuple[Choice, ...]
    is_consolidated: bool = False
    rates: mrr.Conversion | None = None
    slugs: tuple[str, ...] = ()
    filters: Filters = NO_FILTERS
    segment: mrr.Segment | None = None
    chips: tuple[filtering.Chip, ...] = ()
    filters_url: str = ""

    @property
    def native(self) -> str | None:
        """The one currency that figures are of, None for all of them."""
        return None if self.is_consolidated else self.currency

    @property
    def default_currency(self) -> str:
        return str(settings.REPORTING_CURRENCY)

    @property
    def words(self) -> str:
        """Name the filters, as prints and exports carry them."""
        narrowed = filtering.words_of(self.chips)
        return f"{self.source or 'all live sources'}, {self.currency_words}{', ' if narrowed else ''}{narrowed}"

    @property
    def currency_words(self) -> str:
        return f"all currencies in {self.currency.upper()}" if self.is_consolidated else self.currency.upper()


@dataclass(frozen=True)
class PeriodLinks:
    """Ways to other periods; `kept` are the parameters that a form for months of one's own has to carry along."""

    presets: tuple[Choice, ...]
    earlier: str
    later: str
    kept: tuple[tuple[str, str], ...] = ()


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


def read_scope(request: HttpRequest, *, consolidates: bool = False, filtered: str = "") -> Scope:
    """Return what `source=` and `currency=` ask for: all live sources and the reporting currency unless they say else.

    A page that `consolidates` shows all currencies in the reporting one unless one of them is named, or the figures are
    narrowed: parts of the business are in one currency. `filtered` is the page's name in `filtering.PAGES`, for a page
    with more filters. A test source is only shown when named, and the page then says so. Raises BadRequest for names
    that do not exist, and for filters that the page does not have.
    """
    chosen = filters.read(request.GET, facets=filtering.PAGES[filtered].facets if filtered else ())
    known = billing.sources()
    slug = request.GET.get("source", "")
    named = next((source for source in known if source.slug == slug), None)
    if slug and named is None:
        raise BadRequest(f"There is no Stripe source '{slug}'.")
    pks = (named.pk,) if named else tuple(source.pk for source in known if source.livemode)
    standing = mrr.standing(pks)
    if standing.currencies:
        request._policy_version = standing.policy_version or mrr.FIRST_POLICY  # type: ignore[attr-defined]
    found = [row.currency for row in standing.currencies]
    currency = request.GET.get("currency", "").lower() or settings.REPORTING_CURRENCY
    if currency not in found and currency != settings.REPORTING_CURRENCY:
        raise BadRequest(f"There is no MRR in the currency '{currency}'.")
    request.source_count = len({source.pk for source in known if source.livemode})  # type: ignore[attr-defined]
    request.is_test_mode = named is not None and not named.livemode  # type: ignore[attr-defined]  # the frame reads it
    request.test_source = named.slug if named else ""  # type: ignore[attr-defined]
    currencies = tuple(dict.fromkeys((settings.REPORTING_CURRENCY, *found)))
    is_consolidated = consolidates and len(currencies) > 1 and not request.GET.get("currency") and not chosen
    rates = mrr.exchange(currencies) if is_consolidated else None
    choices = [
        Choice(code.upper(), link(request, currency=code), code == currency and not is_consolidated)
        for code in currencies
    ]
    if consolidates and len(currencies) > 1 and not chosen:
        words = f"All, in {settings.REPORTING_CURRENCY.upper()}"
        choices.insert(0, Choice(words, link(request, currency=None), is_consolidated))
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
        tuple(choices),
        sources,
        is_consolidated,
        rates,
        tuple(source.slug for source in known if source.pk in pks),
        chosen,
        filtering.segment_of(chosen, pks),
        filtering.chips_of(request, chosen, pks),
        _filters_url(request, filtered) if filtered else "",
    )


def _filters_url(request: HttpRequest, filtered: str) -> str:
    query = filtering.address(request.GET)
    return reverse("dashboard:filters", args=[filtered]) + (f"?{query}" if query else "")


def link(request: HttpRequest, **changes: object) -> str:
    """Return this page's address with parameters changed; None takes one out. The panel and the list's place go."""
    query = request.GET.copy()
    for name in ("explain", "after", "before", "format", *(name for name, value in changes.items() if value is None)):
        query.pop(name, None)
    for name, value in changes.items():
        if value is not None:
            query[name] = str(value)
    return f"?{filters.ordered(query)}"


def period_links(request: HttpRequest, period: Period, names: tuple[str, ...] = tuple(PRESETS)) -> PeriodLinks:
    def moved(query: str) -> str:
        ends = dict(part.split("=") for part in query.split("&")) if query else {}
        return link(request, **{"period": None, "from": ends.get("from"), "to": ends.get("to")}) if ends else ""

    presets = tuple(
        Choice(PRESETS[name], link(request, **{"period": name, "from": None, "to": None}), period.name == name)
        for name in names
    )
    return PeriodLinks(presets, moved(period.earlier), moved(period.later), filtering.kept(request, *PERIOD))


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


def nothing_fits(request: HttpRequest, scope: Scope, what: str) -> Empty:
    """Say that no `what` fits the filters, and drop the last of them."""
    last = scope.chips[-1]
    words = filtering.words_of(scope.chips)
    return Empty("filter", f"No {what} fits", f"Filters: {words}.", f"Drop {last.label.lower()} {last.value}", last.url)


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


def rate_band(held: Collection[str], scope: Scope) -> Band | None:
    """Return the band that says which currencies the figures leave out for want of an exchange rate."""
    if not held or not scope.is_consolidated:
        return None
    listed = " and ".join(sorted(code.upper() for code in held))
    return Band(
        "warn",
        "coin",
        "MRR is incomplete.",
        f"Figures in {scope.currency.upper()} leave out {listed} where no exchange rate is known for the day or the "
        "seven before it. Import rates with import_rates.",
        f"Show {min(held).upper()}",
        f"?currency={min(held)}",
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
        mrr.Gap("subscriptions_unknown", billing.unknown_subscriptions(scope.sources)),
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
            words = f"{words}. They count as nothing until then."
            bands.append(Band("warn", "hourglass", "MRR is incomplete.", words, *help_action(gap.code)))
        elif gap.code == "subscriptions_unknown":
            words = f"{count} {'subscription is' if one else 'subscriptions are'} known by invoices alone"
            words = f"{words}, and not in these figures."
            bands.append(Band("warn", "hourglass", "MRR is incomplete.", words, *help_action(gap.code)))
        elif gap.code == "events_parked":
            words = f"{count} {'event is' if one else 'events are'} parked and not in these figures."
            url = f"{reverse('dashboard:events')}?state=parked"
            bands.append(Band("warn", "circle-minus", "MRR is incomplete.", words, "Show them", url))
        elif gap.count > ORDINARY_BACKLOG:
            words = f"{count} events wait; the figures are those of before."
            url = f"{reverse('dashboard:events')}?state=waiting"
            bands.append(Band("warn", "clock", "Behind.", words, "Show the queue", url))
    return bands


def help_action(code: str) -> tuple[str, str]:
    """Return the words and the address of a band's way to the help for a code."""
    return "What to do", reverse("dashboard:help", args=[code])


def inbox_pulse(request: HttpRequest, *, now: datetime) -> billing.InboxPulse:
    """Return the inbox's pulse, read once a request: the page and its frame both need it."""
    if not hasattr(request, "_inbox_pulse"):
        request._inbox_pulse = billing.inbox_pulse(now=now, beat=status.last_beat())  # type: ignore[attr-defined]
    return request._inbox_pulse  # type: ignore[attr-defined,no-any-return]


def crm_pulse(request: HttpRequest) -> crm.CrmPulse:
    """Return what waits for people, read once a request."""
    if not hasattr(request, "_crm_pulse"):
        request._crm_pulse = crm.pulse()  # type: ignore[attr-defined]
    return request._crm_pulse  # type: ignore[attr-defined,no-any-return]


def policy_version(request: HttpRequest) -> int:
    """Return the number of the policy in force, read once a request."""
    if not hasattr(request, "_policy_version"):
        request._policy_version = crm_pulse(request).policy_version or mrr.policy_version()  # type: ignore[attr-defined]
    return request._policy_version  # type: ignore[attr-defined,no-any-return]


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
            "page": About(name, formats.moment(now, zone()), policy_version(request), scope.words if scope else ""),
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
        ("Metric policy", f"version {policy_version(request)}"),
        ("Amounts", "minor units (cents) as shown; micros are millionths of a minor unit, exact"),
        ("Made by", request.user.get_username()),
    ]


def now_of(request: HttpRequest) -> datetime:
    """Return the moment of the request: one for all that the page shows."""
    return timezone.now()


def listed(shown_count: int, total: int | None, *, next_url: str = "", previous_url: str = "") -> Pager:
    of = f" of {formats.count(total)}" if total is not None and total != shown_count else ""
    return Pager(f"{formats.count(shown_count)}{of}", next_url, previous_url)
