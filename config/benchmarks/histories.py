"""Makes up whole customers' histories as the events that Stripe would send: the same seed, the same history."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.benchmarks.sold import AMOUNTS, BEGINNING, CURRENCIES, DAY, INTERVALS, TIERS, Item, Subscription, price
from config.demo import objects

Json = dict[str, Any]

HOUR: Final = 3_600
END: Final = BEGINNING + 540 * DAY
TRAITS: Final = (
    "same_second_ties",
    "several_subscriptions",
    "discounts",
    "trials",
    "mixed_currency",
    "closed_month",
    "late_arrival",
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery: when it came (Unix seconds) and the event's place in the history."""

    at: int
    place: int


@dataclass(frozen=True, slots=True)
class History:
    """One customer's life. `events` are bodies in the order in which things happened; `arrivals` is how they came.

    `closes` are the moments at which all months that had ended by then were closed; `tiers` what a fetch would tell of
    tiered prices, by price id.
    """

    seed: int
    customer: str
    events: tuple[Json, ...]
    arrivals: tuple[Arrival, ...]
    closes: tuple[int, ...]
    tiers: dict[str, Json]
    traits: frozenset[str]


def history(seed: int) -> History:
    """Return the history of this seed."""
    return _Life(seed).lived()


def shares(found: Sequence[History]) -> dict[str, float]:
    """Return which share of histories has each trait."""
    return {trait: round(sum(trait in one.traits for one in found) / len(found), 4) for trait in TRAITS}


class _Life:
    """Draws a life from its seed. What happens is written down at once, so that events can share nothing later."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(f"history-{seed}")
        self.customer = f"cus_{seed:08d}"
        self.is_old = self.rng.random() < 0.5
        self.currency = self.rng.choice(CURRENCIES)
        self.events: list[Json] = []
        self.traits: set[str] = set()
        self.tiers: dict[str, Json] = {}
        self.names = 0
        self.customer_discount: Json | None = None

    def lived(self) -> History:
        rng = self.rng
        first = BEGINNING + rng.randrange(200) * DAY + rng.randrange(DAY)
        self._tell("customer.created", self._customer(first), first)
        if rng.random() < 0.12:
            self._discount_customer(first + rng.randrange(90) * DAY)
        count = rng.choice((1, 1, 2, 2, 3))
        begun = [first + n * rng.choice((0, 600, DAY, 40 * DAY)) for n in range(count)]
        for number, at in enumerate(begun):
            self._subscribe(number, at)
        if rng.random() < 0.06:
            last = max(event["created"] for event in self.events)
            self._tell("customer.deleted", self._customer(first), last + rng.choice((0, 30, 5 * DAY)))
        self.events.sort(key=lambda event: event["created"])  # stable: within a second as it happened
        arrivals = self._arrivals()
        return History(
            self.seed,
            self.customer,
            tuple(self.events),
            arrivals,
            self._closes(arrivals),
            self.tiers,
            frozenset(self.traits | _traits(self.events)),
        )

    def _name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}_{self.seed:08d}{self.names:04d}"

    def _tell(self, kind: str, obj: Json, at: int, *, before: Json | None = None) -> None:
        data: Json = {"object": obj}
        if before is not None:
            data["previous_attributes"] = objects.previous_attributes(before, obj)
        self.events.append(
            {
                # an id says nothing about the order
                "id": f"evt_{self.rng.getrandbits(40):010x}{len(self.events):04d}",
                "object": "event",
                "api_version": objects.PRE_BASIL if self.is_old else objects.NEWEST,
                "created": at,
                "data": data,
                "livemode": True,
                "pending_webhooks": 1,
                "request": {"id": None, "idempotency_key": None},
                "type": kind,
            }
        )

    def _customer(self, created: int) -> Json:
        return {
            "id": self.customer,
            "object": "customer",
            "address": None,
            "created": created,
            "currency": self.currency,
            "delinquent": False,
            "description": None,
            "discount": self.customer_discount,
            "email": f"{self.seed}@example.test",
            "livemode": True,
            "metadata": {},
            "name": f"Customer {self.seed}",
            "phone": None,
        }

    # ---- a subscription, from its start to its end or to the end of the story ----

    def _subscribe(self, number: int, at: int) -> None:
        rng = self.rng
        currency = self.currency
        if number and rng.random() < 0.4:
            currency = rng.choice([each for each in CURRENCIES if each != self.currency])
        sub = Subscription(self._name("sub"), self.customer, currency, at, self.is_old)
        if rng.random() < 0.05:
            sub.start -= 30 * DAY  # Stripe lets a start be dated back
        for _ in range(rng.choice((1, 1, 1, 2))):
            sub.items.append(self._item(currency, at))
        at = self._begin(sub, at)
        for _ in range(rng.randint(1, 9)):
            if at > END or sub.status in ("canceled", "incomplete_expired"):
                return
            at = self._later(at)
            rng.choice(VERBS)(self, sub, at)

    def _begin(self, sub: Subscription, at: int) -> int:
        how = self.rng.random()
        if how < 0.22:
            sub.status, sub.trial_end = "trialing", at + 14 * DAY
            self._created(sub, at)
            if self.rng.random() < 0.25:
                at += 5 * DAY
                self._end(sub, at)
            else:
                at += 14 * DAY + self.rng.choice((0, 0, HOUR))
                self._change(sub, at, lambda: setattr(sub, "status", "active"))
            return at
        if how < 0.34:
            sub.status = "incomplete"
            self._created(sub, at)
            at += self.rng.choice((0, 1, 60, 5 * HOUR))
            paid = self.rng.random() < 0.7
            self._change(sub, at, lambda: setattr(sub, "status", "active" if paid else "incomplete_expired"))
            return at
        if how < 0.40:  # its creation came before we listened
            self._change(sub, at + DAY, lambda: self._reprice(sub))
            return at + DAY
        self._created(sub, at)
        return at

    def _later(self, at: int) -> int:
        """Choose when the next thing happens; often within the same second as the last."""
        rng = self.rng
        if rng.random() < 0.12:
            return at
        gaps = (1, 60, 20 * 60, 59 * 60, HOUR, HOUR + 1, 5 * HOUR, DAY, 11 * DAY, 31 * DAY, 31 * DAY, 90 * DAY)
        return at + rng.choice(gaps)

    def _created(self, sub: Subscription, at: int) -> None:
        self._tell("customer.subscription.created", sub.body(), at)

    def _change(self, sub: Subscription, at: int, act: Callable[[], None], *, kind: str = "updated") -> None:
        before = sub.body()
        act()
        self._tell(f"customer.subscription.{kind}", sub.body(), at, before=before)

    def _item(self, currency: str, at: int) -> Item:
        return Item(self._name("si"), self._price(currency), self.rng.choice((0, 1, 1, 2, 7, 25)), (at, at + 31 * DAY))

    def _price(self, currency: str) -> Json:
        rng = self.rng
        product, (interval, count) = rng.choice(("team", "business", "audit")), rng.choice(INTERVALS)
        kind = rng.random()
        if kind < 0.06:
            mode = rng.choice(("graduated", "volume"))
            sold = price(product, "", currency, interval, count, billing_scheme="tiered", tiers_mode=mode)
            sold |= {"unit_amount_decimal": None, "unit_amount": None}
            self.tiers[sold["id"]] = {**sold, "tiers": list(TIERS)}
            return sold
        if kind < 0.12:
            packed = {"divide_by": 10, "round": rng.choice(("up", "down"))}
            return price(product, "500", currency, interval, count, transform_quantity=packed)
        if kind < 0.16:
            return price(product, "12.5", currency, interval, count)
        if kind < 0.19:
            metered = {"interval": interval, "interval_count": count, "usage_type": "metered"}
            return price(product, "100", currency, interval, count, recurring=metered)
        return price(product, str(rng.choice(AMOUNTS)), currency, interval, count)

    # ---- what may happen ----

    def _reprice(self, sub: Subscription) -> None:
        item = self.rng.choice(sub.items)
        item.price = self._price(sub.currency)

    def change_plan(self, sub: Subscription, at: int) -> None:
        self._change(sub, at, lambda: self._reprice(sub))

    def change_quantity(self, sub: Subscription, at: int) -> None:
        def act() -> None:
            self.rng.choice(sub.items).quantity = self.rng.choice((0, 1, 2, 3, 6, 20))

        self._change(sub, at, act)

    def add_item(self, sub: Subscription, at: int) -> None:
        self._change(sub, at, lambda: sub.items.append(self._item(sub.currency, at)))

    def remove_item(self, sub: Subscription, at: int) -> None:
        if len(sub.items) > 1:
            self._change(sub, at, lambda: sub.items.remove(self.rng.choice(sub.items)))

    def renew(self, sub: Subscription, at: int) -> None:
        def act() -> None:
            for item in sub.items:
                item.period = (item.period[1], item.period[1] + 31 * DAY)

        self._change(sub, at, act)

    def note(self, sub: Subscription, at: int) -> None:
        self._change(sub, at, lambda: setattr(sub, "note", sub.note + 1))

    def fall_behind(self, sub: Subscription, at: int) -> None:
        """The payment fails; then it is paid, or Stripe gives up."""
        self._change(sub, at, lambda: setattr(sub, "status", "past_due"))
        after = self.rng.choice(("active", "active", "unpaid", "canceled"))
        at = self._later(at)
        if after == "canceled":
            self._end(sub, at, reason="payment_failed")
        else:
            self._change(sub, at, lambda: setattr(sub, "status", after))

    def pause(self, sub: Subscription, at: int) -> None:
        behaviour = self.rng.choice(("void", "mark_uncollectible", "keep_as_draft"))
        self._change(sub, at, lambda: setattr(sub, "pause", None if sub.pause else behaviour))

    def stop(self, sub: Subscription, at: int) -> None:
        """Pause by the endpoint: the status changes, and comes back."""
        status = "active" if sub.status == "paused" else "paused"
        kind = "resumed" if status == "active" else "paused"
        self._change(sub, at, lambda: setattr(sub, "status", status), kind=kind)

    def plan_end(self, sub: Subscription, at: int) -> None:
        """A cancellation is scheduled, or taken back."""

        def act() -> None:
            is_on = not sub.cancel_at_period_end
            sub.cancel_at_period_end = is_on
            sub.canceled_at = at if is_on else None
            sub.cancel_at = sub.items[0].period[1] if is_on and not self.is_old else None

        self._change(sub, at, act)

    def end(self, sub: Subscription, at: int) -> None:
        self._end(sub, at)
        if self.rng.random() < 0.4:  # the shop cancels and creates anew: a change of plan, or a return
            self._subscribe(0, at + self.rng.choice((0, 1200, 3 * DAY, 70 * DAY)))

    def _end(self, sub: Subscription, at: int, *, reason: str = "cancellation_requested") -> None:
        def act() -> None:
            sub.status, sub.reason = "canceled", reason
            sub.ended_at = max(sub.start, at - self.rng.choice((0, 0, 0, 600, 2 * DAY)))
            sub.canceled_at = sub.canceled_at or sub.ended_at

        self._change(sub, at, act, kind="deleted")
        self.events[-1]["data"].pop("previous_attributes")  # Stripe sends none with a deletion

    def discount(self, sub: Subscription, at: int) -> None:
        """A coupon is applied to the subscription or to one of its items, or what is applied is taken away."""
        if sub.discounts or any(item.discounts for item in sub.items):
            self._change(sub, at, lambda: _without_discounts(sub))
            return
        on_item = self.rng.random() < 0.35
        found = self._discount(at, subscription=sub.id, currency=sub.currency)

        def act() -> None:
            if on_item:
                self.rng.choice(sub.items).discounts = (found["id"],)
            else:
                sub.discounts, sub.discount = (found["id"],), found if self.is_old else None

        self._change(sub, at, act)

    def _discount_customer(self, at: int) -> None:
        self.customer_discount = self._discount(at, subscription=None, currency=self.currency)
        if self.rng.random() < 0.5:
            gone, self.customer_discount = self.customer_discount, None
            self._tell("customer.discount.deleted", gone, at + self.rng.choice((600, 40 * DAY)))

    def _discount(self, at: int, *, subscription: str | None, currency: str) -> Json:
        rng = self.rng
        duration = rng.choice(("forever", "repeating", "repeating", "once"))
        terms: Json = {"percent_off": rng.choice((10, 25, 50, 100)), "amount_off": None, "currency": None}
        if rng.random() < 0.4:
            terms = {"percent_off": None, "amount_off": rng.choice((500, 2_000)), "currency": currency}
        coupon: Json = {
            "id": self._name("coupon"),
            "object": "coupon",
            "created": at,
            "duration": duration,
            "duration_in_months": 3 if duration == "repeating" else None,
            "livemode": True,
            "metadata": {},
            "name": None,
            "valid": True,
        } | terms
        self._tell("coupon.created", coupon, at)
        found: Json = {
            "id": self._name("di"),
            "object": "discount",
            "customer": self.customer,
            "end": at + 92 * DAY if duration == "repeating" else None,
            "invoice": None,
            "invoice_item": None,
            "promotion_code": None,
            "start": at,
            "subscription": subscription,
            "subscription_item": None,
        }
        found |= {"coupon": coupon} if self.is_old else {"source": {"type": "coupon", "coupon": coupon["id"]}}
        self._tell("customer.discount.created", found, at)
        return found

    def dispute(self, sub: Subscription, at: int) -> None:
        """A charge is disputed, mostly lost, and sometimes an invoice is paid afterwards."""
        if not sub.is_paying:
            return
        billed = self._invoice(sub, at)
        charge: Json = {
            "id": self._name("ch"),
            "object": "charge",
            "amount": 1_000,
            "amount_refunded": 0,
            "created": at,
            "currency": sub.currency,
            "customer": self.customer,
            "disputed": False,
            "failure_code": None,
            "livemode": True,
            "payment_intent": self._name("pi"),
            "payment_method_details": None,
            "refunded": False,
            "status": "succeeded",
        } | ({"invoice": billed["id"]} if self.is_old else {})
        self._tell("charge.succeeded", charge, at)
        disputed: Json = {
            "id": self._name("du"),
            "object": "dispute",
            "amount": 1_000,
            "charge": charge["id"],
            "created": at + DAY,
            "currency": sub.currency,
            "evidence_details": {"due_by": at + 8 * DAY},
            "livemode": True,
            "payment_intent": charge["payment_intent"],
            "reason": "fraudulent",
            "status": "needs_response",
        }
        self._tell("charge.dispute.created", disputed, at + DAY)
        status = self.rng.choice(("lost", "lost", "won"))
        self._tell("charge.dispute.closed", {**disputed, "status": status}, at + 9 * DAY)
        if self.rng.random() < 0.4:
            self._invoice(sub, at + 20 * DAY)

    def _invoice(self, sub: Subscription, at: int) -> Json:
        billed: Json = {
            "id": self._name("in"),
            "object": "invoice",
            "amount_due": 1_000,
            "amount_paid": 1_000,
            "amount_remaining": 0,
            "attempt_count": 1,
            "billing_reason": "subscription_cycle",
            "collection_method": "charge_automatically",
            "created": at,
            "currency": sub.currency,
            "customer": self.customer,
            "due_date": None,
            "lines": {"object": "list", "data": [], "has_more": False},
            "livemode": True,
            "next_payment_attempt": None,
            "number": None,
            "status": "paid",
            "status_transitions": {"finalized_at": at, "paid_at": at},
            "subtotal": 1_000,
            "total": 1_000,
        }
        details = {"metadata": {}, "subscription": sub.id}
        billed |= {"subscription": sub.id} if self.is_old else {"parent": {"subscription_details": details}}
        self._tell("invoice.paid", billed, at)
        return billed

    # ---- how it all came in ----

    def _arrivals(self) -> tuple[Arrival, ...]:
        rng = self.rng
        is_late = rng.random() < 0.3
        found: list[Arrival] = []
        for place, event in enumerate(self.events):
            at = event["created"] + rng.choice((1, 2, 5))
            if is_late and rng.random() < 0.25:
                at += rng.choice((2 * HOUR, 3 * DAY, 45 * DAY))
            found.append(Arrival(at, place))
            if rng.random() < 0.06:
                found.append(Arrival(at + rng.choice((0, 60, 20 * DAY)), place))
        found.sort(key=lambda arrival: (arrival.at, rng.random()))
        newest = 0
        for arrival in found:
            created = self.events[arrival.place]["created"]
            if created < newest - HOUR:
                self.traits.add("late_arrival")
            newest = max(newest, created)
        return tuple(found)

    def _closes(self, arrivals: Sequence[Arrival]) -> tuple[int, ...]:
        """Sometimes months are closed while events still come in."""
        if self.rng.random() < 0.6 or arrivals[-1].at - arrivals[0].at < 70 * DAY:
            return ()
        self.traits.add("closed_month")
        span = range(arrivals[0].at + 40 * DAY, arrivals[-1].at, 7 * DAY)
        return tuple(sorted(self.rng.sample(span, min(len(span), self.rng.randint(1, 3)))))


def _traits(events: Sequence[Json]) -> set[str]:
    """Name what a history holds, by what its events say."""
    told = [event["data"]["object"] for event in events if event["type"].startswith("customer.subscription.")]
    seconds = Counter((event["created"], event["data"]["object"]["id"]) for event in events)
    found = {
        "same_second_ties": max(seconds.values()) > 1,
        "several_subscriptions": len({sub["id"] for sub in told}) > 1,
        "mixed_currency": len({sub["currency"] for sub in told}) > 1,
        "trials": any(sub["status"] == "trialing" for sub in told),
        "discounts": any(event["type"] == "customer.discount.created" for event in events),
    }
    return {name for name, is_so in found.items() if is_so}


def _without_discounts(sub: Subscription) -> None:
    sub.discounts, sub.discount = (), None
    for item in sub.items:
        item.discounts = ()


VERBS: Final[tuple[Callable[[_Life, Subscription, int], None], ...]] = (
    _Life.change_plan,
    _Life.change_plan,
    _Life.change_quantity,
    _Life.change_quantity,
    _Life.add_item,
    _Life.remove_item,
    _Life.renew,
    _Life.renew,
    _Life.note,
    _Life.fall_behind,
    _Life.pause,
    _Life.stop,
    _Life.plan_end,
    _Life.plan_end,
    _Life.end,
    _Life.discount,
    _Life.discount,
    _Life.dispute,
)
