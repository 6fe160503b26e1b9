"""Which Opportunity a subscription that begins to count belongs to: never a guess among several. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from crm.channels.salesforce.fields import SUBSCRIPTION_ID
from crm.differences import agree

BOOKED = ("StageName", "CloseDate", "Amount", "CurrencyIsoCode")
WON_NEAR = timedelta(days=60)

QUESTIONS = {
    "several_opportunities": "Several Opportunities carry the subscription's id",
    "opportunity_not_found": "The Opportunity that the subscription names is not there",
    "opportunity_taken": "The Opportunity belongs to another subscription",
    "opportunity_elsewhere": "The Opportunity belongs to another Account",
    "several_subscriptions": "Several subscriptions look for their Opportunity",
    "several_won_opportunities": "Several Opportunities were won at that time",
    "several_open_opportunities": "Several Opportunities are open",
    "no_opportunity": "The Account has no Opportunity that fits",
    "undone": "A person undid the choice",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An Opportunity as Salesforce holds it."""

    id: str
    account_id: str
    subscription_id: str
    is_closed: bool
    is_won: bool
    close_on: date | None
    name: str = ""
    stage: str = ""
    amount: str = ""
    currency: str = ""
    owner: str = ""
    has_products: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """The Opportunity to write to: `closes` says whether we win it; empty id = one is to be made.

    `keeps_amount`: it has products, by which Salesforce works its Amount out and ignores ours.
    """

    id: str
    closes: bool
    rule: str
    keeps_amount: bool = False


@dataclass(frozen=True, slots=True)
class Unclear:
    """A person must choose; `code` says why."""

    code: str
    text: str


def choose(
    subscription_id: str,
    account_id: str,
    began_on: date,
    found: Sequence[Candidate],
    *,
    named_id: str = "",
    may_create: bool = False,
    rivals: int = 0,
) -> Chosen | Unclear:
    """Take the first rule that holds.

    (1) the one that carries the subscription's id, (2) the one that the subscription's metadata names, (3) the
    Account's single won one without a subscription within 60 days of the start: linked, left as the rep set it,
    (4) the Account's only open one, (5) a new one where the setting allows it. `rivals` counts other subscriptions of
    the Account that look for one too.
    """
    carrying = [one for one in found if one.subscription_id.lower() == subscription_id.lower()]
    if carrying:
        return _only(carrying, "subscription_id")
    if named_id:
        return _named(named_id, account_id, found)
    free = [one for one in found if one.account_id == account_id and not one.subscription_id]
    won = [one for one in free if _was_won_near(one, began_on)]
    still_open = [one for one in free if not one.is_closed]
    if rivals and (won or still_open):
        return Unclear("several_subscriptions", "Several subscriptions began and look for their Opportunity.")
    if len(won) == 1:
        return Chosen(won[0].id, closes=False, rule="won_lately")
    if len(won) > 1:
        return Unclear("several_won_opportunities", f"The Account won {len(won)} Opportunities within 60 days.")
    if len(still_open) == 1:
        return Chosen(still_open[0].id, closes=True, rule="only_open", keeps_amount=still_open[0].has_products)
    if len(still_open) > 1:
        return Unclear("several_open_opportunities", f"The Account has {len(still_open)} open Opportunities.")
    if may_create:
        return Chosen("", closes=True, rule="create")
    return Unclear("no_opportunity", "The Account has no open Opportunity.")


def as_told(subscription_id: str, opportunity_id: str, found: Sequence[Candidate]) -> Chosen | Unclear:
    """Take what a person chose, unless it is gone or was taken by another subscription since; empty = a new one.

    An Opportunity that is closed is linked and left as it is.
    """
    carrying = [one for one in found if one.subscription_id.lower() == subscription_id.lower()]
    if not opportunity_id:
        return _only(carrying, "subscription_id") if carrying else Chosen("", closes=True, rule="create")
    chosen = next((one for one in found if one.id == opportunity_id), None)
    if chosen is None:
        return Unclear("opportunity_not_found", f"Opportunity {opportunity_id} was chosen and is not there any more.")
    if chosen.subscription_id and chosen.subscription_id.lower() != subscription_id.lower():
        return Unclear("opportunity_taken", f"Opportunity {opportunity_id} belongs to {chosen.subscription_id}.")
    return Chosen(chosen.id, closes=not chosen.is_closed, rule="person", keeps_amount=chosen.has_products)


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What an Opportunity is to say once its match was undone; `is_made` = we made it, so it goes.

    `left` are the fields that stay as they are: somebody changed them since, or nobody kept what they said before.
    """

    fields: Mapping[str, Any]
    is_made: bool = False
    left: tuple[str, ...] = ()


def give_back(
    sent: Mapping[str, Any], was: Mapping[str, Any] | None, there: Mapping[str, Any], *, has_products: bool
) -> GivenBack:
    """Return how an Opportunity becomes what it was: each field as it stood before, unless somebody changed it since.

    `sent` is what we wrote last, empty where no answer came; `there` is what stands now. One that we made goes, if it
    is still as we made it.
    """
    before = was or {}
    booked = [name for name in BOOKED if name in (sent or before)]
    changed = [name for name in booked if sent and not agree(sent[name], there.get(name))]
    fields: dict[str, Any] = {SUBSCRIPTION_ID: before.get(SUBSCRIPTION_ID) or None, "Committed_ARR__c": None}
    if "AccountId" in sent:
        is_untouched = not changed and not has_products and agree(sent.get("Name"), there.get("Name"))
        return GivenBack(fields, is_made=is_untouched, left=() if is_untouched else ("Id",))
    known = [name for name in booked if name in before]
    fields |= {name: before[name] for name in known if name not in changed}
    return GivenBack(fields, left=tuple(name for name in booked if name not in fields))


def to_choose_from(account_id: str, began_on: date, found: Sequence[Candidate]) -> list[Candidate]:
    """Return an Account's Opportunities without a subscription, as a person is to see them.

    Those won near the start first, then the open ones, then what was won long ago; the nearest first.
    """
    free = [one for one in found if one.account_id == account_id and not one.subscription_id]

    def place(one: Candidate) -> tuple[int, int, str]:
        days = abs((one.close_on - began_on).days) if one.close_on else 99_999
        return (0 if _was_won_near(one, began_on) else 1 if not one.is_closed else 2), days, one.id

    return sorted(free, key=place)


def as_json(one: Candidate) -> dict[str, Any]:
    """Return a candidate as the question keeps it."""
    return {
        "id": one.id,
        "name": one.name,
        "stage": one.stage,
        "close_on": one.close_on.isoformat() if one.close_on else "",
        "amount": one.amount,
        "currency": one.currency,
        "is_won": one.is_won,
        "is_closed": one.is_closed,
        "owner": one.owner,
        "has_products": one.has_products,
    }


def _was_won_near(one: Candidate, began_on: date) -> bool:
    return one.is_won and one.close_on is not None and abs(one.close_on - began_on) <= WON_NEAR


def _named(named_id: str, account_id: str, found: Sequence[Candidate]) -> Chosen | Unclear:
    named = next((one for one in found if one.id == named_id), None)
    if named is None:
        return Unclear("opportunity_not_found", f"The subscription names Opportunity {named_id}, which is not there.")
    if named.subscription_id:
        return Unclear("opportunity_taken", f"Opportunity {named_id} belongs to {named.subscription_id}.")
    if named.account_id and named.account_id != account_id:
        return Unclear("opportunity_elsewhere", f"Opportunity {named_id} belongs to Account {named.account_id}.")
    return _only([named], "metadata")


def _only(found: Sequence[Candidate], rule: str) -> Chosen | Unclear:
    if len(found) > 1:
        return Unclear("several_opportunities", f"{len(found)} Opportunities carry the subscription's id.")
    one = found[0]
    return Chosen(one.id, closes=not one.is_won, rule=rule, keeps_amount=one.has_products)
