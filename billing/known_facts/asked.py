"""What one customer's states ask for, and what of it is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from billing.facts import DiscountTerms, Facts, PriceTerms, Ruling
from billing.known_facts.billed import Billed
from billing.known_facts.discounts import Applied, KnownCoupon, created_of, timeline_of
from billing.known_facts.prices import KnownPrice
from billing.known_facts.rows import Key
from billing.known_facts.schedules import Schedule, plan_of
from billing.models import FetchKind
from billing.owed import Need
from billing.rows import Item, SubscriptionState

OVER: Final = ("canceled", "incomplete_expired")
COUPON: Final = "coupon:"


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


@dataclass(frozen=True, slots=True)
class Known:
    prices: Mapping[Key, KnownPrice]
    applied: Sequence[Applied]
    coupons: Mapping[Key, Sequence[KnownCoupon]]
    billed: Billed
    rulings: Mapping[int, Mapping[str, tuple[Ruling, ...]]]


@dataclass(slots=True)
class Asked:
    """Gathers what one customer's states name, then says what is known of it and what is not."""

    asker: Asker
    prices: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # id → currencies
    discounts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # id → subscriptions' currencies
    coupons: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # those a plan names
    metered: set[str] = field(default_factory=set)  # items
    inclusive: set[str] = field(default_factory=set)
    schedules: Sequence[Schedule] = ()
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

    def read_schedules(self, schedules: Sequence[Schedule]) -> None:
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

    def facts(self, known: Known) -> tuple[Facts, tuple[Need, ...]]:
        pk, source_pk = self.asker.pk, self.asker.source_pk
        applied = [each for each in known.applied if self._has(each)]
        facts = Facts(
            prices=self._prices(known.prices),
            discounts=self._discounts(applied, known.coupons),
            customer_discounts=timeline_of([each for each in applied if each.is_of_customer]),
            taxes=known.billed.taxes(source_pk, self.inclusive) if self.inclusive else {},
            rulings=known.rulings.get(pk, {}),
            plans=tuple([plan_of(schedule, source_pk, known.prices) for schedule in self.schedules]),
            usage=known.billed.usage(source_pk, self.metered) if self.metered else {},
        )
        self._note_subscriptions({each.id for each in applied if each.coupon})
        return facts, tuple(sorted(self.missing, key=lambda need: (need.kind.value, need.stripe_id)))

    def _has(self, applied: Applied) -> bool:
        if applied.source_pk != self.asker.source_pk:
            return False
        return applied.id in self.discounts or (applied.is_of_customer and applied.customer_pk == self.asker.pk)

    def _prices(self, prices: Mapping[Key, KnownPrice]) -> dict[tuple[str, str], PriceTerms]:
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
        self, applied: Sequence[Applied], coupons: Mapping[Key, Sequence[KnownCoupon]]
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
        self, coupons: Mapping[Key, Sequence[KnownCoupon]], coupon_id: str, start: int | None, currencies: set[str]
    ) -> KnownCoupon | None:
        """The coupon as it stood when it was applied; None while it, or what it takes off, is not known."""
        versions = coupons.get((self.asker.source_pk, coupon_id), ())
        if not versions:
            self._miss(FetchKind.COUPON, coupon_id)
            return None
        before = [version for version in versions if start is None or version.created <= start]
        coupon = max(before, key=created_of) if before else min(versions, key=created_of)
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


def _is_priced_elsewhere(item: Item) -> bool:
    """Its amount does not travel in events: tiers, or another currency's amount."""
    return (item.billing_scheme == "tiered" or item.price_currency is not None) and not item.is_custom
