"""The values that templates/dashboard/_components draw: a page module fills them, the partial sets them in HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from dashboard.formats import Exact

BandKind = Literal["danger", "warn", "shadow", "ok", "test"]

_WORST_FIRST = ("danger", "warn", "shadow", "ok")
# Upper ends of the heat map's steps in percent of what was acquired; 98 to 102 is neutral, 135 and more the last step.
_HEAT = ((60, "d6"), (70, "d5"), (80, "d4"), (88, "d3"), (94, "d2"), (98, "d1"), (102, "h-n"), (106, "u1"), (112, "u2"))
_HEAT_ABOVE = ((120, "u3"), (135, "u4"))


@dataclass(frozen=True)
class Tile:
    """One figure of the metric sheet: `value` as text, its decimals apart because they are set small.

    `change` takes the tone "gain" or "loss" only where more is clearly better or worse. `incomplete` says what is
    missing and stands instead of the comparison, never instead of the figure. `trend` is drawn as a line for a balance
    and as bars for an activity.
    """

    label: str
    value: str
    explain: str
    kind: Literal["balance", "activity"] = "balance"
    cents: str = ""
    change: str = ""
    against: str = ""
    direction: Literal["up", "down", "flat", ""] = ""
    tone: Literal["gain", "loss", ""] = ""
    incomplete: str = ""
    trend: tuple[int, ...] = ()
    is_big: bool = False

    @property
    def arrow(self) -> str:
        return {"up": "arrow-up-right", "down": "arrow-down-right", "flat": "minus"}.get(self.direction, "")


@dataclass(frozen=True)
class Fact:
    """One figure of the facts row: a label, the figure, and a line below it."""

    label: str
    value: str
    explain: str
    note: str = ""
    note_url: str = ""


@dataclass(frozen=True)
class Band:
    """One status line under the top bar: the state in bold, a sentence, at most one action."""

    kind: BandKind
    icon: str
    title: str
    text: str
    action: str = ""
    action_url: str = ""


@dataclass(frozen=True)
class Choice:
    """One link of a segmented control or a row of tabs."""

    label: str
    url: str
    is_chosen: bool = False
    count: str = ""


@dataclass(frozen=True)
class Empty:
    """A place with nothing in it: the fact, why, and one way on."""

    icon: str
    title: str
    text: str
    action: str = ""
    action_url: str = ""
    is_main_action: bool = False


@dataclass(frozen=True)
class RiskPart:
    """One signal of a risk score.

    `tone` is 1 for payment or cancel, 2 for past due or contraction, 3 for dispute or usage, 4 for the rest.
    """

    label: str
    points: int
    tone: Literal[1, 2, 3, 4] = 4


@dataclass(frozen=True)
class Pager:
    """Where a cursor-paged list stands. Addresses are of the whole page, "" at the ends; `shown` is "100 of 1,310"."""

    shown: str
    next_url: str = ""
    previous_url: str = ""


def shown_bands(bands: Iterable[Band]) -> list[Band]:
    """Keep at most two bands, the worst first; test data is always said, on top of the two."""
    listed = list(bands)
    others = sorted((band for band in listed if band.kind != "test"), key=lambda band: _WORST_FIRST.index(band.kind))
    return others[:2] + [band for band in listed if band.kind == "test"]


def heat_class(value: Exact | None, *, diverging: bool = True) -> str:
    """Return the class of a cohort cell for a share of what was acquired, where 1 is all of it; "none" leaves it blank.

    Logo and gross retention never exceed 100 %, so with `diverging` off everything from 98 % is neutral.
    """
    if value is None:
        return "none"
    percent = Fraction(value) * 100
    for end, name in _HEAT + _HEAT_ABOVE:
        if percent < end or (end == 102 and percent == end):
            return name if diverging or name[0] == "d" else "h-n"
    return "u5" if diverging else "h-n"


def spark_line(values: Sequence[int]) -> str:
    """Return the points of a sparkline in a box of 100 by 28, from 25 (lowest) up to 3 (highest)."""
    low, high = min(values), max(values)
    steps, span = max(1, len(values) - 1), high - low
    heights = [_tenths(250 * span - 220 * (value - low), span) if span else "14" for value in values]
    return " ".join(f"{_tenths(1000 * at, steps)},{y}" for at, y in enumerate(heights))


def spark_bars(values: Sequence[int]) -> list[tuple[str, str, str, str, str]]:
    """Return bars (class, x, y, width, height) about a zero line in a box of 100 by 28."""
    top, bottom = max(0, *values), min(0, *values)
    span = (top - bottom) or 1
    slot, drawn = 1000 // len(values), []
    for at, value in enumerate(values):
        upper, lower = max(value, 0), min(value, 0)
        y = 20 + 260 * (top - upper) // span
        height = max(4, 260 * (upper - lower) // span)
        x = 1000 * at // len(values) + slot * 3 // 20
        drawn.append(("neg" if value < 0 else "pos", _tenth(x), _tenth(y), _tenth(slot * 7 // 10), _tenth(height)))
    return drawn


def _tenths(numerator: int, denominator: int) -> str:
    return _tenth(round(Fraction(numerator, denominator)))


def _tenth(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"
