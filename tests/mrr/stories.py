"""Tells one customer's life as event bodies, in twins that must come to the same: other currencies, sizes, layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.facts import Phase, Plan, PlannedItem
from config.benchmarks import histories
from config.benchmarks.histories import DAY, Item, Json, Subscription
from config.benchmarks.simulate import Reader
from config.demo import objects
from mrr.engine.money import MICROS, exponent
from mrr.engine.movements import Movement, Replay, replay
from mrr.engine.policy import DEFAULT, MetricPolicy
from tests.mrr.histories import at


@dataclass(frozen=True)
class Twin:
    """How a story is told: `times` multiplies quantities and fixed discounts, `parts` splits over subscriptions."""

    name: str
    currency: str = "usd"
    times: int = 1
    is_old: bool = False
    parts: int = 1

    def __str__(self) -> str:
        return self.name


PLAIN = Twin("newest layout")
OLD = Twin("old layout", is_old=True)
YEN = Twin("in yen", currency="jpy")
DINAR = Twin("in dinar", currency="kwd")
TIMES_3 = Twin("times 3", times=3)
SPLIT = Twin("split over two subscriptions", parts=2)
TWINS = (PLAIN, OLD, YEN, DINAR, TIMES_3, SPLIT)


class Held:
    """A subscription of the story: one, or as many as the twin has parts, changed together."""

    def __init__(self, story: Story, parts: list[Subscription]) -> None:
        self.story = story
        self.parts = parts

    @property
    def id(self) -> str:
        return self.parts[0].id

    def changes(self, on: str, *, kind: str = "updated", **attributes: Any) -> Held:
        """Change attributes of the subscription; `price` and `quantity` are its first item's."""

        def act(part: Subscription) -> None:
            item = part.items[0]
            if "price" in attributes:
                item.price = self.story.sold(**attributes["price"])
            if "quantity" in attributes:
                item.quantity = attributes["quantity"] * self.story.twin.times
            for name, value in attributes.items():
                if name not in ("price", "quantity"):
                    setattr(part, name, value)

        self._each(on, act, kind)
        return self

    def adds(self, amount: str, on: str, *, product: str) -> Held:
        """Add an item."""

        def act(part: Subscription) -> None:
            sold = self.story.sold(amount, product=product)
            part.items.append(Item(f"{part.id}_si_{product}", sold, self.story.twin.times, (at(on), at(on) + 31 * DAY)))

        self._each(on, act, "updated")
        return self

    def renews(self, on: str, *, until: str) -> Held:
        def act(part: Subscription) -> None:
            for item in part.items:
                item.period = (at(on), at(until))

        self._each(on, act, "updated")
        return self

    def takes(
        self,
        on: str,
        *coupons: Json,
        on_item: bool = False,
    ) -> Held:
        """Apply coupons, in this order."""
        for part in self.parts:
            before = part.body()
            found = [self.story.applied(coupon, part, at(on)) for coupon in coupons]
            ids = tuple(discount["id"] for discount in found)
            if on_item:
                part.items[0].discounts += ids
            else:
                part.discounts += ids
                part.discount = found[0] if part.is_old else None
            self.story.tells("customer.subscription.updated", part.body(), on, before=before)
        return self

    def ends(self, on: str, *, said: str = "", reason: str = "cancellation_requested") -> Held:
        """End it; `said` is when the event was made, if later."""
        for part in self.parts:
            part.status, part.ended_at, part.reason = "canceled", at(on), reason
            part.canceled_at = part.canceled_at or at(on)
            self.story.tells("customer.subscription.deleted", part.body(), said or on)
        return self

    def _each(self, on: str, act: Callable[[Subscription], None], kind: str) -> None:
        for part in self.parts:
            before = part.body()
            act(part)
            self.story.tells(f"customer.subscription.{kind}", part.body(), on, before=before)


@dataclass
class Story:
    """A customer's life, told by events and read by the product's readers and its engine."""

    twin: Twin
    customer: str = "cus_story"
    events: list[Json] = field(default_factory=list)
    tiers: dict[str, Json] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    coupons_told: set[str] = field(default_factory=set)

    def sold(
        self, amount: str = "", *, per: str = "month", count: int = 1, product: str = "team", **terms: Any
    ) -> Json:
        """Return a price; `amount` in major units per unit and billing period, split as the twin is."""
        minor = "" if not amount else _plain(self.minor(amount) / self.twin.parts)
        return histories.price(product, minor, self.twin.currency, per, count, **terms)

    def minor(self, amount: str) -> Decimal:
        return Decimal(amount).scaleb(exponent(self.twin.currency))

    def knows_tiers(self, mode: str, *tiers: tuple[int | None, str], per: str = "month") -> Json:
        """Return a tiered price whose tiers were fetched; amounts in major units."""
        sold = self.sold(per=per, billing_scheme="tiered", tiers_mode=mode)
        sold |= {"unit_amount": None, "unit_amount_decimal": None}
        whole = [
            {"up_to": up_to, "unit_amount_decimal": _plain(self.minor(unit)), "flat_amount_decimal": None}
            for up_to, unit in tiers
        ]
        self.tiers[sold["id"]] = {**sold, "tiers": whole}
        return sold

    def subscribes(
        self,
        amount: str = "",
        *,
        on: str,
        quantity: int | None = 1,
        status: str = "active",
        trial_end: str = "",
        since: str = "",
        until: str = "",
        price: Json | None = None,
        is_told: bool = True,
        coupons: Sequence[Json] = (),
        tax_rates: tuple[Json, ...] = (),
        **terms: Any,
    ) -> Held:
        """Begin a subscription with one item; `since` dates its start back, `until` ends its first period."""
        sold = price or self.sold(amount, **terms)
        parts = []
        for number in range(self.twin.parts):
            name = f"sub_{self.customer[4:]}_{len(self.events)}_{number}"
            times = None if quantity is None else quantity * self.twin.times
            period = (at(on), at(until) if until else at(on) + 31 * DAY)
            part = Subscription(name, self.customer, self.twin.currency, at(since or on), self.twin.is_old)
            part.items.append(Item(f"si_{name}", sold, times, period))
            part.status, part.tax_rates = status, tax_rates
            part.trial_end = at(trial_end) if trial_end else None
            found = [self.applied(coupon, part, at(on)) for coupon in coupons]
            part.discounts = tuple(discount["id"] for discount in found)
            part.discount = found[0] if found and part.is_old else None
            if is_told:
                self.tells("customer.subscription.created", part.body(), on)
            parts.append(part)
        return Held(self, parts)

    def coupon(self, *, percent: str = "", amount: str = "", duration: str = "forever", until: str = "") -> Json:
        """Return a coupon; `until` is when a repeating one ends. A fixed amount is split and multiplied as the twin."""
        taken: Json = {"percent_off": int(percent or 0), "amount_off": None, "currency": None}
        if amount:
            minor = self.minor(amount) * self.twin.times / self.twin.parts
            taken = {"percent_off": None, "amount_off": int(minor), "currency": self.twin.currency}
        return taken | {
            "id": f"coupon_{len(self.events)}_{percent}_{amount}_{duration}",
            "object": "coupon",
            "created": at("2025-12-01"),
            "duration": duration,
            "duration_in_months": None,
            "livemode": True,
            "metadata": {},
            "name": None,
            "valid": True,
            "_until": at(until) if until else None,
        }

    def applied(self, coupon: Json, part: Subscription | None, start: int) -> Json:
        """Tell of a coupon applied to a subscription (None: to the customer) and return the discount."""
        terms = {key: value for key, value in coupon.items() if key != "_until"}
        if coupon["id"] not in self.coupons_told:
            self.coupons_told.add(coupon["id"])
            self._tell("coupon.created", terms, start)
        found: Json = {
            "id": f"di_{coupon['id']}_{part.id if part else 'customer'}",
            "object": "discount",
            "customer": self.customer,
            "end": coupon["_until"],
            "start": start,
            "subscription": part.id if part else None,
        }
        found |= {"coupon": terms} if self.twin.is_old else {"source": {"type": "coupon", "coupon": coupon["id"]}}
        self._tell("customer.discount.created", found, start)
        return found

    def tells(self, kind: str, obj: Json, on: str, *, before: Json | None = None) -> Json:
        return self._tell(kind, obj, at(on), before=before)

    def _tell(self, kind: str, obj: Json, created: int, *, before: Json | None = None) -> Json:
        data: Json = {"object": obj}
        if before is not None:
            data["previous_attributes"] = objects.previous_attributes(before, obj)
        event = {
            "id": f"evt_{self.customer[4:]}_{len(self.events):04d}",
            "object": "event",
            "api_version": objects.PRE_BASIL if self.twin.is_old else objects.NEWEST,
            "created": created,
            "data": data,
            "livemode": True,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self.events.append(event)
        return event

    # ---- what is told beside subscriptions: by events, and as the facts that the engine is given of them ----

    def plans(self, held: Held, on: str, *phases: tuple[str, str, str]) -> None:
        """Tell of schedules with phases of (start, end or nothing, amount of the first item)."""
        plans = []
        for part in held.parts:
            sold = [self.sold(amount) for _, _, amount in phases]
            for price in sold:
                self.tells("price.created", price, on)
            body = {
                "id": f"sub_sched_{part.id}",
                "object": "subscription_schedule",
                "canceled_at": None,
                "completed_at": None,
                "created": at(on),
                "current_phase": {"start_date": at(phases[0][0]), "end_date": at(phases[0][1])},
                "customer": self.customer,
                "end_behavior": "release",
                "livemode": True,
                "phases": [
                    {
                        "currency": self.twin.currency,
                        "discounts": [],
                        "end_date": at(end) if end else None,
                        "items": [{"discounts": [], "price": price["id"], "quantity": part.items[0].quantity}],
                        "start_date": at(start),
                        "trial_end": None,
                    }
                    for price, (start, end, _) in zip(sold, phases, strict=True)
                ],
                "released_at": None,
                "released_subscription": None,
                "status": "active",
                "subscription": part.id,
            }
            self.tells("subscription_schedule.created", body, on)
            told = [
                Phase(at(start), at(end) if end else None, (_planned(price, part.items[0].quantity),))
                for price, (start, end, _) in zip(sold, phases, strict=True)
            ]
            plans.append(Plan(body["id"], part.id, self.twin.currency, tuple(told)))
        self.facts["plans"] = tuple(plans)
        held.changes(on, schedule=f"sub_sched_{held.id}")

    def bills(
        self, held: Held, on: str, amount: str, *, kind: str = "invoice.paid", tax: str = "", **more: Any
    ) -> Json:
        """Tell of an invoice of each part, with one line of its first item; `tax` is what is inside the amount."""
        for part in held.parts:
            body = self._bill(part, on, amount, tax, **more)
            self.tells(kind, body, on)
        return body

    def _bill(
        self,
        part: Subscription,
        on: str,
        amount: str,
        tax: str,
        *,
        period: tuple[str, str] | None = None,
        is_proration: bool = False,
        paid_at: str = "",
    ) -> Json:
        start, end = (at(each) for each in period or (on, on))
        minor = int(self.minor(amount) * self.twin.times / self.twin.parts)
        taxed = int(self.minor(tax or "0") * self.twin.times / self.twin.parts)
        item = part.items[0]
        line: Json = {
            "id": f"il_{part.id}_{on}",
            "object": "line_item",
            "amount": minor,
            "currency": self.twin.currency,
            "description": None,
            "discount_amounts": [],
            "period": {"start": start, "end": end},
            "quantity": 1,
        }
        if part.is_old:
            rate = {"amount": taxed, "inclusive": True, "tax_rate": "txr_1", "taxable_amount": minor - taxed}
            line |= {
                "plan": None,
                "price": {"id": item.price["id"], "object": "price", "product": item.price["product"]},
                "proration": is_proration,
                "subscription": part.id,
                "subscription_item": item.id,
                "tax_amounts": [rate] if tax else [],
                "tax_rates": [],
                "type": "subscription",
            }
        else:
            details = {"tax_rate": "txr_1"}
            rate = {"amount": taxed, "tax_behavior": "inclusive", "tax_rate_details": details}
            rate |= {"taxability_reason": "standard_rated", "taxable_amount": minor - taxed, "type": "tax_rate_details"}
            of_item = {"proration": is_proration, "subscription": part.id, "subscription_item": item.id}
            sold = {"price": item.price["id"], "product": item.price["product"]}
            line |= {
                "parent": {"subscription_item_details": of_item, "type": "subscription_item_details"},
                "pricing": {"price_details": sold, "type": "price_details"},
                "taxes": [rate] if tax else [],
            }
        details = {"metadata": {}, "subscription": part.id}
        named = {"subscription": part.id} if part.is_old else {"parent": {"subscription_details": details}}
        return {
            "id": f"in_{part.id}_{on}",
            "object": "invoice",
            "amount_due": minor,
            "amount_paid": minor,
            "amount_remaining": 0,
            "billing_reason": "subscription_cycle",
            "created": at(on),
            "currency": self.twin.currency,
            "customer": self.customer,
            "lines": {"object": "list", "data": [line], "has_more": False},
            "livemode": True,
            "status": "paid",
            "status_transitions": {"finalized_at": at(on), "paid_at": at(paid_at or on)},
            "subtotal": minor,
            "total": minor,
        } | named

    # ---- what it comes to ----

    def replayed(self, as_of: str = "2027-06-01", *, policy: MetricPolicy = DEFAULT, **more: Any) -> Replay:
        """Return what the engine makes of all events told."""
        history = histories.History(0, self.customer, tuple(self.events), (), (), self.tiers, frozenset())
        known = Reader(history).known(self.order())
        facts = replace(known.facts, **self.facts)
        return replay(known.steps, as_of=at(as_of), deleted=known.deleted, facts=facts, policy=policy, **more)

    def order(self) -> Sequence[int]:
        """The places of the events in the order in which they come."""
        return range(len(self.events))

    def told(self, as_of: str = "2027-06-01") -> list[str]:
        """Return the movements as lines: day, type, reason, major units of what the plain twin comes to."""
        return [self.line(movement) for movement in self.replayed(as_of).movements]

    def line(self, movement: Movement) -> str:
        assert movement.currency == self.twin.currency
        day = datetime.fromtimestamp(movement.effective_at, UTC).strftime("%Y-%m-%d")
        return f"{day} {movement.type} {movement.reason} {self.major(movement.micros):+.2f}"

    def mrr(self, as_of: str = "2027-06-01") -> str:
        """Return MRR in major units of the plain twin, rounded to cents."""
        return f"{self.major(self.micros(as_of)):.2f}"

    def micros(self, as_of: str) -> int:
        return self.replayed(as_of).balances.get(self.twin.currency, 0)

    def scheduled(self, as_of: str) -> str:
        """Return what CMRR adds to MRR, in major units."""
        return f"{self.major(self.replayed(as_of).scheduled.get(self.twin.currency, 0)):+.2f}"

    def major(self, micros: int) -> Decimal:
        exact = Fraction(micros, MICROS * 10 ** exponent(self.twin.currency) * self.twin.times)
        return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(Decimal("0.000001"))


def tax_rate(percentage: str) -> Json:
    return {"id": "txr_1", "object": "tax_rate", "inclusive": True, "percentage": int(percentage), "active": True}


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _planned(sold: Json, quantity: int | None) -> PlannedItem:
    amount = sold["unit_amount_decimal"]
    return PlannedItem(sold["id"], sold["product"], quantity, "month", 1, unit_amount_decimal=amount)
