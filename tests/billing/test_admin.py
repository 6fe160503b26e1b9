"""The admin: secrets are written and never shown, events are looked at and processed again."""

from __future__ import annotations

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from billing import inbox
from billing.inbox import Outcome
from billing.models import EventState, SigningSecret, StripeEvent, StripeSource
from tests import builders
from tests.billing.conftest import NOW
from tests.builders import event

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.test", "x"))
    return client


def test_a_source_s_page_shows_no_secret(staff, source):
    source.api_key = "rk_test_9876543210"
    source.save()

    listed = staff.get(reverse("admin:billing_stripesource_changelist")).content.decode()
    page = staff.get(reverse("admin:billing_stripesource_change", args=[source.pk])).content.decode()

    for html in (listed, page):
        assert builders.SECRET not in html
        assert "rk_test_9876543210" not in html
        assert "3210" in html
        assert builders.SECRET[-4:] in html


def test_secrets_are_added_through_the_page(staff, source):
    form = {
        "label": "Acme",
        "new_signing_secret": "whsec_another_5678",
        "new_api_key": "rk_test_abcdef",
        "signing_secrets-TOTAL_FORMS": "0",
        "signing_secrets-INITIAL_FORMS": "0",
    }

    answer = staff.post(reverse("admin:billing_stripesource_change", args=[source.pk]), form)

    assert answer.status_code == 302
    assert set(SigningSecret.objects.values_list("last4", flat=True)) == {builders.SECRET[-4:], "5678"}
    assert StripeSource.objects.get().api_key == "rk_test_abcdef"


def test_what_is_no_secret_is_refused_with_the_way_out(staff, source):
    form = {"label": "Acme", "new_signing_secret": "rk_test_abcdef", "new_api_key": "sk_live_abcdef"}

    page = staff.post(reverse("admin:billing_stripesource_change", args=[source.pk]), form).content.decode()

    assert "This is an API key." in page
    assert "can move money" in page
    assert "sk_live_abcdef" not in page


def test_an_event_s_payload_is_shown_and_not_editable(staff, source, take):
    take([event("customer.created", builders.customer(name="<b>Anna</b>"))])

    page = staff.get(reverse("admin:billing_stripeevent_change", args=[StripeEvent.objects.get().pk])).content.decode()

    assert "&lt;b&gt;Anna&lt;/b&gt;" in page
    assert 'name="_save"' not in page


def test_parked_events_are_processed_again(staff, source, take):
    take([event("customer.created", builders.customer())])
    row = StripeEvent.objects.get()
    inbox.mark({row.pk: Outcome(EventState.PARKED, "failed", "ValueError")}, now=NOW)

    answer = staff.post(
        reverse("admin:billing_stripeevent_changelist"), {"action": "process_again", "_selected_action": [row.pk]}
    )

    row.refresh_from_db()
    assert answer.status_code == 302
    assert (row.state, row.attempts) == ("waiting", 0)


@pytest.mark.parametrize(
    "model", [m for m in site._registry if m._meta.app_label == "billing"], ids=lambda m: m.__name__
)
def test_every_list_opens(staff, source, take, model):
    take(
        [
            event("customer.subscription.created", builders.subscription()),
            event("invoice.paid", builders.invoice(status="paid")),
            event("charge.succeeded", builders.charge()),
            event("charge.dispute.created", builders.dispute()),
        ]
    )

    assert staff.get(reverse(f"admin:billing_{model._meta.model_name}_changelist")).status_code == 200
    row = model.objects.first()
    if row is not None:
        assert staff.get(reverse(f"admin:billing_{model._meta.model_name}_change", args=[row.pk])).status_code == 200
