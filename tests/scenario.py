"""The storyteller: customers who subscribe, upgrade, cancel and return, told through the signed webhook."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.test import Client

from billing.models import SigningSecret, StripeSource
from config import pipeline
from config.benchmarks.load import signed
from config.demo import objects
from mrr.models import LedgerEntry

SECRET = "whsec_scenario_0123456789"
Event = dict[str, Any]


def seconds(text: str) -> int:
    """Read `2026-03-01` or `2026-03-01 10:20` as Unix seconds, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


class Scenario:
    """One company's world: a source, its customers, and every event told so far."""

    def __init__(
        self, slug: str = "acme", *, livemode: bool = True, is_old: bool = False, history_from: str = ""
    ) -> None:
        self.source = StripeSource.objects.create(
            slug=slug, label=slug.title(), livemode=livemode, history_from=history_from or None
        )
        SigningSecret.objects.create(source=self.source, secret=SECRET, last4=SECRET[-4:])
        self.client = Client()
        self.is_old = is_old
        self.is_held = False
        self.events: list[Event] = []
        self._prices: dict[tuple[Any, ...], dict[str, Any]] = {}

    def customer(
        self, name: str, *, on: str = "2026-01-01", email: str | None = None, **metadata: str
    ) -> CustomerStory:
        """Tell of a new customer; keyword arguments become Stripe metadata."""
        story = CustomerStory(self, name, on=on, email=email, metadata=metadata)
        self.tell("customer.created", story.object, on)
        return story

    def tell(self, kind: str, obj: dict[str, Any], on: str, *, before: dict[str, Any] | None = None) -> Event:
        """Make one event of an object as it is now; deliver and process it, unless events are held back."""
        event = objects.event(
            f"evt_{self.source.slug}_{len(self.events) + 1:04d}",
            kind,
            copy.deepcopy(obj),
            seconds(on),
            before=copy.deepcopy(before) if before is not None else None,
            is_old=self.is_old,
        )
        event = copy.deepcopy(event) | {"livemode": self.source.livemode}
        self.events.append(event)
        if not self.is_held:
            self.arrives([event])
        return event

    def arrives(self, events: Iterable[Event], *, order: str = "told", repeat: int = 1, seed: int = 1) -> None:
        """Deliver events `told`, `reversed` or `shuffled`, each so many times, processing after each delivery."""
        deliveries = list(events)
        if order == "reversed":
            deliveries.reverse()
        deliveries = [event for event in deliveries for _ in range(repeat)]
        if order == "shuffled":
            random.Random(seed).shuffle(deliveries)
        for event in deliveries:
            answer = self.deliver(json.dumps(event, indent=2).encode())
            assert answer.status_code == 200, answer.content
            self.drain()

    def arrive_together(self) -> None:
        """Deliver what was held back, process it at once, and hold back no more."""
        self.is_held = False
        for event in self.events:
            assert self.deliver(json.dumps(event).encode()).status_code == 200
        self.drain()

    def deliver(self, raw: bytes, *, secret: str = SECRET) -> Any:
        """Post a body to the webhook with a true signature."""
        return self.client.post(
            f"/webhooks/stripe/{self.source.slug}/",
            data=raw,
            content_type="application/json",
            headers={"stripe-signature": signed(raw, secret, int(time.time()))},
        )

    def drain(self) -> pipeline.Drained:
        """Do what the workers do until nothing is due."""
        done = pipeline.Drained()
        while batch := pipeline.drain_all():
            done += batch
        return done

    def price(self, product: str, amount: str, *, currency: str, per: str, count: int, **terms: Any) -> dict[str, Any]:
        key = (product, amount, currency, per, count, *sorted(terms.items()))
        if key not in self._prices:
            minor = Decimal(amount).scaleb(2 if currency != "jpy" else 0)
            found = objects.price(
                objects.made_id("price", repr(key)),
                objects.made_id("prod", product),
                nickname=product,
                currency=currency,
                amount=int(minor) if minor == int(minor) else 0,
                interval=per,
                at=seconds("2025-01-01"),
            )
            found["recurring"]["interval_count"] = count
            if minor != int(minor):
                found |= {"unit_amount": None, "unit_amount_decimal": str(minor)}
            self._prices[key] = found | terms
        return self._prices[key]

    def ledger(self, customer: CustomerStory) -> list[str]:
        """Return the standing entries: day, type and major units, oldest first."""
        return [
            f"{entry.effective_at:%Y-%m-%d} {entry.type:<12} {_major(entry)}"
            for entry in standing(customer.id, self.source)
        ]


class CustomerStory:
    """One customer and its subscriptions; every verb is told to Stripe's webhook."""

    def __init__(self, scenario: Scenario, name: str, *, on: str, email: str | None, metadata: dict[str, str]) -> None:
        self.scenario = scenario
        self.name = name
        self.id = objects.made_id("cus", f"{scenario.source.slug}-{name}", 14)
        self.object = objects.customer(self.id, name=name, email=email, phone="", address={}, at=seconds(on))
        self.object["metadata"] = metadata
        self.subscriptions: list[dict[str, Any]] = []

    def subscribes(
        self,
        plan: str,
        *,
        monthly: str = "",
        yearly: str = "",
        on: str,
        currency: str = "usd",
        quantity: int = 1,
        status: str = "active",
        trial_end: str = "",
        **metadata: str,
    ) -> dict[str, Any]:
        """Begin a subscription; returns Stripe's object, which later verbs change."""
        at = seconds(on)
        number = len(self.subscriptions) + 1
        sub_id = objects.made_id("sub", f"{self.id}-{number}")
        sold = self._price(plan, monthly, yearly, currency)
        item = objects.item(f"si_{sub_id[4:]}", sub_id, sold, quantity, at=at, period=(at, at + 30 * 86_400))
        sub = objects.subscription(sub_id, self.id, currency=currency, items=[item], at=at)
        sub |= {"status": status, "metadata": metadata}
        if trial_end:
            sub |= {"trial_start": at, "trial_end": seconds(trial_end)}
        self.subscriptions.append(sub)
        self.scenario.tell("customer.subscription.created", sub, on)
        return sub

    def moves_to(
        self, plan: str, *, monthly: str = "", yearly: str = "", on: str, quantity: int | None = None, sub: int = -1
    ) -> None:
        """Change a subscription's price, and its quantity if given."""
        self.changes(on=on, sub=sub, plan=(plan, monthly, yearly), quantity=quantity)

    def changes(
        self,
        *,
        on: str,
        sub: int = -1,
        plan: tuple[str, str, str] | None = None,
        quantity: int | None = None,
        **attributes: Any,
    ) -> Event:
        """Change anything of a subscription and tell the update with its previous attributes."""
        held = self.subscriptions[sub]
        before = copy.deepcopy(held)
        item = held["items"]["data"][0]
        if plan is not None:
            sold = self._price(*plan, held["currency"])
            item |= {"price": sold, "plan": objects.plan_of(sold)}
        if quantity is not None:
            item["quantity"] = quantity
        held |= attributes
        return self.scenario.tell("customer.subscription.updated", held, on, before=before)

    def cancels(self, *, on: str, sub: int = -1, reason: str = "cancellation_requested", told: str = "") -> Event:
        """End a subscription; `told` is when the event was made, if later."""
        held = self.subscriptions[sub]
        held |= {
            "status": "canceled",
            "ended_at": seconds(on),
            "canceled_at": seconds(on),
            "cancellation_details": {"comment": None, "feedback": None, "reason": reason},
        }
        return self.scenario.tell("customer.subscription.deleted", held, told or on)

    def _price(self, plan: str, monthly: str, yearly: str, currency: str) -> dict[str, Any]:
        return self.scenario.price(
            plan, monthly or yearly, currency=currency, per="month" if monthly else "year", count=1
        )


def standing(customer_id: str, source: StripeSource) -> Sequence[LedgerEntry]:
    """Return a customer's entries that are neither reversals nor reversed, oldest first."""
    return list(
        LedgerEntry.objects.filter(
            customer__stripe_id=customer_id, source=source, reverses=None, reversed_by=None
        ).order_by("effective_at", "currency")
    )


def _major(entry: LedgerEntry) -> str:
    return f"{Decimal(entry.amount_micros).scaleb(-8):+.2f}"
