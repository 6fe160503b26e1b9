"""Tells two years of a made-up company's life with Stripe: two accounts, three currencies, some four hundred customers.

The same numbers in give the same events out; only `now` moves them. No Django, no clock, no network.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial

from config.demo import objects
from config.demo.companies import EU, US, company
from config.demo.lives import (
    FEEDBACK,
    HOUR,
    MONTH,
    Holding,
    Life,
    Paid,
    Plan,
    PriceList,
    Told,
    add_months,
    last_day_of_month,
    month_start,
)
from config.demo.objects import DAY

Act = Callable[[Holding], None]

SEED = 20_261_123
SOURCES = {US: ("Northwind US", ("usd",)), EU: ("Northwind Europe", ("eur", "gbp"))}
PRODUCTS = {
    "starter": "Starter",
    "team": "Team",
    "business": "Business",
    "enterprise": "Enterprise",
    "support": "Priority support",
    "insights": "Insights add-on",
}
# Minor units a month, per seat or flat; a year costs ten months.
MONTHLY = {
    "usd": {"starter": 7900, "team": 2900, "business": 5900, "enterprise": 9900, "support": 25000, "insights": 1200},
    "eur": {"starter": 7500, "team": 2700, "business": 5500, "enterprise": 9200, "support": 23000, "insights": 1100},
    "gbp": {"starter": 6500, "team": 2400, "business": 4900, "enterprise": 8200, "support": 20000, "insights": 1000},
}


def events(*, now: int, customers: int = 400, months: int = 24, seed: int = SEED) -> dict[str, list[Told]]:
    """Return each source's events up to `now` (Unix seconds), oldest first."""
    began = month_start(now, months - 1)
    catalogues = {source: _catalogue(source, began - 30 * DAY) for source in SOURCES}
    told = {source: list(catalogue[1]) for source, catalogue in catalogues.items()}
    paid: dict[str, list[Paid]] = {source: [] for source in SOURCES}
    for index in range(customers):
        one = company(index)
        life = Life(
            one,
            catalogues[one.source][0][one.currency],
            now=now,
            seed=seed,
            card=_card(index, now),
        )
        _begin(life, now=now, months=months)
        life.live()
        told[one.source] += life.events
        paid[one.source] += life.paid
    for source in SOURCES:
        told[source] += _payouts(source, paid[source], now)
    return {source: sorted(found, key=lambda one: one.at) for source, found in told.items()}


# ---- who does what ----


def _begin(life: Life, *, now: int, months: int) -> None:
    """Give a customer its role: the first have one each, later ones now and then, the rest live as chance has it."""
    index = life.company.index
    if index < len(ROLES):
        ROLES[index](life, now, months)
    elif index % 19 == 0:
        ROLES[1 + index // 19 % (len(ROLES) - 1)](life, now, months)
    else:
        _ordinary(life, now, months)


def _ordinary(life: Life, now: int, months: int) -> None:
    """Sign up some time in the months, more and more as the company grows, and live on."""
    rng = life.rng
    weights = [3.0 if month == 0 else 1.0 + 0.045 * month for month in range(months)]
    month = rng.choices(range(months), weights)[0]
    begin = month_start(now, months - 1 - month)
    end = min(now - HOUR, month_start(now, months - 2 - month))
    when = begin + int((end - begin) * rng.random())
    life.sign_up(when)
    how = rng.choices(("at_once", "trial", "lost_trial", "authentication", "never_paid"), (52, 24, 11, 10, 3))[0]
    plan = _plan(rng)
    start = when + rng.randint(60, 2 * DAY)
    holding = life.subscribe_at(start, plan, how=how)
    _changes(life, holding, start, now)
    leaves = _leaving(life, holding, start, now, plan)
    if leaves and rng.random() < 0.22:
        back = leaves + rng.randint(50, 190) * DAY
        life.subscribe_at(back, _plan(rng))
    elif leaves and rng.random() < 0.06:
        life.leave_for_good(leaves + 400 * DAY)


def _plan(rng: random.Random) -> Plan:
    name = rng.choices(("starter", "team", "business", "enterprise"), (28, 45, 22, 5))[0]
    seats = {
        "starter": 1,
        "team": rng.randint(3, 22),
        "business": rng.randint(8, 38),
        "enterprise": rng.randint(35, 120),
    }[name]
    interval = "year" if rng.random() < (0.45 if name == "enterprise" else 0.2) else "month"
    by_invoice = name == "enterprise" and interval == "year" and rng.random() < 0.7
    return Plan(name, seats, interval, "send_invoice" if by_invoice else "charge_automatically")


def _changes(life: Life, holding: Callable[[], Holding | None], start: int, now: int) -> None:
    """Let the customer change its mind month by month: more often up than down."""
    rng = life.rng
    for month_at in range(start + 35 * DAY, now, MONTH):
        when = month_at + rng.randint(0, 25 * DAY)
        chance = rng.random()
        share = rng.uniform(0.08, 0.35)
        kind = rng.random()
        if chance < 0.06:
            up: tuple[Act, ...] = (
                partial(life.grow, when=when, share=share),
                partial(life.move, when=when, step=1),
                partial(life.add, when=when, extra="support"),
                partial(life.add, when=when, extra="insights"),
                partial(life.go_annual, when=when),
            )
            life.with_holding(when, holding, up[0 if kind < 0.55 else 1 + int((kind - 0.55) / 0.1125)])
        elif chance < 0.081:
            down: tuple[Act, ...] = (
                partial(life.grow, when=when, share=-share),
                partial(life.move, when=when, step=-1),
                partial(life.drop_extra, when=when),
            )
            life.with_holding(when, holding, down[0 if kind < 0.6 else 1 if kind < 0.85 else 2])
        elif chance < 0.12:
            life.with_holding(when, holding, lambda held: life.let_fail(recovers=life.rng.random() < 0.72))
        elif chance < 0.135:
            life.with_holding(when, holding, partial(life.refund, when=when, share=rng.choice((1.0, 0.5))))
        elif chance < 0.139:
            result = rng.choice(("won", "won", "lost"))
            life.with_holding(when, holding, partial(_dispute, life, when=when, result=result))


def _dispute(life: Life, holding: Holding, when: int, result: str) -> None:
    """A lost dispute is one of a customer that left at once: what it paid for has ended by the time it is decided."""
    life.dispute(holding, when, result=result)
    if result == "lost":
        life.cancel(holding, when + 2 * DAY, feedback="other", at_once=True)


def _leaving(life: Life, holding: Callable[[], Holding | None], start: int, now: int, plan: Plan) -> int | None:
    """Decide when the customer asks to leave, if ever; returns about when it will be gone."""
    rng = life.rng
    monthly_chance = 0.017 if plan.interval == "month" else 0.007
    asks = next((at for at in range(start + 40 * DAY, now, MONTH) if rng.random() < monthly_chance), None)
    if asks is None:
        return None
    when = asks + rng.randint(0, 28 * DAY)
    feedback = rng.choice(FEEDBACK)
    at_once = rng.random() < 0.3
    life.with_holding(when, holding, lambda held: life.cancel(held, when, feedback=feedback, at_once=at_once))
    if not at_once and rng.random() < 0.15:
        life.with_holding(when + 4 * DAY, holding, lambda held: life.keep(held, when + 4 * DAY))
    return when + (0 if at_once else 31 * DAY)


# ---- roles: what every demo must show ----


def _since(now: int, days: int, months: int, wanted: int) -> int:
    """Return a start so that a monthly period began `days` ago, up to `wanted` months back but within the story."""
    return add_months(now - days * DAY, -max(0, min(wanted, months - 2)))


def _giant(life: Life, now: int, months: int) -> None:
    """The largest customer of all leaves for a competitor: the cause of one bad month."""
    start = month_start(now, max(months - 2, 1)) + 9 * DAY + 15 * HOUR
    life.sign_up(start - DAY)
    held = life.subscribe_at(start, Plan("enterprise", 128))
    life.with_holding(start + 150 * DAY, held, lambda one: life.grow(one, start + 150 * DAY, 0.2))
    leaves = month_start(now, min(4, max(months - 3, 0))) + 12 * DAY
    life.with_holding(leaves, held, lambda one: life.cancel(one, leaves, feedback="switched_service"))


def _fails(days_ago: int, *, seats: int) -> Callable[[Life, int, int], None]:
    def role(life: Life, now: int, months: int) -> None:
        start = _since(now, days_ago, months, 7)
        life.sign_up(start - HOUR)
        life.recovers = False
        held = life.subscribe_at(start, Plan("business", seats))
        last = now - days_ago * DAY - DAY
        life.with_holding(last, held, lambda one: life.let_fail(recovers=False))

    return role


def _will_leave(feedback: str, *, days_ago: int) -> Callable[[Life, int, int], None]:
    def role(life: Life, now: int, months: int) -> None:
        start = _since(now, 18, months, 10)
        life.sign_up(start - HOUR)
        held = life.subscribe_at(start, Plan("business", 24))
        when = now - days_ago * DAY
        life.with_holding(when, held, lambda one: life.cancel(one, when, feedback=feedback))

    return role


def _disputed(result: str | None, *, days_ago: int) -> Callable[[Life, int, int], None]:
    def role(life: Life, now: int, months: int) -> None:
        start = _since(now, days_ago + 3, months, 6)
        life.sign_up(start - HOUR)
        held = life.subscribe_at(start, Plan("team", 14))
        when = now - days_ago * DAY
        if result == "lost":
            life.with_holding(when, held, lambda one: _dispute(life, one, when, "lost"))
        else:
            life.with_holding(when, held, lambda one: life.dispute(one, when, result=result))

    return role


def _owes_by_invoice(life: Life, now: int, months: int) -> None:
    start = now - 47 * DAY
    life.sign_up(start - DAY)
    life.recovers = False
    life.subscribe_at(start, Plan("enterprise", 45, "year", "send_invoice"))


def _starts_over(life: Life, now: int, months: int) -> None:
    """Cancels and subscribes anew within the hour: a change of plan in two steps, not churn and a new customer."""
    start = _since(now, 12, months, 9)
    life.sign_up(start - HOUR)
    held = life.subscribe_at(start, Plan("team", 9))
    when = start + 4 * MONTH if months > 6 else start + 20 * DAY
    life.with_holding(when, held, lambda one: life.cancel(one, when, feedback="other", at_once=True))
    life.subscribe_at(when + 20 * 60, Plan("business", 9))


def _pauses(life: Life, now: int, months: int) -> None:
    start = _since(now, 8, months, 11)
    life.sign_up(start - HOUR)
    held = life.subscribe_at(start, Plan("team", 17))
    when = now - 100 * DAY
    life.with_holding(when, held, lambda one: life.pause(one, when, when + 61 * DAY))


def _returns(life: Life, now: int, months: int) -> None:
    start = _since(now, 20, months, 13)
    life.sign_up(start - HOUR)
    held = life.subscribe_at(start, Plan("business", 15))
    when = start + 5 * MONTH + 3 * DAY
    life.with_holding(when, held, lambda one: life.cancel(one, when, feedback="unused"))
    life.subscribe_at(when + 110 * DAY, Plan("team", 12))


def _trial(how: str, days_ago: int) -> Callable[[Life, int, int], None]:
    def role(life: Life, now: int, months: int) -> None:
        start = now - days_ago * DAY
        life.sign_up(start - HOUR)
        life.subscribe_at(start, Plan("team", 8), how=how)

    return role


def _never_pays(life: Life, now: int, months: int) -> None:
    start = now - 75 * DAY
    life.sign_up(start - HOUR)
    life.subscribe_at(start, Plan("team", 5), how="never_paid")


def _card_expires(life: Life, now: int, months: int) -> None:
    start = _since(now, 6, months, 8)
    life.sign_up(start - HOUR)
    life.subscribe_at(start, Plan("business", 21))


def _shrinks(life: Life, now: int, months: int) -> None:
    start = _since(now, 16, months, 9)
    life.sign_up(start - HOUR)
    held = life.subscribe_at(start, Plan("business", 30))
    when = now - 23 * DAY
    life.with_holding(when, held, lambda one: life.grow(one, when, -0.4))


def _holds_two(life: Life, now: int, months: int) -> None:
    start = _since(now, 22, months, 12)
    life.sign_up(start - HOUR)
    life.subscribe_at(start, Plan("business", 18))
    second = life.subscribe_at(start + 95 * DAY, Plan("team", 6, "year"))
    when = now - 40 * DAY
    life.with_holding(when, second, lambda one: life.cancel(one, when, feedback="unused", at_once=True))


def _stays_after_all(life: Life, now: int, months: int) -> None:
    start = _since(now, 19, months, 8)
    life.sign_up(start - HOUR)
    held = life.subscribe_at(start, Plan("business", 12))
    when = now - 80 * DAY
    life.with_holding(when, held, lambda one: life.cancel(one, when, feedback="too_expensive"))
    life.with_holding(when + 3 * DAY, held, lambda one: life.keep(one, when + 3 * DAY))


def _gets_money_back(life: Life, now: int, months: int) -> None:
    start = _since(now, 14, months, 6)
    life.sign_up(start - HOUR)
    held = life.subscribe_at(start, Plan("team", 11))
    when = now - 9 * DAY
    life.with_holding(when, held, lambda one: life.refund(one, when, 0.5))


ROLES: tuple[Callable[[Life, int, int], None], ...] = (
    _giant,
    _fails(9, seats=26),
    _will_leave("too_expensive", days_ago=6),
    _disputed(None, days_ago=8),
    _owes_by_invoice,
    _starts_over,
    _pauses,
    _returns,
    _trial("trial", 60),
    _disputed("won", days_ago=70),
    _never_pays,
    _trial("lost_trial", 45),
    _card_expires,
    _shrinks,
    _holds_two,
    _fails(21, seats=14),
    _disputed("lost", days_ago=60),
    _gets_money_back,
    _stays_after_all,
    _fails(5, seats=33),
    _trial("trial", 6),
    _will_leave("missing_features", days_ago=12),
)


# ---- what is sold, and what reaches the bank ----


def _catalogue(source: str, at: int) -> tuple[dict[str, PriceList], list[Told]]:
    """Return the prices by currency, plan and interval, and the events that make products and prices."""
    found: dict[str, PriceList] = {}
    told: list[Told] = []
    for place, (plan, name) in enumerate(PRODUCTS.items()):
        made = objects.product(objects.made_id("prod", f"{source}-{plan}", 12), name, at + place * 60)
        told.append(_event(source, "product.created", made, at + place * 60))
        for currency in SOURCES[source][1]:
            for interval, months in (("month", 1), ("year", 10)):
                sold = objects.price(
                    objects.made_id("price", f"{source}-{plan}-{currency}-{interval}", 22),
                    made["id"],
                    nickname=f"{name} {'monthly' if interval == 'month' else 'annual'} {currency.upper()}",
                    currency=currency,
                    amount=MONTHLY[currency][plan] * months,
                    interval=interval,
                    at=at + place * 60 + 10,
                )
                sold["metadata"] = {"plan": plan}
                found.setdefault(currency, {})[plan, interval] = sold
                told.append(_event(source, "price.created", sold, at + place * 60 + 10))
    return found, told


def _payouts(source: str, paid: list[Paid], now: int) -> list[Told]:
    """Pay what was charged out every two weeks, less Stripe's fee of about 2.9 %."""
    told: list[Told] = []
    if not paid:
        return told
    first = min(one.at for one in paid)
    for currency in SOURCES[source][1]:
        for begin in range(first, now - 14 * DAY, 14 * DAY):
            at = begin + 14 * DAY
            gross = sum(one.amount for one in paid if one.currency == currency and begin <= one.at < at)
            if gross:
                payout_id = objects.made_id("po", f"{source}-{currency}-{begin - first}", 22)
                made = objects.payout(payout_id, amount=gross - gross * 29 // 1000, currency=currency, at=at)
                told.append(_event(source, "payout.paid", made, at))
    return told


def _event(source: str, kind: str, obj: objects.Json, at: int) -> Told:
    made = objects.event(objects.made_id("evt", f"{source}-{kind}-{obj['id']}", 22), kind, obj, at)
    return Told(at, kind, json.dumps(made, separators=(",", ":"), ensure_ascii=False))


def _card(index: int, now: int) -> tuple[int, int]:
    """Return (month, year) in which the customer's card expires: for a few, before their next charge."""
    return last_day_of_month(now, 0 if index % 40 == 12 else 5 + index * 7 % 40)
