"""The only file that imports stripe: calls to one account's API, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

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


class Busy(StripeError):
    """Too many calls now, or Stripe is down: try again later."""


def client(source: StripeSource) -> StripeClient:
    """Return the client of a source's account; raises NotAllowed when it has no API key."""
    import stripe

    if not source.api_key:
        raise NotAllowed(f"The source '{source.slug}' has no API key. Add a restricted one with add_source --api-key.")
    addresses: Any = {"api": settings.STRIPE_API_BASE} if settings.STRIPE_API_BASE else {}
    return stripe.StripeClient(
        source.api_key,
        stripe_version=API_VERSION,
        stripe_account=source.account_id or None,
        max_network_retries=RETRIES,
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
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise NotAllowed(_told(error)) from None
    except (stripe.RateLimitError, stripe.APIConnectionError) as error:
        raise Busy(_told(error)) from None
    except stripe.InvalidRequestError as error:
        raise (NotFound if error.http_status == 404 else StripeError)(_told(error)) from None
    except stripe.StripeError as error:
        raise (Busy if (error.http_status or 500) >= 500 else StripeError)(_told(error)) from None


def _told(error: Any) -> str:
    from billing.inbox import SECRET

    what = SECRET.sub(lambda found: (found[1] or found[2]) + "[hidden]", str(error.user_message or error.code or ""))
    return f"Stripe answered {error.http_status or 'nothing'} ({type(error).__name__}): {what}"[:300]
