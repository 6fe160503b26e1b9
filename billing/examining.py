"""Asks Stripe, side by side, whether a source's key reads what it must, clocks agree and the endpoint is right."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from billing import endpoints, sources, stripe_api
from billing.checks import Check, State, keep
from billing.models import StripeSource


@dataclass(frozen=True, slots=True)
class Right:
    """A right that the key needs: Stripe's name of it, its name in the Dashboard, the list that tries it, and why."""

    name: str
    shown: str
    kind: str
    why: str

    @property
    def code(self) -> str:
        return f"rak_{self.name}_read"


RIGHTS: Final = (
    Right("customer", "Customers", "customers", "who pays, and whom to match"),
    Right("subscription", "Subscriptions", "subscriptions", "what MRR is made of"),
    Right("plan", "Prices", "prices", "tiers and currencies that events leave out"),
    Right("product", "Products", "products", "what a price is for"),
    Right("coupon", "Coupons", "coupons", "discounts, and what they apply to"),
    Right("invoice", "Invoices", "invoices", "long invoices, past-due amounts"),
    Right("charge", "Charges and Refunds", "charges", "payments that failed or went back"),
    Right("dispute", "Disputes", "disputes", "money that a bank took back"),
    Right("payout", "Payouts", "payouts", "what reached the bank"),
    Right("event", "Events", "events", "deliveries that were missed"),
)
CLOCK_SECONDS: Final = 60  # a delivery is refused from 300 s on
AT_ONCE: Final = 8  # calls in flight
NO_KEY: Final = Check(
    "key",
    State.TODO,
    "There is no API key yet. Events are taken, but what they leave out is not read, and the endpoint is not checked.",
    "no_api_key",
    "Make a restricted key in Stripe with the rights listed here and save it with the source.",
)


def examine(source: StripeSource) -> list[Check]:
    """Ask Stripe, with calls side by side, whether the source's key reads what it must and its endpoint is right.

    Takes about as long as the slowest of a dozen calls. Raises nothing of Stripe's: what it says becomes a check.
    """
    if not source.api_key:
        return [NO_KEY]
    reader = stripe_api.Reader(source)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:  # these threads only talk to Stripe
        listed = pool.submit(_listed, reader, "webhook_endpoints", 100)
        tried = pool.submit(_may_write, reader) if source.writes_metadata else None
        answers = list(pool.map(lambda right: _listed(reader, right.kind, 1), RIGHTS))
        there = listed.result()
    refused = next((one for one in answers if isinstance(one, stripe_api.WrongKey)), None)
    if refused is not None:
        cure = "Copy the key again, or make a new restricted one in Stripe: Developers, API keys."
        return [Check("key", State.MEND, f"Stripe does not know this key. {refused}", "wrong_api_key", cure)]
    found = [*_rights(answers), *_clock([*answers, there])]
    if tried is not None and not tried.result():
        found.append(MAY_NOT_WRITE)
    if isinstance(there, stripe_api.Seen):
        found += endpoints.compare(source, there.rows)
    elif isinstance(there, stripe_api.NotAllowed):
        found.append(ENDPOINT_UNSEEN)
    return found


MAY_NOT_WRITE: Final = Check(
    "right",
    State.MEND,
    "The key may not write Customers, and this source is set to write Account ids to their metadata.",
    "missing_permission",
    "In Stripe: Developers, API keys, this key, Edit. Set Customers to Write (rak_customer_write), save, check again.",
)
NOBODY: Final = "cus_mrr_ledger_asks_for_its_right"


def _may_write(reader: stripe_api.Reader) -> bool:
    """Try to change a customer that is not there: whether one may is said before whether it is there."""
    try:
        reader.change("customers", NOBODY, {"metadata": {}})
    except stripe_api.NotAllowed:
        return False
    except stripe_api.StripeError:
        return True
    return True


ENDPOINT_UNSEEN: Final = Check(
    "endpoint",
    State.TODO,
    "This key may not look at webhook endpoints, so the endpoint is not checked.",
    "endpoint_unseen",
    "Give the key read access to Webhook Endpoints (rak_webhook_read), or compare address and events by hand.",
)


def refresh(source_pk: int, *, now: datetime) -> list[Check]:
    """Examine a source and keep what was found; raises StripeSource.DoesNotExist."""
    source = StripeSource.objects.get(pk=source_pk)
    found = examine(source)
    keep(source_pk, found, now=now)
    return found


def add(
    slug: str, *, label: str, livemode: bool, api_key: str, signing_secret: str, now: datetime
) -> tuple[int, list[Check]]:
    """Try a new source's key and add the source; return its key in our database and what was found.

    Raises SourceError, with nothing saved, when the source cannot be set up like this or Stripe does not know the key.
    """
    sources.check_slug(slug)
    if api_key:
        sources.check_api_key(api_key, livemode=livemode, allow_secret_key=False)
    found = _tried(StripeSource(slug=slug, label=label, livemode=livemode, api_key=api_key))
    secrets = [signing_secret] if signing_secret else []
    source, _ = sources.add(slug, label=label, livemode=livemode, api_key=api_key, signing_secrets=secrets)
    keep(source.pk, found, now=now)
    return source.pk, found


def replace_key(source_pk: int, key: str, *, now: datetime) -> list[Check]:
    """Try a key on every read that is needed and put it in place of the source's; raises SourceError.

    A key that Stripe does not know is not taken. One that lacks a right is only taken where there was none before: a
    key that works is not given up for one that does less.
    """
    source = StripeSource.objects.get(pk=source_pk)
    had_one = bool(source.api_key)
    sources.check_api_key(key, livemode=source.livemode, allow_secret_key=False)
    source.api_key = key
    found = _tried(source)
    lacking = [one for one in found if one.subject == "right"]
    if lacking and had_one:
        listed = " ".join(one.sentence for one in lacking)
        raise sources.SourceError(f"The key in use was kept, because this one does less. {listed}")
    sources.add(source.slug, api_key=key)
    keep(source_pk, found, now=now)
    return found


def _tried(source: StripeSource) -> list[Check]:
    found = examine(source)
    wrong = next((one for one in found if one.code == "wrong_api_key"), None)
    if wrong is not None:
        raise sources.SourceError(f"{wrong.sentence} Nothing was changed.")
    return found


# ---- what the answers say ----

Answer = stripe_api.Seen | stripe_api.StripeError


def _listed(reader: stripe_api.Reader, kind: str, limit: int) -> Answer:
    try:
        return reader.look(kind, limit=limit)
    except stripe_api.StripeError as error:
        return error


def _rights(answers: Sequence[Answer]) -> list[Check]:
    found = []
    for right, answer in zip(RIGHTS, answers, strict=True):
        if isinstance(answer, stripe_api.NotAllowed):
            cure = (
                f"In Stripe: Developers, API keys, this key, Edit. Set {right.shown} to Read ({right.code}), save, and "
                "check again."
            )
            sentence = f"The key may not read {right.shown}: {right.why}."
            found.append(Check("right", State.MEND, sentence, "missing_permission", cure))
    errors = [one for one in answers if isinstance(one, stripe_api.StripeError)]
    failed = [one for one in errors if not isinstance(one, stripe_api.NotAllowed)]
    if failed:
        cure = "Check again in a minute. If it stays: see whether this machine reaches api.stripe.com."
        sentence = f"Not every right could be tried. {failed[0]}"
        found.append(Check("key", State.MEND, sentence, "stripe_unreachable", cure))
    if not found:
        names = ", ".join(right.shown for right in RIGHTS)
        found.append(Check("key", State.OK, f"The key reads all that is needed: {names}."))
    return found


def _clock(answers: Sequence[Answer]) -> list[Check]:
    """Compare clocks by the answer that came quickest back: the smallest difference is the truest."""
    told = [one.ahead_seconds for one in answers if isinstance(one, stripe_api.Seen) and one.ahead_seconds is not None]
    ahead = min(told, key=abs, default=None)
    if ahead is None:
        return []
    if abs(ahead) < CLOCK_SECONDS:
        return [Check("clock", State.OK, "Our clock and Stripe's agree.")]
    return [Check("clock", State.MEND, clock_words(ahead), "clock_off", CLOCK_CURE)]


CLOCK_CURE: Final = "Set this machine's clock by NTP, such as: timedatectl set-ntp true."


def clock_words(ahead_seconds: int) -> str:
    """Say how far our clock is from Stripe's, and what comes of it."""
    size = abs(ahead_seconds)
    shown = f"{size // 60} min" if size >= 120 else f"{size} s"
    side = "ahead of" if ahead_seconds > 0 else "behind"
    return f"This machine's clock is {shown} {side} Stripe's. From 5 min on every delivery is refused."
