"""Draws charts on the server as SVG without a script, for pages that are printed: columns, a waterfall, lines.

Places across are percentages and places down are pixels, so that a drawing is as wide as its paper and its text keeps
its size. Everything is whole numbers until it is written; what people read is text made of the exact figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from dashboard import charts, formats

TOP, FOOT = 22, 22  # room for the text above the highest bar and below the base line
LINE_FOOT = 26
# Hatches are lines, not patterns: a browser prints a pattern as a picture, and paper wants lines. Clipped by their bar.
LARGEST_BAR = 420, 200  # pixels, with room
HATCH = "".join(f"M{x} 0l-{LARGEST_BAR[1]} {LARGEST_BAR[1]}" for x in range(4, sum(LARGEST_BAR), 7))
DOTS = "".join(f"M{x} 3v{LARGEST_BAR[1]}" for x in range(3, LARGEST_BAR[0], 6))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `kind` is a movement's type, opening, closing or balance, and says how it is filled."""

    kind: str
    x: str
    y: int
    width: str
    height: int

    @property
    def over(self) -> str:
        """What is drawn over the colour, so that greyscale loses nothing: losses hatched, FX dotted, as a path."""
        if self.kind in charts.LOSSES:
            return HATCH
        return DOTS if self.kind == "fx" else ""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line; `kind` is grid, base, joint, nrr or grr."""

    kind: str
    x1: str
    y1: int
    x2: str
    y2: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a line; a square one where `is_square`, hollow while its month runs."""

    kind: str
    x: str
    y: int
    is_square: bool = False
    is_hollow: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A word or figure in the drawing; `is_extra` goes where the page is narrow."""

    x: str
    y: int
    words: str
    anchor: str = "middle"
    kind: str = "axis"
    is_extra: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that is drawn, in a box as wide as its place and so many pixels high."""

    height: int
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    texts: tuple[Text, ...] = ()


def columns(months: Sequence[tuple[date, int]], currency: str, *, height: int = 190) -> Drawing:
    """Draw a balance by month as columns from zero; `months` are first days and minor units, oldest first."""
    base, room = height - FOOT, height - FOOT - TOP
    top = max((minor for _, minor in months), default=0)
    slot = 1000 // max(1, len(months))
    bars, texts = [], []
    named = _named(len(months))
    for at, (month, minor) in enumerate(months):
        high = _scaled(max(0, minor), top, room)
        middle = slot * at + slot // 2
        bars.append(Bar("balance", _percent(middle - slot * 3 // 10), base - high, _percent(slot * 6 // 10), high))
        is_extra = (len(months) - 1 - at) % 4 != 0
        if at in named:
            texts.append(Text(_percent(middle), base - high - 6, charts.short_money(minor, currency), kind="value"))
            texts[-1:] = [_but(texts[-1], is_extra)]
        texts.append(Text(_percent(middle), height - 6, f"{month:%b}", is_extra=is_extra))
    return Drawing(height, tuple(bars), (Line("base", "0%", base, "100%", base),), (), tuple(texts))


def waterfall(steps: Sequence[charts.Step], *, height: int = 190) -> Drawing:
    """Draw opening, movements and closing; figures stand in the table below, whose columns are as wide as the bars."""
    floor = charts.waterfall_base(steps)
    levels, level = [], steps[0].minor
    for step in steps:
        if step.kind in ("opening", "closing"):
            levels.append((min(floor, step.minor), max(floor, step.minor)))
            level = step.minor
        else:
            levels.append((min(level, level + step.minor), max(level, level + step.minor)))
            level += step.minor
    low, high = min(floor, *(pair[0] for pair in levels)), max(pair[1] for pair in levels)
    slot = Fraction(1000, len(steps))

    def y(minor: int) -> int:
        return height - 4 - _scaled(minor - low, high - low, height - 12)

    bars, joints, texts, level = [], [], [], steps[0].minor
    for at, (step, (bottom, top)) in enumerate(zip(steps, levels, strict=True)):
        left = round(slot * at + slot / 5)
        bars.append(Bar(step.kind, _percent(left), y(top), _percent(round(slot * 3 / 5)), max(1, y(bottom) - y(top))))
        if at:
            joints.append(Line("joint", _percent(round(slot * at - slot / 5)), y(level), _percent(left), y(level)))
        level = step.minor if step.kind in ("opening", "closing") else level + step.minor
        if floor and step.kind in ("opening", "closing"):
            texts.append(Text(_percent(round(slot * at + slot / 2)), height - 10, "≈", kind="cut"))
    base = y(floor if floor else 0)
    return Drawing(height, tuple(bars), (Line("base", "0%", base, "100%", base), *joints), (), tuple(texts))


def shares(
    names: Sequence[date], lines: Sequence[tuple[str, Sequence[Fraction | None]]], *, running: bool, height: int = 190
) -> Drawing:
    """Draw ratios by month as lines that end with their name and value; a month without a value is a gap."""
    known = [value for _, values in lines for value in values if value is not None]
    step = _step(min(known, default=Fraction(1)), max(known, default=Fraction(1)))
    low = (min(known, default=Fraction(1)) // step) * step
    high = max(-(-max(known, default=Fraction(1)) // step) * step, low + step)
    right, left = 930, 45
    slot = Fraction(right - left, max(1, len(names) - 1))

    def x(at: int) -> str:
        return _percent(round(left + slot * at))

    def y(value: Fraction) -> int:
        return height - LINE_FOOT - round((value - low) / (high - low) * (height - LINE_FOOT - 12))

    grid, texts = [], []
    for at in range(round((high - low) / step) + 1):
        value = low + step * at
        grid.append(Line("grid", _percent(left), y(value), _percent(right), y(value)))
        texts.append(Text("0%", y(value) + 4, formats.ratio(value, places=0), anchor="start"))
    texts += [
        Text(x(at), height - 6, f"{month:%b} {month:%y}", is_extra=(len(names) - 1 - at) % 3 != 0)
        for at, month in enumerate(names)
    ]
    drawn, marks = [], []
    for kind, values in lines:
        for at, share in enumerate(values):
            if share is None:
                continue
            before = values[at - 1] if at else None
            if before is not None:
                drawn.append(Line(kind, x(at - 1), y(before), x(at), y(share)))
            is_last = at == len(values) - 1
            marks.append(Mark(kind, x(at), y(share), is_square=kind == "grr", is_hollow=running and is_last))
    texts += _ends(lines, y)
    return Drawing(height, (), (*grid, *drawn), tuple(marks), tuple(texts))


def _ends(lines: Sequence[tuple[str, Sequence[Fraction | None]]], y: Callable[[Fraction], int]) -> list[Text]:
    """Name each line at its end, the upper name above the lower one where both end close together."""
    ends = [(kind, values[-1]) for kind, values in lines if values]
    known = sorted(((kind, value) for kind, value in ends if value is not None), key=lambda end: -end[1])
    texts: list[Text] = []
    for kind, value in known:
        place = y(value) + 4
        if texts and place - texts[-1].y < 15:
            place = texts[-1].y + 15
        texts.append(Text("94%", place, kind.upper(), anchor="start", kind=kind))
    return texts


def _named(count: int) -> set[int]:
    """Say which columns carry their figure: all of up to thirteen, else every second, the last always."""
    return {at for at in range(count) if count <= 13 or (count - 1 - at) % 2 == 0}


def _but(text: Text, is_extra: bool) -> Text:
    return Text(text.x, text.y, text.words, text.anchor, text.kind, is_extra)


def _scaled(part: int, whole: int, room: int) -> int:
    return room * part // whole if whole > 0 else 0


def _step(low: Fraction, high: Fraction) -> Fraction:
    """Return the distance of grid lines: two to five of them, at round percentages."""
    span = max(high - low, Fraction(1, 100))
    for percent in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500):
        if span <= 4 * Fraction(percent, 100):
            return Fraction(percent, 100)
    return Fraction(round(span) or 1)


def _percent(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}%"
