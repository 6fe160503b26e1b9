"""Turns rows into Plotly figures as plain data; colours are names of tokens, which the browser resolves for its theme.

Heights are doubles of major units, because Plotly draws with doubles. Every figure that people read (hover, labels) is
text made of the integers. A trace's `meta.explain` says which figure each point opens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

from babel.numbers import get_currency_symbol

from dashboard import formats
from mrr.engine.money import exponent

Figure = dict[str, Any]

GAINS = ("new", "expansion", "reactivation")
LOSSES = ("contraction", "churn")
LABELS = {
    "opening": "Opening",
    "new": "New",
    "expansion": "Expansion",
    "reactivation": "Reactivation",
    "contraction": "Contraction",
    "churn": "Churn",
    "fx": "FX",
    "adjustment": "Adjustment",
    "closing": "Closing",
}
_BAR_WIDTH = 0.62


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of a waterfall: opening, a movement type or closing. Losses are negative; `note` is for its hover."""

    kind: str
    minor: int
    explain: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MonthBars:
    """One month over time: what moved, by type, and the balance at its end. Minor units, losses negative."""

    month: date
    closing_minor: int
    moved: dict[str, int]
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class BalanceStep:
    """One entry of a customer's history: when, what it moved and the MRR after it, in minor units."""

    on: date
    type: str
    minor: int
    after_minor: int
    explain: str = ""


def waterfall(steps: Sequence[Step], currency: str) -> Figure:
    """Draw opening, movements and closing as bars on an invisible base, joined by hairlines.

    Steps must be in order and add up. The axis is cut only where opening and closing would dwarf the movements; they
    then carry ≈, and the page says where the axis starts (`waterfall_base`).
    """
    base = waterfall_base(steps)
    data, joints, level = [], [], 0
    for at, step in enumerate(steps):
        low, high, after = _span(step, level, base)
        data.append(_waterfall_bar(step, low, high, currency))
        if at:
            joints.append((at - 1, level))
        level = after
    data.append(_joints(joints, currency))
    levels = [0 if base == 0 else base, *_levels(steps)]
    top = max(levels) + max(1, max(levels) - min(levels)) // 25
    across, up = [-0.5, len(steps) - 0.5], [_major(min(levels), currency), _major(top, currency)]
    cuts = [(0, steps[0].kind), (len(steps) - 1, steps[-1].kind)] if base else []
    return {
        "data": data,
        "layout": {
            "barmode": "overlay",
            "xaxis": {"showticklabels": False, "ticks": "", "showline": False, "range": across, "automargin": False},
            "xaxis2": {"overlaying": "x", "range": across, "visible": False},
            "yaxis": {"range": up, "visible": False, "automargin": False},
            "annotations": [_cut(LABELS[kind], base, top, currency) for _, kind in cuts],
            "margin": {"t": 4, "l": 0, "r": 0, "b": 0},
        },
    }


def waterfall_base(steps: Sequence[Step]) -> int:
    """Return where the axis of a waterfall starts, in minor units: 0 unless the movements would be too small to see."""
    levels = _levels(steps)
    low, span = min(levels), max(levels) - min(levels)
    if low <= 0 or span * 4 > max(levels):
        return 0
    wanted = low - max(span // 4, low // 500, 1)
    return max(0, _round_down(wanted))


def over_time(months: Sequence[MonthBars], currency: str, *, names_every: int = 1) -> Figure:
    """Draw the balance at each month's end as a line, and below it, on the same months, what moved.

    The axis names every `names_every`-th month, on a phone every third.
    """
    names = [f"{row.month:%b} '{row.month:%y}" for row in months]
    closing = [_major(row.closing_minor, currency) for row in months]
    running = any(row.is_running for row in months)
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": names,
        "y": closing,
        "line": {"color": "--chart-1", "width": 2.25},
        "customdata": [
            formats.month(row.month)
            + (", so far<br>" if row.is_running else "<br>")
            + formats.money(row.closing_minor, currency)
            for row in months
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"explain": [f"closing:{row.month:%Y-%m}" for row in months]},
    }
    last = {
        "type": "scatter",
        "mode": "markers",
        "x": names[-1:],
        "y": closing[-1:],
        "marker": {
            "size": 8,
            "color": "--surface" if running else "--chart-1",
            "line": {"color": "--chart-1", "width": 2.25},
        },
        "hoverinfo": "skip",
    }
    kinds = GAINS + LOSSES + (("fx",) if any("fx" in row.moved for row in months) else ())
    bars = [_month_bars(kind, months, names, currency) for kind in kinds]
    return {
        "data": [line, last, *bars],
        "layout": {
            "barmode": "relative",
            "bargap": 0.38,
            "xaxis": {
                "anchor": "y2",
                **_month_names(months, names, names_every),
                "tickangle": 0,
            },
            "yaxis": {"domain": [0.44, 1], **_money_axis([row.closing_minor for row in months], currency, ticks=4)},
            "yaxis2": {"domain": [0, 0.36], **_money_axis(_stacks(months), currency, ticks=3), "zeroline": True},
            "annotations": [
                {
                    "x": names[-1],
                    "y": closing[-1],
                    "text": short_money(months[-1].closing_minor, currency),
                    "showarrow": False,
                    "xanchor": "right",
                    "yanchor": "bottom",
                    "yshift": 8,
                    "font": {"size": 12, "color": "--chart-1"},
                }
            ]
            if months
            else [],
            "margin": {"r": 14, "t": 20},
        },
        "phone": {"xaxis": _month_names(months, names, 3)},
    }


def balance_steps(entries: Sequence[BalanceStep], currency: str, *, today: date) -> Figure:
    """Draw one customer's MRR as steps, a marker and its amount at each movement."""
    first = entries[0].on
    width = max(30, (today - first).days)
    levels = [_major(entry.after_minor, currency) for entry in entries]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": [first.isoformat(), *(entry.on.isoformat() for entry in entries), today.isoformat()],
        "y": [0, *levels, levels[-1]],
        "line": {"shape": "hv", "color": "--chart-1", "width": 2.25},
        "fill": "tozeroy",
        "fillcolor": "--accent-soft",
        "hoverinfo": "skip",
    }
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": [entry.on.isoformat() for entry in entries],
        "y": levels,
        "marker": {
            "size": 10,
            "symbol": [_symbol(entry.type) for entry in entries],
            "color": [f"--mv-{entry.type}" for entry in entries],
            "line": {"color": [_edge(entry.type) for entry in entries], "width": 1.25},
        },
        "customdata": [
            f"{formats.day(entry.on)}<br>{LABELS.get(entry.type, entry.type)} "
            f"{formats.money(entry.minor, currency, signed=True)}<br>MRR {formats.money(entry.after_minor, currency)}"
            for entry in entries
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"explain": [entry.explain for entry in entries]},
    }
    margin = max(3, width // 25)
    top = max(levels) * 1.18 or 1
    return {
        "data": [line, marks],
        "layout": {
            "xaxis": {
                "type": "date",
                "tickformat": "%-d %b<br>%Y" if width < 70 else "%b<br>%Y",
                "tickangle": 0,
                "nticks": 7,
                "range": [_day_off(first, -margin), _day_off(today, margin)],
            },
            "yaxis": {
                **_money_axis([0, *(entry.after_minor for entry in entries)], currency, ticks=3),
                "range": [0, top],
            },
            "annotations": _step_labels(entries, currency, width),
        },
        "phone": {"annotations": []},
    }


def short_money(minor: int, currency: str) -> str:
    """Write an amount as chart axes do: $774k, €1.2M; exact amounts stand in the tables."""
    major = Fraction(minor, 10 ** exponent(currency))
    for size, suffix in ((1_000_000, "M"), (1_000, "k")):
        if abs(major) >= size:
            tenths = round(major * 10 / size)
            whole, tenth = divmod(abs(tenths), 10)
            return (
                f"{formats.MINUS if tenths < 0 else ''}{symbol(currency)}{whole}{f'.{tenth}' if tenth else ''}{suffix}"
            )
    return formats.money(minor, currency)


def whole_money(minor: int, currency: str) -> str:
    """Write an amount without its decimals, for columns beside a heat map: $15,120; the panel holds the exact one."""
    unit = 10 ** exponent(currency)
    whole = round(Fraction(minor, unit))
    return formats.money_parts(whole * unit, currency)[0]


def symbol(currency: str) -> str:
    """Return a currency's sign as amounts carry it, a code with the space that keeps it off the figure."""
    sign = get_currency_symbol(currency.upper(), locale=formats.LOCALE)
    return f"{sign}\u00a0" if sign == currency.upper() else sign


def _major(minor: int, currency: str) -> float:
    return minor / 10 ** exponent(currency)


def _levels(steps: Sequence[Step]) -> list[int]:
    """Return every height that a waterfall passes through."""
    levels, level = [steps[0].minor], steps[0].minor
    for step in steps[1:-1]:
        level += step.minor
        levels.append(level)
    return [*levels, steps[-1].minor]


def _span(step: Step, level: int, base: int) -> tuple[int, int, int]:
    """Return a bar's lower and upper end and the level after it."""
    if step.kind in ("opening", "closing"):
        return min(base, step.minor), max(base, step.minor), step.minor
    after = level + step.minor
    return min(level, after), max(level, after), after


def _waterfall_bar(step: Step, low: int, high: int, currency: str) -> Figure:
    label = LABELS[step.kind]
    is_balance = step.kind in ("opening", "closing")
    lines = [label, formats.money(step.minor, currency, signed=not is_balance), step.note]
    lines += ["Click for the entries"] if step.explain else []
    return {
        "type": "bar",
        "x": [label],
        "y": [_major(high - low, currency)],
        "base": [_major(low, currency)],
        "width": _BAR_WIDTH,
        "marker": marker(step.kind, size=6),
        "hovertemplate": "<br>".join(line for line in lines if line) + "<extra></extra>",
        "showlegend": False,
        "meta": {"explain": step.explain},
    }


def _joints(joints: Sequence[tuple[int, int]], currency: str) -> Figure:
    x: list[float | None] = []
    y: list[float | None] = []
    for at, level in joints:
        x += [at + _BAR_WIDTH / 2, at + 1 - _BAR_WIDTH / 2, None]
        y += [_major(level, currency)] * 2 + [None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "line": {"color": "--line-input", "width": 1},
        "hoverinfo": "skip",
        "xaxis": "x2",
        "yaxis": "y",
    }


def _cut(label: str, base: int, top: int, currency: str) -> Figure:
    return {
        "x": label,
        "y": _major(base + (top - base) // 25, currency),
        "text": "≈",
        "showarrow": False,
        "font": {"size": 20, "color": "--surface"},
        "yanchor": "middle",
    }


def _month_names(months: Sequence[MonthBars], names: Sequence[str], every: int) -> Figure:
    chosen = range((len(months) - 1) % every, len(months), every)
    return {"tickvals": [names[at] for at in chosen], "ticktext": [f"{months[at].month:%b}" for at in chosen]}


def _month_bars(kind: str, months: Sequence[MonthBars], names: list[str], currency: str) -> Figure:
    return {
        "type": "bar",
        "x": names,
        "y": [_major(row.moved.get(kind, 0), currency) for row in months],
        "xaxis": "x",
        "yaxis": "y2",
        "marker": marker(kind, size=4, edge=0.75),
        "customdata": [
            f"{formats.month(row.month)}<br>{LABELS[kind]} "
            f"{formats.money(row.moved.get(kind, 0), currency, signed=True)}<br>Click for the entries"
            for row in months
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"explain": [f"{kind}:{row.month:%Y-%m}" for row in months]},
    }


def marker(kind: str, *, size: int, edge: float = 1) -> Figure:
    """Gains are solid, losses hatched, FX dotted, so that greyscale and print lose nothing."""
    pattern: Figure = {"shape": ""}
    if kind in LOSSES:
        pattern = {
            "shape": "/",
            "fgcolor": "--mv-hatch",
            "fillmode": "overlay",
            "size": size,
            "solidity": 0.18,
            "fgopacity": 1,
        }
    elif kind == "fx":
        pattern = {
            "shape": ".",
            "fgcolor": "--mv-hatch",
            "fillmode": "overlay",
            "size": 5,
            "solidity": 0.25,
            "fgopacity": 1,
        }
    return {"color": f"--mv-{kind}", "line": {"color": _edge(kind), "width": edge}, "pattern": pattern}


def _edge(kind: str) -> str:
    if kind in GAINS:
        return "--mv-gain-line"
    if kind in LOSSES:
        return "--mv-loss-line"
    return {"fx": "--mv-fx-line", "adjustment": "--mv-adjustment-line"}.get(kind, f"--mv-{kind}")


def _money_axis(levels_minor: Sequence[int], currency: str, *, ticks: int) -> Figure:
    """Return tick marks at round amounts, written as everywhere else: −$20k, not $−20k."""
    low, high = min(levels_minor, default=0), max(levels_minor, default=0)
    step = _round_step(max(high - low, abs(high) // 2, 1), ticks)
    first, last = low // step * step, -(-high // step) * step
    values = list(range(first, last + step, step))
    return {
        "tickvals": [_major(value, currency) for value in values],
        "ticktext": [_tick(value, currency) for value in values],
    }


def _round_step(span: int, ticks: int) -> int:
    """Return the smallest of 1, 2 or 5 times a power of ten that cuts a span into at most so many steps."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if span <= digit * power * ticks:
                return digit * power
        power *= 10


def _tick(minor: int, currency: str) -> str:
    text = short_money(minor, currency)
    return whole_money(minor, currency) if minor % 10 ** exponent(currency) == 0 and text[-1].isdigit() else text


def _stacks(months: Sequence[MonthBars]) -> list[int]:
    """Return how far up and down the bars of each month reach."""
    ends = []
    for row in months:
        ends.append(sum(max(0, minor) for minor in row.moved.values()))
        ends.append(sum(min(0, minor) for minor in row.moved.values()))
    return ends


def _symbol(kind: str) -> str:
    if kind in ("expansion", "reactivation"):
        return "triangle-up"
    return "triangle-down" if kind in LOSSES else "circle"


def _step_labels(entries: Sequence[BalanceStep], currency: str, width: int) -> list[Figure]:
    """Label the movements that have room; the table below holds them all."""
    labels: list[Figure] = []
    taken: date | None = None
    for entry in reversed(entries):
        if taken is not None and (taken - entry.on).days < width / 9:
            continue
        taken = entry.on
        is_last = entry is entries[-1]
        labels.append(
            {
                "x": entry.on.isoformat(),
                "y": _major(entry.after_minor, currency),
                "text": formats.money(entry.minor, currency, signed=True),
                "showarrow": False,
                "yanchor": "bottom",
                "yshift": 9,
                "xanchor": "left" if entry is entries[0] else "right" if is_last else "center",
                "font": {"size": 12, "weight": 600, "color": "--gain-text" if entry.minor > 0 else "--loss-text"},
            }
        )
    return labels[::-1]


def _round_down(minor: int) -> int:
    """Round down to two significant digits and a half, so that the axis starts at a figure one can say."""
    if minor <= 0:
        return 0
    unit = 10 ** max(0, int(math.log10(minor)) - 2)
    return minor // unit * unit


def _day_off(on: date, days: int) -> str:
    return date.fromordinal(on.toordinal() + days).isoformat()
