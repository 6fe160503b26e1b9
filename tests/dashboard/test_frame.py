"""The frame around the pages: who sees which link, how old the figures are."""

import pytest
from django.urls import include, path, resolve, reverse

from dashboard import context, roles
from dashboard.context import Badge, Frame, Liveness
from dashboard.parts import Band
from dashboard.roles import Ability, Role

PAGES = [page for _, pages in context.PAGES for page in pages]


def view(request):
    raise AssertionError("only its address is needed")


urlpatterns = [
    path(
        "dashboard/",
        include(
            (
                [path("", view, name="overview")]
                + [
                    path(f"{page.url_name.split(':')[1]}/", view, name=page.url_name.split(":")[1])
                    for page in PAGES[1:]
                ],
                "dashboard",
            )
        ),
    )
]


def links(abilities, *, path="/dashboard/", badges=None):
    groups = context.nav_groups(abilities, path=path, badges=badges or {})
    return [item for group in groups for item in group.items]


@pytest.mark.urls(__name__)
def test_a_role_sees_only_the_links_that_it_may_open():
    for role in Role:
        seen = {item.page.ability for item in links(roles.ABILITIES[role])}
        assert seen <= roles.ABILITIES[role]

    assert links(frozenset()) == []


@pytest.mark.urls(__name__)
def test_one_customer_keeps_the_customers_marked_and_the_overview_only_itself():
    open_pages = [item.page.label for item in links(Ability, path="/dashboard/customers/17/") if item.is_current]

    assert open_pages == ["Customers"]
    assert [item.page.label for item in links(Ability) if item.is_current] == ["Overview"]


@pytest.mark.urls(__name__)
def test_a_count_of_nothing_is_no_badge():
    badges = {"dashboard:unmatched": Badge(14), "dashboard:at_risk": Badge(0)}

    shown = {item.page.label: item.badge.count for item in links(Ability, badges=badges) if item.badge}

    assert shown == {"Unmatched": 14}


def test_no_two_pages_share_a_key():
    keys = [page.key for page in PAGES]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("liveness", "dot", "words"),
    [
        (Liveness(), "dot-off", "No event yet"),
        (Liveness(4), "", "Up to date, last event 4 s ago"),
        (Liveness(60), "", "Up to date, last event 1 min ago"),
        (Liveness(61), "dot-warn", "Last event 1 min ago"),
        (Liveness(360, is_behind=True), "dot-warn", "Behind, last event 6 min ago"),
    ],
)
def test_the_dot_says_how_old_the_last_event_is(liveness, dot, words):
    assert (liveness.dot, liveness.words) == (dot, words)


def test_test_data_is_said_on_every_page():
    frame = Frame("Northwind", "USD", (), is_test_mode=True, bands=(Band("warn", "clock", "Behind.", ""),))

    assert [band.kind for band in frame.shown_bands] == ["warn", "test"]


@pytest.mark.parametrize("link", PAGES, ids=lambda link: link.label)
def test_a_link_asks_for_the_ability_that_its_page_asks_for(link):
    assert resolve(reverse(link.url_name)).func.ability == link.ability
