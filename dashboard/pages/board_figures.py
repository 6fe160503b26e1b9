"""Gathers what a board pack says of a month: key figures, months, what moved, cohorts, retention, its signature."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from typing import Literal

from dashboard import losses, periods
from dashboard.losses import By, Losses
from dashboard.pages import months as monthly
from dashboard.pages.shared import Scope
from mrr import metrics
from mrr import selectors as mrr
from mrr.engine.money import MICROS, shown

YEAR = 12
SHOWN_MOVEMENTS = 10
MEASURE = mrr.Measure.NET_MRR

NOBODY = "nobody paid at the start"

Unit = Literal["money", "change", "ratio", "multiple", "count"]
Kind = Literal["balance", "activity"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key figure: exact (micros, a ratio or a count; None is not known), as shown, and what it was a month before.

    `minor` is of an amount; `code` opens it; `meaning` is its line among the definitions.
    """

    label: str
    unit: Unit
    kind: Kind
    exact: int | Fraction | None
    code: str
    meaning: str
    before: int | Fraction | None = None
    minor: int | None = None
    before_minor: int | None = None
    places: int = 1
    is_loss: bool = False
    lack: str = ""


@dataclass(frozen=True, slots=True)
class Signed:
    """How a closed month stands: its close, its closing as signed and as known now, in the currency of the figures."""

    closed: mrr.ClosedMonth
    signed_micros: int
    restated_micros: int
    lacks: tuple[str, ...]

    @property
    def learned_minor(self) -> int:
        return shown(self.restated_micros) - shown(self.signed_micros)


@dataclass(frozen=True, slots=True)
class Pack:
    """A board pack. `months` end with the pack's own; `year` is the twelve months' comparison that ends with it.

    `held` are currencies without a rate of some day: the figures leave them out.
    """

    month: date
    currency: str
    is_running: bool
    months: tuple[mrr.Month, ...]
    before: mrr.Month
    year: mrr.KeptPeriod
    years: tuple[mrr.KeptPeriod, ...]
    cohorts: mrr.Cohorts
    lost: Losses
    causes: tuple[monthly.CauseLine, ...]
    movements: tuple[mrr.Moved, ...]
    count: int
    signed: Signed | None
    held: tuple[str, ...]

    @property
    def last(self) -> mrr.Month:
        return self.months[-1]

    @property
    def last_day(self) -> date:
        return monthly.last_day(self.month)

    @property
    def year_code(self) -> str:
        return f"{self.year.first:%Y-%m}..{self.month:%Y-%m}"


def gather(month: date, length: int, scope: Scope, *, today: date, sees_people: bool) -> Pack:
    """Return the pack of a month (its first day) with so many months before and with it; `today` in the zone."""
    first = periods.plus_months(month, -max(length, 2 * YEAR))
    known = mrr.series(
        first, month, today=today, currency=scope.native, sources=scope.sources, rates=scope.rates
    ).months
    series = known[-length - 1 :]
    kept = mrr.retention(
        YEAR,
        periods.plus_months(month, -YEAR),
        month,
        today=today,
        currency=scope.native,
        sources=scope.sources,
        rates=scope.rates,
        known=known,
    ).periods
    lost = mrr.lost(YEAR, month, currency=scope.native, sources=scope.sources, rates=scope.rates)
    chosen = mrr.MovementFilter(
        scope.sources, month, monthly.last_day(month), types=monthly.PARTS, currency=scope.native
    )
    last = series[-1]
    causes = mrr.causes(chosen, scope.rates)
    found = _cohorts(month, scope, today=today)
    return Pack(
        month=month,
        currency=scope.currency,
        is_running=last.is_running,
        months=_begun(series[1:]),
        before=series[-2],
        year=kept[-1],
        years=kept,
        cohorts=found,
        lost=losses.grouped(
            lost, By.REASON, churn_minor=kept[-1].minor["churn"], sources=scope.sources, sees_people=sees_people
        ),
        causes=monthly.caused([last], causes, has_fx=scope.is_consolidated),
        movements=tuple(mrr.largest_movements(chosen, limit=SHOWN_MOVEMENTS, rates=scope.rates)),
        count=sum(cause.count for cause in causes),
        signed=_signed(month, scope, last),
        held=tuple(sorted({*found.held, *kept[-1].held, *(code for row in series for code in row.held)})),
    )


def keys(pack: Pack, scope: Scope) -> tuple[Key, ...]:
    """Return the key figures of a month, each with what it was a month before: four main ones, then eight."""
    last, before, code, year_code = pack.last, pack.before, f"{pack.month:%Y-%m}", pack.year_code
    year, was, counts = pack.year.kept, pack.years[-2].kept, last.customers
    return (
        _money("MRR", last.closing_micros, before.closing_micros, f"mrr:{code}", "balance"),
        _money("ARR", 12 * last.closing_micros, 12 * before.closing_micros, f"arr:{code}", "arr"),
        _net(last, before, f"net:{code}", has_fx=scope.is_consolidated),
        Key("NRR, 12 months", "ratio", "balance", year.nrr, f"nrr:{year_code}", "nrr", was.nrr, lack=NOBODY),
        Key("GRR, 12 months", "ratio", "balance", year.grr, f"grr:{year_code}", "grr", was.grr, lack=NOBODY),
        _loss("Revenue churn, 12m", year.revenue_churn, was.revenue_churn, f"rchurn:{year_code}", "rchurn"),
        _loss("Logo churn, 12m", year.logo_churn, was.logo_churn, f"logo:{year_code}", "logo"),
        _loss("Logo churn, month", last.logo_churn, before.logo_churn, f"logo:{code}", "logo"),
        Key(
            "Quick ratio", "multiple", "activity", last.quick_ratio, f"quick:{code}", "quick", before.quick_ratio,
            lack="nothing was lost",
        ),
        _arpa(last, before, f"arpa:{code}"),
        _count("Paying customers", "balance", counts.closing, before.customers.closing, f"mrr:{code}", "paying"),
        _count("New customers", "activity", counts.new, before.customers.new, f"new:{code}", "new"),
    )  # fmt: skip


def exact_lines(pack: Pack, scope: Scope, *, zone: str, policy_version: int) -> list[tuple[str, ...]]:
    """Return every figure of the pack exactly, as (part, row, figure, unit, value): ids and figures, no names.

    Amounts are micros of the currency that the unit names, ratios have six decimals, `n/a` is not known.
    """
    lines: list[tuple[str, ...]] = [
        ("pack", "", "month", "", f"{pack.month:%Y-%m}"),
        ("pack", "", "sources", "", " ".join(scope.slugs)),
        ("pack", "", "currency", "", pack.currency if not scope.is_consolidated else f"all in {pack.currency}"),
        ("pack", "", "time_zone", "", zone),
        ("pack", "", "policy_version", "", str(policy_version)),
        ("pack", "", "currencies_without_rate", "", " ".join(pack.held) or "none"),
    ]
    lines += [("key", "", key.label, *_exact(key, pack.currency)) for key in keys(pack, scope)]
    for row in pack.months:
        at, unit = f"{row.month:%Y-%m}", f"micros {pack.currency}"
        for name in ("opening", *monthly.MOVED, "closing"):
            lines.append(("month", at, name, unit, str(getattr(row, f"{name}_micros"))))
        lines.append(("month", at, "customers", "count", str(row.customers.closing)))
        lines += [("month", at, name, "ratio", _ratio(getattr(row, name))) for name in ("nrr", "grr", "logo_churn")]
    lines += _moved_lines(pack)
    for cohort in pack.cohorts.cohorts:
        at = f"{cohort.cohort:%Y-%m}"
        lines.append(("cohort", at, "customers", "count", str(cohort.customers)))
        lines.append(("cohort", at, "acquired", f"micros {pack.currency}", str(cohort.acquired_micros)))
        lines += [
            ("cohort", at, str(cell.period), f"micros {pack.currency}", str(cell.micros)) for cell in cohort.cells
        ]
    lines += _kept_lines(pack)
    return lines


def digest(lines: Sequence[tuple[str, ...]]) -> str:
    """Return the SHA-256 of exact lines: each line's cells joined by tabs and ended by a newline, UTF-8."""
    return hashlib.sha256("".join("\t".join(line) + "\n" for line in lines).encode()).hexdigest()


# ---- parts ----


def _money(label: str, micros: int, before: int, code: str, meaning: str) -> Key:
    return Key(label, "money", "balance", micros, code, meaning, before, shown(micros), shown(before))


def _net(last: mrr.Month, before: mrr.Month, code: str, *, has_fx: bool) -> Key:
    now, then = (monthly.span([row], has_fx=has_fx) for row in (last, before))
    return Key(
        "Net new MRR", "change", "activity", now.net_micros, code, "net", then.net_micros, now.net_minor, then.net_minor
    )


def _loss(label: str, value: Fraction | None, before: Fraction | None, code: str, meaning: str) -> Key:
    return Key(label, "ratio", "activity", value, code, meaning, before, places=2, is_loss=True, lack=NOBODY)


def _count(label: str, kind: Kind, number: int, before: int, code: str, meaning: str) -> Key:
    return Key(label, "count", kind, number, code, meaning, before)


def _arpa(last: mrr.Month, before: mrr.Month, code: str) -> Key:
    now, then = (metrics.arpa(mrr=row.closing_micros, customers=row.customers.closing) for row in (last, before))
    minor, minor_before = (None if value is None else round(value / MICROS) for value in (now, then))
    exact, exact_before = (None if value is None else round(value) for value in (now, then))
    return Key("ARPA", "money", "balance", exact, code, "arpa", exact_before, minor, minor_before, lack="nobody pays")


def _begun(months: Sequence[mrr.Month]) -> tuple[mrr.Month, ...]:
    """Leave out the months before the ledger begins; the last one always stays."""
    first = next(
        (at for at, row in enumerate(months) if row.opening_micros or row.closing_micros or row.customers.new),
        len(months) - 1,
    )
    return tuple(months[first:])


def _cohorts(month: date, scope: Scope, *, today: date) -> mrr.Cohorts:
    """Return the cohorts of the year before as they stood at the end of the month, averages of whole months alone."""
    is_running = month == periods.month_of(today)
    following = month if is_running else periods.plus_months(month, 1)  # the marked month must not be an ended one
    found = mrr.cohorts(
        MEASURE,
        today=following,
        currency=scope.native,
        first=periods.plus_months(month, 1 - YEAR),
        sources=scope.sources,
        rates=scope.rates,
    )
    rows = tuple(
        replace(cohort, cells=tuple(cell for cell in cohort.cells if cell.month <= month))
        for cohort in found.cohorts
        if cohort.cohort <= month
    )
    return replace(found, cohorts=rows)


def _signed(month: date, scope: Scope, last: mrr.Month) -> Signed | None:
    """Return how the month was signed, None while it is open; in one currency, or of all at the month's last rates.

    Test data is never signed.
    """
    closed = None if scope.is_test else mrr.closed_month(month)
    if closed is None:
        return None
    kept: dict[str, int] = {}
    for row in closed.figures:
        if row["source"] in scope.slugs and scope.native in (None, row["currency"]):
            kept[row["currency"]] = kept.get(row["currency"], 0) + row["closing_micros"]
    if scope.native is not None:
        return Signed(closed, kept.get(scope.native, 0), last.closing_micros, ())
    day = monthly.last_day(month)
    amounts = {code: scope.rates.at(micros, code, day) if scope.rates else None for code, micros in kept.items()}
    lacks = tuple(sorted(code for code, micros in amounts.items() if micros is None))
    return Signed(closed, sum(micros or 0 for micros in amounts.values()), last.closing_micros, lacks)


def _moved_lines(pack: Pack) -> Iterator[tuple[str, ...]]:
    unit = f"micros {pack.currency}"
    for cause in pack.causes:
        yield "cause", f"{cause.type} {cause.reason}", "amount", unit, str(cause.micros)
        yield "cause", f"{cause.type} {cause.reason}", "entries", "count", str(cause.count)
    for moved in pack.movements:
        yield "movement", moved.movement.key, "amount", unit, "n/a" if moved.micros is None else str(moved.micros)
        if moved.movement.currency != pack.currency:
            native = f"micros {moved.movement.currency}"
            yield "movement", moved.movement.key, "native amount", native, str(moved.movement.amount_micros)


def _kept_lines(pack: Pack) -> Iterator[tuple[str, ...]]:
    unit = f"micros {pack.currency}"
    for row in pack.years:
        at = f"{row.first:%Y-%m}..{row.month:%Y-%m}"
        yield "12 months", at, "nrr", "ratio", _ratio(row.kept.nrr)
        yield "12 months", at, "grr", "ratio", _ratio(row.kept.grr)
    for name in ("start", "expansion", "contraction", "churn", "end"):
        yield "12 months", pack.year_code, name, unit, str(getattr(pack.year.kept, name))
    for group in pack.lost.groups:
        yield "churn, 12 months", group.key, "amount", unit, str(group.micros)
        yield "churn, 12 months", group.key, "customers", "count", str(group.customers)
    if pack.signed is not None:
        yield "close", str(pack.signed.closed.number), "closing as signed", unit, str(pack.signed.signed_micros)
        yield "close", str(pack.signed.closed.number), "entries", "sha256", pack.signed.closed.entries_digest
        yield "close", str(pack.signed.closed.number), "close", "sha256", pack.signed.closed.digest


def _exact(key: Key, currency: str) -> tuple[str, str]:
    if key.unit in ("money", "change"):
        return f"micros {currency}", "n/a" if key.exact is None else str(key.exact)
    if key.unit == "count":
        return "count", str(key.exact)
    return "ratio", _ratio(None if key.exact is None else Fraction(key.exact))


def _ratio(value: Fraction | None) -> str:
    return metrics.decimal_text(value) or "n/a"
