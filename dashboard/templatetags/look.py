"""Template tags for the parts of the look: icons, chips, bars, sheets, forms: {% load look %}."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django import template
from django.forms import BoundField
from django.template import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dashboard import formats, help, parts

register = template.Library()

# Tone, icon, word: shape and word carry the meaning, colour only helps.
MOVEMENTS = {
    "new": ("g", "plus", "New"),
    "expansion": ("g", "arrow-up", "Expansion"),
    "reactivation": ("g", "rotate", "Reactivation"),
    "contraction": ("l", "arrow-down", "Contraction"),
    "churn": ("l", "x", "Churn"),
    "fx": ("x", "coin", "FX"),
    "adjustment": ("n", "notes", "Adjustment"),
    "opening": ("n", "flag", "Opening"),
    "reversal": ("n", "arrow-back-up", "Reversal"),
}
STATES = {
    "confirmed": ("ok", "circle-check", "Confirmed"),
    "sent": ("ok", "circle-check", "Sent"),
    "processed": ("ok", "circle-check", "Processed"),
    "matched": ("ok", "circle-check", "Matched"),
    "in_step": ("n", "check", "In step"),
    "would_send": ("sh", "eye", "Would send"),
    "waiting": ("n", "clock", "Waiting"),
    "sending": ("n", "send", "Sending"),
    "held": ("warn", "hourglass", "Held"),
    "incomplete": ("warn", "hourglass", "Incomplete"),
    "refused": ("bad", "circle-x", "Refused"),
    "parked": ("n", "circle-minus", "Parked"),
    "ignored": ("n", "circle-minus", "Ignored"),
    "edited": ("warn", "alert-triangle", "Edited in Salesforce"),
    "snoozed": ("n", "clock", "Snoozed"),
}


@register.simple_tag
def icon(name: str, *, small: bool = False) -> SafeString:
    """{% icon "bolt" %} draws an icon of the sprite at 18 px, with small=True at 15 px. Words stand beside it."""
    return format_html(
        '<svg class="ico{}" aria-hidden="true"><use href="{}#tabler-{}"/></svg>',
        " ico-s" if small else "",
        static("vendor/icons.svg"),
        name,
    )


@register.simple_tag
def movement(kind: str, word: str = "") -> SafeString:
    """{% movement entry.type %} is the chip of a movement: glyph, word, tone."""
    tone, glyph, own = MOVEMENTS[kind]
    return format_html('<span class="mv mv-{}">{}{}</span>', tone, icon(glyph, small=True), word or own)


@register.simple_tag
def state(code: str, word: str = "") -> SafeString:
    """{% state row.state %} or {% state "held" "Held: no Account" %} says how something stands."""
    tone, glyph, own = STATES[code]
    return chip(tone, glyph, word or own)


@register.simple_tag
def chip(tone: str, glyph: str, words: str) -> SafeString:
    """{% chip "warn" "git-branch" "Two fit" %}: tone is ok, warn, bad, sh (shadow) or n (neutral)."""
    return format_html('<span class="st st-{}">{}{}</span>', tone, icon(glyph, small=True), words)


@register.simple_tag
def code(name: str) -> SafeString:
    """{% code row.error_code %} shows a code, as a link to its help where there is some."""
    if not name:
        return SafeString()
    shown = format_html("<code>{}</code>", name)
    if help.topic(name) is None:
        return shown
    return format_html('<a href="{}">{}</a>', reverse("dashboard:help", args=[name]), shown)


@register.simple_tag
def incomplete(words: str = "incomplete") -> SafeString:
    """{% incomplete "not converted: no EUR rate since 14 Mar" %} stands beside a figure that lacks a part."""
    return format_html('<span class="inc">{}{}</span>', icon("hourglass", small=True), words)


@register.simple_tag
def tie(difference_minor: int, currency: str, claim: str) -> SafeString:
    """{% tie 0 "usd" "Opening + movements = closing" %} marks a sum that was recomputed, and by how much it fails."""
    if difference_minor == 0:
        return format_html('<span class="tie">{}{}, exactly</span>', icon("circle-check", small=True), claim)
    size = formats.money(abs(difference_minor), currency)
    words = "more" if difference_minor > 0 else "less"
    return format_html(
        '<span class="tie tie-bad">{}{} does not hold: {} {}</span>', icon("circle-x", small=True), claim, size, words
    )


@register.simple_tag
def risk_bar(score: int, signals: Sequence[parts.RiskPart]) -> SafeString:
    """{% risk_bar row.score row.parts %} cuts the score into its parts; the words beside it say the same."""
    words = ", ".join(f"{part.label} {part.points} points" for part in signals)
    drawn: list[tuple[int, int, int]] = []
    left = 0
    for part in signals:
        width = min(part.points, score - left)  # the score is capped at 100, so the last parts may be cut
        drawn.append((part.tone, left, width))
        left += width
    cuts = ((start,) for _, start, _ in drawn[1:])
    return format_html(
        '<svg class="bar bar-m" role="img" aria-label="{}"><rect class="bg" width="100%" height="100%"/>{}{}</svg>',
        words,
        format_html_join("", '<rect class="p{}" x="{}%" y="0" width="{}%" height="100%"/>', drawn),
        format_html_join("", '<line class="cut" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>', cuts),
    )


@register.simple_tag
def severity(score: int, *, medium: int = 40, high: int = 70) -> SafeString:
    """{% severity row.score %} is the word of a risk score."""
    word = "High" if score >= high else "Medium" if score >= medium else "Low"
    return format_html('<span class="sev sev-{}">{}</span>', word.lower(), word)


@register.simple_tag
def meter(used: int, limit: int, *, before: int = 0) -> SafeString:
    """{% meter 84 500 %} is a bar of how much of a limit is used; `before` is the grey part that others used."""
    tenths = [min(1000, 1000 * part // limit) if limit else 0 for part in (before, used)]
    tenths[1] = min(tenths[1], 1000 - tenths[0])
    grey, ours = (f"{part // 10}.{part % 10}" for part in tenths)
    return format_html(
        '<svg class="bar" role="img" aria-label="{} of {}"><rect class="bg" width="100%" height="100%"/>'
        '<rect class="b" width="{}%" height="100%"/><rect class="a" x="{}%" width="{}%" height="100%"/></svg>',
        formats.count(used + before),
        formats.count(limit),
        grey,
        grey,
        ours,
    )


@register.simple_tag
def spark(values: Sequence[int], kind: str = "balance") -> SafeString:
    """{% spark tile.trend tile.kind %}: a line for a balance, bars for an activity, nothing below two values."""
    if len(values) < 2:
        return SafeString()
    if kind == "activity":
        bars = parts.spark_bars(values)
        inner = format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', bars)
    else:
        line = parts.spark_line(values)
        inner = format_html('<polygon class="area" points="0,28 {0} 100,28"/><polyline points="{0}"/>', line)
    return format_html(
        '<svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true">{}</svg>', inner
    )


@register.simple_tag
def keys(*names: str) -> SafeString:
    """{% keys "J" "K" %} shows keys, for hints at the foot of a table; buttons carry theirs the same way."""
    return format_html_join("", '<span class="kb" aria-hidden="true">{}</span>', ((name,) for name in names))


@register.inclusion_tag("dashboard/_components/tiles.html", takes_context=True)
def tiles(context: Context, tiles: Iterable[parts.Tile]) -> dict[str, Any]:
    """{% tiles tiles %} is the metric sheet: four big figures, eight small."""
    return {"tiles": tiles, "request": context.get("request")}


@register.inclusion_tag("dashboard/_components/facts.html", takes_context=True)
def facts(context: Context, facts: Iterable[parts.Fact]) -> dict[str, Any]:
    """{% facts facts %} is the row of figures at the head of a page."""
    return {"facts": facts, "request": context.get("request")}


@register.inclusion_tag("dashboard/_components/band.html")
def band(band: parts.Band) -> dict[str, Any]:
    """{% band band %} is a status line under the top bar."""
    return {"band": band}


@register.inclusion_tag("dashboard/_components/empty.html")
def empty(empty: parts.Empty) -> dict[str, Any]:
    """{% empty empty %} stands where nothing is."""
    return {"empty": empty}


@register.inclusion_tag("dashboard/_components/segments.html")
def segments(choices: Iterable[parts.Choice], *, label: str, small: bool = False) -> dict[str, Any]:
    """{% segments choices label="View" small=True %} is a segmented control of links."""
    return {"choices": choices, "label": label, "small": small}


@register.inclusion_tag("dashboard/_components/tabs.html")
def tabs(choices: Iterable[parts.Choice], *, label: str) -> dict[str, Any]:
    """{% tabs choices label="Parts of this customer" %} is a row of tabs, each a link."""
    return {"choices": choices, "label": label}


@register.inclusion_tag("dashboard/_components/menu.html")
def menu(name: str, choices: Sequence[parts.Choice]) -> dict[str, Any]:
    """{% menu "Brand" choices %} is a filter that opens: its name, what is chosen, the choices as links."""
    return {"name": name, "choices": choices, "chosen": next((choice for choice in choices if choice.is_chosen), None)}


@register.inclusion_tag("dashboard/_components/pager.html")
def pager(pager: parts.Pager) -> dict[str, Any]:
    """{% pager pager %} ends a list: how many are shown, earlier and later."""
    return {"pager": pager}


@register.inclusion_tag("dashboard/_components/field.html")
def field(bound: BoundField, label: str = "") -> dict[str, Any]:
    """{% field form.secret %} is a form field: label above, hint and errors below, the input told about both."""
    return {"field": bound, "label": label or bound.label, "widget": _widget(bound)}


def _widget(bound: BoundField) -> SafeString:
    """Render the input with the kit's class and pointers to its hint and its errors."""
    # The label stands above; a placeholder that repeats it looks like a value.
    bound.field.widget.attrs.pop("placeholder", None)
    kind = getattr(bound.field.widget, "input_type", "")
    name = "form-check-input" if kind in {"checkbox", "radio"} else "form-control"
    if kind == "select":
        name = "form-select"
    described = [f"{bound.auto_id}-hint"] if bound.help_text else []
    described += [f"{bound.auto_id}-error"] if bound.errors else []
    attrs: dict[str, str | bool] = {"class": name}
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if bound.errors:
        attrs["aria-invalid"] = "true"
    return bound.as_widget(attrs=attrs)


@register.filter
def undo_path(message: Any) -> str:
    """Return the address that takes a decision back: messages.success(request, "…", extra_tags="undo /path/")."""
    word, _, path = (message.extra_tags or "").partition(" ")
    return path if word == "undo" else ""
