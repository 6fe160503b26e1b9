"""Closes a month for ever, and reopens the last one when two people want it. Everything done is a row that stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Min, Sum

from billing import selectors as billing
from mrr import books, digests, fx, people, policies, seals, selectors
from mrr.models import ActionKind, BookAction, CustomerBalance, LedgerEntry
from mrr.selectors.closing import NOTICE, booked_in
from mrr.selectors.scope import day_start, month_after

PARTS = ("opening", "new", "expansion", "reactivation", "contraction", "churn", "adjustment", "fx", "closing")


class Refused(Exception):
    """A month is not closed or reopened now. `code` says why in one word, the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def close(month: date, *, user: Any, now: datetime, note: str = "", seen: str = "") -> BookAction:
    """Close a month (its first day) and return the row that says so; raises Refused.

    From now on nothing is booked in it: what is learned later goes to the first open month. Nobody posts meanwhile.
    `seen` is the hash of the month's entries that the user looked at and signs: with another one by now it is refused.
    """
    _require_keeper(user)
    with transaction.atomic():
        state = books.hold()
        for refused in obstacles(month, closed=state.closed_through, now=now):
            raise refused
        seals.seal_all(now=now, is_patient=True)
        count, digest = digests.of_booked(booked_rows(month))
        if seen and seen != digest:
            raise Refused(
                "changed", f"Entries were booked in {month:%Y-%m} since you looked. Look at it again, then sign."
            )
        rates = fx.freeze(month, now=now)
        closing = _with_reason(
            BookAction(
                kind=ActionKind.CLOSED,
                month=month,
                made_by=user,
                made_at=now,
                seal=seals.head(),
                policy_version=policies.current().version,
                entries=count,
                entries_digest=digest,
                figures=list(figures(month)),
                notes={"rates_sha256": digests.of_value(rates), **noted()},
            ),
            note,
        )
        action = _write(closing)
        state.closed_through = month
        state.save(update_fields=["closed_through"])
        seals.seal_all(now=now, is_patient=True)
    return action


def reopen(
    month: date,
    *,
    user: Any,
    reason: str,
    now: datetime,
    code: str = "",
    code_of: Any = None,
    grants: int | None = None,
) -> BookAction:
    """Ask to reopen the last closed month, or grant what somebody else asked; returns the row that says which.

    Who asks does not grant it. Where nobody else is in finance the asker has two ways: a one-time code of an admin
    (`code`, `code_of`), or to call again when the request has stood for 24 hours, shown to all. `grants` is the number
    of the request that the user saw, 0 when there was none: with another one by now it is refused. Raises Refused.
    """
    _require_keeper(user)
    with transaction.atomic():
        state = books.hold()
        if state.closed_through is None:
            raise Refused("not_last", "No month is closed, so there is none to reopen.")
        if month != state.closed_through:
            last = f"{state.closed_through:%Y-%m}"
            raise Refused("not_last", f"Of the closed months only the last one, {last}, can be reopened.")
        asked = BookAction.objects.order_by("-number")[:1].get()
        waiting = asked.number if asked.kind == ActionKind.REOPEN_ASKED else 0
        if grants is not None and grants != waiting:
            raise Refused("answered", "Somebody was first: what you answered stands otherwise by now. Look again.")
        if asked.kind != ActionKind.REOPEN_ASKED:
            if not reason.strip():
                raise Refused("no_reason", "Say why the month is to be reopened: --reason TEXT.")
            action = BookAction(kind=ActionKind.REOPEN_ASKED, month=month, made_by=user, made_at=now)
            return _write(_with_reason(action, reason))
        manner = _manner(asked, user, now, code, code_of)
        granted = BookAction(
            kind=ActionKind.REOPENED,
            month=month,
            made_by=user,
            made_at=now,
            answers=asked,
            manner=manner,
            seconded_by=code_of if manner == "one_time_code" else None,
        )
        action = _write(_with_reason(granted, reason))
        state.closed_through = _closed_before(month)
        state.save(update_fields=["closed_through"])
        fx.thaw(month)
        seals.seal_all(now=now, is_patient=True)
    return action


def first_open_month(closed: date | None) -> date | None:
    """Return the month that is to be closed next: after the last `closed` one, or that of the first entry."""
    if closed is not None:
        return month_after(closed)
    first = LedgerEntry.objects.aggregate(at=Min("effective_at"))["at"]
    return books.month_of(first) if first else None


def booked_rows(month: date) -> Iterator[tuple[str, str]]:
    """Yield (key, hash) of every entry booked in a month, reversals too, in the order of their rows."""
    yield from booked_in(month).order_by("pk").values_list("key", "digest").iterator(chunk_size=2_000)


def would_sign(month: date) -> tuple[int, str]:
    """Return how many entries are booked in a month, and the hash of them that a close would keep now."""
    return digests.of_booked(booked_rows(month))


def obstacles(month: date, *, closed: date | None, now: datetime, waiting: int | None = None) -> Iterator[Refused]:
    """Yield whatever keeps a month from being closed now, the first to be mended first.

    `closed` is the last closed month; `waiting` says how many events wait, where the caller has counted them.
    """
    settled = day_start(month_after(month)) + timedelta(seconds=policies.current().grouping_seconds)
    yield from _not_over(month, settled, now)
    yield from _out_of_order(month, closed)
    yield from _events(waiting)
    yield from _by_the_clock(settled, now)


def figures(month: date) -> Iterator[dict[str, Any]]:
    """Yield a month as closed, per source and currency: every part in micros, and the customers."""
    for source in billing.sources():
        for currency in sorted(selectors.currencies([source.pk])):
            found = selectors.series(
                month,
                month,
                today=month,
                currency=currency,
                basis=selectors.Basis.CLOSED,
                sources=[source.pk],
            ).months[0]
            amounts = {f"{part}_micros": getattr(found, f"{part}_micros") for part in PARTS}
            counts = found.customers
            if any(amounts.values()) or counts.opening or counts.closing:
                yield {
                    "source": source.slug,
                    "currency": currency,
                    **amounts,
                    "customers": {
                        "opening": counts.opening,
                        "new": counts.new,
                        "reactivated": counts.reactivated,
                        "churned": counts.churned,
                        "closing": counts.closing,
                    },
                }


def digest_of(action: BookAction) -> str:
    """Return the hash of one thing done with a month. The reason counts by its own hash: it may name a person."""
    names = (
        "number kind month made_by_id made_at seal_id policy_version entries entries_digest figures notes "
        "reason_sha256 answers_id manner seconded_by_id"
    ).split()
    columns = {name: getattr(action, name) for name in names}
    return digests.of_action(action.previous, columns | {"kind": str(action.kind)})


# ---- when a month cannot be closed ----


def _require_keeper(user: Any) -> None:
    if not people.may_keep_books(user):
        raise Refused("role", f"{user.get_username()} has neither the role finance nor admin.")


def _not_over(month: date, settled: datetime, now: datetime) -> Iterator[Refused]:
    over = day_start(month_after(month))
    if now < over:
        yield Refused("not_over", f"{month:%Y-%m} has not ended; it ends at {over:%Y-%m-%d %H:%M %Z}.")
    elif now < settled:
        yield Refused(
            "grouping",
            f"What happened at the end of {month:%Y-%m} may still be joined by what follows it: "
            f"wait until {settled:%Y-%m-%d %H:%M %Z}.",
        )


def _out_of_order(month: date, closed: date | None) -> Iterator[Refused]:
    if closed is not None and month <= closed:
        yield Refused("closed", f"{month:%Y-%m} is closed already.")
        return
    first = first_open_month(closed)
    if first is not None and month > first:
        yield Refused("order", f"Months are closed in order: close {first:%Y-%m} first.")
    if first is not None and month < first:
        yield Refused("empty", f"The ledger begins with {first:%Y-%m}: there is nothing before it to close.")


def _events(waiting: int | None) -> Iterator[Refused]:
    count = billing.unprocessed_counts(billing.live_source_pks()).waiting if waiting is None else waiting
    if count:
        yield Refused("waiting", f"{count} events are received and not processed yet. Run drain, or try again soon.")


def _by_the_clock(settled: datetime, now: datetime) -> Iterator[Refused]:
    due = CustomerBalance.objects.filter(clock_at__lte=min(settled, now), source__livemode=True)
    late = due.values("customer_id").distinct().count()
    if late:
        yield Refused("clock", f"{late} customers' MRR changed by the clock and is not posted yet. Run drain.")


def noted() -> dict[str, int]:
    """Return what does not stand in the way of a close and should be known: parked events, items without a price."""
    live = billing.live_source_pks()
    parked = billing.unprocessed_counts(live).parked
    unpriced = CustomerBalance.objects.filter(source_id__in=live).aggregate(count=Sum("incomplete_items"))["count"] or 0
    return {code: count for code, count in (("events_parked", parked), ("unpriced_items", unpriced)) if count}


# ---- reopening ----


def _manner(asked: BookAction, user: Any, now: datetime, code: str, code_of: Any) -> str:
    """Say in which of the allowed ways a request is granted; raises Refused when in none."""
    if asked.made_by_id != user.pk:
        return "second_person"
    if code:
        if code_of is None or code_of.pk == user.pk or not people.has_role(code_of, people.ADMIN):
            raise Refused("code", "The one-time code must be that of another person of the role admin.")
        if not people.is_right_code(code_of, code):
            raise Refused("code", f"That is not the code that {code_of.get_username()}'s authenticator shows now.")
        return "one_time_code"
    since = f"You asked for it on {asked.made_at:%Y-%m-%d at %H:%M} UTC."
    if people.others_in_finance(user):
        raise Refused("second_person", f"{since} Another person of the role finance or admin must make the same call.")
    alone_at = asked.made_at + NOTICE
    if now < alone_at:
        raise Refused(
            "notice",
            f"{since} Nobody else is in finance, so: an admin makes the same call, or gives you a one-time code "
            f"(--code CODE --code-of USERNAME), or you call again after {alone_at:%Y-%m-%d %H:%M} UTC; "
            "until then every page says what you asked for.",
        )
    return "notice"


def _closed_before(month: date) -> date | None:
    before = (month - timedelta(days=1)).replace(day=1)
    return before if BookAction.objects.filter(kind=ActionKind.CLOSED, month=before).exists() else None


# ---- writing down ----


def _with_reason(action: BookAction, reason: str) -> BookAction:
    action.reason = reason.strip()
    action.reason_sha256 = digests.of_text(action.reason) if action.reason else ""
    return action


def _write(action: BookAction) -> BookAction:
    last = BookAction.objects.order_by("-number").first()
    action.number = last.number + 1 if last else 1
    action.previous = last.digest if last else digests.GENESIS
    action.digest = digest_of(action)
    action.save(force_insert=True)
    return action
