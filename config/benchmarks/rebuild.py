"""Recomputes a whole company: a million events of a hundred thousand subscriptions, on a database of its own."""

from __future__ import annotations

import cProfile
import hashlib
import json
import os
import pstats
import random
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from billing import layouts
from config.benchmarks import sold
from config.benchmarks.sold import BEGINNING, DAY, Item, Json, Subscription
from config.demo import objects

LIVES: Final = 600  # different customers; the rest live as one of these did, under ids of their own
NUMBER: Final = "@@@@@@@@"  # stands for a customer's number in all ids
HELD: Final = (1, 1, 1, 2)  # subscriptions a customer
NOW: Final = datetime.fromtimestamp(BEGINNING + 700 * DAY, UTC)
CHUNK: Final = 1_000
PROFILED: Final = 4_000  # customers of the profile, which is taken apart from the measured run


def run(*, events: int, subscriptions: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Fill a database of its own with a company, and recompute all of its ledger as check_ledger does.

    Times are seconds of the clock unless named; `peak_mib` is the largest resident memory of the recomputing process
    and of one of its children. Filling is not part of what is measured.
    """
    from config.benchmarks.stand import stand

    def told(*words: str) -> dict[str, Any]:
        answer = ground.python("-m", "config.benchmarks.rebuild", *words).stdout.splitlines()[-1]
        found: dict[str, Any] = json.loads(answer)
        return found

    with stand() as ground:
        tell(f"{events} events of {subscriptions} subscriptions are made, and their ledger")
        made = told("fill", str(events), str(subscriptions))
        tell(f"the ledger of {made['customers']} customers is recomputed and compared")
        rebuilt = told("recompute")
        tell("where the time goes")
        profile = told("profile")
    per_second = round(made["events"] / rebuilt["seconds"])
    return {
        "database": ground.vendor,
        "rebuild": {**rebuilt, "events_a_second": per_second},
        "made": made,
        "profile": profile,
    }


# ---- the events ----


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a life, with the customer's number left open in its texts."""

    event_id: str
    subscription: str
    kind: str
    created: int
    body: str
    state: str
    before: str | None


def fill(events: int, subscriptions: int) -> dict[str, Any]:
    """Keep the events of some customers and post their ledger; all others get the same lives under their own ids.

    Of the others the database holds what a recount reads: the snapshots that their events left, and the ledger.
    """
    from django.db import connection

    began = time.monotonic()
    customers = round(subscriptions / (sum(HELD) / len(HELD)))
    first = min(LIVES, customers)
    lives = [
        list(_life(random.Random(f"rebuild-{n}"), HELD[n % len(HELD)], events // subscriptions)) for n in range(first)
    ]
    _keep(lives, range(first), with_events=True)
    posted_at = time.monotonic()
    entries = _post()
    posted_seconds = time.monotonic() - posted_at
    copies = _Copies(first)
    for start in range(first, customers, CHUNK):
        numbers = range(start, min(start + CHUNK, customers))
        copies.write(numbers, _keep(lives, numbers, with_events=False))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    made = sum(len(lives[n % first]) for n in range(customers))
    return {
        "events": made,
        "subscriptions": sum(HELD[n % first % len(HELD)] for n in range(customers)),
        "customers": customers,
        "posted_a_second": round(sum(map(len, lives)) / posted_seconds),
        "posted_entries": entries,
        "seconds": round(time.monotonic() - began, 1),
    }


def _keep(lives: Sequence[Sequence[Told]], numbers: range, *, with_events: bool) -> dict[int, int]:
    """Write customers, the snapshots of their lives, and perhaps the events; returns primary keys by number."""
    from billing.models import Customer, StripeSource

    source = StripeSource.objects.get()
    named = [Customer(source=source, stripe_id=f"cus_{n:08d}", version_at=NOW) for n in numbers]
    Customer.objects.bulk_create(named, batch_size=1000)
    known = Customer.objects.filter(stripe_id__gte=f"cus_{numbers[0]:08d}").values_list("stripe_id", "pk")
    pks = {int(stripe_id[4:]): pk for stripe_id, pk in known}
    inbox, snapshots = [], []
    for n in numbers:
        number = f"{n:08d}"
        for told in lives[n % len(lives)]:
            event_id, subscription = told.event_id.replace(NUMBER, number), told.subscription.replace(NUMBER, number)
            at = _moment(told.created)
            state = told.state.replace(NUMBER, number)
            before = told.before.replace(NUMBER, number) if told.before else None
            snapshots.append((pks[n], subscription, event_id, told.kind, at, True, state, before))
            if with_events:
                body = told.body.replace(NUMBER, number).encode()
                digest, customer = hashlib.sha256(body).hexdigest(), f"cus_{number}"
                inbox.append((source.pk, event_id, told.kind, at, True, subscription, customer, body, digest, at, at))
    _insert(SNAPSHOTS, snapshots)
    if inbox:
        _insert(EVENTS, inbox)
    return pks


def _post() -> int:
    """Post the movements of every customer there is, from an empty ledger."""
    from django.db import transaction

    from billing import selectors as billing
    from mrr import ledger

    entries = 0
    for chunk in _chunks(billing.next_customer_pks(after=0, limit=LIVES), 100):
        with transaction.atomic():
            billing.lock_customers(chunk)
            entries += len(ledger.post(billing.histories(chunk), now=NOW))
    return entries


class _Copies:
    """Copies the posted ledger of the first customers for others who live as they did."""

    def __init__(self, first: int) -> None:
        from mrr.models import CustomerBalance, LedgerEntry

        self.first = first
        self.entries, self.rows = self._read(LedgerEntry)
        self.balances, self.balance_rows = self._read(CustomerBalance)

    def _read(self, model: Any) -> tuple[Into, dict[int, list[tuple[Any, ...]]]]:
        """The columns but the key, with the customer's number first, JSON as text; rows by customer's number."""
        from django.db import connection, models

        fields = [field for field in model._meta.concrete_fields if not field.primary_key]
        is_postgres = connection.vendor == "postgresql"
        asked = [
            f"e.{field.column}::text" if is_postgres and isinstance(field, models.JSONField) else f"e.{field.column}"
            for field in fields
        ]
        sql = (
            f"SELECT c.stripe_id, {', '.join(asked)} FROM {model._meta.db_table} e "  # noqa: S608  # names are ours
            "JOIN billing_customer c ON c.id = e.customer_id ORDER BY e.id"
        )
        found: dict[int, list[tuple[Any, ...]]] = {}
        with connection.cursor() as cursor:
            cursor.execute(sql)
            for stripe_id, *row in cursor.fetchall():
                found.setdefault(int(stripe_id[4:]), []).append(tuple(row))
        return (model._meta.db_table, tuple([field.column for field in fields]), {}), found

    def write(self, numbers: range, pks: Mapping[int, int]) -> None:
        for into, known in ((self.entries, self.rows), (self.balances, self.balance_rows)):
            columns = into[1]
            made = []
            for n in numbers:
                old, new = f"_{n % self.first:08d}", f"_{n:08d}"
                for place, row in enumerate(known.get(n % self.first, ())):
                    own = {"customer_id": pks[n], "key": f"mle{new}_{place}"}
                    made.append(
                        tuple(
                            [
                                own.get(column, value.replace(old, new) if isinstance(value, str) else value)
                                for column, value in zip(columns, row, strict=True)
                            ]
                        )
                    )
            _insert(into, made)


Into = tuple[str, tuple[str, ...], dict[str, Any]]  # table, columns, and those with the same value in every row
SNAPSHOTS: Final[Into] = (
    "billing_snapshot",
    ("customer_id", "subscription_id", "event_id", "event_type", "created_at", "is_live", "state", "before"),
    {},
)
EVENTS: Final[Into] = (
    "billing_stripeevent",
    (
        "source_id",
        "stripe_id",
        "type",
        "created_at",
        "livemode",
        "object_id",
        "customer_id",
        "body",
        "body_sha256",
        "received_at",
        "due_at",
    ),
    {
        "api_version": objects.NEWEST,
        "origin": "webhook",
        "state": "processed",
        "reason": "",
        "error": "",
        "attempts": 1,
    },
)


def _insert(into: Into, rows: Sequence[tuple[Any, ...]]) -> None:
    from django.db import connection, transaction

    table, columns, fixed = into
    names = ", ".join((*columns, *fixed))
    values = tuple(fixed.values())
    with transaction.atomic(), connection.cursor() as cursor:  # or SQLite commits row by row
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row((*row, *values))
            return
        marks = ", ".join(["%s"] * (len(columns) + len(fixed)))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # names are ours
        cursor.executemany(sql, [(*row, *values) for row in rows])


def _moment(at: int) -> str:
    from billing.statements import moment

    text = moment(at)
    assert text is not None
    return text


def _life(rng: random.Random, subscriptions: int, events: int) -> list[Told]:
    """One customer's subscriptions: begun, renewed month by month, now and then changed, sometimes ended."""
    found: list[Told] = []
    for place in range(subscriptions):
        found += _held(rng, place, events, rng.choice(("usd", "usd", "eur")))
    return found


def _held(rng: random.Random, place: int, events: int, currency: str) -> Iterator[Told]:
    at = BEGINNING + rng.randrange(300) * DAY + rng.randrange(DAY)
    sub = Subscription(f"sub_{NUMBER}{place}", f"cus_{NUMBER}", currency, at, is_old=False)
    for n in range(rng.choice((1, 1, 2))):
        sub.items.append(Item(f"si_{NUMBER}{place}{n}", _sold(rng, currency), rng.randint(1, 40), (at, at + 31 * DAY)))
    yield _told(sub, "created", at, 0, None)
    for n in range(1, events):
        before = sub.body()
        at += 31 * DAY if n % 3 else 3 * DAY
        what = rng.random()
        if what < 0.60:
            for item in sub.items:
                item.period = (item.period[1], item.period[1] + 31 * DAY)
        elif what < 0.80:
            rng.choice(sub.items).quantity = rng.randint(1, 40)
        elif what < 0.90:
            rng.choice(sub.items).price = _sold(rng, currency)
        else:
            sub.status = "active" if sub.status == "past_due" else "past_due"
        if n == events - 1 and rng.random() < 0.4:
            sub.status, sub.ended_at, sub.canceled_at, sub.reason = "canceled", at, at, "cancellation_requested"
            yield _told(sub, "deleted", at, n, None)
        else:
            yield _told(sub, "updated", at, n, before)


def _sold(rng: random.Random, currency: str) -> Json:
    interval, count = rng.choice((("month", 1), ("month", 1), ("month", 1), ("year", 1), ("month", 3)))
    product = rng.choice(("starter", "team", "business", "enterprise"))
    amount = rng.choice(("1900", "2900", "4900", "9900", "29900"))
    return sold.price(product, amount, currency, interval, count)


def _told(sub: Subscription, verb: str, at: int, place: int, before: Json | None) -> Told:
    obj = sub.body()
    data: Json = {"object": obj}
    was = None
    if before is not None:
        data["previous_attributes"] = previous = objects.previous_attributes(before, obj)
        was = json.dumps(layouts.subscription_state(layouts.before(obj, previous)).to_json())
    event_id = f"evt_{sub.id[4:]}_{place:02d}"
    body = {
        "id": event_id,
        "object": "event",
        "api_version": objects.NEWEST,
        "created": at,
        "data": data,
        "livemode": True,
        "type": f"customer.subscription.{verb}",
    }
    state = json.dumps(layouts.subscription_state(obj).to_json())
    return Told(event_id, sub.id, str(body["type"]), at, json.dumps(body), state, was)


# ---- what is measured ----


def recompute() -> dict[str, Any]:
    """Recompute every customer from its events and compare with the ledger, as check_ledger does."""
    from mrr import check

    differences: list[str] = []
    began, used = time.monotonic(), _processor_seconds()
    recounted = check.check(
        now=NOW, tell=differences.append, parts=["customers"], processes=len(os.sched_getaffinity(0))
    )
    seconds, processor_seconds = time.monotonic() - began, _processor_seconds() - used
    if differences:
        raise RuntimeError(f"{len(differences)} differences, the first: {differences[0]}")
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "peak_mib": _peak_mib(),
        "customers": recounted.customers,
        "entries": recounted.entries,
        "fingerprint": recounted.fingerprint,
    }


def profile() -> dict[str, Any]:
    """Say what share of the time goes where, by a profile of some customers in one process."""
    from itertools import islice

    from billing import selectors as billing
    from mrr import check, ledger, policies

    pks = list(islice(billing.customer_pks(), PROFILED))
    policy = policies.current()
    profiler = cProfile.Profile(time.process_time)  # waiting is not work
    profiler.enable()
    for chunk in _chunks(pks, check.CHUNK):
        for history in billing.histories(chunk).values():
            ledger.replayed(history, now=NOW, policy=policy)
        ledger.standing_with_keys(chunk)
    profiler.disable()
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    whole = sum(own for _, _, own, _, _ in stats.values())
    named = [
        (f"{os.path.relpath(file)}:{name}", own, total) for (file, _, name), (_, _, own, total, _) in stats.items()
    ]
    return {
        "customers": len(pks),
        "own": {name: round(own / whole, 3) for name, own, _ in sorted(named, key=lambda one: -one[1])[:16]},
        "with_calls": {
            name: round(total / whole, 3)
            for name, _, total in sorted(named, key=lambda one: -one[2])
            if name.startswith(("mrr/", "billing/")) and total / whole > 0.03
        },
    }


def _chunks(pks: Iterable[int], size: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    for pk in pks:
        chunk.append(pk)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _peak_mib() -> dict[str, float]:
    return {
        name: round(resource.getrusage(who).ru_maxrss / 1024, 1)
        for name, who in (("process", resource.RUSAGE_SELF), ("child", resource.RUSAGE_CHILDREN))
    }


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    import django

    django.setup()
    stage, *sizes = sys.argv[1:]
    stages: dict[str, Callable[..., dict[str, Any]]] = {
        "fill": fill,
        "recompute": recompute,
        "profile": profile,
    }
    sys.stdout.write(json.dumps(stages[stage](*[int(size) for size in sizes])) + "\n")
