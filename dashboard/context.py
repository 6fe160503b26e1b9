"""The frame around every page: navigation, liveness, Salesforce mode and bands, as the context variable `frame`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from dashboard import formats, parts
from dashboard.roles import Ability

SalesforceMode = Literal["none", "shadow", "live", "held"]

LATE_SECONDS = 60  # an event older than this turns the dot amber
TEST_BAND = parts.Band(
    "test", "flask", "Test data.", "Nothing here is in any total, alert or Salesforce record.", "Leave test data", "?"
)


@dataclass(frozen=True)
class Page:
    """One link of the navigation: who sees it, the letter after `g` that goes there, whether phones show it below."""

    label: str
    url_name: str
    icon: str
    ability: Ability
    key: str
    on_phone: bool = False


# Pages are added here as they are made; the order is the one on the screen.
PAGES: tuple[tuple[str, tuple[Page, ...]], ...] = (
    (
        "Revenue",
        (
            Page("Overview", "dashboard:overview", "layout-dashboard", Ability.SEE_FIGURES, "o", on_phone=True),
            Page("Movements", "dashboard:movements", "chart-bar", Ability.SEE_FIGURES, "m"),
            Page("Cohorts", "dashboard:cohorts", "grid-dots", Ability.SEE_FIGURES, "c"),
            Page("Retention", "dashboard:retention", "repeat", Ability.SEE_FIGURES, "y"),
        ),
    ),
    (
        "Customers",
        (
            Page("Customers", "dashboard:customers", "users", Ability.SEE_FIGURES, "k", on_phone=True),
            Page("Unmatched", "dashboard:unmatched", "user-question", Ability.SEE_FIGURES, "u", on_phone=True),
            Page("At risk", "dashboard:at_risk", "alert-triangle", Ability.SEE_FIGURES, "r", on_phone=True),
        ),
    ),
    (
        "Books",
        (
            Page("Close", "dashboard:close", "lock", Ability.SEE_FIGURES, "l"),
            Page("Board pack", "dashboard:board", "file-text", Ability.SEE_FIGURES, "b"),
        ),
    ),
    (
        "Operations",
        (
            Page("Salesforce sync", "dashboard:sync", "cloud-upload", Ability.SEE_FIGURES, "s"),
            Page("Salesforce", "dashboard:salesforce", "plug", Ability.CONNECT, "f"),
            Page("Stripe events", "dashboard:events", "bolt", Ability.SEE_PEOPLE, "e"),
            Page("Imports", "dashboard:imports", "upload", Ability.IMPORT, "i"),
            Page("Health", "dashboard:health", "heartbeat", Ability.SEE_FIGURES, "h"),
        ),
    ),
    (
        "Settings and help",
        (
            Page("Set up", "dashboard:setup", "flag", Ability.CONNECT, "t"),
            Page("Settings", "dashboard:settings", "settings", Ability.MANAGE_USERS, "n"),
            Page("Help", "dashboard:help_index", "help-circle", Ability.SEE_FIGURES, "p"),
        ),
    ),
)


@dataclass(frozen=True)
class Badge:
    """A count beside a link; amber where the count is of something stuck, not just open."""

    count: int
    is_warning: bool = False


@dataclass(frozen=True)
class NavItem:
    page: Page
    url: str
    is_current: bool
    badge: Badge | None = None


@dataclass(frozen=True)
class NavGroup:
    label: str
    items: tuple[NavItem, ...]


@dataclass(frozen=True)
class Liveness:
    """How old the last Stripe event is (None before the first), and whether due events are waiting too long."""

    last_event_age_seconds: int | None = None
    is_behind: bool = False

    @property
    def dot(self) -> str:
        if self.last_event_age_seconds is None:
            return "dot-off"
        return "dot-warn" if self.is_behind or self.last_event_age_seconds > LATE_SECONDS else ""

    @property
    def words(self) -> str:
        if self.last_event_age_seconds is None:
            return "No event yet"
        since = f"last event {formats.age(self.last_event_age_seconds)} ago"
        if self.is_behind:
            return f"Behind, {since}"
        return since.capitalize() if self.dot else f"Up to date, {since}"


@dataclass(frozen=True)
class Frame:
    """What base.html shows around a page, for one user at one moment."""

    company: str
    currency: str
    groups: tuple[NavGroup, ...]
    user_name: str = ""
    role_words: str = ""
    sources_count: int | None = None
    liveness: Liveness = Liveness()
    salesforce_mode: SalesforceMode = "none"
    is_test_mode: bool = False
    bands: tuple[parts.Band, ...] = field(default=())

    @property
    def shown_bands(self) -> list[parts.Band]:
        """The bands to show on every page: at most two, worst first, and test data always."""
        has_test = any(band.kind == "test" for band in self.bands)
        return parts.shown_bands((*self.bands, TEST_BAND) if self.is_test_mode and not has_test else self.bands)

    @property
    def phone_items(self) -> list[NavItem]:
        return [item for group in self.groups for item in group.items if item.page.on_phone]

    @property
    def is_under_more(self) -> bool:
        """Say whether the open page is one that phones reach by More."""
        return any(item.is_current and not item.page.on_phone for group in self.groups for item in group.items)

    @property
    def user_initials(self) -> str:
        return formats.initials(self.user_name)


def frame(request: HttpRequest) -> dict[str, Any]:
    """Give templates `company`, and `frame`, which is only loaded where a template uses it."""
    return {"company": company_name(), "frame": SimpleLazyObject(lambda: _load(request))}


def company_name() -> str:
    return settings.COMPANY_NAME or "Your company"


def nav_groups(abilities: Iterable[Ability], *, path: str, badges: Mapping[str, Badge]) -> tuple[NavGroup, ...]:
    """Return the navigation of somebody with these abilities; `badges` by URL name; `path` says which page is open."""
    held = frozenset(abilities)
    groups = []
    for label, pages in PAGES:
        items = tuple(_item(page, path=path, badge=badges.get(page.url_name)) for page in pages if page.ability in held)
        if items:
            groups.append(NavGroup(label, items))
    return tuple(groups)


def _item(page: Page, *, path: str, badge: Badge | None) -> NavItem:
    url = reverse(page.url_name)
    # A page below another, as one customer is below the customers, keeps its parent marked; all are below the overview.
    is_current = path == url or (page.url_name != "dashboard:overview" and path.startswith(url))
    return NavItem(page, url, is_current, badge if badge and badge.count else None)


def _load(request: HttpRequest) -> Frame:
    from dashboard.frame_data import load_frame

    return load_frame(request)
