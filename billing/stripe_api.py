"""The only file that imports stripe: calls to one account's API, and its errors in our words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from billing import pacing, pages

if TYPE_CHECKING:
    from stripe import StripeClient

    from billing.models import StripeSource

API_VERSION: Final = "2026-10-28.endive"  # the library's own moves with each of its releases
TIMEOUT_SECONDS: Final = 20
RETRIES: Final = 2  # of what the library knows to be safe; it never repeats a 429


class StripeError(Exception):
    """A call to Stripe did not bring what was asked. The text holds no key and no body."""


class NotFound(StripeError):
    """Stripe knows no such object: it was deleted, or belongs to another account or mode."""


class NotAllowed(StripeError):
    """The key is wrong, or lacks a right; the text says which."""


class WrongKey(NotAllowed):
    """Stripe does not know the key (any more)."""


class Busy(StripeError):
    """Too many calls now, or Stripe is down: try again later."""


class RateLimited(Busy):
    """Stripe takes no more calls of this account for now: all of them wait."""


class Reader:
    """Reads one account no faster than Stripe allows: 100 calls a second live, 25 in test mode, 25 an endpoint.

    The pace is kept by all processes of this machine together. Methods raise StripeError.
    """

    def __init__(self, source: StripeSource) -> None:
        # A failed call is tried again by whoever asked: it knows what else it has to do.
        self._client = client(source, retries=0)
        self._source_pk = source.pk
        self._per_second = LIVE_PER_SECOND if source.livemode else TEST_PER_SECOND

    def one(self, kind: str, stripe_id: str, *, expand: Sequence[str] = ()) -> dict[str, Any]:
        """Read one object as plain JSON; `kind` as for `retrieve`."""
        self._wait(kind)
        return retrieve(self._client, kind, stripe_id, expand=expand)

    def all(self, kind: str, *of: str, **filters: Any) -> list[dict[str, Any]]:
        """Read a whole list, page by page; `kind` may go down, as `invoices.line_items` of an invoice's id does."""
        found: list[dict[str, Any]] = []
        while True:
            self._wait(kind)
            asked = {**filters, "limit": PAGE} | ({"starting_after": found[-1]["id"]} if found else {})
            with _in_our_words():
                service: Any = self._client.v1
                for name in kind.split("."):
                    service = getattr(service, name)
                page = service.list(*of, asked)
            found += [row.to_dict(for_json=True) for row in page.data]
            if not page.has_more or not page.data:
                return found

    def look(self, kind: str, **filters: Any) -> Seen:
        """Read one page of a list: a cheap way to learn whether the key may, and what Stripe's clock says."""
        self._wait(kind)
        with _in_our_words():
            page: Any = getattr(self._client.v1, kind).list(filters)
        return Seen([row.to_dict(for_json=True) for row in page.data], _ahead_seconds(page.last_response.headers))

    def create(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """Make an object and return it as plain JSON: a webhook endpoint, nothing else of Stripe's."""
        self._wait(kind)
        with _in_our_words():
            made: Any = getattr(self._client.v1, kind).create(values)
        plain: dict[str, Any] = made.to_dict(for_json=True)
        return plain

    def change(self, kind: str, stripe_id: str, values: dict[str, Any], *, once: str = "") -> None:
        """Change an endpoint, or a customer's metadata; a repeat with the same `once` changes nothing more."""
        self._wait(kind)
        with _in_our_words():
            getattr(self._client.v1, kind).update(stripe_id, values, {"idempotency_key": once} if once else None)

    def page(self, path: str, asked_for: Mapping[str, Any]) -> Page:
        """Read one page of a list with these parameters; `path` is the list's address below /v1/."""
        self._wait(path.replace("/", "."))
        asked = int(time.time())
        with _in_our_words():
            answer = self._client.raw_request("get", f"/v1/{path}", **asked_for)
        try:
            rows, has_more = pages.read(answer.body)
        except pages.NotAPage as error:
            raise Busy(str(error)) from None
        return Page(rows, has_more, asked)

    def hold(self, *, seconds: float) -> None:
        """Let no call of this account through for so long."""
        pacing.hold(f"{self._source_pk}", seconds=seconds)

    def _wait(self, endpoint: str) -> None:
        pacing.take(f"{self._source_pk}-{endpoint}", ENDPOINT_PER_SECOND)
        pacing.take(f"{self._source_pk}", self._per_second)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: each object as JSON and as received; `asked` is when (Unix seconds) it was asked for."""

    rows: list[tuple[dict[str, Any], bytes]]
    has_more: bool
    asked: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One page of a list as plain JSON, and by how many seconds our clock is ahead of Stripe's (None: not said)."""

    rows: list[dict[str, Any]]
    ahead_seconds: int | None


def _ahead_seconds(headers: Mapping[str, str]) -> int | None:
    said = headers.get("Date", "")
    try:
        return round(time.time() - parsedate_to_datetime(said).timestamp()) if said else None
    except ValueError:
        return None


PAGE: Final = 100
LIVE_PER_SECOND: Final = 100.0
TEST_PER_SECOND: Final = 25.0
ENDPOINT_PER_SECOND: Final = 25.0


def client(source: StripeSource, *, retries: int = RETRIES) -> StripeClient:
    """Return the client of a source's account; raises NotAllowed when it has no API key."""
    import stripe

    if not source.api_key:
        raise NotAllowed(f"The source '{source.slug}' has no API key. Add a restricted one with add_source --api-key.")
    addresses: Any = {"api": settings.STRIPE_API_BASE} if settings.STRIPE_API_BASE else {}
    return stripe.StripeClient(
        source.api_key,
        stripe_version=API_VERSION,
        stripe_account=source.account_id or None,
        max_network_retries=retries,
        base_addresses=addresses,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
    )


def retrieve(client: StripeClient, kind: str, stripe_id: str, *, expand: Sequence[str] = ()) -> dict[str, Any]:
    """Read one object as plain JSON, `expand` naming what shall travel whole; raises StripeError.

    `kind` is the name of the client's service: customers, subscriptions, prices, invoices, charges, disputes, …
    """
    with _in_our_words():
        found = getattr(client.v1, kind).retrieve(stripe_id, {"expand": list(expand)} if expand else None)
    plain: dict[str, Any] = found.to_dict(for_json=True)
    return plain


@contextmanager
def _in_our_words() -> Iterator[None]:
    """The library's errors carry bodies and keys with them: only kind, code and our text go on."""
    import stripe

    try:
        yield
    except stripe.AuthenticationError as error:
        raise WrongKey(_told(error)) from None
    except stripe.PermissionError as error:
        raise NotAllowed(_lacking(error) or _told(error)) from None
    except stripe.RateLimitError as error:
        # An object that another call holds is no limit of the account.
        body: Any = error.json_body or {}
        is_held = body.get("error", {}).get("code") == "lock_timeout"
        raise (Busy if is_held else RateLimited)(_told(error)) from None
    except stripe.APIConnectionError as error:
        raise Busy(_told(error)) from None
    except stripe.InvalidRequestError as error:
        raise (NotFound if error.http_status == 404 else StripeError)(_told(error)) from None
    except stripe.StripeError as error:
        raise (Busy if (error.http_status or 500) >= 500 else StripeError)(_told(error)) from None


# Stripe's names of rights, as the page that makes restricted keys shows them.
RESOURCES: Final = {
    "balance_transaction_source": "Balance transaction sources",
    "charge": "Charges and Refunds",
    "coupon": "Coupons",
    "credit_note": "Credit notes",
    "customer": "Customers",
    "dispute": "Disputes",
    "event": "Events",
    "invoice": "Invoices",
    "payment_intent": "PaymentIntents",
    "payout": "Payouts",
    "plan": "Prices",
    "product": "Products",
    "promotion_code": "Promotion codes",
    "subscription": "Subscriptions",
    "tax_rate": "Tax rates",
    "webhook": "Webhook Endpoints",
}
RIGHT: Final = re.compile(r"rak_(\w+?)_(read|write)\b")


def _lacking(error: Any) -> str:
    """Name the missing right as people see it, with Stripe's own name for those who look for that."""
    found = RIGHT.search(str(error.user_message or ""))
    if found is None:
        return ""
    resource, access = found.groups()
    shown = RESOURCES.get(resource, resource.replace("_", " ").capitalize())
    return f"The key lacks {access} access to {shown} ({found[0]}). Grant it in Stripe: Developers, API keys."


def _told(error: Any) -> str:
    from billing.inbox import SECRET

    what = SECRET.sub(lambda found: (found[1] or found[2]) + "[hidden]", str(error.user_message or error.code or ""))
    return f"Stripe answered {error.http_status or 'nothing'} ({type(error).__name__}): {what}"[:300]
