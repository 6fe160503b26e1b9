"""Fills the frame around every page: how fresh the figures are, what waits for people, how Salesforce is connected."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from billing import selectors as billing
from dashboard import formats, status
from dashboard.context import Badge, Frame, Liveness, SalesforceMode, company_name, nav_groups
from dashboard.pages.shared import crm_pulse, inbox_pulse
from dashboard.parts import Band
from dashboard.roles import Ability, Role, abilities_of
from mrr import selectors as mrr
from mrr.engine.money import shown

BEHIND_SECONDS = 60


def load_frame(request: HttpRequest) -> Frame:
    """Return the frame for the request's user: two small queries, three where the page has not read the sources."""
    user = request.user
    now = timezone.now()
    if not user.is_authenticated:
        return Frame(company=company_name(), currency=settings.REPORTING_CURRENCY.upper(), groups=())
    inbox, waiting = inbox_pulse(request, now=now), crm_pulse(request)
    badges = {
        "dashboard:unmatched": Badge(waiting.unmatched),
        "dashboard:at_risk": Badge(waiting.at_risk),
        "dashboard:sync": Badge(waiting.parked, is_warning=True),
        "dashboard:events": Badge(inbox.parked, is_warning=True),
        "dashboard:close": Badge(int(waiting.is_departed), is_warning=True),
    }
    modes: dict[str, SalesforceMode] = {"live": "live", "shadow": "shadow", "held": "held"}
    mode = modes.get(waiting.mode, "none")
    bands = list(getattr(request, "bands", ()))
    if waiting.error:
        bands.append(
            Band(
                "danger",
                "plug-off",
                "Salesforce does not let us in.",
                waiting.error,
                *(
                    ("Sign in again", reverse("dashboard:salesforce"))
                    if Ability.CONNECT in abilities_of(user)
                    else ("Show it", reverse("dashboard:sync"))
                ),
            )
        )
    is_test = getattr(request, "is_test_mode", False)
    bands += status.not_said(status.bands(inbox, waiting, now=now, is_test=is_test), bands)
    if waiting.is_reopening_asked:
        bands[:0] = _reopening_band()  # before all others of its kind: only two are shown
    if waiting.is_departed:
        bands += _departure_band()
    if is_test:
        bands.append(_test_band(request))
    return Frame(
        company=company_name(),
        currency=settings.REPORTING_CURRENCY.upper(),
        groups=nav_groups(abilities_of(user), path=request.path, badges=badges),
        user_name=user.get_full_name() or user.get_username(),
        role_words=_role_words(user),
        sources_count=_source_count(request),
        liveness=Liveness(
            last_event_age_seconds=int((now - inbox.last_received_at).total_seconds())
            if inbox.last_received_at
            else None,
            is_behind=inbox.oldest_due_at is not None and (now - inbox.oldest_due_at).total_seconds() > BEHIND_SECONDS,
        ),
        salesforce_mode=mode,
        is_test_mode=is_test,
        bands=tuple(bands),
    )


def _reopening_band() -> list[Band]:
    """Tell everybody that somebody wants a closed month open again: nobody does that unseen."""
    asked = mrr.reopening_asked()
    if asked is None:
        return []
    since = f"{asked.asked_at:%-d %b %Y, %H:%M} UTC"
    return [
        Band(
            "danger",
            "lock",
            f"{asked.asked_by} asks to reopen {asked.month:%B %Y}.",
            f"Since {since}. Another person of the role finance or admin must agree; if nobody else is in finance, "
            f"it may be done alone from {asked.alone_at:%-d %b, %H:%M} UTC on.",
            "Show it",
            f"{reverse('dashboard:close_month', args=[f'{asked.month:%Y-%m}'])}#reopening",
        )
    ]


def _departure_band() -> list[Band]:
    """Tell everybody that the last closed month is no longer what somebody signed."""
    found = mrr.departed()
    if found is None:
        return []
    month = formats.month(found.month, long=True)
    signed, restated = shown(found.signed_micros), shown(found.restated_micros)
    change = formats.money(restated - signed, found.currency, signed=True)
    return [
        Band(
            "warn",
            "lock",
            f"{month} is no longer what was signed.",
            f"{formats.money(signed, found.currency)} was signed; what was learned since changes it by {change}.",
            "What was learned",
            f"{reverse('dashboard:close_month', args=[f'{found.month:%Y-%m}'])}#learned",
        )
    ]


def _source_count(request: HttpRequest) -> int:
    known: int | None = getattr(request, "source_count", None)
    return len(billing.live_source_pks()) if known is None else known


def _test_band(request: HttpRequest) -> Band:
    slug = getattr(request, "test_source", "")
    named = f"Source {slug}. " if slug else ""
    text = f"{named}Nothing here is in any total, alert or Salesforce record."
    return Band("test", "flask", "Test data.", text, "Leave test data", reverse("dashboard:overview"))


def _role_words(user: Any) -> str:
    if user.is_superuser:
        return "Admin"
    names = getattr(user, "_role_names", ())  # left on the user by abilities_of
    return ", ".join(role.value.capitalize() for role in Role if role.value in names)
