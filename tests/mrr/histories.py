"""Short words for the engine's input: items, states and steps without Stripe's JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from billing.layouts import Item, SubscriptionState


@dataclass(frozen=True)
class KnownStep:
    created: int
    event_id: str
    event_type: str
    state: SubscriptionState
    before: SubscriptionState | None = None
    is_live: bool = True


def at(text: str) -> int:
    """Read `2026-03-01` or `2026-03-01 10:20` as Unix seconds, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def item(
    amount: str | int,
    *,
    id: str = "si_1",
    price: str | None = None,
    product: str = "prod_team",
    quantity: int | None = 1,
    per: str = "month",
    count: int = 1,
    **terms: object,
) -> Item:
    return replace(
        Item(
            id=id,
            price=price or f"price_{amount}_{per}_{count}",
            product=product,
            currency="usd",
            quantity=quantity,
            interval=per,
            interval_count=count,
            usage_type="licensed",
            billing_scheme="per_unit",
            unit_amount_decimal=str(amount),
        ),
        **terms,
    )


def state(*items: Item, status: str = "active", since: str = "2026-01-10", currency: str = "usd", **more: object):
    times = {
        key: at(value) if isinstance(value, str) and key.endswith(("_at", "_end")) else value
        for key, value in more.items()
    }
    return SubscriptionState(status=status, currency=currency, items=items, started_at=at(since), **times)


class Subscription:
    """Collects the steps of one subscription as a story is told."""

    def __init__(self, id: str = "sub_1") -> None:
        self.id = id
        self.steps: list[KnownStep] = []

    def says(
        self, when: str, said: SubscriptionState, *, type: str | None = None, before: SubscriptionState | None = None
    ):
        kind = type or ("created" if not self.steps else "updated")
        number = len(self.steps) + 1
        self.steps.append(KnownStep(at(when), f"evt_{self.id}_{number}", f"customer.subscription.{kind}", said, before))
        return self

    def ends(self, when: str, *, reason: str = "cancellation_requested", said_at: str | None = None):
        last = self.steps[-1].state
        ended = replace(last, status="canceled", ended_at=at(when), cancellation_reason=reason)
        return self.says(said_at or when, ended, type="deleted")


def histories(*subscriptions: Subscription) -> dict[str, list[KnownStep]]:
    return {subscription.id: subscription.steps for subscription in subscriptions}
