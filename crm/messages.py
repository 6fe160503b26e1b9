"""Decides what people are told of ledger entries, when at the earliest, and once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from mrr.engine import money

GROUPING = timedelta(minutes=60)
TOO_OLD = timedelta(hours=72)
CLOSED_WON = "closed_won"
TOLD = frozenset({"new", "reactivation"})


@dataclass(frozen=True, slots=True)
class Owed:
    """One message to tell: not before `due_at`, and once for each `dedupe_key`, which names nobody."""

    topic: str
    dedupe_key: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Win:
    """What a closed-won message says."""

    customer: str
    kind: str
    began_on: date
    mrr_minor: int
    arr_minor: int
    currency: str
    account: str = ""
    days_lapsed: int | None = None
    url: str = ""


def closed_won(
    kind: str,
    *,
    customer_pk: int,
    event_ids: Sequence[str],
    is_live: bool,
    effective_at: datetime,
    live_since: datetime | None,
    now: datetime,
) -> Owed | None:
    """Return the message that a movement owes, or None.

    Nothing about the past is told: only what a live delivery caused, after the channel went live (None: it is in
    shadow), and within 72 hours. It waits until the grouping window is closed: what follows within it may take the
    movement back.
    """
    if kind not in TOLD or not is_live or not event_ids or now - effective_at > TOO_OLD:
        return None
    if live_since is not None and effective_at < live_since:
        return None
    key = f"{CLOSED_WON}:{customer_pk}:{event_ids[0]}"
    return Owed(CLOSED_WON, key[:120], max(now, effective_at + GROUPING))


def slack_body(win: Win, *, channel: str) -> dict[str, Any]:
    """Return a closed-won message as Slack's chat.postMessage takes it."""
    amounts = f"MRR {_amount(win.mrr_minor, win.currency)}, ARR {_amount(win.arr_minor, win.currency)}"
    title = f"{'Back' if win.kind == 'reactivation' else 'New'}: {win.customer}"
    lines = [f"*{escaped(title)}*", amounts]
    if win.account and win.account != win.customer:
        lines.append(f"Account {escaped(win.account)}")
    if win.days_lapsed:
        lines.append(f"After {win.days_lapsed} days away")
    blocks: list[dict[str, Any]] = [{"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)[:3000]}}]
    seen = f"Since {win.began_on:%-d %b %Y}"
    context = f"<{win.url}|{seen}>" if win.url else seen
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]})
    return {"channel": channel, "text": escaped(f"{title}. {amounts}."), "blocks": blocks}


def escaped(text: str) -> str:
    """Return a text in which Slack finds no link, mention or entity of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _amount(amount_minor: int, currency: str) -> str:
    whole, point, decimals = money.major(amount_minor, currency).partition(".")
    return f"{currency.upper()} {int(whole):,}{point}{decimals}"
