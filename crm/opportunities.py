"""Which Opportunity a subscription that begins to count belongs to: never a guess among several. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

WON_NEAR = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An Opportunity as Salesforce holds it."""

    id: str
    account_id: str
    subscription_id: str
    is_closed: bool
    is_won: bool
    close_on: date | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The Opportunity to write to: `closes` says whether we win it; empty id = one is to be made."""

    id: str
    closes: bool
    rule: str


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
    the Account that look for one now.
    """
    carrying = [one for one in found if one.subscription_id.lower() == subscription_id.lower()]
    if carrying:
        return _only(carrying, "subscription_id")
    if named_id:
        named = [one for one in found if one.id == named_id]
        if not named:
            return Unclear(
                "opportunity_not_found", f"The subscription names Opportunity {named_id}, which is not there."
            )
        if named[0].subscription_id:
            return Unclear("opportunity_taken", f"Opportunity {named_id} belongs to {named[0].subscription_id}.")
        return _only(named, "metadata")
    free = [one for one in found if one.account_id == account_id and not one.subscription_id]
    won = [one for one in free if one.is_won and one.close_on and abs(one.close_on - began_on) <= WON_NEAR]
    still_open = [one for one in free if not one.is_closed]
    if rivals and (won or still_open):
        return Unclear("several_subscriptions", "Several subscriptions began and look for their Opportunity.")
    if len(won) == 1:
        return Chosen(won[0].id, closes=False, rule="won_lately")
    if len(won) > 1:
        return Unclear("several_won_opportunities", f"The Account won {len(won)} Opportunities within 60 days.")
    if len(still_open) == 1:
        return Chosen(still_open[0].id, closes=True, rule="only_open")
    if len(still_open) > 1:
        return Unclear("several_open_opportunities", f"The Account has {len(still_open)} open Opportunities.")
    if may_create:
        return Chosen("", closes=True, rule="create")
    return Unclear("no_opportunity", "The Account has no open Opportunity.")


def _only(found: Sequence[Candidate], rule: str) -> Chosen | Unclear:
    if len(found) > 1:
        return Unclear("several_opportunities", f"{len(found)} Opportunities carry the subscription's id.")
    return Chosen(found[0].id, closes=not found[0].is_won, rule=rule)
