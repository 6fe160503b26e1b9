"""Help: no code without its cause and cure, and one table for the pages and the document."""

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from billing import inbox
from billing.models import Origin
from dashboard import help as table
from dashboard.roles import Role
from tests import builders, raised_codes
from tests.dashboard.people import person


def test_every_code_that_the_source_raises_has_help():
    without = {code: where for code, where in raised_codes.raised_codes().items() if table.topic(code) is None}

    assert without == {}


@pytest.mark.parametrize(
    "source",
    [
        'raise Permanent("planted", "It failed.")',
        'row.update(error_code="planted")',
        'PLANTED = "planted"\ndef judged():\n    return Held(PLANTED, "Not now.")',
        'def fault():\n    return "planted" if bad else ""\nEnvelope(reason=reason or fault())',
        'event, reason = body, "planted"',
        'TABLE = {1: "planted"}\ncode = TABLE.get(status, "")',
        'TABLE = ((KeyError, "planted"),)\ncode = next((code for kind, code in TABLE if kind), "")',
        'PLANTED = "planted"\ndef put(refs, code):\n    pass\nput(refs, PLANTED)',
        "from crm.decisions import SKIPPED\nrow.update(code=SKIPPED)",
    ],
)
def test_the_search_finds_a_code_wherever_it_is_put(source):
    found = raised_codes.codes_of(raised_codes.read("crm/planted.py", source))

    assert found in ({"planted"}, {"skipped"})


def test_the_search_still_finds_what_each_app_raises():
    found = raised_codes.raised_codes()

    assert {"bad_signature", "wrong_mode", "no_api_key", "tiers_unknown", "unmatched", "bad_parameter"} <= found.keys()


def test_a_code_is_told_in_whole_sentences():
    for topic in table.TOPICS.values():
        for text in (topic.cause, topic.cure):
            assert text.endswith("."), topic.code
            assert "{" not in text, topic.code
        assert topic.title.strip("."), topic.code


def test_the_document_says_what_the_pages_say():
    written = (settings.BASE_DIR / "docs" / "troubleshooting.md").read_text()

    assert written == table.markdown(), "run manage.py write_troubleshooting"


def test_the_six_usual_ones_come_first():
    text = table.markdown()

    places = [text.index(f"### {topic.title}") for topic in table.usual()]
    assert places == sorted(places)
    assert len(places) == 6
    assert max(places) < text.index(f"## {table.SECTIONS[0].title}")


@pytest.mark.django_db
def test_each_role_may_read_the_help(client):
    for role in Role:
        client.force_login(person(role))

        answer = client.get(reverse("dashboard:help", args=["invalid_grant"]))

        assert answer.status_code == 200
        assert "Sign in again on the Salesforce page" in answer.content.decode()


@pytest.mark.django_db
def test_a_code_of_salesforces_that_we_do_not_know_says_so_and_others_have_no_page(client):
    client.force_login(person("viewer"))

    assert "a code that we have no advice for" in client.get("/dashboard/help/SOMETHING_NEW/").content.decode()
    assert client.get("/dashboard/help/nonsense/").status_code == 404


@pytest.mark.django_db
def test_the_index_finds_a_code_by_its_words(client):
    client.force_login(person("viewer"))

    whole = client.get("/dashboard/help/").content.decode()
    found = client.get("/dashboard/help/", {"q": "refresh token dead"}).content.decode()

    assert whole.index("Over the API limit") < whole.index("What figures lack")
    assert "/dashboard/help/invalid_grant/" in found
    assert "/dashboard/help/bad_signature/" not in found
    assert "No code fits" in client.get("/dashboard/help/", {"q": "xyzzy"}).content.decode()


@pytest.mark.django_db
def test_a_parked_event_leads_to_the_help_for_its_reason(client):
    client.force_login(person("analyst"))
    source = builders.source(livemode=True)
    body = builders.event("customer.created", builders.customer(), livemode=False, id="evt_test")
    inbox.keep(source, builders.as_bytes(body), origin=Origin.WEBHOOK, now=timezone.now())

    shown = client.get(reverse("dashboard:event", args=["evt_test"])).content.decode()

    assert "A live source takes live events only" in shown
    assert 'href="/dashboard/help/wrong_mode/"' in shown
