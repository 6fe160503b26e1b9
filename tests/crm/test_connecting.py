"""Connecting: the three grants, what is refused, an app that is not known yet, renewal by one worker."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from crm import connections
from crm.channels.kinds import Wait
from crm.channels.salesforce import oauth
from crm.models import Account, Contact, SalesforceOrg
from tests.crm.conftest import login
from tests.fakes.salesforce import FakeSalesforce

pytestmark = pytest.mark.django_db


def test_client_credentials(run, salesforce, monkeypatch):
    account = salesforce.add_account(Name="Acme", Website="acme.com", BillingPostalCode="1000")
    salesforce.add_contact(AccountId=account, Email="Ana@Acme.com")
    salesforce.add_contact(AccountId=account)
    monkeypatch.setenv("SECRET_OF_OURS", salesforce.client_secret)

    code, found = run(
        "connect_salesforce", "--instance-url", salesforce.url, "--client-id", salesforce.client_id,
        "--client-secret", "env:SECRET_OF_OURS",
    )  # fmt: skip

    assert found["org_id"] == salesforce.org_id and found["mode"] == "shadow" and found["sandbox"] is False
    assert found["api_version"] == "68.0" and found["won_stage"] == "Closed Won"
    assert (found["accounts"], found["contacts"]) == (1, 1)
    assert Account.objects.get().domain == "acme.com" and Contact.objects.get().email == "ana@acme.com"
    assert code == 0


def test_a_secret_in_clear_works_with_a_warning_and_is_not_echoed(salesforce, capsys):
    call_command(
        "connect_salesforce", "--instance-url", salesforce.url, "--client-id", salesforce.client_id,
        "--client-secret", salesforce.client_secret,
    )  # fmt: skip

    printed = capsys.readouterr()
    assert "Safer: --client-secret env:NAME" in printed.err
    assert salesforce.client_secret not in printed.out + printed.err


def test_secrets_and_tokens_are_encrypted_at_rest(salesforce, shadow):
    with connection.cursor() as cursor:
        cursor.execute("SELECT client_secret, access_token FROM crm_salesforceorg")
        stored = cursor.fetchone()

    assert all(stored) and salesforce.client_secret not in stored and shadow.access_token not in stored


def test_jwt_bearer(salesforce):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    salesforce.app.jwt_public_key = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

    found = connections.connect(
        login(salesforce, client_secret="", jwt_key=pem, username="integration@fake.example"), now=timezone.now()
    )

    assert found.org.org_id == salesforce.org_id


def test_a_rotated_refresh_token_is_kept(salesforce):
    salesforce.app.rotates_refresh_tokens = True
    first = salesforce.refresh_token()

    org = connections.connect(login(salesforce, client_secret="", refresh_token=first), now=timezone.now()).org

    assert org.refresh_token == salesforce.login.refresh_tokens[-1] != first


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"client_secret": "wrong"}, "Check client id and secret"),
        ({"client_secret": "", "refresh_token": "stale"}, "Connect again"),
        ({"instance_url": "http://acme.my.salesforce.com"}, "https address"),
        ({"instance_url": "https://127.0.0.1:1"}, "does not answer"),
    ],
)
def test_what_does_not_work_is_not_kept(salesforce, changed, said):
    with pytest.raises(connections.NotConnected, match=said):
        connections.connect(login(salesforce, **changed), now=timezone.now())

    assert not SalesforceOrg.objects.exists()


def test_a_failed_reconnection_leaves_the_old_one(salesforce, live):
    with pytest.raises(connections.NotConnected):
        connections.connect(login(salesforce, client_secret="wrong"), now=timezone.now())

    assert SalesforceOrg.objects.get().client_secret == salesforce.client_secret


def test_reconnecting_clears_what_stopped_the_old_one_and_keeps_the_mode(salesforce, live):
    SalesforceOrg.objects.update(error_code="invalid_grant", error="withdrawn", paused_until=timezone.now())

    org = connections.connect(login(salesforce), now=timezone.now()).org

    assert (org.error_code, org.error, org.paused_until, org.mode) == ("", "", None, "live")


def test_another_org_is_refused(salesforce, shadow, monkeypatch):
    with FakeSalesforce() as other:
        other.org_id = other.login.org_id = "00D5g00000OtherAAA"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", other.ca_file)
        with pytest.raises(connections.NotConnected, match="leads to org"):
            connections.connect(login(other), now=timezone.now())


def test_an_edition_without_the_api_is_told_so_in_plain_words(salesforce):
    salesforce.api_disabled = True

    with pytest.raises(connections.NotConnected, match=r"Professional Edition.*add-on"):
        connections.connect(login(salesforce), now=timezone.now())

    assert not SalesforceOrg.objects.exists()


def test_client_credentials_at_the_common_login_host_are_refused_in_words(salesforce):
    with pytest.raises(connections.NotConnected, match="My Domain"):
        connections.connect(login(salesforce, login_url="https://login.salesforce.com"), now=timezone.now())


def test_a_sandbox_is_known_as_one(monkeypatch):
    with FakeSalesforce(sandbox=True) as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)

        assert connections.connect(login(fake), now=timezone.now()).org.is_sandbox is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--client-secret", "s", "--jwt-key", "k", "--username", "u"],
        ["--jwt-key", "env:NOTHING_THERE", "--username", "u"],
        ["--jwt-key", "/nowhere/key.pem", "--username", "u"],
        ["--username", "u", "--client-secret", "s"],
        [],
    ],
)
def test_wrong_use_ends_with_two(arguments):
    with pytest.raises(CommandError) as refused:
        call_command("connect_salesforce", "--instance-url", "https://a.example", "--client-id", "c", *arguments)

    assert refused.value.returncode == 2


def test_the_demo_never_goes_live(db):
    SalesforceOrg.objects.create(instance_url="https://demo.invalid", is_demo=True)

    with pytest.raises(connections.NotConnected):
        connections.go_live(now=timezone.now())


# ---- an app that Salesforce does not know yet ----


def test_a_new_app_is_tried_each_minute_and_says_until_when(salesforce):
    now = timezone.now()
    salesforce.app.known = False

    with pytest.raises(connections.NotKnownYet, match=f"each minute until {now + timedelta(minutes=10):%H:%M} UTC"):
        connections.connect(login(salesforce), now=now)
    for seconds in (1, 20, 59):
        connections.keep_trying(now=now + timedelta(seconds=seconds))
    assert len(salesforce.requests_to("oauth2/token")) == 1
    connections.keep_trying(now=now + timedelta(seconds=61))
    assert len(salesforce.requests_to("oauth2/token")) == 2
    salesforce.app.known = True
    connections.keep_trying(now=now + timedelta(seconds=125))

    org = SalesforceOrg.objects.get()
    assert (org.org_id, org.mode, org.error_code, org.app_known_by) == (salesforce.org_id, "shadow", "", None)


def test_after_ten_minutes_an_unknown_app_waits_for_a_person(salesforce):
    now = timezone.now()
    salesforce.app.known = False
    with pytest.raises(connections.NotKnownYet):
        connections.connect(login(salesforce), now=now)

    for minute in range(1, 30):
        connections.keep_trying(now=now + timedelta(minutes=minute, seconds=1))

    org = SalesforceOrg.objects.get()
    assert org.error_code == "invalid_client_id" and "Check it and connect again" in org.error
    assert len(salesforce.requests_to("oauth2/token")) == 11


def test_an_unknown_app_does_not_replace_a_connection_that_works(salesforce, live):
    with pytest.raises(connections.NotConnected, match="does not know the app"):
        connections.connect(login(salesforce, client_id="unknown"), now=timezone.now())

    assert SalesforceOrg.objects.get().client_id == salesforce.client_id


def test_the_command_says_until_when_a_new_app_is_tried(run, salesforce):
    salesforce.app.known = False

    code, found = run(
        "connect_salesforce", "--instance-url", salesforce.url, "--client-id", salesforce.client_id,
        "--client-secret", salesforce.client_secret,
    )  # fmt: skip

    assert code == 1 and found["connected"] is False and found["retry_until"].endswith("Z")


# ---- renewal ----


def test_the_rotated_token_is_stored_before_the_access_token_is_used(salesforce):
    salesforce.app.rotates_refresh_tokens = True
    first = salesforce.refresh_token()
    connections.connect(login(salesforce), now=timezone.now())
    salesforce.fails_next(500, match="query")

    with pytest.raises(connections.NotConnected):
        connections.connect(login(salesforce, client_secret="", refresh_token=first), now=timezone.now())

    assert SalesforceOrg.objects.get().refresh_token == salesforce.login.refresh_tokens[-1]


def test_a_withdrawn_token_pauses_everything_with_one_alert_and_reconnecting_clears_it(salesforce, live, caplog):
    salesforce.revokes_access()
    salesforce.forgets_requests()
    now = timezone.now()

    for _ in range(8):
        with pytest.raises(Wait, match="Connect again"):
            oauth.renewed(live.pk, dead=live.access_token, now=now)

    org = SalesforceOrg.objects.get()
    assert (org.error_code, org.error_at) == ("invalid_grant", now)
    assert len(salesforce.requests_to("oauth2/token")) == 1
    salesforce.app.allows_client_credentials = True
    org = connections.connect(login(salesforce), now=timezone.now()).org
    assert (org.error_code, org.error_at, org.mode) == ("", None, "live")


def test_an_app_that_is_gone_is_tried_each_minute_and_then_waits_for_a_person(salesforce, live):
    salesforce.app.known = False
    now = timezone.now()

    with pytest.raises(Wait, match="each minute until"):
        oauth.renewed(live.pk, dead=live.access_token, now=now)
    assert SalesforceOrg.objects.get().paused_until == now + timedelta(minutes=1)
    with pytest.raises(Wait, match="Check the id"):
        oauth.renewed(live.pk, dead=live.access_token, now=now + timedelta(minutes=10))

    assert SalesforceOrg.objects.get().error_code == "invalid_client_id"


# ---- renewal by workers ----


def test_nobody_asks_again_while_a_person_must_reconnect(salesforce, live):
    SalesforceOrg.objects.update(error_code="invalid_grant", error="withdrawn")

    with pytest.raises(Wait):
        oauth.renewed(live.pk, dead=live.access_token, now=timezone.now())

    assert salesforce.requests == []


def test_a_renewal_whose_worker_died_is_taken_over(salesforce, live):
    now = timezone.now()
    SalesforceOrg.objects.update(refreshing_until=now - timedelta(seconds=1))

    assert oauth.renewed(live.pk, dead=live.access_token, now=now) != live.access_token
