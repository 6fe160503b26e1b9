"""Template filters and tags for figures, dates and ages: {% load figures %}."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.conf import settings
from django.template import Context
from django.utils.html import format_html, format_html_join, strip_tags
from django.utils.safestring import SafeString

from dashboard import formats, parts

register = template.Library()


@register.filter
def money(minor: int, currency: str) -> str:
    """{{ row.mrr_minor|money:row.currency }} is $802,821.21."""
    return formats.money(minor, currency)


@register.filter
def signed_money(minor: int, currency: str) -> str:
    """{{ row.amount_minor|signed_money:row.currency }} is +$468.00 or −$540.00."""
    return formats.money(minor, currency, signed=True)


@register.filter
def amount(minor: int, currency: str) -> str:
    """{{ field.after_minor|amount:currency }} is 2,400.00, for columns whose header names the currency."""
    return formats.amount(minor, currency)


@register.filter
def small_cents(minor: int, currency: str) -> SafeString:
    """{{ mrr_minor|small_cents:currency }} is money with its decimals set small."""
    whole, cents = formats.money_parts(minor, currency)
    return format_html("{}<small>{}</small>", whole, cents) if cents else format_html("{}", whole)


@register.filter
def count(number: int) -> str:
    """{{ customers|count }} is 1,286."""
    return formats.count(number)


@register.filter
def ratio(value: formats.Exact | None, places: int = 1) -> str:
    """{{ month.nrr|ratio }} is 98.2%, {{ churn|ratio:2 }} is 1.35%; None is n/a."""
    return formats.ratio(value, places=places)


@register.filter
def points(change: formats.Exact | None, places: int = 1) -> str:
    """{{ nrr_change|points }} is +0.4 pt."""
    return formats.points(change, places=places)


@register.filter
def multiple(value: formats.Exact | None) -> str:
    """{{ quick_ratio|multiple }} is 2.82."""
    return formats.multiple(value)


@register.filter
def day(on: date | None) -> str:
    """{{ starts_on|day }} is 31 Mar 2026; a datetime is read in the reporting zone."""
    return formats.day(_local(on)) if on else ""


@register.filter
def short_day(on: date | None) -> str:
    """{{ since|short_day }} is 12 Mar, for tables within one year."""
    return formats.day(_local(on), year=False) if on else ""


@register.filter
def month(on: date | None) -> str:
    """{{ cohort|month }} is Mar 2026."""
    return formats.month(_local(on)) if on else ""


@register.filter
def long_month(on: date | None) -> str:
    """{{ period.first|long_month }} is March 2026."""
    return formats.month(_local(on), long=True) if on else ""


@register.filter
def clock(at: datetime | None) -> str:
    """{{ event.at|clock }} is 16:41 in the reporting zone, which the table's header names."""
    return formats.clock(at, _zone()) if at else ""


@register.filter
def moment(at: datetime | None) -> str:
    """{{ event.received_at|moment }} is 12 Mar 2026 09:14:05 UTC."""
    return formats.moment(at, _zone()) if at else ""


@register.filter
def seconds_age(seconds: int | None) -> str:
    """{{ oldest_due_seconds|seconds_age }} is 4 s; None is n/a."""
    return formats.NOT_KNOWN if seconds is None else formats.age(seconds)


@register.filter
def brief(seconds: float) -> str:
    """{{ lag.median|brief }} is 0.4 s, and 6 min where tenths say nothing."""
    return f"{seconds:.1f} s" if seconds < 10 else formats.age(int(seconds))


@register.simple_tag
def age(at: datetime, now: datetime) -> SafeString:
    """{% age event.received_at now %} is 6 h, with the exact time in its title."""
    text = formats.age(int((now - at).total_seconds()))
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), formats.moment(at, _zone()), text)


@register.simple_tag
def stamp(at: datetime, now: datetime) -> SafeString:
    """{% stamp entry.at now %} is 16:41 today and 12 Mar before, with the exact time in its title."""
    zone = _zone()
    is_today = at.astimezone(zone).date() == now.astimezone(zone).date()
    text = formats.clock(at, zone) if is_today else formats.day(at.astimezone(zone).date(), year=False)
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), formats.moment(at, zone), text)


@register.simple_tag(takes_context=True)
def fig(
    context: Context, value: object, *, what: str, explain: str, tone: str = "", cents: str = "", extra: str = ""
) -> SafeString:
    """Make a figure that opens: {% fig row.mrr_minor|money:row.currency what="MRR of Halden" explain="mrr:cus:17" %}.

    The link is this page with ?explain=<code>, so an opened figure has an address. `what` names the figure for those
    who do not see it; `tone` is gain, loss or fxc; `extra` more classes, as bold; `cents` the decimals to set small.
    """
    request = context.get("request")
    query = request.GET.copy() if request is not None else None
    if query is not None:
        query["explain"] = explain
    classes = " ".join(part for part in ("fig", tone, extra) if part)
    shown = format_html("{}<small>{}</small>", value, cents) if cents else value
    return format_html(
        '<a class="{}" href="?{}" data-explain="{}" aria-label="{}{}, explain {}">{}</a>',
        classes,
        query.urlencode(safe=":") if query is not None else f"explain={explain}",
        explain,
        strip_tags(value) if isinstance(value, SafeString) else value,
        cents,
        what,
        shown,
    )


@register.simple_tag(takes_context=True)
def fig_money(
    context: Context, minor: int, currency: str, *, what: str, explain: str, signed: bool = False, extra: str = ""
) -> SafeString:
    """Make an amount that opens: {% fig_money row.amount_minor row.currency what=… explain=… signed=True %}.

    A signed amount is a movement and takes its colour: gain or loss, none for zero.
    """
    tone = ("gain" if minor > 0 else "loss" if minor < 0 else "") if signed else ""
    value = formats.money(minor, currency, signed=signed)
    return fig(context, value, what=what, explain=explain, tone=tone, extra=extra)


@register.simple_tag(takes_context=True)
def kept_fig(context: Context, line: Any, part: str, currency: str) -> SafeString:
    """{% kept_fig line "churn" scope.currency %} is the cell of a part of a period's retention, which opens."""
    what, minor = f"{part.capitalize()}, {line.name}", line.minor[part]
    opened = fig_money(context, minor, currency, what=what, explain=f"kept-{part}:{line.code}", signed=part != "start")
    return format_html('<td class="n">{}</td>', opened)


@register.simple_tag(takes_context=True)
def lost_figs(context: Context, group: Any, code: str, by: str, currency: str) -> SafeString:
    """{% lost_figs group chosen.code losses.by scope.currency %} are the cells of what was lost in one way."""
    explain = f"lost:{code}:{by}:{group.key}"
    what = f"Churn, {group.label}"
    cells = (
        fig(context, formats.count(group.customers), what=f"Customers, {group.label}", explain=explain),
        fig_money(context, group.minor, currency, what=what, explain=explain, signed=True),
        fig(context, formats.ratio(group.share), what=f"Share, {group.label}", explain=explain),
    )
    return format_html_join("", '<td class="n">{}</td>', ((cell,) for cell in cells))


@register.filter
def heat(value: formats.Exact | None) -> str:
    """<td class="{{ cell.ratio|heat }}">: the step of a net MRR cell about 100 %."""
    return parts.heat_class(value)


@register.filter
def heat_below(value: formats.Exact | None) -> str:
    """<td class="{{ cell.ratio|heat_below }}">: the step of a logo or gross cell, never above 100 %."""
    return parts.heat_class(value, diverging=False)


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.REPORTING_TIME_ZONE)


def _local(on: Any) -> date:
    return on.astimezone(_zone()).date() if isinstance(on, datetime) else on
