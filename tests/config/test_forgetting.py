"""A person is forgotten everywhere at once, and no number, hash or explanation moves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
import time_machine
from auditlog.models import LogEntry as AuditLine
from django.contrib.admin.models import LogEntry as AdminLine
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_q.models import Task

import dashboard.urls
from billing import forgetting as asks
from billing.models import Customer, Forgetting, StripeEvent
from config import forgetting, pipeline, retention, tasks
from config.backups import writing
from crm import accounts, connections, notes
from crm.accounts.keeping import keep
from crm.models import Account, Contact, LoggedWrite, SalesforceOrg, SalesforceUser, SyncRecord, Unmatched
from dashboard.imports import applying
from dashboard.imports.finance import FINANCE
from dashboard.models import Import
from mrr import check, close, seals
from mrr.models import BookAction, LedgerEntry
from tests import builders, canary
from tests.crm.conftest import login
from tests.dashboard.people import person
from tests.databases import living_in
from tests.fakes.salesforce import FakeSalesforce
from tests.fakes.slack import FakeSlack
from tests.scenario import Scenario

NOW = "2026-03-31 12:00"
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

pytestmark = pytest.mark.django_db


@pytest.fixture
def outside(monkeypatch, settings, tmp_path) -> Iterator[tuple[FakeSalesforce, FakeSlack]]:
    """A Salesforce that knows the person as a Contact, and a Slack."""
    settings.DATA_DIR = tmp_path
    with FakeSalesforce() as salesforce, FakeSlack() as slack, time_machine.travel(NOW, tick=False):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", salesforce.ca_file)
        slack.add_channel("closed-won")
        settings.SLACK_BOT_TOKEN, settings.SLACK_API_BASE = slack.token, slack.api_url
        settings.SLACK_CLOSED_WON_CHANNEL = "#closed-won"
        account = salesforce.add_account(Name=canary.NAME, Phone=canary.PHONE)
        salesforce.add_contact(AccountId=account, Email=canary.EMAIL)
        yield salesforce, slack


@pytest.fixture(params=KINDS)
def told(request, place, outside) -> Iterator[Scenario]:
    with living_in(place(request.param)):
        salesforce, _ = outside
        connections.connect(login(salesforce), mode="live", now=timezone.now())
        SalesforceOrg.objects.update(live_since=timezone.now() - timedelta(days=1))
        accounts.refresh(now=timezone.now())
        person("admin", "ada")
        person("finance", "fiona")
        yield a_company()
        salesforce.forgets_requests()


def a_company() -> Scenario:
    """The person with all that Stripe, Salesforce, Slack and colleagues told of her; and somebody with her e-mail."""
    told = Scenario()
    jane = told.customer(canary.NAME, on="2026-01-05", email=canary.EMAIL)
    jane.object |= {"phone": canary.PHONE, "address": canary.ADDRESS, "description": canary.DESCRIPTION}
    jane.object["metadata"] = canary.METADATA
    told.tell("customer.updated", jane.object, "2026-01-05 00:01", before=jane.object | {"name": "Qanary before"})
    jane.subscribes("team", monthly="30.00", on="2026-03-31 11:59", for_whom=canary.NAME)
    jane.changes(on="2026-03-31 11:59:30", quantity=2)
    line = builders.line(description=f"Team, for {canary.NAME}")
    _tell(
        told, "invoice.finalized", builders.invoice("in_j", customer=jane.id, lines=[line], customer_email=canary.EMAIL)
    )
    paid = {"name": canary.NAME, "email": canary.EMAIL, "phone": canary.PHONE, "address": canary.ADDRESS}
    _tell(told, "charge.succeeded", builders.charge("ch_j", customer=jane.id, billing_details=paid))
    proof = {"customer_name": canary.NAME, "customer_purchase_ip": canary.IP}
    _tell(told, "charge.dispute.created", builders.dispute("du_j", charge="ch_j", evidence=proof))
    _tell(told, "mandate.updated", {"id": "mandate_j", "object": "mandate", "charge": "ch_j", "ip_address": canary.IP})
    left = {"comment": f"{canary.NAME} moves away", "feedback": "other", "reason": "cancellation_requested"}
    jane.changes(on="2026-03-31 11:59:50", cancellation_details=left)
    bob = told.customer("Bob", on="2026-01-06", email="bob@example.test")
    bob.subscribes("team", monthly="10.00", on="2026-02-01")
    pipeline.drain_outbox(now=timezone.now() + timedelta(minutes=61))
    _colleagues_note(Customer.objects.get(stripe_id=jane.id))
    seals.seal_all(now=timezone.now())
    return told


def _tell(told: Scenario, kind: str, obj: dict[str, Any]) -> None:
    told.tell(kind, obj | {"livemode": True}, "2026-03-31 11:58")


def _colleagues_note(jane: Customer) -> None:
    """What may be written anywhere: a note, an audit line, a session, a failed task, a refusal quoting an e-mail."""
    kind = ContentType.objects.get_for_model(Customer)
    AdminLine.objects.create(user_id=1, content_type=kind, object_repr=canary.NAME, action_flag=2, change_message="[]")
    noted = {"object_pk": str(jane.pk), "changes": {"description": ["", canary.DESCRIPTION]}}
    AuditLine.objects.create(content_type=kind, object_repr=jane.stripe_id, action=1, **noted)
    session = SessionStore()
    session["noted"] = f"Matched {canary.NAME}"
    session.save()
    when = timezone.now()
    Task.objects.create(id="t" * 32, name="t", func="f", started=when, stopped=when, result=canary.EMAIL, success=False)
    candidate = {"account_id": "001000000000001AAA", "name": canary.NAME, "score": 40, "reasons": []}
    waits = {"reason": "no_contact", "basis": "0" * 64, "candidates": [candidate]}
    Unmatched.objects.create(customer=jane, since=when, checked_at=when, **waits)
    notes.add(jane.pk, "The qanary lady rang", assignee_pk=None, due_on=None, by="ada", now=when)
    notes.add("bad_signature:main", f"Asked {canary.NAME}", assignee_pk=None, due_on=None, by="ada", now=when)
    said = {"message": f"bad: {canary.EMAIL.upper()}"}
    LoggedWrite.objects.create(at=when, outcome="refused", sobject="Account", key="001x", response=said)


def forget() -> dict[str, Any]:
    result = _forgotten(Customer.objects.get(created_at__day=5))
    assert Forgetting.objects.get().done_at
    return result


def books() -> list[Any]:
    """What may not move: fingerprint, hashes of entries, seals and closes, and every entry explained."""
    differences: list[str] = []
    done = check.check(now=timezone.now() + timedelta(days=1), tell=differences.append)
    assert differences == []
    explained = [explain_entry(entry) for entry in LedgerEntry.objects.order_by("key")]
    closes = list(BookAction.objects.order_by("pk").values_list("digest", "figures"))
    written = list(SyncRecord.objects.order_by("pk").values_list("key", "confirmed", "fields_sent"))
    return [done.fingerprint, closes, explained, written]


def explain_entry(entry: LedgerEntry) -> dict[str, Any]:
    """An entry explained, without the bodies of its events."""
    out = StringIO()
    call_command("explain", entry.key, stdout=out)
    found = json.loads(out.getvalue().splitlines()[-1])
    for event in found["events"]:
        event.pop("body")
    return found


def everything_seen(folder: Path) -> Path:
    """Keep in a folder what an administrator sees: each page and her own, as HTML, CSV and XLSX, and the API."""
    folder.mkdir()
    client = Client()
    client.force_login(_user("ada"))
    jane = Customer.objects.get(created_at__day=5)
    events = [each.stripe_id for each in StripeEvent.objects.filter(customer_id=jane.stripe_id)]
    pages = [f"/dashboard/{each.pattern}" for each in dashboard.urls.urlpatterns if "<" not in str(each.pattern)]
    pages += [f"/dashboard/customers/{jane.pk}/?tab={tab}" for tab in ("", "events", "subscriptions")]
    pages += [f"/dashboard/events/{each}/" for each in events]
    answers = [f"{page}{'&' if '?' in page else '?'}format={kind}" for page in pages for kind in ("", "csv", "xlsx")]
    answers += [f"/api/v1/{name}" for name in ("movements?all=1", "unmatched", "at-risk", "sync")]
    answers += [f"/api/v1/customers/{jane.stripe_id}", *[f"/api/v1/events/{each}" for each in events]]
    for number, address in enumerate(answers):
        answer = client.get(address)
        if answer.status_code == 200:
            (folder / f"{number} {address.replace('/', ' ')}").write_bytes(answer.getvalue())
    return folder


def test_no_word_of_a_forgotten_person_is_left_and_no_number_moves(told, outside, tmp_path, capfd):
    close.close(date(2026, 2, 1), user=_user("fiona"), now=timezone.now())
    before = books()
    assert len(canary.hits_in_tables()) > 15  # she was everywhere
    seen = everything_seen(tmp_path / "seen")
    assert len(canary.hits_in_files(seen)) > 8
    shutil.rmtree(seen)

    with structlog.testing.capture_logs() as logs:
        forget()

    assert canary.hits_in_tables() == []
    assert books() == before
    assert not canary.holds(logs)
    assert canary.hits_in_files(everything_seen(seen)) == []
    writing.write(tmp_path / "backup.zip", now=timezone.now())
    connection.close()
    assert canary.hits_in_files(tmp_path) == []
    assert not canary.holds(capfd.readouterr())


# ---- less of a world: what else must hold ----


@pytest.fixture
def jane(settings, tmp_path) -> Customer:
    """The person alone, and an administrator."""
    settings.DATA_DIR = tmp_path
    person("admin", "ada")
    story = Scenario().customer(canary.NAME, on="2026-01-05", email=canary.EMAIL)
    story.subscribes("team", monthly="30.00", on="2026-01-10", for_whom=canary.NAME)
    return Customer.objects.get(stripe_id=story.id)


def test_the_command_says_what_was_done(jane):
    out = StringIO()

    call_command("forget_customer", "acme", jane.stripe_id, user="ada", reason="asked", stdout=out, stderr=StringIO())

    done = json.loads(out.getvalue().splitlines()[-1])
    assert (done["customer"], done["forgotten"], done["events"], done["left"]) == (jane.stripe_id, True, 2, [])
    assert canary.hits_in_tables() == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"customer": "cus_nobody"}, "knows no customer"),
        ({"user": "bob"}, "no administrator"),
        ({"reason": f"{canary.EMAIL} wrote"}, "names the person"),
        ({"reason": " "}, "say why"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(jane, changed, said):
    given = {"customer": jane.stripe_id, "user": "ada", "reason": "asked"} | changed

    with pytest.raises(CommandError, match=said) as refused:
        call_command("forget_customer", "acme", given["customer"], user=given["user"], reason=given["reason"])

    assert refused.value.returncode == 2
    assert Forgetting.objects.count() == 0


def test_another_customer_with_the_same_e_mail_is_left_alone_and_told(jane):
    twin = Customer.objects.create(source=jane.source, stripe_id="cus_twin", email=canary.EMAIL, name="Twin")

    result = _forgotten(jane)

    twin.refresh_from_db()
    assert twin.email == canary.EMAIL
    assert result["left"] == [{"table": "billing_customer", "row": str(twin.pk)}]


def test_what_salesforce_tells_again_of_her_is_not_kept(jane):
    org = SalesforceOrg.objects.create(instance_url="https://acme.invalid")
    contact = {"Id": "003000000000001AAA", "AccountId": "001000000000001AAA", "Email": canary.EMAIL}
    user = {"Id": "005000000000001AAA", "Name": canary.NAME, "Email": canary.EMAIL, "IsActive": True}
    account = {"Id": "001000000000001AAA", "Name": "Acme", "OwnerId": user["Id"], "Owner": {"Name": canary.NAME}}
    told = {"User": user, "Account": account, "Contact": contact}
    for sobject, record in told.items():
        keep(sobject, [record], org, now=timezone.now())
    _forgotten(jane)

    for sobject, record in told.items():
        keep(sobject, [record], org, now=timezone.now())

    assert Contact.objects.get().email == ""
    assert (SalesforceUser.objects.get().name, SalesforceUser.objects.get().email) == ("", "")
    assert Account.objects.get().owner_name == ""


def test_a_restored_older_backup_forgets_her_again_by_the_list_beside_the_data(jane, source_again):
    _forgotten(jane)
    source_again(jane)  # as if the forgetting had never been

    forgetting.reapply(now=timezone.now())

    jane.refresh_from_db()
    assert jane.name == ""
    assert Forgetting.objects.filter(customer_id="cus_older", asked_by="ada").exists()


@pytest.fixture
def source_again() -> Any:
    """What a restore of an older backup brings: the name is back, and the list beside the data knows of one more."""

    def back(jane: Customer) -> None:
        Customer.objects.filter(pk=jane.pk).update(name=canary.NAME, forgotten_at=None)
        kept = forgetting.read_list()
        older = {**asdict(kept[0]), "customer": "cus_older", "at": kept[0].at.isoformat()}
        path = forgetting.list_path()
        path.write_text(path.read_text() + json.dumps(older) + "\n")

    return back


def test_a_file_that_waits_to_be_applied_goes_since_it_may_tell_of_her(jane):
    body = f"customer,month,amount,currency\n{canary.NAME},2026-01,1,usd\n".encode()
    applying.bring(FINANCE, "sheet.csv", body, by="fiona", now=timezone.now())

    _forgotten(jane)

    assert not Import.objects.exists()


def test_the_list_beside_the_data_holds_ids_and_no_names(jane):
    _forgotten(jane)

    assert [(one.source, one.customer, one.by) for one in forgetting.read_list()] == [("acme", jane.stripe_id, "ada")]
    assert not canary.holds(forgetting.list_path().read_text())


def test_the_page_asks_and_a_sweep_does_it(jane):
    client = Client()
    client.force_login(_user("ada"))
    page = f"/dashboard/customers/{jane.pk}/forget/"
    assert client.post(page, {"typed": "cus_wrong", "reason": "asked"}).status_code == 400
    assert client.post(page, {"typed": jane.stripe_id, "reason": f"{canary.NAME} asked"}).status_code == 400

    answer = client.post(page, {"typed": jane.stripe_id, "reason": "asked"})
    tasks.run_forgettings()

    assert answer.status_code == 302
    assert "Forgotten" in client.get(page).content.decode()
    assert canary.hits_in_tables() == []
    for path in ("", "?tab=events", "?tab=subscriptions", "?format=csv"):
        answer = client.get(f"/dashboard/customers/{jane.pk}/{path}")
        assert not canary.holds(answer.getvalue().decode())


def test_bodies_kept_long_enough_are_redacted_and_no_number_moves(jane, settings):
    settings.RAW_BODY_DAYS = 30
    seals.seal_all(now=timezone.now())
    before = books()

    redacted = [retention.let_go(now=timezone.now() + timedelta(days=days)) for days in (29, 31, 31)]

    assert redacted == [0, 2, 0]
    assert books() == before
    assert not any(canary.holds(bytes(body)) for body in StripeEvent.objects.values_list("body", flat=True))


def _forgotten(jane: Customer) -> dict[str, Any]:
    asks.ask("acme", jane.stripe_id, by="ada", reason="asked by letter", now=timezone.now())
    forgetting.run_due(now=timezone.now())
    return Forgetting.objects.get(customer_id=jane.stripe_id).result


def _user(name: str) -> Any:
    return get_user_model().objects.get(username=name)
