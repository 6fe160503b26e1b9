"""Which months a page shows: read from the address, so that every view can be saved as a link."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from django.conf import settings
from django.core.exceptions import BadRequest

from dashboard import formats

PRESETS = {
    "month": "This month",
    "last": "Last month",
    "quarter": "Quarter",
    "year": "Fiscal year to date",
    "12m": "12 months",
}
# The years before and after are computed too, so the ends of the calendar are out of reach.
_MONTH = re.compile(r"(?:19[7-9][0-9]|2[01][0-9]{2})-(?:0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole months; `first` and `last` are first days, `name` is the preset, empty for months chosen by hand."""

    name: str
    first: date
    last: date
    today: date

    @property
    def months(self) -> int:
        return months_between(self.first, self.last) + 1

    @property
    def is_running(self) -> bool:
        """Say whether the last month has not ended yet."""
        return self.last == month_of(self.today)

    @property
    def range(self) -> str:
        return formats.days(self.first, plus_months(self.last, 1) - timedelta(days=1))

    @property
    def label(self) -> str:
        """Name the months as people say them: March 2026, or Jan 2026 – Mar 2026."""
        if self.first == self.last:
            return formats.month(self.first, long=True)
        return f"{formats.month(self.first)} – {formats.month(self.last)}"

    @property
    def short(self) -> str:
        """Name the months where the year is clear: March, or Jan – Mar."""
        if self.first == self.last:
            return f"{self.first:%B}"
        return f"{formats.month(self.first)} – {formats.month(self.last)}"

    @property
    def state(self) -> str:
        """Say how far the last month is: running month, day 5 of 31; nothing when it has ended."""
        if not self.is_running:
            return ""
        length = (plus_months(self.last, 1) - self.last).days
        return f"running month, day {self.today.day} of {length}"

    @property
    def earlier(self) -> str:
        """Give the parameters of as many months before these."""
        return self._moved(-self.months)

    @property
    def later(self) -> str:
        """Give the parameters of as many months after these; empty when that would be the future."""
        return "" if self.is_running else self._moved(self.months)

    def _moved(self, by: int) -> str:
        return (
            f"from={plus_months(self.first, by):%Y-%m}&to={min(plus_months(self.last, by), month_of(self.today)):%Y-%m}"
        )


def read(parameters: Mapping[str, str], *, today: date, preset: str = "month") -> Period:
    """Return the period that GET parameters ask for: `period=` a preset, or `from=` and `to=` as YYYY-MM.

    Raises BadRequest for what is no month, for an end before its beginning and for the future.
    """
    this_month = month_of(today)
    if parameters.get("from") or parameters.get("to"):
        last = month(parameters.get("to") or parameters["from"])
        first = month(parameters.get("from") or parameters["to"])
        if first > last or last > this_month:
            raise BadRequest("The period must not end before it begins, nor lie in the future.")
        return Period(_preset_of(first, last, this_month), first, last, today)
    name = parameters.get("period") or preset
    if name not in PRESETS:
        raise BadRequest(f"There is no period '{name}'. Known are: {', '.join(PRESETS)}.")
    first, last = _months_of(name, this_month)
    return Period(name, first, last, today)


def month(text: str) -> date:
    """Return the first day of a month written as YYYY-MM; raises BadRequest for anything else."""
    if not _MONTH.fullmatch(text):
        raise BadRequest(f"'{text[:20]}' is no month between 1970 and 2199. Write it as 2026-03.")
    return date(int(text[:4]), int(text[5:]), 1)


def month_of(on: date) -> date:
    return on.replace(day=1)


def plus_months(on: date, number: int) -> date:
    """Return the first day of the month that lies `number` months after that of `on`."""
    years, month_index = divmod(on.year * 12 + on.month - 1 + number, 12)
    return date(years, month_index + 1, 1)


def months_between(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


def _months_of(name: str, this_month: date) -> tuple[date, date]:
    if name == "last":
        return plus_months(this_month, -1), plus_months(this_month, -1)
    if name == "quarter":
        return plus_months(this_month, -(_months_into_year(this_month) % 3)), this_month
    if name == "year":
        return plus_months(this_month, -_months_into_year(this_month)), this_month
    if name == "12m":
        return plus_months(this_month, -11), this_month
    return this_month, this_month


def _months_into_year(this_month: date) -> int:
    """Count the months of the fiscal year that lie before this one."""
    return (this_month.month - int(settings.FISCAL_YEAR_START.split("-")[0])) % 12


def _preset_of(first: date, last: date, this_month: date) -> str:
    return next((name for name in PRESETS if _months_of(name, this_month) == (first, last)), "")
