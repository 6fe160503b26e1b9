"""Filters: what an address says is what the page shows, written back in one order; what cannot be read is said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import time_machine
from django.core.exceptions import BadRequest
from django.http import QueryDict
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from billing.models import Customer
from crm.models import Account
from dashboard import filters, periods
from dashboard.filters import Filters
from dashboard.pages.filtering import PAGES, country_name, interval_name
from dashboard.roles import Role
from tests.dashboard.people import person
from tests.dashboard.test_pages import World

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)

plans = st.from_regex(r"\A(?:prod_[A-Za-z0-9]{1,14}|none)\Z")
intervals = st.sampled_from(["none", "day", "week", "month", "year", "3-month", "6-month", "2-year"])
countries = st.from_regex(r"\A(?:[A-Z]{2}|none)\Z")
owners = st.text(st.characters(exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=40).filter(
    lambda text: text.lower() != "none"
)


def _sorted(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(values, max_size=6).map(lambda found: tuple(sorted(found)))


views = st.builds(
    Filters,
    plan=_sorted(plans),
    billing_interval=_sorted(intervals),
    country=_sorted(countries),
    owner=_sorted(owners),
)


@given(views)
def test_a_view_written_as_an_address_is_read_as_the_same_view(view: Filters) -> None:
    query = QueryDict(mutable=True)
    for name, value in view.pairs():
        query.appendlist(name, value)

    assert filters.read(QueryDict(filters.ordered(query))) == view


@given(views, st.randoms(use_true_random=False))
def test_the_address_of_a_view_does_not_depend_on_the_order_of_its_parts(view: Filters, dice: Any) -> None:
    pairs = [*view.pairs(), *view.pairs(), ("period", "12m"), ("state", "paying"), ("source", "acme")]
    shuffled = dice.sample(pairs, len(pairs))
    written = []
    for given_pairs in (pairs, shuffled):
        query = QueryDict(mutable=True)
        for name, value in given_pairs:
            query.appendlist(name, value)
        written.append(filters.ordered(query))

    assert written[0] == written[1]
    assert filters.ordered(QueryDict(written[0])) == written[0]


@given(st.text(max_size=300), st.sampled_from([facet.key for facet in filters.FACETS]))
def test_any_text_as_a_filter_is_a_value_or_is_said_to_be_none(text: str, name: str) -> None:
    query = QueryDict(mutable=True)
    query.appendlist(name, text)

    try:
        found = filters.read(query)
    except BadRequest as refused:
        assert "Give " in str(refused)
    else:
        assert all(len(value) <= 255 for _, value in found.pairs())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("country=Germany", "two letters"),
        ("billing_interval=fortnight", "month, year"),
        ("plan=a b", "id of a Stripe product"),
        ("owner=a%00b", "Salesforce user"),
        ("&".join(f"plan=prod_{n}" for n in range(51)), "at most 50"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_form_it_should_have(text: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        filters.read(QueryDict(text))


def test_one_way_of_writing_a_value_is_kept() -> None:
    found = filters.read(QueryDict("country=de&country=DE&billing_interval=1-month&owner=NONE"))

    assert found == Filters(billing_interval=("month",), country=("DE",), owner=("none",))


def test_a_page_refuses_a_filter_that_it_does_not_have() -> None:
    with pytest.raises(BadRequest, match="cannot be narrowed by plan"):
        filters.read(QueryDict("plan=prod_1"), facets=filters.OF_CUSTOMERS)


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)), st.sampled_from([*periods.PRESETS]))
def test_a_preset_as_months_of_its_own_is_the_preset_again(day: date, preset: str) -> None:
    period = periods.read({"period": preset}, today=day)

    again = periods.read({"from": f"{period.first:%Y-%m}", "to": f"{period.last:%Y-%m}"}, today=day)

    assert (again.first, again.last) == (period.first, period.last)


@pytest.mark.parametrize("text", ["0001-01", "9999-12", "2026-13", "2026-1", "٢٠٢٦-٠١", "2026-01-01", "x"])
def test_months_beyond_reach_are_refused_before_anything_is_counted(text: str) -> None:
    with pytest.raises(BadRequest):
        periods.read({"from": text, "to": text}, today=date(2026, 3, 20))


def test_countries_and_intervals_have_names() -> None:
    assert [country_name("DE"), country_name("")] == ["Germany", "No country known"]
    assert [interval_name(code) for code in ("month", "year", "3-month", "day", "none")] == [
        "Monthly",
        "Yearly",
        "Every 3 months",
        "Daily",
        "No interval known",
    ]


# ---- pages ----


@pytest.fixture
def world(db: None) -> Iterator[World]:
    with time_machine.travel(NOW, tick=True):
        found = World()
        Customer.objects.filter(stripe_id=found.acme.id).update(country="DE")
        Customer.objects.filter(stripe_id=found.beta.id).update(country="FR")
        yield found


def _client(role: Role = Role.ANALYST) -> Client:
    client = Client()
    client.force_login(person(role))
    return client


def _names(html: str) -> list[str]:
    return [
        name for name in ("Acme Rockets", "Beta Bakery", "Gone Fishing", "Euro Trains", "Back Again") if name in html
    ]


def test_customers_can_be_narrowed_by_country(world: World) -> None:
    html = _client().get("/dashboard/customers/?country=DE").content.decode()

    assert _names(html) == ["Acme Rockets"]
    assert "Country <b>Germany</b>" in html


def test_customers_can_be_narrowed_by_todays_owner(world: World) -> None:
    client = _client()

    mine = client.get("/dashboard/customers/?owner=Olga+Owner").content.decode()
    nobodys = client.get("/dashboard/customers/?owner=none").content.decode()
    Account.objects.filter(pk=world.account.pk).update(owner_name="Nils New", owner_id="005000000000001AAA")
    after = client.get("/dashboard/customers/?owner=Olga+Owner").content.decode()
    by_id = client.get("/dashboard/customers/?owner=005000000000001AAA").content.decode()

    assert _names(mine) == ["Acme Rockets"]
    assert "Acme Rockets" not in _names(nobodys) and len(_names(nobodys)) == 4
    assert _names(after) == []
    assert _names(by_id) == ["Acme Rockets"]
    assert "Owner <b>Nils New</b>" in by_id


def test_when_nothing_fits_the_page_says_which_filter_to_drop(world: World) -> None:
    html = _client().get("/dashboard/customers/?country=DE&owner=Nobody").content.decode()

    assert "No customer fits" in html
    assert 'href="?country=DE"' in html


def test_the_form_leads_to_the_page_with_its_filters_in_one_order(world: World) -> None:
    answer = _client().get(
        "/dashboard/filters/customers/?apply=1&owner=none&country=fr&country=DE&state=paying&after=1.usd.0.1"
    )

    assert answer.status_code == 302
    assert answer["Location"] == "/dashboard/customers/?country=DE&country=FR&owner=none&state=paying"


def test_the_form_offers_what_there_is_with_the_moment_that_counts(world: World) -> None:
    html = _client().get("/dashboard/filters/customers/?country=DE").content.decode()

    assert "Germany" in html and "France" in html and "Olga Owner" in html
    assert "today" in html
    assert 'value="DE" checked' in html


def test_who_does_not_see_people_is_told_no_name_of_an_owner(world: World) -> None:
    Account.objects.filter(pk=world.account.pk).update(owner_name="Nils New", owner_id="005000000000001AAA")
    client = _client(Role.VIEWER)

    form = client.get("/dashboard/filters/customers/").content.decode()
    page = client.get("/dashboard/customers/?owner=005000000000001AAA").content.decode()

    assert "005000000000001AAA" in form and "005000000000001AAA" in page
    assert "Nils" not in form + page and "Olga" not in form + page


def test_a_bad_filter_is_a_page_that_says_so(world: World) -> None:
    answer = _client().get("/dashboard/customers/?country=Germany")

    assert answer.status_code == 400
    assert "&#x27;Germany&#x27; is no country." in answer.content.decode()


def test_a_page_without_filters_does_not_look_narrowed(world: World) -> None:
    answer = _client().get("/dashboard/at-risk/?country=DE")

    assert answer.status_code == 400


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_page_with_filters_has_its_form(world: World, page: str) -> None:
    client = _client()

    html = client.get(f"/dashboard/filters/{page}/").content.decode()

    assert all(f"<legend>{facet.label}</legend>" in html for facet in PAGES[page].facets)
    assert client.get("/dashboard/filters/nothing/").status_code == 404
