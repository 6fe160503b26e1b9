"""Writes Stripe's objects as our rows from events, in any order and any number of times, many customers at once."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Q

from billing import envelope, layouts, ordering
from billing.inbox import Outcome
from billing.layouts import LayoutError
from billing.models import (
    Charge,
    Coupon,
    Customer,
    Discount,
    Dispute,
    EventState,
    Invoice,
    InvoiceLine,
    Mirrored,
    Origin,
    Payout,
    Price,
    Product,
    Refund,
    Snapshot,
    StripeEvent,
    StripeSource,
    Subscription,
)
from billing.statements import moment, select, write

Key = tuple[int, str]  # a source's primary key and Stripe's id


@dataclass(frozen=True, slots=True)
class Applied:
    """How each event ended, whose subscriptions changed, and who changed at all (customers' primary keys)."""

    outcomes: dict[int, Outcome]
    changed: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)


def apply(events: Sequence[StripeEvent], *, now: datetime) -> Applied:
    """Bring the mirror up to date with events, in the caller's transaction, with their customers' rows locked.

    The rows depend on the set of events applied so far, not on the order: each object stands as its last event tells
    it, and each event about a subscription leaves a snapshot. What cannot be read is parked with a reason and leaves no
    trace.
    """
    batch = _Batch()
    sources = _sources(events)
    for event in events:
        batch.read(event, sources)
    if batch.mentions:
        batch.lock_customers()
        batch.write()
    return Applied(batch.outcomes, batch.changed, batch.touched)


PROCESSED = Outcome(EventState.PROCESSED)
NOT_NEEDED = Outcome(EventState.IGNORED, "not_needed")


def lock_customers(customer_pks: Iterable[int]) -> None:
    """Lock customers' rows until the transaction ends, in the order every worker takes them."""
    _locked({"id": set(customer_pks)})


def _locked(*wanted: Mapping[str, set[Any]]) -> list[tuple[Any, ...]]:
    columns = ("id", "source_id", "stripe_id", "version_at", "version_event")
    return select(Customer, columns, *wanted, is_locked=True)


# ---- what events mention ----


@dataclass(slots=True)
class Mention:
    """One event's word about one object. `state` and `before` are what its order among the others is judged by."""

    event: StripeEvent
    key: Key
    created: int
    row: Any
    previous: Mapping[str, Any] | None
    obj: Mapping[str, Any]
    kind: Kind
    state_json: dict[str, Any] | None = None

    @property
    def event_id(self) -> str:
        return self.event.stripe_id

    @property
    def event_type(self) -> str:
        return self.event.type

    @property
    def state(self) -> Any:
        return self.kind.judged(self.row)

    @property
    def before(self) -> Any | None:
        if self.previous is None:
            return None
        try:
            return self.kind.judged(self.kind.read(layouts.before(self.obj, self.previous)))
        except LayoutError:
            return None  # a hint that cannot be read is no hint


def _as_read(row: Any) -> Any:
    return row


def _without_what_travels_inside(row: Any) -> Any:
    return replace(row, discounts=(), coupons=())


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of Stripe object: how it is read, where it is kept, and which columns its row fills."""

    name: str
    model: type[Mirrored]
    read: Callable[[Mapping[str, Any]], Any]
    columns: Callable[[_Batch, Mention], dict[str, Any]]
    judged: Callable[[Any], Any] = _as_read


class _Batch:
    """Carries one batch from its bodies to the rows."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.mentions: dict[str, list[Mention]] = defaultdict(list)
        self.customers: dict[Key, int] = {}
        self.versions: dict[str, dict[Key, tuple[int | None, str]]] = {}
        self.payers: dict[Key, int] = {}  # of charges
        self.times: dict[Key, int] = {}  # when what TIMES names happened to an object
        self.changed: set[int] = set()
        self.touched: set[int] = set()

    def read(self, event: StripeEvent, sources: Mapping[int, tuple[bool, str]]) -> None:
        kind = HANDLERS.get(event.type)
        livemode, account_id = sources[event.source_id]
        try:
            read = envelope.read(bytes(event.body), livemode=livemode, account_id=account_id)
            if read.reason:
                self.outcomes[event.pk] = Outcome(EventState.PARKED, read.reason)
            elif kind is None:
                self.outcomes[event.pk] = NOT_NEEDED
            else:
                mention = _mention(event, kind, read.body or {})
                self.mentions[kind.name].append(mention)
                if event.type in TIMES:
                    chosen = TIMES[event.type].chosen
                    self.times[mention.key] = chosen(mention.created, self.times.get(mention.key, mention.created))
                self.outcomes[event.pk] = PROCESSED
        except LayoutError as error:
            self.outcomes[event.pk] = Outcome(EventState.PARKED, error.reason, str(error))
        except (RecursionError, envelope.NotAnEvent) as error:
            self.outcomes[event.pk] = Outcome(EventState.PARKED, "bad_event", type(error).__name__)

    # ---- customers first: their rows are the locks ----

    def lock_customers(self) -> None:
        """Lock every customer that the batch is about; those not heard of before are added as stubs."""
        self._find_payers()
        keys = {key for mentions in self.mentions.values() for mention in mentions if (key := _customer_key(mention))}
        by_pk = {pk for pk in self.payers.values() if pk}
        if not keys and not by_pk:
            return
        self._take_locks(keys, by_pk)
        missing = keys - self.customers.keys()
        if missing:
            stubs = [_stub(Customer, key) for key in missing]
            returning = ("source_id", "stripe_id", "id")
            for source_pk, stripe_id, pk in write(Customer, stubs, key=("source_id", "stripe_id"), returning=returning):
                self.customers[source_pk, stripe_id] = pk  # nobody else sees a new row yet: it is as good as locked
            if missing - self.customers.keys():
                self._take_locks(missing - self.customers.keys(), set())

    def _take_locks(self, keys: set[Key], pks: set[int]) -> None:
        versions = self.versions.setdefault("customer", {})
        wanted: list[dict[str, set[Any]]] = []
        if keys:
            wanted.append(_wanted(keys))
        if pks:
            wanted.append({"id": pks})
        for pk, source_pk, stripe_id, version_at, version_event in _locked(*wanted):
            self.customers[source_pk, stripe_id] = pk
            versions[source_pk, stripe_id] = (version_at, version_event)

    def _find_payers(self) -> None:
        """Disputes and refunds name a charge: its customer is theirs."""
        charges = {
            (mention.key[0], mention.row.charge)
            for name in ("dispute", "refund")
            for mention in self.mentions.get(name, ())
            if mention.row.charge
        }
        for source_pk, stripe_id, customer_pk in _of_keys(Charge, charges, "customer_id"):
            if customer_pk:
                self.payers[source_pk, stripe_id] = customer_pk

    # ---- then every kind, in the same order in every worker ----

    def write(self) -> None:
        self._read_versions()
        winners = {name: self._uncontested(KINDS[name], mentions) for name, mentions in self.mentions.items()}
        self._settle_ties(winners)
        for kind in KINDS.values():
            if kind.name == "price":
                self._write_what_travels_inside()
            if self.mentions.get(kind.name):
                self._write_kind(kind, list(winners[kind.name].values()))
        self._touch()

    def _read_versions(self) -> None:
        for name, mentions in self.mentions.items():
            if name != "customer":
                keys = {mention.key for mention in mentions}
                self.versions[name] = {
                    (source_pk, stripe_id): (version_at, version_event)
                    for source_pk, stripe_id, version_at, version_event in _of_keys(
                        KINDS[name].model, keys, "version_at", "version_event"
                    )
                }

    def _uncontested(self, kind: Kind, mentions: Sequence[Mention]) -> dict[Key, Mention | None]:
        """The last event of each object, where that can be told; None where the inbox must be asked."""
        found: dict[Key, Mention | None] = {}
        for key, told in _by_key(mentions).items():
            last = max(mention.created for mention in told)
            known_at, _ = self.versions[kind.name].get(key, (None, ""))
            if known_at is not None and last < known_at:
                continue
            tied = [mention for mention in told if mention.created == last]
            if last == known_at or ordering.needs_known_state(tied):
                found[key] = None
            elif len(tied) == 1:
                found[key] = tied[0]
            else:
                found[key] = ordering.in_order_within_a_second(_once(tied), known=None)[-1]
        return found

    def _settle_ties(self, winners: dict[str, dict[Key, Mention | None]]) -> None:
        """Where events of one second compete, order all of them, those applied earlier too: arrival plays no part."""
        open_keys = {key: KINDS[name] for name, found in winners.items() for key, told in found.items() if told is None}
        if not open_keys:
            return
        here = {mention.event.pk: mention for mentions in self.mentions.values() for mention in mentions}
        last_at = dict.fromkeys(open_keys, 0)
        for mention in here.values():
            if mention.key in last_at:
                last_at[mention.key] = max(last_at[mention.key], mention.created)
        seconds = self._two_seconds(last_at, here)
        away = [pk for pair in seconds.values() for pks in pair for pk in pks if pk not in here]
        bodies = StripeEvent.objects.in_bulk(away) if away else {}
        for key, (earlier, tied) in seconds.items():
            kind = open_keys[key]
            told = [found for pk in tied if (found := here.get(pk) or _again(bodies[pk], kind))]
            known = [found for pk in earlier if (found := here.get(pk) or _again(bodies[pk], kind))]
            state = ordering.in_order_within_a_second(_once(known), known=None)[-1].state if known else None
            winners[kind.name][key] = ordering.in_order_within_a_second(_once(told), known=state)[-1]

    def _two_seconds(
        self, last_at: Mapping[Key, int], here: Mapping[int, Mention]
    ) -> dict[Key, tuple[list[int], list[int]]]:
        """For each object the events of its last second and of the one before it: applied earlier, or in this batch."""
        times: dict[Key, dict[int, list[int]]] = {key: defaultdict(list) for key in last_at}
        wanted = _wanted(last_at, "object_id")
        columns = ("id", "source_id", "object_id", "created_at", "state", "type")
        for pk, source_pk, object_id, created, state, event_type in select(StripeEvent, columns, wanted):
            key = (source_pk, object_id)
            if key not in times or created is None or event_type not in HANDLERS:
                continue
            if pk in here or state == EventState.PROCESSED:
                times[key][created].append(pk)
        found: dict[Key, tuple[list[int], list[int]]] = {}
        for key, last in last_at.items():
            before = max((second for second in times[key] if second < last), default=None)
            found[key] = (times[key][before] if before is not None else [], times[key][last])
        return found

    def _write_what_travels_inside(self) -> None:
        """Add prices, coupons and discounts told inside another object: their terms never change, the first will do."""
        prices: dict[Key, Mapping[str, Any]] = {}
        coupons: dict[Key, dict[str, Any]] = {}
        discounts: dict[Key, dict[str, Any]] = {}
        for name in ("customer", "subscription", "discount"):
            for mention in self.mentions.get(name, ()):
                source_pk = mention.key[0]
                if name == "subscription":
                    for price_id, price in layouts.prices_of(mention.obj).items():
                        prices.setdefault((source_pk, price_id), price)
                for coupon in mention.row.coupons:
                    coupons[source_pk, coupon.id] = _coupon_columns(source_pk, coupon)
                for discount in getattr(mention.row, "discounts", ()):
                    payer = self.customers.get(_customer_key(mention) or (0, ""))
                    discounts[source_pk, discount.id] = _discount_columns(source_pk, discount, payer)
        self._add_unknown(Price, {key: _read_price(*key, price) for key, price in self._unknown(Price, prices).items()})
        self._add_unknown(Coupon, self._unknown(Coupon, coupons))
        self._add_unknown(Discount, self._unknown(Discount, discounts))

    def _unknown(self, model: type[Mirrored], rows: Mapping[Key, Any]) -> dict[Key, Any]:
        known = {(source_pk, stripe_id) for source_pk, stripe_id in _of_keys(model, set(rows))}
        return {key: row for key, row in rows.items() if key not in known}

    def _add_unknown(self, model: type[Mirrored], rows: Mapping[Key, dict[str, Any] | None]) -> None:
        new = [{**row, **NOT_TOLD} for row in rows.values() if row]
        write(model, new, key=("source_id", "stripe_id"))

    def _write_kind(self, kind: Kind, winners: Sequence[Mention | None]) -> None:
        told = [mention for mention in winners if mention is not None and not self._stands_already(mention)]
        if kind.name in ("dispute", "refund"):
            self._hear_of_charges(kind)
        pks: dict[Key, int] = {}
        if told:
            rows = [
                {
                    **kind.columns(self, mention),
                    "version_at": moment(mention.created),
                    "version_event": mention.event_id,
                }
                for mention in told
            ]
            update = {name: "" for name in rows[0] if name not in ("source_id", "stripe_id")} | OWN_RULES.get(
                kind.name, {}
            )
            key = ("source_id", "stripe_id")
            for pk, source_pk, stripe_id in write(
                kind.model, rows, key=key, update=update, returning=("id", "source_id", "stripe_id")
            ):
                pks[source_pk, stripe_id] = pk
        finish = FINISH.get(kind.name)
        if finish:
            finish(self, self.mentions[kind.name], told, pks)

    def _stands_already(self, mention: Mention) -> bool:
        known = self.versions[mention.kind.name].get(mention.key)
        is_of_this_batch = mention.event.pk in self.outcomes
        return known == (mention.created, mention.event_id) and not is_of_this_batch

    def _hear_of_charges(self, kind: Kind) -> None:
        """A charge that is only named gets a stub, so that whoever writes it at this moment, and we, see each other."""
        named = {(mention.key[0], mention.row.charge) for mention in self.mentions[kind.name] if mention.row.charge}
        unknown = named - self.payers.keys()
        if unknown:
            write(Charge, [_stub(Charge, key) for key in unknown], key=("source_id", "stripe_id"))
            for source_pk, stripe_id, customer_pk in _of_keys(Charge, unknown, "customer_id"):
                if customer_pk:
                    self.payers[source_pk, stripe_id] = customer_pk

    def _touch(self) -> None:
        for mentions in self.mentions.values():
            for mention in mentions:
                key = _customer_key(mention)
                if key:
                    self.touched.add(self.customers[key])
        self.touched |= set(self.payers.values())
        self.touched |= self.changed

    def payer(self, mention: Mention) -> int:
        """The customer's primary key of an object that names one."""
        return self.customers[mention.key[0], mention.row.customer]

    def payer_if_any(self, mention: Mention) -> int | None:
        return self.customers.get((mention.key[0], mention.row.customer))

    def payer_by_charge(self, mention: Mention) -> int | None:
        return self.payers.get((mention.key[0], mention.row.charge))


def _sources(events: Iterable[StripeEvent]) -> dict[int, tuple[bool, str]]:
    rows = StripeSource.objects.filter(pk__in={event.source_id for event in events})
    return {pk: (livemode, account_id) for pk, livemode, account_id in rows.values_list("pk", "livemode", "account_id")}


def _mention(event: StripeEvent, kind: Kind, body: Mapping[str, Any]) -> Mention:
    outer = body["data"]
    obj = outer["object"]
    if obj.get("object", kind.name) != kind.name:
        raise LayoutError(f"It carries no {kind.name}.")
    row = kind.read(obj)
    previous = outer.get("previous_attributes")
    return Mention(
        event,
        (event.source_id, row.id),
        body["created"],
        row,
        previous if isinstance(previous, dict) else None,
        obj,
        kind,
    )


def _again(event: StripeEvent, kind: Kind) -> Mention | None:
    """An event applied earlier, read again; None should a later release no longer read it."""
    try:
        body, _ = envelope.parse(bytes(event.body))
        return _mention(event, kind, body)
    except (LayoutError, KeyError, TypeError):
        return None


def _customer_key(mention: Mention) -> Key | None:
    if mention.kind.name == "customer":
        return mention.key
    customer = getattr(mention.row, "customer", "")
    return (mention.key[0], customer) if customer else None


def _by_key(mentions: Iterable[Mention]) -> dict[Key, list[Mention]]:
    found: dict[Key, list[Mention]] = {}
    for mention in mentions:
        found.setdefault(mention.key, []).append(mention)
    return found


def _once(mentions: Iterable[Mention]) -> list[Mention]:
    return list({mention.event_id: mention for mention in mentions}.values())


def _of_keys(model: type[Mirrored], keys: set[Key], *columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of these keys: source, Stripe's id, and the columns asked for."""
    if not keys:
        return
    for row in select(model, ("source_id", "stripe_id", *columns), _wanted(keys)):
        if (row[0], row[1]) in keys:  # the same id may stand in another source
            yield row


def _wanted(keys: Iterable[Key], column: str = "stripe_id") -> dict[str, set[Any]]:
    return {"source_id": {source_pk for source_pk, _ in keys}, column: {stripe_id for _, stripe_id in keys}}


# ---- columns ----

NOT_TOLD: Final = {"version_at": None, "version_event": ""}


def _stub(model: type[Mirrored], key: Key) -> dict[str, Any]:
    """A row for an object that is only heard of."""
    return {"source_id": key[0], "stripe_id": key[1], **NOT_TOLD, **EMPTY[model]}


def _customer_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.CustomerRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "name": row.name,
        "email": row.email,
        "phone": row.phone,
        "description": row.description,
        "country": row.country,
        "postal_code": row.postal_code,
        "address": row.address,
        "metadata": row.metadata,
        "currency": row.currency,
        "delinquent": row.delinquent,
        "deleted_at": moment(batch.times.get(mention.key)),
    }


def _subscription_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.SubscriptionRow = mention.row
    state = row.state
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": batch.payer(mention),
        "status": state.status,
        "currency": state.currency,
        "items": _state_json(mention)["items"],
        "has_all_items": state.has_all_items,
        "discount_ids": list(state.discounts),
        "collection_method": row.collection_method,
        "pause_behavior": state.pause_behavior or "",
        "started_at": moment(state.started_at),
        "trial_end_at": moment(state.trial_end),
        "current_period_end_at": moment(row.current_period_end),
        "cancel_at": moment(row.cancel_at),
        "cancel_at_period_end": row.cancel_at_period_end,
        "canceled_at": moment(state.canceled_at),
        "ended_at": moment(state.ended_at),
        "cancellation_reason": state.cancellation_reason or "",
        "cancellation_feedback": state.cancellation_feedback or "",
        "cancellation_comment": row.cancellation_comment,
        "schedule_id": row.schedule,
        "metadata": row.metadata,
    }


def _state_json(mention: Mention) -> dict[str, Any]:
    if mention.state_json is None:
        mention.state_json = mention.row.state.to_json()
    return mention.state_json


def _price_columns(source_pk: int, row: layouts.PriceRow) -> dict[str, Any]:
    return {
        "source_id": source_pk,
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "product_id": row.product,
        "nickname": row.nickname,
        "currency": row.currency,
        "unit_amount_decimal": row.unit_amount_decimal,
        "interval": row.interval,
        "interval_count": row.interval_count,
        "usage_type": row.usage_type,
        "billing_scheme": row.billing_scheme,
        "tiers_mode": row.tiers_mode,
        "tiers": row.tiers,
        "transform_quantity": row.transform_quantity,
        "is_active": row.is_active,
    }


def _read_price(source_pk: int, _price_id: str, obj: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return _price_columns(source_pk, layouts.price(obj))
    except LayoutError:
        return None  # the subscription could be read: it does not depend on what is wrong here


def _product_columns(_batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.ProductRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "name": row.name,
        "is_active": row.is_active and not mention.event_type.endswith(".deleted"),
    }


def _coupon_columns(source_pk: int, row: layouts.CouponRow) -> dict[str, Any]:
    return {
        "source_id": source_pk,
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "name": row.name,
        "percent_off": row.percent_off,
        "amount_off_minor": row.amount_off_minor,
        "currency": row.currency,
        "duration": row.duration,
        "duration_in_months": row.duration_in_months,
        "applies_to": row.applies_to,
        "is_valid": row.is_valid,
    }


def _discount_columns(source_pk: int, row: layouts.DiscountRow, customer_pk: int | None) -> dict[str, Any]:
    return {
        "source_id": source_pk,
        "stripe_id": row.id,
        "created_at": moment(row.start),
        "customer_id": customer_pk,
        "subscription_id": row.subscription,
        "coupon_id": row.coupon,
        "start_at": moment(row.start),
        "end_at": moment(row.end),
        "deleted_at": None,
    }


def _told_price_columns(_batch: _Batch, mention: Mention) -> dict[str, Any]:
    columns = _price_columns(mention.key[0], mention.row)
    columns["is_active"] = mention.row.is_active and not mention.event_type.endswith(".deleted")
    return columns


def _told_coupon_columns(_batch: _Batch, mention: Mention) -> dict[str, Any]:
    columns = _coupon_columns(mention.key[0], mention.row)
    columns["is_valid"] = mention.row.is_valid and not mention.event_type.endswith(".deleted")
    return columns


def _told_discount_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    columns = _discount_columns(mention.key[0], mention.row, batch.payer_if_any(mention))
    if mention.event_type.endswith(".deleted"):
        columns["deleted_at"] = moment(mention.created)
    return columns


def _invoice_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.InvoiceRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": batch.payer(mention),
        "subscription_id": row.subscription,
        "number": row.number,
        "status": "deleted" if mention.event_type.endswith(".deleted") else row.status,
        "currency": row.currency,
        "billing_reason": row.billing_reason,
        "collection_method": row.collection_method,
        "amount_due_minor": row.amount_due_minor,
        "amount_paid_minor": row.amount_paid_minor,
        "amount_remaining_minor": row.amount_remaining_minor,
        "subtotal_minor": row.subtotal_minor,
        "tax_minor": row.tax_minor,
        "total_minor": row.total_minor,
        "attempt_count": row.attempt_count,
        "next_payment_attempt_at": moment(row.next_payment_attempt),
        "due_at": moment(row.due),
        "finalized_at": moment(row.finalized),
        "paid_at": moment(row.paid),
        "voided_at": moment(row.voided),
        "uncollectible_at": moment(row.uncollectible),
        "has_all_lines": row.has_all_lines,
        "last_failed_at": moment(batch.times.get(mention.key)),
    }


def _line_columns(invoice_pk: int, row: layouts.LineRow) -> dict[str, Any]:
    return {
        "invoice_id": invoice_pk,
        "stripe_id": row.id,
        "amount_minor": row.amount_minor,
        "discount_minor": row.discount_minor,
        "tax_minor": row.tax_minor,
        "quantity": row.quantity,
        "is_proration": row.is_proration,
        "subscription_id": row.subscription,
        "subscription_item_id": row.subscription_item,
        "price_id": row.price,
        "description": row.description,
        "period_start_at": moment(row.period_start),
        "period_end_at": moment(row.period_end),
    }


def _charge_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.ChargeRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": batch.payer_if_any(mention),
        "invoice_id": row.invoice,
        "payment_intent_id": row.payment_intent,
        "status": row.status,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
        "refunded_minor": row.refunded_minor,
        "is_disputed": row.is_disputed,
        "failure_code": row.failure_code,
        "card_expires_on": _last_day(row.card_expires),
    }


def _last_day(expires: tuple[int, int] | None) -> str | None:
    if expires is None:
        return None
    year, month = expires
    return f"{year:04d}-{month:02d}-{calendar.monthrange(year, month)[1]:02d}"


def _refund_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.RefundRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": batch.payer_by_charge(mention),
        "charge_id": row.charge,
        "status": row.status,
        "reason": row.reason,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
    }


def _dispute_columns(batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.DisputeRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "customer_id": batch.payer_by_charge(mention),
        "charge_id": row.charge,
        "status": row.status,
        "reason": row.reason,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
        "evidence_due_at": moment(row.evidence_due),
        "closed_at": moment(batch.times.get(mention.key)),
    }


def _payout_columns(_batch: _Batch, mention: Mention) -> dict[str, Any]:
    row: layouts.PayoutRow = mention.row
    return {
        "source_id": mention.key[0],
        "stripe_id": row.id,
        "created_at": moment(row.created),
        "status": row.status,
        "currency": row.currency,
        "amount_minor": row.amount_minor,
        "arrives_at": moment(row.arrives),
    }


EMPTY: Final[dict[type[Mirrored], dict[str, Any]]] = {
    Customer: {
        "created_at": None,
        "name": "",
        "email": "",
        "phone": "",
        "description": "",
        "country": "",
        "postal_code": "",
        "address": {},
        "metadata": {},
        "currency": "",
        "delinquent": False,
    },
    Charge: {
        "created_at": None,
        "customer_id": None,
        "invoice_id": "",
        "payment_intent_id": "",
        "status": "",
        "currency": "",
        "amount_minor": 0,
        "refunded_minor": 0,
        "is_disputed": False,
        "failure_code": "",
        "card_expires_on": None,
    },
}


@dataclass(frozen=True, slots=True)
class Time:
    """A column that keeps when something happened, whatever was told after it."""

    column: str
    chosen: Callable[[int, int], int]  # the first or the last time, should it be told twice

    @property
    def rule(self) -> str:
        sign = ">" if self.chosen is max else "<"
        new, old = f"excluded.{self.column}", f"t.{self.column}"
        return f"CASE WHEN {old} IS NULL OR {new} {sign} {old} THEN {new} ELSE {old} END"


TIMES: Final = {
    "customer.deleted": Time("deleted_at", min),
    "invoice.payment_failed": Time("last_failed_at", max),
    "charge.dispute.closed": Time("closed_at", max),
}

# Columns that do not simply take the last event's word.
KNOWN_ONCE = "COALESCE(excluded.{0}, t.{0})"
OWN_RULES: Final = {
    "customer": {"deleted_at": TIMES["customer.deleted"].rule},
    "invoice": {"last_failed_at": TIMES["invoice.payment_failed"].rule},
    "charge": {"customer_id": KNOWN_ONCE.format("customer_id")},
    "price": {"tiers": KNOWN_ONCE.format("tiers")},  # only a read that asks for them brings them
    "coupon": {"applies_to": KNOWN_ONCE.format("applies_to")},
    "refund": {"customer_id": KNOWN_ONCE.format("customer_id")},
    "dispute": {
        "customer_id": KNOWN_ONCE.format("customer_id"),
        "closed_at": TIMES["charge.dispute.closed"].rule,
    },
}


# ---- what else follows from a kind ----

Finish = Callable[[_Batch, Sequence[Mention], Sequence[Mention], Mapping[Key, int]], None]


def _finish_customers(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A deletion ends what the customer holds."""
    batch.changed |= {batch.customers[mention.key] for mention in mentions if mention.event_type in TIMES}
    _catch_up(batch, "customer", told)


def _finish_subscriptions(
    batch: _Batch, mentions: Sequence[Mention], _told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """Each event leaves a snapshot: the engine replays all of them."""
    snapshots: dict[tuple[int, str], dict[str, Any]] = {}
    for mention in mentions:
        pk = batch.payer(mention)
        batch.changed.add(pk)
        before = None
        if mention.previous is not None:
            try:
                before = layouts.subscription_state(layouts.before(mention.obj, mention.previous)).to_json()
            except LayoutError:
                before = None  # a hint that cannot be read is no hint
        snapshots[pk, mention.event_id] = {
            "customer_id": pk,
            "subscription_id": mention.row.id,
            "event_id": mention.event_id,
            "event_type": mention.event_type,
            "created_at": moment(mention.created),
            "is_live": mention.event.origin == Origin.WEBHOOK,
            "state": _state_json(mention),
            "before": before,
        }
    key = ("customer_id", "event_id")
    write(Snapshot, list(snapshots.values()), key=key, update=("subscription_id", "event_type", "state", "before"))


def _finish_invoices(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], pks: Mapping[Key, int]
) -> None:
    lines = {
        (pks[mention.key], line.id): _line_columns(pks[mention.key], line)
        for mention in told
        for line in mention.row.lines
    }
    if lines:
        columns = [name for name in next(iter(lines.values())) if name not in ("invoice_id", "stripe_id")]
        write(InvoiceLine, list(lines.values()), key=("invoice_id", "stripe_id"), update=columns)
    known = batch.versions["invoice"]
    complete = [pks[mention.key] for mention in told if mention.key in known and mention.row.has_all_lines]
    if complete:  # a draft may have lost lines since
        gone = InvoiceLine.objects.filter(invoice_id__in=complete).values_list("pk", "invoice_id", "stripe_id")
        stale = [pk for pk, invoice_pk, stripe_id in gone if (invoice_pk, stripe_id) not in lines]
        if stale:
            InvoiceLine.objects.filter(pk__in=stale).delete()
    _catch_up(batch, "invoice", told)


def _finish_disputes(
    batch: _Batch, _mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    _catch_up(batch, "dispute", told)


def _catch_up(batch: _Batch, name: str, told: Sequence[Mention]) -> None:
    """Note the time of what was told too late to be its object's last word."""
    written = {mention.key for mention in told}
    missed = {
        mention.key: TIMES[mention.event_type]
        for mention in batch.mentions[name]
        if mention.event_type in TIMES and mention.key not in written
    }
    rows: Any = KINDS[name].model._default_manager
    for (source_pk, stripe_id), time in sorted(missed.items(), key=lambda entry: entry[0]):
        at = datetime.fromtimestamp(batch.times[source_pk, stripe_id], UTC)
        is_news = Q(**{f"{time.column}__{'lt' if time.chosen is max else 'gt'}": at})
        unknown = Q(**{f"{time.column}__isnull": True})
        rows.filter(is_news | unknown, source_id=source_pk, stripe_id=stripe_id).update(**{time.column: at})


def _finish_charges(
    batch: _Batch, mentions: Sequence[Mention], _told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """Disputes and refunds that came before their charge learn now whose they are."""
    charges = {mention.key: pk for mention in mentions if (pk := batch.payer_if_any(mention))}
    for model in (Dispute, Refund):
        waiting = model.objects.filter(
            source_id__in={source_pk for source_pk, _ in charges},
            charge_id__in={stripe_id for _, stripe_id in charges},
            customer__isnull=True,
        )
        for pk, source_pk, charge_id in waiting.values_list("pk", "source_id", "charge_id"):
            if (source_pk, charge_id) in charges:
                model.objects.filter(pk=pk).update(customer_id=charges[source_pk, charge_id])
    batch.payers.update(charges)


FINISH: Final[dict[str, Finish]] = {
    "customer": _finish_customers,
    "subscription": _finish_subscriptions,
    "invoice": _finish_invoices,
    "charge": _finish_charges,
    "dispute": _finish_disputes,
}

# ---- which events tell of what; whatever is not here is kept and ignored ----

# Written in this order by every worker, so that no two wait for each other.
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("customer", Customer, layouts.customer, _customer_columns),
        Kind("product", Product, layouts.product, _product_columns),
        Kind("price", Price, layouts.price, _told_price_columns),
        Kind("coupon", Coupon, layouts.coupon, _told_coupon_columns),
        Kind("discount", Discount, layouts.discount, _told_discount_columns),
        Kind(
            "subscription",
            Subscription,
            layouts.subscription,
            _subscription_columns,
            _without_what_travels_inside,
        ),
        Kind("invoice", Invoice, layouts.invoice, _invoice_columns),
        Kind("charge", Charge, layouts.charge, _charge_columns),
        Kind("refund", Refund, layouts.refund, _refund_columns),
        Kind("dispute", Dispute, layouts.dispute, _dispute_columns),
        Kind("payout", Payout, layouts.payout, _payout_columns),
    )
}
EVENTS: Final = {
    "customer": ("customer", ("created", "updated", "deleted")),
    "customer.subscription": (
        "subscription",
        (
            "created",
            "updated",
            "deleted",
            "paused",
            "resumed",
            "trial_will_end",
            "pending_update_applied",
            "pending_update_expired",
        ),
    ),
    "customer.discount": ("discount", ("created", "updated", "deleted")),
    "product": ("product", ("created", "updated", "deleted")),
    "price": ("price", ("created", "updated", "deleted")),
    "coupon": ("coupon", ("created", "updated", "deleted")),
    "invoice": (
        "invoice",
        (
            "created",
            "updated",
            "deleted",
            "finalized",
            "finalization_failed",
            "sent",
            "paid",
            "payment_succeeded",
            "payment_failed",
            "payment_action_required",
            "payment_attempt_required",
            "overdue",
            "overpaid",
            "will_be_due",
            "voided",
            "marked_uncollectible",
        ),
    ),
    "charge": ("charge", ("pending", "succeeded", "failed", "captured", "expired", "updated", "refunded")),
    "charge.refund": ("refund", ("updated",)),
    "refund": ("refund", ("created", "updated", "failed")),
    "charge.dispute": ("dispute", ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")),
    "payout": ("payout", ("created", "updated", "paid", "failed", "canceled", "reconciliation_completed")),
}
HANDLERS: Final[dict[str, Kind]] = {
    f"{prefix}.{verb}": KINDS[name] for prefix, (name, verbs) in EVENTS.items() for verb in verbs
}
