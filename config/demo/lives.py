"""Lives one customer's life with Stripe, from sign-up to now, and writes down the events it causes."""

from __future__ import annotations

import calendar
import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from config.demo import objects
from config.demo.companies import Company
from config.demo.objects import DAY, Json

HOUR = 3_600
MONTH = 30 * DAY
TRIAL_DAYS = 14
# Days after the first failure at which a payment is tried again; after the last one Stripe gives up.
RETRY_DAYS = (3, 8, 15)
FEEDBACK = ("too_expensive", "unused", "missing_features", "switched_service", "customer_service", "other")
LADDER = ("starter", "team", "business", "enterprise")

# price of (plan, interval): a Stripe price object
PriceList = dict[tuple[str, str], Json]


@dataclass(frozen=True)
class Plan:
    """What a customer begins with."""

    name: str
    seats: int
    interval: str = "month"
    collection: str = "charge_automatically"


@dataclass(frozen=True)
class Told:
    """One event: when it was made, its type, and its JSON on one line."""

    at: int
    kind: str
    text: str


@dataclass(frozen=True)
class Paid:
    """What the payouts need of a charge: when, how much in minor units, in which currency."""

    at: int
    amount: int
    currency: str


@dataclass
class Holding:
    """A subscription as it is, and as it was last told."""

    sub: Json
    told: Json = field(default_factory=dict)
    period: int = 0
    open_invoice: Json | None = None
    last_charge: Json | None = None

    @property
    def items(self) -> list[Json]:
        found: list[Json] = self.sub["items"]["data"]
        return found

    @property
    def has_ended(self) -> bool:
        return self.sub["status"] in ("canceled", "incomplete_expired")

    @property
    def is_paying(self) -> bool:
        return self.sub["status"] in ("active", "past_due")

    @property
    def period_end(self) -> int:
        return int(self.items[0]["current_period_end"])


class Life:
    """One customer's events up to `now`. What is to happen later waits in a heap and is done in the order of time."""

    def __init__(self, company: Company, prices: PriceList, *, now: int, seed: int, card: tuple[int, int]) -> None:
        self.company = company
        self.prices = prices
        self.now = now
        self.card = card
        self.rng = random.Random(f"{seed}-{company.index}")
        self.events: list[Told] = []
        self.paid: list[Paid] = []
        self.buyer: Json = {}
        self.fails_next = False
        self.recovers = True
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._plans = self._names = 0
        self._told: dict[str, Json] = {}

    # ---- the clock ----

    def at(self, when: int, act: Callable[[int], None]) -> None:
        """Plan something; what lies after now never happens."""
        if when <= self.now:
            self._plans += 1
            heapq.heappush(self._agenda, (when, self._plans, act))

    def live(self) -> None:
        """Do all that was planned, and what that leads to."""
        while self._agenda:
            when, _, act = heapq.heappop(self._agenda)
            act(when)

    # ---- beginning ----

    def sign_up(self, when: int) -> None:
        one = self.company
        self.buyer = objects.customer(
            self._id("cus", 14), name=one.name, email=one.email, phone=one.phone, address=one.address, at=when
        )
        self.buyer["metadata"] = dict(one.metadata)
        self._tell("customer.created", self.buyer, when)
        if self.rng.random() < 0.12:
            self.at(when + self.rng.randint(2, 40) * DAY, self._update_details)

    def subscribe_at(self, when: int, plan: Plan, *, how: str = "at_once") -> Callable[[], Holding | None]:
        """Plan a subscription; what it returns gives the holding once it has begun."""
        begun: list[Holding] = []
        self.at(when, lambda t: begun.append(self.subscribe(t, plan, how=how)))
        return lambda: begun[0] if begun else None

    def with_holding(self, when: int, holding: Callable[[], Holding | None], act: Callable[[Holding], None]) -> None:
        """Plan something to do with a subscription, if it has begun by then."""

        def do(_: int) -> None:
            held = holding()
            if held is not None:
                act(held)

        self.at(when, do)

    def let_fail(self, *, recovers: bool) -> None:
        """Let the next payment fail, for good or until it is tried again."""
        self.fails_next, self.recovers = True, recovers

    def subscribe(self, when: int, plan: Plan, *, how: str = "at_once") -> Holding:
        """Begin a subscription: at_once, by trial (converts), by lost_trial, by authentication, or never_paid."""
        sub_id = self._id("sub", 22)
        sub = objects.subscription(sub_id, self.buyer["id"], currency=self.company.currency, items=[], at=when)
        holding = Holding(sub)
        sub["collection_method"] = plan.collection
        sub["days_until_due"] = 30 if plan.collection == "send_invoice" else None
        if how in ("trial", "lost_trial"):
            end = when + TRIAL_DAYS * DAY
            self._add_item(holding, plan.name, plan.interval, plan.seats, when, (when, end))
            sub |= {"status": "trialing", "trial_start": when, "trial_end": end, "billing_cycle_anchor": end}
            self._tell_subscription("created", holding, when)
            self.at(end - 3 * DAY, lambda t: self._tell("customer.subscription.trial_will_end", sub, t))
            self.at(end, lambda t: self._end_trial(holding, t, converts=how == "trial"))
            return holding
        period = (when, add_months(when, _months(plan.interval)))
        self._add_item(holding, plan.name, plan.interval, plan.seats, when, period)
        if how in ("authentication", "never_paid"):
            sub["status"] = "incomplete"
            self._tell_subscription("created", holding, when)
            if how == "never_paid":
                self.at(when + 23 * HOUR, lambda t: self._change(holding, t, {"status": "incomplete_expired"}))
            else:
                self.at(when + self.rng.randint(60, 400), lambda t: self._activate(holding, t))
            return holding
        bill = self._bill(holding, when, "subscription_create")
        sub["latest_invoice"] = bill["id"]
        self._tell_subscription("created", holding, when)
        self._collect(holding, bill, when + 2)
        self.at(holding.period_end, lambda t: self._renew(holding, t))
        return holding

    # ---- changes a customer makes ----

    def seats_to(self, holding: Holding, when: int, seats: int) -> None:
        """Change the seats of the plan, and of the add-ons that count them."""

        def act(t: int) -> None:
            if holding.sub["status"] == "active":
                old = holding.items[0]["quantity"]
                for one in holding.items:
                    if one["quantity"] == old and old > 1:
                        one["quantity"] = max(1, seats)
                holding.items[0]["quantity"] = max(1, seats)
                self._after_change(holding, t, is_more=seats > old)

        self.at(when, act)

    def grow(self, holding: Holding, when: int, share: float) -> None:
        """Add or drop a share of the seats there are then."""

        def act(t: int) -> None:
            seats = holding.items[0]["quantity"]
            wanted = max(1, seats + (round(seats * share) or (1 if share > 0 else -1)))
            if holding.sub["status"] == "active" and wanted != seats:
                self.seats_to(holding, t, wanted)

        self.at(when, act)

    def move(self, holding: Holding, when: int, step: int) -> None:
        """Move up or down the ladder of plans."""

        def act(t: int) -> None:
            first = holding.items[0]
            place = LADDER.index(first["price"]["metadata"]["plan"]) + step
            if holding.sub["status"] != "active" or not 0 <= place < len(LADDER):
                return
            sold = self.prices[LADDER[place], first["price"]["recurring"]["interval"]]
            first["price"], first["plan"] = sold, objects.plan_of(sold)
            if first["quantity"] == 1 and place > 0:
                first["quantity"] = 4
            elif place == 0:
                first["quantity"] = 1
            self._after_change(holding, t, is_more=step > 0)

        self.at(when, act)

    def add(self, holding: Holding, when: int, extra: str) -> None:
        """Add the item `support` (one) or `insights` (as many as seats)."""

        def act(t: int) -> None:
            held = {one["price"]["metadata"]["plan"] for one in holding.items}
            if holding.sub["status"] == "active" and extra not in held:
                first = holding.items[0]
                interval = first["price"]["recurring"]["interval"]
                period = (first["current_period_start"], first["current_period_end"])
                quantity = 1 if extra == "support" else first["quantity"]
                self._add_item(holding, extra, interval, quantity, t, period)
                self._after_change(holding, t, is_more=True)

        self.at(when, act)

    def drop_extra(self, holding: Holding, when: int) -> None:
        """Take the newest add-on away, where there is one."""

        def act(t: int) -> None:
            if holding.sub["status"] == "active" and len(holding.items) > 1:
                holding.items.pop()
                holding.sub["items"]["total_count"] = len(holding.items)
                self._after_change(holding, t, is_more=False)

        self.at(when, act)

    def go_annual(self, holding: Holding, when: int) -> None:
        """Change every item to its yearly price; a new year begins at once."""

        def act(t: int) -> None:
            if holding.sub["status"] != "active" or holding.sub["cancel_at_period_end"]:
                return
            if holding.items[0]["price"]["recurring"]["interval"] == "year":
                return
            holding.sub["billing_cycle_anchor"] = t
            holding.period = 0
            for one in holding.items:
                sold = self.prices[one["price"]["metadata"]["plan"], "year"]
                one["price"], one["plan"] = sold, objects.plan_of(sold)
                one["current_period_start"], one["current_period_end"] = t, add_months(t, 12)
            bill = self._bill(holding, t, "subscription_update")
            holding.sub["latest_invoice"] = bill["id"]
            self._tell_subscription("updated", holding, t)
            self._collect(holding, bill, t + 2)
            self.at(holding.period_end, lambda end: self._renew(holding, end))

        self.at(when, act)

    def cancel(self, holding: Holding, when: int, *, feedback: str, at_once: bool = False) -> None:
        """Ask for the end: at the period's end, or at once."""

        def act(t: int) -> None:
            if not holding.is_paying or holding.sub["cancel_at_period_end"]:
                return
            details = {"comment": None, "feedback": feedback, "reason": "cancellation_requested"}
            if at_once:
                self._end(holding, t, details, canceled_at=t)
                return
            end = holding.period_end
            self._change(
                holding,
                t,
                {"cancel_at_period_end": True, "cancel_at": end, "canceled_at": t, "cancellation_details": details},
            )

        self.at(when, act)

    def keep(self, holding: Holding, when: int) -> None:
        """Take a scheduled cancellation back."""

        def act(t: int) -> None:
            if holding.sub["cancel_at_period_end"] and not holding.has_ended:
                nothing = {"comment": None, "feedback": None, "reason": None}
                self._change(
                    holding,
                    t,
                    {
                        "cancel_at_period_end": False,
                        "cancel_at": None,
                        "canceled_at": None,
                        "cancellation_details": nothing,
                    },
                )

        self.at(when, act)

    def pause(self, holding: Holding, when: int, until: int) -> None:
        """Pause collection, invoices void: no MRR until it is resumed."""

        def stop(t: int) -> None:
            if holding.sub["status"] == "active":
                self._change(holding, t, {"pause_collection": {"behavior": "void", "resumes_at": until}})
                self.at(until, resume)

        def resume(t: int) -> None:
            if holding.sub["status"] == "active" and holding.sub["pause_collection"]:
                self._change(holding, t, {"pause_collection": None})

        self.at(when, stop)

    # ---- money that goes back ----

    def refund(self, holding: Holding, when: int, share: float) -> None:
        """Give a share of the latest charge back."""

        def act(t: int) -> None:
            charge = holding.last_charge
            if charge and not charge["amount_refunded"] and not charge["disputed"]:
                amount = max(1, round(charge["amount"] * share))
                given = objects.refund(self._id("re", 22), charge, amount=amount, at=t)
                charge |= {"amount_refunded": amount, "refunded": amount == charge["amount"]}
                self._tell("charge.refunded", charge, t, is_change=True)
                self._tell("refund.created", given, t + 1)

        self.at(when, act)

    def dispute(self, holding: Holding, when: int, *, result: str | None, days: int = 20) -> None:
        """The bank takes the latest charge back; `result` is won, lost, or None while it is open."""

        def act(t: int) -> None:
            charge = holding.last_charge
            if charge is None or charge["disputed"] or charge["amount_refunded"]:
                return
            charge["disputed"] = True
            claim = objects.dispute(self._id("du", 22), charge, at=t)
            self._tell("charge.dispute.created", claim, t)
            self._tell("charge.dispute.funds_withdrawn", claim, t + 1)
            if result:
                self.at(t + days * DAY, lambda end: close(claim, end))

        def close(claim: Json, t: int) -> None:
            claim["status"] = result
            claim["evidence_details"] |= {"has_evidence": True, "submission_count": 1}
            self._tell("charge.dispute.closed", claim, t)
            if result == "won":
                self._tell("charge.dispute.funds_reinstated", claim, t + 1)

        self.at(when, act)

    def leave_for_good(self, when: int) -> None:
        """The customer is deleted, long after its last subscription ended."""
        self.at(when, lambda t: self._tell("customer.deleted", self.buyer, t))

    # ---- periods and payments ----

    def _renew(self, holding: Holding, when: int) -> None:
        if holding.period_end != when or holding.has_ended or holding.sub["status"] == "unpaid":
            return
        if holding.sub["cancel_at_period_end"]:
            self._end(holding, when, holding.sub["cancellation_details"], canceled_at=holding.sub["canceled_at"])
            return
        holding.period += 1
        step = _months(holding.items[0]["price"]["recurring"]["interval"])
        end = add_months(holding.sub["billing_cycle_anchor"], step * (holding.period + 1))
        for one in holding.items:
            one["current_period_start"], one["current_period_end"] = when, end
        is_paused = bool(holding.sub["pause_collection"])
        if not is_paused and holding.sub["status"] == "active":
            bill = self._bill(holding, when, "subscription_cycle")
            holding.sub["latest_invoice"] = bill["id"]
            self._tell_subscription("updated", holding, when)
            self._collect(holding, bill, when + HOUR)
        else:
            self._tell_subscription("updated", holding, when)
        self.at(end, lambda t: self._renew(holding, t))

    def _bill(self, holding: Holding, when: int, reason: str, lines: list[Json] | None = None) -> Json:
        invoice_id = self._id("in", 22)
        if lines is None:
            lines = [
                objects.line(
                    self._id("il", 22),
                    invoice_id,
                    one["price"],
                    one,
                    amount=one["price"]["unit_amount"] * one["quantity"],
                    text=f"{one['quantity']} × {one['price']['nickname']}",
                    is_proration=False,
                )
                for one in holding.items
            ]
        for one in lines:
            one["invoice"] = invoice_id
        number = f"{self.buyer['invoice_prefix']}-{self.buyer['next_invoice_sequence']:04d}"
        self.buyer["next_invoice_sequence"] += 1
        return objects.invoice(invoice_id, holding.sub, self.buyer, number=number, reason=reason, lines=lines, at=when)

    def _collect(self, holding: Holding, bill: Json, when: int) -> None:
        if holding.sub["collection_method"] == "send_invoice":
            bill["due_date"] = bill["created"] + 30 * DAY
            holding.open_invoice = bill
            self.at(when, lambda t: self._tell("invoice.finalized", bill, t))
            if self.recovers:
                self.at(when + self.rng.randint(8, 27) * DAY, lambda t: self._pay(holding, bill, t))
            return
        fails = self.fails_next
        self.fails_next = False
        self.at(when, lambda t: self._fail(holding, bill, t, 1) if fails else self._pay(holding, bill, t))

    def _pay(self, holding: Holding, bill: Json, when: int) -> None:
        by_transfer = bill["collection_method"] == "send_invoice"
        bill |= {
            "status": "paid",
            "amount_paid": bill["amount_due"],
            "amount_remaining": 0,
            "attempt_count": 0 if by_transfer else bill["attempt_count"] + 1,
            "attempted": not by_transfer,
            "auto_advance": False,
            "next_payment_attempt": None,
        }
        bill["status_transitions"]["paid_at"] = when
        if by_transfer:
            self._tell("invoice.paid", bill, when)
        else:
            if bill["amount_due"] > 0:
                self._charge(holding, bill, when, failure=None)
            self._tell("invoice.payment_succeeded", bill, when + 1)
        holding.open_invoice = None
        if holding.sub["status"] == "past_due":
            self._change(holding, when + 2, {"status": "active"})

    def _fail(self, holding: Holding, bill: Json, when: int, attempt: int) -> None:
        if holding.has_ended:
            return
        first_at = bill["created"] + HOUR
        next_at = first_at + RETRY_DAYS[attempt - 1] * DAY if attempt <= len(RETRY_DAYS) else None
        bill |= {"attempt_count": attempt, "attempted": True, "next_payment_attempt": next_at}
        holding.open_invoice = bill
        self._charge(holding, bill, when, failure="card_declined" if attempt > 1 else "insufficient_funds")
        self._tell("invoice.payment_failed", bill, when + 1)
        if holding.sub["status"] == "active":
            self._change(holding, when + 2, {"status": "past_due"})
        if next_at is None:
            self.at(when + 10 * DAY, lambda t: self._give_up(holding, bill, t))
        elif self.recovers and (attempt >= 2 or self.rng.random() < 0.6):
            self.at(next_at, lambda t: self._pay(holding, bill, t))
        else:
            self.at(next_at, lambda t: self._fail(holding, bill, t, attempt + 1))

    def _give_up(self, holding: Holding, bill: Json, when: int) -> None:
        """Stripe's setting decides: half of the lost ones are cancelled, half stay as unpaid."""
        if holding.has_ended:
            return
        if self.company.index % 2:
            self._change(holding, when, {"status": "unpaid"})
            bill["status"] = "uncollectible"
            bill["status_transitions"]["marked_uncollectible_at"] = when + 5
            self._tell("invoice.marked_uncollectible", bill, when + 5)
        else:
            details = {"comment": None, "feedback": None, "reason": "payment_failed"}
            self._end(holding, when, details, canceled_at=when)

    def _charge(self, holding: Holding, bill: Json, when: int, *, failure: str | None) -> None:
        name = self._id("ch", 22)
        made = objects.charge(name, bill, name=name[3:], card=self.card, at=when, failure=failure)
        self._tell("charge.failed" if failure else "charge.succeeded", made, when)
        if failure is None:
            holding.last_charge = made
            self.paid.append(Paid(when, made["amount"], made["currency"]))

    def _after_change(self, holding: Holding, when: int, *, is_more: bool) -> None:
        """Tell a change of items; half of the larger ones are billed at once, pro rata."""
        before = holding.told["items"]["data"]
        self._tell_subscription("updated", holding, when)
        if not is_more or holding.sub["collection_method"] == "send_invoice" or self.rng.random() < 0.5:
            return
        first = holding.items[0]
        left = (first["current_period_end"] - when) / (first["current_period_end"] - first["current_period_start"])
        lines = [self._proration(one, when, -left) for one in before]
        lines += [self._proration(one, when, left) for one in holding.items]
        bill = self._bill(holding, when, "subscription_update", lines)
        if bill["total"] > 0:
            self._pay(holding, bill, when + 3)

    def _proration(self, of: Json, when: int, share: float) -> Json:
        amount = round(of["price"]["unit_amount"] * of["quantity"] * share)
        text = f"{'Unused' if share < 0 else 'Remaining'} time on {of['quantity']} × {of['price']['nickname']}"
        made = objects.line(self._id("il", 22), "", of["price"], of, amount=amount, text=text, is_proration=True)
        made["period"]["start"] = when
        return made

    def _end_trial(self, holding: Holding, when: int, *, converts: bool) -> None:
        if holding.has_ended:
            return
        if not converts:
            details = {"comment": None, "feedback": "unused", "reason": "cancellation_requested"}
            self._end(holding, when, details, canceled_at=when)
            return
        step = _months(holding.items[0]["price"]["recurring"]["interval"])
        for one in holding.items:
            one["current_period_start"], one["current_period_end"] = when, add_months(when, step)
        bill = self._bill(holding, when, "subscription_cycle")
        self._change(holding, when, {"status": "active", "latest_invoice": bill["id"]})
        self._collect(holding, bill, when + 4)
        self.at(holding.period_end, lambda t: self._renew(holding, t))

    def _activate(self, holding: Holding, when: int) -> None:
        bill = self._bill(holding, when, "subscription_create")
        self._change(holding, when, {"status": "active", "latest_invoice": bill["id"]})
        self._collect(holding, bill, when + 1)
        self.at(holding.period_end, lambda t: self._renew(holding, t))

    def _end(self, holding: Holding, when: int, details: Json, *, canceled_at: int) -> None:
        holding.sub |= {
            "status": "canceled",
            "canceled_at": canceled_at,
            "ended_at": when,
            "cancellation_details": details,
        }
        self._tell_subscription("deleted", holding, when)

    # ---- telling ----

    def _update_details(self, when: int) -> None:
        self.buyer["phone"] = self.company.phone[:-1] + "7"
        self.buyer["preferred_locales"] = ["en", "de"]
        self._tell("customer.updated", self.buyer, when, is_change=True)

    def _add_item(
        self, holding: Holding, plan: str, interval: str, quantity: int, when: int, period: tuple[int, int]
    ) -> None:
        sold = self.prices[plan, interval]
        quantity = 1 if plan in ("starter", "support") else quantity
        made = objects.item(self._id("si", 14), holding.sub["id"], sold, quantity, at=when, period=period)
        holding.items.append(made)
        holding.sub["items"]["total_count"] = len(holding.items)

    def _change(self, holding: Holding, when: int, values: Json) -> None:
        if when > self.now:
            return
        holding.sub |= values
        self._tell_subscription("updated", holding, when)

    def _tell_subscription(self, what: str, holding: Holding, when: int) -> None:
        self._tell(f"customer.subscription.{what}", holding.sub, when, is_change=what == "updated")
        holding.told = self._told.get(holding.sub["id"], holding.told)

    def _tell(self, kind: str, obj: Json, when: int, *, is_change: bool = False) -> None:
        if when > self.now:
            return
        before = self._told.get(obj["id"]) if is_change else None
        made = objects.event(self._id("evt", 22), kind, obj, when, before=before, is_old=self.company.is_old_layout)
        self.events.append(Told(when, kind, json.dumps(made, separators=(",", ":"), ensure_ascii=False)))
        self._told[obj["id"]] = objects.copied(obj)

    def _id(self, prefix: str, length: int) -> str:
        self._names += 1
        return objects.made_id(prefix, f"{self.company.index}-{self._names}", length)


def add_months(when: int, months: int) -> int:
    """Return the same day and time some months later, or the month's last day where it has no such day."""
    begin = datetime.fromtimestamp(when, UTC)
    number = begin.year * 12 + begin.month - 1 + months
    year, month = divmod(number, 12)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return int(begin.replace(year=year, month=month + 1, day=day).timestamp())


def month_start(now: int, months_ago: int) -> int:
    """Return the first second of the month so many months before the running one (UTC)."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return add_months(int(first.timestamp()), -months_ago)


def last_day_of_month(now: int, months_ahead: int) -> tuple[int, int]:
    """Return (month, year) of a card that expires so many months ahead."""
    day = datetime.fromtimestamp(month_start(now, -months_ahead), UTC) + timedelta(days=1)
    return day.month, day.year


def _months(interval: str) -> int:
    return 12 if interval == "year" else 1
