"""Explains ratios of a month: the quick ratio, MRR per customer."""

from __future__ import annotations

from dashboard import charts, formats
from dashboard.pages import months as monthly
from dashboard.pages.explain.parts import (
    Asked,
    FormulaLine,
    Panel,
    months_of,
)
from mrr import selectors as mrr
from mrr.engine.money import shown


def ratio(asked: Asked) -> Panel:
    month = months_of(asked, view=mrr.View.EVENT if asked.kind == "quick" else mrr.View.NETTED)[0]
    name, value, rows, total = RATIOS[asked.kind](asked, month)
    return Panel(
        name=f"{name}, {asked.words}",
        figure=value,
        kind=asked.under("Balance" if asked.kind == "arpa" else f"Activity of {asked.words}"),
        meaning=" ".join(asked.meaning(key) for key in _meanings(asked)),
        currency=asked.currency,
        formula=tuple(rows),
        formula_note=_note(asked),
        formula_total=FormulaLine(total, value),
    )


def _meanings(asked: Asked) -> tuple[str, ...]:
    return (asked.kind, "constant") if asked.scope.is_consolidated and asked.kind in CONSTANT else (asked.kind,)


def _note(asked: Asked) -> str:
    is_constant = asked.scope.rates and asked.kind in CONSTANT
    return f"at the rates of {formats.day(asked.scope.rates.pinned_on)}" if is_constant and asked.scope.rates else ""


def _compared(asked: Asked, month: mrr.Month, name: str) -> str:
    """Write a part of what a ratio compares: as the months' rows show it, or in constant currency."""
    minor = shown(month.compared[name]) if asked.scope.is_consolidated else getattr(month, f"{name}_minor")
    return asked.money(minor, signed=True)


def _quick(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    rows = [
        FormulaLine(
            charts.LABELS[name],
            _compared(asked, month, name),
            "" if asked.scope.is_consolidated else f"{name}:{asked.rest}",
        )
        for name in monthly.PARTS
    ]
    missing = "nothing was lost in this month" if month.quick_ratio is None else "Gains ÷ losses"
    return "Quick ratio", formats.multiple(month.quick_ratio), rows, missing


def _arpa(asked: Asked, month: mrr.Month) -> tuple[str, str, list[FormulaLine], str]:
    customers = month.customers.closing
    arpa = mrr.CurrencyMrr(asked.currency, month.closing_micros, None, customers).arpa_minor
    value = formats.NOT_KNOWN if arpa is None else asked.money(arpa)
    rows = [
        FormulaLine("MRR", asked.money(month.closing_minor), f"mrr:{asked.rest}"),
        FormulaLine("Paying customers", formats.count(customers)),
    ]
    return "ARPA", value, rows, "MRR ÷ customers"


CONSTANT = ("quick",)
RATIOS = {"quick": _quick, "arpa": _arpa}
