"""Proves the engine and the ledger on made-up histories: whatever the deliveries, the books end the same and add up.

Most histories go through the readers and the engine alone; some go through the whole pipeline on a database of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from billing import layouts, ordering
from billing.facts import CustomerDiscount, DiscountTerms, Facts, PriceTerms, Ruling, Tier
from billing.layouts import SubscriptionState
from config.benchmarks import histories
from config.benchmarks.histories import END, History, Json
from config.benchmarks.sold import DAY
from mrr import rollups
from mrr.engine.movements import Movement, Replay, reconcile, replay
from mrr.rollups import Standing

NOW = END + 400 * DAY
KEPT_AT_ONCE = 200
PARTS = 6  # at most so many batches while a history is learned step by step


def run(*, count: int, through_pipeline: int, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Prove histories `seed` onwards: all by the engine alone on every core, the first ones through the pipeline too.

    The pipeline runs in a child process on a database of its own, which is dropped. Returns counts, shares and faults.
    """
    from config.benchmarks.stand import stand

    began = time.monotonic()
    workers = len(os.sched_getaffinity(0))
    ranges = [range(seed + n, seed + count, workers) for n in range(workers)]
    tell(f"{count} histories through the engine, {workers} at once")
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        parts = pool.map(prove_all, ranges)
    told: Counter[str] = Counter()
    faults: list[str] = []
    for traits, found in parts:
        told += traits
        faults += found
    result: dict[str, Any] = {
        "histories": count,
        "first_seed": seed,
        "events": told.pop("events"),
        "movements": told.pop("movements"),
        "deliveries": told.pop("deliveries"),
        "shares": {trait: round(told[trait] / count, 4) for trait in histories.TRAITS},
        "engine_seconds": round(time.monotonic() - began, 1),
    }
    if through_pipeline:
        tell(f"{through_pipeline} of them through the pipeline, in two orders")
        with stand() as ground:
            asked = ["-m", "config.benchmarks.simulate", str(through_pipeline), str(seed)]
            there = json.loads(ground.python(*asked).stdout.splitlines()[-1])
        faults += there.pop("faults")
        result["through_pipeline"] = {"database": ground.vendor, **there}
    return result | {"seconds": round(time.monotonic() - began, 1), "failures": len(faults), "faults": faults[:50]}


def prove_all(seeds: Iterable[int]) -> tuple[Counter[str], list[str]]:
    """Prove the histories of these seeds by the engine alone: what they hold, and what does not hold, by seed."""
    told: Counter[str] = Counter()
    faults: list[str] = []
    for seed in seeds:
        one = histories.history(seed)
        told.update(one.traits)
        told["events"] += len(one.events)
        told["deliveries"] += len(one.arrivals)
        try:
            found = proven(one)
        except Exception as error:  # a crash is a finding like any other, and the seed shows it again
            faults.append(f"seed {seed}: {type(error).__name__}: {error}")
            continue
        told["movements"] += len(found.movements)
        faults += [f"seed {seed}: {fault}" for fault in found.faults]
    return told, faults


# ---- one history, by the engine alone ----


@dataclass(frozen=True, slots=True)
class Step:
    """What one event tells of one subscription."""

    created: int
    event_id: str
    event_type: str
    state: SubscriptionState
    before: SubscriptionState | None
    is_live: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """What the engine is given."""

    steps: dict[str, list[Step]]
    deleted: tuple[int, str, bool] | None
    facts: Facts

    def replayed(self, as_of: int) -> Replay:
        return replay(self.steps, as_of=as_of, deleted=self.deleted, facts=self.facts)


@dataclass(frozen=True, slots=True)
class Proven:
    """What a history comes to, and what of it does not hold."""

    movements: tuple[Movement, ...]
    fingerprint: str
    faults: tuple[str, ...]


def proven(one: History) -> Proven:
    """Deliver a history whole, shuffled with copies, and in batches with closes between; compare and add up."""
    rng = random.Random(f"deliveries-{one.seed}")
    read = Reader(one)
    whole = read.known(range(len(one.events))).replayed(NOW)
    faults = [*_sums(whole), *_months(whole.movements)]

    places = [arrival.place for arrival in one.arrivals]
    places += rng.choices(range(len(one.events)), k=3)
    rng.shuffle(places)
    shuffled = read.known(places).replayed(NOW)
    if fingerprint(one, shuffled.movements) != fingerprint(one, whole.movements) or shuffled != whole:
        faults.append("another order of delivery gives another ledger")

    faults += _learned(one, read, whole, rng)
    return Proven(whole.movements, fingerprint(one, whole.movements), tuple(faults))


def fingerprint(one: History, movements: Sequence[Movement]) -> str:
    """Return the SHA-256 over one customer's standing entries, as the ledger's own fingerprint writes them."""
    from mrr.fingerprints import fingerprint as of_lines

    return of_lines(_lines(one.customer, movements))


@dataclass(slots=True)
class Booked:
    """An entry of the books that a step-by-step delivery keeps; `reverses` is the place of the entry taken back."""

    movement: Movement
    micros: int
    month: int
    reverses: int | None = None


def _learned(one: History, read: Reader, whole: Replay, rng: random.Random) -> list[str]:
    """Learn a history batch by batch as it came in, posting differences and closing months: the books end the same."""
    faults: list[str] = []
    books: list[Booked] = []
    open_from = 0  # the first open month
    closed: dict[int, dict[int, int]] = {}  # sums by month as they stood at each close, by the month closed up to
    cuts = sorted(rng.sample(range(1, len(one.arrivals)), min(PARTS - 1, len(one.arrivals) - 1)))
    closes = list(one.closes)
    known: list[int] = []
    for start, stop in zip([0, *cuts], [*cuts, len(one.arrivals)], strict=True):
        part = one.arrivals[start:stop]
        known += [arrival.place for arrival in part]
        _post(books, read.known(known).replayed(part[-1].at), open_from)
        while closes and closes[0] <= part[-1].at:
            month = _month(closes.pop(0))  # all months before the running one have ended
            open_from = max(open_from, month)
            closed[open_from] = _by_month(books)
    _post(books, read.known(known).replayed(NOW), open_from)

    reversed_places = {entry.reverses for entry in books if entry.reverses is not None}
    standing = [
        entry.movement for place, entry in enumerate(books) if entry.reverses is None and place not in reversed_places
    ]
    if Counter(standing) != Counter(whole.movements):
        faults.append("learned step by step the ledger is another")
    for entry in books:
        if entry.reverses is not None and books[entry.reverses].micros + entry.micros:
            faults.append("a reversal does not cancel its entry")
    final = _by_month(books)
    for open_month, then in closed.items():
        now = {month: micros for month, micros in final.items() if month < open_month}
        if now != {month: micros for month, micros in then.items() if month < open_month}:
            faults.append(f"a closed month changed (closed before month {open_month})")
    if sum(final.values()) != sum(movement.micros for movement in whole.movements):
        faults.append("as closed and as restated differ in total")
    return faults


def _post(books: list[Booked], found: Replay, open_from: int) -> None:
    """Add the difference: what is missing, and reversals of what no longer holds. A closed month takes nothing."""
    gone = {entry.reverses for entry in books if entry.reverses is not None}
    places: dict[Movement, list[int]] = defaultdict(list)
    for place, entry in enumerate(books):
        if entry.reverses is None and place not in gone:
            places[entry.movement].append(place)
    to_post, to_reverse = reconcile(found.movements, (m for m, held in places.items() for _ in held))
    for movement in to_reverse:
        month = max(_month(movement.effective_at), open_from)
        books.append(Booked(movement, -movement.micros, month, places[movement].pop()))
    for movement in to_post:
        books.append(Booked(movement, movement.micros, max(_month(movement.effective_at), open_from)))


def _by_month(books: Sequence[Booked]) -> dict[int, int]:
    sums: Counter[int] = Counter()
    for entry in books:
        sums[entry.month] += entry.micros
    return {month: micros for month, micros in sums.items() if micros}


def _sums(found: Replay) -> list[str]:
    """Sums telescope: terms to lines, lines to movements, movements to balances, at every moment."""
    faults: list[str] = []
    balances: Counter[str] = Counter()
    for movement in found.movements:
        if sum(line.micros for line in movement.lines) != movement.micros:
            faults.append(f"lines do not add up to the movement at {movement.effective_at}")
        balances[movement.currency] += movement.micros
        if balances[movement.currency] < 0:
            faults.append(f"a balance below 0 at {movement.effective_at}")
        for line in movement.lines:
            before, after = (terms.micros if terms else 0 for terms in (line.before, line.after))
            if after - before != line.micros:
                faults.append(f"a line is not the difference of its terms at {movement.effective_at}")
    if {currency: micros for currency, micros in balances.items() if micros} != dict(found.balances):
        faults.append("the movements do not add up to the balances")
    return faults


def _months(movements: Sequence[Movement]) -> list[str]:
    """Each month's row adds up, in both views, and so do customers and cohorts."""
    faults: list[str] = []
    entries = [
        Standing(m.type, m.currency, m.micros, m.paying_delta, m.effective_at, _month(m.effective_at))
        for m in movements
    ]
    months = rollups.months_of(entries)
    cells = rollups.cohorts_of(entries, min((entry.month for entry in entries), default=None))
    for currency in {entry.currency for entry in entries}:
        event = netted = balance = paying = mrr = customers = 0
        own = [entry for entry in entries if entry.currency == currency]
        last = max(entry.month for entry in own)
        for month in range(min(entry.month for entry in own), last + 1):
            row = months.get((currency, month), {})
            event += sum(row.get(name, 0) for name in rollups.EVENT_COLUMN.values())
            netted += sum(
                amount for name, amount in row.items() if name.startswith("netted") and name.endswith("micros")
            )
            paying += (
                row.get("new_customers", 0) + row.get("reactivated_customers", 0) - row.get("churned_customers", 0)
            )
            paying += row.get("opening_customers", 0)
            balance = sum(entry.micros for entry in own if entry.month <= month)
            of_month = [cell for key, cell in cells.items() if key[0] == currency and key[2] == month]
            mrr += sum(cell.get("mrr_micros", 0) for cell in of_month)
            customers += sum(cell.get("customers", 0) for cell in of_month)
            if not event == netted == balance == mrr:
                faults.append(f"month {month} in {currency}: {event} by event, {netted} netted, {mrr} by cohort")
            if not paying == customers == (balance > 0):
                faults.append(f"month {month} in {currency}: {paying} paying, {customers} by cohort")
    return faults


def _month(at: int) -> int:
    return rollups.month_number(datetime.fromtimestamp(at, UTC).date())


# ---- from bodies to what the engine is given, without a database ----


@dataclass(slots=True)
class Reader:
    """Reads each event of a history once, and puts together what is known after any deliveries."""

    history: History
    steps: dict[int, tuple[str, Step]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, event in enumerate(self.history.events):
            if event["type"].startswith("customer.subscription."):
                self.steps[place] = _step(event)

    def known(self, places: Iterable[int]) -> Known:
        """Return what is known after these events, in whatever order and however often they came."""
        told: dict[str, list[Step]] = defaultdict(list)
        others: dict[str, Json] = {}
        for place in places:
            if place in self.steps:
                name, step = self.steps[place]
                told[name].append(step)
            else:
                event = self.history.events[place]
                others[event["id"]] = event
        deletions = [(e["created"], e["id"], True) for e in others.values() if e["type"] == "customer.deleted"]
        return Known(
            {name: ordering.in_order(steps) for name, steps in sorted(told.items())},
            min(deletions, default=None),
            _facts([others[name] for name in sorted(others)], self.history.tiers),
        )


def _step(event: Json) -> tuple[str, Step]:
    obj, previous = event["data"]["object"], event["data"].get("previous_attributes")
    before = layouts.subscription_state(layouts.before(obj, previous)) if previous is not None else None
    return obj["id"], Step(event["created"], event["id"], event["type"], layouts.subscription_state(obj), before)


def _facts(events: Sequence[Json], tiers: Mapping[str, Json]) -> Facts:
    coupons: dict[str, Any] = {}
    applied: dict[str, Any] = {}
    standing: dict[str, list[Any]] = {}
    invoices: dict[str, str] = {}
    charges: dict[str, str] = {}
    for event in events:
        obj, family = event["data"]["object"], event["type"].rpartition(".")[0]
        if family == "coupon":
            coupons[obj["id"]] = layouts.coupon(obj)
        elif family == "customer.discount":
            row = layouts.discount(obj)
            applied[row.id] = row
            coupons |= {coupon.id: coupon for coupon in row.coupons}
            if not row.subscription:
                times = standing.setdefault(row.id, [row.start, None, event["id"]])
                if event["type"].endswith("deleted"):
                    times[1] = event["created"]
                else:
                    times[2] = event["id"]
        elif family == "invoice":
            invoices[obj["id"]] = layouts.invoice(obj).subscription
        elif family == "charge":
            charges[obj["id"]] = layouts.charge(obj).invoice
    rulings: dict[str, list[Ruling]] = defaultdict(list)
    for event in events:
        obj = event["data"]["object"]
        if event["type"] == "charge.dispute.closed" and obj["status"] == "lost":
            disputed = invoices.get(charges.get(obj["charge"], ""), "")
            if disputed:
                rulings[disputed].append(Ruling(event["created"], event["id"], True, True))
    for event in events:
        if event["type"] == "invoice.paid":
            subscription = layouts.invoice(event["data"]["object"]).subscription
            if any(ruling.is_lost and ruling.at < event["created"] for ruling in rulings.get(subscription, ())):
                rulings[subscription].append(Ruling(event["created"], event["id"], False, True))
    return Facts(
        prices={
            (price_id, body["currency"]): PriceTerms(
                None,
                body["tiers_mode"],
                tuple(
                    Tier(tier["up_to"], tier["unit_amount_decimal"] or "0", tier["flat_amount_decimal"] or "0")
                    for tier in body["tiers"]
                ),
            )
            for price_id, body in tiers.items()
        },
        discounts={
            name: DiscountTerms(
                name,
                terms.duration,
                terms.percent_off or None,
                ((terms.currency, terms.amount_off_minor),) if terms.amount_off_minor is not None else (),
                None,
                row.start,
                row.end,
            )
            for name, row in applied.items()
            if (terms := coupons.get(row.coupon)) is not None
        },
        customer_discounts=tuple(
            CustomerDiscount(name, start, end, event_id) for name, (start, end, event_id) in sorted(standing.items())
        ),
        rulings={name: tuple(sorted(found, key=lambda r: (r.at, r.event_id))) for name, found in rulings.items()},
    )


# ---- many histories through the whole pipeline ----


def through_the_pipeline(seeds: Sequence[int]) -> dict[str, Any]:
    """Deliver histories to two sources of the configured database, to one as told and to the other as they came in.

    The second gets them shuffled together, with copies, in batches of any size, the clock running on between. Both
    ledgers must be the same, prove right, and be what the engine alone makes of the same events.
    """
    from billing.models import StripeSource
    from mrr import check

    began = time.process_time()
    lives = [histories.history(seed) for seed in seeds]
    told = StripeSource.objects.create(slug="told", label="As told")
    mixed = StripeSource.objects.create(slug="mixed", label="As it came in")
    _deliver(told, [event for one in lives for event in one.events], NOW)

    rng = random.Random(f"interleaved-{seeds[0]}")
    waiting = [(arrival.at, one.events[arrival.place]) for one in lives for arrival in one.arrivals]
    waiting.sort(key=lambda each: (each[0], rng.random()))
    while waiting:
        size = rng.choice((1, 7, 60, 400, 1000))
        part, waiting = waiting[:size], waiting[size:]
        rng.shuffle(part)
        _deliver(mixed, [event for _, event in part], max(at for at, _ in part))
    _deliver(mixed, [], NOW)

    faults: list[str] = []
    found = check.check(now=datetime.fromtimestamp(NOW, UTC), tell=faults.append)
    standing = _standing()
    for one in lives:
        known = Reader(replace(one, tiers={})).known(range(len(one.events)))  # nobody fetched them here
        by_engine = _lines(one.customer, known.replayed(NOW).movements)
        here, there = standing["told", one.customer], standing["mixed", one.customer]
        if here != there:
            faults.append(f"seed {one.seed}: another order of delivery gives another ledger: {_first(here, there)}")
        if here != by_engine:
            faults.append(f"seed {one.seed}: the ledger is not what the engine says: {_first(here, by_engine)}")
    return {
        "histories": len(lives),
        "events": sum(len(one.events) for one in lives),
        "entries": found.entries,
        "differences": found.differences,
        "processor_seconds": round(time.process_time() - began, 1),
        "faults": faults,
    }


def _deliver(source: Any, events: Sequence[Json], at: int) -> None:
    """Keep events as received at a moment, and drain until nothing is due then."""
    from billing import inbox
    from billing.models import Origin
    from config import pipeline

    now = datetime.fromtimestamp(at, UTC)
    for start in range(0, len(events), KEPT_AT_ONCE):
        bodies = [json.dumps(event).encode() for event in events[start : start + KEPT_AT_ONCE]]
        inbox.keep_many(source, bodies, origin=Origin.WEBHOOK, now=now)
    while pipeline.drain_inbox(now=now) + pipeline.drain_fetches(now=now) + pipeline.drain_clock(now=now):
        pass


def _standing() -> defaultdict[tuple[str, str], list[str]]:
    """The standing ledger's lines by source and customer."""
    from billing import selectors as billing
    from mrr import ledger

    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    pks = list(billing.customer_pks())
    for start in range(0, len(pks), KEPT_AT_ONCE):
        part = pks[start : start + KEPT_AT_ONCE]
        names = billing.customers(part)
        for pk, movements in ledger.standing_of(part).items():
            found[names[pk].source_slug, names[pk].stripe_id] = _lines(names[pk].stripe_id, movements)
    return found


def _lines(customer: str, movements: Iterable[Movement]) -> list[str]:
    from mrr.fingerprints import fingerprint_line

    return sorted(fingerprint_line("bench", customer, movement) for movement in movements)


def _first(here: Sequence[str], there: Sequence[str]) -> str:
    """Show the lines that one side lacks."""
    only = [f"-{line}" for line in here if line not in there] + [f"+{line}" for line in there if line not in here]
    return " | ".join(only)[:400].replace("\t", " ")


if __name__ == "__main__":
    import django

    django.setup()
    count, first = int(sys.argv[1]), int(sys.argv[2])
    sys.stdout.write(json.dumps(through_the_pipeline(range(first, first + count))) + "\n")
