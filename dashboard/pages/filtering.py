"""The filters of a page: what they narrow it to, their chips in the filter bar, and the form that sets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from babel import Locale
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from billing import selectors as billing
from crm import selectors as crm
from dashboard import filters, formats
from dashboard.filters import FACETS, NONE, Facet, Filters
from dashboard.roles import Ability, may, requires
from mrr import selectors as mrr

LEFT_OUT = ("explain", "after", "before", "format", "apply", "cohort", "page")  # places in the view before


@dataclass(frozen=True)
class Filtered:
    """A page that can be narrowed: its name, its address, and by what."""

    name: str
    url_name: str
    facets: tuple[Facet, ...]


PAGES = {"customers": Filtered("Customers", "dashboard:customers", filters.OF_CUSTOMERS)}


@dataclass(frozen=True)
class Chip:
    """A filter that is set, as the bar shows it: the address drops it."""

    label: str
    value: str
    url: str


@dataclass(frozen=True)
class Option:
    """One value that a filter can take."""

    value: str
    label: str
    note: str
    is_chosen: bool


@dataclass(frozen=True)
class Group:
    """One filter in the form: its values, and from which moment a customer's is taken."""

    facet: Facet
    options: tuple[Option, ...]


def segment_of(chosen: Filters, sources: Sequence[int]) -> mrr.Segment | None:
    """Return what the filters leave, as selectors take it; None where nothing is narrowed."""
    if not chosen:
        return None
    owned: list[int] | None = None
    others: list[int] = []
    named = [one for one in chosen.owner if one != NONE]
    if NONE in chosen.owner:
        others = crm.customers_owned_by_others(named, sources=sources)
    elif named:
        owned = crm.customers_owned(named, sources=sources)
    return mrr.Segment(
        products=_or_unknown(chosen.plan),
        intervals=_or_unknown(chosen.billing_interval),
        countries=_or_unknown(chosen.country),
        customer_pks=owned,
        other_pks=others,
    )


def chips_of(request: HttpRequest, chosen: Filters, sources: Sequence[int]) -> tuple[Chip, ...]:
    """Return a chip for each value that is set."""
    found = []
    for facet in FACETS:
        values = chosen.of(facet)
        names = _names(request, facet, values, sources) if values else {}
        for value in values:
            rest = request.GET.copy()
            rest.setlist(facet.key, [one for one in values if one != value])
            found.append(Chip(facet.label, names.get(value, value), f"?{address(rest)}"))
    return tuple(found)


def address(query: QueryDict) -> str:
    """Write a view's parameters in their order, without what is a place in the view and not the view."""
    kept = query.copy()
    for name in LEFT_OUT:
        kept.pop(name, None)
    return filters.ordered(kept)


def kept(request: HttpRequest, *names: str) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a view but these: what a form that sets these has to carry along."""
    query = QueryDict(address(request.GET))
    return tuple((name, value) for name in query if name not in names for value in query.getlist(name))


def words_of(chips: Sequence[Chip]) -> str:
    """Say what is narrowed, as exports and prints carry it: Plan: Team or Business; Country: Germany."""
    by_label: dict[str, list[str]] = {}
    for chip in chips:
        by_label.setdefault(chip.label, []).append(chip.value)
    return "; ".join(f"{label}: {' or '.join(values)}" for label, values in by_label.items())


@requires(Ability.SEE_FIGURES)
@require_GET
def choose(request: HttpRequest, page: str) -> HttpResponse:
    """Show the form that sets a page's filters; with `apply` go to the page that they make."""
    found = PAGES.get(page)
    if found is None:
        raise Http404(f"There is no page '{page}' that can be narrowed.")
    chosen = filters.read(request.GET, facets=found.facets)
    if request.GET.get("apply"):
        wanted = request.GET.copy()
        for facet in FACETS:
            wanted.setlist(facet.key, list(chosen.of(facet)))
        query = address(wanted)
        return HttpResponseRedirect(f"{reverse(found.url_name)}{'?' if query else ''}{query}")
    template = "_filter_form.html" if request.headers.get("HX-Request") else "filters.html"
    slug = request.GET.get("source", "")
    pks = [one.pk for one in billing.sources() if (one.slug == slug if slug else one.livemode)]
    return render(
        request,
        f"dashboard/{template}",
        {
            "name": found.name,
            "back": reverse(found.url_name),
            "kept": kept(request, *(facet.key for facet in FACETS)),
            "groups": [_group(request, facet, chosen.of(facet), pks) for facet in found.facets],
        },
    )


# ---- values and their names ----


def _group(request: HttpRequest, facet: Facet, chosen: tuple[str, ...], sources: Sequence[int]) -> Group:
    options = _OPTIONS[facet.key](request, sources)
    known = {value for value, _, _ in options}
    gone = [(value, value, "no longer there") for value in chosen if value not in known]
    return Group(facet, tuple(Option(*option, option[0] in chosen) for option in [*options, *gone]))


def _countries(request: HttpRequest, sources: Sequence[int]) -> list[tuple[str, str, str]]:
    found = [(code or NONE, country_name(code), "") for code in billing.countries(sources)]
    return sorted(found, key=lambda option: (option[0] == NONE, option[1]))


def _owners(request: HttpRequest, sources: Sequence[int]) -> list[tuple[str, str, str]]:
    sees = may(request, Ability.SEE_PEOPLE)
    # Who does not see people chooses by the ids of Salesforce users; an owner known by name alone is not offered.
    found = [
        (one.key, one.name if sees else one.key, formats.count(one.customers))
        for one in crm.owner_choices(sources)
        if sees or one.key != one.name
    ]
    return [*found, (NONE, "No owner known", "")]


_OPTIONS = {"country": _countries, "owner": _owners}


def _names(request: HttpRequest, facet: Facet, values: Sequence[str], sources: Sequence[int]) -> Mapping[str, str]:
    """Return what people call some values of a filter; a value without a name is called as it is written."""
    if facet is filters.COUNTRY:
        return {value: country_name("" if value == NONE else value) for value in values}
    if facet is filters.INTERVAL:
        return {value: interval_name(value) for value in values}
    if facet is filters.PLAN:
        named = billing.product_names(sources, values)
        return {NONE: "No plan known"} | {product: name for (_, product), name in named.items()}
    names = {NONE: "No owner known"}
    if may(request, Ability.SEE_PEOPLE):
        names |= crm.owner_names([value for value in values if value != NONE])
    return names


def country_name(code: str) -> str:
    """Return a country's English name, its code where it is no country's, and words for none."""
    return str(Locale.parse("en").territories.get(code, code)) if code else "No country known"


def interval_name(code: str) -> str:
    """Say an interval: Monthly, Yearly, Every 3 months."""
    if code == NONE:
        return "No interval known"
    count, _, unit = code.rpartition("-")
    return f"Every {count} {unit}s" if count else {"day": "Daily"}.get(unit, f"{unit.capitalize()}ly")


def _or_unknown(values: Sequence[str]) -> tuple[str, ...]:
    return tuple("" if value == NONE else value for value in values)
