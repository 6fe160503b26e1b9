"""Links between subscriptions of different customers, where one replaces the other: made by people, reversible."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q

from billing import selectors as billing
from billing.selectors import History, SubscriptionRow
from mrr import policies
from mrr.engine.policy import MetricPolicy, StartsOn
from mrr.models import SubscriptionLink

NEARBY = timedelta(days=7)


class LinkError(ValueError):
    """A link that cannot be made or undone; the message says why."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A subscription that ended and one that began near it, of two customers of one group."""

    predecessor: str
    predecessor_customer_pk: int
    ended_at: datetime
    successor: str
    successor_customer_pk: int
    began_at: datetime

    @property
    def apart(self) -> timedelta:
        return abs(self.began_at - self.ended_at)


@dataclass(frozen=True, slots=True)
class Linked:
    """A customer's subscriptions that one of another customer replaced, and those that replaced one."""

    migrated: frozenset[str] = frozenset()
    arrived: frozenset[str] = frozenset()


def migrated_subscriptions(customer_pks: Collection[int]) -> dict[int, Linked]:
    """Return the linked subscriptions of each of these customers that has any. One small read."""
    found: dict[int, Linked] = {}
    rows = SubscriptionLink.objects.filter(
        Q(predecessor_customer__in=customer_pks) | Q(successor_customer__in=customer_pks), undone_at__isnull=True
    ).values_list("predecessor_customer_id", "predecessor", "successor_customer_id", "successor")
    for before_pk, before, after_pk, after in rows:
        known = found.get(before_pk, Linked())
        found[before_pk] = replace(known, migrated=known.migrated | {before})
        known = found.get(after_pk, Linked())
        found[after_pk] = replace(known, arrived=known.arrived | {after})
    return {pk: each for pk, each in found.items() if pk in customer_pks}


def linked(histories: Mapping[int, History], *, policy: MetricPolicy | None = None) -> Mapping[int, History]:
    """Return histories with their links among the facts and, where the policy (in force) goes by them, payments."""
    histories = _with_payments(histories, policy or policies.current()) if histories else histories
    known = migrated_subscriptions(histories.keys()) if histories else {}
    if not known:
        return histories
    return {
        pk: replace(history, facts=replace(history.facts, migrated=known[pk].migrated, arrived=known[pk].arrived))
        if pk in known
        else history
        for pk, history in histories.items()
    }


def _with_payments(histories: Mapping[int, History], policy: MetricPolicy) -> Mapping[int, History]:
    if policy.starts_on is not StartsOn.FIRST_PAID_INVOICE or any(each.facts.first_paid for each in histories.values()):
        return histories
    paid = billing.first_paid_of(histories.keys())
    return {
        pk: replace(history, facts=replace(history.facts, first_paid=paid.get(pk, {})))
        for pk, history in histories.items()
    }


def suggestions(groups: Mapping[int, Hashable]) -> list[Suggestion]:
    """Return what may be replacements, the nearest first: two customers of one group, at most 7 days apart.

    `groups` maps customers (our keys) to what makes them one, such as the Salesforce Account. A subscription is
    suggested once, with the nearest one; what is linked already is left out.
    """
    held = billing.subscriptions_of(list(groups))
    known = migrated_subscriptions(groups.keys())
    by_group: dict[Hashable, list[SubscriptionRow]] = {}
    for customer_pk, rows in held.items():
        by_group.setdefault(groups[customer_pk], []).extend(rows)
    found = [
        pair
        for rows in by_group.values()
        for pair in _pairs(rows)
        if pair.predecessor not in known.get(pair.predecessor_customer_pk, Linked()).migrated
        and pair.successor not in known.get(pair.successor_customer_pk, Linked()).arrived
    ]
    replaced: set[tuple[int, str]] = set()
    replacing: set[tuple[int, str]] = set()
    kept = []
    for pair in sorted(found, key=lambda pair: (pair.apart, pair.predecessor, pair.successor)):
        before = pair.predecessor_customer_pk, pair.predecessor
        after = pair.successor_customer_pk, pair.successor
        if before not in replaced and after not in replacing:
            replaced.add(before)
            replacing.add(after)
            kept.append(pair)
    return kept


def link(source_pk: int, predecessor: str, successor: str, *, user: str, now: datetime) -> SubscriptionLink:
    """Say that a subscription replaces one of another customer; the caller posts both customers anew.

    Raises LinkError when either is unknown, both are of one customer (that is a change of plan), the dates lie more
    than 7 days apart, or one of them is linked already.
    """
    before, after = _subscription(source_pk, predecessor), _subscription(source_pk, successor)
    if before.customer_pk == after.customer_pk:
        raise LinkError("Both are of one customer: that is a change of plan, which needs no link.")
    if before.ended_at is None or after.started_at is None:
        raise LinkError(f"{predecessor} has not ended: only a subscription that ended is replaced.")
    if abs(after.started_at - before.ended_at) > NEARBY:
        raise LinkError(f"{successor} began more than {NEARBY.days} days from the end of {predecessor}.")
    try:
        with transaction.atomic():
            return SubscriptionLink.objects.create(
                source_id=source_pk,
                predecessor=predecessor,
                predecessor_customer_id=before.customer_pk,
                successor=successor,
                successor_customer_id=after.customer_pk,
                made_by=user,
                made_at=now,
            )
    except IntegrityError:
        raise LinkError("One of them is linked already: undo that link first.") from None


def undo(source_pk: int, predecessor: str, *, user: str, now: datetime) -> SubscriptionLink:
    """Take the link of a predecessor back; the caller posts both customers anew. Raises LinkError without one."""
    with transaction.atomic():
        found = (
            SubscriptionLink.objects.select_for_update()
            .filter(source=source_pk, predecessor=predecessor, undone_at__isnull=True)
            .first()
        )
        if found is None:
            raise LinkError(f"{predecessor} is not linked.")
        found.undone_by, found.undone_at = user, now
        found.save(update_fields=["undone_by", "undone_at"])
    return found


def _subscription(source_pk: int, stripe_id: str) -> SubscriptionRow:
    row = billing.subscription(source_pk, stripe_id)
    if row is None:
        raise LinkError(f"There is no subscription {stripe_id} in this source.")
    return row


def _pairs(rows: Iterable[SubscriptionRow]) -> Iterable[Suggestion]:
    rows = list(rows)
    ended = [row for row in rows if row.ended_at is not None]
    for before in ended:
        for after in rows:
            if before.ended_at is None or after.started_at is None or before.customer_pk == after.customer_pk:
                continue
            if abs(after.started_at - before.ended_at) <= NEARBY:
                yield Suggestion(
                    before.stripe_id,
                    before.customer_pk,
                    before.ended_at,
                    after.stripe_id,
                    after.customer_pk,
                    after.started_at,
                )
