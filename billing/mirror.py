"""Writes Stripe's objects as our rows from events, in any order and any number of times, many customers at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Q

from billing import columns, envelope, kinds, layouts, ordering, owed, redactions
from billing.columns import Columns, Key
from billing.inbox import Outcome
from billing.kinds import FETCH_PREFIX, FIRST_KNOWN, FIRST_TOLD, HANDLERS, KINDS, OWN_RULES, TIMES, Kind, Mention
from billing.models import (
    Charge,
    Coupon,
    CouponTerms,
    Customer,
    Discount,
    Dispute,
    DisputeRuling,
    EventState,
    FetchKind,
    Invoice,
    InvoiceLine,
    Mirrored,
    Needs,
    Origin,
    Price,
    Refund,
    Snapshot,
    StripeEvent,
    StripeSource,
    Subscription,
    SubscriptionSchedule,
    TaxRate,
)
from billing.owed import Need
from billing.rows import CouponRow, DiscountRow, SubscriptionState
from billing.statements import listed, moment, run, select, within, write
from billing.values import LayoutError


@dataclass(frozen=True, slots=True)
class Applied:
    """How each event ended, whose MRR may have changed, who changed at all (primary keys), and what must be fetched."""

    outcomes: dict[int, Outcome]
    changed: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    missing: set[Need] = field(default_factory=set)


def apply(events: Sequence[StripeEvent], *, now: datetime, follows_payments: bool = False) -> Applied:
    """Bring the mirror up to date with events, in the caller's transaction, with their customers' rows locked.

    The rows depend on the set of events applied so far, not on the order: each object stands as its last event tells
    it, and each event about a subscription leaves a snapshot. What cannot be read is parked with a reason and leaves no
    trace. With `follows_payments` a paid invoice changes its customer's MRR, as a policy may want it.
    """
    batch = _Batch(follows_payments=follows_payments)
    sources = _sources(events)
    for event in events:
        batch.read(event, sources)
    if batch.mentions:
        batch.lock_customers()
        batch.forget()
        batch.write()
        redactions.catch_up([event for event in events if batch.is_forgotten(event)], now=now)
    return Applied(batch.outcomes, batch.changed, batch.touched, batch.missing)


def store(source_pk: int, found: Iterable[tuple[str, Mapping[str, Any]]], *, asked: int) -> Applied:
    """Bring the mirror up to date with fetched objects, each (kind, object), in the caller's transaction.

    They stand as of the second before `asked` (Unix seconds), when the request was sent, and yield to later events.
    Customers' rows are locked. Raises LayoutError.
    """
    return take([kinds.fetched(source_pk, KINDS[name], obj, asked=asked) for name, obj in found])


def take(mentions: Iterable[Mention]) -> Applied:
    """Bring the mirror up to date with fetched objects that are read already; as `store` does."""
    batch = _Batch()
    for mention in mentions:
        batch.mentions[mention.kind.name].append(mention)
    if batch.mentions:
        batch.lock_customers()
        batch.forget()
        batch.write()
    return Applied({}, batch.changed, batch.touched, batch.missing)


PROCESSED = Outcome(EventState.PROCESSED)
NOT_NEEDED = Outcome(EventState.IGNORED, "not_needed")


def lock_customers(customer_pks: Iterable[int]) -> None:
    """Lock customers' rows until the transaction ends, in the order every worker takes them."""
    _locked({"id": set(customer_pks)})


def pk_of(source_pk: int, customer_id: str) -> int:
    """Return the primary key of a customer that is mirrored."""
    return Customer.objects.values_list("pk", flat=True).get(source_id=source_pk, stripe_id=customer_id)


def _locked(*wanted: Mapping[str, set[Any]]) -> list[tuple[Any, ...]]:
    asked = ("id", "source_id", "stripe_id", "version_at", "version_event", "needs", "forgotten_at")
    return select(Customer, asked, *wanted, is_locked=True)


class _Batch:
    """Carries one batch from its bodies to the rows."""

    def __init__(self, *, follows_payments: bool = False) -> None:
        self.follows_payments = follows_payments
        self.outcomes: dict[int, Outcome] = {}
        self.mentions: dict[str, list[Mention]] = defaultdict(list)
        self.customers: dict[Key, int] = {}
        self.forgotten: set[Key] = set()
        self.versions: dict[str, dict[Key, tuple[int | None, str]]] = {}
        self.payers: dict[Key, int] = {}  # of charges
        self.times: dict[Key, int] = {}  # when what TIMES names happened to an object
        self.needs: dict[int, int] = defaultdict(int)  # bits of customers, and those this batch adds
        self.new_needs: dict[int, int] = defaultdict(int)
        self.removed: dict[Key, int] = {}  # when a customer's payload showed that a discount was gone
        self.changed: set[int] = set()
        self.touched: set[int] = set()
        self.missing: set[Need] = set()

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
                mention = kinds.mention(event, kind, read.body or {})
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
            stubs = [columns.stub(Customer, key) for key in missing]
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
        for pk, source_pk, stripe_id, version_at, version_event, needs, forgotten_at in _locked(*wanted):
            self.customers[source_pk, stripe_id] = pk
            if forgotten_at is not None:
                self.forgotten.add((source_pk, stripe_id))
            self.needs[pk] = needs
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

    def forget(self) -> None:
        """Go on with what may be kept of forgotten customers; their rows are locked, so none is forgotten meanwhile."""
        if self.forgotten:
            for name, mentions in self.mentions.items():
                self.mentions[name] = [self._private(mention) for mention in mentions]

    def is_forgotten(self, event: StripeEvent) -> bool:
        return (event.source_id, event.customer_id) in self.forgotten

    def _private(self, mention: Mention) -> Mention:
        return kinds.without_person(mention) if _customer_key(mention) in self.forgotten else mention

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
        self._write_needs()
        self._look_again()

    def need(self, pk: int | None, bit: Needs) -> None:
        """Note what there is about a customer from now on beside its subscriptions."""
        if pk is not None and not self.needs[pk] & bit:
            self.needs[pk] |= bit
            self.new_needs[pk] |= bit

    def _write_needs(self) -> None:
        groups: dict[int, list[int]] = defaultdict(list)
        for pk, bits in self.new_needs.items():
            groups[bits].append(pk)
        for bits, pks in groups.items():
            sql = f"UPDATE {Customer._meta.db_table} SET needs = needs | %s WHERE {within('id')}"  # noqa: S608
            run(sql, [bits, listed(pks)])

    def _look_again(self) -> None:
        """What an event told of may be what a fetch is owed for."""
        told = {
            (*mention.key[:1], FetchKind(name).value, mention.key[1])
            for name in ("price", "coupon", "subscription_schedule")
            for mention in self.mentions.get(name, ())
        }
        told |= {
            (mention.key[0], FetchKind.SUBSCRIPTION.value, mention.row.subscription)
            for mention in self.mentions.get("discount", ())
            if mention.row.subscription
        }
        if told:
            owed.look_again(told)

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
            known_at, known_event = self.versions[kind.name].get(key, (None, ""))
            if known_at is not None and last < known_at:
                continue
            if last == known_at and known_event.startswith(FETCH_PREFIX):
                continue  # what was fetched comes after all events of its second
            if told[0].is_fetched:
                found[key] = told[0]
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
        here = {mention.event.pk: mention for mentions in self.mentions.values() for mention in mentions}
        last_at = {(name, key): 0 for name, found in winners.items() for key, told in found.items() if told is None}
        if not last_at:
            return
        for mention in here.values():
            place = (mention.kind.name, mention.key)
            if place in last_at:
                last_at[place] = max(last_at[place], mention.created)
        seconds = self._two_seconds(last_at, here)
        away = [pk for pair in seconds.values() for pks in pair for pk in pks if pk not in here]
        bodies = StripeEvent.objects.in_bulk(away) if away else {}

        def told(pks: Iterable[int], kind: Kind) -> list[Mention]:
            found = [here.get(pk) or kinds.mention_again(bodies[pk], kind) for pk in pks]
            return _once(self._private(mention) for mention in found if mention is not None)

        for (name, key), (earlier, tied) in seconds.items():
            known = ordering.in_order_within_a_second(told(earlier, KINDS[name]), known=None)
            state = known[-1].state if known else None
            winners[name][key] = ordering.in_order_within_a_second(told(tied, KINDS[name]), known=state)[-1]

    def _two_seconds(
        self, last_at: Mapping[tuple[str, Key], int], here: Mapping[int, Mention]
    ) -> dict[tuple[str, Key], tuple[list[int], list[int]]]:
        """For each object the events of its last second and of the one before it: applied earlier, or in this batch."""
        times: dict[tuple[str, Key], dict[int, list[int]]] = {place: defaultdict(list) for place in last_at}
        asked = ("id", "source_id", "object_id", "created_at", "state", "type")
        wanted = _wanted([key for _, key in last_at], "object_id")
        for pk, source_pk, object_id, created, state, event_type in select(StripeEvent, asked, wanted):
            kind = HANDLERS.get(event_type)
            place = (kind.name if kind else "", (source_pk, object_id))
            if place in times and created is not None and (pk in here or state == EventState.PROCESSED):
                times[place][created].append(pk)
        found: dict[tuple[str, Key], tuple[list[int], list[int]]] = {}
        for place, last in last_at.items():
            before = max((second for second in times[place] if second < last), default=None)
            found[place] = (times[place][before] if before is not None else [], times[place][last])
        return found

    def _write_what_travels_inside(self) -> None:
        """Add prices, coupons and discounts told inside another object: their terms never change, the first will do."""
        prices: dict[Key, Mapping[str, Any]] = {}
        coupons: dict[Key, CouponRow] = {}
        discounts: dict[Key, Columns] = {}
        rates: dict[Key, Columns] = {}
        for name in ("customer", "subscription", "subscription_schedule", "coupon", "discount", "invoice"):
            for mention in self.mentions.get(name, ()):
                source_pk = mention.key[0]
                if name == "subscription":
                    for price_id, price in layouts.prices_of(mention.obj).items():
                        prices.setdefault((source_pk, price_id), price)
                elif name == "subscription_schedule":
                    prices.update({(source_pk, price["id"]): price for price in mention.row.prices})
                row = mention.row
                for coupon in (row,) if name == "coupon" else getattr(row, "coupons", ()):
                    coupons[source_pk, coupon.id] = coupon
                applied = getattr(row, "discounts", ())
                if name == "customer" and (applied or mention.previous):
                    applied = (*applied, *self._discount_before(mention))
                for discount in applied:
                    payer = self.customers.get(_customer_key(mention) or (0, ""))
                    discounts[source_pk, discount.id] = columns.of_discount(mention, discount, payer)
                    if discount.is_of_customer:
                        self.need(payer, Needs.DISCOUNT)
                for rate in getattr(row, "tax_rates", ()):
                    rates[source_pk, rate.id] = columns.of_tax_rate(source_pk, rate)
        unknown = self._unknown(Price, prices)
        self._add_unknown(Price, {key: columns.of_price_inside(key[0], price) for key, price in unknown.items()})
        if coupons:
            rows = {key: columns.of_coupon(key[0], coupon) for key, coupon in coupons.items()}
            self._add_unknown(Coupon, self._unknown(Coupon, rows))
            keep_terms([columns.of_coupon_terms(key[0], coupon) for key, coupon in coupons.items()])
        if discounts:
            self._write_discounts_inside(discounts)
        if rates:
            write(TaxRate, list(rates.values()), key=("source_id", "stripe_id"))

    def _discount_before(self, mention: Mention) -> tuple[DiscountRow, ...]:
        """The discount that a customer had before an update, which took it away or put another in its place."""
        previous = (mention.previous or {}).get("discount")
        if not isinstance(previous, dict):
            return ()
        self.changed.add(self.customers[mention.key])
        try:
            before = layouts.discount(previous)
        except LayoutError:
            return ()  # a hint that cannot be read is no hint
        if all(discount.id != before.id for discount in mention.row.discounts):
            ended = self.removed.get((mention.key[0], before.id), mention.created)
            self.removed[mention.key[0], before.id] = min(ended, mention.created)
            return (before,)
        return ()

    def _write_discounts_inside(self, rows: Mapping[Key, Columns]) -> None:
        """A discount stands as it was applied; when it was first told of, and taken away, may be learnt later."""
        told = [{**row, **columns.NOT_TOLD, "deleted_at": moment(self.removed.get(key))} for key, row in rows.items()]
        rules = FIRST_TOLD | {"deleted_at": OWN_RULES["discount"]["deleted_at"]}
        theirs = [row for row in told if row["is_of_customer"]]
        if theirs:
            write(Discount, theirs, key=("source_id", "stripe_id"), update=rules)
        others = {(row["source_id"], row["stripe_id"]): row for row in told if not row["is_of_customer"]}
        if others:
            self._add_unknown(Discount, self._unknown(Discount, others))

    def _unknown(self, model: type[Mirrored], rows: Mapping[Key, Any]) -> dict[Key, Any]:
        known = {(source_pk, stripe_id) for source_pk, stripe_id in _of_keys(model, set(rows))}
        return {key: row for key, row in rows.items() if key not in known}

    def _add_unknown(self, model: type[Mirrored], rows: Mapping[Key, Columns | None]) -> None:
        new = [{**row, **columns.NOT_TOLD} for row in rows.values() if row]
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
            key = ("source_id", "stripe_id")
            update = dict.fromkeys(set(rows[0]).difference(key), "") | OWN_RULES.get(kind.name, {})
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
            write(Charge, [columns.stub(Charge, key) for key in unknown], key=("source_id", "stripe_id"))
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

    def is_followed(self, pk: int) -> bool:
        """Invoices and charges bear on this customer's MRR."""
        return bool(self.needs[pk] & (Needs.INVOICES | Needs.DISPUTE))

    def payer(self, mention: Mention) -> int:
        """The customer's primary key of an object that names one."""
        return self.customers[mention.key[0], mention.row.customer]

    def payer_if_any(self, mention: Mention) -> int | None:
        return self.customers.get((mention.key[0], mention.row.customer))

    def payer_by_charge(self, mention: Mention) -> int | None:
        return self.payers.get((mention.key[0], mention.row.charge))


def keep_terms(rows: Sequence[Columns]) -> None:
    """Keep what coupons take off: the first that is known stands, what was not known yet is filled in."""
    extras = ("applies_to", "currency_options")
    wanted = {"source_id": {row["source_id"] for row in rows}, "coupon_id": {row["coupon_id"] for row in rows}}
    known = {
        (source_pk, coupon_id, moment(created)): [value is not None for value in filled]
        for source_pk, coupon_id, created, *filled in select(
            CouponTerms, ("source_id", "coupon_id", "created_at", *extras), wanted
        )
    }
    news = []
    for row in rows:
        filled = known.get((row["source_id"], row["coupon_id"], row["created_at"]))
        given = [row[name] is not None for name in extras]
        if filled is None or any(is_given and not is_filled for is_given, is_filled in zip(given, filled, strict=True)):
            news.append(row)
    if news:
        update = {name: FIRST_KNOWN.format(name) for name in extras}
        write(CouponTerms, news, key=("source_id", "coupon_id", "created_at"), update=update)


def _sources(events: Iterable[StripeEvent]) -> dict[int, tuple[bool, str]]:
    rows = StripeSource.objects.filter(pk__in={event.source_id for event in events})
    return {pk: (livemode, account_id) for pk, livemode, account_id in rows.values_list("pk", "livemode", "account_id")}


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


def _of_keys(model: type[Mirrored], keys: set[Key], *asked: str) -> Iterator[tuple[Any, ...]]:
    """The rows of these keys: source, Stripe's id, and the columns asked for."""
    if not keys:
        return
    for row in select(model, ("source_id", "stripe_id", *asked), _wanted(keys)):
        if (row[0], row[1]) in keys:  # the same id may stand in another source
            yield row


def _wanted(keys: Iterable[Key], column: str = "stripe_id") -> dict[str, set[Any]]:
    return {"source_id": {source_pk for source_pk, _ in keys}, column: {stripe_id for _, stripe_id in keys}}


# ---- what else follows from a kind ----

Finish = Callable[[_Batch, Sequence[Mention], Sequence[Mention], Mapping[Key, int]], None]


def _finish_customers(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A deletion ends what the customer holds; a discount reduces it."""
    batch.changed |= {
        batch.customers[mention.key]
        for mention in mentions
        if mention.event_type in TIMES or any(discount.is_of_customer for discount in mention.row.discounts)
    }
    _catch_up(batch, "customer", told)


def _finish_subscriptions(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """Each event leaves a snapshot: the engine replays all of them."""
    snapshots: dict[tuple[int, str], dict[str, Any]] = {}
    for mention in mentions:
        pk = batch.payer(mention)
        batch.changed.add(pk)
        state, before = mention.row.state, None
        if _is_told_by_invoices(state):
            batch.need(pk, Needs.INVOICES)
        if mention.previous is not None:
            try:
                earlier = layouts.subscription_state(layouts.before(mention.obj, mention.previous))
                before = earlier.to_json()
                if _is_told_by_invoices(earlier):
                    batch.need(pk, Needs.INVOICES)
            except LayoutError:
                before = None  # a hint that cannot be read is no hint
        snapshots[pk, mention.event_id] = {
            "customer_id": pk,
            "subscription_id": mention.row.id,
            "event_id": mention.event_id,
            "event_type": mention.event_type,
            "created_at": moment(mention.created),
            "is_live": mention.event.origin == Origin.WEBHOOK,
            "state": mention.state_json,
            "before": before,
        }
    key = ("customer_id", "event_id")
    write(Snapshot, list(snapshots.values()), key=key, update=("subscription_id", "event_type", "state", "before"))
    _owe_schedules(batch, told)


def _is_told_by_invoices(state: SubscriptionState) -> bool:
    return any(item.usage_type == "metered" or item.tax_behavior for item in state.items)


def _owe_schedules(batch: _Batch, told: Sequence[Mention]) -> None:
    """A schedule that is only named is read, unless it is told of in the same batch."""
    named = {(mention.key[0], mention.row.schedule): mention for mention in told if mention.row.schedule}
    named = {key: mention for key, mention in named.items() if mention.row.state.status not in OVER}
    if not named:
        return
    known = {(source_pk, stripe_id) for source_pk, stripe_id in _of_keys(SubscriptionSchedule, set(named))}
    known |= {mention.key for mention in batch.mentions.get("subscription_schedule", ())}
    for key, mention in named.items():
        if key not in known:
            batch.missing.add(Need(key[0], FetchKind.SCHEDULE, key[1], batch.payer(mention), mention.created))


OVER: Final = ("canceled", "incomplete_expired")


def _finish_schedules(
    batch: _Batch, mentions: Sequence[Mention], _told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """What is planned is CMRR."""
    for mention in mentions:
        pk = batch.payer(mention)
        batch.need(pk, Needs.SCHEDULE)
        batch.changed.add(pk)


def _finish_discounts(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A discount that was known by its id alone has terms now."""
    for mention in mentions:
        pk = batch.payer_if_any(mention)
        if pk is not None:
            batch.changed.add(pk)
            if mention.row.is_of_customer:
                batch.need(pk, Needs.DISCOUNT)
    _note_first_told(batch, mentions)
    _catch_up(batch, "discount", told)


def _note_first_told(batch: _Batch, mentions: Sequence[Mention]) -> None:
    """A movement names the event that told of a discount first, though a later one may have come before it."""
    first: dict[Key, Mention] = {}
    for mention in mentions:
        known = first.setdefault(mention.key, mention)
        if (mention.created, mention.event_id) < (known.created, known.event_id):
            first[mention.key] = mention
    rows = [columns.of_discount(told, told.row, batch.payer_if_any(told)) | columns.NOT_TOLD for told in first.values()]
    write(Discount, rows, key=("source_id", "stripe_id"), update=FIRST_TOLD)


def _finish_invoices(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], pks: Mapping[Key, int]
) -> None:
    lines = {
        (pks[mention.key], line.id): columns.of_line(pks[mention.key], line)
        for mention in told
        for line in mention.row.lines
    }
    if lines:
        named = [name for name in next(iter(lines.values())) if name not in ("invoice_id", "stripe_id")]
        write(InvoiceLine, list(lines.values()), key=("invoice_id", "stripe_id"), update=named)
    known = batch.versions["invoice"]
    complete = [pks[mention.key] for mention in told if mention.key in known and mention.row.has_all_lines]
    if complete:  # a draft may have lost lines since
        gone = InvoiceLine.objects.filter(invoice_id__in=complete).values_list("pk", "invoice_id", "stripe_id")
        stale = [pk for pk, invoice_pk, stripe_id in gone if (invoice_pk, stripe_id) not in lines]
        if stale:
            InvoiceLine.objects.filter(pk__in=stale).delete()
    for mention in mentions:
        pk = batch.payer(mention)
        is_payment = batch.follows_payments and mention.row.status == "paid"
        if is_payment or (mention.row.finalized is not None and batch.is_followed(pk)):
            batch.changed.add(pk)
    _owe_lines(batch, told)
    _owe_subscriptions(batch, mentions)
    _catch_up(batch, "invoice", told)


def _owe_lines(batch: _Batch, told: Sequence[Mention]) -> None:
    """A list of lines that was cut short is read whole, once the invoice is final."""
    short = {m.key: m for m in told if not m.row.has_all_lines and m.row.finalized is not None}
    if not short:
        return
    for source_pk, stripe_id, is_fetched in list(_of_keys(Invoice, set(short), "has_fetched_lines")):
        if not is_fetched:
            mention = short[source_pk, stripe_id]
            batch.missing.add(Need(source_pk, FetchKind.INVOICE, stripe_id, batch.payer(mention), mention.created))


def _owe_subscriptions(batch: _Batch, mentions: Sequence[Mention]) -> None:
    """A subscription that only its invoices name began before we listened: its state is read."""
    known = batch.versions["invoice"]
    named = {
        (mention.key[0], mention.row.subscription): mention
        for mention in mentions
        if mention.row.subscription and mention.key not in known
    }
    for mention in batch.mentions.get("subscription", ()):
        named.pop(mention.key, None)
    if not named:
        return
    for source_pk, stripe_id in list(_of_keys(Subscription, set(named))):
        named.pop((source_pk, stripe_id), None)
    for (source_pk, stripe_id), mention in named.items():
        if not mention.is_fetched:
            pk = batch.payer(mention)
            batch.missing.add(Need(source_pk, FetchKind.SUBSCRIPTION, stripe_id, pk, mention.created))


def _finish_disputes(
    batch: _Batch, mentions: Sequence[Mention], told: Sequence[Mention], _pks: Mapping[Key, int]
) -> None:
    """A dispute that was lost takes its subscription out: the events that ruled are kept, and the charge is found."""
    rulings: dict[Key, Columns] = {}
    for mention in mentions:
        pk = batch.payer_by_charge(mention)
        batch.need(pk, Needs.DISPUTE)
        if mention.event_type == "charge.dispute.closed" and mention.row.status in RULED:
            rulings[mention.key[0], mention.event_id] = {
                "source_id": mention.key[0],
                "dispute_id": mention.row.id,
                "event_id": mention.event_id,
                "at": moment(mention.created),
                "status": mention.row.status,
                "is_live": mention.event.origin == Origin.WEBHOOK,
            }
            if pk is not None:
                batch.changed.add(pk)
    if rulings:
        write(DisputeRuling, list(rulings.values()), key=("source_id", "event_id"))
    _owe_charges(batch, mentions)
    _catch_up(batch, "dispute", told)


RULED: Final = ("lost", "won")


def _owe_charges(batch: _Batch, mentions: Sequence[Mention]) -> None:
    """A dispute's charge tells the customer, and of one that was lost the invoice and so the subscription."""
    named: dict[Key, list[Mention]] = defaultdict(list)
    for mention in mentions:
        if mention.row.charge:
            named[mention.key[0], mention.row.charge].append(mention)
    asked = _of_keys(Charge, set(named), "version_at", "invoice_id")
    charges = {(source_pk, stripe_id): (version, invoice) for source_pk, stripe_id, version, invoice in asked}
    invoices = {(key[0], invoice) for key, (_, invoice) in charges.items() if invoice}
    known = {(source_pk, stripe_id) for source_pk, stripe_id in _of_keys(Invoice, invoices)}
    for key, told in named.items():
        version, invoice = charges.get(key, (None, ""))
        is_lost = any(mention.row.status == "lost" for mention in told)
        if version is None or (is_lost and (key[0], invoice) not in known):
            since = max(mention.created for mention in told)
            batch.missing.add(Need(key[0], FetchKind.CHARGE, key[1], batch.payers.get(key), since))


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
                if model is Dispute:
                    batch.need(charges[source_pk, charge_id], Needs.DISPUTE)
    batch.payers.update(charges)
    batch.changed |= {pk for pk in charges.values() if batch.needs[pk] & Needs.DISPUTE}


FINISH: Final[dict[str, Finish]] = {
    "customer": _finish_customers,
    "discount": _finish_discounts,
    "subscription": _finish_subscriptions,
    "subscription_schedule": _finish_schedules,
    "invoice": _finish_invoices,
    "charge": _finish_charges,
    "dispute": _finish_disputes,
}
