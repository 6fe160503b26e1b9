"""What is left of an event whose person is forgotten: all that figures need, and nothing that tells of the person."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import envelope, kinds, redacting
from billing.kinds import HANDLERS
from billing.models import StripeEvent
from tests import builders
from tests.billing.world import World

PAYLOADS = sorted((Path(__file__).parent.parent / "payloads").glob("[a-z]*.*.json"))
PERSONAL = {
    "customer": dict.fromkeys(["name", "email", "phone", "description", "country", "postal_code"], "")
    | {"address": {}, "metadata": {}},
    "subscription": {"cancellation_comment": "", "metadata": {}},
    "product": {"name": ""},
    "price": {"nickname": ""},
}


def figures(body: dict[str, Any]) -> Any:
    """What the mirror reads of an event, before and after, without what tells of a person."""
    kind = HANDLERS.get(body["type"])
    if kind is None:
        return None
    mention = kinds.mention(StripeEvent(source_id=1, stripe_id=body["id"], type=body["type"]), kind, body)
    return [None if row is None else _plain(row, kind.name) for row in (mention.state, mention.before)]


def _plain(row: Any, kind: str) -> Any:
    if kind == "invoice":
        return replace(row, lines=tuple(replace(line, description="") for line in row.lines))
    row = replace(row, **PERSONAL.get(kind, {}))
    if hasattr(row, "coupons"):
        row = replace(row, coupons=tuple(replace(coupon, name="") for coupon in row.coupons))
    return row


def again(body: dict[str, Any]) -> dict[str, Any]:
    return envelope.parse(redacting.redacted(body))[0]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.name.removesuffix(".json"))
def test_every_captured_event_tells_the_same_figures_when_redacted(path):
    body, _ = envelope.parse(path.read_bytes())

    assert figures(again(body)) == figures(body)


def test_a_company_s_life_tells_the_same_figures_when_redacted():
    for told in World(7, 12, same_second=0.5).events:
        body, _ = envelope.parse(builders.as_bytes(told))

        assert figures(again(body)) == figures(body)


def test_a_redacted_event_has_the_envelope_of_the_one_received():
    raw = builders.as_bytes(builders.event("customer.updated", builders.customer()))
    received = envelope.read(raw, livemode=False, account_id="")

    redacted = envelope.read(redacting.redacted(received.body or {}), livemode=False, account_id="")

    assert replace(redacted, body=None) == replace(received, body=None)


def test_redacting_again_changes_nothing():
    body = builders.event("customer.created", builders.customer(address={"city": "Delft"}))

    assert redacting.redacted(again(body)) == redacting.redacted(body)


KEYS = st.sampled_from(
    [*sorted(redacting.KEPT), "name", "email", "metadata", "address", "evidence", "Jane Doe", "note"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=5), st.sampled_from(["jane@doe.example", "Jane Doe", "+31 6 1234"]))
def test_no_words_of_a_person_are_left_wherever_they_stand(event, words):
    planted = json.loads(json.dumps(event).replace('"note"', f'"{words}"'))
    planted |= {"note": words, "data": {"object": {"object": "charge", "id": words, "description": [words]}}}

    assert words not in redacting.redacted(planted).decode()


def test_what_people_typed_into_metadata_goes_with_its_keys():
    obj = builders.customer(metadata={"jane@doe.example": "yes", "seat": 12})

    assert redacting.without_person(obj)["metadata"] == {}


def test_another_customer_named_in_metadata_is_no_name_of_this_one():
    event = builders.event("customer.updated", builders.customer("cus_a", metadata={"from": "cus_b"}))

    assert redacting.names(event) == {"cus_a"}


def test_a_person_is_searched_by_what_is_told_of_it_and_not_by_what_is_sold():
    charge = builders.charge(
        "ch_1",
        customer="cus_1",
        receipt_email="jane@doe.example",
        billing_details={"name": "Jane Doe", "phone": "+31612345678", "address": {"line1": "Oude Delft 1"}},
        product={"object": "product", "name": "Team plan"},
    )

    told = redacting.told_of(builders.event("charge.succeeded", charge))

    assert told == {"jane@doe.example", "Jane Doe", "+31612345678", "Oude Delft 1"}
