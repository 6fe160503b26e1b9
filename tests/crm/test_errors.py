"""What Salesforce's refusals mean: the kind of each, what it concerns, and the cure in plain words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crm.channels.kinds import Permanent, Transient, Unclear, Wait
from crm.channels.salesforce import errors
from tests.test_console import REFUSALS

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)

PARKED = (
    "REQUIRED_FIELD_MISSING FIELD_CUSTOM_VALIDATION_EXCEPTION DUPLICATES_DETECTED "
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST INVALID_FIELD INVALID_FIELD_FOR_INSERT_UPDATE INVALID_CROSS_REFERENCE_KEY "
    "INSUFFICIENT_ACCESS_OR_READONLY INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY ENTITY_IS_DELETED STRING_TOO_LONG "
    "MALFORMED_ID NUMBER_OUTSIDE_VALID_RANGE INVALID_TYPE NOT_FOUND DUPLICATE_EXTERNAL_ID"
).split()


@pytest.mark.parametrize("code", PARKED)
def test_what_trying_again_cannot_cure_is_parked_with_the_place_and_the_cure(code):
    assert isinstance(errors.failure(code, "said", now=NOW), Permanent)

    told = errors.explain(code, "said", sobject="Account")

    assert told.why and told.where and told.fix.rstrip(".").endswith(("retry", "Then retry"))
    assert not told.heals and "{" not in told.fix + told.where + told.path


@pytest.mark.parametrize("code", sorted(errors.TRANSIENT | errors.WAITS))
def test_what_heals_by_itself_is_tried_again_or_waits_and_has_words_too(code):
    assert isinstance(errors.failure(code, "said", now=NOW), Transient | Wait)
    assert errors.explain(code, "said").why


@pytest.mark.parametrize(
    ("code", "message", "fields", "named"),
    [
        ("INVALID_FIELD", "No such column 'MRR__c' on sobject of type Account", (), ("MRR__c",)),
        ("REQUIRED_FIELD_MISSING", "Required fields are missing: [Region__c, Name]", (), ("Region__c", "Name")),
        ("STRING_TOO_LONG", "Type: data value too large: expansion (max length=4)", ("Type__c",), ("Type__c",)),
        ("STRING_TOO_LONG", "Billing Status: data value too large: x (max length=4)", (), ("Billing Status",)),
        ("DUPLICATE_VALUE", "duplicate value found: Ledger_Key__c duplicates value on record", (), ("Ledger_Key__c",)),
    ],
)
def test_the_field_is_named(code, message, fields, named):
    told = errors.explain(code, message, sobject="Account", fields=fields)

    assert told.fields == named


def test_the_console_is_tried_with_every_code_that_salesforce_is_known_to_answer():
    """In the browser: all at once, and by themselves those that a whole call is refused with."""
    shown = {code for code, *_ in REFUSALS} | {"NOT_FOUND", "REQUEST_LIMIT_EXCEEDED"}
    healing = {"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "DUPLICATE_VALUE", "REQUEST_LIMIT_EXCEEDED"}

    assert (set(PARKED) - {errors.TWINS}) | healing <= shown


def test_the_rule_that_refused_is_named_by_its_message():
    told = errors.explain("FIELD_CUSTOM_VALIDATION_EXCEPTION", "No MRR without a region", sobject="MRR_Schedule__c")

    assert told.rule == "No MRR without a region"
    assert told.where == "Setup > Object Manager > MRR_Schedule__c > Validation Rules"
    assert told.path == "ObjectManager/MRR_Schedule__c/ValidationRules/view"


def test_a_code_nobody_has_advice_for_is_still_explained():
    assert "its own words" in errors.explain("SOMETHING_NEW", "said").why


def test_twins_are_named():
    urls = [f"/services/data/v60.0/sobjects/MRR_Schedule__c/a005g000000000{end}AAA" for end in "12"]

    refusal = errors.from_answer(300, urls, is_write=True, now=NOW)

    assert refusal.code == "DUPLICATE_EXTERNAL_ID"
    assert "a005g0000000001AAA, a005g0000000002AAA" in refusal.message


@pytest.mark.parametrize(
    ("said", "kind", "code", "message", "fields"),
    [
        ("STRING_TOO_LONG:Type: too large:Type__c --", Permanent, "STRING_TOO_LONG", "Type: too large", ("Type__c",)),
        ("UNABLE_TO_LOCK_ROW:unable to lock: --", Transient, "UNABLE_TO_LOCK_ROW", "unable to lock", ()),
        ("gone wrong", Permanent, "BULK_ROW_FAILED", "gone wrong", ()),
    ],
)
def test_a_row_of_a_bulk_job_is_read(said, kind, code, message, fields):
    refusal = errors.bulk_error(said, now=NOW)

    assert isinstance(refusal, kind)
    assert (refusal.code, refusal.message, refusal.fields) == (code, message, fields)


def test_a_gateway_that_gave_up_over_a_write_is_unclear():
    assert isinstance(errors.from_answer(504, "<html>", is_write=True, now=NOW), Unclear)
    assert isinstance(errors.from_answer(504, "<html>", is_write=False, now=NOW), Transient)
