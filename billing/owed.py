"""Writes down what payloads lacked, so that it is read from Stripe's API later: the row is the queue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db.models import Q

from billing.models import CouponTerms, Discount, FetchKind, FetchState, FetchWaiter, OwedFetch, StripeSource
from billing.statements import moment, select, write

AGAIN_AFTER: Final = timedelta(hours=1)
NO_KEY: Final = "no_api_key"
FOR_WANT_OF_A_KEY: Final = (NO_KEY, "wrong_api_key", "missing_permission")


@dataclass(frozen=True, slots=True)
class Need:
    """Something to read from Stripe, and the customer whose MRR waits for it.

    `since` is when (Unix seconds) the event that lacks it was made: an answer asked for later would not have helped.
    None: an answer of the last hour would not. What is a mere refinement is asked for only where there is an API key.
    """

    source_pk: int
    kind: FetchKind
    stripe_id: str
    customer_pk: int | None
    since: int | None = None
    is_refinement: bool = False


def owe(needs: Iterable[Need], *, now: datetime) -> None:
    """Owe a fetch for each need that has none, in the caller's transaction with the customers' rows locked."""
    wanted = _without_vain(set(needs))
    if not wanted:
        return
    keys = {(need.source_pk, need.kind.value, need.stripe_id): need for need in wanted}
    known = {(source_pk, kind, stripe_id): row for row, source_pk, kind, stripe_id, *_ in _rows(keys)}
    new = [_new(need, now) for key, need in keys.items() if key not in known]
    if new:
        write(OwedFetch, new, key=("source_id", "kind", "stripe_id"))
    rows = {
        (source_pk, kind, stripe_id): (pk, state, asked) for pk, source_pk, kind, stripe_id, state, asked in _rows(keys)
    }
    again: set[int] = set()
    waiting: list[dict[str, int]] = []
    for need in wanted:
        pk, state, asked = rows[need.source_pk, need.kind.value, need.stripe_id]
        since = int((now - AGAIN_AFTER).timestamp()) if need.since is None else need.since
        if state == FetchState.DONE:
            if asked is not None and asked > since:
                continue  # Stripe was asked after that, and this is what it said
            again.add(pk)
        if need.customer_pk is not None:
            waiting.append({"fetch_id": pk, "customer_id": need.customer_pk})
    if again:
        OwedFetch.objects.filter(pk__in=again, state=FetchState.DONE).update(
            state=FetchState.WAITING, due_at=now, attempts=0, code="", error="", leased_until=None
        )
    if waiting:
        write(FetchWaiter, waiting, key=("fetch_id", "customer_id"))


def resume(source_pk: int, *, now: datetime) -> None:
    """A source has another key: what the old one (or none) could not fetch is due again, at once."""
    StripeSource.objects.filter(pk=source_pk).update(calls_paused_until=None)
    OwedFetch.objects.filter(source_id=source_pk, code__in=FOR_WANT_OF_A_KEY).update(
        state=FetchState.WAITING, due_at=now, attempts=0, code="", error=""
    )
    unlimited = CouponTerms.objects.filter(source_id=source_pk, applies_to__isnull=True).values("coupon_id")
    users = Discount.objects.filter(source_id=source_pk, coupon_id__in=unlimited, customer__isnull=False)
    owe(
        [
            Need(source_pk, FetchKind.COUPON, coupon_id, customer_pk, is_refinement=True)
            for coupon_id, customer_pk in users.values_list("coupon_id", "customer_id").distinct()
        ],
        now=now,
    )


def look_again(keys: Iterable[tuple[int, str, str]]) -> None:
    """Have fetches of these (source, kind, Stripe's id) judged anew: an event may have told what they were for."""
    wanted = Q()
    for source_pk, kind, stripe_id in keys:
        wanted |= Q(source_id=source_pk, kind=kind, stripe_id=stripe_id)
    if wanted:
        OwedFetch.objects.filter(wanted).exclude(state=FetchState.DONE).update(
            state=FetchState.WAITING, due_at=EARLIEST, code=""
        )


EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _without_vain(needs: set[Need]) -> set[Need]:
    if not any(need.is_refinement for need in needs):
        return needs
    with_key = set(StripeSource.objects.exclude(api_key="").values_list("pk", flat=True))
    return {need for need in needs if not need.is_refinement or need.source_pk in with_key}


def _rows(keys: Iterable[tuple[int, str, str]]) -> list[tuple[int, int, str, str, str, int | None]]:
    asked = ("id", "source_id", "kind", "stripe_id", "state", "asked_at")
    wanted = set(keys)
    found = select(
        OwedFetch,
        asked,
        {"source_id": {key[0] for key in wanted}, "stripe_id": {key[2] for key in wanted}},
    )
    return [row for row in found if (row[1], row[2], row[3]) in wanted]  # type: ignore[misc]


def _new(need: Need, now: datetime) -> dict[str, object]:
    at = moment(int(now.timestamp()))
    return {
        "source_id": need.source_pk,
        "kind": need.kind.value,
        "stripe_id": need.stripe_id,
        "customer_id": need.customer_pk,
        "state": FetchState.WAITING.value,
        "attempts": 0,
        "due_at": at,
        "code": "",
        "error": "",
        "created_at": at,
    }
