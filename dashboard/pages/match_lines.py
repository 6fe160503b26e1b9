"""The history of a customer's match in words, newest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from crm import matching
from crm import selectors as crm
from dashboard import formats
from dashboard.pages import shared


@dataclass(frozen=True)
class MatchLine:
    """One decision: when, who, and what in words."""

    at: datetime
    who: str
    text: str


def of_customer(pk: int) -> list[MatchLine]:
    """Return what was decided about a customer's match; it names nobody but colleagues. Two queries."""
    return [
        MatchLine(one.at, one.by or "The machine", text)
        for one in crm.match_decisions(pk)
        if (text := "; ".join(_words(name, *pair) for name, pair in sorted(one.changes.items()) if name in WORDS
                              or name.startswith(LEFT)))
    ]  # fmt: skip


LEFT = "not_as_it_was "


def _words(name: str, before: str, after: str) -> str:
    if name.startswith(LEFT):
        return f"let go of Opportunity {name.removeprefix(LEFT)}, but: {after}"
    return WORDS[name](before, after)


def _day(text: str) -> str:
    return formats.day(datetime.fromisoformat(text).astimezone(shared.zone()).date())


WORDS: dict[str, Callable[[str, str], str]] = {
    "account": lambda before, after: f"matched to {after}" if after else f"undid the match to {before}",
    "ignored_because": lambda _, after: (
        f"ignored: {matching.IGNORE_REASONS.get(after, after).lower()}" if after else "ignored no more"
    ),
    "waits_for": lambda _, after: (
        f"waits for: {matching.WAITS.get(after, after).lower()}" if after else "waits for nothing more"
    ),
    "waits_until": lambda _, after: f"until {_day(after)}" if after else "without a day",
    "snoozed_until": lambda _, after: f"snoozed until {_day(after)}" if after else "woken",
}
