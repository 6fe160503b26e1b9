"""Reads what the engine needs beside snapshots, for many customers at once, and names what is not known yet.

What comes out is a function of the events and the fetched objects, whatever the order in which they came.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Final, Protocol

from django.db.models import Min

from billing.facts import (
    CustomerDiscount,
    DiscountTerms,
    Facts,
    Phase,
    Plan,
    PlannedItem,
    PriceTerms,
    Ruling,
    TaxSeen,
    Tier,
)
from billing.models import (
    Charge,
    CouponTerms,
    Discount,
    Dispute,
    DisputeRuling,
    FetchKind,
    Invoice,
    InvoiceLine,
    Needs,
    Origin,
    Price,
    StripeEvent,
    SubscriptionSchedule,
    TaxRate,
)
from billing.owed import Need
from billing.rows import Item, SubscriptionState
from billing.statements import select

Key = tuple[int, str]  # a source's primary key and Stripe's id


class Step(Protocol):
    """One event's word about one subscription."""

    @property
    def created(self) -> int: ...
    @property
    def state(self) -> SubscriptionState: ...
    @property
    def before(self) -> SubscriptionState | None: ...


@dataclass(frozen=True, slots=True)
class Asker:
    """A customer for whom something beside its subscriptions' states matters; `needs` are bits of Needs."""

    pk: int
    source_pk: int
    needs: int
    steps: Mapping[str, Sequence[Step]]


def facts_of(askers: Sequence[Asker]) -> dict[int, tuple[Facts, tuple[Need, ...]]]:
    """Return the facts of customers, by primary key, and what of them must be fetched."""
    asked = [_Asked(asker) for asker in askers]
    for each in asked:
        each.read_states()
    schedules = _schedules(asked)
    for each in asked:
        each.read_schedules(schedules.get(each.asker.pk, ()))
    known = _Known(
        prices=_prices(asked),
        applied=(applied := _applied(asked)),
        coupons=_coupons(asked, applied),
        billed=_billed(asked),
        rulings=_rulings(asked),
    )
    return {each.asker.pk: each.facts(known) for each in asked}


def first_paid_of(customer_pks: Collection[int]) -> dict[int, dict[str, int]]:
    """Return when an invoice with something to pay was first paid, by customer and subscription, in Unix seconds."""
    rows = Invoice.objects.filter(
        customer_id__in=customer_pks, status="paid", paid_at__isnull=False, total_minor__gt=0
    ).exclude(subscription_id="")
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for pk, subscription_id, at in rows.values_list("customer_id", "subscription_id").annotate(at=Min("paid_at")):
        found[pk][subscription_id] = int(at.timestamp())
    return found


# ---- what a customer's states ask for ----


@dataclass(slots=True)
class _Asked:
    """Gathers what one customer's states name, then says what is known of it and what is not."""

    asker: Asker
    prices: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # id → currencies
    discounts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # id → subscriptions' currencies
    coupons: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # those a plan names
    metered: set[str] = field(default_factory=set)  # items
    inclusive: set[str] = field(default_factory=set)
    schedules: Sequence[_Schedule] = ()
    missing: set[Need] = field(default_factory=set)

    def read_states(self) -> None:
        for steps in self.asker.steps.values():
            for step in steps:
                self._read(step.state)
                if step.before is not None:
                    self._read(step.before)

    def _read(self, state: SubscriptionState) -> None:
        for name in state.discounts:
            self.discounts[name].add(state.currency)
        for item in state.items:
            for name in item.discounts:
                self.discounts[name].add(state.currency)
            if item.usage_type == "metered":
                self.metered.add(item.id)
            elif _is_priced_elsewhere(item):
                self.prices[item.price].add(item.currency)
            if item.tax_behavior:
                self.inclusive.add(item.id)

    def read_schedules(self, schedules: Sequence[_Schedule]) -> None:
        self.schedules = schedules
        for schedule in schedules:
            for phase in schedule.phases:
                for item in phase["items"]:
                    self.prices[item["price"]].add(schedule.currency)
                for name in [*phase["discounts"], *[name for item in phase["items"] for name in item["discounts"]]]:
                    if name.startswith(COUPON):
                        self.coupons[name.removeprefix(COUPON)].add(schedule.currency)
                    else:
                        self.discounts[name].add(schedule.currency)

    def facts(self, known: _Known) -> tuple[Facts, tuple[Need, ...]]:
        pk, source_pk = self.asker.pk, self.asker.source_pk
        applied = [each for each in known.applied if self._has(each)]
        facts = Facts(
            prices=self._prices(known.prices),
            discounts=self._discounts(applied, known.coupons),
            customer_discounts=_timeline([each for each in applied if each.is_of_customer]),
            taxes=known.billed.taxes(source_pk, self.inclusive) if self.inclusive else {},
            rulings=known.rulings.get(pk, {}),
            plans=tuple([_plan(schedule, source_pk, known.prices) for schedule in self.schedules]),
            usage=known.billed.usage(source_pk, self.metered) if self.metered else {},
        )
        self._note_subscriptions({each.id for each in applied if each.coupon})
        return facts, tuple(sorted(self.missing, key=lambda need: (need.kind.value, need.stripe_id)))

    def _has(self, applied: _Applied) -> bool:
        if applied.source_pk != self.asker.source_pk:
            return False
        return applied.id in self.discounts or (applied.is_of_customer and applied.customer_pk == self.asker.pk)

    def _prices(self, prices: Mapping[Key, _Price]) -> dict[tuple[str, str], PriceTerms]:
        found: dict[tuple[str, str], PriceTerms] = {}
        for price_id, currencies in self.prices.items():
            price = prices.get((self.asker.source_pk, price_id))
            for currency in currencies:
                terms = price.terms(currency) if price else None
                if terms is None:
                    self._miss(FetchKind.PRICE, price_id)
                else:
                    found[price_id, currency] = terms
        return found

    def _discounts(
        self, applied: Sequence[_Applied], coupons: Mapping[Key, Sequence[_Coupon]]
    ) -> dict[str, DiscountTerms]:
        """Terms of discounts by id, and of coupons that a plan names by `coupon:` and their id."""
        found: dict[str, DiscountTerms] = {}
        for each in applied:
            currencies = self.discounts.get(each.id, set())
            if each.coupon and (coupon := self._coupon(coupons, each.coupon, each.start, currencies)):
                found[each.id] = coupon.terms(each.id, each.start, each.end)
        for name, currencies in self.coupons.items():
            if coupon := self._coupon(coupons, name, None, currencies):
                found[COUPON + name] = coupon.terms(COUPON + name, None, None)
        return found

    def _coupon(
        self, coupons: Mapping[Key, Sequence[_Coupon]], coupon_id: str, start: int | None, currencies: set[str]
    ) -> _Coupon | None:
        """The coupon as it stood when it was applied; None while it, or what it takes off, is not known."""
        versions = coupons.get((self.asker.source_pk, coupon_id), ())
        if not versions:
            self._miss(FetchKind.COUPON, coupon_id)
            return None
        before = [version for version in versions if start is None or version.created <= start]
        coupon = max(before, key=_created) if before else min(versions, key=_created)
        if coupon.amount is not None and coupon.options is None and currencies - {coupon.currency}:
            self._miss(FetchKind.COUPON, coupon_id)
            return None
        if coupon.applies_to is None:
            self._miss(FetchKind.COUPON, coupon_id, is_refinement=True)
        return coupon

    def _note_subscriptions(self, heard: set[str]) -> None:
        """A discount known by its id alone, or a list of items cut short: the subscription must be read."""
        for subscription_id, steps in self.asker.steps.items():
            last = steps[-1]
            if last.state.status in OVER:
                continue  # what it was is told no more
            named = [*last.state.discounts, *[name for item in last.state.items for name in item.discounts]]
            if not last.state.has_all_items or any(name not in heard for name in named):
                self._miss(FetchKind.SUBSCRIPTION, subscription_id, since=last.created)

    def _miss(self, kind: FetchKind, stripe_id: str, *, since: int | None = None, is_refinement: bool = False) -> None:
        if is_refinement and any(need.kind == kind and need.stripe_id == stripe_id for need in self.missing):
            return
        self.missing.add(Need(self.asker.source_pk, kind, stripe_id, self.asker.pk, since, is_refinement))


OVER: Final = ("canceled", "incomplete_expired")
COUPON: Final = "coupon:"


def _is_priced_elsewhere(item: Item) -> bool:
    """Its amount does not travel in events: tiers, or another currency's amount."""
    return (item.billing_scheme == "tiered" or item.price_currency is not None) and not item.is_custom


@dataclass(frozen=True, slots=True)
class _Known:
    prices: Mapping[Key, _Price]
    applied: Sequence[_Applied]
    coupons: Mapping[Key, Sequence[_Coupon]]
    billed: _Billed
    rulings: Mapping[int, Mapping[str, tuple[Ruling, ...]]]


# ---- prices ----


@dataclass(frozen=True, slots=True)
class _Price:
    product: str
    currency: str
    unit_amount: str | None
    interval: str
    interval_count: int
    usage_type: str
    billing_scheme: str
    tiers_mode: str | None
    tiers: list[dict[str, Any]] | None
    transform: dict[str, Any]
    options: dict[str, dict[str, Any]]

    def terms(self, currency: str) -> PriceTerms | None:
        """What it costs in a currency; None while that is not known."""
        option = self.options.get(currency, {})
        tiers = self.tiers if currency == self.currency and self.tiers is not None else option.get("tiers")
        if self.billing_scheme == "tiered":
            return PriceTerms(None, self.tiers_mode, tuple([_tier(tier) for tier in tiers])) if tiers else None
        if currency == self.currency:
            return PriceTerms(self.unit_amount)
        return PriceTerms(option.get("unit_amount_decimal")) if option else None


def _tier(tier: Mapping[str, Any]) -> Tier:
    return Tier(tier.get("up_to"), _exact(tier, "unit_amount"), _exact(tier, "flat_amount"))


def _exact(tier: Mapping[str, Any], name: str) -> str:
    found = tier.get(f"{name}_decimal")
    if found is None:
        found = tier.get(name)
    return "0" if found is None else str(found)


def _prices(asked: Iterable[_Asked]) -> dict[Key, _Price]:
    keys = {(each.asker.source_pk, price_id) for each in asked for price_id in each.prices}
    names = (
        "product_id",
        "currency",
        "unit_amount_decimal",
        "interval",
        "interval_count",
        "usage_type",
        "billing_scheme",
        "tiers_mode",
        "tiers",
        "transform_quantity",
        "currency_options",
    )
    return {row[0]: _price(*row[1:]) for row in _of(Price, "stripe_id", keys, names)}


def _price(
    product: str,
    currency: str,
    unit_amount: str,
    interval: str,
    interval_count: int,
    usage_type: str,
    billing_scheme: str,
    tiers_mode: str,
    tiers: str | None,
    transform: str | None,
    options: str | None,
) -> _Price:
    return _Price(
        product,
        currency,
        unit_amount or None,
        interval,
        interval_count,
        usage_type or "licensed",
        billing_scheme,
        tiers_mode or None,
        json.loads(tiers) if tiers else None,
        json.loads(transform) if transform else {},
        json.loads(options) if options else {},
    )


def _of(model: Any, column: str, keys: Collection[Key], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of these keys: the key first, then the columns asked for. None asked: no statement."""
    if not keys:
        return
    wanted: dict[str, Collection[Any]] = {"source_id": {key[0] for key in keys}, column: {key[1] for key in keys}}
    for source_pk, name, *rest in select(model, ("source_id", column, *names), wanted):
        if (source_pk, name) in keys:
            yield ((source_pk, name), *rest)


# ---- discounts ----


@dataclass(frozen=True, slots=True)
class _Applied:
    source_pk: int
    id: str
    customer_pk: int | None
    coupon: str
    start: int | None
    end: int | None
    deleted: int | None
    is_of_customer: bool
    first_at: int | None
    first_event: str


@dataclass(frozen=True, slots=True)
class _Coupon:
    created: int
    percent: str
    amount: int | None
    currency: str
    duration: str
    applies_to: list[str] | None
    options: dict[str, int] | None

    def terms(self, name: str, start: int | None, end: int | None) -> DiscountTerms:
        amounts = dict(self.options or {})
        if self.amount is not None and self.currency:
            amounts[self.currency] = self.amount
        return DiscountTerms(
            name,
            self.duration,
            self.percent or None,
            tuple(sorted(amounts.items())),
            tuple(self.applies_to) if self.applies_to else None,
            start,
            end,
        )


def _created(coupon: _Coupon) -> int:
    return coupon.created


def _applied(asked: Sequence[_Asked]) -> list[_Applied]:
    """Discounts that states name, and those on the customers themselves."""
    names = {name for each in asked for name in each.discounts}
    theirs = {each.asker.pk for each in asked if each.asker.needs & Needs.DISCOUNT}
    wanted: list[dict[str, Collection[Any]]] = []
    if names:
        wanted.append({"source_id": {each.asker.source_pk for each in asked}, "stripe_id": names})
    if theirs:
        wanted.append({"customer_id": theirs})
    if not wanted:
        return []
    columns = (
        "source_id",
        "stripe_id",
        "customer_id",
        "coupon_id",
        "start_at",
        "end_at",
        "deleted_at",
        "is_of_customer",
        "first_at",
        "first_event",
    )
    return sorted(
        [_Applied(*row) for row in select(Discount, columns, *wanted)], key=lambda row: (row.start or 0, row.id)
    )


def _timeline(applied: Sequence[_Applied]) -> tuple[CustomerDiscount, ...]:
    """A customer has one discount at a time: the next one takes the place of the one before."""
    found: list[CustomerDiscount] = []
    known = [(each, start) for each in applied if (start := each.start if each.start is not None else each.first_at)]
    for place, (each, start) in enumerate(known):
        ends = [each.deleted] if each.deleted is not None else []
        ends += [later for _, later in known[place + 1 : place + 2]]
        found.append(CustomerDiscount(each.id, start, min(ends, default=None), each.first_event))
    return tuple(found)


def _coupons(asked: Sequence[_Asked], applied: Sequence[_Applied]) -> dict[Key, list[_Coupon]]:
    keys = {(each.source_pk, each.coupon) for each in applied if each.coupon}
    keys |= {(each.asker.source_pk, name) for each in asked for name in each.coupons}
    names = ("created_at", "percent_off", "amount_off_minor", "currency", "duration", "applies_to", "currency_options")
    found: dict[Key, list[_Coupon]] = defaultdict(list)
    for key, created, percent, amount, currency, duration, applies_to, options in _of(
        CouponTerms, "coupon_id", keys, names
    ):
        limits = json.loads(applies_to) if applies_to else None
        others = json.loads(options) if options else None
        found[key].append(_Coupon(created, percent, amount, currency, duration, limits, others))
    return found


# ---- schedules ----


@dataclass(frozen=True, slots=True)
class _Schedule:
    id: str
    subscription: str
    currency: str
    end_behavior: str
    phases: list[dict[str, Any]]


def _schedules(asked: Iterable[_Asked]) -> dict[int, list[_Schedule]]:
    """Schedules that are not over, by customer."""
    pks = {each.asker.pk for each in asked if each.asker.needs & Needs.SCHEDULE}
    found: dict[int, list[_Schedule]] = defaultdict(list)
    if pks:
        names = ("customer_id", "stripe_id", "subscription_id", "currency", "end_behavior", "phases", "status")
        for pk, name, subscription_id, currency, end_behavior, phases, status in select(
            SubscriptionSchedule, names, {"customer_id": pks}
        ):
            if status in ("not_started", "active"):
                found[pk].append(_Schedule(name, subscription_id, currency, end_behavior, json.loads(phases)))
    return {pk: sorted(rows, key=lambda row: row.id) for pk, rows in found.items()}


def _plan(schedule: _Schedule, source_pk: int, prices: Mapping[Key, _Price]) -> Plan:
    phases = []
    for phase in schedule.phases:
        items = [_planned(item, prices.get((source_pk, item["price"])), schedule.currency) for item in phase["items"]]
        phases.append(
            Phase(phase["start"], phase["end"], tuple(items), tuple(phase["discounts"]), phase.get("trial_end"))
        )
    return Plan(schedule.id, schedule.subscription, schedule.currency, tuple(phases), schedule.end_behavior)


def _planned(item: Mapping[str, Any], price: _Price | None, currency: str) -> PlannedItem:
    terms = price.terms(currency) if price else None
    if price is None or terms is None:
        return PlannedItem(item["price"], "", item["quantity"], "", 1, discounts=tuple(item["discounts"]))
    return PlannedItem(
        item["price"],
        price.product,
        item["quantity"],
        price.interval,
        price.interval_count,
        price.usage_type,
        price.billing_scheme,
        terms.unit_amount_decimal,
        terms.tiers_mode,
        price.transform.get("divide_by"),
        price.transform.get("round"),
        tuple(item["discounts"]),
    )


# ---- invoices: tax inside, and usage ----


@dataclass(frozen=True, slots=True)
class _Line:
    finalized: int
    is_void: bool
    amount: int  # after discounts, with the tax inside
    is_proration: bool
    period: tuple[int, int] | None
    taxes: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class _Billed:
    lines: Mapping[Key, Sequence[_Line]]  # by subscription item
    percentages: Mapping[Key, str]  # by tax rate

    def taxes(self, source_pk: int, items: Iterable[str]) -> dict[str, tuple[TaxSeen, ...]]:
        found: dict[str, tuple[TaxSeen, ...]] = {}
        for item in items:
            seen = {
                TaxSeen(line.finalized, str(rate))
                for line in self.lines.get((source_pk, item), ())
                if (rate := self._rate(source_pk, line)) is not None
            }
            if seen:
                found[item] = tuple(sorted(seen, key=lambda tax: (tax.at, tax.rate)))
        return found

    def _rate(self, source_pk: int, line: _Line) -> Fraction | None:
        """The tax inside a line, of its amount without tax: the rates' percentages, else the quotient of amounts."""
        if line.taxes is None or not line.amount:
            return None
        without = line.amount - sum(tax["amount"] for tax in line.taxes)
        rate = Fraction(0)
        for tax in line.taxes:
            percentage = self.percentages.get((source_pk, tax["rate"]))
            taxable = tax["taxable"] if tax["taxable"] is not None else without
            if percentage is not None:
                rate += Fraction(percentage) / 100
            elif taxable:
                rate += Fraction(tax["amount"], taxable)
            else:
                return None
        return rate

    def usage(self, source_pk: int, items: Iterable[str]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for item in items:
            periods: dict[tuple[int, int], int] = defaultdict(int)
            for line in self.lines.get((source_pk, item), ()):
                if line.period is not None and not line.is_proration and not line.is_void:
                    inside = sum(tax["amount"] for tax in line.taxes or ())
                    periods[line.period] += line.amount - inside
            if periods:
                newest = sorted(periods, key=lambda period: (period[1], period[0]))[-USAGE_PERIODS:]
                found[item] = tuple([periods[period] for period in newest])
        return found


USAGE_PERIODS: Final = 3


def _billed(asked: Sequence[_Asked]) -> _Billed:
    """Lines of finalised invoices for items that are metered or have tax inside."""
    about = [each for each in asked if each.metered or each.inclusive]
    items = {item for each in about for item in (*each.metered, *each.inclusive)}
    if not items:
        return _Billed({}, {})
    rows = InvoiceLine.objects.filter(
        invoice__customer_id__in=[each.asker.pk for each in about],
        invoice__finalized_at__isnull=False,
        subscription_item_id__in=items,
    ).exclude(invoice__status__in=("draft", "deleted"))
    lines: dict[Key, list[_Line]] = defaultdict(list)
    rates: set[Key] = set()
    for source_pk, item, finalized_at, status, amount, discount, is_proration, start, end, taxes in rows.values_list(
        "invoice__source_id",
        "subscription_item_id",
        "invoice__finalized_at",
        "invoice__status",
        "amount_minor",
        "discount_minor",
        "is_proration",
        "period_start_at",
        "period_end_at",
        "inclusive_taxes",
    ):
        assert finalized_at is not None
        period = (int(start.timestamp()), int(end.timestamp())) if start and end else None
        lines[source_pk, item].append(
            _Line(int(finalized_at.timestamp()), status == "void", amount - discount, is_proration, period, taxes)
        )
        rates |= {(source_pk, tax["rate"]) for tax in taxes or () if tax["rate"]}
    return _Billed(lines, dict(_of(TaxRate, "stripe_id", rates, ("percentage",))))


# ---- disputes ----


def _rulings(asked: Iterable[_Asked]) -> dict[int, dict[str, tuple[Ruling, ...]]]:
    """Disputes that were lost, by customer and subscription: by the dispute's charge and the charge's invoice."""
    pks = {each.asker.pk for each in asked if each.asker.needs & Needs.DISPUTE}
    if not pks:
        return {}
    disputes = {
        (source_pk, name): (pk, charge)
        for pk, source_pk, name, charge in select(
            Dispute, ("customer_id", "source_id", "stripe_id", "charge_id"), {"customer_id": pks}
        )
    }
    told: dict[Key, list[Ruling]] = defaultdict(list)
    names = ("at", "event_id", "status", "is_live")
    for key, at, event_id, status, is_live in _of(DisputeRuling, "dispute_id", disputes.keys(), names):
        told[key].append(Ruling(at, event_id, status == "lost", bool(is_live)))
    told = {key: rulings for key, rulings in told.items() if any(ruling.is_lost for ruling in rulings)}  # type: ignore[assignment]
    if not told:
        return {}
    charges = {(key[0], disputes[key][1]) for key in told}
    invoice_of = dict(_of(Charge, "stripe_id", charges, ("invoice_id",)))
    invoices = _invoices({disputes[key][0] for key in told})
    found: dict[tuple[int, str], list[Ruling]] = defaultdict(list)
    for key, rulings in told.items():
        pk, charge = disputes[key]
        invoice = invoices.get((key[0], invoice_of.get((key[0], charge), "")))
        if invoice is None or not invoice.subscription:
            continue
        first_lost = min(ruling.at for ruling in rulings if ruling.is_lost)
        found[pk, invoice.subscription] += [each for each in rulings if each.is_lost or each.at > first_lost]
    _recover(found, invoices)
    by_customer: dict[int, dict[str, tuple[Ruling, ...]]] = defaultdict(dict)
    for (pk, subscription_id), rulings in found.items():
        by_customer[pk][subscription_id] = tuple(
            sorted(rulings, key=lambda each: (each.at, each.is_lost, each.event_id))
        )
    return by_customer


@dataclass(frozen=True, slots=True)
class _Invoice:
    source_pk: int
    customer_pk: int
    id: str
    subscription: str
    paid: int | None  # None too where there was nothing to pay


def _invoices(customer_pks: Collection[int]) -> dict[Key, _Invoice]:
    names = ("source_id", "customer_id", "stripe_id", "subscription_id", "paid_at", "status", "total_minor")
    return {
        (source_pk, name): _Invoice(source_pk, pk, name, sub, paid if status == "paid" and total > 0 else None)
        for source_pk, pk, name, sub, paid, status, total in select(Invoice, names, {"customer_id": customer_pks})
    }


def _recover(found: Mapping[tuple[int, str], list[Ruling]], invoices: Mapping[Key, _Invoice]) -> None:
    """An invoice of the same subscription that is paid later brings it back."""
    back: list[tuple[tuple[int, str], _Invoice]] = []
    for place, rulings in found.items():
        theirs = [each for each in invoices.values() if (each.customer_pk, each.subscription) == place and each.paid]
        for ruling in rulings:
            later = [each for each in theirs if ruling.is_lost and each.paid is not None and each.paid > ruling.at]
            if later:
                back.append((place, min(later, key=lambda each: (each.paid or 0, each.id))))
    if not back:
        return
    events = _payment_events({(each.source_pk, each.id) for _, each in back})
    for place, each in dict.fromkeys(back):
        event_id, is_live = events.get((each.source_pk, each.id), (found[place][0].event_id, False))
        assert each.paid is not None
        found[place].append(Ruling(each.paid, event_id, False, is_live))


def _payment_events(invoices: Collection[Key]) -> dict[Key, tuple[str, bool]]:
    """The first event that told of each invoice's payment, and whether it was a live delivery."""
    rows = StripeEvent.objects.filter(
        source_id__in={key[0] for key in invoices},
        object_id__in={key[1] for key in invoices},
        type__in=("invoice.paid", "invoice.payment_succeeded"),
        created_at__isnull=False,
    )
    first: dict[Key, tuple[datetime, str, bool]] = {}
    for source_pk, name, at, event_id, origin in rows.values_list(
        "source_id", "object_id", "created_at", "stripe_id", "origin"
    ):
        assert at is not None
        told = (at, event_id, origin == Origin.WEBHOOK)
        first[source_pk, name] = min(told, first.get((source_pk, name), told))
    return {key: (event_id, is_live) for key, (_, event_id, is_live) in first.items()}
