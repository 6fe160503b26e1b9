from __future__ import annotations

from datetime import date

from crm.opportunities import Candidate, Chosen, Unclear, choose

BEGAN = date(2026, 3, 1)


def opportunity(name: str, *, sub: str = "", closed: bool = False, won: bool = False, on: date = BEGAN) -> Candidate:
    return Candidate(name, "001A", sub, closed or won, won, on)


def chosen(*found: Candidate, **more) -> Chosen | Unclear:
    return choose("sub_1", "001A", BEGAN, found, **more)


def test_the_one_that_carries_the_subscription_comes_first():
    found = chosen(opportunity("006A"), opportunity("006B", sub="SUB_1"), named_id="006A")

    assert found == Chosen("006B", closes=True, rule="subscription_id")


def test_one_that_was_won_before_stays_as_it_is():
    assert chosen(opportunity("006B", sub="sub_1", won=True)) == Chosen("006B", closes=False, rule="subscription_id")


def test_then_the_one_that_the_metadata_names():
    found = chosen(opportunity("006A"), opportunity("006B"), named_id="006B")

    assert found == Chosen("006B", closes=True, rule="metadata")


def test_a_named_one_of_another_subscription_needs_a_person():
    assert chosen(opportunity("006B", sub="sub_2"), named_id="006B").code == "opportunity_taken"


def test_a_named_one_that_is_not_there_needs_a_person():
    assert chosen(opportunity("006A"), named_id="006B").code == "opportunity_not_found"


def test_then_the_single_one_won_lately_is_linked_and_left_alone():
    won = opportunity("006W", won=True, on=date(2026, 1, 5))

    assert chosen(won, opportunity("006A")) == Chosen("006W", closes=False, rule="won_lately")


def test_one_won_long_ago_does_not_count():
    won = opportunity("006W", won=True, on=date(2025, 12, 30))

    assert chosen(won, opportunity("006A")) == Chosen("006A", closes=True, rule="only_open")


def test_several_open_ones_need_a_person():
    assert chosen(opportunity("006A"), opportunity("006B")).code == "several_open_opportunities"


def test_several_subscriptions_do_not_share_an_open_one():
    assert chosen(opportunity("006A"), rivals=1).code == "several_subscriptions"


def test_none_is_made_unless_the_setting_allows_it():
    assert chosen().code == "no_opportunity"
    assert chosen(may_create=True) == Chosen("", closes=True, rule="create")


def test_opportunities_of_other_accounts_do_not_count():
    other = Candidate("006X", "001B", "", False, False, BEGAN)

    assert chosen(other).code == "no_opportunity"
