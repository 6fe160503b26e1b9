"""Charts drawn on the server: bars stand on what is below them, losses are hatched, text keeps apart."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from dashboard import charts, drawn

MONTHS = [date(2026, month, 1) for month in range(1, 13)]


def test_columns_begin_at_zero_and_the_largest_is_the_highest() -> None:
    found = drawn.columns(list(zip(MONTHS, range(0, 1_200_00, 100_00), strict=True)), "usd")

    base = found.lines[0].y1
    assert [bar.y + bar.height for bar in found.bars] == [base] * 12
    heights = [bar.height for bar in found.bars]
    assert heights == sorted(heights) and heights[0] == 0
    assert found.bars[-1].y > 0


@pytest.mark.parametrize("count", [1, 2, 12, 13, 24])
def test_the_last_column_always_carries_its_figure(count: int) -> None:
    months = [(date(2024 + at // 12, at % 12 + 1, 1), 1_000_00 * (at + 1)) for at in range(count)]

    found = drawn.columns(months, "usd")

    values = [text.words for text in found.texts if text.kind == "value"]
    assert values[-1] == charts.short_money(months[-1][1], "usd")
    assert len(values) == (count if count <= 13 else count // 2)


def test_a_waterfall_joins_what_it_adds_up() -> None:
    steps = [
        charts.Step("opening", 100_00),
        charts.Step("new", 40_00),
        charts.Step("churn", -30_00),
        charts.Step("fx", -5_00),
        charts.Step("closing", 105_00),
    ]

    found = drawn.waterfall(steps)

    opening, new, churn, fx, closing = found.bars
    assert abs(new.y + new.height - opening.y) <= 1  # new begins where the opening ends
    assert abs(churn.y - new.y) <= 1  # churn hangs from the top of new
    assert abs(fx.y - (churn.y + churn.height)) <= 1
    assert closing.y == fx.y + fx.height
    assert [bool(bar.over) for bar in found.bars] == [False, False, True, True, False]
    assert len([line for line in found.lines if line.kind == "joint"]) == 4


def test_a_cut_axis_says_so() -> None:
    steps = [charts.Step("opening", 100_000_00), charts.Step("new", 10_00), charts.Step("closing", 100_010_00)]

    found = drawn.waterfall(steps)

    assert [text.words for text in found.texts] == ["≈", "≈"]


def test_a_waterfall_may_go_below_zero() -> None:
    steps = [charts.Step("opening", 0), charts.Step("churn", -10_00), charts.Step("closing", -10_00)]

    found = drawn.waterfall(steps)

    assert all(bar.y >= 0 and bar.y + bar.height <= found.height for bar in found.bars)


def test_shares_leave_gaps_and_keep_their_names_apart() -> None:
    nrr = [Fraction(1), None, Fraction(102, 100), Fraction(101, 100)]
    grr = [Fraction(1), None, Fraction(1), Fraction(1)]

    found = drawn.shares(MONTHS[:4], [("nrr", nrr), ("grr", grr)], running=True)

    assert len([line for line in found.lines if line.kind == "nrr"]) == 1  # of four points, two have a neighbour
    ends = [text for text in found.texts if text.kind in ("nrr", "grr")]
    assert [text.words for text in ends] == ["NRR", "GRR"]
    assert ends[1].y - ends[0].y >= 15
    assert [mark.is_hollow for mark in found.marks if mark.kind == "nrr"] == [False, False, True]
    assert all(0 <= mark.y <= found.height for mark in found.marks)


def test_nothing_known_is_drawn_without_lines() -> None:
    found = drawn.shares(MONTHS[:3], [("nrr", [None, None, None])], running=False)

    assert found.marks == ()
