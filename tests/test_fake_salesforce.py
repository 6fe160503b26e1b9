"""The fake org refuses what Salesforce refuses: shown over TLS, with requests and simple_salesforce."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from tests.fakes.salesforce import FakeSalesforce, Field

DATA = "/services/data/v62.0"
SCHEDULE = "/sobjects/MRR_Schedule__c/Ledger_Key__c"


class Caller:
    """Plain HTTP to a fake org with a living token; `code` is the first error code of an answer."""

    def __init__(self, org: FakeSalesforce) -> None:
        self.org = org
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = org.ca_file
        self.session.headers["Authorization"] = f"Bearer {org.access_token()}"

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.session.request(method, f"{self.org.url}{DATA}{path}", json=body, timeout=10, **more)

    def query(self, soql: str, *, deleted: bool = False) -> requests.Response:
        return self("GET", "/queryAll" if deleted else "/query", params={"q": soql})

    def composite(self, *parts: dict[str, Any], all_or_none: bool = False) -> requests.Response:
        return self("POST", "/composite", {"allOrNone": all_or_none, "compositeRequest": list(parts)})


def code(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.json()[0]['errorCode']}"


def part(method: str, path: str, name: str, body: Any = None) -> dict[str, Any]:
    return {"method": method, "url": f"{DATA}{path}", "referenceId": name, **({"body": body} if body else {})}


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSalesforce]:
    with FakeSalesforce() as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        yield fake


@pytest.fixture
def call(org: FakeSalesforce) -> Caller:
    return Caller(org)


@pytest.fixture
def salesforce(org: FakeSalesforce) -> Salesforce:
    return Salesforce(instance_url=org.url, session_id=org.access_token(), version="62.0")


# ---- The server itself ----


@pytest.mark.parametrize(("after", "kept"), [("request", 0), ("response", 1), ("half", 1)])
def test_a_cut_connection_leaves_it_unclear_what_happened(
    org: FakeSalesforce, call: Caller, after: str, kept: int
) -> None:
    org.cuts_next(after)

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        call("POST", "/sobjects/Account", {"Name": "Acme"})

    assert len(org.records("Account")) == kept
    assert call("GET", "/limits").status_code == 200


def test_a_failure_may_come_after_the_effect(org: FakeSalesforce, call: Caller) -> None:
    org.fails_next(503, applied=True)

    assert code(call("POST", "/sobjects/Account", {"Name": "Acme"})) == "503 SERVER_UNAVAILABLE"
    assert len(org.records("Account")) == 1


@contextmanager
def process(folder: Path) -> Iterator[str]:
    """A fake org as a process of its own, and the address of its control endpoint."""
    files = ["--state", str(folder / "state"), "--ca", str(folder / "ca")]
    command = [sys.executable, "-m", "tests.fakes.salesforce", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as running:
        assert running.stdout is not None
        try:
            yield json.loads(running.stdout.readline())["url"] + "/__control"
        finally:
            running.terminate()


def test_a_fake_runs_as_a_process_and_keeps_its_state(tmp_path: Path) -> None:
    session = requests.Session()
    session.trust_env, session.verify = False, str(tmp_path / "ca")

    with process(tmp_path) as control:
        session.post(f"{control}/records/Account", json={"Name": "Acme", "MRR__c": "30.5"}, timeout=5)
        session.post(f"{control}/fails_next", json={"status": 503, "match": "limits"}, timeout=5)
        token = session.post(f"{control}/token", timeout=5).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        limits = control.replace("/__control", f"{DATA}/limits")
        statuses = [session.get(limits, timeout=5).status_code for _ in range(2)]
        seen = session.get(f"{control}/requests", params={"match": "GET .*limits"}, timeout=5).json()
    with process(tmp_path) as control:
        kept = session.get(f"{control}/records/Account", timeout=5).json()

    assert statuses == [503, 200]
    assert seen["count"] == 2
    assert [(row["Name"], row["MRR__c"]) for row in kept] == [("Acme", "30.500000")]


# ---- Signing in ----


def token(org: FakeSalesforce, **form: str) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.post(f"{org.url}/services/oauth2/token", data=form, verify=org.ca_file, timeout=5)


def test_client_credentials_give_a_token_that_works(org: FakeSalesforce, call: Caller) -> None:
    granted = token(
        org, grant_type="client_credentials", client_id=org.client_id, client_secret=org.client_secret
    ).json()
    call.session.headers["Authorization"] = f"Bearer {granted['access_token']}"

    identity = call.session.get(granted["id"], timeout=5).json()

    assert call("GET", "/limits").status_code == 200
    assert identity["organization_id"] == org.org_id
    assert granted["instance_url"] == org.url
    assert "refresh_token" not in granted and "expires_in" not in granted


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "wrong"}, "invalid_client_id"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token", "refresh_token": "wrong"}, "invalid_grant"),
    ],
)
def test_a_wrong_login_is_refused_by_name(org: FakeSalesforce, form: dict[str, str], error: str) -> None:
    right = {"grant_type": "client_credentials", "client_id": org.client_id, "client_secret": org.client_secret}

    answer = token(org, **{**right, **form})

    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_rotating_refresh_token_works_once(org: FakeSalesforce) -> None:
    org.app.rotates_refresh_tokens = True
    form = {"grant_type": "refresh_token", "client_id": org.client_id, "client_secret": org.client_secret}
    first = org.refresh_token()

    second = token(org, **form, refresh_token=first).json()["refresh_token"]

    assert token(org, **form, refresh_token=first).json()["error"] == "invalid_grant"
    assert token(org, **form, refresh_token=second).status_code == 200


def test_a_sixth_refresh_token_pushes_out_the_oldest(org: FakeSalesforce) -> None:
    form = {"grant_type": "refresh_token", "client_id": org.client_id}
    tokens = [org.refresh_token() for _ in range(6)]

    errors = [token(org, **form, refresh_token=one).json().get("error") for one in tokens]

    assert errors == ["invalid_grant", None, None, None, None, None]


def test_the_web_flow_needs_the_verifier_of_its_challenge(org: FakeSalesforce) -> None:
    org.app.redirect_uris = ("https://app.example/salesforce/callback/",)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).rstrip(b"=").decode()
    asked = {
        "client_id": org.client_id,
        "redirect_uri": org.app.redirect_uris[0],
        "response_type": "code",
        "state": "s",
    }

    def authorized(**more: str) -> dict[str, list[str]]:
        answer = requests.get(
            f"{org.url}/services/oauth2/authorize", params=asked | more, allow_redirects=False, timeout=5
        )
        return parse_qs(urlsplit(answer.headers["Location"]).query)

    def exchanged(verifier: str) -> dict[str, str]:
        given = authorized(code_challenge=challenge, code_challenge_method="S256")["code"][0]
        form = {
            "grant_type": "authorization_code",
            "client_id": org.client_id,
            "code": given,
            "code_verifier": verifier,
        }
        return dict(token(org, **form, redirect_uri=org.app.redirect_uris[0]).json())

    assert authorized()["error"] == ["invalid_request"]
    assert exchanged("wrong")["error"] == "invalid_grant"
    assert exchanged("verifier")["refresh_token"] in org.login.refresh_tokens


def test_the_jwt_flow_checks_signature_audience_and_user(org: FakeSalesforce) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    org.app.jwt_public_key = key.public_key().public_bytes(*pem)
    claims = {"iss": org.client_id, "sub": org.login.username, "aud": org.url, "exp": int(time.time()) + 120}

    def tried(signer: Any, **wrong: Any) -> str:
        assertion = jwt.encode(claims | wrong, signer, algorithm="RS256")
        answer = token(org, grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion=assertion).json()
        return str(answer.get("error_description", "ok"))

    assert tried(key) == "ok"
    assert tried(other) == "invalid assertion"
    assert tried(key, aud="https://elsewhere.example") == "audience is invalid"
    assert tried(key, sub="somebody@else.example") == "user hasn't approved this consumer"
    assert tried(key, exp=int(time.time()) - 5) == "expired authorization code"


def test_a_dead_session_is_401(org: FakeSalesforce, salesforce: Salesforce) -> None:
    org.expires_sessions()

    with pytest.raises(SalesforceExpiredSession) as caught:
        salesforce.limits()

    assert caught.value.content[0]["errorCode"] == "INVALID_SESSION_ID"
    assert org.calls == 0


# ---- Limits ----


def test_every_answer_tells_the_limit_and_a_composite_counts_once(org: FakeSalesforce, call: Caller) -> None:
    org.used_by_others = 16

    call.composite(*(part("POST", "/sobjects/Account", f"a{n}", {"Name": "Acme"}) for n in range(25)))
    answer = call("GET", "/limits")

    assert answer.headers["Sforce-Limit-Info"] == "api-usage=18/15000"
    assert answer.json()["DailyApiRequests"] == {"Max": 15_000, "Remaining": 14_982}
    assert org.calls == 2


def test_the_daily_limit_is_403_and_not_429(org: FakeSalesforce, salesforce: Salesforce) -> None:
    org.daily_limit = 1
    salesforce.limits()

    with pytest.raises(SalesforceRefusedRequest) as caught:
        salesforce.limits()

    assert caught.value.content[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
    assert org.calls == 1


def test_a_very_long_address_is_414(call: Caller) -> None:
    ids = ",".join(f"'{'x' * 18}'" for _ in range(1000))

    assert call.query(f"SELECT Id FROM Account WHERE Name IN ({ids})").status_code == 414


# ---- Saving records ----


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, "400 REQUIRED_FIELD_MISSING"),
        ({"Name": "  "}, "400 REQUIRED_FIELD_MISSING"),
        ({"Name": "Acme", "Nope__c": 1}, "400 INVALID_FIELD"),
        ({"Name": "Acme", "Id": "001000000000001AAA"}, "400 INVALID_FIELD"),
        ({"Name": "Acme", "SystemModstamp": "2026-01-01T00:00:00Z"}, "400 INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Name": 5}, "400 JSON_PARSER_ERROR"),
        ({"Name": {"a": 1}}, "400 JSON_PARSER_ERROR"),
        ({"Name": "x" * 256}, "400 STRING_TOO_LONG"),
        ({"Name": "Acme", "MRR__c": "much"}, "400 JSON_PARSER_ERROR"),
        ({"Name": "Acme", "MRR__c": "1000000000000"}, "400 NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Name": "Acme", "Last_Expansion_Date__c": "2026-01-10T00:00:00Z"}, "400 JSON_PARSER_ERROR"),
        ({"Name": "Acme", "In_Dispute__c": "perhaps"}, "400 JSON_PARSER_ERROR"),
        ({"Name": "Acme", "Payment_Risk__c": "extreme"}, "400 INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Name": "Acme", "OwnerId": "nobody"}, "400 MALFORMED_ID"),
        ({"Name": "Acme", "OwnerId": "0015g0000000001AAA"}, "400 MALFORMED_ID"),
        ({"Name": "Acme", "OwnerId": "005000000000001AAA"}, "400 INVALID_CROSS_REFERENCE_KEY"),
    ],
)
def test_a_bad_record_is_refused_by_name(org: FakeSalesforce, call: Caller, body: Any, refusal: str) -> None:
    assert code(call("POST", "/sobjects/Account", body)) == refusal
    assert org.records("Account") == []


def test_values_are_kept_as_salesforce_keeps_them(org: FakeSalesforce, call: Caller) -> None:
    body = {"Name": "  Acme ", "MRR__c": "30.0000005", "ARR__c": 360.005, "Website": "", "In_Dispute__c": True,
            "Last_Expansion_Date__c": "2026-01-10"}  # fmt: skip

    account_id = call("POST", "/sobjects/Account", body).json()["id"]

    kept = org.record(account_id)
    assert kept["Name"] == "Acme" and kept["Website"] is None and kept["In_Dispute__c"] is True
    assert (kept["MRR__c"], kept["ARR__c"]) == (Decimal("30.000001"), Decimal("360.01"))
    assert len(account_id) == 18 and kept["OwnerId"] == kept["CreatedById"] == org.user_id
    assert call("GET", f"/sobjects/Account/{account_id[:15]}?fields=MRR__c").json()["MRR__c"] == 30.000001


def test_a_moment_needs_its_zone_and_is_kept_in_whole_seconds(org: FakeSalesforce, call: Caller) -> None:
    key = f"{SCHEDULE}/e1"

    assert code(call("PATCH", key, {"Effective_At__c": "2026-01-10T00:00:00"})) == "400 JSON_PARSER_ERROR"
    assert code(call("PATCH", key, {"Effective_At__c": "2026-01-10"})) == "400 JSON_PARSER_ERROR"
    call("PATCH", key, {"Effective_At__c": "2026-01-10T01:00:00.123456+01:00"})

    assert org.records("MRR_Schedule__c")[0]["Effective_At__c"] == "2026-01-10T00:00:00.000+0000"


def test_an_opportunity_needs_three_fields_and_only_a_won_stage_is_won(org: FakeSalesforce, call: Caller) -> None:
    missing = call("POST", "/sobjects/Opportunity", {"Amount": 1}).json()[0]["fields"]
    whole = {"Name": "Deal", "CloseDate": "2026-01-10", "Amount": "360.00"}
    won, unknown = (
        call("POST", "/sobjects/Opportunity", {**whole, "StageName": stage}).json()["id"]
        for stage in ("Closed Won", "Closed-Won")
    )

    assert sorted(missing) == ["CloseDate", "Name", "StageName"]
    assert (org.record(won)["IsWon"], org.record(unknown)["IsWon"]) == (True, False)


def test_the_amount_of_an_opportunity_with_products_does_not_move(org: FakeSalesforce, call: Caller) -> None:
    deal = org.add_opportunity(Amount=100, HasOpportunityLineItem=True)

    assert call("PATCH", f"/sobjects/Opportunity/{deal}", {"Amount": 500}).status_code == 204
    assert org.record(deal)["Amount"] == 100


def test_ids_are_checked_for_shape_existence_and_life(org: FakeSalesforce, call: Caller) -> None:
    gone, purged = org.add_account(), org.add_account()
    org.deletes(gone)
    org.deletes(purged)
    org.purges(purged)

    assert code(call("PATCH", "/sobjects/Account/nonsense", {"Name": "A"})) == "400 MALFORMED_ID"
    assert code(call("PATCH", f"/sobjects/Account/{purged}", {"Name": "A"})) == "404 NOT_FOUND"
    assert code(call("PATCH", f"/sobjects/Account/{gone}", {"Name": "A"})) == "404 ENTITY_IS_DELETED"
    assert code(call("POST", "/sobjects/Contact", {"LastName": "D", "AccountId": gone})) == "404 ENTITY_IS_DELETED"
    assert code(call("POST", "/sobjects/Nothing__c", {"Name": "A"})) == "404 NOT_FOUND"


def test_a_merged_account_points_at_the_winner(org: FakeSalesforce, call: Caller) -> None:
    winner, loser = org.add_account(Name="A"), org.add_account(Name="B")
    contact = org.add_contact(AccountId=loser)

    org.merges(winner, loser)

    rows = call.query(f"SELECT MasterRecordId FROM Account WHERE Id = '{loser}'", deleted=True).json()["records"]
    assert rows[0]["MasterRecordId"] == winner
    assert call.query(f"SELECT Id FROM Account WHERE Id = '{loser}'").json()["records"] == []
    assert org.record(contact)["AccountId"] == winner


def test_a_validation_rule_and_a_planned_rejection_refuse_a_save(org: FakeSalesforce, call: Caller) -> None:
    org.adds_rule("Account", lambda record: "no test accounts" if record["Name"] == "Test" else None)
    org.rejects_next("UNABLE_TO_LOCK_ROW", sobject="Account", matching={"Name": "Busy"})

    codes = [call("POST", "/sobjects/Account", {"Name": name}) for name in ("Test", "Busy", "Busy")]

    assert code(codes[0]) == "400 FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert code(codes[1]) == "400 UNABLE_TO_LOCK_ROW"
    assert codes[2].status_code == 201


def test_the_stamp_moves_with_each_save(org: FakeSalesforce) -> None:
    org.clock = lambda: datetime(2026, 1, 10, 12, 0, 0, 900_000, tzinfo=UTC)
    account = org.add_account()
    org.clock = lambda: datetime(2026, 1, 10, 12, 0, 5, tzinfo=UTC)

    org.edits(account, Website="acme.example")

    assert org.record(account)["CreatedDate"] == "2026-01-10T12:00:00.000+0000"
    assert org.record(account)["SystemModstamp"] == "2026-01-10T12:00:05.000+0000"
    assert org.record(account)["LastModifiedById"] == org.admin_id


# ---- Upsert by External ID ----


def test_an_upsert_creates_once_and_then_updates(org: FakeSalesforce, call: Caller) -> None:
    address = f"{SCHEDULE}/{quote('live/é 1', safe='')}"

    first, second = (
        call("PATCH", address, {"Type__c": "new"}),
        call("PATCH", address.replace("live", "LIVE"), {"Type__c": "churn"}),
    )

    assert (first.status_code, first.json()["created"]) == (201, True)
    assert (second.status_code, second.json()["created"]) == (200, False)
    assert [(row["Ledger_Key__c"], row["Type__c"]) for row in org.records("MRR_Schedule__c")] == [("live/é 1", "churn")]


def test_before_version_46_an_updating_upsert_says_nothing(org: FakeSalesforce) -> None:
    old = Salesforce(instance_url=org.url, session_id=org.access_token(), version="45.0")

    assert [old.MRR_Schedule__c.upsert("Ledger_Key__c/e1", {"Type__c": "new"}) for _ in range(2)] == [201, 204]


def test_the_key_stands_in_the_address_only(org: FakeSalesforce, salesforce: Salesforce) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        salesforce.MRR_Schedule__c.upsert("Ledger_Key__c/e1", {"Ledger_Key__c": "e1"})

    assert "should not be specified in the sobject data" in caught.value.content[0]["message"]


def test_only_an_external_id_can_be_upserted_by(call: Caller) -> None:
    assert code(call("PATCH", "/sobjects/Account/Website/acme.example", {"Name": "A"})) == "404 NOT_FOUND"


def test_a_key_on_several_records_is_300(org: FakeSalesforce, salesforce: Salesforce) -> None:
    org.adds_field("Account", Field("Code__c", length=20, external_id=True))
    twins = [org.add_account(Code__c=code) for code in ("x1", "X1")]

    with pytest.raises(SalesforceMoreThanOneRecord) as caught:
        salesforce.Account.upsert("Code__c/x1", {"Name": "A"})

    assert sorted(caught.value.content) == sorted(f"{DATA}/sobjects/Account/{one}" for one in twins)


@pytest.mark.parametrize("unique", [True, False])
def test_two_upserts_at_once_make_twins_unless_the_key_is_unique(
    org: FakeSalesforce, call: Caller, unique: bool
) -> None:
    org.store.objects["MRR_Schedule__c"].fields["Ledger_Key__c"].unique = unique
    org.store.race_seconds = 0.2
    answers: list[requests.Response] = []

    def upsert() -> None:
        answers.append(Caller(org)("PATCH", f"{SCHEDULE}/e1", {"Type__c": "new"}))

    threads = [threading.Thread(target=upsert) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    statuses = sorted(answer.status_code for answer in answers)
    assert (statuses, len(org.records("MRR_Schedule__c"))) == (([201, 400], 1) if unique else ([201, 201], 2))
    if unique:
        assert code(next(one for one in answers if one.status_code == 400)) == "400 DUPLICATE_VALUE"
    else:
        assert call("PATCH", f"{SCHEDULE}/e1", {"Type__c": "new"}).status_code == 300


def test_twenty_threads_make_one_record_of_one_key(org: FakeSalesforce) -> None:
    def upsert() -> None:
        Caller(org)("PATCH", f"{SCHEDULE}/e1", {"Type__c": "new"})

    threads = [threading.Thread(target=upsert) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(org.records("MRR_Schedule__c")) == 1


def test_a_parent_can_be_named_by_its_external_id(org: FakeSalesforce, call: Caller) -> None:
    deal = org.add_opportunity(Stripe_Subscription_Id__c="sub_1")
    address = f"{SCHEDULE}/"

    call("PATCH", f"{address}e1", {"Opportunity__r": {"Stripe_Subscription_Id__c": "sub_1"}})
    unknown = call("PATCH", f"{address}e2", {"Opportunity__r": {"Stripe_Subscription_Id__c": "sub_2"}})

    assert org.records("MRR_Schedule__c")[0]["Opportunity__c"] == deal
    assert code(unknown) == "400 INVALID_FIELD"


# ---- What the integration user may see ----


def test_describe_tells_the_fields_and_hides_what_is_forbidden(
    org: FakeSalesforce, salesforce: Salesforce, call: Caller
) -> None:
    org.hides_field("Account", "CMRR__c")

    fields = {field["name"]: field for field in salesforce.Account.describe()["fields"]}
    key = {field["name"]: field for field in salesforce.MRR_Schedule__c.describe()["fields"]}["Ledger_Key__c"]

    assert (fields["MRR__c"]["type"], fields["MRR__c"]["precision"], fields["MRR__c"]["scale"]) == ("double", 18, 6)
    assert [one["value"] for one in fields["Payment_Risk__c"]["picklistValues"]] == ["none", "low", "medium", "high"]
    assert (key["externalId"], key["unique"], key["nillable"], key["length"]) == (True, True, False, 255)
    assert "CMRR__c" not in fields
    assert code(call("POST", "/sobjects/Account", {"Name": "A", "CMRR__c": 1})) == "400 INVALID_FIELD"
    assert "No such column 'CMRR__c'" in call.query("SELECT CMRR__c FROM Account").json()[0]["message"]


def test_a_package_is_unseen_until_its_permission_set_is_assigned() -> None:
    with FakeSalesforce(package=False) as org:
        call = Caller(org)
        assert code(call("GET", "/sobjects/MRR_Schedule__c/describe")) == "404 NOT_FOUND"

        org.deploys_package(assigned=False)
        assert code(call("GET", "/sobjects/MRR_Schedule__c/describe")) == "404 NOT_FOUND"
        assert code(call.query("SELECT MRR__c FROM Account")) == "400 INVALID_FIELD"

        org.assigns_permission_set()
        assert call("GET", "/sobjects/MRR_Schedule__c/describe").status_code == 200
        assert call.query("SELECT MRR__c FROM Account").status_code == 200


def test_a_multi_currency_org_takes_its_own_currencies_only(org: FakeSalesforce, call: Caller) -> None:
    org.adds_currencies("USD", "EUR")

    codes = [
        call("POST", "/sobjects/Account", {"Name": "A", "CurrencyIsoCode": one}).status_code for one in ("EUR", "XXX")
    ]
    call("POST", "/sobjects/Account", {"Name": "A"})

    assert codes == [201, 400]
    assert [row["CurrencyIsoCode"] for row in org.records("Account")] == ["EUR", "USD"]


# ---- Queries ----


def names(answer: requests.Response) -> list[str]:
    return [row["Name"] for row in answer.json()["records"]]


def test_a_query_compares_as_salesforce_does(org: FakeSalesforce, call: Caller) -> None:
    acme = org.add_account(Name="Acme", Website="acme.example", MRR__c=30)
    org.add_account(Name="O'Neil \\ Sons", MRR__c="12.5", Last_Expansion_Date__c="2026-01-10")
    org.add_account(Name="50%_off", MRR__c=None)
    org.add_contact(LastName="Doe", Email="jo@acme.example", AccountId=acme)

    def found(where: str) -> list[str]:
        return names(call.query(f"SELECT Name FROM Account WHERE {where} ORDER BY Name"))

    assert found("name = 'ACME'") == ["Acme"]
    assert found(r"Name = 'O\'Neil \\ Sons'") == ["O'Neil \\ Sons"]
    assert found(r"Name LIKE '50\%\_%'") == ["50%_off"]
    assert found("Name LIKE '%c_e'") == ["Acme"]
    assert found("MRR__c >= 12.5") == ["Acme", "O'Neil \\ Sons"]
    assert found("MRR__c = null") == ["50%_off"]
    assert found("MRR__c != 30") == ["50%_off", "O'Neil \\ Sons"]
    assert found("Last_Expansion_Date__c > 2026-01-01 AND (MRR__c < 20 OR Name = 'Acme')") == ["O'Neil \\ Sons"]
    assert found("Name IN ('acme', '50%_off') AND SystemModstamp > 2020-01-01T00:00:00Z") == ["50%_off", "Acme"]
    assert found("NOT Website = null") == ["Acme"]
    joined = call.query("SELECT LastName, Account.Name FROM Contact WHERE Email = 'jo@acme.example'").json()["records"][
        0
    ]
    assert joined["Account"]["Name"] == "Acme"
    assert call.query("SELECT COUNT() FROM Account").json() == {"totalSize": 3, "done": True, "records": []}


def test_groups_and_semi_joins_say_which_account_has_one_alone(org: FakeSalesforce, call: Caller) -> None:
    one, two = org.add_account(Name="One"), org.add_account(Name="Two")
    alone = org.add_opportunity(AccountId=one)
    for _ in range(2):
        org.add_opportunity(AccountId=two)
    grouped = "SELECT MAX(Id) deal, COUNT(Id) FROM Opportunity GROUP BY AccountId HAVING COUNT(Id) = 1"
    without = f"SELECT Id FROM Account WHERE Id NOT IN (SELECT AccountId FROM Opportunity WHERE AccountId = '{two}')"

    (row,) = call.query(grouped).json()["records"]
    (account,) = call.query(without).json()["records"]

    assert row == {"attributes": {"type": "AggregateResult"}, "deal": alone, "expr1": 1}
    assert account["Id"] == one


THEIRS = "Id IN (SELECT AccountId FROM Opportunity)"


@pytest.mark.parametrize(
    ("soql", "refusal"),
    [
        ("SELECT Id FROM Account WHERE Name = 'O'Neil'", "MALFORMED_QUERY"),
        (r"SELECT Id FROM Account WHERE Name = 'a\%'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'a' OR Name = 'b' AND Name = 'c'", "MALFORMED_QUERY"),
        ("SELECT * FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT", "MALFORMED_QUERY"),
        ("SELECT Id, Id FROM Account", "INVALID_FIELD"),
        ("SELECT Nope__c FROM Account", "INVALID_FIELD"),
        ("SELECT Parent2.Name FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope__c", "INVALID_TYPE"),
        ("SELECT Id FROM Account WHERE SystemModstamp > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE SystemModstamp > 2026-01-01", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE CloseDate > 2026-01-01T00:00:00Z", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE MRR__c = '30'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Name = 30", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Description = 'long'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Id = 'nonsense'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT MAX(IsWon) FROM Opportunity GROUP BY AccountId", "MALFORMED_QUERY"),
        ("SELECT MAX(Id) FROM Opportunity", "MALFORMED_QUERY"),
        ("SELECT SUM(Amount) FROM Opportunity GROUP BY AccountId", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Id IN (SELECT Id FROM Account)", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Id IN (SELECT Name FROM Opportunity)", "INVALID_FIELD"),
        (f"SELECT Id FROM Account WHERE {' AND '.join([THEIRS] * 3)}", "MALFORMED_QUERY"),
    ],
)
def test_a_bad_query_is_refused_by_name(call: Caller, soql: str, refusal: str) -> None:
    assert code(call.query(soql)) == f"400 {refusal}"


def test_a_long_answer_comes_in_pages(org: FakeSalesforce, salesforce: Salesforce) -> None:
    org.page_size = 3
    for number in range(8):
        org.add_account(Name=f"Account {number}")

    first = salesforce.query("SELECT Name FROM Account ORDER BY Name DESC NULLS LAST LIMIT 7")
    every = salesforce.query_all("SELECT Name FROM Account ORDER BY Name DESC LIMIT 7")

    assert (first["totalSize"], first["done"], len(first["records"])) == (7, False, 3)
    assert [row["Name"] for row in every["records"]] == [f"Account {number}" for number in range(7, 0, -1)]


def test_the_org_tells_its_kind_and_its_won_stage(call: Caller, org: FakeSalesforce) -> None:
    organization = call.query("SELECT Id, IsSandbox FROM Organization").json()["records"][0]
    won = call.query("SELECT ApiName FROM OpportunityStage WHERE IsWon = TRUE AND IsActive = TRUE").json()["records"]

    assert (organization["Id"], organization["IsSandbox"]) == (org.org_id, False)
    assert [row["ApiName"] for row in won] == ["Closed Won"]


# ---- Composite and collections ----


def test_the_parts_of_a_composite_refer_to_each_other(org: FakeSalesforce, call: Caller) -> None:
    org.add_account(Name="Acme")
    deal = {"Name": "Deal", "StageName": "Closed Won", "CloseDate": "2026-01-10", "AccountId": "@{found.records[0].Id}"}

    answers = call.composite(
        part("GET", "/query?q=SELECT+Id+FROM+Account+LIMIT+1", "found"),
        part("POST", "/sobjects/Opportunity", "deal", deal),
        part("PATCH", f"{SCHEDULE}/e1", "entry", {"Opportunity__c": "@{deal.id}"}),
        part("PATCH", "/sobjects/Account/@{found.records[0].Id}", "account", {"MRR__c": "30.00"}),
        all_or_none=True,
    ).json()["compositeResponse"]

    assert [one["httpStatusCode"] for one in answers] == [200, 201, 201, 204]
    assert org.records("MRR_Schedule__c")[0]["Opportunity__c"] == org.records("Opportunity")[0]["Id"]
    assert org.records("Account")[0]["MRR__c"] == 30
    assert org.calls == 1


def test_all_or_none_takes_everything_back_and_names_the_cause(org: FakeSalesforce, call: Caller) -> None:
    account = org.add_account(MRR__c=10)

    answer = call.composite(
        part("PATCH", f"/sobjects/Account/{account}", "account", {"MRR__c": 30}),
        part("POST", "/sobjects/Opportunity", "deal", {"Name": "Deal"}),
        part("PATCH", f"{SCHEDULE}/e1", "entry", {"Type__c": "new"}),
        all_or_none=True,
    )

    codes = [one["body"][0]["errorCode"] for one in answer.json()["compositeResponse"]]
    assert (answer.status_code, codes) == (200, ["PROCESSING_HALTED", "REQUIRED_FIELD_MISSING", "PROCESSING_HALTED"])
    assert org.record(account)["MRR__c"] == 10
    assert org.records("MRR_Schedule__c") == []


def test_without_all_or_none_only_what_refers_to_the_failure_fails(org: FakeSalesforce, call: Caller) -> None:
    answers = call.composite(
        part("POST", "/sobjects/Opportunity", "deal", {"Name": "Deal"}),
        part("PATCH", f"{SCHEDULE}/e1", "entry", {"Opportunity__c": "@{deal.id}"}),
        part("POST", "/sobjects/Account", "account", {"Name": "Acme"}),
    ).json()["compositeResponse"]

    assert [one["httpStatusCode"] for one in answers] == [400, 400, 201]
    assert answers[1]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert len(org.records("Account")) == 1


@pytest.mark.parametrize(
    "parts",
    [
        [part("POST", "/sobjects/Account", f"a{n}", {"Name": "A"}) for n in range(26)],
        [part("GET", "/query?q=SELECT+Id+FROM+Account", f"q{n}") for n in range(6)],
        [part("POST", "/composite/sobjects", f"c{n}", {"records": []}) for n in range(6)],
        [part("POST", "/sobjects/Account", "same", {"Name": "A"}) for _ in range(2)],
        [part("POST", "/sobjects/Account", "not-a-name", {"Name": "A"})],
    ],
)
def test_a_composite_over_its_limits_does_nothing(
    org: FakeSalesforce, call: Caller, parts: list[dict[str, Any]]
) -> None:
    assert call.composite(*parts).status_code == 400
    assert org.records("Account") == []


def entries(*keys: str, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"attributes": {"type": "MRR_Schedule__c"}, "Ledger_Key__c": key, "Type__c": "new", **fields} for key in keys
    ]


UPSERT = "/composite/sobjects/MRR_Schedule__c/Ledger_Key__c"


def test_a_collection_upserts_by_key_and_answers_row_by_row(org: FakeSalesforce, call: Caller) -> None:
    call("PATCH", UPSERT, {"records": entries("e1")})
    rows = entries("e1", "e2", "e3")
    rows[2]["Reason__c"] = "x" * 81

    answers = call("PATCH", UPSERT, {"records": rows}).json()

    assert [(one["success"], one.get("created")) for one in answers] == [(True, False), (True, True), (False, None)]
    assert answers[2]["errors"][0]["statusCode"] == "STRING_TOO_LONG"
    assert len(org.records("MRR_Schedule__c")) == 2


def test_a_key_twice_in_one_collection_fails_every_row_that_has_it(org: FakeSalesforce, call: Caller) -> None:
    answers = call("PATCH", UPSERT, {"records": entries("e1", "E1", "e2")}).json()

    assert [one["success"] for one in answers] == [False, False, True]
    assert {one["errors"][0]["statusCode"] for one in answers[:2]} == {"DUPLICATE_VALUE"}


def test_a_collection_can_be_all_or_none(org: FakeSalesforce, call: Caller) -> None:
    rows = [*entries("e1"), *entries("e2", Nope__c="x")]

    answers = call("PATCH", UPSERT, {"allOrNone": True, "records": rows}).json()

    assert [one["errors"][0]["statusCode"] for one in answers] == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "INVALID_FIELD"]
    assert org.records("MRR_Schedule__c") == []


def test_the_composite_s_all_or_none_rules_its_collections(org: FakeSalesforce, call: Caller) -> None:
    rows = {"allOrNone": False, "records": [*entries("e1"), *entries("e2", Nope__c="x")]}

    call.composite(
        part("POST", "/sobjects/Account", "a", {"Name": "A"}), part("PATCH", UPSERT, "e", rows), all_or_none=True
    )

    assert org.records("Account") == org.records("MRR_Schedule__c") == []


def test_a_collection_holds_200_records(org: FakeSalesforce, call: Caller) -> None:
    many = {"records": entries(*(f"e{n}" for n in range(201)))}

    assert code(call("PATCH", UPSERT, many)) == "400 EXCEEDED_ID_LIMIT"
    assert all(one["success"] for one in call("PATCH", UPSERT, {"records": many["records"][:200]}).json())
    assert org.calls == 2


def test_collections_create_update_read_and_delete_by_id(org: FakeSalesforce, call: Caller) -> None:
    rows = [{"attributes": {"type": "Account"}, "Name": name} for name in ("A", "B")]
    first, second = (one["id"] for one in call("POST", "/composite/sobjects", {"records": rows}).json())
    changes = [{"attributes": {"type": "Account"}, "id": one, "MRR__c": 5} for one in (first, "001000000000001AAA")]

    updated = call("PATCH", "/composite/sobjects", {"records": changes}).json()
    read = call("GET", f"/composite/sobjects/Account?ids={first},001000000000001AAA&fields=Name,MRR__c").json()
    call("DELETE", f"/composite/sobjects?ids={second}")

    assert [one["success"] for one in updated] == [True, False]
    assert updated[1]["errors"][0]["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
    assert (read[0]["MRR__c"], read[1]) == (5, None)
    assert [row["Id"] for row in org.records("Account")] == [first]


def test_simple_salesforce_reaches_composite_by_restful(org: FakeSalesforce, salesforce: Salesforce) -> None:
    parts = {"compositeRequest": [part("POST", "/sobjects/Account", "a", {"Name": "Acme"})]}

    answer = salesforce.restful("composite", method="POST", data=json.dumps(parts))

    assert answer["compositeResponse"][0]["httpStatusCode"] == 201
    assert salesforce.api_usage["api-usage"].used == 1
    with pytest.raises(SalesforceResourceNotFound):
        salesforce.restful("composite/nothing", method="POST", data="{}")


# ---- Bulk API 2.0 and Chatter ----


def bulk(call: Caller, text: str, **more: Any) -> str:
    """Run an ingest job to its end and return its path."""
    given = {"object": "MRR_Schedule__c", "operation": "upsert", "externalIdFieldName": "Ledger_Key__c", **more}
    path = f"/jobs/ingest/{call('POST', '/jobs/ingest', given).json()['id']}"
    call("PUT", f"{path}/batches", data=text.encode(), headers={"Content-Type": "text/csv"})
    call("PATCH", path, {"state": "UploadComplete"})
    return path


def finished(call: Caller, path: str) -> dict[str, Any]:
    while (job := call("GET", path).json())["state"] not in ("JobComplete", "Failed"):
        continue
    return dict(job)


def results(call: Caller, path: str, which: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(call("GET", f"{path}/{which}").text)))


def test_a_bulk_job_tells_good_and_bad_rows_apart(org: FakeSalesforce, call: Caller) -> None:
    org.add_record("MRR_Schedule__c", Ledger_Key__c="e1", Reason__c="old", Type__c="new")
    path = bulk(call, "Ledger_Key__c,Type__c,Reason__c\ne1,,#N/A\ne2,new,\ne3,new,\nE3,new,\n")
    early = call("GET", f"{path}/successfulResults")

    job = finished(call, path)

    assert code(early) == "400 INVALIDJOBSTATE"
    assert (job["state"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == ("JobComplete", 4, 2)
    assert {row["Ledger_Key__c"]: row["sf__Created"] for row in results(call, path, "successfulResults")} == {
        "e1": "false",
        "e2": "true",
    }
    assert {row["sf__Error"].split(":")[0] for row in results(call, path, "failedResults")} == {"DUPLICATE_VALUE"}
    first = org.records("MRR_Schedule__c", Ledger_Key__c="e1")[0]
    assert (first["Type__c"], first["Reason__c"]) == ("new", None)


def test_a_bulk_job_fails_on_wrong_line_endings_and_unknown_columns(call: Caller) -> None:
    endings = finished(call, bulk(call, "Ledger_Key__c,Type__c\r\ne1,new\r\n"))
    column = finished(call, bulk(call, "Ledger_Key__c,Nope__c\ne1,new\n"))

    assert (endings["state"], column["state"]) == ("Failed", "Failed")
    assert "LineEnding" in endings["errorMessage"] and "Nope__c" in column["errorMessage"]


def test_a_stopped_bulk_job_tells_what_it_did_not_reach(org: FakeSalesforce, call: Caller) -> None:
    org.bulk_stops_after = 1
    path = bulk(call, "Ledger_Key__c,Type__c\ne1,new\ne2,new\n")

    assert finished(call, path)["state"] == "Failed"
    assert [row["Ledger_Key__c"] for row in results(call, path, "unprocessedrecords")] == ["e2"]


def test_a_bulk_query_ends_with_the_word_null(org: FakeSalesforce, call: Caller) -> None:
    for number in range(3):
        org.add_account(Name=f"A{number}")
    asked = {"operation": "query", "query": "SELECT Id, Name FROM Account"}
    job = call("POST", "/jobs/query", asked).json()
    path = f"/jobs/query/{job['id']}"
    finished(call, path)

    first = call("GET", f"{path}/results?maxRecords=2")
    last = call("GET", f"{path}/results?maxRecords=2&locator={first.headers['Sforce-Locator']}")

    rows = [row["Name"] for part in (first, last) for row in csv.DictReader(io.StringIO(part.text))]
    assert sorted(rows) == ["A0", "A1", "A2"]  # in no order
    assert last.headers["Sforce-Locator"] == "null"
    for refused in ("SELECT Id FROM Account ORDER BY Name", "SELECT COUNT() FROM Account"):
        assert call("POST", "/jobs/query", {**asked, "query": refused}).status_code == 400


def test_users_have_no_recycle_bin(org: FakeSalesforce, call: Caller) -> None:
    assert code(call.query("SELECT Id, IsDeleted FROM User")) == "400 INVALID_FIELD"
    assert call.query("SELECT Id FROM User").json()["totalSize"] == 2


def test_an_undeleted_loser_of_a_merge_stands_for_itself(org: FakeSalesforce) -> None:
    winner, loser = org.add_account(), org.add_account()
    org.merges(winner, loser)

    org.undeletes(loser)

    assert (org.record(loser)["IsDeleted"], org.record(loser)["MasterRecordId"]) == (False, None)


def test_a_chatter_post_can_be_found_again(org: FakeSalesforce, call: Caller) -> None:
    account = org.add_account()
    segments = [{"type": "Text", "text": "New: Acme, key e1 "}, {"type": "Mention", "id": org.admin_id}]
    post = {"feedElementType": "FeedItem", "subjectId": account, "body": {"messageSegments": segments}}

    made = call("POST", "/chatter/feed-elements", post)
    found = call("GET", f"/chatter/feeds/record/{account}/feed-elements?q=e1").json()["elements"]

    assert made.status_code == 201
    assert [one["body"]["text"] for one in found] == ["New: Acme, key e1 @Ada Admin"]
    assert call("POST", "/chatter/feed-elements", {**post, "subjectId": None}).status_code == 400
