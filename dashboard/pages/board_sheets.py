"""The board pack as a workbook: each of its tables as a sheet, the definitions, and every figure exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from fractions import Fraction
from typing import Any

from dashboard import charts, formats, workbooks
from dashboard.pages import months as monthly
from dashboard.pages.board_figures import Key, Pack
from dashboard.pages.cohort_heat import cohort_name
from dashboard.pages.shared import Scope, reason
from dashboard.workbooks import Chart, Digits, Money, Share, Sheet, Value
from mrr.engine.money import shown

EXACT = ("Part", "Row", "Figure", "Unit", "Value")


@dataclass(frozen=True)
class Facts:
    """What the page shows, as the workbook takes it; `lines` are the exact figures and `digest` their hash."""

    pack: Pack
    scope: Scope
    keys: tuple[Key, ...]
    today: tuple[Key, ...]
    lines: Sequence[tuple[str, ...]]
    digest: str
    definitions: Sequence[tuple[str, str]]
    notes: tuple[Any, ...]
    top: tuple[Any, ...]


def workbook(facts: Facts, *, about: Sequence[tuple[str, str]], zone: tzinfo) -> bytes:
    """Return the XLSX; `about` says who made it, when, with which filters and policy."""
    name = formats.month(facts.pack.month, long=True)
    sheets = [
        _summary(facts, name),
        _months(facts),
        _causes(facts, name),
        _movements(facts, name),
        _cohorts(facts),
        _retention(facts),
        _books(facts, name, about),
        Sheet("Definitions", "Definitions", ("What", "Means"), facts.definitions),
        _exact(facts),
    ]
    return workbooks.book(sheets, zone=zone, foot=f"Board pack {name}, SHA-256 {facts.digest}")


def _summary(facts: Facts, name: str) -> Sheet:
    pack = facts.pack
    rows = [
        (key.label, key.kind, _value(key, key.exact, key.minor, pack), _value(key, key.before, key.before_minor, pack))
        for key in facts.keys
    ]
    rows += [
        (f"{key.label}, today", key.kind, _value(key, key.exact, key.minor, pack), formats.NOT_KNOWN)
        for key in facts.today
    ]
    return Sheet(
        "Summary",
        f"Board pack {name}, {facts.scope.words}",
        ("Key figure", "Kind", formats.month(pack.month), formats.month(pack.before.month)),
        rows,
        notes=(
            f"Amounts in {pack.currency.upper()}; those of today are not of the month, nor in the hash",
            *(f"{note.title} {note.text}" for note in facts.notes),
        ),
    )


def _value(key: Key, exact: int | Fraction | None, minor: int | None, pack: Pack) -> Value:
    if key.unit in ("money", "change"):
        if exact is None:
            return formats.NOT_KNOWN
        return Money(int(exact), pack.currency, minor, is_change=key.unit == "change")
    if key.unit == "count":
        return None if exact is None else int(exact)
    if exact is None:
        return formats.NOT_KNOWN
    return Share(Fraction(exact), key.places) if key.unit == "ratio" else Fraction(exact)


def _months(facts: Facts) -> Sheet:
    pack, names = facts.pack, _moved(facts)
    rows = [
        (
            row.month,
            "so far" if row.is_running else "",
            *(
                Money(
                    getattr(row, f"{name}_micros"), pack.currency, getattr(row, f"{name}_minor"), name not in _BALANCES
                )
                for name in ("opening", *names, "closing")
            ),
            Money(12 * row.closing_micros, pack.currency, shown(12 * row.closing_micros)),
            row.customers.closing,
            *(Share(getattr(row, name)) for name in ("nrr", "grr")),
            Share(row.logo_churn, 2),
            row.quick_ratio,
        )
        for row in pack.months
    ]
    columns = ("Month", "State", *(charts.LABELS[name] for name in ("opening", *names, "closing")))
    more = ("ARR", "Paying customers", "NRR, 1 month", "GRR, 1 month", "Logo churn", "Quick ratio")
    closing = 2 + len(names) + 1
    chart = Chart("bar", f"MRR at the end of each month, {pack.currency.upper()}", (closing,), len(rows), "#,##0")
    return Sheet("Months", "MRR and ARR by month", (*columns, *more), rows, chart=chart)


_BALANCES = ("opening", "closing")


def _moved(facts: Facts) -> tuple[str, ...]:
    return monthly.MOVED if facts.scope.is_consolidated else monthly.PARTS


def _causes(facts: Facts, name: str) -> Sheet:
    pack = facts.pack
    rows = [
        (
            charts.LABELS[cause.type],
            reason(cause.reason),
            cause.count,
            Money(cause.micros, pack.currency, cause.minor, True),
        )
        for cause in pack.causes
    ]
    micros = sum(cause.micros for cause in pack.causes)
    total = ("Net new MRR", "", pack.count, Money(micros, pack.currency, pack.last.net_new_minor, True))
    return Sheet(
        "Reasons", f"What moved MRR in {name}, by reason", ("Movement", "Reason", "Entries", "MRR"), rows, total
    )


def _movements(facts: Facts, name: str) -> Sheet:
    pack = facts.pack
    rows: list[tuple[Value, ...]] = [
        (
            top.line.effective_at,
            top.line.who,
            charts.LABELS.get(top.line.type, top.line.type),
            top.line.reason,
            Money(moved.movement.amount_micros, top.line.currency, top.line.minor, True),
            top.line.currency.upper(),
            None if moved.micros is None else Money(moved.micros, pack.currency, top.minor, True),
            top.line.key,
        )
        for top, moved in zip(facts.top, pack.movements, strict=True)
    ]
    listed = sum(moved.micros or 0 for moved in pack.movements)
    minor = sum(top.minor or 0 for top in facts.top)
    net, net_minor = sum(cause.micros for cause in pack.causes), pack.last.net_new_minor
    if pack.count > len(rows):
        rest = Money(net - listed, pack.currency, net_minor - minor, True)
        more = f"{formats.count(pack.count - len(rows))} more"
        rows.append((None, more, None, None, None, None, rest, None))
    total = (None, "Net new MRR", None, None, None, None, Money(net, pack.currency, net_minor, True), None)
    columns = ("Effective", "Customer", "Movement", "Reason", "Amount", "Currency", pack.currency.upper(), "Entry")
    return Sheet("Movements", f"The largest movements of {name}", columns, rows, total)


def _cohorts(facts: Facts) -> Sheet:
    found = facts.pack.cohorts
    length = max((cell.period for cohort in found.cohorts for cell in cohort.cells), default=0) + 1
    rows = []
    for cohort in found.cohorts:
        cells = {cell.period: cell.ratio for cell in cohort.cells}
        shares = [Share(cells[at]) if cells.get(at) is not None else None for at in range(length)]
        rows.append(
            (
                cohort_name(found, cohort.cohort),
                cohort.customers,
                Money(cohort.acquired_micros, found.currency),
                *shares,
            )
        )
    averages = {average.period: average.ratio for average in found.averages}
    total = (
        "Weighted average",
        sum(cohort.customers for cohort in found.cohorts),
        Money(sum(cohort.acquired_micros for cohort in found.cohorts), found.currency),
        *(Share(averages[at]) if averages.get(at) is not None else None for at in range(length)),
    )
    columns = ("Cohort", "Customers", "Acquired", *(f"Month {at}" for at in range(length)))
    return Sheet("Cohorts", "Percent of acquired MRR still paying", columns, rows, total)


def _retention(facts: Facts) -> Sheet:
    pack = facts.pack
    rows: list[tuple[Value, ...]] = [
        (
            f"{formats.month(row.first)} – {formats.month(row.month)}",
            row.kept.customers,
            row.kept.churned,
            *(
                Money(getattr(row.kept, name), pack.currency, row.minor[name], name not in ("start", "end"))
                for name in ("start", "expansion", "contraction", "churn", "end")
            ),
            Share(row.kept.nrr),
            Share(row.kept.grr),
            Share(row.kept.revenue_churn, 2),
            Share(row.kept.logo_churn, 2),
        )
        for row in pack.years[1:]
    ]
    rows += [
        (
            f"Churn: {group.label}",
            None,
            group.customers,
            None,
            None,
            None,
            Money(group.micros, pack.currency, group.minor, True),
        )
        for group in pack.lost.groups
    ]
    columns = "12 months,Customers,Lost,Start,Expansion,Contraction,Churn,End,NRR,GRR,Revenue churn,Logo churn"
    notes = ("Below, the churn of the last 12 months by reason",) if pack.lost.groups else ()
    chart = Chart("line", "NRR and GRR over 12 months", (8, 9), len(pack.years) - 1, "0%")
    return Sheet(
        "Retention", "What the customers of a year ago pay", columns.split(","), rows, notes=notes, chart=chart
    )


def _books(facts: Facts, name: str, about: Sequence[tuple[str, str]]) -> Sheet:
    pack = facts.pack
    rows: list[tuple[Value, ...]] = [*about, ("Hash of this pack, SHA-256", facts.digest)]
    if pack.signed is None:
        rows.append(("Close", "running" if pack.is_running else "open: nobody has signed it yet"))
    else:
        closed = pack.signed.closed
        rows += [
            ("Close", f"closed by {closed.closed_by}"),
            ("Closed at", closed.closed_at),
            ("Closing MRR as signed", Money(pack.signed.signed_micros, pack.currency)),
            ("Closing MRR as known now", Money(pack.signed.restated_micros, pack.currency)),
            ("Entries booked", closed.entries),
            ("Entries, SHA-256", closed.entries_digest),
            ("Close, SHA-256", closed.digest),
            ("Seal of the chain", closed.seal_number),
            ("Seal, SHA-256", closed.seal_digest),
            ("Metric policy when signed", f"version {closed.policy_version}"),
        ]
    rows += [(note.title, note.text) for note in facts.notes]
    return Sheet("Books", f"How {name} stands", ("What", "Is"), rows)


def _exact(facts: Facts) -> Sheet:
    """Write every exact figure; the sheet's rows, joined by tabs and ended by newlines, give the hash."""
    rows = [(*line[:-1], _digits(line[-1])) for line in facts.lines]
    notes = (
        f"SHA-256 {facts.digest}",
        "of the rows below the head: cells joined by tabs, each row ended by a newline, UTF-8",
    )
    return Sheet("Exact", "Every figure exactly", EXACT, rows, notes=notes)


def exact_rows(facts: Facts) -> Iterator[Sequence[str | int]]:
    """Yield the exact figures for a CSV: whole numbers as numbers, so that no sign is taken for a formula."""
    for line in facts.lines:
        value = _digits(line[-1])
        yield (*line[:-1], value.number if isinstance(value, Digits) else line[-1])


def _digits(text: str) -> Value:
    return Digits(int(text)) if text.lstrip("-").isdigit() and str(int(text)) == text else text
