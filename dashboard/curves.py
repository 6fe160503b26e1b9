"""Turns shares of what was acquired or paid into Plotly figures: curves of cohorts, and retention over time.

As in dashboard/charts.py, heights are doubles for drawing alone; what people read is text made of exact numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from dashboard import formats
from dashboard.charts import Figure, marker


@dataclass(frozen=True, slots=True)
class Curve:
    """What one cohort kept, month by month since it began; shares of what was acquired, None where unknown."""

    name: str
    shares: Sequence[Fraction | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """Retention of the period that ends with a month; None where it is not known. `code` is of its months."""

    month: date
    code: str
    nrr: Fraction | None
    grr: Fraction | None
    contraction: Fraction | None
    churn: Fraction | None
    is_running: bool = False


def retention_curves(curves: Sequence[Curve], average: Curve, *, unit: str = "month") -> Figure:
    """Draw what cohorts kept: the weighted average, the best and the worst stand out, the others are grey.

    `unit` is what the periods are: months, quarters or years.
    """
    known = [curve for curve in curves if _last(curve) is not None]
    ranked = sorted((curve for curve in known if len(curve.shares) > 2), key=lambda curve: _last(curve) or 0)
    named = {ranked[-1].name: "best", ranked[0].name: "worst"} if len(ranked) > 2 else {}
    data = [_curve(curve, "mute", unit) for curve in known if curve.name not in named]
    data += [_curve(curve, named[curve.name], unit) for curve in known if curve.name in named]
    data.append(_curve(average, "average", unit))
    ends = [(curve, named[curve.name]) for curve in known if curve.name in named] + [(average, "average")]
    return {
        "data": data,
        "layout": {
            "xaxis": {
                "title": {"text": f"{unit.capitalize()}s since acquisition", "font": {"size": 12}},
                "tickformat": "d",
                "rangemode": "tozero",
                "nticks": 8,
            },
            "yaxis": {"ticksuffix": "%", "tickformat": ",.0f", "nticks": 7},
            "shapes": [_full_line()],
            "annotations": [_curve_name(curve, role) for curve, role in ends if _last(curve) is not None],
            "margin": {"r": 72 if unit == "month" else 112},
        },
        "phone": {"margin": {"r": 64 if unit == "month" else 104}},
    }


def retention_over_time(periods: Sequence[Kept]) -> Figure:
    """Draw NRR and GRR as lines, and below them, on the same months, what was lost as a share of the start."""
    names = [f"{period.month:%b} '{period.month:%y}" for period in periods]
    lines = [_line("NRR", "nrr", periods, names), _line("GRR", "grr", periods, names)]
    bars = [_lost("contraction", periods, names), _lost("churn", periods, names)]
    ends = [_line_name(line, text) for line, text in zip(lines, ("NRR", "GRR"), strict=True) if any(line["y"])]
    return {
        "data": [*lines, *bars],
        "layout": {
            "barmode": "relative",
            "bargap": 0.38,
            "xaxis": {"anchor": "y2", "tickangle": 0, **_named_months(periods, names, 3)},
            "yaxis": {"domain": [0.42, 1], "ticksuffix": "%", "tickformat": ",.0f", "nticks": 6},
            "yaxis2": {"domain": [0, 0.3], "ticksuffix": "%", "tickformat": ",.0f", "nticks": 3, "zeroline": True},
            "shapes": [_full_line()],
            "annotations": ends,
            "margin": {"r": 48, "t": 16},
        },
        "phone": {"xaxis": _named_months(periods, names, 6)},
    }


_CURVES: dict[str, Figure] = {
    "mute": {"line": {"color": "--chart-mute", "width": 1}, "mode": "lines"},
    "best": {"line": {"color": "--chart-2", "width": 1.75}, "mode": "lines+markers", "marker": {"size": 5}},
    "worst": {
        "line": {"color": "--chart-3", "width": 1.75, "dash": "dash"},
        "mode": "lines+markers",
        "marker": {"size": 6, "symbol": "square"},
    },
    "average": {"line": {"color": "--text", "width": 2.5}, "mode": "lines"},
}


def _curve(curve: Curve, role: str, unit: str) -> Figure:
    look = _CURVES[role]
    shown = [(at, share) for at, share in enumerate(curve.shares) if share is not None]
    return {
        "type": "scatter",
        "mode": look["mode"],
        "x": [at for at, _ in shown],
        "y": [round(float(share * 100), 2) for _, share in shown],
        "line": look["line"],
        "marker": {"color": look["line"]["color"], **look.get("marker", {})},
        "customdata": [f"{curve.name}, {unit} {at}<br>{formats.ratio(share)}" for at, share in shown],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _curve_name(curve: Curve, role: str) -> Figure:
    at, share = [(at, share) for at, share in enumerate(curve.shares) if share is not None][-1]
    return {
        "x": at,
        "y": round(float(share * 100), 2),
        "text": curve.name,
        "showarrow": False,
        "xanchor": "left",
        "xshift": 7,
        "yanchor": {"average": "bottom", "worst": "top"}.get(role, "middle"),  # these two may end in one point
        "font": {"size": 12, "color": _CURVES[role]["line"]["color"]},
    }


def _full_line() -> Figure:
    line = {"color": "--line-input", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 100, "y1": 100, "line": line}


def _last(curve: Curve) -> Fraction | None:
    return next((share for share in reversed(curve.shares) if share is not None), None)


_LINES: dict[str, Figure] = {
    "nrr": {"color": "--chart-1", "width": 2.25},
    "grr": {"color": "--chart-3", "width": 2, "dash": "dash"},
}


def _line(label: str, kind: str, periods: Sequence[Kept], names: Sequence[str]) -> Figure:
    values = [period.nrr if kind == "nrr" else period.grr for period in periods]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(names),
        "y": [None if value is None else _percent(value) for value in values],
        "line": _LINES[kind],
        "marker": {
            "size": 6,
            "symbol": "circle" if kind == "nrr" else "square",
            "color": ["--surface" if period.is_running else _LINES[kind]["color"] for period in periods],
            "line": {"color": _LINES[kind]["color"], "width": 1.5},
        },
        "customdata": [
            f"{formats.month(period.month)}{', so far' if period.is_running else ''}<br>{label} {formats.ratio(value)}"
            "<br>Click for the formula"
            for period, value in zip(periods, values, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "connectgaps": False,
        "meta": {"explain": [f"{kind}:{period.code}" for period in periods]},
    }


def _lost(kind: str, periods: Sequence[Kept], names: Sequence[str]) -> Figure:
    shares = [period.contraction if kind == "contraction" else period.churn for period in periods]
    label = kind.capitalize()
    return {
        "type": "bar",
        "x": list(names),
        "y": [None if share is None else _percent(share) for share in shares],
        "xaxis": "x",
        "yaxis": "y2",
        "marker": marker(kind, size=4, edge=0.75),
        "customdata": [
            f"{formats.month(period.month)}<br>{label} {formats.ratio(share, places=2)} of the start"
            "<br>Click for the customers"
            for period, share in zip(periods, shares, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"explain": [f"kept-{kind}:{period.code}" for period in periods]},
    }


def _line_name(line: Figure, text: str) -> Figure:
    at = max(at for at, value in enumerate(line["y"]) if value is not None)
    return {
        "x": line["x"][at],
        "y": line["y"][at],
        "text": text,
        "showarrow": False,
        "xanchor": "left",
        "xshift": 8,
        "yanchor": "bottom" if text == "NRR" else "top",  # NRR is never below GRR: so their names keep apart
        "font": {"size": 12, "color": line["line"]["color"]},
    }


def _named_months(periods: Sequence[Kept], names: Sequence[str], every: int) -> Figure:
    chosen = range((len(periods) - 1) % every, len(periods), every)
    return {"tickvals": [names[at] for at in chosen], "ticktext": [names[at] for at in chosen]}


def _percent(share: Fraction) -> float:
    return round(float(share * 100), 2)
