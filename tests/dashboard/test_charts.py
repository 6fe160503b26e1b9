"""Charts are plain data: Plotly's own checks accept them, colours are tokens, and nothing in them is HTML but <br>."""

from __future__ import annotations

import json
import re
from datetime import date
from fractions import Fraction
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboard import charts, curves
from dashboard.charts import BalanceStep, MonthBars, Step
from dashboard.curves import Curve, Kept
from dashboard.periods import plus_months

MARCH = [
    Step("opening", 78_302_237, "opening:2026-03"),
    Step("new", 1_864_000, "new:2026-03", "41 customers"),
    Step("expansion", 1_238_550, "expansion:2026-03"),
    Step("reactivation", 114_000, "reactivation:2026-03"),
    Step("contraction", -391_225, "contraction:2026-03"),
    Step("churn", -748_000, "churn:2026-03"),
    Step("closing", 80_379_562, "closing:2026-03"),
]
YEAR = [
    MonthBars(
        plus_months(date(2025, 4, 1), at), 100_000 + at * 5_000, {"new": 9_000, "churn": -4_000}, is_running=at == 11
    )
    for at in range(12)
]
HISTORY = [
    BalanceStep(date(2025, 6, 14), "new", 120_000, 120_000, "entry:1"),
    BalanceStep(date(2025, 12, 11), "contraction", -16_000, 104_000, "entry:2"),
    BalanceStep(date(2026, 3, 12), "expansion", 90_000, 194_000, "entry:3"),
]
CURVES = [
    Curve("Jan 2026", [Fraction(1), Fraction(11, 10), Fraction(12, 10)]),
    Curve("Feb 2026", [Fraction(1), Fraction(9, 10), Fraction(8, 10)]),
    Curve("Mar 2026", [Fraction(1), Fraction(1), None, Fraction(1)]),
]
KEPT = [
    Kept(
        date(2026, month, 1), f"2025-0{month}..2026-0{month}", nrr, Fraction(9, 10), Fraction(-1, 25), Fraction(-3, 50)
    )
    for month, nrr in ((1, Fraction(21, 20)), (2, None), (3, Fraction(1)))
]

FIGURES = {
    "waterfall": charts.waterfall(MARCH, "usd"),
    "waterfall of a first month": charts.waterfall([Step("opening", 0), Step("new", 500), Step("closing", 500)], "usd"),
    "waterfall of nothing": charts.waterfall([Step("opening", 0), Step("closing", 0)], "jpy"),
    "waterfall that loses all": charts.waterfall(
        [Step("opening", 900), Step("churn", -900), Step("closing", 0)], "usd"
    ),
    "over time": charts.over_time(YEAR, "eur"),
    "one month over time": charts.over_time(YEAR[:1], "eur"),
    "balance steps": charts.balance_steps(HISTORY, "usd", today=date(2026, 3, 31)),
    "one balance step today": charts.balance_steps(HISTORY[:1], "usd", today=date(2025, 6, 14)),
    "curves": curves.retention_curves(CURVES, Curve("Average", [Fraction(1), Fraction(1)])),
    "retention": curves.retention_over_time(KEPT),
    "retention of one period": curves.retention_over_time(KEPT[:1]),
    "curves of one cohort": curves.retention_curves(CURVES[:1], Curve("Average", [])),
}


@pytest.mark.parametrize("name", FIGURES)
def test_plotly_accepts_the_figure_once_tokens_are_colours(name: str) -> None:
    figure = _with_colours(FIGURES[name])

    go.Figure(data=figure["data"], layout=figure["layout"])


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_json_without_colour_literals_or_markup(name: str) -> None:
    text = json.dumps(FIGURES[name], ensure_ascii=False)

    assert not re.search(r"#[0-9a-f]{3,8}\b|rgba?\(", text)
    assert set(re.findall(r"<[^>]*>", text)) <= {"<br>", "<extra>", "</extra>"}
    assert "NaN" not in text


def test_the_waterfall_joins_opening_to_closing() -> None:
    bars = charts.waterfall(MARCH, "usd")["data"][:-1]

    ends = [(bar["base"][0], bar["base"][0] + bar["y"][0]) for bar in bars]

    assert ends[1] == pytest.approx((783_022.37, 801_662.37))  # new stands on the opening
    assert ends[4] == pytest.approx((811_275.62, 815_187.87))  # contraction hangs from the top
    assert ends[6][1] == pytest.approx(803_795.62)


def test_the_axis_is_cut_only_where_the_movements_would_vanish() -> None:
    assert charts.waterfall_base(MARCH) == 77_400_000
    assert [note["text"] for note in charts.waterfall(MARCH, "usd")["layout"]["annotations"]] == ["≈", "≈"]

    small = [Step("opening", 1_000), Step("new", 900), Step("closing", 1_900)]
    assert charts.waterfall_base(small) == 0
    assert charts.waterfall(small, "usd")["layout"]["annotations"] == []


def test_losses_are_hatched_and_gains_are_solid() -> None:
    shapes = {bar["x"][0]: bar["marker"]["pattern"]["shape"] for bar in charts.waterfall(MARCH, "usd")["data"][1:-2]}

    assert shapes == {"New": "", "Expansion": "", "Reactivation": "", "Contraction": "/", "Churn": "/"}


def test_every_bar_says_what_it_opens() -> None:
    bars = charts.over_time(YEAR, "usd")["data"][2:]

    assert bars[0]["meta"]["explain"][0] == "new:2025-04"
    assert bars[4]["meta"]["explain"][-1] == "churn:2026-03"


def test_hover_lines_carry_exact_amounts() -> None:
    figure = charts.balance_steps(HISTORY, "usd", today=date(2026, 3, 31))

    assert figure["data"][1]["customdata"][1] == "11 Dec 2025<br>Contraction −$160.00<br>MRR $1,040.00"


def test_axis_amounts_are_short() -> None:
    assert charts.short_money(77_400_000, "usd") == "$774k"
    assert charts.short_money(-123_456_789, "eur") == "−€1.2M"
    assert charts.short_money(12_345, "jpy") == "¥12.3k"
    assert charts.short_money(4_200, "usd") == "$42.00"


def _with_colours(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("--"):
        return "red"
    if isinstance(value, list):
        return [_with_colours(part) for part in value]
    return {key: _with_colours(part) for key, part in value.items()} if isinstance(value, dict) else value
