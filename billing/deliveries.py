"""Says from our own rows whether Stripe's deliveries to a source arrive, and if not, why the last one was refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from billing.checks import Check, State
from billing.examining import CLOCK_CURE, clock_words
from billing.models import EventState, Origin, SigningSecret, StripeEvent
from billing.refusals import RefusalRow, refusals

LOOKED_BACK: Final = timedelta(days=3)  # for as long Stripe repeats what is refused
SUBJECT: Final = "deliveries"


def deliveries(source_pk: int, *, livemode: bool, now: datetime) -> Check:
    """Return how deliveries to a source stand: the last one taken, or why the newest was refused. Three queries.

    A signing secret is only proven by Stripe's own deliveries: whatever we signed ourselves would fit.
    """
    if not SigningSecret.objects.filter(source_id=source_pk).exists():
        return Check(SUBJECT, State.TODO, "The source has no signing secret yet.", "no_signing_secret", UNSIGNED_CURE)
    last = (
        StripeEvent.objects.filter(source_id=source_pk, origin=Origin.WEBHOOK)
        .order_by("-pk")
        .values_list("received_at", "state", "reason", "type")
        .first()
    )
    refused = next(iter(refusals(since=now - LOOKED_BACK, source_pk=source_pk)), None)
    if refused is not None and (last is None or refused.last_at > last[0]):
        return _refused(refused, livemode=livemode)
    if last is None:
        sentence = "No event of Stripe's has arrived yet, so the signing secret is not proven."
        return Check(SUBJECT, State.TODO, sentence, "no_delivery_yet", FIRST_CURE)
    received_at, state, reason, kind = last
    if state == EventState.PARKED and reason == "wrong_mode":
        return _of_the_other_mode("The last event was", livemode=livemode)
    return Check(SUBJECT, State.OK, f"Stripe's last event, {kind}, came {received_at:%Y-%m-%d %H:%M} UTC and was kept.")


UNSIGNED_CURE: Final = (
    "Create the endpoint here, which keeps its secret by itself, or copy the secret from the endpoint's page in "
    "Stripe: Developers, Webhooks, Signing secret, Reveal."
)
FIRST_CURE: Final = (
    "Wait for the next event, or make one: change a customer's description in Stripe and change it back."
)


def _refused(last: RefusalRow, *, livemode: bool) -> Check:
    words: dict[str, Callable[[], Check]] = {
        "wrong_mode": lambda: _of_the_other_mode("The last delivery was refused: it was", livemode=livemode),
        "bad_timestamp": lambda: Check(
            SUBJECT,
            State.MEND,
            f"The last delivery was refused: its time is not ours. {clock_words(last.seconds_off or 0)}",
            "bad_timestamp",
            CLOCK_CURE,
        ),
        "bad_json": lambda: Check(
            SUBJECT,
            State.MEND,
            "The last delivery was refused: its body is not what Stripe sends.",
            "bad_json",
            "Look at what stands between Stripe and us: a proxy may change bodies.",
        ),
    }
    return words.get(last.code, _unknown_secret)()


def _unknown_secret() -> Check:
    sentence = "The last delivery was refused: it was signed with a secret that this source does not have."
    cure = (
        "In Stripe: Developers, Webhooks, this endpoint, Signing secret, Reveal. Add that one here. Each endpoint has "
        "a secret of its own; Stripe repeats what was refused for three days."
    )
    return Check(SUBJECT, State.MEND, sentence, "bad_signature", cure)


def _of_the_other_mode(what: str, *, livemode: bool) -> Check:
    ours, theirs = ("live", "test") if livemode else ("test", "live")
    cure = (
        f"Switch Stripe to {ours} mode and take the endpoint and its signing secret from there; for {theirs} mode add "
        "a source of its own."
    )
    return Check(SUBJECT, State.MEND, f"{what} a {theirs}-mode event, and this source is {ours}.", "wrong_mode", cure)
