"""The waterfall of a period, looked at in one of its ways: view, basis, level, discounts, rates, MRR or CMRR, brands.

Every way is read from sums that are kept, and corrected for the few customers who look otherwise in it: those of an
Account with several customers, of several currencies, with a discount that changed, with something scheduled.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from mrr import fx
from mrr.days import day_of, month_after
from mrr.engine.money import shown
from mrr.selectors import ends as reading
from mrr.selectors.flows import Flows, Opened
from mrr.selectors.months import Customers, parts_shown
from mrr.selectors.scope import sources_or_live
from mrr.waterfalls import (
    COUNTS,
    PARTS,
    Basis,
    Compared,
    Convert,
    Counted,
    Discounts,
    Ends,
    Group,
    Options,
    Rates,
    View,
    grouped,
    regrouped,
    tied,
)

ROW = (*PARTS, "adjustment", "fx")


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A period from opening to closing, in micros of one currency; losses are negative.

    `opening_micros` + `parts` + `adjustment_micros` + `fx_micros` = `closing_micros`, exactly. `off_micros` is by how
    much the sums of movements miss the difference of the balances, each currency in its own money: 0 when all holds.
    `held` are currencies that lack a rate: they are missing from some figure.
    """

    currency: str
    first: date
    last: date
    options: Options
    opening_micros: int
    parts: Mapping[str, int]
    adjustment_micros: int
    fx_micros: int
    closing_micros: int
    customers: Customers
    off_micros: int = 0
    held: tuple[str, ...] = ()
    is_running: bool = False
    brands: tuple[Brand, ...] = field(default=(), compare=False)

    @property
    def net_micros(self) -> int:
        """What movements added: without exchange rates and adjustments."""
        return sum(self.parts.values())

    @property
    def minor(self) -> dict[str, int]:
        """Return every figure as shown, rounded so that the row adds up."""
        opening, closing = shown(self.opening_micros), shown(self.closing_micros)
        micros = [*(self.parts[name] for name in PARTS), self.adjustment_micros, self.fx_micros]
        rounded = parts_shown(closing - opening, micros)
        return {"opening": opening, **dict(zip(ROW, rounded, strict=True)), "closing": closing}

    @property
    def micros(self) -> dict[str, int]:
        return {
            "opening": self.opening_micros,
            **{name: self.parts[name] for name in PARTS},
            "adjustment": self.adjustment_micros,
            "fx": self.fx_micros,
            "closing": self.closing_micros,
        }


@dataclass(frozen=True, slots=True)
class Brand:
    """One source's part of a waterfall; without a source, what lies between brands and in no single one.

    An Account that leaves one brand for another is a loss here and a gain there, and nothing on the whole.
    """

    source_pk: int | None
    waterfall: Waterfall


def waterfall(
    first: date,
    last: date,
    *,
    today: date,
    options: Options | None = None,
    currency: str | None = None,
    sources: Sequence[int] | None = None,
    accounts: Mapping[int, str] | None = None,
    rates: fx.Conversion | None = None,
    by_brand: bool = False,
) -> Waterfall:
    """Return the waterfall from one month to another (first days, both in), of one currency or of all.

    `accounts` names the Account of the customers that share one with others, as the level asks. Options that have no
    meaning together must have been refused before (mrr.waterfalls.refusal). Of all currencies, balances and movements
    are in the reporting one; the netted view compares in constant currency, and what exchange rates did is then `fx`.
    """
    seen = _Seen.read(
        options or Options(), first, last, today, currency, sources_or_live(sources), accounts or {}, rates
    )
    total = seen.waterfall(seen.kept)
    if not by_brand:
        return total
    return _with_brands(total, [Brand(pk, seen.waterfall([pk])) for pk in seen.kept if pk in seen.flows.sources])


def waterfall_groups(
    first: date,
    last: date,
    part: str,
    *,
    today: date,
    options: Options,
    currency: str | None,
    sources: Sequence[int] | None = None,
    accounts: Mapping[int, str] | None = None,
    rates: fx.Conversion | None = None,
) -> dict[tuple[int, ...], Group]:
    """Return who makes up a part of the netted view, counted from the entries of all customers, by their keys.

    A customer, or the customers of one Account, with the balances compared, in constant currency where there are
    several.
    """
    kept = sources_or_live(sources)
    found = reading.ends(kept, first, last, currency=currency)
    if options.discounts is Discounts.GROSS:
        found = reading.before_discounts(found, kept, first, last)
    if options.measure is Counted.CMRR:
        found = reading.with_scheduled(found, *_scheduled(kept, first, last, today, currency))
    conversion = None if currency is not None else rates or fx.conversion({one.currency for one in found})
    key_of = _KeyOf(accounts or {})
    members: dict[Hashable, set[int]] = {}
    for one in found:
        members.setdefault(key_of(one), set()).add(one.customer_pk)
    groups = grouped(found, key_of, _constant(conversion))
    return {tuple(sorted(members[key])): group for key, group in groups.items() if group.part == part}


# ---- one look at a period ----


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that was read about a period, for the total and for each brand.

    `steps` are the movements by which discounts changed, `off` what they took off at the start by source and currency;
    `then` and `now` what was scheduled at both ends; `otherwise` the balances of whom the sums show otherwise.
    """

    asked: Options
    first: date
    last: date
    today: date
    currency: str | None
    kept: Sequence[int]
    accounts: Mapping[int, str]
    rates: fx.Conversion | None
    flows: Flows
    steps: Sequence[reading.DiscountStep]
    off: Mapping[tuple[int, str], int]
    then: reading.Scheduled
    now: reading.Scheduled
    otherwise: Sequence[Ends]

    @classmethod
    def read(
        cls,
        asked: Options,
        first: date,
        last: date,
        today: date,
        currency: str | None,
        kept: Sequence[int],
        accounts: Mapping[int, str],
        rates: fx.Conversion | None,
    ) -> _Seen:
        flows = Flows.read(kept, first, last, currency=currency, basis=asked.basis)
        conversion = None if currency is not None else rates or fx.conversion(flows.currencies)
        steps: Sequence[reading.DiscountStep] = ()
        off: Mapping[tuple[int, str], int] = {}
        if asked.discounts is Discounts.GROSS:
            steps = reading.discount_steps(kept, first, last, currency=currency)
            off = reading.discounts_before(kept, first, currency=currency)
        then: reading.Scheduled = {}
        now: reading.Scheduled = {}
        if asked.measure is Counted.CMRR:
            then, now = _scheduled(kept, first, last, today, currency)
        otherwise: Sequence[Ends] = ()
        if asked.view is View.NETTED:
            chosen = {*accounts, *(step.customer_pk for step in steps), *(pk for _, pk, _ in (*then, *now))}
            if currency is None and len(flows.currencies) > 1:
                chosen |= reading.of_several_currencies(kept)
            otherwise = reading.ends(kept, first, last, currency=currency, customers=chosen) if chosen else ()
        return cls(
            asked, first, last, today, currency, kept, accounts, conversion, flows, steps, off, then, now, otherwise
        )

    def waterfall(self, sources: Sequence[int]) -> Waterfall:
        """Return the period of some of the sources."""
        natives = self._natives(sources)
        moved = self._netted(sources) if self.asked.view is View.NETTED else self._moved(natives, sources)
        opening, opened, closing, held = self._balances(natives, sources)
        adjustment = self._adjusted(natives, sources) if self.asked.basis is Basis.CLOSED else 0
        change = closing - opening - opened - adjustment
        is_constant = self.rates is not None and self.asked.rates is Rates.CONSTANT
        parts = tied(moved.parts, change) if is_constant else moved.parts
        return Waterfall(
            self.rates.reporting if self.rates else self.currency or "",
            self.first,
            self.last,
            self.asked,
            opening + opened,
            parts,
            adjustment,
            change - sum(parts.values()) if self.rates is not None else 0,
            closing,
            Customers(*(moved.counts[name] for name in COUNTS)),
            self._off(natives, sources, moved),
            tuple(sorted(held | (self.flows.held(sources) if self.rates is not None else set()))),
            self.last == self.today.replace(day=1),
        )

    def _natives(self, sources: Sequence[int]) -> dict[str, Opened]:
        """Return each currency by itself, without its discounts or with what is scheduled where that is asked for."""
        found = self.flows.of(sources)
        for (source_pk, code), micros in self.off.items():
            if source_pk in sources:
                found[code] = found[code].plus(micros, micros)
        for step in self._steps(sources):
            opened = step.micros if step.type == "opening" else 0
            found[step.currency] = found[step.currency].plus(0, step.micros, opened=opened)
        for scheduled, is_end in ((self.then, False), (self.now, True)):
            for (source_pk, _, code), micros in scheduled.items():
                if source_pk in sources:
                    found[code] = found.get(code, Opened()).plus(*((0, micros) if is_end else (micros, 0)))
        return found

    def _steps(self, sources: Sequence[int]) -> list[reading.DiscountStep]:
        return [step for step in self.steps if step.source_pk in sources]

    def _moved(self, natives: Mapping[str, Opened], sources: Sequence[int]) -> Compared:
        """Return the movements: each entry at its day's rate, or in constant currency; before discounts renamed."""
        own = self._moved_natively(natives, sources)
        counts = self.flows.customers(sources, mixed=self.rates is not None)
        if self.rates is None:
            return Compared(own.get(self.currency or "", dict.fromkeys(PARTS, 0)), counts)
        if self.asked.rates is Rates.CONSTANT:
            parts = dict.fromkeys(PARTS, 0)
            for code, moved in own.items():
                for name in PARTS:
                    parts[name] += _at(self.rates, moved[name], code)
            return Compared(parts, counts)
        parts = self.flows.converted(sources, self.rates.reporting)
        for step in self._steps(sources):
            if step.type in PARTS:
                day = day_of(step.effective_at)
                parts[step.type] -= self.rates.at(step.net_micros, step.currency, day) or 0
                parts[step.gross_type] += self.rates.at(step.gross_micros, step.currency, day) or 0
        return Compared(parts, counts)

    def _moved_natively(self, natives: Mapping[str, Opened], sources: Sequence[int]) -> dict[str, dict[str, int]]:
        own = {code: dict(one.moved) for code, one in natives.items()}
        for step in self._steps(sources):
            if step.type in PARTS:
                own[step.currency][step.type] -= step.net_micros
                own[step.currency][step.gross_type] += step.gross_micros
        return own

    def _netted(self, sources: Sequence[int]) -> Compared:
        """Return both ends compared, in constant currency where there are several."""
        plain = [one for one in self.otherwise if one.source_pk in sources]
        return regrouped(
            self.flows.compared(sources),
            self._as_asked(plain, sources),
            _KeyOf(self.accounts),
            _constant(self.rates),
            plain=plain,
        )

    def _as_asked(self, plain: Sequence[Ends], sources: Sequence[int]) -> Sequence[Ends]:
        if self.asked.discounts is Discounts.GROSS:
            return reading.before_discounts(plain, sources, self.first, self.last)
        if self.asked.measure is Counted.CMRR:
            then, now = (
                {place: micros for place, micros in scheduled.items() if place[0] in sources}
                for scheduled in (self.then, self.now)
            )
            return reading.with_scheduled(plain, then, now)
        return plain

    def _off(self, natives: Mapping[str, Opened], sources: Sequence[int], moved: Compared) -> int:
        """Return by how much the movements miss the change of the balances, in the first currency where they do."""
        if self.asked.view is View.EVENT:
            found = {code: sum(parts.values()) for code, parts in self._moved_natively(natives, sources).items()}
        elif self.rates is None:
            found = {self.currency or "": sum(moved.parts.values())}
        else:
            found = {code: sum(one.parts.values()) for code, one in self.flows.compared(sources).items()}
            natives = self.flows.of(sources)
        missed = (
            found.get(code, 0) + one.opened + one.adjusted - (one.end - one.start) for code, one in natives.items()
        )
        return next((micros for micros in missed if micros), 0)

    def _balances(self, natives: Mapping[str, Opened], sources: Sequence[int]) -> tuple[int, int, int, set[str]]:
        """Return opening, what was taken over, closing, and the currencies that could not be converted."""
        rates = self.rates
        if rates is None:
            one = natives.get(self.currency or "", Opened())
            return one.start, one.opened, one.end, set()
        held = {code for code in rates.stale if code in natives}
        totals = [0, 0, 0]
        for code, one in natives.items():
            values = self._converted(one, code, sources, rates)
            held |= {code} if None in values else set()
            totals = [total + (value or 0) for total, value in zip(totals, values, strict=True)]
        return totals[0], totals[1], totals[2], held

    def _converted(
        self, one: Opened, code: str, sources: Sequence[int], rates: fx.Conversion
    ) -> tuple[int | None, int, int | None]:
        if self.asked.rates is Rates.CONSTANT:
            start = rates.constant(one.start + one.opened, code) if one.start + one.opened else 0
            return start, 0, rates.constant(one.end, code) if one.end else 0
        opened = self.flows.opened(sources, code, rates.reporting)
        for step in self._steps(sources):
            if step.type == "opening" and step.currency == code:
                day = day_of(step.effective_at)
                opened += (rates.at(step.gross_micros, code, day) or 0) - (rates.at(step.net_micros, code, day) or 0)
        last_day = min(month_after(self.last) - timedelta(days=1), self.today)
        return (
            rates.at(one.start, code, self.first - timedelta(days=1)) if one.start else 0,
            opened,
            rates.at(one.end, code, last_day) if one.end else 0,
        )

    def _adjusted(self, natives: Mapping[str, Opened], sources: Sequence[int]) -> int:
        if self.rates is None:
            return sum(one.adjusted for one in natives.values())
        if self.asked.rates is Rates.CONSTANT:
            return sum(_at(self.rates, one.adjusted, code) for code, one in natives.items())
        return self.flows.adjusted(sources, self.rates)


@dataclass(frozen=True, slots=True)
class _KeyOf:
    """Takes a customer's currencies together, and the customers of one Account."""

    accounts: Mapping[int, str]

    def __call__(self, one: Ends) -> Hashable:
        return self.accounts.get(one.customer_pk, one.customer_pk)


def _scheduled(
    sources: Sequence[int], first: date, last: date, today: date, currency: str | None
) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return what was scheduled as known when the period began, and when it ended."""
    then, now = (reading.scheduled(sources, month, today=today, currency=currency) for month in (_before(first), last))
    return then, now


def _with_brands(total: Waterfall, brands: Sequence[Brand]) -> Waterfall:
    """Add a line for what no single brand holds, so that the brands come to the total exactly."""
    rest = {name: micros - sum(one.waterfall.micros[name] for one in brands) for name, micros in total.micros.items()}
    between = Waterfall(
        total.currency,
        total.first,
        total.last,
        total.options,
        rest["opening"],
        {name: rest[name] for name in PARTS},
        rest["adjustment"],
        rest["fx"],
        rest["closing"],
        Customers(
            *(
                getattr(total.customers, name) - sum(getattr(one.waterfall.customers, name) for one in brands)
                for name in COUNTS
            )
        ),
    )
    rows = (*brands, Brand(None, between)) if any(rest.values()) else tuple(brands)
    found = {name: getattr(total, name) for name in Waterfall.__slots__}
    return Waterfall(**(found | {"brands": rows}))


def _constant(rates: fx.Conversion | None) -> Convert | None:
    if rates is None:
        return None
    return lambda micros, currency: _at(rates, micros, currency)


def _at(rates: fx.Conversion, micros: int, currency: str) -> int:
    return (rates.constant(micros, currency) or 0) if micros else 0


def _before(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)
