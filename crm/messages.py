"""Decides what people are told of ledger entries, when at the earliest, once, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from mrr.engine import money

GROUPING = timedelta(minutes=60)
TOO_OLD = timedelta(hours=72)
CLOSED_WON = "closed_won"
WIN_BACK = "win_back"
PAYMENT = "payment"
TOPICS = {"new": CLOSED_WON, "reactivation": CLOSED_WON, "churn": WIN_BACK}
TOLD = frozenset(TOPICS)


@dataclass(frozen=True, slots=True)
class Owed:
    """One message to tell: not before `due_at`, and once for each `dedupe_key`, which names nobody."""

    topic: str
    dedupe_key: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Loss:
    """What a win-back Task says. Days are of the reporting zone."""

    customer: str
    on: date
    mrr_minor: int
    arr_minor: int
    currency: str
    reason: str = ""
    url: str = ""


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


def owed(
    kind: str,
    *,
    channel: str = "",
    customer_pk: int,
    event_ids: Sequence[str],
    is_live: bool,
    effective_at: datetime,
    live_since: datetime | None,
    now: datetime,
) -> Owed | None:
    """Return the message that a movement owes a channel, or None.

    Nothing about the past is told: only what a live delivery caused, after the channel went live (None: it is in
    shadow), and within 72 hours. It waits until the grouping window is closed: what follows within it may take the
    movement back.
    """
    topic = TOPICS.get(kind)
    if topic is None or not is_live or not event_ids or now - effective_at > TOO_OLD:
        return None
    if live_since is not None and effective_at < live_since:
        return None
    key = f"{channel}:{topic}:{customer_pk}:{event_ids[0]}".removeprefix(":")
    return Owed(topic, key[:120], max(now, effective_at + GROUPING))


def win_back_task(loss: Loss, *, due_on: date) -> dict[str, Any]:
    """Return the fields of the Task that asks somebody to win a customer back."""
    lines = [
        f"{loss.customer} left on {loss.on:%-d %b %Y}: MRR {_amount(loss.mrr_minor, loss.currency)}, "
        f"ARR {_amount(loss.arr_minor, loss.currency)}.",
        f"Reason: {loss.reason.replace('_', ' ')}." if loss.reason else "",
        loss.url,
    ]
    return {
        "Subject": f"Win back {loss.customer}"[:255],
        "Description": "\n".join(line for line in lines if line),
        "ActivityDate": due_on.isoformat(),
        "Priority": "High",
        "Status": "Not Started",
    }


def withdrawn_task(subject: str, description: str, *, on: date) -> dict[str, Any]:
    """Return what a Task says once its customer's match was undone: closed, and why."""
    why = f"Withdrawn on {on:%-d %b %Y}: the match of the customer to this Account was undone."
    return {
        "Subject": f"Withdrawn: {subject.removeprefix('Withdrawn: ')}"[:255],
        "Description": f"{why}\n\n{description}".strip()[:32_000],
        "Status": "Completed",
    }


def payment_task(
    invoice: str, paid_minor: int, currency: str, *, paid_on: date, lines: Sequence[tuple[str, int, str]]
) -> dict[str, Any]:
    """Return the fields of the completed Task that a paid invoice leaves: its amount, its lines and their periods."""
    paid = _amount(paid_minor, currency)
    said = [
        f"{text or 'Line'}: {_amount(minor, currency)}{f', {period}' if period else ''}"
        for text, minor, period in lines
    ]
    return {
        "Subject": f"Paid: {paid}, invoice {invoice}"[:255],
        "Description": "\n".join([f"Invoice {invoice}: {paid} paid on {paid_on:%-d %b %Y}.", *said])[:32_000],
        "ActivityDate": paid_on.isoformat(),
        "Priority": "Normal",
        "Status": "Completed",
    }


def chatter_post(win: Win, *, marker: str) -> str:
    """Return a closed-won post; its last line is the marker by which it is found again."""
    title = f"{'Back' if win.kind == 'reactivation' else 'Closed won'}: {win.customer}"
    amounts = f"MRR {_amount(win.mrr_minor, win.currency)}, ARR {_amount(win.arr_minor, win.currency)}"
    lines = [title, f"{amounts}, since {win.began_on:%-d %b %Y}"]
    if win.days_lapsed:
        lines.append(f"After {win.days_lapsed} days away")
    return "\n".join([*lines, *([win.url] if win.url else []), marker])[:10_000]


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
