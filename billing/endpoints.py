"""The webhook endpoint in Stripe: what it must be, what is wrong with the one there is, making and mending it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from billing import sources, stripe_api
from billing.checks import Check, State
from billing.event_facts import newest_api_version
from billing.kinds import HANDLERS
from billing.models import StripeSource
from billing.stripe_api import API_VERSION

DESCRIPTION: Final = "MRR Ledger"
EVENTS: Final = tuple(sorted(HANDLERS))
MAJOR: Final = API_VERSION.partition(".")[2]  # within it Stripe only adds
SHOWN: Final = 4

Json = Mapping[str, Any]


def address(slug: str) -> str:
    """Return where Stripe is to deliver a source's events."""
    return f"{settings.BASE_URL}/webhooks/stripe/{slug}/"


def compare(source: StripeSource, listed: Sequence[Json]) -> list[Check]:
    """Say what is wrong with the endpoint of a source among those that Stripe lists; one check when all is well."""
    url = address(source.slug)
    ours = [one for one in listed if one["url"] == url]
    if not ours:
        return [_missing(source, listed, url)]
    endpoint = next((one for one in ours if one["status"] == "enabled"), ours[0])
    faults = [*_disabled(endpoint), *_events(endpoint), *_version(source, endpoint)]
    sentence = f"{url} gets every event that we read, in the layout of {endpoint['api_version'] or 'the account'}."
    return faults or [Check("endpoint", State.OK, sentence)]


def create(source: StripeSource) -> None:
    """Make the endpoint in Stripe and keep its signing secret; raises stripe_api.StripeError.

    It is pinned to the API version that we are tested with. An endpoint of the same address, if there is one, is
    switched off once the new one is there: an event that comes by both is kept once.
    """
    reader = stripe_api.Reader(source)
    before = [one for one in reader.look("webhook_endpoints", limit=100).rows if one["url"] == address(source.slug)]
    made = reader.create(
        "webhook_endpoints",
        {
            "url": address(source.slug),
            "enabled_events": list(EVENTS),
            "api_version": API_VERSION,
            "description": DESCRIPTION,
        },
    )
    sources.add(source.slug, signing_secrets=[made["secret"]])
    for one in before:
        reader.change("webhook_endpoints", one["id"], {"disabled": True})


def mend(source: StripeSource) -> None:
    """Add the events that the endpoint lacks and switch it on; raises stripe_api.StripeError.

    Its API version cannot be changed in Stripe: that takes a new endpoint.
    """
    reader = stripe_api.Reader(source)
    listed = reader.look("webhook_endpoints", limit=100).rows
    ours = [one for one in listed if one["url"] == address(source.slug)]
    endpoint = next((one for one in ours if one["status"] == "enabled"), ours[0] if ours else None)
    if endpoint is None:
        raise stripe_api.NotFound("Stripe has no endpoint with this address any more. Create it.")
    events = endpoint["enabled_events"] if _lacks(endpoint) == [] else sorted({*endpoint["enabled_events"], *EVENTS})
    reader.change("webhook_endpoints", endpoint["id"], {"enabled_events": events, "disabled": False})


# ---- faults ----


def _missing(source: StripeSource, listed: Sequence[Json], url: str) -> Check:
    path = urlsplit(url).path.rstrip("/")
    near = next((one["url"] for one in listed if urlsplit(one["url"]).path.rstrip("/") == path), "")
    if near:
        cure = f"In Stripe, change the endpoint's address to {url}, with the slash at its end."
        sentence = f"An endpoint delivers to {near}, which is not this installation's address."
        return Check("endpoint", State.MEND, sentence, "endpoint_elsewhere", cure)
    if source.livemode and not url.startswith("https://"):
        cure = "Put a proxy with TLS in front, set BASE_URL to its https address, and start again."
        sentence = f"Stripe delivers live events to https addresses alone; ours is {url}."
        return Check("endpoint", State.MEND, sentence, "address_not_https", cure)
    cure = "Create it here with one button, or by hand in Stripe with the address and the events below."
    mode = "live" if source.livemode else "test"
    sentence = f"Stripe's {mode} mode has no endpoint for this source, so nothing is delivered."
    return Check("endpoint", State.MEND, sentence, "endpoint_missing", cure)


def _disabled(endpoint: Json) -> list[Check]:
    if endpoint["status"] == "enabled":
        return []
    sentence = "The endpoint is switched off in Stripe. Stripe does that by itself after days of failed deliveries."
    cure = "Switch it on here or in Stripe. What was missed meanwhile is found by the catch-up, up to 30 days back."
    return [Check("endpoint", State.MEND, sentence, "endpoint_disabled", cure)]


def _events(endpoint: Json) -> list[Check]:
    lacking = _lacks(endpoint)
    if not lacking:
        return []
    named = ", ".join(lacking[:SHOWN]) + (f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else "")
    sentence = f"The endpoint does not send {len(lacking)} of the {len(EVENTS)} events that we read: {named}."
    cure = "Add them here with one button, or in Stripe on the endpoint's page, Edit destination."
    return [Check("endpoint", State.MEND, sentence, "endpoint_events_missing", cure)]


def _lacks(endpoint: Json) -> list[str]:
    sent = set(endpoint["enabled_events"])
    return [] if "*" in sent else [name for name in EVENTS if name not in sent]


def _version(source: StripeSource, endpoint: Json) -> list[Check]:
    """An endpoint without a version of its own follows the account's: then the newest event tells which that is."""
    version = endpoint["api_version"] or newest_api_version(source.pk)
    if not version or version.partition(".")[2] == MAJOR:
        return []
    whose = "The endpoint" if endpoint["api_version"] else "The endpoint follows the account's API version, which"
    sentence = f"{whose} sends events in the old layout of {version}; we are tested with {API_VERSION}."
    cure = (
        "Stripe cannot change the version of an endpoint. Replace it here with one button: a new one is made first, "
        "the old one is switched off after it, and no event is lost or counted twice."
    )
    return [Check("endpoint", State.MEND, sentence, "endpoint_version_old", cure)]
