"""Makes up customers' lives as Stripe would tell them, with many events in one second, and knows how they end."""

from __future__ import annotations

import copy
import random
from typing import Any

from tests import builders
from tests.builders import DAY, T0, Json


class World:
    """Histories of some customers; `events` in causal order, `final` the last state of every object."""

    def __init__(self, seed: int, customers: int, *, same_second: float) -> None:
        self.rng = random.Random(seed)
        self.same_second = same_second
        self.events: list[Json] = []
        self.final: dict[str, Json] = {}
        for number in range(customers):
            self._life(number)

    def shuffled(self, seed: int) -> list[Json]:
        events = list(self.events)
        random.Random(seed).shuffle(events)
        return events

    def _life(self, number: int) -> None:
        rng = self.rng
        at = T0 + rng.randrange(30) * DAY
        cus = builders.customer(f"cus_{number}", at=at)
        self._tell("customer.created", cus, at)
        for count in range(rng.randrange(3)):
            at = self._later(at)
            cus["email"] = f"mail{count}@example.test"
            self._change("customer.updated", cus, at)
        sub = self._subscription(number, at)
        for count in range(rng.randrange(1, 4)):
            self._bill(number, count, sub)
        if rng.random() < 0.2:
            self._tell("customer.deleted", cus, self._later(at + 200 * DAY))

    def _subscription(self, number: int, at: int) -> Json:
        rng = self.rng
        amount = rng.randrange(1, 5) * 100
        sold = builders.price(f"price_{amount}", amount=amount)
        items = [builders.item(f"si_{number}", sold=sold, quantity=rng.randrange(1, 5))]
        sub = builders.subscription(f"sub_{number}", customer=f"cus_{number}", items=items, at=at, status="incomplete")
        self._tell("customer.subscription.created", sub, at)
        at = self._later(at, most=5)
        sub["status"] = "active"
        self._change("customer.subscription.updated", sub, at)
        for step in range(rng.randrange(4)):
            at = self._later(at)
            if rng.random() < 0.3:
                sub["status"] = "past_due" if sub["status"] == "active" else "active"
            else:
                sub["items"]["data"][0]["quantity"] += step + 1
            self._change("customer.subscription.updated", sub, at)
        if rng.random() < 0.3:
            at = self._later(at)
            sub |= {"status": "canceled", "ended_at": at, "canceled_at": at}
            self._tell("customer.subscription.deleted", sub, at)
        return sub

    def _bill(self, number: int, count: int, sub: Json) -> None:
        rng = self.rng
        at = sub["start_date"] + count * 30 * DAY
        name = f"{number}_{count}"
        lines = [builders.line(f"il_{name}_{n}", amount=500) for n in range(rng.randrange(1, 4))]
        inv = builders.invoice(f"in_{name}", customer=sub["customer"], total=500 * len(lines), lines=lines, at=at)
        self._tell("invoice.finalized", inv, at)
        if rng.random() < 0.4:
            inv |= {"attempt_count": 2}
            at = self._later(at)
            self._tell("invoice.payment_failed", inv, at)
        at = self._later(at)
        inv |= {"status": "paid", "amount_paid": inv["total"], "amount_remaining": 0}
        self._tell("invoice.payment_succeeded", inv, at)
        charge = builders.charge(f"ch_{name}", customer=sub["customer"], amount=inv["total"], at=at)
        self._tell("charge.succeeded", charge, at)
        if rng.random() < 0.4:
            at = self._later(at)
            charge["amount_refunded"] = 200
            self._change("charge.refunded", charge, at)
            self._tell("refund.created", builders.refund(f"re_{name}", charge=charge["id"], amount=200, at=at), at)
        if rng.random() < 0.3:
            dispute = builders.dispute(f"du_{name}", charge=charge["id"], at=at)
            self._tell("charge.dispute.created", dispute, at)
            dispute["status"] = "lost"
            self._change("charge.dispute.closed", dispute, self._later(at))

    def _later(self, at: int, *, most: int = 20 * DAY) -> int:
        return at if self.rng.random() < self.same_second else at + self.rng.randrange(1, most)

    def _tell(self, kind: str, obj: Json, at: int, before: Json | None = None) -> None:
        self.final[obj["id"]] = copy.deepcopy(obj)
        # Ids say nothing about the order, as Stripe's do not.
        name = f"evt_{self.rng.randrange(16**12):012x}"
        self.events.append(builders.event(kind, copy.deepcopy(obj), at=at, before=before, id=name))

    def _change(self, kind: str, obj: Json, at: int) -> None:
        self._tell(kind, obj, at, _changed(self.final[obj["id"]], obj))


def _changed(old: Any, new: Any) -> Json:
    """previous_attributes as Stripe gives them: old values of changed keys; hashes by key, arrays whole."""
    found: Json = {}
    for key, value in new.items():
        past = old.get(key)
        if past != value:
            found[key] = _changed(past, value) if isinstance(past, dict) and isinstance(value, dict) else past
    return found
