from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from crm.models import SalesforceOrg, SyncRecord

pytestmark = pytest.mark.django_db
PAGES = [
    "salesforceorg",
    "sourcerules",
    "account",
    "contact",
    "match",
    "unmatched",
    "customerrisk",
    "syncrecord",
    "message",
]


@pytest.fixture
def person(client):
    client.force_login(User.objects.create_superuser("root", "root@x.example", "x"))
    return client


@pytest.mark.parametrize("name", PAGES)
def test_each_list_opens(person, scenario, name):
    scenario.customer("Acme", email="ana@acme.com").subscribes("team", monthly="30.00", on="2026-01-10")

    assert person.get(f"/admin/crm/{name}/").status_code == 200


def test_the_connection_shows_no_secret(person, shadow):
    page = person.get(f"/admin/crm/salesforceorg/{shadow.pk}/change/").content.decode()

    org = SalesforceOrg.objects.get()
    assert org.org_id in page
    assert org.client_secret not in page and org.access_token not in page


def test_a_parked_record_is_tried_again(person, scenario):
    scenario.customer("Acme").subscribes("team", monthly="30.00", on="2026-01-10")
    SyncRecord.objects.update(state="parked", error_code="INVALID_FIELD")
    pk = SyncRecord.objects.first().pk

    person.post("/admin/crm/syncrecord/", {"action": "try_again", "_selected_action": [pk]})

    assert SyncRecord.objects.get(pk=pk).state == "waiting"


def test_nothing_of_the_connection_is_changed_here(person):
    org = SalesforceOrg.objects.create(instance_url="https://acme.invalid", mode="shadow")
    url = f"/admin/crm/salesforceorg/{org.pk}/change/"

    answer = person.post(
        url,
        {"write_allowance": "2000", "read_allowance": "300", "reserve_calls": "50", "log_days": "400", "mode": "live"},
    )

    org.refresh_from_db()
    assert answer.status_code == 403
    assert (org.write_allowance, org.mode) == (3000, "shadow")
