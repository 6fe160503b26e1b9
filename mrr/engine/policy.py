"""The rules that may be chosen, as one frozen value with a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final


class ChurnAt(StrEnum):
    EFFECTIVE_END = "effective_end"
    REQUEST = "request"


class StartsOn(StrEnum):
    STATUS = "status"
    FIRST_PAID_INVOICE = "first_paid_invoice"


class Discounts(StrEnum):
    NONE = "none"
    FOREVER = "forever"
    FOREVER_AND_REPEATING = "forever_and_repeating"
    ALL = "all"


class Pauses(StrEnum):
    """What `pause_collection` does: `void` and `mark_uncollectible` stop MRR, or nothing does, or every pause does."""

    UNCOLLECTED = "uncollected"
    NEVER = "never"
    ALWAYS = "always"


class PolicyError(ValueError):
    """A setting that does not exist or a value that it cannot take; the message says which would do."""


@dataclass(frozen=True, slots=True)
class MetricPolicy:
    """What counts and how (definitions.md 1 and 2). Every ledger entry carries the version it was computed under."""

    version: int = 1
    grouping_minutes: int = 60
    """Changes of one customer within this time are one movement; 0 = within the same second."""
    trials_count: bool = False
    """A subscription on trial counts in full, as if it were paid for already."""
    unpaid_counts: bool = False
    """A subscription that Stripe gave up collecting (`unpaid`) still counts until it ends."""
    past_due_cutoff_days: int = 0
    """After so many days past due a subscription no longer counts; 0 = it counts until Stripe gives up."""
    churn_at: ChurnAt = ChurnAt.EFFECTIVE_END
    starts_on: StartsOn = StartsOn.STATUS
    discounts: Discounts = Discounts.FOREVER_AND_REPEATING
    """Which durations reduce MRR. `once` counts on items billed every 12 months or longer, unless none do."""
    pauses: Pauses = Pauses.UNCOLLECTED
    weeks_per_year: int = 52
    """By how many weeks, and days, an amount is multiplied to become a year's."""
    days_per_year: int = 365
    excludes_tax: bool = True
    """Tax inside a price is taken out of it."""
    lost_disputes_count: bool = True
    """A lost dispute takes the subscription out until an invoice of it is paid."""

    @property
    def grouping_seconds(self) -> int:
        return self.grouping_minutes * 60

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON, the version among them."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}


DEFAULT: Final = MetricPolicy()

STRIPE: Final = MetricPolicy(
    grouping_minutes=0,
    churn_at=ChurnAt.REQUEST,
    discounts=Discounts.FOREVER,
    pauses=Pauses.NEVER,
    lost_disputes_count=False,
)
"""What Stripe's own Billing analytics do when nobody has configured them, as far as Stripe says it."""

PRESETS: Final = {"ours": DEFAULT, "stripe": STRIPE}


def from_json(settings: Mapping[str, Any], *, version: int) -> MetricPolicy:
    """Return a policy from its settings as plain JSON; a key that is missing has the value of our own preset."""
    policy = MetricPolicy(version=version)
    return replace(policy, **{key: _value(key, value) for key, value in settings.items() if key != "version"})


def parse(pairs: Iterable[str], *, base: MetricPolicy = DEFAULT) -> MetricPolicy:
    """Return a policy with `KEY=VALUE` settings laid over another; raises PolicyError that says what would do."""
    policy = base
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            raise PolicyError(f"'{pair}' is no setting: write KEY=VALUE, such as grouping_minutes=60.")
        policy = replace(policy, **{key.strip(): _value(key.strip(), text.strip())})
    return policy


def differences(before: MetricPolicy, after: MetricPolicy) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, in the order of KEYS: each with the value before and after as plain JSON."""
    old, new = before.as_json(), after.as_json()
    return {key: (old[key], new[key]) for key in KEYS if old[key] != new[key]}


KEYS: Final = tuple(field.name for field in fields(MetricPolicy) if field.name != "version")

_NUMBERS: Final = {
    "grouping_minutes": range(1_441),
    "past_due_cutoff_days": range(366),
    "weeks_per_year": range(48, 54),
    "days_per_year": range(360, 367),
}
_CHOICES: Final[dict[str, type[StrEnum]]] = {
    "churn_at": ChurnAt,
    "starts_on": StartsOn,
    "discounts": Discounts,
    "pauses": Pauses,
}
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def _value(key: str, value: Any) -> Any:
    text = str(value).lower()
    if key in _NUMBERS:
        allowed = _NUMBERS[key]
        if not text.isascii() or not text.isdigit() or int(text) not in allowed:
            raise PolicyError(f"{key} is a whole number from {allowed.start} to {allowed.stop - 1}, not '{value}'.")
        return int(text)
    if key in _CHOICES:
        if text not in set(_CHOICES[key]):
            raise PolicyError(f"{key} is one of {', '.join(_CHOICES[key])}, not '{value}'.")
        return _CHOICES[key](text)
    if key in KEYS:
        if text not in _TRUE | _FALSE:
            raise PolicyError(f"{key} is true or false, not '{value}'.")
        return text in _TRUE
    raise PolicyError(f"There is no setting '{key}'. There are: {', '.join(KEYS)}.")
