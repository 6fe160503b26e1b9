"""What the codes of Stripe's events, of fetches and of refused deliveries mean: title, cause and cure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Help = Mapping[str, tuple[str, str, str]]

# What the webhook answers instead of keeping an event
REFUSALS: Final[Help] = {
    "bad_signature": (
        "Bad signature",
        "A delivery was not signed with any signing secret that this source knows: the secret belongs to another "
        "endpoint or mode, was rolled in Stripe, or somebody else sent it.",
        "In Stripe open Developers, Webhooks, the endpoint of this address, and reveal its signing secret. Add that "
        "one to the source here; old and new may be active side by side. Stripe delivers again for three days.",
    ),
    "bad_timestamp": (
        "The delivery's time is not ours",
        "The signature is right, but made more than 300 seconds before or after our clock.",
        "Set this machine's clock by NTP. If the clock is right, a proxy holds deliveries back for minutes.",
    ),
    "no_signing_secret": (
        "No signing secret",
        "The source has no signing secret yet, so no delivery can be told from a forged one.",
        "Copy the signing secret from the endpoint's page in Stripe and add it to the source.",
    ),
    "bad_json": (
        "Not JSON",
        "The body is not one JSON object in UTF-8. Stripe never sends this.",
        "Look at what stands between Stripe and us: a proxy that changes bodies, or a sender that is not Stripe.",
    ),
    "bad_body": (
        "The body ended early",
        "The connection ended before the whole body had come.",
        "Nothing to do once: Stripe delivers again. If it stays, look at time-outs and limits of the proxy.",
    ),
    "too_large": (
        "Over 1 MiB",
        "The body is larger than any event of Stripe's.",
        "Look at who sends to this address. Stripe's own events are far smaller.",
    ),
    "unknown_source": (
        "No such source",
        "No source has the short name in the delivery's address.",
        "Correct the address of the endpoint in Stripe: the source's page shows it.",
    ),
    "method_not_allowed": (
        "Not a delivery",
        "The address was opened with another method than POST.",
        "Nothing to do: a browser or a scanner opened it.",
    ),
    "not_kept": (
        "The event could not be kept",
        "The database could not take the event, so we answered 503 and Stripe sends it again.",
        "See whether the database answers and has room; the log names the error. No event is lost meanwhile.",
    ),
}

# Why an event is parked or ignored
EVENTS: Final[Help] = {
    "thin_event": (
        "A thin event",
        "It carries no object, so nothing can be read from it.",
        "In Stripe, give this endpoint snapshot events instead of thin ones.",
    ),
    "bad_event": (
        "Not a whole event",
        "It lacks what every Stripe event has: type, time, mode and an object.",
        "Look at its payload. If it did come from Stripe, pin the endpoint to a supported API version.",
    ),
    "no_id": (
        "An event without an id",
        "It cannot be told from others, so it is only kept.",
        "Nothing to do: no figure waits for it. See who sends such bodies.",
    ),
    "too_deep": (
        "Nested too deep",
        "Its payload is deeper than we read. It is kept as received.",
        "Look at its payload; tell us its type, so that it can be read.",
    ),
    "number_too_large": (
        "A number too large",
        "It holds a number longer than any amount. It is kept as received.",
        "Look at its payload and correct the object in Stripe, which then sends another event.",
    ),
    "wrong_mode": (
        "Of the wrong mode",
        "A live source takes live events only, a test source test events.",
        "Give each mode an endpoint and a source of its own in Stripe.",
    ),
    "wrong_account": (
        "Of another Stripe account",
        "The event names a Connect account that this source is not of.",
        "Name the Connect account on the source (add_source --account acct_…) if it belongs here, then process again.",
    ),
    "no_customer": (
        "Without a customer",
        "It names no customer, so no MRR can follow from it.",
        "Nothing to do, unless the object should have one: then correct it in Stripe.",
    ),
    "layout_error": (
        "An object that cannot be read",
        "A field that we need is missing or of another kind than Stripe's layouts have.",
        "See the error beside it. Pin the endpoint to a supported API version, then process again.",
    ),
    "failed": (
        "It failed each time",
        "It was tried as often as we try, and failed each time. The last error stands beside it.",
        "Mend what the error names, then process it again. Everything else went on meanwhile.",
    ),
    "parked_by_person": (
        "Parked by a person",
        "Somebody took it out of the queue.",
        "Process it again when what was wrong is mended.",
    ),
    "not_needed": (
        "Of a kind that does not concern MRR",
        "It is kept and counted; nothing follows from it.",
        "Nothing to do. To have fewer of them, take the type off the endpoint in Stripe.",
    ),
}

# Why something that Stripe's API owes has not come
FETCHES: Final[Help] = {
    "fetch_waiting": (
        "Still to be read from Stripe",
        "Payloads lack something that MRR needs, and Stripe's API has not been asked or has not answered yet.",
        "Wait a minute. If it stays, see whether the workers run and what Stripe said.",
    ),
    "fetch_parked": (
        "Given up reading from Stripe",
        "Stripe was asked as often as we ask and did not give the object.",
        "Open Owed fetches in the admin: each says why. Mend the cause and choose Try again.",
    ),
    "no_api_key": (
        "No API key",
        "The source has no API key, so what events lack cannot be read: tiers, long lists, currency options.",
        "In Stripe make a restricted key that reads, and give it to the source.",
    ),
    "missing_permission": (
        "The key lacks a right",
        "The restricted key may not read one kind of object. The error names it as Stripe does.",
        "Grant the key that right in Stripe under Developers, API keys, then choose Try again; or replace the key.",
    ),
    "wrong_api_key": (
        "Stripe does not know the key",
        "The key was rolled, deleted, or belongs to another account.",
        "Make a restricted key in Stripe and replace this one.",
    ),
    "rate_limited": (
        "Too many calls to Stripe",
        "Stripe takes no more calls of this account for now; other programs share its limit.",
        "Nothing to do: all reads pause for some seconds and go on.",
    ),
    "resource_missing": (
        "Not there in Stripe",
        "Stripe knows no such object: it was deleted, or is of another account or mode.",
        "See whether key and endpoint are of one account and mode. A deleted price counts by its last known amount.",
    ),
}

# Why Stripe's lists were not read
LISTINGS: Final[Help] = {
    "list_refused": (
        "Stripe refuses a list",
        "Stripe does not answer one of the lists as we ask for it; the other lists were read.",
        "See what Stripe said beside the list. If the account lacks that product, nothing is missing.",
    ),
    "listing_failed": (
        "Reading Stripe's lists was given up",
        "Stripe, or our database, failed eight times in a row while the lists were read.",
        "See the error, mend its cause, and start it again: it goes on where it stopped.",
    ),
}

# What is wrong with a source's key, clock or endpoint
CONNECTING: Final[Help] = {
    "stripe_unreachable": (
        "Stripe does not answer",
        "A call to Stripe's API brought no usable answer, so a key or an endpoint could not be checked.",
        "Check again in a minute. If it stays, see whether this machine reaches api.stripe.com.",
    ),
    "clock_off": (
        "The clock is off",
        "This machine's clock and Stripe's differ by over a minute. From five minutes on each delivery is refused.",
        "Set this machine's clock by NTP, such as with timedatectl set-ntp true, and check again.",
    ),
    "endpoint_missing": (
        "No endpoint in Stripe",
        "Stripe has no webhook endpoint with this source's address in the key's mode, so it delivers nothing.",
        "Press Create the endpoint on the set-up page, or make it by hand in Stripe with the address and events shown.",
    ),
    "endpoint_elsewhere": (
        "The endpoint has another address",
        "An endpoint in Stripe has almost this source's address: another host, or no slash at its end.",
        "Change its address in Stripe to the one that the set-up page shows, or set BASE_URL to the right host.",
    ),
    "endpoint_disabled": (
        "The endpoint is switched off",
        "Somebody switched it off in Stripe, or Stripe did after days of failed deliveries.",
        "Press Mend the endpoint on the set-up page, or switch it on in Stripe.",
    ),
    "endpoint_events_missing": (
        "The endpoint does not send every event",
        "Events that make or change MRR are not among those that the endpoint sends.",
        "Press Mend the endpoint on the set-up page, or add the events named there on the endpoint's page in Stripe.",
    ),
    "endpoint_version_old": (
        "The endpoint sends an old layout",
        "It is pinned to an API version of an earlier release, or follows the account's, so its events lack fields.",
        "Press Replace the endpoint on the set-up page: Stripe cannot change the version of one that exists.",
    ),
    "endpoint_unseen": (
        "The endpoint is not checked",
        "The key may not look at webhook endpoints.",
        "Give the key read access to Webhook Endpoints, or compare address and events by hand.",
    ),
    "address_not_https": (
        "The address has no TLS",
        "Stripe delivers live events to https addresses alone.",
        "Put a proxy with TLS in front, set BASE_URL to its https address and start again.",
    ),
    "no_delivery_yet": (
        "Nothing has arrived yet",
        "No event of Stripe's has come to this source, so its signing secret is not proven.",
        "Wait for the next event, or make one: change a customer's description in Stripe and change it back.",
    ),
}

CODES: Final[Help] = {**REFUSALS, **EVENTS, **FETCHES, **LISTINGS, **CONNECTING}
