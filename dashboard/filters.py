"""Filters by plan, billing interval, country and owner: read from the address, and written back in one order.

A value is given by repeating its parameter: `?plan=prod_A&plan=prod_B&country=DE`. Values of one filter add up, filters
narrow each other. `none` stands for customers or items of which it is not known. Brand and currency are parameters of
their own (`source`, `currency`); what is in the address is the whole view, so that a link is a saved view.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from django.core.exceptions import BadRequest
from django.http import QueryDict

NONE: Final = "none"
MOST_VALUES: Final = 50  # of one filter; an address has to fit into one request line

# The first come first in every address we write, whatever order they were given in; others follow by name.
ORDER: Final = ("period", "from", "to", "source", "currency", "plan", "billing_interval", "country", "owner")

_PLAN = re.compile(r"[A-Za-z0-9_.:-]{1,255}", re.ASCII)
_INTERVAL = re.compile(r"(?:([1-9][0-9]{0,3})-)?(day|week|month|year)", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Facet:
    """One filter: its parameter, what people call it, and from which moment a customer's value is taken."""

    key: str
    label: str
    meaning: str
    clean: Callable[[str], str | None] = field(compare=False)
    form: str


def _clean_plan(text: str) -> str | None:
    return text if _PLAN.fullmatch(text) else None


def _clean_interval(text: str) -> str | None:
    found = _INTERVAL.fullmatch(text)
    return None if found is None else found[2] if found[1] in (None, "1") else text


def _clean_country(text: str) -> str | None:
    return text.upper() if _COUNTRY.fullmatch(text.upper()) else None


def _clean_owner(text: str) -> str | None:
    return text if text and len(text) <= 255 and not _UNPRINTABLE.search(text) else None


PLAN: Final = Facet(
    "plan",
    "Plan",
    "What stood on the plan at each moment: who changes from one plan to another leaves the one and enters the other.",
    _clean_plan,
    "the id of a Stripe product, such as prod_Q1",
)
INTERVAL: Final = Facet(
    "billing_interval",
    "Interval",
    "What was billed at this interval at each moment.",
    _clean_interval,
    "month, year, or several of them, such as 3-month",
)
COUNTRY: Final = Facet(
    "country",
    "Country",
    "The country of the customer's address in Stripe today, for all of its past.",
    _clean_country,
    "two letters, such as DE",
)
OWNER: Final = Facet(
    "owner",
    "Owner",
    "Who owns the customer's Salesforce Account today, for all of its past.",
    _clean_owner,
    "the id or the name of a Salesforce user",
)
FACETS: Final = (PLAN, INTERVAL, COUNTRY, OWNER)
OF_CUSTOMERS: Final = (COUNTRY, OWNER)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a view is narrowed to; each filter's values sorted, without repeats, empty where it does not narrow."""

    plan: tuple[str, ...] = ()
    billing_interval: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plan or self.billing_interval or self.country or self.owner)

    def of(self, facet: Facet) -> tuple[str, ...]:
        """Return the values of one filter."""
        return getattr(self, facet.key)  # type: ignore[no-any-return]

    def without(self, facet: Facet, value: str) -> Filters:
        """Return the filters with one value of one of them taken out."""
        return replace(self, **{facet.key: tuple(one for one in self.of(facet) if one != value)})

    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters that `read` makes these filters of, in the order of addresses."""
        return [(facet.key, value) for facet in FACETS for value in self.of(facet)]


def read(parameters: QueryDict, *, facets: Iterable[Facet] = FACETS) -> Filters:
    """Return the filters that GET parameters ask for.

    Raises BadRequest for a value that cannot be one, for more than 50 of a filter, and for a filter that is not among
    `facets`: a figure must not look narrowed that is not.
    """
    allowed = tuple(facets)
    found = Filters()
    for facet in FACETS:
        given = [text.strip() for text in parameters.getlist(facet.key)]
        values = {_value(facet, text) for text in given if text}
        if values and facet not in allowed:
            raise BadRequest(f"This page cannot be narrowed by {facet.label.lower()}. Take {facet.key}= out.")
        if len(values) > MOST_VALUES:
            raise BadRequest(f"Choose at most {MOST_VALUES} values of {facet.key}.")
        found = replace(found, **{facet.key: tuple(sorted(values))})
    return found


def ordered(query: QueryDict) -> str:
    """Write parameters as an address has them: the known ones in their order, the others by name; no empty ones."""
    written = QueryDict(mutable=True)
    for name in sorted(query, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        values = [value for value in query.getlist(name) if value != ""]
        if values:
            written.setlist(name, sorted(set(values)) if name in _REPEATED else values[-1:])
    return written.urlencode(safe=":")


_REPEATED: Final = frozenset(facet.key for facet in FACETS)


def _value(facet: Facet, text: str) -> str:
    found = NONE if text.lower() == NONE else facet.clean(text)
    if found is None:
        raise BadRequest(f"'{text[:60]}' is no {facet.label.lower()}. Give {facet.form}, or none.")
    return found
