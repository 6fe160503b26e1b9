"""Writes Stripe's objects as our rows from events, in any order and any number of times, many customers at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Q

from billing import columns, envelope, kinds, layouts, ordering
from billing.columns import Columns, Key
from billing.inbox import Outcome
from billing.kinds import HANDLERS, KINDS, OWN_RULES, TIMES, Kind, Mention
from billing.models import (
    Charge,
    Coupon,
    Customer,
    Discount,
    Dispute,
    EventState,
    InvoiceLine,
    Mirrored,
    Origin,
    Price,
    Refund,
    Snapshot,
    StripeEvent,
    StripeSource,
)
from billing.statements import moment, select, write
from billing.values import LayoutError


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
    asked = ("id", "source_id", "stripe_id", "version_at", "version_event")
    return select(Customer, asked, *wanted, is_locked=True)


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
            return _once(mention for mention in found if mention is not None)

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
        coupons: dict[Key, Columns] = {}
        discounts: dict[Key, Columns] = {}
        for name in ("customer", "subscription", "discount"):
            for mention in self.mentions.get(name, ()):
                source_pk = mention.key[0]
                if name == "subscription":
                    for price_id, price in layouts.prices_of(mention.obj).items():
                        prices.setdefault((source_pk, price_id), price)
                for coupon in mention.row.coupons:
                    coupons[source_pk, coupon.id] = columns.of_coupon(source_pk, coupon)
                for discount in getattr(mention.row, "discounts", ()):
                    payer = self.customers.get(_customer_key(mention) or (0, ""))
                    discounts[source_pk, discount.id] = columns.of_discount(source_pk, discount, payer)
        unknown = self._unknown(Price, prices)
        self._add_unknown(Price, {key: columns.of_price_inside(key[0], price) for key, price in unknown.items()})
        self._add_unknown(Coupon, self._unknown(Coupon, coupons))
        self._add_unknown(Discount, self._unknown(Discount, discounts))

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
            "state": mention.state_json,
            "before": before,
        }
    key = ("customer_id", "event_id")
    write(Snapshot, list(snapshots.values()), key=key, update=("subscription_id", "event_type", "state", "before"))


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
