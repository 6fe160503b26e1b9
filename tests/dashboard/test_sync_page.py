"""The console: decisions one and many, drift, the log, going live, and what a viewer does not see."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from crm.models import Drift, LoggedWrite, SalesforceOrg, SyncRecord
from dashboard.roles import Role
from tests.dashboard.test_pages import World, march, page_of, text_of, world

__all__ = ["march", "world"]

SYNC = "/dashboard/sync/"


@pytest.fixture
def org(world: World) -> SalesforceOrg:
    """The connection as it is with an org behind it, in shadow mode."""
    SalesforceOrg.objects.update(is_demo=False, api_version="65.0")
    return SalesforceOrg.objects.get()


@pytest.fixture
def drifted(org: SalesforceOrg) -> Drift:
    SalesforceOrg.objects.update(mode="live", live_since=timezone.now())
    record = SyncRecord.objects.get(kind="account")
    SyncRecord.objects.filter(pk=record.pk).update(state="sent", confirmed=record.wanted)
    return Drift.objects.create(
        record=record,
        field="MRR__c",
        ours="50.000000",
        theirs=99.0,
        changed_by="Petra Person",
        found_at=timezone.now(),
    )


def refused(code: str = "INVALID_FIELD_FOR_INSERT_UPDATE", **changed: Any) -> SyncRecord:
    record = SyncRecord.objects.get(kind="account")
    said = {"state": "parked", "error_code": code, "error": "Unable to create/update fields: MRR__c. Ask Petra Person."}
    SyncRecord.objects.filter(pk=record.pk).update(**{**said, "error_fields": ["MRR__c"], **changed})
    return record


def test_a_refusal_says_why_what_to_do_and_where(org: SalesforceOrg) -> None:
    record = refused()

    answer = page_of(Role.REVOPS).get(f"{SYNC}?state=parked")

    shown = text_of(answer)
    assert "The integration user may not write the field" in shown
    assert 'href="/dashboard/help/INVALID_FIELD_FOR_INSERT_UPDATE/"' in answer.content.decode()
    assert "Give edit access to MRR__c in the permission set" in shown
    assert "Salesforce said: Unable to create/update fields: MRR__c." in shown
    body = answer.content.decode()
    assert f'href="https://acme.my.salesforce.com/{record.key}"' in body
    assert "https://acme.my.salesforce.com/lightning/setup/PermSets/home" in body


def test_many_are_decided_at_once(world: World) -> None:
    client = page_of(Role.REVOPS)
    refs = list(SyncRecord.objects.filter(state="would_send").values_list("pk", flat=True))
    assert len(refs) > 1

    client.post(f"{SYNC}decisions/", {"decision": "hold", "ref": refs})
    assert set(SyncRecord.objects.filter(pk__in=refs).values_list("state", "error_code")) == {
        ("held", "held_by_person")
    }
    client.post(f"{SYNC}decisions/", {"decision": "skip", "ref": refs})
    assert set(SyncRecord.objects.filter(pk__in=refs).values_list("state", flat=True)) == {"dropped"}
    answer = client.post(f"{SYNC}decisions/", {"decision": "retry", "ref": refs, "to": f"{SYNC}?state=dropped"})

    assert set(SyncRecord.objects.filter(pk__in=refs).values_list("state", flat=True)) == {"waiting"}
    assert answer["Location"] == f"{SYNC}?state=dropped"
    assert LoggedWrite.objects.filter(by="revops-person", outcome="retried").count() == len(refs)


def test_all_of_one_refusal_are_retried_by_one_button(org: SalesforceOrg) -> None:
    record = refused()

    page_of(Role.REVOPS).post(f"{SYNC}decisions/", {"all_of": "INVALID_FIELD_FOR_INSERT_UPDATE"})

    record.refresh_from_db()
    assert (record.state, record.error_code) == ("waiting", "")


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example/dashboard/", "/dashboard/\\evil.example"])
def test_a_decision_leads_nowhere_else(world: World, to: str) -> None:
    answer = page_of(Role.REVOPS).post(f"{SYNC}decisions/", {"decision": "retry", "ref": ["1"], "to": to})

    assert "evil.example" not in answer["Location"] or answer["Location"].startswith("/dashboard/")
    assert not answer["Location"].startswith("//")


def test_nonsense_is_no_decision(world: World) -> None:
    client = page_of(Role.REVOPS)

    assert client.post(f"{SYNC}decisions/", {"decision": "delete", "ref": ["1"]}).status_code == 400
    assert client.post(f"{SYNC}drift/", {"decision": "delete", "drift": ["1"]}).status_code == 400
    assert client.post(f"{SYNC}decisions/", {"decision": "retry", "ref": ["x", "-", "99999"]}).status_code == 302
    for query in ("?tab=lost", "?tab=log&outcome=lost", "?tab=drift&state=lost", "?before=x"):
        assert client.get(f"{SYNC}{query}").status_code == 400, query


def test_drift_is_shown_and_decided(drifted: Drift) -> None:
    client = page_of(Role.REVOPS)
    shown = text_of(client.get(f"{SYNC}?tab=drift"))
    assert "MRR__c" in shown and "50.000000" in shown and "99.0" in shown and "Petra Person" in shown

    client.post(f"{SYNC}drift/", {"decision": "adopt", "drift": [drifted.pk]})

    drifted.refresh_from_db()
    assert (drifted.state, drifted.decided_by) == ("adopted", "revops-person")
    assert "revops-person" in text_of(client.get(f"{SYNC}?tab=drift&state=adopted"))
    assert SyncRecord.objects.get(pk=drifted.record_id).accepted == {"MRR__c": {"ours": "50.000000", "theirs": 99.0}}


def test_a_viewer_sees_causes_and_no_people(drifted: Drift, world: World) -> None:
    refused()
    LoggedWrite.objects.create(
        at=timezone.now(),
        outcome="refused",
        record=SyncRecord.objects.get(kind="account"),
        sobject="Account",
        key=world.account.salesforce_id,
        request={"Churn_Risk_Reasons__c": "Petra Person said so", "MRR__c": "50.000000"},
        response={"success": False, "errorCode": "INVALID_FIELD", "message": "Petra Person"},
        error_code="INVALID_FIELD",
    )
    viewer = page_of(Role.VIEWER)

    for tab in ("", "?tab=drift", "?tab=log", "?tab=messages"):
        body = viewer.get(f"{SYNC}{tab}").content.decode()
        assert "Petra" not in body and "Acme Rockets" not in body, tab
    assert "hidden for your role" in viewer.get(f"{SYNC}?tab=log").content.decode()
    assert "may not write the field" in text_of(viewer.get(SYNC))
    assert "Petra Person" in text_of(page_of(Role.ANALYST).get(f"{SYNC}?tab=log"))


def test_the_log_shows_request_and_answer(world: World) -> None:
    shown = text_of(page_of(Role.ANALYST).get(f"{SYNC}?tab=log&object=Account"))

    assert "Would send" in shown and "MRR__c" in shown and "50.000000" in shown
    assert "kept for 400 days" in shown


def test_going_live_asks_for_the_word(org: SalesforceOrg) -> None:
    admin = page_of(Role.ADMIN)
    shown = text_of(admin.get(f"{SYNC}live/"))
    assert "MRR_Schedule__c" in shown and "Type LIVE to switch" in shown and "not compared" in shown

    assert admin.post(f"{SYNC}live/", {"confirmation": "live"}).status_code == 400
    assert SalesforceOrg.objects.get().mode == "shadow"
    assert admin.post(f"{SYNC}live/", {"confirmation": "LIVE"}).status_code == 302
    assert SalesforceOrg.objects.get().mode == "live"
    assert SalesforceOrg.objects.get().live_since is not None

    admin.post(f"{SYNC}shadow/")
    assert SalesforceOrg.objects.get().mode == "shadow"


def test_the_demo_cannot_go_live(world: World) -> None:
    admin = page_of(Role.ADMIN)

    assert "there is no org behind its connection" in text_of(admin.get(f"{SYNC}live/"))
    admin.post(f"{SYNC}live/", {"confirmation": "LIVE"})
    assert SalesforceOrg.objects.get().mode == "shadow"


@pytest.mark.parametrize("query", ["", "?q=Acme", "?q=evt_acme_0003", "?tab=log&q=Acme", "?tab=drift", "?tab=messages"])
def test_a_list_takes_few_queries(drifted: Drift, query: str) -> None:
    client = page_of(Role.ADMIN)
    client.get(SYNC)

    with CaptureQueriesContext(connection) as found:
        client.get(f"{SYNC}{query}")

    assert len(found) <= 20, len(found)


def test_twenty_thousand_records_are_paged_fast(org: SalesforceOrg) -> None:
    now = timezone.now()
    SyncRecord.objects.bulk_create(
        (
            SyncRecord(
                kind="schedule",
                key=f"{number:040d}",
                state="parked" if number % 200 == 0 else "sent",
                error_code="INVALID_FIELD" if number % 200 == 0 else "",
                due_at=now,
                created_at=now,
                sent_at=now - timedelta(seconds=number),
                wanted=1,
                confirmed=1,
            )
            for number in range(20_000)
        ),
        batch_size=2000,
    )
    client: Client = page_of(Role.REVOPS)
    client.get(SYNC)

    for query in ("", "?state=parked", "?before=10000", f"?q={0:040d}"):
        started = time.process_time()
        answer = client.get(f"{SYNC}{query}")
        spent = time.process_time() - started
        assert answer.status_code == 200
        assert spent < 0.3, f"{query}: {spent:.2f} s"


def test_writes_are_held_by_one_role_and_released_by_another(org: SalesforceOrg) -> None:
    SalesforceOrg.objects.update(mode="live", live_since=timezone.now())
    revops, admin = page_of(Role.REVOPS), page_of(Role.ADMIN)
    assert "Hold all writes" in text_of(revops.get(SYNC))
    assert "Hold all writes" not in text_of(page_of(Role.FINANCE).get(SYNC))

    assert page_of(Role.ANALYST).post(f"{SYNC}holds/").status_code == 403
    revops.post(f"{SYNC}holds/")

    shown = text_of(revops.get(SYNC))
    assert "All writes are held." in shown and "By revops-person" in shown and "Release writes" not in shown
    assert "Salesforce: held" in shown and "Nothing goes while writes are held." in shown
    assert revops.post(f"{SYNC}holds/release/").status_code == 403
    assert "Release writes" in text_of(admin.get(SYNC))
    admin.post(f"{SYNC}holds/release/")
    assert SalesforceOrg.objects.get().held_since is None
