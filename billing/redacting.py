"""Takes what tells of a person out of Stripe's events and leaves what numbers need. Pure: values in, values out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MARK: Final = "redacted"

# Texts that numbers need, by their key: ids, codes, currencies and exact amounts. Whatever is not here goes.
KEPT: Final = frozenset(
    "id object type api_version account created "
    "status currency interval usage_type billing_scheme tiers_mode tax_behavior round behavior up_to "
    "amount_decimal unit_amount_decimal flat_amount_decimal percentage percent_off duration "
    "collection_method billing_reason reason feedback end_behavior failure_code "
    "customer price product plan subscription subscription_item subscription_schedule invoice invoice_item charge "
    "payment_intent payment_method payment coupon discount discounts schedule tax_rate tax_rates products "
    "default_price latest_invoice latest_charge balance_transaction dispute refund related_object".split()
)
KEPT_OF: Final = {"invoice": frozenset({"number"})}

# Their keys are people's own, or they are about a person through and through.
EMPTIED: Final = frozenset(
    "metadata address billing_details shipping customer_address customer_shipping customer_details shipping_details "
    "individual person owner dob verified_outputs evidence custom_fields receipt ip_address_location".split()
)
CODE: Final = re.compile(r"[A-Za-z0-9_.:|-]{1,255}")
KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def redacted(event: Mapping[str, Any]) -> bytes:
    """Return the body that stands for an event from now on: JSON with numbers, codes and ids, and a mark.

    What the engine and the mirror's figures read is the same as before. Redacting it again gives the same bytes.
    """
    kept = {**without_person(event), MARK: True}
    return json.dumps(kept, separators=(",", ":"), sort_keys=True).encode()


def is_redacted(event: Mapping[str, Any] | None) -> bool:
    return event is not None and event.get(MARK) is True


def without_person(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of Stripe's objects without what tells of a person: such texts are null, such hashes empty."""
    extra = KEPT_OF.get(str(obj.get("object")), frozenset())
    return {
        key: ({} if isinstance(value, dict) else None) if key in EMPTIED else _without(value, key, extra)
        for key, value in obj.items()
        if KEY.fullmatch(key)
    }


def _without(value: Any, key: str, extra: frozenset[str] = frozenset()) -> Any:
    if isinstance(value, dict):
        return without_person(value)
    if isinstance(value, list):
        return [_without(part, key, extra) for part in value]
    if isinstance(value, str):
        return value if (key in KEPT or key in extra) and CODE.fullmatch(value) else None
    return value


# ---- whose a body is ----

# Ids of what belongs to one payer alone. Prices, products, coupons and payouts are everybody's.
OWN: Final = re.compile(
    r"(?:cus|ch|py|pi|seti|pm|card|ba|src|in|ii|sub|sub_sched|du|dp|re|pyr|cs|mandate|cn|qt|prv|issfr)_[\w-]{1,250}"
)


def names(event: Mapping[str, Any]) -> set[str]:
    """Return the ids that an event names which may stand for one payer alone; what people noted in metadata is none."""
    return {text for _, key, text in _texts(event) if key in KEPT and OWN.fullmatch(text)}


# ---- what a person is searched by ----

EMAIL: Final = re.compile(r"[^\s'\"<>(),;:@]{1,64}@[^\s'\"<>(),;:@]{1,255}")
OF_PERSON: Final = frozenset(
    "phone line1 customer_name customer_phone ip ip_address client_ip customer_purchase_ip receipt_number".split()
)
NAMED_IN: Final = EMPTIED | {"customer"}
LEAST: Final = 6  # a shorter text stands in too many places that have nothing to do with the person


def told_of(event: Mapping[str, Any]) -> set[str]:
    """Return what an event tells of a person that can be searched for: e-mails, names, phones, streets, IPs."""
    found: set[str] = set()
    for holder, key, text in _texts(event):
        is_name = key == "name" and holder in NAMED_IN
        if (key in OF_PERSON or is_name) and len(text) >= LEAST:
            found.add(text)
        found |= set(EMAIL.findall(text))
    return found


def gist(raw: bytes) -> dict[str, Any]:
    """Return what can be told of a body that cannot be read to its end: the ids and e-mail addresses in it."""
    text = raw.decode("utf-8", "replace")
    return {"customer": sorted(set(OWN.findall(text))), "email": sorted(set(EMAIL.findall(text)))}


def _texts(value: Any, holder: str = "", key: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield every text with its key and what holds it: the key of its object, or the kind that the object says."""
    if isinstance(value, dict):
        kind = value.get("object")
        name = kind if isinstance(kind, str) else key
        for inner, part in value.items():
            yield from _texts(part, name, inner)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, holder, key)
    elif isinstance(value, str):
        yield holder, key, value
