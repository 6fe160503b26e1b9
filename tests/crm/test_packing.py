"""As few API calls as Salesforce allows: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crm.channels.kinds import Permanent, Postponed, Transient, Unclear, Wait
from crm.channels.salesforce import composite, errors
from crm.channels.salesforce.packing import Write, pack
from crm.channels.salesforce.soql import quoted, quoted_list

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def schedule(row: int, group: str = "001A") -> Write:
    return Write(row, group, "MRR_Schedule__c", {"Type__c": "new"}, key_field="Ledger_Key__c", key=f"mle_{row}")


def account(row: int, name: str = "001A") -> Write:
    return Write(row, name, "Account", {"MRR__c": "1.000000"}, their_id=name)


def test_all_that_one_customer_owes_is_one_request_in_the_right_order():
    opportunity = Write(3, "001A", "Opportunity", {"Amount": "1.00"}, their_id="006A")

    (parts,) = pack([schedule(1), account(2), opportunity])

    assert [part.path for part in parts] == [
        "sobjects/Opportunity/006A",
        "sobjects/Account/001A",
        "sobjects/MRR_Schedule__c/Ledger_Key__c/mle_1",
    ]
    assert "Ledger_Key__c" not in parts[2].body
    assert parts[0].as_json(version="68.0", reference="p0")["url"] == "/services/data/v68.0/sobjects/Opportunity/006A"


def test_a_key_stays_inside_its_address():
    write = Write(1, "", "MRR_Schedule__c", {}, key_field="Ledger_Key__c", key="../a b?c/Ä")

    ((part,),) = pack([write])

    assert part.path == "sobjects/MRR_Schedule__c/Ledger_Key__c/..%2Fa%20b%3Fc%2F%C3%84"


def test_twenty_five_go_one_by_one_and_more_in_collections():
    quiet = pack([schedule(row) for row in range(25)])
    busy = pack([schedule(row) for row in range(26)])

    assert [len(parts) for parts in quiet] == [25] and not quiet[0][0].is_collection
    ((collection,),) = busy
    assert collection.path == "composite/sobjects/MRR_Schedule__c/Ledger_Key__c"
    assert collection.body["allOrNone"] is False and len(collection.body["records"]) == 26
    assert collection.body["records"][0]["Ledger_Key__c"] == "mle_0"


def test_a_thousand_of_one_kind_are_one_request():
    requests = pack([schedule(row, f"001{row % 300:03}") for row in range(1000)])

    assert [[len(part.rows) for part in parts] for parts in requests] == [[200] * 5]
    assert [row for part in requests[0] for row in part.rows] == sorted(
        range(1000), key=lambda row: f"001{row % 300:03}"
    )


def test_more_go_with_further_requests_and_none_is_lost():
    writes = [schedule(row) for row in range(1001)] + [account(2000 + row, f"001{row}") for row in range(30)]

    requests = pack(writes)

    assert all(len(parts) <= 5 and all(len(part.rows) <= 200 for part in parts) for parts in requests)
    assert sorted(row for parts in requests for part in parts for row in part.rows) == sorted(one.row for one in writes)


def test_a_record_never_stands_twice_in_one_request():
    twice = [Write(row, "001A", "Opportunity", {"Amount": str(row)}, their_id="006A") for row in (1, 2)]

    assert [[part.rows for part in parts] for parts in pack(twice)] == [[(1,)], [(2,)]]


# ---- answers ----


class Sender:
    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def composite(self, parts):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(parts) if callable(answer) else answer


def sent(sender: Sender, writes, may_send=lambda: True):
    return composite.send(sender, writes, version="68.0", now=NOW, may_send=may_send)


def test_each_part_of_an_answer_is_read():
    refused = [{"errorCode": "STRING_TOO_LONG", "message": "too long", "fields": ["Type__c"]}]
    answer = [
        {"httpStatusCode": 204, "body": None},
        {"httpStatusCode": 201, "body": {"id": "a005g0000000001", "success": True, "created": True}},
        {"httpStatusCode": 400, "body": refused},
    ]

    found = sent(Sender(answer), [account(1), schedule(2), schedule(3)])

    assert found[1] == "" and found[2].startswith("a005g0000000001")
    assert isinstance(found[3], Permanent) and found[3].fields == ("Type__c",)


def test_each_row_of_a_collection_is_read():
    rows = [{"success": True, "id": "a005g0000000001"}] * 25 + [
        {"success": False, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "locked", "fields": []}]}
    ]

    found = sent(Sender([{"httpStatusCode": 200, "body": rows}]), [schedule(row) for row in range(26)])

    assert isinstance(found[25], Transient) and all(isinstance(found[row], str) for row in range(25))


def test_a_collection_that_says_too_little_is_unclear():
    found = sent(Sender([{"httpStatusCode": 200, "body": []}]), [schedule(row) for row in range(26)])

    assert {type(one) for one in found.values()} == {Unclear}


def test_after_a_failure_nothing_more_is_sent():
    sender = Sender(Wait("REQUEST_LIMIT_EXCEEDED", "no", until=NOW))

    found = sent(sender, [Write(row, "001A", "Opportunity", {}, their_id="006A") for row in (1, 2)])

    assert {type(one) for one in found.values()} == {Wait}


def test_without_time_left_nothing_is_tried():
    found = sent(Sender(), [account(1)], may_send=lambda: False)

    assert found == {1: Postponed()}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNABLE_TO_LOCK_ROW", Transient),
        ("SERVER_UNAVAILABLE", Transient),
        ("DUPLICATE_VALUE", Transient),
        ("REQUEST_LIMIT_EXCEEDED", Wait),
        ("API_DISABLED_FOR_ORG", Wait),
        *[
            (code, Permanent)
            for code in (
                "REQUIRED_FIELD_MISSING", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "DUPLICATES_DETECTED",
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE",
                "INVALID_CROSS_REFERENCE_KEY", "INSUFFICIENT_ACCESS_OR_READONLY", "ENTITY_IS_DELETED",
                "STRING_TOO_LONG",
                "MALFORMED_ID", "NUMBER_OUTSIDE_VALID_RANGE", "INVALID_TYPE", "NOT_FOUND",
                "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "SOMETHING_NEW",
            )
        ],
    ],
)  # fmt: skip
def test_codes(code, kind):
    assert isinstance(errors.failure(code, "said", now=NOW), kind)


@pytest.mark.parametrize(
    ("status", "content", "is_write", "kind"),
    [
        (503, "<html>Down for maintenance</html>", True, Transient),
        (502, "<html>Bad gateway</html>", True, Unclear),
        (504, b"<html></html>", False, Transient),
        (302, "", True, Permanent),
        (300, '["/services/data/1", "/services/data/2"]', True, Permanent),
        (500, [{"errorCode": "UNKNOWN_EXCEPTION", "message": "oops"}], True, Transient),
        (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests"}], True, Wait),
    ],
)
def test_whole_answers(status, content, is_write, kind):
    assert isinstance(errors.from_answer(status, content, is_write=is_write, now=NOW), kind)


def test_of_a_halted_request_the_cause_is_told():
    content = [
        {"errorCode": "PROCESSING_HALTED", "message": "rolled back"},
        {"errorCode": "INVALID_FIELD", "message": "No such column"},
    ]

    assert errors.from_answer(400, content, is_write=True, now=NOW).code == "INVALID_FIELD"


def test_messages_hold_no_secrets_and_no_queries():
    said = (
        "ERROR near ana@acme.com\nSELECT Id FROM Contact WHERE Email = 'bo@acme.com'\n^ ERROR at Row:1 "
        "00D5g0000012345!AQ.secret Bearer abc.def"
    )

    text = errors.scrubbed(said)

    assert "@" not in text and "SELECT" not in text and "secret" not in text and "abc.def" not in text
    assert "ERROR at Row:1" in text


def test_values_stay_values_in_queries():
    assert quoted("a' OR Name != '") == "'a\\' OR Name != \\''"
    assert quoted("back\\slash\n") == "'back\\\\slash\\n'"
    assert quoted_list(["a", "b'"]) == "('a', 'b\\'')"
