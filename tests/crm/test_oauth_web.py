"""Signing in at Salesforce from the page: state, PKCE, what is refused, and the page that shows how it stands."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from crm import connections
from crm.channels.salesforce import oauth
from crm.models import SalesforceOrg, SalesforceSignIn
from dashboard.roles import Role
from tests.crm.conftest import login
from tests.dashboard.people import person
from tests.fakes.salesforce import FakeSalesforce

pytestmark = pytest.mark.django_db
CALLBACK = "http://127.0.0.1:8000/salesforce/callback/"
PAGE = "/dashboard/salesforce/"


@pytest.fixture
def admin(db) -> Client:
    client = Client()
    client.force_login(person(Role.ADMIN))
    return client


@pytest.fixture
def app(salesforce):
    """The org with an app that lists our return address and rotates its refresh tokens."""
    salesforce.app.redirect_uris = (CALLBACK,)
    salesforce.app.rotates_refresh_tokens = True
    return salesforce


def leaves(client: Client, fake: FakeSalesforce, **changed: str) -> str:
    """Press the button, and return Salesforce's address that the person is sent to."""
    form = {"way": "web", "instance_url": fake.url, "client_id": fake.client_id, **changed}
    answer = client.post("/dashboard/salesforce/connect/", form)
    assert answer.status_code == 200, answer.content
    return str(answer.context["address"])


def consents(fake: FakeSalesforce, address: str) -> dict[str, str]:
    """Say yes at Salesforce, and return what the person is sent back with."""
    answer = requests.get(address, verify=fake.ca_file, allow_redirects=False, timeout=5)
    back = urlsplit(answer.headers["Location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == CALLBACK
    return {name: values[0] for name, values in parse_qs(back.query).items()}


def a_key(fake: FakeSalesforce) -> str:
    """Give the app a certificate, and return its private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake.app.jwt_public_key = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def told(answer) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def test_a_person_signs_in_with_pkce_and_the_connection_is_in_shadow_mode(admin, app):
    address = leaves(admin, app)
    asked = parse_qs(urlsplit(address).query)
    assert asked["scope"] == ["api refresh_token"] and asked["code_challenge_method"] == ["S256"]
    verifier = SalesforceSignIn.objects.get().verifier
    assert verifier not in address and len(verifier) >= 43

    answer = admin.get("/salesforce/callback/", consents(app, address), follow=True)

    org = SalesforceOrg.objects.get()
    assert (org.org_id, org.mode, org.api_version) == (app.org_id, "shadow", "68.0")
    assert org.integration_user_id == app.user_id
    assert org.refresh_token == app.login.refresh_tokens[-1]
    assert "Connected, in shadow mode" in told(answer) and answer.request["PATH_INFO"] == PAGE
    oauth.renewed(org.pk, dead=org.access_token, now=timezone.now())
    org.refresh_from_db()
    assert org.refresh_token == app.login.refresh_tokens[-1]


@pytest.mark.parametrize("sandbox", [False, True], ids=["production", "sandbox"])
@pytest.mark.parametrize("rotates", [False, True], ids=["kept", "rotated"])
@pytest.mark.parametrize("way", ["web", "client", "jwt"])
def test_each_way_in_connects_renews_and_stays_with_its_org(monkeypatch, way, rotates, sandbox):
    with FakeSalesforce(sandbox=sandbox) as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        fake.app.redirect_uris, fake.app.rotates_refresh_tokens = (CALLBACK,), rotates
        now = timezone.now()
        if way == "web":
            pk, address = connections.begin_sign_in(
                login(fake, client_secret=""), redirect_url=CALLBACK, by="ada", now=now
            )
            back = consents(fake, address)
            org = connections.finish_sign_in(pk, state=back["state"], code=back["code"], error="", now=now)
        else:
            more = {"client_secret": "", "jwt_key": a_key(fake), "username": fake.login.username}
            org = connections.connect(login(fake, **(more if way == "jwt" else {})), now=now).org
        for _ in range(3):
            fake.expires_sessions()
            org.refresh_from_db()
            assert oauth.renewed(org.pk, dead=org.access_token, now=now) in fake.login.access_tokens

        org.refresh_from_db()
        assert (org.org_id, org.is_sandbox, org.integration_user_id) == (fake.org_id, sandbox, fake.user_id)
        assert (org.mode, org.error_code) == ("shadow", "")
        org.org_id = "00D5g00000OtherAAA"
        org.save()
        with pytest.raises(Exception, match="even as a copy"):
            oauth.renewed(org.pk, dead=org.access_token, now=now)


def test_no_secret_stands_on_the_pages_or_in_the_addresses(admin, app):
    app.app.requires_secret = True
    address = leaves(admin, app, client_secret=app.client_secret)
    admin.get("/salesforce/callback/", consents(app, address))

    org = SalesforceOrg.objects.get()
    page = admin.get(PAGE).content.decode() + admin.get(f"{PAGE}?way=web").content.decode() + address
    for secret in (app.client_secret, org.access_token, org.refresh_token, SalesforceSignIn.objects.get().verifier):
        assert secret and secret not in page


def test_a_return_works_once(admin, app):
    back = consents(app, leaves(admin, app))
    admin.get("/salesforce/callback/", back)

    answer = admin.get("/salesforce/callback/", back, follow=True)

    assert "does not belong to a sign-in of yours" in told(answer)
    assert len(app.requests_to("POST .*oauth2/token")) == 1


@pytest.mark.parametrize("state", ["", "made-up"])
def test_another_state_is_refused_before_anything_is_asked(admin, app, state):
    back = consents(app, leaves(admin, app))

    answer = admin.get("/salesforce/callback/", {**back, "state": state}, follow=True)

    assert "does not belong to a sign-in of yours" in told(answer)
    assert not SalesforceOrg.objects.exists() and not app.requests_to("POST .*oauth2/token")


def test_the_return_of_another_session_is_refused(admin, app):
    back = consents(app, leaves(admin, app))
    stranger = Client()
    stranger.force_login(person(Role.ADMIN, "another-admin"))

    answer = stranger.get("/salesforce/callback/", back, follow=True)

    assert "does not belong to a sign-in of yours" in told(answer)
    assert not SalesforceOrg.objects.exists()


def test_a_return_after_ten_minutes_is_refused(admin, app):
    back = consents(app, leaves(admin, app))
    SalesforceSignIn.objects.update(begun_at=timezone.now() - timedelta(minutes=11))

    assert "does not belong to a sign-in" in told(admin.get("/salesforce/callback/", back, follow=True))


def test_who_says_no_at_salesforce_changes_nothing(admin, app):
    app.login.denies = True

    answer = admin.get("/salesforce/callback/", consents(app, leaves(admin, app)), follow=True)

    assert "You did not allow it. Nothing was changed." in told(answer)
    assert not SalesforceOrg.objects.exists()


def test_a_code_that_is_used_up_or_another_s_verifier_is_refused(admin, app):
    back = consents(app, leaves(admin, app))
    SalesforceSignIn.objects.update(verifier="x" * 64)

    answer = admin.get("/salesforce/callback/", back, follow=True)

    assert "withdrawn or has ended" in told(answer) and not SalesforceOrg.objects.exists()


def test_an_app_without_the_refresh_token_scope_is_told_which_it_needs(admin, app):
    address = leaves(admin, app).replace("scope=api+refresh_token", "scope=api")

    answer = admin.get("/salesforce/callback/", consents(app, address), follow=True)

    assert "Give the app the scopes api refresh_token" in told(answer)


def test_a_withdrawn_login_is_shown_and_signing_in_again_clears_it(admin, app):
    admin.get("/salesforce/callback/", consents(app, leaves(admin, app)))
    SalesforceOrg.objects.update(mode="live", live_since=timezone.now())
    app.revokes_access()
    org = SalesforceOrg.objects.get()
    with pytest.raises(Exception, match="Connect again"):
        oauth.renewed(org.pk, dead=org.access_token, now=timezone.now())

    page = admin.get(PAGE).content.decode()
    assert "A person must connect again" in page and "Sign in again" in page and "invalid_grant" in page
    answer = admin.get("/salesforce/callback/", consents(app, leaves(admin, app)), follow=True)

    org = SalesforceOrg.objects.get()
    assert (org.error_code, org.mode) == ("", "live") and "Sending goes on" in told(answer)


def test_another_org_is_refused_in_words_and_the_old_login_stays(admin, app, monkeypatch):
    admin.get("/salesforce/callback/", consents(app, leaves(admin, app)))
    kept = SalesforceOrg.objects.get().refresh_token
    with FakeSalesforce(sandbox=True) as copy:
        copy.app.redirect_uris = (CALLBACK,)
        copy.org_id = copy.login.org_id = "00D5g00000OtherAAA"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", copy.ca_file)

        answer = admin.get("/salesforce/callback/", consents(copy, leaves(admin, copy)), follow=True)

    assert "A sandbox is an org of its own, even as a copy" in told(answer)
    assert SalesforceOrg.objects.get().refresh_token == kept


def test_a_connection_that_breaks_after_the_exchange_keeps_the_new_token(admin, app):
    admin.get("/salesforce/callback/", consents(app, leaves(admin, app)))
    back = consents(app, leaves(admin, app))
    app.fails_next(503, match="GET /services/data/")

    admin.get("/salesforce/callback/", back)

    assert SalesforceOrg.objects.get().refresh_token == app.login.refresh_tokens[-1]


@pytest.mark.parametrize("way", ["client", "jwt"])
def test_a_server_s_own_ways_are_on_the_page_too(admin, app, way):
    more = (
        {"client_secret": app.client_secret}
        if way == "client"
        else {"jwt_key": a_key(app), "username": app.login.username}
    )

    answer = admin.post(
        "/dashboard/salesforce/connect/", {"way": way, "instance_url": app.url, "client_id": app.client_id, **more}
    )

    assert answer.status_code == 302 and SalesforceOrg.objects.get().org_id == app.org_id


def test_what_is_wrong_is_said_at_the_form_and_the_secret_is_not_given_back(admin, app):
    form = {"way": "client", "instance_url": app.url, "client_id": app.client_id, "client_secret": "wrong-secret-1"}

    answer = admin.post("/dashboard/salesforce/connect/", form)

    assert answer.status_code == 422
    assert "Check client id and secret" in answer.content.decode() and "wrong-secret-1" not in answer.content.decode()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST, Role.REVOPS, Role.FINANCE])
def test_only_administrators_connect(db, role):
    client = Client()
    client.force_login(person(role))

    for path in (PAGE, "/salesforce/callback/", f"{PAGE}mapping/", f"{PAGE}mapping/file/"):
        assert client.get(path).status_code == 403
    for path in ("connect/", "check/", "deploy/", "mapping/change/", "mapping/file/"):
        assert client.post(f"{PAGE}{path}").status_code == 403


def test_a_stranger_is_asked_to_sign_in_here_first(db):
    answer = Client().get("/salesforce/callback/", {"state": "s", "code": "c"})

    assert answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")


# ---- set-up and mapping on the page ----


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}mapping/"])
def test_the_pages_ask_nothing_of_salesforce_and_little_of_the_database(
    admin, app, shadow, path, django_assert_max_num_queries
):
    app.forgets_requests()

    with django_assert_max_num_queries(20):
        assert admin.get(path).status_code == 200

    assert app.requests == []


def test_the_page_shows_the_return_address_and_the_two_scopes(admin):
    page = admin.get(PAGE).content.decode()

    assert CALLBACK in page and 'data-copy="api refresh_token"' in page


def test_an_empty_org_is_set_up_by_two_buttons(admin, monkeypatch):
    with FakeSalesforce(package=False) as fake:
        fake.set_up.polls = 0
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        connections.connect(login(fake), now=timezone.now())

        missing = admin.post(f"{PAGE}check/", follow=True)
        assert "things are missing" in told(missing) and "<code>MRR__c</code>" in missing.content.decode()
        done = admin.post(f"{PAGE}deploy/", follow=True)
        assert "the permission set is assigned. Every write could be made." in told(done)
        again = admin.post(f"{PAGE}deploy/", follow=True)

    assert "Nothing to change: the org has all of it." in told(again)


def test_the_mapping_is_changed_on_the_page_and_by_file(admin, app, shadow):
    from tests.fakes.salesforce.schema import number, picklist

    app.adds_field("Account", number("ARR_Total__c", 16, 2, type="currency"))
    app.adds_field("Account", picklist("Payment_Risk__c", "None", "low", "medium", "high", restricted=True))
    form = {
        "won_stage": "Closed Won",
        "field:Account.ARR__c": "ARR_Total__c",
        "field:Account.CMRR__c": "",
        "word:Account.Payment_Risk__c.none": "None",
    }

    answer = admin.post(f"{PAGE}mapping/change/", form)

    assert "The mapping is in use. Nothing was written." in told(answer)
    page = admin.get(f"{PAGE}mapping/").content.decode()
    assert 'value="ARR_Total__c"' in page and "3 differ from ours" in page
    text = admin.get(f"{PAGE}mapping/file/").content.decode()
    from django.core.files.uploadedfile import SimpleUploadedFile

    sent = SimpleUploadedFile("m.json", text.replace('"ARR_Total__c"', '"ARR__c"').encode())
    answer = admin.post(f"{PAGE}mapping/file/", {"file": sent})
    assert answer.status_code == 200 and "2 differ from ours" in answer.content.decode()


def test_a_mapping_that_cannot_work_is_refused_on_the_page(admin, app, shadow):
    answer = admin.post(f"{PAGE}mapping/change/", {"field:Account.ARR__c": "MRR__c"})

    assert answer.status_code == 422 and "would both be written into Account.MRR__c" in answer.content.decode()


def test_the_demo_says_that_nothing_is_behind_it(admin):
    SalesforceOrg.objects.create(instance_url="https://demo.invalid", is_demo=True)

    assert "This is the demo" in admin.get(PAGE).content.decode()
    assert "No Salesforce org is connected" in told(admin.post(f"{PAGE}deploy/", follow=True))
    form = {"way": "web", "instance_url": "https://acme.my.salesforce.com", "client_id": "c"}
    assert admin.post(f"{PAGE}connect/", form).status_code == 422


def test_the_set_up_page_leads_to_it(admin, scenario):
    page = admin.get(reverse("dashboard:setup")).content.decode()

    assert f'href="{PAGE}"' in page and "Connect Salesforce" in page
