"""Reads from Stripe what payloads lack: outside work, with leases, attempts and limits, in no transaction."""

# ruff: noqa: S608  (statements are put together from our own names; values travel apart)
from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from billing import batches, columns, kinds, layouts, mirror, statements, stripe_api
from billing.facts import FETCHED
from billing.histories import histories
from billing.inbox import CLOCK, LATER, PICKED, described
from billing.kinds import KINDS
from billing.models import (
    Charge,
    CompletedItems,
    Coupon,
    FetchKind,
    FetchState,
    FetchWaiter,
    Invoice,
    InvoiceLine,
    OwedFetch,
    Price,
    StripeSource,
    Subscription,
)
from billing.owed import NO_KEY
from billing.statements import write
from billing.values import LayoutError

log = structlog.get_logger(__name__)

BATCH: Final = 8
AT_ONCE: Final = 4  # calls in flight: Stripe's answer takes longer than our work on it
ATTEMPTS: Final = 8
LEASE_SECONDS: Final = 180
PAUSE_SECONDS: Final = 5.0
REPOSTED: Final = 50

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a round of fetches came to: how many were claimed, how many Stripe answered, how many are parked."""

    claimed: int = 0
    answered: int = 0
    parked: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe said: objects by kind, or an error. `short` is a subscription as it came, its items cut short."""

    objects: tuple[tuple[str, Json], ...] = ()
    error: Exception | None = None
    short: Json | None = None


def fetch_due(*, now: datetime, limit: int = BATCH) -> Fetched:
    """Claim due fetches, ask Stripe for those that are still needed, and store the answers. No transaction is open.

    Whoever waits for what came is named by `customers_to_repost`. Raises nothing of Stripe's: errors stay on the rows.
    """
    claimed = claim(limit=limit, now=now)
    if not claimed:
        return Fetched()
    wanted = [fetch for fetch in claimed if _is_wanted(fetch, now=now)]
    readers = _readers(wanted, now=now)
    asked = [fetch for fetch in wanted if fetch.source_id in readers]
    parked = 0
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:  # these threads only talk to Stripe
        answers = list(pool.map(lambda fetch: _ask(readers[fetch.source_id], fetch), asked))
    for fetch, answer in zip(asked, answers, strict=True):
        parked += _settle(fetch, answer, now=now)
    return Fetched(len(claimed), sum(answer.error is None for answer in answers), parked)


def is_due(*, now: datetime) -> bool:
    """Say whether there is something to ask Stripe for, or somebody to bring in step with its answer."""
    return _due(now).exists() or _served(now).exists()


def due_since(*, now: datetime) -> datetime | None:
    """Return when the oldest fetch that could be made now fell due, None without any."""
    return _due(now).order_by("due_at").values_list("due_at", flat=True).first()


def customers_to_repost(*, now: datetime, limit: int = REPOSTED) -> list[int]:
    """Return customers whose missing objects have come, ascending: their ledger is to be brought in step."""
    rows = _served(now).order_by("customer_id").values_list("customer_id", flat=True).distinct()
    return list(rows[:limit])


def take_served(customer_pks: Collection[int]) -> None:
    """Forget that customers waited for what has come; their rows are locked and they are posted in this transaction."""
    FetchWaiter.objects.filter(customer_id__in=customer_pks, fetch__state=FetchState.DONE).delete()


def put_off(customer_pk: int, *, until: datetime) -> None:
    """Leave a customer that could not be posted for later."""
    FetchWaiter.objects.filter(customer_id=customer_pk, fetch__state=FetchState.DONE).update(due_at=until)


def try_again(fetches: QuerySet[OwedFetch], *, now: datetime) -> int:
    """Put fetches back to waiting with all their attempts; return how many."""
    return fetches.exclude(state=FetchState.DONE).update(
        state=FetchState.WAITING, due_at=now, attempts=0, code="", error=""
    )


def try_parked_again(source_pk: int, *, now: datetime) -> int:
    """Put what a source's reads were given up on back to waiting; return how many."""
    return try_again(OwedFetch.objects.filter(source_id=source_pk, state=FetchState.PARKED), now=now)


# ---- claiming ----


def claim(*, limit: int, now: datetime, lease_seconds: int = LEASE_SECONDS) -> list[OwedFetch]:
    """Take up to `limit` due fetches for this worker alone, oldest first; the attempt is counted before the work."""
    vendor = connection.vendor
    table, sources = OwedFetch._meta.db_table, StripeSource._meta.db_table
    at = connection.ops.adapt_datetimefield_value(now)
    free = (
        f"state = 'waiting' AND code <> '{NO_KEY}' AND due_at <= %s "
        f"AND (leased_until IS NULL OR leased_until <= {CLOCK[vendor]}) "
        f"AND source_id NOT IN (SELECT id FROM {sources} WHERE calls_paused_until > %s)"
    )
    rows = f"SELECT id FROM {table} WHERE {free} ORDER BY due_at, id"
    taken = statements.run(
        f"UPDATE {table} SET attempts = attempts + 1, leased_until = {LATER[vendor]} "
        f"WHERE {PICKED[vendor].format(rows=rows)} RETURNING id",
        [lease_seconds, at, at, limit],
    )
    return list(OwedFetch.objects.filter(pk__in=[pk for (pk,) in taken]).order_by("due_at", "pk"))


def _due(now: datetime) -> QuerySet[OwedFetch]:
    is_free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    is_open = Q(source__calls_paused_until__isnull=True) | Q(source__calls_paused_until__lte=now)
    return OwedFetch.objects.filter(is_free, is_open, state=FetchState.WAITING, due_at__lte=now).exclude(code=NO_KEY)


def _served(now: datetime) -> QuerySet[FetchWaiter]:
    return FetchWaiter.objects.filter(Q(due_at__isnull=True) | Q(due_at__lte=now), fetch__state=FetchState.DONE)


def _is_wanted(fetch: OwedFetch, *, now: datetime) -> bool:
    """Say whether it is still missing; what an event has told meanwhile needs no call and is done."""
    if _is_missing(fetch):
        return True
    OwedFetch.objects.filter(pk=fetch.pk).update(
        state=FetchState.DONE, done_at=now, leased_until=None, code="", error=""
    )
    return False


def _is_missing(fetch: OwedFetch) -> bool:
    known = {"source_id": fetch.source_id, "stripe_id": fetch.stripe_id}
    match fetch.kind:
        case FetchKind.INVOICE:
            return Invoice.objects.filter(**known, has_all_lines=False, has_fetched_lines=False).exists()
        case FetchKind.CHARGE:
            invoice_id = Charge.objects.filter(**known, version_at__isnull=False).values_list("invoice_id", flat=True)
            found = invoice_id.first()
            return not (found and Invoice.objects.filter(source_id=fetch.source_id, stripe_id=found).exists())
        case FetchKind.SCHEDULE:
            return not KINDS[fetch.kind].model._default_manager.filter(**known).exists()
        case FetchKind.SUBSCRIPTION if not Subscription.objects.filter(**known).exists():
            return True
    waiters = list(fetch.waiters.order_by("pk").values_list("customer_id", flat=True)[:WAITERS_ASKED])
    needs = {need for history in histories(waiters).values() for need in history.missing}
    # What is a mere refinement is not waited for where nobody can be asked.
    needs = {need for need in needs if not need.is_refinement or fetch.source.api_key}
    return any((need.kind, need.stripe_id) == (fetch.kind, fetch.stripe_id) for need in needs)


WAITERS_ASKED: Final = 5


def _readers(fetches: Iterable[OwedFetch], *, now: datetime) -> dict[int, stripe_api.Reader]:
    """Return a reader of each source that has a key; the fetches of the others wait for one."""
    readers: dict[int, stripe_api.Reader] = {}
    for source in StripeSource.objects.filter(pk__in={fetch.source_id for fetch in fetches}):
        if source.api_key:
            readers[source.pk] = stripe_api.Reader(source)
        else:
            OwedFetch.objects.filter(source=source, state=FetchState.WAITING).update(
                code=NO_KEY,
                error=f"The source '{source.slug}' has no API key: add a restricted one with add_source --api-key.",
                attempts=0,
                leased_until=None,
            )
    return readers


# ---- asking: nothing but calls ----


def _ask(reader: stripe_api.Reader, fetch: OwedFetch) -> Answer:
    try:
        return ASK[FetchKind(fetch.kind)](reader, fetch.stripe_id)
    except Exception as error:  # whatever it is, it concerns this fetch alone
        return Answer(error=error)


def _ask_price(reader: stripe_api.Reader, stripe_id: str) -> Answer:
    price = reader.one("prices", stripe_id, expand=["tiers", "currency_options"])
    others = [code for code in price.get("currency_options") or {} if code != price.get("currency")]
    if price.get("billing_scheme") == "tiered" and others:
        wanted = ["tiers", "currency_options", *[f"currency_options.{code}.tiers" for code in sorted(others)]]
        price = reader.one("prices", stripe_id, expand=wanted)
    return Answer((("price", price),))


def _ask_coupon(reader: stripe_api.Reader, stripe_id: str) -> Answer:
    return Answer((("coupon", reader.one("coupons", stripe_id, expand=["applies_to", "currency_options"])),))


def _ask_subscription(reader: stripe_api.Reader, stripe_id: str) -> Answer:
    """A subscription with its discounts whole, and all of its items.

    Stripe expands four levels: the coupon of an item's discount is a fifth, and fetched by itself.
    """
    coupon = "discounts.source.coupon"
    expand = [f"{coupon}.applies_to", f"{coupon}.currency_options", "items.data.discounts"]
    found = reader.one("subscriptions", stripe_id, expand=expand)
    found = {**found, "discounts": [_as_asked(discount) for discount in found.get("discounts") or []]}
    if not found["items"].get("has_more"):
        return Answer((("subscription", found),))
    items = reader.all("subscription_items", subscription=stripe_id, expand=["data.discounts"])
    whole = {**found, "items": {**found["items"], "data": items, "has_more": False}}
    listed = {item["id"] for item in items}
    is_same = all(item["id"] in listed for item in found["items"]["data"])
    return Answer((("subscription", whole),), short=found if is_same else None)


def _as_asked(discount: Any) -> Any:
    """What was asked for of a coupon and does not come is nothing: no limit to products, no other currency."""
    source = discount.get("source") if isinstance(discount, dict) else None
    if not isinstance(source, dict) or not isinstance(source.get("coupon"), dict):
        return discount
    asked = {"applies_to": source["coupon"].get("applies_to") or {"products": []}}
    asked["currency_options"] = source["coupon"].get("currency_options") or {}
    return {**discount, "source": {**source, "coupon": {**source["coupon"], **asked}}}


def _ask_schedule(reader: stripe_api.Reader, stripe_id: str) -> Answer:
    found = reader.one("subscription_schedules", stripe_id, expand=["phases.items.price"])
    return Answer((("subscription_schedule", found),))


def _ask_invoice(reader: stripe_api.Reader, stripe_id: str) -> Answer:
    found = reader.one("invoices", stripe_id)
    if found["lines"].get("has_more"):
        lines = reader.all("invoices.line_items", stripe_id)
        found = {**found, "lines": {**found["lines"], "data": lines, "has_more": False}}
    return Answer((("invoice", found),))


def _ask_charge(reader: stripe_api.Reader, stripe_id: str) -> Answer:
    """A charge and its invoice, which since 2025-03-31 only the invoice's payments lead to."""
    charge = reader.one("charges", stripe_id)
    intent = charge.get("payment_intent")
    invoice_id = charge.get("invoice")
    if not invoice_id and intent:
        paid = {"type": "payment_intent", "payment_intent": intent}
        payments = reader.all("invoice_payments", payment=paid)
        invoice_id = next((payment["invoice"] for payment in payments if payment.get("invoice")), None)
    if not invoice_id:
        return Answer((("charge", charge),))
    invoice = reader.one("invoices", invoice_id)
    return Answer((("charge", {**charge, "invoice": invoice_id}), ("invoice", invoice)))


ASK: Final = {
    FetchKind.PRICE: _ask_price,
    FetchKind.COUPON: _ask_coupon,
    FetchKind.SUBSCRIPTION: _ask_subscription,
    FetchKind.SCHEDULE: _ask_schedule,
    FetchKind.INVOICE: _ask_invoice,
    FetchKind.CHARGE: _ask_charge,
}


# ---- settling ----


def _settle(fetch: OwedFetch, answer: Answer, *, now: datetime) -> int:
    """Store an answer, or write down why there is none; return 1 when the fetch is parked."""
    error = answer.error
    if error is None:
        try:
            with transaction.atomic():
                _store(fetch, answer, asked=int(now.timestamp()))
                OwedFetch.objects.filter(pk=fetch.pk).update(
                    state=FetchState.DONE, asked_at=now, done_at=now, leased_until=None, code="", error=""
                )
            return 0
        except Exception as failure:
            error = failure
    log.warning("fetch failed", kind=fetch.kind, stripe_id=fetch.stripe_id, error=type(error).__name__)
    return _fail(fetch, error, now=now)


def _fail(fetch: OwedFetch, error: Exception, *, now: datetime) -> int:
    row = OwedFetch.objects.filter(pk=fetch.pk)
    told = str(error)[:300] if isinstance(error, stripe_api.StripeError) else described(error)
    if isinstance(error, stripe_api.RateLimited):  # nobody gets through: the source waits, and no attempt is lost
        until = now + timedelta(seconds=PAUSE_SECONDS * random.uniform(1, 1.5))
        StripeSource.objects.filter(pk=fetch.source_id).update(calls_paused_until=until)
        row.update(attempts=F("attempts") - 1, leased_until=None, code=RATE_LIMITED, error=told)
        return 0
    code = next((code for kind, code in PARKED_AT_ONCE if isinstance(error, kind)), "")
    if code or fetch.attempts >= ATTEMPTS:
        row.update(state=FetchState.PARKED, code=code or "failed", error=told, leased_until=None, done_at=now)
        return 1
    seconds = 2 ** (fetch.attempts + 1) * random.uniform(0.75, 1.25)
    row.update(due_at=now + timedelta(seconds=seconds), code="", error=told, leased_until=None)
    return 0


RATE_LIMITED: Final = "rate_limited"
PARKED_AT_ONCE: Final = (
    (stripe_api.NotFound, "resource_missing"),
    (stripe_api.WrongKey, "wrong_api_key"),
    (stripe_api.NotAllowed, "missing_permission"),
    (LayoutError, "layout_error"),
)


def _store(fetch: OwedFetch, answer: Answer, *, asked: int) -> None:
    """Write what came into the mirror, and who must be brought in step with it."""
    source_pk = fetch.source_id
    kind, obj = answer.objects[0]
    match kind:
        case "price":
            _store_price(source_pk, obj)
            return
        case "coupon":
            _store_coupon(source_pk, obj)
            return
    applied = mirror.store(source_pk, answer.objects, asked=asked)
    match kind:
        case "subscription" if answer.short is not None:
            _complete_items(source_pk, obj, answer.short, asked=asked)
        case "invoice":
            _store_lines(source_pk, obj)
        case "charge" if obj.get("invoice"):
            charge = Charge.objects.filter(source_id=source_pk, stripe_id=obj["id"], invoice_id="")
            charge.update(invoice_id=obj["invoice"])
    waiting = [{"fetch_id": fetch.pk, "customer_id": pk} for pk in sorted(applied.changed)]
    if waiting:
        write(FetchWaiter, waiting, key=("fetch_id", "customer_id"))


def _store_price(source_pk: int, obj: Json) -> None:
    """Fill in what no event tells; what is known stands, for events tell the rest."""
    row = columns.of_price(source_pk, layouts.price(obj)) | columns.NOT_TOLD
    fill = {"tiers": kinds.FIRST_KNOWN.format("tiers"), "currency_options": kinds.KNOWN_ONCE.format("currency_options")}
    write(Price, [row], key=("source_id", "stripe_id"), update=fill)


def _store_coupon(source_pk: int, obj: Json) -> None:
    """Once asked for, what does not come is nothing: no limit to products, no other currency."""
    row = layouts.coupon(obj)
    row = replace(row, applies_to=row.applies_to or [], currency_options=row.currency_options or {})
    write(Coupon, [columns.of_coupon(source_pk, row) | columns.NOT_TOLD], key=("source_id", "stripe_id"))
    batches.keep_terms([columns.of_coupon_terms(source_pk, row)])


def _complete_items(source_pk: int, whole: Json, short: Json, *, asked: int) -> None:
    """Give the items to the event whose list was cut short, if it is still what Stripe says of the subscription."""
    customer_pk = mirror.pk_of(source_pk, layouts.subscription(whole).customer)
    steps = [
        step
        for step in histories([customer_pk])[customer_pk].steps.get(whole["id"], [])
        if step.event_type != FETCHED and step.created < asked
    ]
    if steps and steps[-1].state == layouts.subscription_state(short):
        items = [item.to_json() for item in layouts.subscription_state(whole).items]
        row = {"customer_id": customer_pk, "event_id": steps[-1].event_id, "items": items}
        write(CompletedItems, [row], key=("customer_id", "event_id"))


def _store_lines(source_pk: int, obj: Json) -> None:
    """Lines of a final invoice do not change: they stand whatever events came since."""
    invoice = Invoice.objects.get(source_id=source_pk, stripe_id=obj["id"])
    lines = [columns.of_line(invoice.pk, line) for line in layouts.invoice(obj).lines]
    if lines:
        named = [name for name in lines[0] if name not in ("invoice_id", "stripe_id")]
        write(InvoiceLine, lines, key=("invoice_id", "stripe_id"), update=named)
    Invoice.objects.filter(pk=invoice.pk).update(has_fetched_lines=True)
