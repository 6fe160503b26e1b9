"""Links between subscriptions of different customers: suggested, made, undone; the movements say `migrated`."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.models import Customer
from mrr import check, links
from mrr.models import LedgerEntry, SubscriptionLink
from tests.scenario import Scenario, standing

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme():
    """A customer that ended on 1 March, one that began three days later, one that began two weeks later."""
    scenario = Scenario("acme")
    scenario.old = scenario.customer("Old")
    scenario.old.subscribes("team", monthly="100.00", on="2026-01-10")
    scenario.old.cancels(on="2026-03-01")
    scenario.new = scenario.customer("New")
    scenario.new.subscribes("business", monthly="120.00", on="2026-03-04")
    scenario.late = scenario.customer("Late")
    scenario.late.subscribes("team", monthly="70.00", on="2026-03-15")
    user = get_user_model().objects.create(username="rob")
    user.groups.add(Group.objects.get_or_create(name="revops")[0])
    return scenario


def run(*arguments: str):
    out = StringIO()
    call_command("link_subscriptions", *arguments, stdout=out)
    return json.loads(out.getvalue().splitlines()[-1])


def groups(acme, **named: str):
    return {Customer.objects.get(stripe_id=getattr(acme, name).id).pk: group for name, group in named.items()}


def sub(story):
    return story.subscriptions[-1]["id"]


def reasons(acme):
    return [(entry.type, entry.reason) for who in (acme.old, acme.new) for entry in standing(who.id, acme.source)]


def test_two_customers_of_one_group_a_few_days_apart_are_suggested(acme):
    (found,) = links.suggestions(groups(acme, old="A", new="A", late="A"))

    assert (found.predecessor, found.successor) == (sub(acme.old), sub(acme.new))
    assert found.apart.days == 3


def test_customers_of_different_groups_are_not(acme):
    assert links.suggestions(groups(acme, old="A", new="B", late="A")) == []


def test_a_link_gives_both_movements_their_reason_and_undoing_takes_it_back(acme):
    before = check.check(now=timezone.now()).fingerprint

    assert run(sub(acme.old), sub(acme.new), "--user", "rob")["linked"] is True

    assert reasons(acme) == [("new", "subscribed"), ("churn", "migrated"), ("new", "migrated")]
    assert not LedgerEntry.objects.filter(reason="migrated", is_live=True).exists()
    assert check.check(now=timezone.now()).differences == 0
    assert links.suggestions(groups(acme, old="A", new="A")) == []
    assert run(sub(acme.old), "--undo", "--user", "rob")["linked"] is False
    assert reasons(acme) == [("new", "subscribed"), ("churn", "canceled"), ("new", "subscribed")]
    assert check.check(now=timezone.now()).fingerprint == before
    assert SubscriptionLink.objects.get().undone_by == "rob"


def test_a_link_that_was_undone_can_be_made_again(acme):
    for arguments in ([sub(acme.old), sub(acme.new)], [sub(acme.old), "--undo"], [sub(acme.old), sub(acme.new)]):
        run(*arguments, "--user", "rob")

    assert SubscriptionLink.objects.count() == 2
    assert reasons(acme)[1] == ("churn", "migrated")


def test_later_events_keep_the_link(acme):
    run(sub(acme.old), sub(acme.new), "--user", "rob")

    acme.new.changes(on="2026-04-01", quantity=2)

    assert reasons(acme)[2:] == [("new", "migrated"), ("expansion", "quantity")]


def test_what_cannot_be_linked_says_why(acme):
    old, new, late = sub(acme.old), sub(acme.new), sub(acme.late)
    run(old, new, "--user", "rob")

    for arguments, said in [
        ([old, late], "more than 7 days"),
        ([new, late], "has not ended"),
        ([old, "sub_none"], "There is no subscription sub_none"),
        ([old, old], "of one customer"),
        ([old, new], "linked already"),
        ([new, "--undo"], "is not linked"),
    ]:
        with pytest.raises(CommandError, match=said) as error:
            run(*arguments, "--user", "rob")
        assert error.value.returncode == 1


@pytest.mark.parametrize("role", ["viewer", "analyst"])
def test_it_takes_a_role(acme, role):
    user = get_user_model().objects.create(username="val")
    user.groups.add(Group.objects.get_or_create(name=role)[0])

    with pytest.raises(CommandError, match="it takes role revops, finance or admin"):
        run(sub(acme.old), sub(acme.new), "--user", "val")


def test_without_names_it_lists_what_looks_like_it(acme):
    assert run() == {"suggestions": []}
