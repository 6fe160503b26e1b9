"""Carries a batch of what Stripe told from the bodies to the rows, many customers at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from billing import columns, envelope, kinds, layouts, ordering, owed
from billing.columns import Columns, Key
from billing.following import FINISH, of_keys, rows_of_keys
from billing.inbox import Outcome
from billing.kinds import FETCH_PREFIX, FIRST_KNOWN, FIRST_TOLD, HANDLERS, KINDS, OWN_RULES, TIMES, Kind, Mention
from billing.models import (
    Charge,
    Coupon,
    CouponTerms,
    Customer,
    Discount,
    EventState,
    FetchKind,
    Mirrored,
    Needs,
    Price,
    StripeEvent,
    TaxRate,
)
from billing.owed import Need
from billing.rows import CouponRow, DiscountRow
from billing.statements import listed, moment, run, select, within, write
from billing.values import LayoutError

PROCESSED = Outcome(EventState.PROCESSED)
NOT_NEEDED = Outcome(EventState.IGNORED, "not_needed")


def locked(*wanted: Mapping[str, set[Any]]) -> list[tuple[Any, ...]]:
    """Lock customers' rows until the transaction ends, and return what a batch has to know of them."""
    asked = ("id", "source_id", "stripe_id", "version_at", "version_event", "needs", "forgotten_at")
    return select(Customer, asked, *wanted, is_locked=True)


class Batch:
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
            wanted.append(of_keys(keys))
        if pks:
            wanted.append({"id": pks})
        for pk, source_pk, stripe_id, version_at, version_event, needs, forgotten_at in locked(*wanted):
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
        for source_pk, stripe_id, customer_pk in rows_of_keys(Charge, charges, "customer_id"):
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
                    for source_pk, stripe_id, version_at, version_event in rows_of_keys(
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
        wanted = of_keys([key for _, key in last_at], "object_id")
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
        known = {(source_pk, stripe_id) for source_pk, stripe_id in rows_of_keys(model, set(rows))}
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
            for source_pk, stripe_id, customer_pk in rows_of_keys(Charge, unknown, "customer_id"):
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
